/* SPDX-License-Identifier: Apache-2.0 */
/* Crops and ColorAdapt: operations in the space of the embeddings. */
#include "test_support.h"

#include "augment_support.h"

static const uint32_t sizes[] = {40, 16, 16};

enum { D = 6 };

/* Embeddings of tokens, positions x d. */
static float *embed(const vq_tokens *t, const vq_quantizer *q)
{
    const size_t positions = vq_tokens_positions(t);
    uint32_t *codes = parts_alloc(positions * t->levels, sizeof *codes);
    float *x = parts_alloc(positions * D, sizeof *x);
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = t->levels;
    for (uint32_t l = 0; l < t->levels; l++)
        for (size_t i = 0; i < positions; i++)
            codes[i * t->levels + l] = t->codes[l * positions + i];
    assert_ok(vq_dequantize(x, q, codes, positions, &opts));
    free(codes);
    return x;
}

/* Quantize embeddings and compare with the tokens. */
static void assert_quantized(const vq_tokens *t, const vq_quantizer *q, const float *x)
{
    const size_t positions = vq_tokens_positions(t);
    uint32_t *codes = parts_alloc(positions * t->levels, sizeof *codes);
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = t->levels;
    assert_ok(vq_quantize(codes, q, x, positions, &opts));
    for (uint32_t l = 0; l < t->levels; l++)
        for (size_t i = 0; i < positions; i++)
            assert_int_equal(t->codes[l * positions + i], codes[i * t->levels + l]);
    free(codes);
}

static void no_change_is_none(void **state)
{
    (void)state;
    vq_quantizer *q = parts_stack(D, sizes, 1, VQ_DTYPE_F32, 1);
    vq_tokens *t = augment_tokens(q, 2, 9, 7, 3);
    uint32_t *before = augment_codes(t);
    const vq_token_crop whole = {0, 0, 9, 7};
    assert_ok(vq_tokens_crop(t, q, &whole, VQ_MULTISCALE_BICUBIC, NULL));
    assert_memory_equal(t->codes, before, augment_bytes(t));
    assert_ok(vq_tokens_crop(t, q, &whole, VQ_MULTISCALE_BILINEAR, NULL));
    assert_memory_equal(t->codes, before, augment_bytes(t));
    assert_ok(vq_tokens_color_adapt(t, t, q, NULL));
    assert_memory_equal(t->codes, before, augment_bytes(t));
    free(before);
    vq_tokens_free(t);
    vq_quantizer_free(q);
}

/* A crop of whole positions, bilinear, against interpolation written down again; the planes do not mix. */
static void crops_interpolate(void **state)
{
    (void)state;
    enum { ROWS = 8, COLUMNS = 6, CELLS = ROWS * COLUMNS };
    const vq_token_crop crop = {1.5, 2, 4, 3.25};
    for (uint32_t levels = 1; levels <= 3; levels += 2) {
        vq_quantizer *q = parts_stack(D, sizes, levels, VQ_DTYPE_F32, 1);
        vq_tokens *t = augment_tokens(q, 2, ROWS, COLUMNS, 3);
        float *x = embed(t, q), *expected = parts_alloc((size_t)2 * CELLS * D, sizeof *expected);
        for (int at = 0; at < 2 * CELLS; at++) {
            const double y = crop.row + (at % CELLS / COLUMNS + 0.5) * crop.rows / ROWS - 0.5,
                         z = crop.column + (at % COLUMNS + 0.5) * crop.columns / COLUMNS - 0.5;
            const int top = (int)y, left = (int)z, bottom = top + 1 < ROWS ? top + 1 : top,
                      right = left + 1 < COLUMNS ? left + 1 : left;
            const float v = (float)(y - top), u = (float)(z - left);
            const float *plane = x + at / CELLS * CELLS * D;
            for (int j = 0; j < D; j++) {
                float sum = 0;
                sum += (float)(1 - (y - top)) * (float)(1 - (z - left)) *
                       plane[(top * COLUMNS + left) * D + j];
                sum += (float)(1 - (y - top)) * u * plane[(top * COLUMNS + right) * D + j];
                sum += v * (float)(1 - (z - left)) * plane[(bottom * COLUMNS + left) * D + j];
                sum += v * u * plane[(bottom * COLUMNS + right) * D + j];
                expected[at * D + j] = sum;
            }
        }
        assert_ok(vq_tokens_crop(t, q, &crop, VQ_MULTISCALE_BILINEAR, NULL));
        assert_ok(vq_tokens_validate(t));
        assert_quantized(t, q, expected);
        free(x);
        free(expected);
        vq_tokens_free(t);
        vq_quantizer_free(q);
    }
}

