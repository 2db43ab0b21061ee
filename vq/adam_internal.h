/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/adam_internal.h  Adam (Kingma and Ba 2015, algorithm 1) on an array of float32. */
#ifndef VQ_ADAM_INTERNAL_H
#define VQ_ADAM_INTERNAL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vqi_adam_rates {
    double rate, beta1, beta2, epsilon;
} vqi_adam_rates;

/** One step. @param first, second the moments, 0 before step 1. @param step from 1. */
static inline void vqi_adam_step(float *values, const float *gradient, float *first, float *second,
                                 size_t count, const vqi_adam_rates *rates, uint64_t step)
{
    /* Powers by squaring, so that no pow() of some machine's own is asked. */
    double power1 = 1, power2 = 1, b1 = rates->beta1, b2 = rates->beta2;
    for (uint64_t s = step; s; s >>= 1) {
        power1 *= s & 1 ? b1 : 1;
        power2 *= s & 1 ? b2 : 1;
        b1 *= b1;
        b2 *= b2;
    }
    const float keep1 = (float)rates->beta1, new1 = (float)(1 - rates->beta1);
    const float keep2 = (float)rates->beta2, new2 = (float)(1 - rates->beta2);
    const float root = (float)sqrt(1 - power2), epsilon = (float)rates->epsilon;
    const float size = (float)(rates->rate / (1 - power1));
    for (size_t i = 0; i < count; i++) {
        first[i] = keep1 * first[i] + new1 * gradient[i];
        second[i] = keep2 * second[i] + new2 * (gradient[i] * gradient[i]);
        values[i] -= size * first[i] / (sqrtf(second[i]) / root + epsilon);
    }
}

#endif
