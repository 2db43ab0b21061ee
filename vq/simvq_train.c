/* SPDX-License-Identifier: Apache-2.0 */
/* SimVQ in closed form: codes and statistics, then the least squares of the map. */
#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_stats_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/simvq_internal.h"
#include "vq/source_internal.h"

enum { DEFAULT_ITERATIONS = 25, CHUNK = 4096 };

/* The first steps are taken on samples: of so many rows, at least, and of so many for each code, and then of four times
 * as many, while they are at most half of all. On each they end when one brings less than this share. */
enum { SAMPLE = 4096, SAMPLE_PER_CODE = 8, SAMPLE_FLOATS = 1 << 26, SAMPLE_STEPS = 60 };
static const double sample_tolerance = 1e-3;

/* Of a step that was good: how much longer the next is, and how much of it is repeated. Measured on patches of photographs
 * (bench/run simvq), 0.7 takes a third of the passes of 0. */
static const double growth = 1.05, momentum = 0.7;
static const double default_tolerance = 1e-4, default_ridge = 1e-6, most_ridge = 1e6;

typedef struct training {
    vq_simvq_train_opts opts;
    vq_simvq_form form;
    vq_source source;
    float *map, *bias;    /* bias NULL if there is none */
    float *move;          /* (r + 1) x d: the last of map and bias */
    float *basis;         /* k x r */
    double *weight, *sum; /* k, k x d */
    vqi_simvq_solver solver;
} training;

static vq_status check_ridge(double *ridge)
{
    if (!(*ridge >= 0) || *ridge > most_ridge)
        return vqi_fail(VQ_E_ARG, "a ridge of %g (0 to %g)", *ridge, most_ridge);
    *ridge = *ridge > 0 ? *ridge : default_ridge;
    return VQ_OK;
}

