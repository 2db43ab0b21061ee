/* SPDX-License-Identifier: Apache-2.0 */
/* Which tokens share a codeword: weighted k-means of the rows, of long ones in a sketch of 256 numbers. */
#include <stdlib.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"
#include "vq/random_internal.h"

enum {
    SKETCH = 256,            /* numbers of a sketch */
    ITERATIONS = 10,         /* of k-means, unless the caller says */
    REPAIR_ROUNDS = 5,       /* random seeds leave some clusters without a codeword */
    MOST_SPREAD_SEEDS = 2048 /* codewords; for more of them greedy k-means++ takes too long */
};

/* A count sketch (Charikar, Chen and Farach-Colton 2002; "feature hashing"): every dimension is added to, or taken from, one of
 * the numbers, by chance. Inner products and distances are kept on average, with a relative deviation of (2 / 256)^(1/2). */
typedef struct sketch {
    uint32_t width;
    uint16_t *to; /* d */
    float *sign;  /* d; NULL = the row itself */
} sketch;

static void sketch_clear(sketch *s)
{
    vq_free(s->to);
    vq_free(s->sign);
}

static vq_status sketch_make(sketch *s, uint32_t d, uint64_t seed)
{
    *s = (sketch){.width = d};
    if (d <= SKETCH)
        return VQ_OK;
    vqi_random random = vqi_random_from(seed);
    s->width = SKETCH;
    s->to = vqi_alloc(d, sizeof *s->to);
    s->sign = vqi_alloc(d, sizeof *s->sign);
    if (!s->to || !s->sign) {
        sketch_clear(s);
        return vqi_fail_nomem((unsigned long long)d * (sizeof *s->to + sizeof *s->sign));
    }
    for (uint32_t i = 0; i < d; i++) {
        const uint64_t bits = vqi_random_next(&random);
        s->to[i] = (uint16_t)(bits >> 32 & (SKETCH - 1));
        s->sign[i] = bits >> 63 ? 1.0f : -1.0f;
    }
    return VQ_OK;
}

static void sketch_row(float *out, const sketch *s, const float *row, uint32_t d)
{
    if (!s->sign) {
        memcpy(out, row, d * sizeof *out);
        return;
    }
    memset(out, 0, s->width * sizeof *out);
    for (uint32_t i = 0; i < d; i++)
        out[s->to[i]] += s->sign[i] * row[i];
}

typedef struct clustering {
    const vq_tensor *rows;
    const uint32_t *row_of; /* of each place */
    const uint32_t *places; /* n: those that are clustered */
    size_t n;
    const float *weights; /* of each place, or NULL */
    const vq_head_opts *opts;
    float *x, *w; /* n x width sketches, and their weights */
} clustering;

static vq_status fill(clustering *c, const sketch *s)
{
    const uint32_t d = (uint32_t)c->rows->shape[1];
    const int threads = vqi_threads(c->opts->threads, c->n / 256 + 1);
    float *buffers = vqi_alloc((size_t)threads * d, sizeof *buffers);
    size_t floats;
    c->x = vqi_mul(&floats, c->n, s->width) ? vqi_alloc(floats, sizeof *c->x) : NULL;
    if (c->weights)
        c->w = vqi_alloc(c->n, sizeof *c->w);
    if (!buffers || !c->x || (c->weights && !c->w)) {
        vq_free(buffers);
        return vqi_fail_nomem((unsigned long long)c->n * s->width * sizeof *c->x);
    }
#pragma omp parallel for num_threads(threads)
    for (size_t i = 0; i < c->n; i++) {
        float *row = buffers + (size_t)omp_get_thread_num() * d;
        vq_tensor_to_f32(row, c->rows, (size_t)c->row_of[c->places[i]] * d, d);
        sketch_row(c->x + i * s->width, s, row, d);
        if (c->w)
            c->w[i] = c->weights[c->places[i]];
    }
    vq_free(buffers);
    return VQ_OK;
}

static int tell(void *context, const vq_kmeans_progress *progress)
{
    const vq_head_opts *o = context;
    const double done =
        progress->max_iterations ? (double)progress->iteration / progress->max_iterations : 0;
    return o->progress && o->progress(o->progress_context, 0.9 * done);
}

static vq_status cluster(uint32_t *codes, clustering *c, uint32_t k)
{
    sketch s;
    vq_codebook *codebook = NULL;
    vq_head_opts own = *c->opts;
    vq_kmeans_opts o = VQ_KMEANS_OPTS_INIT;
    o.k = k;
    o.max_iterations = own.iterations ? own.iterations : ITERATIONS;
    o.seed = own.seed;
    o.threads = own.threads;
    o.repair_rounds = REPAIR_ROUNDS;
    o.seeding = k > MOST_SPREAD_SEEDS ? VQ_SEEDING_RANDOM : VQ_SEEDING_KMEANSPP;
    o.progress = tell;
    o.progress_context = &own;
    vq_status status = sketch_make(&s, (uint32_t)c->rows->shape[1], own.seed);
    if (status)
        return status;
    status = fill(c, &s);
    o.weights = c->w;
    if (!status)
        status = vqi_kmeans_train_codes(&codebook, NULL, codes, c->x, c->n, s.width, &o);
    vq_codebook_free(codebook);
    sketch_clear(&s);
    vq_free(c->x);
    vq_free(c->w);
    return status;
}

