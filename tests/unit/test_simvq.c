/* SPDX-License-Identifier: Apache-2.0 */
/* SimVQ: the basis, the kind, and the closed form. */
#include <math.h>

#include "test_support.h"
#include "vq/cholesky_internal.h"
#include "vq/philox_internal.h"

enum { N = 3000, D = 12, K = 300 };

static float *make_rows(size_t n, uint32_t d, uint64_t seed)
{
    float *x = malloc(n * d * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        const double centre = (double)(test_random(&seed) % 7);
        for (uint32_t j = 0; j < d; j++)
            x[i * d + j] =
                (float)(centre * ((double)(j % 4) - 1.5) + test_uniform(&seed) * (1 + j));
    }
    return x;
}

static vq_simvq_train_opts options(void)
{
    vq_simvq_train_opts opts = VQ_SIMVQ_TRAIN_OPTS_INIT;
    opts.k = K;
    opts.seed = 7;
    opts.max_iterations = 8;
    opts.tolerance = -1;
    return opts;
}

static vq_quantizer *train(const float *x)
{
    const vq_simvq_train_opts opts = options();
    vq_quantizer *q;
    assert_ok(vq_simvq_train(&q, NULL, x, N, D, &opts));
    return q;
}

static void assert_equal(const vq_quantizer *a, const vq_quantizer *b)
{
    vq_simvq_form one, two;
    assert_ok(vq_simvq_get_form(&one, a));
    assert_ok(vq_simvq_get_form(&two, b));
    assert_int_equal(one.k, two.k);
    assert_int_equal(one.dim, two.dim);
    assert_int_equal(one.basis_dim, two.basis_dim);
    assert_int_equal(one.seed, two.seed);
    assert_memory_equal(vq_simvq_map(a), vq_simvq_map(b),
                        (size_t)one.basis_dim * one.dim * sizeof(float));
    assert_int_equal(vq_simvq_bias(a) == NULL, vq_simvq_bias(b) == NULL);
    if (vq_simvq_bias(a))
        assert_memory_equal(vq_simvq_bias(a), vq_simvq_bias(b), one.dim * sizeof(float));
    assert_memory_equal(vq_codebook_codewords(vq_quantizer_codebook(a, 0)),
                        vq_codebook_codewords(vq_quantizer_codebook(b, 0)),
                        (size_t)one.k * one.dim * sizeof(float));
}

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
    codes[5] = K;
    assert_status(VQ_E_RANGE, vq_dequantize(decoded, q, codes, N, NULL));
    x[100] = NAN;
    assert_status(VQ_E_NONFINITE, vq_quantize(codes, q, x, N, NULL));
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
        assert_ok(vq_tensors_create(&tensors));
        assert_ok(vq_quantizer_save(tensors, q, "inner."));
        assert_string_equal(vq_tensors_get(tensors, "inner.kind"), "simvq");
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

/* The error never rises; the report is that of the quantizer; k-means from its codewords is below it. */
static void test_monotone(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 4);
    uint32_t *codes = malloc(N * sizeof *codes);
    assert_non_null(codes);
    for (int start = 0; start < 2; start++) {
        vq_simvq_train_opts opts = options();
        opts.start = (vq_simvq_start)start;
        opts.max_iterations = 40;
        vq_quantizer *q;
        vq_kmeans_report report;
        assert_ok(vq_simvq_train(&q, &report, x, N, D, &opts));
        assert_true(report.iterations > 3);
        for (uint32_t i = 1; i <= report.iterations; i++)
            assert_true(report.mse[i] < report.mse[i - 1]);
        vq_report *measured;
        vq_level_report level;
        const uint32_t k = K;
        assert_ok(vq_quantize(codes, q, x, N, NULL));
        assert_ok(vq_report_create(&measured, 1, &k));
        assert_ok(vq_report_add(measured, q, x, codes, N));
        assert_ok(vq_report_level(&level, measured, 0));
        assert_float_equal(level.mse / report.mse[report.iterations], 1, 1e-5);
        assert_int_equal(level.used, report.used);
        assert_int_equal(level.dead, report.dead);
        assert_float_equal(level.entropy_bits, report.entropy_bits, 1e-9);
        vq_kmeans_opts lloyd = VQ_KMEANS_OPTS_INIT;
        vq_kmeans_report better;
        vq_codebook *codebook;
        lloyd.k = K;
        lloyd.seeds = vq_codebook_codewords(vq_quantizer_codebook(q, 0));
        assert_ok(vq_kmeans_train(&codebook, &better, x, N, D, &lloyd));
        assert_true(better.mse[better.iterations] < report.mse[report.iterations]);
        vq_codebook_free(codebook);
        vq_kmeans_report_clear(&better);
        vq_report_free(measured);
        vq_quantizer_free(q);
        vq_kmeans_report_clear(&report);
    }
    free(x);
    free(codes);
}

