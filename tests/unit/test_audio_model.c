/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in audio model, on a voice that it was not trained on. */
#include <math.h>

#include "codecs/codec.h"
#include "codecs/stream.h"
#include "io/sound.h"
#include "test_support.h"

enum { LEVELS = 16, HOP = 320 };

static vq_signal *speech(void)
{
    vq_sound_opts opts = VQ_SOUND_OPTS_INIT;
    opts.rate = 24000;
    opts.channels = 1;
    vq_signal *sound;
    assert_ok(vq_sound_read(&sound, test_data("audio/speech16k/1116-132847-0000.flac"), &opts));
    return sound;
}

static vq_codec *open_builtin(void)
{
    vq_codec *codec;
    assert_ok(vq_codec_open(&codec, "audio", NULL));
    return codec;
}

static double power(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum / (double)n;
}

static void it_is_what_the_documents_say(void **state)
{
    (void)state;
    vq_codec *codec = open_builtin();
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    assert_string_equal(info.name, "audio");
    assert_int_equal(info.id, 2);
    assert_int_equal(info.kind, VQ_KIND_AUDIO);
    assert_int_equal(info.levels, LEVELS);
    assert_int_equal(info.default_levels, 8);
    assert_int_equal(info.hop[0], HOP);
    assert_true(info.rate == 24000);
    for (uint32_t l = 0; l < LEVELS; l++)
        assert_int_equal(vq_quantizer_k(info.quantizer, l), 1024);
    const void *data;
    size_t size;
    assert_ok(vq_codec_builtin_model(&data, &size, "audio"));
    assert_true(size <= 2000000);
    vq_codec_free(codec);
}

/* The mean difference of the logarithms of the energies of 20 ms of 40 equal bands to 8 kHz, by plain Fourier sums. */
static double spectral_distance(const vq_signal *a, const vq_signal *b)
{
    enum { FRAME = 480, BANDS = 40, STEP = 4800 };
    static float cosines[FRAME * 4];
    const double pi = 3.14159265358979323846;
    for (int i = 0; i < FRAME; i++)
        cosines[i] = (float)cos(2 * pi * i / FRAME);
    double sum = 0;
    size_t count = 0;
    for (size_t at = 0; at + FRAME <= a->shape[0]; at += STEP)
        for (size_t band = 0; band < BANDS; band++, count++) {
            double energy[2] = {0, 0};
            for (size_t k = 4 * band + 2; k < 4 * band + 6; k++)
                for (int which = 0; which < 2; which++) {
                    const float *x = (which ? b : a)->data + at;
                    double re = 0, im = 0;
                    for (size_t i = 0; i < FRAME; i++) {
                        re += (double)x[i] * cosines[i * k % FRAME];
                        im += (double)x[i] * cosines[(i * k + 3 * FRAME / 4) % FRAME];
                    }
                    energy[which] += re * re + im * im;
                }
            sum += fabs(log10(energy[0] + 1e-4) - log10(energy[1] + 1e-4));
        }
    return sum / (double)count;
}

static void twice_the_levels_bring_it_nearer(void **state)
{
    (void)state;
    vq_signal *sound = speech();
    vq_codec *codec = open_builtin();
    vq_tokens *tokens;
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = LEVELS;
    assert_ok(vq_codec_encode(&tokens, codec, sound, &opts));
    double distance[LEVELS + 1];
    for (uint32_t levels = 1; levels <= LEVELS; levels++) {
        opts.levels = levels;
        vq_signal *copy;
        assert_ok(vq_codec_decode(&copy, codec, tokens, &opts));
        distance[levels] = spectral_distance(sound, copy);
        const double loudness = 10 * log10(power(copy->data, vq_signal_count(copy)) /
                                           power(sound->data, vq_signal_count(sound)));
        assert_true(fabs(loudness) < (levels < 4 ? 3.5 : 1.5));
        vq_signal_free(copy);
    }
    for (uint32_t levels = 2; levels <= LEVELS; levels *= 2)
        assert_true(distance[levels] < distance[levels / 2]);
    vq_tokens_free(tokens);
    vq_codec_free(codec);
    vq_signal_free(sound);
}

static void silence_stays_silent(void **state)
{
    (void)state;
    vq_codec *codec = open_builtin();
    vq_signal *sound, *copy;
    const size_t shape[2] = {24000, 1};
    assert_ok(vq_signal_create(&sound, VQ_KIND_AUDIO, 2, shape));
    vq_tokens *tokens;
    assert_ok(vq_codec_encode(&tokens, codec, sound, NULL));
    assert_ok(vq_codec_decode(&copy, codec, tokens, NULL));
    assert_true(10 * log10(power(copy->data, 24000) + 1e-20) < -70);
    vq_signal_free(copy);
    vq_tokens_free(tokens);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

/* The model's own beam, in a stream and in a whole. */
static void stream_equals_whole(void **state)
{
    (void)state;
    vq_signal *sound = speech();
    sound->shape[0] = sound->shape[0] < 48000 ? sound->shape[0] : 48000;
    vq_codec *codec = open_builtin();
    vq_tokens *tokens;
    vq_stream *stream;
    assert_ok(vq_codec_encode(&tokens, codec, sound, NULL));
    assert_ok(vq_stream_open(&stream, codec, VQ_STREAM_ENCODE, NULL));
    size_t frame = 0;
    for (size_t at = 0; frame < tokens->grid[1];) {
        const size_t n = sound->shape[0] - at < 777 ? sound->shape[0] - at : 777;
        uint32_t codes[64 * 8];
        if (n)
            assert_ok(vq_stream_push_samples(NULL, stream, sound->data + at, n));
        else
            assert_ok(vq_stream_flush(stream));
        at += n;
        const size_t got = vq_stream_pull_tokens(codes, stream, 64);
        for (size_t i = 0; i < got; i++, frame++)
            for (size_t l = 0; l < 8; l++)
                assert_int_equal(codes[i * 8 + l], tokens->codes[l * tokens->grid[1] + frame]);
    }
    assert_int_equal(frame, tokens->grid[1]);
    vq_stream_free(stream);
    vq_tokens_free(tokens);
    vq_codec_free(codec);
    vq_signal_free(sound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_the_documents_say),
        cmocka_unit_test(twice_the_levels_bring_it_nearer),
        cmocka_unit_test(silence_stays_silent),
        cmocka_unit_test(stream_equals_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
