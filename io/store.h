/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/store.h
 * A data set as tokens: shards, files of many signals' tokens, of which any one is read without the others.
 * docs/FORMATS.md, section 9, is the format. io/store_write.h writes them, io/store_set.h keeps many as one.
 *
 * A shard holds records. A record has tokens of one or more streams (the levels of one quantizer; action and state;
 * labels), each of its own shape, and what is known of where they come from. A record that is damaged is refused;
 * the others are read as before.
 */
#ifndef IO_STORE_H
#define IO_STORE_H

#include "io/tokens_file.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Sizes that the format fixes. */
enum {
    VQ_STORE_MAX_STREAMS = 16,
    VQ_STORE_NAME_SIZE = 32,       /**< of a stream's name, with its 0 */
    VQ_STORE_MAX_KEY = 4095,       /**< bytes */
    VQ_STORE_MAX_SPLIT = 255,      /**< bytes */
    VQ_STORE_MAX_CAPTION = 1 << 20 /**< bytes */
};

/** What the tokens of one stream have in common over all records. */
typedef struct vq_store_stream {
    char name[VQ_STORE_NAME_SIZE]; /**< "tokens", "state"; UTF-8, not empty, no two alike */
    vq_kind kind;    /**< 0 = codes of no signal, such as labels: they have no source */
    uint32_t levels; /**< 1 to VQ_MAX_LEVELS */
    uint32_t k[VQ_MAX_LEVELS];
    char codec[VQ_CODEC_NAME_SIZE];       /**< "" if no codec made them */
    uint8_t model_sha256[VQ_SHA256_SIZE]; /**< zeros if no model did */
} vq_store_stream;

typedef struct vq_store_schema {
    uint32_t streams; /**< 1 to VQ_STORE_MAX_STREAMS */
    vq_store_stream stream[VQ_STORE_MAX_STREAMS];
} vq_store_schema;

/** The stream that these tokens belong to. @return VQ_OK, VQ_E_ARG (the name is empty or too long). */
VQ_API vq_status vq_store_stream_of(vq_store_stream *stream, const char *name,
                                    const vq_tokens *tokens);

/** What is known of a record beside its tokens. Zeroed: nothing. Texts are UTF-8. */
typedef struct vq_record_info {
    const char *key;     /**< its name, by which it can be found; NULL = none */
    const char *split;   /**< "train"; NULL = none */
    const char *caption; /**< NULL = none */
    int has_label;
    int64_t label;
    uint64_t source_bytes; /**< of the file that was encoded; 0 = not known */
} vq_record_info;

/**
 * A record that was read. It is filled anew by each read and keeps its memory: make one per thread and use it for
 * many reads. What it points to is its own, and good until the next read into it.
 */
typedef struct vq_record {
    uint64_t number; /**< from 0, in its shard or its store */
    vq_record_info info;
    uint32_t streams;
    const vq_tokens *tokens[VQ_STORE_MAX_STREAMS]; /**< NULL where the record has none */
} vq_record;

/** @param[out] out owned by the caller, free with vq_record_free(). @return VQ_OK, VQ_E_NOMEM. */
VQ_API vq_status vq_record_create(vq_record **out);
VQ_API void vq_record_free(vq_record *record);

/** A shard that is open: its file is mapped. Immutable; may be read from many threads at once. */
typedef struct vq_shard vq_shard;

typedef struct vq_shard_info {
    uint32_t version_major, version_minor;
    vq_packing packing;
    uint64_t records, blocks, keys;
    uint64_t codes;         /**< of all records, streams and levels */
    uint64_t file_bytes;    /**< the whole shard */
    uint64_t block_bytes;   /**< the blocks: records with what is known of them */
    uint64_t index_bytes;   /**< the record index and the index of keys */
    uint64_t table_bytes;   /**< the tables of the packing "rans"; else 0 */
    vq_store_schema schema; /**< the streams */
} vq_shard_info;

/**
 * Open a finished shard: its frame is checked, not yet its blocks (each record is when it is read; vq_shard_verify()
 * looks at all). The file must not be changed while it is open.
 * @param[out] out    owned by the caller, free with vq_shard_free().
 * @param      limits NULL = defaults; max_tokens and max_alloc_bytes are of one record.
 * @return VQ_OK, VQ_E_IO, VQ_E_FORMAT (also of a shard that is not finished), VQ_E_VERSION, VQ_E_LIMIT, VQ_E_CHECKSUM,
 *         VQ_E_UNSUPPORTED, VQ_E_NOMEM.
 */
VQ_API vq_status vq_shard_open(vq_shard **out, const char *path, const vq_limits *limits);
/** The same from bytes that the caller keeps as long as the shard. @param name for sentences; NULL = none. */
VQ_API vq_status vq_shard_parse(vq_shard **out, const void *data, size_t size, const char *name,
                                const vq_limits *limits);
VQ_API void vq_shard_free(vq_shard *shard);

VQ_API void vq_shard_get_info(vq_shard_info *info, const vq_shard *shard);
/** @return how many records it has. */
VQ_API uint64_t vq_shard_records(const vq_shard *shard);

/**
 * Read one record. Its checksum is verified, every code is range-checked.
 * @param number from 0.
 * @return VQ_OK, VQ_E_ARG (there is no such record), VQ_E_CHECKSUM, VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_NOMEM.
 */
VQ_API vq_status vq_shard_read(vq_record *record, const vq_shard *shard, uint64_t number);

/** What the index says of a record, without reading it. */
typedef struct vq_shard_row {
    uint64_t offset; /**< of the record in the file */
    uint32_t length; /**< in bytes */
    uint32_t crc;    /**< CRC32C of those bytes */
    uint32_t codes;  /**< over all streams and levels */
    int has_label;
    int64_t label;
} vq_shard_row;

/** @return VQ_OK, VQ_E_ARG (there is no such record), VQ_E_CHECKSUM, VQ_E_FORMAT. */
VQ_API vq_status vq_shard_get_row(vq_shard_row *row, const vq_shard *shard, uint64_t number);

/**
 * The number of the first record with this key.
 * @return VQ_OK, VQ_E_ARG if there is none, VQ_E_CHECKSUM if the index of keys or a record on the way is damaged,
 *         VQ_E_FORMAT, VQ_E_NOMEM.
 */
VQ_API vq_status vq_shard_find(uint64_t *number, const vq_shard *shard, const char *key);

/**
 * What verifying and repairing tell of damage, piece by piece.
 * @param record the number, or UINT64_MAX if no one record is meant.
 * @param what   a sentence, as vq_last_error() has it.
 * @return 0 to go on; else the call ends with VQ_E_CANCELLED.
 */
typedef int (*vq_shard_damage)(void *context, uint64_t record, vq_status status, const char *what);

/**
 * Look at every byte: all checksums, every record, and that the index, the keys and the blocks say the same.
 * @param damage called for each fault; NULL = the first one ends it.
 * @return VQ_OK if all is well; else the first fault's status: VQ_E_CHECKSUM, VQ_E_FORMAT, VQ_E_LIMIT; VQ_E_NOMEM,
 *         VQ_E_CANCELLED.
 */
VQ_API vq_status vq_shard_verify(const vq_shard *shard, vq_shard_damage damage, void *context);

#ifdef __cplusplus
}
#endif
#endif