static vq_status check_options(training *t, const vq_simvq_train_opts *opts)
{
    vq_simvq_train_opts *o = &t->opts;
    vq_status status = vqi_options(o, sizeof *o, opts, "vq_simvq_train_opts");
    if (status)
        return status;
    if (o->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_simvq_train_opts.threads is %d (0 = all)", o->threads);
    if (o->start != VQ_SIMVQ_START_MOMENTS && o->start != VQ_SIMVQ_START_UNIFORM)
        return vqi_fail(VQ_E_ARG, "vq_simvq_train_opts.start is %d (see vq_simvq_start)",
                        (int)o->start);
    if (isnan(o->tolerance))
        return vqi_fail(VQ_E_ARG, "vq_simvq_train_opts.tolerance is not a number");
    o->max_iterations = o->max_iterations ? o->max_iterations : DEFAULT_ITERATIONS;
    o->tolerance = o->tolerance == 0 ? default_tolerance : o->tolerance;
    status = check_ridge(&o->ridge);
    if (status)
        return status;
    const vq_simvq_form form = {sizeof form, o->k, t->source.d, o->basis_dim, o->seed};
    if (!t->source.n)
        return vqi_fail(VQ_E_ARG, "SimVQ on no rows (give some)");
    return vqi_simvq_check(&t->form, &form);
}

static vq_status make_room(training *t)
{
    const size_t k = t->form.k, r = t->form.basis_dim, d = t->form.dim;
    size_t square = 0, rows = 0, map = 0;
    if (vqi_mul(&square, k, r) && vqi_mul(&rows, k, d) && vqi_mul(&map, r + 1, d)) {
        t->map = vqi_alloc(r * d, sizeof *t->map);
        t->move = vqi_alloc(map, sizeof *t->move);
        t->bias = t->opts.no_bias ? NULL : vqi_calloc(d, sizeof *t->bias);
        t->basis = vqi_alloc(square, sizeof *t->basis);
        t->weight = vqi_alloc(k, sizeof *t->weight);
        t->sum = vqi_alloc(rows, sizeof *t->sum);
    }
    if (!t->map || !t->move || (!t->bias && !t->opts.no_bias) || !t->basis || !t->weight || !t->sum)
        return vqi_fail_nomem((unsigned long long)k * (r + 2 * d) * sizeof *t->map);
    vq_simvq_basis(t->basis, t->form.seed, t->form.basis_dim, 0, k);
    return vqi_simvq_solver_create(&t->solver, t->form.k, t->form.basis_dim, t->form.dim,
                                   t->bias != NULL);
}

static void clear(training *t)
{
    vqi_free(t->map);
    vqi_free(t->bias);
    vqi_free(t->move);
    vqi_free(t->basis);
    vqi_free(t->weight);
    vqi_free(t->sum);
    vqi_simvq_solver_clear(&t->solver);
}

static void read_cells(double *weight, double *sum, const vq_kmeans_stats *stats, int threads)
{
    const uint32_t k = stats->form.k, d = stats->form.d;
#pragma omp parallel for schedule(static) num_threads(vqi_threads(threads, k / 256 + 1))
    for (uint32_t c = 0; c < k; c++) {
        weight[c] = vqi_stats_weight(stats, c);
        for (size_t j = 0; j < d; j++)
            sum[(size_t)c * d + j] = vqi_exact_value(stats->sum + (size_t)c * d + j, (size_t)k * d,
                                                     &stats->sum_grid, stats->limbs);
    }
}

static vq_status find_largest(double *largest, const training *t, const vq_codebook *codebook)
{
    const vq_source *source = &t->source;
    const size_t d = source->d;
    uint32_t bits = vqi_largest_bits(vq_codebook_codewords(codebook), (size_t)t->form.k * d);
    float *buffer = source->memory ? NULL : vqi_alloc(CHUNK * d, sizeof *buffer);
    vq_status status =
        buffer || source->memory ? VQ_OK : vqi_fail_nomem(CHUNK * d * sizeof *buffer);
    for (size_t first = 0; first < source->n && !status; first += CHUNK) {
        const size_t count = source->n - first < CHUNK ? source->n - first : CHUNK;
        const float *rows;
        status = vqi_source_read(&rows, source, buffer, first, count);
        if (status)
            break;
        const uint32_t some = vqi_largest_bits(rows, count * d);
        bits = some > bits ? some : bits;
        vqi_source_done(source, first, count);
    }
    vqi_free(buffer);
    float value;
    memcpy(&value, &bits, sizeof value);
    if (!status && !isfinite(value))
        status = vqi_fail(VQ_E_NONFINITE, "the rows hold a NaN or an infinity");
    /* Codewords may move a little farther out than they are now. */
    *largest = value > 0 ? 4 * (double)value : 1;
    return status;
}

static vq_status tell(const training *t, uint32_t iteration, double mse)
{
    const vq_kmeans_progress progress = {iteration, t->opts.max_iterations, t->form.k, t->form.k,
                                         mse};
    if (t->opts.progress && t->opts.progress(t->opts.progress_context, &progress))
        return vqi_fail(VQ_E_CANCELLED, "the training of SimVQ was stopped after iteration %u",
                        iteration);
    return VQ_OK;
}

static void fill_report(vq_kmeans_report *report, const vq_kmeans_stats *stats)
{
    const double total = (double)vq_kmeans_stats_total(stats);
    for (uint32_t c = 0; c < stats->form.k; c++) {
        const double share = (double)stats->rows[c] / total;
        report->used += stats->rows[c] > 0;
        report->entropy_bits -= share > 0 ? share * log2(share) : 0;
    }
    report->dead = stats->form.k - report->used;
    report->utilisation = (double)report->used / stats->form.k;
    report->perplexity = exp2(report->entropy_bits);
}

/* The codes of all rows under q, as statistics; and the MSE. */
static vq_status assign(double *mse, vq_kmeans_stats *stats, const training *t,
                        const vq_quantizer *q)
{
    vqi_stats_reset(stats);
    const vq_status status = vq_kmeans_stats_accumulate(stats, vq_quantizer_codebook(q, 0),
                                                        &t->source, 0, NULL, t->opts.threads);
    *mse = vq_kmeans_stats_objective(stats) / (double)t->source.n / t->form.dim;
    if (!status && !isfinite(*mse))
        return vqi_fail(VQ_E_NONFINITE, "the squared distances overflow (scale the rows down)");
    return status;
}

static vq_status make_stats(vq_kmeans_stats **stats, const training *t, const vq_quantizer *q)
{
    vq_kmeans_stats_opts opts = VQ_KMEANS_STATS_OPTS_INIT;
    const vq_status status = find_largest(&opts.largest_value, t, vq_quantizer_codebook(q, 0));
    return status ? status : vq_kmeans_stats_create(stats, vq_quantizer_codebook(q, 0), &opts);
}

/* From values `from` beyond those that were solved for, and on as they moved last. */
static void go_beyond(float *values, float *move, const float *from, size_t count, double step)
{
    for (size_t i = 0; i < count; i++) {
        const double at = (double)from[i];
        values[i] = (float)(at + step * ((double)values[i] - at) + momentum * (double)move[i]);
        move[i] = (float)((double)values[i] - at);
    }
}

/*
 * For fixed codes the error is a quadratic function of the map, so a step of less than 2 towards its minimum lowers it,
 * and finding the codes again lowers it further. Longer steps (Salakhutdinov and Roweis 2003, "Adaptive Overrelaxed Bound
 * Optimization Methods") with momentum (Polyak 1964, "Some Methods of Speeding up the Convergence of Iteration Methods")
 * mostly do, too, and save most of the iterations; one that fails is taken back, and the next is plain.
 */
static vq_status iterate(vq_quantizer **best, vq_kmeans_report *report, training *t)
{
    vq_kmeans_stats *stats = NULL, *next_stats = NULL;
    vq_status status = vqi_simvq_create(best, &t->form, t->map, t->bias, VQ_SIMVQ_SEARCH_CODEWORDS);
    if (!status)
        status = make_stats(&stats, t, *best);
    if (!status)
        status = vqi_stats_create(&next_stats, &stats->form);
    if (!status)
        status = assign(&report->mse[0], stats, t, *best);
    if (!status)
        status = tell(t, 0, report->mse[0]);
    const size_t d = t->form.dim, count = t->form.basis_dim * d;
    double step = 0; /* 0 = plain */
    for (uint32_t tries = 0; !status && !report->converged && tries < t->opts.max_iterations;
         tries++) {
        const double before = report->mse[report->iterations];
        double after = 0;
        vq_quantizer *next = NULL;
        read_cells(t->weight, t->sum, stats, t->opts.threads);
        status = vqi_simvq_solve(t->map, t->bias, &t->solver, t->basis, t->weight, t->sum,
                                 t->opts.ridge, t->opts.threads);
        if (!step)
            memset(t->move, 0, (count + d) * sizeof *t->move);
        step = step > 0 ? step * growth : 1;
        if (!status)
            go_beyond(t->map, t->move, vq_simvq_map(*best), count, step);
        if (!status && t->bias)
            go_beyond(t->bias, t->move + count, vq_simvq_bias(*best), d, step);
        if (!status)
            status = vqi_simvq_create(&next, &t->form, t->map, t->bias, VQ_SIMVQ_SEARCH_CODEWORDS);
        if (!status)
            status = assign(&after, next_stats, t, next);
        if (status || !(after < before)) {
            vq_quantizer_free(next);
            report->converged = step <= 1;
            step = 0;
            continue;
        }
        vq_quantizer_free(*best);
        *best = next;
        vq_kmeans_stats *swap = stats;
        stats = next_stats;
        next_stats = swap;
        report->mse[++report->iterations] = after;
        report->converged = before - after < t->opts.tolerance * before;
        status = tell(t, report->iterations, after);
    }
    if (!status)
        fill_report(report, stats);
    vq_kmeans_stats_free(stats);
    vq_kmeans_stats_free(next_stats);
    return status;
}

/* The first steps, on a sample. */
static vq_status iterate_on_sample(training *t, const vq_source *sample)
{
    double mse[SAMPLE_STEPS + 1];
    vq_kmeans_report report = {.mse = mse};
    training few = *t;
    vq_quantizer *q = NULL;
    few.source = *sample;
    few.opts.progress = NULL;
    few.opts.max_iterations = SAMPLE_STEPS;
    few.opts.tolerance = sample_tolerance;
    const vq_status status = iterate(&q, &report, &few);
    if (!status) {
        memcpy(t->map, vq_simvq_map(q), (size_t)t->form.basis_dim * t->form.dim * sizeof *t->map);
        if (t->bias)
            memcpy(t->bias, vq_simvq_bias(q), t->form.dim * sizeof *t->bias);
    }
    vq_quantizer_free(q);
    return status;
}

static vq_status start_map(training *t, const vq_source *rows)
{
    const uint32_t r = t->form.basis_dim, d = t->form.dim;
    if (t->opts.start == VQ_SIMVQ_START_MOMENTS)
        return vqi_simvq_start_moments(t->map, t->bias, r, rows, t->opts.threads);
    vqi_simvq_start_uniform(t->map, t->bias, r, d, t->form.seed);
    return VQ_OK;
}

/* Where the map begins, and the first steps on samples if there are rows enough. */
static vq_status begin(training *t)
{
    const size_t least = (size_t)t->form.k * SAMPLE_PER_CODE,
                 first = least > SAMPLE ? least : SAMPLE, most = SAMPLE_FLOATS / t->form.dim + 1;
    size_t wanted = first < most ? first : most;
    if (t->source.n / 2 < wanted)
        return start_map(t, &t->source);
    vq_status status = VQ_OK;
    for (int begun = 0; !status && wanted <= most && wanted <= t->source.n / 2;
         wanted *= 4, begun = 1) {
        float *rows = NULL;
        size_t count;
        status = vqi_simvq_sample(&rows, &count, &t->source, wanted);
        if (status)
            break;
        const vq_source sample = vq_source_from_memory(rows, count, t->source.d);
        status = begun ? VQ_OK : start_map(t, &sample);
        if (!status)
            status = iterate_on_sample(t, &sample);
        vqi_free(rows);
    }
    return status;
}

vq_status vq_simvq_train_source(vq_quantizer **out, vq_kmeans_report *report,
                                const vq_source *source, const vq_simvq_train_opts *opts)
{
    training t = {0};
    vq_kmeans_report own = {0};
    vq_quantizer *q = NULL;
    *out = NULL;
    vq_status status = vqi_source_check(&t.source, source);
    if (!status)
        status = check_options(&t, opts);
    if (!status)
        status = make_room(&t);
    if (!status) {
        own.mse = vqi_calloc((size_t)t.opts.max_iterations + 1, sizeof *own.mse);
        if (!own.mse)
            status = vqi_fail_nomem(t.opts.max_iterations * sizeof *own.mse);
    }
    if (!status)
        status = begin(&t);
    if (!status)
        status = iterate(&q, &own, &t);
    clear(&t);
    if (status) {
        vq_quantizer_free(q);
        vq_kmeans_report_clear(&own);
        return status;
    }
    *out = q;
    if (report)
        *report = own;
    else
        vq_kmeans_report_clear(&own);
    return VQ_OK;
}

vq_status vq_simvq_train(vq_quantizer **out, vq_kmeans_report *report, const float *x, size_t n,
                         uint32_t d, const vq_simvq_train_opts *opts)
{
    const vq_source source = vq_source_from_memory(x, n, d);
    return vq_simvq_train_source(out, report, &source, opts);
}

static vq_status check_stats(vq_simvq_form *form, const vq_quantizer *simvq,
                             const vq_kmeans_stats *stats)
{
    const vq_status status = vq_simvq_get_form(form, simvq);
    if (status)
        return status;
    if (stats->form.k != form->k || stats->form.d != form->dim ||
        stats->form.metric != VQ_METRIC_EUCLIDEAN)
        return vqi_fail(
            VQ_E_ARG, "statistics of %u codewords of %u floats, %s, for SimVQ of %u of %u",
            stats->form.k, stats->form.d, vq_metric_name(stats->form.metric), form->k, form->dim);
    if (!vq_kmeans_stats_total(stats))
        return vqi_fail(VQ_E_ARG, "statistics of no rows");
    return VQ_OK;
}

vq_status vq_simvq_update(vq_quantizer **out, const vq_quantizer *simvq,
                          const vq_kmeans_stats *stats, double ridge, int threads)
{
    training t = {.opts = {.no_bias = !vq_simvq_bias(simvq)}};
    *out = NULL;
    vq_status status = check_stats(&t.form, simvq, stats);
    if (!status)
        status = check_ridge(&ridge);
    if (!status && threads < 0)
        status = vqi_fail(VQ_E_ARG, "threads is %d (0 = all)", threads);
    if (!status)
        status = make_room(&t);
    if (!status) {
        read_cells(t.weight, t.sum, stats, threads);
        status =
            vqi_simvq_solve(t.map, t.bias, &t.solver, t.basis, t.weight, t.sum, ridge, threads);
    }
    if (!status)
        status = vqi_simvq_create(out, &t.form, t.map, t.bias, VQ_SIMVQ_SEARCH_CODEWORDS);
    clear(&t);
    return status;
}

vq_status vq_simvq_shrink(vq_codebook **out, const vq_quantizer *simvq,
                          const vq_kmeans_stats *stats, double t)
{
    vq_simvq_form form;
    *out = NULL;
    const vq_status status = check_stats(&form, simvq, stats);
    if (status)
        return status;
    if (!(t >= 0))
        return vqi_fail(VQ_E_ARG, "a shrinkage of %g rows (0 or more)", t);
    const size_t k = form.k, d = form.dim;
    size_t count;
    float *codewords = vqi_mul(&count, k, d) ? vqi_alloc(count, sizeof *codewords) : NULL;
    if (!codewords)
        return vqi_fail_nomem((unsigned long long)k * d * sizeof *codewords);
    vq_status made =
        vqi_simvq_codewords(codewords, &form, vq_simvq_map(simvq), vq_simvq_bias(simvq));
    for (size_t c = 0; c < k && !made; c++) {
        const double weight = vqi_stats_weight(stats, (uint32_t)c), share = weight / (weight + t);
        for (size_t j = 0; j < d; j++) {
            const double from = (double)codewords[c * d + j];
            const double mean = weight > 0 ? vqi_exact_value(stats->sum + c * d + j, k * d,
                                                             &stats->sum_grid, stats->limbs) /
                                                 weight
                                           : from;
            codewords[c * d + j] = (float)(weight > 0 ? from + share * (mean - from) : from);
        }
    }
    if (!made)
        made =
            vq_codebook_create(out, codewords, form.k, form.dim, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    vqi_free(codewords);
    return made;
}