vq_status vqi_head_cluster(uint32_t *codes, const vq_tensor *rows, const uint32_t *row_of,
                           const uint32_t *places, size_t n, const float *weights, uint32_t k,
                           const vq_head_opts *opts)
{
    clustering c = {.rows = rows, .row_of = row_of, .places = places, .n = n, .weights = weights};
    c.opts = opts;
    return cluster(codes, &c, k);
}

/* Codes without tokens are left out. @return how many are left. */
static uint32_t renumber(uint32_t *cell, size_t v, uint32_t *counts, uint32_t k)
{
    uint32_t used = 0;
    for (uint32_t c = 0; c < k; c++)
        if (counts[c])
            counts[c] = used++;
    for (size_t i = 0; i < v; i++)
        if (cell[i] < k)
            cell[i] = counts[cell[i]];
    return used;
}

vq_status vqi_head_index(vq_head *head, uint32_t *cell, uint32_t k)
{
    const size_t v = head->v;
    uint32_t *counts = vqi_calloc(k, sizeof *counts);
    head->tokens = vqi_alloc(v, sizeof *head->tokens);
    head->at = vqi_alloc(v, sizeof *head->at);
    if (!counts || !head->tokens || !head->at) {
        vq_free(counts);
        return vqi_fail_nomem((unsigned long long)v * 2 * sizeof *head->tokens);
    }
    size_t apart = 0; /* tokens of no code */
    for (size_t i = 0; i < v; i++)
        if (cell[i] < k)
            counts[cell[i]]++;
        else
            apart++;
    const uint32_t used = renumber(cell, v, counts, k);
    vq_free(counts);
    head->k = used;
    head->groups = used + (apart > 0);
    head->first = vqi_calloc((size_t)head->groups + 2, sizeof *head->first);
    if (!head->first)
        return vqi_fail_nomem((unsigned long long)head->groups * sizeof *head->first);
    /* first[g + 2] counts group g, then first[g + 1] is where its next token goes, in the end where it ends. */
    for (size_t i = 0; i < v; i++)
        head->first[(cell[i] < used ? cell[i] : used) + 2]++;
    for (uint32_t g = 0; g < head->groups; g++)
        head->first[g + 2] += head->first[g + 1];
    for (size_t i = 0; i < v; i++) {
        const uint32_t to = head->first[(cell[i] < used ? cell[i] : used) + 1]++;
        head->tokens[to] = (uint32_t)i;
        head->at[i] = to;
    }
    return VQ_OK;
}

/* The weighted mean of a code's rows. @param sum d, row d: scratch. */
static void mean_of(double *sum, float *row, const vq_head *head, uint32_t code,
                    const vq_tensor *rows, const uint32_t *row_of, const float *weights)
{
    const size_t d = head->d;
    double weight = 0;
    memset(sum, 0, d * sizeof *sum);
    /* Where all weights are 0 they are as good as 1. */
    for (uint32_t r = head->first[code]; weights && r < head->first[code + 1]; r++)
        weight += weights[head->tokens[r]];
    const int weighed = weights && weight > 0;
    weight = weighed ? weight : head->first[code + 1] - head->first[code];
    for (uint32_t r = head->first[code]; r < head->first[code + 1]; r++) {
        const uint32_t place = head->tokens[r];
        const double w = (weighed ? (double)weights[place] : 1) / weight;
        vq_tensor_to_f32(row, rows, row_of[place] * d, d);
        for (size_t i = 0; i < d; i++)
            sum[i] += w * row[i];
    }
    for (size_t i = 0; i < d; i++)
        row[i] = (float)sum[i];
}

vq_status vqi_head_means(vq_head *head, const vq_tensor *rows, const uint32_t *row_of,
                         const float *weights, vq_dtype dtype, int threads)
{
    const size_t d = head->d;
    const int team = vqi_threads(threads, head->v / 256 + 1);
    vq_status status = vqi_rows_allocate(&head->codes, head->k, head->d, dtype);
    if (status)
        return status;
    double *sums = vqi_alloc((size_t)team * d, sizeof *sums);
    float *means = vqi_alloc((size_t)team * d, sizeof *means);
    int bad = 0;
    if (!sums || !means)
        status = vqi_fail_nomem((unsigned long long)team * d * sizeof *sums);
    else
#pragma omp parallel for num_threads(team) schedule(dynamic, 16) reduction(| : bad)
        for (uint32_t c = 0; c < head->k; c++) {
            const size_t me = (size_t)omp_get_thread_num() * d;
            mean_of(sums + me, means + me, head, c, rows, row_of, weights);
            bad |= !vqi_rows_set(&head->codes, c, means + me);
        }
    if (bad)
        status = vqi_fail(VQ_E_NONFINITE, "a row holds a NaN or an infinity, or overflows %s",
                          vq_dtype_name(dtype));
    vq_free(sums);
    vq_free(means);
    return status;
}
