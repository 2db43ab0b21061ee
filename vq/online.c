/* SPDX-License-Identifier: Apache-2.0 */
/* Exponential moving averages of counts and sums, and the revival of dead codes. An update computes the
 * whole next state beside the present one and swaps them last, so that none is ever half done. */
#include "vq/online.h"

#include <math.h>
#include <string.h>

#include "vq/codebook_internal.h"
#include "vq/error_internal.h"
#include "vq/kmeans.h"
#include "vq/memory_internal.h"
#include "vq/online_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

enum { DEFAULT_PATIENCE = 10, FIRST_BATCH_ITERATIONS = 10 };
static const double default_decay = 0.99, default_epsilon = 1e-5, default_threshold = 0.03;

vq_status vqi_online_options(vq_online_opts *own, const vq_online_opts *opts)
{
    const vq_status status = vqi_options(own, sizeof *own, opts, "vq_online_opts");
    if (status)
        return status;
    if (!(own->decay < 1)) /* also a NaN */
        return vqi_fail(VQ_E_ARG, "vq_online_opts.decay is %g (below 1)", own->decay);
    if (!isfinite(own->epsilon))
        return vqi_fail(VQ_E_ARG, "vq_online_opts.epsilon is not finite");
    if (!(own->threshold <= 1))
        return vqi_fail(VQ_E_ARG, "vq_online_opts.threshold is %g (a share of even use, at most 1)",
                        own->threshold);
    own->decay = own->decay > 0 ? own->decay : own->decay < 0 ? 0 : default_decay;
    own->epsilon = own->epsilon > 0 ? own->epsilon : own->epsilon < 0 ? 0 : default_epsilon;
    own->threshold = own->threshold > 0   ? own->threshold
                     : own->threshold < 0 ? 0
                                          : default_threshold;
    own->patience = own->patience ? own->patience : DEFAULT_PATIENCE;
    return VQ_OK;
}

static int state_create(vqi_online_state *state, size_t k, size_t d)
{
    state->counts = vqi_calloc(k, sizeof *state->counts);
    state->sums = vqi_calloc(k * d, sizeof *state->sums); /* k x d floats exist: no overflow */
    state->dying = vqi_calloc(k, sizeof *state->dying);
    return state->counts && state->sums && state->dying;
}

static void state_clear(vqi_online_state *state)
{
    vqi_free(state->counts);
    vqi_free(state->sums);
    vqi_free(state->dying);
}

void vq_online_free(vq_online *online)
{
    if (!online)
        return;
    vq_codebook_free(online->codebook);
    state_clear(&online->now);
    state_clear(&online->next);
    vqi_free(online->codewords);
    vqi_batch_clear(&online->batch);
    vqi_free(online);
}

vq_status vqi_online_make(vq_online **out, vq_codebook *codebook, const vq_online_opts *own)
{
    const uint32_t k = vq_codebook_k(codebook), d = vq_codebook_dim(codebook);
    *out = NULL;
    vq_online *online = vqi_calloc(1, sizeof *online);
    if (!online) {
        vq_codebook_free(codebook);
        return vqi_fail_nomem(sizeof *online);
    }
    online->opts = *own;
    online->k = k;
    online->d = d;
    online->codebook = codebook;
    vq_status status = vqi_batch_create(&online->batch, k, d, vq_codebook_metric(codebook));
    if (!status) {
        const int now = state_create(&online->now, k, d), next = state_create(&online->next, k, d);
        online->codewords = vqi_alloc((size_t)k * d, sizeof *online->codewords);
        if (!now || !next || !online->codewords)
            status = vqi_fail_nomem((unsigned long long)k * d * sizeof(double));
    }
    if (status) {
        vq_online_free(online);
        return status;
    }
    *out = online;
    return VQ_OK;
}

