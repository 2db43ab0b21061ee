/* SPDX-License-Identifier: Apache-2.0 */
#include "rvq/components_internal.h"

#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

enum {
    CHUNK = 256, /* rows that are added to the covariance together */
    SPARE = 8,   /* more vectors than are wanted make the iteration converge sooner */
    ROUNDS = 50, /* of the subspace iteration */
    SWEEPS = 40  /* of Jacobi's; ten are enough, and the loop ends when nothing is left */
};

double vqi_dot_double(const double *a, const double *b, size_t n)
{
    double sum[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++)
            sum[j] += a[i + (size_t)j] * b[i + (size_t)j];
    for (; i < n; i++)
        sum[0] += a[i] * b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Rotate planes p and q so that a[p][q] becomes 0. */
static void rotate(double *a, double *vectors, size_t n, size_t p, size_t q)
{
    const double half = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
    const double t = (half < 0 ? -1 : 1) / (fabs(half) + sqrt(half * half + 1));
    const double c = 1 / sqrt(t * t + 1), s = t * c;
    for (size_t i = 0; i < n; i++) {
        const double u = a[i * n + p], v = a[i * n + q];
        a[i * n + p] = c * u - s * v;
        a[i * n + q] = s * u + c * v;
    }
    for (size_t i = 0; i < n; i++) {
        const double u = a[p * n + i], v = a[q * n + i];
        a[p * n + i] = c * u - s * v;
        a[q * n + i] = s * u + c * v;
    }
    for (size_t i = 0; i < n; i++) {
        const double u = vectors[p * n + i], v = vectors[q * n + i];
        vectors[p * n + i] = c * u - s * v;
        vectors[q * n + i] = s * u + c * v;
    }
}

static void swap_rows(double *a, double *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double kept = a[i];
        a[i] = b[i];
        b[i] = kept;
    }
}

/* The sign of a vector is free: let its largest number be above 0. */
static void choose_sign(double *vector, size_t n)
{
    size_t largest = 0;
    for (size_t i = 1; i < n; i++)
        if (fabs(vector[i]) > fabs(vector[largest]))
            largest = i;
    if (vector[largest] < 0)
        for (size_t i = 0; i < n; i++)
            vector[i] = -vector[i];
}

void vqi_eigen_symmetric(double *values, double *vectors, double *a, size_t n)
{
    double size = 0;
    memset(vectors, 0, n * n * sizeof *vectors);
    for (size_t i = 0; i < n; i++)
        vectors[i * n + i] = 1;
    for (size_t i = 0; i < n * n; i++)
        size = fabs(a[i]) > size ? fabs(a[i]) : size;
    for (int sweep = 0, left = 1; sweep < SWEEPS && left; sweep++) {
        left = 0;
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++)
                if (fabs(a[p * n + q]) > size * 0x1p-60) {
                    rotate(a, vectors, n, p, q);
                    left = 1;
                }
    }
    for (size_t i = 0; i < n; i++)
        values[i] = a[i * n + i];
    for (size_t i = 0; i < n; i++) {
        size_t largest = i;
        for (size_t j = i + 1; j < n; j++)
            if (values[j] > values[largest])
                largest = j;
        if (largest != i) {
            swap_rows(vectors + i * n, vectors + largest * n, n);
            swap_rows(values + i, values + largest, 1);
        }
        choose_sign(vectors + i * n, n);
    }
}

static void find_mean(double *mean, const float *x, size_t n, size_t d)
{
    memset(mean, 0, d * sizeof *mean);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            mean[j] += x[i * d + j];
    for (size_t j = 0; j < d; j++)
        mean[j] /= (double)n;
}

/* @param column room for d x CHUNK */
static void find_covariance(double *covariance, double *column, const double *mean, const float *x,
                            size_t n, size_t d, int threads)
{
    const int used = vqi_threads(threads, d * d / 64 + 1);
    memset(covariance, 0, d * d * sizeof *covariance);
    for (size_t first = 0; first < n; first += CHUNK) {
        const size_t count = n - first < CHUNK ? n - first : CHUNK;
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < d; j++)
                column[j * CHUNK + i] = x[(first + i) * d + j] - mean[j];
#pragma omp parallel for schedule(dynamic, 4) num_threads(used)
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j <= i; j++)
                covariance[i * d + j] +=
                    vqi_dot_double(column + i * CHUNK, column + j * CHUNK, count);
    }
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++)
            covariance[j * d + i] = covariance[i * d + j] /= (double)n;
}

/* Make the rows orthonormal (modified Gram-Schmidt, twice); one that has nothing of its own becomes 0. */
static void orthonormalise(double *rows, size_t count, size_t d)
{
    for (size_t i = 0; i < count; i++) {
        double *row = rows + i * d;
        const double before = sqrt(vqi_dot_double(row, row, d));
        for (size_t j = 0; j < 2 * i; j++) {
            const double *other = rows + j % i * d;
            const double along = vqi_dot_double(row, other, d);
            for (size_t k = 0; k < d; k++)
                row[k] -= along * other[k];
        }
        const double length = sqrt(vqi_dot_double(row, row, d));
        for (size_t k = 0; k < d; k++)
            row[k] = length > before * 1e-12 ? row[k] / length : 0;
    }
}

/* product = rows (count x d) times the covariance */
static void multiply(double *product, const double *rows, const double *covariance, size_t count,
                     size_t d, int threads)
{
    const int used = vqi_threads(threads, count * d * d / 65536 + 1);
#pragma omp parallel for schedule(static) num_threads(used)
    for (size_t j = 0; j < d; j++)
        for (size_t i = 0; i < count; i++)
            product[i * d + j] = vqi_dot_double(rows + i * d, covariance + j * d, d);
}

