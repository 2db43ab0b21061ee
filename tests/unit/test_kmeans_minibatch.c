/* SPDX-License-Identifier: Apache-2.0 */
/* Mini-batch k-means: means by hand, reassignment, when it stops, and how near to Lloyd's iteration it comes. */
#include <math.h>

#include "unit/kmeans_support.h"
#include "vq/kmeans_minibatch.h"

static vq_minibatch_opts minibatch_options(uint32_t k)
{
    vq_minibatch_opts opts = VQ_MINIBATCH_OPTS_INIT;
    opts.k = k;
    return opts;
}

static vq_codebook *codebook_now(const vq_minibatch *m)
{
    vq_codebook *codebook;
    assert_ok(vq_minibatch_codebook(&codebook, m));
    return codebook;
}

/* Sculley's rates 1 / count: a codeword is the mean of all rows that ever chose it, when they came. */
static void test_by_hand(void **state)
{
    (void)state;
    enum { N = 150, D = 3, K = 6, BATCHES = 7 };
    float *x = make_rows(N * BATCHES, D, 5), weights[N * BATCHES];
    double sums[K][D] = {{0}}, counts[K] = {0};
    for (int i = 0; i < N * BATCHES; i++)
        weights[i] = (float)(i % 5) * 0.5f;
    vq_minibatch_opts opts = minibatch_options(K);
    opts.seeds = x;
    opts.reassignment_ratio = -1;
    vq_minibatch *m;
    assert_ok(vq_minibatch_create(&m, D, &opts));
    for (int batch = 0; batch < BATCHES; batch++) {
        vq_codebook *codebook = codebook_now(m);
        const float *rows = x + batch * N * D, *w = weights + batch * N;
        float scores[N];
        uint32_t codes[N];
        double error = 0, total = 0;
        assert_ok(vq_nearest(codes, scores, codebook, rows, N, NULL));
        vq_codebook_free(codebook);
        for (int i = 0; i < N; i++) {
            counts[codes[i]] += (double)w[i];
            error += (double)w[i] * (double)scores[i];
            total += (double)w[i];
            for (int j = 0; j < D; j++)
                sums[codes[i]][j] += (double)w[i] * (double)rows[i * D + j];
        }
        vq_minibatch_report report;
        assert_ok(vq_minibatch_add(m, &report, rows, N, w));
        assert_int_equal(report.batches, batch + 1);
        assert_int_equal(report.rows, N * (batch + 1));
        assert_int_equal(report.reassigned, 0);
        assert_true(fabs(report.batch_mse - error / total / D) < 1e-12 * report.batch_mse);
        codebook = codebook_now(m);
        for (int c = 0; c < K; c++)
            for (int j = 0; j < D && counts[c] > 0; j++)
                assert_true(fabs((double)vq_codebook_codewords(codebook)[c * D + j] -
                                 sums[c][j] / counts[c]) < 1e-6);
        vq_codebook_free(codebook);
    }
    vq_minibatch_free(m);
    free(x);
}

/* The result in full, for all settings that must not matter. */
static void test_same_on_any_machine(void **state)
{
    (void)state;
    enum { N = 6000, D = 70, K = 48 };
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    float *x = make_rows(N, D, 9), weights[N];
    for (int i = 0; i < N; i++)
        weights[i] = (float)(i % 3);
    for (int kind = 0; kind < 4; kind++) {
        vq_minibatch_opts opts = minibatch_options(K);
        vq_codebook *first = NULL;
        vq_minibatch_report of_first;
        opts.metric = (vq_metric)(kind % 2);
        opts.batch = 4096;
        opts.max_epochs = 5;
        opts.storage = kind % 2 ? VQ_DTYPE_BF16 : VQ_DTYPE_F32;
        for (int way = 0; way < 6; way++) {
            vq_codebook *codebook;
            vq_minibatch_report report;
            opts.threads = 1 + way % 4 * 2;
            vq_cpu_set_mask(masks[way % 3]);
            assert_ok(
                vq_minibatch_train(&codebook, &report, x, N, D, kind / 2 ? weights : NULL, &opts));
            vq_cpu_set_mask(UINT32_MAX);
            if (!first) {
                first = codebook;
                of_first = report;
                continue;
            }
            assert_codewords(codebook, vq_codebook_codewords(first), K * D);
            assert_memory_equal(&report, &of_first, sizeof report);
            vq_codebook_free(codebook);
        }
        assert_int_equal(vq_codebook_storage(first), opts.storage);
        vq_codebook_free(first);
    }
    free(x);
}

