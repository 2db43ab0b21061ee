/* SPDX-License-Identifier: Apache-2.0 */
/** @file io/store_write_internal.h  A shard that is being written: PATH.part, and the block that is not full yet. */
#ifndef IO_STORE_WRITE_INTERNAL_H
#define IO_STORE_WRITE_INTERNAL_H

#include "io/file_ops_internal.h"
#include "io/store_internal.h"
#include "io/store_write.h"

struct vq_shard_writer {
    vqi_store_head head;
    vq_shard_opts opts;
    bool recode; /**< to be entropy coded when all is there */
    const vqi_file_ops *ops;
    char *path, *part;
    int fd;                 /**< of PATH.part; -1 = closed */
    size_t first_block;     /**< where the first block's chunk begins */
    uint64_t end;           /**< of the file so far */
    uint64_t blocks;        /**< in the file */
    uint64_t written;       /**< records in those */
    uint32_t pending;       /**< records in the block that is not full yet */
    vqi_buffer table, body; /**< of it */
    vqi_buffer out;
    char key[VQ_STORE_MAX_KEY + 1]; /**< for vq_shard_writer_last_key() */
    vq_status broken;               /**< a write failed: nothing more can be added */
};

/** vq_shard_create() with another table of calls. */
vq_status vqi_shard_create(vq_shard_writer **out, const vqi_file_ops *ops, const char *path,
                           const vq_store_schema *schema, const vq_shard_opts *opts);

/** Add bytes to the file. @return VQ_OK, VQ_E_IO. */
vq_status vqi_shard_put(vq_shard_writer *writer, const void *bytes, size_t size);
/** Write the block that is not full yet, if there is one. @return VQ_OK, VQ_E_IO, VQ_E_NOMEM. */
vq_status vqi_shard_flush(vq_shard_writer *writer);

/** A record that was accepted is not refused when it is read again. */
static inline vq_limits vqi_writer_limits(void)
{
    vq_limits limits = VQ_LIMITS_INIT;
    vq_limits_resolve(&limits, NULL);
    limits.max_tokens = limits.max_alloc_bytes = UINT64_MAX;
    return limits;
}

/** The head, to the empty file. @return VQ_OK, VQ_E_IO, VQ_E_NOMEM. */
vq_status vqi_shard_begin(vq_shard_writer *writer);
/** All that follows the last record. @return VQ_OK, VQ_E_IO, VQ_E_NOMEM. */
vq_status vqi_shard_end(vq_shard_writer *writer);
/** Write PATH, entropy coded, from PATH.part, which is whole and goes away (store_recode.c).
 *  @return VQ_OK, VQ_E_IO, VQ_E_NOMEM. */
vq_status vqi_shard_recode(vq_shard_writer *writer);

/** Read what is whole of PATH.part, and stand behind it (store_resume.c).
 *  @return VQ_OK, VQ_E_IO, VQ_E_MISMATCH, VQ_E_NOMEM. */
vq_status vqi_shard_resume(vq_shard_writer *writer);

#endif
