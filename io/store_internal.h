/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/store_internal.h
 * The parts of a shard, which docs/FORMATS.md, section 9, specifies: HEAD, blocks of records, the index, the footer.
 */
#ifndef IO_STORE_INTERNAL_H
#define IO_STORE_INTERNAL_H

#include "io/buffer_internal.h"
#include "io/chunks_internal.h"
#include "io/rans_tables_internal.h"
#include "io/store.h"
#include "io/store_model.h"

#define VQI_SHARD_MAGIC "\x89VQS\r\n\x1a\n"

enum {
    VQI_BLOCK_HEADER = 16, /**< number of the first record 8, records 4, zeros 4 */
    VQI_BLOCK_ROW = 8,     /**< length 4, CRC32C 4 */
    VQI_ROW_SIZE = 32, /**< offset 8, length 4, CRC32C 4, label 8, codes 4, CRC32C of the row 4 */
    VQI_KEY_SIZE = 16, /**< hash 8, record 8 */
    VQI_FOOTER_SIZE = 60, /**< bytes, records, codes, blocks, index, keys' index, keys, zeros 4 */
    VQI_FOOTER_CHUNK = VQI_CHUNK_HEADER + VQI_FOOTER_SIZE + 4,
    VQI_RAW_ALIGN = 4, /**< of records of the packing raw */
    VQI_BLOCK_DEFAULT = 1 << 18,
    VQI_BLOCK_LEAST = 1 << 12,
    VQI_BLOCK_MOST = 1 << 26
};

/** Bytes of one record, at most; codes, too: a row holds both in 32 bits. */
#define VQI_RECORD_MOST ((size_t)INT32_MAX)
/** In a row: the record has no label. The record itself knows better where this is the label. */
#define VQI_NO_LABEL INT64_MIN

/** What the head of a shard says. */
typedef struct vqi_store_head {
    vq_store_schema schema;
    vq_packing packing;
    uint32_t block_bytes;
    vqi_rans *rans;             /**< of the packing rans, else NULL */
    size_t table_bytes;         /**< of them in the file that was read */
    const vq_code_model *model; /**< of the packing entropy, borrowed; NULL = not known */
} vqi_store_head;

/** The size of a record's alignment. */
static inline size_t vqi_record_align(vq_packing packing)
{
    return packing == VQ_PACKING_RAW ? VQI_RAW_ALIGN : 1;
}

static inline size_t vqi_align_up(size_t offset, size_t align)
{
    return (offset + align - 1) / align * align;
}

/* HEAD (store_head.c). */

/** @return VQ_OK, VQ_E_ARG. */
vq_status vqi_store_check_schema(const vq_store_schema *schema);
/** The file header, the chunk HEAD and, if there are tables, TABL. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_store_begin(vqi_buffer *out, const vqi_store_head *head);
/** Take them; vqi_rans_free(head->rans) afterwards, also if it failed. @return VQ_OK, VQ_E_FORMAT, VQ_E_CHECKSUM, VQ_E_VERSION, VQ_E_LIMIT, VQ_E_UNSUPPORTED, VQ_E_NOMEM. */
vq_status vqi_store_begin_read(vqi_store_head *head, uint32_t version[2], vqi_cursor *cursor,
                               const vq_limits *limits);

/* Records (store_record.c, store_record_read.c). */

/** Add a record's bytes. @return VQ_OK, VQ_E_ARG, VQ_E_RANGE, VQ_E_MISMATCH, VQ_E_NOMEM; then nothing was added. */
vq_status vqi_record_append(vqi_buffer *out, const vqi_store_head *head, const vq_record_info *info,
                            const vq_tokens *const *tokens);

/** What an index needs of a record: read without its codes. */
typedef struct vqi_record_peek {
    const uint8_t *key; /**< in the record's bytes; NULL = none */
    size_t key_size;
    int has_label;
    int64_t label;
    uint64_t codes;
} vqi_record_peek;

