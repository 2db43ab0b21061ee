/* SPDX-License-Identifier: Apache-2.0 */
/* FSQ, LFQ and BSQ: that codes are the published ones, nearest, and one for each vector. */
#include "io/digest.h"
#include "scalar_support.h"
#include "vq/scalar_internal.h"

static const vq_fsq_bound bounds[] = {VQ_FSQ_TANH, VQ_FSQ_SYMMETRIC, VQ_FSQ_CLAMP};
enum { BOUNDS = 3 };

/* The same numbers on every machine: who changes one changes tokens. */
static void thresholds_are_pinned_to_the_bit(void **state)
{
    (void)state;
    static const uint32_t expected[BOUNDS] = {0x726f1f7b, 0x9d732962, 0x387d91b0};
    float threshold[VQ_FSQ_MAX_BINS];
    for (int b = 0; b < BOUNDS; b++) {
        uint32_t crc = 0;
        for (uint32_t bins = b ? 2 : 3; bins <= VQ_FSQ_MAX_BINS; bins++) {
            vqi_fsq_thresholds(threshold, bins, bounds[b]);
            crc = vq_crc32c(crc, threshold, (bins - 1) * sizeof *threshold);
            for (uint32_t i = 1; i + 1 < bins; i++)
                assert_true(threshold[i - 1] < threshold[i]);
        }
        if (crc != expected[b])
            fail_msg("bound %s: 0x%08x", vq_fsq_bound_name(bounds[b]), crc);
    }
}

/* At each threshold the published formula changes its mind, as far as tanh() in double can tell. */
static void bins_change_where_the_formula_does(void **state)
{
    (void)state;
    float threshold[VQ_FSQ_MAX_BINS];
    double margin;
    for (int b = 0; b < BOUNDS; b++)
        for (uint32_t bins = b ? 2 : 3; bins <= VQ_FSQ_MAX_BINS; bins += bins < 40 ? 1 : 97) {
            vqi_fsq_thresholds(threshold, bins, bounds[b]);
            for (uint32_t i = 0; i + 1 < bins; i++) {
                const double t = threshold[i], step = fabs(t) * 0x1p-22 + 1e-13;
                assert_int_equal(published_bin(&margin, t + step, bins, bounds[b]), i + 1);
                assert_int_equal(published_bin(&margin, t - step, bins, bounds[b]), i);
            }
        }
}

static const uint32_t shapes[][8] = {
    {8, 5, 5, 5}, {8, 6, 5}, {7, 5, 5, 5, 5}, {16, 16, 16, 16}, {3, 4}, {1000, 65}, {255},
};
static const uint32_t shape_dims[] = {4, 3, 5, 4, 2, 2, 1};
enum { SHAPES = sizeof shape_dims / sizeof *shape_dims };

/* Every code of these shapes, K to 2^16: it decodes to a vector of its own, and what lies in the cell of that vector
 * has that code and no other. */
static void every_fsq_code_is_one_vector(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++)
        for (int b = 0; b < BOUNDS; b++) {
            const uint32_t *bins = shapes[s], d = shape_dims[s];
            vq_quantizer *q = make_fsq(bins, d, bounds[b], 0);
            const uint32_t k = vq_quantizer_k(q, 0);
            uint32_t *codes = malloc(k * sizeof *codes), *again = malloc(k * sizeof *again);
            float *x = malloc(sizeof *x * k * d), *z = malloc(sizeof *z * k * d);
            for (uint32_t c = 0; c < k; c++)
                codes[c] = c;
            assert_ok(vq_dequantize(x, q, codes, k, NULL));
            for (uint32_t c = 0; c < k; c++) {
                uint32_t index = 0;
                for (uint32_t j = d; j-- > 0;) { /* published: mixed radix, the first is lowest */
                    const double value = x[(size_t)c * d + j];
                    const double bin = bounds[b] == VQ_FSQ_TANH
                                           ? value * (bins[j] / 2) + bins[j] / 2
                                           : (value + 1) * (bins[j] - 1) / 2;
                    assert_true(fabs(bin - round(bin)) < 1e-4);
                    index = index * bins[j] + (uint32_t)round(bin);
                    z[(size_t)c * d + j] = inside_bin((uint32_t)round(bin), bins[j], bounds[b]);
                }
                assert_int_equal(index, c);
            }
            assert_ok(vq_quantize(again, q, z, k, NULL));
            assert_memory_equal(codes, again, k * sizeof *codes);
            if (bounds[b] == VQ_FSQ_CLAMP) {
                assert_ok(vq_quantize(again, q, x, k, NULL));
                assert_memory_equal(codes, again, k * sizeof *codes);
            }
            free(codes);
            free(again);
            free(x);
            free(z);
            vq_quantizer_free(q);
        }
}