vq_status vq_online_create(vq_online **out, const vq_codebook *codebook, const vq_online_opts *opts)
{
    vq_online_opts own;
    vq_codebook *copy = NULL;
    *out = NULL;
    vq_status status = vqi_online_options(&own, opts);
    if (!status && vq_codebook_metric(codebook) == VQ_METRIC_DOT)
        status = vqi_fail(VQ_E_ARG, "an online codebook is Euclidean or cosine, not dot");
    const float *codewords = vq_codebook_codewords(codebook);
    const uint32_t k = vq_codebook_k(codebook), d = vq_codebook_dim(codebook);
    if (!status)
        status = vqi_codebook_restore(&copy, codewords, k, d, vq_codebook_metric(codebook),
                                      VQ_DTYPE_F32);
    if (!status)
        status = vqi_online_make(out, copy, &own);
    if (status)
        return status;
    for (uint32_t c = 0; c < k; c++)
        (*out)->now.counts[c] = 1;
    for (size_t i = 0; i < (size_t)k * d; i++)
        (*out)->now.sums[i] = (double)codewords[i];
    return VQ_OK;
}

vq_status vq_online_create_from_batch(vq_online **out, const float *x, size_t n, uint32_t d,
                                      const float *weights, uint32_t k, vq_metric metric,
                                      const vq_online_opts *opts)
{
    vq_online_opts own;
    vq_codebook *codebook;
    vq_kmeans_opts kmeans = VQ_KMEANS_OPTS_INIT;
    *out = NULL;
    vq_status status = vqi_online_options(&own, opts);
    if (status)
        return status;
    kmeans.k = k;
    kmeans.metric = metric;
    kmeans.weights = weights;
    kmeans.seed = own.seed;
    kmeans.max_iterations = FIRST_BATCH_ITERATIONS;
    status = vq_kmeans_train(&codebook, NULL, x, n, d, &kmeans);
    if (status)
        return status;
    status = vq_online_create(out, codebook, opts);
    vq_codebook_free(codebook);
    return status;
}

/* The codeword of a code that has a row: the smoothed mean, or the direction of the sum. */
static void publish(float *codeword, const vq_online *o, const double *sum, double count,
                    double total)
{
    const double epsilon = o->opts.epsilon;
    double divisor = total * (count + epsilon) / (total + o->k * epsilon);
    if (o->batch.metric == VQ_METRIC_COSINE) {
        double square = 0;
        for (uint32_t j = 0; j < o->d; j++)
            square += sum[j] * sum[j];
        divisor = sqrt(square);
        if (divisor <= 1e-12 * count) /* the rows cancelled: no direction */
            return;
    }
    for (uint32_t j = 0; j < o->d; j++)
        codeword[j] = (float)(sum[j] / divisor);
}

/* Counts and sums after the batch, and the codewords that they make. @return the sum of the counts. */
static double average(vq_online *o, int threads)
{
    const uint32_t k = o->k, d = o->d;
    const double keep = o->opts.decay, take = 1 - keep;
    /* The first batch says what even use is. */
    const double unit = o->updates ? 1 : o->batch.total / k;
    double total = 0;
    for (uint32_t c = 0; c < k; c++) {
        o->next.counts[c] = keep * (unit * o->now.counts[c]) + take * o->batch.weight[c];
        total += o->next.counts[c];
    }
    memcpy(o->codewords, vq_codebook_codewords(o->codebook), (size_t)k * d * sizeof *o->codewords);
    threads = (size_t)k * d < ((size_t)1 << 18) ? 1 : vqi_threads(threads, k);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint32_t c = 0; c < k; c++) {
        const size_t at = (size_t)c * d;
        for (size_t i = at; i < at + d; i++)
            o->next.sums[i] = keep * (unit * o->now.sums[i]) + take * o->batch.sum[i];
        if (o->batch.weight[c] > 0)
            publish(o->codewords + at, o, o->next.sums + at, o->next.counts[c], total);
    }
    return total;
}

