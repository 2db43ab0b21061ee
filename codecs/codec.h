/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/codec.h
 * One interface, many codecs: signals to tokens and back. A codec is immutable once open and may be used
 * from many threads at once.
 *
 *     vq_codec *codec;
 *     vq_codec_open(&codec, "image", NULL);            // the built-in model; a path opens a model file
 *     vq_codec_encode(&tokens, codec, picture, NULL);
 *     vq_codec_decode(&copy, codec, tokens, NULL);
 */
#ifndef CODECS_CODEC_H
#define CODECS_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "codecs/fast.h"
#include "vq/code_tables.h"
#include "vq/limits.h"
#include "vq/quantizer.h"
#include "vq/signal.h"
#include "vq/tensors.h"
#include "vq/tokens.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vq_codec vq_codec;

typedef struct vq_codec_opts {
    size_t struct_size;      /**< sizeof(vq_codec_opts) */
    const vq_limits *limits; /**< NULL = defaults */
} vq_codec_opts;

#define VQ_CODEC_OPTS_INIT                                                                         \
    {                                                                                              \
        sizeof(vq_codec_opts), NULL                                                                \
    }

/**
 * Open a codec.
 * @param[out] out   owned by the caller, free with vq_codec_free().
 * @param      model the name of a built-in model ("image", "audio"), or the path of a model file (anything
 *                   with a '/' or a '.' is a path).
 * @return VQ_OK, VQ_E_ARG (no such built-in; the sentence lists them), VQ_E_IO, VQ_E_FORMAT,
 *         VQ_E_LIMIT, VQ_E_UNSUPPORTED (a front end this library does not know), VQ_E_NOMEM.
 */
VQ_API vq_status vq_codec_open(vq_codec **out, const char *model, const vq_codec_opts *opts);

/** The same from the bytes of a model file; they are copied. `name` is for the sentences. */
VQ_API vq_status vq_codec_open_memory(vq_codec **out, const void *data, size_t size,
                                      const char *name, const vq_codec_opts *opts);
VQ_API void vq_codec_free(vq_codec *codec);

/** What a codec is. Borrowed texts live as long as the codec. */
typedef struct vq_codec_info {
    const char *name; /**< of the front end: "image", "audio" */
    uint32_t id;      /**< pinned number of the front end, never reused: image is 1, audio 2 */
    vq_kind kind;     /**< of the signals it takes */
    uint32_t levels;  /**< that the model holds */
    uint32_t default_levels; /**< used when the caller asks for 0 */
    uint32_t hop[2]; /**< signal samples per grid position: rows and columns of an image; [0]
                                  for a signal of one dimension in time */
    const vq_quantizer *quantizer;        /**< borrowed; NULL for "fast", which has none */
    uint8_t model_sha256[VQ_SHA256_SIZE]; /**< of the model file */
    const vq_code_tables
        *tables;   /**< for VQ_PACKING_ENTROPY, borrowed; NULL if the model has none */
    double rate;   /**< samples per second of the signals it takes; 0 = any */
    uint32_t beam; /**< that encoding uses where nobody says; 0 = 1 */
} vq_codec_info;

VQ_API void vq_codec_get_info(vq_codec_info *out, const vq_codec *codec);

/** What is done with an image's alpha channel. */
typedef enum vq_alpha_policy {
    VQ_ALPHA_KEEP = 0, /**< coded as a second plane of tokens; dropped only if it is 1 everywhere */
    VQ_ALPHA_COMPOSITE =
        1 /**< the picture is laid over the background colour and has no alpha any more */
} vq_alpha_policy;

typedef struct vq_progress {
    uint64_t done, total; /**< of work units: rows of an image's grid, frames of audio */
} vq_progress;

