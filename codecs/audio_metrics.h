/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/audio_metrics.h
 * How close two sounds are.
 */
#ifndef CODECS_AUDIO_METRICS_H
#define CODECS_AUDIO_METRICS_H

#include "vq/signal.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vq_audio_quality {
    /** Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, without removal of the mean); infinity if the
     *  sounds are equal but for their scale, NaN if the reference or the other is silent. */
    double si_sdr_db;
    /** Log-spectral distance in dB (Gray and Markel 1976): the root of the mean over frequencies of the squared difference of
     *  the power spectra in dB, mean over frames of 2048 samples every 512, Hann window, no power below -100 dB of a sine at
     *  full scale. */
    double lsd_db;
    /** Multi-resolution log-mel distance: mean absolute difference of the natural logarithms of 64 mel bands (HTK scale, 0 to
     *  half the rate, magnitudes, none below -100 dB of a sine at full scale), Hann windows of 512, 1024 and 2048 samples every quarter of a window, mean
     *  over bands, frames and windows. */
    double log_mel;
    /** Short-time objective intelligibility (Taal et al. 2011) of the other for a listener who would understand the reference:
     *  10 kHz, 15 one-third octave bands from 150 Hz, 30 frames, clipped at -15 dB, frames 40 dB below the loudest left out.
     *  1 is perfect, of speech 0.7 is hard work; NaN if less than about 0.4 s of the reference is loud enough. */
    double stoi;
} vq_audio_quality;

/**
 * Compare two sounds of one rate. Channels are mixed to their mean. If the lengths differ, both are taken up to the
 * shorter's end; nothing is aligned.
 * @return VQ_OK, VQ_E_ARG (no sounds, no rate or different ones, channels differ), VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_audio_compare(vq_audio_quality *out, const vq_signal *reference,
                                  const vq_signal *other);

/**
 * Power spectra for a picture of a sound: dB of a sine at full scale, from -100 on.
 * @param[out] out columns x rows, column by column (one per piece of time), lowest frequency first; owned by the caller.
 * @param      columns pieces of equal length that the sound is cut into, each shown by the spectrum in its middle.
 * @param      rows    from 0 to half the rate, 1 to 1024: each the largest power of its frequencies.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_audio_spectrogram(float *out, const vq_signal *sound, size_t columns,
                                      size_t rows);

#ifdef __cplusplus
}
#endif
#endif
