/* SPDX-License-Identifier: Apache-2.0 */
/* The image codec: its transform alone, then the codec with a small model that is trained here. */
#include <math.h>

#include "codecs/codec.h"
#include "codecs/image_internal.h"
#include "codecs/image_metrics.h"
#include "codecs/train.h"
#include "io/file.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "test_support.h"

/* A deterministic picture with edges, gradients and texture. */
static vq_signal *make_picture(size_t height, size_t width, size_t channels, uint64_t seed)
{
    vq_signal *signal;
    const size_t shape[3] = {height, width, channels};
    assert_ok(vq_signal_create(&signal, VQ_KIND_IMAGE, 3, shape));
    const double fx = 0.02 + 0.1 * test_uniform(&seed), fy = 0.02 + 0.1 * test_uniform(&seed);
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < channels; c++)
                signal->data[(y * width + x) * channels + c] =
                    (float)(0.5 +
                            0.3 * sin(fx * (double)x + 0.4 * (double)c) * cos(fy * (double)y) +
                            (x / 24 % 2 == y / 24 % 2 ? 0.1 : -0.1) +
                            0.02 * (test_uniform(&seed) - 0.5));
    return signal;
}

static vq_status next_picture(void *context, size_t index, vq_signal **out)
{
    (void)context;
    *out = make_picture(96 + 8 * (index % 3), 112, 3, index);
    return VQ_OK;
}

static vq_bytes model_bytes;

/* Three levels of sixteen codewords of twenty coefficients: a model of a few kilobytes. */
static int train_small_model(void **state)
{
    (void)state;
    const vq_signal_source source = {8, next_picture, NULL};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    opts.levels = 3;
    opts.k = 16;
    opts.dim = 20;
    opts.max_iterations = 4;
    opts.max_vectors = 1500;
    vq_tensors *tensors;
    assert_ok(vq_codec_train(&tensors, "image", &source, &opts));
    assert_ok(vq_safetensors_serialize(&model_bytes, tensors));
    vq_tensors_free(tensors);
    return 0;
}

static int free_small_model(void **state)
{
    (void)state;
    vq_bytes_clear(&model_bytes);
    return 0;
}

static vq_codec *open_small_model(void)
{
    vq_codec *codec;
    assert_ok(vq_codec_open_memory(&codec, model_bytes.data, model_bytes.size, "small", NULL));
    return codec;
}

/* Keep every coefficient of the model's transform: then synthesis must undo analysis, edges included. */
static void transform_is_its_own_inverse(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    const vqi_image_model *small = codec->state;
    vqi_image_model whole = {.block = small->block, .dim = 3 * small->block * small->block};
    assert_ok(vqi_image_model_allocate(&whole, 1));
    const size_t square = (size_t)small->block * small->block * sizeof(float);
    memcpy(whole.colour, small->colour, sizeof whole.colour);
    memcpy(whole.basis, small->basis, square);
    memcpy(whole.pre_filter, small->pre_filter, square);
    memcpy(whole.post_filter, small->post_filter, square);
    for (uint32_t i = 0; i < whole.dim; i++) {
        whole.kept[i] = i;
        whole.weights[i] = 0.5f + (float)(i % 3);
    }
    assert_ok(vqi_image_model_prepare(&whole));

    const size_t sizes[][2] = {{1, 1}, {16, 16}, {17, 33}, {53, 37}, {15, 64}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        vq_signal *picture = make_picture(sizes[s][0], sizes[s][1], 3, s), *copy;
        assert_ok(vq_signal_create(&copy, VQ_KIND_IMAGE, 3, picture->shape));
        const vqi_picture view = {.signal = picture,
                                  .height = sizes[s][0],
                                  .width = sizes[s][1],
                                  .rows = vqi_blocks(sizes[s][0], whole.block),
                                  .columns = vqi_blocks(sizes[s][1], whole.block)};
        float *latents = malloc(view.rows * view.columns * whole.dim * sizeof *latents);
        float *scratch = malloc(vqi_image_analysis_scratch(&whole, &view) * sizeof *scratch);
        const size_t line = vqi_image_row_size(&whole, &view);
        float *lines = malloc(view.rows * line * sizeof *lines);
        long bad;
        for (size_t r = 0; r < view.rows; r++) {
            float *row = latents + r * view.columns * whole.dim;
            vqi_image_analyse_rows(row, &bad, &whole, &view, r, 1, 0, scratch, 0, 1);
            assert_int_equal(bad, -1);
            vqi_image_synthesise_columns(lines + r * line, &whole, &view, row);
        }
        for (size_t r = 0; r < view.rows; r++)
            vqi_image_synthesise_rows(copy, &whole, &view, r, r ? lines + (r - 1) * line : NULL,
                                      lines + r * line,
                                      r + 1 < view.rows ? lines + (r + 1) * line : NULL, scratch);
        for (size_t i = 0; i < vq_signal_count(picture); i++)
            assert_float_equal(copy->data[i], picture->data[i], 1e-5);
        free(latents);
        free(scratch);
        free(lines);
        vq_signal_free(picture);
        vq_signal_free(copy);
    }
    vq_free(whole.basis);
    vq_free(whole.pre_filter);
    vq_free(whole.post_filter);
    vq_free(whole.kept);
    vq_free(whole.weights);
    vqi_lapped_clear(&whole.lapped);
    vq_codec_free(codec);
}

