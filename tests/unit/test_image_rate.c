/* SPDX-License-Identifier: Apache-2.0 */
/* The image codec when it minds the bits: training for it, rate-aware choice, entropy coding. */
#include <math.h>

#include "codecs/codec.h"
#include "codecs/image_internal.h"
#include "codecs/image_metrics.h"
#include "codecs/train.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "io/tokens_file.h"
#include "test_support.h"

/* Half of it plain, half of it busy. */
static vq_signal *make_picture(size_t height, size_t width, uint64_t seed)
{
    const size_t shape[3] = {height, width, 3};
    vq_signal *picture;
    assert_ok(vq_signal_create(&picture, VQ_KIND_IMAGE, 3, shape));
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++) {
                double value = 0.3 + 0.3 * (double)x / (double)width + 0.1 * (double)c;
                if (y > height / 2)
                    value += 0.3 * (test_uniform(&seed) - 0.5) + 0.1 * ((x / 5 + y / 3) % 2);
                picture->data[(y * width + x) * 3 + c] = (float)value;
            }
    return picture;
}

static vq_status next_picture(void *context, size_t index, vq_signal **out)
{
    (void)context;
    *out = make_picture(96 + 16 * (index % 3), 128, index);
    return VQ_OK;
}

static const vq_signal_source pictures = {6, next_picture, NULL};

static vq_codec_train_opts small(int threads)
{
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    opts.levels = 4;
    opts.k = 16;
    opts.dim = 20;
    opts.max_iterations = 4;
    opts.threads = threads;
    return opts;
}

static vq_tensors *train(int threads)
{
    const vq_codec_train_opts opts = small(threads);
    vq_tensors *tensors;
    assert_ok(vq_codec_train(&tensors, "image", &pictures, &opts));
    return tensors;
}

static vq_codec *open_codec(const vq_tensors *tensors)
{
    vq_bytes bytes;
    vq_codec *codec;
    assert_ok(vq_safetensors_serialize(&bytes, tensors));
    assert_ok(vq_codec_open_memory(&codec, bytes.data, bytes.size, "small", NULL));
    vq_bytes_clear(&bytes);
    return codec;
}

static vq_bytes encode(const vq_codec *codec, const vq_signal *picture, float lambda, uint32_t beam,
                       int threads)
{
    vq_codec_info info;
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    vq_tokens *tokens, *copy;
    vq_bytes bytes;
    opts.lambda = lambda;
    opts.beam = beam;
    opts.threads = threads;
    vq_codec_get_info(&info, codec);
    assert_ok(vq_codec_encode(&tokens, codec, picture, &opts));
    if (lambda > 0)
        assert_int_equal(tokens->levels, info.levels);
    assert_ok(vq_tokens_serialize_with(&bytes, tokens, VQ_PACKING_ENTROPY, info.tables));
    assert_ok(vq_tokens_parse_with(&copy, NULL, bytes.data, bytes.size, "t", info.tables, NULL));
    assert_memory_equal(copy->codes, tokens->codes,
                        tokens->levels * vq_tokens_positions(tokens) * sizeof *copy->codes);
    vq_tokens_free(copy);
    vq_tokens_free(tokens);
    return bytes;
}

static void training_does_not_depend_on_threads(void **state)
{
    (void)state;
    vq_tensors *one = train(1);
    vq_bytes expected, found;
    assert_ok(vq_safetensors_serialize(&expected, one));
    for (int threads = 2; threads <= 7; threads += 5) {
        vq_tensors *tensors = train(threads);
        assert_ok(vq_safetensors_serialize(&found, tensors));
        assert_int_equal(found.size, expected.size);
        assert_memory_equal(found.data, expected.data, found.size);
        vq_bytes_clear(&found);
        vq_tensors_free(tensors);
    }
    vq_bytes_clear(&expected);
    vq_tensors_free(one);
}

static void files_do_not_depend_on_threads_or_kernels(void **state)
{
    (void)state;
    vq_tensors *tensors = train(0);
    vq_codec *codec = open_codec(tensors);
    vq_signal *picture = make_picture(200, 170, 9);
    const int threads[] = {1, 2, 7};
    const uint32_t masks[] = {0, VQ_CPU_AVX2, UINT32_MAX};
    for (uint32_t beam = 1; beam <= 4; beam += 3) {
        vq_bytes expected = encode(codec, picture, 0.02f, beam, 1);
        for (size_t t = 0; t < 3; t++)
            for (size_t m = 0; m < 3; m++) {
                vq_cpu_set_mask(masks[m]);
                vq_bytes found = encode(codec, picture, 0.02f, beam, threads[t]);
                assert_int_equal(found.size, expected.size);
                assert_memory_equal(found.data, expected.data, found.size);
                vq_bytes_clear(&found);
            }
        vq_bytes_clear(&expected);
    }
    vq_cpu_set_mask(UINT32_MAX);
    vq_signal_free(picture);
    vq_codec_free(codec);
    vq_tensors_free(tensors);
}

