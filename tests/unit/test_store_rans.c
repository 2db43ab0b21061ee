/* SPDX-License-Identifier: Apache-2.0 */
/* The packing rans: the coder, its tables, what they gain, and bytes that no encoder wrote. */
#include <math.h>

#include "io/rans_tables_internal.h"
#include "io/store_internal.h"
#include "store_support.h"
#include "vq/memory_internal.h"

/* Random frequencies, some 0, that add up to 2^16, as sums. */
static void random_starts(uint32_t *start, uint32_t symbols, uint64_t *random)
{
    uint32_t *counts = calloc(symbols, sizeof *counts);
    uint64_t *scratch = calloc(symbols, sizeof *scratch);
    const unsigned shift = 40 + (unsigned)(test_random(random) % 24);
    for (uint32_t s = 0; s < symbols; s++)
        counts[s] = test_random(random) % 3 ? (uint32_t)(test_random(random) >> shift) : 0;
    counts[test_random(random) % symbols] += 1 + (uint32_t)(test_random(random) >> 33);
    vqi_rans_normalize(start, counts, symbols, scratch);
    assert_int_equal(start[0], 0);
    assert_int_equal(start[symbols], VQI_RANS_TOTAL);
    for (uint32_t s = 0; s < symbols; s++) {
        assert_true(start[s + 1] >= start[s] && start[s + 1] - start[s] <= VQI_RANS_MOST);
        assert_true(!counts[s] || start[s + 1] > start[s]);
    }
    free(counts);
    free(scratch);
}

static void symbols_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 10, 100, 4095, 4096, 4097, 20001};
    static const uint32_t alphabets[] = {2, 3, 100, 4096, 65536};
    uint64_t random = 1;
    for (size_t a = 0; a < sizeof alphabets / sizeof *alphabets; a++)
        for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
            const uint32_t symbols = alphabets[a];
            uint32_t *start = calloc(symbols + 1, sizeof *start);
            random_starts(start, symbols, &random);
            vqi_rans_symbol *coded = calloc(sizes[n], sizeof *coded);
            double bits = 0;
            for (size_t i = 0; i < sizes[n]; i++) {
                const uint32_t at = (uint32_t)(test_random(&random) % VQI_RANS_TOTAL);
                uint32_t s = 0;
                while (start[s + 1] <= at)
                    s++;
                coded[i] = (vqi_rans_symbol){start[s], start[s + 1] - start[s]};
                bits += 16 - log2(coded[i].freq);
            }
            uint8_t *bytes = malloc(vqi_rans_bound(sizes[n]));
            const size_t size = vqi_rans_encode(bytes, coded, sizes[n]);
            /* Within a thousandth of the model's entropy, and the few bytes at the end. */
            assert_true((double)size <= bits / 8 * 1.001 + (sizes[n] < VQI_RANS_TWO ? 3 : 14));
            assert_true(vqi_rans_plausible(size, sizes[n]));
            vqi_rans_decoder d;
            assert_true(vqi_rans_begin(&d, bytes, size, sizes[n]));
            for (size_t i = 0; i < sizes[n]; i++) {
                const uint32_t at = vqi_rans_peek(&d);
                assert_true(at >= coded[i].start && at - coded[i].start < coded[i].freq);
                vqi_rans_take(&d, coded[i].start, coded[i].freq);
            }
            assert_true(vqi_rans_done(&d));
            free(bytes);
            free(coded);
            free(start);
        }
}

/* Even what is nearly certain takes some bytes: no few of them stand for a billion codes. */
static void nothing_is_free(void **state)
{
    (void)state;
    enum { N = 1000000 };
    vqi_rans_symbol *coded = calloc(N, sizeof *coded);
    for (size_t i = 0; i < N; i++)
        coded[i] = (vqi_rans_symbol){0, VQI_RANS_MOST};
    uint8_t *bytes = malloc(vqi_rans_bound(N));
    for (size_t n = 1; n <= N; n *= 10)
        assert_true(vqi_rans_plausible(vqi_rans_encode(bytes, coded, n), n));
    assert_false(vqi_rans_plausible(10, 1u << 30));
    free(bytes);
    free(coded);
}

