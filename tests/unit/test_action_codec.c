/* SPDX-License-Identifier: Apache-2.0 */
/* The codecs "action" and "bins": shapes, episodes, prefixes, ranges, every code, the loop that allocates nothing. */
#include <math.h>

#include "action_support.h"
#include "codecs/action.h"
#include "codecs/action_metrics.h"
#include "codecs/stream.h"
#include "codecs/train.h"
#include "damage_support.h"
#include "io/safetensors.h"
#include "io/tokens_file.h"
#include "test_support.h"

static vq_tensors *train_tensors(const char *codec, uint32_t levels, uint32_t k)
{
    const vq_signal_source source = {4, read_signal, NULL};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    vq_tensors *model;
    opts.levels = levels;
    opts.k = k;
    opts.max_iterations = 5;
    assert_ok(vq_codec_train(&model, codec, &source, &opts));
    return model;
}

static vq_codec *fitted(void)
{
    vq_tensors *model = train_tensors("action", 3, 64);
    vq_codec *codec = open_tensors(model);
    vq_tensors_free(model);
    return codec;
}

static void any_shape_comes_back(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{0, 1},  {0, 15}, {0, 16}, {0, 17},
                                       {3, 20}, {2, 1},  {1, 400}};
    vq_codec *models[3] = {fitted()};
    assert_ok(vq_codec_open(&models[1], "action", NULL));
    assert_ok(vq_codec_open(&models[2], "bins", NULL));
    for (int m = 0; m < 3; m++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            vq_signal *signal = make_signal(shapes[s][0], shapes[s][1], 9), *back;
            vq_tokens *tokens, *read;
            vq_bytes bytes;
            assert_ok(vq_codec_encode(&tokens, models[m], signal, NULL));
            assert_ok(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
            assert_ok(vq_tokens_parse(&read, NULL, bytes.data, bytes.size, NULL, NULL));
            assert_ok(vq_codec_decode(&back, models[m], read, NULL));
            assert_int_equal(back->ndim, signal->ndim);
            assert_memory_equal(back->shape, signal->shape, sizeof back->shape);
            assert_true(back->rate == 50);
            assert_true(rmse(signal, back, 3) == 0); /* the constant */
            if (shapes[s][1] == 400) {
                for (size_t i = 0; i < 3; i++)
                    assert_true(rmse(signal, back, i) < 0.1 * (double)(i + 1));
                assert_true(rmse(signal, back, 4) < 0.2); /* a gripper is open or closed */
                for (size_t r = 0; r < 400; r++)
                    assert_true(back->data[r * DIM + 4] == 0 || back->data[r * DIM + 4] == 1);
            }
            vq_bytes_clear(&bytes);
            vq_signal_free(signal);
            vq_signal_free(back);
            vq_tokens_free(tokens);
            vq_tokens_free(read);
        }
    for (int m = 0; m < 3; m++)
        vq_codec_free(models[m]);
}

static void prefixes_threads_and_bands_agree(void **state)
{
    (void)state;
    vq_codec *codec = fitted();
    vq_signal *signal = make_signal(3, 3001, 4);
    vq_tokens *all, *fewer;
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = 3;
    opts.threads = 1;
    assert_ok(vq_codec_encode(&all, codec, signal, &opts));
    for (uint32_t levels = 1; levels <= 3; levels++) {
        opts.levels = levels;
        opts.threads = (int)levels;
        assert_ok(vq_codec_encode(&fewer, codec, signal, &opts));
        assert_memory_equal(fewer->codes, all->codes,
                            levels * vq_tokens_positions(all) * sizeof(uint32_t));
        vq_tokens_free(fewer);
    }
    /* An episode alone has the codes that it has among others. */
    vq_signal *one = make_signal(0, 3001, 1);
    memcpy(one->data, signal->data + 2 * 3001 * DIM, 3001 * DIM * sizeof(float));
    opts.levels = 3;
    assert_ok(vq_codec_encode(&fewer, codec, one, &opts));
    const size_t n = vq_tokens_positions(fewer);
    for (int l = 0; l < 3; l++)
        assert_memory_equal(fewer->codes + (size_t)l * n, all->codes + (size_t)l * 3 * n + 2 * n,
                            n * sizeof(uint32_t));
    vq_tokens_free(fewer);
    vq_signal_free(one);
    vq_tokens_free(all);
    vq_signal_free(signal);
    vq_codec_free(codec);
}

