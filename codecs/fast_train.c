/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learning merges, with the order and the ties of the trainer of Hugging Face's tokenizers, so that equal data give equal
 * vocabularies. A heap holds pairs with the count that they had when they came, and the words in which they then were; a pair that comes
 * up with another count than it has by now goes back. The largest count wins, then the smaller left token, then the right one.
 */
#include <stdlib.h>
#include <string.h>

#include "codecs/fast_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* min_frequency and max_token_length of the published recipe. */
enum { LEAST_COUNT = 2, LONGEST = 10000 };

typedef struct word {
    uint32_t *ids, *lengths; /* tokens, and the characters in each */
    size_t size;
    int64_t count;
} word;

typedef struct entry {
    uint64_t pair, count;
    uint32_t *words; /* owned */
    size_t word_count;
} entry;

/* A pair that a merge made in a word. */
typedef struct change {
    uint64_t pair;
    uint32_t word;
} change;

typedef struct trainer {
    vqi_bpe *bpe;
    word *words;
    size_t word_count;
    uint32_t *store; /* of all words' tokens and lengths */
    vqi_pairs index; /* pair -> place in counts */
    int64_t *counts;
    size_t count_used, count_room;
    entry *heap;
    size_t heap_size, heap_room;
    change *changes;
    size_t change_count, change_room;
} trainer;

static int before(const entry *a, const entry *b)
{
    return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static int grow(void **block, size_t used, size_t *room, size_t width)
{
    if (used < *room)
        return 1;
    const size_t larger = 2 * *room + 1024;
    void *fresh = vqi_alloc(larger, width);
    if (!fresh)
        return 0;
    if (used)
        memcpy(fresh, *block, used * width);
    vq_free(*block);
    *block = fresh;
    *room = larger;
    return 1;
}

static int heap_push(trainer *t, entry e)
{
    if (!grow((void **)&t->heap, t->heap_size, &t->heap_room, sizeof *t->heap))
        return 0;
    size_t at = t->heap_size++;
    for (; at && before(&e, &t->heap[(at - 1) / 2]); at = (at - 1) / 2)
        t->heap[at] = t->heap[(at - 1) / 2];
    t->heap[at] = e;
    return 1;
}

static entry heap_pop(trainer *t)
{
    const entry top = t->heap[0], last = t->heap[--t->heap_size];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < t->heap_size; at = child) {
        if (child + 1 < t->heap_size && before(&t->heap[child + 1], &t->heap[child]))
            child++;
        if (!before(&t->heap[child], &last))
            break;
        t->heap[at] = t->heap[child];
    }
    t->heap[at] = last;
    return top;
}

/* The count of a pair, from 0 on; NULL when there is no memory. */
static int64_t *count_of(trainer *t, uint64_t pair)
{
    if (!grow((void **)&t->counts, t->count_used, &t->count_room, sizeof *t->counts))
        return NULL;
    const uint32_t *place = vqi_pairs_put(&t->index, pair, (uint32_t)t->count_used);
    if (!place)
        return NULL;
    if (*place == t->count_used)
        t->counts[t->count_used++] = 0;
    return &t->counts[*place];
}

/* Change a count by what `sign` times a word weighs; a rise is noted. */
static int count_change(trainer *t, uint64_t pair, uint32_t in, int sign)
{
    int64_t *count = count_of(t, pair);
    if (!count)
        return 0;
    *count += sign * t->words[in].count;
    if (sign < 0)
        return 1;
    if (!grow((void **)&t->changes, t->change_count, &t->change_room, sizeof *t->changes))
        return 0;
    t->changes[t->change_count++] = (change){pair, in};
    return 1;
}

static int by_pair(const void *a, const void *b)
{
    const change *x = a, *y = b;
    if (x->pair != y->pair)
        return x->pair < y->pair ? -1 : 1;
    return (x->word > y->word) - (x->word < y->word);
}

