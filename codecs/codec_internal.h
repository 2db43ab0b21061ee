/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/codec_internal.h
 * What a front end is to the registry. Adding one: a file that defines a const vqi_front_end, a line
 * in codecs/registry.c, a test and a page of documentation.
 */
#ifndef CODECS_CODEC_INTERNAL_H
#define CODECS_CODEC_INTERNAL_H

#include "codecs/codec.h"
#include "codecs/train.h"

struct vqi_stream_kind;

typedef struct vqi_front_end {
    const char *name; /**< in model and token files; never reused */
    uint32_t id;      /**< pinned; never reused */
    vq_kind kind;
    int spells; /**< 1 = its tokens are no quantizer's, and its models have none: one level of tokens */
    /** Make the front end's state from a model; settings and arrays are untrusted. */
    vq_status (*load)(void **state, const vq_tensors *model, const vq_quantizer *quantizer,
                      const vq_limits *limits);
    void (*free)(void *state);
    /** Fill in the info's default_levels, hop and rate. */
    void (*describe)(vq_codec_info *info, const void *state);
    /** opts are resolved: levels is not 0. The codec's name and model hash are filled in by the caller. */
    vq_status (*encode)(vq_tokens **out, const vq_codec *codec, const vq_signal *signal,
                        const vq_coding_opts *opts);
    vq_status (*decode)(vq_signal **out, const vq_codec *codec, const vq_tokens *tokens,
                        const vq_coding_opts *opts);
    const struct vqi_stream_kind *stream; /**< codecs/stream_internal.h; NULL = it has no streams */
    /** NULL, or: do grid and shape of the tokens belong together? What decode() asks, too. */
    vq_status (*check)(const vq_codec *codec, const vq_tokens *tokens);
    vq_status (*train)(vq_tensors **model, const vq_signal_source *source,
                       const vq_codec_train_opts *opts);
} vqi_front_end;

struct vq_codec {
    const vqi_front_end *front_end;
    void *state; /**< the front end's */
    vq_quantizer *quantizer;
    vq_code_tables *tables; /**< of the model, or NULL */
    vq_limits limits;
    uint8_t model_sha256[VQ_SHA256_SIZE];
};

/** @return the front end of that name, or NULL. */
const vqi_front_end *vqi_front_end_find(const char *name);

extern const vqi_front_end vqi_front_end_image;
extern const vqi_front_end vqi_front_end_audio; /* there if VQ_AUDIO is defined */
extern const vqi_front_end vqi_front_end_action, vqi_front_end_bins, vqi_front_end_fast;

#endif