/* Near to Lloyd's iteration, and one iteration from these codewords nearer yet; never a better error than
 * was measured on all rows. */
static void test_near_lloyd(void **state)
{
    (void)state;
    enum { N = 40000, D = 6, K = 100 };
    float *x = make_rows(N, D, 17), *scores = malloc(N * sizeof *scores);
    uint32_t *codes = malloc(N * sizeof *codes);
    assert_true(codes && scores);
    for (vq_metric metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++) {
        vq_codebook *codebook, *lloyd;
        vq_minibatch_report report;
        vq_kmeans_report of_lloyd, of_polish;
        vq_minibatch_opts opts = minibatch_options(K);
        vq_kmeans_opts kmeans = options(K);
        opts.metric = kmeans.metric = metric;
        assert_ok(vq_kmeans_train(&lloyd, &of_lloyd, x, N, D, &kmeans));
        vq_codebook_free(lloyd);
        assert_ok(vq_minibatch_train(&codebook, &report, x, N, D, NULL, &opts));
        kmeans.seeds = vq_codebook_codewords(codebook);
        kmeans.max_iterations = 1;
        assert_ok(vq_kmeans_train(&lloyd, &of_polish, x, N, D, &kmeans));
        const double best = of_lloyd.mse[of_lloyd.iterations];
        print_message("%s: Lloyd %.5f, mini-batch %.5f after %llu batches, polished %.5f\n",
                      vq_metric_name(metric), best, report.mse, (unsigned long long)report.batches,
                      of_polish.mse[1]);
        assert_true(report.converged);
        assert_int_equal(report.used, K);
        assert_true(report.mse < 1.08 * best);
        assert_true(fabs(report.mse - of_polish.mse[0]) < 1e-6 * report.mse);
        assert_true(of_polish.mse[1] < report.mse);
        vq_kmeans_report_clear(&of_lloyd);
        vq_kmeans_report_clear(&of_polish);
        vq_codebook_free(lloyd);
        vq_codebook_free(codebook);
    }
    free(x);
    free(codes);
    free(scores);
}

/* Seeds of which only one is near the rows: it keeps all of them unless codewords are reassigned. */
static void test_reassignment(void **state)
{
    (void)state;
    enum { N = 4000, D = 2, K = 32 };
    float *x = make_rows(N, D, 3), seeds[K * D];
    for (int i = 0; i < K * D; i++)
        seeds[i] = i < D ? 0.0f : (float)(-1000 - i);
    vq_minibatch_opts opts = minibatch_options(K);
    opts.seeds = seeds;
    opts.reassignment_ratio = -1;
    vq_codebook *codebook;
    vq_minibatch_report report;
    assert_ok(vq_minibatch_train(&codebook, &report, x, N, D, NULL, &opts));
    assert_int_equal(report.used, 1);
    assert_int_equal(report.reassigned, 0);
    assert_memory_equal(vq_codebook_codewords(codebook) + D, seeds + D,
                        (K - 1) * D * sizeof *seeds);
    const double collapsed = report.mse;
    vq_codebook_free(codebook);
    opts.reassignment_ratio = 0;
    assert_ok(vq_minibatch_train(&codebook, &report, x, N, D, NULL, &opts));
    assert_int_equal(report.used, K);
    assert_true(report.reassigned >= K - 1);
    assert_true(report.mse < 0.1 * collapsed);
    vq_codebook_free(codebook);
    free(x);
}

