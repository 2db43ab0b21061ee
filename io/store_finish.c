/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a shard: the index, made of the blocks as they lie in the file, the footer, the name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/digest.h"
#include "io/store_write_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { BATCH = 1 << 20 };

/* A chunk whose length is known and whose payload comes in pieces. */
typedef struct piecewise {
    vq_shard_writer *w;
    uint32_t crc;
} piecewise;

static vq_status put(piecewise *p, const void *bytes, size_t size)
{
    p->crc = vq_crc32c(p->crc, bytes, size);
    vq_status status = vqi_buffer_put(&p->w->out, bytes, size);
    if (!status && p->w->out.size >= BATCH) {
        status = vqi_shard_put(p->w, p->w->out.data, p->w->out.size);
        p->w->out.size = 0;
    }
    return status;
}

static vq_status begin_chunk(piecewise *p, vq_shard_writer *w, const char *type, uint64_t length,
                             uint64_t *offset)
{
    static const uint8_t zeros[VQI_CHUNK_ALIGN];
    uint8_t header[VQI_CHUNK_HEADER] = {0};
    memcpy(header, type, 4);
    vqi_store_u64(header + 8, length);
    const size_t at = vqi_chunk_next((size_t)w->end);
    *p = (piecewise){w, 0};
    *offset = at + VQI_CHUNK_HEADER;
    w->out.size = 0;
    const vq_status status = put(p, zeros, at - (size_t)w->end);
    p->crc = 0;
    return status ? status : put(p, header, sizeof header);
}

static vq_status end_chunk(piecewise *p)
{
    uint8_t crc[4];
    vqi_store_u32(crc, p->crc);
    const vq_status status = vqi_buffer_put(&p->w->out, crc, sizeof crc);
    return status ? status : vqi_shard_put(p->w, p->w->out.data, p->w->out.size);
}

/* The records of a file's blocks, one after the other. */
typedef struct walk {
    const vqi_map *map;
    const vqi_store_head *head;
    const vq_limits *limits;
    vqi_cursor cursor;
    vqi_block block;
    uint64_t blocks, number;
    vq_shard_row row;
    vqi_record_peek peek;
} walk;

static walk walk_of(const vq_shard_writer *w, const vqi_map *map, const vq_limits *limits)
{
    walk at = {.map = map, .head = &w->head, .limits = limits};
    at.cursor = vqi_cursor_of(map->data, map->size);
    at.cursor.at += w->first_block < map->size ? w->first_block : map->size;
    return at;
}

/* @return VQ_OK with *more = 0 at the end. */
static vq_status next_record(walk *at, uint64_t blocks, int *more)
{
    const uint8_t *bytes;
    vq_status status = VQ_OK;
    *more = 0;
    while (!vqi_block_next(&at->block, &bytes, &at->row.length, &at->row.crc)) {
        if (at->blocks == blocks)
            return VQ_OK;
        vqi_chunk chunk;
        if (at->blocks)
            status = vqi_chunk_skip_padding(&at->cursor);
        if (!status)
            status = vqi_chunk_take(&chunk, &at->cursor);
        if (!status)
            status = vqi_block_open(&at->block, &chunk, at->head->packing);
        if (status)
            return status;
        at->number = at->block.first;
        at->blocks++;
    }
    *more = 1;
    at->row.offset = (uint64_t)(bytes - at->map->data);
    status = vqi_record_peek_at(&at->peek, at->head, bytes, at->row.length, at->limits);
    if (status)
        return status;
    at->row.codes = (uint32_t)at->peek.codes;
    at->row.has_label = at->peek.has_label;
    at->row.label = at->peek.label;
    at->number++;
    return VQ_OK;
}

static vq_status write_index(vq_shard_writer *w, vqi_footer *footer, walk at)
{
    piecewise chunk;
    int more = 1;
    vq_status status = begin_chunk(&chunk, w, "RIDX", w->written * VQI_ROW_SIZE, &footer->index);
    while (!status && more) {
        uint8_t row[VQI_ROW_SIZE];
        status = next_record(&at, w->blocks, &more);
        if (status || !more)
            break;
        vqi_row_write(row, &at.row);
        footer->records++;
        footer->codes += at.row.codes;
        footer->keys += at.peek.key != NULL;
        status = put(&chunk, row, sizeof row);
    }
    return status ? status : end_chunk(&chunk);
}

