/* SPDX-License-Identifier: Apache-2.0 */
/* Balanced k-means: sweeps in which neighbouring cells divide their rows anew, pair by pair. */
#include "vq/kmeans_balanced.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "vq/batch_internal.h"
#include "vq/codebook_internal.h"
#include "vq/error_internal.h"
#include "vq/kmeans_balanced_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

enum { DEFAULT_SWEEPS = 30, DEFAULT_NEIGHBOURS = 8 };
static const double default_tolerance = 1e-4;

typedef struct pair {
    uint32_t a, b;
} pair;

typedef struct balanced {
    vq_balanced_opts opts; /* every default filled in */
    const float *x;
    size_t n;
    uint32_t d;
    uint32_t low, high; /* rows of a cell */
    uint32_t *rows;     /* k x high: of cell c from c x high on */
    uint32_t *count;    /* k */
    double *mean;       /* k x d */
    double *cost;       /* k: sum of squared distances from the mean */
    uint8_t *changed;   /* k: 1 if a sweep has changed it */
    float *codewords;   /* k x d */
    uint32_t *near;     /* k x (neighbours + 1) */
    pair *pairs;        /* k x (neighbours + 1) */
    pair *round;        /* k: those that go on at once */
    uint32_t *taken;    /* k: the round in which the cell was last given out */
    int threads;
    /* for each thread */
    vqi_share *shares; /* 2 high */
    double *vectors;   /* 4 d */
} balanced;

