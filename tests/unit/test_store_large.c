/* SPDX-License-Identifier: Apache-2.0 */
/* Many tiny records, and one that says it has 4 GiB, in little memory: the process may take no more than is said here.
   usage: test_store_large [RECORDS] */
#include <fcntl.h>
#include <sys/resource.h>

#include "io/digest.h"
#include "io/store_internal.h"
#include "store_support.h"

static uint64_t records = 300000;

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

/* From here on the process may take so many bytes more: files that are mapped are not counted. */
static void bound_memory(size_t more)
{
#ifndef SANITIZED
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long data = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %*u %*u %*u %*u %lu", &data), 1);
    fclose(file);
    const rlim_t bytes = (rlim_t)data * (rlim_t)sysconf(_SC_PAGESIZE) + more;
    const struct rlimit limit = {bytes, RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_DATA, &limit), 0);
#else
    (void)more;
#endif
}

static void unbound_memory(void)
{
    const struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_DATA, &limit);
}

static void many_tiny_records_take_little_memory(void **state)
{
    (void)state;
    const char *path = store_path("many.vqs");
    const uint32_t k[1] = {256};
    const size_t grid[1] = {3};
    vq_tokens *t;
    vq_store_schema schema = {.streams = 1};
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    vq_shard_writer *w;
    assert_ok(vq_tokens_create(&t, 1, grid, 1, k));
    t->source_ndim = 0;
    assert_ok(vq_store_stream_of(&schema.stream[0], "t", t));
    opts.no_sync = 1;
    bound_memory((16u << 20) + 24 * (size_t)records);
    assert_ok(vq_shard_create(&w, path, &schema, &opts));
    for (uint64_t i = 0; i < records; i++) {
        char key[24];
        snprintf(key, sizeof key, "%llu", (unsigned long long)i);
        const vq_record_info info = {.key = key, .has_label = 1, .label = (int64_t)(i % 1000)};
        for (int b = 0; b < 3; b++)
            t->codes[b] = (uint32_t)(i >> 8 * b & 255);
        assert_ok(vq_shard_add(w, &info, (const vq_tokens *const *)&t));
    }
    vq_shard_info info;
    assert_ok(vq_shard_finish(w, &info));
    vq_shard_writer_free(w);
    vq_tokens_free(t);
    unbound_memory();
    assert_true(info.records == records && info.keys == records);
    vq_shard *shard;
    vq_record *record;
    bound_memory(16u << 20);
    assert_ok(vq_shard_open(&shard, path, NULL));
    assert_ok(vq_record_create(&record));
    uint64_t random = 3;
    for (int n = 0; n < 1000; n++) {
        const uint64_t i = test_random(&random) % records;
        char key[24];
        uint64_t found;
        snprintf(key, sizeof key, "%llu", (unsigned long long)i);
        assert_ok(vq_shard_find(&found, shard, key));
        assert_true(found == i);
        assert_ok(vq_shard_read(record, shard, i));
        assert_string_equal(record->info.key, key);
        for (int b = 0; b < 3; b++)
            assert_int_equal(record->tokens[0]->codes[b], i >> 8 * b & 255);
    }
    assert_ok(vq_shard_verify(shard, NULL, NULL));
    unbound_memory();
    vq_record_free(record);
    vq_shard_free(shard);
}

/* A shard with one record, as its index says, of so many bytes: all 0, as far as there are any. */
static void write_huge(const char *path, uint32_t length)
{
    store_write(path, VQ_PACKING_BITS, 1);
    vq_bytes file;
    assert_ok(vq_file_read(&file, path, NULL));
    vqi_footer footer;
    assert_ok(vqi_footer_read(&footer, file.data, file.size));
    const int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    const uint64_t begin = 1024, index = begin + ((uint64_t)length + 4 + 16 + 63) / 64 * 64;
    uint8_t row[16 + VQI_ROW_SIZE + 4] = "RIDX", end[VQI_FOOTER_CHUNK];
    vqi_store_u64(row + 8, VQI_ROW_SIZE);
    const vq_shard_row huge = {.offset = begin, .length = length, .codes = 1};
    vqi_row_write(row + 16, &huge);
    footer.records = 1;
    footer.keys = footer.keys_index = 0;
    footer.index = index;
    const uint64_t at = vqi_chunk_next(index + VQI_ROW_SIZE + 4);
    footer.file_bytes = at + VQI_FOOTER_CHUNK;
    vqi_footer_write(end, &footer);
    assert_int_equal(ftruncate(fd, (off_t)(begin - 1)), 0);
    assert_int_equal(ftruncate(fd, (off_t)footer.file_bytes), 0);
    assert_int_equal(pwrite(fd, row, sizeof row, (off_t)(index - 16)), sizeof row);
    assert_int_equal(pwrite(fd, end, sizeof end, (off_t)at), sizeof end);
    close(fd);
    vq_bytes_clear(&file);
}

static void a_record_of_4_gib_is_refused(void **state)
{
    (void)state;
    const char *path = store_path("huge.vqs");
    write_huge(path, UINT32_MAX);
    vq_shard *shard;
    vq_record *record;
    bound_memory(16u << 20);
    assert_ok(vq_record_create(&record));
    assert_ok(vq_shard_open(&shard, path, NULL));
    assert_status(VQ_E_LIMIT, vq_shard_read(record, shard, 0));
    assert_non_null(strstr(vq_last_error(), "record 0"));
    assert_int_not_equal(vq_shard_verify(shard, NULL, NULL), VQ_OK);
    vq_shard_free(shard);
    vq_record_free(record);
    unbound_memory();
}

/* Tokens of 2^32 codes, which are not even there, are refused before they are looked at. */
static void tokens_beyond_a_record_are_refused(void **state)
{
    (void)state;
    const uint32_t k[1] = {UINT32_MAX};
    const size_t grid[1] = {1};
    vq_tokens *t;
    vq_store_schema schema = {.streams = 1};
    vq_shard_writer *w;
    assert_ok(vq_tokens_create(&t, 1, grid, 1, k));
    t->source_ndim = 0;
    assert_ok(vq_store_stream_of(&schema.stream[0], "t", t));
    assert_ok(vq_shard_create(&w, store_path("beyond.vqs"), &schema, NULL));
    t->grid[0] = (size_t)1 << 32;
    assert_status(VQ_E_ARG, vq_shard_add(w, NULL, (const vq_tokens *const *)&t));
    assert_non_null(strstr(vq_last_error(), "cut the signal into several records"));
    vq_tokens_free(t);
    vq_shard_writer_discard(w);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        records = strtoull(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_tiny_records_take_little_memory),
        cmocka_unit_test(a_record_of_4_gib_is_refused),
        cmocka_unit_test(tokens_beyond_a_record_are_refused),
    };
    return cmocka_run_group_tests(tests, store_make_folder, store_remove_folder);
}
