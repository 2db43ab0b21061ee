/* SPDX-License-Identifier: Apache-2.0 */
/* Shards that are damaged, cut short or lie: a clear error, every whole record still there, and repair. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>

#include "io/digest.h"
#include "io/store_internal.h"
#include "io/store_write_internal.h"
#include "store_support.h"

static const vq_packing packings[] = {VQ_PACKING_RAW, VQ_PACKING_BITS, VQ_PACKING_RANS};
enum { PACKINGS = sizeof packings / sizeof *packings };

/* Which records verifying has named. */
typedef struct named {
    bool record[1000];
    int records, others;
} named;

static int name_record(void *context, uint64_t record, vq_status status, const char *what)
{
    named *n = context;
    assert_true(status != VQ_OK && *what);
    if (record == UINT64_MAX) {
        n->others++;
    } else {
        n->records += !n->record[record];
        n->record[record] = true;
    }
    return 0;
}

static void write_bytes(const char *path, const void *data, size_t size)
{
    vq_write_opts opts = VQ_WRITE_OPTS_INIT;
    opts.no_sync = 1;
    assert_ok(vq_file_write(path, data, size, &opts));
}

/* Every record that can be read is as it was. @return how many can. */
static uint64_t read_all(const vq_shard *shard, const vq_store_schema *schema)
{
    uint64_t good = 0;
    vq_record *record;
    assert_ok(vq_record_create(&record));
    for (uint64_t i = 0; i < vq_shard_records(shard); i++)
        if (!vq_shard_read(record, shard, i)) {
            assert_record(record, schema, i);
            good++;
        }
    vq_record_free(record);
    return good;
}

/* Repaired, a shard verifies, and has so many records: those that `lost` does not name, in order. */
static void assert_repair(const char *damaged, const vq_store_schema *schema, uint64_t records,
                          const named *lost)
{
    const char *path = store_path("repaired.vqs");
    named told = {0};
    uint64_t count = 77;
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.no_sync = 1;
    assert_ok(vq_shard_repair(path, damaged, &opts, name_record, &told, &count, NULL));
    assert_int_equal(count, told.records);
    vq_shard *shard;
    vq_record *record;
    assert_ok(vq_shard_open(&shard, path, NULL));
    assert_ok(vq_shard_verify(shard, NULL, NULL));
    assert_int_equal(vq_shard_records(shard), records);
    assert_ok(vq_record_create(&record));
    for (uint64_t i = 0, old = 0; i < records; i++, old++) {
        while (lost && lost->record[old])
            old++;
        assert_ok(vq_shard_read(record, shard, i));
        assert_record(record, schema, old);
    }
    vq_record_free(record);
    vq_shard_free(shard);
}

