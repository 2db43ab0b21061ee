/* SPDX-License-Identifier: Apache-2.0 */
/* The integer filters: VPDPBUSD adds four products of bytes at once, VPDPWSSD two of words (int16), at four times and
 * twice the rate of float32. The codebook's bytes are unsigned, offset by 128; what the offset adds to a row's sums is taken
 * back at their end. A function's `width` is that of an element in bytes.
 * Compiled with -mavx512vnni and so on (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#include <immintrin.h>
#include <math.h>

#include "vq/nearest_internal.h"
#include "vq/vnni_tile_internal.h"

#define INLINE static inline __attribute__((always_inline))

static size_t row_of_bytes(uint32_t d)
{
    return vqi_tile_row_bytes(d, 1);
}

static size_t row_of_words(uint32_t d)
{
    return vqi_tile_row_bytes(d, 2);
}

static float largest_of(const float *x, size_t d)
{
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < d; i += 16)
        most = _mm512_max_ps(most,
                             _mm512_abs_ps(_mm512_maskz_loadu_ps(vqi_first_lanes(d - i), x + i)));
    return _mm512_reduce_max_ps(most);
}

INLINE void pack_row(vqi_block *block, const vq_codebook *codebook, size_t r, float scale,
                     float inverse, const int width)
{
    const size_t d = codebook->d;
    const float *x = block->centred + r * d;
    char *out = (char *)block->packed + r * vqi_tile_row_bytes(d, width);
    const __m512 step = _mm512_set1_ps(scale), steps = _mm512_set1_ps(inverse);
    const int range = width == 1 ? 127 : 32767;
    const __m512i most = _mm512_set1_epi32(range), least = _mm512_set1_epi32(-range);
    __m512 errors = _mm512_setzero_ps(), reads = _mm512_setzero_ps();
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < d; i += 16) {
        const __mmask16 some = vqi_first_lanes(d - i);
        const __m512 v = _mm512_maskz_loadu_ps(some, x + i),
                     w = _mm512_maskz_loadu_ps(some, codebook->weight + i),
                     iw = _mm512_maskz_loadu_ps(some, codebook->inverse_weight + i);
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, steps));
        q = _mm512_max_epi32(_mm512_min_epi32(q, most), least);
        const __m512 steps_of = _mm512_cvtepi32_ps(q), error = _mm512_fnmadd_ps(steps_of, step, v);
        errors = _mm512_fmadd_ps(_mm512_mul_ps(error, error), w, errors);
        reads = _mm512_fmadd_ps(_mm512_mul_ps(steps_of, steps_of), iw, reads);
        sum = _mm512_add_epi32(sum, q);
        if (width == 1)
            _mm_storeu_si128((__m128i *)(void *)(out + i), _mm512_cvtepi32_epi8(q));
        else
            _mm256_storeu_si256((__m256i *)(void *)(out + 2 * i), _mm512_cvtepi32_epi16(q));
    }
    block->start[r] = width == 1 ? -128 * _mm512_reduce_add_epi32(sum) : 0;
    block->error[r] = _mm512_reduce_add_ps(errors);
    block->read[r] = _mm512_reduce_add_ps(reads) * scale * scale;
}

INLINE void pack(vqi_block *block, const vq_codebook *codebook, const int width)
{
    const size_t d = codebook->d;
    const float step = codebook->coarse[vqi_tile_form(width)].step;
    for (size_t first = 0; first < block->rows; first += VQI_TILE_ROWS) {
        const size_t end =
            block->rows - first < VQI_TILE_ROWS ? block->rows : first + VQI_TILE_ROWS;
        float scale = 0;
        for (size_t r = first; r < end; r++)
            scale = fmaxf(scale, width == 1 ? largest_of(block->centred + r * d, d) / 127
                                            : vqi_words_scale(block->square[r]));
        scale = vqi_tile_scale(scale, codebook, width);
        for (size_t r = first; r < end; r++) {
            pack_row(block, codebook, r, scale, scale > 0 ? 1 / scale : 0, width);
            block->unit[r] = scale * step;
        }
    }
}

/* `rows` packed rows and one group of 64 codewords, all sums in registers. */
INLINE void tile(float *peaks, size_t stride, const vqi_block *block, size_t r0, size_t d,
                 const char *group, const float *start, const int rows, const int width)
{
    const size_t row_stride = vqi_tile_row_bytes(d, width);
    const float unit = block->unit[r0];
    const __m512 per_unit = _mm512_set1_ps(unit > 0 ? 1 / unit : 0);
    /* Of a codeword that was added, whose own term is -infinity (or NaN): below what any other can have. */
    const __m512 least = _mm512_set1_ps(-0x1p30f);
    __m512i sum[VQI_TILE_ROWS][4];
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        const __m512i term = _mm512_cvtps_epi32(
            _mm512_max_ps(_mm512_mul_ps(_mm512_load_ps(start + 16 * p), per_unit), least));
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            sum[r][p] = term;
    }
    vqi_tile_multiply(sum, (const char *)block->packed + r0 * row_stride, row_stride,
                      vqi_tile_lanes(d, width), group, rows, width);
    const __m512 units = _mm512_set1_ps(unit);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        const __m512i most = _mm512_max_epi32(_mm512_max_epi32(sum[r][0], sum[r][1]),
                                              _mm512_max_epi32(sum[r][2], sum[r][3]));
        const __m512i score =
            _mm512_add_epi32(most, _mm512_set1_epi32(block->start[r0 + (size_t)r]));
        _mm512_storeu_ps(peaks + (size_t)r * stride,
                         _mm512_mul_ps(_mm512_cvtepi32_ps(score), units));
    }
}

