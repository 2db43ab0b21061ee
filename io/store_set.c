/* SPDX-License-Identifier: Apache-2.0 */
#include "io/store_set.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "io/digest.h"
#include "io/store_internal.h"
#include "io/store_set_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

void vq_store_free(vq_store *store)
{
    if (!store)
        return;
    for (size_t i = 0; i < store->count; i++) {
        vq_shard_free(store->entry[i].shard);
        vq_free(store->entry[i].name);
    }
    vq_free(store->entry);
    vq_free(store);
}

vq_status vqi_store_path(char **path, const char *folder, const char *name)
{
    const size_t length = strlen(folder), size = length + strlen(name) + 2;
    *path = vqi_alloc(size, 1);
    if (!*path)
        return vqi_fail_nomem(size);
    snprintf(*path, size, "%s%s%s", folder, length && folder[length - 1] == '/' ? "" : "/", name);
    return VQ_OK;
}

static vq_status lie(const vqi_store_entry *e, const char *what, uint64_t said, uint64_t is)
{
    return vqi_fail(VQ_E_MISMATCH,
                    "%s: the manifest says %llu %s, and it has %llu (\"vqstore merge\" makes a new "
                    "manifest)",
                    e->name, (unsigned long long)said, what, (unsigned long long)is);
}

static vq_status open_entry(vqi_store_entry *e, const vq_store_schema *schema, const char *folder,
                            const vq_limits *limits)
{
    char *path;
    vq_status status = vqi_store_path(&path, folder, e->name);
    if (!status)
        status = vq_shard_open(&e->shard, path, limits);
    vq_free(path);
    if (status)
        return status;
    if (e->records != vq_shard_records(e->shard))
        return lie(e, "records", e->records, vq_shard_records(e->shard));
    if (e->bytes != e->shard->size)
        return lie(e, "bytes", e->bytes, e->shard->size);
    if (memcmp(&e->shard->head.schema, schema, sizeof *schema) != 0)
        return vqi_fail(VQ_E_MISMATCH, "%s: its streams are not those of the manifest", e->name);
    return VQ_OK;
}

static vq_status open_entries(vq_store *store, const char *folder, const vq_limits *limits)
{
    vq_status status = VQ_OK;
    for (size_t i = 0; !status && i < store->count; i++) {
        vqi_store_entry *e = &store->entry[i];
        e->first = store->records;
        status = open_entry(e, &store->schema, folder, limits);
        store->records += e->records;
    }
    return status;
}

/* A shard by itself. */
static vq_status open_one(vq_store *store, const char *path, const vq_limits *limits)
{
    store->entry = vqi_calloc(1, sizeof *store->entry);
    if (!store->entry)
        return vqi_fail_nomem(sizeof *store->entry);
    store->count = 1;
    const char *slash = strrchr(path, '/');
    vqi_store_entry *e = store->entry;
    vq_status status = vq_shard_open(&e->shard, path, limits);
    if (!status && !(e->name = vqi_strdup(slash ? slash + 1 : path)))
        status = vqi_fail_nomem(strlen(path));
    if (status)
        return status;
    e->records = store->records = vq_shard_records(e->shard);
    e->bytes = e->shard->size;
    store->schema = e->shard->head.schema;
    return VQ_OK;
}

static vq_status open_manifest(vq_store *store, const char *path, const vq_limits *limits)
{
    vq_status status = vqi_manifest_read(store, path, limits);
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) : 0;
    char *folder = status ? NULL : vqi_strdup(slash ? length ? path : "/" : ".");
    if (!status && !folder)
        status = vqi_fail_nomem(length);
    if (folder && length)
        folder[length] = '\0';
    if (!status)
        status = open_entries(store, folder, limits);
    vq_free(folder);
    return status;
}

