/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <math.h>

#include "io/digest.h"
#include "io/file.h"
#include "io/tokens_file.h"
#include "test_support.h"
#include "vq/memory_internal.h"

static vq_tokens *make_tokens(uint32_t levels, const uint32_t *k, size_t rows, size_t columns)
{
    const size_t grid[3] = {1, rows, columns};
    vq_tokens *tokens;
    assert_ok(vq_tokens_create(&tokens, 3, grid, levels, k));
    tokens->kind = VQ_KIND_IMAGE;
    tokens->source_ndim = 3;
    tokens->source_shape[0] = 16 * rows;
    tokens->source_shape[1] = 16 * columns - 3;
    tokens->source_shape[2] = 3;
    tokens->bits = 8;
    strcpy(tokens->codec, "image");
    for (int i = 0; i < VQ_SHA256_SIZE; i++)
        tokens->model_sha256[i] = (uint8_t)(i * 11);
    uint64_t random = levels;
    const size_t positions = vq_tokens_positions(tokens);
    for (uint32_t l = 0; l < levels; l++)
        for (size_t i = 0; i < positions; i++)
            tokens->codes[l * positions + i] = (uint32_t)(test_random(&random) % k[l]);
    return tokens;
}

static void assert_same_tokens(const vq_tokens *a, const vq_tokens *b)
{
    vq_tokens x = *a, y = *b;
    x.codes = y.codes = NULL;
    assert_memory_equal(&x, &y, sizeof x);
    assert_memory_equal(a->codes, b->codes, a->levels * vq_tokens_positions(a) * sizeof *a->codes);
}

static void tokens_come_back_in_every_packing(void **state)
{
    (void)state;
    static const struct {
        uint32_t levels, k[5];
        unsigned raw_width;
        double bits; /* per position, over all levels */
    } cases[] = {{1, {1}, 1, 1},
                 {1, {2}, 1, 1},
                 {3, {256, 255, 3}, 1, 8 + 8 + 2},
                 {2, {257, 1}, 2, 9 + 1},
                 {2, {65536, 1000}, 2, 16 + 10},
                 {2, {65537, 4}, 4, 17 + 2},
                 {5, {UINT32_MAX, 7, 1024, 3, 100000}, 4, 32 + 3 + 10 + 2 + 17}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t columns = 1; columns <= 37; columns += 9)
            for (int packing = VQ_PACKING_RAW; packing <= VQ_PACKING_BITS; packing++) {
                vq_tokens *tokens = make_tokens(cases[c].levels, cases[c].k, 3, columns), *copy;
                vq_bytes bytes, again;
                vq_tokens_info info;
                assert_ok(vq_tokens_serialize(&bytes, tokens, (vq_packing)packing));
                assert_ok(vq_tokens_parse(&copy, &info, bytes.data, bytes.size, "t", NULL));
                assert_same_tokens(tokens, copy);
                assert_int_equal(info.packing, packing);
                assert_int_equal(info.file_bytes, bytes.size);
                assert_int_equal(info.payload_offset % 64, 0);
                const size_t n = 3 * columns;
                if (packing == VQ_PACKING_RAW)
                    assert_int_equal(info.payload_bytes, n * cases[c].levels * cases[c].raw_width);
                else {
                    assert_true((double)info.payload_bytes >= cases[c].bits * (double)n / 8);
                    assert_true((double)info.payload_bytes <
                                cases[c].bits * (double)n / 8 + cases[c].levels);
                }
                assert_ok(vq_tokens_serialize(&again, copy, (vq_packing)packing));
                assert_int_equal(again.size, bytes.size);
                assert_memory_equal(again.data, bytes.data, bytes.size);
                vq_bytes_clear(&again);
                vq_bytes_clear(&bytes);
                vq_tokens_free(copy);
                vq_tokens_free(tokens);
            }
}

