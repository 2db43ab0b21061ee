/* SPDX-License-Identifier: Apache-2.0 */
/* Repair: wasted codewords move to where they are worth more, and nothing ever gets worse. */
#include <math.h>

#include "unit/kmeans_support.h"

/* The MSE of a codebook, by the contract's search. */
static double mse_of(const vq_codebook *codebook, const float *x, size_t n, uint32_t d)
{
    uint32_t *codes = malloc(n * sizeof *codes);
    float *scores = malloc(n * sizeof *scores);
    double error = 0;
    assert_true(codes && scores);
    assert_ok(vq_nearest(codes, scores, codebook, x, n, NULL));
    for (size_t i = 0; i < n; i++)
        error += (double)scores[i];
    free(codes);
    free(scores);
    return error / (double)n / d;
}

/* Two codewords share the blob at 0 and one serves those at 1000 and 1100: Lloyd's iteration cannot mend that. */
static void test_two_in_one_blob(void **state)
{
    (void)state;
    enum { BLOB = 100, N = 3 * BLOB };
    static const float centres[3] = {0, 1000, 1100}, seeds[3] = {0.25f, 0.75f, 1050};
    float x[N];
    uint64_t random = 1;
    double within = 0;
    for (int b = 0; b < 3; b++) {
        double sum = 0, square = 0;
        for (int i = 0; i < BLOB; i++) {
            const float value = centres[b] + (float)test_uniform(&random);
            x[i * 3 + b] = value;
            sum += (double)value;
            square += (double)value * (double)value;
        }
        within += square - sum * sum / BLOB;
    }
    within /= N;
    vq_codebook *codebook;
    vq_kmeans_report report;
    vq_kmeans_opts opts = options(3);
    opts.seeds = seeds;
    assert_ok(vq_kmeans_train(&codebook, &report, x, N, 1, &opts));
    assert_true(report.mse[report.iterations] > 1000); /* stuck */
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
    opts.repair_rounds = 1;
    assert_ok(vq_kmeans_train(&codebook, &report, x, N, 1, &opts));
    assert_true(fabs(report.mse[report.iterations] - within) < 1e-4);
    assert_int_equal(report.used, 3);
    assert_int_equal(report.revived, 1);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
}

/* 64 clumps far apart and random seeds: many clumps have no codeword at first, and all have one at the end. */
static void test_random_seeds_find_all_clumps(void **state)
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
        opts.seeding = VQ_SEEDING_RANDOM;
        assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
        assert_true(report.mse[report.iterations] > 100);
        vq_kmeans_report_clear(&report);
        vq_codebook_free(codebook);
        opts.repair_rounds = 20;
        assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
        assert_true(report.mse[report.iterations] < 0.09); /* 1/12 is a clump's own variance */
        assert_true(fabs(report.entropy_bits - 6) < 1e-9);
        vq_kmeans_report_clear(&report);
        vq_codebook_free(codebook);
    }
    free(x);
}

/* Repair never gives a higher error than none, the first iterations are those without it, and the report is of the
 * codebook that was returned. */
static void test_never_worse(void **state)
{
    (void)state;
    enum { N = 3000, D = 5, K = 60 };
    int better = 0;
    for (uint64_t seed = 0; seed < 12; seed++) {
        float *x = make_rows(N, D, seed), weights[N];
        uint64_t random = seed;
        for (int i = 0; i < N; i++)
            weights[i] = (float)(test_random(&random) % 3);
        vq_kmeans_report plain = {0};
        for (uint32_t rounds = 0; rounds < 6; rounds++) {
            vq_codebook *codebook;
            vq_kmeans_report report;
            vq_kmeans_opts opts = options(K);
            opts.seed = seed;
            opts.seeding = seed & 1 ? VQ_SEEDING_RANDOM : VQ_SEEDING_KMEANSPP;
            opts.metric = seed % 3 == 1 ? VQ_METRIC_COSINE : VQ_METRIC_EUCLIDEAN;
            opts.storage = seed % 4 == 2 ? VQ_DTYPE_BF16 : VQ_DTYPE_F32;
            opts.weights = seed % 4 == 3 ? weights : NULL;
            opts.max_iterations = 1 + (uint32_t)seed;
            opts.repair_rounds = rounds;
            assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
            const double mse = report.mse[report.iterations];
            if (!rounds)
                plain = report;
            assert_true(mse <= plain.mse[plain.iterations]);
            better += mse < plain.mse[plain.iterations];
            assert_true(report.iterations >= plain.iterations);
            assert_memory_equal(report.mse, plain.mse, (plain.iterations + 1) * sizeof *plain.mse);
            if (!opts.weights && opts.metric == VQ_METRIC_EUCLIDEAN)
                assert_true(fabs(mse_of(codebook, x, N, D) - mse) <= 1e-5 * mse);
            if (rounds)
                vq_kmeans_report_clear(&report);
            vq_codebook_free(codebook);
        }
        vq_kmeans_report_clear(&plain);
        free(x);
    }
    assert_true(better > 30);
}

static void test_same_on_any_machine(void **state)
{
    (void)state;
    enum { N = 4000, D = 40, K = 40 };
    float *x = make_rows(N, D, 11), weights[N];
    uint64_t seed = 3;
    for (int i = 0; i < N; i++)
        weights[i] = (float)test_uniform(&seed);
    vq_kmeans_opts opts = options(K);
    opts.max_iterations = 2;
    opts.repair_rounds = 3;
    train_all_ways(&opts, x, N, D);
    opts.weights = weights;
    opts.storage = VQ_DTYPE_BF16;
    opts.seeding = VQ_SEEDING_RANDOM;
    train_all_ways(&opts, x, N, D);
    opts.metric = VQ_METRIC_COSINE;
    train_all_ways(&opts, x, N, D);
    free(x);
}

