/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of probabilities, and the packing "entropy" that codes with them. */
#include "vq/code_tables.h"

#include "io/bytes_internal.h"
#include "io/digest.h"
#include "io/tokens_file.h"
#include "rvq/residual.h"
#include "test_support.h"

enum { DIM = 3, LEVELS = 4, SETS = 2 };
static const uint32_t sizes[LEVELS] = {70, 40, 64, 3};

static vq_quantizer *make_quantizer(uint64_t seed)
{
    vq_codebook *codebooks[LEVELS];
    vq_quantizer *quantizer;
    for (uint32_t l = 0; l < LEVELS; l++) {
        float codewords[70 * DIM];
        for (uint32_t i = 0; i < sizes[l] * DIM; i++)
            codewords[i] = (float)(test_uniform(&seed) * 2 - 1);
        assert_ok(vq_codebook_create(&codebooks[l], codewords, sizes[l], DIM, VQ_METRIC_EUCLIDEAN,
                                     VQ_DTYPE_F32));
    }
    assert_ok(vq_residual_create(&quantizer, codebooks, LEVELS));
    return quantizer;
}

/* Codes that lean on their neighbours, and on low numbers the more, the larger `skew` is. */
static vq_tokens *make_tokens(uint32_t ndim, const size_t *grid, uint32_t levels, int skew,
                              uint64_t seed)
{
    vq_tokens *tokens;
    assert_ok(vq_tokens_create(&tokens, ndim, grid, levels, sizes));
    tokens->kind = VQ_KIND_IMAGE;
    tokens->source_ndim = 1;
    const size_t positions = vq_tokens_positions(tokens);
    for (uint32_t l = 0; l < levels; l++)
        for (size_t i = 0; i < positions; i++) {
            double u = test_uniform(&seed);
            for (int j = 0; j < skew; j++)
                u *= test_uniform(&seed);
            uint32_t *codes = tokens->codes + l * positions;
            codes[i] = i && test_uniform(&seed) < 0.4 ? codes[i - 1] : (uint32_t)(u * sizes[l]);
        }
    return tokens;
}

static vq_status train(vq_code_tables **out, uint64_t seed)
{
    const size_t grid[3] = {2, 30, 40};
    vq_quantizer *quantizer = make_quantizer(seed);
    vq_table_counts *counts = NULL;
    *out = NULL;
    vq_status status = vq_table_counts_create(&counts, quantizer);
    for (uint32_t s = 0; !status && s < SETS; s++) {
        vq_tokens *tokens = make_tokens(3, grid, LEVELS, s ? 4 : 1, seed + s);
        status = vq_table_counts_add(counts, s, tokens);
        vq_tokens_free(tokens);
    }
    if (!status)
        status = vq_code_tables_create(out, counts, SETS);
    vq_table_counts_free(counts);
    vq_quantizer_free(quantizer);
    return status;
}

static vq_code_tables *make_tables(void)
{
    vq_code_tables *tables;
    assert_ok(train(&tables, 1));
    assert_int_equal(vq_code_tables_levels(tables), LEVELS);
    assert_int_equal(vq_code_tables_sets(tables), SETS);
    return tables;
}

static void check_round_trip(const vq_tokens *tokens, const vq_code_tables *tables, size_t *size)
{
    vq_bytes bytes;
    vq_tokens *copy, head;
    vq_tokens_info info;
    assert_ok(vq_tokens_serialize_with(&bytes, tokens, VQ_PACKING_ENTROPY, tables));
    assert_ok(vq_tokens_parse_head(&head, &info, bytes.data, bytes.size, "t", NULL));
    assert_null(head.codes);
    assert_int_equal(head.levels, tokens->levels);
    assert_int_equal(info.packing, VQ_PACKING_ENTROPY);
    assert_int_equal(info.file_bytes, bytes.size);
    *size = (size_t)info.payload_bytes;
    assert_ok(vq_tokens_parse_with(&copy, &info, bytes.data, bytes.size, "t", tables, NULL));
    assert_memory_equal(copy->codes, tokens->codes,
                        tokens->levels * vq_tokens_positions(tokens) * sizeof *copy->codes);
    vq_tokens_free(copy);
    vq_bytes_clear(&bytes);
}