/* With known codes the map is found: rows that are q W + b exactly. */
static void test_recovers_map(void **state)
{
    (void)state;
    enum { FEW = 40, R = 3 };
    const float map[R * 4] = {1, 2, 0, -1, 0, 1, 3, 2, -2, 1, 1, 1}, bias[4] = {5, -3, 0.5f, 2};
    const vq_simvq_form form = {sizeof form, FEW, 4, R, 21};
    vq_quantizer *q, *next;
    vq_kmeans_stats *stats;
    assert_ok(vq_simvq_create(&q, &form, map, bias));
    const vq_codebook *codebook = vq_quantizer_codebook(q, 0);
    const vq_source rows = vq_source_from_memory(vq_codebook_codewords(codebook), FEW, 4);
    assert_ok(vq_kmeans_stats_create(&stats, codebook, NULL));
    assert_status(VQ_E_ARG, vq_simvq_update(&next, q, stats, 1e-9, 0)); /* no rows */
    assert_ok(vq_kmeans_stats_accumulate(stats, codebook, &rows, 0, NULL, 0));
    assert_ok(vq_simvq_update(&next, q, stats, 1e-9, 0));
    for (size_t i = 0; i < R * 4; i++)
        assert_float_equal(vq_simvq_map(next)[i], map[i], 1e-5);
    for (size_t i = 0; i < 4; i++)
        assert_float_equal(vq_simvq_bias(next)[i], bias[i], 1e-5);
    vq_quantizer_free(next);
    assert_status(VQ_E_ARG, vq_simvq_update(&next, q, stats, -1, 0));
    assert_status(VQ_E_ARG, vq_simvq_update(&next, q, stats, NAN, 0));
    vq_kmeans_stats_free(stats);
    vq_quantizer_free(q);
}

/* Shards that are merged give the map of all rows, to the bit; and so do the trainer's own steps. */
static void test_merge(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 8);
    vq_simvq_train_opts opts = options();
    vq_quantizer *q, *next[2], *two;
    opts.max_iterations = 1;
    assert_ok(vq_simvq_train(&q, NULL, x, N, D, &opts));
    const vq_codebook *codebook = vq_quantizer_codebook(q, 0);
    vq_kmeans_stats_opts bound = VQ_KMEANS_STATS_OPTS_INIT;
    bound.largest_value = 1024;
    for (int shards = 1; shards <= 2; shards++) {
        vq_kmeans_stats *stats[2];
        for (int s = 0; s < shards; s++) {
            const size_t first = (size_t)(N / shards * s), count = N / (size_t)shards;
            const vq_source rows = vq_source_from_memory(x + first * D, count, D);
            assert_ok(vq_kmeans_stats_create(&stats[s], codebook, &bound));
            assert_ok(vq_kmeans_stats_accumulate(stats[s], codebook, &rows, first, NULL, 0));
        }
        if (shards == 2)
            assert_ok(vq_kmeans_stats_merge(stats[0], stats[1]));
        assert_ok(vq_simvq_update(&next[shards - 1], q, stats[0], 0, shards));
        for (int s = 0; s < shards; s++)
            vq_kmeans_stats_free(stats[s]);
    }
    assert_equal(next[0], next[1]);
    opts.max_iterations = 2;
    assert_ok(vq_simvq_train(&two, NULL, x, N, D, &opts));
    assert_equal(next[0], two);
    vq_quantizer_free(two);
    vq_quantizer_free(next[0]);
    vq_quantizer_free(next[1]);
    vq_quantizer_free(q);
    free(x);
}

