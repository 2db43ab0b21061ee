/* SPDX-License-Identifier: Apache-2.0 */
/* The audio codec's transform against its definition, and the functions that it is made of. */
#include <math.h>

#include "codecs/elementary_internal.h"
#include "codecs/mdct_internal.h"
#include "test_support.h"

static const double pi = 3.14159265358979323846;

static void elementary_functions_equal_libm(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 100000; i++) {
        const double x = exp2(2000 * test_uniform(&seed) - 1000), y = 80 * test_uniform(&seed) - 40;
        const double p = 3 * test_uniform(&seed), a = 1e-9 + test_uniform(&seed);
        assert_true(fabs(vqi_log2(x) - log2(x)) < 1e-12 * (1 + fabs(log2(x))));
        assert_true(fabs(vqi_exp2(y) / exp2(y) - 1) < 1e-12);
        assert_true(fabs(vqi_power(a, p) / pow(a, p) - 1) < 1e-10);
        assert_true(fabs(vqi_sin_pi(a / 2) - sin(pi * a / 2)) < 1e-12);
    }
    assert_true(vqi_log2(1) == 0 && vqi_exp2(0) == 1 && vqi_power(0, 0.5) == 0);
    assert_true(vqi_exp2(1e300) == exp2(1000) && vqi_exp2(-1e300) == exp2(-1000));
    assert_true(vqi_exp2(NAN) == exp2(-1000) && vqi_power(INFINITY, 1) > 1e300);
    assert_true(vqi_sin_pi(0) == 0 && fabs(vqi_sin_pi(0.5) - 1) < 1e-15);
}

static void fourier_equals_its_definition(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1, 2, 3, 8, 17, 160, 331};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const uint32_t n = sizes[s];
        vqi_fourier *plan;
        assert_ok(vqi_fourier_create(&plan, n));
        /* At odd addresses too, with the same bits. */
        float *in = malloc((2 * n + 1) * sizeof *in), *out = malloc((2 * n + 1) * sizeof *out);
        float *kept = malloc(2 * n * sizeof *kept), *first = malloc(2 * n * sizeof *first);
        uint64_t seed = n;
        for (uint32_t i = 0; i < 2 * n; i++)
            kept[i] = (float)(test_uniform(&seed) - 0.5);
        memcpy(in, kept, 2 * n * sizeof *in);
        vqi_fourier_run(plan, first, in);
        memcpy(in + 1, kept, 2 * n * sizeof *in);
        vqi_fourier_run(plan, out + 1, in + 1);
        assert_memory_equal(out + 1, first, 2 * n * sizeof *out);
        for (uint32_t k = 0; k < n; k++) {
            double re = 0, im = 0;
            for (uint32_t j = 0; j < n; j++) {
                const double angle = -2 * pi * (double)((uint64_t)j * k % n) / n;
                re += kept[2 * j] * cos(angle) - kept[2 * j + 1] * sin(angle);
                im += kept[2 * j] * sin(angle) + kept[2 * j + 1] * cos(angle);
            }
            assert_true(fabs(re - first[2 * k]) < 1e-5 && fabs(im - first[2 * k + 1]) < 1e-5);
        }
        free(in);
        free(out);
        free(kept);
        free(first);
        vqi_fourier_free(plan);
    }
    vqi_fourier *none = NULL;
    assert_status(VQ_E_ARG, vqi_fourier_create(&none, 0));
    assert_status(VQ_E_ARG, vqi_fourier_create(&none, (1 << 20) + 1));
    assert_null(none);
}

static float *sine_window(uint32_t n)
{
    float *window = malloc(2 * n * sizeof *window);
    for (uint32_t j = 0; j < 2 * n; j++)
        window[j] = (float)sin(pi * (j + 0.5) / (2 * n));
    return window;
}

static void mdct_equals_its_definition(void **state)
{
    (void)state;
    const uint32_t sizes[] = {4, 12, 64, 320};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const uint32_t n = sizes[s];
        float *window = sine_window(n), *x = malloc(2 * n * sizeof *x), *c = malloc(n * sizeof *c);
        float *scratch = malloc(vqi_mdct_scratch(n) * sizeof *scratch);
        vqi_mdct mdct;
        assert_ok(vqi_mdct_create(&mdct, n, window));
        uint64_t seed = n;
        for (uint32_t j = 0; j < 2 * n; j++)
            x[j] = (float)(test_uniform(&seed) - 0.5);
        vqi_mdct_forward(c, &mdct, x, scratch);
        for (uint32_t k = 0; k < n; k++) {
            double sum = 0;
            for (uint32_t j = 0; j < 2 * n; j++)
                sum += (double)window[j] * x[j] * cos(pi / n * (j + 0.5 + n / 2.0) * (k + 0.5));
            assert_float_equal(c[k], sqrt(2.0 / n) * sum, 2e-6);
        }
        free(window);
        free(x);
        free(c);
        free(scratch);
        vqi_mdct_clear(&mdct);
    }
}

static void windows_add_up_to_the_signal(void **state)
{
    (void)state;
    enum { N = 320, BLOCKS = 9 };
    float *window = sine_window(N), *scratch = malloc(vqi_mdct_scratch(N) * sizeof *scratch);
    float *x = malloc(N * BLOCKS * sizeof *x), *y = calloc(N * BLOCKS, sizeof *y), c[N];
    vqi_mdct mdct;
    assert_ok(vqi_mdct_create(&mdct, N, window));
    uint64_t seed = 7;
    double energy = 0, inner = 0;
    for (size_t i = 0; i < (size_t)N * BLOCKS; i++)
        x[i] = (float)(test_uniform(&seed) - 0.5);
    for (size_t b = 0; b + 1 < BLOCKS; b++) {
        vqi_mdct_forward(c, &mdct, x + b * N, scratch);
        vqi_mdct_inverse_add(y + b * N, &mdct, c, scratch);
    }
    for (size_t i = N; i < (size_t)N * (BLOCKS - 1); i++) {
        assert_float_equal(x[i], y[i], 1e-6);
        energy += x[i] * x[i];
        inner += x[i] * y[i];
    }
    assert_true(fabs(inner / energy - 1) < 1e-6);
    free(window);
    free(scratch);
    free(x);
    free(y);
    vqi_mdct_clear(&mdct);
}

static void wrong_sizes_are_refused(void **state)
{
    (void)state;
    const uint32_t sizes[] = {0, 2, 6, 321, VQI_MDCT_MAX + 4};
    const float window[1] = {0};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        vqi_mdct mdct;
        assert_status(VQ_E_ARG, vqi_mdct_create(&mdct, sizes[s], window));
        vqi_mdct_clear(&mdct);
    }
}

static vq_status create_mdct(void *window)
{
    vqi_mdct mdct;
    const vq_status status = vqi_mdct_create(&mdct, 64, window);
    vqi_mdct_clear(&mdct);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    float *window = sine_window(64);
    test_allocation_failures(create_mdct, window);
    free(window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementary_functions_equal_libm),
        cmocka_unit_test(fourier_equals_its_definition),
        cmocka_unit_test(mdct_equals_its_definition),
        cmocka_unit_test(windows_add_up_to_the_signal),
        cmocka_unit_test(wrong_sizes_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
