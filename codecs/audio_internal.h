/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/audio_internal.h
 * The audio codec: a modified discrete cosine transform, whose low coefficients are coded as they are, companded, and whose high
 * ones only by the energies of bands, in logarithms, as filling noise with random signs.
 *
 *     latent i          = sign(c) |c|^exponent x weight[i]                      c = coefficient kept[i]
 *     latent kept + b   = (log2(mean of c^2 in band b + floor) - offset[b]) x weight[kept + b]
 */
#ifndef CODECS_AUDIO_INTERNAL_H
#define CODECS_AUDIO_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "codecs/codec_internal.h"
#include "codecs/mdct_internal.h"

typedef struct vqi_audio_model {
    uint32_t hop;  /**< H, samples per frame */
    uint32_t rate; /**< samples per second */
    uint32_t default_levels;
    uint32_t beam; /**< of encoding where nobody says: what the model was trained for */
    uint32_t kept_count, band_count; /**< d = kept_count + band_count */
    uint32_t gain_levels;            /**< rows of gains */
    float exponent, floor;
    float *window;  /**< 2 H */
    uint32_t *kept; /**< kept_count coefficients, rising */
    uint32_t *
        edges; /**< band_count + 1, rising: band b is from edges[b] up to but not including edges[b + 1] */
    float *weights; /**< d */
    float *offsets; /**< band_count */
    float *
        gains; /**< gain_levels x kept_count: what makes up for the energy that so many levels leave out */
    vqi_mdct mdct; /**< derived */
} vqi_audio_model;

/** d of the latents. */
static inline uint32_t vqi_audio_dim(const vqi_audio_model *model)
{
    return model->kept_count + model->band_count;
}

/** Allocate the arrays of a model whose sizes are set. */
vq_status vqi_audio_model_allocate(vqi_audio_model *model);
/** Check the tables and derive the transform; @return VQ_OK, VQ_E_FORMAT, VQ_E_NOMEM. */
vq_status vqi_audio_model_prepare(vqi_audio_model *model);
vq_status vqi_audio_model_load(vqi_audio_model **out, const vq_tensors *tensors, uint32_t dim);
vq_status vqi_audio_model_save(vq_tensors *tensors, const vqi_audio_model *model);
void vqi_audio_model_free(vqi_audio_model *model);

/** Floats of scratch of the next two. */
size_t vqi_audio_scratch(const vqi_audio_model *model);
/** Latents of a frame from its 2 H samples. */
void vqi_audio_analyse(float *latents, const vqi_audio_model *model, const float *samples,
                       float *scratch);
/**
 * samples[j] += a frame's part, 2 H of them.
 * @param levels that the latents are from: for the gains.
 * @param frame  its place among all, which with the channel decides the signs of the noise.
 */
void vqi_audio_synthesise_add(float *samples, const vqi_audio_model *model, const float *latents,
                              uint32_t levels, uint64_t frame, uint32_t channel, float *scratch);

extern const struct vqi_stream_kind vqi_stream_audio;

/** Train a model's tables and codebooks; vqi_front_end.train. */
vq_status vqi_audio_train(vq_tensors **model, const vq_signal_source *source,
                          const vq_codec_train_opts *opts);

#endif