static void the_loop_equals_the_file(void **state)
{
    (void)state;
    vq_codec *codec = fitted();
    vq_action *action;
    vq_signal *signal = make_signal(0, 100, 8), *back;
    vq_tokens *tokens;
    vq_action_opts opts = VQ_ACTION_OPTS_INIT;
    opts.levels = 3;
    vq_coding_opts coding = VQ_CODING_OPTS_INIT;
    coding.levels = 3;
    assert_ok(vq_codec_encode(&tokens, codec, signal, &coding));
    assert_ok(vq_codec_decode(&back, codec, tokens, NULL));
    assert_ok(vq_action_open(&action, codec, &opts));
    assert_int_equal(vq_action_horizon(action), HORIZON);
    assert_int_equal(vq_action_dimensions(action), DIM);
    assert_int_equal(vq_action_codes(action), 3 * DIM);
    uint32_t codes[3 * DIM];
    float chunk[HORIZON * DIM];
    const size_t positions = vq_tokens_positions(tokens);
    test_allocator counter = {0, 0, -1, false};
    const vq_allocator allocator = {failing_alloc, failing_free, &counter};
    vq_set_allocator(&allocator);
    for (size_t c = 0; c < 7; c++) {
        const size_t steps = c < 6 ? 16 : 4;
        assert_ok(vq_action_encode(codes, action, signal->data + c * HORIZON * DIM, steps));
        for (size_t l = 0; l < 3; l++)
            assert_memory_equal(codes + l * DIM, tokens->codes + l * positions + c * DIM,
                                DIM * sizeof *codes);
        assert_ok(vq_action_decode(chunk, action, codes));
        assert_memory_equal(chunk, back->data + c * HORIZON * DIM, steps * DIM * sizeof *chunk);
    }
    vq_set_allocator(NULL);
    assert_int_equal(counter.calls, 0); /* in 14 calls */
    assert_status(VQ_E_ARG, vq_action_encode(codes, action, chunk, 0));
    assert_status(VQ_E_ARG, vq_action_encode(codes, action, chunk, 17));
    codes[4] = 64;
    assert_status(VQ_E_RANGE, vq_action_decode(chunk, action, codes));
    chunk[7] = NAN;
    assert_status(VQ_E_NONFINITE, vq_action_encode(codes, action, chunk, 16));
    assert_non_null(strstr(vq_last_error(), "step 1, dimension 2"));
    vq_action_free(action);
    vq_tokens_free(tokens);
    vq_signal_free(signal);
    vq_signal_free(back);
    vq_codec_free(codec);
}

static void every_code_decodes_within_the_margin(void **state)
{
    (void)state;
    vq_codec *codec = fitted();
    vq_action *action;
    vq_signal *signal = make_signal(0, 1600, 8);
    vq_dimensions *d;
    const float *rows = signal->data;
    const size_t length = 1600;
    assert_ok(vq_dimensions_create(&d, DIM));
    assert_ok(vq_dimensions_fit(d, &rows, &length, 1));
    vq_action_opts opts = VQ_ACTION_OPTS_INIT;
    opts.levels = 3;
    opts.dimensions = d;
    assert_ok(vq_action_open(&action, codec, &opts));
    uint64_t random = 5;
    uint32_t codes[3 * DIM];
    float chunk[HORIZON * DIM];
    for (int trial = 0; trial < 20000; trial++) {
        for (int i = 0; i < 3 * DIM; i++)
            codes[i] = (uint32_t)(test_random(&random) % 64);
        assert_ok(vq_action_decode(chunk, action, codes));
        for (int i = 0; i < HORIZON * DIM; i++) {
            const float margin = VQ_DIMENSIONS_MARGIN * (d->max[i % DIM] - d->min[i % DIM]);
            assert_true(chunk[i] >= d->min[i % DIM] - margin);
            assert_true(chunk[i] <= d->max[i % DIM] + margin);
        }
    }
    vq_action_free(action);
    /* Extreme inputs: held, not overflowing. */
    assert_ok(vq_action_open(&action, codec, &opts));
    for (int i = 0; i < HORIZON * DIM; i++)
        chunk[i] = i % 2 ? 3e38f : -3e38f;
    assert_ok(vq_action_encode(codes, action, chunk, HORIZON));
    assert_ok(vq_action_decode(chunk, action, codes));
    for (int i = 0; i < HORIZON * DIM; i++)
        assert_true(isfinite(chunk[i]));
    vq_action_free(action);
    vq_dimensions_free(d);
    vq_signal_free(signal);
    vq_codec_free(codec);
}

