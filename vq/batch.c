/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over the cells of a batch: double, in the order of the rows, whatever the number of threads. */
#include "vq/batch_internal.h"

#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

enum { CHUNK = 65536 /* rows of one search; any number gives the same sums */ };

vq_status vqi_batch_create(vqi_batch *b, uint32_t k, uint32_t d, vq_metric metric)
{
    size_t sums = 0;
    memset(b, 0, sizeof *b);
    b->k = k;
    b->d = d;
    b->metric = metric;
    if (vqi_mul(&sums, k, d))
        b->sum = vqi_alloc(sums, sizeof *b->sum);
    b->weight = vqi_alloc(k, sizeof *b->weight);
    b->first = vqi_alloc((size_t)k + 1, sizeof *b->first);
    if (b->sum && b->weight && b->first)
        return VQ_OK;
    vqi_batch_clear(b);
    return vqi_fail_nomem((unsigned long long)k * d * sizeof *b->sum);
}

void vqi_batch_clear(vqi_batch *b)
{
    vqi_free(b->sum);
    vqi_free(b->weight);
    vqi_free(b->first);
    vqi_free(b->codes);
    vqi_free(b->errors);
    vqi_free(b->unit);
    vqi_free(b->order);
    memset(b, 0, sizeof *b);
}

void vqi_batch_reset(vqi_batch *b)
{
    memset(b->sum, 0, (size_t)b->k * b->d * sizeof *b->sum);
    memset(b->weight, 0, b->k * sizeof *b->weight);
    b->total = 0;
    b->error = 0;
}

vq_status vqi_batch_check(const float *x, size_t n, uint32_t d, const float *weights)
{
    size_t floats = 0;
    if (n && (!x || !vqi_mul(&floats, n, d)))
        return vqi_fail(VQ_E_ARG, "%zu rows of %u floats were promised and none given", n, d);
    for (size_t i = 0; i < n; i++) {
        float bad = 0; /* inf - inf and NaN - NaN are NaN, which stays */
        for (uint32_t j = 0; j < d; j++)
            bad += x[i * d + j] - x[i * d + j];
        if (bad != 0)
            return vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", i);
    }
    for (size_t i = 0; weights && i < n; i++) {
        if (!isfinite(weights[i]))
            return vqi_fail(VQ_E_NONFINITE, "weight %zu is not finite", i);
        if (weights[i] < 0)
            return vqi_fail(VQ_E_ARG, "weight %zu is %g (weights are at least 0)", i,
                            (double)weights[i]);
    }
    return VQ_OK;
}

int vqi_batch_counts(const vqi_batch *b, const float *row, const float *weights, size_t i)
{
    if (weights && !(weights[i] > 0))
        return 0;
    int counts = b->metric != VQ_METRIC_COSINE;
    for (uint32_t j = 0; j < b->d && !counts; j++)
        counts = row[j] != 0;
    return counts;
}

/* Counting sort: order[first[c] .. first[c + 1]) are the rows of cell c, rising. */
static void sort_by_cell(vqi_batch *b, const uint32_t *codes, size_t count)
{
    uint32_t *first = b->first;
    memset(first, 0, ((size_t)b->k + 1) * sizeof *first);
    for (size_t i = 0; i < count; i++)
        first[codes[i] + 1]++;
    for (uint32_t c = 0; c < b->k; c++)
        first[c + 1] += first[c];
    for (size_t i = 0; i < count; i++)
        b->order[first[codes[i]]++] = (uint32_t)i;
    /* Placing moved every start to the next one's: move them back. */
    memmove(first + 1, first, b->k * sizeof *first);
    first[0] = 0;
}

static void add_row(double *restrict sum, const float *restrict row, double weight, uint32_t d)
{
    for (uint32_t j = 0; j < d; j++)
        sum[j] += weight * (double)row[j];
}

