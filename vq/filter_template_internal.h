/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/filter_template_internal.h
 * The float32 filter and what the shortlist does with its peaks, written once with the compiler's vector types
 * and compiled for each instruction set: the including file defines LANES (floats of a register: 4, 8, 16),
 * ROWS (of a register tile), perhaps PANEL_ROWS (of one over a panel) and OPS (the name of its table). Compiled with
 * -ffp-contract=fast: multiply and add fuse where the processor can, which the bounds allow for.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>
#if LANES > 4
#include <immintrin.h>
#endif

#include "vq/nearest_internal.h"

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float vec_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define LOAD(p)     ((vec) * (const vec_unaligned *)(p))
#define STORE(p, v) (*(vec_unaligned *)(p) = (vec_unaligned)(v))

INLINE vec larger(vec a, vec b)
{
#if LANES == 16
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    const ivec more = a > b;
    return (vec)((more & (ivec)a) | (~more & (ivec)b));
#endif
}

/* The first `count` (less than LANES) floats, and zeros. */
INLINE vec load_some(const float *p, size_t count)
{
#if LANES == 16
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#elif LANES == 8
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return (vec)_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lane));
#else
    vec v = {0};
    for (size_t i = 0; i < count; i++)
        v[i] = p[i];
    return v;
#endif
}

INLINE float sum_of(vec v)
{
#if LANES == 16
    return _mm512_reduce_add_ps((__m512)v);
#else
    float sum = 0;
    for (int l = 0; l < LANES / 2; l++)
        sum += v[l] + v[l + LANES / 2];
    return sum;
#endif
}

/* sums[j] = the sum of the lanes of v[j]. */
INLINE void four_sums(float sums[4], const vec v[4])
{
#if LANES > 4
    __m128 q[4];
    for (int j = 0; j < 4; j++) {
#if LANES == 16
        const __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)v[j]),
                                          _mm512_extractf32x8_ps((__m512)v[j], 1));
#else
        const __m256 half = (__m256)v[j];
#endif
        q[j] = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    }
    _MM_TRANSPOSE4_PS(q[0], q[1], q[2], q[3]);
    _mm_storeu_ps(sums, _mm_add_ps(_mm_add_ps(q[0], q[1]), _mm_add_ps(q[2], q[3])));
#else
    for (int j = 0; j < 4; j++)
        sums[j] = sum_of(v[j]);
#endif
}

/* `rows` rows and one group of 64 codewords, LANES of each 16 at a time, all sums in registers. */
INLINE void tile(float *peaks, size_t stride, const float *x, size_t d, const float *group,
                 const float *start, const int rows)
{
    for (int half = 0; half < VQI_LANES; half += LANES) {
        vec sum[ROWS][4];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++)
                sum[r][p] = LOAD(start + p * VQI_LANES + half);
        const float *c = group + half;
        for (size_t i = 0; i < d; i++, c += VQI_GROUP) {
            const vec c0 = LOAD(c), c1 = LOAD(c + VQI_LANES), c2 = LOAD(c + 2 * VQI_LANES),
                      c3 = LOAD(c + 3 * VQI_LANES);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const vec e = x[(size_t)r * d + i] - (vec){0};
                sum[r][0] += e * c0;
                sum[r][1] += e * c1;
                sum[r][2] += e * c2;
                sum[r][3] += e * c3;
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            STORE(peaks + (size_t)r * stride + half,
                  larger(larger(sum[r][0], sum[r][1]), larger(sum[r][2], sum[r][3])));
    }
}

#ifdef PANEL_ROWS
/* From so many dimensions on a group would not stay in a level-1 cache beside the rows, and its panels of 16 codewords do:
 * measured in AVX2, a third more at d = 256, nothing at 64 and 128, an eighth less at 8. */
enum { PANELS_FROM_D = 160, PANEL_SUMS = VQI_LANES / LANES };

