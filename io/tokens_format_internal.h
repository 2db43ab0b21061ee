/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/tokens_format_internal.h
 * The frame of tokens.bin, which docs/FORMATS.md specifies: a 48-byte file header, then chunks whose
 * payloads lie at multiples of 64.
 */
#ifndef IO_TOKENS_FORMAT_INTERNAL_H
#define IO_TOKENS_FORMAT_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "io/tokens_file.h"

enum {
    VQI_FILE_HEADER = 48,  /**< magic 8, major 2, minor 2, zeros 32, CRC32C 4 */
    VQI_CHUNK_HEADER = 16, /**< type 4, flags 4, length 8 */
    VQI_CHUNK_ALIGN = 64,
    VQI_VERSION_MAJOR = 1,
    VQI_VERSION_MINOR = 0
};

/** In the manner of PNG: not ASCII, and damaged by whatever changes line ends or strips the eighth bit. */
#define VQI_TOKENS_MAGIC "\x89VQT\r\n\x1a\n"

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

#endif
