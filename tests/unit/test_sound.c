/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "io/resample.h"
#include "io/sound.h"
#include "test_support.h"

enum { FRAMES = 12345 };

static char folder[] = "/tmp/libvq-sound-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static const char *path_of(const char *name)
{
    static char path[2][256];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* Two sines, the second channel softer. */
static vq_signal *make_sound(size_t frames, size_t channels, double rate)
{
    vq_signal *sound;
    assert_ok(vq_signal_create(&sound, VQ_KIND_AUDIO, 2, (size_t[]){frames, channels}));
    sound->rate = rate;
    sound->bits = 16;
    for (size_t i = 0; i < frames; i++)
        for (size_t c = 0; c < channels; c++)
            sound->data[i * channels + c] =
                (float)((0.6 - 0.2 * (double)c) * sin(2 * M_PI * 440 * (double)i / rate));
    return sound;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        vq_sound_coding coding;
        double error;
        const char *format;
        uint32_t bits;
    } files[] = {{"a.wav", VQ_SOUND_BY_NAME, 0x1p-16, "WAV", 16},
                 {"b.wav", VQ_SOUND_WAV_24, 0x1p-24, "WAV", 24},
                 {"c.wav", VQ_SOUND_WAV_FLOAT, 0, "WAV", 32},
                 {"d.FLAC", VQ_SOUND_BY_NAME, 0x1p-16, "FLAC", 16},
                 {"e", VQ_SOUND_FLAC_24, 0x1p-24, "FLAC", 24}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (size_t channels = 1; channels <= 2; channels++) {
            vq_signal *sound = make_sound(FRAMES, channels, 22050), *copy;
            const char *path = path_of(files[i].name);
            assert_ok(vq_sound_write(path, sound, files[i].coding, NULL));
            vq_sound_source *source;
            vq_sound_info info;
            assert_ok(vq_sound_source_open(&source, path, NULL));
            vq_sound_source_info(&info, source);
            vq_sound_source_free(source);
            assert_string_equal(info.format, files[i].format);
            assert_int_equal(info.bits, files[i].bits);
            assert_int_equal(info.declared_frames, FRAMES);
            assert_ok(vq_sound_read(&copy, path, NULL));
            assert_int_equal(copy->shape[0], FRAMES);
            assert_int_equal(copy->shape[1], channels);
            assert_true(copy->rate == 22050);
            for (size_t k = 0; k < FRAMES * channels; k++)
                assert_true(fabs((double)copy->data[k] - (double)sound->data[k]) <= files[i].error);
            vq_signal_free(copy);
            vq_signal_free(sound);
            assert_int_equal(unlink(path), 0);
        }
}

static void integers_are_clipped(void **state)
{
    (void)state;
    vq_signal *sound = make_sound(3, 1, 8000), *copy;
    sound->data[0] = 1.5f;
    sound->data[1] = -1.5f;
    sound->data[2] = 1;
    assert_ok(vq_sound_write(path_of("a.wav"), sound, VQ_SOUND_BY_NAME, NULL));
    assert_ok(vq_sound_read(&copy, path_of("a.wav"), NULL));
    assert_true(copy->data[0] == 32767.0f / 32768 && copy->data[1] == -1 &&
                copy->data[2] == 32767.0f / 32768);
    vq_signal_free(copy);
    sound->data[1] = NAN;
    assert_status(VQ_E_NONFINITE, vq_sound_write(path_of("b.wav"), sound, VQ_SOUND_BY_NAME, NULL));
    assert_int_equal(access(path_of("b.wav"), F_OK), -1); /* nothing is left of it */
    sound->rate = 0;
    assert_status(VQ_E_ARG, vq_sound_write(path_of("b.wav"), sound, VQ_SOUND_BY_NAME, NULL));
    assert_status(VQ_E_IO, vq_sound_writer_open(&(vq_sound_writer *){NULL}, "/nowhere/b.wav", 8000,
                                                1, VQ_SOUND_BY_NAME, NULL));
    vq_signal_free(sound);
    assert_int_equal(unlink(path_of("a.wav")), 0);
}

static void blocks_of_any_size_give_the_same_samples(void **state)
{
    (void)state;
    uint64_t seed = 5;
    vq_signal *sound = make_sound(FRAMES, 2, 44100), *whole;
    assert_ok(vq_sound_write(path_of("a.flac"), sound, VQ_SOUND_BY_NAME, NULL));
    vq_sound_opts opts = VQ_SOUND_OPTS_INIT;
    opts.rate = 24000;
    opts.channels = 1;
    assert_ok(vq_sound_read(&whole, path_of("a.flac"), &opts));
    assert_int_equal(whole->shape[0], vq_resampled_length(FRAMES, 44100, 24000));
    assert_int_equal(whole->shape[1], 1);
    for (int trial = 0; trial < 20; trial++) {
        vq_sound_source *source;
        float block[700];
        size_t at = 0, got;
        assert_ok(vq_sound_source_open(&source, path_of("a.flac"), &opts));
        do {
            const size_t most = trial ? 1 + test_random(&seed) % 700 : 1;
            assert_ok(vq_sound_source_read(source, block, most, &got));
            assert_true(at + got <= whole->shape[0]);
            assert_memory_equal(block, whole->data + at, got * sizeof *block);
            at += got;
        } while (got);
        assert_int_equal(at, whole->shape[0]);
        vq_sound_source_free(source);
    }
    vq_signal_free(whole);
    vq_signal_free(sound);
    assert_int_equal(unlink(path_of("a.flac")), 0);
}

static void channels_are_mixed_or_doubled(void **state)
{
    (void)state;
    vq_signal *stereo = make_sound(100, 2, 8000), *mono, *both;
    assert_ok(vq_sound_write(path_of("a.wav"), stereo, VQ_SOUND_WAV_FLOAT, NULL));
    vq_sound_opts opts = VQ_SOUND_OPTS_INIT;
    opts.channels = 1;
    assert_ok(vq_sound_read(&mono, path_of("a.wav"), &opts));
    for (size_t i = 0; i < 100; i++)
        assert_true(mono->data[i] == (stereo->data[2 * i] + stereo->data[2 * i + 1]) / 2);
    assert_ok(vq_sound_write(path_of("b.wav"), mono, VQ_SOUND_WAV_FLOAT, NULL));
    opts.channels = 2;
    assert_ok(vq_sound_read(&both, path_of("b.wav"), &opts));
    for (size_t i = 0; i < 200; i++)
        assert_true(both->data[i] == mono->data[i / 2]);
    vq_signal *three = make_sound(100, 3, 8000), *none;
    assert_ok(vq_sound_write(path_of("c.wav"), three, VQ_SOUND_WAV_FLOAT, NULL));
    assert_status(VQ_E_UNSUPPORTED, vq_sound_read(&none, path_of("c.wav"), &opts));
    opts.channels = 3;
    assert_status(VQ_E_ARG, vq_sound_read(&none, path_of("c.wav"), &opts));
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_sound_channels = 2;
    opts = (vq_sound_opts)VQ_SOUND_OPTS_INIT;
    opts.limits = &limits;
    assert_status(VQ_E_LIMIT, vq_sound_read(&none, path_of("c.wav"), &opts));
    limits = (vq_limits)VQ_LIMITS_INIT;
    limits.max_sound_frames = 99;
    assert_status(VQ_E_LIMIT, vq_sound_read(&none, path_of("a.wav"), &opts));
    limits = (vq_limits)VQ_LIMITS_INIT;
    limits.max_alloc_bytes = 1000;
    assert_status(VQ_E_LIMIT, vq_sound_read(&none, path_of("a.wav"), &opts));
    vq_signal_free(three);
    vq_signal_free(both);
    vq_signal_free(mono);
    vq_signal_free(stereo);
    for (const char *name = "abc"; *name; name++)
        assert_int_equal(unlink(path_of((char[]){*name, '.', 'w', 'a', 'v', 0})), 0);
}

static vq_status write_and_read(void *context)
{
    const vq_signal *sound = context;
    vq_sound_opts opts = VQ_SOUND_OPTS_INIT;
    opts.rate = 24000;
    opts.channels = 1;
    vq_signal *copy = NULL;
    vq_status status = vq_sound_write(path_of("n.wav"), sound, VQ_SOUND_BY_NAME, NULL);
    if (!status)
        status = vq_sound_read(&copy, path_of("n.wav"), &opts);
    vq_signal_free(copy);
    return status;
}

static void no_memory_is_survived(void **state)
{
    (void)state;
    vq_signal *sound = make_sound(3000, 2, 16000);
    test_allocation_failures(write_and_read, sound);
    vq_signal_free(sound);
    assert_int_equal(unlink(path_of("n.wav")), 0);
}

static void real_files_of_many_kinds_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *name, *format;
        uint32_t rate;
        size_t frames;
    } files[] = {{"audio/speech16k/103-1240-0000.flac", "FLAC", 16000, 225360},
                 {"audio/wav_samples/encodec_test_24k.wav", "WAV", 24000, 480000},
                 {"audio/wav_samples/lyra_sample1_48kHz.wav", "WAV", 48000, 165531}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        vq_signal *sound;
        const char *path = test_data(files[i].name);
        vq_sound_source *source;
        vq_sound_info info;
        assert_ok(vq_sound_source_open(&source, path, NULL));
        vq_sound_source_info(&info, source);
        vq_sound_source_free(source);
        assert_string_equal(info.format, files[i].format);
        assert_int_equal(info.file_rate, files[i].rate);
        assert_ok(vq_sound_read(&sound, path, NULL));
        assert_int_equal(sound->shape[0], files[i].frames);
        vq_signal_free(sound);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(integers_are_clipped),
        cmocka_unit_test(blocks_of_any_size_give_the_same_samples),
        cmocka_unit_test(channels_are_mixed_or_doubled),
        cmocka_unit_test(no_memory_is_survived),
        cmocka_unit_test(real_files_of_many_kinds_are_read),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
