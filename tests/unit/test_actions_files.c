/* SPDX-License-Identifier: Apache-2.0 */
/* Actions from and to .npy, .npz and CSV; the ranges of their dimensions in JSON and in token files. */
#include <zlib.h>

#include "io/actions.h"
#include "io/bytes_internal.h"
#include "io/csv.h"
#include "io/npy.h"
#include "io/npz.h"
#include "io/tokens_file.h"
#include "test_support.h"

static vq_signal *parse_text(const char *text)
{
    vq_signal *signal;
    assert_ok(vq_actions_parse(&signal, text, strlen(text), "arm.csv", NULL));
    return signal;
}

static void csv_keeps_names_and_rate(void **state)
{
    (void)state;
    vq_signal *signal = parse_text("\xef\xbb\xbf"
                                   "timestamp, x ,\"wrist, left\"\r\n0,1,-2.5e-1\r\n\r\n0.05,3,4\n"
                                   "0.1,\"5\",.5");
    assert_int_equal(signal->shape[0], 3);
    assert_int_equal(signal->shape[1], 2);
    assert_string_equal(signal->dimensions->names[0], "x");
    assert_string_equal(signal->dimensions->names[1], "wrist, left");
    assert_true(signal->rate > 19.999 && signal->rate < 20.001);
    assert_true(signal->data[1] == -0.25f && signal->data[4] == 5 && signal->data[5] == 0.5f);
    vq_bytes bytes;
    vq_signal *again;
    assert_ok(vq_csv_serialize(&bytes, signal));
    assert_ok(vq_csv_parse(&again, bytes.data, bytes.size, NULL, NULL));
    assert_string_equal(again->dimensions->names[1], "wrist, left");
    assert_memory_equal(again->data, signal->data, 6 * sizeof(float));
    assert_true(again->rate > 19.999 && again->rate < 20.001);
    vq_signal_free(again);
    vq_bytes_clear(&bytes);
    vq_signal_free(signal);
}

static void csv_without_a_header(void **state)
{
    (void)state;
    vq_signal *signal = parse_text("1;2\n3;4\n");
    assert_int_equal(signal->shape[0], 2);
    assert_null(signal->dimensions);
    vq_signal_free(signal);
    signal = parse_text("7\n");
    assert_int_equal(signal->shape[1], 1);
    vq_signal_free(signal);
}

static void csv_gives_every_float_again(void **state)
{
    (void)state;
    enum { N = 2000 };
    const size_t shape[2] = {N, 1};
    vq_signal *signal, *again;
    vq_bytes bytes;
    uint64_t random = 3;
    assert_ok(vq_signal_create(&signal, VQ_KIND_ACTION, 2, shape));
    for (int i = 0; i < N; i++) {
        const uint32_t bits = (uint32_t)test_random(&random) & 0xbfffffff; /* finite */
        memcpy(&signal->data[i], &bits, sizeof bits);
    }
    assert_ok(vq_actions_serialize(&bytes, signal, VQ_ACTIONS_CSV));
    assert_ok(vq_actions_parse(&again, bytes.data, bytes.size, NULL, NULL));
    assert_memory_equal(again->data, signal->data, N * sizeof(float));
    vq_signal_free(again);
    vq_signal_free(signal);
    vq_bytes_clear(&bytes);
}

/* A zip archive of one member, deflated or stored, as numpy.savez writes it. */
static size_t make_zip(uint8_t out[4096], const char *name, const void *data, size_t size,
                       int deflated)
{
    uint8_t packed[2048];
    uLongf packed_size = 0;
    if (deflated) {
        z_stream z = {0};
        deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
        z.next_in = (Bytef *)data;
        z.avail_in = (uInt)size;
        z.next_out = packed;
        z.avail_out = sizeof packed;
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        packed_size = z.total_out;
        deflateEnd(&z);
    } else {
        memcpy(packed, data, size);
        packed_size = size;
    }
    uint8_t common[26] = {20};
    const size_t name_size = strlen(name);
    vqi_store_u16(common + 4, deflated ? 8 : 0);
    vqi_store_u32(common + 10, (uint32_t)crc32(0, data, (uInt)size));
    vqi_store_u32(common + 14, (uint32_t)packed_size);
    vqi_store_u32(common + 18, (uint32_t)size);
    vqi_store_u16(common + 22, (uint16_t)name_size);
    uint8_t *at = out;
#define PUT(p, n) at = (uint8_t *)memcpy(at, p, n) + (n)
    PUT("PK\3\4", 4);
    PUT(common, 26);
    PUT(name, name_size);
    PUT(packed, packed_size);
    const size_t directory = (size_t)(at - out);
    PUT("PK\1\2\24", 6);
    PUT(common, 26);
    memset(at, 0, 14);
    at += 14;
    PUT(name, name_size);
    uint8_t end[22] = "PK\5\6";
    end[8] = end[10] = 1;
    vqi_store_u32(end + 12, (uint32_t)((size_t)(at - out) - directory));
    vqi_store_u32(end + 16, (uint32_t)directory);
    PUT(end, 22);
    return (size_t)(at - out);
}

