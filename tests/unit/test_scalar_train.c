/* SPDX-License-Identifier: Apache-2.0 */
/* Projected quantizers, and the training that makes scalar ones for features. */
#include "parts_support.h"
#include "rvq/components_internal.h"
#include "rvq/scalar_train.h"
#include "vq/report.h"

enum { N = 500, D = 6, M = 3 };

/* M of D numbers pass into the code space, doubled, and come back halved. */
static vq_status make(vq_quantizer **out, vq_quantizer *inner)
{
    static const float in[M * D] = {[0] = 2, [D + 2] = 2, [2 * D + 5] = 2}, in_bias[M] = {1, 0, -1},
                              back[D * M] = {[0] = .5f, [2 * M + 1] = .5f, [5 * M + 2] = .5f},
                              back_bias[D] = {-.5f, 7, 0, 0, 0, .5f};
    return vq_projected_create(out, inner, D, in, in_bias, back, back_bias);
}

static vq_status make_fsq(vq_quantizer **out)
{
    static const uint32_t bins[M] = {8, 5, 7}, dims[2] = {2, 1};
    vq_fsq_opts opts = VQ_FSQ_OPTS_INIT;
    opts.levels = 2;
    opts.dims = dims;
    opts.bound = VQ_FSQ_CLAMP;
    return vq_fsq_create(out, bins, M, &opts);
}

static void a_projection_is_its_inner_quantizer_elsewhere(void **state)
{
    (void)state;
    vq_quantizer *inner, *alone, *q;
    float x[N * D], y[N * M], decoded[N * D], inner_decoded[N * M];
    uint32_t codes[N * 2], inner_codes[N * 2];
    uint64_t seed = 1;
    assert_ok(make_fsq(&inner));
    assert_ok(make_fsq(&alone));
    assert_ok(make(&q, inner));
    assert_string_equal(vq_quantizer_kind(q), "projected");
    assert_ptr_equal(vq_projected_inner(q), inner);
    assert_null(vq_projected_inner(inner));
    assert_int_equal(vq_quantizer_dim(q), D);
    assert_null(vq_quantizer_codebook(q, 0));
    for (int i = 0; i < N * D; i++)
        x[i] = (float)(test_uniform(&seed) - .5);
    for (int i = 0; i < N; i++) {
        y[i * M] = 2 * x[i * D] + 1;
        y[i * M + 1] = 2 * x[i * D + 2];
        y[i * M + 2] = 2 * x[i * D + 5] - 1;
    }
    assert_ok(vq_quantize(codes, q, x, N, NULL));
    assert_ok(vq_quantize(inner_codes, alone, y, N, NULL));
    assert_memory_equal(codes, inner_codes, sizeof codes);
    assert_ok(vq_dequantize(decoded, q, codes, N, NULL));
    assert_ok(vq_dequantize(inner_decoded, alone, codes, N, NULL));
    for (int i = 0; i < N; i++) {
        assert_true(decoded[i * D] == inner_decoded[i * M] / 2 - .5f);
        assert_true(decoded[i * D + 1] == 7);
        assert_true(decoded[i * D + 2] == inner_decoded[i * M + 1] / 2);
        assert_true(decoded[i * D + 5] == inner_decoded[i * M + 2] / 2 + .5f);
    }
    vq_quantizer_free(q);
    vq_quantizer_free(alone);
}

static void projections_do_what_all_quantizers_do(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {16, 8, 8};
    for (int kind = 0; kind < 3; kind++) {
        float *x = parts_rows(N, D, 5);
        vq_quantizer *inner, *q;
        if (kind == 0)
            assert_ok(make_fsq(&inner));
        else
            inner = parts_stack(M, sizes, kind == 1 ? 1 : 3, VQ_DTYPE_F32, 3);
        assert_ok(make(&q, inner));
        check_prefixes(q, x, N);
        check_sameness(q, x, N);
        check_saving(q, x, N);
        check_refusals(q, x, N);
        check_bad_files(q);
        vq_quantizer_free(q);
        free(x);
    }
}

