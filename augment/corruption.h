/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file augment/corruption.h
 * Mask-and-replace corruption of codes, the forward process of discrete diffusion (VQ-Diffusion: Gu et al. 2022; D3PM: Austin
 * et al. 2021). At each step a code stays with the probability keep, is drawn anew among all K with K x replace, and is
 * masked with mask; a masked code, which is the code K, stays masked.
 *
 * Any number of steps is one step of this shape: from the cumulative rates A_t (kept so far) and G_t (masked so far),
 * keep = A_t / A_s, mask = 1 - (1 - G_t) / (1 - G_s), replace = (1 - keep - mask) / K between the steps s < t, with A_0 = 1 and
 * G_0 = 0. So the marginal of a code x is, in closed form: itself A_t + B_t, any other one B_t, masked G_t, with
 * B_t = (1 - A_t - G_t) / K.
 */
#ifndef AUGMENT_CORRUPTION_H
#define AUGMENT_CORRUPTION_H

#include "augment/augment.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A schedule of rates. Immutable; may be used from many threads at once. */
typedef struct vq_corruption vq_corruption;

/** A_t and G_t go evenly from their first value, at step 1, to their last. The defaults are those of the VQ-Diffusion code, where
 *  nearly all is masking; its paper speaks of ends of keep 0, mask 0.9. */
typedef struct vq_corruption_opts {
    size_t struct_size; /**< sizeof(vq_corruption_opts) */
    uint32_t k;         /**< codes, 1 to 2^24, required; K itself is the mask */
    uint32_t steps;     /**< T, 2 to 1000000; 0 = 100 */
    double keep_first;  /**< A_1; 0 = 0.99999 */
    double keep_last;   /**< A_T, above 0; 0 = 0.000009 */
    double mask_first;  /**< G_1; 0 = 0.000009 */
    double mask_last;   /**< G_T; 0 = 0.99999 */
} vq_corruption_opts;

#define VQ_CORRUPTION_OPTS_INIT                                                                    \
    {                                                                                              \
        sizeof(vq_corruption_opts), 0, 0, 0.0, 0.0, 0.0, 0.0                                       \
    }

/**
 * Make a schedule.
 * @param[out] out owned by the caller, free with vq_corruption_free().
 * @return VQ_OK, VQ_E_ARG (also: rates of some step that are no probabilities; the sentence names it), VQ_E_NOMEM.
 */
VQ_API vq_status vq_corruption_create(vq_corruption **out, const vq_corruption_opts *opts);
VQ_API void vq_corruption_free(vq_corruption *corruption);
VQ_API uint32_t vq_corruption_k(const vq_corruption *corruption);
VQ_API uint32_t vq_corruption_steps(const vq_corruption *corruption);

/** keep + K x replace + mask = 1. */
typedef struct vq_corruption_rates {
    double keep, replace, mask;
} vq_corruption_rates;

/**
 * The rates between two steps: (0, t) is cumulative, (t - 1, t) one step, (t, t) none.
 * @param from, to 0 <= from <= to <= steps.
 * @return VQ_OK, VQ_E_ARG.
 */
VQ_API vq_status vq_corruption_between(vq_corruption_rates *out, const vq_corruption *corruption,
                                       uint32_t from, uint32_t to);

/**
 * Corrupt codes. Walking in several calls gives the same distribution as in one, but not the same codes.
 * @param[out] out   n codes, 0 to K; may be `codes`.
 * @param      codes n codes, 0 to K, as they are at step `from`; at most 2^32.
 * @param      from, to as above.
 * @param      draw  gives each (position, to) its numbers; another level of the same sample takes another seed.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (the sentence names the position; `out` is untouched).
 */
VQ_API vq_status vq_corrupt(uint32_t *out, const vq_corruption *corruption, const uint32_t *codes,
                            size_t n, uint32_t from, uint32_t to, vq_draw draw);

/**
 * The posterior q(x at step - 1 | x at step, x at 0) of one code, which a model of diffusion learns to predict.
 * @param[out] out  K + 1 probabilities, which add up to 1.
 * @param      now  the code at `step`, 0 to K.
 * @param      origin the code at step 0, below K.
 * @param      step 1 to steps.
 * @return VQ_OK, VQ_E_ARG (also: `now` cannot come of `origin`), VQ_E_RANGE.
 */
VQ_API vq_status vq_corruption_posterior(double *out, const vq_corruption *corruption, uint32_t now,
                                         uint32_t origin, uint32_t step);

#ifdef __cplusplus
}
#endif
#endif
