/* SPDX-License-Identifier: Apache-2.0 */
/* The interface through its first kind, and quantizers to and from tensors. */
#include "parts_support.h"

enum { K = 37, D = 5, N = 300 };

static float codewords[K * D], x[N * D];

static int fill(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (size_t i = 0; i < K * D; i++)
        codewords[i] = (float)(test_uniform(&seed) - 0.5);
    for (size_t i = 0; i < N * D; i++)
        x[i] = (float)(test_uniform(&seed) - 0.5);
    return 0;
}

static vq_status make(vq_quantizer **out, vq_metric metric, vq_dtype storage)
{
    *out = NULL;
    vq_codebook *codebook;
    vq_status status = vq_codebook_create(&codebook, codewords, K, D, metric, storage);
    if (status)
        return status;
    status = vq_quantizer_from_codebook(out, codebook);
    if (status)
        vq_codebook_free(codebook);
    return status;
}

static void a_flat_quantizer_answers_every_question(void **state)
{
    (void)state;
    vq_quantizer *q;
    assert_ok(make(&q, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_string_equal(vq_quantizer_kind(q), "flat");
    assert_int_equal(vq_quantizer_dim(q), D);
    assert_int_equal(vq_quantizer_levels(q), 1);
    assert_int_equal(vq_quantizer_k(q, 0), K);
    assert_int_equal(vq_quantizer_k(q, 1), 0);
    assert_null(vq_quantizer_codebook(q, 1));
    const vq_codebook *codebook = vq_quantizer_codebook(q, 0);
    uint32_t codes[N], expected[N];
    assert_ok(vq_quantize(codes, q, x, N, NULL));
    assert_ok(vq_nearest(expected, NULL, codebook, x, N, NULL));
    assert_memory_equal(codes, expected, sizeof codes);

    float decoded[N * D];
    assert_ok(vq_dequantize(decoded, q, codes, N, NULL));
    for (size_t i = 0; i < N; i++)
        assert_memory_equal(decoded + i * D, vq_codebook_codewords(codebook) + codes[i] * D,
                            D * sizeof *decoded);
    assert_ok(vq_quantize(codes, q, decoded, N, NULL)); /* a codeword is nearest to itself */
    assert_memory_equal(codes, expected, sizeof codes);
    assert_ok(vq_quantize(NULL, q, NULL, 0, NULL));
    assert_ok(vq_dequantize(NULL, q, NULL, 0, NULL));
    vq_quantizer_free(q);
    vq_quantizer_free(NULL);
}

static void it_does_what_all_quantizers_do(void **state)
{
    (void)state;
    static const vq_dtype storages[] = {VQ_DTYPE_F32, VQ_DTYPE_F16, VQ_DTYPE_BF16};
    for (vq_metric metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_DOT; metric++)
        for (int s = 0; s < 3; s++) {
            vq_quantizer *q;
            uint32_t codes[N];
            vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
            assert_ok(make(&q, metric, storages[s]));
            check_sameness(q, x, N);
            check_saving(q, x, N);
            check_refusals(q, x, N);
            check_bad_files(q);
            opts.threads = -3;
            assert_status(VQ_E_ARG, vq_quantize(codes, q, x, N, &opts));
            vq_quantizer_free(q);
        }
}

static void saved_it_says_what_it_is(void **state)
{
    (void)state;
    vq_quantizer *q;
    assert_ok(make(&q, VQ_METRIC_DOT, VQ_DTYPE_F16));
    vq_tensors *tensors = parts_saved(q, "quantizer.");
    assert_string_equal(vq_tensors_get(tensors, "quantizer.kind"), "flat");
    assert_string_equal(vq_tensors_get(tensors, "quantizer.metric"), "dot");
    const vq_tensor *array = vq_tensors_find(tensors, "quantizer.codebook.0");
    assert_int_equal(array->dtype, VQ_DTYPE_F16);
    assert_int_equal(array->shape[0], K);
    vq_tensors_free(tensors);
    vq_quantizer_free(q);
}

/* A saved flat quantizer with one setting changed (value NULL = none), loaded. */
static vq_status load_with(const char *key, const char *text, const vq_limits *limits)
{
    vq_quantizer *q, *loaded;
    vq_tensors *tensors;
    assert_ok(make(&q, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_quantizer_save(tensors, q, ""));
    if (text)
        assert_ok(vq_tensors_set(tensors, key, text));
    const vq_status status = vq_quantizer_load(&loaded, tensors, "", limits);
    if (status)
        assert_null(loaded);
    vq_quantizer_free(loaded);
    vq_quantizer_free(q);
    vq_tensors_free(tensors);
    return status;
}

static void damaged_settings_are_refused(void **state)
{
    (void)state;
    assert_ok(load_with(NULL, NULL, NULL));
    assert_status(VQ_E_UNSUPPORTED, load_with("kind", "spherical", NULL));
    assert_status(VQ_E_FORMAT, load_with("metric", "manhattan", NULL));
    assert_status(VQ_E_FORMAT, load_with("metric", "cosine", NULL)); /* codewords are not unit */
    assert_status(VQ_E_FORMAT, load_with("levels", "0", NULL));
    assert_status(VQ_E_FORMAT, load_with("levels", "2", NULL)); /* codebook.1 is missing */
    assert_status(VQ_E_FORMAT, load_with("levels", "65", NULL));
    assert_status(VQ_E_FORMAT, load_with("levels", "one", NULL));
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_codewords = K;
    limits.max_dim = D;
    limits.max_alloc_bytes = K * D * sizeof(float);
    assert_ok(load_with(NULL, NULL, &limits));
    limits.max_codewords = K - 1;
    assert_status(VQ_E_LIMIT, load_with(NULL, NULL, &limits));
    limits.max_codewords = 0;
    limits.max_dim = D - 1;
    assert_status(VQ_E_LIMIT, load_with(NULL, NULL, &limits));
    limits.max_dim = 0;
    limits.max_alloc_bytes--;
    assert_status(VQ_E_LIMIT, load_with(NULL, NULL, &limits));
}

/* A described quantizer whose "codebook.0" is this array. */
static vq_status load_array_as_flat(vq_dtype dtype, uint32_t ndim, const size_t *shape,
                                    const void *data)
{
    vq_tensors *tensors;
    vq_quantizer *q;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_tensors_set(tensors, "kind", "flat"));
    assert_ok(vq_tensors_set(tensors, "levels", "1"));
    assert_ok(vq_tensors_set(tensors, "metric", "euclidean"));
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&q, tensors, "", NULL)); /* no array yet */
    assert_ok(vq_tensors_add(NULL, tensors, "codebook.0", dtype, ndim, shape, data));
    const vq_status status = vq_quantizer_load(&q, tensors, "", NULL);
    vq_quantizer_free(q);
    vq_tensors_free(tensors);
    return status;
}