/* t = 0 is the step of k-means, t = infinity the map's codewords, and between them the error lies between. */
static void test_shrinkage(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 9), *scores = malloc(N * sizeof *scores);
    uint32_t *codes = malloc(N * sizeof *codes), moved;
    assert_true(scores && codes);
    vq_quantizer *q = train(x);
    const vq_codebook *codebook = vq_quantizer_codebook(q, 0);
    const vq_source rows = vq_source_from_memory(x, N, D);
    vq_kmeans_stats *stats;
    vq_codebook *shrunk, *means;
    assert_ok(vq_kmeans_stats_create(&stats, codebook, NULL));
    assert_ok(vq_kmeans_stats_accumulate(stats, codebook, &rows, 0, NULL, 0));
    assert_ok(vq_kmeans_stats_update(&means, &moved, stats, codebook, VQ_EMPTY_KEEP));
    static const double ts[] = {0, 1, 10, INFINITY};
    double last = 0;
    for (int i = 0; i < 4; i++) {
        assert_ok(vq_simvq_shrink(&shrunk, q, stats, ts[i]));
        const float *got = vq_codebook_codewords(shrunk);
        for (size_t j = 0; j < (size_t)K * D && i == 0; j++)
            assert_float_equal(got[j], vq_codebook_codewords(means)[j], 1e-5);
        if (i == 3)
            assert_memory_equal(got, vq_codebook_codewords(codebook), K * D * sizeof *got);
        double error = 0;
        assert_ok(vq_nearest(codes, scores, codebook, x, N, NULL)); /* the same cells for all */
        for (size_t r = 0; r < N; r++)
            for (size_t j = 0; j < D; j++) {
                const double e = (double)x[r * D + j] - (double)got[codes[r] * D + j];
                error += e * e;
            }
        assert_true(error > last);
        last = error;
        vq_codebook_free(shrunk);
    }
    assert_status(VQ_E_ARG, vq_simvq_shrink(&shrunk, q, stats, -1));
    assert_status(VQ_E_ARG, vq_simvq_shrink(&shrunk, q, stats, NAN));
    assert_null(shrunk);
    vq_codebook_free(means);
    vq_kmeans_stats_free(stats);
    vq_quantizer_free(q);
    free(x);
    free(scores);
    free(codes);
}

static int stop(void *context, const vq_kmeans_progress *progress)
{
    return progress->iteration == *(uint32_t *)context;
}

static void test_bad_input(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 2);
    vq_quantizer *q, *flat, *out = (vq_quantizer *)&out;
    const float map[4] = {1, 0, 0, 1}, bad[4] = {1, 0, NAN, 1}, huge[4] = {3e38f, 3e38f, 3e38f, 1};
