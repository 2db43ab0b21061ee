/* SPDX-License-Identifier: Apache-2.0 */
/* What k-means exchanges with other ranks: how many rows there are, the sample that seeds are chosen from, and the statistics
 * of each pass. All else every rank does for itself, and comes to the same. */
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_internal.h"
#include "vq/kmeans_stats_internal.h"
#include "vq/memory_internal.h"

/* What must be the same in all ranks, as numbers. */
enum { SETTINGS = 11 };

static void list_settings(int64_t list[SETTINGS], const vqi_kmeans *run)
{
    const vq_kmeans_opts *o = &run->opts;
    int64_t tolerance;
    memcpy(&tolerance, &o->tolerance, sizeof tolerance);
    const int64_t all[SETTINGS] = {
        o->k,       run->d,   o->metric,  o->storage,       o->max_iterations,       tolerance,
        o->seeding, o->empty, !!o->seeds, (int64_t)o->seed, (int64_t)o->seeding_rows};
    memcpy(list, all, sizeof all);
}

static vq_status check_settings(vqi_kmeans *run)
{
    int64_t mine[SETTINGS], least[SETTINGS], most[SETTINGS];
    list_settings(mine, run);
    memcpy(least, mine, sizeof mine);
    memcpy(most, mine, sizeof mine);
    vq_status status = vqi_ranks_reduce(run->ranks, least, SETTINGS, VQ_REDUCE_MIN);
    if (!status)
        status = vqi_ranks_reduce(run->ranks, most, SETTINGS, VQ_REDUCE_MAX);
    if (!status && memcmp(least, most, sizeof most) != 0)
        status = vqi_fail(VQ_E_MISMATCH,
                          "the ranks train with different options or dimensions (give all "
                          "the same)");
    return status;
}

/* The rows before those of this rank, and those of all. */
static vq_status count_rows(vqi_kmeans *run)
{
    const uint32_t rank = run->ranks->comm.rank, size = run->ranks->comm.size;
    int64_t *rows = run->ranks->words;
    memset(rows, 0, size * sizeof *rows);
    rows[rank] = (int64_t)run->n;
    const vq_status status = vqi_ranks_reduce(run->ranks, rows, size, VQ_REDUCE_SUM);
    if (status)
        return status;
    uint64_t total = 0;
    for (uint32_t i = 0; i < size; i++) {
        if (i == rank)
            run->first = total;
        if (rows[i] < 0 || rows[i] > VQI_EXACT_ADDENDS - (int64_t)total)
            return vqi_fail(VQ_E_ARG, "more than 2^35 rows in all ranks");
        total += (uint64_t)rows[i];
    }
    run->total = (size_t)total;
    return VQ_OK;
}

vq_status vqi_kmeans_meet(vqi_kmeans *run, vq_status status)
{
    run->first = 0;
    run->total = run->n;
    if (!run->ranks)
        return status;
    if (!status && run->opts.weights)
        status = vqi_fail(VQ_E_ARG, "k-means of several ranks with weights (leave them out)");
    if (!status && run->opts.repair_rounds)
        status = vqi_fail(VQ_E_ARG, "k-means of several ranks with repair (leave repair_rounds 0)");
    status = vqi_ranks_agree(run->ranks, status);
    if (!status)
        status = check_settings(run);
    return status ? status : count_rows(run);
}

vq_status vqi_kmeans_share_sample(vqi_sample *sample, float *largest, const vqi_kmeans *run,
                                  vq_status status)
{
    if (!run->ranks)
        return status;
    status = vqi_ranks_agree(run->ranks, status);
    if (status)
        return status;
    uint32_t bits; /* they rise with the number */
    memcpy(&bits, largest, sizeof bits);
    int64_t most = bits;
    status = vqi_ranks_reduce(run->ranks, &most, 1, VQ_REDUCE_MAX);
    bits = (uint32_t)most;
    memcpy(largest, &bits, sizeof bits);
    if (!status && sample->own_x)
        status =
            vqi_ranks_gather(run->ranks, sample->own_x, sample->n * run->d * sizeof *sample->own_x);
    return status;
}

/* The worst row of each cell is the one of the rank where it is worst, and of equal ones the one of the lowest number. Where
 * it is this rank's it stays, else it is zeroed, and then filled from the one that has it. */
static vq_status reduce_worst(vq_kmeans_stats *s, vqi_ranks *ranks)
{
    const size_t k = s->form.k, d = s->form.d, half = VQI_RANKS_WORDS / 2;
    int64_t *worst = ranks->words, *number = ranks->words + half;
    vq_status status = VQ_OK;
    for (size_t first = 0; first < k && !status; first += half) {
        const size_t count = k - first < half ? k - first : half;
        for (size_t i = 0; i < count; i++) {
            uint32_t bits;
            memcpy(&bits, s->worst + first + i, sizeof bits);
            worst[i] = bits;
        }
        status = vqi_ranks_reduce(ranks, worst, count, VQ_REDUCE_MAX);
        for (size_t i = 0; i < count; i++) {
            const uint32_t most = (uint32_t)worst[i];
            float error;
            memcpy(&error, &most, sizeof error);
            if (!(s->worst[first + i] > 0) || s->worst[first + i] < error)
                s->number[first + i] = INT64_MAX;
            number[i] = (int64_t)s->number[first + i];
            s->worst[first + i] = error;
        }
        if (!status)
            status = vqi_ranks_reduce(ranks, number, count, VQ_REDUCE_MIN);
        for (size_t i = 0; i < count; i++) {
            const size_t c = first + i;
            if (s->worst[c] > 0 && (uint64_t)number[i] == s->number[c])
                continue;
            s->number[c] = s->worst[c] > 0 ? (uint64_t)number[i] : 0;
            s->worst_mass[c] = 0;
            memset(s->worst_row + c * d, 0, d * sizeof *s->worst_row);
        }
    }
    if (!status)
        status = vqi_ranks_gather(ranks, s->worst_row, k * d * sizeof *s->worst_row);
    return status ? status : vqi_ranks_gather(ranks, s->worst_mass, k * sizeof *s->worst_mass);
}

vq_status vqi_kmeans_reduce(vq_kmeans_stats *s, const vqi_kmeans *run, vq_status status)
{
    vqi_ranks *ranks = run->ranks;
    if (!ranks)
        return status;
    status = vqi_ranks_agree(ranks, status);
    if (status)
        return status;
    const size_t k = s->form.k, d = s->form.d;
    vqi_stats_carry(s, run->opts.threads); /* so that sums of them do not overflow */
    status = vqi_ranks_reduce(ranks, s->sum, (size_t)s->limbs * k * d, VQ_REDUCE_SUM);
    if (!status)
        status = vqi_ranks_reduce(ranks, s->cost, VQI_EXACT_LIMBS * k, VQ_REDUCE_SUM);
    if (!status)
        status = vqi_ranks_reduce(ranks, s->rows, k, VQ_REDUCE_SUM);
    if (!status)
        status = vqi_ranks_reduce(ranks, &s->total, 1, VQ_REDUCE_SUM);
    if (status)
        return status;
    vqi_stats_carry(s, run->opts.threads);
    /* Worst rows are for empty cells alone. */
    size_t c = 0;
    while (c < k && s->rows[c])
        c++;
    return c < k && run->opts.empty != VQ_EMPTY_KEEP ? reduce_worst(s, ranks) : VQ_OK;
}
