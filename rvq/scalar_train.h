/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/scalar_train.h
 * Scalar quantizers for features that no encoder was trained for: a linear map into the code space and one back, both found
 * from the data. With an encoder of its own, use vq/scalar.h and train the encoder.
 */
#ifndef RVQ_SCALAR_TRAIN_H
#define RVQ_SCALAR_TRAIN_H

#include <stddef.h>
#include <stdint.h>

#include "rvq/projected.h"
#include "vq/scalar.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vq_scalar_kind {
    VQ_SCALAR_FSQ = 0,
    VQ_SCALAR_LFQ = 1,
    VQ_SCALAR_BSQ = 2
} vq_scalar_kind;

/** All zero = all defaults. */
typedef struct vq_scalar_train_opts {
    size_t struct_size; /**< sizeof(vq_scalar_train_opts) */
    vq_scalar_kind kind;
    uint32_t k; /**< codes of a level: FSQ at most so many, others exactly, a power of 2; 0 = 256 */
    uint32_t levels; /**< 0 = 1; a later one takes components of less variance */
    const uint32_t
        *bins; /**< FSQ: bin_count bins of each level's numbers, the largest variance first; NULL =
                               chosen to make the error small, their product being at most k */
    uint32_t bin_count;
    vq_fsq_bound bound;  /**< FSQ */
    uint32_t iterations; /**< LFQ and BSQ: of the rotation; 0 = 25 */
    uint64_t seed;       /**< LFQ and BSQ: of the first rotation */
    int threads;         /**< 0 = as many as OpenMP gives; never changes the result */
} vq_scalar_train_opts;

#define VQ_SCALAR_TRAIN_OPTS_INIT                                                                  \
    {                                                                                              \
        sizeof(vq_scalar_train_opts), VQ_SCALAR_FSQ, 0, 0, NULL, 0, VQ_FSQ_TANH, 0, 0, 0           \
    }

/**
 * Make a projected quantizer with a scalar one inside. Into the code space go the principal components of the rows: for
 * FSQ each scaled so that its error is smallest, for LFQ and BSQ turned so that their signs say most (iterative
 * quantization, Gong and Lazebnik 2011). The map back is the least squares of the rows on their decoded codes. At
 * most 2^17 rows are used, an even sample. The same result, bit for bit, for any number of threads.
 * @param x n x d, row-major, finite; borrowed.
 * @return VQ_OK; VQ_E_ARG (the sentence names the field; also more components than d); VQ_E_NONFINITE; VQ_E_NOMEM.
 */
VQ_API vq_status vq_scalar_train(vq_quantizer **out, const float *x, size_t n, uint32_t d,
                                 const vq_scalar_train_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