typedef struct key_row {
    uint64_t hash, number;
} key_row;

static int by_hash(const void *a, const void *b)
{
    const key_row *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static vq_status collect_keys(key_row *rows, const vq_shard_writer *w, walk at)
{
    size_t count = 0;
    int more = 1;
    while (more) {
        const vq_status status = next_record(&at, w->blocks, &more);
        if (status)
            return status;
        if (more && at.peek.key)
            rows[count++] = (key_row){vqi_key_hash(at.peek.key, at.peek.key_size), at.number - 1};
    }
    qsort(rows, count, sizeof *rows, by_hash);
    return VQ_OK;
}

static vq_status write_keys(vq_shard_writer *w, vqi_footer *footer, walk at)
{
    if (!footer->keys)
        return VQ_OK;
    const size_t count = (size_t)footer->keys;
    key_row *rows = vqi_alloc(count, sizeof *rows);
    if (!rows)
        return vqi_fail_nomem((unsigned long long)count * sizeof *rows);
    piecewise chunk;
    vq_status status = collect_keys(rows, w, at);
    if (!status)
        status = begin_chunk(&chunk, w, "KIDX", footer->keys * VQI_KEY_SIZE, &footer->keys_index);
    for (size_t i = 0; !status && i < count; i++) {
        uint8_t row[VQI_KEY_SIZE];
        vqi_store_u64(row, rows[i].hash);
        vqi_store_u64(row + 8, rows[i].number);
        status = put(&chunk, row, sizeof row);
    }
    if (!status)
        status = end_chunk(&chunk);
    vq_free(rows);
    return status;
}

static vq_status write_footer(vq_shard_writer *w, vqi_footer *footer)
{
    uint8_t bytes[VQI_CHUNK_ALIGN + VQI_FOOTER_CHUNK] = {0};
    const size_t padding = vqi_chunk_next((size_t)w->end) - (size_t)w->end;
    footer->blocks = w->blocks;
    footer->file_bytes = w->end + padding + VQI_FOOTER_CHUNK;
    vqi_footer_write(bytes + padding, footer);
    return vqi_shard_put(w, bytes, padding + VQI_FOOTER_CHUNK);
}

vq_status vqi_shard_end(vq_shard_writer *w)
{
    vqi_map map;
    vqi_footer footer = {0};
    const vq_limits limits = vqi_writer_limits();
    vq_status status = vqi_shard_flush(w);
    if (!status)
        status = vqi_map_fd(&map, w->fd, w->part);
    if (status)
        return status;
    status = write_index(w, &footer, walk_of(w, &map, &limits));
    if (!status)
        status = write_keys(w, &footer, walk_of(w, &map, &limits));
    if (!status)
        status = write_footer(w, &footer);
    vqi_unmap(&map);
    return status;
}

static vq_status give_name(vq_shard_writer *w)
{
    if (!w->opts.no_sync && w->ops->fsync(w->fd))
        return vqi_fail(VQ_E_IO, "%s: cannot be synced (%s)", w->part, strerror(errno));
    if (w->ops->rename(w->part, w->path))
        return vqi_fail(VQ_E_IO, "%s: cannot be replaced (%s)", w->path, strerror(errno));
    if (!w->opts.no_sync)
        vqi_sync_folder_of(w->ops, w->path);
    const int fd = w->fd;
    w->fd = -1;
    return w->ops->close(fd)
               ? vqi_fail(VQ_E_IO, "%s: cannot be closed (%s)", w->path, strerror(errno))
               : VQ_OK;
}

vq_status vq_shard_finish(vq_shard_writer *w, vq_shard_info *info)
{
    if (w->broken || w->fd < 0)
        return vqi_fail(VQ_E_ARG, "%s: cannot be finished: it is already, or a write failed",
                        w->path);
    vq_status status = vqi_shard_end(w);
    if (!status)
        status = w->recode ? vqi_shard_recode(w) : give_name(w);
    if (status) {
        w->broken = status;
        return status;
    }
    vq_shard *shard;
    if (!info)
        return VQ_OK;
    status = vq_shard_open(&shard, w->path, NULL);
    if (!status)
        vq_shard_get_info(info, shard);
    vq_shard_free(shard);
    return status;
}