/* Every pair that rose becomes an entry of the heap, with the words in which it did. */
static int push_changes(trainer *t)
{
    qsort(t->changes, t->change_count, sizeof *t->changes, by_pair);
    for (size_t i = 0, end; i < t->change_count; i = end) {
        const uint64_t pair = t->changes[i].pair;
        for (end = i; end < t->change_count && t->changes[end].pair == pair;)
            end++;
        const int64_t *count = count_of(t, pair);
        if (!count)
            return 0;
        if (*count <= 0)
            continue;
        entry e = {.pair = pair, .count = (uint64_t)*count};
        e.words = vqi_alloc(end - i, sizeof *e.words);
        if (!e.words)
            return 0;
        for (size_t j = i; j < end; j++)
            if (j == i || t->changes[j].word != t->changes[j - 1].word)
                e.words[e.word_count++] = t->changes[j].word;
        if (!heap_push(t, e)) {
            vq_free(e.words);
            return 0;
        }
    }
    t->change_count = 0;
    return 1;
}

static int merge_word(trainer *t, uint32_t in, uint32_t left, uint32_t right, uint32_t made)
{
    word *w = &t->words[in];
    for (size_t i = 0; i + 1 < w->size; i++) {
        if (w->ids[i] != left || w->ids[i + 1] != right)
            continue;
        const uint32_t length = w->lengths[i] + w->lengths[i + 1];
        if (i && (!count_change(t, vqi_pair_key(w->ids[i - 1], left), in, -1) ||
                  (w->lengths[i - 1] + length < LONGEST &&
                   !count_change(t, vqi_pair_key(w->ids[i - 1], made), in, 1))))
            return 0;
        w->ids[i] = made;
        w->lengths[i] = length;
        w->size--;
        memmove(w->ids + i + 1, w->ids + i + 2, (w->size - i - 1) * sizeof *w->ids);
        memmove(w->lengths + i + 1, w->lengths + i + 2, (w->size - i - 1) * sizeof *w->lengths);
        if (i + 1 < w->size && (!count_change(t, vqi_pair_key(right, w->ids[i + 1]), in, -1) ||
                                (w->lengths[i + 1] + length < LONGEST &&
                                 !count_change(t, vqi_pair_key(made, w->ids[i + 1]), in, 1))))
            return 0;
    }
    return 1;
}

static vq_status add_token(uint32_t *id, trainer *t, uint32_t left, uint32_t right)
{
    size_t left_size, right_size;
    const uint8_t *first = vqi_texts_at(&left_size, &t->bpe->vocabulary, left);
    const uint8_t *second = vqi_texts_at(&right_size, &t->bpe->vocabulary, right);
    uint8_t *text = vqi_alloc(left_size + right_size, 1);
    if (!text)
        return vqi_fail_nomem(left_size + right_size);
    memcpy(text, first, left_size);
    memcpy(text + left_size, second, right_size);
    const int64_t known = vqi_texts_find(&t->bpe->vocabulary, text, left_size + right_size);
    *id = known < 0 ? (uint32_t)t->bpe->vocabulary.count : (uint32_t)known;
    const vq_status status =
        known < 0 ? vqi_texts_add(&t->bpe->vocabulary, text, left_size + right_size) : VQ_OK;
    vq_free(text);
    return status;
}

