/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/online.h
 * A codebook that learns while something else does: updates for use inside a training loop, by exponential moving
 * averages (van den Oord, Vinyals and Kavukcuoglu 2017, "Neural Discrete Representation Learning",
 * appendix A.1). Each update searches the code of every row of a batch, of which n_i and s_i are the count and
 * the sum of the rows of code i, and then, with the decay g,
 *
 *     N_i <- g N_i + (1 - g) n_i        m_i <- g m_i + (1 - g) s_i        N = sum of N_i
 *     c_i <- m_i / (N (N_i + e) / (N + K e))     for every code that has a row in the batch.
 *
 * A code without a row keeps its codeword, as in the paper; smoothing it too would draw it to the origin. Under the cosine
 * metric rows count as unit vectors and c_i is m_i / |m_i|.
 *
 * A code is dead when its share N_i / N is below `threshold` / K in `patience` updates in a row. It then moves
 * to a row of the batch, codeword and statistics together (else the next update would take it back), and
 * begins as a code of average use. The threshold is a share of even use, so it means the same for
 * every K and batch size.
 *
 * The state is bit-identical for any number of threads and any SIMD path, and after a save and a load.
 */
#ifndef VQ_ONLINE_H
#define VQ_ONLINE_H

#include <stddef.h>
#include <stdint.h>

#include "vq/codebook.h"
#include "vq/limits.h"
#include "vq/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Codewords, their statistics, and what an update needs. One thread at a time may use one. */
typedef struct vq_online vq_online;

/** All zero = all defaults. */
typedef struct vq_online_opts {
    size_t struct_size; /**< sizeof(vq_online_opts) */
    double decay;       /**< g, below 1; 0 = 0.99; negative = none: each batch starts afresh */
    double epsilon;     /**< e, in rows; 0 = 1e-5; negative = no smoothing */
    /** Share of even use below which a code is dying, at most 1. 0 = 0.03; negative = codes never die. */
    double threshold;
    uint32_t patience; /**< updates in a row below it until a code is dead; 0 = 10 */
    uint64_t seed;     /**< of the rows to which dead codes move */
} vq_online_opts;

#define VQ_ONLINE_OPTS_INIT                                                                        \
    {                                                                                              \
        sizeof(vq_online_opts), 0.0, 0.0, 0.0, 0, 0                                                \
    }

/** What one update did. The MSE and the codes used are those of the codebook before it. */
typedef struct vq_online_report {
    uint64_t updates; /**< since creation, this one included */
    /** Of the batch, per dimension; 2 - 2 x mean cosine, divided by d, under cosine. */
    double mse;
    uint32_t used;     /**< codes that have a row in the batch */
    uint32_t dying;    /**< codes below the threshold, those just revived left out */
    uint32_t revived;  /**< codes moved to a row of the batch */
    double perplexity; /**< 2^entropy of the shares N_i / N, before codes were revived */
} vq_online_report;

/**
 * Begin with a codebook.
 * @param[out] out      owned by the caller, free with vq_online_free().
 * @param      codebook Euclidean or cosine; copied. All its codes begin with even use, their statistics at their codewords.
 * @return VQ_OK, VQ_E_ARG (a bad option: the sentence names it; the metric dot), VQ_E_NOMEM.
 */
VQ_API vq_status vq_online_create(vq_online **out, const vq_codebook *codebook,
                                  const vq_online_opts *opts);
/**
 * Begin with k-means of a first batch: vq_kmeans_train() with opts->seed and 10 iterations. The batch is not yet counted as
 * an update.
 * @param x       n x d, row-major, finite, n at least k.
 * @param weights n, finite, >= 0, not all 0; NULL = all 1.
 * @return as vq_online_create(), and as vq_kmeans_train().
 */
VQ_API vq_status vq_online_create_from_batch(vq_online **out, const float *x, size_t n, uint32_t d,
                                             const float *weights, uint32_t k, vq_metric metric,
                                             const vq_online_opts *opts);
VQ_API void vq_online_free(vq_online *online);

/**
 * Learn from one batch. A batch without any weight (n = 0, all masked) changes nothing and is no update.
 * On failure the state is as it was before.
 * @param[out] codes   NULL, or n: the code of each row in the codebook before the update.
 * @param[out] report  NULL, or what the update did.
 * @param      x       n x d, row-major, finite. Under the cosine metric of any length; a zero row takes code 0
 *                     and counts for nothing.
 * @param      weights n, finite, >= 0; NULL = all 1. A row of weight 0 (padding) counts for nothing.
 * @param      threads 0 = as many as OpenMP gives; never changes the result.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_online_update(vq_online *online, uint32_t *codes, vq_online_report *report,
                                  const float *x, size_t n, const float *weights, int threads);

/** @return the codebook as it is now, float32; borrowed, valid until the next update. */
VQ_API const vq_codebook *vq_online_codebook(const vq_online *online);
/** @return N_i of each of the K codes, borrowed, valid until the next update; all 1 before the first. */
VQ_API const double *vq_online_counts(const vq_online *online);
/**
 * A codebook of its own, that later updates do not change.
 * @param storage F32, F16 or BF16.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE (overflows the storage type), VQ_E_NOMEM.
 */
VQ_API vq_status vq_online_snapshot(vq_codebook **out, const vq_online *online, vq_dtype storage);

/**
 * Add the whole state to a set, options included: the arrays prefix + "codewords" (F32), "counts" and "sums" (F64),
 * "dying" (U32) and "rates" (F64), and settings. What is loaded from it goes on bit for bit.
 * @return VQ_OK, VQ_E_ARG (names taken, prefix too long), VQ_E_NOMEM.
 */
VQ_API vq_status vq_online_save(vq_tensors *tensors, const vq_online *online, const char *prefix);
/**
 * Make what vq_online_save() described.
 * @param limits of K and d; NULL for the defaults.
 * @return VQ_OK, VQ_E_FORMAT, VQ_E_VERSION, VQ_E_LIMIT, VQ_E_NONFINITE, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_online_load(vq_online **out, const vq_tensors *tensors, const char *prefix,
                                const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
