/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/resample.h
 * Sound at one rate to sound at another, block by block, by libsamplerate's windowed sinc (SRC_SINC_MEDIUM_QUALITY:
 * 121 dB of signal to noise, 90 % of the band). Output sample 0 stands at the time of input sample 0, and N samples
 * become round(N x to / from), at least 1, however they are cut into blocks. Memory: one block.
 */
#ifndef IO_RESAMPLE_H
#define IO_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "vq/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vq_resampler vq_resampler;

/**
 * @param[out] out   owned by the caller, free with vq_resampler_free().
 * @param      from,to samples per second; neither more than 256 times the other.
 * @param      channels 1 to 8, interleaved.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_resampler_create(vq_resampler **out, uint32_t from, uint32_t to,
                                     uint32_t channels);
VQ_API void vq_resampler_free(vq_resampler *resampler);

/**
 * Take some input and give some output. Call it until the input is used up; after the last block with count 0 until
 * nothing comes any more.
 * @param[out] used  frames of the input that were taken.
 * @param[out] got   frames that were written.
 * @param      in    count frames; may be NULL if count is 0, which ends the sound.
 * @param      out   room for `room` frames, at least 1.
 * @return VQ_OK, VQ_E_ARG (input after the end).
 */
VQ_API vq_status vq_resampler_process(vq_resampler *resampler, const float *in, size_t count,
                                      size_t *used, float *out, size_t room, size_t *got);
/** Ready for another sound; allocates nothing. */
VQ_API void vq_resampler_reset(vq_resampler *resampler);

/** @return what `frames` become: round(frames x to / from), at least 1; 0 of 0. */
VQ_API uint64_t vq_resampled_length(uint64_t frames, uint32_t from, uint32_t to);

#ifdef __cplusplus
}
#endif
#endif
