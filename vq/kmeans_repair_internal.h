/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/kmeans_repair_internal.h
 * Which codewords are wasted and which cells deserve two. One pass finds for every codeword what its rows would
 * lose if it went and they fell to their second nearest (its utility: Fritzke, "The LBG-U method", 1997), and
 * keeps some rows of the costly cells, in which two means are then found. A codeword of little utility moves to
 * where it gains more (as in Patane and Russo, "The enhanced LBG algorithm", 2001).
 */
#ifndef VQ_KMEANS_REPAIR_INTERNAL_H
#define VQ_KMEANS_REPAIR_INTERNAL_H

#include "vq/kmeans_stats_internal.h"

typedef struct vqi_repair {
    vqi_stats_form form;
    vqi_exact_grid grid;
    double largest_error;
    int64_t *utility; /**< limbs x k: weighted sums of second error - first error */
    uint32_t most;    /**< cells to split, at most */
    uint32_t count;   /**< of them */
    uint32_t *cells;  /**< most: the costly cells, by rising code */
    uint32_t *place;  /**< k: 1 + where a cell is in `cells`; 0 = nowhere */
    uint64_t *step;   /**< most: one row of so many, at random, is kept ... */
    uint64_t *seen;   /**< most: ... of those that came by ... */
    uint32_t *held;   /**< most: ... and so many are */
    float *rows;      /**< most x VQI_REPAIR_ROWS x d */
    float *weights;   /**< most x VQI_REPAIR_ROWS */
    float *halves;    /**< most x 2 x d: the two means */
    double *gain;     /**< most: by how much they lower the cell's cost */
    uint32_t *codes;  /**< chunk x 2: nearest and second nearest */
    float *scores;    /**< chunk x 2 */
    float *second;    /**< chunk: error at the second nearest */
} vqi_repair;

enum { VQI_REPAIR_ROWS = 64 };

/** @return VQ_OK or VQ_E_NOMEM; free with vqi_repair_clear() in either case. */
vq_status vqi_repair_create(vqi_repair *repair, const vq_kmeans_stats *stats, size_t chunk);
void vqi_repair_clear(vqi_repair *repair);

/** Before a pass over all rows. @param before of the pass before: its costly cells are looked into. */
vq_status vqi_repair_begin(vqi_repair *repair, const vq_kmeans_stats *before);

/** As vq_nearest(), and note the second nearest for vqi_repair_add(). errors: squared distances, or 1 - cosine. */
vq_status vqi_repair_search(vqi_repair *repair, uint32_t *codes, float *scores,
                            const vq_codebook *codebook, const float *rows, size_t count,
                            int threads);

/** Add the rows of one cell of a chunk; several threads may add to different cells. */
void vqi_repair_add(vqi_repair *repair, uint32_t cell, const vqi_assign *assign, const float *rows,
                    const float *weights);
/** All cells of the chunk are added. */
void vqi_repair_chunk_done(vqi_repair *repair);

/**
 * Every codeword that has a cell moves on in the direction in which it moved (over-relaxation).
 * @param[in,out] codewords k x d, at the means of their cells. @param before where they were.
 */
void vqi_repair_go_beyond(float *codewords, const vq_kmeans_stats *stats, const float *before);

/**
 * Move codewords of little utility into cells that gain more from a second one, and all others on beyond their
 * means, since that is where they are going.
 * @param[in,out] codewords k x d, at the means of their cells.
 * @param[out]    moved     how many changed cells; if none did, the codewords are of no use.
 * @param         stats     of the pass ...
 * @param         codebook  ... with this one.
 * @param         limit     move at most so many.
 * @return VQ_OK or VQ_E_NOMEM.
 */
vq_status vqi_repair_move(float *codewords, uint32_t *moved, vqi_repair *repair,
                          const vq_kmeans_stats *stats, const vq_codebook *codebook, uint32_t limit,
                          int threads);

#endif
