/* SPDX-License-Identifier: Apache-2.0 */
/* The int8 filter: VPDPBUSD adds four products at once, at four times the rate of float32. The codebook's bytes
 * are unsigned, offset by 128; what the offset adds to a row's sums is taken back by where they start.
 * Compiled with -mavx512vnni and so on (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#include <immintrin.h>
#include <math.h>

#include "vq/nearest_internal.h"

enum { ROWS = 6 }; /* of a register tile: x 4 sums, 24 of 32 registers */

#define INLINE static inline __attribute__((always_inline))

static size_t row_bytes(uint32_t d)
{
    return ((size_t)d + 63) / 64 * 64;
}

static __mmask16 first_lanes(size_t count)
{
    return count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
}

static float pack_row(vqi_block *block, size_t r, uint32_t d)
{
    const float *x = block->centred + r * d;
    int8_t *out = (int8_t *)block->packed + r * row_bytes(d);
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < d; i += 16)
        most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_maskz_loadu_ps(first_lanes(d - i), x + i)));
    const float largest = _mm512_reduce_max_ps(most);
    /* Below this the reciprocal would overflow: such a row is all zeros, and its error says so. */
    const float scale = largest > 0x1p-100f ? largest / 127 : 0;
    const __m512 step = _mm512_set1_ps(scale), inverse = _mm512_set1_ps(scale > 0 ? 1 / scale : 0);
    const __m512i most_int = _mm512_set1_epi32(127), least_int = _mm512_set1_epi32(-127);
    __m512 squares = _mm512_setzero_ps();
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < row_bytes(d); i += 16) {
        const __m512 v =
            i < d ? _mm512_maskz_loadu_ps(first_lanes(d - i), x + i) : _mm512_setzero_ps();
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, inverse));
        q = _mm512_max_epi32(_mm512_min_epi32(q, most_int), least_int);
        const __m512 error = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(q), step, v);
        squares = _mm512_fmadd_ps(error, error, squares);
        sum = _mm512_add_epi32(sum, q);
        _mm_storeu_si128((__m128i *)(void *)(out + i), _mm512_cvtepi32_epi8(q));
    }
    block->scale[r] = scale;
    block->start[r] = -128 * _mm512_reduce_add_epi32(sum);
    return sqrtf(_mm512_reduce_add_ps(squares));
}

/* sum += c . e, four bytes to a lane. As assembly because gcc 12 keeps copies of the sums in memory around the
 * intrinsic, at a third of the speed. */
INLINE void add_products(__m512i *sum, __m512i c, __m512i e)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(c), "v"(e));
}

/* `rows` packed rows and one group of 64 codewords, all sums in registers. */
INLINE void tile(float *peaks, size_t stride, const vqi_block *block, size_t r0, size_t quads,
                 size_t row_stride, const uint8_t *group, const float *start, float byte_step,
                 const int rows)
{
    const int8_t *x = (const int8_t *)block->packed + r0 * row_stride;
    __m512i sum[ROWS][4];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++)
            sum[r][p] = _mm512_set1_epi32(block->start[r0 + (size_t)r]);
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
    const __m512 start0 = _mm512_load_ps(start), start1 = _mm512_load_ps(start + 16),
                 start2 = _mm512_load_ps(start + 32), start3 = _mm512_load_ps(start + 48);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        const __m512 scale = _mm512_set1_ps(block->scale[r0 + (size_t)r] * byte_step);
        const __m512 s0 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][0]), scale, start0),
                     s1 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][1]), scale, start1),
                     s2 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][2]), scale, start2),
                     s3 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][3]), scale, start3);
        _mm512_storeu_ps(peaks + (size_t)r * stride,
                         _mm512_max_ps(_mm512_max_ps(s0, s1), _mm512_max_ps(s2, s3)));
    }
}

static void peaks_of(float *peaks, const vqi_block *block, const vq_codebook *codebook,
                     size_t first, size_t groups)
{
    const size_t quads = ((size_t)codebook->d + 3) / 4, stride = groups * VQI_LANES,
                 row_stride = row_bytes(codebook->d), rows = block->rows;
    for (size_t g = 0; g < groups; g++) {
        const uint8_t *group = codebook->bytes + (first + g) * quads * 4 * VQI_GROUP;
        const float *start = codebook->start + (first + g) * VQI_GROUP;
        float *out = peaks + g * VQI_LANES;
        size_t r = 0;
        for (; r + ROWS <= rows; r += ROWS)
            tile(out + r * stride, stride, block, r, quads, row_stride, group, start,
                 codebook->byte_step, ROWS);
        for (; r < rows; r++)
            tile(out + r * stride, stride, block, r, quads, row_stride, group, start,
                 codebook->byte_step, 1);
    }
}

const vqi_filter vqi_filter_vnni = {
    .name = "int8", .integer = 1, .row_bytes = row_bytes, .pack_row = pack_row, .peaks = peaks_of};
