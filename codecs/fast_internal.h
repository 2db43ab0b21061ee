/* SPDX-License-Identifier: Apache-2.0 */
/** @file codecs/fast_internal.h  The parts of FAST: text, byte-level BPE, and the JSON of Hugging Face's tokenizers. */
#ifndef CODECS_FAST_INTERNAL_H
#define CODECS_FAST_INTERNAL_H

#include "codecs/fast.h"
#include "vq/status.h"

enum {
    VQI_FAST_LAST = 0xd7ff, /* the last character before the surrogates */
    VQI_FAST_ABSENT = -1
};

/* Text. */

/** UTF-8 of a code point below 0xd800 or above 0xdfff. @return its bytes, 1 to 4. */
unsigned vqi_utf8_put(uint8_t out[4], uint32_t c);
/** The character at the front. @return its bytes, or 0 if they are not UTF-8. */
unsigned vqi_utf8_get(uint32_t *c, const uint8_t *bytes, size_t size);
/** The character that stands for a byte in the vocabulary: itself if printable, else one from 256 on. */
uint32_t vqi_byte_character(uint8_t byte);
/** The byte that a character stands for, or -1. */
int vqi_character_byte(uint32_t c);
/** How many of the characters from `at` on are the next piece of GPT-2's splitting; 0 at the end. */
size_t vqi_next_piece(const uint32_t *text, size_t at, size_t count);

/* BPE. */

typedef struct vqi_merge {
    uint32_t left, right, made;
} vqi_merge;

/** Open addressing: pair of tokens -> index of its merge. */
typedef struct vqi_pairs {
    uint64_t *keys; /* left << 32 | right, plus 1; 0 = free */
    uint32_t *values;
    size_t mask, used;
} vqi_pairs;

vq_status vqi_pairs_create(vqi_pairs *pairs, size_t expected);
void vqi_pairs_clear(vqi_pairs *pairs);
/** The place of a key's value, new ones being `fresh`; NULL when there is no memory. */
uint32_t *vqi_pairs_put(vqi_pairs *pairs, uint64_t key, uint32_t fresh);
/** @return the value, or NULL. */
const uint32_t *vqi_pairs_get(const vqi_pairs *pairs, uint64_t key);

static inline uint64_t vqi_pair_key(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

/** Texts by number, and their numbers. */
typedef struct vqi_texts {
    uint8_t *text; /* all of them */
    size_t size, room;
    size_t *end; /* of each */
    size_t count, count_room;
    uint32_t *slots; /* open addressing: number + 1, 0 = free */
    size_t mask;
} vqi_texts;

void vqi_texts_clear(vqi_texts *texts);
const uint8_t *vqi_texts_at(size_t *size, const vqi_texts *texts, size_t i);
/** @return the number of a text, or VQI_FAST_ABSENT. */
int64_t vqi_texts_find(const vqi_texts *texts, const uint8_t *text, size_t size);
/** Add a text that is not there yet. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_texts_add(vqi_texts *texts, const uint8_t *text, size_t size);

typedef struct vqi_bpe {
    vqi_texts vocabulary; /* tokens as they are spelt in the file, by id */
    vqi_merge *merges;    /* in order */
    size_t merge_count, merge_room;
    vqi_pairs ranks;      /* of the merges; the last of equal ones */
    int64_t byte_id[256]; /* of each byte's character, or VQI_FAST_ABSENT */
    uint8_t *bytes;       /* what each token decodes to, one after the other */
    size_t *byte_end;
} vqi_bpe;

void vqi_bpe_clear(vqi_bpe *bpe);
vq_status vqi_bpe_add_merge(vqi_bpe *bpe, vqi_merge merge);
/** Fill in what is derived, once vocabulary and merges are there. */
vq_status vqi_bpe_prepare(vqi_bpe *bpe);
/** Tokens of the bytes of one piece. ids has room for `size`. @return how many. `scratch` is 2 x size. */
size_t vqi_bpe_encode(uint32_t *ids, const vqi_bpe *bpe, const uint8_t *bytes, size_t size,
                      uint32_t *scratch);
const uint8_t *vqi_bpe_bytes(size_t *size, const vqi_bpe *bpe, uint32_t id);

/**
 * Train as Hugging Face's BpeTrainer does, ties and all.
 * @param bpe      empty; filled in and prepared.
 * @param words    distinct pieces, as bytes.
 * @param counts   how often each occurs.
 * @param alphabet characters 0 to alphabet - 1 are in the vocabulary whether or not they occur.
 */
vq_status vqi_bpe_train(vqi_bpe *bpe, const vqi_texts *words, const uint64_t *counts,
                        uint32_t alphabet, uint32_t vocabulary);

vq_status vqi_bpe_parse(vqi_bpe *bpe, const void *data, size_t size, const vq_limits *limits);
vq_status vqi_bpe_serialize(vq_bytes *out, const vqi_bpe *bpe);

/** How many tokens from `at` on are those of one chunk; 0 if they do not end with its last character. */
size_t vqi_fast_chunk_tokens(const vq_fast *fast, const uint32_t *ids, size_t at, size_t count);

#endif