/* `rows` rows and one panel, all sums in registers; the peaks of the panels before it are in their places. */
INLINE void panel_tile(float *peaks, const float *x, size_t d, const float *panel,
                       const float *start, int first, const int rows)
{
    vec sum[PANEL_ROWS][PANEL_SUMS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int s = 0; s < PANEL_SUMS; s++)
            sum[r][s] = LOAD(start + s * LANES);
    for (size_t i = 0; i < d; i++, panel += VQI_GROUP) {
        vec c[PANEL_SUMS];
#pragma GCC unroll 4
        for (int s = 0; s < PANEL_SUMS; s++)
            c[s] = LOAD(panel + s * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const vec e = x[(size_t)r * d + i] - (vec){0};
#pragma GCC unroll 4
            for (int s = 0; s < PANEL_SUMS; s++)
                sum[r][s] += e * c[s];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++, peaks += VQI_ROW_STRIDE)
#pragma GCC unroll 4
        for (int s = 0; s < PANEL_SUMS; s++)
            STORE(peaks + s * LANES,
                  first ? sum[r][s] : larger(sum[r][s], LOAD(peaks + s * LANES)));
}

static void peaks_by_panels(float *peaks, const float *x, size_t rows, size_t d, const float *group,
                            const float *start)
{
    for (size_t p = 0; p < VQI_GROUP; p += VQI_LANES) {
        size_t r = 0;
        for (; r + PANEL_ROWS <= rows; r += PANEL_ROWS)
            panel_tile(peaks + r * VQI_ROW_STRIDE, x + r * d, d, group + p, start + p, !p,
                       PANEL_ROWS);
        for (; r < rows; r++)
            panel_tile(peaks + r * VQI_ROW_STRIDE, x + r * d, d, group + p, start + p, !p, 1);
    }
}
#endif

static void peaks_of(float *peaks, const vqi_block *block, size_t row, size_t end,
                     const vq_codebook *codebook, size_t first, size_t groups)
{
    const size_t d = codebook->d, stride = VQI_ROW_STRIDE, rows = end - row;
    const float *x = block->centred + row * d;
    for (size_t g = 0; g < groups; g++) {
        const float *group = codebook->groups + (first + g) * VQI_GROUP * d;
        const float *start = codebook->start + (first + g) * VQI_GROUP;
        float *out = peaks + g * VQI_LANES;
#ifdef PANEL_ROWS
        if (d >= PANELS_FROM_D) {
            peaks_by_panels(out, x, rows, d, group, start);
            continue;
        }
#endif
        size_t r = 0;
        for (; r + ROWS <= rows; r += ROWS)
            tile(out + r * stride, stride, x + r * d, d, group, start, ROWS);
        for (; r < rows; r++)
            tile(out + r * stride, stride, x + r * d, d, group, start, 1);
    }
}

static int centre(vqi_block *block, const float *x, const vq_codebook *codebook)
{
    const size_t d = codebook->d;
    const float *m = codebook->centre;
    float bad = 0; /* 0 * finite is 0; 0 * NaN and 0 * infinity are NaN, which stays */
    for (size_t r = 0; r < block->rows; r++, x += d) {
        float *out = block->centred + r * d;
        vec sum = {0};
        size_t i = 0;
        for (; i + LANES <= d; i += LANES) {
            const vec t = LOAD(x + i) - LOAD(m + i);
            STORE(out + i, t);
            sum += t * t;
        }
        if (i < d) {
            const vec t = load_some(x + i, d - i) - load_some(m + i, d - i);
            STORE(out + i,
                  t); /* zeros beyond the row, where the next row or a register of room follows */
            sum += t * t;
        }
        block->square[r] = sum_of(sum);
        bad += block->square[r] * 0.0f;
    }
    return bad == 0;
}

INLINE float largest_of(vec v)
{
#if LANES == 16
    return _mm512_reduce_max_ps((__m512)v);
#else
    float most = v[0];
    for (int l = 1; l < LANES; l++)
        most = v[l] > most ? v[l] : most;
    return most;
#endif
}

/* Bit l is set if lane l is at least `lowest`. */
INLINE uint32_t at_least(vec s, float lowest)
{
#if LANES == 16
    return _mm512_cmp_ps_mask((__m512)s, _mm512_set1_ps(lowest), _CMP_GE_OQ);
#elif LANES == 8
    return (uint32_t)_mm256_movemask_ps(
        _mm256_cmp_ps((__m256)s, _mm256_set1_ps(lowest), _CMP_GE_OQ));
#else
    uint32_t bits = 0;
    for (int l = 0; l < LANES; l++)
        bits |= (uint32_t)(s[l] >= lowest) << l;
    return bits;
#endif
}

/* What the peaks of `groups` groups may be off for row r. */
INLINE void bounds_of(float *bounds, const vqi_bound *bound, size_t r, size_t first, size_t groups)
{
    const float error = bound->error[r], read = bound->read[r], rest = bound->rest[r];
    const float *norm = bound->norm + first, *code_error = bound->code_error + first;
    size_t g = 0;
    for (; g + LANES <= groups; g += LANES)
        STORE(bounds + g, error * LOAD(norm + g) + (read * LOAD(code_error + g) + rest));
    for (; g < groups; g++)
        bounds[g] = error * norm[g] + (read * code_error[g] + rest);
}

static void find_tops(float *tops, float *bounds, const float *peaks, size_t row, size_t end,
                      size_t first, size_t groups, const vqi_bound *bound)
{
    for (size_t r = row; r < end; r++, bounds += VQI_CHUNK, peaks += VQI_ROW_STRIDE) {
        bounds_of(bounds, bound, r, first, groups);
        vec a = -INFINITY - (vec){0}, b = a;
        for (size_t g = 0; g < groups; g++)
            for (size_t l = 0; l < VQI_LANES; l += LANES) {
                const vec lower = LOAD(peaks + g * VQI_LANES + l) - bounds[g];
                if ((LANES < VQI_LANES ? l / LANES : g) % 2)
                    b = larger(lower, b);
                else
                    a = larger(lower, a);
            }
        *tops++ = largest_of(larger(a, b));
    }
}

static void find_maxima(float maxima[64], const float *peaks, const float *bounds, size_t groups)
{
    for (size_t i = 0; i < 64; i += LANES)
        STORE(maxima + i, -INFINITY - (vec){0});
    for (size_t g = 0; g < groups; g++)
        for (size_t l = 0; l < VQI_LANES; l += LANES, peaks += LANES) {
            float *most = maxima + g % 4 * VQI_LANES + l;
            STORE(most, larger(LOAD(peaks) - bounds[g], LOAD(most)));
        }
}

/* The lanes of four groups whose upper bounds are at least `lowest`, as bits. */
INLINE uint64_t lanes_of_four(const float *peaks, const float *bounds, float lowest)
{
#if LANES == 16
    __mmask16 m[4];
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++)
        m[g] = _mm512_cmp_ps_mask((__m512)(LOAD(peaks + g * VQI_LANES) + bounds[g]),
                                  _mm512_set1_ps(lowest), _CMP_GE_OQ);
    return _cvtmask64_u64(
        _mm512_kunpackd(_mm512_kunpackw(m[3], m[2]), _mm512_kunpackw(m[1], m[0])));
#else
    uint64_t bits = 0;
    for (size_t i = 0; i < 4 * VQI_LANES; i += LANES)
        bits |= (uint64_t)at_least(LOAD(peaks + i) + bounds[i / VQI_LANES], lowest) << i;
    return bits;
#endif
}