static void every_lfq_code_is_one_vector(void **state)
{
    (void)state;
    enum { BITS = 16, K = 1 << BITS };
    for (int spherical = 0; spherical < 2; spherical++) {
        vq_quantizer *q = make_lfq(BITS, spherical, 0);
        uint32_t *codes = malloc(K * sizeof *codes), *again = malloc(K * sizeof *again);
        float *x = malloc(sizeof *x * K * BITS);
        assert_int_equal(vq_quantizer_k(q, 0), K);
        for (uint32_t c = 0; c < K; c++)
            codes[c] = c;
        assert_ok(vq_dequantize(x, q, codes, K, NULL));
        for (uint32_t c = 0; c < K; c++)
            for (int j = 0; j < BITS; j++)
                assert_true(x[c * BITS + (uint32_t)j] ==
                            (c >> (BITS - 1 - j) & 1 ? 1 : -1) * (spherical ? 0.25f : 1.0f));
        assert_ok(vq_quantize(again, q, x, K, NULL));
        assert_memory_equal(codes, again, K * sizeof *codes);
        free(codes);
        free(again);
        free(x);
        vq_quantizer_free(q);
    }
}

/* Of 2^40 codes, a sample: index -> codes -> vector -> codes -> index. */
static void a_sample_of_2_to_the_40_is_a_bijection(void **state)
{
    (void)state;
    static const uint32_t bins[14] = {8, 8, 8, 8, 8, 4, 8, 8, 8, 8, 8, 8, 8, 4}; /* 2^20 per half */
    static const uint32_t halves[2] = {7, 7};
    enum { N = 1 << 14 };
    uint64_t seed = 40;
    uint64_t *index = malloc(sizeof *index * N), *again = malloc(sizeof *again * N);
    uint32_t *codes = malloc(sizeof *codes * N * 2);
    float *x = malloc(sizeof *x * N * 40);
    for (int i = 0; i < N; i++)
        index[i] = test_random(&seed) >> 24;
    index[0] = 0;
    index[1] = ((uint64_t)1 << 40) - 1;
    for (int kind = 0; kind < 3; kind++) {
        vq_fsq_opts opts = VQ_FSQ_OPTS_INIT;
        vq_quantizer *q;
        opts.bound = VQ_FSQ_CLAMP;
        opts.levels = 2;
        opts.dims = halves;
        if (kind == 0)
            assert_ok(vq_fsq_create(&q, bins, 14, &opts));
        else
            q = make_lfq(40, kind == 2, 2);
        assert_ok(vq_scalar_codes(codes, q, index, N));
        assert_ok(vq_dequantize(x, q, codes, N, NULL));
        memset(codes, 255, sizeof *codes * N * 2);
        assert_ok(vq_quantize(codes, q, x, N, NULL));
        assert_ok(vq_scalar_index(again, q, codes, N));
        assert_memory_equal(index, again, sizeof *index * N);
        index[5] = (uint64_t)1 << 40;
        assert_status(VQ_E_RANGE, vq_scalar_codes(codes, q, index, N));
        assert_non_null(strstr(vq_last_error(), "row 5"));
        index[5] = 5;
        codes[7] = 1 << 20;
        assert_status(VQ_E_RANGE, vq_scalar_index(again, q, codes, N));
        assert_non_null(strstr(vq_last_error(), "row 3, level 1"));
        vq_quantizer_free(q);
    }
    free(index);
    free(again);
    free(codes);
    free(x);
}