static void damaged_arrays_are_refused(void **state)
{
    (void)state;
    const size_t matrix[] = {2, 2}, cube[] = {1, 2, 2}, no_rows[] = {0, 2}, no_columns[] = {2, 0};
    const float fine[] = {1, 2, 3, 4}, bad[] = {1, 2, 3, INFINITY};
    const int32_t whole[] = {1, 2, 3, 4};
    assert_ok(load_array_as_flat(VQ_DTYPE_F32, 2, matrix, fine));
    assert_status(VQ_E_FORMAT, load_array_as_flat(VQ_DTYPE_F32, 3, cube, fine));
    assert_status(VQ_E_FORMAT, load_array_as_flat(VQ_DTYPE_F32, 2, no_rows, NULL));
    assert_status(VQ_E_FORMAT, load_array_as_flat(VQ_DTYPE_F32, 2, no_columns, NULL));
    assert_status(VQ_E_FORMAT, load_array_as_flat(VQ_DTYPE_I32, 2, matrix, whole));
    assert_status(VQ_E_NONFINITE, load_array_as_flat(VQ_DTYPE_F32, 2, matrix, bad));
    assert_non_null(strstr(vq_last_error(), "\"codebook.0\""));
}

static void arrays_of_other_programs_are_codebooks(void **state)
{
    (void)state;
    const double values[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const size_t matrix[] = {4, 3}, cube[] = {2, 3, 2}, line[] = {12}, empty[] = {0, 3, 2};
    vq_tensors *tensors;
    vq_quantizer *q;
    assert_ok(vq_tensors_create(&tensors));
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&q, tensors, "", NULL));
    assert_null(q);
    assert_ok(vq_tensors_add(NULL, tensors, "usage", VQ_DTYPE_F64, 1, line, values));
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&q, tensors, "", NULL));
    assert_ok(vq_tensors_add(NULL, tensors, "vq.embed", VQ_DTYPE_F64, 2, matrix, values));
    assert_ok(vq_quantizer_load(&q, tensors, "", NULL));
    assert_string_equal(vq_quantizer_kind(q), "flat");
    assert_int_equal(vq_quantizer_k(q, 0), 4);
    assert_int_equal(vq_codebook_metric(vq_quantizer_codebook(q, 0)), VQ_METRIC_EUCLIDEAN);
    assert_true(vq_codebook_codewords(vq_quantizer_codebook(q, 0))[11] == 12);
    vq_quantizer_free(q);

    assert_ok(vq_tensors_add(NULL, tensors, "rvq.embed", VQ_DTYPE_F64, 3, cube, values));
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&q, tensors, "", NULL)); /* which of the two? */
    assert_ok(vq_quantizer_load(&q, tensors, "rvq.", NULL));
    assert_string_equal(vq_quantizer_kind(q), "residual");
    assert_int_equal(vq_quantizer_levels(q), 2);
    assert_int_equal(vq_quantizer_dim(q), 2);
    assert_true(vq_codebook_codewords(vq_quantizer_codebook(q, 1))[0] == 7);
    vq_quantizer_free(q);
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_levels = 1;
    assert_status(VQ_E_LIMIT, vq_quantizer_load(&q, tensors, "rvq.", &limits));
    assert_ok(vq_tensors_add(NULL, tensors, "none", VQ_DTYPE_F64, 3, empty, NULL));
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&q, tensors, "none", NULL));
    vq_tensors_free(tensors);
}

static vq_status make_cosine(vq_quantizer **out, const parts_life *life)
{
    (void)life;
    return make(out, VQ_METRIC_COSINE, VQ_DTYPE_F16);
}

static vq_status load_foreign(void *context)
{
    vq_quantizer *q;
    const vq_status status = vq_quantizer_load(&q, context, "", NULL);
    vq_quantizer_free(q);
    return status;
}

static void a_failed_allocation_is_reported(void **state)
{
    (void)state;
    check_no_memory((parts_life){.make = make_cosine, .x = x, .n = N});
    vq_tensors *tensors; /* of the ordinary allocator: only the load is swept */
    const size_t cube[] = {3, K / 3, D};
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_tensors_add(NULL, tensors, "rvq", VQ_DTYPE_F32, 3, cube, codewords));
    test_allocation_failures(load_foreign, tensors);
    vq_tensors_free(tensors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flat_quantizer_answers_every_question),
        cmocka_unit_test(it_does_what_all_quantizers_do),
        cmocka_unit_test(saved_it_says_what_it_is),
        cmocka_unit_test(damaged_settings_are_refused),
        cmocka_unit_test(damaged_arrays_are_refused),
        cmocka_unit_test(arrays_of_other_programs_are_codebooks),
        cmocka_unit_test(a_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