/* Orthonormal: the energy of all coefficients is the energy of a picture of whole blocks. */
static void transform_keeps_energy(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    const vqi_image_model *model = codec->state;
    vq_signal *picture = make_picture(48, 64, 3, 5);
    const vqi_picture view = {
        .signal = picture, .height = 48, .width = 64, .rows = 3, .columns = 4};
    float *latents = malloc((size_t)3 * 4 * 768 * sizeof *latents);
    float *scratch = malloc(vqi_image_analysis_scratch(model, &view) * sizeof *scratch);
    long bad[3];
    double samples = 0, coefficients = 0;
    for (size_t i = 0; i < vq_signal_count(picture); i++)
        samples += pow(picture->data[i] - 0.5, 2);
    vqi_image_analyse_rows(latents, bad, model, &view, 0, 3, 1, scratch, 0, 1);
    for (size_t i = 0; i < (size_t)3 * 4 * 768; i++)
        coefficients += pow(latents[i], 2);
    assert_true(fabs(coefficients / samples - 1) < 1e-5);
    free(latents);
    free(scratch);
    vq_signal_free(picture);
    vq_codec_free(codec);
}

/* Coefficients of a formula's picture, computed independently in double (NumPy, from the definition). */
static void transform_equals_the_reference(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    const vqi_image_model *model = codec->state;
    vq_signal *picture;
    const size_t shape[3] = {37, 53, 3};
    assert_ok(vq_signal_create(&picture, VQ_KIND_IMAGE, 3, shape));
    for (size_t i = 0; i < 37; i++)
        for (size_t j = 0; j < 53; j++)
            for (size_t k = 0; k < 3; k++)
                picture->data[(i * 53 + j) * 3 + k] =
                    (float)((i * 7 + j * 3 + k * 50 + i * j % 11) % 256) / 255.0f;
    const vqi_picture view = {
        .signal = picture, .height = 37, .width = 53, .rows = 3, .columns = 4};
    float *latents = malloc((size_t)4 * 768 * sizeof *latents);
    float *scratch = malloc(vqi_image_analysis_scratch(model, &view) * sizeof *scratch);
    long bad;
    vqi_image_analyse_rows(latents, &bad, model, &view, 0, 1, 1, scratch, 0, 1);
    const double corner[] = {0.05400283, -1.23943933, -0.33074177};
    for (int i = 0; i < 3; i++)
        assert_float_equal(latents[i], corner[i], 2e-6);
    vqi_image_analyse_rows(latents, &bad, model, &view, 1, 1, 1, scratch, 0, 1);
    const double inner[] = {-3.30240179, -0.27160006, -0.20681514, 0.01005220, 0.06471228};
    for (int i = 0; i < 5; i++)
        assert_float_equal(latents[2 * 768 + i], inner[i], 2e-6);
    const double chroma[] = {-2.16255006, 1.01061228, -0.18334076};
    for (int i = 0; i < 3; i++)
        assert_float_equal(latents[2 * 768 + 256 + i], chroma[i], 2e-6);
    free(latents);
    free(scratch);
    vq_signal_free(picture);
    vq_codec_free(codec);
}

