/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/projected.h
 * A quantizer behind a projection: vectors of d numbers go by a linear map into a code space of m numbers, are quantized
 * there, and come back by another ("factorised codes" of ViT-VQGAN, Yu et al. 2022). With a flat codebook of
 * cosine metric inside, the codes are unit vectors.
 */
#ifndef RVQ_PROJECTED_H
#define RVQ_PROJECTED_H

#include <stdint.h>

#include "vq/quantizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The most dimensions of a code space. */
enum { VQ_PROJECTED_MAX_DIM = 4096 };

/**
 * Make a projected quantizer, kind "projected": encode(x) = inner(A x + a), decode(codes) = B inner(codes) + b. Sums are in
 * the order of vq/codebook.h, so that codes are the same everywhere; the levels are those of the inner quantizer, which also measures the errors that beam
 * and lambda of vq_quantize_opts weigh: in the code space.
 * @param inner of m dimensions, at most VQ_PROJECTED_MAX_DIM; owned by the quantizer on VQ_OK, left to the caller otherwise.
 * @param d     dimensions of the vectors, at least 1.
 * @param in    A, m x d, row-major, finite; copied.
 * @param in_bias  a, m, finite; copied. NULL = zeros.
 * @param back  B, d x m, row-major, finite; copied.
 * @param back_bias b, d, finite; copied. NULL = zeros.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_projected_create(vq_quantizer **out, vq_quantizer *inner, uint32_t d,
                                     const float *in, const float *in_bias, const float *back,
                                     const float *back_bias);

/** @return the quantizer of the code space, borrowed; NULL if the quantizer is of another kind. */
VQ_API const vq_quantizer *vq_projected_inner(const vq_quantizer *quantizer);

#ifdef __cplusplus
}
#endif
#endif
