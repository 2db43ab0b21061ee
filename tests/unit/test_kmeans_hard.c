/* SPDX-License-Identifier: Apache-2.0 */
/* k-means on bad arguments, bad numbers, too few distinct rows, hopeless seeds and no memory. */
#include <math.h>

#include "unit/kmeans_support.h"

static void test_bad_arguments(void **state)
{
    (void)state;
    const float x[4] = {0, 1, 2, 3};
    vq_codebook *out = (vq_codebook *)&out;
    vq_kmeans_opts opts = options(2);
    assert_status(VQ_E_ARG, vq_kmeans_train(&out, NULL, x, 0, 1, &opts));
    assert_null(out);
    assert_status(VQ_E_ARG, vq_kmeans_train(&out, NULL, x, 4, 0, &opts));
    assert_status(VQ_E_ARG, vq_kmeans_train(&out, NULL, NULL, 4, 1, &opts));
    assert_status(VQ_E_ARG, vq_kmeans_train(&out, NULL, x, SIZE_MAX / 2, 8, &opts));
    assert_status(VQ_E_ARG, vq_kmeans_train(&out, NULL, x, 1, 1, &opts));
    assert_non_null(strstr(vq_last_error(), "too few"));
    assert_status(VQ_E_ARG, vq_kmeans_train(&out, NULL, x, 4, 1, NULL));
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        opts = options(2);                                                                         \
        opts.field = (value);                                                                      \
        assert_status(VQ_E_ARG, vq_kmeans_train(&out, NULL, x, 4, 1, &opts));                      \
        assert_null(out);                                                                          \
        assert_non_null(strstr(vq_last_error(), "vq_kmeans_opts." #field));                        \
    } while (0)
    REFUSED(struct_size, 1);
    REFUSED(k, 0);
    REFUSED(k, (1u << 24) + 1);
    REFUSED(metric, VQ_METRIC_DOT);
    REFUSED(metric, (vq_metric)7);
    REFUSED(storage, VQ_DTYPE_F64);
    REFUSED(tolerance, (double)NAN);
    REFUSED(seeding, (vq_seeding)2);
    REFUSED(empty, (vq_empty_policy)3);
    REFUSED(threads, -1);
#undef REFUSED
}

static void test_bad_numbers(void **state)
{
    (void)state;
    vq_codebook *out;
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        float x[6] = {0, 1, 2, 3, 4, 5}, weights[3] = {1, 1, 1}, seeds[4] = {0, 1, 2, 3};
        vq_kmeans_opts opts = options(2);
        opts.weights = weights;
        opts.seeds = seeds;
        assert_ok(vq_kmeans_train(&out, NULL, x, 3, 2, &opts));
        vq_codebook_free(out);
        x[5] = bad[i];
        assert_status(VQ_E_NONFINITE, vq_kmeans_train(&out, NULL, x, 3, 2, &opts));
        assert_non_null(strstr(vq_last_error(), "row 2"));
        x[5] = 5;
        seeds[1] = bad[i];
        assert_status(VQ_E_NONFINITE, vq_kmeans_train(&out, NULL, x, 3, 2, &opts));
        assert_non_null(strstr(vq_last_error(), "seed 0"));
        seeds[1] = 1;
        weights[1] = bad[i];
        assert_status(VQ_E_NONFINITE, vq_kmeans_train(&out, NULL, x, 3, 2, &opts));
        assert_non_null(strstr(vq_last_error(), "weight 1"));
        weights[1] = -1;
        assert_status(VQ_E_ARG, vq_kmeans_train(&out, NULL, x, 3, 2, &opts));
        assert_non_null(strstr(vq_last_error(), "weight 1"));
        memset(weights, 0, sizeof weights);
        assert_status(VQ_E_ARG, vq_kmeans_train(&out, NULL, x, 3, 2, &opts));
        assert_null(out);
    }
    /* Finite rows whose squared distances are not. */
    const float far[3] = {-3e38f, 0, 3e38f};
    vq_kmeans_opts opts = options(2);
    assert_status(VQ_E_NONFINITE, vq_kmeans_train(&out, NULL, far, 3, 1, &opts));
    opts.seeds = far;
    assert_status(VQ_E_NONFINITE, vq_kmeans_train(&out, NULL, far, 3, 1, &opts));
    /* A mean that the storage type cannot hold. */
    const float large[2] = {1e6f, 1e6f};
    opts = options(1);
    opts.storage = VQ_DTYPE_F16;
    assert_status(VQ_E_NONFINITE, vq_kmeans_train(&out, NULL, large, 2, 1, &opts));
}

