/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Iterative quantization (Gong and Lazebnik 2011): the rotation R that brings the components V closest to their signs.
 * Given R, B = sign(V R); given B, R is the rotation of the polar decomposition V'B = R P. Both never raise |V R - B|.
 */
#include <math.h>
#include <string.h>

#include "rvq/components_internal.h"
#include "rvq/scalar_train_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"
#include "vq/random_internal.h"

/* rotation = m (m'm)^(-1/2), the rotation nearest to m: all n x n. */
static void nearest_rotation(double *rotation, const double *m, double *square, double *vectors,
                             double *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += m[k * n + i] * m[k * n + j];
            square[i * n + j] = sum;
        }
    vqi_eigen_symmetric(values, vectors, square, n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                if (values[k] > values[0] * 1e-14)
                    sum += vectors[k * n + i] * vectors[k * n + j] / sqrt(values[k]);
            square[i * n + j] = sum;
        }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += m[i * n + k] * square[k * n + j];
            rotation[i * n + j] = sum;
        }
}

/* signs (m x n) of the turned components */
static void find_signs(double *signs, const double *rotation, const vqi_component_rows *rows)
{
    const size_t n = rows->n, m = rows->m;
    const int threads = vqi_threads(rows->threads, m);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t j = 0; j < m; j++) {
        double *to = signs + j * n;
        memset(to, 0, n * sizeof *to);
        for (size_t i = 0; i < m; i++) {
            const double by = rotation[i * m + j];
            for (size_t r = 0; r < n; r++)
                to[r] += by * rows->values[i * n + r];
        }
        for (size_t r = 0; r < n; r++)
            to[r] = to[r] > 0 ? 1 : -1;
    }
}

static void iterate(double *rotation, double *signs, double *const *square,
                    const vqi_component_rows *rows, const vq_scalar_train_opts *opts)
{
    const size_t m = rows->m;
    const int threads = vqi_threads(rows->threads, m);
    vqi_random random = vqi_random_from(opts->seed);
    for (size_t i = 0; i < m * m; i++) /* three uniform numbers are normal enough */
        square[0][i] = vqi_random_uniform(&random) + vqi_random_uniform(&random) +
                       vqi_random_uniform(&random) - 1.5;
    nearest_rotation(rotation, square[0], square[1], square[2], square[3], m);
    for (uint32_t round = 0; round < opts->iterations; round++) {
        find_signs(signs, rotation, rows);
#pragma omp parallel for schedule(static) num_threads(threads)
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < m; j++)
                square[0][i * m + j] =
                    vqi_dot_double(rows->values + i * rows->n, signs + j * rows->n, rows->n);
        nearest_rotation(rotation, square[0], square[1], square[2], square[3], m);
    }
}

vq_status vqi_lfq_rotation(double *rotation, const vqi_component_rows *rows,
                           const vq_scalar_train_opts *opts)
{
    const size_t m = rows->m;
    double *signs = vqi_alloc(m * rows->n, sizeof *signs);
    double *squares = vqi_alloc(3 * m * m + m, sizeof *squares);
    vq_status status = VQ_OK;
    if (signs && squares) {
        double *const square[4] = {squares, squares + m * m, squares + 2 * m * m,
                                   squares + 3 * m * m};
        iterate(rotation, signs, square, rows, opts);
    } else {
        status = vqi_fail_nomem((unsigned long long)m * rows->n * sizeof *signs);
    }
    vq_free(signs);
    vq_free(squares);
    return status;
}