static void ranges_are_asked_for(void **state)
{
    (void)state;
    vq_codec *universal, *own = fitted();
    vq_action *action;
    vq_tokens *tokens;
    assert_ok(vq_codec_open(&universal, "action", NULL));
    assert_status(VQ_E_ARG, vq_action_open(&action, universal, NULL));
    vq_codec *image;
    assert_ok(vq_codec_open(&image, "image", NULL));
    assert_status(VQ_E_ARG, vq_action_open(&action, image, NULL));
    vq_codec_free(image);
    const size_t shape[2] = {20, DIM + 1};
    vq_signal *other;
    assert_ok(vq_signal_create(&other, VQ_KIND_ACTION, 2, shape));
    assert_status(VQ_E_ARG, vq_codec_encode(&tokens, own, other, NULL));
    other->data[17] = INFINITY;
    assert_status(VQ_E_NONFINITE, vq_codec_encode(&tokens, universal, other, NULL));
    other->data[17] = 0;
    assert_ok(vq_codec_encode(&tokens, universal, other, NULL)); /* all constant */
    vq_signal *back;
    assert_ok(vq_codec_decode(&back, universal, tokens, NULL));
    assert_memory_equal(back->data, other->data, 20 * (DIM + 1) * sizeof(float));
    vq_signal_free(back);
    vq_dimensions_free(tokens->dimensions);
    tokens->dimensions = NULL;
    assert_status(VQ_E_ARG, vq_codec_decode(&back, universal, tokens, NULL));
    tokens->grid[0] = 1;
    assert_status(VQ_E_ARG, vq_codec_decode(&back, universal, tokens, NULL));
    vq_tokens_free(tokens);
    vq_signal_free(other);
    vq_codec_free(universal);
    vq_codec_free(own);
}

static void quantile_bins_hold_equally_many(void **state)
{
    (void)state;
    const vq_signal_source source = {4, read_signal, NULL};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    vq_tensors *model;
    opts.k = 8;
    opts.quantile_bins = 1;
    assert_ok(vq_codec_train(&model, "bins", &source, &opts));
    vq_codec *codec = open_tensors(model);
    size_t counts[8] = {0};
    for (size_t s = 0; s < 4; s++) {
        vq_signal *signal;
        vq_tokens *tokens;
        assert_ok(read_signal(NULL, s, &signal));
        assert_ok(vq_codec_encode(&tokens, codec, signal, NULL));
        for (size_t t = 0; t < 400; t++)
            counts[tokens->codes[t * DIM]]++;
        vq_tokens_free(tokens);
        vq_signal_free(signal);
    }
    for (int b = 0; b < 8; b++)
        assert_in_range(counts[b], 150, 250);
    vq_codec_free(codec);
    vq_tensors_free(model);
    opts.universal = 1;
    assert_status(VQ_E_ARG, vq_codec_train(&model, "bins", &source, &opts));
}

static void errors_are_of_each_dimension(void **state)
{
    (void)state;
    const size_t shape[2] = {5, 2};
    vq_signal *a, *b;
    vq_action_error errors[2];
    assert_ok(vq_signal_create(&a, VQ_KIND_ACTION, 2, shape));
    assert_ok(vq_signal_create(&b, VQ_KIND_ACTION, 2, shape));
    for (int t = 0; t < 5; t++)
        a->data[2 * t] = b->data[2 * t] = (float)(10 * t * t * t); /* third difference 60 */
    b->data[4] += 3;
    b->data[5] = 2;
    vq_dimensions *d;
    assert_ok(vq_dimensions_create(&d, 2));
    d->scaled = 1;
    d->high[0] = d->max[0] = 4; /* mapped: half of it */
    assert_ok(vq_action_compare(errors, a, b, d));
    assert_true(fabs(errors[0].rmse - sqrt(9.0 / 5)) < 1e-12 && errors[0].largest == 3);
    assert_true(errors[0].largest_mapped == 1.5 && fabs(errors[0].jerk_original - 60) < 1e-3);
    assert_true(errors[1].largest == 2 && errors[1].largest_mapped == 0);
    assert_true(errors[1].jerk_original == 0 && fabs(errors[1].jerk_decoded - 6) < 1e-9);
    b->data[0] = NAN;
    assert_status(VQ_E_NONFINITE, vq_action_compare(errors, a, b, d));
    b->shape[0] = 4;
    assert_status(VQ_E_ARG, vq_action_compare(errors, a, b, d));
    vq_dimensions_free(d);
    vq_signal_free(a);
    vq_signal_free(b);
}

