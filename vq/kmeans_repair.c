/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/kmeans_repair_internal.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_distance_internal.h"
#include "vq/memory_internal.h"
#include "vq/random_internal.h"

/* SHARE: one cell in so many is looked into. NEIGHBOURS: of a codeword that goes, which stay, itself counted. */
enum { SHARE = 4, MOST_FLOATS = 1 << 25, PASSES = 8, NEIGHBOURS = 10 };

/* Measured on 8x8x3 patches of photographs, 1024 codewords, 5 iterations and 7 rounds. To accept a gain of 0.75 of the
 * loss (which is overestimated: the neighbours move, too) lowers the MSE by 0.15 % more than 1 does, and to go
 * beyond the means by 0.3 %. */
static const double enough = 0.75, beyond = 1.7;

/* A cell and what a codeword is worth there. */
typedef struct worth {
    double value;
    uint32_t cell;
} worth;

static int by_rising_value(const void *a, const void *b)
{
    const worth *left = a, *right = b;
    if (left->value != right->value)
        return left->value < right->value ? -1 : 1;
    return left->cell < right->cell ? -1 : left->cell > right->cell;
}

static int by_falling_value(const void *a, const void *b)
{
    const worth *left = a, *right = b;
    if (left->value != right->value)
        return left->value > right->value ? -1 : 1;
    return left->cell < right->cell ? -1 : left->cell > right->cell;
}

vq_status vqi_repair_create(vqi_repair *r, const vq_kmeans_stats *stats, size_t chunk)
{
    const size_t k = stats->form.k, d = stats->form.d, room = VQI_REPAIR_ROWS;
    const size_t fit = MOST_FLOATS / (room * d), share = (k + SHARE - 1) / SHARE,
                 most = share < fit ? share
                        : fit       ? fit
                                    : 1;
    memset(r, 0, sizeof *r);
    r->form = stats->form;
    r->grid = stats->cost_grid;
    r->largest_error = stats->largest_error;
    r->most = (uint32_t)most;
    r->utility = vqi_alloc(k * VQI_EXACT_LIMBS, sizeof *r->utility);
    r->cells = vqi_alloc(most, sizeof *r->cells);
    r->place = vqi_alloc(k, sizeof *r->place);
    r->step = vqi_alloc(most, sizeof *r->step);
    r->seen = vqi_alloc(most, sizeof *r->seen);
    r->held = vqi_alloc(most, sizeof *r->held);
    r->rows = vqi_alloc(most * room * d, sizeof *r->rows);
    r->weights = vqi_alloc(most * room, sizeof *r->weights);
    r->halves = vqi_alloc(most * 2 * d, sizeof *r->halves);
    r->gain = vqi_alloc(most, sizeof *r->gain);
    r->codes = vqi_alloc(2 * chunk, sizeof *r->codes);
    r->scores = vqi_alloc(2 * chunk, sizeof *r->scores);
    r->second = vqi_alloc(chunk, sizeof *r->second);
    if (r->utility && r->cells && r->place && r->step && r->seen && r->held && r->rows &&
        r->weights && r->halves && r->gain && r->codes && r->scores && r->second)
        return VQ_OK;
    return vqi_fail_nomem((unsigned long long)most * room * d * sizeof *r->rows);
}

void vqi_repair_clear(vqi_repair *r)
{
    vqi_free(r->utility);
    vqi_free(r->cells);
    vqi_free(r->place);
    vqi_free(r->step);
    vqi_free(r->seen);
    vqi_free(r->held);
    vqi_free(r->rows);
    vqi_free(r->weights);
    vqi_free(r->halves);
    vqi_free(r->gain);
    vqi_free(r->codes);
    vqi_free(r->scores);
    vqi_free(r->second);
    memset(r, 0, sizeof *r);
}

