/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/gradients.h"

#include <math.h>
#include <string.h>

#include "vq/parallel_internal.h"
#include "vq/simvq_internal.h"

void vq_estimate_forward(float *out, const float *x, const float *q, size_t n, size_t d,
                         vq_estimator estimator)
{
    (void)x;
    (void)estimator;
    if (out != q)
        memcpy(out, q, n * d * sizeof *out);
}

static double dot(const float *a, const float *b, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++)
        sum += (double)a[j] * (double)b[j];
    return sum;
}

/* |e + f|^2 from the vectors themselves: 2 + 2 e.f loses all digits where they are nearly opposite. */
static double length_of_sum(const float *x, const float *q, double x_norm, double q_norm, size_t d)
{
    double square = 0;
    for (size_t j = 0; j < d; j++) {
        const double sum = (double)x[j] / x_norm + (double)q[j] / q_norm;
        square += sum * sum;
    }
    return sqrt(square);
}

static void rotate_back(float *grad_x, const float *g, const float *x, const float *q, size_t d)
{
    const double x_norm = sqrt(dot(x, x, d)), q_norm = sqrt(dot(q, q, d));
    if (!(q_norm > 0))
        return; /* the scaling is 0 */
    const double length = length_of_sum(x, q, x_norm, q_norm, d), scale = q_norm / x_norm;
    const double e_g = dot(x, g, d) / x_norm, f_g = dot(q, g, d) / q_norm,
                 r_g = length > 1e-12 ? (e_g + f_g) / length : 0;
    for (size_t j = 0; j < d; j++) {
        const double e = (double)x[j] / x_norm, f = (double)q[j] / q_norm,
                     r = length > 1e-12 ? (e + f) / length : 0;
        grad_x[j] += (float)(scale * ((double)g[j] - 2 * r * r_g + 2 * e * f_g));
    }
}

void vq_estimate_backward(float *grad_x, const float *grad_out, const float *x, const float *q,
                          size_t n, size_t d, vq_estimator estimator)
{
    for (size_t i = 0; i < n; i++) {
        float *to = grad_x + i * d;
        const float *from = grad_out + i * d, *row = x + i * d;
        if (estimator == VQ_ESTIMATOR_ROTATION && dot(row, row, d) > 0)
            rotate_back(to, from, row, q + i * d, d);
        else
            for (size_t j = 0; j < d; j++)
                to[j] += from[j];
    }
}

double vq_loss_forward(const float *x, const float *q, size_t n, size_t d,
                       const vq_loss_weights *weights)
{
    double sum = 0;
    for (size_t i = 0; i < n * d; i++) {
        const double error = (double)x[i] - (double)q[i];
        sum += error * error;
    }
    return n > 0 && d > 0 ? (weights->codebook + weights->commitment) * sum / (double)(n * d) : 0;
}

void vq_loss_backward(float *grad_x, float *grad_q, const float *x, const float *q, size_t n,
                      size_t d, const vq_loss_weights *weights, double scale)
{
    const double unit = 2 * scale / (double)(n * d);
    for (size_t i = 0; i < n * d; i++) {
        const double error = (double)x[i] - (double)q[i];
        if (grad_x)
            grad_x[i] += (float)(weights->commitment * unit * error);
        if (grad_q)
            grad_q[i] -= (float)(weights->codebook * unit * error);
    }
}

void vq_lookup_forward(float *q, const float *codewords, const uint32_t *codes, size_t n, size_t d)
{
    for (size_t i = 0; i < n; i++)
        memcpy(q + i * d, codewords + codes[i] * d, d * sizeof *q);
}

void vq_lookup_backward(float *grad_codewords, const float *grad_q, const uint32_t *codes, size_t n,
                        size_t d)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            grad_codewords[codes[i] * d + j] += grad_q[i * d + j];
}

void vq_simvq_forward(float *codewords, const float *basis, const float *map, const float *bias,
                      size_t k, uint32_t r, uint32_t d, int threads)
{
    vqi_simvq_apply(codewords, basis, k, map, bias, r, d, threads);
}

static int is_zero(const float *row, size_t d)
{
    for (size_t j = 0; j < d; j++)
        if (row[j] != 0)
            return 0;
    return 1;
}

/* Row i of basis' g; the bias is one more row, whose basis elements are 1. */
static void map_row(float *out, const float *g, const float *basis, uint32_t i, size_t k,
                    uint32_t r, uint32_t d)
{
    enum { COLUMNS = 64 };
    double sum[COLUMNS];
    for (uint32_t first = 0; first < d; first += COLUMNS) {
        const uint32_t count = d - first < COLUMNS ? d - first : COLUMNS;
        memset(sum, 0, sizeof sum);
        for (size_t c = 0; c < k; c++) {
            const float *row = g + c * d + first;
            if (is_zero(row, count)) /* most codes have no row in a batch */
                continue;
            const double own = basis ? (double)basis[c * r + i] : 1;
            for (uint32_t j = 0; j < count; j++)
                sum[j] += own * (double)row[j];
        }
        for (uint32_t j = 0; j < count; j++)
            out[first + j] += (float)sum[j];
    }
}

void vq_simvq_backward(float *grad_map, float *grad_bias, float *grad_basis,
                       const float *grad_codewords, const float *basis, const float *map, size_t k,
                       uint32_t r, uint32_t d, int threads)
{
    const int some = vqi_threads(threads, k * d / 4096 + 1);
#pragma omp parallel for schedule(dynamic) num_threads(some)
    for (uint32_t i = 0; i < (grad_map ? r : 0); i++)
        map_row(grad_map + (size_t)i * d, grad_codewords, basis, i, k, r, d);
    if (grad_bias)
        map_row(grad_bias, grad_codewords, NULL, 0, k, r, d);
#pragma omp parallel for schedule(static) num_threads(some)
    for (size_t c = 0; c < (grad_basis ? k : 0); c++) {
        const float *g = grad_codewords + c * d;
        if (!is_zero(g, d))
            for (uint32_t i = 0; i < r; i++)
                grad_basis[c * r + i] += (float)dot(g, map + (size_t)i * d, d);
    }
}
