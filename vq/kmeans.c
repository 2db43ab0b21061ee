/* SPDX-License-Identifier: Apache-2.0 */
/* Lloyd's iteration: checks, the loop, and the report. The rows to seed from are gathered in kmeans_sample.c and
 * seeds chosen in kmeans_seed.c; kmeans_cells.c sums cells and kmeans_update.c moves codewords. */
#include "vq/kmeans.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_internal.h"
#include "vq/kmeans_pruning_internal.h"
#include "vq/kmeans_stats_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/source_internal.h"

enum { MAX_K = 1 << 24, DEFAULT_ITERATIONS = 25, MOST_PLUSPLUS = 8192, FEW_CODEWORDS = 16 };
static const double default_tolerance = 1e-4;

const float *vqi_kmeans_row(const vqi_kmeans *run, size_t i, float *scratch)
{
    const float *x = run->x + i * run->d;
    if (run->opts.metric != VQ_METRIC_COSINE)
        return x;
    vqi_unit_row(scratch, x, run->d);
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
    if (o->seeding_rows && o->seeding_rows < o->k)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.seeding_rows is %zu (at least k, or 0)",
                        o->seeding_rows);
    if (o->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.threads is %d (0 means all)", o->threads);
    return VQ_OK;
}

static vq_status check_seeds(const vqi_kmeans *run)
{
    for (uint32_t c = 0; c < run->opts.k; c++)
        if (vqi_largest_bits(run->opts.seeds + (size_t)c * run->d, run->d) >= 0x7f800000u)
            return vqi_fail(VQ_E_NONFINITE, "seed %u of k-means holds a NaN or an infinity", c);
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
static vq_status prepare(vqi_kmeans *run, vq_source *source, const vq_source *theirs,
                         const vq_kmeans_opts *opts)
{
    vq_status status = vqi_source_check(source, theirs);
    if (!status)
        status = vqi_options(&run->opts, sizeof run->opts, opts, "vq_kmeans_opts");
    if (!status)
        status = check_options(&run->opts, source->n, source->d);
    if (status)
        return status;
    vq_kmeans_opts *o = &run->opts;
    if (!o->max_iterations)
        o->max_iterations = DEFAULT_ITERATIONS;
    if (o->tolerance == 0)
        o->tolerance = default_tolerance;
    if (!o->seeding_rows && o->k > MOST_PLUSPLUS)
        o->seeding = VQ_SEEDING_RANDOM;
    if (!o->threads)
        o->threads = omp_get_max_threads();
    run->n = source->n;
    run->d = source->d;
    return check_weights(run);
}

/* What one training run holds beside the rows. */
typedef struct training {
    const vqi_kmeans *run;
    vq_source source;
    vq_kmeans_stats *stats;
    vqi_assign assign;
    vqi_pruning pruning;
    float *buffer;    /* a chunk of rows, unless they are in memory */
    float *codewords; /* k x d, before they are rounded to the storage type */
    double *mse;      /* one for each codebook so far */
    size_t mse_room;
} training;

static void training_clear(training *t)
{
    vq_kmeans_stats_free(t->stats);
    vqi_assign_clear(&t->assign);
    vqi_pruning_clear(&t->pruning);
    vqi_free(t->buffer);
    vqi_free(t->codewords);
    vqi_free(t->mse);
}

/* `largest` is of the rows; seeds may be larger. */
static vq_status training_create(training *t, float largest)
{
    const vqi_kmeans *run = t->run;
    const vq_kmeans_opts *o = &run->opts;
    vqi_stats_form form = {.k = o->k, .d = run->d, .metric = o->metric};
    const uint32_t bits = vqi_largest_bits(t->codewords, (size_t)o->k * run->d);
    float largest_seed, heaviest = 1;
    memcpy(&largest_seed, &bits, sizeof largest_seed);
    if (o->weights) {
        const uint32_t most = vqi_largest_bits(o->weights, run->n);
        memcpy(&heaviest, &most, sizeof heaviest);
        form.weighted = 1;
        form.weight_exponent = vqi_exact_exponent((double)heaviest);
    }
    form.value_exponent = o->metric == VQ_METRIC_COSINE
                              ? 1 /* a unit row may be a little longer than 1 */
                              : vqi_exact_exponent((double)fmaxf(largest, largest_seed));
    const size_t chunk = vqi_stats_chunk(run->n, run->d);
    vq_status status = vqi_stats_create(&t->stats, &form);
    if (!status)
        status = vqi_assign_create(&t->assign, &form, chunk);
    /* Codes and scores of all rows are held where the rows are: there they are the smaller part. */
    if (!status && t->source.memory && o->k >= FEW_CODEWORDS) {
        t->assign.pruning = &t->pruning;
        status = vqi_pruning_create(&t->pruning, run->n, o->k, run->d, chunk);
    }
    if (status || t->source.memory)
        return status;
    t->buffer = vqi_alloc(chunk * run->d, sizeof *t->buffer);
    return t->buffer ? VQ_OK
                     : vqi_fail_nomem((unsigned long long)chunk * run->d * sizeof *t->buffer);
}

/* Rows that are not in memory may have changed since they were looked at. */
static vq_status check_again(const training *t, const float *rows, size_t count)
{
    if (t->source.memory || t->run->opts.metric == VQ_METRIC_COSINE)
        return VQ_OK;
    const uint32_t bits = vqi_largest_bits(rows, count * t->run->d);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (isfinite(largest) && (double)largest > ldexp(1, t->stats->form.value_exponent))
        return vqi_fail(VQ_E_IO, "the rows of k-means are not those of the pass before (leave the "
                                 "data alone while it is trained on)");
    return VQ_OK;
}

static vq_status append_mse(training *t, size_t at, double mse)
{
    if (at == t->mse_room) {
        const size_t room = at ? 2 * at : 32;
        double *larger = vqi_alloc(room, sizeof *larger);
        if (!larger)
            return vqi_fail_nomem((unsigned long long)room * sizeof *larger);
        if (at)
            memcpy(larger, t->mse, at * sizeof *larger);
        vqi_free(t->mse);
        t->mse = larger;
        t->mse_room = room;
    }
    t->mse[at] = mse;
    return VQ_OK;
}

/* The assignment half of Lloyd's iteration, chunk by chunk into the statistics. */
static vq_status assign(double *mse, training *t, const vq_codebook *codebook)
{
    const vqi_kmeans *run = t->run;
    const size_t chunk = t->assign.chunk;
    const float *weights = run->opts.weights;
    if (t->assign.pruning) {
        const vq_status status = vqi_pruning_begin(t->assign.pruning, codebook, t->stats);
        if (status)
            return status;
    }
    vqi_stats_reset(t->stats);
    for (size_t first = 0; first < run->n; first += chunk) {
        const size_t count = run->n - first < chunk ? run->n - first : chunk;
        const float *rows;
        vq_status status = vqi_source_read(&rows, &t->source, t->buffer, first, count);
        if (status)
            return status;
        status = check_again(t, rows, count);
        if (!status)
            status = vqi_assign_rows(t->stats, &t->assign, codebook, rows, count, first,
                                     weights ? weights + first : NULL, run->opts.threads);
        vqi_source_done(&t->source, first, count);
        if (status)
            return status;
    }
    /* Rounded codewords may be a little too long, and a cosine with them above 1. */
    const double error = fmax(vq_kmeans_stats_objective(t->stats), 0);
    *mse = (run->opts.metric == VQ_METRIC_COSINE ? 2 : 1) * error / run->weight / run->d;
    return VQ_OK;
}

static void fill_report(vq_kmeans_report *report, training *t)
{
    const uint32_t k = t->run->opts.k;
    report->mse = t->mse;
    t->mse = NULL;
    for (uint32_t c = 0; c < k; c++)
        if (t->stats->rows[c]) {
            const double share = vqi_stats_weight(t->stats, c) / t->run->weight;
            report->used++;
            report->entropy_bits -= share * log2(share);
        }
    report->dead = k - report->used;
    report->utilisation = (double)report->used / k;
    report->entropy_bits = report->entropy_bits > 0 ? report->entropy_bits : 0; /* never -0 */
    report->perplexity = exp2(report->entropy_bits);
}

static vq_status iterate(vq_codebook **out, vq_kmeans_report *report, training *t)
{
    const vqi_kmeans *run = t->run;
    const vq_kmeans_opts *o = &run->opts;
    vq_codebook *codebook = NULL;
    uint32_t revived = 0;
    vq_status status;
    for (uint32_t i = 0;; i++) {
        double mse = 0;
        /* Rounding to the storage type happens here, so that every MSE is of what could be saved. */
        status = vq_codebook_create(&codebook, t->codewords, o->k, run->d, o->metric, o->storage);
        if (!status)
            status = assign(&mse, t, codebook);
        if (!status)
            status = append_mse(t, i, mse);
        if (!status && i)
            status = vqi_kmeans_tell(run, o->k, i, mse);
        if (status)
            break;
        report->iterations = i;
        report->converged = i && !revived && o->tolerance >= 0 &&
                            t->mse[i - 1] - mse <= o->tolerance * t->mse[i - 1];
        if (report->converged || i == o->max_iterations) {
            fill_report(report, t);
            *out = codebook;
            return VQ_OK;
        }
        vq_codebook_free(codebook);
        codebook = NULL;
        status = vqi_stats_move(t->codewords, &revived, t->stats, o->empty, o->threads);
        if (status)
            break;
        report->revived += revived;
    }
    vq_codebook_free(codebook);
    return status;
}

/* The first codewords; the rows that they were found in are let go before the room for training is taken. */
static vq_status find_seeds(training *t, float *largest)
{
    const vqi_kmeans *run = t->run;
    const size_t k = run->opts.k, d = run->d;
    vqi_sample sample = {0};
    vq_status status = vqi_kmeans_look(&sample, largest, &t->source, run);
    if (!status && run->opts.seeds)
        status = check_seeds(run);
    if (!status) {
        size_t floats;
        t->codewords = vqi_mul(&floats, k, d) ? vqi_alloc(floats, sizeof *t->codewords) : NULL;
        if (!t->codewords)
            status = vqi_fail_nomem((unsigned long long)k * d * sizeof *t->codewords);
    }
    if (!status) {
        vqi_kmeans seeding = *run;
        seeding.x = sample.x;
        seeding.n = sample.n;
        seeding.opts.weights = sample.weights;
        status = vqi_kmeans_seed(t->codewords, &seeding);
    }
    vqi_sample_clear(&sample);
    return status;
}

vq_status vq_kmeans_train_source(vq_codebook **out, vq_kmeans_report *report,
                                 const vq_source *source, const vq_kmeans_opts *opts)
{
    vqi_kmeans run = {0};
    training t = {.run = &run};
    vq_kmeans_report own = {0};
    float largest = 0;
    *out = NULL;
    if (report)
        *report = own;
    vq_status status = prepare(&run, &t.source, source, opts);
    if (!status)
        status = find_seeds(&t, &largest);
    if (!status)
        status = training_create(&t, largest);
    if (!status)
        status = iterate(out, &own, &t);
    training_clear(&t);
    if (report && !status)
        *report = own;
    else
        vq_kmeans_report_clear(&own);
    return status;
}

vq_status vq_kmeans_train(vq_codebook **out, vq_kmeans_report *report, const float *x, size_t n,
                          uint32_t d, const vq_kmeans_opts *opts)
{
    const vq_source source = vq_source_from_memory(x, n, d);
    return vq_kmeans_train_source(out, report, &source, opts);
}

void vq_kmeans_report_clear(vq_kmeans_report *report)
{
    if (!report)
        return;
    vq_free(report->mse);
    report->mse = NULL;
}