/* Several levels make the index that one level would give. */
static void levels_divide_the_same_index(void **state)
{
    (void)state;
    static const uint32_t bins[] = {8, 6, 5, 7, 5}, dims[] = {2, 3};
    enum { N = 1000, D = 5 };
    float x[N * D];
    uint32_t whole[N], divided[N * 2];
    uint64_t index[N], seed = 3;
    for (int i = 0; i < N * D; i++)
        x[i] = (float)(4 * test_uniform(&seed) - 2);
    for (int kind = 0; kind < 3; kind++) {
        vq_quantizer *one, *two;
        if (kind == 0) {
            vq_fsq_opts opts = VQ_FSQ_OPTS_INIT;
            opts.levels = 2;
            opts.dims = dims;
            one = make_fsq(bins, D, VQ_FSQ_TANH, 1);
            assert_ok(vq_fsq_create(&two, bins, D, &opts));
        } else {
            vq_lfq_opts opts = VQ_LFQ_OPTS_INIT;
            opts.levels = 2;
            opts.dims = dims;
            opts.spherical = kind == 2;
            one = make_lfq(D, kind == 2, 1);
            assert_ok(vq_lfq_create(&two, D, &opts));
        }
        assert_ok(vq_quantize(whole, one, x, N, NULL));
        assert_ok(vq_quantize(divided, two, x, N, NULL));
        assert_ok(vq_scalar_index(index, two, divided, N));
        for (int i = 0; i < N; i++)
            assert_true(index[i] == whole[i]);
        vq_quantizer_free(one);
        vq_quantizer_free(two);
    }
}

/* After the bounding function: the nearest of all K vectors, which are made only here. */
static void fsq_finds_the_nearest_of_the_implied_codebook(void **state)
{
    (void)state;
    static const uint32_t nearest_shapes[][5] = {
        {8, 8, 8, 8}, {8, 6, 5}, {5, 5, 5, 5, 5}, {16, 16}};
    static const uint32_t dims[] = {4, 3, 5, 2};
    enum { N = 300, MOST = 5 };
    uint64_t seed = 17;
    for (int s = 0; s < 4; s++)
        for (int b = 0; b < BOUNDS; b++) {
            const uint32_t d = dims[s], *bins = nearest_shapes[s];
            vq_quantizer *q = make_fsq(bins, d, bounds[b], 0);
            const uint32_t k = vq_quantizer_k(q, 0);
            assert_true(k <= 4096);
            uint32_t *all = malloc(k * sizeof *all), codes[N];
            float *codebook = malloc(sizeof *codebook * k * d), x[N * MOST];
            int close = 0;
            for (uint32_t c = 0; c < k; c++)
                all[c] = c;
            assert_ok(vq_dequantize(codebook, q, all, k, NULL));
            for (uint32_t i = 0; i < N * d; i++)
                x[i] = (float)(5 * test_uniform(&seed) - 2.5);
            assert_ok(vq_quantize(codes, q, x, N, NULL));
            for (uint32_t i = 0; i < N; i++) {
                double bounded[MOST], best = INFINITY, second = INFINITY;
                uint32_t nearest = 0;
                for (uint32_t j = 0; j < d; j++)
                    bounded[j] = published_bound(x[i * d + j], bins[j], bounds[b]);
                for (uint32_t c = 0; c < k; c++) {
                    double distance = 0;
                    for (uint32_t j = 0; j < d; j++)
                        distance += pow(bounded[j] - codebook[(size_t)c * d + j], 2);
                    if (distance < best) {
                        second = best;
                        best = distance;
                        nearest = c;
                    } else if (distance < second) {
                        second = distance;
                    }
                }
                if (second - best < 1e-6) /* tanh() cannot tell */
                    close++;
                else
                    assert_int_equal(codes[i], nearest);
            }
            assert_true(close < 5);
            free(all);
            free(codebook);
            vq_quantizer_free(q);
        }
}

