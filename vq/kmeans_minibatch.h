/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/kmeans_minibatch.h
 * Mini-batch k-means (Sculley 2010, "Web-Scale K-Means Clustering"): the codewords move after every small
 * batch, each at a rate of its own, so that a codeword is the mean of all rows that ever chose it. It ends far
 * sooner than Lloyd's iteration, at an error some percent higher; vq_kmeans_train() with these codewords as `seeds`
 * takes some of that back. Defaults and details are those of scikit-learn's MiniBatchKMeans, but that the first
 * codewords are k-means of the first batch and count its rows, and that codewords are reassigned which have few
 * rows beside the average one, not beside the largest: where one cell is large, the latter keeps throwing good
 * codewords away.
 *
 * vq_minibatch_train() draws batches from rows in memory. A source that is larger feeds a vq_minibatch batch by
 * batch, until vq_minibatch_add() says that it has converged. Bit-identical for any number of threads and any
 * SIMD path.
 */
#ifndef VQ_KMEANS_MINIBATCH_H
#define VQ_KMEANS_MINIBATCH_H

#include <stddef.h>
#include <stdint.h>

#include "vq/codebook.h"

#ifdef __cplusplus
extern "C" {
#endif

/** All zero = all defaults, but k. */
typedef struct vq_minibatch_opts {
    size_t struct_size; /**< sizeof(vq_minibatch_opts) */
    uint32_t k;         /**< codewords, required, at least 1 */
    vq_metric metric;   /**< Euclidean; cosine = spherical; dot is VQ_E_ARG */
    vq_dtype storage;   /**< of the resulting codebook: F32, F16, BF16 */
    uint32_t batch; /**< rows of one of vq_minibatch_train(); 0 = 1024, or 4 k if that is more */
    /** vq_minibatch_train() ends after so many times n rows. 0 = 100. */
    uint32_t max_epochs;
    /** Converged after so many batches without a new low of the smoothed MSE. 0 = 10, UINT32_MAX = never. */
    uint32_t patience;
    /** Rate at which the smoothed MSE takes a batch in, at most 1. 0 = twice the batch's share of n where n
     *  is known, else 0.02. */
    double smoothing;
    /** A codeword of less than this share of the average one's rows moves to a random row of the batch, once in
     *  10 k rows, and at once if it has none. Below 1; 0 = 0.01, negative = never. */
    double reassignment_ratio;
    uint64_t seed;
    /** k x d: the first codewords, copied; NULL = k-means of the first batch. */
    const float *seeds;
    int threads; /**< 0 = as many as OpenMP gives; never changes the result */
} vq_minibatch_opts;

#define VQ_MINIBATCH_OPTS_INIT                                                                     \
    {                                                                                              \
        sizeof(vq_minibatch_opts), 0, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32, 0, 0, 0, 0.0, 0.0, 0,     \
            NULL, 0                                                                                \
    }

/** MSEs are per dimension; under the cosine metric 2 - 2 x mean cosine, divided by d. */
typedef struct vq_minibatch_report {
    uint64_t batches;    /**< that had any weight */
    uint64_t rows;       /**< in all of them */
    int converged;       /**< 1 if the patience ran out */
    uint64_t reassigned; /**< codewords moved to a random row, over all batches */
    double batch_mse;    /**< of the last batch, before the codewords moved */
    double smoothed_mse; /**< its exponential moving average; NaN before the second batch */
    /** Of all rows under the returned codebook, after vq_minibatch_train(); else NaN. */
    double mse;
    /** Codewords that have rows: under the returned codebook after vq_minibatch_train(), of all that were
     *  counted so far after vq_minibatch_add(). */
    uint32_t used;
} vq_minibatch_report;

/** A training in progress. One thread at a time may use one. */
typedef struct vq_minibatch vq_minibatch;

/**
 * Begin, without rows.
 * @param[out] out owned by the caller, free with vq_minibatch_free().
 * @return VQ_OK, VQ_E_ARG (the sentence names the option), VQ_E_NONFINITE (seeds), VQ_E_NOMEM.
 */
VQ_API vq_status vq_minibatch_create(vq_minibatch **out, uint32_t d, const vq_minibatch_opts *opts);
VQ_API void vq_minibatch_free(vq_minibatch *minibatch);

/**
 * Learn from a batch. Without opts.seeds the first one chooses the first codewords and should have 3 k rows or more. A batch without
 * any weight changes nothing. On failure the state is as it was.
 * @param[out] report  NULL, or the state of the training after the batch.
 * @param      x       n x d, row-major, finite; a zero row counts for nothing under the cosine metric.
 * @param      weights n, finite, >= 0; NULL = all 1.
 * @return VQ_OK, VQ_E_ARG (also: a first batch of less than k rows), VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_minibatch_add(vq_minibatch *minibatch, vq_minibatch_report *report,
                                  const float *x, size_t n, const float *weights);

/** @return VQ_OK with a codebook of its own; VQ_E_ARG before the first batch; VQ_E_NONFINITE, VQ_E_NOMEM. */
VQ_API vq_status vq_minibatch_codebook(vq_codebook **out, const vq_minibatch *minibatch);

/**
 * Train a codebook on rows in memory. Batches are drawn with replacement; the first has 3 times as many rows, or 3 k. A last
 * pass over all rows measures the result.
 * @param[out] report  NULL, or what the training did.
 * @param      x       n x d, row-major, finite; borrowed.
 * @param      weights n, finite, >= 0, not all 0; NULL = all 1.
 * @return as vq_kmeans_train().
 */
VQ_API vq_status vq_minibatch_train(vq_codebook **out, vq_minibatch_report *report, const float *x,
                                    size_t n, uint32_t d, const float *weights,
                                    const vq_minibatch_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