static void mistakes_of_projections_are_refused(void **state)
{
    (void)state;
    vq_quantizer *inner, *q;
    float map[M * D] = {0}, bias[D] = {0};
    assert_ok(make_fsq(&inner));
    assert_status(VQ_E_ARG, vq_projected_create(&q, inner, 0, map, NULL, map, NULL));
    assert_null(q);
    float *const places[] = {&map[4], &bias[2]};
    for (int i = 0; i < 2; i++) {
        *places[i] = NAN;
        assert_status(VQ_E_NONFINITE, vq_projected_create(&q, inner, D, map, bias, map, bias));
        *places[i] = 0;
    }
    assert_ok(vq_projected_create(&q, inner, D, map, NULL, map, NULL));
    vq_quantizer_free(q);
}

/* Two inner quantizers, and an inner one of other dimensions than the map's. */
static void damaged_projections_are_refused(void **state)
{
    (void)state;
    static const char *const settings[][2] = {
        {"parts", "2"}, {"parts", "0"}, {"part.0.kind", "lfq"}};
    vq_quantizer *inner, *q;
    for (int i = 0; i < 3; i++) {
        assert_ok(make_fsq(&inner));
        assert_ok(make(&q, inner));
        vq_tensors *tensors = parts_saved(q, "");
        vq_quantizer_free(q);
        assert_ok(vq_tensors_set(tensors, settings[i][0], settings[i][1]));
        assert_status(VQ_E_FORMAT, vq_quantizer_load(&q, tensors, "", NULL));
        assert_null(q);
        vq_tensors_free(tensors);
    }
}

static double gaussian(uint64_t *seed)
{
    const double radius = sqrt(-2 * log(1 - test_uniform(seed)));
    return radius * cos(6.283185307179586 * test_uniform(seed));
}

static float *gaussian_rows(size_t n, uint32_t d, const double *deviations)
{
    uint64_t seed = 77;
    float *x = parts_alloc(n * d, sizeof *x);
    for (size_t i = 0; i < n * d; i++)
        x[i] = (float)(gaussian(&seed) * (deviations ? deviations[i % d] : 1) + 3);
    return x;
}

/* Mean squared error of all levels. */
static double error_of(const vq_quantizer *q, const float *x, size_t n)
{
    const uint32_t levels = vq_quantizer_levels(q);
    uint32_t *codes = parts_alloc(n * levels, sizeof *codes), k[VQ_MAX_LEVELS];
    vq_report *report;
    vq_level_report level;
    for (uint32_t l = 0; l < levels; l++)
        k[l] = vq_quantizer_k(q, l);
    assert_ok(vq_quantize(codes, q, x, n, NULL));
    assert_ok(vq_report_create(&report, levels, k));
    assert_ok(vq_report_add(report, q, x, codes, n));
    assert_ok(vq_report_level(&level, report, levels - 1));
    vq_report_free(report);
    free(codes);
    return level.mse;
}

static double trained_error(const float *x, size_t n, uint32_t d, const vq_scalar_train_opts *opts)
{
    vq_quantizer *q;
    assert_ok(vq_scalar_train(&q, x, n, d, opts));
    const double error = error_of(q, x, n);
    vq_quantizer_free(q);
    return error;
}

/* Of Gaussian numbers: 8 even steps leave 0.03744 of the variance (Max 1960), any 8 values at least 0.03455; two values,
 * and so a sign, leave 1 - 2 / pi. */
static void errors_are_those_of_theory(void **state)
{
    (void)state;
    enum { ROWS = 20000, NUMBERS = 8 };
    static const uint32_t eights[] = {8, 8, 8, 8, 8, 8, 8, 8};
    float *x = gaussian_rows(ROWS, NUMBERS, NULL);
    vq_scalar_train_opts opts = VQ_SCALAR_TRAIN_OPTS_INIT;
    opts.bins = eights;
    opts.bin_count = 8;
    opts.bound = VQ_FSQ_CLAMP;
    double error = trained_error(x, ROWS, NUMBERS, &opts);
    assert_in_range((int)(error * 1e6), 37440 * 98 / 100, 37440 * 103 / 100);
    opts.bound = VQ_FSQ_TANH;
    error = trained_error(x, ROWS, NUMBERS, &opts);
    assert_in_range((int)(error * 1e6), 34550 * 98 / 100, 60000);
    opts = (vq_scalar_train_opts)VQ_SCALAR_TRAIN_OPTS_INIT;
    for (int kind = VQ_SCALAR_LFQ; kind <= VQ_SCALAR_BSQ; kind++) {
        opts.kind = (vq_scalar_kind)kind;
        error = trained_error(x, ROWS, NUMBERS, &opts);
        assert_in_range((int)(error * 1e6), 363380 * 97 / 100, 363380 * 101 / 100);
    }
    free(x);
}

