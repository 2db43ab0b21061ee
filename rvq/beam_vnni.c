/* SPDX-License-Identifier: Apache-2.0 */
/* The beam search's scores from int8: what vq/filter_vnni.c says of its peaks, for every codeword. */
#include <immintrin.h>

#include "rvq/beam_kernels_internal.h"

enum { ROWS = 6 }; /* the rows that share a scale */

#define INLINE static inline __attribute__((always_inline))

/* As assembly because gcc 12 keeps copies of the sums in memory around the intrinsic. */
INLINE void add_products(__m512i *sum, __m512i c, __m512i e)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(c), "v"(e));
}

INLINE void tile(int16_t *out, size_t stride, const vqi_block *block, size_t r0, size_t quads,
                 size_t row_stride, const uint8_t *group, const float *start,
                 const float *penalties, const float *per_unit, const int rows)
{
    const int8_t *x = (const int8_t *)block->packed + r0 * row_stride;
    __m512i sum[ROWS][4];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++)
            sum[r][p] = _mm512_setzero_si512();
    for (size_t q = 0; q < quads; q++, group += 4 * VQI_GROUP) {
        const __m512i c0 = _mm512_load_si512(group), c1 = _mm512_load_si512(group + 64),
                      c2 = _mm512_load_si512(group + 128), c3 = _mm512_load_si512(group + 192);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int32_t four;
            __builtin_memcpy(&four, x + (size_t)r * row_stride + 4 * q, sizeof four);
            const __m512i e = _mm512_set1_epi32(four);
            add_products(&sum[r][0], c0, e);
            add_products(&sum[r][1], c1, e);
            add_products(&sum[r][2], c2, e);
            add_products(&sum[r][3], c3, e);
        }
    }
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        __m512 own = _mm512_load_ps(start + 16 * p);
        if (penalties)
            own = _mm512_sub_ps(own, _mm512_load_ps(penalties + 16 * p));
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const size_t row = r0 + (size_t)r;
            const __m512 products = _mm512_cvtepi32_ps(
                _mm512_add_epi32(sum[r][p], _mm512_set1_epi32(block->start[row])));
            __m512 v = _mm512_fmadd_ps(products, _mm512_set1_ps(block->unit[row]), own);
            v = _mm512_mul_ps(v, _mm512_set1_ps(per_unit[r]));
            /* A float below what int32 holds becomes its least. */
            _mm256_storeu_si256((__m256i *)(void *)(out + (size_t)r * stride + 16 * p),
                                _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v)));
        }
    }
}

void vqi_beam_score_vnni(int16_t *out, size_t stride, const vqi_block *block,
                         const vq_codebook *codebook, size_t first, size_t count,
                         const float *start, const float *penalties, const float *per_unit)
{
    const size_t quads = ((size_t)codebook->d + 3) / 4,
                 row_stride = vqi_filter_bytes.row_bytes(codebook->d), rows = block->rows;
    for (size_t p = first; p < first + count; p += VQI_GROUP, out += VQI_GROUP) {
        const uint8_t *group = (const uint8_t *)codebook->coarse[VQI_BYTES].data + p * quads * 4;
        const float *group_penalties = penalties ? penalties + p : NULL;
        size_t r = 0;
        for (; r + ROWS <= rows; r += ROWS)
            tile(out + r * stride, stride, block, r, quads, row_stride, group, start + p,
                 group_penalties, per_unit + r, ROWS);
        for (; r < rows; r++)
            tile(out + r * stride, stride, block, r, quads, row_stride, group, start + p,
                 group_penalties, per_unit + r, 1);
    }
}
