/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/madd_tile_internal.h
 * The register tile of the int16 kernels in AVX2: some packed rows by a panel of 16 codewords of a group. VPMADDWD makes
 * eight sums of two products, VPADDD adds them up: where the processor has more units for additions than for
 * products, as all since 2013, that is faster than float32's fused multiply and add, which does half as much at once.
 */
#ifndef VQ_MADD_TILE_INTERNAL_H
#define VQ_MADD_TILE_INTERNAL_H

#include <immintrin.h>
#include <string.h>

#include "vq/integer_tile_internal.h"

/** The first 8 floats, or as many as there are and zeros. */
static inline __attribute__((always_inline)) __m256 vqi_load_first(const float *p, size_t count)
{
    if (count >= 8)
        return _mm256_loadu_ps(p);
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lane));
}

/** 16 words from two registers of whole numbers, saturated. */
static inline __attribute__((always_inline)) __m256i vqi_to_words(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
}

static inline __attribute__((always_inline)) float vqi_sum_of(__m256 v)
{
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)),
                 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* As assembly because gcc 12 takes many products before it adds one, and keeps the sums in memory meanwhile. */
static inline __attribute__((always_inline)) void vqi_madd(__m256i *sum, __m256i c, __m256i e)
{
    __m256i products;
    __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
            : "+x"(*sum), "=&x"(products)
            : "x"(c), "x"(e));
}

/** sum[r][s] += row r . codewords 8 s to 8 s + 7 of the panel, which begins here in its group. */
static inline __attribute__((always_inline)) void
vqi_madd_multiply(__m256i (*sum)[2], const char *x, size_t row_stride, size_t lanes,
                  const char *panel, const int rows)
{
    for (size_t l = 0; l < lanes; l++, panel += 4 * VQI_GROUP) {
        const __m256i c0 = _mm256_load_si256((const __m256i *)(const void *)panel),
                      c1 = _mm256_load_si256((const __m256i *)(const void *)(panel + 32));
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int32_t elements;
            memcpy(&elements, x + (size_t)r * row_stride + 4 * l, sizeof elements);
            const __m256i e = _mm256_set1_epi32(elements);
            vqi_madd(&sum[r][0], c0, e);
            vqi_madd(&sum[r][1], c1, e);
        }
    }
}

#endif
