/* SPDX-License-Identifier: Apache-2.0 */
/* Lloyd's iteration: checks, the loop, and the report. Seeds are chosen in kmeans_seed.c, cells are
 * summed and moved in kmeans_cells.c. */
#include "vq/kmeans.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

enum { MAX_K = 1 << 24, DEFAULT_ITERATIONS = 25 };
static const double default_tolerance = 1e-4;

const float *vqi_kmeans_row(const vqi_kmeans *run, size_t i, float *scratch)
{
    const float *x = run->x + i * run->d;
    if (run->opts.metric != VQ_METRIC_COSINE)
        return x;
    double square = 0;
    for (uint32_t j = 0; j < run->d; j++)
        square += (double)x[j] * (double)x[j];
    const double inverse = square > 0 ? 1 / sqrt(square) : 0;
    for (uint32_t j = 0; j < run->d; j++)
        scratch[j] = (float)((double)x[j] * inverse);
    return scratch;
}

vq_status vqi_kmeans_tell(const vqi_kmeans *run, uint32_t seeds_done, uint32_t iteration,
                          double mse)
{
    if (!run->opts.progress)
        return VQ_OK;
    const vq_kmeans_progress progress = {iteration, run->opts.max_iterations, seeds_done,
                                         run->opts.k, mse};
    if (run->opts.progress(run->opts.progress_context, &progress))
        return vqi_fail(VQ_E_CANCELLED, "k-means was stopped by its progress function");
    return VQ_OK;
}

static vq_status check_options(const vq_kmeans_opts *o, size_t n, uint32_t d)
{
    if (!n || !d)
        return vqi_fail(VQ_E_ARG, "k-means of %zu rows of %u floats (give at least one of each)", n,
                        d);
    if (!o->k || o->k > MAX_K)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.k is %u (1 to %d codewords)", o->k, MAX_K);
    if (n < o->k)
        return vqi_fail(
            VQ_E_ARG, "%zu rows are too few for %u codewords (give more rows or lower k)", n, o->k);
    if (o->metric != VQ_METRIC_EUCLIDEAN && o->metric != VQ_METRIC_COSINE)
        return vqi_fail(VQ_E_ARG,
                        "vq_kmeans_opts.metric is %s (k-means knows euclidean and cosine)",
                        vq_metric_name(o->metric));
    if (o->storage != VQ_DTYPE_F32 && o->storage != VQ_DTYPE_F16 && o->storage != VQ_DTYPE_BF16)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.storage is %s (F32, F16 or BF16)",
                        vq_dtype_name(o->storage));
    if (isnan(o->tolerance))
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.tolerance is NaN (negative means never stop)");
    if ((int)o->seeding < VQ_SEEDING_KMEANSPP || o->seeding > VQ_SEEDING_RANDOM)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.seeding is %d (see vq_seeding)", (int)o->seeding);
    if ((int)o->empty < VQ_EMPTY_FARTHEST || o->empty > VQ_EMPTY_KEEP)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.empty is %d (see vq_empty_policy)",
                        (int)o->empty);
    if (o->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.threads is %d (0 means all)", o->threads);
    return VQ_OK;
}

/* Inf - Inf and NaN - NaN are NaN: adding up differences from itself finds any, and vectorises. */
static bool row_is_finite(const float *row, uint32_t d)
{
    float bad = 0;
    for (uint32_t j = 0; j < d; j++)
        bad += row[j] - row[j];
    return bad == 0;
}

static vq_status check_finite(const float *rows, size_t n, uint32_t d, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!row_is_finite(rows + i * d, d))
            return vqi_fail(VQ_E_NONFINITE, "%s %zu of k-means holds a NaN or an infinity", what,
                            i);
    return VQ_OK;
}

static vq_status check_weights(vqi_kmeans *run)
{
    run->weight = 0;
    for (size_t i = 0; i < run->n; i++) {
        const float weight = vqi_kmeans_weight(run, i);
        if (!isfinite(weight))
            return vqi_fail(VQ_E_NONFINITE, "weight %zu of k-means is not finite", i);
        if (weight < 0)
            return vqi_fail(VQ_E_ARG, "weight %zu of k-means is %g (weights are at least 0)", i,
                            (double)weight);
        run->weight += (double)weight;
    }
    if (!(run->weight > 0))
        return vqi_fail(VQ_E_ARG, "all weights of k-means are 0 (give some row a weight)");
    return VQ_OK;
}