static void test_few_distinct_rows(void **state)
{
    (void)state;
    enum { N = 60, D = 2, K = 8 };
    float x[N * D];
    for (int kind = 0; kind < 12; kind++) {
        const int distinct = 1 + kind % 3;
        for (int i = 0; i < N * D; i++)
            x[i] = (float)(i / D % distinct) + (float)(i % D);
        vq_kmeans_opts opts = options(K);
        opts.seeding = kind & 1 ? VQ_SEEDING_RANDOM : VQ_SEEDING_KMEANSPP;
        opts.empty = (vq_empty_policy)(kind / 4);
        vq_codebook *codebook;
        vq_kmeans_report report;
        assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
        assert_int_equal(report.used, distinct);
        assert_int_equal(report.dead, K - distinct);
        assert_true(report.mse[report.iterations] == 0);
        assert_true(fabs(report.perplexity - distinct) < 1e-12 * distinct);
        vq_codebook_free(codebook);
        vq_kmeans_report_clear(&report);
    }
}

/* One row among a thousand copies of another is found (faiss issue 436), and N = K needs every row. */
static void test_rare_rows(void **state)
{
    (void)state;
    float x[1001] = {0};
    x[777] = 1;
    for (uint64_t seed = 0; seed < 20; seed++) {
        vq_codebook *codebook;
        vq_kmeans_report report;
        vq_kmeans_opts opts = options(2);
        opts.seed = seed;
        assert_ok(vq_kmeans_train(&codebook, &report, x, 1001, 1, &opts));
        assert_int_equal(report.used, 2);
        assert_true(report.mse[report.iterations] == 0);
        vq_codebook_free(codebook);
        vq_kmeans_report_clear(&report);
        float all[9] = {8, 1, 6, 3, 5, 7, 4, 9, 2};
        opts.k = 9;
        opts.seeding = seed & 1 ? VQ_SEEDING_RANDOM : VQ_SEEDING_KMEANSPP;
        assert_ok(vq_kmeans_train(&codebook, &report, all, 9, 1, &opts));
        assert_int_equal(report.used, 9);
        assert_true(report.mse[0] == 0);
        vq_codebook_free(codebook);
        vq_kmeans_report_clear(&report);
    }
}

static void test_empty_policies(void **state)
{
    (void)state;
    /* Seed 50 gets no row. The cell of 0 holds 0 1 2 3 8 and costs most, 8 being its worst-served row. */
    const float x[7] = {0, 1, 2, 3, 8, 20, 22}, seeds[3] = {0, 50, 20};
    vq_codebook *codebook;
    vq_kmeans_report report;
    vq_kmeans_opts opts = options(3);
    opts.seeds = seeds;
    opts.max_iterations = 1;

    opts.empty = VQ_EMPTY_KEEP;
    assert_ok(vq_kmeans_train(&codebook, &report, x, 7, 1, &opts));
    assert_codewords(codebook, (const float[]){2.8f, 50, 21}, 3);
    assert_int_equal(report.revived, 0);
    assert_int_equal(report.dead, 1);
    assert_true(report.mse[0] == (0 + 1 + 4 + 9 + 64 + 0 + 4) / 7.0);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);

    opts.empty = VQ_EMPTY_FARTHEST;
    assert_ok(vq_kmeans_train(&codebook, &report, x, 7, 1, &opts));
    assert_codewords(codebook, (const float[]){1.5f, 8, 21}, 3);
    assert_int_equal(report.revived, 1);
    assert_int_equal(report.dead, 0);
    assert_true(report.mse[1] == (4 * 1.25 - 0 + 2 * 1.0) / 7.0);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);

    opts.empty = VQ_EMPTY_SPLIT;
    assert_ok(vq_kmeans_train(&codebook, &report, x, 7, 1, &opts));
    const float *c = vq_codebook_codewords(codebook);
    assert_true(c[0] < 2.8f && c[1] > 2.8f && c[1] < 3 && c[2] == 21);
    assert_int_equal(report.revived, 1);
    assert_int_equal(report.dead, 0);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);

    /* A row does not leave its cell empty to fill another, and a heavy row not with dust. */
    const float pair[2] = {0, 1}, heavy[2] = {1, 1e-20f}, far_seeds[2] = {0, 9};
    opts = options(2);
    opts.seeds = far_seeds;
    opts.weights = heavy;
    assert_ok(vq_kmeans_train(&codebook, &report, pair, 2, 1, &opts));
    assert_int_equal(report.used, 2); /* the light row moves, the heavy one stays */
    assert_codewords(codebook, pair, 2);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
}

