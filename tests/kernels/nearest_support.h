/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the nearest-code search share: a plain reading of the contract in vq/codebook.h, and data. */
#ifndef TESTS_KERNELS_NEAREST_SUPPORT_H
#define TESTS_KERNELS_NEAREST_SUPPORT_H

#include <float.h>
#include <math.h>

#include "test_support.h"
#include "vq/nearest_internal.h"

enum { GUARD = 64, GUARD_BYTE = 0xa5 };

static const vq_metric metrics[] = {VQ_METRIC_EUCLIDEAN, VQ_METRIC_COSINE, VQ_METRIC_DOT};
static const uint32_t masks[] = {0, VQ_CPU_AVX2, VQ_CPU_AVX2 | VQ_CPU_AVX512,
                                 VQ_CPU_AVX2 | VQ_CPU_AVX512 | VQ_CPU_VNNI,
                                 VQ_CPU_AVX2 | VQ_CPU_AVX512 | VQ_CPU_AMX};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static inline float reference_score(vq_metric metric, const float *x, const float *c, uint32_t d)
{
    float p[8] = {0};
    for (uint32_t i = 0; i < d; i++) {
        const float difference = x[i] - c[i];
        p[i % 8] += metric == VQ_METRIC_EUCLIDEAN ? difference * difference : x[i] * c[i];
    }
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

static inline void reference(uint32_t *code, float *score, const vq_codebook *codebook,
                             const float *x)
{
    const vq_metric metric = vq_codebook_metric(codebook);
    const uint32_t k = vq_codebook_k(codebook), d = vq_codebook_dim(codebook);
    const float *codewords = vq_codebook_codewords(codebook);
    float best = metric == VQ_METRIC_EUCLIDEAN ? INFINITY : -INFINITY;
    *code = 0;
    for (uint32_t c = 0; c < k; c++) {
        const float s = reference_score(metric, x, codewords + (size_t)c * d, d);
        if (metric == VQ_METRIC_EUCLIDEAN ? s < best : s > best) {
            best = s;
            *code = c;
        }
    }
    *score = reference_score(metric, x, codewords + (size_t)*code * d, d);
}

static inline float gaussian(uint64_t *state)
{
    const double radius = sqrt(-2 * log(1 - test_uniform(state)));
    return (float)(radius * cos(6.283185307179586 * test_uniform(state)));
}

static inline void fill_gaussian(float *x, size_t count, uint64_t *state)
{
    for (size_t i = 0; i < count; i++)
        x[i] = gaussian(state);
}

static inline void assert_same_scores(const float *expected, const float *actual, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(expected + i, actual + i, sizeof *actual))
            fail_msg("row %zu: score %a, not %a", i, (double)actual[i], (double)expected[i]);
}

static inline void assert_same_codes(const uint32_t *expected, const uint32_t *actual, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (expected[i] != actual[i])
            fail_msg("row %zu: code %u, not %u", i, actual[i], expected[i]);
}

/* The kinds of data on which a bound could be wrong. */
typedef enum family {
    GAUSSIAN,
    OFFSET,
    FEW_DISTINCT,
    DENORMAL,
    SQUARES_UNDERFLOW,
    HUGE_VALUES,
    ONE_ULP,
    CONSTANT,
    INTEGERS,
    MIXED_SCALES,
    TOO_LARGE,
    FAMILIES
} family;

static inline float value(family kind, size_t row, size_t column, uint64_t *state)
{
    const float g = gaussian(state);
    switch (kind) {
    case OFFSET:
        return 1e4f + g;
    case FEW_DISTINCT: /* one of 7 vectors */
        return (float)((row * 2654435761u >> 7) % 7) + (float)(column % 5);
    case DENORMAL:
        return g * 1e-41f;
    case SQUARES_UNDERFLOW:
        return g * 1e-21f;
    case HUGE_VALUES:
        return g * 1e15f;
    case ONE_ULP:
        return test_random(state) % 16 ? 1.5f : nextafterf(1.5f, 2);
    case CONSTANT:
        return (float)(row % 50) * 0.1f;
    case INTEGERS:
        return (float)(int)(test_random(state) % 3);
    case MIXED_SCALES:
        return g * powf(10, (float)(row % 61) - 30);
    case TOO_LARGE: /* distances overflow */
        return g * (row % 3 ? 1e38f / 5 : 1e30f);
    default:
        return g;
    }
}

static inline void fill(float *x, size_t n, uint32_t d, family kind, uint64_t *state)
{
    for (size_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < d; j++)
            x[i * d + j] = value(kind, i, j, state);
}

typedef struct problem {
    vq_codebook *codebook;
    float *x;
    size_t n;
} problem;

/* Large enough for several threads. */
static inline problem make_problem(uint32_t k, uint32_t d, size_t n, vq_metric metric)
{
    problem p = {NULL, malloc(n * d * sizeof(float)), n};
    float *codewords = malloc((size_t)k * d * sizeof(float));
    uint64_t seed = 4;
    fill_gaussian(codewords, (size_t)k * d, &seed);
    fill_gaussian(p.x, n * d, &seed);
    assert_ok(vq_codebook_create(&p.codebook, codewords, k, d, metric, VQ_DTYPE_F32));
    free(codewords);
    return p;
}

static inline void free_problem(problem *p)
{
    vq_codebook_free(p->codebook);
    free(p->x);
}

#endif
