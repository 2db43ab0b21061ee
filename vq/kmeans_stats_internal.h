/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/kmeans_stats_internal.h  The statistics of k-means, and how rows come into them and means out. */
#ifndef VQ_KMEANS_STATS_INTERNAL_H
#define VQ_KMEANS_STATS_INTERNAL_H

#include "vq/exact_sum_internal.h"
#include "vq/kmeans_stats.h"

/** Rows of one call of vq_nearest(), at most 16 MiB of them. Any number gives the same statistics. */
static inline size_t vqi_stats_chunk(size_t n, uint32_t d)
{
    const size_t fit = ((size_t)1 << 22) / d, rows = fit > 65536 ? 65536 : fit < 256 ? 256 : fit;
    return rows < n ? rows : n;
}

/** What statistics are of: equal for all that can be merged. */
typedef struct vqi_stats_form {
    uint32_t k, d;
    vq_metric metric;
    int value_exponent;  /**< rows and codewords are at most 2^this */
    int weight_exponent; /**< weights are at most 2^this; 0 if there are none */
    int weighted;
} vqi_stats_form;

/* The sums lie limb after limb: limb i of number j of a cell is at i * k * d + cell * d + j, or i * k + cell. */
struct vq_kmeans_stats {
    vqi_stats_form form;
    int limbs; /**< of the sums of rows; other sums have VQI_EXACT_LIMBS */
    vqi_exact_grid sum_grid, weight_grid, cost_grid;
    double largest_error;
    int64_t total;     /**< rows of weight */
    size_t uncarried;  /**< addends since the sums were brought to their one form, at most */
    int64_t *sum;      /**< limbs x k x d: weighted sums of rows */
    int64_t *weight;   /**< limbs x k: sums of weights; NULL if there are none */
    int64_t *cost;     /**< limbs x k: weighted sums of errors */
    int64_t *rows;     /**< k: rows of weight */
    float *worst;      /**< k: the largest error of such a row ... */
    uint64_t *number;  /**< k: ... the lowest number of a row that has it ... */
    float *worst_row;  /**< k x d: ... that row ... */
    float *worst_mass; /**< k: ... and its weight */
};

vq_status vqi_stats_create(vq_kmeans_stats **out, const vqi_stats_form *form);
/** Forget all rows. */
void vqi_stats_reset(vq_kmeans_stats *stats);
/** Bring all sums to their one form. */
void vqi_stats_carry(vq_kmeans_stats *stats, int threads);

static inline double vqi_stats_weight(const vq_kmeans_stats *stats, uint32_t cell)
{
    if (!stats->form.weighted)
        return (double)stats->rows[cell];
    return vqi_exact_value(stats->weight + cell, stats->form.k, &stats->weight_grid,
                           VQI_EXACT_LIMBS);
}

static inline double vqi_stats_cost(const vq_kmeans_stats *stats, uint32_t cell)
{
    return vqi_exact_value(stats->cost + cell, stats->form.k, &stats->cost_grid, VQI_EXACT_LIMBS);
}

/** Room to bring one chunk of rows into statistics. */
typedef struct vqi_assign {
    size_t chunk;
    float *unit;     /**< a chunk of unit rows, cosine only */
    uint32_t *codes; /**< chunk */
    float *errors;   /**< chunk */
    uint32_t *first; /**< k + 1: where each cell begins in `order` */
    uint32_t *order; /**< the rows of a chunk, cell after cell, rising within each */
    void *workspace; /**< of vq_nearest() */
    size_t workspace_size;
    struct vqi_pruning
        *pruning;              /**< how rows are searched from pass to pass; NULL = from nothing */
    struct vqi_repair *repair; /**< what looks for wasted codewords in this pass, or NULL */
    uint64_t before;           /**< rows of other ranks that are numbered before these */
} vqi_assign;

vq_status vqi_assign_create(vqi_assign *assign, const vqi_stats_form *form, size_t chunk);
void vqi_assign_clear(vqi_assign *assign);

/**
 * Find the codewords of up to assign->chunk rows and add them.
 * @param rows    not beyond the bounds of the statistics: that is not looked at again.
 * @param number  of the first of them in this rank.
 * @param weights of them, or NULL.
 */
vq_status vqi_assign_rows(vq_kmeans_stats *stats, vqi_assign *assign, const vq_codebook *codebook,
                          const float *rows, size_t count, uint64_t number, const float *weights,
                          int threads);

/** The unit vector of a row; a zero row stays zero. */
void vqi_unit_row(float *out, const float *row, uint32_t d);

/**
 * Move every codeword to the mean of its cell, and the codewords of empty cells as the policy says.
 * @param[in,out] codewords k x d.
 * @param[out]    moved     how many codewords of empty cells were moved.
 * @return VQ_OK or VQ_E_NOMEM.
 */
vq_status vqi_stats_move(float *codewords, uint32_t *moved, const vq_kmeans_stats *stats,
                         vq_empty_policy policy, int threads);

#endif