/* All seeds equal: the policies spread them over the rows in a few iterations. */
static void test_hopeless_seeds(void **state)
{
    (void)state;
    enum { N = 2000, D = 3, K = 64 };
    float *x = make_rows(N, D, 21), seeds[K * D] = {0};
    for (int policy = VQ_EMPTY_FARTHEST; policy <= VQ_EMPTY_SPLIT; policy++) {
        vq_codebook *codebook;
        vq_kmeans_report report;
        vq_kmeans_opts opts = options(K);
        opts.seeds = seeds;
        opts.empty = (vq_empty_policy)policy;
        opts.max_iterations = 60;
        assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
        assert_int_equal(report.used, K);
        assert_true(report.revived > K / 4);
        assert_true(report.mse[report.iterations] < 0.05 * report.mse[0]);
        vq_kmeans_report_clear(&report);
        vq_codebook_free(codebook);
    }
    free(x);
}

static void test_cosine(void **state)
{
    (void)state;
    /* Two directions, rows of any length, and a zero row that belongs to neither. */
    const float x[10] = {3, 4, 30, 40, 0, 0, -0.8f, 0.6f, -8e-20f, 6e-20f};
    vq_codebook *codebook;
    vq_kmeans_report report;
    vq_kmeans_opts opts = options(2);
    opts.metric = VQ_METRIC_COSINE;
    for (opts.seed = 0; opts.seed < 10; opts.seed++)
        for (int policy = 0; policy < 3; policy++) {
            opts.empty = (vq_empty_policy)policy;
            assert_ok(vq_kmeans_train(&codebook, &report, x, 5, 2, &opts));
            const float *c = vq_codebook_codewords(codebook);
            const int left = c[0] < 0;
            assert_true(fabsf(c[2 * left] - 0.6f) < 1e-6f && fabsf(c[2 * left + 1] - 0.8f) < 1e-6f);
            assert_true(fabsf(c[2 - 2 * left] + 0.8f) < 1e-6f);
            assert_int_equal(report.used, 2);
            assert_true(fabs(report.mse[report.iterations] - 2.0 / 5 / 2) < 1e-6);
            vq_kmeans_report_clear(&report);
            vq_codebook_free(codebook);
        }
    opts.k = 4; /* more than there are directions */
    assert_ok(vq_kmeans_train(&codebook, &report, x, 5, 2, &opts));
    assert_int_equal(report.used, 2);
    assert_true(report.converged);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
    const float zero[6] = {0};
    opts.k = 1;
    assert_status(VQ_E_ARG, vq_kmeans_train(&codebook, NULL, zero, 3, 2, &opts));
    opts.seeds = zero;
    assert_status(VQ_E_ARG, vq_kmeans_train(&codebook, NULL, x, 5, 2, &opts));
    /* Opposite rows cancel: the codeword stays where it is. */
    const float opposite[4] = {1, 2, -1, -2}, seed[2] = {0, 1};
    opts.seeds = seed;
    assert_ok(vq_kmeans_train(&codebook, NULL, opposite, 2, 2, &opts));
    assert_codewords(codebook, seed, 2);
    vq_codebook_free(codebook);
}

static vq_status train_small(void *context)
{
    vq_codebook *codebook;
    vq_kmeans_report report;
    vq_kmeans_opts opts = options(5);
    opts.metric = *(vq_metric *)context;
    opts.seeding = opts.metric == VQ_METRIC_COSINE ? VQ_SEEDING_RANDOM : VQ_SEEDING_KMEANSPP;
    opts.max_iterations = 40; /* the list of errors has to grow once */
    opts.tolerance = -1;
    static const float x[20] = {1, 2, 3, 4, 1, 7, 2, 9, 4, 1, 0, 1, 5, 5, 8, 1, 2, 2, 6, 1};
    const vq_status status = vq_kmeans_train(&codebook, &report, x, 10, 2, &opts);
    if (status && (codebook || report.mse))
        return VQ_E_ARG;
    vq_codebook_free(codebook);
    vq_kmeans_report_clear(&report);
    return status;
}

/* Rows long enough for seeding to make sketches of them. */
static vq_status train_long(void *context)
{
    vq_codebook *codebook;
    vq_kmeans_opts opts = options(20);
    opts.max_iterations = 2;
    const vq_status status = vq_kmeans_train(&codebook, NULL, context, 40, 30, &opts);
    vq_codebook_free(codebook);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    float *x = make_rows(40, 30, 1);
    test_allocation_failures(train_long, x);
    free(x);
    for (vq_metric metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++)
        test_allocation_failures(train_small, &metric);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_bad_numbers),
        cmocka_unit_test(test_few_distinct_rows),
        cmocka_unit_test(test_rare_rows),
        cmocka_unit_test(test_empty_policies),
        cmocka_unit_test(test_hopeless_seeds),
        cmocka_unit_test(test_cosine),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
