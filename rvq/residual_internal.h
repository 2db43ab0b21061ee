/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/residual_internal.h  What training and the list of kinds need of the residual quantizer. */
#ifndef RVQ_RESIDUAL_INTERNAL_H
#define RVQ_RESIDUAL_INTERNAL_H

#include "rvq/residual.h"
#include "vq/quantizer_internal.h"

extern const vqi_quantizer_kind vqi_residual_kind;

/** As vq_residual_create(), but the codebooks stay the caller's and must outlive the quantizer. */
vq_status vqi_residual_view(vq_quantizer **out, vq_codebook *const *codebooks, uint32_t levels);

/** residual -= the codeword of each row: the one subtraction that encoding and training share. */
void vqi_residual_subtract(float *residual, const vq_codebook *codebook, const uint32_t *codes,
                           size_t n, int threads);

#endif
