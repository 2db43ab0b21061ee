/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "vq/codebook_internal.h"
#include "vq/error_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

static float euclidean(const float *x, const float *c, uint32_t d)
{
    float p[8] = {0};
    for (uint32_t i = 0; i < d; i++) {
        const float t = x[i] - c[i];
        p[i % 8] += t * t;
    }
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

static float dot(const float *x, const float *c, uint32_t d)
{
    float p[8] = {0};
    for (uint32_t i = 0; i < d; i++)
        p[i % 8] += x[i] * c[i];
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

size_t vq_nearest_workspace(const vq_codebook *codebook, size_t n, int threads)
{
    (void)codebook;
    (void)n;
    (void)threads;
    return 0;
}

static int row_is_finite(const float *x, uint32_t d)
{
    for (uint32_t i = 0; i < d; i++)
        if (!isfinite(x[i]))
            return 0;
    return 1;
}

static void nearest_row(uint32_t *code, float *score, const vq_codebook *codebook, const float *x)
{
    const int euclid = codebook->metric == VQ_METRIC_EUCLIDEAN;
    float best = 0;
    for (uint32_t c = 0; c < codebook->k; c++) {
        const float *codeword = codebook->codewords + (size_t)c * codebook->d;
        const float s =
            euclid ? euclidean(x, codeword, codebook->d) : dot(x, codeword, codebook->d);
        if (!c || (euclid ? s < best : s > best)) {
            best = s;
            *code = c;
        }
    }
    if (score)
        *score = best;
}

vq_status vq_nearest(uint32_t *codes, float *scores, const vq_codebook *codebook, const float *x,
                     size_t n, const vq_search_opts *opts)
{
    vq_search_opts own;
    const vq_status status = vqi_options(&own, sizeof own, opts, "vq_search_opts");
    if (status)
        return status;
    if (own.threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_search_opts.threads is %d (0 = all)", own.threads);
    size_t bad = n;
    const int threads = vqi_threads(own.threads, n);
#pragma omp parallel for num_threads(threads) schedule(static) reduction(min : bad)
    for (size_t i = 0; i < n; i++) {
        if (row_is_finite(x + i * codebook->d, codebook->d))
            nearest_row(codes + i, scores ? scores + i : NULL, codebook, x + i * codebook->d);
        else if (i < bad)
            bad = i;
    }
    if (bad < n)
        return vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", bad);
    return VQ_OK;
}
