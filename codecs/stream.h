/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/stream.h
 * A codec in a stream: push any number of samples and pull tokens, or the reverse. What comes out is, bit for bit, what
 * vq_codec_encode() and vq_codec_decode() make of the whole signal, however it was cut into pieces. A stream allocates when
 * it is opened and never again.
 *
 *     vq_stream *stream;
 *     vq_stream_open(&stream, codec, VQ_STREAM_ENCODE, NULL);
 *     while ((n = read_samples(samples, 1000)))
 *         for (size_t at = 0, taken; at < n; at += taken) {
 *             vq_stream_push_samples(&taken, stream, samples + at * channels, n - at);
 *             while ((frames = vq_stream_pull_tokens(codes, stream, 64)))
 *                 use_tokens(codes, frames);
 *         }
 *     vq_stream_flush(stream);                                // then pull what is left
 *
 * A stream is used by one thread at a time; the codec must outlive it and may serve any number of streams.
 */
#ifndef CODECS_STREAM_H
#define CODECS_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "codecs/codec.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vq_stream vq_stream;

typedef enum vq_stream_direction {
    VQ_STREAM_ENCODE = 0, /**< samples in, tokens out */
    VQ_STREAM_DECODE = 1  /**< tokens in, samples out */
} vq_stream_direction;

/** NULL means all defaults. */
typedef struct vq_stream_opts {
    size_t struct_size; /**< sizeof(vq_stream_opts) */
    uint32_t
        levels; /**< of the codes; 0 = the codec's default_levels to encode, all to decode. A prefix of the levels decodes */
    uint32_t
        channels; /**< of the samples: audio's channels (1 or more), an action's dimensions; 0 = 1 */
    uint32_t frames; /**< that wait inside until they are pulled, at most 2^20; 0 = 64 */
    int threads;     /**< 0 = 1; never changes the tokens */
    uint32_t beam;   /**< as in vq_coding_opts: 0 = the model's */
    float lambda;    /**< as in vq_coding_opts */
} vq_stream_opts;

#define VQ_STREAM_OPTS_INIT                                                                        \
    {                                                                                              \
        sizeof(vq_stream_opts), 0, 0, 0, 0, 0, 0                                                   \
    }

typedef struct vq_stream_info {
    uint32_t levels;
    uint32_t channels;  /**< values of a sample */
    uint32_t positions; /**< of the grid in a frame: a frame has positions x levels codes */
    size_t hop;         /**< samples that a frame moves on */
    /** Algorithmic delay, in samples: pushed one at a time, a sample comes out of the decoder that follows at once no later
     *  than when so many more have been pushed. The first tokens come after hop samples. */
    size_t delay;
    /** Frames after the last sample's own that vq_stream_flush() adds: T samples give ceil(T / hop) + overlap frames, and F
     *  frames give (F - overlap) x hop samples, of which the last may be padding. */
    size_t overlap;
} vq_stream_info;

/**
 * Open a stream.
 * @param[out] out owned by the caller, free with vq_stream_free().
 * @return VQ_OK, VQ_E_ARG (options), VQ_E_UNSUPPORTED (the codec has no streams), VQ_E_LIMIT, VQ_E_NOMEM.
 */
VQ_API vq_status vq_stream_open(vq_stream **out, const vq_codec *codec,
                                vq_stream_direction direction, const vq_stream_opts *opts);
VQ_API void vq_stream_free(vq_stream *stream);
VQ_API void vq_stream_get_info(vq_stream_info *out, const vq_stream *stream);

/**
 * Push samples into a stream that encodes.
 * @param[out] taken   samples that were taken, from the front; fewer than n if the stream holds all the frames that it may:
 *                     pull, then push the rest. NULL if they are known to fit; then the rest is lost.
 * @param      samples n x channels, interleaved.
 * @return VQ_OK, VQ_E_ARG (a stream that decodes; flushed and not reset), VQ_E_NONFINITE (or above 2^20 in size; nothing was
 *         taken).
 */
VQ_API vq_status vq_stream_push_samples(size_t *taken, vq_stream *stream, const float *samples,
                                        size_t n);

/**
 * Pull what tokens are ready.
 * @param[out] codes at most `frames` x positions x levels; the codes of a position are contiguous.
 * @return the number of frames; 0 also if the stream does not encode.
 */
VQ_API size_t vq_stream_pull_tokens(uint32_t *codes, vq_stream *stream, size_t frames);

/**
 * Push tokens into a stream that decodes.
 * @param[out] taken frames that were taken, as in vq_stream_push_samples().
 * @param      codes n frames, as vq_stream_pull_tokens() gives them.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (a code; nothing was taken).
 */
VQ_API vq_status vq_stream_push_tokens(size_t *taken, vq_stream *stream, const uint32_t *codes,
                                       size_t n);

/** Pull what samples are ready, at most n of them, interleaved. @return the number of samples; 0 also if the stream does not
 *  decode. */
VQ_API size_t vq_stream_pull_samples(float *samples, vq_stream *stream, size_t n);

/** End a signal: the samples since the last whole frame, and zeros to fill it (of an action its last step), become tokens, which are ready to pull. What is
 *  pushed is refused from now on. Without samples there are no tokens; a stream that decodes has nothing left to flush.
 *  @return VQ_OK. */
VQ_API vq_status vq_stream_flush(vq_stream *stream);

/** Begin a new signal, as if newly opened: what was not pulled is dropped. */
VQ_API void vq_stream_reset(vq_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
