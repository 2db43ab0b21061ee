/* SPDX-License-Identifier: Apache-2.0 */
/* Lloyd's iteration: checks, the loop, and the report. The rows to seed from are gathered in kmeans_sample.c and
 * seeds chosen in kmeans_seed.c; kmeans_cells.c sums cells and kmeans_update.c moves codewords. */
#include "vq/kmeans.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_internal.h"
#include "vq/kmeans_pruning_internal.h"
#include "vq/kmeans_repair_internal.h"
#include "vq/kmeans_stats_internal.h"
#include "vq/memory_internal.h"
#include "vq/source_internal.h"

enum {
    FEW_CODEWORDS = 16,
    REPAIR_ITERATIONS = 2, /* of Lloyd's, after each round of repair */
    REPAIR_SHARE = 16      /* one codeword in so many may move in a round */
};

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
    const uint32_t most = run->opts.max_iterations + run->opts.repair_rounds * REPAIR_ITERATIONS;
    const vq_kmeans_progress progress = {iteration, most, seeds_done, run->opts.k, mse};
    if (run->opts.progress(run->opts.progress_context, &progress))
        return vqi_fail(VQ_E_CANCELLED, "k-means was stopped by its progress function");
    return VQ_OK;
}

/* What one training run holds beside the rows. */
typedef struct training {
    const vqi_kmeans *run;
    vq_source source;
    vq_kmeans_stats *stats;
    vqi_assign assign;
    vqi_pruning pruning;
    float *buffer;         /* a chunk of rows, unless they are in memory */
    float *codewords;      /* k x d, before they are rounded to the storage type */
    vq_codebook *codebook; /* they, rounded */
    double *mse;           /* one for each codebook so far */
    size_t mse_room;
    vq_kmeans_report report;
    uint32_t told; /* updates so far, those that were taken back included */
    vqi_repair repair;
    float *best; /* k x d: before the round of repair */
} training;