/* Pushed in pieces of any size, steps become the tokens of the whole, and tokens its steps. */
static void a_stream_equals_the_file(void **state)
{
    (void)state;
    enum { STEPS = 403, FRAMES = 26 };
    vq_codec *codec = fitted(), *universal;
    vq_signal *signal = make_signal(0, STEPS, 6), *back;
    vq_tokens *tokens;
    vq_stream *in, *out;
    vq_stream_opts opts = VQ_STREAM_OPTS_INIT;
    opts.channels = DIM;
    opts.levels = 3;
    vq_coding_opts coding = VQ_CODING_OPTS_INIT;
    coding.levels = 3;
    assert_ok(vq_codec_encode(&tokens, codec, signal, &coding));
    assert_ok(vq_codec_decode(&back, codec, tokens, NULL));
    assert_ok(vq_stream_open(&in, codec, VQ_STREAM_ENCODE, &opts));
    assert_ok(vq_stream_open(&out, codec, VQ_STREAM_DECODE, &opts));
    static uint32_t codes[(FRAMES + 1) * DIM * 3];
    static float steps[(FRAMES + 1) * HORIZON * DIM];
    uint64_t random = 9;
    for (int trial = 0; trial < 50; trial++) {
        size_t frames = 0, decoded = 0;
        for (size_t at = 0; at < STEPS;) {
            const size_t left = STEPS - at, want = 1 + test_random(&random) % 60;
            size_t taken;
            assert_ok(vq_stream_push_samples(&taken, in, signal->data + at * DIM,
                                             want < left ? want : left));
            at += taken;
            frames += vq_stream_pull_tokens(codes + frames * DIM * 3, in, 8);
        }
        assert_ok(vq_stream_flush(in));
        frames += vq_stream_pull_tokens(codes + frames * DIM * 3, in, 8);
        assert_int_equal(frames, FRAMES);
        for (size_t l = 0; l < 3; l++)
            for (size_t p = 0; p < FRAMES * DIM; p++)
                assert_int_equal(codes[p * 3 + l], tokens->codes[l * FRAMES * DIM + p]);
        for (size_t f = 0; f < FRAMES;) {
            size_t taken;
            assert_ok(vq_stream_push_tokens(&taken, out, codes + f * DIM * 3,
                                            FRAMES - f > 3 ? 3 : FRAMES - f));
            f += taken;
            decoded +=
                vq_stream_pull_samples(steps + decoded * DIM, out, 1 + test_random(&random) % 70);
        }
        decoded += vq_stream_pull_samples(steps + decoded * DIM, out, FRAMES * HORIZON);
        assert_int_equal(decoded, FRAMES * HORIZON);
        assert_memory_equal(steps, back->data, STEPS * DIM * sizeof *steps);
        vq_stream_reset(in);
        vq_stream_reset(out);
    }
    vq_stream_free(in);
    vq_stream_free(out);
    opts.channels = DIM + 1;
    assert_status(VQ_E_ARG, vq_stream_open(&in, codec, VQ_STREAM_ENCODE, &opts));
    assert_ok(vq_codec_open(&universal, "action", NULL));
    assert_status(VQ_E_UNSUPPORTED, vq_stream_open(&in, universal, VQ_STREAM_ENCODE, &opts));
    vq_codec_free(universal);
    vq_tokens_free(tokens);
    vq_signal_free(signal);
    vq_signal_free(back);
    vq_codec_free(codec);
}