/** @return VQ_OK, VQ_E_FORMAT, VQ_E_LIMIT. */
vq_status vqi_record_peek_at(vqi_record_peek *peek, const vqi_store_head *head,
                             const uint8_t *bytes, size_t size, const vq_limits *limits);
/** The whole record. @return VQ_OK, VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_NOMEM. */
vq_status vqi_record_read(vq_record *record, const vqi_store_head *head, const uint8_t *bytes,
                          size_t size, const vq_limits *limits);

/** Codes through a pipeline's model (store_model.c). @return VQ_OK, VQ_E_ARG (of the model), VQ_E_NOMEM. */
vq_status vqi_model_pack(vqi_buffer *out, const vq_code_model *model, uint32_t stream,
                         const vq_tokens *tokens);
/** The reverse: tokens with shape and K, and room for codes. @return VQ_OK, VQ_E_FORMAT. */
vq_status vqi_model_unpack(vq_tokens *tokens, const vq_code_model *model, uint32_t stream,
                           const uint8_t *bytes, size_t size);

/* Blocks (store_block.c). */

/** A block whose table of records lies within it. */
typedef struct vqi_block {
    const uint8_t *payload, *end;
    uint64_t first; /**< number of its first record */
    uint32_t count;
    uint32_t next;     /**< of the records, to be given next */
    const uint8_t *at; /**< where that one begins */
    size_t align;
} vqi_block;

/** Look at a chunk BLCK, whose checksum may be wrong. @return VQ_OK, VQ_E_FORMAT. */
vq_status vqi_block_open(vqi_block *block, const vqi_chunk *chunk, vq_packing packing);
/** The next record. @return 0 if there is none more within the block. */
int vqi_block_next(vqi_block *block, const uint8_t **bytes, uint32_t *length, uint32_t *crc);

/* The index (store_index.c). */

/** 64-bit FNV-1a (Fowler, Noll, Vo). */
uint64_t vqi_key_hash(const void *key, size_t size);
void vqi_row_write(uint8_t out[VQI_ROW_SIZE], const vq_shard_row *row);
/** @return whether its checksum is right. */
bool vqi_row_read(vq_shard_row *row, const uint8_t bytes[VQI_ROW_SIZE]);

typedef struct vqi_footer {
    uint64_t file_bytes, records, codes, blocks;
    uint64_t index; /**< offset of the payload of RIDX */
    uint64_t keys_index;
    uint64_t keys;
} vqi_footer;

/** The whole chunk, VQI_FOOTER_CHUNK bytes. */
void vqi_footer_write(uint8_t *out, const vqi_footer *footer);
/** The end of a shard. @return VQ_OK, VQ_E_FORMAT, VQ_E_CHECKSUM. */
vq_status vqi_footer_read(vqi_footer *footer, const uint8_t *data, size_t size);

/* Mapped files (store_map.c). */

typedef struct vqi_map {
    void *mapped;
    const uint8_t *data; /**< the same */
    size_t size;
} vqi_map;

/** Map an open file for reading. @return VQ_OK, VQ_E_IO, VQ_E_NOMEM. */
vq_status vqi_map_fd(vqi_map *map, int fd, const char *path);
vq_status vqi_map_file(vqi_map *map, const char *path);
void vqi_unmap(vqi_map *map);

struct vq_shard {
    vqi_map map; /**< empty if the bytes are the caller's */
    const uint8_t *data;
    size_t size;
    char *name; /**< for sentences; or NULL */
    vq_limits limits;
    uint32_t version[2];
    vqi_store_head head;
    size_t head_end;    /**< where HEAD, or the tables, end */
    size_t first_block; /**< where the chunk after them begins */
    vqi_footer footer;
};

/** The row and the bytes of a record, both with a right checksum. @return as vq_shard_read(). */
vq_status vqi_shard_bytes(const uint8_t **bytes, vq_shard_row *row, const vq_shard *shard,
                          uint64_t number);

#endif
