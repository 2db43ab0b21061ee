/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All levels of a residual quantizer trained together, for rate and error at once (entropy-constrained vector
 * quantization, Chou, Lookabaugh and Gray 1989). Rounds of: encode by beam search for the least error + lambda x bits;
 * count the codes, which gives the bits of the next round; let every level have the mean of what the others leave,
 * one level after the other, which is a Gauss-Seidel sweep of the normal equations of all codewords.
 */
#include <string.h>

#include "codecs/image_internal.h"
#include "rvq/residual.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

/* Rows between two questions whether to stop, and dimensions that a thread sums at a time: a cache line of floats. */
enum { CHUNK = 65536, SLICE = 16 };

typedef struct refining {
    const vqi_refine_opts *opts;
    vq_quantizer *quantizer;
    const float *x;
    size_t n;
    uint32_t d, levels;
    uint32_t *codes; /* n x levels */
    float *residual; /* n x d */
} refining;

static vq_status encode(const refining *r, uint32_t round, uint32_t beam, float lambda)
{
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.threads = r->opts->threads;
    opts.beam = beam;
    opts.lambda = lambda;
    for (size_t first = 0; first < r->n; first += CHUNK) {
        const size_t rows = r->n - first < CHUNK ? r->n - first : CHUNK;
        const vq_status status = vq_quantize(r->codes + first * r->levels, r->quantizer,
                                             r->x + first * r->d, rows, &opts);
        if (status)
            return status;
        if (r->opts->progress && r->opts->progress(r->opts->context, round, first + rows, r->n))
            return vqi_fail(VQ_E_CANCELLED, "cancelled");
    }
    return VQ_OK;
}

static vq_status count_codes(const refining *r)
{
    uint64_t *counts[VQ_MAX_LEVELS] = {NULL};
    vq_status status = VQ_OK;
    for (uint32_t l = 0; !status && l < r->levels; l++) {
        counts[l] = vqi_calloc(vq_quantizer_k(r->quantizer, l), sizeof **counts);
        if (!counts[l])
            status = vqi_fail_nomem(vq_quantizer_k(r->quantizer, l) * sizeof **counts);
    }
    for (size_t i = 0; !status && i < r->n; i++)
        for (uint32_t l = 0; l < r->levels; l++)
            counts[l][r->codes[i * r->levels + l]]++;
    if (!status)
        status = vq_residual_set_frequencies(r->quantizer, (const uint64_t *const *)counts);
    for (uint32_t l = 0; l < r->levels; l++)
        vq_free(counts[l]);
    return status;
}

/* residual += sign x the codewords of a level. */
static void shift(const refining *r, const vq_codebook *codebook, uint32_t level, float sign)
{
    const float *codewords = vq_codebook_codewords(codebook);
    const int threads = vqi_threads(r->opts->threads, r->n / 1024 + 1);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < r->n; i++) {
        float *restrict row = r->residual + i * r->d;
        const float *restrict c = codewords + (size_t)r->codes[i * r->levels + level] * r->d;
        for (uint32_t j = 0; j < r->d; j++)
            row[j] += sign * c[j];
    }
}

/* Sums of the residuals of each code, rows in their order whatever the threads, which share the dimensions. */
static void sum_rows(double *sums, uint64_t *counts, const refining *r, uint32_t level)
{
    const uint32_t slices = (r->d + SLICE - 1) / SLICE;
    const int threads = vqi_threads(r->opts->threads, slices);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (uint32_t s = 0; s < slices; s++) {
        const uint32_t first = s * SLICE, end = first + SLICE < r->d ? first + SLICE : r->d;
        for (size_t i = 0; i < r->n; i++) {
            const size_t code = r->codes[i * r->levels + level];
            if (s == 0)
                counts[code]++;
            for (uint32_t j = first; j < end; j++)
                sums[code * r->d + j] += (double)r->residual[i * r->d + j];
        }
    }
}

/* The level's codewords as means of what the other levels leave; a code that nobody has stays. */
static vq_status fit_level(vq_codebook **out, const refining *r, uint32_t level)
{
    const vq_codebook *old = vq_quantizer_codebook(r->quantizer, level);
    const uint32_t k = vq_codebook_k(old);
    const size_t cells = (size_t)k * r->d;
    double *sums = vqi_calloc(cells, sizeof *sums);
    uint64_t *counts = vqi_calloc(k, sizeof *counts);
    float *codewords = vqi_alloc(cells, sizeof *codewords);
    vq_status status = sums && counts && codewords ? VQ_OK : vqi_fail_nomem(cells * sizeof *sums);
    if (!status) {
        shift(r, old, level, 1.0f);
        sum_rows(sums, counts, r, level);
        memcpy(codewords, vq_codebook_codewords(old), cells * sizeof *codewords);
        for (uint32_t c = 0; c < k; c++)
            for (uint32_t j = 0; counts[c] && j < r->d; j++)
                codewords[(size_t)c * r->d + j] =
                    (float)(sums[(size_t)c * r->d + j] / (double)counts[c]);
        status = vq_codebook_create(out, codewords, k, r->d, VQ_METRIC_EUCLIDEAN,
                                    vq_codebook_storage(old));
    }
    if (!status)
        shift(r, *out, level, -1.0f);
    vq_free(sums);
    vq_free(counts);
    vq_free(codewords);
    return status;
}

static vq_status fit(refining *r)
{
    vq_codebook *codebooks[VQ_MAX_LEVELS] = {NULL};
    vq_quantizer *fitted = NULL;
    memcpy(r->residual, r->x, r->n * r->d * sizeof *r->x);
    for (uint32_t l = 0; l < r->levels; l++)
        shift(r, vq_quantizer_codebook(r->quantizer, l), l, -1.0f);
    vq_status status = VQ_OK;
    for (uint32_t l = 0; !status && l < r->levels; l++)
        status = fit_level(&codebooks[l], r, l);
    if (!status)
        status = vq_residual_create(&fitted, codebooks, r->levels);
    if (status) {
        for (uint32_t l = 0; l < r->levels; l++)
            vq_codebook_free(codebooks[l]);
        return status;
    }
    vq_quantizer_free(r->quantizer);
    r->quantizer = fitted;
    return count_codes(r);
}

vq_status vqi_image_refine(vq_quantizer **quantizer, const float *x, size_t n,
                           const vqi_refine_opts *opts)
{
    refining r = {.opts = opts,
                  .quantizer = *quantizer,
                  .x = x,
                  .n = n,
                  .d = vq_quantizer_dim(*quantizer),
                  .levels = vq_quantizer_levels(*quantizer)};
    r.codes = vqi_alloc(n, r.levels * sizeof *r.codes);
    r.residual = vqi_alloc(n, r.d * sizeof *r.residual);
    vq_status status =
        r.codes && r.residual ? VQ_OK : vqi_fail_nomem((unsigned long long)n * r.d * sizeof *x);
    if (!status)
        status = encode(&r, 0, 1, 0);
    if (!status)
        status = count_codes(&r);
    for (uint32_t round = 1; !status && round <= opts->rounds + 1; round++) {
        status = encode(&r, round, opts->beam, opts->lambda);
        if (!status)
            status = round <= opts->rounds ? fit(&r) : count_codes(&r);
    }
    vq_free(r.codes);
    vq_free(r.residual);
    *quantizer = r.quantizer;
    return status;
}
