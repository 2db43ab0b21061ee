/* SPDX-License-Identifier: Apache-2.0 */
/* FSQ, LFQ and BSQ as kinds of quantizers: threads, prefixes, files, mistakes, reports of enormous K. */
#include "parts_support.h"
#include "scalar_support.h"
#include "vq/report.h"

enum { N = 5000, D = 12 };

static float x[N * D];
static const uint32_t bins[D] = {8, 5, 5, 5, 7, 3, 4, 6, 9, 2, 2, 16};
static const char *const names[] = {"fsq", "lfq", "bsq"};

static vq_status make(vq_quantizer **out, int kind)
{
    static const uint32_t dims[3] = {5, 3, 4};
    if (kind == 0) {
        vq_fsq_opts opts = VQ_FSQ_OPTS_INIT;
        opts.bound = VQ_FSQ_SYMMETRIC;
        opts.levels = 3;
        opts.dims = dims;
        return vq_fsq_create(out, bins, D, &opts);
    }
    vq_lfq_opts opts = VQ_LFQ_OPTS_INIT;
    opts.levels = 3;
    opts.dims = dims;
    opts.scale = 0.7f;
    opts.spherical = kind == 2;
    return vq_lfq_create(out, D, &opts);
}

static int fill(void **state)
{
    (void)state;
    uint64_t seed = 99;
    for (int i = 0; i < N * D; i++)
        x[i] = (float)(6 * test_uniform(&seed) - 3);
    return 0;
}

static void they_answer_every_question(void **state)
{
    (void)state;
    static const uint32_t k[3][3] = {{7000, 72, 576}, {32, 8, 16}, {32, 8, 16}};
    for (int kind = 0; kind < 3; kind++) {
        vq_quantizer *q;
        assert_ok(make(&q, kind));
        assert_string_equal(vq_quantizer_kind(q), names[kind]);
        assert_int_equal(vq_quantizer_dim(q), D);
        assert_int_equal(vq_quantizer_levels(q), 3);
        for (uint32_t l = 0; l < 3; l++)
            assert_int_equal(vq_quantizer_k(q, l), k[kind][l]);
        assert_int_equal(vq_quantizer_k(q, 3), 0);
        assert_null(vq_quantizer_codebook(q, 0));
        assert_int_equal(vq_quantize_workspace(q, N, 0), 0);
        assert_ok(vq_quantize(NULL, q, NULL, 0, NULL));
        assert_ok(vq_dequantize(NULL, q, NULL, 0, NULL));
        vq_quantizer_free(q);
    }
    assert_string_equal(vq_fsq_bound_name((vq_fsq_bound)3), "?");
}

