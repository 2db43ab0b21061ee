/* SPDX-License-Identifier: Apache-2.0 */
/* k-means of numbers: the best of all partitions, for every K; the optimal quantizers of the Gaussian. */
#include <math.h>

#include "test_support.h"
#include "vq/kmeans_1d.h"
#include "vq/kmeans_1d_internal.h"

/* As in test_kmeans_known.c. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Weighted squared distances of the sorted x from begin to before end from their mean. */
static double cost(const float *x, const float *w, size_t begin, size_t end)
{
    double sum = 0, weight = 0, error = 0;
    for (size_t i = begin; i < end; i++) {
        sum += (double)w[i] * ((double)x[i] - (double)x[begin]);
        weight += (double)w[i];
    }
    for (size_t i = begin; i < end && weight > 0; i++) {
        const double t = (double)x[i] - (double)x[begin] - sum / weight;
        error += (double)w[i] * t * t;
    }
    return error;
}

/* The textbook's dynamic programme, O(K n^2): least[k][i] of the first i numbers in k cells. */
static void all_best(double *best, const float *x, const float *w, size_t n)
{
    double *costs = malloc((n + 1) * (n + 1) * sizeof *costs);
    double *now = malloc((n + 1) * sizeof *now), *next = malloc((n + 1) * sizeof *next);
    assert_true(costs && now && next);
    for (size_t begin = 0; begin <= n; begin++)
        for (size_t end = begin; end <= n; end++)
            costs[begin * (n + 1) + end] = cost(x, w, begin, end);
    for (size_t i = 0; i <= n; i++)
        now[i] = i ? INFINITY : 0;
    for (size_t k = 1; k <= n; k++) {
        for (size_t end = 0; end <= n; end++) {
            next[end] = INFINITY;
            for (size_t begin = 0; begin <= end; begin++)
                next[end] = fmin(next[end], now[begin] + costs[begin * (n + 1) + end]);
        }
        memcpy(now, next, (n + 1) * sizeof *now);
        best[k] = now[n];
    }
    free(costs);
    free(now);
    free(next);
}

/* Every K, of numbers in any order, against the textbook: the cells, and the MSE once the codewords are
 * rounded to float32, which adds an error of its own. */
static void check_all_k(const float *x, const float *weights, size_t n)
{
    vqi_line line;
    double median, weight = 0;
    assert_ok(vqi_line_create(&line, &median, x, n, weights));
    const uint32_t count = line.count;
    float *values = malloc(count * sizeof *values), *w = malloc(count * sizeof *w);
    double *best = malloc((count + 1) * sizeof *best);
    uint32_t *ends = malloc(count * sizeof *ends);
    assert_true(values && w && best && ends);
    for (uint32_t i = 0; i < count; i++) {
        values[i] = (float)(line.value[i] + median);
        w[i] = 0;
        for (size_t j = 0; j < n; j++)
            if (x[j] == values[i])
                w[i] += weights ? weights[j] : 1;
        assert_true(i == 0 || values[i] > values[i - 1]);
        assert_true(fabs((double)w[i] - line.weight[i]) < 1e-5 * line.weight[i]);
        weight += (double)w[i];
    }
    all_best(best, values, w, count);
    const double ulp = 0x1p-24 * fmax(fabs((double)values[0]), fabs((double)values[count - 1]));
    for (uint32_t k = 1; k <= count; k++) {
        vq_codebook *codebook;
        double mse, sum = 0;
        assert_ok(vqi_line_cut(ends, &line, k));
        assert_int_equal(ends[k - 1], count);
        for (uint32_t c = 0; c < k; c++) {
            assert_true(ends[c] > (c ? ends[c - 1] : 0));
            sum += cost(values, w, c ? ends[c - 1] : 0, ends[c]);
        }
        if (!(sum <= best[k] * (1 + 1e-9)))
            fail_msg("K = %u of %u values: the cost is %.12g, the best %.12g", k, count, sum,
                     best[k]);
        assert_ok(vq_kmeans_1d(&codebook, &mse, x, n, weights, k));
        for (uint32_t c = 1; c < k; c++)
            assert_true(vq_codebook_codewords(codebook)[c - 1] <
                        vq_codebook_codewords(codebook)[c]);
        assert_true(mse >= best[k] / weight * (1 - 1e-5));
        assert_true(mse <= best[k] / weight * (1 + 1e-5) + ulp * ulp + 1e-80);
        vq_codebook_free(codebook);
    }
    vqi_line_clear(&line);
    free(values);
    free(w);
    free(best);
    free(ends);
}

/* All ways to cut a few numbers, by the bits of a mask. */
static double best_of_all_ways(const float *x, const float *w, size_t n, uint32_t k)
{
    double best = INFINITY;
    for (uint32_t mask = 0; mask < 1u << (n - 1); mask++) {
        if ((uint32_t)__builtin_popcount(mask) != k - 1)
            continue;
        double sum = 0;
        size_t begin = 0;
        for (size_t i = 1; i <= n; i++)
            if (i == n || mask >> (i - 1) & 1) {
                sum += cost(x, w, begin, i);
                begin = i;
            }
        best = fmin(best, sum);
    }
    return best;
}

