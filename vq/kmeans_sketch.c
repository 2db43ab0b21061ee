/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/kmeans_sketch_internal.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/random_internal.h"

enum { AXES = VQI_SKETCH_SIZE - 1, SAMPLE = 2048, SAMPLE_FLOATS = 1 << 19, ROUNDS = 4 };

/* The rows of the sample, evenly spread: SAMPLE of them, fewer of long ones. */
static size_t sample_rows(const vqi_kmeans *run)
{
    size_t rows = SAMPLE_FLOATS / run->d + AXES;
    rows = rows < SAMPLE ? rows : SAMPLE;
    return rows < run->n ? rows : run->n;
}

static void take_sample(double *sample, double *mean, size_t rows, const vqi_kmeans *run,
                        float *scratch)
{
    const uint32_t d = run->d;
    memset(mean, 0, d * sizeof *mean);
    for (size_t i = 0; i < rows; i++) {
        const float *row = vqi_kmeans_row(run, i * (run->n / rows), scratch);
        for (uint32_t j = 0; j < d; j++) {
            sample[i * d + j] = (double)row[j];
            mean[j] += (double)row[j] / (double)rows;
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (uint32_t j = 0; j < d; j++)
            sample[i * d + j] -= mean[j];
}

/* axes = covariance of the sample x axes, up to scale. */
static void multiply(double *next, const double *axes, const double *sample, size_t rows,
                     uint32_t d)
{
    memset(next, 0, (size_t)d * VQI_SKETCH_SIZE * sizeof *next);
    for (size_t i = 0; i < rows; i++) {
        const double *row = sample + i * d;
        double along[VQI_SKETCH_SIZE] = {0};
        for (uint32_t j = 0; j < d; j++)
            for (uint32_t a = 0; a < VQI_SKETCH_SIZE; a++)
                along[a] += row[j] * axes[j * VQI_SKETCH_SIZE + a];
        for (uint32_t j = 0; j < d; j++)
            for (uint32_t a = 0; a < VQI_SKETCH_SIZE; a++)
                next[j * VQI_SKETCH_SIZE + a] += row[j] * along[a];
    }
}

static double dot(const double *axes, uint32_t a, uint32_t b, uint32_t d)
{
    double sum = 0;
    for (uint32_t j = 0; j < d; j++)
        sum += axes[j * VQI_SKETCH_SIZE + a] * axes[j * VQI_SKETCH_SIZE + b];
    return sum;
}

/* Gram and Schmidt, twice, which is enough. An axis that depends on those before it becomes zero. */
static void orthonormalise(double *axes, uint32_t d)
{
    for (uint32_t a = 0; a < AXES; a++) {
        const double before = sqrt(dot(axes, a, a, d));
        for (int twice = 0; twice < 2; twice++)
            for (uint32_t b = 0; b < a; b++) {
                const double share = dot(axes, a, b, d);
                for (uint32_t j = 0; j < d; j++)
                    axes[j * VQI_SKETCH_SIZE + a] -= share * axes[j * VQI_SKETCH_SIZE + b];
            }
        const double after = sqrt(dot(axes, a, a, d));
        const double scale = after > 1e-9 * before && isfinite(after) ? 1 / after : 0;
        for (uint32_t j = 0; j < d; j++)
            axes[j * VQI_SKETCH_SIZE + a] = scale > 0 ? axes[j * VQI_SKETCH_SIZE + a] * scale : 0;
    }
}

vq_status vqi_sketcher_create(vqi_sketcher *sketcher, const vqi_kmeans *run)
{
    const size_t rows = sample_rows(run), d = run->d;
    double *sample = vqi_alloc(rows * d, sizeof *sample);
    double *next = vqi_calloc(d * VQI_SKETCH_SIZE, sizeof *next);
    float *scratch = vqi_alloc(d, sizeof *scratch);
    sketcher->d = run->d;
    sketcher->mean = vqi_alloc(d, sizeof *sketcher->mean);
    sketcher->axes = vqi_calloc(d * VQI_SKETCH_SIZE, sizeof *sketcher->axes);
    const bool ready = sample && next && scratch && sketcher->mean && sketcher->axes;
    if (ready) {
        vqi_random random = vqi_random_from(run->opts.seed);
        take_sample(sample, sketcher->mean, rows, run, scratch);
        for (size_t j = 0; j < d; j++)
            for (uint32_t a = 0; a < AXES; a++)
                sketcher->axes[j * VQI_SKETCH_SIZE + a] = vqi_random_uniform(&random) - 0.5;
        orthonormalise(sketcher->axes, run->d);
        for (int round = 0; round < ROUNDS; round++) {
            multiply(next, sketcher->axes, sample, rows, run->d);
            memcpy(sketcher->axes, next, d * VQI_SKETCH_SIZE * sizeof *next);
            orthonormalise(sketcher->axes, run->d);
        }
    }
    vqi_free(sample);
    vqi_free(next);
    vqi_free(scratch);
    return ready ? VQ_OK : vqi_fail_nomem((unsigned long long)rows * d * sizeof *sample);
}

void vqi_sketcher_clear(vqi_sketcher *sketcher)
{
    vqi_free(sketcher->mean);
    vqi_free(sketcher->axes);
    memset(sketcher, 0, sizeof *sketcher);
}

void vqi_sketch(float *sketch, const vqi_sketcher *sketcher, const float *row)
{
    double along[VQI_SKETCH_SIZE] = {0}, rest = 0;
    for (uint32_t j = 0; j < sketcher->d; j++) {
        const double x = (double)row[j] - sketcher->mean[j];
        rest += x * x;
        for (uint32_t a = 0; a < VQI_SKETCH_SIZE; a++)
            along[a] += x * sketcher->axes[j * VQI_SKETCH_SIZE + a];
    }
    for (uint32_t a = 0; a < AXES; a++) {
        sketch[a] = (float)along[a];
        rest -= along[a] * along[a];
    }
    sketch[AXES] = (float)sqrt(rest > 0 ? rest : 0);
}
