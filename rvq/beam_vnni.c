/* SPDX-License-Identifier: Apache-2.0 */
/* The beam search's scores from integers: from bytes, what vq/filter_vnni.c says of its peaks for every codeword; from words of
 * 16 bits, with an error that is small beside a unit. Compiled with -mavx512vnni and so on; called only where vq_cpu_flags()
 * says so. */
#include <immintrin.h>
#include <math.h>

#include "rvq/beam_words_internal.h"
#include "vq/vnni_tile_internal.h"

#define INLINE static inline __attribute__((always_inline))

static void pack_words(vqi_block *block, const vq_codebook *codebook)
{
    const size_t d = codebook->d, row_words = vqi_tile_row_bytes(d, 2) / 2;
    for (size_t r = 0; r < block->rows; r++) {
        const float *x = block->centred + r * d;
        int16_t *out = (int16_t *)block->packed + r * row_words;
        const float norm = vqi_beam_row_norm(block, r), scale = vqi_beam_row_scale(norm, codebook);
        const __m512 step = _mm512_set1_ps(scale),
                     steps = _mm512_set1_ps(scale > 0 ? 1 / scale : 0);
        __m512 errors = _mm512_setzero_ps();
        for (size_t i = 0; i < row_words; i += 16) {
            const __m512 v =
                i < d ? _mm512_maskz_loadu_ps(vqi_first_lanes(d - i), x + i) : _mm512_setzero_ps();
            const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, steps));
            const __m512 error = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(q), step, v);
            errors = _mm512_fmadd_ps(error, error, errors);
            _mm256_storeu_si256((__m256i *)(void *)(out + i), _mm512_cvtsepi32_epi16(q));
        }
        block->unit[r] = scale * codebook->coarse[VQI_WORDS].step;
        block->error[r] = vqi_beam_row_error(_mm512_reduce_add_ps(errors), norm);
    }
}

INLINE void tile(int16_t *out, size_t stride, const vqi_block *block, size_t r0, size_t d,
                 const char *group, const float *start, const float *penalties,
                 const float *per_unit, const int rows, const int width)
{
    const size_t row_stride = vqi_tile_row_bytes(d, width);
    __m512i sum[VQI_TILE_ROWS][4];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        /* Words have no offset to take back. */
        const int32_t from = width == 1 ? block->start[r0 + (size_t)r] : 0;
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++)
            sum[r][p] = _mm512_set1_epi32(from);
    }
    vqi_tile_multiply(sum, (const char *)block->packed + r0 * row_stride, row_stride,
                      vqi_tile_lanes(d, width), group, rows, width);
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

INLINE void score(int16_t *out, size_t stride, const vqi_block *block, const vq_codebook *codebook,
                  size_t first, size_t count, const float *start, const float *penalties,
                  const float *per_unit, const int width)
{
    const size_t d = codebook->d, rows = block->rows, bytes = vqi_tile_lanes(d, width) * 4;
    const char *data = codebook->coarse[vqi_tile_form(width)].data;
    for (size_t p = first; p < first + count; p += VQI_GROUP, out += VQI_GROUP) {
        const char *group = data + p * bytes;
        const float *group_penalties = penalties ? penalties + p : NULL;
        size_t r = 0;
        for (; r + VQI_TILE_ROWS <= rows; r += VQI_TILE_ROWS)
            tile(out + r * stride, stride, block, r, d, group, start + p, group_penalties,
                 per_unit + r, VQI_TILE_ROWS, width);
        for (; r < rows; r++)
            tile(out + r * stride, stride, block, r, d, group, start + p, group_penalties,
                 per_unit + r, 1, width);
    }
}

void vqi_beam_score_bytes(int16_t *out, size_t stride, const vqi_block *block,
                          const vq_codebook *codebook, size_t first, size_t count,
                          const float *start, const float *penalties, const float *per_unit)
{
    score(out, stride, block, codebook, first, count, start, penalties, per_unit, 1);
}

static void score_words(int16_t *out, size_t stride, const vqi_block *block,
                        const vq_codebook *codebook, size_t first, size_t count, const float *start,
                        const float *penalties, const float *per_unit)
{
    score(out, stride, block, codebook, first, count, start, penalties, per_unit, 2);
}

const vqi_beam_words vqi_beam_words_vnni = {pack_words, score_words};