static void test_brute_force(void **state)
{
    (void)state;
    enum { MOST = 10 };
    uint64_t random = 1;
    for (int round = 0; round < 300; round++) {
        const size_t n = 1 + test_random(&random) % MOST;
        float x[MOST], w[MOST];
        double weight = 0;
        for (size_t i = 0; i < n; i++) {
            x[i] = round % 2 ? (float)(test_random(&random) % 100) : (float)test_uniform(&random);
            w[i] = round % 3 ? (float)(1 + test_random(&random) % 5) : 1;
            weight += (double)w[i];
        }
        qsort(x, n, sizeof *x, compare);
        for (uint32_t k = 1; k <= n; k++) {
            vq_codebook *codebook;
            double mse;
            assert_ok(vq_kmeans_1d(&codebook, &mse, x, n, w, k));
            const double best = best_of_all_ways(x, w, n, k) / weight;
            assert_true(fabs(mse - best) <= 1e-6 * best + 1e-12);
            vq_codebook_free(codebook);
        }
    }
}

/* Kinds of numbers on which ties, jumps of the price or cancellation happen. */
static void test_every_k(void **state)
{
    (void)state;
    enum { N = SANITIZED ? 60 : 120, KINDS = 9 };
    uint64_t random = 3;
    for (int kind = 0; kind < KINDS; kind++)
        for (int weighted = 0; weighted < 2; weighted++) {
            float x[N], weights[N];
            for (int i = 0; i < N; i++) {
                const double u = test_uniform(&random);
                const double values[KINDS] = {
                    u,                        /* even */
                    i * 7 % N,                /* a ladder: every K between N / 2 and N is a tie */
                    floor(10 * u),            /* few distinct values */
                    1e6 + floor(64 * u) / 16, /* a large offset, at the last bits of float32 */
                    tan(3.14159 * (u - 0.5)), /* heavy tails */
                    exp(40 * u),              /* every scale */
                    (i % 8) * 1000 + u,       /* clumps */
                    i % 2 ? 1e6 + i / 2 * 0.0625 : u, /* clumps of very unlike width */
                    -1e-38 * u * (i % 3),             /* denormals and both zeros */
                };
                x[i] = (float)values[kind];
                weights[i] = (float)(i % 4) * 0.3f;
            }
            check_all_k(x, weighted ? weights : NULL, N);
        }
}

/* Max (1960) and Lloyd (1982), on the exact density: the numbers are a fine grid, the weights the Gaussian. */
static void test_lloyd_max(void **state)
{
    (void)state;
    enum { CELLS = SANITIZED ? 20000 : 80000 };
    static const struct {
        uint32_t k;
        double mse;
    } known[] = {{2, .3633802},  {3, .1901740},  {4, .1174818},   {5, .0799411},
                 {6, .0579777},  {7, .0440004},  {8, .0345478},   {16, .0095010},
                 {32, .0025047}, {64, .0006442}, {128, .0001635}, {256, .0000412}};
    const double step = 16.0 / CELLS;
    float *x = malloc((CELLS + 1) * sizeof *x), *weights = malloc((CELLS + 1) * sizeof *weights);
    assert_true(x && weights);
    for (int i = 0; i <= CELLS; i++) {
        const double t = (i - CELLS / 2) * step;
        x[i] = (float)t;
        weights[i] = (float)exp(-t * t / 2);
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        vq_codebook *codebook;
        double mse;
        assert_ok(vq_kmeans_1d(&codebook, &mse, x, CELLS + 1, weights, known[i].k));
        mse += step * step / 12; /* of a number within its step of the grid */
        print_message("K = %-3u %.7f\n", known[i].k, mse);
        /* the table's last digit, and the 8 sigma at which the grid ends */
        assert_true(fabs(mse - known[i].mse) < 1e-4 * known[i].mse + 5e-8);
        for (uint32_t c = 0; c < known[i].k; c++)
            assert_true(fabsf(vq_codebook_codewords(codebook)[c] +
                              vq_codebook_codewords(codebook)[known[i].k - 1 - c]) < 2e-3f);
        vq_codebook_free(codebook);
    }
    free(x);
    free(weights);
}