#define REFUSED(expected, change)                                                                  \
    do {                                                                                           \
        vq_simvq_train_opts opts = options();                                                      \
        change;                                                                                    \
        assert_status(expected, vq_simvq_train(&out, NULL, x, N, D, &opts));                       \
        assert_null(out);                                                                          \
    } while (0)
    REFUSED(VQ_E_ARG, opts.k = 0);
    REFUSED(VQ_E_ARG, opts.k = (1u << 24) + 1);
    REFUSED(VQ_E_ARG, opts.struct_size = 0);
    REFUSED(VQ_E_ARG, opts.threads = -1);
    REFUSED(VQ_E_ARG, opts.start = (vq_simvq_start)2);
    REFUSED(VQ_E_ARG, opts.ridge = -1);
    REFUSED(VQ_E_ARG, opts.ridge = NAN);
    REFUSED(VQ_E_ARG, opts.tolerance = NAN);
    uint32_t at = 2;
    REFUSED(VQ_E_CANCELLED, (opts.progress = stop, opts.progress_context = &at));
    x[77] = INFINITY;
    REFUSED(VQ_E_NONFINITE, (void)0);
    REFUSED(VQ_E_NONFINITE, opts.start = VQ_SIMVQ_START_UNIFORM);
#undef REFUSED
    const vq_simvq_train_opts opts = options();
    assert_status(VQ_E_ARG, vq_simvq_train(&out, NULL, x, 0, D, &opts));
    assert_status(VQ_E_ARG, vq_simvq_train(&out, NULL, NULL, N, D, &opts));
    vq_simvq_form form = {sizeof form, 5, 2, 0, 0};
    assert_status(VQ_E_ARG, vq_simvq_create(&out, &form, NULL, NULL));
    assert_status(VQ_E_NONFINITE, vq_simvq_create(&out, &form, bad, NULL));
    assert_status(VQ_E_NONFINITE, vq_simvq_create(&out, &form, map, bad + 1));
    assert_status(VQ_E_NONFINITE, vq_simvq_create(&out, &form, huge, huge));
    form.dim = 0;
    assert_status(VQ_E_ARG, vq_simvq_create(&out, &form, map, NULL));
    form.dim = 2;
    assert_ok(vq_simvq_create(&q, &form, map, NULL));
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, map, 2, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_quantizer_from_codebook(&flat, codebook));
    assert_status(VQ_E_ARG, vq_simvq_get_form(&form, flat));
    assert_null(vq_simvq_map(flat));
    assert_null(vq_simvq_bias(flat));
    assert_null(vq_simvq_bias(q));
    vq_kmeans_stats *stats;
    assert_ok(vq_kmeans_stats_create(&stats, codebook, NULL));
    assert_status(VQ_E_ARG, vq_simvq_update(&out, flat, stats, 0, 0));
    assert_status(VQ_E_ARG, vq_simvq_update(&out, q, stats, 0, 0)); /* another K */
    assert_null(out);
    vq_kmeans_stats_free(stats);
    vq_quantizer_free(q);
    vq_quantizer_free(flat);
    free(x);
}

/* One row, one codeword, equal rows: no failure, and the error is 0 where it can be. */
static void test_degenerate(void **state)
{
    (void)state;
    const float x[8] = {3, 4, 3, 4, 3, 4, 3, 4};
    vq_simvq_train_opts opts = VQ_SIMVQ_TRAIN_OPTS_INIT;
    vq_quantizer *q;
    vq_kmeans_report report;
    for (uint32_t k = 1; k <= 5; k += 4)
        for (size_t n = 1; n <= 4; n += 3)
            for (int start = 0; start < 2; start++) {
                opts.k = k;
                opts.start = (vq_simvq_start)start;
                assert_ok(vq_simvq_train(&q, &report, x, n, 2, &opts));
                assert_true(report.mse[report.iterations] < 1e-6);
                vq_quantizer_free(q);
                vq_kmeans_report_clear(&report);
            }
}

