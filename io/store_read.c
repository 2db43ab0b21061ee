/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "io/digest.h"
#include "io/store_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

static vq_status in_shard(vq_status status, const vq_shard *shard)
{
    return shard->name ? vqi_fail_in(status, shard->name) : status;
}

static vq_status parse(vq_shard *shard)
{
    vqi_cursor cursor = vqi_cursor_of(shard->data, shard->size);
    vq_status status = vqi_store_begin_read(&shard->head, shard->version, &cursor, &shard->limits);
    if (status)
        return status;

    shard->head_end = vqi_offset(&cursor);
    shard->first_block = vqi_chunk_next(shard->head_end);
    status = vqi_footer_read(&shard->footer, shard->data, shard->size);
    if (!status && shard->footer.index < shard->first_block)
        status = vqi_fail(VQ_E_FORMAT, "the footer says that the index lies before the blocks");
    return status;
}

static vq_status create(vq_shard **out, const char *name, const vq_limits *limits)
{
    *out = NULL;
    vq_shard *shard = vqi_calloc(1, sizeof *shard);
    if (!shard)
        return vqi_fail_nomem(sizeof *shard);
    vq_status status = vq_limits_resolve(&shard->limits, limits);
    if (!status && name && !(shard->name = vqi_strdup(name)))
        status = vqi_fail_nomem(strlen(name) + 1);
    if (status)
        vq_shard_free(shard);
    else
        *out = shard;
    return status;
}

vq_status vq_shard_open_with(vq_shard **out, const char *path, const vq_code_model *model,
                             const vq_limits *limits)
{
    const vq_status status = vq_shard_open(out, path, limits);
    if (!status)
        (*out)->head.model = model;
    return status;
}

static vq_status parse_or_free(vq_shard **out, vq_shard *shard)
{
    const vq_status status = parse(shard);
    if (!status) {
        *out = shard;
        return VQ_OK;
    }
    in_shard(status, shard);
    vq_shard_free(shard);
    return status;
}

vq_status vq_shard_parse(vq_shard **out, const void *data, size_t size, const char *name,
                         const vq_limits *limits)
{
    *out = NULL;
    vq_shard *shard;
    const vq_status status = create(&shard, name, limits);
    if (status)
        return status;
    shard->data = data;
    shard->size = size;
    return parse_or_free(out, shard);
}

vq_status vq_shard_open(vq_shard **out, const char *path, const vq_limits *limits)
{
    *out = NULL;
    vq_shard *shard;
    vq_status status = create(&shard, path, limits);
    if (status)
        return status;
    status = vqi_map_file(&shard->map, path);
    if (status) {
        vq_shard_free(shard);
        return status;
    }
    shard->data = shard->map.data;
    shard->size = shard->map.size;
    return parse_or_free(out, shard);
}

void vq_shard_free(vq_shard *shard)
{
    if (!shard)
        return;
    vqi_unmap(&shard->map);
    vqi_rans_free(shard->head.rans);
    vq_free(shard->name);
    vq_free(shard);
}

void vq_shard_get_info(vq_shard_info *info, const vq_shard *shard)
{
    const vqi_footer *f = &shard->footer;
    *info = (vq_shard_info){.version_major = shard->version[0],
                            .version_minor = shard->version[1],
                            .packing = shard->head.packing,
                            .records = f->records,
                            .blocks = f->blocks,
                            .keys = f->keys,
                            .codes = f->codes,
                            .file_bytes = shard->size,
                            .block_bytes = f->index - VQI_CHUNK_HEADER - shard->first_block,
                            .index_bytes = shard->size - f->index + VQI_CHUNK_HEADER,
                            .table_bytes = shard->head.table_bytes,
                            .schema = shard->head.schema};
}

uint64_t vq_shard_records(const vq_shard *shard)
{
    return shard->footer.records;
}

static vq_status get_row(vq_shard_row *row, const vq_shard *shard, uint64_t number)
{
    const vqi_footer *f = &shard->footer;
    if (number >= f->records)
        return vqi_fail(VQ_E_ARG, "there is no record %llu (the shard has %llu)",
                        (unsigned long long)number, (unsigned long long)f->records);
    if (!vqi_row_read(row, shard->data + f->index + number * VQI_ROW_SIZE))
        return vqi_fail(VQ_E_CHECKSUM,
                        "record %llu: the checksum of its row in the index does not "
                        "match",
                        (unsigned long long)number);
    if (row->offset < shard->first_block || row->offset > f->index ||
        row->length > f->index - row->offset)
        return vqi_fail(VQ_E_FORMAT,
                        "record %llu: the index says %u bytes at byte %llu, outside "
                        "the blocks",
                        (unsigned long long)number, row->length, (unsigned long long)row->offset);
    if (row->length > VQI_RECORD_MOST)
        return vqi_fail(VQ_E_LIMIT, "record %llu: it has %u bytes (at most %zu)",
                        (unsigned long long)number, row->length, VQI_RECORD_MOST);
    return VQ_OK;
}

