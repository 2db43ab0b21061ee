/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/codebook.h
 * A flat codebook and the search for the nearest of its codewords.
 *
 * The contract of the search, which every kernel and every thread count keeps: the portable C kernel
 * computes, in float32 without contraction, eight strided partial sums, each begun at +0,
 * p[j] = sum over i = j mod 8 in rising i of t(i), then ((p0+p4) + (p2+p6)) + ((p1+p5) + (p3+p7)), where
 * t(i) is (x[i]-c[i])^2 for the Euclidean metric and x[i]*c[i] for cosine and dot. The code is the one of
 * smallest Euclidean or largest cosine/dot score; equal scores go to the lowest code. A score that
 * overflowed to a NaN never wins, and where every score overflowed the code is 0.
 */
#ifndef VQ_CODEBOOK_H
#define VQ_CODEBOOK_H

#include <stddef.h>
#include <stdint.h>

#include "vq/status.h"
#include "vq/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How "nearest" is meant. The numbers are stored in files. */
typedef enum vq_metric {
    VQ_METRIC_EUCLIDEAN = 0, /**< smallest |x - c|^2 */
    VQ_METRIC_COSINE = 1, /**< largest x.c / |c|; codewords are scaled to unit length when made */
    VQ_METRIC_DOT = 2     /**< largest x.c (IBQ, maximum inner product) */
} vq_metric;

/** @return "euclidean", "cosine", "dot"; "?" otherwise. Static storage. */
VQ_API const char *vq_metric_name(vq_metric metric);

/** K codewords of d floats with what the search prepares once. Immutable; many threads may use one. */
typedef struct vq_codebook vq_codebook;

/**
 * Make a codebook.
 * @param[out] out       owned by the caller, free with vq_codebook_free().
 * @param      codewords k x d, row-major, finite; copied.
 * @param      k, d      at least 1, K at most 2^24.
 * @param      storage   VQ_DTYPE_F32, _F16 or _BF16: the codewords are rounded to it now, so that a
 *                       codebook saved in that type is the same codebook when it is loaded.
 * @return VQ_OK, VQ_E_ARG (also: a zero codeword under the cosine metric), VQ_E_NONFINITE (also: a
 *         codeword that overflows the storage type), VQ_E_NOMEM.
 */
VQ_API vq_status vq_codebook_create(vq_codebook **out, const float *codewords, uint32_t k,
                                    uint32_t d, vq_metric metric, vq_dtype storage);
VQ_API void vq_codebook_free(vq_codebook *codebook);

VQ_API uint32_t vq_codebook_k(const vq_codebook *codebook);
VQ_API uint32_t vq_codebook_dim(const vq_codebook *codebook);
VQ_API vq_metric vq_codebook_metric(const vq_codebook *codebook);
VQ_API vq_dtype vq_codebook_storage(const vq_codebook *codebook);
/** @return the codewords as the search uses them, k x d, row-major; borrowed. */
VQ_API const float *vq_codebook_codewords(const vq_codebook *codebook);

/** How a search runs; none of it changes the codes. NULL means all defaults. */
typedef struct vq_search_opts {
    size_t struct_size; /**< sizeof(vq_search_opts) */
    int threads;        /**< 0 = as many as OpenMP gives */
    int exhaustive;     /**< 1 = the contract kernel on every codeword: the reference, slow */
    void *workspace; /**< vq_nearest_workspace() bytes, 64-byte aligned; NULL = allocate per call */
    size_t workspace_size; /**< bytes at workspace */
} vq_search_opts;

#define VQ_SEARCH_OPTS_INIT                                                                        \
    {                                                                                              \
        sizeof(vq_search_opts), 0, 0, NULL, 0                                                      \
    }

/** The most codes that vq_nearest_k() gives for a vector. */
#define VQ_NEAREST_K_MAX 64

/**
 * @return the bytes of workspace with which vq_nearest() allocates nothing for up to n vectors and
 * `threads` (0 = default): at most about 110 KiB + 500 d bytes per thread.
 */
VQ_API size_t vq_nearest_workspace(const vq_codebook *codebook, size_t n, int threads);
/** The same for vq_nearest_k() with `count` codes for each vector. */
VQ_API size_t vq_nearest_k_workspace(const vq_codebook *codebook, size_t n, uint32_t count,
                                     int threads);

/**
 * The nearest codeword of each vector.
 * @param[out] codes  n codes.
 * @param[out] scores n contract scores (squared distance, or dot product with the codeword), or NULL.
 * @param      x      n x d, row-major, finite; n may be 0.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE (the sentence names the row), VQ_E_NOMEM.
 */
VQ_API vq_status vq_nearest(uint32_t *codes, float *scores, const vq_codebook *codebook,
                            const float *x, size_t n, const vq_search_opts *opts);

/**
 * The `count` nearest codewords of each vector, best first by the same contract: column j is the (j+1)-th nearest.
 * Codes whose scores overflowed come last, lowest first.
 * @param[out] codes  n x count, row-major.
 * @param[out] scores n x count contract scores, or NULL.
 * @param      count  1 to VQ_NEAREST_K_MAX, at most K.
 * @return as vq_nearest().
 */
VQ_API vq_status vq_nearest_k(uint32_t *codes, float *scores, const vq_codebook *codebook,
                              const float *x, size_t n, uint32_t count, const vq_search_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
