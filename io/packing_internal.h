/* SPDX-License-Identifier: Apache-2.0 */
/** @file io/packing_internal.h  Codes as bytes: the packings "raw" and "bits". */
#ifndef IO_PACKING_INTERNAL_H
#define IO_PACKING_INTERNAL_H

#include "io/tokens_file.h"

/** @return bits of a code of K: ceil(log2 K), but 1 for K = 1, so that a few bytes never stand for a
 *  billion codes. */
static inline unsigned vqi_code_bits(uint32_t k)
{
    return k > 2 ? 32u - (unsigned)__builtin_clz(k - 1) : 1;
}

/** @return bytes of a raw code: the smallest of 1, 2 and 4 that holds every level's. */
unsigned vqi_raw_width(uint32_t levels, const uint32_t *k);

/** Bytes of one level's codes. @return 0 if the number does not fit. */
int vqi_level_bytes(size_t *bytes, size_t positions, uint32_t k, vq_packing packing,
                    unsigned raw_width);

/** Bytes of all levels' codes. @return 0 if the number does not fit. */
int vqi_levels_bytes(size_t *bytes, size_t positions, uint32_t levels, const uint32_t *k,
                     vq_packing packing);

/** Pack all levels, as many bytes as vqi_levels_bytes() says. */
void vqi_pack(uint8_t *out, const uint32_t *codes, size_t positions, uint32_t levels,
              const uint32_t *k, vq_packing packing);

/**
 * The reverse, from as many bytes. Every code is compared with its K, and unused bits with 0.
 * @param offset where the bytes lie, for the sentence.
 * @return VQ_OK, VQ_E_FORMAT.
 */
vq_status vqi_unpack(uint32_t *codes, const uint8_t *bytes, size_t positions, uint32_t levels,
                     const uint32_t *k, vq_packing packing, size_t offset);

#endif
