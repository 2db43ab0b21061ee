/* SPDX-License-Identifier: Apache-2.0 */
/* The beam search's scores from words of 16 bits: VPDPWSSD adds two products at once, at twice the rate of float32 and with
 * an error that is small beside a unit. Compiled with -mavx512vnni and so on; called only where vq_cpu_flags() says so. */
#include <immintrin.h>
#include <math.h>

#include "rvq/beam_kernels_internal.h"

enum { ROWS = 6 }; /* of a register tile: x 4 sums, 24 of 32 registers */

#define INLINE static inline __attribute__((always_inline))

size_t vqi_beam_row_words(uint32_t d)
{
    return ((size_t)d + 31) / 32 * 32;
}

static __mmask16 first_lanes(size_t count)
{
    return count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
}

void vqi_beam_pack_words(vqi_block *block, const vq_codebook *codebook, const vqi_beam_words *words)
{
    const size_t d = codebook->d, row_words = vqi_beam_row_words(codebook->d);
    for (size_t r = 0; r < block->rows; r++) {
        const float *x = block->centred + r * d;
        int16_t *out = (int16_t *)block->packed + r * row_words;
        /* A little more than the norm, as the square is rounded. */
        const float norm = sqrtf(block->square[r]) * (1 + 0x1p-10f), scale = norm / VQI_WORD_STEPS,
                    unit = scale * words->step;
        /* Where a unit or a reciprocal would leave float32, all reads as zeros, and the error says so. */
        const int usable = scale > 0x1p-60f && unit > 0x1p-100f;
        const __m512 step = _mm512_set1_ps(usable ? scale : 0),
                     steps = _mm512_set1_ps(usable ? 1 / scale : 0);
        __m512 errors = _mm512_setzero_ps();
        for (size_t i = 0; i < row_words; i += 16) {
            const __m512 v =
                i < d ? _mm512_maskz_loadu_ps(first_lanes(d - i), x + i) : _mm512_setzero_ps();
            const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, steps));
            const __m512 error = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(q), step, v);
            errors = _mm512_fmadd_ps(error, error, errors);
            _mm256_storeu_si256((__m256i *)(void *)(out + i), _mm512_cvtsepi32_epi16(q));
        }
        block->unit[r] = usable ? unit : 0;
        block->error[r] =
            sqrtf(_mm512_reduce_add_ps(errors)) * (1 + 0x1p-8f) + norm * 0x1p-22f + 0x1p-60f;
    }
}

/* As assembly because gcc 12 keeps copies of the sums in memory around the intrinsic. */
INLINE void add_products(__m512i *sum, __m512i c, __m512i e)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(c), "v"(e));
}

INLINE void tile(int16_t *out, size_t stride, const vqi_block *block, size_t r0, size_t pairs,
                 size_t row_words, const int16_t *group, const float *start, const float *penalties,
                 const float *per_unit, const int rows)
{
    const int16_t *x = (const int16_t *)block->packed + r0 * row_words;
    __m512i sum[ROWS][4];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++)
            sum[r][p] = _mm512_setzero_si512();
    for (size_t i = 0; i < pairs; i++, group += 2 * VQI_GROUP) {
        const __m512i c0 = _mm512_load_si512(group), c1 = _mm512_load_si512(group + 32),
                      c2 = _mm512_load_si512(group + 64), c3 = _mm512_load_si512(group + 96);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int32_t two;
            __builtin_memcpy(&two, x + (size_t)r * row_words + 2 * i, sizeof two);
            const __m512i e = _mm512_set1_epi32(two);
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
            __m512 v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][p]),
                                       _mm512_set1_ps(block->unit[r0 + (size_t)r]), own);
            v = _mm512_mul_ps(v, _mm512_set1_ps(per_unit[r]));
            /* A float below what int32 holds becomes its least. */
            _mm256_storeu_si256((__m256i *)(void *)(out + (size_t)r * stride + 16 * p),
                                _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v)));
        }
    }
}

void vqi_beam_score_words(int16_t *out, size_t stride, const vqi_block *block,
                          const vq_codebook *codebook, const vqi_beam_words *words, size_t first,
                          size_t count, const float *penalties, const float *per_unit)
{
    const size_t pairs = ((size_t)codebook->d + 1) / 2, row_words = vqi_beam_row_words(codebook->d),
                 rows = block->rows;
    for (size_t p = first; p < first + count; p += VQI_GROUP, out += VQI_GROUP) {
        const int16_t *group = words->packed + p * pairs * 2;
        const float *group_penalties = penalties ? penalties + p : NULL;
        size_t r = 0;
        for (; r + ROWS <= rows; r += ROWS)
            tile(out + r * stride, stride, block, r, pairs, row_words, group, codebook->start + p,
                 group_penalties, per_unit + r, ROWS);
        for (; r < rows; r++)
            tile(out + r * stride, stride, block, r, pairs, row_words, group, codebook->start + p,
                 group_penalties, per_unit + r, 1);
    }
}
