/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/random_internal.h
 * Random numbers that are the same everywhere: xoshiro256++ (Blackman and Vigna 2019), its state filled
 * by splitmix64 as its authors advise. Integer arithmetic only, so a seed means one sequence for ever.
 */
#ifndef VQ_RANDOM_INTERNAL_H
#define VQ_RANDOM_INTERNAL_H

#include <stdint.h>

typedef struct vqi_random {
    uint64_t s[4];
} vqi_random;

static inline uint64_t vqi_splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline vqi_random vqi_random_from(uint64_t seed)
{
    vqi_random r;
    for (int i = 0; i < 4; i++)
        r.s[i] = vqi_splitmix64(&seed);
    return r;
}

static inline uint64_t vqi_rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

static inline uint64_t vqi_random_next(vqi_random *r)
{
    uint64_t *s = r->s;
    const uint64_t result = vqi_rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = vqi_rotate(s[3], 45);
    return result;
}

/** Uniform in [0, 1), a multiple of 2^-53. */
static inline double vqi_random_uniform(vqi_random *r)
{
    return (double)(vqi_random_next(r) >> 11) * 0x1p-53;
}

#endif