vq_status vqi_repair_begin(vqi_repair *r, const vq_kmeans_stats *before)
{
    const uint32_t k = r->form.k;
    worth *costs = vqi_alloc(k, sizeof *costs);
    if (!costs)
        return vqi_fail_nomem((unsigned long long)k * sizeof *costs);
    size_t found = 0;
    for (uint32_t c = 0; c < k; c++)
        if (before->rows[c] > 1 && before->worst[c] > 0)
            costs[found++] = (worth){vqi_stats_cost(before, c), c};
    qsort(costs, found, sizeof *costs, by_falling_value);
    r->count = found < r->most ? (uint32_t)found : r->most;
    memset(r->place, 0, k * sizeof *r->place);
    for (uint32_t i = 0; i < r->count; i++) {
        const uint32_t cell = costs[i].cell;
        r->cells[i] = cell;
        r->place[cell] = i + 1;
        r->step[i] = ((uint64_t)before->rows[cell] - 1) / VQI_REPAIR_ROWS + 1;
        r->seen[i] = 0;
        r->held[i] = 0;
    }
    memset(r->utility, 0, VQI_EXACT_LIMBS * k * sizeof *r->utility);
    vqi_free(costs);
    return VQ_OK;
}

vq_status vqi_repair_search(vqi_repair *r, uint32_t *codes, float *scores,
                            const vq_codebook *codebook, const float *rows, size_t count,
                            int threads)
{
    const bool cosine = r->form.metric == VQ_METRIC_COSINE;
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = threads;
    const vq_status status = vq_nearest_k(r->codes, r->scores, codebook, rows, count, 2, &search);
    for (size_t i = 0; i < count && !status; i++) {
        const float second = r->scores[2 * i + 1];
        codes[i] = r->codes[2 * i];
        scores[i] = r->scores[2 * i];
        r->second[i] = cosine ? 1 - second : second;
    }
    return status;
}

static bool is_zero(const float *row, uint32_t d)
{
    uint32_t j = 0;
    while (j < d && row[j] == 0)
        j++;
    return j == d;
}

static void keep_row(vqi_repair *r, uint32_t i, const float *row, float weight)
{
    const uint32_t d = r->form.d;
    /* Of each `step` rows any one: rows that come in turns must not fool the choice. */
    const uint64_t step = r->step[i], seen = r->seen[i]++;
    uint64_t state = seen / step;
    if (r->held[i] == VQI_REPAIR_ROWS || vqi_splitmix64(&state) % step != seen % step)
        return;
    const size_t at = (size_t)i * VQI_REPAIR_ROWS + r->held[i]++;
    memcpy(r->rows + at * d, row, d * sizeof *row);
    r->weights[at] = weight;
}

void vqi_repair_add(vqi_repair *r, uint32_t cell, const vqi_assign *a, const float *rows,
                    const float *weights)
{
    const size_t d = r->form.d;
    const uint32_t place = r->place[cell];
    const bool cosine = r->form.metric == VQ_METRIC_COSINE;
    for (uint32_t o = a->first[cell]; o < a->first[cell + 1]; o++) {
        const size_t i = a->order[o];
        const double weight = weights ? (double)weights[i] : 1,
                     second = fmin((double)r->second[i], r->largest_error);
        vqi_exact_add(r->utility + cell, r->form.k, &r->grid, VQI_EXACT_LIMBS,
                      weight * fmax(second - (double)a->errors[i], 0));
        if (place && !(cosine && is_zero(rows + i * d, r->form.d)))
            keep_row(r, place - 1, rows + i * d, weights ? weights[i] : 1);
    }
}

void vqi_repair_chunk_done(vqi_repair *r)
{
    vqi_exact_carry(r->utility, r->form.k, VQI_EXACT_LIMBS, r->form.k);
}

/* The weighted mean of the rows on one side. @return their weight. */
static double find_mean(float *mean, double *sum, const float *rows, const float *weights,
                        const uint8_t *side, uint8_t wanted, uint32_t count, uint32_t d)
{
    double weight = 0;
    memset(sum, 0, d * sizeof *sum);
    for (uint32_t i = 0; i < count; i++) {
        if (side[i] != wanted)
            continue;
        const float *row = rows + (size_t)i * d;
        const double w = (double)weights[i];
        weight += w;
        for (uint32_t j = 0; j < d; j++)
            sum[j] += w * (double)row[j];
    }
    for (uint32_t j = 0; j < d && weight > 0; j++)
        mean[j] = (float)(sum[j] / weight);
    return weight;
}