static void round_trips(void **state)
{
    (void)state;
    static const size_t grids[][3] = {{1, 1, 1}, {2, 3, 5}, {1, 17, 1}, {1, 1, 300}, {3, 40, 23}};
    vq_code_tables *tables = make_tables();
    for (size_t g = 0; g < sizeof grids / sizeof *grids; g++)
        for (uint32_t ndim = 1; ndim <= 3; ndim++)
            for (uint32_t levels = 1; levels <= LEVELS; levels++)
                for (int skew = 0; skew < 12; skew += 3) {
                    size_t size;
                    vq_tokens *tokens = make_tokens(ndim, grids[g] + 3 - ndim, levels, skew, g + 1);
                    check_round_trip(tokens, tables, &size);
                    vq_tokens_free(tokens);
                }
    vq_code_tables_free(tables);
}

/* Of many short streams, some end with every pattern of bytes that are left out or carried over. */
static void every_end(void **state)
{
    (void)state;
    vq_code_tables *tables = make_tables();
    for (uint64_t seed = 0; seed < 3000; seed++) {
        const size_t grid = 1 + seed % 9;
        size_t size;
        vq_tokens *tokens = make_tokens(1, &grid, 1 + seed % LEVELS, seed % 5, seed);
        check_round_trip(tokens, tables, &size);
        vq_tokens_free(tokens);
    }
    vq_code_tables_free(tables);
}

