/* SPDX-License-Identifier: Apache-2.0 */
/** @file io/store_set_internal.h  The shards of a store, and what its manifest says of them. */
#ifndef IO_STORE_SET_INTERNAL_H
#define IO_STORE_SET_INTERNAL_H

#include "io/head_internal.h"
#include "io/store_set.h"

typedef struct vqi_store_entry {
    char *name;
    vq_shard *shard;
    uint64_t first; /**< number of its first record in the store */
    uint64_t records, codes, bytes;
    int has_sha256;
    uint8_t sha256[VQ_SHA256_SIZE];
} vqi_store_entry;

struct vq_store {
    vq_store_schema schema;
    size_t count;
    vqi_store_entry *entry;
    uint64_t records;
};

/** folder/name, owned by the caller. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_store_path(char **path, const char *folder, const char *name);
/** The streams as JSON, an array (store_head.c). @return NULL when there is no memory. */
json_t *vqi_store_streams(const vq_store_schema *schema);
/** And back. @return VQ_OK, VQ_E_FORMAT. */
vq_status vqi_store_get_streams(vq_store_schema *schema, const json_t *object,
                                const vq_limits *limits);
/** Fill in schema and entries, whose shards are not open yet; what was filled in stays on failure.
 *  @return VQ_OK, VQ_E_IO, VQ_E_FORMAT, VQ_E_VERSION, VQ_E_LIMIT, VQ_E_MISMATCH, VQ_E_NOMEM. */
vq_status vqi_manifest_read(vq_store *store, const char *path, const vq_limits *limits);

#endif