/* No more than half of a batch is used up, unused codewords first; fewer distinct rows than codewords end well. */
static void test_few_rows(void **state)
{
    (void)state;
    const float seeds[6] = {0, 100, 200, 300, 400, 500}, x[4] = {0, 1, 2, 2};
    vq_minibatch_opts opts = minibatch_options(6);
    vq_minibatch *m;
    vq_minibatch_report report;
    opts.seeds = seeds;
    assert_ok(vq_minibatch_create(&m, 1, &opts));
    assert_ok(vq_minibatch_add(m, &report, x, 4, NULL));
    assert_int_equal(report.reassigned, 2);
    vq_codebook *codebook = codebook_now(m);
    const float *c = vq_codebook_codewords(codebook);
    assert_true(c[0] == 1.25f && c[1] >= 1 && c[1] <= 2 && c[2] == 2 && c[3] == 300);
    vq_codebook_free(codebook);
    vq_minibatch_free(m);

    float same[40];
    for (int i = 0; i < 40; i++)
        same[i] = (float)(i % 2);
    opts = minibatch_options(6);
    assert_ok(vq_minibatch_train(&codebook, &report, same, 40, 1, NULL, &opts));
    assert_true(report.mse == 0);
    assert_int_equal(report.used, 2);
    vq_codebook_free(codebook);
}

/* The rule of the header, from what the reports say. */
static void test_when_it_stops(void **state)
{
    (void)state;
    enum { N = 256, D = 2, K = 16, PATIENCE = 4 };
    float *x = make_rows(N * 400, D, 7);
    vq_minibatch_opts opts = minibatch_options(K);
    vq_minibatch *m;
    opts.patience = PATIENCE;
    opts.smoothing = 0.25;
    assert_ok(vq_minibatch_create(&m, D, &opts));
    double smoothed = 0, low = INFINITY;
    int waiting = 0, batch = 0;
    for (vq_minibatch_report report = {0}; !report.converged; batch++) {
        assert_true(batch < 400);
        assert_ok(vq_minibatch_add(m, &report, x + batch * N * D, N, NULL));
        if (!batch) {
            assert_true(isnan(report.smoothed_mse) && isnan(report.mse));
            continue;
        }
        smoothed = batch == 1 ? report.batch_mse : 0.75 * smoothed + 0.25 * report.batch_mse;
        assert_true(fabs(report.smoothed_mse - smoothed) < 1e-12 * smoothed);
        waiting = smoothed < low ? 0 : waiting + 1;
        low = smoothed < low ? smoothed : low;
        assert_int_equal(report.converged, waiting >= PATIENCE);
    }
    assert_true(batch > PATIENCE);
    vq_minibatch_free(m);
    opts.patience = UINT32_MAX;
    opts.max_epochs = 3;
    opts.batch = 100;
    vq_codebook *codebook;
    vq_minibatch_report report;
    assert_ok(vq_minibatch_train(&codebook, &report, x, 1000, D, NULL, &opts));
    assert_false(report.converged);
    assert_int_equal(report.batches, 28); /* 300 rows, then 27 times 100 */
    vq_codebook_free(codebook);
    free(x);
}

