/* SPDX-License-Identifier: Apache-2.0 */
/* Many shards as one store, and manifests that lie. */
#define _GNU_SOURCE /* memmem() */

#include "io/store_set.h"
#include "store_support.h"

enum { SHARDS = 3, EACH = 42 };

static const char *const names[SHARDS] = {"s0.vqs", "s1.vqs", "s2.vqs"};

static void write_range(const char *path, uint64_t from, uint64_t to)
{
    vq_store_schema schema;
    store_schema(&schema);
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.no_sync = 1;
    vq_shard_writer *writer;
    assert_ok(vq_shard_create(&writer, path, &schema, &opts));
    assert_null(vq_shard_writer_last_key(writer));
    store_fill(writer, &schema, from, to);
    char key[32] = "";
    snprintf(key, sizeof key, "folder/%llu.png", (unsigned long long)to - 1);
    if (to > from)
        assert_string_equal(vq_shard_writer_last_key(writer), key);
    assert_ok(vq_shard_finish(writer, NULL));
    vq_shard_writer_free(writer);
}

static void write_set(void)
{
    /* The second is empty. */
    write_range(store_path(names[0]), 0, EACH);
    write_range(store_path(names[1]), EACH, EACH);
    write_range(store_path(names[2]), EACH, 2 * EACH);
    assert_ok(vq_store_write_manifest(store_folder, names, SHARDS));
}

static void shards_are_one_store(void **state)
{
    (void)state;
    vq_store_schema schema;
    store_schema(&schema);
    write_set();
    const char *paths[] = {store_folder, store_path("manifest.json")};
    for (int p = 0; p < 2; p++) {
        vq_store *store;
        vq_record *record;
        assert_ok(vq_store_open(&store, paths[p], NULL));
        assert_ok(vq_record_create(&record));
        assert_int_equal(vq_store_records(store), 2 * EACH);
        assert_int_equal(vq_store_shards(store), SHARDS);
        uint64_t first;
        assert_non_null(vq_store_shard(&first, store, 2));
        assert_int_equal(first, EACH);
        assert_null(vq_store_shard(&first, store, 3));
        assert_string_equal(vq_store_shard_name(store, 1), "s1.vqs");
        for (uint64_t i = 0; i < 2 * EACH; i++) {
            uint64_t found;
            assert_ok(vq_store_read(record, store, i));
            assert_int_equal(record->number, i);
            assert_record(record, &schema, i);
            if (!record->info.key)
                continue;
            assert_ok(vq_store_find(&found, store, record->info.key));
            assert_int_equal(found, i);
        }
        assert_status(VQ_E_ARG, vq_store_read(record, store, 2 * EACH));
        assert_status(VQ_E_ARG, vq_store_find(&first, store, "no"));
        assert_ok(vq_store_verify(store, NULL, NULL));
        vq_record_free(record);
        vq_store_free(store);
    }
    vq_store *one;
    assert_ok(vq_store_open(&one, store_path(names[2]), NULL));
    assert_int_equal(vq_store_records(one), EACH);
    assert_ok(vq_store_verify(one, NULL, NULL));
    vq_store_free(one);
}

/* The manifest with one thing replaced. */
static vq_status open_with(const char *old, const char *new)
{
    vq_bytes bytes;
    char text[4096] = "", *at;
    assert_ok(vq_file_read(&bytes, store_path("manifest.json"), NULL));
    memcpy(text, bytes.data, bytes.size);
    at = strstr(text, old);
    assert_non_null(at);
    char rest[4096];
    strcpy(rest, at + strlen(old));
    sprintf(at, "%s%s", new, rest);
    assert_ok(vq_file_write(store_path("lie.json"), text, strlen(text), NULL));
    vq_bytes_clear(&bytes);
    vq_store *store;
    vq_status status = vq_store_open(&store, store_path("lie.json"), NULL);
    if (!status)
        status = vq_store_verify(store, NULL, NULL);
    vq_store_free(store);
    return status;
}

static void a_manifest_that_lies_is_found_out(void **state)
{
    (void)state;
    write_set();
    assert_ok(open_with("\"version\":1", "\"version\":1"));
    assert_status(VQ_E_MISMATCH, open_with("\"records\":84", "\"records\":85"));
    assert_status(VQ_E_MISMATCH, open_with("\"records\":42", "\"records\":43"));
    assert_status(VQ_E_MISMATCH, open_with("\"k\":[1000,16]", "\"k\":[1000,17]"));
    assert_status(VQ_E_MISMATCH, open_with("s2.vqs", "s0.vqs"));
    assert_status(VQ_E_IO, open_with("s2.vqs", "s9.vqs"));
    assert_status(VQ_E_FORMAT, open_with("s2.vqs", "../s2.vqs"));
    assert_status(VQ_E_FORMAT, open_with("s2.vqs", ""));
    assert_status(VQ_E_FORMAT, open_with("libvq store", "libvq shop"));
    assert_status(VQ_E_VERSION, open_with("\"version\":1", "\"version\":2"));
    assert_status(VQ_E_FORMAT, open_with("\"records\":42", "\"records\":-42"));
    assert_status(VQ_E_FORMAT, open_with("\"sha256\":\"", "\"sha256\":\"x"));
    assert_status(VQ_E_FORMAT, open_with("{", "["));
    assert_status(VQ_E_FORMAT, open_with("\"shards\"", "\"shard\""));
    /* The shard is another, of as many bytes and records: verifying tells. */
    char digit[] = "\"sha256\":\"_", other[] = "\"sha256\":\"_";
    vq_bytes bytes;
    assert_ok(vq_file_read(&bytes, store_path("manifest.json"), NULL));
    const char *at = memmem(bytes.data, bytes.size, "\"sha256\":\"", 10);
    assert_non_null(at);
    digit[10] = at[10];
    other[10] = at[10] == '0' ? '1' : '0';
    vq_bytes_clear(&bytes);
    assert_status(VQ_E_MISMATCH, open_with(digit, other));
    assert_non_null(strstr(vq_last_error(), "SHA-256"));
}

static void what_makes_no_store_is_refused(void **state)
{
    (void)state;
    write_set();
    const char *const bad[] = {"../s0.vqs"}, *const none[] = {"s7.vqs"};
    assert_status(VQ_E_ARG, vq_store_write_manifest(store_folder, names, 0));
    assert_status(VQ_E_ARG, vq_store_write_manifest(store_folder, bad, 1));
    assert_status(VQ_E_IO, vq_store_write_manifest(store_folder, none, 1));
    vq_store *store;
    assert_status(VQ_E_IO, vq_store_open(&store, store_path("nothing"), NULL));
    assert_null(store);
}

static vq_status open_and_read(void *context)
{
    vq_store *store = NULL;
    vq_record *record = NULL;
    vq_status status = vq_store_write_manifest(context, names, SHARDS);
    if (!status)
        status = vq_store_open(&store, context, NULL);
    if (!status)
        status = vq_record_create(&record);
    if (!status)
        status = vq_store_read(record, store, EACH + 1);
    if (!status)
        status = vq_store_verify(store, NULL, NULL);
    vq_record_free(record);
    vq_store_free(store);
    return status;
}

static void allocations_may_fail(void **state)
{
    (void)state;
    write_set();
    test_allocation_failures(open_and_read, store_folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_one_store),
        cmocka_unit_test(a_manifest_that_lies_is_found_out),
        cmocka_unit_test(what_makes_no_store_is_refused),
        cmocka_unit_test(allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, store_make_folder, store_remove_folder);
}
