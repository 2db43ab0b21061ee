/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: the same tokens and samples as the whole signal, nothing allocated after opening, and the stated delay. */
#include "codecs/stream.h"
#include "audio_support.h"

enum { HOP = 320 };

typedef struct pair {
    vq_stream *encoder, *decoder;
} pair;

static pair open_pair(const vq_codec *codec, uint32_t levels, uint32_t channels, uint32_t frames)
{
    pair p;
    vq_stream_opts opts = VQ_STREAM_OPTS_INIT;
    opts.levels = levels;
    opts.channels = channels;
    opts.frames = frames;
    assert_ok(vq_stream_open(&p.encoder, codec, VQ_STREAM_ENCODE, &opts));
    assert_ok(vq_stream_open(&p.decoder, codec, VQ_STREAM_DECODE, &opts));
    return p;
}

static void free_pair(pair p)
{
    vq_stream_free(p.encoder);
    vq_stream_free(p.decoder);
}

/* A signal through both streams in random pieces. `codes` and `copy` have room for all. Returns the frames. */
static size_t run(pair p, uint32_t *codes, float *copy, const vq_signal *signal, size_t most,
                  uint64_t *seed)
{
    vq_stream_info info;
    vq_stream_get_info(&info, p.encoder);
    const size_t samples = signal->shape[0], channels = signal->shape[1];
    const size_t size = (size_t)info.positions * info.levels;
    const size_t expected = (samples + HOP - 1) / HOP + 1;
    size_t frames = 0, decoded = 0, copied = 0;
    for (size_t at = 0, flushed = 0; decoded < expected;) {
        if (at < samples) {
            size_t n = 1 + test_random(seed) % most, taken;
            n = n < samples - at ? n : samples - at;
            assert_ok(vq_stream_push_samples(&taken, p.encoder, signal->data + at * channels, n));
            at += taken;
        } else if (!flushed++) {
            assert_ok(vq_stream_flush(p.encoder));
        }
        frames += vq_stream_pull_tokens(codes + frames * size, p.encoder,
                                        test_random(seed) % (flushed ? 1000 : 5));
        size_t taken, n = test_random(seed) % 7;
        n = n < frames - decoded ? n : frames - decoded;
        assert_ok(vq_stream_push_tokens(&taken, p.decoder, codes + decoded * size, n));
        decoded += taken;
        copied += vq_stream_pull_samples(copy + copied * channels, p.decoder,
                                         test_random(seed) % (flushed ? 100000 : 2000));
    }
    copied += vq_stream_pull_samples(copy + copied * channels, p.decoder, SIZE_MAX / 8);
    assert_int_equal(frames, expected);
    assert_int_equal(copied, (frames - 1) * HOP);
    return frames;
}

static void assert_same(const uint32_t *codes, const float *copy, size_t frames,
                        const vq_tokens *tokens, const vq_signal *whole)
{
    const size_t channels = tokens->grid[0], levels = tokens->levels;
    assert_int_equal(frames, tokens->grid[1]);
    for (size_t i = 0; i < frames; i++)
        for (size_t c = 0; c < channels; c++)
            for (size_t l = 0; l < levels; l++)
                assert_int_equal(codes[(i * channels + c) * levels + l],
                                 tokens->codes[(l * channels + c) * frames + i]);
    assert_memory_equal(copy, whole->data, vq_signal_count(whole) * sizeof(float));
}

static void stream_equals_file(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    uint64_t seed = 1;
    const size_t lengths[] = {1, 319, 320, 321, 7777, 20000};
    uint32_t codes[2 * 3 * 80];
    float *copy = malloc(2 * 80 * HOP * sizeof *copy);
    for (size_t i = 0; i < 12; i++) {
        const uint32_t channels = 1 + i % 2, levels = 1 + i % 3;
        vq_signal *sound = make_sound(lengths[i / 2], channels, i), *whole;
        vq_tokens *tokens;
        vq_coding_opts opts = VQ_CODING_OPTS_INIT;
        opts.levels = levels;
        assert_ok(vq_codec_encode(&tokens, codec, sound, &opts));
        assert_ok(vq_codec_decode(&whole, codec, tokens, NULL));
        const pair p = open_pair(codec, levels, channels, 1 + i * 3);
        for (int trial = 0; trial < 100; trial++) { /* 1200 in all */
            memset(codes, 0xff, sizeof codes);
            const size_t frames = run(p, codes, copy, sound, 5000, &seed);
            assert_same(codes, copy, frames, tokens, whole);
            vq_stream_reset(p.encoder);
            vq_stream_reset(p.decoder);
        }
        free_pair(p);
        vq_tokens_free(tokens);
        vq_signal_free(whole);
        vq_signal_free(sound);
    }
    free(copy);
    vq_codec_free(codec);
}