/** How to encode or decode; NULL means all defaults. */
typedef struct vq_coding_opts {
    size_t struct_size; /**< sizeof(vq_coding_opts) */
    uint32_t
        levels;  /**< encode: 0 = the model's default, or all if lambda is not 0; decode: 0 = all
                        that the tokens have */
    int threads; /**< 0 = as many as OpenMP gives; never changes the tokens */
    vq_alpha_policy alpha; /**< encode only */
    float background[3];   /**< for VQ_ALPHA_COMPOSITE: RGB in [0, 1]; zeros = black */
    int any_model;         /**< decode: 1 = do not insist that this model made the tokens */
    int (*progress)(void *context,
                    const vq_progress *progress); /**< not 0 = stop: VQ_E_CANCELLED */
    void *progress_context;
    uint32_t
        beam; /**< encode: as in vq_quantize_opts, 0 = the model's; wider = better and slower */
    /** encode: rate-aware choice of the codes, as in vq_quantize_opts: each takes the one with the least
     *  squared error + lambda x bits, so that plain parts of a signal cost few bits under
     *  VQ_PACKING_ENTROPY. For a picture a bit more is spent where it takes away at least lambda of the
     *  summed squared error, samples being in [0, 1]: 0.01 is good, 0.03 small. 0 = nearest codes. */
    float lambda;
    /** decode, "fast": what tokens become that spell no chunk, and all after them, as nobody knows where the next chunk would
     *  begin; tokens after the last chunk are dropped. VQ_FAST_HOLD: VQ_E_FORMAT where the episode has no action before.
     *  The tokens of other codecs always spell a signal. */
    vq_fast_policy malformed;
    size_t *
        malformed_chunks; /**< decode: NULL, or becomes the number of chunks that the policy made */
} vq_coding_opts;

#define VQ_CODING_OPTS_INIT                                                                        \
    {                                                                                              \
        sizeof(vq_coding_opts), 0, 0, VQ_ALPHA_KEEP, {0, 0, 0}, 0, NULL, NULL, 0, 0,               \
            VQ_FAST_STRICT, NULL                                                                   \
    }

/**
 * Signal to tokens. Memory beyond the signal and its tokens: a band of a few grid rows, whatever the
 * size of the picture, or some thousand frames of a sound. A grey picture is coded as R = G = B and decodes to one channel.
 * @param[out] out owned by the caller, free with vq_tokens_free(); fully filled in, model hash included.
 * @return VQ_OK, VQ_E_ARG (wrong kind of signal, or rate, levels), VQ_E_NONFINITE, VQ_E_LIMIT, VQ_E_NOMEM,
 *         VQ_E_CANCELLED.
 */
VQ_API vq_status vq_codec_encode(vq_tokens **out, const vq_codec *codec, const vq_signal *signal,
                                 const vq_coding_opts *opts);

/**
 * Tokens to signal, of the shape that was encoded. Image samples may lie a little outside [0, 1];
 * writers clip them.
 * @return VQ_OK, VQ_E_ARG (wrong codec, grid and shape that do not fit), VQ_E_RANGE, VQ_E_LIMIT,
 *         VQ_E_MISMATCH (another model made them), VQ_E_NOMEM, VQ_E_CANCELLED.
 */
VQ_API vq_status vq_codec_decode(vq_signal **out, const vq_codec *codec, const vq_tokens *tokens,
                                 const vq_coding_opts *opts);

/**
 * Would vq_codec_decode() take these tokens? For who decodes them by vq_stream, which sees codes alone.
 * @param opts levels and any_model count.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE, VQ_E_MISMATCH, as vq_codec_decode().
 */
VQ_API vq_status vq_codec_check(const vq_codec *codec, const vq_tokens *tokens,
                                const vq_coding_opts *opts);

/* The registry. */

/** @return the name of the i-th built-in model, in the order of their numbers; NULL past the last. */
VQ_API const char *vq_codec_builtin(size_t i);
/** The bytes of a built-in model's file, static. @return VQ_OK, or VQ_E_ARG if there is none. */
VQ_API vq_status vq_codec_builtin_model(const void **data, size_t *size, const char *name);
/** Their digest, which the build knows. @return as vq_codec_builtin_model(). */
VQ_API vq_status vq_codec_builtin_sha256(uint8_t sha256[VQ_SHA256_SIZE], const char *name);

#ifdef __cplusplus
}
#endif
#endif
