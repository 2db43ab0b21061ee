/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/vnni_tile_internal.h
 * The register tile of the integer kernels: some packed rows by one group of 64 codewords, all sums in registers. VPDPBUSD
 * adds four products of bytes at once, VPDPWSSD two of words (int16). `width` is that of an element in bytes.
 */
#ifndef VQ_VNNI_TILE_INTERNAL_H
#define VQ_VNNI_TILE_INTERNAL_H

#include <immintrin.h>
#include <string.h>

#include "vq/integer_tile_internal.h"

static inline __mmask16 vqi_first_lanes(size_t count)
{
    return count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
}

/* As assembly because gcc 12 keeps copies of the sums in memory around the intrinsic, at a third of the speed. */
static inline __attribute__((always_inline)) void vqi_add_products(__m512i *sum, __m512i c,
                                                                   __m512i e, const int width)
{
    if (width == 1)
        __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(c), "v"(e));
    else
        __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(c), "v"(e));
}

/** sum[r][p] += row r . codewords 16 p to 16 p + 15 of the group. */
static inline __attribute__((always_inline)) void
vqi_tile_multiply(__m512i (*sum)[4], const char *x, size_t row_stride, size_t lanes,
                  const char *group, const int rows, const int width)
{
    for (size_t l = 0; l < lanes; l++, group += 4 * VQI_GROUP) {
        const __m512i c0 = _mm512_load_si512(group), c1 = _mm512_load_si512(group + 64),
                      c2 = _mm512_load_si512(group + 128), c3 = _mm512_load_si512(group + 192);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int32_t elements;
            memcpy(&elements, x + (size_t)r * row_stride + 4 * l, sizeof elements);
            const __m512i e = _mm512_set1_epi32(elements);
            vqi_add_products(&sum[r][0], c0, e, width);
            vqi_add_products(&sum[r][1], c1, e, width);
            vqi_add_products(&sum[r][2], c2, e, width);
            vqi_add_products(&sum[r][3], c3, e, width);
        }
    }
}

#endif
