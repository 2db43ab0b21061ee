/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/gradients.h
 * Gradients through a quantizer, as pairs of a forward and a backward function: what a learned codec needs around the
 * search, which has no derivative. Rows are n x d, row-major, finite. Every backward function adds to the gradients that it is
 * given, so set them to 0 first. Nothing here allocates; sums are in double, in the order of rows, so results are
 * the same on every machine.
 */
#ifndef VQ_GRADIENTS_H
#define VQ_GRADIENTS_H

#include <stddef.h>
#include <stdint.h>

#include "vq/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How a gradient at the quantized rows q becomes one at the rows x that were quantized. */
typedef enum vq_estimator {
    /** dL/dx = dL/dq (Bengio, Leonard and Courville 2013; van den Oord and others 2017). */
    VQ_ESTIMATOR_STRAIGHT_THROUGH = 0,
    /**
     * The rotation trick (Fifty and others 2024, "Restructuring Vector Quantization with the Rotation Trick"): q is taken
     * as a fixed rotation and scaling of x. With e = x/|x|, f = q/|q|, s = |q|/|x| and r the unit vector of
     * e + f, dL/dx = s (g - 2 r (r.g) + 2 e (f.g)), g = dL/dq. Where x = 0 there is no rotation: straight
     * through. Where f = -e, r is 0. s grows without bound as x goes to 0.
     */
    VQ_ESTIMATOR_ROTATION = 1
} vq_estimator;

/**
 * What the decoder sees: q itself, to the bit, whatever the estimator.
 * @param[out] out n x d; may be q.
 * @param      x   not read: the value is q's, only the derivative is x's.
 */
VQ_API void vq_estimate_forward(float *out, const float *x, const float *q, size_t n, size_t d,
                                vq_estimator estimator);
/**
 * @param[in,out] grad_x   n x d: dL/dx is added.
 * @param         grad_out n x d: dL/dq.
 */
VQ_API void vq_estimate_backward(float *grad_x, const float *grad_out, const float *x,
                                 const float *q, size_t n, size_t d, vq_estimator estimator);

/**
 * Weights of the two halves of the loss between rows and their codewords, named for what each pulls:
 *     codebook mean (sg(x) - q)^2 + commitment mean (x - sg(q))^2,  means over n x d, sg = no gradient.
 * Published codes differ in which of the two has the weight 0.25; here it is the commitment, as in the paper of 2017.
 */
typedef struct vq_loss_weights {
    double codebook;   /**< pulls the codewords to the rows; usually 1 */
    double commitment; /**< pulls the rows to the codewords; usually 0.25 */
} vq_loss_weights;

#define VQ_LOSS_WEIGHTS_PUBLISHED                                                                  \
    {                                                                                              \
        1.0, 0.25                                                                                  \
    }

/** @return the loss; 0 for no rows. */
VQ_API double vq_loss_forward(const float *x, const float *q, size_t n, size_t d,
                              const vq_loss_weights *weights);
/**
 * @param[in,out] grad_x n x d or NULL: commitment x 2 (x - q) / (n d) x scale is added.
 * @param[in,out] grad_q n x d or NULL: codebook x 2 (q - x) / (n d) x scale is added.
 * @param         scale  dL/d(this loss); 1 if it is all there is.
 */
VQ_API void vq_loss_backward(float *grad_x, float *grad_q, const float *x, const float *q, size_t n,
                             size_t d, const vq_loss_weights *weights, double scale);

/** Rows of a codebook by their codes. @param[out] q n x d. @param codes n, each below K. */
VQ_API void vq_lookup_forward(float *q, const float *codewords, const uint32_t *codes, size_t n,
                              size_t d);
/** @param[in,out] grad_codewords K x d: the rows of grad_q are added, in order, to those of their codes. */
VQ_API void vq_lookup_backward(float *grad_codewords, const float *grad_q, const uint32_t *codes,
                               size_t n, size_t d);

/** The codewords of SimVQ: q W + b as in vq/simvq.h. @param[out] codewords k x d. @param bias d or NULL. */
VQ_API void vq_simvq_forward(float *codewords, const float *basis, const float *map,
                             const float *bias, size_t k, uint32_t r, uint32_t d, int threads);
/**
 * @param[in,out] grad_map   r x d or NULL: basis' grad_codewords is added.
 * @param[in,out] grad_bias  d or NULL: the sum of the rows of grad_codewords is added.
 * @param[in,out] grad_basis k x r or NULL: grad_codewords map' is added.
 * @param         threads    0 = as many as OpenMP gives; never changes the result.
 */
VQ_API void vq_simvq_backward(float *grad_map, float *grad_bias, float *grad_basis,
                              const float *grad_codewords, const float *basis, const float *map,
                              size_t k, uint32_t r, uint32_t d, int threads);

#ifdef __cplusplus
}
#endif
#endif
