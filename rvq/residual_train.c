/* SPDX-License-Identifier: Apache-2.0 */
/* Training of a residual quantizer: one k-means after another, each on what the last left over. */
#include <string.h>

#include "rvq/residual.h"
#include "rvq/residual_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

enum { DEFAULT_LEVELS = 4 };

typedef struct training {
    vq_residual_train_opts opts;
    size_t n;
    uint32_t d;
    float *residual; /* n x d */
    uint32_t *codes; /* n */
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    uint32_t levels; /* trained so far */
} training;

static uint32_t level_k(const training *t, uint32_t level)
{
    return t->opts.k ? t->opts.k[level] : t->opts.kmeans.k;
}

/* The first levels must be those that an uninterrupted run with these options would have made. */
static vq_status check_resume(const training *t)
{
    const vq_quantizer *q = t->opts.resume;
    if (strcmp(vq_quantizer_kind(q), vqi_residual_kind.name) != 0)
        return vqi_fail(VQ_E_ARG, "a %s quantizer cannot be resumed as a residual one",
                        vq_quantizer_kind(q));
    if (vq_quantizer_dim(q) != t->d)
        return vqi_fail(VQ_E_ARG, "the quantizer to resume has %u dimensions and the rows have %u",
                        vq_quantizer_dim(q), t->d);
    if (vq_quantizer_levels(q) > t->opts.levels)
        return vqi_fail(VQ_E_ARG, "the quantizer to resume has %u levels (more than the %u wanted)",
                        vq_quantizer_levels(q), t->opts.levels);
    for (uint32_t l = 0; l < vq_quantizer_levels(q); l++)
        if (vq_quantizer_k(q, l) != level_k(t, l))
            return vqi_fail(VQ_E_ARG, "level %u to resume has %u codewords (not the %u wanted)", l,
                            vq_quantizer_k(q, l), level_k(t, l));
    return VQ_OK;
}

static vq_status prepare(training *t, const float *x, size_t n, uint32_t d,
                         const vq_residual_train_opts *opts)
{
    const vq_status status = vqi_options(&t->opts, sizeof t->opts, opts, "vq_residual_train_opts");
    if (status)
        return status;
    if (!t->opts.levels)
        t->opts.levels = DEFAULT_LEVELS;
    if (t->opts.levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "vq_residual_train_opts.levels is %u (at most %d)",
                        t->opts.levels, VQ_MAX_LEVELS);
    if (t->opts.kmeans.seeds)
        return vqi_fail(VQ_E_ARG, "vq_residual_train_opts.kmeans.seeds must be NULL");
    if (t->opts.kmeans.metric != VQ_METRIC_EUCLIDEAN)
        return vqi_fail(VQ_E_ARG,
                        "vq_residual_train_opts.kmeans.metric is %s (residual levels are "
                        "euclidean)",
                        vq_metric_name(t->opts.kmeans.metric));
    size_t floats;
    if (!x || !n || !d || !vqi_mul(&floats, n, d))
        return vqi_fail(VQ_E_ARG, "residual training on %zu rows of %u floats (give some)", n, d);
    t->n = n;
    t->d = d;
    if (t->opts.resume) {
        const vq_status resumable = check_resume(t);
        if (resumable)
            return resumable;
    }
    t->residual = vqi_alloc(floats, sizeof *t->residual);
    t->codes = vqi_alloc(n, sizeof *t->codes);
    if (!t->residual || !t->codes)
        return vqi_fail_nomem((unsigned long long)floats * sizeof *t->residual);
    memcpy(t->residual, x, floats * sizeof *x);
    return VQ_OK;
}

/* The next level is there: take its codewords away from the residuals. */
static vq_status strip(training *t)
{
    const vq_codebook *codebook = t->codebooks[t->levels++];
    if (t->levels == t->opts.levels)
        return VQ_OK; /* nothing is trained on what the last level leaves */
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = t->opts.kmeans.threads;
    const vq_status status = vq_nearest(t->codes, NULL, codebook, t->residual, t->n, &search);
    if (!status)
        vqi_residual_subtract(t->residual, codebook, t->codes, t->n, search.threads);
    return status;
}

static vq_status resume(training *t)
{
    for (uint32_t l = 0; l < vq_quantizer_levels(t->opts.resume); l++) {
        const vq_codebook *theirs = vq_quantizer_codebook(t->opts.resume, l);
        vq_status status = vq_codebook_create(&t->codebooks[l], vq_codebook_codewords(theirs),
                                              vq_codebook_k(theirs), t->d, VQ_METRIC_EUCLIDEAN,
                                              vq_codebook_storage(theirs));
        if (!status)
            status = strip(t);
        if (status)
            return status;
    }
    return VQ_OK;
}

static vq_status tell(const training *t, const vq_kmeans_report *report)
{
    if (!t->opts.level_done)
        return VQ_OK;
    vq_quantizer *so_far;
    const vq_status status = vqi_residual_view(&so_far, t->codebooks, t->levels);
    if (status)
        return status;
    const int stop = t->opts.level_done(t->opts.level_context, t->levels - 1, so_far, report);
    vq_quantizer_free(so_far);
    return stop ? vqi_fail(VQ_E_CANCELLED, "residual training was stopped after level %u",
                           t->levels - 1)
                : VQ_OK;
}

static vq_status train_level(training *t)
{
    const uint32_t level = t->levels;
    vq_kmeans_opts kmeans = t->opts.kmeans;
    vq_kmeans_report report;
    kmeans.k = level_k(t, level);
    kmeans.seed += level;
    vq_status status =
        vq_kmeans_train(&t->codebooks[level], &report, t->residual, t->n, t->d, &kmeans);
    if (status)
        return status;
    status = strip(t);
    if (!status)
        status = tell(t, &report);
    vq_kmeans_report_clear(&report);
    return status;
}

vq_status vq_residual_train(vq_quantizer **out, const float *x, size_t n, uint32_t d,
                            const vq_residual_train_opts *opts)
{
    training t = {0};
    *out = NULL;
    vq_status status = prepare(&t, x, n, d, opts);
    if (!status && t.opts.resume)
        status = resume(&t);
    while (!status && t.levels < t.opts.levels)
        status = train_level(&t);
    vqi_free(t.residual);
    vqi_free(t.codes);
    if (!status)
        status = vq_residual_create(out, t.codebooks, t.levels);
    for (uint32_t l = 0; status && l < VQ_MAX_LEVELS; l++)
        vq_codebook_free(t.codebooks[l]);
    return status;
}
