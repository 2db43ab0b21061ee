/* SPDX-License-Identifier: Apache-2.0 */
/* Balanced k-means: the division of two cells is the best there is, sizes are kept, and the error only falls. */
#include <math.h>

#include "unit/kmeans_support.h"
#include "vq/kmeans_balanced.h"
#include "vq/kmeans_balanced_internal.h"

static vq_balanced_opts balanced_options(uint32_t k)
{
    vq_balanced_opts opts = VQ_BALANCED_OPTS_INIT;
    opts.k = k;
    return opts;
}

/* The lowest shares come to the front, also of equal keys. */
static void test_select(void **state)
{
    (void)state;
    enum { MOST = 300 };
    uint64_t random = 1;
    for (int round = 0; round < 2000; round++) {
        vqi_share shares[MOST];
        const size_t size = 1 + test_random(&random) % MOST,
                     count = test_random(&random) % (size + 1);
        for (size_t i = 0; i < size; i++)
            shares[i] = (vqi_share){(double)(test_random(&random) % (round % 2 ? 5 : 1000)),
                                    (uint32_t)i, 0};
        vqi_shares_select(shares, size, count);
        int seen[MOST] = {0};
        for (size_t i = 0; i < size; i++) {
            assert_false(seen[shares[i].row]++);
            for (size_t j = 0; i < count && j < size - count; j++) {
                const vqi_share *low = &shares[i], *high = &shares[count + j];
                assert_true(low->key < high->key ||
                            (low->key == high->key && low->row < high->row));
            }
        }
    }
}

static double distance(const float *x, const double *from, uint32_t d)
{
    double sum = 0;
    for (uint32_t j = 0; j < d; j++)
        sum += ((double)x[j] - from[j]) * ((double)x[j] - from[j]);
    return sum;
}

/* No other choice of so many rows is better: all of them are tried. */
static void test_division_is_the_best(void **state)
{
    (void)state;
    enum { N = 12, MOST_D = 11 };
    uint64_t random = 3;
    for (int round = 0; round < 60; round++) {
        const uint32_t d = 1 + (uint32_t)(test_random(&random) % MOST_D);
        float x[N * MOST_D];
        double a[MOST_D], b[MOST_D], scratch[2 * MOST_D];
        vqi_share shares[N];
        for (uint32_t i = 0; i < N * d; i++)
            x[i] = (float)(test_random(&random) % 20) + (round % 2 ? 1e5f : 0);
        for (uint32_t j = 0; j < d; j++) {
            a[j] = (double)x[j] + test_uniform(&random);
            b[j] = (double)x[d + j] - test_uniform(&random);
        }
        for (uint32_t i = 0; i < N; i++)
            shares[i] = (vqi_share){0, i, 0};
        const size_t left = 1 + test_random(&random) % (N - 1);
        vqi_shares_compare(shares, N, x, d, a, b, scratch);
        vqi_shares_select(shares, N, left);
        double ours = 0, best = INFINITY;
        for (size_t i = 0; i < N; i++)
            ours += distance(x + shares[i].row * d, i < left ? a : b, d);
        for (uint32_t mask = 0; mask < 1u << N; mask++) {
            if ((size_t)__builtin_popcount(mask) != left)
                continue;
            double cost = 0;
            for (uint32_t i = 0; i < N; i++)
                cost += distance(x + i * d, mask >> i & 1 ? a : b, d);
            best = fmin(best, cost);
        }
        assert_true(ours <= best * (1 + 1e-12));
    }
}

typedef struct watcher {
    uint32_t calls, stop_at;
    double mse;
} watcher;

static int watch(void *context, uint32_t sweeps, double mse)
{
    watcher *w = context;
    assert_int_equal(sweeps, ++w->calls);
    assert_true(mse <= w->mse); /* not even by rounding: worse divisions are not taken */
    w->mse = mse;
    return w->calls == w->stop_at;
}

/* Sizes within their bounds for any n, K and slack; the report says what the codes and the codebook do. */
static void test_sizes(void **state)
{
    (void)state;
    static const size_t ns[] = {1, 2, 7, 64, 1000, 1777};
    static const uint32_t ks[] = {1, 2, 3, 7, 16, 61, 1000};
    static const double slacks[] = {0, 0.1, 0.5, 100};
    enum { D = 5 };
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 7 && ks[j] <= ns[i]; j++)
            for (size_t s = 0; s < 4; s++) {
                const size_t n = ns[i];
                const uint32_t k = ks[j];
                float *x = make_rows(n, D, n);
                uint32_t *codes = malloc(n * sizeof *codes), *rows = calloc(k, sizeof *rows);
                assert_true(codes && rows);
                watcher w = {.mse = INFINITY};
                vq_balanced_opts opts = balanced_options(k);
                vq_balanced_report report;
                vq_codebook *codebook;
                opts.slack = slacks[s];
                opts.progress = watch;
                opts.progress_context = &w;
                assert_ok(vq_kmeans_balanced(&codebook, codes, &report, x, n, D, &opts));
                const double more = floor(opts.slack * (double)n / k);
                double error = 0, low = (double)n, high = 0;
                for (size_t r = 0; r < n; r++) {
                    assert_true(codes[r] < k);
                    rows[codes[r]]++;
                    for (uint32_t l = 0; l < D; l++) {
                        const double t = (double)x[r * D + l] -
                                         (double)vq_codebook_codewords(codebook)[codes[r] * D + l];
                        error += t * t;
                    }
                }
                for (uint32_t c = 0; c < k; c++) {
                    low = fmin(low, rows[c]);
                    high = fmax(high, rows[c]);
                }
                assert_true(low >= fmax(1, (double)(n / k) - more));
                assert_true(high <= (double)((n + k - 1) / k) + more);
                assert_true(report.smallest == low && report.largest == high);
                assert_true(fabs(report.balance - high * k / (double)n) < 1e-12 * k);
                assert_true(fabs(report.mse - error / (double)n / D) <= 1e-9 * report.mse + 1e-12);
                assert_true(report.nearest_mse <= report.mse * (1 + 1e-6) + 1e-12);
                assert_int_equal(report.sweeps, w.calls);
                vq_codebook_free(codebook);
                free(x);
                free(codes);
                free(rows);
            }
}