/* Rows of weight 0 are as good as absent, and whole-number weights are copies. */
static void test_weights(void **state)
{
    (void)state;
    enum { N = 400, D = 2, K = 5 };
    float *x = make_rows(N, D, 3), copies[3 * N * D], weights[N], none[N] = {0};
    size_t count = 0;
    for (int i = 0; i < N; i++) {
        weights[i] = (float)(i % 4);
        for (int j = 0; j < i % 4; j++)
            memcpy(copies + D * count++, x + i * D, D * sizeof *x);
    }
    vq_minibatch_opts opts = minibatch_options(K);
    opts.seeds = x;
    vq_minibatch *a, *b;
    vq_minibatch_report of_a, of_b;
    assert_ok(vq_minibatch_create(&a, D, &opts));
    assert_ok(vq_minibatch_create(&b, D, &opts));
    opts.seeds = NULL;
    for (int u = 0; u < 10; u++) {
        assert_ok(vq_minibatch_add(a, &of_a, x, N, none));
        assert_ok(vq_minibatch_add(a, &of_a, NULL, 0, NULL));
        assert_ok(vq_minibatch_add(a, &of_a, x, N, weights));
        assert_ok(vq_minibatch_add(b, &of_b, copies, count, NULL));
        assert_int_equal(of_a.batches, u + 1);
        assert_true(fabs(of_a.batch_mse - of_b.batch_mse) < 1e-9 * of_a.batch_mse);
    }
    vq_minibatch_free(a);
    vq_minibatch_free(b);
    /* One row in 400 has a weight. */
    memset(weights, 0, sizeof weights);
    weights[123] = 0.5f;
    opts.k = 1;
    vq_codebook *codebook;
    assert_ok(vq_minibatch_train(&codebook, &of_a, x, N, D, weights, &opts));
    assert_codewords(codebook, x + 123 * D, D);
    vq_codebook_free(codebook);
    free(x);
}

