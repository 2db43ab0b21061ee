/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/kmeans_sketch_internal.h
 * Short vectors whose distances are lower bounds of the long ones', so that seeding can pass over a pair
 * of rows without touching them: the coordinates along the few directions in which the rows vary most,
 * and the length of what those leave out.
 */
#ifndef VQ_KMEANS_SKETCH_INTERNAL_H
#define VQ_KMEANS_SKETCH_INTERNAL_H

#include <math.h>

#include "vq/kmeans_internal.h"

enum { VQI_SKETCH_SIZE = 8 };

typedef struct vqi_sketcher {
    double *mean; /* d */
    double
        *axes; /* d x VQI_SKETCH_SIZE, the last column unused: orthonormal columns, or zero ones */
    uint32_t d;
} vqi_sketcher;

/** Find the directions, from a sample of the rows. */
vq_status vqi_sketcher_create(vqi_sketcher *sketcher, const vqi_kmeans *run);
void vqi_sketcher_clear(vqi_sketcher *sketcher);

/** The sketch of a row. If E bounds the length of every sketch, then for any two rows the distance of
 *  their sketches is at most their own distance plus vqi_sketch_slack(E, d). */
void vqi_sketch(float *sketch, const vqi_sketcher *sketcher, const float *row);

/** Each part is rounded to float32, and the last is the root of a difference of sums of d squares. */
static inline float vqi_sketch_slack(float longest, uint32_t d)
{
    return longest * (0x1p-19f + sqrtf((float)d) * 0x1p-24f);
}

#endif