static void likely_codes_are_short(void **state)
{
    (void)state;
    const size_t grid[3] = {1, 60, 60};
    vq_code_tables *tables = make_tables();
    vq_tokens *tokens = make_tokens(3, grid, LEVELS, 4, 77);
    vq_tokens_info info;
    vq_bytes bytes;
    size_t size;
    check_round_trip(tokens, tables, &size);
    /* The entropy of the codes, though each level were coded by its own frequencies without contexts. */
    vq_report *report;
    double bits = 0;
    vq_level_report row;
    assert_ok(vq_report_create(&report, LEVELS, sizes));
    assert_ok(vq_report_add_tokens(report, tokens));
    for (uint32_t l = 0; l < LEVELS; l++) {
        assert_ok(vq_report_level(&row, report, l));
        bits += row.entropy_bits * 3600;
    }
    vq_report_free(report);
    assert_true((double)size * 8 < bits);
    assert_ok(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
    assert_ok(vq_tokens_parse_head(&(vq_tokens){0}, &info, bytes.data, bytes.size, NULL, NULL));
    assert_true(2 * size < info.payload_bytes);
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
    vq_code_tables_free(tables);
}

static void refusals(void **state)
{
    (void)state;
    const size_t grid = 50;
    vq_code_tables *tables = make_tables(), *none;
    vq_tokens *tokens = make_tokens(1, &grid, LEVELS, 2, 5), *copy;
    vq_bytes bytes, empty;
    assert_status(VQ_E_ARG, vq_tokens_serialize(&empty, tokens, VQ_PACKING_ENTROPY));
    assert_null(empty.data);
    assert_ok(vq_tokens_serialize_with(&bytes, tokens, VQ_PACKING_ENTROPY, tables));
    assert_status(VQ_E_UNSUPPORTED,
                  vq_tokens_parse(&copy, NULL, bytes.data, bytes.size, "t", NULL));
    assert_null(copy);

    /* Tables of fewer levels, or of another K. */
    vq_quantizer *quantizer = make_quantizer(1), *other;
    vq_codebook *codebook;
    const float codewords[2 * DIM] = {1, 2, 3, 4, 5, 6};
    assert_ok(vq_codebook_create(&codebook, codewords, 2, DIM, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_quantizer_from_codebook(&other, codebook));
    vq_table_counts *counts, *other_counts;
    assert_ok(vq_table_counts_create(&other_counts, other));
    assert_status(VQ_E_ARG, vq_table_counts_add(other_counts, 0, tokens));
    assert_status(VQ_E_ARG, vq_code_tables_create(&none, other_counts, 1));
    assert_null(none);
    vq_tokens *two;
    const uint32_t k = 2;
    assert_ok(vq_tokens_create(&two, 1, &grid, 1, &k));
    assert_ok(vq_table_counts_add(other_counts, 0, two));
    assert_ok(vq_code_tables_create(&none, other_counts, 1));
    assert_status(VQ_E_ARG, vq_tokens_serialize_with(&empty, tokens, VQ_PACKING_ENTROPY, none));
    assert_status(VQ_E_MISMATCH,
                  vq_tokens_parse_with(&copy, NULL, bytes.data, bytes.size, "t", none, NULL));
    vq_code_tables_free(none);
    assert_ok(vq_table_counts_create(&counts, quantizer));
    assert_status(VQ_E_ARG, vq_table_counts_add(counts, VQ_MAX_TABLE_SETS, tokens));
    assert_status(VQ_E_ARG, vq_table_counts_add(counts, 0, two));
    assert_ok(vq_table_counts_add(counts, 0, tokens));
    assert_status(VQ_E_ARG, vq_code_tables_create(&none, counts, 2));
    assert_status(VQ_E_ARG, vq_code_tables_create(&none, counts, 0));
    vq_table_counts_free(counts);
    vq_table_counts_free(other_counts);
    vq_quantizer_free(quantizer);
    vq_quantizer_free(other);
    vq_tokens_free(two);
    vq_tokens_free(tokens);
    vq_bytes_clear(&bytes);
    vq_code_tables_free(tables);
}

/* Where the payload of a chunk is; its length. */
static size_t find_chunk(const vq_bytes *file, const char *type, size_t *length)
{
    size_t at = 48;
    while (memcmp(file->data + at, type, 4) != 0) {
        at += 16 + (size_t)vqi_load_u64(file->data + at + 8) + 4;
        at = (at + 16 + 63) / 64 * 64 - 16;
    }
    *length = (size_t)vqi_load_u64(file->data + at + 8);
    return at + 16;
}

static void mend(const vq_bytes *file, size_t payload, size_t length)
{
    uint8_t *data = (uint8_t *)file->data;
    vqi_store_u32(data + payload + length, vq_crc32c(0, data + payload - 16, length + 16));
}

/* Bytes that no encoder wrote, under a good checksum: an error or codes in range, never anything else. */
static void hostile_streams(void **state)
{
    (void)state;
    const size_t grid[2] = {9, 11};
    vq_code_tables *tables = make_tables();
    vq_tokens *tokens = make_tokens(2, grid, LEVELS, 2, 5), *copy;
    uint64_t seed = 3;
    vq_bytes bytes;
    assert_ok(vq_tokens_serialize_with(&bytes, tokens, VQ_PACKING_ENTROPY, tables));
    size_t length, refused = 0, taken = 0;
    const size_t payload = find_chunk(&bytes, "TOKS", &length);
    uint8_t *stream = (uint8_t *)bytes.data + payload;
    for (int i = 0; i < 4000; i++) {
        for (size_t j = 0; j < length; j++)
            stream[j] = (uint8_t)(i < 3 ? i * 127 + i / 2 : (int)test_random(&seed));
        stream[0] = (uint8_t)(i % 16 ? i % SETS : i % 256);
        mend(&bytes, payload, length);
        const vq_status status =
            vq_tokens_parse_with(&copy, NULL, bytes.data, bytes.size, "t", tables, NULL);
        if (status) {
            assert_int_equal(status, VQ_E_FORMAT);
            refused++;
            continue;
        }
        taken++;
        assert_ok(vq_tokens_validate(copy));
        vq_tokens_free(copy);
    }
    assert_true(refused > 3000 && refused + taken == 4000);
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
    vq_code_tables_free(tables);
}

/* Few bytes that claim many codes: refused before memory is taken for the codes. */
static void claims_too_much(void **state)
{
    (void)state;
    const size_t grid[3] = {100, 100, 100};
    vq_code_tables *tables = make_tables();
    vq_tokens *tokens, *copy;
    vq_bytes bytes;
    assert_ok(vq_tokens_create(&tokens, 3, grid, 1, sizes));
    tokens->kind = VQ_KIND_IMAGE;
    tokens->source_ndim = 1;
    assert_ok(vq_tokens_serialize_with(&bytes, tokens, VQ_PACKING_ENTROPY, tables));
    size_t length;
    const size_t head = find_chunk(&bytes, "HEAD", &length);
    char *digits = strstr((char *)bytes.data + head, "100,100,100");
    assert_non_null(digits);
    memcpy(digits, "100,100,101", 11);
    mend(&bytes, head, length);
    assert_status(VQ_E_FORMAT,
                  vq_tokens_parse_with(&copy, NULL, bytes.data, bytes.size, "t", tables, NULL));
    memcpy(digits, "999,999,999", 11);
    mend(&bytes, head, length);
    assert_status(VQ_E_FORMAT,
                  vq_tokens_parse_with(&copy, NULL, bytes.data, bytes.size, "t", tables, NULL));
    assert_non_null(strstr(vq_last_error(), "too few"));
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
    vq_code_tables_free(tables);
}

static vq_status save_and_load(vq_code_tables **out, const vq_code_tables *tables,
                               vq_tensors *tensors)
{
    const vq_status status = vq_code_tables_save(tensors, tables, "tables.");
    return status ? status : vq_code_tables_load(out, tensors, "tables.");
}

static void saved_and_loaded(void **state)
{
    (void)state;
    vq_code_tables *tables = make_tables(), *copy;
    vq_tensors *tensors, *again;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_code_tables_load(&copy, tensors, "tables."));
    assert_null(copy);
    assert_ok(save_and_load(&copy, tables, tensors));
    assert_status(VQ_E_ARG, vq_code_tables_save(tensors, tables, "tables."));
    assert_ok(vq_tensors_create(&again));
    assert_ok(vq_code_tables_save(again, copy, "tables."));
    assert_int_equal(vq_tensors_count(again), LEVELS * (1 + 2 * SETS));
    for (size_t i = 0; i < vq_tensors_count(again); i++) {
        const vq_tensor *a = vq_tensors_at(again, i), *b = vq_tensors_find(tensors, a->name);
        assert_int_equal(a->count, b->count);
        assert_memory_equal(a->data, b->data, a->count * vq_dtype_size(a->dtype));
    }
    vq_code_tables_free(copy);
    vq_tensors_free(again);

    /* Every single number that is wrong is seen. */
    for (size_t i = 0; i < vq_tensors_count(tensors); i++) {
        const vq_tensor *tensor = vq_tensors_at(tensors, i);
        const size_t bytes = tensor->count * vq_dtype_size(tensor->dtype);
        for (size_t j = 0; j < bytes; j += 1 + bytes / 97) {
            uint8_t *at = (uint8_t *)tensor->data + j;
            *at ^= 0x80;
            const vq_status status = vq_code_tables_load(&copy, tensors, "tables.");
            /* Another class may be possible; a frequency never is. */
            if (status == VQ_OK)
                fail_msg("%s: byte %zu was changed and nobody saw it", tensor->name, j);
            assert_int_equal(status, VQ_E_FORMAT);
            assert_null(copy);
            *at ^= 0x80;
        }
    }
    assert_ok(vq_tensors_set(tensors, "tables.sets", "3"));
    assert_status(VQ_E_FORMAT, vq_code_tables_load(&copy, tensors, "tables."));
    assert_ok(vq_tensors_set(tensors, "tables.sets", "9"));
    assert_status(VQ_E_FORMAT, vq_code_tables_load(&copy, tensors, "tables."));
    assert_ok(vq_tensors_set(tensors, "tables.sets", "2"));
    assert_ok(vq_tensors_set(tensors, "tables.levels", "5"));
    assert_status(VQ_E_FORMAT, vq_code_tables_load(&copy, tensors, "tables."));
    vq_tensors_free(tensors);
    vq_code_tables_free(tables);
}

/* Codewords all alike, and levels of two codes, still make tables. */
static void poor_codebooks(void **state)
{
    (void)state;
    for (uint32_t k = 2; k < 40; k += 37) {
        float codewords[40 * DIM] = {0};
        vq_codebook *codebooks[2];
        vq_quantizer *quantizer;
        vq_table_counts *counts;
        vq_code_tables *tables;
        vq_tokens *tokens, *copy;
        vq_bytes bytes;
        const size_t grid[2] = {8, 8};
        const uint32_t ks[2] = {k, k};
        for (int l = 0; l < 2; l++)
            assert_ok(vq_codebook_create(&codebooks[l], codewords, k, DIM, VQ_METRIC_EUCLIDEAN,
                                         VQ_DTYPE_F32));
        assert_ok(vq_residual_create(&quantizer, codebooks, 2));
        assert_ok(vq_table_counts_create(&counts, quantizer));
        assert_ok(vq_tokens_create(&tokens, 2, grid, 2, ks));
        tokens->kind = VQ_KIND_IMAGE;
        tokens->source_ndim = 1;
        assert_ok(vq_table_counts_add(counts, 0, tokens));
        assert_ok(vq_code_tables_create(&tables, counts, 1));
        for (uint32_t i = 0; i < 128; i++)
            tokens->codes[i] = i % k;
        assert_ok(vq_tokens_serialize_with(&bytes, tokens, VQ_PACKING_ENTROPY, tables));
        assert_ok(vq_tokens_parse_with(&copy, NULL, bytes.data, bytes.size, "t", tables, NULL));
        assert_memory_equal(copy->codes, tokens->codes, 128 * sizeof *copy->codes);
        vq_tokens_free(copy);
        vq_bytes_clear(&bytes);
        vq_tokens_free(tokens);
        vq_code_tables_free(tables);
        vq_table_counts_free(counts);
        vq_quantizer_free(quantizer);
    }
}

typedef struct stage {
    const vq_quantizer *quantizer;
    const vq_tokens *tokens;
} stage;

static vq_status everything(void *context)
{
    const stage *s = context;
    vq_table_counts *counts = NULL;
    vq_code_tables *tables = NULL, *loaded = NULL;
    vq_tensors *tensors = NULL;
    vq_tokens *copy = NULL;
    vq_bytes bytes = {0};
    vq_status status = vq_table_counts_create(&counts, s->quantizer);
    if (!status)
        status = vq_table_counts_add(counts, 0, s->tokens);
    if (!status)
        status = vq_code_tables_create(&tables, counts, 1);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = save_and_load(&loaded, tables, tensors);
    if (!status)
        status = vq_tokens_serialize_with(&bytes, s->tokens, VQ_PACKING_ENTROPY, loaded);
    if (!status)
        status = vq_tokens_parse_with(&copy, NULL, bytes.data, bytes.size, "t", loaded, NULL);
    vq_tokens_free(copy);
    vq_bytes_clear(&bytes);
    vq_tensors_free(tensors);
    vq_code_tables_free(loaded);
    vq_code_tables_free(tables);
    vq_table_counts_free(counts);
    return status;
}

static void allocation_failures(void **state)
{
    (void)state;
    const size_t grid[2] = {4, 4};
    stage s = {make_quantizer(4), make_tokens(2, grid, LEVELS, 1, 4)};
    test_allocation_failures(everything, &s);
    vq_quantizer_free((vq_quantizer *)s.quantizer);
    vq_tokens_free((vq_tokens *)s.tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(every_end),
        cmocka_unit_test(likely_codes_are_short),
        cmocka_unit_test(refusals),
        cmocka_unit_test(hostile_streams),
        cmocka_unit_test(claims_too_much),
        cmocka_unit_test(saved_and_loaded),
        cmocka_unit_test(poor_codebooks),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