static void threads_and_prefixes_change_nothing(void **state)
{
    (void)state;
    static uint32_t one[N * 3], other[N * 3];
    static float decoded[N * D], prefix[N * D];
    static const int threads[] = {1, 2, 7};
    for (int kind = 0; kind < 3; kind++) {
        vq_quantizer *q;
        assert_ok(make(&q, kind));
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        opts.threads = 1;
        assert_ok(vq_quantize(one, q, x, N, &opts));
        assert_ok(vq_dequantize(decoded, q, one, N, &opts));
        for (int t = 0; t < 3; t++) {
            opts.threads = threads[t];
            assert_ok(vq_quantize(other, q, x, N, &opts));
            assert_memory_equal(one, other, sizeof one);
            assert_ok(vq_dequantize(prefix, q, one, N, &opts));
            assert_memory_equal(decoded, prefix, sizeof decoded);
        }
        for (int i = 0; i < N; i += 7) { /* alone or among others */
            assert_ok(vq_quantize(other, q, x + i * D, 1, NULL));
            assert_memory_equal(one + i * 3, other, 3 * sizeof *one);
        }
        opts.levels = 2;
        assert_ok(vq_quantize(other, q, x, N, &opts));
        assert_ok(vq_dequantize(prefix, q, other, N, &opts));
        for (int i = 0; i < N; i++) {
            assert_memory_equal(one + i * 3, other + i * 2, 2 * sizeof *one);
            assert_memory_equal(decoded + i * D, prefix + i * D, 8 * sizeof *prefix);
            for (int j = 8; j < D; j++)
                assert_true(prefix[i * D + j] == 0);
        }
        vq_quantizer_free(q);
    }
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    static uint32_t codes[N * 3];
    static float decoded[N * D];
    vq_codebook *codebook;
    vq_quantizer *flat;
    const float numbers[] = {0, 1};
    uint64_t index[1];
    assert_ok(vq_codebook_create(&codebook, numbers, 2, 1, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_quantizer_from_codebook(&flat, codebook));
    assert_status(VQ_E_ARG, vq_scalar_index(index, flat, codes, 1));
    assert_status(VQ_E_ARG, vq_scalar_codes(codes, flat, index, 1));
    assert_status(VQ_E_ARG, vq_scalar_gradient(decoded, flat, x, x, 1));
    vq_quantizer_free(flat);
}

static void impossible_settings_are_refused(void **state)
{
    (void)state;
    vq_quantizer *q;
    vq_fsq_opts fsq = VQ_FSQ_OPTS_INIT;
    vq_lfq_opts lfq = VQ_LFQ_OPTS_INIT;
    const uint32_t two[] = {2}, many[] = {1001}, large[] = {1000, 1000, 1000, 5}, uneven[] = {1, 1},
                   none[] = {0, 3, 0}, fits[] = {255, 257, 1000, 65};
    assert_status(VQ_E_ARG,
                  vq_fsq_create(&q, two, 1, NULL)); /* tanh: one bin would be out of reach */
    assert_null(q);
    assert_status(VQ_E_ARG, vq_fsq_create(&q, many, 1, NULL));
    assert_status(VQ_E_ARG, vq_fsq_create(&q, large, 4, NULL)); /* 5e9 */
    assert_non_null(strstr(vq_last_error(), "2^32"));
    assert_ok(vq_fsq_create(&q, fits, 4, NULL)); /* 4,259,775,000 */
    assert_true(vq_quantizer_k(q, 0) == 4259775000u);
    vq_quantizer_free(q);
    assert_status(VQ_E_ARG, vq_fsq_create(&q, fits, 0, NULL));
    fsq.bound = (vq_fsq_bound)3;
    assert_status(VQ_E_ARG, vq_fsq_create(&q, fits, 4, &fsq));
    assert_non_null(strstr(vq_last_error(), "vq_fsq_opts.bound"));
    fsq.bound = VQ_FSQ_SYMMETRIC;
    assert_ok(vq_fsq_create(&q, two, 1, &fsq));
    vq_quantizer_free(q);
    fsq.levels = 3;
    assert_status(VQ_E_ARG, vq_fsq_create(&q, fits, 4, &fsq)); /* 4 / 3 */
    fsq.dims = none;
    assert_status(VQ_E_ARG, vq_fsq_create(&q, fits, 3, &fsq));
    fsq.levels = 2;
    fsq.dims = uneven;
    assert_status(VQ_E_ARG, vq_fsq_create(&q, fits, 4, &fsq));
    assert_non_null(strstr(vq_last_error(), "vq_fsq_opts.dims"));
    fsq.levels = VQ_MAX_LEVELS + 1;
    assert_status(VQ_E_ARG, vq_fsq_create(&q, fits, 4, &fsq));

    assert_ok(vq_lfq_create(&q, 31, NULL));
    assert_true(vq_quantizer_k(q, 0) == (uint32_t)1 << 31);
    vq_quantizer_free(q);
    assert_status(VQ_E_ARG, vq_lfq_create(&q, 32, NULL));
    lfq.scale = -1;
    assert_status(VQ_E_ARG, vq_lfq_create(&q, 4, &lfq));
    assert_non_null(strstr(vq_last_error(), "vq_lfq_opts.scale"));
    lfq.scale = NAN;
    assert_status(VQ_E_ARG, vq_lfq_create(&q, 4, &lfq));
    lfq.scale = 0;
    lfq.levels = 4; /* 4 x 16 bits = 2^64 indices: the most there can be */
    assert_ok(vq_lfq_create(&q, 64, &lfq));
    uint64_t index[1];
    uint32_t codes[4] = {65535, 65535, 65535, 65535}, again[4];
    assert_ok(vq_scalar_index(index, q, codes, 1));
    assert_true(index[0] == UINT64_MAX);
    assert_ok(vq_scalar_codes(again, q, index, 1));
    assert_memory_equal(codes, again, sizeof codes);
    vq_quantizer_free(q);
    lfq.levels = 5;
    assert_ok(vq_lfq_create(&q, 65, &lfq));
    assert_status(VQ_E_ARG, vq_scalar_index(index, q, codes, 1));
    vq_quantizer_free(q);
}

static void they_do_what_all_quantizers_do(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        vq_quantizer *q;
        assert_ok(make(&q, kind));
        check_sameness(q, x, N);
        check_saving(q, x, N);
        check_refusals(q, x, N);
        check_bad_files(q);
        vq_quantizer_free(q);
    }
}

