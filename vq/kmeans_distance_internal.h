/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/kmeans_distance_internal.h  The squared distance of two vectors, for seeding. */
#ifndef VQ_KMEANS_DISTANCE_INTERNAL_H
#define VQ_KMEANS_DISTANCE_INTERNAL_H

#include <stdint.h>

/**
 * The contract's squared distance (vq/codebook.h) if it is below `bound`; else a number that is not.
 * The partial sums only grow, in float arithmetic too, so the kernel may stop as soon as they reach it.
 */
typedef float vqi_distance_fn(const float *x, const float *c, uint32_t d, float bound);

/** @return the fastest kernel that the CPU mask allows; all give the same bits below `bound`. */
vqi_distance_fn *vqi_distance_kernel(void);

#endif
