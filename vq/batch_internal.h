/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/batch_internal.h
 * What a batch of rows says of each cell (the rows of one codeword): the search and the sums that the
 * trainers of online.c, kmeans_minibatch.c and kmeans_balanced.c share.
 */
#ifndef VQ_BATCH_INTERNAL_H
#define VQ_BATCH_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vq/codebook.h"
#include "vq/kmeans_stats_internal.h" /* vqi_unit_row() */
#include "vq/random_internal.h"

typedef struct vqi_batch {
    uint32_t k, d;
    vq_metric metric; /* Euclidean or cosine */
    double *sum; /* k x d: weighted sums of rows; of their unit vectors under the cosine metric */
    double *weight; /* k: sums of weights */
    double total;   /* sum of weight */
    double
        error; /* weighted sum of squared distances; of those between unit vectors under cosine */
    /* of vqi_batch_assign() alone */
    uint32_t *codes; /* of each row */
    float *errors;   /* of each row; 1 - cosine under that metric */
    /* scratch */
    size_t room, chunk_room;
    float *unit;     /* chunk x d, cosine only */
    uint32_t *order; /* the rows of a chunk, cell after cell, rising within each */
    uint32_t *first; /* k + 1: where each cell begins in `order` */
} vqi_batch;

vq_status vqi_batch_create(vqi_batch *batch, uint32_t k, uint32_t d, vq_metric metric);
void vqi_batch_clear(vqi_batch *batch);
/** Forget all rows. */
void vqi_batch_reset(vqi_batch *batch);

/** @return VQ_OK, or what is wrong with the rows (NULL, not finite) or the weights (not finite, below 0). */
vq_status vqi_batch_check(const float *x, size_t n, uint32_t d, const float *weights);

/** A row that counts: it has a weight and, under the cosine metric, a direction. */
int vqi_batch_counts(const vqi_batch *batch, const float *row, const float *weights, size_t i);

/**
 * Add rows whose cells are known.
 * @param rows   count x d; unit vectors under the cosine metric. count is below 2^32.
 * @param errors of each row, as in the struct.
 * @return VQ_OK, VQ_E_NOMEM.
 */
vq_status vqi_batch_add(vqi_batch *batch, const float *rows, const uint32_t *codes,
                        const float *errors, const float *weights, size_t count, int threads);

/**
 * Reset, search the cell of each row, and add all rows. The sums do not depend on `threads`.
 * @param x       n x d, checked by vqi_batch_check(); of any length under the cosine metric.
 * @param weights n, or NULL.
 * @return VQ_OK, VQ_E_NOMEM, VQ_E_NONFINITE (the squared distances overflow float32).
 */
vq_status vqi_batch_assign(vqi_batch *batch, const vq_codebook *codebook, const float *x, size_t n,
                           const float *weights, int threads);

/** Rows of the batch that vqi_batch_assign() saw, to which codewords may move: they count, and no codeword serves
 *  them exactly already. */
typedef struct vqi_draw {
    const vqi_batch *batch;
    const float *x, *weights;
    size_t at, left, wanted;
    vqi_random random;
} vqi_draw;

/**
 * Begin to draw rows without replacement.
 * @param serial of the draw: each one has random numbers of its own.
 * @return how many rows there will be: `wanted`, or less if there are not so many.
 */
size_t vqi_draw_begin(vqi_draw *draw, const vqi_batch *batch, const float *x, size_t n,
                      const float *weights, size_t wanted, uint64_t seed, uint64_t serial);
/** @return the next row; rising. To be called no more often than vqi_draw_begin() said. */
size_t vqi_draw_next(vqi_draw *draw);

#endif
