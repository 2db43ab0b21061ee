/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/logits_support.h  Matrices, states and heads for the tests of vq/logits.h. */
#ifndef LOGITS_SUPPORT_H
#define LOGITS_SUPPORT_H

#include <math.h>

#include "test_support.h"
#include "vq/logits.h"

/** Normal numbers times scale, an array to free(). */
static inline float *normals(size_t count, float scale, uint64_t seed)
{
    float *x = malloc((count ? count : 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < count; i++) {
        const double u = 1 - test_uniform(&seed), v = test_uniform(&seed);
        x[i] = scale * (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    }
    return x;
}

/** V rows around `groups` centres, as words around meanings; to free(). */
static inline float *clustered(size_t v, size_t d, size_t groups, float spread, uint64_t seed)
{
    float *centres = normals(groups * d, 1, seed), *x = normals(v * d, spread, seed + 1);
    for (size_t r = 0; r < v; r++)
        for (size_t i = 0; i < d; i++)
            x[r * d + i] += centres[r % groups * d + i];
    free(centres);
    return x;
}

/** What the head stands for, v x d; to free(). */
static inline float *decoded(const vq_head *head)
{
    vq_head_info info = VQ_HEAD_INFO_INIT;
    assert_ok(vq_head_get_info(&info, head));
    float *rows = malloc(info.v * info.d * sizeof *rows);
    assert_non_null(rows);
    assert_ok(vq_head_decode(rows, NULL, head, 0, info.v));
    return rows;
}

/** The logits of one state by the decoded matrix, in double; and the length of each row. */
static inline void product(double *logits, double *lengths, const float *rows, size_t v, size_t d,
                           const float *bias, const float *h)
{
    for (size_t r = 0; r < v; r++) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < d; i++) {
            sum += (double)rows[r * d + i] * h[i];
            square += (double)rows[r * d + i] * rows[r * d + i];
        }
        logits[r] = sum + (bias ? bias[r] : 0);
        if (lengths)
            lengths[r] = sqrt(square);
    }
}

static inline double length_of(const float *x, size_t d)
{
    double square = 0;
    for (size_t i = 0; i < d; i++)
        square += (double)x[i] * x[i];
    return sqrt(square);
}

static inline double log_sum_exp(const double *x, size_t n, double scale)
{
    double largest = x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (size_t i = 0; i < n; i++)
        sum += exp((x[i] - largest) * scale);
    return largest * scale + log(sum);
}

#endif
