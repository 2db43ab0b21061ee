/* SPDX-License-Identifier: Apache-2.0 */
#include "io/rans_tables_internal.h"

#include <stdlib.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* At least one bucket per symbol, and where the caches have room for it eight, so that a step from a bucket to the symbol, which
   no processor foresees, is rare. */
static unsigned shift_of(uint32_t symbols, uint32_t tables)
{
    enum { ROOM = 1 << 18 };
    unsigned bits = 6;
    while (bits < VQI_RANS_BITS &&
           (1u << bits < symbols ||
            (1u << bits < 8 * symbols && (uint64_t)tables << (bits + 1) <= ROOM)))
        bits++;
    return VQI_RANS_BITS - bits;
}

vq_status vqi_rans_level_allocate(vqi_rans_level *l)
{
    l->shift = shift_of(l->symbols, l->tables);
    const size_t cells = (size_t)l->tables * (l->symbols + 1),
                 buckets = (size_t)l->tables << (VQI_RANS_BITS - l->shift);
    l->start = vqi_calloc(cells, sizeof *l->start);
    l->bucket = vqi_calloc(buckets, sizeof *l->bucket);
    return l->start && l->bucket ? VQ_OK : vqi_fail_nomem(cells * sizeof *l->start);
}

void vqi_rans_level_index(vqi_rans_level *l)
{
    const uint32_t buckets = 1u << (VQI_RANS_BITS - l->shift);
    for (uint32_t t = 0; t < l->tables; t++) {
        uint32_t *start = l->start + (size_t)t * (l->symbols + 1);
        for (uint32_t i = 0; !start[l->symbols] && i < l->symbols; i++)
            start[i + 1] = (uint32_t)((uint64_t)(i + 1) * VQI_RANS_TOTAL / l->symbols);
        uint16_t *bucket = l->bucket + (size_t)t * buckets;
        uint32_t s = 0;
        for (uint32_t b = 0; b < buckets; b++) {
            while (start[s + 1] <= b << l->shift)
                s++;
            bucket[b] = (uint16_t)s;
        }
    }
}

void vqi_rans_level_clear(vqi_rans_level *l)
{
    for (int i = 0; i < VQI_NEAR_MOST; i++)
        vq_free(l->class_of[i]);
    vq_free(l->start);
    vq_free(l->bucket);
    *l = (vqi_rans_level){0};
}

void vqi_rans_free(vqi_rans *rans)
{
    if (!rans)
        return;
    for (int i = 0; i < VQ_STORE_MAX_STREAMS; i++) {
        vqi_rans_stream *s = &rans->stream[i];
        for (uint32_t l = 0; l < s->levels; l++)
            vqi_rans_level_clear(&s->level[l]);
        vq_free(s->level);
    }
    vq_free(rans);
}

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

/* Every frequency that is above 1 gives its share of what is too much. */
static void shrink(uint32_t *freq, uint32_t symbols, uint32_t excess)
{
    while (excess) {
        uint64_t large = 0;
        for (uint32_t s = 0; s < symbols; s++)
            large += freq[s] > 1 ? freq[s] - 1 : 0;
        const uint32_t all = excess;
        for (uint32_t s = 0; s < symbols && excess; s++) {
            const uint64_t own = freq[s] > 1 ? freq[s] - 1 : 0;
            uint64_t share = (own * all + large - 1) / large;
            share = share > excess ? excess : share;
            freq[s] -= (uint32_t)share;
            excess -= (uint32_t)share;
        }
    }
}