static void npz_stored_and_deflated(void **state)
{
    (void)state;
    float values[2 * 3 * 4];
    for (int i = 0; i < 24; i++)
        values[i] = (float)i / 7;
    const vq_tensor t = {
        .dtype = VQ_DTYPE_F32, .ndim = 3, .shape = {2, 3, 4}, .count = 24, .data = values};
    vq_bytes npy;
    assert_ok(vq_npy_serialize(&npy, &t));
    for (int deflated = 0; deflated < 2; deflated++) {
        uint8_t zip[4096];
        const size_t size = make_zip(zip, "arm.npy", npy.data, npy.size, deflated);
        vq_signal *signal;
        assert_ok(vq_actions_parse(&signal, zip, size, "arm.npz", NULL));
        assert_int_equal(signal->ndim, 3);
        assert_int_equal(signal->shape[1], 3);
        assert_memory_equal(signal->data, values, sizeof values);
        vq_signal_free(signal);
        for (size_t cut = 0; cut < size; cut++) /* every prefix is refused */
            assert_true(vq_actions_parse(&signal, zip, cut, NULL, NULL) != VQ_OK);
        for (size_t bit = 0; bit < 8 * size; bit++) { /* a flipped bit never harms */
            zip[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (!vq_actions_parse(&signal, zip, size, NULL, NULL))
                assert_memory_equal(signal->data, values, sizeof values);
            vq_signal_free(signal);
            zip[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    vq_bytes_clear(&npy);
}

static void ranges_are_quantiles(void **state)
{
    (void)state;
    enum { N = 1001 };
    float rows[N][4];
    for (int i = 0; i < N; i++) {
        rows[i][0] = (float)i;         /* quantiles 10 and 990 */
        rows[i][1] = 5;                /* constant */
        rows[i][2] = (float)(i > 998); /* a gripper that seldom closes */
        rows[i][3] = (float)(i == 7 ? 1 : i == 8 ? 3 : 2);
    }
    const float *parts[2] = {rows[0], rows[400]};
    const size_t lengths[2] = {400, N - 400};
    vq_dimensions *d;
    assert_ok(vq_dimensions_create(&d, 4));
    assert_ok(vq_dimensions_fit(d, parts, lengths, 2));
    assert_true(d->low[0] == 10 && d->high[0] == 990 && d->min[0] == 0 && d->max[0] == 1000);
    assert_true(d->low[1] == 5 && d->high[1] == 5 && !d->binary[1]);
    assert_true(d->low[2] == 0 && d->high[2] == 1 && d->binary[2]);
    assert_true(d->low[3] == 1 && d->high[3] == 3 && !d->binary[3]);
    rows[3][1] = (float)strtod("nan", NULL);
    assert_status(VQ_E_NONFINITE, vq_dimensions_fit(d, parts, lengths, 2));
    vq_dimensions_free(d);
}

static void statistics_of_others(void **state)
{
    (void)state;
    static const char lerobot[] =
        "{\"observation.state\": {\"min\": [0], \"max\": [1]}, \"action\": {\"mean\": [0, 0], "
        "\"min\": [-2, 0], \"max\": [2, 1], \"q01\": [-1.5, 0], \"q99\": [1.5, 0]}}";
    static const char openvla[] =
        "{\"bridge\": {\"action\": {\"q01\": [-1, 0], \"q99\": [1, 1], \"min\": [-3, 0], \"max\": "
        "[3, 1], \"mask\": [true, false]}, \"num_transitions\": 9}}";
    vq_dimensions *d;
    assert_ok(vq_dimensions_parse_stats(&d, lerobot, strlen(lerobot), NULL, "stats.json", NULL));
    assert_true(d->low[0] == -1.5f && d->high[0] == 1.5f && d->max[0] == 2);
    assert_true(d->low[1] == 0 && d->high[1] == 1); /* equal quantiles: min and max */
    vq_dimensions_free(d);
    assert_ok(vq_dimensions_parse_stats(&d, openvla, strlen(openvla), "bridge", NULL, NULL));
    assert_true(d->low[0] == -1 && d->min[0] == -3);
    vq_dimensions_free(d);
    assert_ok(vq_dimensions_parse_stats(&d, openvla, strlen(openvla), NULL, NULL, NULL));
    vq_dimensions_free(d);
    assert_status(VQ_E_ARG,
                  vq_dimensions_parse_stats(&d, openvla, strlen(openvla), "fractal", NULL, NULL));
    assert_non_null(strstr(vq_last_error(), "bridge"));
    static const char *const bad[] = {"{}",
                                      "[]",
                                      "{\"action\": {\"q01\": [1], \"q99\": [null]}}",
                                      "{\"action\": {\"q01\": [2], \"q99\": [1]}}",
                                      "{\"action\": {\"min\": [], \"max\": []}}",
                                      "{\"action\": {\"q01\": [1], \"q99\": [2], \"mask\": [7]}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(vq_dimensions_parse_stats(&d, bad[i], strlen(bad[i]), NULL, NULL, NULL) !=
                    VQ_OK);
        assert_null(d);
    }
}

static vq_tokens *make_tokens(void)
{
    const size_t grid[2] = {2, 3};
    const uint32_t k[1] = {5};
    vq_tokens *tokens;
    assert_ok(vq_tokens_create(&tokens, 2, grid, 1, k));
    tokens->kind = VQ_KIND_ACTION;
    tokens->source_ndim = 2;
    tokens->source_shape[0] = 20;
    tokens->source_shape[1] = 3;
    tokens->rate = 50;
    assert_ok(vq_dimensions_create(&tokens->dimensions, 3));
    vq_dimensions *d = tokens->dimensions;
    d->scaled = 1;
    for (int i = 0; i < 3; i++) {
        d->min[i] = -1.1f * (float)(i + 1);
        d->low[i] = -0.7f;
        d->high[i] = 0.1f;
        d->max[i] = 1e9f;
    }
    d->binary[2] = 1;
    assert_ok(vq_dimensions_set_name(d, 1, "\xc3\xbc\"quoted"));
    return tokens;
}

static void token_files_keep_dimensions(void **state)
{
    (void)state;
    vq_tokens *tokens = make_tokens(), *again, head;
    vq_bytes bytes;
    assert_ok(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
    assert_ok(vq_tokens_parse(&again, NULL, bytes.data, bytes.size, NULL, NULL));
    assert_memory_equal(again->dimensions->low, tokens->dimensions->low, 12 * sizeof(float));
    assert_memory_equal(again->dimensions->binary, tokens->dimensions->binary, 3);
    assert_string_equal(again->dimensions->names[1], tokens->dimensions->names[1]);
    vq_tokens_free(again);
    assert_ok(vq_tokens_parse_head(&head, NULL, bytes.data, bytes.size, NULL, NULL));
    assert_null(head.dimensions);
    vq_bytes_clear(&bytes);
    tokens->dimensions->low[0] = 2; /* above high */
    assert_status(VQ_E_RANGE, vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
    tokens->dimensions->low[0] = -0.7f;
    tokens->source_shape[1] = 4;
    assert_status(VQ_E_ARG, vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
    vq_tokens_free(tokens);
}

typedef struct inputs {
    const void *data;
    size_t size;
} inputs;

static vq_status read_once(void *context)
{
    const inputs *in = context;
    vq_signal *signal;
    const vq_status status = vq_actions_parse(&signal, in->data, in->size, NULL, NULL);
    vq_signal_free(signal);
    return status;
}

static void allocation_failures(void **state)
{
    (void)state;
    static const char text[] = "timestamp,x,y\n0,1,2\n1,3,4\n";
    inputs in = {text, strlen(text)};
    test_allocation_failures(read_once, &in);
    float values[4] = {1, 2, 3, 4};
    const vq_tensor t = {
        .dtype = VQ_DTYPE_F32, .ndim = 2, .shape = {2, 2}, .count = 4, .data = values};
    vq_bytes npy;
    uint8_t zip[4096];
    assert_ok(vq_npy_serialize(&npy, &t));
    in.size = make_zip(zip, "a.npy", npy.data, npy.size, 1);
    in.data = zip;
    test_allocation_failures(read_once, &in);
    vq_bytes_clear(&npy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_keeps_names_and_rate),    cmocka_unit_test(csv_without_a_header),
        cmocka_unit_test(csv_gives_every_float_again), cmocka_unit_test(npz_stored_and_deflated),
        cmocka_unit_test(ranges_are_quantiles),        cmocka_unit_test(statistics_of_others),
        cmocka_unit_test(token_files_keep_dimensions), cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
