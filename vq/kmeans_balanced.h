/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/kmeans_balanced.h
 * Balanced k-means: every codeword gets an equal share of the rows, or nearly (the problem of Malinen and
 * Franti 2014, "Balanced K-Means for Clustering"; of Banerjee and Ghosh 2006, "Scalable Clustering Algorithms
 * with Balancing Constraints"). For what needs cells of one size: lists that are searched one at a time, shared rows
 * of an output layer, experts.
 *
 * Two cells of given sizes are divided in the best way by the order of |x - a|^2 - |x - b|^2, a and b being
 * their means: the rows of the lowest differences go to a. The rows are halved so, again and again, into K
 * equal cells; then, in sweeps, each cell is divided anew with each of its nearest neighbours. No division
 * raises the error and all keep the sizes, so it ends where no two neighbours can gain by an exchange.
 *
 * A new row that takes its nearest codeword knows nothing of sizes: the report says how uneven that is.
 * Bit-identical for any number of threads and any SIMD path; nothing is random.
 */
#ifndef VQ_KMEANS_BALANCED_H
#define VQ_KMEANS_BALANCED_H

#include <stddef.h>
#include <stdint.h>

#include "vq/codebook.h"

#ifdef __cplusplus
extern "C" {
#endif

/** All zero = all defaults, but k. */
typedef struct vq_balanced_opts {
    size_t struct_size; /**< sizeof(vq_balanced_opts) */
    uint32_t k;         /**< codewords, required, 1 to n */
    vq_dtype storage;   /**< of the resulting codebook: F32, F16, BF16 */
    /** Cells have ceil(n / k) rows or up to slack x n / k more, and floor(n / k) or as many less, but one at
     *  least. 0 = as equal as can be; 0.1 lowers the error for little. */
    double slack;
    uint32_t max_sweeps; /**< 0 = 30 */
    uint32_t neighbours; /**< with which a cell exchanges rows; 0 = 8, at most 63 */
    /** Stop when a sweep lowers the MSE by a smaller share. 0 = 1e-4; negative = when nothing changes. */
    double tolerance;
    int threads; /**< 0 = as many as OpenMP gives; never changes the result */
    /** Called after every sweep; not 0 = stop: VQ_E_CANCELLED. */
    int (*progress)(void *context, uint32_t sweeps, double mse);
    void *progress_context;
} vq_balanced_opts;

#define VQ_BALANCED_OPTS_INIT                                                                      \
    {                                                                                              \
        sizeof(vq_balanced_opts), 0, VQ_DTYPE_F32, 0.0, 0, 0, 0.0, 0, NULL, NULL                   \
    }

/** MSEs are per dimension and of the codebook that was returned. */
typedef struct vq_balanced_report {
    uint32_t sweeps;
    int converged;          /**< 1 if the tolerance, 0 if the limit ended it */
    size_t smallest;        /**< rows of the smallest cell */
    size_t largest;         /**< rows of the largest cell */
    double balance;         /**< largest / (n / k): 1 is perfect */
    double mse;             /**< of each row from the codeword of its cell */
    double nearest_mse;     /**< of each row from its nearest codeword: at most `mse` */
    double nearest_balance; /**< as `balance`, if each row took its nearest codeword */
} vq_balanced_report;

/**
 * Train a codebook of equal shares. Memory beyond x: 24 bytes a row while they are halved, then 4 bytes for each place in
 * cells of the largest size, and 16 k d bytes.
 * @param[out] out    owned by the caller on VQ_OK, free with vq_codebook_free(); Euclidean.
 * @param[out] codes  NULL, or n: the cell of each row, of equal sizes; mostly but not always its nearest codeword.
 * @param[out] report NULL, or what the training did.
 * @param      x      n x d, row-major, finite; borrowed. n is below 2^32.
 * @return VQ_OK; VQ_E_ARG (n < k, d = 0, a bad option: the sentence names it); VQ_E_NONFINITE (rows, or squared
 *         distances that overflow float32); VQ_E_NOMEM; VQ_E_CANCELLED.
 */
VQ_API vq_status vq_kmeans_balanced(vq_codebook **out, uint32_t *codes, vq_balanced_report *report,
                                    const float *x, size_t n, uint32_t d,
                                    const vq_balanced_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