static void larger_lambda_is_a_smaller_file(void **state)
{
    (void)state;
    vq_tensors *tensors = train(0);
    vq_codec *codec = open_codec(tensors);
    vq_signal *picture = make_picture(320, 256, 11);
    uint64_t last = UINT64_MAX;
    for (float lambda = 0.01f; lambda < 0.5f; lambda *= 4) {
        vq_bytes bytes = encode(codec, picture, lambda, 2, 0);
        vq_tokens head;
        vq_tokens_info info;
        assert_ok(vq_tokens_parse_head(&head, &info, bytes.data, bytes.size, "t", NULL));
        assert_true(info.payload_bytes < last); /* the file's own size has steps of 64 */
        last = info.payload_bytes;
        vq_bytes_clear(&bytes);
    }
    vq_signal_free(picture);
    vq_codec_free(codec);
    vq_tensors_free(tensors);
}

/* Refining lowers error + lambda x bits. */
static void refining_gains(void **state)
{
    (void)state;
    enum { N = 3000, D = 6, L = 3, K = 8 };
    const float lambda = 0.05f;
    float *x = malloc(N * D * sizeof *x), *copy = malloc(N * D * sizeof *x);
    uint32_t *codes = malloc(N * L * sizeof *codes);
    uint64_t seed = 5;
    for (int i = 0; i < N; i++) {
        const double size = test_uniform(&seed);
        for (int j = 0; j < D; j++)
            x[i * D + j] = (float)((test_uniform(&seed) - 0.5) * 4 * size * size);
    }
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = L;
    opts.kmeans.k = K;
    vq_quantizer *q;
    assert_ok(vq_residual_train(&q, x, N, D, &opts));
    double cost[2];
    for (int after = 0; after < 2; after++) {
        const vqi_refine_opts refine = {.rounds = after ? 5 : 0, .beam = 2, .lambda = lambda};
        assert_ok(vqi_image_refine(&q, x, N, &refine));
        vq_quantize_opts quantize = VQ_QUANTIZE_OPTS_INIT;
        quantize.beam = 2;
        quantize.lambda = lambda;
        assert_ok(vq_quantize(codes, q, x, N, &quantize));
        assert_ok(vq_dequantize(copy, q, codes, N, NULL));
        cost[after] = 0;
        for (int i = 0; i < N * D; i++)
            cost[after] += ((double)x[i] - copy[i]) * ((double)x[i] - copy[i]);
        for (uint32_t l = 0; l < L; l++) {
            const uint64_t *counts = vq_quantizer_frequencies(q, l);
            double sum = 0;
            for (uint32_t k = 0; k < K; k++)
                sum += (double)counts[k];
            for (int i = 0; i < N; i++)
                cost[after] -= lambda * log2(((double)counts[codes[i * L + l]] + 1) / (sum + K));
        }
    }
    assert_true(cost[1] < 0.97 * cost[0]);
    vq_quantizer_free(q);
    free(x);
    free(copy);
    free(codes);
}

static int stop_at_once(void *context, uint32_t round, size_t done, size_t count)
{
    (void)context;
    (void)done;
    (void)count;
    return round == 1;
}

