/* SPDX-License-Identifier: Apache-2.0 */
/* The assignment half of Lloyd's iteration: rows to codewords, and into the statistics of their cells. */
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_pruning_internal.h"
#include "vq/kmeans_repair_internal.h"
#include "vq/kmeans_stats_internal.h"
#include "vq/memory_internal.h"

vq_status vqi_assign_create(vqi_assign *a, const vqi_stats_form *form, size_t chunk)
{
    const bool cosine = form->metric == VQ_METRIC_COSINE;
    memset(a, 0, sizeof *a);
    a->chunk = chunk;
    if (cosine)
        a->unit = vqi_alloc(chunk * form->d, sizeof *a->unit);
    a->codes = vqi_alloc(chunk, sizeof *a->codes);
    a->errors = vqi_alloc(chunk, sizeof *a->errors);
    a->first = vqi_alloc((size_t)form->k + 1, sizeof *a->first);
    a->order = vqi_alloc(chunk, sizeof *a->order);
    if (a->codes && a->errors && a->first && a->order && (a->unit || !cosine))
        return VQ_OK;
    vqi_assign_clear(a);
    return vqi_fail_nomem((unsigned long long)chunk * (cosine ? form->d : 1) * sizeof *a->unit);
}

void vqi_assign_clear(vqi_assign *a)
{
    vqi_free(a->unit);
    vqi_free(a->codes);
    vqi_free(a->errors);
    vqi_free(a->first);
    vqi_free(a->order);
    vqi_free(a->workspace);
    memset(a, 0, sizeof *a);
}

void vqi_unit_row(float *out, const float *row, uint32_t d)
{
    double square = 0;
    for (uint32_t j = 0; j < d; j++)
        square += (double)row[j] * (double)row[j];
    const double inverse = square > 0 ? 1 / sqrt(square) : 0;
    for (uint32_t j = 0; j < d; j++)
        out[j] = (float)((double)row[j] * inverse);
}

/* Counting sort: order[first[c] .. first[c + 1]) are the rows of cell c that have a weight, rising. */
static void sort_by_cell(vqi_assign *a, uint32_t k, const float *weights, size_t count)
{
    uint32_t *first = a->first;
    memset(first, 0, ((size_t)k + 1) * sizeof *first);
    for (size_t i = 0; i < count; i++)
        if (!weights || weights[i] > 0)
            first[a->codes[i] + 1]++;
    for (uint32_t c = 0; c < k; c++)
        first[c + 1] += first[c];
    for (size_t i = 0; i < count; i++)
        if (!weights || weights[i] > 0)
            a->order[first[a->codes[i]]++] = (uint32_t)i;
    /* Placing moved every start to the next one's: move them back. */
    memmove(first + 1, first, k * sizeof *first);
    first[0] = 0;
}

/* A zero row under the cosine metric has an error, but no place where a codeword would serve it. */
static bool can_be_served(const vq_kmeans_stats *stats, const float *row)
{
    bool serves = stats->form.metric != VQ_METRIC_COSINE;
    for (uint32_t j = 0; j < stats->form.d && !serves; j++)
        serves = row[j] != 0;
    return serves;
}

/* The errors and the weights of a cell's rows. */
static void add_errors(vq_kmeans_stats *stats, uint32_t cell, const vqi_assign *a,
                       const float *weights)
{
    const size_t k = stats->form.k;
    const uint32_t *order = a->order + a->first[cell],
                   members = a->first[cell + 1] - a->first[cell];
    vqi_exact_rows_kernel(VQI_EXACT_LIMBS)(stats->cost + cell, k, &stats->cost_grid, a->errors,
                                           order, members, 1, weights);
    for (uint32_t o = 0; stats->weight && o < members; o++)
        vqi_exact_add(stats->weight + cell, k, &stats->weight_grid, VQI_EXACT_LIMBS,
                      weights ? (double)weights[order[o]] : 1);
}

/* The worst error of a cell's rows. */
static void find_worst(vq_kmeans_stats *stats, uint32_t cell, const vqi_assign *a,
                       const float *rows, uint64_t number, const float *weights)
{
    const size_t d = stats->form.d;
    float worst = stats->worst[cell];
    uint64_t lowest = stats->number[cell];
    const float *worst_row = NULL;
    for (uint32_t o = a->first[cell]; o < a->first[cell + 1]; o++) {
        const size_t i = a->order[o];
        const float error = a->errors[i];
        if (!(error > 0) || error < worst || (!(error > worst) && number + i >= lowest) ||
            !can_be_served(stats, rows + i * d))
            continue;
        worst = error;
        lowest = number + i;
        worst_row = rows + i * d;
        stats->worst_mass[cell] = weights ? weights[i] : 1;
    }
    if (worst_row) {
        stats->worst[cell] = worst;
        stats->number[cell] = lowest;
        memcpy(stats->worst_row + cell * d, worst_row, d * sizeof *worst_row);
    }
}