INLINE void peaks_of(float *peaks, const vqi_block *block, size_t row, size_t end,
                     const vq_codebook *codebook, size_t first, size_t groups, const int width)
{
    const size_t d = codebook->d, stride = VQI_ROW_STRIDE;
    const char *data = codebook->coarse[vqi_tile_form(width)].data;
    for (size_t g = 0; g < groups; g++) {
        const char *group = data + (first + g) * vqi_tile_lanes(d, width) * 4 * VQI_GROUP;
        const float *start = codebook->start + (first + g) * VQI_GROUP;
        float *out = peaks + g * VQI_LANES;
        size_t r = row;
        for (; r + VQI_TILE_ROWS <= end; r += VQI_TILE_ROWS)
            tile(out + (r - row) * stride, stride, block, r, d, group, start, VQI_TILE_ROWS, width);
        for (; r < end; r++)
            tile(out + (r - row) * stride, stride, block, r, d, group, start, 1, width);
    }
}

static void pack_bytes(vqi_block *block, const vq_codebook *codebook)
{
    pack(block, codebook, 1);
}

static void pack_words(vqi_block *block, const vq_codebook *codebook)
{
    pack(block, codebook, 2);
}

static void peaks_of_bytes(float *peaks, const vqi_block *block, size_t row, size_t end,
                           const vq_codebook *codebook, size_t first, size_t groups)
{
    peaks_of(peaks, block, row, end, codebook, first, groups, 1);
}

static void peaks_of_words(float *peaks, const vqi_block *block, size_t row, size_t end,
                           const vq_codebook *codebook, size_t first, size_t groups)
{
    peaks_of(peaks, block, row, end, codebook, first, groups, 2);
}

const vqi_filter vqi_filter_bytes = {.name = "int8",
                                     .form = VQI_BYTES,
                                     .strip = 24,
                                     .row_bytes = row_of_bytes,
                                     .pack = pack_bytes,
                                     .peaks = peaks_of_bytes};
const vqi_filter vqi_filter_words = {.name = "int16",
                                     .form = VQI_WORDS,
                                     .strip = 24,
                                     .row_bytes = row_of_words,
                                     .pack = pack_words,
                                     .peaks = peaks_of_words};