static void refining_can_be_stopped(void **state)
{
    (void)state;
    const float x[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = 2;
    opts.kmeans.k = 2;
    vq_quantizer *q;
    assert_ok(vq_residual_train(&q, x, 8, 1, &opts));
    const vqi_refine_opts refine = {.rounds = 2, .beam = 2, .progress = stop_at_once};
    assert_status(VQ_E_CANCELLED, vqi_image_refine(&q, x, 8, &refine));
    assert_int_equal(vq_quantizer_levels(q), 2);
    vq_quantizer_free(q);
}

/* Tables for another number of levels or codes than the quantizer's. */
static void tables_must_fit_the_quantizer(void **state)
{
    (void)state;
    vq_tensors *tensors = train(0);
    vq_bytes bytes;
    vq_codec *codec;
    assert_ok(vq_tensors_set(tensors, "tables.levels", "3"));
    assert_ok(vq_safetensors_serialize(&bytes, tensors));
    assert_status(VQ_E_FORMAT, vq_codec_open_memory(&codec, bytes.data, bytes.size, "small", NULL));
    assert_non_null(strstr(vq_last_error(), "tables"));
    vq_bytes_clear(&bytes);
    vq_tensors_free(tensors);
}

/* The promise of the README on one photograph: at the bits of four levels, better than with them. */
static void builtin_model_minds_the_bits(void **state)
{
    (void)state;
    const char *path = test_data("images/kodak/kodim23.png");
    vq_codec *codec;
    vq_signal *picture, *copy;
    vq_tokens *tokens;
    vq_codec_info info;
    double psnr[2];
    size_t size[2];
    assert_ok(vq_image_read(&picture, path, NULL));
    assert_ok(vq_codec_open(&codec, "image", NULL));
    vq_codec_get_info(&info, codec);
    assert_non_null(info.tables);
    for (int rate = 0; rate < 2; rate++) {
        vq_coding_opts opts = VQ_CODING_OPTS_INIT;
        opts.levels = rate ? 0 : 4;
        opts.lambda = rate ? 0.012f : 0;
        opts.beam = rate ? 4 : 1;
        vq_bytes bytes;
        vq_image_quality quality;
        assert_ok(vq_codec_encode(&tokens, codec, picture, &opts));
        assert_ok(vq_tokens_serialize_with(
            &bytes, tokens, rate ? VQ_PACKING_ENTROPY : VQ_PACKING_BITS, info.tables));
        assert_ok(vq_codec_decode(&copy, codec, tokens, NULL));
        assert_ok(vq_image_compare(&quality, picture, copy));
        psnr[rate] = quality.psnr_db;
        size[rate] = bytes.size;
        vq_bytes_clear(&bytes);
        vq_tokens_free(tokens);
        vq_signal_free(copy);
    }
    assert_true(size[1] < size[0] && psnr[1] > psnr[0] + 2);
    vq_signal_free(picture);
    vq_codec_free(codec);
}

static vq_status on_trained(void *context, const vq_quantizer *quantizer, const float *latents,
                            size_t n)
{
    assert_int_equal(vq_quantizer_dim(quantizer), 20);
    assert_true(n > 0 && isfinite(latents[n * 20 - 1]));
    return context ? vq_quantizer_save(context, quantizer, "quantizer.") : VQ_E_CANCELLED;
}

/* Does the model hold every tensor of the other set? */
static int holds(const vq_tensors *model, const vq_tensors *other)
{
    int same = 1;
    for (size_t i = 0; i < vq_tensors_count(other); i++) {
        const vq_tensor *a = vq_tensors_at(other, i), *b = vq_tensors_find(model, a->name);
        assert_non_null(b);
        assert_int_equal(a->count, b->count);
        same &= !memcmp(a->data, b->data, a->count * vq_dtype_size(a->dtype));
    }
    return same;
}

/* The quantizer that is shown is the one that is written; the recipe's options are the defaults, and others make another model. */
static void test_options_of_training_together(void **state)
{
    (void)state;
    vq_codec_train_opts opts = small(0);
    vq_tensors *recipe = train(0), *model, *shown;
    opts.beam = 2;
    opts.refits = 6;
    opts.lambda = 0.01f;
    opts.trained = on_trained;
    for (int other = 0; other < 4; other++) {
        opts.beam = other == 1 ? 5 : 2;
        opts.refits = other == 2 ? 1 : 6;
        opts.lambda = other == 3 ? -1 : 0.01f;
        assert_ok(vq_tensors_create(&shown));
        opts.context = shown;
        assert_ok(vq_codec_train(&model, "image", &pictures, &opts));
        assert_true(holds(model, shown));
        assert_int_equal(holds(recipe, shown), !other);
        vq_tensors_free(model);
        vq_tensors_free(shown);
    }
    vq_tensors_free(recipe);
    opts.context = NULL;
    assert_status(VQ_E_CANCELLED, vq_codec_train(&model, "image", &pictures, &opts));
    opts.beam = VQ_MAX_BEAM + 1;
    assert_status(VQ_E_ARG, vq_codec_train(&model, "image", &pictures, &opts));
    opts.beam = 0;
    opts.lambda = NAN;
    assert_status(VQ_E_ARG, vq_codec_train(&model, "image", &pictures, &opts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_of_training_together),
        cmocka_unit_test(training_does_not_depend_on_threads),
        cmocka_unit_test(files_do_not_depend_on_threads_or_kernels),
        cmocka_unit_test(larger_lambda_is_a_smaller_file),
        cmocka_unit_test(refining_gains),
        cmocka_unit_test(refining_can_be_stopped),
        cmocka_unit_test(tables_must_fit_the_quantizer),
        cmocka_unit_test(builtin_model_minds_the_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