vq_status vq_shard_get_row(vq_shard_row *row, const vq_shard *shard, uint64_t number)
{
    const vq_status status = get_row(row, shard, number);
    return status ? in_shard(status, shard) : VQ_OK;
}

vq_status vqi_shard_bytes(const uint8_t **bytes, vq_shard_row *row, const vq_shard *shard,
                          uint64_t number)
{
    const vq_status status = get_row(row, shard, number);
    if (status)
        return status;
    *bytes = shard->data + row->offset;
    if (vq_crc32c(0, *bytes, row->length) != row->crc)
        return vqi_fail(VQ_E_CHECKSUM,
                        "record %llu, %u bytes at byte %llu: the checksum does not "
                        "match",
                        (unsigned long long)number, row->length, (unsigned long long)row->offset);
    return VQ_OK;
}

static vq_status in_record(vq_status status, const vq_shard *shard, uint64_t number)
{
    char context[40];
    snprintf(context, sizeof context, "record %llu", (unsigned long long)number);
    vqi_fail_in(status, context);
    return in_shard(status, shard);
}

vq_status vq_shard_read(vq_record *record, const vq_shard *shard, uint64_t number)
{
    vq_shard_row row;
    const uint8_t *bytes;
    vq_status status = vqi_shard_bytes(&bytes, &row, shard, number);
    if (status)
        return in_shard(status, shard);
    record->number = number;
    status = vqi_record_read(record, &shard->head, bytes, row.length, &shard->limits);
    return status ? in_record(status, shard, number) : VQ_OK;
}

/* The first of the rows, which are sorted, whose hash is not below. */
static uint64_t lower_bound(const uint8_t *rows, uint64_t count, uint64_t hash)
{
    uint64_t low = 0, high = count;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (vqi_load_u64(rows + middle * VQI_KEY_SIZE) < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Not found: is that so, or is the index of keys damaged? */
static vq_status not_found(const vq_shard *shard, const char *key)
{
    const vqi_footer *f = &shard->footer;
    vq_status status = VQ_OK;
    if (f->keys) {
        vqi_cursor cursor = vqi_cursor_of(shard->data, shard->size);
        vqi_chunk chunk;
        cursor.at += f->keys_index - VQI_CHUNK_HEADER;
        status = vqi_chunk_take(&chunk, &cursor);
        if (!status)
            status = vqi_chunk_check(&chunk);
    }
    return status ? status : vqi_fail(VQ_E_ARG, "there is no record with the key \"%.80s\"", key);
}

static vq_status find(uint64_t *number, const vq_shard *shard, const char *key)
{
    const vqi_footer *f = &shard->footer;
    const uint8_t *rows = shard->data + f->keys_index;
    const size_t size = strlen(key);
    const uint64_t hash = vqi_key_hash(key, size);
    for (uint64_t i = f->keys ? lower_bound(rows, f->keys, hash) : 0; i < f->keys; i++) {
        if (vqi_load_u64(rows + i * VQI_KEY_SIZE) != hash)
            break;
        const uint64_t at = vqi_load_u64(rows + i * VQI_KEY_SIZE + 8);
        if (at >= f->records)
            continue; /* not_found() will say it if the index is damaged */
        vq_shard_row row;
        const uint8_t *bytes;
        vqi_record_peek peek;
        vq_status status = vqi_shard_bytes(&bytes, &row, shard, at);
        if (!status)
            status = vqi_record_peek_at(&peek, &shard->head, bytes, row.length, &shard->limits);
        if (status)
            return status;
        if (peek.key && peek.key_size == size && !memcmp(peek.key, key, size)) {
            *number = at;
            return VQ_OK;
        }
    }
    return not_found(shard, key);
}

vq_status vq_shard_find(uint64_t *number, const vq_shard *shard, const char *key)
{
    const vq_status status = find(number, shard, key);
    return status ? in_shard(status, shard) : VQ_OK;
}
