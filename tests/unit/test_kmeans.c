/* SPDX-License-Identifier: Apache-2.0 */
/* What k-means must compute; hard input is in test_kmeans_hard.c, known answers in test_kmeans_known.c. */
#include <math.h>

#include "unit/kmeans_support.h"
#include "vq/kmeans_distance_internal.h"
#include "vq/kmeans_internal.h"

/* Lloyd's iteration as one would write it down, with the contract's search. */
static void reference_update(float *codewords, uint32_t k, uint32_t d, const float *x, size_t n)
{
    vq_codebook *codebook;
    uint32_t *codes = malloc(n * sizeof *codes);
    double *sum = calloc((size_t)k * d, sizeof *sum);
    size_t *rows = calloc(k, sizeof *rows);
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.exhaustive = 1;
    assert_true(codes && sum && rows);
    assert_ok(vq_codebook_create(&codebook, codewords, k, d, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_nearest(codes, NULL, codebook, x, n, &search));
    for (size_t i = 0; i < n; i++) {
        rows[codes[i]]++;
        for (uint32_t j = 0; j < d; j++)
            sum[codes[i] * d + j] += (double)x[i * d + j];
    }
    for (uint32_t c = 0; c < k; c++)
        for (uint32_t j = 0; j < d && rows[c]; j++)
            codewords[c * d + j] = (float)(sum[c * d + j] / (double)rows[c]);
    vq_codebook_free(codebook);
    free(codes);
    free(sum);
    free(rows);
}

static void test_lloyd_by_hand(void **state)
{
    (void)state;
    enum { N = 70000, D = 3, K = 20, ITERATIONS = 3 }; /* more rows than one chunk */
    float *x = make_rows(N, D, 5);
    float codewords[K * D];
    memcpy(codewords, x, sizeof codewords);
    vq_kmeans_opts opts = options(K);
    opts.seeds = x;
    opts.max_iterations = ITERATIONS;
    opts.tolerance = -1;
    opts.empty = VQ_EMPTY_KEEP;
    vq_codebook *codebook;
    vq_kmeans_report report;
    assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
    for (int i = 0; i < ITERATIONS; i++)
        reference_update(codewords, K, D, x, N);
    assert_codewords(codebook, codewords, K * D);
    assert_int_equal(report.iterations, ITERATIONS);
    assert_false(report.converged);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
    free(x);
}

static void test_same_on_any_machine(void **state)
{
    (void)state;
    enum { N = 9000, D = 118, K = 24 }; /* enough for seeding to share out its rows */
    float *x = make_rows(N, D, 11), weights[N];
    uint64_t seed = 3;
    for (int i = 0; i < N; i++)
        weights[i] = (float)test_uniform(&seed);
    vq_kmeans_opts opts = options(K);
    opts.max_iterations = 2;
    train_all_ways(&opts, x, N, D);
    opts.weights = weights;
    opts.storage = VQ_DTYPE_BF16;
    train_all_ways(&opts, x, N, D);
    opts.metric = VQ_METRIC_COSINE;
    opts.storage = VQ_DTYPE_F16;
    train_all_ways(&opts, x, N, D);
    opts.seeding = VQ_SEEDING_RANDOM;
    opts.empty = VQ_EMPTY_SPLIT;
    train_all_ways(&opts, x, N, D);
    free(x);
}

/* 64 clumps far apart: greedy k-means++ misses none of them, whatever the seed. */
static void test_seeding_finds_clumps(void **state)
{
    (void)state;
    enum { N = 6400, D = 3, CLUMPS = 64 };
    float *x = malloc(N * D * sizeof *x);
    assert_non_null(x);
    uint64_t random = 1;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            x[i * D + j] = (float)(100 * (i % CLUMPS >> 2 * j & 3) + test_uniform(&random));
    for (uint64_t seed = 0; seed < 10; seed++) {
        vq_codebook *codebook;
        vq_kmeans_report report;
        vq_kmeans_opts opts = options(CLUMPS);
        opts.seed = seed;
        assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
        assert_true(report.mse[0] < 0.3);
        assert_true(report.mse[report.iterations] < 0.09); /* 1/12 is a clump's own variance */
        assert_int_equal(report.used, CLUMPS);
        assert_true(fabs(report.entropy_bits - 6) < 1e-9);
        vq_codebook_free(codebook);
        vq_kmeans_report_clear(&report);
    }
    free(x);
}

/* What seeding passes over by its two proofs could not have changed a bit. The scales and offsets are
 * there to make rounding and underflow matter. */
static void test_pruning_is_exact(void **state)
{
    (void)state;
    enum { N = 1200, K = 50 };
    static const uint32_t dims[] = {1, 5, 24, 67};
    static const double scales[] = {1, 1e-21, 3e-16, 1e15}, offsets[] = {0, 1, 1000};
    float weights[N], *pruned = malloc(K * 67 * sizeof(float)),
                      *plain = malloc(K * 67 * sizeof(float));
    assert_true(pruned && plain);
    for (int i = 0; i < 4; i++)
        for (int scale = 0; scale < 4; scale++)
            for (int offset = 0; offset < 3; offset++) {
                const uint32_t d = dims[i];
                float *x = make_rows(N, d, (uint64_t)(i + 10 * scale + 100 * offset));
                for (size_t j = 0; j < (size_t)N * d; j++)
                    x[j] = (float)(scales[scale] * ((double)x[j] + offsets[offset]));
                for (int j = 0; j < N; j++)
                    weights[j] = (float)(j % 3);
                vqi_kmeans run = {x, N, d, N, options(K), 0, N, 0, NULL};
                run.opts.threads = 1 + offset;
                run.opts.metric = scale ? VQ_METRIC_EUCLIDEAN : (vq_metric)(offset % 2);
                run.opts.weights = scale == 2 ? weights : NULL;
                assert_ok(vqi_kmeans_seed(pruned, &run));
                run.exhaustive = 1;
                assert_ok(vqi_kmeans_seed(plain, &run));
                assert_memory_equal(pruned, plain, (size_t)K * d * sizeof *plain);
                free(x);
            }
    free(pruned);
    free(plain);
}

/* The MSE in the report is that of the codebook that was returned, rounded to its storage type. */
static void test_report_is_of_the_result(void **state)
{
    (void)state;
    enum { N = 3000, D = 6, K = 32 };
    static const vq_dtype types[] = {VQ_DTYPE_F32, VQ_DTYPE_F16, VQ_DTYPE_BF16};
    float *x = make_rows(N, D, 9);
    uint32_t *codes = malloc(N * sizeof *codes), rows[K];
    float *scores = malloc(N * sizeof *scores);
    assert_true(codes && scores);
    for (int metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++)
        for (int type = 0; type < 3; type++) {
            vq_codebook *codebook;
            vq_kmeans_report report;
            vq_kmeans_opts opts = options(K);
            opts.metric = (vq_metric)metric;
            opts.storage = types[type];
            assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
            assert_int_equal(vq_codebook_storage(codebook), types[type]);
            assert_ok(vq_nearest(codes, scores, codebook, x, N, NULL));
            double error = 0, entropy = 0;
            uint32_t used = 0;
            memset(rows, 0, sizeof rows);
            for (int i = 0; i < N; i++) {
                double square = 0;
                for (int j = 0; j < D; j++)
                    square += (double)x[i * D + j] * (double)x[i * D + j];
                error += metric == VQ_METRIC_EUCLIDEAN ? (double)scores[i]
                                                       : 2 - 2 * (double)scores[i] / sqrt(square);
                rows[codes[i]]++;
            }
            for (int c = 0; c < K; c++)
                if (rows[c]) {
                    used++;
                    entropy -= rows[c] / (double)N * log2(rows[c] / (double)N);
                }
            const double mse = report.mse[report.iterations];
            /* 1 - cosine of near rows has the rounding error of a number near 1 */
            assert_true(fabs(error / N / D - mse) <= 1e-5 * mse + (metric ? 1e-7 : 0));
            assert_int_equal(report.used, used);
            assert_int_equal(report.dead, K - used);
            assert_true(report.utilisation == used / (double)K);
            assert_true(fabs(report.entropy_bits - entropy) < 1e-9);
            assert_true(fabs(report.perplexity - exp2(entropy)) < 1e-6);
            for (uint32_t i = 1; i <= report.iterations && type == 0; i++)
                assert_true(report.mse[i] <= report.mse[i - 1] * (1 + 1e-6));
            vq_kmeans_report_clear(&report);
            vq_codebook_free(codebook);
        }
    free(x);
    free(codes);
    free(scores);
}

/* Whole-number weights are copies of rows; a weight of 0 is a row that is not there. */
static void test_weights(void **state)
{
    (void)state;
    enum { N = 500, D = 2, K = 7 };
    float x[N * D], copies[4 * N * D], weights[N], seeds[K * D];
    size_t count = 0;
    uint64_t random = 8;
    for (int i = 0; i < N; i++) {
        weights[i] = (float)(test_random(&random) % 4);
        for (int j = 0; j < D; j++)
            x[i * D + j] = (float)(test_random(&random) % 1000); /* sums of these are exact */
        for (int w = 0; w < (int)weights[i]; w++)
            memcpy(copies + D * count++, x + i * D, D * sizeof *x);
    }
    memcpy(seeds, x, sizeof seeds);
    vq_kmeans_opts opts = options(K);
    opts.seeds = seeds;
    vq_codebook *plain, *weighted;
    vq_kmeans_report a, b;
    assert_ok(vq_kmeans_train(&plain, &a, copies, count, D, &opts));
    opts.weights = weights;
    assert_ok(vq_kmeans_train(&weighted, &b, x, N, D, &opts));
    assert_codewords(weighted, vq_codebook_codewords(plain), K * D);
    assert_int_equal(a.iterations, b.iterations);
    assert_true(fabs(a.mse[a.iterations] - b.mse[b.iterations]) < 1e-9 * a.mse[a.iterations]);
    assert_true(fabs(a.entropy_bits - b.entropy_bits) < 1e-9);
    vq_kmeans_report_clear(&a);
    vq_kmeans_report_clear(&b);
    vq_codebook_free(plain);
    vq_codebook_free(weighted);
    /* Seeding never draws a row of weight 0. */
    for (int seeding = 0; seeding < 2; seeding++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            float few[N] = {0};
            few[3] = few[100] = few[499] = 0.25f;
            opts = options(3);
            opts.weights = few;
            opts.seed = seed;
            opts.seeding = (vq_seeding)seeding;
            assert_ok(vq_kmeans_train(&weighted, &a, x, N, D, &opts));
            assert_int_equal(a.used, 3);
            assert_true(a.mse[0] == 0);
            vq_kmeans_report_clear(&a);
            vq_codebook_free(weighted);
        }
}

static void test_when_it_stops(void **state)
{
    (void)state;
    enum { N = 4000, D = 2, K = 50 };
    float *x = make_rows(N, D, 2);
    vq_codebook *codebook;
    vq_kmeans_report report;
    vq_kmeans_opts opts = options(K);
    opts.tolerance = -1; /* also at a fixed point */
    opts.max_iterations = 70;
    assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
    assert_int_equal(report.iterations, 70);
    assert_false(report.converged);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
    opts.tolerance = 0.01;
    assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
    assert_true(report.converged);
    for (uint32_t i = 1; i <= report.iterations; i++)
        assert_int_equal(i == report.iterations,
                         report.mse[i - 1] - report.mse[i] <= 0.01 * report.mse[i - 1]);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
    opts = options(K); /* the defaults */
    opts.tolerance = 1e-300;
    assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
    assert_true(report.iterations <= 25);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
    free(x);
}

typedef struct watcher {
    uint32_t calls, stop_at, seeds, iterations;
} watcher;

static int watch(void *context, const vq_kmeans_progress *p)
{
    watcher *w = context;
    assert_int_equal(p->k, 6);
    assert_int_equal(p->max_iterations, 4);
    if (p->iteration) {
        assert_int_equal(p->iteration, ++w->iterations);
        assert_int_equal(p->seeds_done, 6);
        assert_true(p->mse > 0);
    } else {
        assert_int_equal(p->seeds_done, ++w->seeds);
        assert_true(isnan(p->mse));
    }
    return ++w->calls == w->stop_at;
}

static void test_progress(void **state)
{
    (void)state;
    float *x = make_rows(300, 2, 4);
    vq_codebook *codebook;
    vq_kmeans_report report;
    vq_kmeans_opts opts = options(6);
    watcher w = {0};
    opts.max_iterations = 4;
    opts.tolerance = -1;
    opts.progress = watch;
    opts.progress_context = &w;
    assert_ok(vq_kmeans_train(&codebook, NULL, x, 300, 2, &opts));
    vq_codebook_free(codebook);
    assert_int_equal(w.seeds, 6);
    assert_int_equal(w.iterations, 4);
    for (uint32_t stop = 1; stop <= 10; stop++) {
        w = (watcher){.stop_at = stop};
        assert_status(VQ_E_CANCELLED, vq_kmeans_train(&codebook, &report, x, 300, 2, &opts));
        assert_null(codebook);
        assert_null(report.mse);
        assert_int_equal(w.calls, stop);
    }
    free(x);
}

/* Below the bound the kernels give the contract's bits; from the bound on, something not below it. */
static void test_distance_kernels(void **state)
{
    (void)state;
    enum { MOST = 300 };
    float x[MOST + 1], c[MOST + 1];
    uint64_t random = 6;
    for (uint32_t d = 1; d <= MOST; d++)
        for (int mask = 0; mask < 2; mask++) {
            float p[8] = {0};
            for (uint32_t i = 0; i < d; i++) {
                x[1 + i] = (float)(test_uniform(&random) - 0.5);
                c[1 + i] = (float)(test_uniform(&random) - 0.5);
                const float t = x[1 + i] - c[1 + i];
                p[i % 8] += t * t;
            }
            const float exact = ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
            vq_cpu_set_mask(mask ? UINT32_MAX : 0);
            vqi_distance_fn *distance = vqi_distance_kernel();
            vq_cpu_set_mask(UINT32_MAX);
            assert_true(distance(x + 1, c + 1, d, INFINITY) == exact);
            assert_true(distance(x + 1, c + 1, d, nextafterf(exact, INFINITY)) == exact);
            for (float bound = exact; bound > exact / 8; bound *= 0.7f)
                assert_true(distance(x + 1, c + 1, d, bound) >= bound);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lloyd_by_hand),           cmocka_unit_test(test_same_on_any_machine),
        cmocka_unit_test(test_seeding_finds_clumps),    cmocka_unit_test(test_pruning_is_exact),
        cmocka_unit_test(test_report_is_of_the_result), cmocka_unit_test(test_weights),
        cmocka_unit_test(test_when_it_stops),           cmocka_unit_test(test_progress),
        cmocka_unit_test(test_distance_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