static vq_tokens *encode(const vq_codec *codec, const vq_signal *picture, uint32_t levels,
                         int threads)
{
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = levels;
    opts.threads = threads;
    vq_tokens *tokens;
    assert_ok(vq_codec_encode(&tokens, codec, picture, &opts));
    assert_ok(vq_tokens_validate(tokens));
    return tokens;
}

static void assert_same_codes(const vq_tokens *a, const vq_tokens *b, uint32_t levels)
{
    assert_int_equal(vq_tokens_positions(a), vq_tokens_positions(b));
    assert_memory_equal(a->codes, b->codes, levels * vq_tokens_positions(a) * sizeof *a->codes);
}

static void any_size_comes_back(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    const size_t sides[] = {1, 2, 15, 16, 17, 40, 161};
    for (size_t i = 0; i < 7; i++)
        for (size_t j = 0; j < 7; j++) {
            vq_signal *picture = make_picture(sides[i], sides[j], 3, i * 7 + j), *copy;
            vq_tokens *tokens = encode(codec, picture, 0, 0);
            assert_int_equal(tokens->grid[1], (sides[i] + 15) / 16);
            assert_ok(vq_codec_decode(&copy, codec, tokens, NULL));
            assert_memory_equal(copy->shape, picture->shape, sizeof copy->shape);
            for (size_t p = 0; p < vq_signal_count(copy); p++)
                assert_true(isfinite(copy->data[p]));
            vq_signal_free(picture);
            vq_signal_free(copy);
            vq_tokens_free(tokens);
        }
    vq_codec_free(codec);
}

static void tokens_do_not_depend_on_threads_or_kernels(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *picture = make_picture(400, 300, 3, 3);
    vq_tokens *expected = encode(codec, picture, 0, 1);
    const int threads[] = {2, 7};
    const uint32_t masks[] = {0, VQ_CPU_AVX2, UINT32_MAX};
    for (size_t t = 0; t < 2; t++)
        for (size_t m = 0; m < 3; m++) {
            vq_cpu_set_mask(masks[m]);
            vq_tokens *tokens = encode(codec, picture, 0, threads[t]);
            assert_same_codes(tokens, expected, expected->levels);
            vq_tokens_free(tokens);
        }
    vq_cpu_set_mask(UINT32_MAX);
    vq_tokens_free(expected);
    vq_signal_free(picture);
    vq_codec_free(codec);
}

/* A wide picture is coded in several bands, a narrow one in one: the seam must not show. */
static void bands_leave_no_trace(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *tall = make_picture(6000, 16, 3, 9), *whole, *part;
    vq_tokens *tokens = encode(codec, tall, 0, 0);
    assert_ok(vq_codec_decode(&whole, codec, tokens, NULL));
    /* Blocks far from the cut of a cropped copy see the same pixels and must get the same tokens. */
    const size_t shape[3] = {3200, 16, 3};
    assert_ok(vq_signal_create(&part, VQ_KIND_IMAGE, 3, shape));
    memcpy(part->data, tall->data, vq_signal_count(part) * sizeof(float));
    vq_tokens *part_tokens = encode(codec, part, 0, 0);
    for (uint32_t l = 0; l < tokens->levels; l++)
        assert_memory_equal(tokens->codes + l * vq_tokens_positions(tokens),
                            part_tokens->codes + l * vq_tokens_positions(part_tokens),
                            199 * sizeof *tokens->codes);
    vq_signal *part_copy;
    assert_ok(vq_codec_decode(&part_copy, codec, part_tokens, NULL));
    assert_memory_equal(whole->data, part_copy->data, (size_t)197 * 16 * 16 * 3 * sizeof(float));
    vq_signal_free(part_copy);
    vq_tokens_free(part_tokens);
    vq_signal_free(part);
    vq_signal_free(whole);
    vq_tokens_free(tokens);
    vq_signal_free(tall);
    vq_codec_free(codec);
}

