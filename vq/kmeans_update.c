/* SPDX-License-Identifier: Apache-2.0 */
/* The update half of Lloyd's iteration: means, and what becomes of empty cells. */
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_stats_internal.h"
#include "vq/memory_internal.h"

/* A cell that may help an empty one, and how much it needs to. */
typedef struct donor {
    double value;
    uint32_t cell;
} donor;

typedef struct update {
    const vq_kmeans_stats *stats;
    donor *donors; /* k, a heap */
    size_t left;   /* of them */
    uint8_t *gave; /* k: 1 = its worst row is another cell's now */
    double *sums;  /* threads x d */
} update;

/* Largest value first; of equal values the lowest cell. */
static bool goes_before(const donor *a, const donor *b)
{
    return a->value > b->value || (a->value == b->value && a->cell < b->cell);
}

static void sift_down(donor *heap, size_t size, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= size)
            return;
        if (child + 1 < size && goes_before(&heap[child + 1], &heap[child]))
            child++;
        if (!goes_before(&heap[child], &heap[at]))
            return;
        const donor swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
        at = child;
    }
}

/* The cells that can give a row away and still have a mean worth the name, as a heap. */
static void find_donors(update *u, vq_empty_policy policy)
{
    const vq_kmeans_stats *s = u->stats;
    for (uint32_t c = 0; c < s->form.k; c++) {
        if (s->rows[c] < 2 || !(s->worst[c] > 0))
            continue;
        /* What stays must not be the rounding error of what goes. */
        const double weight = (double)s->worst_mass[c];
        if (vqi_stats_weight(s, c) - weight < weight * 0x1p-20)
            continue;
        const bool split = policy == VQ_EMPTY_SPLIT;
        u->donors[u->left++] = (donor){split ? vqi_stats_cost(s, c) : (double)s->worst[c], c};
    }
    for (size_t i = u->left / 2; i-- > 0;)
        sift_down(u->donors, u->left, i);
}

static uint32_t pop_donor(update *u)
{
    const uint32_t cell = u->donors[0].cell;
    u->donors[0] = u->donors[--u->left];
    sift_down(u->donors, u->left, 0);
    return cell;
}

/* The two codewords stand either side of the donor's mean, on the line to its worst-served row. */
static void split_cell(float *codewords, const vq_kmeans_stats *s, uint32_t empty, uint32_t cell)
{
    const uint32_t d = s->form.d;
    const float *x = s->worst_row + (size_t)cell * d;
    float *left = codewords + (size_t)cell * d, *right = codewords + (size_t)empty * d;
    for (uint32_t j = 0; j < d; j++) {
        const double mean = (double)left[j], step = ((double)x[j] - mean) * 0x1p-6;
        left[j] = (float)(mean - step);
        right[j] = (float)(mean + step);
    }
}

/* The sum of a cell, less the row that it gave away. */
static void take_sum(double *sum, const vq_kmeans_stats *s, uint32_t cell, bool gave)
{
    const size_t d = s->form.d, stride = (size_t)s->form.k * d;
    const float *row = s->worst_row + (size_t)cell * d;
    const double weight = (double)s->worst_mass[cell];
    for (size_t j = 0; j < d; j++) {
        int64_t limb[VQI_EXACT_LIMBS];
        for (int i = 0; i < s->limbs; i++)
            limb[i] = s->sum[(size_t)i * stride + cell * d + j];
        if (gave)
            vqi_exact_add(limb, 1, &s->sum_grid, s->limbs, -weight * (double)row[j]);
        sum[j] = vqi_exact_value(limb, 1, &s->sum_grid, s->limbs);
    }
}

/* The mean, or under the cosine metric its direction; a cell without either keeps its codeword. */
static void move_to_mean(float *codeword, double *sum, const vq_kmeans_stats *s, uint32_t cell,
                         bool gave)
{
    const uint32_t d = s->form.d;
    double divisor = vqi_stats_weight(s, cell) - (gave ? (double)s->worst_mass[cell] : 0);
    take_sum(sum, s, cell, gave);
    if (s->form.metric == VQ_METRIC_COSINE) {
        double square = 0;
        const double weight = divisor;
        for (uint32_t j = 0; j < d; j++)
            square += sum[j] * sum[j];
        divisor = sqrt(square);
        if (divisor <= 1e-12 * weight)
            return;
    }
    for (uint32_t j = 0; j < d; j++)
        codeword[j] = (float)(sum[j] / divisor);
}

static uint32_t move_all(float *codewords, update *u, vq_empty_policy policy, int threads)
{
    const vq_kmeans_stats *s = u->stats;
    const uint32_t k = s->form.k, d = s->form.d;
    uint32_t moved = 0;
    if (policy != VQ_EMPTY_KEEP)
        find_donors(u, policy);
    if (policy == VQ_EMPTY_FARTHEST)
        for (uint32_t c = 0; c < k && u->left; c++)
            if (!s->rows[c]) {
                const uint32_t from = pop_donor(u);
                u->gave[from] = 1;
                memcpy(codewords + (size_t)c * d, s->worst_row + (size_t)from * d,
                       d * sizeof *codewords);
                moved++;
            }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint32_t c = 0; c < k; c++)
        if (s->rows[c])
            move_to_mean(codewords + (size_t)c * d, u->sums + (size_t)omp_get_thread_num() * d, s,
                         c, u->gave[c]);
    if (policy == VQ_EMPTY_SPLIT)
        for (uint32_t c = 0; c < k && u->left; c++)
            if (!s->rows[c]) {
                split_cell(codewords, s, c, pop_donor(u));
                moved++;
            }
    return moved;
}

vq_status vqi_stats_move(float *codewords, uint32_t *moved, const vq_kmeans_stats *stats,
                         vq_empty_policy policy, int threads)
{
    const size_t k = stats->form.k, d = stats->form.d;
    const int some = k * d < ((size_t)1 << 15) ? 1 : threads;
    update u = {.stats = stats};
    u.donors = vqi_alloc(k, sizeof *u.donors);
    u.gave = vqi_calloc(k, sizeof *u.gave);
    u.sums = vqi_alloc((size_t)some * d, sizeof *u.sums);
    const bool room = u.donors && u.gave && u.sums;
    if (room)
        *moved = move_all(codewords, &u, policy, some);
    vqi_free(u.donors);
    vqi_free(u.gave);
    vqi_free(u.sums);
    return room ? VQ_OK : vqi_fail_nomem((unsigned long long)k * sizeof *u.donors);
}