/* Codes of a grid, each with a chance of its own given the one to the left (1), above (2) or a level below (4). */
static void write_shard(const char *path, vq_packing packing, int near, uint32_t k, size_t records,
                        double *order0)
{
    const uint32_t levels[2] = {k, k};
    const size_t grid[3] = {1, 16, 16};
    vq_tokens *t;
    assert_ok(vq_tokens_create(&t, 3, grid, 2, levels));
    t->source_ndim = 0;
    vq_store_schema schema = {.streams = 1};
    assert_ok(vq_store_stream_of(&schema.stream[0], "t", t));
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.packing = (int)packing + 1;
    opts.no_sync = 1;
    vq_shard_writer *w;
    assert_ok(vq_shard_create(&w, path, &schema, &opts));
    uint64_t random = k, *counts = calloc(2 * k, sizeof *counts);
    for (size_t r = 0; r < records; r++) {
        for (size_t i = 0; i < 512; i++) {
            const size_t at = i % 256;
            const uint32_t other = near == 1   ? at % 16 ? t->codes[i - 1] : 0
                                   : near == 2 ? at / 16 ? t->codes[i - 16] : 0
                                   : near == 4 ? i >= 256 ? t->codes[i - 256] : 0
                                               : 0;
            const double u = test_uniform(&random);
            const uint32_t code = (uint32_t)(u * u * u * k);
            t->codes[i] = near ? (code + other * 7919 % k) % k : code;
            counts[i / 256 * k + t->codes[i]]++;
        }
        assert_ok(vq_shard_add(w, NULL, (const vq_tokens *const *)&t));
    }
    vq_tokens_free(t);
    assert_ok(vq_shard_finish(w, NULL));
    vq_shard_writer_free(w);
    *order0 = 0;
    for (uint32_t i = 0; i < 2 * k; i++)
        if (counts[i])
            *order0 -= (double)counts[i] * log2((double)counts[i] / (256.0 * (double)records)) / 8;
    free(counts);
}

static double payload_bytes(const char *path)
{
    vq_shard *shard;
    vq_shard_info info;
    assert_ok(vq_shard_open(&shard, path, NULL));
    assert_ok(vq_shard_verify(shard, NULL, NULL));
    vq_shard_get_info(&info, shard);
    vq_shard_free(shard);
    /* 8 bytes of a record's row in its block, 8 before its codes. */
    return (double)info.block_bytes - 16 * (double)info.records;
}

static void tables_reach_the_entropy(void **state)
{
    (void)state;
    const char *path = store_path("rans.vqs"), *bits = store_path("bits.vqs");
    for (uint32_t k = 3; k <= 2000; k = k * 5 + 1) {
        double order0;
        write_shard(path, VQ_PACKING_RANS, 0, k, 400, &order0);
        assert_true(payload_bytes(path) < order0 * 1.02 + 4096);
        write_shard(bits, VQ_PACKING_BITS, 0, k, 400, &order0);
        assert_true(payload_bytes(path) < payload_bytes(bits));
    }
}

static void contexts_that_pay_are_found(void **state)
{
    (void)state;
    static const int nears[] = {VQI_NEAR_LEFT, VQI_NEAR_ABOVE, VQI_NEAR_LEVEL};
    const char *path = store_path("context.vqs");
    for (int i = 0; i < 3; i++) {
        double order0;
        write_shard(path, VQ_PACKING_RANS, nears[i], 16, 400, &order0);
        assert_true(payload_bytes(path) < 0.93 * order0);
    }
}

/* Codes without any pattern: rans has no tables and is as large as bits. */
static void noise_is_left_alone(void **state)
{
    (void)state;
    const char *path = store_path("noise.vqs");
    const uint32_t k[1] = {256};
    const size_t grid[1] = {500};
    vq_tokens *t;
    assert_ok(vq_tokens_create(&t, 1, grid, 1, k));
    t->source_ndim = 0;
    vq_store_schema schema = {.streams = 1};
    assert_ok(vq_store_stream_of(&schema.stream[0], "t", t));
    vq_shard_info info[2];
    for (int i = 0; i < 2; i++) {
        vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
        opts.packing = i ? VQ_PACKING_RANS + 1 : VQ_PACKING_BITS + 1;
        vq_shard_writer *w;
        uint64_t random = 5;
        assert_ok(vq_shard_create(&w, path, &schema, &opts));
        for (int r = 0; r < 20; r++) {
            for (size_t c = 0; c < 500; c++)
                t->codes[c] = (uint32_t)(test_random(&random) % 256);
            assert_ok(vq_shard_add(w, NULL, (const vq_tokens *const *)&t));
        }
        assert_ok(vq_shard_finish(w, &info[i]));
        vq_shard_writer_free(w);
    }
    assert_int_equal(info[0].block_bytes, info[1].block_bytes);
    assert_int_equal(info[1].table_bytes, 1);
    vq_tokens_free(t);
}