static void move_to_row(vq_online *o, uint32_t code, const float *row, double count)
{
    float *codeword = o->codewords + (size_t)code * o->d;
    double *sum = o->next.sums + (size_t)code * o->d;
    if (o->batch.metric == VQ_METRIC_COSINE)
        vqi_unit_row(codeword, row, o->d);
    else
        memcpy(codeword, row, o->d * sizeof *codeword);
    for (uint32_t j = 0; j < o->d; j++)
        sum[j] = count * (double)codeword[j];
    o->next.counts[code] = count;
    o->next.dying[code] = 0;
}

/* Move dead codes to rows of the batch. @return how many. */
static uint32_t revive(vq_online *o, const float *x, size_t n, const float *weights, double total,
                       uint32_t dead)
{
    vqi_draw draw;
    const size_t rows =
        vqi_draw_begin(&draw, &o->batch, x, n, weights, dead, o->opts.seed, o->updates);
    uint32_t code = 0;
    for (size_t i = 0; i < rows; i++) {
        while (o->next.dying[code] < o->opts.patience)
            code++;
        move_to_row(o, code, x + vqi_draw_next(&draw) * o->d, total / o->k);
    }
    return (uint32_t)rows;
}

/* Note which codes are below the threshold. @return how many have been for too long. */
static uint32_t find_dead(vq_online *o, vq_online_report *report, double total)
{
    const double least = o->opts.threshold * total / o->k;
    double entropy = 0;
    uint32_t dead = 0;
    for (uint32_t c = 0; c < o->k; c++) {
        const double share = o->next.counts[c] / total;
        const uint32_t before = o->now.dying[c];
        const int low = o->next.counts[c] < least;
        o->next.dying[c] = low ? before + (before < UINT32_MAX) : 0;
        dead += o->next.dying[c] >= o->opts.patience;
        report->dying += (uint32_t)low;
        report->used += o->batch.weight[c] > 0;
        if (share > 0)
            entropy -= share * log2(share);
    }
    report->perplexity = exp2(entropy > 0 ? entropy : 0);
    return dead;
}

static vq_status learn(vq_online *o, vq_online_report *report, const float *x, size_t n,
                       const float *weights, int threads)
{
    const double total = average(o, threads);
    const uint32_t dead = find_dead(o, report, total);
    report->revived = revive(o, x, n, weights, total, dead);
    report->dying -= report->revived;
    report->mse = o->batch.error / o->batch.total / o->d;
    report->updates = o->updates + 1;
    vq_codebook *codebook;
    /* Restored, not created: a codeword that did not move keeps its bits also under the cosine metric. */
    const vq_status status =
        vqi_codebook_restore(&codebook, o->codewords, o->k, o->d, o->batch.metric, VQ_DTYPE_F32);
    if (status)
        return status;
    const vqi_online_state next = o->next;
    o->next = o->now;
    o->now = next;
    vq_codebook_free(o->codebook);
    o->codebook = codebook;
    o->updates++;
    return VQ_OK;
}

vq_status vq_online_update(vq_online *online, uint32_t *codes, vq_online_report *report,
                           const float *x, size_t n, const float *weights, int threads)
{
    vq_online_report own = {.updates = online->updates};
    if (threads < 0)
        return vqi_fail(VQ_E_ARG, "%d threads (0 means all)", threads);
    vq_status status = vqi_batch_check(x, n, online->d, weights);
    if (!status)
        status = vqi_batch_assign(&online->batch, online->codebook, x, n, weights, threads);
    if (!status && online->batch.total > 0)
        status = learn(online, &own, x, n, weights, threads);
    if (status)
        return status;
    if (codes && n)
        memcpy(codes, online->batch.codes, n * sizeof *codes);
    if (report)
        *report = own;
    return VQ_OK;
}

const vq_codebook *vq_online_codebook(const vq_online *online)
{
    return online->codebook;
}

const double *vq_online_counts(const vq_online *online)
{
    return online->now.counts;
}

vq_status vq_online_snapshot(vq_codebook **out, const vq_online *online, vq_dtype storage)
{
    return vqi_codebook_restore(out, vq_codebook_codewords(online->codebook), online->k, online->d,
                                online->batch.metric, storage);
}
