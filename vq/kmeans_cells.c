/* SPDX-License-Identifier: Apache-2.0 */
/* The update half of Lloyd's iteration: sums over cells, means, and what becomes of empty cells. */
#include "vq/kmeans_internal.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

vq_status vqi_cells_create(vqi_cells *cells, const vqi_kmeans *run)
{
    const size_t k = run->opts.k, d = run->d;
    size_t sums = 0;
    memset(cells, 0, sizeof *cells);
    if (vqi_mul(&sums, k, d))
        cells->sum = vqi_alloc(sums, sizeof *cells->sum);
    cells->weight = vqi_alloc(k, sizeof *cells->weight);
    cells->cost = vqi_alloc(k, sizeof *cells->cost);
    cells->rows = vqi_alloc(k, sizeof *cells->rows);
    cells->worst = vqi_alloc(k, sizeof *cells->worst);
    cells->worst_row = vqi_alloc(k, sizeof *cells->worst_row);
    cells->first = vqi_alloc(k + 1, sizeof *cells->first);
    cells->order = vqi_alloc(vqi_kmeans_chunk(run), sizeof *cells->order);
    cells->donors = vqi_alloc(k, sizeof *cells->donors);
    cells->scratch = vqi_alloc(d, sizeof *cells->scratch);
    if (cells->sum && cells->weight && cells->cost && cells->rows && cells->worst &&
        cells->worst_row && cells->first && cells->order && cells->donors && cells->scratch)
        return VQ_OK;
    vqi_cells_clear(cells);
    return vqi_fail_nomem((unsigned long long)k * d * sizeof *cells->sum);
}

void vqi_cells_clear(vqi_cells *cells)
{
    vqi_free(cells->sum);
    vqi_free(cells->weight);
    vqi_free(cells->cost);
    vqi_free(cells->rows);
    vqi_free(cells->worst);
    vqi_free(cells->worst_row);
    vqi_free(cells->first);
    vqi_free(cells->order);
    vqi_free(cells->donors);
    vqi_free(cells->scratch);
    memset(cells, 0, sizeof *cells);
}

void vqi_cells_reset(vqi_cells *cells, const vqi_kmeans *run)
{
    const size_t k = run->opts.k;
    memset(cells->sum, 0, k * run->d * sizeof *cells->sum);
    memset(cells->weight, 0, k * sizeof *cells->weight);
    memset(cells->cost, 0, k * sizeof *cells->cost);
    memset(cells->rows, 0, k * sizeof *cells->rows);
    memset(cells->worst, 0, k * sizeof *cells->worst);
    memset(cells->worst_row, 0, k * sizeof *cells->worst_row);
    cells->error = 0;
}

/* Counting sort: order[first[c] .. first[c + 1]) are the rows of cell c, rising. */
static void sort_by_cell(vqi_cells *cells, uint32_t k, const uint32_t *codes, size_t count)
{
    uint32_t *first = cells->first;
    memset(first, 0, ((size_t)k + 1) * sizeof *first);
    for (size_t i = 0; i < count; i++)
        first[codes[i] + 1]++;
    for (uint32_t c = 0; c < k; c++)
        first[c + 1] += first[c];
    for (size_t i = 0; i < count; i++)
        cells->order[first[codes[i]]++] = (uint32_t)i;
    /* Placing moved every start to the next one's: move them back. */
    memmove(first + 1, first, k * sizeof *first);
    first[0] = 0;
}

static void add_row(double *restrict sum, const float *restrict row, double weight, uint32_t d)
{
    for (uint32_t j = 0; j < d; j++)
        sum[j] += weight * (double)row[j];
}

/* A zero row under the cosine metric has an error, but no place where a codeword would serve it. */
static bool can_be_served(const vqi_kmeans *run, const float *row)
{
    bool serves = run->opts.metric != VQ_METRIC_COSINE;
    for (uint32_t j = 0; j < run->d && !serves; j++)
        serves = row[j] != 0;
    return serves;
}

void vqi_cells_add(vqi_cells *cells, const vqi_kmeans *run, size_t first, const float *rows,
                   const uint32_t *codes, const float *errors, size_t count)
{
    const uint32_t k = run->opts.k, d = run->d;
    const int threads = count * d < ((size_t)1 << 18) ? 1 : run->opts.threads;
    for (size_t i = 0; i < count; i++)
        cells->error += (double)vqi_kmeans_weight(run, first + i) * (double)errors[i];
    sort_by_cell(cells, k, codes, count);
    /* Threads share out the cells, so that each sum has one order whatever their number. */
#pragma omp parallel for schedule(dynamic, 16) num_threads(threads)
    for (uint32_t c = 0; c < k; c++)
        for (uint32_t o = cells->first[c]; o < cells->first[c + 1]; o++) {
            const size_t i = cells->order[o];
            const float weight = vqi_kmeans_weight(run, first + i);
            if (!(weight > 0))
                continue;
            add_row(cells->sum + (size_t)c * d, rows + i * d, (double)weight, d);
            cells->weight[c] += (double)weight;
            cells->cost[c] += (double)weight * (double)errors[i];
            cells->rows[c]++;
            if (errors[i] > cells->worst[c] && can_be_served(run, rows + i * d)) {
                cells->worst[c] = errors[i];
                cells->worst_row[c] = first + i;
            }
        }
}