/* One position enlarged to a whole grid is that position everywhere near the middle of it. */
static void a_crop_enlarges(void **state)
{
    (void)state;
    vq_quantizer *q = parts_stack(D, sizes, 1, VQ_DTYPE_F32, 1);
    vq_tokens *t = augment_tokens(q, 1, 4, 4, 3);
    const uint32_t code = t->codes[2 * 4 + 1];
    const vq_token_crop inner = {2.49, 1.49, 0.02, 0.02};
    assert_ok(vq_tokens_crop(t, q, &inner, VQ_MULTISCALE_BICUBIC, NULL));
    for (int i = 0; i < 16; i++)
        assert_int_equal(t->codes[i], code);
    vq_tokens_free(t);
    vq_quantizer_free(q);
}

static void drawn_crops_are_inside(void **state)
{
    (void)state;
    vq_quantizer *q = parts_stack(D, sizes, 1, VQ_DTYPE_F32, 1);
    static const size_t shapes[][2] = {{8, 8}, {1, 30}, {30, 1}, {5, 17}, {1, 1}};
    for (int shape = 0; shape < 5; shape++) {
        const double rows = (double)shapes[shape][0], columns = (double)shapes[shape][1];
        vq_tokens *t = augment_tokens(q, 1, shapes[shape][0], shapes[shape][1], 3);
        double mean = 0, tall = 0;
        for (uint64_t number = 0; number < 2000; number++) {
            vq_token_crop c, again;
            assert_ok(vq_tokens_draw_crop(&c, t, 0.08, 4.0 / 3, (vq_draw){7, number}));
            assert_ok(vq_tokens_draw_crop(&again, t, 0.08, 4.0 / 3, (vq_draw){7, number}));
            assert_memory_equal(&c, &again, sizeof c);
            assert_true(c.row >= 0 && c.column >= 0 && c.rows > 0 && c.columns > 0);
            assert_true(c.row + c.rows <= rows * (1 + 1e-12) &&
                        c.column + c.columns <= columns * (1 + 1e-12));
            mean += c.rows * c.columns / (rows * columns) / 2000;
            tall += c.rows / rows > c.columns / columns;
            if (number < 50)
                assert_ok(vq_tokens_crop(t, q, &c, VQ_MULTISCALE_BICUBIC, NULL));
        }
        assert_true(shape == 4 || (mean > 0.45 && mean < 0.56));
        assert_true(shape % 4 || shape == 4 || (tall > 850 && tall < 1150));
        vq_tokens_free(t);
    }
    vq_tokens *t = augment_tokens(q, 1, 4, 4, 3);
    vq_token_crop c;
    assert_status(VQ_E_ARG, vq_tokens_draw_crop(&c, t, 0, 2, (vq_draw){0, 0}));
    assert_status(VQ_E_ARG, vq_tokens_draw_crop(&c, t, NAN, 2, (vq_draw){0, 0}));
    assert_status(VQ_E_ARG, vq_tokens_draw_crop(&c, t, 0.5, 0.9, (vq_draw){0, 0}));
    vq_tokens_free(t);
    vq_quantizer_free(q);
}

