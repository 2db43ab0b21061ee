/* SPDX-License-Identifier: Apache-2.0 */
/* SimVQ: the basis and the kind. */
#include <math.h>

#include "simvq_support.h"
#include "vq/philox_internal.h"

/* The known answers that the authors of Philox publish with Random123. */
static void test_philox(void **state)
{
    (void)state;
    static const struct {
        vqi_philox counter;
        uint64_t key;
        vqi_philox expected;
    } cases[] = {
        {{{0, 0, 0, 0}}, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
         0xffffffffffffffff,
         {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         0x299f31d0a4093822,
         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const vqi_philox got = vqi_philox4x32(cases[i].counter, cases[i].key);
        assert_memory_equal(&got, &cases[i].expected, sizeof got);
    }
}

/* Elements that were computed by the Python of docs/FORMATS.md; any machine and any release must give them. */
static void test_basis_known(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        uint32_t dim, row, column;
        uint32_t bits;
    } cases[] = {
        {0x0u, 1, 0, 0, 0x3edbaa8a},
        {0x0u, 128, 0, 0, 0x3d1b53d3},
        {0x0u, 128, 0, 127, 0x3bc5fe77},
        {0x1u, 128, 262143, 5, 0xbbd689f8},
        {0x7u, 3, 12, 2, 0x3e96050a},
        {0x123456789abcdefu, 16, 4095, 15, 0x3e90ad30},
        {0xffffffffffffffffu, 255, 16777215, 254, 0xbcae5c63},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float row[256];
        uint32_t bits;
        vq_simvq_basis(row, cases[i].seed, cases[i].dim, cases[i].row, 1);
        memcpy(&bits, &row[cases[i].column], sizeof bits);
        assert_int_equal(bits, cases[i].bits);
    }
}

/* Any number of columns, however many of them are made at once. */
static void test_basis_of_any_width(void **state)
{
    (void)state;
    for (uint32_t r = 1; r < 40; r++) {
        float row[40];
        vq_simvq_basis(row, 0x123456789abcdef0, r, 4294967295u, 1);
        for (uint32_t i = 0; i < r; i++) {
            const vqi_philox p =
                vqi_philox4x32((vqi_philox){{i, 4294967295u, 0, 0}}, 0x123456789abcdef0);
            int64_t heads = 0;
            for (int w = 0; w < 3; w++)
                for (int bit = 0; bit < 32; bit++)
                    heads += p.word[w] >> bit & 1;
            const double sum =
                (double)(heads - 48) * 4294967296.0 + (double)p.word[3] - 2147483648.0;
            assert_true(row[i] == (float)(sum * (sqrt(12.0 / r) / 17.0 * 0x1p-32)));
        }
    }
}

/* N(0, 1/r): moments, the tail beyond 2 sigma, and elements that do not know each other. */
static void test_basis_is_gaussian(void **state)
{
    (void)state;
    enum { ROWS = 4000, R = 64 };
    float *rows = malloc((size_t)ROWS * R * sizeof *rows), one[R];
    assert_non_null(rows);
    vq_simvq_basis(rows, 99, R, 0, ROWS);
    vq_simvq_basis(one, 99, R, 1234, 1); /* any row without those before it */
    assert_memory_equal(one, rows + 1234 * R, sizeof one);
    double sum = 0, square = 0, fourth = 0, beside = 0, below = 0;
    size_t tail = 0;
    for (size_t i = 0; i < (size_t)ROWS * R; i++) {
        const double z = rows[i] * sqrt(R);
        sum += z;
        square += z * z;
        fourth += z * z * z * z;
        beside += i % R ? z * rows[i - 1] * sqrt(R) : 0;
        below += i >= R ? z * rows[i - R] * sqrt(R) : 0;
        tail += fabs(z) > 2;
    }
    const double n = ROWS * R, sigma = sqrt(n);
    assert_true(fabs(sum) < 4 * sigma);
    assert_true(fabs(square / n - 1) < 4 * sqrt(2) / sigma);
    assert_true(fabs(fourth / n - 2.979) < 4 * sqrt(96) / sigma);
    assert_true(fabs(beside) < 4 * sigma && fabs(below) < 4 * sigma);
    assert_true(fabs((double)tail / n - 0.0455) < 0.002);
    free(rows);
}

/* The codewords are what the header says, to the bit; and with a basis of fewer dimensions. */
static void test_codewords(void **state)
{
    (void)state;
    enum { R = 5, MANY = 1000 };
    float map[R * D], bias[D], basis[R];
    uint64_t seed = 3;
    for (size_t i = 0; i < R * D; i++)
        map[i] = (float)test_uniform(&seed) - 0.5f;
    for (size_t j = 0; j < D; j++)
        bias[j] = (float)test_uniform(&seed);
    for (int with = 0; with < 2; with++) {
        const vq_simvq_form form = {sizeof form, MANY, D, R, 11};
        vq_quantizer *q;
        assert_ok(vq_simvq_create(&q, &form, map, with ? bias : NULL));
        assert_string_equal(vq_quantizer_kind(q), "simvq");
        assert_int_equal(vq_quantizer_levels(q), 1);
        assert_int_equal(vq_quantizer_dim(q), D);
        assert_int_equal(vq_quantizer_k(q, 0), MANY);
        assert_int_equal(vq_quantizer_k(q, 1), 0);
        const float *codewords = vq_codebook_codewords(vq_quantizer_codebook(q, 0));
        for (uint32_t k = 0; k < MANY; k++) {
            vq_simvq_basis(basis, 11, R, k, 1);
            for (size_t j = 0; j < D; j++) {
                volatile float c = with ? bias[j] : 0, t;
                for (size_t i = 0; i < R; i++) {
                    t = basis[i] * map[i * D + j];
                    c = c + t;
                }
                assert_true(codewords[k * D + j] == c);
            }
        }
        vq_quantizer_free(q);
    }
}

/* Encoding gives the contract's nearest codeword, and decoding gives that codeword's bits. */
static void test_round_trip(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 1), *decoded = malloc((size_t)N * D * sizeof *decoded);
    uint32_t *codes = malloc(N * sizeof *codes), *expected = malloc(N * sizeof *expected);
    assert_true(decoded && codes && expected);
    vq_quantizer *q = train(x);
    const vq_codebook *codebook = vq_quantizer_codebook(q, 0);
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.exhaustive = 1;
    assert_ok(vq_nearest(expected, NULL, codebook, x, N, &search));
    assert_ok(vq_quantize(codes, q, x, N, NULL));
    assert_memory_equal(codes, expected, N * sizeof *codes);
    assert_ok(vq_dequantize(decoded, q, codes, N, NULL));
    for (size_t i = 0; i < N; i++)
        assert_memory_equal(decoded + i * D, vq_codebook_codewords(codebook) + codes[i] * D,
                            D * sizeof *decoded);
    /* Their codewords again: the same codes, but for codewords that repeat. */
    assert_ok(vq_quantize(expected, q, decoded, N, NULL));
    assert_memory_equal(codes, expected, N * sizeof *codes);
    check_sameness(q, x, N);
    check_refusals(q, x, N);
    vq_quantizer_free(q);
    free(x);
    free(decoded);
    free(codes);
    free(expected);
}

