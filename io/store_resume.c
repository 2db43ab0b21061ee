/* SPDX-License-Identifier: Apache-2.0 */
/* To go on with PATH.part: its blocks up to the first that is not whole, the last of them taken back into memory, since
   it may have been the one that the interrupted run would have gone on to fill. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "io/store_write_internal.h"
#include "vq/error_internal.h"

/* The next whole block that goes on where the last one ended. */
static int next_block(vqi_block *block, vqi_cursor *cursor, const vq_shard_writer *w)
{
    vqi_chunk chunk;
    return !vqi_chunk_skip_padding(cursor) && !vqi_chunk_take(&chunk, cursor) &&
           !strcmp(chunk.type, "BLCK") && !vqi_chunk_check(&chunk) &&
           !vqi_block_open(block, &chunk, w->head.packing) && block->first == w->written;
}

/* A block's records back into memory. */
static vq_status take_back(vq_shard_writer *w, vqi_block *block)
{
    const uint8_t *bytes;
    uint32_t length, crc;
    vq_status status = VQ_OK;
    while (!status && vqi_block_next(block, &bytes, &length, &crc)) {
        static const uint8_t zeros[VQI_RAW_ALIGN];
        uint8_t row[VQI_BLOCK_ROW];
        vqi_store_u32(row, length);
        vqi_store_u32(row + 4, crc);
        status = vqi_buffer_put(&w->body, zeros,
                                vqi_align_up(w->body.size, block->align) - w->body.size);
        if (!status)
            status = vqi_buffer_put(&w->body, bytes, length);
        if (!status)
            status = vqi_buffer_put(&w->table, row, sizeof row);
        w->pending++;
    }
    return status;
}

static vq_status resume(vq_shard_writer *w, const vqi_map *map)
{
    w->out.size = 0;
    vq_status status = vqi_store_begin(&w->out, &w->head);
    if (status)
        return status;
    const size_t size = map->size < w->out.size ? map->size : w->out.size;
    if (size && memcmp(map->data, w->out.data, size) != 0)
        return vqi_fail(VQ_E_MISMATCH,
                        "%s: has other streams, another packing or other blocks (remove it to "
                        "begin anew)",
                        w->part);
    if (size < w->out.size) /* not even its head is whole */
        return VQ_OK;
    vqi_cursor cursor = vqi_cursor_of(map->data, map->size);
    cursor.at += size;
    w->end = size;
    w->first_block = vqi_chunk_next(size);
    vqi_block last = {0}, block;
    uint64_t end = size;
    while (next_block(&block, &cursor, w)) {
        last = block;
        w->end = end;
        end = vqi_offset(&cursor);
        w->written += block.count;
        w->blocks++;
    }
    if (last.count) {
        w->written = last.first;
        w->blocks--;
        status = take_back(w, &last);
    }
    return status;
}

vq_status vqi_shard_resume(vq_shard_writer *w)
{
    vqi_map map;
    vq_status status = vqi_map_fd(&map, w->fd, w->part);
    if (status)
        return status;
    status = resume(w, &map);
    vqi_unmap(&map);
    if (!status && w->first_block &&
        (ftruncate(w->fd, (off_t)w->end) || lseek(w->fd, (off_t)w->end, SEEK_SET) < 0))
        status = vqi_fail(VQ_E_IO, "%s: cannot be written (%s)", w->part, strerror(errno));
    return status;
}
