/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/store_set.h
 * Many shards as one store: a folder of shards and its manifest.json, which says how many records each has and the SHA-256
 * of each.
 */
#ifndef IO_STORE_SET_H
#define IO_STORE_SET_H

#include "io/store.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VQ_STORE_MANIFEST "manifest.json"

/** A store that is open. Immutable; may be read from many threads at once. */
typedef struct vq_store vq_store;

/**
 * Open a folder with a manifest, the manifest itself, or one shard. Each shard is opened, and must have as many records and
 * bytes, and the streams, that the manifest says; its SHA-256 is for vq_store_verify().
 * @param[out] out owned by the caller, free with vq_store_free().
 * @return VQ_OK, VQ_E_MISMATCH (the manifest lies), VQ_E_FORMAT (the manifest cannot be), and as vq_shard_open().
 */
VQ_API vq_status vq_store_open(vq_store **out, const char *path, const vq_limits *limits);
VQ_API void vq_store_free(vq_store *store);

VQ_API uint64_t vq_store_records(const vq_store *store);
VQ_API size_t vq_store_shards(const vq_store *store);
/** @return a shard, borrowed, or NULL past the last. @param[out] first NULL, or the number of its first record. */
VQ_API const vq_shard *vq_store_shard(uint64_t *first, const vq_store *store, size_t i);
/** @return a shard's file name, borrowed; NULL past the last. */
VQ_API const char *vq_store_shard_name(const vq_store *store, size_t i);

/** Read a record by its number in the store. @return as vq_shard_read(). */
VQ_API vq_status vq_store_read(vq_record *record, const vq_store *store, uint64_t number);
/** The number of the first record with this key. @return as vq_shard_find(). */
VQ_API vq_status vq_store_find(uint64_t *number, const vq_store *store, const char *key);

/**
 * Look at every byte of every shard, and at its SHA-256.
 * @param damage told of each fault; records have their number in the store.
 * @return as vq_shard_verify(), and VQ_E_MISMATCH if a shard is not the one that the manifest is of.
 */
VQ_API vq_status vq_store_verify(const vq_store *store, vq_shard_damage damage, void *context);

/**
 * Write folder/manifest.json over shards that lie in the folder, in the order given. All have the same streams.
 * @param names file names without folder.
 * @return VQ_OK, VQ_E_ARG, VQ_E_MISMATCH (other streams), VQ_E_IO, VQ_E_NOMEM, and as vq_shard_open().
 */
VQ_API vq_status vq_store_write_manifest(const char *folder, const char *const *names,
                                         size_t count);

#ifdef __cplusplus
}
#endif
#endif