/* ColorAdapt against its formula; and embeddings before requantization have the style's moments by construction. */
static void colours_are_adapted(void **state)
{
    (void)state;
    for (uint32_t levels = 1; levels <= 3; levels += 2) {
        vq_quantizer *q = parts_stack(D, sizes, levels, VQ_DTYPE_F32, 1);
        vq_tokens *t = augment_tokens(q, 2, 9, 7, 3), *style = augment_tokens(q, 2, 5, 12, 8);
        float *x = embed(t, q), *y = embed(style, q);
        for (int plane = 0; plane < 2; plane++)
            for (int j = 0; j < D; j++) {
                double mean[2] = {0, 0}, deviation[2] = {0, 0};
                for (int who = 0; who < 2; who++) {
                    const float *of = who ? y + plane * 60 * D : x + plane * 63 * D;
                    const int n = who ? 60 : 63;
                    for (int i = 0; i < n; i++)
                        mean[who] += (double)of[i * D + j];
                    mean[who] /= n;
                    for (int i = 0; i < n; i++)
                        deviation[who] += pow((double)of[i * D + j] - mean[who], 2);
                    deviation[who] = sqrt(deviation[who] / (n - 1));
                }
                for (int i = plane * 63; i < plane * 63 + 63; i++)
                    x[i * D + j] =
                        (float)(((double)x[i * D + j] - mean[0]) * (deviation[1] / deviation[0]) +
                                mean[1]);
            }
        assert_ok(vq_tokens_color_adapt(t, style, q, NULL));
        assert_ok(vq_tokens_validate(t));
        assert_quantized(t, q, x);
        free(x);
        free(y);
        vq_tokens_free(t);
        vq_tokens_free(style);
        vq_quantizer_free(q);
    }
}

