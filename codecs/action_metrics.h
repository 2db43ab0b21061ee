/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/action_metrics.h
 * How far decoded actions are from the original ones, dimension by dimension.
 */
#ifndef CODECS_ACTION_METRICS_H
#define CODECS_ACTION_METRICS_H

#include "vq/dimensions.h"
#include "vq/signal.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vq_action_error {
    double rmse, largest; /**< in the user's units */
    double rmse_mapped,
        largest_mapped; /**< of values mapped to [-1, 1] by the ranges; 0 for a constant dimension */
    double jerk_original,
        jerk_decoded; /**< root mean square of the third difference from step to step, in the user's units; episodes
                                           apart. Times rate^3 it is the jerk; more than the original's is roughness */
} vq_action_error;

/**
 * Compare two actions of one shape.
 * @param[out] out D places.
 * @param      ranges D dimensions with a scale, or NULL: fitted to the original.
 * @return VQ_OK, VQ_E_ARG (not actions, other shapes), VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_action_compare(vq_action_error *out, const vq_signal *original,
                                   const vq_signal *decoded, const vq_dimensions *ranges);

#ifdef __cplusplus
}
#endif
#endif