static void damaged_models_are_refused_or_work(void **state)
{
    (void)state;
    vq_tensors *model = train_tensors("action", 2, 16);
    size_t settings = 0;
    const char *key, *value;
    while (!vq_tensors_setting_at(&key, &value, model, settings))
        settings++;
    for (size_t at = 0; at < vq_tensors_count(model) + settings; at++)
        for (int what = DAMAGE_LEFT_OUT; what < DAMAGES; what++) {
            vq_tensors *copy = damaged_copy(model, at, (damage)what);
            if (!copy)
                continue;
            vq_bytes bytes;
            vq_codec *codec;
            assert_ok(vq_safetensors_serialize(&bytes, copy));
            if (!vq_codec_open_memory(&codec, bytes.data, bytes.size, NULL, NULL)) {
                vq_signal *signal = make_signal(0, 40, 3), *back = NULL;
                vq_tokens *tokens = NULL;
                if (!vq_codec_encode(&tokens, codec, signal, NULL) &&
                    !vq_codec_decode(&back, codec, tokens, NULL))
                    for (size_t i = 0; i < vq_signal_count(back); i++)
                        assert_true(isfinite(back->data[i]));
                vq_signal_free(back);
                vq_tokens_free(tokens);
                vq_signal_free(signal);
            }
            vq_codec_free(codec);
            vq_bytes_clear(&bytes);
            vq_tensors_free(copy);
        }
    vq_tensors_free(model);
}

static vq_status all_at_once(void *context)
{
    const vq_bytes *bytes = context;
    vq_codec *codec = NULL;
    vq_signal *signal = NULL, *back = NULL;
    vq_tokens *tokens = NULL;
    vq_action *action = NULL;
    const size_t shape[2] = {20, DIM};
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.threads = 1;
    vq_status status = vq_codec_open_memory(&codec, bytes->data, bytes->size, NULL, NULL);
    if (!status)
        status = vq_signal_create(&signal, VQ_KIND_ACTION, 2, shape);
    if (!status)
        status = vq_codec_encode(&tokens, codec, signal, &opts);
    if (!status)
        status = vq_codec_decode(&back, codec, tokens, &opts);
    if (!status)
        status = vq_action_open(&action, codec, NULL);
    vq_action_free(action);
    vq_signal_free(back);
    vq_tokens_free(tokens);
    vq_signal_free(signal);
    vq_codec_free(codec);
    return status;
}

static vq_status read_short(void *context, size_t index, vq_signal **out)
{
    (void)context;
    (void)index;
    const size_t shape[2] = {60, 2};
    const vq_status status = vq_signal_create(out, VQ_KIND_ACTION, 2, shape);
    for (size_t i = 0; !status && i < 120; i++)
        (*out)->data[i] = (float)(i * i % 37);
    return status;
}

static vq_status train_once(void *context)
{
    const vq_signal_source source = {1, read_short, NULL};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    opts.levels = 1;
    opts.k = 4;
    opts.max_vectors = 64;
    opts.max_iterations = 1;
    opts.threads = 1;
    opts.universal = *(int *)context;
    vq_tensors *model = NULL;
    const vq_status status = vq_codec_train(&model, "action", &source, &opts);
    vq_tensors_free(model);
    return status;
}

static void allocation_failures(void **state)
{
    (void)state;
    vq_tensors *model = train_tensors("action", 2, 16);
    vq_bytes bytes;
    assert_ok(vq_safetensors_serialize(&bytes, model));
    test_allocation_failures(all_at_once, &bytes);
    vq_bytes_clear(&bytes);
    vq_tensors_free(model);
    for (int universal = 0; universal < 2; universal++)
        test_allocation_failures(train_once, &universal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_shape_comes_back),
        cmocka_unit_test(prefixes_threads_and_bands_agree),
        cmocka_unit_test(the_loop_equals_the_file),
        cmocka_unit_test(every_code_decodes_within_the_margin),
        cmocka_unit_test(ranges_are_asked_for),
        cmocka_unit_test(quantile_bins_hold_equally_many),
        cmocka_unit_test(a_stream_equals_the_file),
        cmocka_unit_test(errors_are_of_each_dimension),
        cmocka_unit_test(damaged_models_are_refused_or_work),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
