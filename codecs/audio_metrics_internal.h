/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODECS_AUDIO_METRICS_INTERNAL_H
#define CODECS_AUDIO_METRICS_INTERNAL_H

#include "codecs/audio_metrics.h"
#include "codecs/fourier_internal.h"

/** Power spectra of windowed pieces of a sound. */
typedef struct vqi_spectrum {
    vqi_fourier *fourier;
    uint32_t window, points; /**< samples of a piece; points of the transform, at least as many */
    float *weights;          /**< window */
    float *in, *out;         /**< points complex numbers each */
} vqi_spectrum;

/** A periodic Hann window over `window` samples (0.5 - 0.5 cos(2 pi i / window)), or with `symmetric` Matlab's, whose first and
 *  last weight are not 0. */
vq_status vqi_spectrum_init(vqi_spectrum *spectrum, uint32_t window, uint32_t points,
                            int symmetric);
void vqi_spectrum_clear(vqi_spectrum *spectrum);
/** |X|^2 of `count` samples (the rest are zeros) at points / 2 + 1 frequencies. */
void vqi_spectrum_run(float *power, vqi_spectrum *spectrum, const float *samples, size_t count);

/** STOI of two sounds of `length` samples. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_stoi(double *out, const float *reference, const float *other, size_t length,
                   uint32_t rate);

#endif