static vq_status prepare(balanced *b, const float *x, size_t n, uint32_t d,
                         const vq_balanced_opts *opts)
{
    vq_balanced_opts *o = &b->opts;
    const vq_status status = vqi_options(o, sizeof *o, opts, "vq_balanced_opts");
    if (status)
        return status;
    if (!n || !d || n > UINT32_MAX)
        return vqi_fail(VQ_E_ARG,
                        "balanced k-means of %zu rows of %u floats (give at least one of "
                        "each, and less than 2^32 rows)",
                        n, d);
    if (!o->k || o->k > VQI_MAX_CODEWORDS)
        return vqi_fail(VQ_E_ARG, "vq_balanced_opts.k is %u (1 to %d codewords)", o->k,
                        VQI_MAX_CODEWORDS);
    if (n < o->k)
        return vqi_fail(
            VQ_E_ARG, "%zu rows are too few for %u codewords (give more rows or lower k)", n, o->k);
    if (o->storage != VQ_DTYPE_F32 && o->storage != VQ_DTYPE_F16 && o->storage != VQ_DTYPE_BF16)
        return vqi_fail(VQ_E_ARG, "vq_balanced_opts.storage is %s (F32, F16 or BF16)",
                        vq_dtype_name(o->storage));
    if (!(o->slack >= 0 && isfinite(o->slack)))
        return vqi_fail(VQ_E_ARG, "vq_balanced_opts.slack is %g (at least 0)", o->slack);
    if (o->neighbours >= VQ_NEAREST_K_MAX)
        return vqi_fail(VQ_E_ARG, "vq_balanced_opts.neighbours is %u (at most %d)", o->neighbours,
                        VQ_NEAREST_K_MAX - 1);
    if (isnan(o->tolerance))
        return vqi_fail(VQ_E_ARG, "vq_balanced_opts.tolerance is NaN (negative means never)");
    if (o->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_balanced_opts.threads is %d (0 means all)", o->threads);
    if (!o->max_sweeps)
        o->max_sweeps = DEFAULT_SWEEPS;
    if (!o->neighbours)
        o->neighbours = DEFAULT_NEIGHBOURS;
    if (o->neighbours >= o->k)
        o->neighbours = o->k - 1;
    if (o->tolerance == 0)
        o->tolerance = default_tolerance;
    const double more = floor(o->slack * (double)n / o->k);
    const size_t least = n / o->k, most = (n - 1) / o->k + 1;
    b->low = more < (double)least ? (uint32_t)(least - (size_t)more) : 1;
    b->high = more < (double)(n - most) ? (uint32_t)(most + (size_t)more) : (uint32_t)n;
    b->x = x;
    b->n = n;
    b->d = d;
    b->threads = vqi_threads(o->threads, o->k);
    return vqi_batch_check(x, n, d, NULL);
}

static void clear(balanced *b)
{
    vqi_free(b->rows);
    vqi_free(b->count);
    vqi_free(b->mean);
    vqi_free(b->cost);
    vqi_free(b->changed);
    vqi_free(b->codewords);
    vqi_free(b->near);
    vqi_free(b->pairs);
    vqi_free(b->round);
    vqi_free(b->taken);
    vqi_free(b->shares);
    vqi_free(b->vectors);
}

static vq_status create(balanced *b)
{
    const size_t k = b->opts.k, d = b->d, neighbours = b->opts.neighbours,
                 threads = (size_t)b->threads;
    size_t rows = 0, floats = 0;
    if (vqi_mul(&rows, k, b->high))
        b->rows = vqi_alloc(rows, sizeof *b->rows);
    b->count = vqi_alloc(k, sizeof *b->count);
    if (vqi_mul(&floats, k, d)) {
        b->mean = vqi_alloc(floats, sizeof *b->mean);
        b->codewords = vqi_alloc(floats, sizeof *b->codewords);
    }
    b->cost = vqi_alloc(k, sizeof *b->cost);
    b->changed = vqi_alloc(k, sizeof *b->changed);
    b->near = vqi_alloc(k * (neighbours + 1), sizeof *b->near);
    b->pairs = vqi_alloc(k * (neighbours + 1), sizeof *b->pairs);
    b->round = vqi_alloc(k, sizeof *b->round);
    b->taken = vqi_alloc(k, sizeof *b->taken);
    b->shares = vqi_alloc(threads * 2 * b->high, sizeof *b->shares);
    b->vectors = vqi_alloc(threads * 4 * d, sizeof *b->vectors);
    if (b->rows && b->count && b->mean && b->codewords && b->cost && b->changed && b->near &&
        b->pairs && b->round && b->taken && b->shares && b->vectors)
        return VQ_OK;
    return vqi_fail_nomem((unsigned long long)rows * sizeof *b->rows);
}

static size_t load(vqi_share *shares, const balanced *b, uint32_t cell, uint32_t second)
{
    const uint32_t *rows = b->rows + (size_t)cell * b->high;
    for (uint32_t i = 0; i < b->count[cell]; i++)
        shares[i] = (vqi_share){0, rows[i], second};
    return b->count[cell];
}

static void store(balanced *b, uint32_t cell, const vqi_share *shares, size_t size,
                  const double *mean, double cost)
{
    uint32_t *rows = b->rows + (size_t)cell * b->high;
    for (size_t i = 0; i < size; i++)
        rows[i] = shares[i].row;
    b->count[cell] = (uint32_t)size;
    b->cost[cell] = cost;
    memcpy(b->mean + (size_t)cell * b->d, mean, b->d * sizeof *mean);
    b->changed[cell] = 1;
}

/* Equal cells, by halving. */
static vq_status begin(balanced *b)
{
    const uint32_t k = b->opts.k, d = b->d;
    uint32_t *rows = vqi_alloc(b->n, sizeof *rows);
    if (!rows)
        return vqi_fail_nomem((unsigned long long)b->n * sizeof *rows);
    const vq_status status = vqi_balanced_halve(rows, b->x, b->n, d, k, b->threads);
    if (!status) {
#pragma omp parallel for schedule(static) num_threads(b->threads)
        for (uint32_t c = 0; c < k; c++) {
            const size_t first = vqi_balanced_begin(b->n, k, c);
            b->count[c] = (uint32_t)(vqi_balanced_begin(b->n, k, c + 1) - first);
            memcpy(b->rows + (size_t)c * b->high, rows + first, b->count[c] * sizeof *rows);
            vqi_share *shares = b->shares + (size_t)omp_get_thread_num() * 2 * b->high;
            const size_t size = load(shares, b, c, 0);
            b->cost[c] = vqi_shares_mean(b->mean + (size_t)c * d, shares, size, b->x, d);
            b->changed[c] = 1;
        }
    }
    vqi_free(rows);
    return status;
}

/* Divide the rows of two cells anew, in the best way that their sizes allow; of two equal ways the old one stays. */
static void exchange(balanced *b, uint32_t first, uint32_t second, vqi_share *shares,
                     double *vectors)
{
    const uint32_t d = b->d;
    double *mean_a = vectors, *mean_b = vectors + d, *scratch = vectors + 2 * (size_t)d;
    const size_t size_a = load(shares, b, first, 0),
                 size = size_a + load(shares + size_a, b, second, 1);
    vqi_shares_compare(shares, size, b->x, d, b->mean + (size_t)first * d,
                       b->mean + (size_t)second * d, scratch);
    size_t left = 0, moved = 0;
    for (size_t i = 0; i < size; i++)
        left += shares[i].key < 0 || (shares[i].key == 0 && !shares[i].second);
    const size_t least = size > (size_t)b->high + b->low ? size - b->high : b->low,
                 most = size - b->low < b->high ? size - b->low : b->high;
    left = left < least ? least : left > most ? most : left;
    vqi_shares_select(shares, size, left);
    for (size_t i = 0; i < size; i++)
        moved += (i < left) == (shares[i].second == 1);
    if (!moved)
        return;
    const double cost_a = vqi_shares_mean(mean_a, shares, left, b->x, d),
                 cost_b = vqi_shares_mean(mean_b, shares + left, size - left, b->x, d);
    /* Rows of equal keys may change places for nothing. */
    if (!(cost_a + cost_b < b->cost[first] + b->cost[second]))
        return;
    store(b, first, shares, left, mean_a, cost_a);
    store(b, second, shares + left, size - left, mean_b, cost_b);
}

/* @return how many pairs of neighbours, each once, have a cell that the last sweep changed. */
static size_t find_pairs(balanced *b)
{
    const uint32_t k = b->opts.k, columns = b->opts.neighbours + 1;
    size_t count = 0;
    for (uint32_t c = 0; c < k; c++)
        for (uint32_t i = 0; i < columns; i++) {
            const uint32_t other = b->near[(size_t)c * columns + i];
            int known = other == c;
            for (uint32_t j = 0; j < columns && other < c; j++)
                known |= b->near[(size_t)other * columns + j] == c;
            if (!known && (b->changed[c] || b->changed[other]))
                b->pairs[count++] = (pair){c, other};
        }
    memset(b->changed, 0, k);
    return count;
}

/* Exchange rows between the pairs, in rounds of pairs that share no cell and so may go on at once. */
static void exchange_all(balanced *b, size_t count)
{
    memset(b->taken, 0, b->opts.k * sizeof *b->taken);
    for (uint32_t round = 1; count; round++) {
        size_t now = 0, later = 0;
        for (size_t i = 0; i < count; i++) {
            const pair p = b->pairs[i];
            if (b->taken[p.a] == round || b->taken[p.b] == round)
                b->pairs[later++] = p;
            else {
                b->taken[p.a] = b->taken[p.b] = round;
                b->round[now++] = p;
            }
        }
        /* Few rows are divided before other threads have begun. */
        const int threads = now * b->high * b->d < ((size_t)1 << 18) ? 1 : b->threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
        for (size_t i = 0; i < now; i++) {
            const size_t thread = (size_t)omp_get_thread_num();
            exchange(b, b->round[i].a, b->round[i].b, b->shares + thread * 2 * b->high,
                     b->vectors + thread * 4 * b->d);
        }
        count = later;
    }
}

static vq_status make_codebook(vq_codebook **out, balanced *b, vq_dtype storage)
{
    for (size_t i = 0; i < (size_t)b->opts.k * b->d; i++)
        b->codewords[i] = (float)b->mean[i];
    return vq_codebook_create(out, b->codewords, b->opts.k, b->d, VQ_METRIC_EUCLIDEAN, storage);
}

static double total_cost(const balanced *b)
{
    double sum = 0;
    for (uint32_t c = 0; c < b->opts.k; c++)
        sum += b->cost[c];
    return sum;
}

static vq_status improve(balanced *b, vq_balanced_report *report)
{
    const vq_balanced_opts *o = &b->opts;
    double cost = total_cost(b);
    while (report->sweeps < o->max_sweeps && !report->converged && o->neighbours) {
        vq_codebook *codebook;
        vq_search_opts search = VQ_SEARCH_OPTS_INIT;
        search.threads = o->threads;
        vq_status status = make_codebook(&codebook, b, VQ_DTYPE_F32);
        if (status)
            return status;
        status =
            vq_nearest_k(b->near, NULL, codebook, b->codewords, o->k, o->neighbours + 1, &search);
        vq_codebook_free(codebook);
        if (status)
            return status;
        exchange_all(b, find_pairs(b));
        report->sweeps++;
        const double before = cost;
        cost = total_cost(b);
        report->converged =
            o->tolerance < 0 ? cost == before : before - cost <= o->tolerance * before;
        if (o->progress &&
            o->progress(o->progress_context, report->sweeps, cost / (double)b->n / b->d))
            return vqi_fail(VQ_E_CANCELLED,
                            "balanced k-means was stopped by its progress function");
    }
    return VQ_OK;
}

/* What the codebook does, by cells and by nearest codewords. */
static vq_status measure(vq_balanced_report *report, const balanced *b, const vq_codebook *codebook)
{
    enum { CHUNK = 65536 };
    const uint32_t k = b->opts.k, d = b->d;
    const double share = (double)b->n / k, numbers = (double)b->n * d;
    const float *codewords = vq_codebook_codewords(codebook);
    vqi_batch batch;
    uint64_t *counts = vqi_calloc(k, sizeof *counts), most = 0;
    double cost = 0, nearest = 0;
    vq_status status = vqi_batch_create(&batch, k, d, VQ_METRIC_EUCLIDEAN);
    if (!status && !counts)
        status = vqi_fail_nomem((unsigned long long)k * sizeof *counts);
    for (size_t first = 0; first < b->n && !status; first += CHUNK) {
        const size_t count = b->n - first < CHUNK ? b->n - first : CHUNK;
        status = vqi_batch_assign(&batch, codebook, b->x + first * d, count, NULL, b->opts.threads);
        for (size_t i = 0; i < count && !status; i++)
            counts[batch.codes[i]]++;
        nearest += status ? 0 : batch.error;
    }
    report->smallest = b->n;
    for (uint32_t c = 0; c < k && !status; c++) {
        /* About its mean a cell has its cost, and the codeword is the mean but for rounding. */
        double off = 0;
        for (uint32_t j = 0; j < d; j++) {
            const double t = (double)codewords[(size_t)c * d + j] - b->mean[(size_t)c * d + j];
            off += t * t;
        }
        cost += b->cost[c] + b->count[c] * off;
        most = counts[c] > most ? counts[c] : most;
        report->smallest = b->count[c] < report->smallest ? b->count[c] : report->smallest;
        report->largest = b->count[c] > report->largest ? b->count[c] : report->largest;
    }
    report->balance = (double)report->largest / share;
    report->mse = cost / numbers;
    report->nearest_mse = nearest / numbers;
    report->nearest_balance = (double)most / share;
    vqi_batch_clear(&batch);
    vqi_free(counts);
    return status;
}

vq_status vq_kmeans_balanced(vq_codebook **out, uint32_t *codes, vq_balanced_report *report,
                             const float *x, size_t n, uint32_t d, const vq_balanced_opts *opts)
{
    balanced b = {.x = x};
    vq_balanced_report own = {0};
    *out = NULL;
    vq_status status = prepare(&b, x, n, d, opts);
    if (!status)
        status = create(&b);
    if (!status)
        status = begin(&b);
    if (!status)
        status = improve(&b, &own);
    if (!status)
        status = make_codebook(out, &b, b.opts.storage);
    if (!status)
        status = measure(&own, &b, *out);
    if (status) {
        vq_codebook_free(*out);
        *out = NULL;
    } else {
        for (uint32_t c = 0; c < b.opts.k && codes; c++)
            for (uint32_t i = 0; i < b.count[c]; i++)
                codes[b.rows[(size_t)c * b.high + i]] = c;
        if (report)
            *report = own;
    }
    clear(&b);
    return status;
}