/* Two means of the rows of one cell. @return the share of their squared error that two save. */
static double find_halves(float *halves, double *sum, const float *rows, const float *weights,
                          uint32_t count, uint32_t d)
{
    vqi_distance_fn *distance = vqi_distance_kernel();
    float *left = halves, *right = halves + d, most = -1;
    uint8_t side[VQI_REPAIR_ROWS] = {0};
    uint32_t farthest = 0;
    double whole = 0, cost = 0;
    find_mean(left, sum, rows, weights, side, 0, count, d);
    for (uint32_t i = 0; i < count; i++) {
        const float error = distance(rows + (size_t)i * d, left, d, INFINITY);
        whole += (double)weights[i] * (double)error;
        if (error > most) {
            most = error;
            farthest = i;
        }
    }
    /* The first cut goes through the mean. */
    for (uint32_t j = 0; j < d; j++) {
        right[j] = rows[(size_t)farthest * d + j];
        left[j] = 2 * left[j] - right[j];
    }
    for (int pass = 0; pass <= PASSES; pass++) {
        bool changed = false;
        cost = 0;
        for (uint32_t i = 0; i < count; i++) {
            const float *row = rows + (size_t)i * d;
            const float a = distance(row, left, d, INFINITY), b = distance(row, right, d, a);
            const uint8_t now = b < a;
            cost += (double)weights[i] * (double)(now ? b : a);
            changed |= now != side[i];
            side[i] = now;
        }
        if (pass && !changed)
            break;
        if (pass < PASSES && (!(find_mean(left, sum, rows, weights, side, 0, count, d) > 0) ||
                              !(find_mean(right, sum, rows, weights, side, 1, count, d) > 0)))
            return 0;
    }
    return whole > cost && isfinite(whole) ? 1 - cost / whole : 0;
}

static void find_gains(vqi_repair *r, double *sums, const vq_kmeans_stats *stats, int threads)
{
    const uint32_t d = r->form.d;
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads)
    for (uint32_t i = 0; i < r->count; i++) {
        const size_t at = (size_t)i * VQI_REPAIR_ROWS;
        float *halves = r->halves + (size_t)i * 2 * d;
        double share = 0;
        if (r->held[i] > 1)
            share = find_halves(halves, sums + (size_t)omp_get_thread_num() * d, r->rows + at * d,
                                r->weights + at, r->held[i], d);
        if (r->form.metric == VQ_METRIC_COSINE && (is_zero(halves, d) || is_zero(halves + d, d)))
            share = 0;
        r->gain[i] = share * vqi_stats_cost(stats, r->cells[i]);
    }
}

/* Every codeword that has a cell moves on in the direction in which it moved. */
void vqi_repair_go_beyond(float *codewords, const vq_kmeans_stats *stats, const float *before)
{
    const uint32_t k = stats->form.k, d = stats->form.d;
    const bool cosine = stats->form.metric == VQ_METRIC_COSINE;
    const float most = (float)fmin(ldexp(1, stats->form.value_exponent), (double)FLT_MAX);
    for (uint32_t c = 0; c < k; c++) {
        float *mean = codewords + (size_t)c * d;
        const float *from = before + (size_t)c * d;
        double along = 0;
        for (uint32_t j = 0; j < d && cosine; j++)
            along +=
                (double)mean[j] * ((double)from[j] + beyond * ((double)mean[j] - (double)from[j]));
        if (!stats->rows[c] || (cosine && !(along > 0))) /* nothing is left of the direction */
            continue;
        for (uint32_t j = 0; j < d; j++) {
            const double to = (double)from[j] + beyond * ((double)mean[j] - (double)from[j]);
            mean[j] = (float)fmax(fmin(to, (double)most), -(double)most);
        }
    }
}

