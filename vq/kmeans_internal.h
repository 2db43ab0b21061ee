/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/kmeans_internal.h  What the files of k-means share. */
#ifndef VQ_KMEANS_INTERNAL_H
#define VQ_KMEANS_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vq/kmeans.h"

/** One training run: the rows, and options in which every default is filled in. */
typedef struct vqi_kmeans {
    const float *x;
    size_t n;
    uint32_t d;
    double weight; /**< sum of the rows' weights */
    vq_kmeans_opts opts;
    int exhaustive; /**< seeding looks at every row for every draw: the reference, slow */
} vqi_kmeans;

static inline float vqi_kmeans_weight(const vqi_kmeans *run, size_t row)
{
    return run->opts.weights ? run->opts.weights[row] : 1.0f;
}

/** Rows of one call of vq_nearest(), at most 16 MiB of them. Any number gives the same codebook. */
static inline size_t vqi_kmeans_chunk(const vqi_kmeans *run)
{
    const size_t fit = ((size_t)1 << 22) / run->d, rows = fit > 65536 ? 65536
                                                          : fit < 256 ? 256
                                                                      : fit;
    return rows < run->n ? rows : run->n;
}

/** Row i as training sees it: the row itself, or under the cosine metric its unit vector in `scratch`
 *  (d floats); a zero row stays zero. */
const float *vqi_kmeans_row(const vqi_kmeans *run, size_t i, float *scratch);

/** @return VQ_OK, or VQ_E_CANCELLED if the caller's progress function says so. */
vq_status vqi_kmeans_tell(const vqi_kmeans *run, uint32_t seeds_done, uint32_t iteration,
                          double mse);

/** Choose the first codewords, k x d. @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE, VQ_E_NOMEM, VQ_E_CANCELLED. */
vq_status vqi_kmeans_seed(float *codewords, const vqi_kmeans *run);

/** A cell that may help an empty one, and how much it needs to. */
typedef struct vqi_donor {
    double value;
    uint32_t cell;
} vqi_donor;

/** What one pass over the rows learns of each cell (the rows of one codeword). */
typedef struct vqi_cells {
    double *sum;       /**< k x d: weighted sums of rows */
    double *weight;    /**< k: sums of weights */
    double *cost;      /**< k: weighted sums of errors */
    int64_t *rows;     /**< k: rows with a weight above 0 */
    float *worst;      /**< k: the largest error of such a row ... */
    size_t *worst_row; /**< k: ... and the first row that has it */
    double error;      /**< weighted sum of errors over all rows */
    /* scratch */
    uint32_t *first;   /**< k + 1: where each cell begins in `order` */
    uint32_t *order;   /**< the rows of a chunk, cell after cell, rising within each */
    vqi_donor *donors; /**< k */
    float *scratch;    /**< d */
} vqi_cells;

vq_status vqi_cells_create(vqi_cells *cells, const vqi_kmeans *run);
void vqi_cells_clear(vqi_cells *cells);
/** Forget all rows. */
void vqi_cells_reset(vqi_cells *cells, const vqi_kmeans *run);
/**
 * Add `count` rows from row `first` on.
 * @param rows   the rows as training sees them, count x d.
 * @param codes  the cell of each row.
 * @param errors the squared distance of each row from its codeword; 1 - cosine under that metric.
 */
void vqi_cells_add(vqi_cells *cells, const vqi_kmeans *run, size_t first, const float *rows,
                   const uint32_t *codes, const float *errors, size_t count);
/**
 * Move every codeword to the mean of its cell, and the codewords of empty cells as the policy says.
 * @param[in,out] codewords k x d.
 * @return how many codewords of empty cells were moved.
 */
uint32_t vqi_cells_update(float *codewords, vqi_cells *cells, const vqi_kmeans *run);

#endif
