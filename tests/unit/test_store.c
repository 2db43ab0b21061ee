/* SPDX-License-Identifier: Apache-2.0 */
/* Shards: what is written is read, resumed and appended to as if in one go, and of known bytes. */
#include <fcntl.h>
#include <sys/file.h>

#include "io/digest.h"
#include "store_support.h"
#include "vq/memory_internal.h"

static const vq_packing packings[] = {VQ_PACKING_RAW, VQ_PACKING_BITS, VQ_PACKING_RANS};
enum { PACKINGS = sizeof packings / sizeof *packings };

static void what_is_written_is_read(void **state)
{
    (void)state;
    enum { N = 500 };
    vq_store_schema schema;
    store_schema(&schema);
    for (int p = 0; p < PACKINGS; p++) {
        const char *path = store_path("a.vqs");
        store_write(path, packings[p], N);
        vq_shard *shard;
        vq_record *record;
        vq_shard_info info;
        assert_ok(vq_shard_open(&shard, path, NULL));
        assert_ok(vq_record_create(&record));
        vq_shard_get_info(&info, shard);
        assert_int_equal(info.packing, packings[p]);
        assert_int_equal(info.records, N);
        assert_int_equal(info.keys, N - N / 5);
        assert_true(info.blocks > 4);
        assert_memory_equal(&info.schema, &schema, sizeof schema);
        uint64_t random = 1, codes = 0;
        for (int i = 0; i < N; i++) {
            assert_ok(vq_shard_read(record, shard, (uint64_t)i));
            assert_int_equal(record->number, i);
            assert_record(record, &schema, (uint64_t)i);
            vq_shard_row row;
            assert_ok(vq_shard_get_row(&row, shard, (uint64_t)i));
            assert_int_equal(row.has_label, record->info.has_label);
            assert_true(row.label == record->info.label);
            assert_int_equal(row.offset % (packings[p] == VQ_PACKING_RAW ? 4 : 1), 0);
            codes += row.codes;
        }
        assert_int_equal(codes, info.codes);
        for (int i = 0; i < N; i++) {
            const uint64_t at = test_random(&random) % N;
            assert_ok(vq_shard_read(record, shard, at));
            assert_record(record, &schema, at);
            if (!record->info.key)
                continue;
            uint64_t found;
            assert_ok(vq_shard_find(&found, shard, record->info.key));
            assert_int_equal(found, at);
        }
        uint64_t found = 77;
        assert_status(VQ_E_ARG, vq_shard_find(&found, shard, "folder/4.png"));
        assert_status(VQ_E_ARG, vq_shard_find(&found, shard, ""));
        assert_int_equal(found, 77);
        assert_status(VQ_E_ARG, vq_shard_read(record, shard, N));
        assert_non_null(
            strstr(vq_last_error(), "a.vqs: there is no record 500 (the shard has 500)"));
        assert_ok(vq_shard_verify(shard, NULL, NULL));
        vq_record_free(record);
        vq_shard_free(shard);
    }
}

static void a_shard_of_nothing_is_a_shard(void **state)
{
    (void)state;
    const char *path = store_path("empty.vqs");
    store_write(path, VQ_PACKING_BITS, 0);
    vq_shard *shard;
    uint64_t found;
    assert_ok(vq_shard_open(&shard, path, NULL));
    assert_int_equal(vq_shard_records(shard), 0);
    assert_ok(vq_shard_verify(shard, NULL, NULL));
    assert_status(VQ_E_ARG, vq_shard_find(&found, shard, "x"));
    vq_shard_free(shard);
}