void vqi_rans_normalize(uint32_t *start, const uint32_t *counts, uint32_t symbols,
                        uint64_t *scratch)
{
    uint32_t *freq = start + 1;
    uint64_t total = 0;
    uint32_t sum = 0, used = 0, one = 0;
    for (uint32_t s = 0; s < symbols; s++)
        total += counts[s];
    for (uint32_t s = 0; s < symbols; s++) {
        const uint64_t share = (uint64_t)counts[s] << VQI_RANS_BITS;
        freq[s] = !counts[s] ? 0 : share < total ? 1 : (uint32_t)(share / total);
        sum += freq[s];
        if (!counts[s])
            continue;
        one = s;
        /* What rounding down took, the largest first, then by symbol. */
        const uint64_t part = share < total ? 0 : share % total / ((total >> 16) + 1);
        scratch[used++] = part << 32 | (UINT32_MAX - s);
    }
    if (used == 1) { /* no symbol is certain */
        freq[one] = VQI_RANS_MOST;
        freq[one ? 0 : 1] = VQI_RANS_TOTAL - VQI_RANS_MOST;
    } else if (sum > VQI_RANS_TOTAL) {
        shrink(freq, symbols, sum - VQI_RANS_TOTAL);
    } else if (used && sum < VQI_RANS_TOTAL) {
        qsort(scratch, used, sizeof *scratch, by_size);
        for (uint32_t i = 0; sum < VQI_RANS_TOTAL; i = (i + 1) % used, sum++)
            freq[UINT32_MAX - (uint32_t)scratch[i]]++;
    }
    for (uint32_t s = 0; used > 1 && s < symbols; s++)
        if (freq[s] > VQI_RANS_MOST) {
            freq[s ? 0 : 1] += freq[s] - VQI_RANS_MOST;
            freq[s] = VQI_RANS_MOST;
            break;
        }
    start[0] = 0;
    for (uint32_t s = 0; s < symbols; s++)
        start[s + 1] += start[s];
}

/* A frequency, or 0 and how many more zeros follow it. */
static vq_status write_table(vqi_buffer *out, const uint32_t *start, uint32_t symbols)
{
    vq_status status = VQ_OK;
    for (uint32_t s = 0; !status && s < symbols; s++) {
        const uint32_t freq = start[s + 1] - start[s];
        status = vqi_buffer_put_varint(out, freq);
        if (freq || status)
            continue;
        const uint32_t first = s;
        while (s + 1 < symbols && start[s + 2] == start[s + 1])
            s++;
        status = vqi_buffer_put_varint(out, s - first);
    }
    return status;
}

vq_status vqi_rans_write_level(vqi_buffer *out, const vqi_rans_level *l, uint32_t symbols_below)
{
    vq_status status = vqi_buffer_put_varint(out, l->nears);
    for (uint32_t i = 0; !status && i < l->nears; i++) {
        status = vqi_buffer_put_varint(out, l->near[i]);
        if (!status)
            status = vqi_buffer_put_varint(out, l->classes[i]);
        if (!status)
            status = vqi_buffer_put(out, l->class_of[i],
                                    l->near[i] == VQI_NEAR_LEVEL ? symbols_below : l->symbols);
    }
    for (uint32_t t = 0; !status && t < l->tables; t++)
        status = write_table(out, l->start + (size_t)t * (l->symbols + 1), l->symbols);
    return status;
}

vq_status vqi_rans_write(vqi_buffer *out, const vqi_rans *rans, const vq_store_schema *schema)
{
    vq_status status = VQ_OK;
    for (uint32_t i = 0; !status && i < schema->streams; i++) {
        const vqi_rans_stream *s = &rans->stream[i];
        status = vqi_buffer_put_varint(out, s->levels);
        for (uint32_t l = 0; !status && l < s->levels; l++)
            status = vqi_rans_write_level(out, &s->level[l], l ? s->level[l - 1].symbols : 0);
    }
    return status;
}

static vq_status broken(const vqi_cursor *c, const char *what)
{
    return vqi_fail(VQ_E_FORMAT, "TABL, byte %zu: %s", vqi_offset(c), what);
}

/* Frequencies that add up to 2^16; of a context that does not occur, none. */
static vq_status take_table(uint32_t *start, uint32_t symbols, vqi_cursor *c)
{
    uint64_t number;
    for (uint32_t s = 0; s < symbols; s++) {
        if (!vqi_take_varint(c, &number) || number > VQI_RANS_MOST)
            return broken(c, "a frequency cannot be");
        start[s + 1] = start[s] + (uint32_t)number;
        if (start[s + 1] > VQI_RANS_TOTAL)
            return broken(c, "frequencies add up to more than 65536");
        if (number)
            continue;
        if (!vqi_take_varint(c, &number) || number >= symbols - s)
            return broken(c, "more zeros than symbols");
        for (; number; number--, s++)
            start[s + 2] = start[s + 1];
    }
    if (start[symbols] && start[symbols] != VQI_RANS_TOTAL)
        return broken(c, "frequencies add up to less than 65536");
    return VQ_OK;
}

