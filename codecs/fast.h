/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/fast.h
 * FAST (Pertsch et al., "FAST: Efficient Action Tokenization for Vision-Language-Action Models", 2025): chunks of actions to as many
 * tokens as they need, with the tokenizers that its users have. A chunk is H x D numbers in about [-1, 1]; an orthonormal DCT-II over
 * time; times a scale, rounded half to even; frequency by frequency, the dimensions together; each integer less the smallest one is a
 * character; the text goes through a byte-level BPE of Hugging Face's tokenizers (GPT-2's rules for splitting it).
 *
 * Unlike the published code, horizon and dimension are part of the tokenizer, and tokens that do not spell a chunk are never a chunk
 * of middle positions: they are an error, or what the caller chose. A tokenizer is immutable and may be used from many threads.
 */
#ifndef CODECS_FAST_H
#define CODECS_FAST_H

#include <stddef.h>
#include <stdint.h>

#include "io/file.h"
#include "vq/limits.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vq_fast vq_fast;

/** What a tokenizer.json does not say. */
typedef struct vq_fast_form {
    size_t struct_size;  /**< sizeof(vq_fast_form) */
    uint32_t horizon;    /**< H, 1 to 512 */
    uint32_t dimensions; /**< D, at least 1 */
    double scale;        /**< 0 = 10, as published */
    int32_t
        min_token; /**< the integer that is character 0; training finds it. The published universal tokenizer has -354 */
    uint32_t vocabulary; /**< training: tokens, alphabet included; 0 = 1024 */
} vq_fast_form;

#define VQ_FAST_FORM_INIT                                                                          \
    {                                                                                              \
        sizeof(vq_fast_form), 0, 0, 0, 0, 0                                                        \
    }

/**
 * Make a tokenizer of a Hugging Face tokenizer.json: type BPE with pre-tokenizer and decoder ByteLevel, no unknown token.
 * @param[out] out  owned by the caller, free with vq_fast_free().
 * @param      form horizon and dimensions must be set.
 * @param      name for the sentences, or NULL.
 * @return VQ_OK, VQ_E_ARG (form), VQ_E_FORMAT, VQ_E_UNSUPPORTED (another kind of tokenizer), VQ_E_LIMIT, VQ_E_NOMEM.
 */
VQ_API vq_status vq_fast_parse(vq_fast **out, const void *json, size_t size,
                               const vq_fast_form *form, const char *name, const vq_limits *limits);

/**
 * Train one as the published code does: the alphabet from the smallest to the largest integer that occurs, then merges of pairs that
 * occur twice or more.
 * @param chunks n x H x D finite numbers, normalised.
 * @return VQ_OK, VQ_E_ARG (form, no chunks, a vocabulary below the alphabet: the sentence says how many it needs), VQ_E_NONFINITE,
 *         VQ_E_NOMEM.
 */
VQ_API vq_status vq_fast_train(vq_fast **out, const float *chunks, size_t n,
                               const vq_fast_form *form);

VQ_API void vq_fast_free(vq_fast *fast);

/** The tokenizer.json, which Hugging Face's tokenizers read. @return VQ_OK, VQ_E_NOMEM. */
VQ_API vq_status vq_fast_serialize(vq_bytes *out, const vq_fast *fast);

/** The form, filled in: min_token and vocabulary too. */
VQ_API void vq_fast_get_form(vq_fast_form *out, const vq_fast *fast);
/** @return the most tokens that a chunk can have: 3 x H x D. */
VQ_API size_t vq_fast_max_tokens(const vq_fast *fast);

/**
 * A chunk to tokens.
 * @param[out] ids     vq_fast_max_tokens() places.
 * @param[out] count   how many were filled.
 * @param[out] clamped NULL, or the number of coefficients that no character stands for, and for which the nearest one was taken
 *                     (the published code drops bytes there, or fails).
 * @param      chunk   H x D.
 * @return VQ_OK, VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_fast_encode(uint32_t *ids, size_t *count, size_t *clamped, const vq_fast *fast,
                                const float *chunk);

/** What tokens become that do not spell a chunk: ids beyond the vocabulary, broken UTF-8, too few or too many characters. */
typedef enum vq_fast_policy {
    VQ_FAST_STRICT = 0, /**< VQ_E_FORMAT, and the chunk is untouched */
    VQ_FAST_PAD =
        1, /**< missing coefficients are 0, surplus ones are dropped, broken characters and ids end the sequence */
    VQ_FAST_HOLD = 2 /**< every step is `last`, the action before */
} vq_fast_policy;

/**
 * Tokens to a chunk.
 * @param[out] chunk     H x D, row-major.
 * @param[out] malformed NULL, or 1 if the policy was needed, else 0.
 * @param      last      D numbers, for VQ_FAST_HOLD; else not looked at.
 * @return VQ_OK, VQ_E_ARG (policy, no `last`), VQ_E_FORMAT (strict; the sentence says what is wrong), VQ_E_NOMEM.
 */
VQ_API vq_status vq_fast_decode(float *chunk, int *malformed, const vq_fast *fast,
                                const uint32_t *ids, size_t count, vq_fast_policy policy,
                                const float *last);

#ifdef __cplusplus
}
#endif
#endif