/* Largest value first; of equal values the lowest cell. */
static bool goes_before(const vqi_donor *a, const vqi_donor *b)
{
    return a->value > b->value || (a->value == b->value && a->cell < b->cell);
}

static void sift_down(vqi_donor *heap, size_t size, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= size)
            return;
        if (child + 1 < size && goes_before(&heap[child + 1], &heap[child]))
            child++;
        if (!goes_before(&heap[child], &heap[at]))
            return;
        const vqi_donor swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
        at = child;
    }
}

/* The cells that can give a row away and still have a mean worth the name, as a heap. */
static size_t find_donors(vqi_cells *cells, const vqi_kmeans *run)
{
    size_t size = 0;
    for (uint32_t c = 0; c < run->opts.k; c++) {
        if (cells->rows[c] < 2 || !(cells->worst[c] > 0))
            continue;
        /* What stays must not be the rounding error of what goes. */
        const double weight = (double)vqi_kmeans_weight(run, cells->worst_row[c]);
        if (cells->weight[c] - weight < weight * 0x1p-20)
            continue;
        const bool split = run->opts.empty == VQ_EMPTY_SPLIT;
        const vqi_donor donor = {split ? cells->cost[c] : (double)cells->worst[c], c};
        cells->donors[size++] = donor;
    }
    for (size_t i = size / 2; i-- > 0;)
        sift_down(cells->donors, size, i);
    return size;
}

static uint32_t pop_donor(vqi_donor *heap, size_t *size)
{
    const uint32_t cell = heap[0].cell;
    heap[0] = heap[--*size];
    sift_down(heap, *size, 0);
    return cell;
}

/* The worst-served row of `donor` becomes the one row of the empty cell. */
static void give_row(vqi_cells *cells, const vqi_kmeans *run, uint32_t empty, uint32_t donor)
{
    const uint32_t d = run->d;
    const size_t row = cells->worst_row[donor];
    const double weight = (double)vqi_kmeans_weight(run, row);
    const float *x = vqi_kmeans_row(run, row, cells->scratch);
    memset(cells->sum + (size_t)empty * d, 0, d * sizeof *cells->sum);
    add_row(cells->sum + (size_t)empty * d, x, weight, d);
    add_row(cells->sum + (size_t)donor * d, x, -weight, d);
    cells->weight[empty] = weight;
    cells->weight[donor] -= weight;
    cells->rows[empty] = 1;
    cells->rows[donor]--;
}

/* The two codewords stand either side of the donor's mean, on the line to its worst-served row. */
static void split_cell(float *codewords, const vqi_cells *cells, const vqi_kmeans *run,
                       uint32_t empty, uint32_t donor)
{
    const uint32_t d = run->d;
    const float *x = vqi_kmeans_row(run, cells->worst_row[donor], cells->scratch);
    float *left = codewords + (size_t)donor * d, *right = codewords + (size_t)empty * d;
    for (uint32_t j = 0; j < d; j++) {
        const double mean = (double)left[j], step = ((double)x[j] - mean) * 0x1p-6;
        left[j] = (float)(mean - step);
        right[j] = (float)(mean + step);
    }
}

/* The mean, or under the cosine metric its direction; a cell without either keeps its codeword. */
static void move_to_mean(float *codeword, const double *sum, double weight, const vqi_kmeans *run)
{
    const uint32_t d = run->d;
    double divisor = weight;
    if (run->opts.metric == VQ_METRIC_COSINE) {
        double square = 0;
        for (uint32_t j = 0; j < d; j++)
            square += sum[j] * sum[j];
        divisor = sqrt(square);
        if (divisor <= 1e-12 * weight)
            return;
    }
    for (uint32_t j = 0; j < d; j++)
        codeword[j] = (float)(sum[j] / divisor);
}

uint32_t vqi_cells_update(float *codewords, vqi_cells *cells, const vqi_kmeans *run)
{
    const uint32_t k = run->opts.k, d = run->d;
    const vq_empty_policy policy = run->opts.empty;
    size_t donors = 0;
    uint32_t moved = 0;
    if (policy != VQ_EMPTY_KEEP)
        donors = find_donors(cells, run);
    if (policy == VQ_EMPTY_FARTHEST)
        for (uint32_t c = 0; c < k && donors; c++)
            if (!cells->rows[c]) {
                give_row(cells, run, c, pop_donor(cells->donors, &donors));
                moved++;
            }
    for (uint32_t c = 0; c < k; c++)
        if (cells->rows[c])
            move_to_mean(codewords + (size_t)c * d, cells->sum + (size_t)c * d, cells->weight[c],
                         run);
    if (policy == VQ_EMPTY_SPLIT)
        for (uint32_t c = 0; c < k && donors; c++)
            if (!cells->rows[c]) {
                split_cell(codewords, cells, run, c, pop_donor(cells->donors, &donors));
                moved++;
            }
    return moved;
}
