/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/contract_template_internal.h
 * The contract kernels, written once with the compiler's vector types and compiled for each instruction set
 * under the name CONTRACT. Vector types are IEEE arithmetic lane by lane, so every set gives the same bits;
 * -ffp-contract=off keeps multiply and add apart.
 */
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "vq/nearest_internal.h"

#define INLINE static inline __attribute__((always_inline))

typedef float vec4 __attribute__((vector_size(16)));
typedef float vec8 __attribute__((vector_size(32)));
typedef float vec8_unaligned __attribute__((vector_size(32), aligned(4), may_alias));

#define LOAD8(p) ((vec8) * (const vec8_unaligned *)(p))

/* The first `count` (less than 8) floats, and zeros. */
INLINE void load_some(vec8 *v, const float *p, size_t count)
{
#if defined(__AVX2__)
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    *v = (vec8)_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lane));
#else
    *v = (vec8){0};
    memcpy(v, p, count * sizeof *p);
#endif
}

static int all_finite(const float *x, size_t count)
{
    /* 0 * finite is 0; 0 * NaN and 0 * infinity are NaN, which stays. */
    vec8 a = {0}, b = {0};
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        a += LOAD8(x + i) * 0.0f;
        b += LOAD8(x + i + 8) * 0.0f;
    }
    a += b;
    float sum = 0;
    for (int lane = 0; lane < 8; lane++)
        sum += a[lane];
    for (; i < count; i++)
        sum += x[i] * 0.0f;
    return sum == 0.0f;
}

/* The eight lanes are the contract's eight partial sums. */
INLINE void add_terms(vec8 *p, const vec8 *x, const vec8 *c, const int euclidean)
{
    const vec8 t = euclidean ? *x - *c : *x;
    *p += t * (euclidean ? t : *c);
}