vq_status vqi_batch_add(vqi_batch *b, const float *rows, const uint32_t *codes, const float *errors,
                        const float *weights, size_t count, int threads)
{
    const uint32_t k = b->k, d = b->d;
    if (count > b->chunk_room) {
        b->chunk_room = 0;
        vqi_free(b->order);
        b->order = vqi_alloc(count, sizeof *b->order);
        if (!b->order)
            return vqi_fail_nomem((unsigned long long)count * sizeof *b->order);
        b->chunk_room = count;
    }
    const double scale = b->metric == VQ_METRIC_COSINE ? 2 : 1;
    for (size_t i = 0; i < count; i++)
        if (vqi_batch_counts(b, rows + i * d, weights, i)) {
            const double weight = weights ? (double)weights[i] : 1;
            b->total += weight;
            b->error += scale * weight * (double)errors[i];
        }
    sort_by_cell(b, codes, count);
    threads = count * d < ((size_t)1 << 18) ? 1 : vqi_threads(threads, k);
    /* Threads share out the cells, so that each sum has one order whatever their number. */
#pragma omp parallel for schedule(dynamic, 16) num_threads(threads)
    for (uint32_t c = 0; c < k; c++)
        for (uint32_t o = b->first[c]; o < b->first[c + 1]; o++) {
            const size_t i = b->order[o];
            if (!vqi_batch_counts(b, rows + i * d, weights, i))
                continue;
            const double weight = weights ? (double)weights[i] : 1;
            add_row(b->sum + (size_t)c * d, rows + i * d, weight, d);
            b->weight[c] += weight;
        }
    return VQ_OK;
}

static vq_status make_room(vqi_batch *b, size_t n)
{
    if (n <= b->room)
        return VQ_OK;
    const int cosine = b->metric == VQ_METRIC_COSINE;
    b->room = 0;
    vqi_free(b->codes);
    vqi_free(b->errors);
    vqi_free(b->unit);
    b->codes = vqi_alloc(n, sizeof *b->codes);
    b->errors = vqi_alloc(n, sizeof *b->errors);
    b->unit = cosine ? vqi_alloc((size_t)(n < CHUNK ? n : CHUNK) * b->d, sizeof *b->unit) : NULL;
    if (!b->codes || !b->errors || (cosine && !b->unit))
        return vqi_fail_nomem((unsigned long long)n * sizeof *b->codes);
    b->room = n;
    return VQ_OK;
}

vq_status vqi_batch_assign(vqi_batch *b, const vq_codebook *codebook, const float *x, size_t n,
                           const float *weights, int threads)
{
    const uint32_t d = b->d;
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    vqi_batch_reset(b);
    vq_status status = make_room(b, n);
    for (size_t first = 0; first < n && !status; first += CHUNK) {
        const size_t count = n - first < CHUNK ? n - first : CHUNK;
        const float *rows = x + first * d;
        uint32_t *codes = b->codes + first;
        float *errors = b->errors + first;
        if (b->metric == VQ_METRIC_COSINE) {
            for (size_t i = 0; i < count; i++)
                vqi_unit_row(b->unit + i * d, rows + i * d, d);
            rows = b->unit;
        }
        /* A search of microseconds is over before other threads have begun. */
        search.threads = count * d * b->k < ((size_t)1 << 22) ? 1 : threads;
        status = vq_nearest(codes, errors, codebook, rows, count, &search);
        if (status)
            break;
        if (b->metric == VQ_METRIC_COSINE) /* rounded codewords may be a little too long */
            for (size_t i = 0; i < count; i++)
                errors[i] = errors[i] < 1 ? 1 - errors[i] : 0;
        status =
            vqi_batch_add(b, rows, codes, errors, weights ? weights + first : NULL, count, threads);
    }
    if (!status && !isfinite(b->error))
        status = vqi_fail(VQ_E_NONFINITE, "the squared distances overflow float32 (scale the rows "
                                          "down)");
    return status;
}

static int is_candidate(const vqi_draw *draw, size_t i)
{
    const vqi_batch *b = draw->batch;
    return b->errors[i] > 0 && vqi_batch_counts(b, draw->x + i * b->d, draw->weights, i);
}

size_t vqi_draw_begin(vqi_draw *draw, const vqi_batch *batch, const float *x, size_t n,
                      const float *weights, size_t wanted, uint64_t seed, uint64_t serial)
{
    *draw = (vqi_draw){.batch = batch, .x = x, .weights = weights};
    draw->random = vqi_random_from(seed ^ vqi_splitmix64(&serial));
    for (size_t i = 0; i < n && wanted; i++)
        draw->left += (size_t)is_candidate(draw, i);
    draw->wanted = draw->left < wanted ? draw->left : wanted;
    return draw->wanted;
}

/* Knuth, The Art of Computer Programming 2, algorithm S. */
size_t vqi_draw_next(vqi_draw *draw)
{
    for (;;) {
        const size_t i = draw->at++;
        if (is_candidate(draw, i) &&
            vqi_random_uniform(&draw->random) * (double)draw->left-- < (double)draw->wanted) {
            draw->wanted--;
            return i;
        }
    }
}
