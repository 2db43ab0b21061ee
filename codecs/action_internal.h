/* SPDX-License-Identifier: Apache-2.0 */
/** @file codecs/action_internal.h  The front ends "action" and "bins": a chunk of each dimension -> DCT -> one vector. */
#ifndef CODECS_ACTION_INTERNAL_H
#define CODECS_ACTION_INTERNAL_H

#include "codecs/action.h"
#include "codecs/codec_internal.h"
#include "codecs/stream_internal.h"

enum { VQI_MAX_HORIZON = 512 };

/** The tables of a model. */
typedef struct vqi_action_model {
    uint32_t horizon; /**< H */
    uint32_t default_levels;
    float *basis;              /**< H x H, orthonormal: row k is frequency k */
    vq_dimensions *dimensions; /**< of a fitted model; NULL = universal */
    uint32_t bins;             /**< of quantile bins: intervals of `edges`; 0 = there are none */
    float *edges; /**< D x (bins + 1), not falling: [-1, 1] in equal parts is this; NULL = none */
} vqi_action_model;

vq_status vqi_action_model_create(vqi_action_model **out, uint32_t horizon);
void vqi_action_model_free(vqi_action_model *model);
vq_status vqi_action_model_save(vq_tensors *tensors, const vqi_action_model *model,
                                const char *codec);
vq_status vqi_action_load(void **state, const vq_tensors *tensors, const vq_quantizer *quantizer,
                          const vq_limits *limits);

/** Ranges among a model's tensors: "dimensions.low" and so on. */
vq_status vqi_dimensions_save(vq_tensors *tensors, const vq_dimensions *dimensions);
/** *out is NULL if there are none. @return VQ_OK, VQ_E_FORMAT, VQ_E_NOMEM. */
vq_status vqi_dimensions_load(vq_dimensions **out, const vq_tensors *tensors);

/**
 * Which ranges hold for a signal: its own, else the model's, else those that its data have.
 * @param[out] out the caller's, with the names of the signal, or else of the model.
 */
vq_status vqi_dimensions_for(vq_dimensions **out, const vq_dimensions *model,
                             const vq_signal *signal);

/** @return x of dimension i in [-1, 1], or beyond if it lies there; never more than 2^20. x is finite. */
float vqi_action_normalise(const vq_dimensions *dimensions, size_t i, float x);
/** The inverse: finite, within the range and its margin, whatever u is. */
float vqi_action_restore(const vq_dimensions *dimensions, size_t i, float u);

/**
 * A chunk to D latents of H floats.
 * @param chunk steps x D; the last step is held up to H.
 * @return -1, or the index of the first value that is not finite.
 */
long vqi_action_analyse(float *latents, const vqi_action_model *model,
                        const vq_dimensions *dimensions, const float *chunk, size_t steps);
/** Latents to the first `steps` steps of a chunk. */
void vqi_action_synthesise(float *chunk, const vqi_action_model *model,
                           const vq_dimensions *dimensions, const float *latents, size_t steps);

/** Tokens are level by level over the whole grid, of `positions`; the quantizer's codes are vector by vector: n from `first` on. */
void vqi_action_store_codes(uint32_t *to, size_t positions, const uint32_t *codes, size_t first,
                            size_t n, uint32_t levels);
void vqi_action_fetch_codes(uint32_t *codes, const uint32_t *from, size_t positions, size_t first,
                            size_t n, uint32_t levels);

/** vqi_front_end.train of "action" and of "bins". */
vq_status vqi_action_train(vq_tensors **model, const vq_signal_source *source,
                           const vq_codec_train_opts *opts);
vq_status vqi_bins_train(vq_tensors **model, const vq_signal_source *source,
                         const vq_codec_train_opts *opts);

/** vqi_front_end.stream of both: for models that keep ranges. */
extern const vqi_stream_kind vqi_action_stream;

/** What the training of both asks of its options. @return VQ_OK, VQ_E_ARG. */
vq_status vqi_action_check(const vq_codec_train_opts *opts);
/** The tensors of a model. */
vq_status vqi_action_save(vq_tensors **out, const vqi_action_model *model,
                          const vq_quantizer *quantizer, const char *codec);

/** All signals of a source. */
typedef struct vqi_action_set {
    vq_signal **signals;
    size_t count;
} vqi_action_set;

vq_status vqi_action_set_read(vqi_action_set *set, const vq_signal_source *source,
                              const vq_codec_train_opts *opts);
void vqi_action_set_clear(vqi_action_set *set);
/** Ranges of all signals that have as many dimensions as signal `like`. */
vq_status vqi_action_set_fit(vq_dimensions **out, const vqi_action_set *set, size_t like);

#endif