/* A file of known bytes: the format does not drift. */
static void the_layout_is_pinned(void **state)
{
    (void)state;
    const uint32_t k[2] = {16, 8};
    vq_tokens *tokens = make_tokens(2, k, 1, 3);
    const uint32_t codes[] = {1, 2, 15, 7, 0, 5};
    memcpy(tokens->codes, codes, sizeof codes);
    vq_bytes bytes;
    assert_ok(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
    assert_memory_equal(bytes.data, "\x89VQT\r\n\x1a\n\x01\0\0\0", 12);
    assert_memory_equal(bytes.data + 48, "HEAD\0\0\0\0", 8);
    static const char head[] =
        "{\"kind\":\"image\",\"shape\":[16,45,3],\"bits\":8,\"grid\":[1,1,3],\"k\":[16,8],"
        "\"packing\":\"bits\",\"codec\":\"image\",\"model\":"
        "\"000b16212c37424d58636e79848f9aa5b0bbc6d1dce7f2fd08131e29343f4a55\"}";
    assert_memory_equal(bytes.data + 64, head, sizeof head - 1);
    const size_t toks = (64 + sizeof head - 1 + 4 + 16 + 63) / 64 * 64;
    assert_memory_equal(bytes.data + toks - 16, "TOKS\0\0\0\0\x04\0\0\0\0\0\0\0", 16);
    /* 1, 2, 15 of four bits; then 7, 0, 5 of three, from the next byte on. */
    const uint8_t packed[] = {0x21, 0x0f, 0x47, 0x01};
    assert_memory_equal(bytes.data + toks, packed, sizeof packed);
    assert_memory_equal(bytes.data + toks + 48, "TEND\0\0\0\0\x08\0\0\0\0\0\0\0", 16);
    assert_int_equal(bytes.size, toks + 64 + 8 + 4);
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
}

static void a_prefix_of_levels_is_a_prefix_of_the_payload(void **state)
{
    (void)state;
    const uint32_t k[3] = {1000, 30, 5};
    vq_tokens *tokens = make_tokens(3, k, 5, 7);
    vq_bytes whole, part;
    vq_tokens *copy;
    vq_tokens_info whole_info, part_info;
    assert_ok(vq_tokens_serialize(&whole, tokens, VQ_PACKING_BITS));
    assert_ok(vq_tokens_parse(&copy, &whole_info, whole.data, whole.size, NULL, NULL));
    vq_tokens_free(copy);
    assert_ok(vq_tokens_truncate(tokens, 2));
    assert_ok(vq_tokens_serialize(&part, tokens, VQ_PACKING_BITS));
    assert_ok(vq_tokens_parse(&copy, &part_info, part.data, part.size, NULL, NULL));
    assert_memory_equal(whole.data + whole_info.payload_offset,
                        part.data + part_info.payload_offset, part_info.payload_bytes);
    vq_tokens_free(copy);
    vq_tokens_free(tokens);
    vq_bytes_clear(&whole);
    vq_bytes_clear(&part);
}

static void an_image_has_little_overhead(void **state)
{
    (void)state;
    const uint32_t k[6] = {1024, 1024, 1024, 1024, 1024, 1024};
    vq_tokens *tokens = make_tokens(6, k, 32, 48);
    vq_bytes bytes;
    assert_ok(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
    assert_true(bytes.size - 6 * 32 * 48 * 10 / 8 <= 520);
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
}

/* Ancillary chunks of a later minor version are skipped, critical ones refused. */
static void unknown_chunks_follow_their_case(void **state)
{
    (void)state;
    const uint32_t k[1] = {16};
    vq_tokens *tokens = make_tokens(1, k, 1, 3), *copy;
    vq_bytes bytes;
    assert_ok(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_RAW));
    const size_t end_header = bytes.size - 28, size = bytes.size + 64;
    for (int critical = 0; critical < 2; critical++) {
        uint8_t *file = calloc(size, 1), *chunk = file + end_header;
        memcpy(file, bytes.data, end_header);
        memcpy(chunk, critical ? "Note" : "note", 4);
        chunk[8] = 5;
        memcpy(chunk + 16, "hello", 5);
        uint32_t crc = vq_crc32c(0, chunk, 21);
        memcpy(chunk + 21, &crc, 4);
        memcpy(chunk + 64, bytes.data + end_header, 28);
        const uint64_t total = size;
        memcpy(chunk + 64 + 16, &total, 8);
        crc = vq_crc32c(0, chunk + 64, 24);
        memcpy(chunk + 64 + 24, &crc, 4);
        assert_status(critical ? VQ_E_UNSUPPORTED : VQ_OK,
                      vq_tokens_parse(&copy, NULL, file, size, "t", NULL));
        if (!critical)
            assert_same_tokens(tokens, copy);
        vq_tokens_free(copy);
        free(file);
    }
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
}

static void limits_hold_before_anything_is_allocated(void **state)
{
    (void)state;
    const uint32_t k[2] = {16, 16};
    vq_tokens *tokens = make_tokens(2, k, 4, 8), *copy;
    vq_bytes bytes;
    assert_ok(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_RAW));
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_tokens = 64;
    assert_ok(vq_tokens_parse(&copy, NULL, bytes.data, bytes.size, "t", &limits));
    vq_tokens_free(copy);
    limits.max_tokens = 63;
    assert_status(VQ_E_LIMIT, vq_tokens_parse(&copy, NULL, bytes.data, bytes.size, "t", &limits));
    limits.max_tokens = 64;
    limits.max_levels = 1;
    assert_status(VQ_E_LIMIT, vq_tokens_parse(&copy, NULL, bytes.data, bytes.size, "t", &limits));
    limits.max_levels = 2;
    limits.max_header_bytes = 20;
    assert_status(VQ_E_LIMIT, vq_tokens_parse(&copy, NULL, bytes.data, bytes.size, "t", &limits));
    assert_null(copy);
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
}

