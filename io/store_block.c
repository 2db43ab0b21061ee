/* SPDX-License-Identifier: Apache-2.0 */
#include "io/store_internal.h"
#include "vq/error_internal.h"

vq_status vqi_block_open(vqi_block *b, const vqi_chunk *chunk, vq_packing packing)
{
    if (chunk->length < VQI_BLOCK_HEADER)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: a block of %zu bytes", chunk->offset,
                        chunk->length);
    b->payload = chunk->payload;
    b->end = chunk->payload + chunk->length;
    b->first = vqi_load_u64(b->payload);
    b->count = vqi_load_u32(b->payload + 8);
    b->next = 0;
    b->align = vqi_record_align(packing);
    if (vqi_load_u32(b->payload + 12))
        return vqi_fail(VQ_E_FORMAT, "byte %zu: a reserved byte is not 0", chunk->offset);
    if (!b->count || b->count > (chunk->length - VQI_BLOCK_HEADER) / VQI_BLOCK_ROW)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: a block of %zu bytes with %u records",
                        chunk->offset, chunk->length, b->count);
    b->at = b->payload + VQI_BLOCK_HEADER + (size_t)b->count * VQI_BLOCK_ROW;
    return VQ_OK;
}

int vqi_block_next(vqi_block *b, const uint8_t **bytes, uint32_t *length, uint32_t *crc)
{
    if (b->next == b->count)
        return 0;
    /* The payload lies at a multiple of 64 in the file, so what is aligned in it is aligned there. */
    const size_t at = vqi_align_up((size_t)(b->at - b->payload), b->align);
    const uint8_t *row = b->payload + VQI_BLOCK_HEADER + (size_t)b->next * VQI_BLOCK_ROW;
    *length = vqi_load_u32(row);
    *crc = vqi_load_u32(row + 4);
    if (at > (size_t)(b->end - b->payload) || *length > (size_t)(b->end - b->payload) - at)
        return 0;
    *bytes = b->payload + at;
    b->at = *bytes + *length;
    b->next++;
    return 1;
}
