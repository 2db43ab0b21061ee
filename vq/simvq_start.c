/* SPDX-License-Identifier: Apache-2.0 */
/* Where the map of SimVQ begins, and a sample of the rows to begin with. */
#include <math.h>
#include <string.h>

#include "vq/cholesky_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"
#include "vq/random_internal.h"
#include "vq/simvq_internal.h"
#include "vq/source_internal.h"

enum { CHUNK = 4096 };

void vqi_simvq_start_uniform(float *map, float *bias, uint32_t r, uint32_t d, uint64_t seed)
{
    const double bound = 1 / sqrt((double)r);
    vqi_random random = vqi_random_from(seed);
    for (size_t i = 0; i < (size_t)r * d; i++)
        map[i] = (float)(bound * (2 * vqi_random_uniform(&random) - 1));
    for (uint32_t j = 0; bias && j < d; j++)
        bias[j] = (float)(bound * (2 * vqi_random_uniform(&random) - 1));
}

/* The sums over rows of (x - origin) and of (x - origin)'(x - origin); the origin is the first row. */
static vq_status find_moments(double *mean, double *square, const vq_source *source, float *buffer,
                              int threads)
{
    const size_t d = source->d;
    double *centred = vqi_alloc(CHUNK * d, sizeof *centred);
    float *origin = vqi_alloc(d, sizeof *origin);
    vq_status status = centred && origin ? VQ_OK : vqi_fail_nomem(CHUNK * d * sizeof *centred);
    for (size_t first = 0; first < source->n && !status; first += CHUNK) {
        const size_t count = source->n - first < CHUNK ? source->n - first : CHUNK;
        const float *rows;
        status = vqi_source_read(&rows, source, buffer, first, count);
        if (status)
            break;
        if (!first)
            memcpy(origin, rows, d * sizeof *rows);
        for (size_t i = 0; i < count * d; i++) {
            if (!isfinite(rows[i]) && !status)
                status = vqi_fail(VQ_E_NONFINITE, "the rows hold a NaN or an infinity");
            centred[i] = (double)rows[i] - (double)origin[i % d];
        }
        vqi_source_done(source, first, count);
#pragma omp parallel for schedule(dynamic) num_threads(vqi_threads(threads, d))
        for (size_t i = 0; i < d; i++)
            for (size_t k = 0; k < count; k++) {
                const double *restrict row = centred + k * d, own = row[i];
                double *restrict out = square + i * d;
                mean[i] += own;
                for (size_t j = 0; j <= i; j++)
                    out[j] += own * row[j];
            }
    }
    for (size_t i = 0; i < d && !status; i++)
        for (size_t j = 0; j <= i; j++) {
            square[i * d + j] = square[i * d + j] / (double)source->n -
                                mean[i] / (double)source->n * (mean[j] / (double)source->n);
            square[j * d + i] = square[i * d + j];
        }
    for (size_t i = 0; i < d && !status; i++)
        mean[i] = mean[i] / (double)source->n + (double)origin[i];
    vqi_free(centred);
    vqi_free(origin);
    return status;
}

vq_status vqi_simvq_start_moments(float *map, float *bias, uint32_t r, const vq_source *source,
                                  int threads)
{
    const size_t d = source->d;
    double *square = vqi_calloc(d * d, sizeof *square), *mean = vqi_calloc(d, sizeof *mean);
    double *factor = vqi_alloc(d * r, sizeof *factor);
    float *buffer = source->memory ? NULL : vqi_alloc(CHUNK * d, sizeof *buffer);
    vq_status status = square && mean && factor && (buffer || source->memory)
                           ? find_moments(mean, square, source, buffer, threads)
                           : vqi_fail_nomem((unsigned long long)d * (d + r) * sizeof *square);
    if (!status) {
        for (size_t i = 0; !bias && i < d; i++)
            for (size_t j = 0; j < d; j++)
                square[i * d + j] += mean[i] * mean[j];
        vqi_cholesky_pivoted(factor, square, d, r);
        for (size_t i = 0; i < r; i++) /* the covariance of q W is W'W / r */
            for (size_t j = 0; j < d; j++)
                map[i * d + j] = (float)(sqrt((double)r) * factor[j * r + i]);
        for (size_t j = 0; bias && j < d; j++)
            bias[j] = (float)mean[j];
    }
    vqi_free(square);
    vqi_free(mean);
    vqi_free(factor);
    vqi_free(buffer);
    return status;
}

vq_status vqi_simvq_sample(float **sample, size_t *sampled, const vq_source *source, size_t wanted)
{
    const size_t n = source->n, d = source->d;
    size_t taken = 0;
    float *buffer = source->memory ? NULL : vqi_alloc(CHUNK * d, sizeof *buffer);
    float *out = vqi_alloc(wanted, d * sizeof *out);
    vq_status status =
        out && (buffer || source->memory) ? VQ_OK : vqi_fail_nomem(wanted * d * sizeof *out);
    for (size_t first = 0; first < n && !status; first += CHUNK) {
        const size_t count = n - first < CHUNK ? n - first : CHUNK;
        const float *rows;
        status = vqi_source_read(&rows, source, buffer, first, count);
        if (status)
            break;
        for (; taken < wanted; taken++) {
            const size_t at = (size_t)((double)taken * ((double)n / (double)wanted));
            if (at >= first + count)
                break;
            memcpy(out + taken * d, rows + (at - first) * d, d * sizeof *rows);
        }
        vqi_source_done(source, first, count);
    }
    vqi_free(buffer);
    if (status) {
        vqi_free(out);
        return status;
    }
    *sample = out;
    *sampled = taken;
    return VQ_OK;
}
