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

static float largest_of(const float *x, size_t d)
{
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < d; i += 16)
        most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_maskz_loadu_ps(first_lanes(d - i), x + i)));
    return _mm512_reduce_max_ps(most);
}

static void pack_row(vqi_block *block, const vq_codebook *codebook, size_t r, float scale,
                     float inverse)
{
    const size_t d = codebook->d;
    const float *x = block->centred + r * d;
    int8_t *out = (int8_t *)block->packed + r * row_bytes((uint32_t)d);
    const __m512 step = _mm512_set1_ps(scale), steps = _mm512_set1_ps(inverse);
    const __m512i most = _mm512_set1_epi32(127), least = _mm512_set1_epi32(-127);
    __m512 errors = _mm512_setzero_ps(), reads = _mm512_setzero_ps();
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < d; i += 16) {
        const __mmask16 some = first_lanes(d - i);
        const __m512 v = _mm512_maskz_loadu_ps(some, x + i),
                     w = _mm512_maskz_loadu_ps(some, codebook->weight + i),
                     iw = _mm512_maskz_loadu_ps(some, codebook->inverse_weight + i);
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, steps));
        q = _mm512_max_epi32(_mm512_min_epi32(q, most), least);
        const __m512 steps_of = _mm512_cvtepi32_ps(q), error = _mm512_fnmadd_ps(steps_of, step, v);
        errors = _mm512_fmadd_ps(_mm512_mul_ps(error, error), w, errors);
        reads = _mm512_fmadd_ps(_mm512_mul_ps(steps_of, steps_of), iw, reads);
        sum = _mm512_add_epi32(sum, q);
        _mm_storeu_si128((__m128i *)(void *)(out + i), _mm512_cvtepi32_epi8(q));
    }
    block->start[r] = -128 * _mm512_reduce_add_epi32(sum);
    block->error[r] = _mm512_reduce_add_ps(errors);
    block->read[r] = _mm512_reduce_add_ps(reads) * scale * scale;
}

/* The rows of a tile share one scale, so that their sums can start from the codewords' own terms as integers. */
static void pack(vqi_block *block, const vq_codebook *codebook)
{
    const size_t d = codebook->d;
    const float step = codebook->byte_step, norm = (float)codebook->largest_norm;
    /* Not so fine that those terms, |c'|^2 / 2, would leave the 29 bits that they have. */
    const float finest = step > 0 ? norm * norm / step * 0x1p-29f : 0;
    for (size_t first = 0; first < block->rows; first += ROWS) {
        const size_t end = block->rows - first < ROWS ? block->rows : first + ROWS;
        float scale = 0;
        for (size_t r = first; r < end; r++)
            scale = fmaxf(scale, largest_of(block->centred + r * d, d) / 127);
        scale = fmaxf(scale, finest);
        /* Where the unit or a reciprocal would leave float32, all reads as zeros, and the errors say so. */
        const float unit = scale * step;
        const int usable = scale > 0x1p-100f && unit > 0x1p-100f;
        for (size_t r = first; r < end; r++) {
            pack_row(block, codebook, r, usable ? scale : 0, usable ? 1 / scale : 0);
            block->unit[r] = usable ? unit : 0;
        }
    }
}

/* sum += c . e, four bytes to a lane. As assembly because gcc 12 keeps copies of the sums in memory around the
 * intrinsic, at a third of the speed. */
INLINE void add_products(__m512i *sum, __m512i c, __m512i e)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(c), "v"(e));
}

/* `rows` packed rows and one group of 64 codewords, all sums in registers. */
INLINE void tile(float *peaks, size_t stride, const vqi_block *block, size_t r0, size_t quads,
                 size_t row_stride, const uint8_t *group, const float *start, const int rows)
{
    const int8_t *x = (const int8_t *)block->packed + r0 * row_stride;
    const float unit = block->unit[r0];
    const __m512 per_unit = _mm512_set1_ps(unit > 0 ? 1 / unit : 0);
    /* Of a codeword that was added, whose own term is -infinity (or NaN): below what any other can have. */
    const __m512 least = _mm512_set1_ps(-0x1p30f);
    __m512i sum[ROWS][4];
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        const __m512i term = _mm512_cvtps_epi32(
            _mm512_max_ps(_mm512_mul_ps(_mm512_load_ps(start + 16 * p), per_unit), least));
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            sum[r][p] = term;
    }
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

static void peaks_of(float *peaks, const vqi_block *block, size_t row, size_t end,
                     const vq_codebook *codebook, size_t first, size_t groups)
{
    const size_t quads = ((size_t)codebook->d + 3) / 4, stride = VQI_ROW_STRIDE,
                 row_stride = row_bytes(codebook->d);
    for (size_t g = 0; g < groups; g++) {
        const uint8_t *group = codebook->bytes + (first + g) * quads * 4 * VQI_GROUP;
        const float *start = codebook->start + (first + g) * VQI_GROUP;
        float *out = peaks + g * VQI_LANES;
        size_t r = row;
        for (; r + ROWS <= end; r += ROWS)
            tile(out + (r - row) * stride, stride, block, r, quads, row_stride, group, start, ROWS);
        for (; r < end; r++)
            tile(out + (r - row) * stride, stride, block, r, quads, row_stride, group, start, 1);
    }
}

const vqi_filter vqi_filter_vnni = {.name = "int8",
                                    .integer = 1,
                                    .strip = 24,
                                    .row_bytes = row_bytes,
                                    .pack = pack,
                                    .peaks = peaks_of};
