/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is whole of a damaged shard. The index, if it is there, says where each record lies. The blocks say it, too: they
 * are looked for at every place where a chunk may begin, so that a damaged one hides no other.
 */
#include <stdio.h>
#include <string.h>

#include "io/digest.h"
#include "io/store_internal.h"
#include "io/store_write.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

typedef struct place {
    uint64_t offset; /* 0 = not found */
    uint32_t length;
} place;

typedef struct salvage {
    const uint8_t *data;
    size_t size, first_block;
    vqi_store_head head;
    place *places;
    uint64_t count, room;
    uint64_t expected; /* records, as the footer says; 0 = it is not there */
} salvage;

static vq_status note(salvage *s, uint64_t number, uint64_t offset, uint32_t length)
{
    /* A record has a row of 8 bytes in its block: a number beyond that cannot be. */
    if (number >= s->size / VQI_BLOCK_ROW)
        return VQ_OK;
    if (number >= s->room) {
        uint64_t room = s->room ? 2 * s->room : 4096;
        room = room > number ? room : number + 1;
        place *places = vqi_calloc((size_t)room, sizeof *places);
        if (!places)
            return vqi_fail_nomem(room * sizeof *places);
        if (s->count)
            memcpy(places, s->places, (size_t)s->count * sizeof *places);
        vq_free(s->places);
        s->places = places;
        s->room = room;
    }
    s->count = number >= s->count ? number + 1 : s->count;
    if (!s->places[number].offset)
        s->places[number] = (place){offset, length};
    return VQ_OK;
}

static vq_status search_index(salvage *s)
{
    vqi_footer footer;
    if (vqi_footer_read(&footer, s->data, s->size))
        return VQ_OK;
    s->expected = footer.records;
    vq_status status = VQ_OK;
    for (uint64_t i = 0; !status && i < footer.records; i++) {
        vq_shard_row row;
        if (vqi_row_read(&row, s->data + footer.index + i * VQI_ROW_SIZE) &&
            row.offset >= s->first_block && row.offset <= footer.index &&
            row.length <= footer.index - row.offset &&
            vq_crc32c(0, s->data + row.offset, row.length) == row.crc)
            status = note(s, i, row.offset, row.length);
    }
    return status;
}

/* A block, or what is left of one: its whole records. */
static vq_status search_block(salvage *s, const vqi_chunk *chunk)
{
    vqi_block block;
    const uint8_t *bytes;
    uint32_t length, crc;
    if (vqi_block_open(&block, chunk, s->head.packing))
        return VQ_OK;
    vq_status status = VQ_OK;
    while (!status && vqi_block_next(&block, &bytes, &length, &crc))
        if (vq_crc32c(0, bytes, length) == crc)
            status = note(s, block.first + block.next - 1, (uint64_t)(bytes - s->data), length);
    return status;
}

static vq_status search_blocks(salvage *s)
{
    vq_status status = VQ_OK;
    size_t at = s->first_block;
    while (!status && at < s->size && s->size - at >= VQI_CHUNK_HEADER) {
        vqi_cursor cursor = vqi_cursor_of(s->data, s->size);
        vqi_chunk chunk;
        cursor.at += at;
        if (memcmp(cursor.at, "BLCK", 4) != 0) {
            at += VQI_CHUNK_ALIGN;
            continue;
        }
        const int framed = !vqi_chunk_take(&chunk, &cursor);
        /* Its length may be what is damaged: the lengths of its records are in its own table. */
        const vqi_chunk open = {.offset = at,
                                .payload = s->data + at + VQI_CHUNK_HEADER,
                                .length = s->size - at - VQI_CHUNK_HEADER};
        status = search_block(s, &open);
        at = framed && !vqi_chunk_check(&chunk) ? vqi_chunk_next(vqi_offset(&cursor))
                                                : at + VQI_CHUNK_ALIGN;
    }
    return status;
}

static vq_status copy_records(vq_shard_writer *writer, const salvage *s, vq_shard_damage damage,
                              void *context, uint64_t *lost, const vq_limits *limits)
{
    const uint64_t count = s->count > s->expected ? s->count : s->expected;
    vq_record *record;
    vq_status status = vq_record_create(&record);
    for (uint64_t i = 0; !status && i < count; i++) {
        vq_status one = VQ_E_CHECKSUM;
        if (i < s->count && s->places[i].offset)
            one = vqi_record_read(record, &s->head, s->data + s->places[i].offset,
                                  s->places[i].length, limits);
        else
            one = vqi_fail(VQ_E_CHECKSUM, "no whole copy of it was found");
        if (one == VQ_E_NOMEM) {
            status = one;
        } else if (!one) {
            status = vq_shard_add(writer, &record->info, record->tokens);
        } else {
            ++*lost;
            char context_text[40];
            snprintf(context_text, sizeof context_text, "record %llu", (unsigned long long)i);
            vqi_fail_in(one, context_text);
            if (damage && damage(context, i, one, vq_last_error()))
                status = vqi_fail(VQ_E_CANCELLED, "repairing was stopped");
        }
    }
    vq_record_free(record);
    return status;
}

static vq_status write_found(const char *path, salvage *s, const vq_shard_opts *opts,
                             vq_shard_damage damage, void *context, uint64_t *lost,
                             const vq_limits *limits)
{
    vq_shard_opts own;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_shard_opts");
    if (status)
        return status;
    own.resume = own.append = 0;
    s->head.model = own.model;
    own.packing = own.packing ? own.packing : (int)s->head.packing + 1;
    own.block_bytes = own.block_bytes ? own.block_bytes : s->head.block_bytes;
    vq_shard_writer *writer;
    status = vq_shard_create(&writer, path, &s->head.schema, &own);
    if (status)
        return status;
    status = copy_records(writer, s, damage, context, lost, limits);
    if (!status)
        status = vq_shard_finish(writer, NULL);
    if (status)
        vq_shard_writer_discard(writer);
    else
        vq_shard_writer_free(writer);
    return status;
}

vq_status vq_shard_repair(const char *path, const char *damaged, const vq_shard_opts *opts,
                          vq_shard_damage damage, void *context, uint64_t *lost,
                          const vq_limits *limits)
{
    uint64_t own_lost = 0;
    vq_limits own;
    vqi_map map;
    vq_status status = vq_limits_resolve(&own, limits);
    if (!status)
        status = vqi_map_file(&map, damaged);
    if (status)
        return status;
    salvage s = {.data = map.data, .size = map.size};
    uint32_t version[2];
    vqi_cursor cursor = vqi_cursor_of(map.data, map.size);
    status = vqi_store_begin_read(&s.head, version, &cursor, &own);
    if (status)
        vqi_fail_in(status, damaged);
    s.first_block = status ? 0 : vqi_chunk_next(vqi_offset(&cursor));
    if (!status)
        status = search_index(&s);
    if (!status)
        status = search_blocks(&s);
    if (!status)
        status = write_found(path, &s, opts, damage, context, &own_lost, &own);
    vqi_rans_free(s.head.rans);
    vq_free(s.places);
    vqi_unmap(&map);
    if (!status && lost)
        *lost = own_lost;
    return status;
}