/* A channel that does not vary, and one position alone, become the mean. */
static void flat_channels_become_the_mean(void **state)
{
    (void)state;
    const float codewords[] = {0, 1, 2, 3};
    const size_t grid[] = {4}, single[] = {1};
    const uint32_t k = 4;
    vq_codebook *codebook;
    vq_quantizer *q;
    vq_tokens *t, *style, *one;
    assert_ok(vq_codebook_create(&codebook, codewords, 4, 1, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_quantizer_from_codebook(&q, codebook));
    assert_ok(vq_tokens_create(&t, 1, grid, 1, &k));
    assert_ok(vq_tokens_create(&style, 1, grid, 1, &k));
    assert_ok(vq_tokens_create(&one, 1, single, 1, &k));
    style->codes[0] = style->codes[3] = 3;
    style->codes[1] = style->codes[2] = 1; /* mean 2 */
    assert_ok(vq_tokens_color_adapt(t, style, q, NULL));
    for (int i = 0; i < 4; i++)
        assert_int_equal(t->codes[i], 2);
    assert_ok(vq_tokens_color_adapt(one, style, q, NULL));
    assert_int_equal(one->codes[0], 2);
    one->codes[0] = 1;
    assert_ok(vq_tokens_color_adapt(style, one, q, NULL));
    assert_int_equal(style->codes[3], 1);
    vq_tokens_free(t);
    vq_tokens_free(style);
    vq_tokens_free(one);
    vq_quantizer_free(q);
}

/* The same on any threads and kernels, and with fewer levels than the quantizer has. */
static void threads_and_prefixes(void **state)
{
    (void)state;
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    vq_quantizer *q = parts_stack(D, sizes, 3, VQ_DTYPE_F32, 1);
    const vq_token_crop crop = {1, 0.3, 20.7, 19};
    uint32_t *first = NULL;
    for (int run = 0; run < 9; run++) {
        vq_tokens *t = augment_tokens(q, 2, 31, 33, 3), *style = augment_tokens(q, 2, 31, 33, 4);
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        opts.threads = 1 + 2 * (run % 3);
        opts.beam = 3;
        vq_cpu_set_mask(masks[run / 3]);
        assert_ok(vq_tokens_truncate(t, 2));
        assert_ok(vq_tokens_truncate(style, 2));
        assert_ok(vq_tokens_crop(t, q, &crop, VQ_MULTISCALE_BICUBIC, &opts));
        assert_ok(vq_tokens_color_adapt(t, style, q, &opts));
        vq_cpu_set_mask(UINT32_MAX);
        if (!first)
            first = augment_codes(t);
        assert_memory_equal(t->codes, first, augment_bytes(t));
        vq_tokens_free(t);
        vq_tokens_free(style);
    }
    free(first);
    vq_quantizer_free(q);
}

static void refusals(void **state)
{
    (void)state;
    vq_quantizer *q = parts_stack(D, sizes, 3, VQ_DTYPE_F32, 1),
                 *two = parts_stack(D, sizes, 2, VQ_DTYPE_F32, 1);
    vq_tokens *t = augment_tokens(q, 2, 9, 7, 3), *style = augment_tokens(q, 1, 9, 7, 3);
    uint32_t *before = augment_codes(t);
    const vq_token_crop good = {1, 1, 2, 2};
    static const vq_token_crop bad[] = {{-0.1, 0, 2, 2}, {0, 0, 0, 2},       {0, 0, 2, -1},
                                        {8, 0, 2, 2},    {0, 6.5, 1, 1},     {NAN, 0, 1, 1},
                                        {0, 0, NAN, 1},  {0, 0, INFINITY, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_status(VQ_E_ARG, vq_tokens_crop(t, q, &bad[i], VQ_MULTISCALE_BICUBIC, NULL));
    assert_status(VQ_E_ARG, vq_tokens_crop(t, q, &good, (vq_multiscale_up)7, NULL));
    assert_status(VQ_E_ARG, vq_tokens_crop(t, two, &good, VQ_MULTISCALE_BICUBIC, NULL));
    assert_status(VQ_E_ARG, vq_tokens_color_adapt(t, style, q, NULL)); /* planes */
    assert_ok(vq_tokens_truncate(style, 2));
    assert_status(VQ_E_ARG, vq_tokens_color_adapt(t, style, q, NULL)); /* levels */
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = 2;
    assert_status(VQ_E_ARG, vq_tokens_crop(t, q, &good, VQ_MULTISCALE_BICUBIC, &opts));
    opts.levels = 0;
    opts.threads = -1;
    assert_status(VQ_E_ARG, vq_tokens_crop(t, q, &good, VQ_MULTISCALE_BICUBIC, &opts));
    opts.struct_size = 1;
    assert_status(VQ_E_ARG, vq_tokens_crop(t, q, &good, VQ_MULTISCALE_BICUBIC, &opts));
    assert_memory_equal(t->codes, before, augment_bytes(t));
    t->codes[130] = 16;
    assert_status(VQ_E_RANGE, vq_tokens_crop(t, q, &good, VQ_MULTISCALE_BICUBIC, NULL));
    assert_status(VQ_E_RANGE, vq_tokens_color_adapt(t, t, q, NULL));
    t->k[1] = 17;
    assert_status(VQ_E_ARG, vq_tokens_crop(t, q, &good, VQ_MULTISCALE_BICUBIC, NULL));
    free(before);
    vq_tokens_free(t);
    vq_tokens_free(style);
    vq_quantizer_free(q);
    vq_quantizer_free(two);
}

static vq_status use_all(void *context)
{
    const vq_quantizer *q = context;
    const size_t grid[] = {5, 4};
    const uint32_t k[] = {40, 16, 16};
    const vq_token_crop crop = {1, 1, 2, 2};
    vq_tokens *t;
    vq_status status = vq_tokens_create(&t, 2, grid, 3, k);
    if (!status)
        status = vq_tokens_crop(t, q, &crop, VQ_MULTISCALE_BICUBIC, NULL);
    if (!status)
        status = vq_tokens_color_adapt(t, t, q, NULL);
    vq_tokens_free(t);
    return status;
}

static void no_memory(void **state)
{
    (void)state;
    vq_quantizer *q = parts_stack(D, sizes, 3, VQ_DTYPE_F32, 1);
    test_allocation_failures(use_all, q);
    vq_quantizer_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_change_is_none),
        cmocka_unit_test(crops_interpolate),
        cmocka_unit_test(a_crop_enlarges),
        cmocka_unit_test(drawn_crops_are_inside),
        cmocka_unit_test(colours_are_adapted),
        cmocka_unit_test(flat_channels_become_the_mean),
        cmocka_unit_test(threads_and_prefixes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
