/* SPDX-License-Identifier: Apache-2.0 */
/* The beam search's scores from int16 on processors with AVX2 and no VNNI. Compiled with -mavx2 and so on; called only where
 * vq_cpu_flags() says so. */
#include <immintrin.h>

#include "rvq/beam_words_internal.h"
#include "vq/madd_tile_internal.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m256i pack_eight(__m256 *errors, const float *x, size_t count, __m256 step, __m256 steps)
{
    const __m256 v = vqi_load_first(x, count);
    const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(v, steps));
    const __m256 error = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(q), step, v);
    *errors = _mm256_fmadd_ps(error, error, *errors);
    return q;
}

static void pack(vqi_block *block, const vq_codebook *codebook)
{
    const size_t d = codebook->d, row_words = vqi_tile_row_bytes(d, 2) / 2;
    for (size_t r = 0; r < block->rows; r++) {
        const float *x = block->centred + r * d;
        int16_t *out = (int16_t *)block->packed + r * row_words;
        const float norm = vqi_beam_row_norm(block, r), scale = vqi_beam_row_scale(norm, codebook);
        const __m256 step = _mm256_set1_ps(scale),
                     steps = _mm256_set1_ps(scale > 0 ? 1 / scale : 0);
        __m256 errors = _mm256_setzero_ps();
        for (size_t i = 0; i < d; i += 16) {
            const size_t rest = d - i > 8 ? d - i - 8 : 0;
            const __m256i low = pack_eight(&errors, x + i, d - i, step, steps),
                          high = pack_eight(&errors, x + i + 8, rest, step, steps);
            _mm256_store_si256((__m256i *)(void *)(out + i), vqi_to_words(low, high));
        }
        block->unit[r] = scale * codebook->coarse[VQI_WORDS].step;
        block->error[r] = vqi_beam_row_error(vqi_sum_of(errors), norm);
    }
}

/* `rows` packed rows and one panel of 16 codewords, all sums in registers. */
INLINE void tile(int16_t *out, size_t stride, const vqi_block *block, size_t r0, size_t d,
                 const char *panel, const float *start, const float *penalties,
                 const float *per_unit, const int rows)
{
    const size_t row_stride = vqi_tile_row_bytes(d, 2);
    __m256i sum[VQI_TILE_ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    vqi_madd_multiply(sum, (const char *)block->packed + r0 * row_stride, row_stride,
                      vqi_tile_lanes(d, 2), panel, rows);
    __m256 own[2];
#pragma GCC unroll 2
    for (int s = 0; s < 2; s++) {
        own[s] = _mm256_load_ps(start + 8 * s);
        if (penalties)
            own[s] = _mm256_sub_ps(own[s], _mm256_load_ps(penalties + 8 * s));
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        const __m256 unit = _mm256_set1_ps(block->unit[r0 + (size_t)r]),
                     scale = _mm256_set1_ps(per_unit[r]);
        __m256i whole[2];
#pragma GCC unroll 2
        for (int s = 0; s < 2; s++) /* a float below what int32 holds becomes its least */
            whole[s] = _mm256_cvtps_epi32(
                _mm256_mul_ps(_mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[r][s]), unit, own[s]), scale));
        _mm256_storeu_si256((__m256i *)(void *)(out + (size_t)r * stride),
                            vqi_to_words(whole[0], whole[1]));
    }
}

static void score(int16_t *out, size_t stride, const vqi_block *block, const vq_codebook *codebook,
                  size_t first, size_t count, const float *start, const float *penalties,
                  const float *per_unit)
{
    const size_t d = codebook->d, rows = block->rows, bytes = vqi_tile_lanes(d, 2) * 4;
    const char *data = codebook->coarse[VQI_WORDS].data;
    for (size_t p = first; p < first + count; p += VQI_LANES, out += VQI_LANES) {
        const char *panel = data + p / VQI_GROUP * VQI_GROUP * bytes + p % VQI_GROUP * 4;
        const float *panel_penalties = penalties ? penalties + p : NULL;
        size_t r = 0;
        for (; r + VQI_TILE_ROWS <= rows; r += VQI_TILE_ROWS)
            tile(out + r * stride, stride, block, r, d, panel, start + p, panel_penalties,
                 per_unit + r, VQI_TILE_ROWS);
        for (; r < rows; r++)
            tile(out + r * stride, stride, block, r, d, panel, start + p, panel_penalties,
                 per_unit + r, 1);
    }
}

const vqi_beam_words vqi_beam_words_madd = {pack, score};
