/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/projected_internal.h  What the list of kinds needs of the projected quantizer. */
#ifndef RVQ_PROJECTED_INTERNAL_H
#define RVQ_PROJECTED_INTERNAL_H

#include "rvq/projected.h"
#include "vq/quantizer_internal.h"

extern const vqi_quantizer_kind vqi_projected_kind;

/** Training: replace the map back (d x m) and its bias (d) of a quantizer that nobody else has yet. */
void vqi_projected_set_back(vq_quantizer *q, const float *back, const float *back_bias);

#endif