static void large_alphabets_are_split(void **state)
{
    (void)state;
    const char *path = store_path("large.vqs");
    const uint32_t k[3] = {1, 1u << 18, 1u << 20};
    const size_t grid[2] = {3, 100};
    vq_tokens *t;
    assert_ok(vq_tokens_create(&t, 2, grid, 3, k));
    t->source_ndim = 0;
    vq_store_schema schema = {.streams = 1};
    assert_ok(vq_store_stream_of(&schema.stream[0], "t", t));
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.packing = VQ_PACKING_RANS + 1;
    vq_shard_writer *w;
    uint64_t random = 6;
    assert_ok(vq_shard_create(&w, path, &schema, &opts));
    uint32_t kept[900];
    for (int r = 0; r < 60; r++) {
        for (size_t c = 0; c < 900; c++) {
            const double u = test_uniform(&random);
            t->codes[c] = (uint32_t)(u * u * u * u * u * (k[c / 300] - 1));
        }
        memcpy(kept, t->codes, sizeof kept);
        assert_ok(vq_shard_add(w, NULL, (const vq_tokens *const *)&t));
    }
    vq_shard_info info;
    assert_ok(vq_shard_finish(w, &info));
    vq_shard_writer_free(w);
    assert_true(info.table_bytes > 3);
    vq_shard *shard;
    vq_record *record;
    assert_ok(vq_shard_open(&shard, path, NULL));
    assert_ok(vq_record_create(&record));
    assert_ok(vq_shard_read(record, shard, 59));
    assert_memory_equal(record->tokens[0]->codes, kept, sizeof kept);
    assert_ok(vq_shard_verify(shard, NULL, NULL));
    vq_record_free(record);
    vq_shard_free(shard);
    vq_tokens_free(t);
}

/* Tables and streams with bits flipped: refused or read, within their bounds. */
static void damage_is_refused(void **state)
{
    (void)state;
    const char *path = store_path("damage.vqs");
    double order0;
    write_shard(path, VQ_PACKING_RANS, 1, 16, 30, &order0);
    vq_shard *shard;
    vq_record *record;
    const uint8_t *bytes;
    vq_shard_row row;
    assert_ok(vq_record_create(&record));
    assert_ok(vq_shard_open(&shard, path, NULL));
    assert_ok(vqi_shard_bytes(&bytes, &row, shard, 3));
    uint8_t *copy = malloc(row.length);
    int refused = 0;
    for (size_t bit = 0; bit < 8 * (size_t)row.length; bit++) {
        memcpy(copy, bytes, row.length);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused += vqi_record_read(record, &shard->head, copy, row.length, &shard->limits) != VQ_OK;
    }
    assert_int_equal(refused, 8 * row.length);
    free(copy);
    vqi_buffer tables = {0};
    assert_ok(vqi_rans_write(&tables, shard->head.rans, &shard->head.schema));
    for (size_t bit = 0; bit < 8 * tables.size; bit++) {
        vqi_rans *rans;
        tables.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (!vqi_rans_parse(&rans, &shard->head.schema, tables.data, tables.size)) {
            vqi_store_head head = shard->head;
            head.rans = rans;
            (void)vqi_record_read(record, &head, bytes, row.length, &shard->limits);
        }
        vqi_rans_free(rans);
        tables.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t size = 0; size < tables.size; size++) {
        vqi_rans *rans;
        assert_status(VQ_E_FORMAT, vqi_rans_parse(&rans, &shard->head.schema, tables.data, size));
    }
    vq_free(tables.data);
    vq_record_free(record);
    vq_shard_free(shard);
}

static vq_status write_and_read(void *context)
{
    const char *path = context;
    const uint32_t k[2] = {4, 70000};
    const size_t grid[2] = {8, 8};
    vq_tokens *t = NULL;
    vq_shard_writer *w = NULL;
    vq_shard *shard = NULL;
    vq_record *record = NULL;
    vq_store_schema schema = {.streams = 1};
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.packing = VQ_PACKING_RANS + 1;
    opts.no_sync = 1;
    vq_status status = vq_tokens_create(&t, 2, grid, 2, k);
    if (!status) {
        t->source_ndim = 0;
        status = vq_store_stream_of(&schema.stream[0], "t", t);
    }
    if (!status)
        status = vq_shard_create(&w, path, &schema, &opts);
    for (uint32_t i = 0; !status && i < 30; i++) {
        t->codes[i] = t->codes[64 + i] = i % 4;
        status = vq_shard_add(w, NULL, (const vq_tokens *const *)&t);
    }
    if (!status)
        status = vq_shard_finish(w, NULL);
    if (!status)
        status = vq_shard_open(&shard, path, NULL);
    if (!status)
        status = vq_record_create(&record);
    if (!status)
        status = vq_shard_read(record, shard, 29);
    if (!status && record->tokens[0]->codes[29] != 1)
        status = VQ_E_FORMAT;
    vq_record_free(record);
    vq_shard_free(shard);
    vq_shard_writer_discard(w);
    vq_tokens_free(t);
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
        cmocka_unit_test(symbols_come_back),        cmocka_unit_test(nothing_is_free),
        cmocka_unit_test(tables_reach_the_entropy), cmocka_unit_test(contexts_that_pay_are_found),
        cmocka_unit_test(noise_is_left_alone),      cmocka_unit_test(large_alphabets_are_split),
        cmocka_unit_test(damage_is_refused),        cmocka_unit_test(allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, store_make_folder, store_remove_folder);
}
