/* SPDX-License-Identifier: Apache-2.0 */
/* Shards: opened, every record read, looked up and verified. Checksums are mended first: else no engine would ever get past
   them. A shard that verifies reads to its last record. */
#include <stdlib.h>
#include <string.h>

#include "io/digest.h"
#include "io/store_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend_block(uint8_t *payload, size_t length, vq_packing packing)
{
    const vqi_chunk chunk = {.payload = payload, .length = length};
    vqi_block block;
    const uint8_t *bytes;
    uint32_t size, crc;
    if (vqi_block_open(&block, &chunk, packing))
        return;
    while (vqi_block_next(&block, &bytes, &size, &crc))
        vqi_store_u32(payload + VQI_BLOCK_HEADER + (block.next - 1) * (size_t)VQI_BLOCK_ROW + 4,
                      vq_crc32c(0, bytes, size));
}

static void mend_index(uint8_t *file, size_t size, size_t payload, size_t length)
{
    for (size_t at = payload; at - payload + VQI_ROW_SIZE <= length; at += VQI_ROW_SIZE) {
        const uint64_t offset = vqi_load_u64(file + at);
        const uint32_t bytes = vqi_load_u32(file + at + 8);
        if (offset <= size && bytes <= size - offset)
            vqi_store_u32(file + at + 12, vq_crc32c(0, file + offset, bytes));
        vqi_store_u32(file + at + 28, vq_crc32c(0, file + at, 28));
    }
}

static void mend_checksums(uint8_t *file, size_t size)
{
    if (size < VQI_FILE_HEADER)
        return;
    vqi_store_u32(file + 44, vq_crc32c(0, file, 44));
    size_t at = VQI_FILE_HEADER;
    while (size - at >= VQI_CHUNK_HEADER + 4) {
        const uint64_t length = vqi_load_u64(file + at + 8);
        if (length > size - at - VQI_CHUNK_HEADER - 4)
            return;
        uint8_t *payload = file + at + VQI_CHUNK_HEADER;
        if (!memcmp(file + at, "BLCK", 4))
            mend_block(payload, (size_t)length, VQ_PACKING_BITS);
        if (!memcmp(file + at, "RIDX", 4))
            mend_index(file, size, at + VQI_CHUNK_HEADER, (size_t)length);
        const size_t end = at + VQI_CHUNK_HEADER + (size_t)length;
        vqi_store_u32(file + end, vq_crc32c(0, file + at, end - at));
        at = vqi_chunk_next(end + 4);
        if (at > size)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *file = malloc(size ? size : 1);
    vq_shard *shard = NULL;
    vq_record *record = NULL;
    if (!file)
        return 0;
    if (size)
        memcpy(file, data, size);
    mend_checksums(file, size);
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_tokens = 1 << 20;
    if (vq_record_create(&record) || vq_shard_parse(&shard, file, size, NULL, &limits)) {
        vq_record_free(record);
        free(file);
        return 0;
    }
    const bool whole = !vq_shard_verify(shard, NULL, NULL);
    for (uint64_t i = 0; i < vq_shard_records(shard); i++) {
        uint64_t found;
        if (vq_shard_read(record, shard, i)) {
            if (whole)
                abort();
            continue;
        }
        for (uint32_t s = 0; s < record->streams; s++)
            if (record->tokens[s] && vq_tokens_validate(record->tokens[s]))
                abort();
        if (record->info.key && vq_shard_find(&found, shard, record->info.key) && whole)
            abort();
    }
    vq_record_free(record);
    vq_shard_free(shard);
    free(file);
    return 0;
}