static void lfq_and_bsq_find_the_nearest_of_the_implied_codebook(void **state)
{
    (void)state;
    enum { BITS = 12, K = 1 << BITS, N = 500 };
    static float codewords[K * BITS], x[N * BITS];
    static uint32_t all[K], codes[N], nearest[N];
    uint64_t seed = 12;
    for (uint32_t c = 0; c < K; c++)
        all[c] = c;
    for (int i = 0; i < N * BITS; i++)
        x[i] = (float)(2 * test_uniform(&seed) - 1);
    x[5] = 0; /* half-way: the lower code, as everywhere */
    x[17] = -0.0f;
    for (int spherical = 0; spherical < 2; spherical++) {
        vq_quantizer *q = make_lfq(BITS, spherical, 0);
        vq_codebook *codebook;
        assert_ok(vq_dequantize(codewords, q, all, K, NULL));
        assert_ok(vq_quantize(codes, q, x, N, NULL));
        for (int m = VQ_METRIC_EUCLIDEAN; m <= VQ_METRIC_DOT; m++) {
            assert_ok(
                vq_codebook_create(&codebook, codewords, K, BITS, (vq_metric)m, VQ_DTYPE_F32));
            assert_ok(vq_nearest(nearest, NULL, codebook, x, N, NULL));
            for (int i = 0; i < N; i++)
                if (codes[i] != nearest[i]) { /* only where float32 sums cannot tell */
                    const uint32_t differ = codes[i] ^ nearest[i];
                    for (int j = 0; j < BITS; j++)
                        if (differ >> (BITS - 1 - j) & 1)
                            assert_true(fabsf(x[i * BITS + j]) < 1e-5f);
                }
            assert_int_equal(codes[0], nearest[0]);
            assert_int_equal(codes[1], nearest[1]);
            vq_codebook_free(codebook);
        }
        vq_quantizer_free(q);
    }
}

/* Sums of squares by hand: the gradient of the bounding function is its slope, that of rounding is passed on. */
static void gradients_are_finite_differences(void **state)
{
    (void)state;
    static const uint32_t bins[] = {8, 5, 3, 16};
    static const float x[] = {0.3f, -0.7f, 1.2f, -0.1f}, g[] = {1, -2, 0.5f, 3};
    float gradient[4];
    for (int b = 0; b < BOUNDS; b++) {
        vq_quantizer *q = make_fsq(bins, 4, bounds[b], 0);
        assert_ok(vq_scalar_gradient(gradient, q, x, g, 1));
        for (int j = 0; j < 4; j++) {
            const double h = 1e-5, slope = (published_bound(x[j] + h, bins[j], bounds[b]) -
                                            published_bound(x[j] - h, bins[j], bounds[b])) /
                                           (2 * h);
            assert_true(fabs(gradient[j] - g[j] * slope) < 1e-5);
        }
        vq_quantizer_free(q);
    }
    for (int spherical = 0; spherical < 2; spherical++) {
        vq_quantizer *q = make_lfq(4, spherical, 2);
        memcpy(gradient, g, sizeof g);
        assert_ok(vq_scalar_gradient(gradient, q, x, gradient, 1)); /* in place */
        for (int j = 0; j < 4; j++) {
            double loss[2];
            for (int side = 0; side < 2; side++) {
                double moved[4], square[2] = {0, 0};
                loss[side] = 0;
                for (int i = 0; i < 4; i++) {
                    moved[i] = x[i] + (i == j ? (side ? 1e-5 : -1e-5) : 0);
                    square[i / 2] += moved[i] * moved[i];
                }
                for (int i = 0; i < 4; i++)
                    loss[side] += g[i] * moved[i] / (spherical ? sqrt(square[i / 2]) : 1);
            }
            assert_true(fabs(gradient[j] - (loss[1] - loss[0]) / 2e-5) < 1e-5);
        }
        const float zeros[4] = {0}, broken[4] = {0, NAN, 0, 0};
        assert_ok(vq_scalar_gradient(gradient, q, zeros, g, 1));
        assert_true(isfinite(gradient[0]));
        assert_status(VQ_E_NONFINITE, vq_scalar_gradient(gradient, q, broken, g, 1));
        vq_quantizer_free(q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_are_pinned_to_the_bit),
        cmocka_unit_test(bins_change_where_the_formula_does),
        cmocka_unit_test(every_fsq_code_is_one_vector),
        cmocka_unit_test(every_lfq_code_is_one_vector),
        cmocka_unit_test(a_sample_of_2_to_the_40_is_a_bijection),
        cmocka_unit_test(levels_divide_the_same_index),
        cmocka_unit_test(fsq_finds_the_nearest_of_the_implied_codebook),
        cmocka_unit_test(lfq_and_bsq_find_the_nearest_of_the_implied_codebook),
        cmocka_unit_test(gradients_are_finite_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