/* Rows crowd in one place: Lloyd's cells are very unlike, these are equal at not much more error. */
static void test_crowd(void **state)
{
    (void)state;
    enum { N = 8000, D = 4, K = 50 };
    float *x = malloc(N * D * sizeof *x);
    assert_non_null(x);
    uint64_t random = 12;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            x[i * D + j] = (float)((i % 8 ? 0.1 : 3) * (test_uniform(&random) - 0.5));
    vq_codebook *codebook;
    vq_kmeans_report lloyd;
    vq_kmeans_opts kmeans = options(K);
    assert_ok(vq_kmeans_train(&codebook, &lloyd, x, N, D, &kmeans));
    uint32_t codes[N], rows[K] = {0}, most = 0;
    assert_ok(vq_nearest(codes, NULL, codebook, x, N, NULL));
    for (int i = 0; i < N; i++) {
        rows[codes[i]]++;
        most = rows[codes[i]] > most ? rows[codes[i]] : most;
    }
    vq_codebook_free(codebook);
    vq_balanced_opts opts = balanced_options(K);
    vq_balanced_report exact, loose;
    assert_ok(vq_kmeans_balanced(&codebook, NULL, &exact, x, N, D, &opts));
    vq_codebook_free(codebook);
    opts.slack = 0.5;
    assert_ok(vq_kmeans_balanced(&codebook, NULL, &loose, x, N, D, &opts));
    vq_codebook_free(codebook);
    print_message("Lloyd %.5f, largest cell %.1f of even; balanced %.5f, slack 0.5 %.5f\n",
                  lloyd.mse[lloyd.iterations], (double)most * K / N, exact.mse, loose.mse);
    assert_true((double)most * K / N > 10);
    assert_true(exact.balance == 1);
    assert_true(loose.balance <= 1.5);
    assert_true(loose.mse < exact.mse);
    assert_true(exact.converged && loose.converged);
    /* All rows have the variance 0.095; a random choice of equal cells has all of it. */
    assert_true(exact.mse < 0.05);
    vq_kmeans_report_clear(&lloyd);
    free(x);
}

/* 64 clumps of 100 rows each, in a lattice: the cells are the clumps. An offset changes nothing. */
static void test_finds_clumps(void **state)
{
    (void)state;
    enum { N = 6400, D = 3, CLUMPS = 64 };
    float *x = malloc(N * D * sizeof *x);
    assert_non_null(x);
    for (int offset = 0; offset < 2; offset++) {
        uint64_t random = 1;
        for (int i = 0; i < N; i++)
            for (int j = 0; j < D; j++)
                x[i * D + j] = (float)(100 * (i % CLUMPS >> 2 * j & 3) +
                                       (double)(test_random(&random) % 16) / 16 + offset * 1e6);
        vq_codebook *codebook;
        vq_balanced_opts opts = balanced_options(CLUMPS);
        vq_balanced_report report;
        uint32_t codes[N];
        assert_ok(vq_kmeans_balanced(&codebook, codes, &report, x, N, D, &opts));
        for (int i = CLUMPS; i < N; i++)
            assert_int_equal(codes[i], codes[i % CLUMPS]);
        assert_true(report.mse < 0.09);
        assert_true(report.balance == 1 && report.nearest_balance == 1);
        vq_codebook_free(codebook);
    }
    /* All rows equal: equal shares of nothing. */
    memset(x, 0, N * D * sizeof *x);
    vq_codebook *codebook;
    vq_balanced_opts opts = balanced_options(48);
    vq_balanced_report report;
    assert_ok(vq_kmeans_balanced(&codebook, NULL, &report, x, N, D, &opts));
    assert_true(report.mse == 0 && report.smallest == 133 && report.largest == 134);
    vq_codebook_free(codebook);
    free(x);
}

