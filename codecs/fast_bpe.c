/* SPDX-License-Identifier: Apache-2.0 */
/* Byte-pair encoding (Sennrich et al. 2016) over bytes (Radford et al. 2019): merges in the order of their ranks. */
#include <string.h>

#include "codecs/fast_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

void vqi_bpe_clear(vqi_bpe *bpe)
{
    vqi_texts_clear(&bpe->vocabulary);
    vq_free(bpe->merges);
    vqi_pairs_clear(&bpe->ranks);
    vq_free(bpe->bytes);
    vq_free(bpe->byte_end);
    memset(bpe, 0, sizeof *bpe);
}

vq_status vqi_bpe_add_merge(vqi_bpe *bpe, vqi_merge merge)
{
    if (bpe->merge_count == bpe->merge_room) {
        const size_t room = 2 * bpe->merge_room + 256;
        vqi_merge *merges = vqi_alloc(room, sizeof *merges);
        if (!merges)
            return vqi_fail_nomem(room * sizeof *merges);
        if (bpe->merge_count)
            memcpy(merges, bpe->merges, bpe->merge_count * sizeof *merges);
        vq_free(bpe->merges);
        bpe->merges = merges;
        bpe->merge_room = room;
    }
    bpe->merges[bpe->merge_count++] = merge;
    return VQ_OK;
}

/* What a token decodes to: the bytes of its characters, or, if one of them stands for none, the text itself. */
static size_t spell(uint8_t *out, const uint8_t *text, size_t size)
{
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        uint32_t c;
        const unsigned width = vqi_utf8_get(&c, text + at, size - at);
        const int byte = width ? vqi_character_byte(c) : -1;
        if (byte < 0) {
            memcpy(out, text, size);
            return size;
        }
        out[n++] = (uint8_t)byte;
        at += width;
    }
    return n;
}

vq_status vqi_bpe_prepare(vqi_bpe *bpe)
{
    const size_t count = bpe->vocabulary.count;
    bpe->bytes = vqi_alloc(bpe->vocabulary.size, 1);
    bpe->byte_end = vqi_alloc(count, sizeof *bpe->byte_end);
    if (!bpe->bytes || !bpe->byte_end)
        return vqi_fail_nomem(count * sizeof *bpe->byte_end);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const uint8_t *text = vqi_texts_at(&size, &bpe->vocabulary, i);
        used += spell(bpe->bytes + used, text, size);
        bpe->byte_end[i] = used;
    }
    for (unsigned b = 0; b < 256; b++) {
        uint8_t text[4];
        const unsigned size = vqi_utf8_put(text, vqi_byte_character((uint8_t)b));
        bpe->byte_id[b] = vqi_texts_find(&bpe->vocabulary, text, size);
    }
    const vq_status status = vqi_pairs_create(&bpe->ranks, bpe->merge_count);
    for (size_t i = 0; !status && i < bpe->merge_count; i++) {
        const vqi_merge *m = &bpe->merges[i];
        uint32_t *rank = vqi_pairs_put(&bpe->ranks, vqi_pair_key(m->left, m->right), (uint32_t)i);
        if (!rank)
            return vqi_fail_nomem(0);
        *rank = (uint32_t)i;
    }
    return status;
}

const uint8_t *vqi_bpe_bytes(size_t *size, const vqi_bpe *bpe, uint32_t id)
{
    const size_t begin = id ? bpe->byte_end[id - 1] : 0;
    *size = bpe->byte_end[id] - begin;
    return bpe->bytes + begin;
}

static uint32_t rank_of(const vqi_bpe *bpe, uint32_t left, uint32_t right)
{
    const uint32_t *rank = vqi_pairs_get(&bpe->ranks, vqi_pair_key(left, right));
    return rank ? *rank : UINT32_MAX;
}

size_t vqi_bpe_encode(uint32_t *ids, const vqi_bpe *bpe, const uint8_t *bytes, size_t size,
                      uint32_t *scratch)
{
    uint32_t *ranks = scratch; /* of the pair that begins at each token */
    size_t n = 0;
    for (size_t i = 0; i < size; i++)
        if (bpe->byte_id[bytes[i]] >= 0)
            ids[n++] = (uint32_t)bpe->byte_id[bytes[i]];
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(bpe, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = ranks[i] < ranks[best] ? i : best;
        if (ranks[best] == UINT32_MAX)
            break;
        ids[best] = bpe->merges[ranks[best]].made;
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, (n - best - 1) * sizeof *ranks);
        n--;
        if (best + 1 < n)
            ranks[best] = rank_of(bpe, ids[best], ids[best + 1]);
        if (best)
            ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best]);
    }
    return n;
}