static void test_cholesky(void **state)
{
    (void)state;
    double a[9] = {4, 0, 0, 2, 5, 0, -2, 3, 6}, b[6] = {2, 4, 19, 2, 20, 6}; /* X below */
    assert_int_equal(vqi_cholesky_factor(a, 3), 1);
    const double l[9] = {2, 0, 0, 1, 2, 0, -1, 2, 1};
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j <= i; j++)
            assert_float_equal(a[i * 3 + j], l[i * 3 + j], 1e-12);
    double full[9], x[6] = {1, -1, 2, 0.5, 3, 7};
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++) {
            full[i * 3 + j] = 0;
            for (size_t p = 0; p < 3; p++)
                full[i * 3 + j] += l[i * 3 + p] * l[j * 3 + p];
        }
    for (size_t i = 0; i < 3; i++)
        for (size_t c = 0; c < 2; c++) {
            b[i * 2 + c] = 0;
            for (size_t p = 0; p < 3; p++)
                b[i * 2 + c] += full[i * 3 + p] * x[p * 2 + c];
        }
    vqi_cholesky_solve(b, a, 3, 2);
    for (size_t i = 0; i < 6; i++)
        assert_float_equal(b[i], x[i], 1e-12);
    double pivoted[9], rest[9];
    memcpy(rest, full, sizeof rest);
    vqi_cholesky_pivoted(pivoted, rest, 3, 3);
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++) {
            double sum = 0;
            for (size_t p = 0; p < 3; p++)
                sum += pivoted[i * 3 + p] * pivoted[j * 3 + p];
            assert_float_equal(sum, full[i * 3 + j], 1e-12);
        }
    double singular[4] = {1, 1, 1, 1}, negative[1] = {-1}, nan[1] = {NAN};
    assert_int_equal(vqi_cholesky_factor(singular, 2), 0);
    assert_int_equal(vqi_cholesky_factor(negative, 1), 0);
    assert_int_equal(vqi_cholesky_factor(nan, 1), 0);
}

static vq_status train_encode_save(void *context)
{
    (void)context;
    static const float x[16] = {1, 2, 3, 4, 1, 7, 2, 9, 4, 1, 0, 1, 5, 5, 8, 1};
    vq_simvq_train_opts opts = VQ_SIMVQ_TRAIN_OPTS_INIT;
    opts.k = 5;
    opts.threads = 1;
    opts.max_iterations = 2;
    vq_quantizer *q = NULL, *again = NULL, *next = NULL;
    vq_codebook *shrunk = NULL;
    vq_kmeans_stats *stats = NULL;
    vq_tensors *tensors = NULL;
    uint32_t codes[8];
    float decoded[16];
    const vq_source rows = vq_source_from_memory(x, 8, 2);
    vq_status status = vq_simvq_train(&q, NULL, x, 8, 2, &opts);
    if (!status)
        status = vq_quantize(codes, q, x, 8, NULL);
    if (!status)
        status = vq_dequantize(decoded, q, codes, 8, NULL);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_quantizer_save(tensors, q, "q.");
    if (!status)
        status = vq_quantizer_load(&again, tensors, "q.", NULL);
    if (!status)
        status = vq_kmeans_stats_create(&stats, vq_quantizer_codebook(q, 0), NULL);
    if (!status)
        status = vq_kmeans_stats_accumulate(stats, vq_quantizer_codebook(q, 0), &rows, 0, NULL, 1);
    if (!status)
        status = vq_simvq_update(&next, q, stats, 0, 1);
    if (!status)
        status = vq_simvq_shrink(&shrunk, q, stats, 1);
    vq_kmeans_stats_free(stats);
    vq_codebook_free(shrunk);
    vq_quantizer_free(q);
    vq_quantizer_free(again);
    vq_quantizer_free(next);
    vq_tensors_free(tensors);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    test_allocation_failures(train_encode_save, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),
        cmocka_unit_test(test_basis_known),
        cmocka_unit_test(test_basis_is_gaussian),
        cmocka_unit_test(test_codewords),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_small_file),
        cmocka_unit_test(test_same_on_any_machine),
        cmocka_unit_test(test_monotone),
        cmocka_unit_test(test_recovers_map),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_shrinkage),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_degenerate),
        cmocka_unit_test(test_cholesky),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
