/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/stream_internal.h
 * What a front end is to streams: blocks of `hop` samples to latents and back, one after the other. A frame sees its own block
 * and `overlap` (0 or 1) blocks before it. So encoding T blocks needs `overlap` frames more, of blocks of zeros; and the
 * first `overlap` blocks that decoding gives lie before the signal and are dropped.
 */
#ifndef CODECS_STREAM_INTERNAL_H
#define CODECS_STREAM_INTERNAL_H

#include "codecs/stream.h"

typedef struct vqi_stream_shape {
    size_t hop;
    uint32_t positions; /**< of a frame */
    uint32_t overlap;   /**< 0 or 1 */
} vqi_stream_shape;

typedef struct vqi_stream_kind {
    /** Make the state for samples of so many channels. All that it ever allocates. */
    vq_status (*open)(void **state, vqi_stream_shape *shape, const vq_codec *codec,
                      uint32_t channels);
    void (*free)(void *state);
    void (*reset)(void *state);
    /** The latents of the next frame: positions x d from hop x channels finite samples of at most 2^20 in size. */
    void (*analyse)(float *latents, void *state, const float *block);
    /** The next block, hop x channels, from positions x d latents that `levels` levels gave. */
    void (*synthesise)(float *block, void *state, const float *latents, uint32_t levels);
    int holds; /**< 1 = a last block that is not whole is filled with its last sample, not with zeros */
} vqi_stream_kind;

#endif