static size_t find_lanes(vqi_lane *lanes, uint32_t row, const float *peaks, const float *bounds,
                         size_t first, size_t groups, float lowest)
{
    uint64_t words[VQI_CHUNK / 4] = {0};
    size_t g = 0;
    for (; g + 4 <= groups; g += 4)
        words[g / 4] = lanes_of_four(peaks + g * VQI_LANES, bounds + g, lowest);
    for (; g < groups; g++)
        for (size_t l = 0; l < VQI_LANES; l += LANES) {
            const uint64_t bits = at_least(LOAD(peaks + g * VQI_LANES + l) + bounds[g], lowest);
            words[g / 4] |= bits << (g % 4 * VQI_LANES + l);
        }
    size_t n = 0;
    for (size_t w = 0; w < VQI_CHUNK / 4; w++)
        n += (size_t)__builtin_popcountll(words[w]);
    /* One loop with no other branch in it: how many there are is guessed well, where they are is not. */
    for (size_t i = 0; i < n; i++) {
        const size_t w =
            (size_t)!words[0] + !(words[0] | words[1]) + !(words[0] | words[1] | words[2]);
        const uint32_t at = (uint32_t)w * 64 + (uint32_t)__builtin_ctzll(words[w]);
        const float off = bounds[at / VQI_LANES];
        words[w] &= words[w] - 1;
        lanes[i] = (vqi_lane){row, ((uint32_t)first + at / VQI_LANES) * VQI_GROUP + at % VQI_LANES,
                              peaks[at] - off, peaks[at] + off};
    }
    return n;
}