static void wrong_tokens_are_not_written(void **state)
{
    (void)state;
    const uint32_t k[1] = {16};
    vq_tokens *tokens = make_tokens(1, k, 2, 2);
    vq_bytes bytes;
    assert_status(VQ_E_ARG, vq_tokens_serialize(&bytes, tokens, (vq_packing)2));
    tokens->codes[1] = 16;
    assert_status(VQ_E_RANGE, vq_tokens_serialize(&bytes, tokens, VQ_PACKING_RAW));
    tokens->codes[1] = 0;
    tokens->kind = (vq_kind)0;
    assert_status(VQ_E_ARG, vq_tokens_serialize(&bytes, tokens, VQ_PACKING_RAW));
    tokens->kind = VQ_KIND_IMAGE;
    static const size_t bad_sizes[] = {0, SIZE_MAX / 2 + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad_sizes / sizeof *bad_sizes; i++) {
        tokens->source_shape[1] = bad_sizes[i];
        assert_status(VQ_E_ARG, vq_tokens_serialize(&bytes, tokens, VQ_PACKING_RAW));
    }
    tokens->source_shape[1] = 1;
    const double bad_rates[] = {-1, (double)INFINITY, (double)NAN};
    for (size_t i = 0; i < sizeof bad_rates / sizeof *bad_rates; i++) {
        tokens->rate = bad_rates[i];
        assert_status(VQ_E_ARG, vq_tokens_serialize(&bytes, tokens, VQ_PACKING_RAW));
    }
    tokens->rate = 0;
    static const char *const bad_names[] = {"\x80",
                                            "caf\xe9",
                                            "\xc0\x80",
                                            "\xc3",
                                            "\xe0\x9f\xbf",
                                            "\xed\xa0\x80",
                                            "\xe2\x82x",
                                            "\xf0\x8f\xbf\xbf",
                                            "\xf4\x90\x80\x80",
                                            "\xf5\x80\x80\x80",
                                            "\xff"};
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {
        strcpy(tokens->codec, bad_names[i]);
        assert_status(VQ_E_ARG, vq_tokens_serialize(&bytes, tokens, VQ_PACKING_RAW));
    }
    assert_null(bytes.data);
    vq_tokens_free(tokens);
}

/* The edges of what HEAD may say: the writer takes whatever the reader takes. */
static void extremes_come_back(void **state)
{
    (void)state;
    const uint32_t k[1] = {16};
    static const double rates[] = {1e-300, 0.1, 44100, 1e305, 1.7976931348623157e308};
    static const char *const names[] = {"image", "\x7f", "\xc2\x80\xdf\xbf",
                                        "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80",
                                        "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"};
    for (int i = 0; i < 5; i++) {
        vq_tokens *tokens = make_tokens(1, k, 2, 2), *copy;
        vq_bytes bytes;
        tokens->source_shape[0] = SIZE_MAX / 2;
        tokens->rate = rates[i];
        memset(tokens->codec, 0, sizeof tokens->codec);
        strcpy(tokens->codec, names[i]);
        assert_ok(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
        assert_ok(vq_tokens_parse(&copy, NULL, bytes.data, bytes.size, "t", NULL));
        assert_same_tokens(tokens, copy);
        vq_tokens_free(copy);
        vq_bytes_clear(&bytes);
        vq_tokens_free(tokens);
    }
}

static vq_status write_and_read(void *context)
{
    vq_bytes bytes;
    vq_tokens *copy = NULL;
    vq_status status = vq_tokens_serialize(&bytes, context, VQ_PACKING_BITS);
    if (!status)
        status = vq_tokens_parse(&copy, NULL, bytes.data, bytes.size, "t", NULL);
    vq_bytes_clear(&bytes);
    vq_tokens_free(copy);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const uint32_t k[2] = {16, 3};
    vq_tokens *tokens = make_tokens(2, k, 2, 2);
    test_allocation_failures(write_and_read, tokens);
    vq_tokens_free(tokens);
}

static void *json_alloc(size_t size)
{
    return vqi_alloc(size, 1);
}

static vq_status write_only(void *context)
{
    vq_bytes bytes;
    const vq_status status = vq_tokens_serialize(&bytes, context, VQ_PACKING_BITS);
    vq_bytes_clear(&bytes);
    return status;
}

/* Writing with jansson's allocations among ours: never a file that lacks an entry. (Not reading: jansson 2.14
   ignores it when its token buffer cannot grow.) */
static void every_allocation_of_jansson_may_fail(void **state)
{
    (void)state;
    const uint32_t k[9] = {16, 3, 5, 7, 9, 11, 13, 15, 17};
    vq_tokens *tokens = make_tokens(9, k, 2, 2);
    tokens->rate = 2;
    json_malloc_t old_alloc;
    json_free_t old_free;
    json_get_alloc_funcs(&old_alloc, &old_free);
    json_set_alloc_funcs(json_alloc, vq_free);
    test_allocation_failures(write_only, tokens);
    json_set_alloc_funcs(old_alloc, old_free);
    vq_tokens_free(tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_come_back_in_every_packing),
        cmocka_unit_test(the_layout_is_pinned),
        cmocka_unit_test(a_prefix_of_levels_is_a_prefix_of_the_payload),
        cmocka_unit_test(an_image_has_little_overhead),
        cmocka_unit_test(unknown_chunks_follow_their_case),
        cmocka_unit_test(limits_hold_before_anything_is_allocated),
        cmocka_unit_test(wrong_tokens_are_not_written),
        cmocka_unit_test(extremes_come_back),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_allocation_of_jansson_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