static void prefix_of_levels_decodes(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *picture = make_picture(100, 90, 3, 4);
    vq_tokens *all = encode(codec, picture, 3, 0);
    double last = INFINITY;
    for (uint32_t levels = 1; levels <= 3; levels++) {
        vq_tokens *prefix = encode(codec, picture, levels, 0);
        assert_same_codes(prefix, all, levels);
        vq_coding_opts opts = VQ_CODING_OPTS_INIT;
        opts.levels = levels;
        vq_signal *a, *b;
        assert_ok(vq_codec_decode(&a, codec, all, &opts));
        assert_ok(vq_codec_decode(&b, codec, prefix, NULL));
        assert_memory_equal(a->data, b->data, vq_signal_count(a) * sizeof(float));
        vq_image_quality quality;
        assert_ok(vq_image_compare(&quality, picture, a));
        assert_true(quality.mse < last);
        last = quality.mse;
        vq_signal_free(a);
        vq_signal_free(b);
        vq_tokens_free(prefix);
    }
    vq_tokens_free(all);
    vq_signal_free(picture);
    vq_codec_free(codec);
}

static void grey_and_alpha_keep_their_policies(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    for (size_t channels = 1; channels <= 4; channels++) {
        vq_signal *picture = make_picture(40, 50, channels, channels), *copy;
        vq_tokens *tokens = encode(codec, picture, 0, 0);
        const size_t planes = channels % 2 ? 1 : 2;
        assert_int_equal(tokens->grid[0], planes);
        assert_int_equal(tokens->source_shape[2], channels);
        assert_ok(vq_codec_decode(&copy, codec, tokens, NULL));
        assert_int_equal(copy->shape[2], channels);
        vq_tokens_free(tokens);
        vq_signal_free(copy);

        /* An alpha of 1 everywhere says nothing and is dropped. */
        if (planes == 2)
            for (size_t i = channels - 1; i < vq_signal_count(picture); i += channels)
                picture->data[i] = 1.0f;
        tokens = encode(codec, picture, 0, 0);
        assert_int_equal(tokens->grid[0], 1);
        assert_int_equal(tokens->source_shape[2], channels < 3 ? 1 : 3);
        vq_tokens_free(tokens);

        /* Composited, a transparent picture is the background. */
        if (planes == 2) {
            for (size_t i = channels - 1; i < vq_signal_count(picture); i += channels)
                picture->data[i] = 0.0f;
            vq_coding_opts opts = VQ_CODING_OPTS_INIT;
            opts.alpha = VQ_ALPHA_COMPOSITE;
            opts.background[0] = opts.background[1] = opts.background[2] = 0.75f;
            assert_ok(vq_codec_encode(&tokens, codec, picture, &opts));
            const size_t shape[3] = {40, 50, 1};
            vq_signal *flat;
            assert_ok(vq_signal_create(&flat, VQ_KIND_IMAGE, 3, shape));
            for (size_t i = 0; i < vq_signal_count(flat); i++)
                flat->data[i] = 0.75f;
            vq_tokens *expected = encode(codec, flat, 0, 0);
            assert_same_codes(tokens, expected, expected->levels);
            vq_signal_free(flat);
            vq_tokens_free(expected);
            vq_tokens_free(tokens);
        }
        vq_signal_free(picture);
    }
    vq_codec_free(codec);
}

