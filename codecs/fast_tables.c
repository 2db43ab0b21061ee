/* SPDX-License-Identifier: Apache-2.0 */
/* Two tables by open addressing: pairs of tokens to numbers, and texts to numbers. */
#include <string.h>

#include "codecs/fast_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

static size_t spread(uint64_t key)
{
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15u;
    return (size_t)(key ^ key >> 29);
}

static size_t power_above(size_t n)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size;
}

vq_status vqi_pairs_create(vqi_pairs *pairs, size_t expected)
{
    const size_t size = power_above(expected);
    memset(pairs, 0, sizeof *pairs);
    pairs->keys = vqi_calloc(size, sizeof *pairs->keys);
    pairs->values = vqi_calloc(size, sizeof *pairs->values);
    if (!pairs->keys || !pairs->values) {
        vqi_pairs_clear(pairs);
        return vqi_fail_nomem(size * (sizeof *pairs->keys + sizeof *pairs->values));
    }
    pairs->mask = size - 1;
    return VQ_OK;
}

void vqi_pairs_clear(vqi_pairs *pairs)
{
    vq_free(pairs->keys);
    vq_free(pairs->values);
    memset(pairs, 0, sizeof *pairs);
}

static size_t slot_of(const vqi_pairs *pairs, uint64_t key)
{
    size_t at = spread(key) & pairs->mask;
    while (pairs->keys[at] && pairs->keys[at] != key + 1)
        at = (at + 1) & pairs->mask;
    return at;
}

static int grow(vqi_pairs *pairs)
{
    vqi_pairs larger;
    if (vqi_pairs_create(&larger, pairs->mask + 1))
        return 0;
    for (size_t i = 0; i <= pairs->mask; i++)
        if (pairs->keys[i]) {
            const size_t at = slot_of(&larger, pairs->keys[i] - 1);
            larger.keys[at] = pairs->keys[i];
            larger.values[at] = pairs->values[i];
        }
    larger.used = pairs->used;
    vqi_pairs_clear(pairs);
    *pairs = larger;
    return 1;
}

uint32_t *vqi_pairs_put(vqi_pairs *pairs, uint64_t key, uint32_t fresh)
{
    size_t at = slot_of(pairs, key);
    if (pairs->keys[at])
        return &pairs->values[at];
    if (2 * (pairs->used + 1) > pairs->mask) {
        if (!grow(pairs))
            return NULL;
        at = slot_of(pairs, key);
    }
    pairs->used++;
    pairs->keys[at] = key + 1;
    pairs->values[at] = fresh;
    return &pairs->values[at];
}

const uint32_t *vqi_pairs_get(const vqi_pairs *pairs, uint64_t key)
{
    const size_t at = slot_of(pairs, key);
    return pairs->keys[at] ? &pairs->values[at] : NULL;
}

void vqi_texts_clear(vqi_texts *texts)
{
    vq_free(texts->text);
    vq_free(texts->end);
    vq_free(texts->slots);
    memset(texts, 0, sizeof *texts);
}

const uint8_t *vqi_texts_at(size_t *size, const vqi_texts *texts, size_t i)
{
    const size_t begin = i ? texts->end[i - 1] : 0;
    *size = texts->end[i] - begin;
    return texts->text + begin;
}

static uint64_t hash_of(const uint8_t *text, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ text[i]) * 0x100000001b3u;
    return hash;
}

/* Where a text is, or the free slot for it. */
static size_t text_slot(const vqi_texts *texts, const uint8_t *text, size_t size)
{
    size_t at = spread(hash_of(text, size)) & texts->mask;
    for (; texts->slots[at]; at = (at + 1) & texts->mask) {
        size_t own;
        const uint8_t *other = vqi_texts_at(&own, texts, texts->slots[at] - 1);
        if (own == size && (!size || !memcmp(other, text, size)))
            break;
    }
    return at;
}

int64_t vqi_texts_find(const vqi_texts *texts, const uint8_t *text, size_t size)
{
    const size_t at = texts->slots ? text_slot(texts, text, size) : 0;
    return texts->slots && texts->slots[at] ? (int64_t)texts->slots[at] - 1 : VQI_FAST_ABSENT;
}

/* A block twice as large, or none. */
static void *doubled(void *old, size_t used, size_t room, size_t width)
{
    void *block = vqi_alloc(room, width);
    if (block && used)
        memcpy(block, old, used * width);
    if (block)
        vq_free(old);
    return block;
}

static vq_status make_room(vqi_texts *texts, size_t size)
{
    if (size > texts->room - texts->size) {
        const size_t room = 2 * (texts->size + size) + 256;
        uint8_t *text = doubled(texts->text, texts->size, room, 1);
        if (!text)
            return vqi_fail_nomem(room);
        texts->text = text;
        texts->room = room;
    }
    if (texts->count == texts->count_room) {
        const size_t room = 2 * texts->count + 64;
        size_t *end = doubled(texts->end, texts->count, room, sizeof *end);
        if (!end)
            return vqi_fail_nomem(room * sizeof *end);
        texts->end = end;
        texts->count_room = room;
    }
    if (!texts->slots || 2 * (texts->count + 1) > texts->mask) {
        const size_t slots = power_above(2 * texts->count + 64);
        uint32_t *fresh = vqi_calloc(slots, sizeof *fresh);
        if (!fresh)
            return vqi_fail_nomem(slots * sizeof *fresh);
        vq_free(texts->slots);
        texts->slots = fresh;
        texts->mask = slots - 1;
        for (size_t i = 0; i < texts->count; i++) {
            size_t own;
            const uint8_t *text = vqi_texts_at(&own, texts, i);
            fresh[text_slot(texts, text, own)] = (uint32_t)i + 1;
        }
    }
    return VQ_OK;
}

vq_status vqi_texts_add(vqi_texts *texts, const uint8_t *text, size_t size)
{
    const vq_status status = make_room(texts, size);
    if (status)
        return status;
    const size_t at = text_slot(texts, text, size);
    if (size)
        memcpy(texts->text + texts->size, text, size);
    texts->size += size;
    texts->end[texts->count++] = texts->size;
    texts->slots[at] = (uint32_t)texts->count;
    return VQ_OK;
}
