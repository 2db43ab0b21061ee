/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/mdct_internal.h
 * The modified discrete cosine transform (Princen, Johnson and Bradley 1987), orthonormal: a window of 2 N samples gives N
 * coefficients, windows are N samples apart. By a Fourier transform of N / 2 points.
 *
 *     X[k] = sqrt(2 / N) sum over j < 2 N of w[j] x[j] cos(pi / N (j + 1/2 + N/2) (k + 1/2))
 *
 * With a window that keeps w[j]^2 + w[j + N]^2 = 1 and w[j] = w[2 N - 1 - j], the windowed inverses of successive windows add
 * up to the signal.
 */
#ifndef CODECS_MDCT_INTERNAL_H
#define CODECS_MDCT_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "codecs/fourier_internal.h"

/** The largest N. */
enum { VQI_MDCT_MAX = 4096 };

typedef struct vqi_mdct {
    uint32_t n; /**< N, a multiple of 4 */
    vqi_fourier *fourier;
    float *window; /**< 2 N */
    float *
        twiddle; /**< N / 2 pairs: the cosine and the sine of pi (j + 1/8) / N, times (2 / N)^(1/4) */
} vqi_mdct;

/** @param window 2 n values, copied. @return VQ_OK, VQ_E_ARG (n), VQ_E_NOMEM. Clear a struct in either case. */
vq_status vqi_mdct_create(vqi_mdct *out, uint32_t n, const float *window);
void vqi_mdct_clear(vqi_mdct *mdct);

/** Floats of scratch that one call needs. */
static inline size_t vqi_mdct_scratch(uint32_t n)
{
    return 3 * (size_t)n;
}

/** N coefficients of 2 N samples x. */
void vqi_mdct_forward(float *coefficients, const vqi_mdct *mdct, const float *x, float *scratch);
/** x[j] += the windowed inverse, 2 N of them. */
void vqi_mdct_inverse_add(float *x, const vqi_mdct *mdct, const float *coefficients,
                          float *scratch);

#endif