static void training_clear(training *t)
{
    vq_kmeans_stats_free(t->stats);
    vqi_assign_clear(&t->assign);
    vqi_pruning_clear(&t->pruning);
    vqi_repair_clear(&t->repair);
    vq_codebook_free(t->codebook);
    vqi_free(t->buffer);
    vqi_free(t->codewords);
    vqi_free(t->best);
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
    t->assign.before = run->first;
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

/* All rows, chunk by chunk into the statistics. */
static vq_status pass(training *t, bool look)
{
    const vqi_kmeans *run = t->run;
    const size_t chunk = t->assign.chunk;
    const float *weights = run->opts.weights;
    vq_status status = VQ_OK;
    t->assign.repair = look ? &t->repair : NULL;
    if (look)
        status = vqi_repair_begin(&t->repair, t->stats);
    if (t->assign.pruning && !status)
        status = vqi_pruning_begin(t->assign.pruning, t->codebook, t->stats);
    if (status)
        return status;
    vqi_stats_reset(t->stats);
    for (size_t first = 0; first < run->n; first += chunk) {
        const size_t count = run->n - first < chunk ? run->n - first : chunk;
        const float *rows;
        status = vqi_source_read(&rows, &t->source, t->buffer, first, count);
        if (status)
            return status;
        status = check_again(t, rows, count);
        if (!status)
            status = vqi_assign_rows(t->stats, &t->assign, t->codebook, rows, count, first,
                                     weights ? weights + first : NULL, run->opts.threads);
        vqi_source_done(&t->source, first, count);
        if (status)
            return status;
    }
    return VQ_OK;
}

/* The assignment half of Lloyd's iteration. */
static vq_status assign(double *mse, training *t, bool look)
{
    const vqi_kmeans *run = t->run;
    const vq_status status = vqi_kmeans_reduce(t->stats, run, pass(t, look));
    if (status)
        return status;
    /* Rounded codewords may be a little too long, and a cosine with them above 1. */
    const double error = fmax(vq_kmeans_stats_objective(t->stats), 0);
    *mse = (run->opts.metric == VQ_METRIC_COSINE ? 2 : 1) * error / run->weight / run->d;
    return VQ_OK;
}

static void fill_report(training *t)
{
    const uint32_t k = t->run->opts.k;
    vq_kmeans_report *report = &t->report;
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

/* The codebook of t->codewords. Rounding to the storage type happens here, so that every MSE is of what could be
 * saved. */
static vq_status make_codebook(training *t)
{
    const vq_kmeans_opts *o = &t->run->opts;
    vq_codebook_free(t->codebook);
    t->codebook = NULL;
    return vq_codebook_create(&t->codebook, t->codewords, o->k, t->run->d, o->metric, o->storage);
}

/* A codebook and its MSE, after an update or as the first. */
static vq_status evaluate(training *t, bool look)
{
    double mse = 0;
    vq_status status = make_codebook(t);
    if (!status)
        status = assign(&mse, t, look);
    if (!status)
        status = append_mse(t, t->report.iterations, mse);
    if (!status && t->told)
        status = vqi_kmeans_tell(t->run, t->run->opts.k, t->told, mse);
    return status;
}

/* Lloyd's iteration: every codeword to the mean of its cell, and a look at what that gives. */
static vq_status iterate(uint32_t *revived, training *t, bool beyond, bool look)
{
    const vq_kmeans_opts *o = &t->run->opts;
    const vq_status status = vqi_stats_move(t->codewords, revived, t->stats, o->empty, o->threads);
    if (status)
        return status;
    if (beyond)
        vqi_repair_go_beyond(t->codewords, t->stats, vq_codebook_codewords(t->codebook));
    t->report.revived += *revived;
    t->report.iterations++;
    t->told++;
    return evaluate(t, look);
}

/* @param looked whether the last pass was one that repair can work from. */
static vq_status lloyd(bool *looked, training *t)
{
    const vq_kmeans_opts *o = &t->run->opts;
    vq_status status = evaluate(t, false);
    for (uint32_t i = 1; !status && i <= o->max_iterations; i++) {
        uint32_t revived = 0;
        *looked = o->repair_rounds && i == o->max_iterations;
        status = iterate(&revived, t, false, *looked);
        if (status)
            break;
        const double before = t->mse[i - 1], mse = t->mse[i];
        t->report.converged =
            !revived && o->tolerance >= 0 && before - mse <= o->tolerance * before;
        if (t->report.converged)
            break;
    }
    return status;
}

/* Move up to `limit` codewords to where they are worth more, and let Lloyd's iteration settle them: in great steps,
 * but for the very last, which ends at the means. */
static vq_status repair_round(uint32_t *moved, training *t, uint32_t limit, bool last)
{
    const vq_kmeans_opts *o = &t->run->opts;
    uint32_t revived = 0;
    memcpy(t->best, t->codewords, (size_t)o->k * t->run->d * sizeof *t->best);
    vq_status status = vqi_stats_move(t->codewords, &revived, t->stats, VQ_EMPTY_KEEP, o->threads);
    if (!status)
        status = vqi_repair_move(t->codewords, moved, &t->repair, t->stats, t->codebook, limit,
                                 o->threads);
    if (status || !*moved)
        return status;
    t->report.revived += *moved;
    t->report.iterations++;
    t->told++;
    status = evaluate(t, false);
    for (int i = 1; i < REPAIR_ITERATIONS && !status; i++)
        status = iterate(&revived, t, !last || i < REPAIR_ITERATIONS - 1,
                         !last && i == REPAIR_ITERATIONS - 1);
    return status;
}

/* Back to the codebook before the round, and its statistics. */
static vq_status take_back(training *t, const vq_kmeans_report *before, bool look)
{
    double mse;
    memcpy(t->codewords, t->best, (size_t)t->run->opts.k * t->run->d * sizeof *t->best);
    t->report = *before;
    const vq_status status = make_codebook(t);
    return status ? status : assign(&mse, t, look);
}

/* Rounds that do not lower the MSE are taken back, and the next one is less bold. */
static vq_status repair(training *t, bool looked)
{
    const vq_kmeans_opts *o = &t->run->opts;
    const size_t floats = (size_t)o->k * t->run->d;
    uint32_t limit = o->k / REPAIR_SHARE + 1;
    double mse;
    vq_status status = VQ_OK;
    if (!looked)
        status = assign(&mse, t, true);
    for (uint32_t round = 1; round <= o->repair_rounds && limit && !status; round++) {
        const vq_kmeans_report before = t->report;
        const bool last = round == o->repair_rounds;
        uint32_t moved = 0;
        status = repair_round(&moved, t, limit, last);
        if (status)
            break;
        if (!moved) {
            memcpy(t->codewords, t->best, floats * sizeof *t->best);
            break;
        }
        const double gain = t->mse[before.iterations] - t->mse[t->report.iterations];
        if (gain > 0 && gain > o->tolerance * t->mse[before.iterations])
            continue;
        limit /= 4;
        if (!(gain > 0))
            status = take_back(t, &before, limit && !last);
    }
    return status;
}

static vq_status run_training(vq_codebook **out, training *t)
{
    const vq_kmeans_opts *o = &t->run->opts;
    const size_t floats = (size_t)o->k * t->run->d;
    bool looked = false;
    vq_status status = VQ_OK;
    if (o->repair_rounds) {
        t->best = vqi_alloc(floats, sizeof *t->best);
        status = t->best ? vqi_repair_create(&t->repair, t->stats, t->assign.chunk)
                         : vqi_fail_nomem((unsigned long long)floats * sizeof *t->best);
    }
    if (!status)
        status = lloyd(&looked, t);
    if (!status && o->repair_rounds)
        status = repair(t, looked);
    if (status)
        return status;
    fill_report(t);
    *out = t->codebook;
    t->codebook = NULL;
    return VQ_OK;
}

/* The first codewords; the rows that they were found in are let go before the room for training is taken. */
static vq_status find_seeds(training *t, float *largest)
{
    const vqi_kmeans *run = t->run;
    const size_t k = run->opts.k, d = run->d;
    vqi_sample sample = {0};
    vq_status status = vqi_kmeans_look(&sample, largest, &t->source, run);
    if (!status && run->opts.seeds)
        status = vqi_kmeans_check_seeds(run);
    if (!status) {
        size_t floats;
        t->codewords = vqi_mul(&floats, k, d) ? vqi_alloc(floats, sizeof *t->codewords) : NULL;
        if (!t->codewords)
            status = vqi_fail_nomem((unsigned long long)k * d * sizeof *t->codewords);
    }
    if (!status) {
        vqi_kmeans seeding = *run;
        seeding.x = sample.x;
        seeding.n = seeding.total = sample.n;
        seeding.opts.weights = sample.weights;
        status = vqi_kmeans_seed(t->codewords, &seeding);
    }
    vqi_sample_clear(&sample);
    return status;
}

/* The codes of all rows, which are in memory, under the codebook that is returned. */
static vq_status tell_codes(uint32_t *codes, const vq_codebook *codebook, const training *t)
{
    const vq_kmeans_opts *o = &t->run->opts;
    if (t->assign.pruning && !o->repair_rounds && !o->weights) {
        memcpy(codes, t->pruning.codes, t->run->n * sizeof *codes);
        return VQ_OK;
    }
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = o->threads;
    return vq_nearest(codes, NULL, codebook, t->source.memory, t->run->n, &search);
}

static vq_status train(vq_codebook **out, vq_kmeans_report *report, uint32_t *codes,
                       const vq_source *source, const vq_kmeans_opts *opts, vqi_ranks *ranks)
{
    vqi_kmeans run = {.ranks = ranks};
    training t = {.run = &run};
    float largest = 0;
    *out = NULL;
    if (report)
        *report = t.report;
    vq_status status = vqi_kmeans_prepare(&run, &t.source, source, opts);
    if (!status)
        status = find_seeds(&t, &largest);
    if (!status)
        status = training_create(&t, largest);
    if (!status)
        status = run_training(out, &t);
    if (!status && codes)
        status = tell_codes(codes, *out, &t);
    status = vqi_ranks_agree(ranks, status);
    if (status) {
        vq_codebook_free(*out);
        *out = NULL;
    }
    training_clear(&t);
    if (report && !status)
        *report = t.report;
    else
        vq_kmeans_report_clear(&t.report);
    return status;
}

vq_status vq_kmeans_train_source(vq_codebook **out, vq_kmeans_report *report,
                                 const vq_source *source, const vq_kmeans_opts *opts)
{
    return train(out, report, NULL, source, opts, NULL);
}

vq_status vq_kmeans_train_ranks(vq_codebook **out, vq_kmeans_report *report,
                                const vq_source *source, const vq_kmeans_opts *opts,
                                const vq_communicator *communicator)
{
    vqi_ranks ranks;
    *out = NULL;
    vq_status status = vqi_ranks_create(&ranks, communicator);
    if (status) {
        if (report)
            *report = (vq_kmeans_report){0};
        status = vqi_ranks_agree(&ranks, status);
    } else {
        status = train(out, report, NULL, source, opts, &ranks);
    }
    vqi_ranks_clear(&ranks);
    return status;
}

vq_status vqi_kmeans_train_codes(vq_codebook **out, vq_kmeans_report *report, uint32_t *codes,
                                 const float *x, size_t n, uint32_t d, const vq_kmeans_opts *opts)
{
    const vq_source source = vq_source_from_memory(x, n, d);
    return train(out, report, codes, &source, opts, NULL);
}

vq_status vq_kmeans_train(vq_codebook **out, vq_kmeans_report *report, const float *x, size_t n,
                          uint32_t d, const vq_kmeans_opts *opts)
{
    return vqi_kmeans_train_codes(out, report, NULL, x, n, d, opts);
}

void vq_kmeans_report_clear(vq_kmeans_report *report)
{
    if (!report)
        return;
    vq_free(report->mse);
    report->mse = NULL;
}