/* Fill in the defaults and refuse what cannot be trained on. */
static vq_status prepare(vqi_kmeans *run, const float *x, size_t n, uint32_t d,
                         const vq_kmeans_opts *opts)
{
    vq_status status = vqi_options(&run->opts, sizeof run->opts, opts, "vq_kmeans_opts");
    if (!status)
        status = check_options(&run->opts, n, d);
    if (status)
        return status;
    vq_kmeans_opts *o = &run->opts;
    if (!o->max_iterations)
        o->max_iterations = DEFAULT_ITERATIONS;
    if (o->tolerance == 0)
        o->tolerance = default_tolerance;
    if (!o->threads)
        o->threads = omp_get_max_threads();
    run->x = x;
    run->n = n;
    run->d = d;
    size_t floats;
    if (!x || !vqi_mul(&floats, n, d))
        return vqi_fail(VQ_E_ARG, "k-means got no rows");
    status = check_finite(x, n, d, "row");
    if (!status && o->seeds)
        status = check_finite(o->seeds, o->k, d, "seed");
    return status ? status : check_weights(run);
}

/* What one training run holds beside the caller's rows. */
typedef struct buffers {
    float *codewords; /* k x d, before they are rounded to the storage type */
    float *unit;      /* a chunk of unit rows, cosine only */
    uint32_t *codes;  /* chunk */
    float *errors;    /* chunk */
    void *workspace;  /* of vq_nearest() */
    size_t workspace_size;
    double *mse; /* one for each codebook so far */
    size_t mse_room;
    vqi_cells cells;
} buffers;

static void buffers_clear(buffers *b)
{
    vqi_free(b->codewords);
    vqi_free(b->unit);
    vqi_free(b->codes);
    vqi_free(b->errors);
    vqi_free(b->workspace);
    vqi_free(b->mse);
    vqi_cells_clear(&b->cells);
}

static vq_status buffers_create(buffers *b, const vqi_kmeans *run)
{
    const size_t chunk = vqi_kmeans_chunk(run);
    const bool cosine = run->opts.metric == VQ_METRIC_COSINE;
    const vq_status status = vqi_cells_create(&b->cells, run);
    if (status)
        return status;
    b->codewords = vqi_alloc((size_t)run->opts.k * run->d, sizeof *b->codewords);
    b->codes = vqi_alloc(chunk, sizeof *b->codes);
    b->errors = vqi_alloc(chunk, sizeof *b->errors);
    if (cosine)
        b->unit = vqi_alloc(chunk * run->d, sizeof *b->unit);
    if (!b->codewords || !b->codes || !b->errors || (cosine && !b->unit))
        return vqi_fail_nomem((unsigned long long)run->opts.k * run->d * sizeof *b->codewords);
    return VQ_OK;
}

static vq_status append_mse(buffers *b, size_t at, double mse)
{
    if (at == b->mse_room) {
        const size_t room = at ? 2 * at : 32;
        double *larger = vqi_alloc(room, sizeof *larger);
        if (!larger)
            return vqi_fail_nomem((unsigned long long)room * sizeof *larger);
        if (at)
            memcpy(larger, b->mse, at * sizeof *larger);
        vqi_free(b->mse);
        b->mse = larger;
        b->mse_room = room;
    }
    b->mse[at] = mse;
    return VQ_OK;
}