static void a_stream_allocates_at_open_only(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *sound = make_sound(20000, 2, 1);
    uint32_t codes[2 * 3 * 80];
    float *copy = malloc(2 * 80 * HOP * sizeof *copy);
    test_allocator counting = {0, 0, -1, false};
    const vq_allocator allocator = {failing_alloc, failing_free, &counting};
    vq_set_allocator(&allocator);
    const pair p = open_pair(codec, 0, 2, 8);
    const long calls = counting.calls;
    assert_true(calls > 0);
    uint64_t seed = 3;
    for (int trial = 0; trial < 3; trial++) {
        run(p, codes, copy, sound, 1000, &seed);
        vq_stream_reset(p.encoder);
        vq_stream_reset(p.decoder);
    }
    assert_int_equal(counting.calls, calls);
    free_pair(p);
    vq_set_allocator(NULL);
    assert_int_equal(counting.live, 0);
    free(copy);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

/* One sample in, what is ready out: never later than said, and once exactly as late. */
static void the_delay_is_as_stated(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *sound = make_sound(3000, 1, 1);
    const pair p = open_pair(codec, 0, 1, 0);
    vq_stream_info info;
    vq_stream_get_info(&info, p.encoder);
    assert_int_equal(info.hop, HOP);
    assert_int_equal(info.delay, 2 * HOP);
    assert_int_equal(info.overlap, 1);
    size_t out = 0, largest = 0, first_tokens = 0;
    for (size_t i = 0; i < 3000; i++) {
        uint32_t codes[3];
        float samples[HOP];
        assert_ok(vq_stream_push_samples(NULL, p.encoder, sound->data + i, 1));
        if (vq_stream_pull_tokens(codes, p.encoder, 1)) {
            first_tokens = first_tokens ? first_tokens : i + 1;
            assert_ok(vq_stream_push_tokens(NULL, p.decoder, codes, 1));
            const size_t n = vq_stream_pull_samples(samples, p.decoder, HOP);
            if (n && i - out > largest)
                largest = i - out; /* the oldest of them waited for so many more */
            out += n;
        }
    }
    assert_int_equal(first_tokens, HOP);
    assert_int_equal(largest + 1, info.delay);
    free_pair(p);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

static void a_full_stream_takes_no_more(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vq_signal *sound = make_sound(20 * HOP, 1, 1);
    const pair p = open_pair(codec, 0, 1, 4);
    size_t taken;
    uint32_t codes[3 * 10];
    float samples[10 * HOP];
    assert_ok(vq_stream_push_samples(&taken, p.encoder, sound->data, 20 * HOP));
    assert_int_equal(taken, 4 * HOP);
    assert_ok(vq_stream_push_samples(&taken, p.encoder, sound->data + taken, 16 * HOP));
    assert_int_equal(taken, 0);
    assert_ok(vq_stream_flush(p.encoder)); /* has room of its own */
    assert_int_equal(vq_stream_pull_tokens(codes, p.encoder, 10), 5);
    assert_ok(vq_stream_push_tokens(&taken, p.decoder, codes, 5));
    assert_int_equal(taken, 4);
    assert_int_equal(vq_stream_pull_samples(samples, p.decoder, SIZE_MAX / 8), 3 * HOP);
    assert_ok(vq_stream_push_tokens(&taken, p.decoder, codes + 3 * taken, 1));
    assert_int_equal(vq_stream_pull_samples(samples, p.decoder, SIZE_MAX / 8), HOP);
    free_pair(p);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

static void flushing_ends_and_reset_begins(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    const pair p = open_pair(codec, 0, 1, 0);
    const float sample = 0.5f;
    uint32_t codes[3 * 4];
    assert_ok(vq_stream_flush(p.encoder)); /* nothing in, nothing out */
    assert_int_equal(vq_stream_pull_tokens(codes, p.encoder, 4), 0);
    assert_status(VQ_E_ARG, vq_stream_push_samples(NULL, p.encoder, &sample, 1));
    vq_stream_reset(p.encoder);
    assert_ok(vq_stream_push_samples(NULL, p.encoder, &sample, 1));
    assert_ok(vq_stream_push_samples(NULL, p.encoder, NULL, 0));
    assert_ok(vq_stream_flush(p.encoder));
    assert_ok(vq_stream_flush(p.encoder));
    assert_int_equal(vq_stream_pull_tokens(codes, p.encoder, 4), 2);
    assert_ok(vq_stream_flush(p.decoder));
    assert_status(VQ_E_ARG, vq_stream_push_tokens(NULL, p.decoder, codes, 1));
    free_pair(p);
    vq_codec_free(codec);
}

static void wrong_input_has_a_status(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model(), *image;
    const pair p = open_pair(codec, 0, 1, 0);
    float samples[3] = {0, NAN, 0};
    uint32_t codes[3] = {0, 16, 0};
    size_t taken = 9;
    assert_status(VQ_E_NONFINITE, vq_stream_push_samples(&taken, p.encoder, samples, 3));
    assert_int_equal(taken, 0);
    samples[1] = INFINITY;
    assert_status(VQ_E_NONFINITE, vq_stream_push_samples(&taken, p.encoder, samples, 3));
    samples[1] = 1e30f;
    assert_status(VQ_E_NONFINITE, vq_stream_push_samples(&taken, p.encoder, samples, 3));
    assert_status(VQ_E_RANGE, vq_stream_push_tokens(&taken, p.decoder, codes, 1));
    assert_int_equal(taken, 0);
    assert_status(VQ_E_ARG, vq_stream_push_tokens(NULL, p.encoder, codes, 1));
    assert_status(VQ_E_ARG, vq_stream_push_samples(NULL, p.decoder, samples, 1));
    assert_int_equal(vq_stream_pull_samples(samples, p.encoder, 1), 0);
    assert_int_equal(vq_stream_pull_tokens(codes, p.decoder, 1), 0);

    vq_stream *none;
    vq_stream_opts opts = VQ_STREAM_OPTS_INIT;
    assert_status(VQ_E_ARG, vq_stream_open(&none, codec, (vq_stream_direction)2, NULL));
    opts.levels = 4;
    assert_status(VQ_E_ARG, vq_stream_open(&none, codec, VQ_STREAM_ENCODE, &opts));
    assert_null(none);
    opts = (vq_stream_opts)VQ_STREAM_OPTS_INIT;
    opts.channels = 5000;
    assert_status(VQ_E_ARG, vq_stream_open(&none, codec, VQ_STREAM_ENCODE, &opts));
    opts = (vq_stream_opts)VQ_STREAM_OPTS_INIT;
    opts.frames = (1 << 20) + 1;
    assert_status(VQ_E_ARG, vq_stream_open(&none, codec, VQ_STREAM_ENCODE, &opts));
    opts = (vq_stream_opts)VQ_STREAM_OPTS_INIT;
    opts.beam = VQ_MAX_BEAM + 1;
    assert_status(VQ_E_ARG, vq_stream_open(&none, codec, VQ_STREAM_ENCODE, &opts));
    opts = (vq_stream_opts)VQ_STREAM_OPTS_INIT;
    opts.threads = -1;
    assert_status(VQ_E_ARG, vq_stream_open(&none, codec, VQ_STREAM_ENCODE, &opts));
    assert_ok(vq_codec_open(&image, "image", NULL));
    assert_status(VQ_E_UNSUPPORTED, vq_stream_open(&none, image, VQ_STREAM_ENCODE, NULL));
    vq_codec_free(image);
    free_pair(p);
    vq_codec_free(codec);
}

static vq_status open_both(void *context)
{
    vq_stream *encoder = NULL, *decoder = NULL;
    vq_status status = vq_stream_open(&encoder, context, VQ_STREAM_ENCODE, NULL);
    if (!status)
        status = vq_stream_open(&decoder, context, VQ_STREAM_DECODE, NULL);
    vq_stream_free(encoder);
    vq_stream_free(decoder);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    test_allocation_failures(open_both, codec);
    vq_codec_free(codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_equals_file),
        cmocka_unit_test(a_stream_allocates_at_open_only),
        cmocka_unit_test(the_delay_is_as_stated),
        cmocka_unit_test(a_full_stream_takes_no_more),
        cmocka_unit_test(flushing_ends_and_reset_begins),
        cmocka_unit_test(wrong_input_has_a_status),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, train_small_model, free_small_model);
}
