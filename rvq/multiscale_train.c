/* SPDX-License-Identifier: Apache-2.0 */
/* Training of a multi-scale quantizer: k-means on the cells that the scales before leave. */
#include <math.h>
#include <string.h>

#include "rvq/multiscale_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

enum { DEFAULT_ROUNDS = 4 };

typedef struct training {
    vq_multiscale_train_opts opts;
    vq_kmeans_opts kmeans;
    vq_multiscale *frame; /* of the design, without quantizers: for sizes and resizing */
    size_t n, floats;     /* grids, floats of one */
    const float *x;
    float *rest;     /* n grids */
    float *cells;    /* the cells of all scales, scale after scale, n x tokens x channels */
    float *spoken;   /* the same cells as quantized, of one scale */
    uint32_t *codes; /* of one scale */
    float *room;     /* two grids for each thread */
    int threads;
} training;

static void clear(training *t)
{
    if (t->frame)
        t->frame->count = 0; /* what it borrowed is not its own */
    vq_multiscale_free(t->frame);
    vqi_free(t->rest);
    vqi_free(t->cells);
    vqi_free(t->spoken);
    vqi_free(t->codes);
    vqi_free(t->room);
}

/* A quantizer of the design that quantizes nothing yet. */
static vq_status make_frame(training *t)
{
    vq_codebook *codebook;
    vq_quantizer *blank;
    const uint32_t d = t->opts.design->channels;
    float *zeros = d ? vqi_calloc(d, sizeof *zeros) : NULL;
    if (!zeros)
        return d ? vqi_fail_nomem(d * sizeof *zeros)
                 : vqi_fail(VQ_E_ARG, "vq_multiscale_design.channels is 0");
    vq_status status =
        vq_codebook_create(&codebook, zeros, 1, d, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    vqi_free(zeros);
    if (status)
        return status;
    status = vq_quantizer_from_codebook(&blank, codebook);
    if (status) {
        vq_codebook_free(codebook);
        return status;
    }
    status = vq_multiscale_create(&t->frame, t->opts.design, &blank, 1);
    vq_quantizer_free(blank);
    if (!status)
        t->frame->count = 0;
    return status;
}

static vq_status prepare(training *t, const float *x, size_t n,
                         const vq_multiscale_train_opts *opts)
{
    vq_status status = vqi_options(&t->opts, sizeof t->opts, opts, "vq_multiscale_train_opts");
    if (status)
        return status;
    if (!t->opts.design || !t->opts.kmeans)
        return vqi_fail(VQ_E_ARG, "vq_multiscale_train_opts: design and kmeans are required");
    status = vqi_options(&t->kmeans, sizeof t->kmeans, t->opts.kmeans, "vq_kmeans_opts");
    if (status)
        return status;
    if (t->kmeans.seeds || t->kmeans.weights)
        return vqi_fail(VQ_E_ARG,
                        "vq_multiscale_train_opts.kmeans: seeds and weights must be NULL");
    if (t->opts.shared && t->opts.k)
        return vqi_fail(VQ_E_ARG, "vq_multiscale_train_opts.k is for scales that share nothing");
    if (!x || !n)
        return vqi_fail(VQ_E_ARG, "multi-scale training on %zu grids (give some)", n);
    status = make_frame(t);
    if (status)
        return status;
    const size_t d = t->frame->design.channels, tokens = vq_multiscale_tokens(t->frame, 0);
    size_t floats, cells;
    t->x = x;
    t->n = n;
    t->floats = vqi_grid_cells(t->frame) * d;
    t->threads = vqi_threads(t->kmeans.threads < 0 ? 1 : t->kmeans.threads, n);
    t->opts.rounds = t->opts.rounds ? t->opts.rounds : DEFAULT_ROUNDS;
    if (!vqi_mul(&floats, n, t->floats) || !vqi_mul(&cells, n, tokens * d))
        return vqi_fail_nomem(SIZE_MAX);
    t->rest = vqi_alloc(floats, sizeof(float));
    t->cells = vqi_alloc(cells, sizeof(float));
    t->spoken = vqi_alloc(n * t->frame->most_cells, d * sizeof(float));
    t->codes = vqi_alloc(n * t->frame->most_cells, sizeof *t->codes);
    t->room = vqi_alloc((size_t)t->threads * 2, t->floats * sizeof(float));
    if (!t->rest || !t->cells || !t->spoken || !t->codes || !t->room)
        return vqi_fail_nomem(((unsigned long long)floats + cells) * sizeof(float));
    return VQ_OK;
}

/* The cells of a scale, grid after grid. */
static void gather(training *t, float *cells, uint32_t scale)
{
    const size_t count = vqi_scale_cells(t->frame, scale) * t->frame->design.channels;
#pragma omp parallel for schedule(static) num_threads(t->threads)
    for (size_t i = 0; i < t->n; i++)
        vqi_scale_down(cells + i * count, t->frame, scale, t->rest + i * t->floats);
}

/* Quantize the cells of a scale and take what they say away from the rest. */
static vq_status take_away(training *t, const float *cells, uint32_t scale,
                           const vq_quantizer *quantizer)
{
    const size_t rows = vqi_scale_cells(t->frame, scale) * t->n,
                 count = vqi_scale_cells(t->frame, scale) * t->frame->design.channels;
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.threads = t->kmeans.threads;
    vq_status status = vq_quantize(t->codes, quantizer, cells, rows, &opts);
    if (!status)
        status = vq_dequantize(t->spoken, quantizer, t->codes, rows, &opts);
    if (status)
        return status;
#pragma omp parallel for schedule(static) num_threads(t->threads)
    for (size_t i = 0; i < t->n; i++) {
        float *said = t->room + (size_t)omp_get_thread_num() * 2 * t->floats;
        vqi_scale_up(said, said + t->floats, t->frame, scale, t->spoken + i * count);
        for (size_t j = 0; j < t->floats; j++)
            t->rest[i * t->floats + j] -= said[j];
    }
    return VQ_OK;
}

static vq_status train_flat(vq_quantizer **out, const training *t, const float *rows, size_t count,
                            const vq_kmeans_opts *opts)
{
    vq_codebook *codebook;
    vq_status status =
        vq_kmeans_train(&codebook, NULL, rows, count, t->frame->design.channels, opts);
    if (status)
        return status;
    status = vq_quantizer_from_codebook(out, codebook);
    if (status)
        vq_codebook_free(codebook);
    return status;
}

/* Scale after scale, each with a codebook of its own. */
static vq_status train_each(vq_multiscale **out, training *t)
{
    vq_quantizer *quantizers[VQ_MAX_LEVELS];
    const uint32_t scales = t->frame->design.scales;
    vq_status status = VQ_OK;
    uint32_t made = 0;
    memcpy(t->rest, t->x, t->n * t->floats * sizeof *t->rest);
    while (made < scales && !status) {
        vq_kmeans_opts kmeans = t->kmeans;
        kmeans.k = t->opts.k ? t->opts.k[made] : kmeans.k;
        kmeans.seed += made;
        gather(t, t->cells, made);
        status = train_flat(&quantizers[made], t, t->cells, vqi_scale_cells(t->frame, made) * t->n,
                            &kmeans);
        if (status)
            break;
        made++;
        if (made < scales)
            status = take_away(t, t->cells, made - 1, quantizers[made - 1]);
    }
    if (!status)
        status = vq_multiscale_create(out, t->opts.design, quantizers, scales);
    for (uint32_t s = 0; status && s < made; s++)
        vq_quantizer_free(quantizers[s]);
    return status;
}

/* Encode with one quantizer for all scales: their cells, and the squared error that is left. */
static vq_status collect(training *t, double *error, const vq_quantizer *quantizer)
{
    float *cells = t->cells;
    vq_status status = VQ_OK;
    memcpy(t->rest, t->x, t->n * t->floats * sizeof *t->rest);
    for (uint32_t s = 0; s < t->frame->design.scales && !status; s++) {
        gather(t, cells, s);
        status = take_away(t, cells, s, quantizer);
        cells += vqi_scale_cells(t->frame, s) * t->n * t->frame->design.channels;
    }
    *error = 0;
    for (size_t i = 0; i < t->n * t->floats; i++)
        *error += (double)t->rest[i] * (double)t->rest[i];
    return status;
}

/* What the scales would be left with if the codebook were perfect at each: the first cells to train on. */
static void collect_perfect(training *t)
{
    float *cells = t->cells;
    memcpy(t->rest, t->x, t->n * t->floats * sizeof *t->rest);
    for (uint32_t s = 0; s < t->frame->design.scales; s++) {
        const size_t count = vqi_scale_cells(t->frame, s) * t->frame->design.channels;
        gather(t, cells, s);
#pragma omp parallel for schedule(static) num_threads(t->threads)
        for (size_t i = 0; i < t->n; i++) {
            float *said = t->room + (size_t)omp_get_thread_num() * 2 * t->floats;
            vqi_scale_up(said, said + t->floats, t->frame, s, cells + i * count);
            for (size_t j = 0; j < t->floats; j++)
                t->rest[i * t->floats + j] -= said[j];
        }
        cells += count * t->n;
    }
}

static vq_status train_shared(vq_multiscale **out, training *t)
{
    const size_t rows = vq_multiscale_tokens(t->frame, 0) * t->n;
    vq_kmeans_opts kmeans = t->kmeans;
    vq_quantizer *best = NULL, *now = NULL;
    double least = INFINITY, error;
    collect_perfect(t);
    vq_status status = train_flat(&now, t, t->cells, rows, &kmeans);
    for (uint32_t round = 0; !status; round++) {
        status = collect(t, &error, now);
        if (!status && error < least) {
            vq_quantizer_free(best);
            best = now;
            least = error;
            now = NULL;
        }
        if (status || round == t->opts.rounds)
            break;
        vq_quantizer *from = now ? now : best;
        kmeans.seeds = vq_codebook_codewords(vq_quantizer_codebook(from, 0));
        vq_quantizer *next = NULL;
        status = train_flat(&next, t, t->cells, rows, &kmeans);
        vq_quantizer_free(now);
        now = next;
    }
    vq_quantizer_free(now);
    if (!status && !best)
        status = vqi_fail(VQ_E_NONFINITE, "the grids are too large: their errors overflow");
    if (!status)
        status = vq_multiscale_create(out, t->opts.design, &best, 1);
    if (status)
        vq_quantizer_free(best);
    return status;
}

vq_status vq_multiscale_train(vq_multiscale **out, const float *x, size_t n,
                              const vq_multiscale_train_opts *opts)
{
    training t = {0};
    *out = NULL;
    vq_status status = prepare(&t, x, n, opts);
    if (!status)
        status = t.opts.shared ? train_shared(out, &t) : train_each(out, &t);
    clear(&t);
    return status;
}
