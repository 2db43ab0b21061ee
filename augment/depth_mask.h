/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file augment/depth_mask.h
 * Masks over the depth of residual tokens (ResGen: Kim et al. 2024, "Efficient Generative Modeling with Residual Vector
 * Quantization-Based Tokens"): a number of codes is spread over the positions, and each position loses its deepest ones. What a
 * model is to predict is the sum of the masked codes' embeddings, whatever their number.
 */
#ifndef AUGMENT_DEPTH_MASK_H
#define AUGMENT_DEPTH_MASK_H

#include "augment/augment.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Draw how many levels each position keeps. The masked codes are spread as if drawn one by one, without putting back, from
 * all codes of all positions (multivariate hypergeometric). ResGen masks ceil(cos(pi r / 2) x levels x positions), r uniform in [0, 1).
 * @param[out] visible   positions numbers, 0 to levels: the first so many levels are seen; they add up to levels x positions - masked.
 * @param      positions at most 2^32; levels: 1 to VQ_MAX_LEVELS.
 * @param      masked    0 to levels x positions.
 * @return VQ_OK, VQ_E_ARG.
 */
VQ_API vq_status vq_depth_mask_draw(uint32_t *visible, size_t positions, uint32_t levels,
                                    uint64_t masked, vq_draw draw);

/**
 * Codes with what is masked written as K of the level.
 * @param[out] codes   levels x positions, laid out as tokens->codes; may be that.
 * @param      visible of each position, at most tokens->levels.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (a code).
 */
VQ_API vq_status vq_depth_mask_apply(uint32_t *codes, const vq_tokens *tokens,
                                     const uint32_t *visible);

/**
 * What is seen and what is to be predicted: the sums of the embeddings of the visible levels and of the masked ones, as
 * vq_residual_sum() adds them; zeros where there are none.
 * @param[out] seen, masked  positions x d each; either may be NULL.
 * @param      quantizer     residual, of as many levels as the tokens or more, of the same K.
 * @return VQ_OK, VQ_E_ARG (also: another kind), VQ_E_RANGE.
 */
VQ_API vq_status vq_depth_mask_sums(float *seen, float *masked, const vq_quantizer *quantizer,
                                    const vq_tokens *tokens, const uint32_t *visible);

#ifdef __cplusplus
}
#endif
#endif