static vq_status check_errors(const vq_kmeans_stats *stats, const float *errors, size_t count)
{
    const uint32_t bits = vqi_largest_bits(errors, count);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (!isfinite(largest))
        return vqi_fail(VQ_E_NONFINITE, "the squared distances of k-means overflow float32 (scale "
                                        "the rows down)");
    if ((double)largest > stats->largest_error)
        return vqi_fail(VQ_E_ARG,
                        "a squared distance of %g, and the bounds allow %g (rows and codebook are "
                        "not those that the statistics were made for)",
                        (double)largest, stats->largest_error);
    return VQ_OK;
}

static vq_status add_to_cells(vq_kmeans_stats *stats, vqi_assign *a, const float *rows,
                              size_t count, uint64_t number, const float *weights, int threads)
{
    const uint32_t k = stats->form.k, d = stats->form.d;
    const vq_status status = check_errors(stats, a->errors, count);
    if (status)
        return status;
    if (stats->uncarried + count > VQI_EXACT_CHUNK)
        vqi_stats_carry(stats, threads);
    stats->uncarried += count;
    sort_by_cell(a, k, weights, count);
    stats->total += a->first[k];
    vqi_exact_rows_fn *add_rows = vqi_exact_rows_kernel(stats->limbs);
    const int some = count * d < ((size_t)1 << 18) ? 1 : threads;
#pragma omp parallel for schedule(dynamic, 16) num_threads(some)
    for (uint32_t c = 0; c < k; c++) {
        const uint32_t first = a->first[c], members = a->first[c + 1] - first;
        if (!members)
            continue;
        stats->rows[c] += members;
        add_rows(stats->sum + (size_t)c * d, (size_t)k * d, &stats->sum_grid, rows,
                 a->order + first, members, d, weights);
        add_errors(stats, c, a, weights);
        find_worst(stats, c, a, rows, number, weights);
        if (a->repair)
            vqi_repair_add(a->repair, c, a, rows, weights);
    }
    if (a->repair)
        vqi_repair_chunk_done(a->repair);
    return VQ_OK;
}

static vq_status search_rows(vqi_assign *a, const vq_codebook *codebook, const float *rows,
                             size_t count, size_t first, const vq_search_opts *search)
{
    if (a->repair) {
        const vq_status status = vqi_repair_search(a->repair, a->codes, a->errors, codebook, rows,
                                                   count, search->threads);
        if (!status && a->pruning)
            vqi_pruning_note(a->pruning, a->codes, a->errors, first, count);
        return status;
    }
    if (a->pruning)
        return vqi_pruning_search(a->pruning, a->codes, a->errors, codebook, rows, first, count,
                                  search);
    return vq_nearest(a->codes, a->errors, codebook, rows, count, search);
}

vq_status vqi_assign_rows(vq_kmeans_stats *stats, vqi_assign *a, const vq_codebook *codebook,
                          const float *rows, size_t count, uint64_t number, const float *weights,
                          int threads)
{
    const uint32_t d = stats->form.d;
    const bool cosine = stats->form.metric == VQ_METRIC_COSINE;
    if (!a->workspace) {
        a->workspace_size = vq_nearest_workspace(codebook, a->chunk, threads);
        a->workspace = vqi_alloc(a->workspace_size, 1);
        if (!a->workspace)
            return vqi_fail_nomem(a->workspace_size);
    }
    if (cosine) {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (size_t i = 0; i < count; i++)
            vqi_unit_row(a->unit + i * d, rows + i * d, d);
        rows = a->unit;
    }
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    /* A search of microseconds is over before other threads have begun. */
    search.threads = count * d * stats->form.k < ((size_t)1 << 22) ? 1 : threads;
    search.workspace = a->workspace;
    search.workspace_size = a->workspace_size;
    const vq_status status = search_rows(a, codebook, rows, count, (size_t)number, &search);
    if (status)
        return status;
    if (cosine)
        for (size_t i = 0; i < count; i++)
            a->errors[i] = 1 - a->errors[i];
    return add_to_cells(stats, a, rows, count, a->before + number, weights, threads);
}