/* What vqi_repair_move() works with. */
typedef struct moving {
    worth *utility, *gain;
    uint8_t *state; /* k: enum below */
    double *sums;   /* threads x d */
    uint32_t *near; /* k x neighbours: the codewords nearest to each, itself first */
    uint32_t neighbours;
} moving;

enum { FREE, SPLIT, GONE };

/* The next codeword by utility that is free and near none that goes; its rows could not fall to that. */
static uint32_t next_to_go(uint32_t at, const moving *m, uint32_t k)
{
    for (; at < k; at++) {
        const uint32_t cell = m->utility[at].cell, *near = m->near + (size_t)cell * m->neighbours;
        uint32_t j = 0;
        while (j < m->neighbours && m->state[near[j]] != GONE)
            j++;
        if (m->state[cell] == FREE && j == m->neighbours)
            break;
    }
    return at;
}

/* The cells by utility against the cells by gain, best first. */
static uint32_t match(float *codewords, const vqi_repair *r, moving *m, uint32_t limit)
{
    const uint32_t k = r->form.k, d = r->form.d;
    const size_t bytes = d * sizeof *codewords;
    uint32_t moved = 0, at = 0;
    for (uint32_t i = 0; i < r->count && moved < limit; i++) {
        const uint32_t to = m->gain[i].cell;
        if (m->state[to] != FREE)
            continue;
        m->state[to] = SPLIT;
        at = next_to_go(at, m, k);
        if (at == k || !(m->gain[i].value > enough * m->utility[at].value))
            break;
        const uint32_t from = m->utility[at].cell;
        const float *halves = r->halves + (size_t)(r->place[to] - 1) * 2 * d;
        m->state[from] = GONE;
        memcpy(codewords + (size_t)to * d, halves, bytes);
        memcpy(codewords + (size_t)from * d, halves + d, bytes);
        moved++;
    }
    return moved;
}

static vq_status moving_create(moving *m, const vqi_repair *r, const vq_codebook *codebook,
                               int threads)
{
    const size_t k = r->form.k;
    m->neighbours = k < NEIGHBOURS ? (uint32_t)k : NEIGHBOURS;
    m->utility = vqi_alloc(k, sizeof *m->utility);
    m->gain = vqi_alloc(r->most, sizeof *m->gain);
    m->state = vqi_calloc(k, sizeof *m->state);
    m->sums = vqi_alloc((size_t)threads * r->form.d, sizeof *m->sums);
    m->near = vqi_alloc(k, m->neighbours * sizeof *m->near);
    if (!m->utility || !m->gain || !m->state || !m->sums || !m->near)
        return vqi_fail_nomem((unsigned long long)k * sizeof *m->utility);
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = threads;
    return vq_nearest_k(m->near, NULL, codebook, vq_codebook_codewords(codebook), k, m->neighbours,
                        &search);
}

vq_status vqi_repair_move(float *codewords, uint32_t *moved, vqi_repair *r,
                          const vq_kmeans_stats *stats, const vq_codebook *codebook, uint32_t limit,
                          int threads)
{
    const uint32_t k = r->form.k;
    moving m = {0};
    const vq_status status = moving_create(&m, r, codebook, threads);
    *moved = 0;
    if (!status) {
        find_gains(r, m.sums, stats, threads);
        for (uint32_t c = 0; c < k; c++)
            m.utility[c] =
                (worth){vqi_exact_value(r->utility + c, k, &r->grid, VQI_EXACT_LIMBS), c};
        for (uint32_t i = 0; i < r->count; i++)
            m.gain[i] = (worth){r->gain[i], r->cells[i]};
        qsort(m.utility, k, sizeof *m.utility, by_rising_value);
        qsort(m.gain, r->count, sizeof *m.gain, by_falling_value);
        vqi_repair_go_beyond(codewords, stats, vq_codebook_codewords(codebook));
        *moved = match(codewords, r, &m, limit);
    }
    vqi_free(m.utility);
    vqi_free(m.gain);
    vqi_free(m.state);
    vqi_free(m.sums);
    vqi_free(m.near);
    return status;
}
