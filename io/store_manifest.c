/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "io/digest.h"
#include "io/store_internal.h"
#include "io/store_set_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* What "format" says. */
static const char format[] = "libvq store";

enum { VERSION = 1 };

static vq_status bad(const char *key)
{
    return vqi_fail(VQ_E_FORMAT, "\"%s\" is missing or is not what it should be", key);
}

static vq_status get_count(uint64_t *out, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return bad(key);
    *out = (uint64_t)json_integer_value(value);
    return VQ_OK;
}

/* A file of the manifest's folder, and no other. */
static vq_status get_name(char **out, const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    if (!name || !*name || *name == '.' || strchr(name, '/') || strlen(name) > 255)
        return bad("name");
    *out = vqi_strdup(name);
    return *out ? VQ_OK : vqi_fail_nomem(strlen(name));
}

static vq_status get_shard(vqi_store_entry *e, const json_t *object)
{
    vq_status status = get_name(&e->name, object);
    if (!status)
        status = get_count(&e->records, object, "records");
    if (!status)
        status = get_count(&e->codes, object, "codes");
    if (!status)
        status = get_count(&e->bytes, object, "bytes");
    if (!status && !vqi_head_get_digest(e->sha256, json_object_get(object, "sha256")))
        status = bad("sha256");
    e->has_sha256 = !status;
    return status;
}

static vq_status read_shards(vq_store *store, const json_t *json)
{
    const json_t *shards = json_object_get(json, "shards");
    if (!json_is_array(shards))
        return bad("shards");
    const size_t count = json_array_size(shards);
    store->entry = vqi_calloc(count ? count : 1, sizeof *store->entry);
    if (!store->entry)
        return vqi_fail_nomem((unsigned long long)count * sizeof *store->entry);
    store->count = count;
    uint64_t said, records = 0;
    vq_status status = get_count(&said, json, "records");
    for (size_t i = 0; !status && i < count; i++) {
        status = get_shard(&store->entry[i], json_array_get(shards, i));
        if (!status && __builtin_add_overflow(records, store->entry[i].records, &records))
            status = bad("records");
    }
    if (!status && records != said)
        status = vqi_fail(VQ_E_MISMATCH, "it says %llu records, and its shards have %llu",
                          (unsigned long long)said, (unsigned long long)records);
    return status;
}

static vq_status read_all(vq_store *store, const json_t *json, const vq_limits *limits)
{
    const char *said = json_string_value(json_object_get(json, "format"));
    uint64_t version;
    if (!said || strcmp(said, format) != 0)
        return bad("format");
    vq_status status = get_count(&version, json, "version");
    if (!status && version != VERSION)
        status = vqi_fail(VQ_E_VERSION, "version %llu (this library reads %d)",
                          (unsigned long long)version, VERSION);
    if (!status)
        status = vqi_store_get_streams(&store->schema, json, limits);
    return status ? status : read_shards(store, json);
}

vq_status vqi_manifest_read(vq_store *store, const char *path, const vq_limits *limits)
{
    vq_limits own;
    vq_bytes bytes;
    vq_status status = vq_limits_resolve(&own, limits);
    if (status)
        return status;
    vq_limits header = own;
    header.max_file_bytes = own.max_header_bytes;
    status = vq_file_read(&bytes, path, &header);
    if (status)
        return status;
    json_t *json;
    status = vqi_json_parse(&json, (const char *)bytes.data, bytes.size, 0, &own);
    vq_bytes_clear(&bytes);
    if (status)
        return vqi_fail_in(status, path);
    status = read_all(store, json, &own);
    json_decref(json);
    return status ? vqi_fail_in(status, path) : VQ_OK;
}

/* One shard's entry; its streams are to be those of `first`. */
static vq_status shard_json(json_t **out, vq_store_schema *first, const char *folder,
                            const char *name)
{
    char *path, digest[2 * VQ_SHA256_SIZE + 1];
    vq_shard *shard = NULL;
    *out = NULL;
    vq_status status = vqi_store_path(&path, folder, name);
    if (!status)
        status = vq_shard_open(&shard, path, NULL);
    vq_free(path);
    if (status)
        return status;
    if (!first->streams)
        *first = shard->head.schema;
    if (memcmp(first, &shard->head.schema, sizeof *first) != 0) {
        vq_shard_free(shard);
        return vqi_fail(VQ_E_MISMATCH, "%s: its streams are not those of the first shard", name);
    }
    uint8_t sum[VQ_SHA256_SIZE];
    vq_sha256(sum, shard->data, shard->size);
    vqi_head_digest(digest, sum);
    json_t *object = json_object();
    int failed = json_object_set_new(object, "name", json_string(name));
    failed |=
        json_object_set_new(object, "records", json_integer((json_int_t)shard->footer.records));
    failed |= json_object_set_new(object, "codes", json_integer((json_int_t)shard->footer.codes));
    failed |= json_object_set_new(object, "bytes", json_integer((json_int_t)shard->size));
    failed |= json_object_set_new(object, "sha256", json_string(digest));
    vq_shard_free(shard);
    if (failed) {
        json_decref(object);
        return vqi_fail_nomem(0);
    }
    *out = object;
    return VQ_OK;
}

static json_t *manifest_json(const vq_store_schema *schema, json_t *shards)
{
    json_int_t records = 0, codes = 0, bytes = 0;
    for (size_t i = 0; i < json_array_size(shards); i++) {
        const json_t *shard = json_array_get(shards, i);
        records += json_integer_value(json_object_get(shard, "records"));
        codes += json_integer_value(json_object_get(shard, "codes"));
        bytes += json_integer_value(json_object_get(shard, "bytes"));
    }
    json_t *object = json_object();
    int failed = json_object_set_new(object, "format", json_string(format));
    failed |= json_object_set_new(object, "version", json_integer(VERSION));
    failed |= json_object_set_new(object, "records", json_integer(records));
    failed |= json_object_set_new(object, "codes", json_integer(codes));
    failed |= json_object_set_new(object, "bytes", json_integer(bytes));
    failed |= json_object_set_new(object, "streams", vqi_store_streams(schema));
    failed |= json_object_set(object, "shards", shards);
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

vq_status vq_store_write_manifest(const char *folder, const char *const *names, size_t count)
{
    if (!count)
        return vqi_fail(VQ_E_ARG, "a manifest of no shards");
    vq_store_schema schema = {0};
    json_t *shards = json_array();
    vq_status status = shards ? VQ_OK : vqi_fail_nomem(0);
    for (size_t i = 0; !status && i < count; i++) {
        json_t *shard;
        if (!*names[i] || *names[i] == '.' || strchr(names[i], '/'))
            status = vqi_fail(VQ_E_ARG, "%s: is not the name of a file in the manifest's folder",
                              names[i]);
        if (!status)
            status = shard_json(&shard, &schema, folder, names[i]);
        if (!status && json_array_append_new(shards, shard))
            status = vqi_fail_nomem(0);
    }
    char *text = NULL, *path = NULL;
    size_t size;
    if (!status)
        status = vqi_head_text(&text, &size, manifest_json(&schema, shards));
    if (!status)
        status = vqi_store_path(&path, folder, VQ_STORE_MANIFEST);
    if (!status)
        status = vq_file_write(path, text, size, NULL);
    json_decref(shards);
    vq_free(text);
    vq_free(path);
    return status;
}