INLINE float tree(const vec8 *sums)
{
    const vec8 p = *sums;
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

/* The same of four, which the lanes share. */
INLINE vec4 four_trees(const vec8 *p)
{
    vec4 q[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        q[j] = __builtin_shufflevector(p[j], p[j], 0, 1, 2, 3) +
               __builtin_shufflevector(p[j], p[j], 4, 5, 6, 7);
    const vec4 a = __builtin_shufflevector(q[0], q[1], 0, 1, 4, 5) +
                   __builtin_shufflevector(q[0], q[1], 2, 3, 6, 7),
               b = __builtin_shufflevector(q[2], q[3], 0, 1, 4, 5) +
                   __builtin_shufflevector(q[2], q[3], 2, 3, 6, 7);
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
}

/* `count` codewords side by side: their additions do not wait for each other. */
INLINE void score(float *scores, const float *x, const float *c, size_t d, const int count,
                  const int euclidean)
{
    vec8 p[4] = {{0}, {0}, {0}, {0}};
    size_t i = 0;
    for (; i + 8 <= d; i += 8) {
        const vec8 u = LOAD8(x + i);
#pragma GCC unroll 4
        for (int j = 0; j < count; j++) {
            const vec8 v = LOAD8(c + (size_t)j * d + i);
            add_terms(&p[j], &u, &v, euclidean);
        }
    }
    if (i < d) { /* the missing elements add +0, which changes no sum that began at +0 */
        vec8 u, v;
        load_some(&u, x + i, d - i);
#pragma GCC unroll 4
        for (int j = 0; j < count; j++) {
            load_some(&v, c + (size_t)j * d + i, d - i);
            add_terms(&p[j], &u, &v, euclidean);
        }
    }
    if (count == 4) {
        const vec4 four = four_trees(p);
        memcpy(scores, &four, sizeof four);
        return;
    }
    for (int j = 0; j < count; j++)
        scores[j] = tree(&p[j]);
}

INLINE void score_all(float *scores, const float *x, const float *codewords, size_t count, size_t d,
                      const int euclidean)
{
    size_t k = 0;
    for (; k + 4 <= count; k += 4)
        score(scores + k, x, codewords + k * d, d, 4, euclidean);
    for (; k < count; k++)
        score(scores + k, x, codewords + k * d, d, 1, euclidean);
}

static void distances(float *scores, const float *x, const float *codewords, size_t count, size_t d)
{
    score_all(scores, x, codewords, count, d, 1);
}

static void dots(float *scores, const float *x, const float *codewords, size_t count, size_t d)
{
    score_all(scores, x, codewords, count, d, 0);
}

/* Four pairs side by side. */
INLINE void score_pairs(float *scores, const float *const *x, const float *const *c, size_t d)
{
    vec8 p[4] = {{0}, {0}, {0}, {0}};
    size_t i = 0;
    for (; i + 8 <= d; i += 8)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            const vec8 u = LOAD8(x[j] + i), v = LOAD8(c[j] + i);
            add_terms(&p[j], &u, &v, 1);
        }
    for (int j = 0; i < d && j < 4; j++) {
        vec8 u, v;
        load_some(&u, x[j] + i, d - i);
        load_some(&v, c[j] + i, d - i);
        add_terms(&p[j], &u, &v, 1);
    }
    const vec4 four = four_trees(p);
    memcpy(scores, &four, sizeof four);
}

static void pair_distances(float *scores, const float *const *x, const float *const *c,
                           size_t count, size_t d)
{
    size_t k = 0;
    for (; k + 4 <= count; k += 4) {
        for (size_t j = k + 4; j < k + 8 && j < count; j++) /* no hardware foresees the next */
            for (size_t i = 0; i < d; i += 16)
                __builtin_prefetch(c[j] + i);
        score_pairs(scores + k, x + k, c + k, d);
    }
    for (; k < count; k++)
        score(scores + k, x[k], c[k], d, 1, 1);
}

/* The first of the best four. Without a branch, which no hardware would foresee. */
INLINE uint32_t first_best(const float *scores, const int euclidean)
{
#if defined(__SSE2__)
    const __m128 s = _mm_loadu_ps(scores);
    __m128 best = _mm_shuffle_ps(s, s, 0x4e);
    best = euclidean ? _mm_min_ps(s, best) : _mm_max_ps(s, best);
    const __m128 other = _mm_shuffle_ps(best, best, 0xb1);
    best = euclidean ? _mm_min_ps(best, other) : _mm_max_ps(best, other);
    /* Were one a NaN, perhaps none would be equal: the bit keeps the answer within the four. */
    return (uint32_t)__builtin_ctz((unsigned)_mm_movemask_ps(_mm_cmpeq_ps(s, best)) | 8);
#else
    uint32_t best = 0;
    for (uint32_t j = 1; j < VQI_SHORT_FEW; j++)
        best = (euclidean ? scores[j] < scores[best] : scores[j] > scores[best]) ? j : best;
    return best;
#endif
}

INLINE void decide_few(uint32_t *codes, const float *x, size_t rows, const float *codewords,
                       uint32_t k, size_t d, const int euclidean)
{
    for (size_t r = 0; r < rows; r++) {
        const size_t first = (size_t)codes[r] * VQI_SHORT_FEW, left = k - first;
        float scores[VQI_SHORT_FEW] = {0};
        if (left >= VQI_SHORT_FEW)
            score(scores, x + r * d, codewords + first * d, d, VQI_SHORT_FEW, euclidean);
        else {
            score_all(scores, x + r * d, codewords + first * d, left, d, euclidean);
            for (size_t j = left; j < VQI_SHORT_FEW; j++)
                scores[j] = scores[0]; /* equal, but later */
        }
        codes[r] = (uint32_t)first + first_best(scores, euclidean);
    }
}

/* The usual widths with loops whose ends the compiler knows. */
static void nearest_of_few(uint32_t *codes, const float *x, size_t rows, const float *codewords,
                           uint32_t k, size_t d, int euclidean)
{
    if (!euclidean)
        decide_few(codes, x, rows, codewords, k, d, 0);
    else if (d == 8)
        decide_few(codes, x, rows, codewords, k, 8, 1);
    else if (d == 16)
        decide_few(codes, x, rows, codewords, k, 16, 1);
    else
        decide_few(codes, x, rows, codewords, k, d, 1);
}

const vqi_contract CONTRACT = {.all_finite = all_finite,
                               .distances = distances,
                               .dots = dots,
                               .pair_distances = pair_distances,
                               .nearest_of_few = nearest_of_few};
