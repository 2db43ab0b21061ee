/* SPDX-License-Identifier: Apache-2.0 */
/* The audio codec with a small model that is trained here. */
#include "audio_support.h"
#include "codecs/audio_internal.h"

static vq_tokens *encode(const vq_codec *codec, const vq_signal *sound, uint32_t levels,
                         int threads)
{
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = levels;
    opts.threads = threads;
    vq_tokens *tokens;
    assert_ok(vq_codec_encode(&tokens, codec, sound, &opts));
    return tokens;
}

static void assert_finite(const vq_signal *sound)
{
    for (size_t i = 0; i < vq_signal_count(sound); i++)
        assert_true(isfinite(sound->data[i]));
}

static void any_length_comes_back(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    const size_t lengths[] = {1, 2, 319, 320, 321, 640, 641, 5000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (size_t channels = 1; channels <= 3; channels++) {
            vq_signal *sound = make_sound(lengths[i], channels, i), *copy;
            sound->bits = 16;
            vq_tokens *tokens = encode(codec, sound, 0, 0);
            assert_ok(vq_tokens_validate(tokens));
            assert_int_equal(tokens->grid_ndim, 2);
            assert_int_equal(tokens->grid[0], channels);
            assert_int_equal(tokens->grid[1], (lengths[i] + 319) / 320 + 1);
            assert_ok(vq_codec_decode(&copy, codec, tokens, NULL));
            assert_memory_equal(copy->shape, sound->shape, sizeof copy->shape);
            assert_true(copy->rate == 24000 && copy->bits == 16);
            assert_finite(copy);
            vq_signal_free(copy);
            vq_tokens_free(tokens);
            vq_signal_free(sound);
        }
    vq_codec_free(codec);
}

static void assert_same_codes(const vq_tokens *a, const vq_tokens *b, uint32_t levels)
{
    for (uint32_t l = 0; l < levels; l++)
        assert_memory_equal(a->codes + l * vq_tokens_positions(a),
                            b->codes + l * vq_tokens_positions(b),
                            vq_tokens_positions(a) * sizeof *a->codes);
}

/* More frames than a stream of the whole signal holds at once. */
static void tokens_do_not_depend_on_threads_or_kernels(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *sound = make_sound((size_t)1500 * 320, 1, 3), *whole, *copy;
    vq_tokens *reference = encode(codec, sound, 0, 1);
    assert_ok(vq_codec_decode(&whole, codec, reference, NULL));
    const uint32_t all = vq_cpu_flags();
    for (int threads = 1; threads <= 3; threads += 2)
        for (int mask = 0; mask < 3; mask++) {
            vq_cpu_set_mask(mask == 0 ? 0 : mask == 1 ? VQ_CPU_AVX2 : all);
            vq_tokens *tokens = encode(codec, sound, 0, threads);
            assert_same_codes(tokens, reference, 3);
            assert_ok(vq_codec_decode(&copy, codec, tokens, NULL));
            assert_memory_equal(copy->data, whole->data, vq_signal_count(copy) * sizeof(float));
            vq_signal_free(copy);
            vq_tokens_free(tokens);
        }
    vq_cpu_set_mask(UINT32_MAX);
    vq_signal_free(whole);
    vq_tokens_free(reference);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

static void prefix_of_levels_decodes(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *sound = make_sound(9000, 2, 4);
    vq_tokens *all = encode(codec, sound, 3, 0);
    for (uint32_t levels = 1; levels <= 3; levels++) {
        vq_tokens *prefix = encode(codec, sound, levels, 0);
        vq_coding_opts opts = VQ_CODING_OPTS_INIT;
        opts.levels = levels;
        vq_signal *a, *b;
        assert_ok(vq_codec_decode(&a, codec, all, &opts));
        assert_ok(vq_tokens_truncate(prefix, levels));
        assert_ok(vq_codec_decode(&b, codec, prefix, NULL));
        assert_int_equal(vq_signal_count(a), vq_signal_count(b));
        assert_finite(a);
        vq_signal_free(a);
        vq_signal_free(b);
        vq_tokens_free(prefix);
    }
    vq_tokens *cut = encode(codec, sound, 3, 0);
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = 2;
    vq_signal *a, *b;
    assert_ok(vq_codec_decode(&a, codec, all, &opts));
    assert_ok(vq_tokens_truncate(cut, 2));
    assert_ok(vq_codec_decode(&b, codec, cut, NULL));
    assert_memory_equal(a->data, b->data, vq_signal_count(a) * sizeof(float));
    vq_signal_free(a);
    vq_signal_free(b);
    vq_tokens_free(cut);
    vq_tokens_free(all);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

static void any_codes_decode_to_finite_samples(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *sound = make_sound(320 * 200, 2, 1), *copy;
    vq_tokens *tokens = encode(codec, sound, 3, 0);
    uint64_t seed = 5;
    for (size_t i = 0; i < vq_tokens_positions(tokens) * 3; i++)
        tokens->codes[i] = (uint32_t)(test_random(&seed) % 16);
    assert_ok(vq_codec_decode(&copy, codec, tokens, NULL));
    assert_finite(copy);
    vq_signal_free(copy);
    vq_tokens_free(tokens);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

static void silence_and_full_scale_have_codes(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    uint64_t seed = 2;
    for (int loud = 0; loud < 2; loud++) {
        vq_signal *sound = make_sound(20000, 1, 1), *copy;
        for (size_t i = 0; i < 20000; i++)
            sound->data[i] = loud ? test_random(&seed) % 2 ? 1.0f : -1.0f : 0.0f;
        vq_tokens *tokens = encode(codec, sound, 0, 0);
        assert_ok(vq_codec_decode(&copy, codec, tokens, NULL));
        assert_finite(copy);
        vq_signal_free(copy);
        vq_tokens_free(tokens);
        vq_signal_free(sound);
    }
    vq_codec_free(codec);
}

static void wrong_input_has_a_status(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *sound = make_sound(4000, 2, 1), *copy;
    vq_tokens *tokens;
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = 4;
    assert_status(VQ_E_ARG, vq_codec_encode(&tokens, codec, sound, &opts));
    assert_null(tokens);
    const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f};
    for (size_t i = 0; i < 4; i++) {
        sound->data[5001] = bad[i];
        assert_status(VQ_E_NONFINITE, vq_codec_encode(&tokens, codec, sound, NULL));
        assert_null(tokens);
    }
    sound->data[5001] = 0;
    sound->rate = 16000;
    assert_status(VQ_E_ARG, vq_codec_encode(&tokens, codec, sound, NULL));
    sound->rate = 24000;
    sound->kind = VQ_KIND_ACTION;
    assert_status(VQ_E_ARG, vq_codec_encode(&tokens, codec, sound, NULL));
    sound->kind = VQ_KIND_AUDIO;

    tokens = encode(codec, sound, 0, 0);
    tokens->model_sha256[0] ^= 1;
    assert_status(VQ_E_MISMATCH, vq_codec_decode(&copy, codec, tokens, NULL));
    tokens->model_sha256[0] ^= 1;
    tokens->codes[3] = 16;
    assert_status(VQ_E_RANGE, vq_codec_decode(&copy, codec, tokens, NULL));
    tokens->codes[3] = 0;
    tokens->rate = 8000;
    assert_status(VQ_E_ARG, vq_codec_decode(&copy, codec, tokens, NULL));
    tokens->rate = 24000;
    tokens->source_shape[0] = 4000 + 320;
    assert_status(VQ_E_ARG, vq_codec_decode(&copy, codec, tokens, NULL));
    tokens->source_shape[0] = 4000;
    tokens->source_shape[1] = 1;
    assert_status(VQ_E_ARG, vq_codec_decode(&copy, codec, tokens, NULL));
    assert_null(copy);
    vq_tokens_free(tokens);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

/* Each table and setting of a model that does not fit is refused, never used. */
static void model_tables_are_checked(void **state)
{
    (void)state;
    static const char *const names[] = {"companding", "window",  "kept", "edges",
                                        "weights",    "offsets", "gains"};
    enum { ROW_MISSING, BAD_VALUE, VALUE_TWICE, TENSOR_MISSING, FAULTS };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int fault = 0; fault < FAULTS; fault++) {
            const int indices = !strcmp(names[i], "kept") || !strcmp(names[i], "edges");
            if ((fault == VALUE_TWICE && !indices) ||
                (fault == ROW_MISSING && !strcmp(names[i], "gains")))
                continue; /* may well be */
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
    static const char *const settings[][2] = {
        {"hop", "0"},  {"hop", "322"}, {"hop", "8192"},         {"hop", "32"},
        {"rate", "0"}, {"rate", "x"},  {"default_levels", "0"}, {"default_levels", "65"},
        {"beam", "65"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        vq_tensors *tensors;
        vq_bytes bytes;
        vq_codec *codec;
        assert_ok(
            vq_safetensors_parse(&tensors, model_bytes.data, model_bytes.size, "small", NULL));
        assert_ok(vq_tensors_set(tensors, settings[i][0], settings[i][1]));
        assert_ok(vq_safetensors_serialize(&bytes, tensors));
        assert_status(VQ_E_FORMAT,
                      vq_codec_open_memory(&codec, bytes.data, bytes.size, "broken", NULL));
        vq_bytes_clear(&bytes);
        vq_tensors_free(tensors);
    }
}

static vq_status open_encode_decode(void *context)
{
    const vq_signal *sound = context;
    vq_codec *codec;
    vq_tokens *tokens = NULL;
    vq_signal *copy = NULL;
    vq_status status =
        vq_codec_open_memory(&codec, model_bytes.data, model_bytes.size, "small", NULL);
    if (!status)
        status = vq_codec_encode(&tokens, codec, sound, NULL);
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
    vq_signal *sound = make_sound(2000, 2, 1);
    test_allocation_failures(open_encode_decode, sound);
    vq_signal_free(sound);
}

static vq_status tiny_sound(void *context, size_t index, vq_signal **out)
{
    (void)context;
    (void)index;
    const size_t shape[2] = {1000, 1};
    const vq_status status = vq_signal_create(out, VQ_KIND_AUDIO, 2, shape);
    for (size_t i = 0; !status && i < 1000; i++)
        (*out)->data[i] = (float)(i * 7919 % 256) / 255.0f;
    return status;
}

static vq_status train_tiny(void *context)
{
    const vq_signal_source source = {1, tiny_sound, NULL};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    opts.levels = 2;
    opts.k = 4;
    opts.dim = 5;
    opts.max_iterations = 2;
    opts.threads = 1;
    if (context)
        opts = *(const vq_codec_train_opts *)context;
    vq_tensors *tensors;
    const vq_status status = vq_codec_train(&tensors, "audio", &source, &opts);
    vq_tensors_free(tensors);
    return status;
}

static void every_allocation_of_training_may_fail(void **state)
{
    (void)state;
    test_allocation_failures(train_tiny, NULL);
}

static vq_status bad_sound(void *context, size_t index, vq_signal **out)
{
    (void)index;
    *out = make_sound(1000, 1, 1);
    if (*(const int *)context == 0)
        (*out)->rate = 16000;
    else
        (*out)->data[500] = NAN;
    return VQ_OK;
}

static int stop_reading(void *context, size_t done, size_t count)
{
    (void)context;
    (void)done;
    (void)count;
    return 1;
}

static void training_refuses_what_it_cannot_use(void **state)
{
    (void)state;
    vq_tensors *tensors;
    int fault = 0;
    vq_signal_source source = {1, bad_sound, &fault};
    assert_status(VQ_E_ARG, vq_codec_train(&tensors, "audio", &source, NULL));
    fault = 1;
    assert_status(VQ_E_NONFINITE, vq_codec_train(&tensors, "audio", &source, NULL));
    source.count = 0;
    assert_status(VQ_E_ARG, vq_codec_train(&tensors, "audio", &source, NULL));
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    opts.reading = stop_reading;
    assert_status(VQ_E_CANCELLED, train_tiny(&opts));
    opts = (vq_codec_train_opts)VQ_CODEC_TRAIN_OPTS_INIT;
    opts.dim = 300;
    assert_status(VQ_E_ARG, train_tiny(&opts));
    opts = (vq_codec_train_opts)VQ_CODEC_TRAIN_OPTS_INIT;
    opts.levels = VQ_MAX_LEVELS + 1;
    assert_status(VQ_E_ARG, train_tiny(&opts));
    opts = (vq_codec_train_opts)VQ_CODEC_TRAIN_OPTS_INIT;
    opts.beam = VQ_MAX_BEAM + 1;
    assert_status(VQ_E_ARG, train_tiny(&opts));
    assert_null(tensors);
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
    vq_signal *sound = make_sound(4000, 1, 1), *copy;
    vq_tokens *whole = encode(codec, sound, 0, 0), *tokens;
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.progress = cancel_at_once;
    assert_status(VQ_E_CANCELLED, vq_codec_encode(&tokens, codec, sound, &opts));
    assert_null(tokens);
    assert_status(VQ_E_CANCELLED, vq_codec_decode(&copy, codec, whole, &opts));
    assert_null(copy);
    vq_tokens_free(whole);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_length_comes_back),
        cmocka_unit_test(tokens_do_not_depend_on_threads_or_kernels),
        cmocka_unit_test(prefix_of_levels_decodes),
        cmocka_unit_test(any_codes_decode_to_finite_samples),
        cmocka_unit_test(silence_and_full_scale_have_codes),
        cmocka_unit_test(wrong_input_has_a_status),
        cmocka_unit_test(model_tables_are_checked),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_allocation_of_training_may_fail),
        cmocka_unit_test(training_refuses_what_it_cannot_use),
        cmocka_unit_test(cancelling_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, train_small_model, free_small_model);
}
