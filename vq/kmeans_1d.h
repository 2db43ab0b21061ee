/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/kmeans_1d.h
 * k-means of numbers, exactly: the codebook of least MSE that there is, not one that an iteration ended at.
 *
 * In one dimension the cells of a best codebook are intervals. With a price on each cell the best ones are a
 * shortest path; the price is sought at which that path has K cells, and where it jumps past K two paths are
 * spliced (Aggarwal, Schieber and Tokuyama 1994; Gronlund, Larsen, Mathiasen, Nielsen, Schneider and Song 2017,
 * "Fast Exact k-Means, k-Medians and Bregman Divergence Clustering in 1D"). Ten paths or so are enough for any
 * K, and one takes time in proportion to the number of distinct values.
 */
#ifndef VQ_KMEANS_1D_H
#define VQ_KMEANS_1D_H

#include <stddef.h>
#include <stdint.h>

#include "vq/codebook.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Train the best codebook of K numbers. Memory: 16 n bytes and 100 bytes for each distinct value.
 * The codewords rise. Of several codebooks that are equally good it is always the same one. With fewer than k
 * distinct values, all of them are codewords and the spare ones repeat the largest.
 * The values are centred, and summed in twice the precision of double: an offset that float32 can hold costs nothing.
 *
 * @param[out] out     owned by the caller, free with vq_codebook_free(): d = 1, Euclidean, float32.
 * @param[out] mse     NULL, or the (weighted) MSE of the x under the codebook that was returned.
 * @param      x       n numbers, finite; borrowed.
 * @param      weights n, finite, >= 0, not all 0; NULL = all 1.
 * @param      k       1 to n, at most 2^24.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_kmeans_1d(vq_codebook **out, double *mse, const float *x, size_t n,
                              const float *weights, uint32_t k);

#ifdef __cplusplus
}
#endif
#endif