static void wrong_input_has_a_status(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model(), *other;
    vq_signal *picture = make_picture(40, 50, 3, 1), *copy;
    vq_tokens *tokens;
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = 4;
    assert_status(VQ_E_ARG, vq_codec_encode(&tokens, codec, picture, &opts));
    assert_null(tokens);
    opts.levels = 0;
    opts.threads = -1;
    assert_status(VQ_E_ARG, vq_codec_encode(&tokens, codec, picture, &opts));
    opts.threads = 0;
    opts.alpha = (vq_alpha_policy)2;
    assert_status(VQ_E_ARG, vq_codec_encode(&tokens, codec, picture, &opts));
    opts.alpha = VQ_ALPHA_COMPOSITE;
    opts.background[1] = NAN;
    assert_status(VQ_E_ARG, vq_codec_encode(&tokens, codec, picture, &opts));
    opts = (vq_coding_opts)VQ_CODING_OPTS_INIT;
    picture->data[(20 * 50 + 30) * 3] = NAN;
    assert_status(VQ_E_NONFINITE, vq_codec_encode(&tokens, codec, picture, NULL));
    picture->data[(20 * 50 + 30) * 3] = 0.5f;
    picture->kind = VQ_KIND_AUDIO;
    assert_status(VQ_E_ARG, vq_codec_encode(&tokens, codec, picture, NULL));
    picture->kind = VQ_KIND_IMAGE;

    tokens = encode(codec, picture, 0, 0);
    assert_ok(vq_codec_open(&other, "image", NULL));
    assert_status(VQ_E_MISMATCH, vq_codec_decode(&copy, other, tokens, NULL));
    tokens->model_sha256[0] ^= 1;
    assert_status(VQ_E_MISMATCH, vq_codec_decode(&copy, codec, tokens, NULL));
    opts.levels = 0;
    opts.any_model = 1;
    assert_ok(vq_codec_decode(&copy, codec, tokens, &opts));
    vq_signal_free(copy);
    tokens->codes[3] = 16;
    assert_status(VQ_E_RANGE, vq_codec_decode(&copy, codec, tokens, &opts));
    tokens->codes[3] = 0;
    tokens->source_shape[0] = 49; /* one row of blocks more than the grid has */
    assert_status(VQ_E_ARG, vq_codec_decode(&copy, codec, tokens, &opts));
    tokens->source_shape[0] = 40;
    opts.levels = 4;
    assert_status(VQ_E_ARG, vq_codec_decode(&copy, codec, tokens, &opts));
    assert_null(copy);

    vq_codec *none;
    assert_status(VQ_E_ARG, vq_codec_open(&none, "nothing", NULL));
    assert_status(VQ_E_IO, vq_codec_open(&none, "/nothing.safetensors", NULL));
    assert_status(VQ_E_FORMAT, vq_codec_open_memory(&none, "hello", 5, "hello", NULL));
    assert_null(none);
    vq_tokens_free(tokens);
    vq_signal_free(picture);
    vq_codec_free(other);
    vq_codec_free(codec);
}

/* Each table of a model that does not fit is refused by name, never used. */
static void model_tables_are_checked(void **state)
{
    (void)state;
    const char *names[] = {"colour", "basis", "pre_filter", "post_filter", "weights", "kept"};
    enum { ROW_MISSING, BAD_VALUE, VALUE_TWICE, TENSOR_MISSING, FAULTS };
    for (size_t i = 0; i < 6; i++)
        for (int fault = 0; fault < FAULTS; fault++) {
            if (fault == VALUE_TWICE && strcmp(names[i], "kept"))
                continue; /* elsewhere a value may well come twice */
            vq_tensors *tensors, *broken;
            assert_ok(
                vq_safetensors_parse(&tensors, model_bytes.data, model_bytes.size, "small", NULL));
            assert_ok(vq_tensors_create(&broken));
            const char *key, *value;
            for (size_t s = 0; !vq_tensors_setting_at(&key, &value, tensors, s); s++)
                assert_ok(vq_tensors_set(broken, key, value));
            for (size_t t = 0; t < vq_tensors_count(tensors); t++) {
                const vq_tensor *tensor = vq_tensors_at(tensors, t);
                size_t shape[VQ_MAX_NDIM];
                memcpy(shape, tensor->shape, sizeof shape);
                const int hit = !strcmp(tensor->name, names[i]);
                if (hit && fault == TENSOR_MISSING)
                    continue;
                if (hit && fault == ROW_MISSING)
                    shape[0]--;
                if (hit && fault == VALUE_TWICE)
                    ((uint16_t *)tensor->data)[1] = ((uint16_t *)tensor->data)[0];
                if (hit && fault == BAD_VALUE)
                    memset(tensor->data, 0xff, vq_dtype_size(tensor->dtype)); /* NaN, or 65535 */
                assert_ok(vq_tensors_add(NULL, broken, tensor->name, tensor->dtype, tensor->ndim,
                                         shape, tensor->data));
            }
            vq_bytes bytes;
            vq_codec *codec;
            assert_ok(vq_safetensors_serialize(&bytes, broken));
            assert_status(VQ_E_FORMAT,
                          vq_codec_open_memory(&codec, bytes.data, bytes.size, "broken", NULL));
            assert_null(codec);
            vq_bytes_clear(&bytes);
            vq_tensors_free(broken);
            vq_tensors_free(tensors);
        }
}