typedef struct workspace {
    double *covariance, *column, *rows, *product, *small, *vectors, *values;
} workspace;

/* Subspace iteration from the first unit vectors, each a little of all others; then Rayleigh and Ritz. */
static void iterate(double *variance, double *component, const workspace *w, size_t d, size_t m,
                    size_t wide, int threads)
{
    for (size_t i = 0; i < wide; i++)
        for (size_t j = 0; j < d; j++)
            w->rows[i * d + j] = (i == j) + 1.0 / (double)(1 + 7 * i + 3 * j + i * j % 11);
    orthonormalise(w->rows, wide, d);
    for (int round = 0; round < (wide == d ? 0 : ROUNDS); round++) {
        multiply(w->product, w->rows, w->covariance, wide, d, threads);
        memcpy(w->rows, w->product, wide * d * sizeof *w->rows);
        orthonormalise(w->rows, wide, d);
    }
    multiply(w->product, w->rows, w->covariance, wide, d, threads);
    for (size_t i = 0; i < wide; i++)
        for (size_t j = 0; j < wide; j++)
            w->small[i * wide + j] = vqi_dot_double(w->product + i * d, w->rows + j * d, d);
    for (size_t i = 0; i < wide; i++) /* exactly symmetric */
        for (size_t j = 0; j < i; j++)
            w->small[j * wide + i] = w->small[i * wide + j];
    vqi_eigen_symmetric(w->values, w->vectors, w->small, wide);
    memset(component, 0, m * d * sizeof *component);
    for (size_t i = 0; i < m; i++) {
        variance[i] = w->values[i] > 0 ? w->values[i] : 0;
        for (size_t j = 0; j < wide; j++)
            for (size_t k = 0; k < d; k++)
                component[i * d + k] += w->vectors[i * wide + j] * w->rows[j * d + k];
        choose_sign(component + i * d, d);
    }
}

vq_status vqi_components(double *mean, double *variance, double *component, const float *x,
                         size_t n, size_t d, size_t m, int threads)
{
    const size_t wide = m + SPARE < d ? m + SPARE : d;
    workspace w;
    w.covariance = vqi_alloc(d * d, sizeof(double));
    w.column = vqi_alloc(d * CHUNK, sizeof(double));
    w.rows = vqi_alloc(wide * d, sizeof(double));
    w.product = vqi_alloc(wide * d, sizeof(double));
    w.small = vqi_alloc(wide * wide, sizeof(double));
    w.vectors = vqi_alloc(wide * wide, sizeof(double));
    w.values = vqi_alloc(wide, sizeof(double));
    vq_status status = VQ_OK;
    if (w.covariance && w.column && w.rows && w.product && w.small && w.vectors && w.values) {
        find_mean(mean, x, n, d);
        find_covariance(w.covariance, w.column, mean, x, n, d, threads);
        iterate(variance, component, &w, d, m, wide, threads);
    } else {
        status = vqi_fail_nomem((unsigned long long)d * d * sizeof(double));
    }
    vq_free(w.covariance);
    vq_free(w.column);
    vq_free(w.rows);
    vq_free(w.product);
    vq_free(w.small);
    vq_free(w.vectors);
    vq_free(w.values);
    return status;
}

/* @param columns room for (d + e) x CHUNK */
static void find_cross(double *cross, double *columns, const double *mean, const double *other_mean,
                       const float *x, const float *y, size_t n, size_t d, size_t e, int threads)
{
    const int used = vqi_threads(threads, d * e / 64 + 1);
    double *of_x = columns, *of_y = columns + d * CHUNK;
    memset(cross, 0, d * e * sizeof *cross);
    for (size_t first = 0; first < n; first += CHUNK) {
        const size_t count = n - first < CHUNK ? n - first : CHUNK;
        for (size_t i = 0; i < count; i++) {
            for (size_t j = 0; j < d; j++)
                of_x[j * CHUNK + i] = x[(first + i) * d + j] - mean[j];
            for (size_t j = 0; j < e; j++)
                of_y[j * CHUNK + i] = y[(first + i) * e + j] - other_mean[j];
        }
#pragma omp parallel for schedule(static) num_threads(used)
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j < e; j++)
                cross[i * e + j] +=
                    vqi_dot_double(of_x + i * CHUNK, of_y + j * CHUNK, count) / (double)n;
    }
}

vq_status vqi_cross_components(double *mean, double *basis, const float *x, const float *y,
                               size_t n, size_t d, size_t e, int threads)
{
    double *other_mean = vqi_alloc(e, sizeof(double)), *values = vqi_alloc(d, sizeof(double)),
           *columns = vqi_alloc(d + e, CHUNK * sizeof(double)),
           *cross = vqi_alloc(d * e, sizeof(double)), *square = vqi_alloc(d * d, sizeof(double));
    vq_status status = VQ_OK;
    if (other_mean && values && columns && cross && square) {
        find_mean(mean, x, n, d);
        find_mean(other_mean, y, n, e);
        find_cross(cross, columns, mean, other_mean, x, y, n, d, e, threads);
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j <= i; j++)
                square[i * d + j] = square[j * d + i] =
                    vqi_dot_double(cross + i * e, cross + j * e, e);
        vqi_eigen_symmetric(values, basis, square, d);
    } else {
        status = vqi_fail_nomem((unsigned long long)d * (d + e) * sizeof(double));
    }
    vq_free(other_mean);
    vq_free(values);
    vq_free(columns);
    vq_free(cross);
    vq_free(square);
    return status;
}