static void test_save_and_load(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 5);
    for (int no_bias = 0; no_bias < 2; no_bias++) {
        vq_simvq_train_opts opts = options();
        opts.no_bias = no_bias;
        opts.seed = UINT64_MAX - 1;
        opts.basis_dim = no_bias ? 7 : 0;
        vq_quantizer *q, *again;
        vq_tensors *tensors;
        assert_ok(vq_simvq_train(&q, NULL, x, N, D, &opts));
        check_saving(q, x, N);
        check_bad_files(q);
        tensors = parts_saved(q, "inner.");
        assert_int_equal(vq_tensors_count(tensors), 2 - no_bias);
        assert_ok(vq_quantizer_load(&again, tensors, "inner.", NULL));
        assert_equal(q, again);
        vq_quantizer_free(again);
        vq_quantizer_free(q);
        vq_tensors_free(tensors);
    }
    free(x);
}

/* What files may claim. */
static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        vq_status status;
    } settings[] = {
        {"generator", "mt19937", VQ_E_UNSUPPORTED},
        {"seed", "-1", VQ_E_FORMAT},
        {"seed", "18446744073709551616", VQ_E_FORMAT},
        {"k", "0", VQ_E_FORMAT},
        {"k", "16777217", VQ_E_FORMAT},
        {"k", "1048577", VQ_E_LIMIT},
        {"k", "12x", VQ_E_FORMAT},
    };
    static const struct {
        vq_dtype dtype;
        uint32_t ndim;
        size_t shape[2];
        size_t bias;
        float first;
        vq_status status;
    } arrays[] = {
        {VQ_DTYPE_F32, 2, {3, 2}, 2, 1, VQ_OK},
        {VQ_DTYPE_F64, 2, {3, 2}, 2, 1, VQ_E_FORMAT},
        {VQ_DTYPE_F32, 1, {6, 0}, 2, 1, VQ_E_FORMAT},
        {VQ_DTYPE_F32, 2, {0, 2}, 2, 1, VQ_E_FORMAT},
        {VQ_DTYPE_F32, 2, {3, 0}, 0, 1, VQ_E_FORMAT},
        {VQ_DTYPE_F32, 2, {3, 2}, 3, 1, VQ_E_FORMAT},
        {VQ_DTYPE_F32, 2, {4097, 2}, 2, 1, VQ_E_LIMIT},
        {VQ_DTYPE_F32, 2, {2, 4097}, 4097, 1, VQ_E_LIMIT},
        {VQ_DTYPE_F32, 2, {3, 2}, 2, NAN, VQ_E_NONFINITE},
        {VQ_DTYPE_F32, 2, {3, 2}, 2, INFINITY, VQ_E_NONFINITE},
    };
    vq_quantizer *q;
    vq_tensors *tensors;
    const float map[6] = {1, 2, 3, 4, 5, 6}, bias[2] = {0, 1};
    const vq_simvq_form form = {sizeof form, 10, 2, 3, 1};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        assert_ok(vq_tensors_create(&tensors));
        assert_ok(vq_simvq_create(&q, &form, map, bias));
        assert_ok(vq_quantizer_save(tensors, q, ""));
        vq_quantizer_free(q);
        assert_ok(vq_tensors_set(tensors, settings[i].key, settings[i].value));
        assert_status(settings[i].status, vq_quantizer_load(&q, tensors, "", NULL));
        assert_null(q);
        vq_tensors_free(tensors);
    }
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        vq_tensor *tensor;
        assert_ok(vq_tensors_create(&tensors));
        assert_ok(vq_tensors_set(tensors, "kind", "simvq"));
        assert_status(VQ_E_FORMAT, vq_quantizer_load(&q, tensors, "", NULL)); /* no generator */
        assert_ok(vq_tensors_set(tensors, "generator", "philox4x32-10-flips96"));
        assert_ok(vq_tensors_set_uint(tensors, "seed", 1));
        assert_status(VQ_E_FORMAT, vq_quantizer_load(&q, tensors, "", NULL)); /* no k */
        assert_ok(vq_tensors_set_uint(tensors, "k", 4));
        assert_status(VQ_E_FORMAT, vq_quantizer_load(&q, tensors, "", NULL)); /* no map */
        assert_ok(vq_tensors_add(&tensor, tensors, "map", arrays[i].dtype, arrays[i].ndim,
                                 arrays[i].shape, NULL));
        if (tensor->count && arrays[i].dtype == VQ_DTYPE_F32)
            *(float *)tensor->data = arrays[i].first;
        assert_ok(vq_tensors_add(NULL, tensors, "bias", VQ_DTYPE_F32, 1, &arrays[i].bias, NULL));
        assert_status(arrays[i].status, vq_quantizer_load(&q, tensors, "", NULL));
        vq_quantizer_free(q);
        vq_tensors_free(tensors);
    }
    vq_limits limits = VQ_LIMITS_INIT; /* a file of bytes may not ask for gigabytes */
    limits.max_alloc_bytes = 239;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_simvq_create(&q, &form, map, bias));
    assert_ok(vq_quantizer_save(tensors, q, ""));
    vq_quantizer_free(q);
    assert_status(VQ_E_LIMIT, vq_quantizer_load(&q, tensors, "", &limits));
    limits.max_alloc_bytes = 240;
    assert_ok(vq_quantizer_load(&q, tensors, "", &limits));
    vq_quantizer_free(q);
    vq_tensors_free(tensors);
}