static void test_bad_arguments(void **state)
{
    (void)state;
    float x[6] = {0, 1, 2, 3, 4, 5}, weights[6] = {1, 1, 1, 1, 1, 1}, seeds[2] = {0, 1};
    vq_minibatch *m = (vq_minibatch *)&m;
    vq_codebook *out = (vq_codebook *)&out;
    vq_minibatch_opts opts;
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        opts = minibatch_options(2);                                                               \
        opts.field = (value);                                                                      \
        assert_status(VQ_E_ARG, vq_minibatch_create(&m, 1, &opts));                                \
        assert_null(m);                                                                            \
        assert_non_null(strstr(vq_last_error(), "vq_minibatch_opts." #field));                     \
        assert_status(VQ_E_ARG, vq_minibatch_train(&out, NULL, x, 6, 1, NULL, &opts));             \
        assert_null(out);                                                                          \
    } while (0)
    REFUSED(struct_size, 1);
    REFUSED(k, 0);
    REFUSED(k, (1u << 24) + 1);
    REFUSED(metric, VQ_METRIC_DOT);
    REFUSED(metric, (vq_metric)9);
    REFUSED(storage, VQ_DTYPE_F64);
    REFUSED(smoothing, 1.5);
    REFUSED(smoothing, (double)NAN);
    REFUSED(reassignment_ratio, 1.0);
    REFUSED(reassignment_ratio, (double)NAN);
    REFUSED(threads, -1);
#undef REFUSED
    opts = minibatch_options(2);
    assert_status(VQ_E_ARG, vq_minibatch_create(&m, 0, &opts));
    assert_status(VQ_E_ARG, vq_minibatch_create(&m, 1, NULL));
    assert_status(VQ_E_ARG, vq_minibatch_train(&out, NULL, x, 1, 1, NULL, &opts));
    assert_non_null(strstr(vq_last_error(), "too few"));
    assert_status(VQ_E_ARG, vq_minibatch_train(&out, NULL, x, 0, 1, NULL, &opts));
    assert_status(VQ_E_ARG, vq_minibatch_train(&out, NULL, NULL, 6, 1, NULL, &opts));
    opts.seeds = seeds;
    seeds[1] = NAN;
    assert_status(VQ_E_NONFINITE, vq_minibatch_create(&m, 1, &opts));
    assert_null(m);
    opts.seeds = NULL;
    weights[2] = -1;
    assert_status(VQ_E_ARG, vq_minibatch_train(&out, NULL, x, 6, 1, weights, &opts));
    weights[2] = INFINITY;
    assert_status(VQ_E_NONFINITE, vq_minibatch_train(&out, NULL, x, 6, 1, weights, &opts));
    memset(weights, 0, sizeof weights);
    assert_status(VQ_E_ARG, vq_minibatch_train(&out, NULL, x, 6, 1, weights, &opts));
    x[4] = NAN;
    assert_status(VQ_E_NONFINITE, vq_minibatch_train(&out, NULL, x, 6, 1, NULL, &opts));
    assert_non_null(strstr(vq_last_error(), "row 4"));
    assert_null(out);

    assert_ok(vq_minibatch_create(&m, 1, &opts));
    assert_status(VQ_E_ARG, vq_minibatch_codebook(&out, m));
    assert_null(out);
    assert_status(VQ_E_ARG, vq_minibatch_add(m, NULL, x, 1, NULL)); /* less than k */
    assert_status(VQ_E_ARG, vq_minibatch_codebook(&out, m));
    assert_ok(vq_minibatch_add(m, NULL, x, 4, NULL));
    vq_codebook *before = codebook_now(m), *after;
    assert_status(VQ_E_NONFINITE, vq_minibatch_add(m, NULL, x, 6, NULL));
    x[4] = 3e38f;
    assert_status(VQ_E_NONFINITE, vq_minibatch_add(m, NULL, x, 6, NULL));
    after = codebook_now(m);
    assert_codewords(after, vq_codebook_codewords(before), 2);
    vq_codebook_free(before);
    vq_codebook_free(after);
    vq_minibatch_free(m);
}

static vq_status train_small(void *context)
{
    vq_codebook *codebook;
    vq_minibatch_opts opts = minibatch_options(4);
    opts.metric = *(vq_metric *)context;
    opts.batch = 8;
    opts.max_epochs = 2;
    opts.threads = 1;
    static const float x[20] = {1, 2, 3, 4, 1, 7, 2, 9, 4, 1, 0, 1, 5, 5, 8, 1, 2, 2, 6, 1};
    const vq_status status = vq_minibatch_train(&codebook, NULL, x, 10, 2, NULL, &opts);
    if (status && codebook)
        return VQ_E_ARG;
    vq_codebook_free(codebook);
    return status;
}

/* A batch that failed for want of memory has left no trace. */
static void test_no_memory(void **state)
{
    (void)state;
    for (vq_metric metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++)
        test_allocation_failures(train_small, &metric);
    float *x = make_rows(60, 2, 6);
    vq_minibatch *m, *same;
    vq_minibatch_opts opts = minibatch_options(5);
    opts.threads = 1;
    assert_ok(vq_minibatch_create(&m, 2, &opts));
    assert_ok(vq_minibatch_create(&same, 2, &opts));
    for (size_t rows = 20; rows <= 60; rows += 10) {
        for (long i = 0;; i++) {
            test_allocator a = {0, 0, i, false};
            const vq_allocator allocator = {failing_alloc, failing_free, &a};
            vq_set_allocator(&allocator);
            const vq_status status = vq_minibatch_add(m, NULL, x, rows, NULL);
            vq_set_allocator(NULL);
            if (!status)
                break;
            assert_int_equal(status, VQ_E_NOMEM);
        }
        vq_minibatch_report of_m, of_same;
        assert_ok(vq_minibatch_add(m, &of_m, x, 20, NULL));
        assert_ok(vq_minibatch_add(same, NULL, x, rows, NULL));
        assert_ok(vq_minibatch_add(same, &of_same, x, 20, NULL));
        assert_memory_equal(&of_m, &of_same, sizeof of_m);
        vq_codebook *a = codebook_now(m), *b = codebook_now(same);
        assert_codewords(a, vq_codebook_codewords(b), 10);
        vq_codebook_free(a);
        vq_codebook_free(b);
    }
    vq_minibatch_free(m);
    vq_minibatch_free(same);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),    cmocka_unit_test(test_same_on_any_machine),
        cmocka_unit_test(test_near_lloyd), cmocka_unit_test(test_reassignment),
        cmocka_unit_test(test_few_rows),   cmocka_unit_test(test_when_it_stops),
        cmocka_unit_test(test_weights),    cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