/* Where variances differ, chosen bins beat the even ones that the paper recommends; levels lower the error. */
static void bins_go_where_the_variance_is(void **state)
{
    (void)state;
    enum { ROWS = 4000, NUMBERS = 6 };
    static const double deviations[NUMBERS] = {0.1, 8, 1, 0.2, 3, 0.5};
    static const uint32_t paper[] = {8, 6, 5};
    float *x = gaussian_rows(ROWS, NUMBERS, deviations);
    vq_scalar_train_opts opts = VQ_SCALAR_TRAIN_OPTS_INIT;
    const double chosen = trained_error(x, ROWS, NUMBERS, &opts);
    opts.levels = 2;
    assert_true(trained_error(x, ROWS, NUMBERS, &opts) < chosen);
    opts.levels = 1;
    opts.bins = paper;
    opts.bin_count = 3;
    assert_true(chosen < 0.8 * trained_error(x, ROWS, NUMBERS, &opts));
    opts.bins = NULL;
    for (uint32_t k = 3; k < 100000; k = k * 5 / 3) { /* never more codes than asked for */
        vq_quantizer *q;
        opts.k = k;
        assert_ok(vq_scalar_train(&q, x, ROWS, NUMBERS, &opts));
        assert_true(vq_quantizer_k(q, 0) <= k && vq_quantizer_k(q, 0) > k / 2);
        vq_quantizer_free(q);
    }
    free(x);
}

static void components_are_the_axes_of_the_data(void **state)
{
    (void)state;
    enum { ROWS = 3000, NUMBERS = 24, WANTED = 4 };
    double deviations[NUMBERS], mean[NUMBERS], variance[WANTED], component[WANTED * NUMBERS];
    for (int j = 0; j < NUMBERS; j++)
        deviations[j] = j % 6 == 2 ? 10.0 / (1 + j) : 0.05;
    float *x = gaussian_rows(ROWS, NUMBERS, deviations);
    assert_ok(vqi_components(mean, variance, component, x, ROWS, NUMBERS, WANTED, 0));
    for (int i = 0; i < WANTED; i++) {
        const double expected = pow(10.0 / (1 + 6 * i + 2), 2);
        assert_true(fabs(variance[i] / expected - 1) < 0.1);
        assert_true(component[i * NUMBERS + 6 * i + 2] > 0.99);
        for (int j = 0; j <= i; j++)
            assert_true(
                fabs(vqi_dot_double(component + i * NUMBERS, component + j * NUMBERS, NUMBERS) -
                     (i == j)) < 1e-12);
    }
    assert_true(fabs(mean[0] - 3) < 0.1);
    free(x);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    float *x = parts_rows(3000, 20, 9);
    for (int kind = 0; kind < 3; kind++) {
        vq_tensors *made[3];
        for (int t = 0; t < 3; t++) {
            vq_quantizer *q;
            vq_scalar_train_opts opts = VQ_SCALAR_TRAIN_OPTS_INIT;
            opts.kind = (vq_scalar_kind)kind;
            opts.levels = 2;
            opts.seed = 4;
            opts.threads = t == 2 ? 7 : t + 1;
            assert_ok(vq_scalar_train(&q, x, 3000, 20, &opts));
            assert_ok(vq_tensors_create(&made[t]));
            assert_ok(vq_quantizer_save(made[t], q, ""));
            vq_quantizer_free(q);
        }
        for (int t = 1; t < 3; t++)
            for (size_t i = 0; i < vq_tensors_count(made[0]); i++) {
                const vq_tensor *a = vq_tensors_at(made[0], i), *b = vq_tensors_at(made[t], i);
                assert_int_equal(a->count, b->count);
                assert_memory_equal(a->data, b->data, a->count * vq_dtype_size(a->dtype));
            }
        for (int t = 0; t < 3; t++)
            vq_tensors_free(made[t]);
    }
    free(x);
}