typedef struct memory_reader {
    const float *x;
    uint32_t d;
} memory_reader;

static vq_status read_memory(void *context, const float **rows, float *buffer, size_t first,
                             size_t count)
{
    const memory_reader *r = context;
    memcpy(buffer, r->x + first * r->d, count * r->d * sizeof *buffer);
    *rows = buffer;
    return VQ_OK;
}

static void test_from_source(void **state)
{
    (void)state;
    enum { N = 70000, D = 3, K = 300 }; /* more rows than one chunk, and than are kept of a cell */
    float *x = make_rows(N, D, 8);
    memory_reader reader = {x, D};
    vq_source source = VQ_SOURCE_INIT;
    source.n = N;
    source.d = D;
    source.read = read_memory;
    source.context = &reader;
    vq_kmeans_opts opts = options(K);
    opts.seeding = VQ_SEEDING_RANDOM;
    opts.max_iterations = 3;
    opts.repair_rounds = 3;
    vq_codebook *memory, *streamed;
    vq_kmeans_report report;
    assert_ok(vq_kmeans_train(&memory, &report, x, N, D, &opts));
    assert_ok(vq_kmeans_train_source(&streamed, NULL, &source, &opts));
    assert_codewords(streamed, vq_codebook_codewords(memory), (size_t)K * D);
    assert_true(report.revived > 0);
    assert_true(report.mse[report.iterations] < report.mse[3]);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(memory);
    vq_codebook_free(streamed);
    free(x);
}

/* Where there is nothing to mend, or nothing to mend it with. */
static void test_hard_input(void **state)
{
    (void)state;
    enum { N = 60, D = 2, K = 8 };
    float x[N * D];
    vq_codebook *codebook;
    vq_kmeans_report report;
    for (int distinct = 1; distinct <= 9; distinct++)
        for (int metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++) {
            for (int i = 0; i < N * D; i++)
                x[i] = (float)(i / D % distinct) + 2 * (float)(i % D);
            vq_kmeans_opts opts = options(K);
            opts.metric = (vq_metric)metric;
            opts.repair_rounds = 4;
            opts.seeding = VQ_SEEDING_RANDOM;
            assert_ok(vq_kmeans_train(&codebook, &report, x, N, D, &opts));
            assert_int_equal(report.used, distinct < K ? distinct : K);
            vq_kmeans_report_clear(&report);
            vq_codebook_free(codebook);
        }
    vq_kmeans_opts opts = options(1);
    opts.repair_rounds = 2;
    assert_ok(vq_kmeans_train(&codebook, NULL, x, N, D, &opts));
    vq_codebook_free(codebook);
    /* Opposite rows, and a zero row, under the cosine metric; a second nearest that is infinitely far. */
    const float opposite[8] = {1, 2, -1, -2, 0, 0, 1, 2}, seeds[4] = {0, 1, 1, 0};
    opts = options(2);
    opts.metric = VQ_METRIC_COSINE;
    opts.repair_rounds = 3;
    opts.seeds = seeds;
    assert_ok(vq_kmeans_train(&codebook, NULL, opposite, 4, 2, &opts));
    vq_codebook_free(codebook);
    const float far_seeds[3] = {0, 5, 2e19f}, few[4] = {0, 1, 5, 6};
    opts = options(3);
    opts.seeds = far_seeds;
    opts.empty = VQ_EMPTY_KEEP;
    opts.repair_rounds = 1;
    assert_ok(vq_kmeans_train(&codebook, &report, few, 4, 1, &opts));
    assert_true(report.mse[report.iterations] <= report.mse[0]);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
}

static int count_calls(void *context, const vq_kmeans_progress *p)
{
    uint32_t *last = context;
    if (p->iteration) {
        assert_int_equal(p->iteration, ++*last);
        assert_true(p->iteration <= p->max_iterations);
        assert_int_equal(p->max_iterations, 3 + 2 * 4);
    }
    return *last == 6;
}

static void test_progress(void **state)
{
    (void)state;
    float *x = make_rows(2000, 3, 4);
    vq_codebook *codebook;
    vq_kmeans_opts opts = options(60);
    uint32_t last = 0;
    opts.seeding = VQ_SEEDING_RANDOM;
    opts.max_iterations = 3;
    opts.repair_rounds = 4;
    opts.tolerance = -1;
    opts.progress = count_calls;
    opts.progress_context = &last;
    assert_status(VQ_E_CANCELLED, vq_kmeans_train(&codebook, NULL, x, 2000, 3, &opts));
    assert_null(codebook);
    assert_int_equal(last, 6);
    free(x);
}

static vq_status train_once(void *context)
{
    vq_codebook *codebook;
    vq_kmeans_report report;
    vq_kmeans_opts opts = options(12);
    opts.metric = *(vq_metric *)context;
    opts.seeding = VQ_SEEDING_RANDOM;
    opts.max_iterations = 2;
    opts.repair_rounds = 2;
    float *x = make_rows(100, 3, 2);
    const vq_status status = vq_kmeans_train(&codebook, &report, x, 100, 3, &opts);
    free(x);
    if (status && (codebook || report.mse))
        return VQ_E_ARG;
    vq_codebook_free(codebook);
    vq_kmeans_report_clear(&report);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    for (vq_metric metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++)
        test_allocation_failures(train_once, &metric);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_in_one_blob), cmocka_unit_test(test_random_seeds_find_all_clumps),
        cmocka_unit_test(test_never_worse),     cmocka_unit_test(test_same_on_any_machine),
        cmocka_unit_test(test_from_source),     cmocka_unit_test(test_hard_input),
        cmocka_unit_test(test_progress),        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