static vq_status learn(trainer *t, uint32_t vocabulary)
{
    while (t->bpe->vocabulary.count < vocabulary && t->heap_size) {
        entry top = heap_pop(t);
        const int64_t *now = count_of(t, top.pair);
        if (now && top.count != (uint64_t)*now) {
            top.count = (uint64_t)*now;
            if (heap_push(t, top))
                continue;
            now = NULL;
        }
        if (now && top.count < LEAST_COUNT) {
            vq_free(top.words);
            break;
        }
        vqi_merge merge = {(uint32_t)(top.pair >> 32), (uint32_t)top.pair, 0};
        vq_status status = now ? add_token(&merge.made, t, merge.left, merge.right)
                               : vqi_fail_nomem(sizeof(entry));
        if (!status)
            status = vqi_bpe_add_merge(t->bpe, merge);
        for (size_t i = 0; !status && i < top.word_count; i++)
            if (!merge_word(t, top.words[i], merge.left, merge.right, merge.made))
                status = vqi_fail_nomem(sizeof(change));
        if (!status && !push_changes(t))
            status = vqi_fail_nomem(sizeof(entry));
        vq_free(top.words);
        if (status)
            return status;
    }
    return VQ_OK;
}

/* The alphabet, in the order of its characters: those below `alphabet`, and those of the bytes that occur. */
static vq_status add_alphabet(vqi_bpe *bpe, const vqi_texts *words, uint32_t alphabet)
{
    enum { BYTE_CHARACTERS = 324 }; /* 256 and the 68 bytes that are not printable */
    uint8_t used[BYTE_CHARACTERS] = {0};
    for (size_t i = 0; i < words->size; i++)
        used[vqi_byte_character(words->text[i])] = 1;
    vq_status status = VQ_OK;
    for (uint32_t c = 0; !status && (c < alphabet || c < BYTE_CHARACTERS); c++) {
        if (c >= alphabet && !used[c])
            continue;
        uint8_t text[4];
        const unsigned size = vqi_utf8_put(text, c);
        status = vqi_texts_add(&bpe->vocabulary, text, size);
    }
    return status;
}

static vq_status add_words(trainer *t, const vqi_texts *words, const uint64_t *counts)
{
    uint32_t id[256];
    for (unsigned b = 0; b < 256; b++) {
        uint8_t text[4];
        const unsigned size = vqi_utf8_put(text, vqi_byte_character((uint8_t)b));
        id[b] = (uint32_t)vqi_texts_find(&t->bpe->vocabulary, text, size);
    }
    t->words = vqi_calloc(words->count, sizeof *t->words);
    t->store = vqi_alloc(words->size, 2 * sizeof *t->store);
    t->word_count = words->count;
    if (!t->words || !t->store)
        return vqi_fail_nomem(words->size * 2 * sizeof *t->store);
    uint32_t *at = t->store;
    for (size_t i = 0; i < words->count; i++) {
        word *w = &t->words[i];
        const uint8_t *text = vqi_texts_at(&w->size, words, i);
        w->ids = at;
        w->lengths = at + w->size;
        w->count = (int64_t)counts[i];
        at += 2 * w->size;
        for (size_t k = 0; k < w->size; k++) {
            w->ids[k] = id[text[k]];
            w->lengths[k] = 1;
        }
        for (size_t k = 0; k + 1 < w->size; k++)
            if (!count_change(t, vqi_pair_key(w->ids[k], w->ids[k + 1]), (uint32_t)i, 1))
                return vqi_fail_nomem(sizeof(change));
    }
    return push_changes(t) ? VQ_OK : vqi_fail_nomem(sizeof(entry));
}

vq_status vqi_bpe_train(vqi_bpe *bpe, const vqi_texts *words, const uint64_t *counts,
                        uint32_t alphabet, uint32_t vocabulary)
{
    trainer t = {.bpe = bpe};
    vq_status status = vqi_pairs_create(&t.index, 4096);
    if (!status)
        status = add_alphabet(bpe, words, alphabet);
    if (!status)
        status = add_words(&t, words, counts);
    if (!status)
        status = learn(&t, vocabulary);
    if (!status)
        status = vqi_bpe_prepare(bpe);
    for (size_t i = 0; i < t.heap_size; i++)
        vq_free(t.heap[i].words);
    vq_free(t.heap);
    vq_free(t.counts);
    vq_free(t.changes);
    vq_free(t.words);
    vq_free(t.store);
    vqi_pairs_clear(&t.index);
    return status;
}