static void test_same_on_any_machine(void **state)
{
    (void)state;
    enum { N = 12000, D = 70, K = 48 }; /* enough to share out pairs */
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    float *x = make_rows(N, D, 9);
    uint32_t *first_codes = malloc(N * sizeof *first_codes), *codes = malloc(N * sizeof *codes);
    assert_true(first_codes && codes);
    vq_codebook *first = NULL;
    vq_balanced_report of_first = {0};
    for (int way = 0; way < 6; way++) {
        vq_codebook *codebook;
        vq_balanced_report report;
        vq_balanced_opts opts = balanced_options(K);
        opts.slack = 0.2;
        opts.storage = VQ_DTYPE_BF16;
        opts.threads = 1 + way % 4 * 2;
        vq_cpu_set_mask(masks[way % 3]);
        assert_ok(
            vq_kmeans_balanced(&codebook, first ? codes : first_codes, &report, x, N, D, &opts));
        vq_cpu_set_mask(UINT32_MAX);
        if (!first) {
            first = codebook;
            of_first = report;
            continue;
        }
        assert_codewords(codebook, vq_codebook_codewords(first), K * D);
        assert_memory_equal(codes, first_codes, N * sizeof *codes);
        assert_true(report.mse == of_first.mse && report.nearest_mse == of_first.nearest_mse);
        vq_codebook_free(codebook);
    }
    assert_int_equal(vq_codebook_storage(first), VQ_DTYPE_BF16);
    vq_codebook_free(first);
    free(x);
    free(codes);
    free(first_codes);
}

static void test_bad_arguments(void **state)
{
    (void)state;
    float x[6] = {0, 1, 2, 3, 4, 5};
    vq_codebook *out = (vq_codebook *)&out;
    vq_balanced_opts opts;
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        opts = balanced_options(2);                                                                \
        opts.field = (value);                                                                      \
        assert_status(VQ_E_ARG, vq_kmeans_balanced(&out, NULL, NULL, x, 6, 1, &opts));             \
        assert_null(out);                                                                          \
        assert_non_null(strstr(vq_last_error(), "vq_balanced_opts." #field));                      \
    } while (0)
    REFUSED(struct_size, 1);
    REFUSED(k, 0);
    REFUSED(k, (1u << 24) + 1);
    REFUSED(storage, VQ_DTYPE_F64);
    REFUSED(slack, -0.1);
    REFUSED(slack, (double)INFINITY);
    REFUSED(slack, (double)NAN);
    REFUSED(neighbours, VQ_NEAREST_K_MAX);
    REFUSED(tolerance, (double)NAN);
    REFUSED(threads, -1);
#undef REFUSED
    opts = balanced_options(2);
    assert_status(VQ_E_ARG, vq_kmeans_balanced(&out, NULL, NULL, x, 0, 1, &opts));
    assert_status(VQ_E_ARG, vq_kmeans_balanced(&out, NULL, NULL, x, 6, 0, &opts));
    assert_status(VQ_E_ARG, vq_kmeans_balanced(&out, NULL, NULL, x, 1, 1, &opts));
    assert_non_null(strstr(vq_last_error(), "too few"));
    assert_status(VQ_E_ARG, vq_kmeans_balanced(&out, NULL, NULL, x, SIZE_MAX, 1, &opts));
    assert_status(VQ_E_ARG, vq_kmeans_balanced(&out, NULL, NULL, NULL, 6, 1, &opts));
    assert_status(VQ_E_ARG, vq_kmeans_balanced(&out, NULL, NULL, x, 6, 1, NULL));
    x[5] = NAN;
    assert_status(VQ_E_NONFINITE, vq_kmeans_balanced(&out, NULL, NULL, x, 6, 1, &opts));
    assert_non_null(strstr(vq_last_error(), "row 5"));
    x[5] = 3e38f;
    assert_status(VQ_E_NONFINITE, vq_kmeans_balanced(&out, NULL, NULL, x, 6, 1, &opts));
    assert_null(out);

    float *rows = make_rows(500, 2, 4);
    for (uint32_t stop = 1; stop <= 2; stop++) {
        watcher w = {.stop_at = stop, .mse = INFINITY};
        opts = balanced_options(20);
        opts.tolerance = -1;
        opts.progress = watch;
        opts.progress_context = &w;
        assert_status(VQ_E_CANCELLED, vq_kmeans_balanced(&out, NULL, NULL, rows, 500, 2, &opts));
        assert_null(out);
        assert_int_equal(w.calls, stop);
    }
    free(rows);
}

static vq_status train_small(void *context)
{
    vq_codebook *codebook;
    vq_balanced_opts opts = balanced_options(6);
    opts.threads = 1;
    const vq_status status = vq_kmeans_balanced(&codebook, NULL, NULL, context, 40, 2, &opts);
    if (status && codebook)
        return VQ_E_ARG;
    vq_codebook_free(codebook);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    float *x = make_rows(40, 2, 1);
    test_allocation_failures(train_small, x);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_select),        cmocka_unit_test(test_division_is_the_best),
        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_finds_clumps),  cmocka_unit_test(test_same_on_any_machine),
        cmocka_unit_test(test_bad_arguments), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