static void every_block_hit_loses_one_record(void **state)
{
    (void)state;
    enum { N = 200 };
    vq_store_schema schema;
    store_schema(&schema);
    for (int p = 0; p < PACKINGS; p++) {
        const char *path = store_path("hit.vqs");
        store_write(path, packings[p], N);
        vq_bytes file;
        assert_ok(vq_file_read(&file, path, NULL));
        uint64_t random = (uint64_t)p;
        int blocks = 0;
        for (size_t at = 48; at + 16 < file.size; at += 64) {
            if (memcmp(file.data + at, "BLCK", 4) != 0)
                continue;
            blocks++;
            vqi_cursor cursor = vqi_cursor_of(file.data, file.size);
            vqi_chunk chunk;
            vqi_block block;
            cursor.at += at;
            assert_ok(vqi_chunk_take(&chunk, &cursor));
            assert_ok(vqi_block_open(&block, &chunk, packings[p]));
            const size_t table = VQI_BLOCK_HEADER + (size_t)block.count * VQI_BLOCK_ROW;
            const size_t byte = at + 16 + table + test_random(&random) % (chunk.length - table);
            const uint8_t bit = (uint8_t)(1u << test_random(&random) % 8);
            file.data[byte] ^= bit;
            write_bytes(path, file.data, file.size);
            vq_shard *shard;
            assert_ok(vq_shard_open(&shard, path, NULL));
            named told = {0};
            const vq_status status = vq_shard_verify(shard, name_record, &told);
            assert_true(status == VQ_E_CHECKSUM || status == VQ_E_FORMAT);
            assert_true(told.others >= 1);
            /* A byte of padding between two records hurts neither. */
            assert_true(told.records <= 1 && (told.records == 1 || packings[p] == VQ_PACKING_RAW));
            assert_int_equal(read_all(shard, &schema), N - told.records);
            vq_shard_free(shard);
            assert_repair(path, &schema, (uint64_t)(N - told.records), &told);
            file.data[byte] ^= bit;
        }
        assert_true(blocks > 3);
        vq_bytes_clear(&file);
    }
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    enum { N = 8 };
    vq_store_schema schema;
    store_schema(&schema);
    for (int p = 0; p < PACKINGS; p++) {
        const char *path = store_path("flip.vqs");
        store_write(path, packings[p], N);
        vq_bytes file;
        assert_ok(vq_file_read(&file, path, NULL));
        for (size_t bit = 0; bit < 8 * file.size; bit++) {
            file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            vq_shard *shard;
            if (!vq_shard_parse(&shard, file.data, file.size, "flip", NULL)) {
                if (!vq_shard_verify(shard, NULL, NULL))
                    fail_msg("bit %zu of byte %zu was not missed", bit % 8, bit / 8);
                assert_true(read_all(shard, &schema) >= N - 1);
                uint64_t found;
                if (!vq_shard_find(&found, shard, "folder/7.png"))
                    assert_int_equal(found, 7);
                vq_shard_free(shard);
            }
            file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        vq_bytes_clear(&file);
    }
}

static void what_is_cut_short_is_repaired(void **state)
{
    (void)state;
    enum { N = 150 };
    vq_store_schema schema;
    store_schema(&schema);
    const char *path = store_path("cut.vqs"), *cut = store_path("short.vqs");
    store_write(path, VQ_PACKING_BITS, N);
    vq_bytes file;
    assert_ok(vq_file_read(&file, path, NULL));
    uint64_t most = 0;
    for (size_t size = 0; size < file.size; size += size < 500 ? 1 : 131) {
        vq_shard *shard;
        const vq_status status = vq_shard_parse(&shard, file.data, size, "cut", NULL);
        assert_true(status == VQ_E_FORMAT || status == VQ_E_CHECKSUM);
        assert_null(shard);
        if (size % 5)
            continue;
        write_bytes(cut, file.data, size);
        uint64_t lost;
        vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
        opts.no_sync = 1;
        if (vq_shard_repair(path, cut, &opts, NULL, NULL, &lost, NULL))
            continue;
        assert_ok(vq_shard_open(&shard, path, NULL));
        assert_true(vq_shard_records(shard) >= most);
        most = vq_shard_records(shard);
        assert_int_equal(read_all(shard, &schema), most);
        vq_shard_free(shard);
    }
    assert_true(most > N / 2);
    vq_bytes_clear(&file);
}

/* Changed, with its checksums mended. */
static void mend_row(uint8_t *row)
{
    vqi_store_u32(row + 28, vq_crc32c(0, row, 28));
}

static void lies_are_refused(void **state)
{
    (void)state;
    const char *path = store_path("lies.vqs");
    store_write(path, VQ_PACKING_BITS, 20);
    vq_bytes file;
    vq_shard *shard;
    vq_record *record;
    vqi_footer good, footer;
    assert_ok(vq_record_create(&record));
    assert_ok(vq_file_read(&file, path, NULL));
    assert_ok(vqi_footer_read(&good, file.data, file.size));
    uint8_t *end = file.data + file.size - VQI_FOOTER_CHUNK;
    /* The footer: more records, an index elsewhere, another size. */
    const uint64_t numbers[] = {0,         1, 21, 64, 63, file.size, UINT64_MAX, UINT64_MAX - 31,
                                1ull << 59};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (int field = 0; field < 6; field++) {
            footer = good;
            uint64_t *fields[] = {&footer.file_bytes, &footer.records, &footer.index,
                                  &footer.keys_index, &footer.keys,    &footer.codes};
            if (*fields[field] == numbers[i])
                continue;
            *fields[field] = numbers[i];
            vqi_footer_write(end, &footer);
            const vq_status status = vq_shard_parse(&shard, file.data, file.size, "lie", NULL);
            if (status)
                assert_status(VQ_E_FORMAT, status);
            else
                assert_status(VQ_E_FORMAT, vq_shard_verify(shard, NULL, NULL));
            vq_shard_free(shard);
        }
    vqi_footer_write(end, &good);
    assert_ok(vq_shard_parse(&shard, file.data, file.size, "lie", NULL));
    /* A row: a record of 4 GiB, one that lies outside the blocks, one that begins elsewhere. */
    uint8_t *row = file.data + good.index + 7 * VQI_ROW_SIZE, kept[VQI_ROW_SIZE];
    memcpy(kept, row, sizeof kept);
    vqi_store_u32(row + 8, UINT32_MAX);
    mend_row(row);
    assert_status(VQ_E_FORMAT, vq_shard_read(record, shard, 7));
    assert_non_null(strstr(vq_last_error(), "lie: record 7: the index says 4294967295 bytes"));
    vqi_store_u64(row, UINT64_MAX);
    mend_row(row);
    assert_status(VQ_E_FORMAT, vq_shard_read(record, shard, 7));
    memcpy(row, kept, sizeof kept);
    vqi_store_u64(row, vqi_load_u64(row) + 1);
    mend_row(row);
    assert_status(VQ_E_CHECKSUM, vq_shard_read(record, shard, 7));
    /* Another record's place: reads well, and verifying tells. */
    memcpy(row, row + VQI_ROW_SIZE, VQI_ROW_SIZE);
    assert_ok(vq_shard_read(record, shard, 7));
    assert_status(VQ_E_FORMAT, vq_shard_verify(shard, NULL, NULL));
    vq_record_free(record);
    vq_shard_free(shard);
    vq_bytes_clear(&file);
}

/* A record that says it is larger than a limit is refused before memory is taken for it. */
static void limits_hold(void **state)
{
    (void)state;
    const char *path = store_path("limits.vqs");
    const uint32_t k[1] = {2};
    const size_t grid[1] = {100000};
    vq_tokens *tokens;
    vq_store_schema schema = {.streams = 1};
    vq_shard_writer *writer;
    assert_ok(vq_tokens_create(&tokens, 1, grid, 1, k));
    tokens->source_ndim = 0;
    assert_ok(vq_store_stream_of(&schema.stream[0], "t", tokens));
    assert_ok(vq_shard_create(&writer, path, &schema, NULL));
    assert_ok(vq_shard_add(writer, NULL, (const vq_tokens *const *)&tokens));
    assert_ok(vq_shard_finish(writer, NULL));
    vq_shard_writer_free(writer);
    vq_tokens_free(tokens);
    vq_limits limits = VQ_LIMITS_INIT;
    vq_shard *shard;
    vq_record *record;
    assert_ok(vq_record_create(&record));
    for (int i = 0; i < 4; i++) {
        limits.max_tokens = i < 2 ? (uint64_t)(99999 + i) : 0;
        limits.max_alloc_bytes = i < 2 ? 0 : (uint64_t)(399996 + 4 * (i - 2));
        assert_ok(vq_shard_open(&shard, path, &limits));
        assert_status(i % 2 ? VQ_OK : VQ_E_LIMIT, vq_shard_read(record, shard, 0));
        vq_shard_free(shard);
    }
    vq_record_free(record);
}

/* System calls that fail at the fail_at-th. */
static int fail_at, calls;

static int fails(int error)
{
    errno = error;
    return calls++ == fail_at;
}

static ssize_t failing_write(int fd, const void *data, size_t size)
{
    return fails(ENOSPC) ? -1 : write(fd, data, size);
}

static int failing_fsync(int fd)
{
    return fails(EIO) ? -1 : fsync(fd);
}

static int failing_rename(const char *from, const char *to)
{
    return fails(EACCES) ? -1 : rename(from, to);
}

static vq_status write_some(vq_shard_writer *w, const vq_store_schema *schema, uint64_t from)
{
    vq_status status = VQ_OK;
    for (uint64_t i = from; !status && i < 60; i++) {
        store_record r;
        store_make(&r, schema, i);
        status = vq_shard_add(w, &r.info, (const vq_tokens *const *)r.tokens);
        store_clear(&r);
    }
    return status ? status : vq_shard_finish(w, NULL);
}

static void fill_disk(vq_packing packing)
{
    vq_store_schema schema;
    store_schema(&schema);
    const char *whole = store_path("whole.vqs"), *path = store_path("full.vqs");
    store_write(whole, packing, 60);
    vqi_file_ops ops = vqi_system_file_ops;
    ops.write = failing_write;
    ops.fsync = failing_fsync;
    ops.rename = failing_rename;
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.block_bytes = 4096;
    opts.resume = 1;
    opts.packing = (int)packing + 1;
    bool failed = true;
    for (fail_at = 0; failed; fail_at++) {
        vq_shard_writer *w;
        calls = 0;
        vq_status status = vqi_shard_create(&w, &ops, path, &schema, &opts);
        if (!status) {
            status = write_some(w, &schema, 0);
            if (status) {
                assert_status(VQ_E_ARG, vq_shard_finish(w, NULL));
                assert_int_equal(access(path, F_OK), -1);
            }
            vq_shard_writer_free(w);
        }
        failed = calls > fail_at;
        /* fsync of the folder is not asked for an answer. */
        assert_true(!failed || status == VQ_E_IO || !status);
        if (status) { /* space again: go on where it ended */
            assert_ok(vq_shard_create(&w, path, &schema, &opts));
            assert_ok(write_some(w, &schema, vq_shard_writer_records(w)));
            vq_shard_writer_free(w);
        }
        assert_same_files(whole, path);
        unlink(path);
    }
    assert_true(fail_at > 6);
}

static void a_full_disk_is_told_and_survived(void **state)
{
    (void)state;
    fill_disk(VQ_PACKING_BITS);
    fill_disk(VQ_PACKING_RANS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_hit_loses_one_record),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(what_is_cut_short_is_repaired),
        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(a_full_disk_is_told_and_survived),
    };
    return cmocka_run_group_tests(tests, store_make_folder, store_remove_folder);
}