INLINE void score_lane(float scores[4], const float *x, const vq_codebook *codebook, uint32_t place)
{
    const size_t d = codebook->d;
    const float *m = codebook->centre, *c[4];
    vec sums[4] = {{0}, {0}, {0}, {0}};
    for (uint32_t j = 0; j < 4; j++)
        c[j] = codebook->codewords + codebook->order[place + j * VQI_LANES] * d;
    size_t i = 0;
    for (; i + LANES <= d; i += LANES) {
        const vec e = LOAD(x + i), centre_i = LOAD(m + i);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            sums[j] += e * (LOAD(c[j] + i) - centre_i);
    }
    if (i < d) {
        const size_t n = d - i;
        const vec e = load_some(x + i, n), centre_i = load_some(m + i, n);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            sums[j] += e * (load_some(c[j] + i, n) - centre_i);
    }
    four_sums(scores, sums);
    for (uint32_t j = 0; j < 4; j++) /* a place that was added starts, and ends, at -infinity */
        scores[j] += codebook->start[place + j * VQI_LANES];
}

/* The beginning of a codeword, after which the hardware foresees the rest. */
INLINE void prefetch(const float *codeword, size_t d)
{
    enum { LINE = 16, MOST = 16 * LINE };
    for (size_t i = 0; i < d && i < MOST; i += LINE)
        __builtin_prefetch(codeword + i);
}

static void score_lanes(float (*scores)[4], const vqi_lane *lanes, size_t count,
                        const vqi_block *block, const vq_codebook *codebook)
{
    const size_t d = codebook->d;
    for (size_t i = 0; i < count; i++) {
        if (i + 2 < count) /* codewords are far apart: no hardware foresees the next */
            for (size_t j = 0; j < 4; j++)
                prefetch(codebook->codewords +
                             codebook->order[lanes[i + 2].place + j * VQI_LANES] * d,
                         d);
        score_lane(scores[i], block->centred + lanes[i].row * d, codebook, lanes[i].place);
    }
}

typedef double dvec __attribute__((vector_size(4 * LANES)));
typedef float half_vec __attribute__((vector_size(2 * LANES)));
typedef double dvec_unaligned __attribute__((vector_size(4 * LANES), aligned(8), may_alias));
typedef float half_unaligned __attribute__((vector_size(2 * LANES), aligned(4), may_alias));

enum { DOUBLES = LANES / 2, MAP_COLUMNS = 2 /* of y at once */ };

static void map_rows(float *y, const double *x, size_t rows, const float *map, size_t r, size_t d)
{
    for (size_t i = 0; i < r; i += MAP_COLUMNS) {
        const float *w[MAP_COLUMNS] = {map + i * d, map + (i + 1 < r ? i + 1 : i) * d};
        dvec sums[MAP_COLUMNS][VQI_MAP_ROWS] = {{{0}}};
        size_t j = 0;
        for (; j + DOUBLES <= d; j += DOUBLES) {
            dvec v[MAP_COLUMNS];
#pragma GCC unroll 2
            for (int c = 0; c < MAP_COLUMNS; c++)
                v[c] =
                    __builtin_convertvector((half_vec) * (const half_unaligned *)(w[c] + j), dvec);
#pragma GCC unroll 4
            for (int n = 0; n < VQI_MAP_ROWS; n++) {
                const dvec e = (dvec) * (const dvec_unaligned *)(x + (size_t)n * d + j);
#pragma GCC unroll 2
                for (int c = 0; c < MAP_COLUMNS; c++)
                    sums[c][n] += v[c] * e;
            }
        }
        for (size_t c = 0; c < MAP_COLUMNS && i + c < r; c++)
            for (size_t n = 0; n < rows; n++) {
                double sum = 0;
                for (int l = 0; l < DOUBLES; l++)
                    sum += sums[c][n][l];
                for (size_t rest = j; rest < d; rest++)
                    sum += (double)w[c][rest] * x[n * d + rest];
                y[n * r + i + c] = (float)sum;
            }
    }
}

const vqi_float_ops OPS = {
    .filter = {.name = "float32", .strip = 24, .peaks = peaks_of},
    .centre = centre,
    .find_tops = find_tops,
    .find_maxima = find_maxima,
    .find_lanes = find_lanes,
    .score_lanes = score_lanes,
    .map_rows = map_rows,
};
