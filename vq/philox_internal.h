/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/philox_internal.h
 * Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"): random
 * numbers by their place, so that any part of a sequence can be made without what comes before it. Integer
 * arithmetic only.
 */
#ifndef VQ_PHILOX_INTERNAL_H
#define VQ_PHILOX_INTERNAL_H

#include <stdint.h>

typedef struct vqi_philox {
    uint32_t word[4];
} vqi_philox;

static inline vqi_philox vqi_philox4x32(vqi_philox counter, uint64_t key)
{
    uint32_t c0 = counter.word[0], c1 = counter.word[1], c2 = counter.word[2], c3 = counter.word[3],
             k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xd2511f53u * c0, b = (uint64_t)0xcd9e8d57u * c2;
        const uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return (vqi_philox){{c0, c1, c2, c3}};
}

#endif