static vq_status take_near(vqi_rans_level *l, uint32_t i, const vqi_rans_level *below,
                           vqi_cursor *c)
{
    uint64_t near, classes;
    if (!vqi_take_varint(c, &near) || near < VQI_NEAR_LEFT || near > VQI_NEAR_LEVEL ||
        (near == VQI_NEAR_LEVEL && !below) || (i && near == (uint64_t)l->near[0]))
        return broken(c, "a neighbour cannot be");
    if (!vqi_take_varint(c, &classes) || !classes || classes > VQI_NEAR_CLASSES)
        return broken(c, "a number of classes cannot be");
    const uint32_t symbols = near == VQI_NEAR_LEVEL ? below->symbols : l->symbols;
    const uint8_t *map = vqi_take(c, symbols);
    if (!map)
        return broken(c, "classes are cut short");
    for (uint32_t s = 0; s < symbols; s++)
        if (map[s] >= classes)
            return broken(c, "there is no such class");
    l->near[i] = (vqi_rans_near)near;
    l->classes[i] = (uint32_t)classes;
    l->tables *= (uint32_t)classes + 1;
    l->class_of[i] = vqi_alloc(symbols, 1);
    if (!l->class_of[i])
        return vqi_fail_nomem(symbols);
    memcpy(l->class_of[i], map, symbols);
    return VQ_OK;
}

static vq_status take_level(vqi_rans_level *l, uint32_t k, const vqi_rans_level *below,
                            vqi_cursor *c, uint64_t *cells)
{
    uint64_t nears;
    l->k = k;
    l->symbols = vqi_rans_symbols(k);
    l->tables = 1;
    if (!vqi_take_varint(c, &nears) || nears > VQI_NEAR_MOST)
        return broken(c, "a number of neighbours cannot be");
    l->nears = (uint32_t)nears;
    vq_status status = VQ_OK;
    for (uint32_t i = 0; !status && i < l->nears; i++)
        status = take_near(l, i, below, c);
    if (status)
        return status;
    *cells += (uint64_t)l->tables * l->symbols;
    if (*cells > VQI_RANS_CELLS)
        return vqi_fail(VQ_E_LIMIT, "TABL: more than %d frequencies", VQI_RANS_CELLS);
    status = vqi_rans_level_allocate(l);
    for (uint32_t t = 0; !status && t < l->tables; t++)
        status = take_table(l->start + (size_t)t * (l->symbols + 1), l->symbols, c);
    if (!status)
        vqi_rans_level_index(l);
    return status;
}

static vq_status take_stream(vqi_rans_stream *s, const vq_store_stream *schema, vqi_cursor *c,
                             uint64_t *cells)
{
    uint64_t levels;
    if (!vqi_take_varint(c, &levels) || (levels && levels != schema->levels))
        return broken(c, "a stream has another number of levels");
    if (!levels)
        return VQ_OK;
    s->level = vqi_calloc((size_t)levels, sizeof *s->level);
    if (!s->level)
        return vqi_fail_nomem(levels * sizeof *s->level);
    s->levels = (uint32_t)levels;
    vq_status status = VQ_OK;
    for (uint32_t l = 0; !status && l < s->levels; l++)
        status = take_level(&s->level[l], schema->k[l], l ? &s->level[l - 1] : NULL, c, cells);
    return status;
}

vq_status vqi_rans_parse(vqi_rans **out, const vq_store_schema *schema, const uint8_t *bytes,
                         size_t size)
{
    *out = NULL;
    vqi_rans *rans = vqi_calloc(1, sizeof *rans);
    if (!rans)
        return vqi_fail_nomem(sizeof *rans);
    vqi_cursor c = vqi_cursor_of(bytes, size);
    uint64_t cells = 0;
    vq_status status = VQ_OK;
    for (uint32_t i = 0; !status && i < schema->streams; i++)
        status = take_stream(&rans->stream[i], &schema->stream[i], &c, &cells);
    if (!status && vqi_remaining(&c))
        status = broken(&c, "bytes follow the tables");
    if (status)
        vqi_rans_free(rans);
    else
        *out = rans;
    return status;
}