/* One record of two levels, four codes, byte by byte: docs/FORMATS.md shows the same. */
static void the_layout_is_pinned(void **state)
{
    (void)state;
    const char *path = store_path("pinned.vqs");
    const uint32_t k[2] = {16, 8};
    const size_t grid[1] = {3};
    vq_tokens *tokens;
    assert_ok(vq_tokens_create(&tokens, 1, grid, 2, k));
    const uint32_t codes[] = {1, 2, 15, 7, 0, 5};
    memcpy(tokens->codes, codes, sizeof codes);
    tokens->source_ndim = 0;
    vq_store_schema schema = {.streams = 1};
    assert_ok(vq_store_stream_of(&schema.stream[0], "tokens", tokens));
    vq_shard_writer *writer;
    const vq_record_info info = {.key = "a", .has_label = 1, .label = -2};
    assert_ok(vq_shard_create(&writer, path, &schema, NULL));
    assert_ok(vq_shard_add(writer, &info, (const vq_tokens *const *)&tokens));
    assert_ok(vq_shard_finish(writer, NULL));
    vq_shard_writer_free(writer);
    vq_tokens_free(tokens);
    vq_bytes file;
    assert_ok(vq_file_read(&file, path, NULL));
    assert_memory_equal(file.data, "\x89VQS\r\n\x1a\n\x01\0\0\0", 12);
    static const char head[] =
        "{\"streams\":[{\"name\":\"tokens\",\"k\":[16,8]}],\"packing\":\"bits\","
        "\"block\":262144}";
    assert_memory_equal(file.data + 64, head, sizeof head - 1);
    /* Key of one byte, "a"; label -2; a grid of one dimension, 3; 4 bytes of codes. */
    static const uint8_t record[] = {3, 1, 'a', 3, 1, 3, 4, 0x21, 0x0f, 0x47, 0x01};
    static const uint8_t chunk[] = {'B', 'L', 'C', 'K', 0, 0, 0, 0, 35, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t block[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0};
    const uint8_t *at = file.data + 192;
    assert_memory_equal(at - 16, chunk, sizeof chunk);
    assert_memory_equal(at, block, sizeof block);
    assert_memory_equal(at + 24, record, sizeof record);
    const uint32_t crc = vq_crc32c(0, record, sizeof record);
    assert_memory_equal(at + 20, &crc, 4);
    /* The index: the record's place, length and checksum, its label, how many codes; and a checksum. */
    static const uint8_t row[] = {216, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0};
    static const uint8_t rest[] = {254, 255, 255, 255, 255, 255, 255, 255, 6, 0, 0, 0};
    at = file.data + 256;
    assert_memory_equal(at - 16, "RIDX\0\0\0\0\x20\0\0\0\0\0\0\0", 16);
    assert_memory_equal(at, row, sizeof row);
    assert_memory_equal(at + 12, &crc, 4);
    assert_memory_equal(at + 16, rest, sizeof rest);
    /* The keys: FNV-1a of "a", record 0. The footer: 448 bytes, 1 record, 6 codes, 1 block, where the indexes lie. */
    static const uint8_t key[] = {0x8c, 0xec, 0x01, 0x86, 0x4c, 0xdc, 0x63, 0xaf, 0, 0, 0, 0};
    at = file.data + 320;
    assert_memory_equal(at - 16, "KIDX\0\0\0\0\x10\0\0\0\0\0\0\0", 16);
    assert_memory_equal(at, key, sizeof key);
    const uint64_t footer[] = {448, 1, 6, 1, 256, 320, 1};
    at = file.data + 384;
    assert_memory_equal(at - 16, "SEND\0\0\0\0\x3c\0\0\0\0\0\0\0", 16);
    assert_memory_equal(at, footer, sizeof footer);
    assert_int_equal(file.size, 448);
    vq_bytes_clear(&file);
}

static void an_interrupted_run_ends_with_the_same_bytes(void **state)
{
    (void)state;
    enum { N = 120 };
    vq_store_schema schema;
    store_schema(&schema);
    for (int p = 0; p < PACKINGS; p++) {
        const char *whole = store_path("whole.vqs"), *path = store_path("cut.vqs"),
                   *part = store_path("cut.vqs.part");
        store_write(whole, packings[p], N);
        vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
        opts.packing = (int)packings[p] + 1;
        opts.block_bytes = 4096;
        opts.resume = opts.no_sync = 1;
        vq_bytes all; /* of NAME.part as it is just before it gets its name */
        store_write(path, packings[p] == VQ_PACKING_RANS ? VQ_PACKING_BITS : packings[p], N);
        assert_ok(vq_file_read(&all, path, NULL));
        uint64_t before = 0;
        /* Killed after any number of bytes: among them all of the blocks, and the index. */
        for (size_t size = 0; size <= all.size; size += size < 400 ? 7 : 311) {
            FILE *file = fopen(part, "wb");
            assert_non_null(file);
            assert_int_equal(fwrite(all.data, 1, size, file), size);
            fclose(file);
            vq_shard_writer *writer;
            assert_ok(vq_shard_create(&writer, path, &schema, &opts));
            const uint64_t have = vq_shard_writer_records(writer);
            assert_true(have <= N && have >= before);
            before = have;
            store_fill(writer, &schema, have, N);
            assert_ok(vq_shard_finish(writer, NULL));
            vq_shard_writer_free(writer);
            assert_same_files(whole, path);
            assert_int_equal(access(part, F_OK), -1);
        }
        assert_int_equal(before, N);
        vq_bytes_clear(&all);
    }
}

static void appending_gives_the_bytes_of_one_go(void **state)
{
    (void)state;
    vq_store_schema schema;
    store_schema(&schema);
    for (int p = 0; p < PACKINGS; p++) {
        const char *whole = store_path("whole.vqs"), *path = store_path("more.vqs");
        store_write(whole, packings[p], 200);
        store_write(path, packings[p], 77);
        vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
        opts.packing = (int)packings[p] + 1;
        opts.block_bytes = 4096;
        opts.append = 1;
        vq_shard_writer *writer;
        assert_ok(vq_shard_create(&writer, path, &schema, &opts));
        assert_int_equal(vq_shard_writer_records(writer), 77);
        store_fill(writer, &schema, 77, 200);
        assert_ok(vq_shard_finish(writer, NULL));
        vq_shard_writer_free(writer);
        assert_same_files(whole, path);
    }
}

static void what_does_not_belong_is_refused(void **state)
{
    (void)state;
    const char *path = store_path("refused.vqs"), *part = store_path("refused.vqs.part");
    vq_store_schema schema;
    store_schema(&schema);
    vq_shard_writer *writer, *second;
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    assert_ok(vq_shard_create(&writer, path, &schema, NULL));
    assert_status(VQ_E_IO, vq_shard_create(&second, path, &schema, NULL));
    assert_non_null(strstr(vq_last_error(), "another process"));
    store_record r;
    store_make(&r, &schema, 1);
    const vq_tokens *tokens[3] = {r.tokens[0], r.tokens[1], r.tokens[2]};
    assert_ok(vq_shard_add(writer, NULL, tokens));
    r.tokens[0]->codes[3] = 1000;
    assert_status(VQ_E_RANGE, vq_shard_add(writer, NULL, tokens));
    r.tokens[0]->codes[3] = 1;
    r.tokens[0]->k[0] = 1001;
    assert_status(VQ_E_MISMATCH, vq_shard_add(writer, NULL, tokens));
    assert_non_null(strstr(vq_last_error(), "tokens: "));
    r.tokens[0]->k[0] = 1000;
    r.tokens[0]->model_sha256[0] = 1;
    assert_status(VQ_E_MISMATCH, vq_shard_add(writer, NULL, tokens));
    r.tokens[0]->model_sha256[0] = 0;
    vq_record_info info = {.key = "\xff"};
    assert_status(VQ_E_ARG, vq_shard_add(writer, &info, tokens));
    char *longer = calloc(5000, 1);
    memset(longer, 'a', 4999);
    info.key = longer;
    assert_status(VQ_E_ARG, vq_shard_add(writer, &info, tokens));
    info = (vq_record_info){.split = longer};
    assert_status(VQ_E_ARG, vq_shard_add(writer, &info, tokens));
    free(longer);
    assert_int_equal(vq_shard_writer_records(writer), 1);
    vq_shard_writer_free(writer);
    assert_int_equal(access(part, F_OK), 0);
    /* Another schema, packing or block size is not gone on with. */
    opts.resume = 1;
    opts.packing = VQ_PACKING_RAW + 1;
    assert_status(VQ_E_MISMATCH, vq_shard_create(&writer, path, &schema, &opts));
    opts.packing = 0;
    opts.block_bytes = 8192;
    assert_status(VQ_E_MISMATCH, vq_shard_create(&writer, path, &schema, &opts));
    opts.block_bytes = 1000;
    assert_status(VQ_E_ARG, vq_shard_create(&writer, path, &schema, &opts));
    opts.block_bytes = 0;
    opts.packing = VQ_PACKING_ENTROPY + 1; /* without a model */
    assert_status(VQ_E_ARG, vq_shard_create(&writer, path, &schema, &opts));
    opts.packing = 0;
    strcpy(schema.stream[1].name, "tokens");
    assert_status(VQ_E_ARG, vq_shard_create(&writer, path, &schema, &opts));
    strcpy(schema.stream[1].name, "other");
    assert_status(VQ_E_MISMATCH, vq_shard_create(&writer, path, &schema, &opts));
    store_schema(&schema);
    assert_ok(vq_shard_create(&writer, path, &schema, &opts));
    assert_int_equal(vq_shard_writer_records(writer), 0);
    vq_shard_writer_discard(writer);
    assert_int_equal(access(part, F_OK), -1);
    opts.no_replace = 1;
    store_write(path, VQ_PACKING_BITS, 1);
    assert_status(VQ_E_IO, vq_shard_create(&writer, path, &schema, &opts));
    assert_status(VQ_E_IO, vq_shard_create(&writer, store_path("no/folder"), &schema, NULL));
    store_clear(&r);
}

static vq_status write_and_read(void *context)
{
    const char *path = context;
    vq_store_schema schema;
    store_schema(&schema);
    const size_t grid[1] = {20};
    vq_tokens *tokens = NULL;
    vq_shard_writer *writer = NULL;
    vq_shard *shard = NULL;
    vq_record *record = NULL;
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.block_bytes = 4096;
    opts.no_sync = 1;
    vq_status status = vq_tokens_create(&tokens, 1, grid, 1, schema.stream[2].k);
    if (!status)
        status = vq_shard_create(&writer, path, &schema, &opts);
    for (int i = 0; !status && i < 200; i++) {
        tokens->source_ndim = 0;
        tokens->codes[3] = (uint32_t)i;
        const vq_record_info info = {.key = "key", .label = i, .has_label = 1};
        const vq_tokens *three[3] = {NULL, NULL, tokens};
        status = vq_shard_add(writer, &info, three);
    }
    if (!status)
        status = vq_shard_finish(writer, NULL);
    if (!status)
        status = vq_shard_open(&shard, path, NULL);
    if (!status)
        status = vq_record_create(&record);
    if (!status)
        status = vq_shard_read(record, shard, 123);
    if (!status && record->tokens[2]->codes[3] != 123)
        status = VQ_E_FORMAT;
    if (!status)
        status = vq_shard_verify(shard, NULL, NULL);
    vq_record_free(record);
    vq_shard_free(shard);
    vq_shard_writer_discard(writer);
    vq_tokens_free(tokens);
    return status;
}

static void allocations_may_fail(void **state)
{
    (void)state;
    char path[160];
    strcpy(path, store_path("memory.vqs"));
    test_allocation_failures(write_and_read, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_shard_of_nothing_is_a_shard),
        cmocka_unit_test(the_layout_is_pinned),
        cmocka_unit_test(an_interrupted_run_ends_with_the_same_bytes),
        cmocka_unit_test(appending_gives_the_bytes_of_one_go),
        cmocka_unit_test(what_does_not_belong_is_refused),
        cmocka_unit_test(allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, store_make_folder, store_remove_folder);
}