static vq_status open_any(vq_store *store, const char *path, const vq_limits *limits)
{
    struct stat info;
    if (!stat(path, &info) && S_ISDIR(info.st_mode)) {
        char *manifest;
        vq_status status = vqi_store_path(&manifest, path, VQ_STORE_MANIFEST);
        if (!status)
            status = open_manifest(store, manifest, limits);
        vq_free(manifest);
        return status;
    }
    const size_t length = strlen(path);
    return length >= 5 && !strcmp(path + length - 5, ".json") ? open_manifest(store, path, limits)
                                                              : open_one(store, path, limits);
}

vq_status vq_store_open(vq_store **out, const char *path, const vq_limits *limits)
{
    *out = NULL;
    vq_store *store = vqi_calloc(1, sizeof *store);
    if (!store)
        return vqi_fail_nomem(sizeof *store);
    const vq_status status = open_any(store, path, limits);
    if (status)
        vq_store_free(store);
    else
        *out = store;
    return status;
}

uint64_t vq_store_records(const vq_store *store)
{
    return store->records;
}

size_t vq_store_shards(const vq_store *store)
{
    return store->count;
}

const vq_shard *vq_store_shard(uint64_t *first, const vq_store *store, size_t i)
{
    if (i >= store->count)
        return NULL;
    if (first)
        *first = store->entry[i].first;
    return store->entry[i].shard;
}

const char *vq_store_shard_name(const vq_store *store, size_t i)
{
    return i < store->count ? store->entry[i].name : NULL;
}

vq_status vq_store_read(vq_record *record, const vq_store *store, uint64_t number)
{
    if (number >= store->records)
        return vqi_fail(VQ_E_ARG, "there is no record %llu (the store has %llu)",
                        (unsigned long long)number, (unsigned long long)store->records);
    size_t low = 0, high = store->count;
    while (high - low >
           1) { /* the last that begins at or before it; empty ones begin with the next */
        const size_t middle = (low + high) / 2;
        if (store->entry[middle].first <= number)
            low = middle;
        else
            high = middle;
    }
    const vq_status status =
        vq_shard_read(record, store->entry[low].shard, number - store->entry[low].first);
    record->number = number;
    return status;
}

vq_status vq_store_find(uint64_t *number, const vq_store *store, const char *key)
{
    vq_status status = vqi_fail(VQ_E_ARG, "there is no record with the key \"%.80s\"", key);
    for (size_t i = 0; i < store->count && status == VQ_E_ARG; i++) {
        status = vq_shard_find(number, store->entry[i].shard, key);
        if (!status)
            *number += store->entry[i].first;
    }
    return status;
}

/* Damage with the number of the record in the store. */
typedef struct forward {
    uint64_t first;
    vq_shard_damage damage;
    void *context;
} forward;

static int forward_damage(void *context, uint64_t record, vq_status status, const char *what)
{
    const forward *f = context;
    return f->damage(f->context, record == UINT64_MAX ? record : f->first + record, status, what);
}

vq_status vq_store_verify(const vq_store *store, vq_shard_damage damage, void *context)
{
    vq_status first = VQ_OK;
    char sentence[512] = "";
    for (size_t i = 0; i < store->count; i++) {
        const vqi_store_entry *e = &store->entry[i];
        forward f = {e->first, damage, context};
        vq_status status = vq_shard_verify(e->shard, damage ? forward_damage : NULL, &f);
        uint8_t digest[VQ_SHA256_SIZE];
        if (!status && e->has_sha256) {
            vq_sha256(digest, e->shard->data, e->shard->size);
            if (memcmp(digest, e->sha256, sizeof digest) != 0) {
                status = vqi_fail(VQ_E_MISMATCH, "%s: its SHA-256 is not the manifest's", e->name);
                if (damage && damage(context, UINT64_MAX, status, vq_last_error()))
                    return vqi_fail(VQ_E_CANCELLED, "verifying was stopped");
            }
        }
        if (status == VQ_E_NOMEM || status == VQ_E_CANCELLED || (status && !damage))
            return status;
        if (status && !first) {
            first = status;
            snprintf(sentence, sizeof sentence, "%s", vq_last_error());
        }
    }
    return first ? vqi_fail(first, "%s", sentence) : VQ_OK;
}
