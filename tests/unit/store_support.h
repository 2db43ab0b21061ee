/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/store_support.h  Records of many shapes, made of their numbers, and shards of them. */
#ifndef STORE_SUPPORT_H
#define STORE_SUPPORT_H

#include <sys/stat.h>

#include "io/file.h"
#include "io/store_write.h"
#include "test_support.h"

static char store_folder[64];

static inline int store_make_folder(void **state)
{
    (void)state;
    strcpy(store_folder, "/tmp/libvq-test-store-XXXXXX");
    return mkdtemp(store_folder) ? 0 : -1;
}

static inline int store_remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", store_folder);
    return system(command);
}

/** A path in the folder, which stays good until the end. */
static inline const char *store_path(const char *name)
{
    enum { PATHS = 32 };
    static char path[PATHS][160];
    char wanted[160];
    snprintf(wanted, sizeof wanted, "%s/%s", store_folder, name);
    int i = 0;
    while (*path[i] && strcmp(path[i], wanted) != 0)
        if (++i == PATHS)
            fail_msg("more than %d paths", PATHS);
    return strcpy(path[i], wanted);
}

/** Levels of an image, actions that have ranges, and labels that have no signal. */
static inline void store_schema(vq_store_schema *schema)
{
    memset(schema, 0, sizeof *schema);
    schema->streams = 3;
    vq_store_stream *s = schema->stream;
    strcpy(s[0].name, "tokens");
    s[0].kind = VQ_KIND_IMAGE;
    s[0].levels = 2;
    s[0].k[0] = 1000;
    s[0].k[1] = 16;
    strcpy(s[0].codec, "image");
    s[0].model_sha256[3] = 7;
    strcpy(s[1].name, "action");
    s[1].kind = VQ_KIND_ACTION;
    s[1].levels = 1;
    s[1].k[0] = 256;
    strcpy(s[2].name, "labels");
    s[2].levels = 1;
    s[2].k[0] = 70000;
}

/** What record number `i` holds. Codes lean to the small ones. */
typedef struct store_record {
    vq_record_info info;
    vq_tokens *tokens[3];
    char key[32], caption[64];
} store_record;

static inline vq_tokens *store_tokens(const vq_store_stream *s, const size_t grid[3],
                                      uint64_t *random)
{
    vq_tokens *t;
    assert_ok(vq_tokens_create(&t, 3, grid, s->levels, s->k));
    t->kind = s->kind;
    strcpy(t->codec, s->codec);
    memcpy(t->model_sha256, s->model_sha256, sizeof t->model_sha256);
    const size_t n = vq_tokens_positions(t);
    for (uint32_t l = 0; l < s->levels; l++)
        for (size_t i = 0; i < n; i++) {
            const double u = test_uniform(random);
            t->codes[l * n + i] = (uint32_t)(u * u * s->k[l]);
        }
    return t;
}

static inline void store_make(store_record *r, const vq_store_schema *schema, uint64_t i)
{
    memset(r, 0, sizeof *r);
    uint64_t random = i;
    const size_t rows = 1 + test_random(&random) % 6, columns = 1 + test_random(&random) % 9;
    snprintf(r->key, sizeof r->key, "folder/%llu.png", (unsigned long long)i);
    snprintf(r->caption, sizeof r->caption, "caption of \xc3\xa4 %llu", (unsigned long long)i);
    r->info.key = i % 5 == 4 ? NULL : r->key;
    r->info.has_label = i % 3 != 0;
    r->info.label = r->info.has_label ? (int64_t)i - 10 : 0;
    r->info.split = i % 4 ? "train" : NULL;
    r->info.caption = i % 7 == 0 ? r->caption : NULL;
    r->info.source_bytes = i % 6 * 1000;
    const size_t image[3] = {1, rows, columns}, action[3] = {2, columns, 3}, one[3] = {1, 1, 1};
    if (i % 11 != 10) {
        vq_tokens *t = r->tokens[0] = store_tokens(&schema->stream[0], image, &random);
        t->source_ndim = 3;
        t->source_shape[0] = 16 * rows - 3;
        t->source_shape[1] = 16 * columns;
        t->source_shape[2] = 3;
        t->bits = 8;
    }
    if (i % 2) {
        vq_tokens *t = r->tokens[1] = store_tokens(&schema->stream[1], action, &random);
        t->source_ndim = 3;
        t->source_shape[0] = 2;
        t->source_shape[1] = 5 * columns;
        t->source_shape[2] = 3;
        t->rate = 12.5;
        if (i % 4 == 1) {
            assert_ok(vq_dimensions_create(&t->dimensions, 3));
            assert_ok(vq_dimensions_set_name(t->dimensions, 1, "grip"));
        }
    }
    if (i % 3)
        r->tokens[2] = store_tokens(&schema->stream[2], one, &random);
}

static inline void store_clear(store_record *r)
{
    for (int s = 0; s < 3; s++)
        vq_tokens_free(r->tokens[s]);
}

static inline void assert_text(const char *a, const char *b)
{
    if (a && b)
        assert_string_equal(a, b);
    else
        assert_true(!a && !b);
}

static inline void assert_record(const vq_record *record, const vq_store_schema *schema, uint64_t i)
{
    store_record r;
    store_make(&r, schema, i);
    assert_text(r.info.key, record->info.key);
    assert_text(r.info.split, record->info.split);
    assert_text(r.info.caption, record->info.caption);
    assert_int_equal(r.info.has_label, record->info.has_label);
    assert_true(r.info.label == record->info.label);
    assert_true(r.info.source_bytes == record->info.source_bytes);
    assert_int_equal(record->streams, schema->streams);
    for (int s = 0; s < 3; s++) {
        const vq_tokens *a = r.tokens[s], *b = record->tokens[s];
        assert_int_equal(!a, !b);
        if (!a)
            continue;
        vq_tokens x = *a, y = *b;
        assert_int_equal(!x.dimensions, !y.dimensions);
        if (x.dimensions)
            assert_string_equal(x.dimensions->names[1], y.dimensions->names[1]);
        x.codes = y.codes = NULL;
        x.dimensions = y.dimensions = NULL;
        assert_memory_equal(&x, &y, sizeof x);
        assert_memory_equal(a->codes, b->codes,
                            a->levels * vq_tokens_positions(a) * sizeof *a->codes);
    }
    store_clear(&r);
}

/** Add the records `from` to `to` - 1. */
static inline void store_fill(vq_shard_writer *writer, const vq_store_schema *schema, uint64_t from,
                              uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        store_record r;
        store_make(&r, schema, i);
        assert_ok(vq_shard_add(writer, &r.info, (const vq_tokens *const *)r.tokens));
        store_clear(&r);
    }
}

/** A shard of `count` records in blocks of 4 KiB. */
static inline void store_write(const char *path, vq_packing packing, uint64_t count)
{
    vq_store_schema schema;
    store_schema(&schema);
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.packing = (int)packing + 1;
    opts.block_bytes = 4096;
    opts.no_sync = 1;
    vq_shard_writer *writer;
    assert_ok(vq_shard_create(&writer, path, &schema, &opts));
    store_fill(writer, &schema, 0, count);
    assert_ok(vq_shard_finish(writer, NULL));
    vq_shard_writer_free(writer);
}

static inline void assert_same_files(const char *a, const char *b)
{
    vq_bytes x, y;
    assert_ok(vq_file_read(&x, a, NULL));
    assert_ok(vq_file_read(&y, b, NULL));
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    vq_bytes_clear(&x);
    vq_bytes_clear(&y);
}

#endif