/* 262,144 codewords of 128 floats in under 128 KiB. */
static void test_small_file(void **state)
{
    (void)state;
    float map[128 * 128], bias[128] = {0};
    memset(map, 0, sizeof map);
    for (size_t i = 0; i < 128; i++)
        map[i * 129] = 1;
    const vq_simvq_form form = {sizeof form, 4096, 128, 0, 1}; /* K is a number in the file */
    vq_quantizer *q;
    vq_tensors *tensors;
    assert_ok(vq_simvq_create(&q, &form, map, bias));
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_quantizer_save(tensors, q, ""));
    size_t bytes = 0;
    for (size_t i = 0; i < vq_tensors_count(tensors); i++)
        bytes += vq_tensors_at(tensors, i)->count * sizeof(float);
    assert_int_equal(bytes, (128 + 1) * 128 * sizeof(float));
    vq_tensors_free(tensors);
    vq_quantizer_free(q);
}

static void test_same_on_any_machine(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7};
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    float *x = make_rows(N, D, 3);
    uint32_t *codes = malloc(N * sizeof *codes), *first_codes = malloc(N * sizeof *codes);
    assert_true(codes && first_codes);
    vq_quantizer *first = train(x);
    assert_ok(vq_quantize(first_codes, first, x, N, NULL));
    for (int m = 0; m < 3; m++)
        for (int t = 0; t < 3; t++) {
            vq_cpu_set_mask(masks[m]);
            vq_simvq_train_opts opts = options();
            opts.threads = threads[t];
            vq_quantizer *q;
            assert_ok(vq_simvq_train(&q, NULL, x, N, D, &opts));
            vq_quantize_opts own = VQ_QUANTIZE_OPTS_INIT;
            own.threads = threads[t];
            assert_ok(vq_quantize(codes, q, x, N, &own));
            vq_cpu_set_mask(UINT32_MAX);
            assert_equal(first, q);
            assert_memory_equal(codes, first_codes, N * sizeof *codes);
            vq_quantizer_free(q);
        }
    vq_quantizer_free(first);
    free(x);
    free(codes);
    free(first_codes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),
        cmocka_unit_test(test_basis_known),
        cmocka_unit_test(test_basis_of_any_width),
        cmocka_unit_test(test_basis_is_gaussian),
        cmocka_unit_test(test_codewords),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_small_file),
        cmocka_unit_test(test_same_on_any_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
