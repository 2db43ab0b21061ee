/* SPDX-License-Identifier: Apache-2.0 */
/* SimVQ in closed form: its training, its steps from statistics, and shrinkage. */
#include <math.h>

#include "simvq_support.h"
#include "vq/cholesky_internal.h"

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

/* Many rows: the first steps are on samples, which changes no promise. */
static void test_sample(void **state)
{
    (void)state;
    enum { MANY = 33000, FEW = 40 }; /* samples of 4096 and 16384 */
    float *x = make_rows(MANY, D, 14), *scores = malloc(MANY * sizeof *scores);
    uint32_t *codes = malloc(MANY * sizeof *codes);
    assert_true(scores && codes);
    vq_simvq_train_opts opts = options();
    opts.k = FEW;
    opts.start = VQ_SIMVQ_START_UNIFORM;
    const vq_simvq_form form = {sizeof form, FEW, D, 0, opts.seed};
    vq_quantizer *start, *q, *again;
    vq_kmeans_report report;
    double before = 0;
    assert_ok(vq_simvq_begin(&start, &form, 0));
    assert_ok(vq_nearest(codes, scores, vq_quantizer_codebook(start, 0), x, MANY, NULL));
    for (size_t i = 0; i < MANY; i++)
        before += (double)scores[i] / ((double)MANY * D);
    assert_ok(vq_simvq_train(&q, &report, x, MANY, D, &opts));
    assert_true(report.mse[0] < 0.5 * before); /* what the samples did */
    for (uint32_t i = 1; i <= report.iterations; i++)
        assert_true(report.mse[i] < report.mse[i - 1]);
    opts.threads = 3;
    assert_ok(vq_simvq_train(&again, NULL, x, MANY, D, &opts));
    assert_equal(q, again);
    vq_quantizer_free(again);
    for (size_t bad = 0; bad < 2; bad++) { /* in a sample or not */
        const float here = x[bad * D];
        x[bad * D] = NAN;
        assert_status(VQ_E_NONFINITE, vq_simvq_train(&again, NULL, x, MANY, D, &opts));
        x[bad * D] = here;
    }
    vq_kmeans_report_clear(&report);
    vq_quantizer_free(q);
    vq_quantizer_free(start);
    free(x);
    free(scores);
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
    vq_quantizer *q, *next[2], *one;
    const vq_simvq_form form = {sizeof form, K, D, 0, opts.seed};
    assert_ok(vq_simvq_begin(&q, &form, 0));
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
    opts.max_iterations = 1;
    opts.start = VQ_SIMVQ_START_UNIFORM;
    assert_ok(vq_simvq_train(&one, NULL, x, N, D, &opts));
    assert_equal(next[0], one);
    vq_quantizer_free(one);
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

static vq_status train_small(vq_quantizer **out, const parts_life *life)
{
    vq_simvq_train_opts opts = VQ_SIMVQ_TRAIN_OPTS_INIT;
    opts.k = 5;
    opts.threads = 1;
    opts.max_iterations = 2;
    return vq_simvq_train(out, NULL, life->x, life->n, 2, &opts);
}

static vq_status update_and_shrink(void *context)
{
    const parts_life *life = context;
    vq_quantizer *q = NULL, *next = NULL;
    vq_codebook *shrunk = NULL;
    vq_kmeans_stats *stats = NULL;
    const vq_source rows = vq_source_from_memory(life->x, life->n, 2);
    vq_status status = train_small(&q, life);
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
    vq_quantizer_free(next);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    static const float x[16] = {1, 2, 3, 4, 1, 7, 2, 9, 4, 1, 0, 1, 5, 5, 8, 1};
    parts_life life = {.make = train_small, .x = x, .n = 8};
    check_no_memory(life);
    test_allocation_failures(update_and_shrink, &life);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotone),     cmocka_unit_test(test_sample),
        cmocka_unit_test(test_recovers_map), cmocka_unit_test(test_merge),
        cmocka_unit_test(test_shrinkage),    cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_degenerate),   cmocka_unit_test(test_cholesky),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