static void impossible_trainings_are_refused(void **state)
{
    (void)state;
    float *x = parts_rows(50, D, 2), same[4 * 5] = {0};
    const uint32_t two[] = {2, 5}, seven[] = {3, 3, 3, 3, 3, 3, 3};
    vq_quantizer *q;
    vq_scalar_train_opts opts = VQ_SCALAR_TRAIN_OPTS_INIT;
    assert_status(VQ_E_ARG, vq_scalar_train(&q, x, 0, D, &opts));
    assert_null(q);
    assert_status(VQ_E_ARG, vq_scalar_train(&q, same, 4, 5, &opts)); /* nothing varies */
    opts.bins = two;
    opts.bin_count = 2;
    assert_status(VQ_E_ARG, vq_scalar_train(&q, x, 50, D, &opts));
    assert_non_null(strstr(vq_last_error(), "bins[0]"));
    opts.bound = VQ_FSQ_SYMMETRIC;
    assert_ok(vq_scalar_train(&q, x, 50, D, &opts));
    vq_quantizer_free(q);
    assert_ok(vq_scalar_train(&q, same, 4, 5, &opts)); /* bins that were asked for are made */
    vq_quantizer_free(q);
    opts.bins = seven;
    opts.bin_count = 7;
    assert_status(VQ_E_ARG, vq_scalar_train(&q, x, 50, D, &opts));
    opts = (vq_scalar_train_opts)VQ_SCALAR_TRAIN_OPTS_INIT;
    opts.k = 2;
    assert_status(VQ_E_ARG, vq_scalar_train(&q, x, 50, D, &opts)); /* tanh: at least 3 */
    opts.kind = VQ_SCALAR_LFQ;
    assert_ok(vq_scalar_train(&q, x, 50, D, &opts));
    vq_quantizer_free(q);
    opts.k = 12;
    assert_status(VQ_E_ARG, vq_scalar_train(&q, x, 50, D, &opts));
    assert_non_null(strstr(vq_last_error(), "power of 2"));
    opts.k = 128;
    assert_status(VQ_E_ARG, vq_scalar_train(&q, x, 50, D, &opts)); /* 7 bits of 6 numbers */
    opts.k = 16;
    opts.levels = 2;
    assert_status(VQ_E_ARG, vq_scalar_train(&q, x, 50, D, &opts));
    opts.levels = 1;
    x[33 * D + 1] = NAN;
    assert_status(VQ_E_NONFINITE, vq_scalar_train(&q, x, 50, D, &opts));
    assert_non_null(strstr(vq_last_error(), "row 33 "));
    opts.kind = (vq_scalar_kind)3;
    assert_status(VQ_E_ARG, vq_scalar_train(&q, x, 50, D, &opts));
    free(x);
}

static vq_status train_how(vq_quantizer **out, const parts_life *life)
{
    vq_scalar_train_opts opts = VQ_SCALAR_TRAIN_OPTS_INIT;
    opts.kind = *(const vq_scalar_kind *)life->how;
    opts.k = 16;
    return vq_scalar_train(out, life->x, life->n, D, &opts);
}

static void a_failed_allocation_is_reported(void **state)
{
    (void)state;
    float *x = parts_rows(60, D, 6);
    for (vq_scalar_kind kind = VQ_SCALAR_FSQ; kind <= VQ_SCALAR_BSQ; kind++)
        check_no_memory((parts_life){.make = train_how, .how = &kind, .x = x, .n = 60});
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_projection_is_its_inner_quantizer_elsewhere),
        cmocka_unit_test(projections_do_what_all_quantizers_do),
        cmocka_unit_test(mistakes_of_projections_are_refused),
        cmocka_unit_test(damaged_projections_are_refused),
        cmocka_unit_test(errors_are_those_of_theory),
        cmocka_unit_test(bins_go_where_the_variance_is),
        cmocka_unit_test(components_are_the_axes_of_the_data),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(impossible_trainings_are_refused),
        cmocka_unit_test(a_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
