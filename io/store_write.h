/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/store_write.h
 * Writing shards. Records go to PATH.part, block by block; when the shard is finished that file, whole, takes the name
 * PATH. A writer that is killed leaves PATH.part, from which it can go on; it ends with the same bytes as
 * if it had never been interrupted.
 */
#ifndef IO_STORE_WRITE_H
#define IO_STORE_WRITE_H

#include "io/store.h"
#include "io/store_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How a shard is written; NULL means all defaults. */
typedef struct vq_shard_opts {
    size_t struct_size;   /**< sizeof(vq_shard_opts) */
    int packing;          /**< vq_packing + 1; 0 = bits */
    uint32_t block_bytes; /**< a block ends before it would be larger: 4096 to 2^26; 0 = 256 KiB */
    int resume;           /**< 1 = go on with PATH.part if it is there and is of the same shard */
    int append;           /**< 1 = begin with the records of the shard PATH, if it is there */
    int no_replace;       /**< 1 = VQ_E_IO if PATH exists */
    int no_sync;          /**< 1 = do not fsync */
    const vq_code_model *model; /**< the packing entropy needs one; stays as long as the writer */
} vq_shard_opts;

#define VQ_SHARD_OPTS_INIT                                                                         \
    {                                                                                              \
        sizeof(vq_shard_opts), 0, 0, 0, 0, 0, 0, NULL                                              \
    }

/** One thread at a time. */
typedef struct vq_shard_writer vq_shard_writer;

/**
 * Begin, or go on with, a shard. PATH.part is locked against a second writer.
 * @param[out] out    owned by the caller, free with vq_shard_writer_free().
 * @param      schema copied; of a shard that is resumed or appended to, the same.
 * @return VQ_OK, VQ_E_ARG, VQ_E_IO, VQ_E_MISMATCH (PATH.part or PATH is of another schema, packing or size of blocks),
 *         VQ_E_NOMEM, and what vq_shard_open() gives of the shard that is appended to.
 */
VQ_API vq_status vq_shard_create(vq_shard_writer **out, const char *path,
                                 const vq_store_schema *schema, const vq_shard_opts *opts);

/** Close it. If it is not finished, PATH.part stays, with the blocks that are whole. */
VQ_API void vq_shard_writer_free(vq_shard_writer *writer);

/** Take PATH.part away, if it is not finished, and close. */
VQ_API void vq_shard_writer_discard(vq_shard_writer *writer);

/** @return how many records it has: after a resumed vq_shard_create(), where to go on. */
VQ_API uint64_t vq_shard_writer_records(const vq_shard_writer *writer);

/** @return the key of the last record, in the writer's memory until the next call; NULL if there is none. */
VQ_API const char *vq_shard_writer_last_key(vq_shard_writer *writer);

/**
 * Add a record. It is in the file when its block is full, or the shard is finished.
 * @param info   NULL = nothing is known; copied.
 * @param tokens as many as the schema has streams; NULL where the record has none. Levels, K, kind, codec and model
 *               are the stream's. Copied.
 * @return VQ_OK; VQ_E_ARG, VQ_E_RANGE, VQ_E_MISMATCH: the record is refused, and the shard as it was; VQ_E_IO, VQ_E_NOMEM.
 *         After VQ_E_IO nothing more can be added.
 */
VQ_API vq_status vq_shard_add(vq_shard_writer *writer, const vq_record_info *info,
                              const vq_tokens *const *tokens);

/**
 * Write the last block, the indexes and the footer; sync; give the shard its name. 16 bytes of memory per record with a key.
 * @param[out] info NULL, or a struct to fill.
 * @return VQ_OK, VQ_E_IO, VQ_E_NOMEM. After it only vq_shard_writer_free() may be called.
 */
VQ_API vq_status vq_shard_finish(vq_shard_writer *writer, vq_shard_info *info);

/**
 * Write what is whole of a damaged or unfinished shard as a new one, with new record numbers where some are lost.
 * @param path     of the new shard.
 * @param damaged  of the old one: a shard, or PATH.part.
 * @param opts     of the new shard; resume and append are not looked at; packing 0 = the old one's; a model is the old one's, too.
 * @param damage   told of each record that is lost, by its old number; may be NULL.
 * @param[out] lost NULL, or how many records are known to be lost.
 * @return VQ_OK, also if records are lost; VQ_E_IO, VQ_E_FORMAT and VQ_E_CHECKSUM (its header or its tables are damaged, and
 *         nothing can be read), VQ_E_VERSION, VQ_E_LIMIT, VQ_E_NOMEM, VQ_E_CANCELLED.
 */
VQ_API vq_status vq_shard_repair(const char *path, const char *damaged, const vq_shard_opts *opts,
                                 vq_shard_damage damage, void *context, uint64_t *lost,
                                 const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