/* A quantizer described by hand. NULL leaves a thing out. */
static vq_status load(const char *kind, const char *bound, const uint32_t *dims, size_t levels,
                      const uint32_t *its_bins, size_t count, const float *scale, vq_dtype dtype)
{
    vq_tensors *tensors;
    vq_quantizer *q;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_tensors_set(tensors, "kind", kind));
    if (bound)
        assert_ok(vq_tensors_set(tensors, "bound", bound));
    if (dims)
        assert_ok(vq_tensors_add(NULL, tensors, "dims", VQ_DTYPE_U32, 1, &levels, dims));
    if (its_bins)
        assert_ok(vq_tensors_add(NULL, tensors, "bins", dtype, 1, &count, its_bins));
    if (scale)
        assert_ok(vq_tensors_add(NULL, tensors, "scale", dtype, 1, &count, scale));
    const vq_status status = vq_quantizer_load(&q, tensors, "", NULL);
    if (status)
        assert_null(q);
    vq_quantizer_free(q);
    vq_tensors_free(tensors);
    return status;
}

static void damaged_files_are_refused(void **state)
{
    (void)state;
    const uint32_t dims[] = {2, 1}, fine[] = {8, 5, 4}, bad[] = {8, 1, 4}, zero[] = {3, 0},
                   enormous[] = {UINT32_MAX, 4}, wide[] = {32}, many[65] = {1};
    const float one[] = {1, 1}, scales[] = {0, -1, NAN, INFINITY};
    const vq_dtype u32 = VQ_DTYPE_U32, f32 = VQ_DTYPE_F32;
    assert_ok(load("fsq", "tanh", dims, 2, fine, 3, NULL, u32));
    assert_status(VQ_E_FORMAT, load("fsq", NULL, dims, 2, fine, 3, NULL, u32));
    assert_status(VQ_E_FORMAT, load("fsq", "sigmoid", dims, 2, fine, 3, NULL, u32));
    assert_status(VQ_E_FORMAT, load("fsq", "tanh", NULL, 2, fine, 3, NULL, u32));
    assert_status(VQ_E_FORMAT, load("fsq", "tanh", dims, 0, fine, 3, NULL, u32));
    assert_status(VQ_E_FORMAT, load("fsq", "tanh", dims, 2, NULL, 3, NULL, u32));
    assert_status(VQ_E_FORMAT, load("fsq", "tanh", dims, 2, fine, 2, NULL, u32));
    assert_status(VQ_E_FORMAT, load("fsq", "tanh", dims, 2, bad, 3, NULL, u32));
    assert_status(VQ_E_FORMAT, load("fsq", "tanh", zero, 2, fine, 3, NULL, u32));
    assert_status(VQ_E_FORMAT, load("fsq", "tanh", dims, 2, fine, 3, NULL, VQ_DTYPE_I32));
    assert_status(VQ_E_LIMIT, load("fsq", "tanh", enormous, 2, fine, 3, NULL, u32));
    assert_status(VQ_E_LIMIT, load("fsq", "tanh", many, 65, fine, 3, NULL, u32));
    for (int spherical = 0; spherical < 2; spherical++) {
        const char *kind = names[1 + spherical];
        assert_ok(load(kind, NULL, dims, 2, NULL, 1, one, f32));
        assert_status(VQ_E_FORMAT, load(kind, NULL, dims, 2, NULL, 1, NULL, f32));
        assert_status(VQ_E_FORMAT, load(kind, NULL, dims, 2, NULL, 2, one, f32));
        assert_status(VQ_E_FORMAT, load(kind, NULL, dims, 2, NULL, 1, one, u32));
        assert_status(VQ_E_FORMAT, load(kind, NULL, NULL, 2, NULL, 1, one, f32));
        assert_status(VQ_E_FORMAT, load(kind, NULL, wide, 1, NULL, 1, one, f32));
        for (int i = 0; i < 4; i++)
            assert_status(VQ_E_FORMAT, load(kind, NULL, dims, 2, NULL, 1, &scales[i], f32));
    }
}