static vq_status open_encode_decode(void *context)
{
    const vq_signal *picture = context;
    vq_codec *codec;
    vq_tokens *tokens = NULL;
    vq_signal *copy = NULL;
    vq_status status =
        vq_codec_open_memory(&codec, model_bytes.data, model_bytes.size, "small", NULL);
    if (!status)
        status = vq_codec_encode(&tokens, codec, picture, NULL);
    if (!status)
        status = vq_codec_decode(&copy, codec, tokens, NULL);
    vq_signal_free(copy);
    vq_tokens_free(tokens);
    vq_codec_free(codec);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    vq_signal *picture = make_picture(40, 50, 4, 1);
    test_allocation_failures(open_encode_decode, picture);
    vq_signal_free(picture);
}

static vq_status tiny_picture(void *context, size_t index, vq_signal **out)
{
    (void)context;
    (void)index;
    const size_t shape[3] = {64, 64, 1};
    const vq_status status = vq_signal_create(out, VQ_KIND_IMAGE, 3, shape);
    for (size_t i = 0; !status && i < 64 * 64; i++)
        (*out)->data[i] = (float)(i * 7919 % 256) / 255.0f;
    return status;
}

static vq_status train_tiny(void *context)
{
    (void)context;
    const vq_signal_source source = {1, tiny_picture, NULL};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    opts.levels = 2;
    opts.k = 4;
    opts.dim = 5;
    opts.max_iterations = 2;
    opts.threads = 1;
    vq_tensors *tensors;
    const vq_status status = vq_codec_train(&tensors, "image", &source, &opts);
    vq_tensors_free(tensors);
    return status;
}

static void every_allocation_of_training_may_fail(void **state)
{
    (void)state;
    test_allocation_failures(train_tiny, NULL);
}

static int cancel_at_once(void *context, const vq_progress *progress)
{
    (void)context;
    (void)progress;
    return 1;
}

static void cancelling_leaves_nothing(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *picture = make_picture(40, 50, 3, 1);
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.progress = cancel_at_once;
    vq_tokens *tokens;
    assert_status(VQ_E_CANCELLED, vq_codec_encode(&tokens, codec, picture, &opts));
    assert_null(tokens);
    vq_signal_free(picture);
    vq_codec_free(codec);
}

/* The built-in model on a photograph that it was not trained on. */
static void builtin_model_codes_a_photograph(void **state)
{
    (void)state;
    const char *path = test_data("images/kodak/kodim23.png");
    vq_codec *codec;
    vq_signal *picture, *copy;
    assert_ok(vq_image_read(&picture, path, NULL));
    assert_ok(vq_codec_open(&codec, "image", NULL));
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    assert_string_equal(info.name, "image");
    assert_int_equal(info.id, 1);
    vq_tokens *tokens = encode(codec, picture, info.levels, 0);
    double last = 0;
    for (uint32_t levels = 1; levels <= info.levels; levels++) {
        vq_coding_opts opts = VQ_CODING_OPTS_INIT;
        opts.levels = levels;
        assert_ok(vq_codec_decode(&copy, codec, tokens, &opts));
        vq_image_quality quality;
        assert_ok(vq_image_compare(&quality, picture, copy));
        assert_true(quality.psnr_db > last);
        last = quality.psnr_db;
        if (levels == info.default_levels)
            assert_true(quality.psnr_db > 28);
        vq_signal_free(copy);
    }
    vq_tokens_free(tokens);
    vq_signal_free(picture);
    vq_codec_free(codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transform_is_its_own_inverse),
        cmocka_unit_test(transform_keeps_energy),
        cmocka_unit_test(transform_equals_the_reference),
        cmocka_unit_test(any_size_comes_back),
        cmocka_unit_test(tokens_do_not_depend_on_threads_or_kernels),
        cmocka_unit_test(bands_leave_no_trace),
        cmocka_unit_test(prefix_of_levels_decodes),
        cmocka_unit_test(grey_and_alpha_keep_their_policies),
        cmocka_unit_test(wrong_input_has_a_status),
        cmocka_unit_test(model_tables_are_checked),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_allocation_of_training_may_fail),
        cmocka_unit_test(cancelling_leaves_nothing),
        cmocka_unit_test(builtin_model_codes_a_photograph),
    };
    return cmocka_run_group_tests(tests, train_small_model, free_small_model);
}
