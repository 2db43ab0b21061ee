/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/kmeans_pruning_internal.h
 * The search of one Lloyd iteration after another, without what cannot change. A codeword that has not moved has
 * the score that it had. So a row whose own codeword stayed needs a look at those that moved only; and so does one
 * whose best score among those that moved is better than its best score of all was. The codes and scores are those
 * of a whole search, bit for bit: no bound is estimated, so none has to allow for rounding.
 */
#ifndef VQ_KMEANS_PRUNING_INTERNAL_H
#define VQ_KMEANS_PRUNING_INTERNAL_H

#include "vq/kmeans_stats_internal.h"

typedef struct vqi_pruning {
    uint32_t *codes;  /**< n: of the last pass ... */
    float *scores;    /**< ... and contract scores */
    float *codewords; /**< k x d: of the last pass */
    int any;          /**< was there one? */
    uint8_t *moved;   /**< k: since then */
    uint32_t count;   /**< of them; k = search among all */
    uint32_t *number; /**< the codes of those that moved */
    float *gathered;  /**< k x d: those that moved, one after another */
    vq_codebook *few; /**< they as a codebook, if they are fewer and some */
    uint32_t *again;  /**< rows of a chunk that need a look at all codewords ... */
    float *rows;      /**< ... and these rows, chunk x d */
} vqi_pruning;

/** @return VQ_OK or VQ_E_NOMEM; free with vqi_pruning_clear() in either case. */
vq_status vqi_pruning_create(vqi_pruning *p, size_t n, uint32_t k, uint32_t d, size_t chunk);
void vqi_pruning_clear(vqi_pruning *p);

/** Before each pass over all rows. @param stats of the pass before. @return VQ_OK or VQ_E_NOMEM. */
vq_status vqi_pruning_begin(vqi_pruning *p, const vq_codebook *codebook,
                            const vq_kmeans_stats *stats);

/** As vq_nearest() for rows `first` on; each row once in each pass. */
vq_status vqi_pruning_search(vqi_pruning *p, uint32_t *codes, float *scores,
                             const vq_codebook *codebook, const float *rows, size_t first,
                             size_t count, const vq_search_opts *search);

/** Codes and scores of rows that were searched without it. */
void vqi_pruning_note(vqi_pruning *p, const uint32_t *codes, const float *scores, size_t first,
                      size_t count);

#endif
