/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers on unit Gaussian data: the MSE that an optimal quantizer of each size reaches (Max 1960
 * in one dimension; trained and measured elsewhere in more), and the rate-distortion bound that none beats.
 */
#include <math.h>

#include "rvq/residual.h"
#include "test_support.h"

/* The larger cases take minutes under a sanitizer, where the smaller ones exercise the same code. */
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

enum { ROWS = SANITIZED ? 20000 : 200000 };

static const double pi = 3.14159265358979323846;

/* Box and Muller. */
static float *gaussian(size_t count, uint64_t seed)
{
    float *x = malloc((count + 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < count; i += 2) {
        const double r = sqrt(-2 * log(1 - test_uniform(&seed))),
                     angle = 2 * pi * test_uniform(&seed);
        x[i] = (float)(r * cos(angle));
        x[i + 1] = (float)(r * sin(angle)); /* past the end by one if count is odd */
    }
    return x;
}

static vq_kmeans_opts options(uint32_t k)
{
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    opts.k = k;
    opts.max_iterations = k < 256 ? 100 : 25;
    opts.tolerance = 2e-5;
    return opts;
}

/* MSE per dimension, and the standard error of that mean. */
typedef struct measure {
    double mse, sigma;
} measure;

static measure measure_error(const vq_quantizer *q, const float *x, size_t n)
{
    const uint32_t d = vq_quantizer_dim(q), levels = vq_quantizer_levels(q);
    uint32_t *codes = malloc(n * levels * sizeof *codes);
    float *decoded = malloc(n * d * sizeof *decoded);
    assert_true(codes && decoded);
    assert_ok(vq_quantize(codes, q, x, n, NULL));
    assert_ok(vq_dequantize(decoded, q, codes, n, NULL));
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        double error = 0;
        for (uint32_t j = 0; j < d; j++) {
            const double t = (double)x[i * d + j] - (double)decoded[i * d + j];
            error += t * t / d;
        }
        sum += error;
        squares += error * error;
    }
    free(codes);
    free(decoded);
    const double rows = (double)n, mean = sum / rows;
    return (measure){mean, sqrt((squares / rows - mean * mean) / rows)};
}

/* Train one codebook of K codewords in d dimensions, measure it on fresh data, and return that. */
static measure train_flat(uint32_t k, uint32_t d)
{
    float *x = gaussian((size_t)ROWS * d, k * 100 + d), *fresh = gaussian((size_t)ROWS * d, 77);
    const vq_kmeans_opts opts = options(k);
    vq_codebook *codebook;
    vq_kmeans_report report;
    vq_quantizer *q;
    assert_ok(vq_kmeans_train(&codebook, &report, x, ROWS, d, &opts));
    assert_ok(vq_quantizer_from_codebook(&q, codebook));
    const measure held_out = measure_error(q, fresh, ROWS);
    const double bits = log2(k) / d, bound = exp2(-2 * bits);
    print_message("d=%u K=%-3u trained %.5f after %u iterations, fresh %.5f, bound %.5f, entropy "
                  "%.4f\n",
                  d, k, report.mse[report.iterations], report.iterations, held_out.mse, bound,
                  report.entropy_bits);
    assert_true(held_out.mse > bound);
    assert_true(report.entropy_bits <= log2(k) * (1 + 1e-12));
    assert_true(report.perplexity <= k * (1 + 1e-12));
    assert_int_equal(report.used, k);
    vq_kmeans_report_clear(&report);
    vq_quantizer_free(q);
    free(x);
    free(fresh);
    return held_out;
}

static void assert_within(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("the MSE is %.6f, not %.6f +- %.6f", value, expected, tolerance);
}

static void test_lloyd_max(void **state)
{
    (void)state;
    static const struct {
        uint32_t k;
        double mse;
    } known[] = {{2, .3633802}, {3, .1901740}, {4, .1174818}, {5, .0799411},
                 {6, .0579777}, {7, .0440004}, {8, .0345478}, {16, .0095010}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const measure m = train_flat(known[i].k, 1);
        assert_within(m.mse, known[i].mse, fmax(3 * m.sigma, 0.01 * known[i].mse));
    }
}

static void test_plane(void **state)
{
    (void)state;
    const measure four = train_flat(4, 2), sixteen = train_flat(16, 2);
    assert_within(four.mse, 0.3634, fmax(SANITIZED * 3 * four.sigma, 0.01 * 0.3634));
    assert_within(sixteen.mse, 0.1076, fmax(SANITIZED * 3 * sixteen.sigma, 0.015 * 0.1076));
}

static void test_more_dimensions(void **state)
{
    (void)state;
    if (SANITIZED) {
        /* 16 codewords instead of 256, by the same table: 0.3414 and 0.6012. */
        assert_within(train_flat(16, 4).mse, 0.3414, 0.02 * 0.3414);
        assert_within(train_flat(16, 8).mse, 0.6012, 0.02 * 0.6012);
        return;
    }
    assert_within(train_flat(256, 4).mse, 0.0978, 0.02 * 0.0978);
    assert_within(train_flat(256, 8).mse, 0.3231, 0.02 * 0.3231);
}

static measure train_residual(uint32_t k, uint32_t levels, uint32_t d)
{
    float *x = gaussian((size_t)ROWS * d, 5), *fresh = gaussian((size_t)ROWS * d, 6);
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = levels;
    opts.kmeans = options(k);
    vq_quantizer *q;
    assert_ok(vq_residual_train(&q, x, ROWS, d, &opts));
    const measure held_out = measure_error(q, fresh, ROWS);
    print_message("d=%u %ux%u residual: fresh %.5f\n", d, levels, k, held_out.mse);
    const double bits = levels * log2(k) / d;
    assert_true(held_out.mse > exp2(-2 * bits));
    vq_quantizer_free(q);
    free(x);
    free(fresh);
    return held_out;
}

static void test_residual(void **state)
{
    (void)state;
    if (SANITIZED) {
        assert_within(train_residual(16, 2, 4).mse, 0.1195, 0.03 * 0.1195);
        return;
    }
    assert_within(train_residual(16, 2, 4).mse, 0.1195, 0.02 * 0.1195);
    assert_within(train_residual(256, 2, 8).mse, 0.1065, 0.02 * 0.1065);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lloyd_max),
        cmocka_unit_test(test_plane),
        cmocka_unit_test(test_more_dimensions),
        cmocka_unit_test(test_residual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