/* No iteration from any seeds finds a better codebook, and an iteration from this one finds none. */
static void test_never_above_lloyd(void **state)
{
    (void)state;
    enum { N = 20000 };
    float *x = malloc(N * sizeof *x);
    assert_non_null(x);
    uint64_t random = 8;
    for (int i = 0; i < N; i++)
        x[i] = (float)(log(test_uniform(&random) + 1e-9) * (i % 2 ? 1 : -3));
    static const uint32_t ks[] = {2, 10, 100, 1000};
    for (int i = 0; i < 4; i++) {
        vq_codebook *best, *lloyd;
        double mse;
        assert_ok(vq_kmeans_1d(&best, &mse, x, N, NULL, ks[i]));
        vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
        vq_kmeans_report report;
        opts.k = ks[i];
        for (opts.seed = 0; opts.seed < 3; opts.seed++) {
            assert_ok(vq_kmeans_train(&lloyd, &report, x, N, 1, &opts));
            assert_true(mse <= report.mse[report.iterations] * (1 + 1e-6));
            vq_codebook_free(lloyd);
            vq_kmeans_report_clear(&report);
        }
        opts.seeds = vq_codebook_codewords(best);
        assert_ok(vq_kmeans_train(&lloyd, &report, x, N, 1, &opts));
        assert_true(fabs(report.mse[0] - mse) < 1e-6 * mse);
        assert_true(report.mse[report.iterations] > mse * (1 - 1e-6));
        assert_int_equal(report.used, ks[i]);
        vq_codebook_free(lloyd);
        vq_kmeans_report_clear(&report);
        vq_codebook_free(best);
    }
    free(x);
}

static void test_few_distinct(void **state)
{
    (void)state;
    const float x[8] = {3, -1, 3, 7, -1, 3, 0.0f, -0.0f}, weights[8] = {1, 1, 0, 0, 2, 1, 1, 1};
    vq_codebook *codebook;
    double mse;
    assert_ok(vq_kmeans_1d(&codebook, &mse, x, 8, NULL, 6));
    const float expected[6] = {-1, 0, 3, 7, 7, 7}, light[6] = {-1, 0, 3, 3, 3, 3};
    assert_memory_equal(vq_codebook_codewords(codebook), expected, sizeof expected);
    assert_true(mse == 0);
    assert_int_equal(vq_codebook_dim(codebook), 1);
    uint32_t code;
    assert_ok(vq_nearest(&code, NULL, codebook, &x[3], 1, NULL));
    assert_int_equal(code, 3); /* the spare codewords are dead */
    vq_codebook_free(codebook);
    assert_ok(vq_kmeans_1d(&codebook, &mse, x, 8, weights, 6));
    assert_memory_equal(vq_codebook_codewords(codebook), light, sizeof light);
    vq_codebook_free(codebook);
    assert_ok(vq_kmeans_1d(&codebook, NULL, x, 8, weights, 1));
    assert_true(vq_codebook_codewords(codebook)[0] == 3.0f / 7); /* 3 + 3 - 1 - 2 of 7 */
    vq_codebook_free(codebook);
}

static void test_bad_arguments(void **state)
{
    (void)state;
    float x[3] = {0, 1, 2}, weights[3] = {1, 1, 1};
    vq_codebook *out = (vq_codebook *)&out;
    assert_status(VQ_E_ARG, vq_kmeans_1d(&out, NULL, x, 0, NULL, 1));
    assert_null(out);
    assert_status(VQ_E_ARG, vq_kmeans_1d(&out, NULL, NULL, 3, NULL, 1));
    assert_status(VQ_E_ARG, vq_kmeans_1d(&out, NULL, x, 3, NULL, 0));
    assert_status(VQ_E_ARG, vq_kmeans_1d(&out, NULL, x, 3, NULL, 4));
    assert_non_null(strstr(vq_last_error(), "too few"));
    assert_status(VQ_E_ARG, vq_kmeans_1d(&out, NULL, x, SIZE_MAX, NULL, (1u << 24) + 1));
    weights[1] = -1;
    assert_status(VQ_E_ARG, vq_kmeans_1d(&out, NULL, x, 3, weights, 2));
    weights[1] = NAN;
    assert_status(VQ_E_NONFINITE, vq_kmeans_1d(&out, NULL, x, 3, weights, 2));
    memset(weights, 0, sizeof weights);
    assert_status(VQ_E_ARG, vq_kmeans_1d(&out, NULL, x, 3, weights, 2));
    x[2] = -INFINITY;
    assert_status(VQ_E_NONFINITE, vq_kmeans_1d(&out, NULL, x, 3, NULL, 2));
    assert_non_null(strstr(vq_last_error(), "row 2"));
    x[2] = 3e38f; /* as far apart as float32 goes */
    x[1] = -3e38f;
    assert_ok(vq_kmeans_1d(&out, NULL, x, 3, NULL, 2));
    assert_true(vq_codebook_codewords(out)[1] == 1.5e38f || vq_codebook_codewords(out)[1] == 3e38f);
    vq_codebook_free(out);
}

static vq_status train_small(void *context)
{
    vq_codebook *codebook;
    const vq_status status = vq_kmeans_1d(&codebook, NULL, context, 20, NULL, 7);
    if (status && codebook)
        return VQ_E_ARG;
    vq_codebook_free(codebook);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    float x[20];
    for (int i = 0; i < 20; i++)
        x[i] = (float)(i * i % 23);
    test_allocation_failures(train_small, x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brute_force),  cmocka_unit_test(test_every_k),
        cmocka_unit_test(test_lloyd_max),    cmocka_unit_test(test_never_above_lloyd),
        cmocka_unit_test(test_few_distinct), cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
