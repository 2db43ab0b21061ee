/* SPDX-License-Identifier: Apache-2.0 */
/* The map of SimVQ by weighted ridge least squares, from the counts and sums of the codes: K r^2 operations. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "vq/cholesky_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"
#include "vq/simvq_internal.h"

vq_status vqi_simvq_solver_create(vqi_simvq_solver *solver, uint32_t k, uint32_t r, uint32_t d,
                                  int bias)
{
    size_t square, right;
    *solver = (vqi_simvq_solver){.k = k, .r = r, .d = d, .size = r + (bias != 0)};
    if (vqi_mul(&square, solver->size, solver->size) && vqi_mul(&right, solver->size, d)) {
        solver->a = vqi_alloc(square, sizeof *solver->a);
        solver->b = vqi_alloc(right, sizeof *solver->b);
    }
    if (solver->a && solver->b)
        return VQ_OK;
    vqi_simvq_solver_clear(solver);
    return vqi_fail_nomem((unsigned long long)solver->size * (solver->size + d) * sizeof(double));
}

void vqi_simvq_solver_clear(vqi_simvq_solver *solver)
{
    vqi_free(solver->a);
    vqi_free(solver->b);
    solver->a = solver->b = NULL;
}

/* Take the code k into rows first, first + step, ... of A = sum_k weight_k (q,1)'(q,1) and B = sum_k (q,1)' sum_k. */
static void add_code(const vqi_simvq_solver *s, uint32_t first, uint32_t step, const float *q,
                     double weight, const double *restrict sum)
{
    const uint32_t r = s->r, d = s->d;
    for (uint32_t i = first; i < s->size; i += step) {
        double *restrict a = s->a + (size_t)i * s->size, *restrict b = s->b + (size_t)i * d;
        const double own = i < r ? (double)q[i] : 1, weighted = weight * own;
        const uint32_t end = i < r ? i + 1 : r;
        for (uint32_t j = 0; j < end; j++)
            a[j] += weighted * (double)q[j];
        if (i == r)
            a[r] += weighted;
        for (uint32_t j = 0; j < d; j++)
            b[j] += own * sum[j];
    }
}

/* Threads share out the rows, so that every element is summed over rising k. */
static void gather(const vqi_simvq_solver *s, const float *basis, const double *weight,
                   const double *sum, int threads)
{
    const double work = (double)s->k * s->size * (s->d + s->size / 2.0);
    const int some = vqi_threads(threads, work < 4e6 ? 1 : s->size);
    memset(s->a, 0, (size_t)s->size * s->size * sizeof *s->a);
    memset(s->b, 0, (size_t)s->size * s->d * sizeof *s->b);
#pragma omp parallel for schedule(static, 1) num_threads(some)
    for (int t = 0; t < some; t++)
        for (size_t k = 0; k < s->k; k++)
            if (weight[k] > 0)
                add_code(s, (uint32_t)t, (uint32_t)some, basis + k * s->r, weight[k],
                         sum + k * s->d);
}

static vq_status to_float(float *out, const double *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = (float)in[i];
        if (!isfinite(out[i]))
            return vqi_fail(VQ_E_NONFINITE,
                            "the map of SimVQ overflows float32 (raise the ridge, or scale the "
                            "rows down)");
    }
    return VQ_OK;
}

vq_status vqi_simvq_solve(float *map, float *bias, vqi_simvq_solver *solver, const float *basis,
                          const double *weight, const double *sum, double ridge, int threads)
{
    /* Enough to make any such matrix definite, and far below what float32 rows can tell. */
    const double least = 0x1p-40;
    const uint32_t r = solver->r, size = solver->size;
    double mean = 0;
    gather(solver, basis, weight, sum, threads);
    for (uint32_t i = 0; i < r; i++)
        mean += solver->a[(size_t)i * size + i] / r;
    for (uint32_t i = 0; i < r; i++)
        solver->a[(size_t)i * size + i] += (ridge + least) * mean + DBL_MIN;
    if (size > r)
        solver->a[(size_t)size * size - 1] *= 1 + least + (solver->ridge_bias ? ridge : 0);
    if (!vqi_cholesky_factor(solver->a, size))
        return vqi_fail(VQ_E_NONFINITE, "the least squares of SimVQ overflow (scale the rows "
                                        "down)");
    vqi_cholesky_solve(solver->b, solver->a, size, solver->d);
    const vq_status status = to_float(map, solver->b, (size_t)r * solver->d);
    return status || size == r ? status
                               : to_float(bias, solver->b + (size_t)r * solver->d, solver->d);
}
