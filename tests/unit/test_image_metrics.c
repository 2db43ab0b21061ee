/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "codecs/image_metrics.h"
#include "test_support.h"

/* A pair of pictures by formula; the other one has noise of up to 20 grey levels. */
static vq_signal *make_picture(size_t height, size_t width, int noisy)
{
    vq_signal *image;
    const size_t shape[3] = {height, width, 3};
    assert_ok(vq_signal_create(&image, VQ_KIND_IMAGE, 3, shape));
    for (size_t i = 0; i < height; i++)
        for (size_t j = 0; j < width; j++)
            for (size_t c = 0; c < 3; c++) {
                int value = (int)((i * 7 + j * 3 + c * 50 + i * j / 16 % 64) % 256);
                if (noisy)
                    value += (int)((i + j + c) * 37 % 41) - 20;
                value = value < 0 ? 0 : value > 255 ? 255 : value;
                image->data[(i * width + j) * 3 + c] = (float)value / 255.0f;
            }
    return image;
}

/* The expected numbers are from an independent program in double (NumPy and SciPy's correlate1d, as in
   bench/image_peers.py) on the same formula. */
static void figures_equal_an_independent_program(void **state)
{
    (void)state;
    vq_signal *a = make_picture(176, 200, 0), *b = make_picture(176, 200, 1);
    vq_image_quality quality;
    assert_ok(vq_image_compare(&quality, a, b));
    assert_true(fabs(quality.psnr_db - 26.850411277) < 1e-6);
    assert_true(fabs(quality.ssim - 0.925320577) < 1e-5);
    assert_true(fabs(quality.ms_ssim - 0.977829941) < 1e-5);
    vq_signal_free(a);
    vq_signal_free(b);
}

static void equal_pictures_are_perfect(void **state)
{
    (void)state;
    vq_signal *a = make_picture(176, 176, 0);
    vq_image_quality quality;
    assert_ok(vq_image_compare(&quality, a, a));
    assert_true(quality.mse == 0 && isinf(quality.psnr_db));
    assert_true(fabs(quality.ssim - 1) < 1e-6 && fabs(quality.ms_ssim - 1) < 1e-6);
    vq_signal_free(a);
}

/* One sample of n that is wrong by one level of 255. */
static void psnr_counts_as_a_viewer_sees(void **state)
{
    (void)state;
    vq_signal *a = make_picture(10, 10, 0), *b = make_picture(10, 10, 0);
    vq_image_quality quality;
    b->data[7] += 0.4f / 255; /* not visible */
    assert_ok(vq_image_compare(&quality, a, b));
    assert_true(quality.mse == 0);
    b->data[7] += 0.6f / 255;
    assert_ok(vq_image_compare(&quality, a, b));
    assert_true(fabs(quality.psnr_db - 10 * log10(255.0 * 255 * 300)) < 1e-4);
    assert_true(isnan(quality.ssim) && isnan(quality.ms_ssim)); /* too small for the window */
    b->data[7] = INFINITY;
    assert_status(VQ_E_NONFINITE, vq_image_compare(&quality, a, b));
    vq_signal_free(b);
    b = make_picture(10, 11, 0);
    assert_status(VQ_E_ARG, vq_image_compare(&quality, a, b));
    vq_signal_free(a);
    vq_signal_free(b);
}

static void small_sides_have_what_fits(void **state)
{
    (void)state;
    static const struct {
        size_t side;
        int ssim, ms_ssim;
    } cases[] = {{1, 0, 0}, {10, 0, 0}, {11, 1, 0}, {175, 1, 0}, {176, 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vq_signal *a = make_picture(cases[i].side, 300, 0),
                  *b = make_picture(cases[i].side, 300, 1);
        vq_image_quality quality;
        assert_ok(vq_image_compare(&quality, a, b));
        assert_int_equal(!isnan(quality.ssim), cases[i].ssim);
        assert_int_equal(!isnan(quality.ms_ssim), cases[i].ms_ssim);
        vq_signal_free(a);
        vq_signal_free(b);
    }
}

static vq_status compare(void *context)
{
    vq_signal **pair = context;
    vq_image_quality quality;
    return vq_image_compare(&quality, pair[0], pair[1]);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    vq_signal *pair[2] = {make_picture(20, 20, 0), make_picture(20, 20, 1)};
    test_allocation_failures(compare, pair);
    vq_signal_free(pair[0]);
    vq_signal_free(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_equal_an_independent_program),
        cmocka_unit_test(equal_pictures_are_perfect),
        cmocka_unit_test(psnr_counts_as_a_viewer_sees),
        cmocka_unit_test(small_sides_have_what_fits),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
