/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "io/digest.h"
#include "io/store_internal.h"
#include "vq/error_internal.h"

uint64_t vqi_key_hash(const void *key, size_t size)
{
    const uint8_t *bytes = key;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

void vqi_row_write(uint8_t out[VQI_ROW_SIZE], const vq_shard_row *row)
{
    vqi_store_u64(out, row->offset);
    vqi_store_u32(out + 8, row->length);
    vqi_store_u32(out + 12, row->crc);
    vqi_store_u64(out + 16, (uint64_t)(row->has_label ? row->label : VQI_NO_LABEL));
    vqi_store_u32(out + 24, row->codes);
    vqi_store_u32(out + 28, vq_crc32c(0, out, 28));
}

bool vqi_row_read(vq_shard_row *row, const uint8_t bytes[VQI_ROW_SIZE])
{
    row->offset = vqi_load_u64(bytes);
    row->length = vqi_load_u32(bytes + 8);
    row->crc = vqi_load_u32(bytes + 12);
    row->label = (int64_t)vqi_load_u64(bytes + 16);
    row->has_label = row->label != VQI_NO_LABEL;
    row->label = row->has_label ? row->label : 0;
    row->codes = vqi_load_u32(bytes + 24);
    return vqi_load_u32(bytes + 28) == vq_crc32c(0, bytes, 28);
}

void vqi_footer_write(uint8_t *out, const vqi_footer *f)
{
    const uint64_t numbers[] = {f->file_bytes, f->records,    f->codes, f->blocks,
                                f->index,      f->keys_index, f->keys};
    uint8_t *at = out + VQI_CHUNK_HEADER;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++, at += 8)
        vqi_store_u64(at, numbers[i]);
    vqi_store_u32(at, 0);
    vqi_chunk_seal(out, 0, "SEND", VQI_FOOTER_SIZE);
}

static vq_status check_array(const uint8_t *data, const vqi_footer *f, uint64_t at,
                             const char *type, uint64_t count, size_t size)
{
    const uint64_t end = f->file_bytes - VQI_FOOTER_CHUNK;
    if (at % VQI_CHUNK_ALIGN || at < VQI_CHUNK_ALIGN || at > end || count > (end - at) / size ||
        memcmp(data + at - VQI_CHUNK_HEADER, type, 4) != 0 ||
        vqi_load_u64(data + at - 8) != count * size)
        return vqi_fail(VQ_E_FORMAT, "the footer says that %llu rows of %s lie at byte %llu",
                        (unsigned long long)count, type, (unsigned long long)at);
    return VQ_OK;
}

vq_status vqi_footer_read(vqi_footer *f, const uint8_t *data, size_t size)
{
    static const char unfinished[] = "the shard is not finished, or its end is missing (it has no "
                                     "footer; \"vqstore repair\" saves what is whole)";
    if (size < VQI_FOOTER_CHUNK || size % VQI_CHUNK_ALIGN)
        return vqi_fail(VQ_E_FORMAT, unfinished);
    vqi_cursor cursor = vqi_cursor_of(data, size);
    cursor.at = data + size - VQI_FOOTER_CHUNK;
    vqi_chunk chunk;
    if (memcmp(cursor.at, "SEND", 4) != 0 || vqi_load_u64(cursor.at + 8) != VQI_FOOTER_SIZE ||
        vqi_chunk_take(&chunk, &cursor))
        return vqi_fail(VQ_E_FORMAT, unfinished);
    vq_status status = vqi_chunk_check(&chunk);
    if (status)
        return status;
    const uint8_t *at = chunk.payload;
    *f = (vqi_footer){vqi_load_u64(at),      vqi_load_u64(at + 8),  vqi_load_u64(at + 16),
                      vqi_load_u64(at + 24), vqi_load_u64(at + 32), vqi_load_u64(at + 40),
                      vqi_load_u64(at + 48)};
    if (f->file_bytes != size)
        return vqi_fail(VQ_E_FORMAT, "the footer says %llu bytes, and the shard has %zu",
                        (unsigned long long)f->file_bytes, size);
    if (vqi_load_u32(at + 56))
        return vqi_fail(VQ_E_FORMAT, "the footer has a reserved byte that is not 0");
    status = check_array(data, f, f->index, "RIDX", f->records, VQI_ROW_SIZE);
    if (!status && !f->keys != !f->keys_index)
        status = vqi_fail(VQ_E_FORMAT, "the footer has keys without an index, or the reverse");
    if (!status && f->keys)
        status = check_array(data, f, f->keys_index, "KIDX", f->keys, VQI_KEY_SIZE);
    return status;
}