/* The assignment half of Lloyd's iteration, chunk by chunk into the cells. */
static vq_status assign(double *mse, buffers *b, const vqi_kmeans *run, const vq_codebook *codebook)
{
    const uint32_t d = run->d;
    const size_t chunk = vqi_kmeans_chunk(run);
    const bool cosine = run->opts.metric == VQ_METRIC_COSINE;
    if (!b->workspace) {
        b->workspace_size = vq_nearest_workspace(codebook, chunk, run->opts.threads);
        b->workspace = vqi_alloc(b->workspace_size, 1);
        if (!b->workspace)
            return vqi_fail_nomem(b->workspace_size);
    }
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    /* A search of microseconds is over before other threads have begun. */
    search.threads = chunk * d * run->opts.k < ((size_t)1 << 22) ? 1 : run->opts.threads;
    search.workspace = b->workspace;
    search.workspace_size = b->workspace_size;
    vqi_cells_reset(&b->cells, run);
    for (size_t first = 0; first < run->n; first += chunk) {
        const size_t count = run->n - first < chunk ? run->n - first : chunk;
        const float *rows = run->x + first * d;
        if (cosine) {
#pragma omp parallel for schedule(static) num_threads(run->opts.threads)
            for (size_t i = 0; i < count; i++)
                vqi_kmeans_row(run, first + i, b->unit + i * d);
            rows = b->unit;
        }
        const vq_status status = vq_nearest(b->codes, b->errors, codebook, rows, count, &search);
        if (status)
            return status;
        if (cosine)
            for (size_t i = 0; i < count; i++)
                b->errors[i] = 1 - b->errors[i];
        vqi_cells_add(&b->cells, run, first, rows, b->codes, b->errors, count);
    }
    /* Rounded codewords may be a little too long, and a cosine with them above 1. */
    const double error = b->cells.error < 0 ? 0 : b->cells.error;
    *mse = (cosine ? 2 : 1) * error / run->weight / d;
    if (!isfinite(*mse))
        return vqi_fail(VQ_E_NONFINITE, "the squared distances of k-means overflow float32 (scale "
                                        "the rows down)");
    return VQ_OK;
}

static void fill_report(vq_kmeans_report *report, buffers *b, const vqi_kmeans *run)
{
    const uint32_t k = run->opts.k;
    report->mse = b->mse;
    b->mse = NULL;
    for (uint32_t c = 0; c < k; c++)
        if (b->cells.rows[c]) {
            const double share = b->cells.weight[c] / run->weight;
            report->used++;
            report->entropy_bits -= share * log2(share);
        }
    report->dead = k - report->used;
    report->utilisation = (double)report->used / k;
    report->entropy_bits = report->entropy_bits > 0 ? report->entropy_bits : 0; /* never -0 */
    report->perplexity = exp2(report->entropy_bits);
}

static vq_status iterate(vq_codebook **out, vq_kmeans_report *report, buffers *b,
                         const vqi_kmeans *run)
{
    const vq_kmeans_opts *o = &run->opts;
    vq_codebook *codebook = NULL;
    uint32_t revived = 0;
    vq_status status;
    for (uint32_t i = 0;; i++) {
        double mse = 0;
        /* Rounding to the storage type happens here, so that every MSE is of what could be saved. */
        status = vq_codebook_create(&codebook, b->codewords, o->k, run->d, o->metric, o->storage);
        if (!status)
            status = assign(&mse, b, run, codebook);
        if (!status)
            status = append_mse(b, i, mse);
        if (!status && i)
            status = vqi_kmeans_tell(run, o->k, i, mse);
        if (status)
            break;
        report->iterations = i;
        report->converged = i && !revived && o->tolerance >= 0 &&
                            b->mse[i - 1] - mse <= o->tolerance * b->mse[i - 1];
        if (report->converged || i == o->max_iterations) {
            fill_report(report, b, run);
            *out = codebook;
            return VQ_OK;
        }
        vq_codebook_free(codebook);
        codebook = NULL;
        revived = vqi_cells_update(b->codewords, &b->cells, run);
        report->revived += revived;
    }
    vq_codebook_free(codebook);
    return status;
}

vq_status vq_kmeans_train(vq_codebook **out, vq_kmeans_report *report, const float *x, size_t n,
                          uint32_t d, const vq_kmeans_opts *opts)
{
    vqi_kmeans run = {0};
    buffers b = {0};
    vq_kmeans_report own = {0};
    *out = NULL;
    if (report)
        *report = own;
    vq_status status = prepare(&run, x, n, d, opts);
    if (!status)
        status = buffers_create(&b, &run);
    if (!status)
        status = vqi_kmeans_seed(b.codewords, &run);
    if (!status)
        status = iterate(out, &own, &b, &run);
    buffers_clear(&b);
    if (report && !status)
        *report = own;
    else
        vq_kmeans_report_clear(&own);
    return status;
}

void vq_kmeans_report_clear(vq_kmeans_report *report)
{
    if (!report)
        return;
    vq_free(report->mse);
    report->mse = NULL;
}