/* K = 2^31: counts of the codes that occur are all that the report can hold. */
static void a_report_of_enormous_k(void **state)
{
    (void)state;
    enum { BITS = 31, ROWS = 3000 };
    static float rows[ROWS * BITS];
    static uint32_t codes[ROWS];
    vq_quantizer *q = make_lfq(BITS, 0, 1);
    vq_report *report;
    uint64_t seed = 31;
    const uint32_t k = vq_quantizer_k(q, 0);
    for (int i = 0; i < ROWS * BITS; i++)
        rows[i] = test_random(&seed) & 1 ? 1 : -1;
    memcpy(rows + 1000 * BITS, rows, 1000 * BITS * sizeof *rows); /* a third of the codes twice */
    assert_ok(vq_quantize(codes, q, rows, ROWS, NULL));
    assert_ok(vq_report_create(&report, 1, &k));
    for (int i = 0; i < ROWS; i += 500)
        assert_ok(vq_report_add(report, q, rows + i * BITS, codes + i, 500));
    vq_level_report level;
    assert_ok(vq_report_level(&level, report, 0));
    assert_true(level.k == k);
    assert_int_equal(level.used, 2000);
    assert_true(level.dead == k - 2000);
    assert_true(level.mse == 0);
    const double entropy = 2.0 / 3 * log2(ROWS / 2) + 1.0 / 3 * log2(ROWS);
    assert_true(fabs(level.entropy_bits - entropy) < 1e-9);
    vq_report_free(report);
    vq_quantizer_free(q);
}

static vq_status make_how(vq_quantizer **out, const parts_life *life)
{
    return make(out, *(const int *)life->how);
}

static vq_status report_some(void *context)
{
    const int kind = *(const int *)context;
    const uint32_t k[3] = {kind ? 32 : 7000, kind ? 8 : 72, kind ? 16 : 576};
    static const uint32_t codes[50 * 3];
    vq_quantizer *q = NULL;
    vq_report *report = NULL;
    vq_status status = make(&q, kind);
    if (!status)
        status = vq_report_create(&report, 3, k);
    if (!status)
        status = vq_report_add(report, q, x, codes, 50);
    vq_report_free(report);
    vq_quantizer_free(q);
    return status;
}

static vq_status count_many(void *context)
{
    (void)context;
    static const uint32_t k[1] = {UINT32_MAX};
    const size_t grid[1] = {2000};
    vq_tokens *tokens = NULL;
    vq_report *report = NULL;
    vq_status status = vq_tokens_create(&tokens, 1, grid, 1, k);
    for (uint32_t i = 0; i < 2000 && !status; i++)
        tokens->codes[i] = i * 2000003;
    if (!status)
        status = vq_report_create(&report, 1, k);
    for (int i = 0; i < 3 && !status; i++)
        status = vq_report_add_tokens(report, tokens);
    vq_level_report level;
    if (!status)
        status = vq_report_level(&level, report, 0);
    if (!status)
        assert_int_equal(level.used, 2000);
    vq_report_free(report);
    vq_tokens_free(tokens);
    return status;
}

static void a_failed_allocation_is_reported(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        check_no_memory((parts_life){.make = make_how, .how = &kind, .x = x, .n = N});
        test_allocation_failures(report_some, &kind);
    }
    test_allocation_failures(count_many, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_answer_every_question),
        cmocka_unit_test(threads_and_prefixes_change_nothing),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(impossible_settings_are_refused),
        cmocka_unit_test(they_do_what_all_quantizers_do),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(a_report_of_enormous_k),
        cmocka_unit_test(a_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
