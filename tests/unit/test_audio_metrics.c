/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "codecs/audio_metrics.h"
#include "io/sound.h"
#include "test_support.h"

enum { RATE = 16000, LENGTH = 2 * RATE };

static vq_signal *make_sound(size_t length, size_t channels)
{
    vq_signal *sound;
    assert_ok(vq_signal_create(&sound, VQ_KIND_AUDIO, 2, (size_t[]){length, channels}));
    sound->rate = RATE;
    return sound;
}

/* Noise that comes and goes, which has all bands and changes as speech does. */
static vq_signal *make_noise(uint64_t seed)
{
    vq_signal *sound = make_sound(LENGTH, 1);
    for (size_t i = 0; i < LENGTH; i++)
        sound->data[i] = (float)((test_uniform(&seed) - 0.5) *
                                 (0.5 + 0.5 * sin(2 * M_PI * 4 * (double)i / RATE)));
    return sound;
}

static void equal_sounds_are_perfect(void **state)
{
    (void)state;
    vq_signal *x = make_noise(1);
    vq_audio_quality q;
    assert_ok(vq_audio_compare(&q, x, x));
    assert_true(isinf(q.si_sdr_db) && q.si_sdr_db > 0);
    assert_true(q.lsd_db == 0 && q.log_mel == 0);
    assert_true(fabs(q.stoi - 1) < 1e-6);
    vq_signal_free(x);
}

static void half_as_loud_is_6_db_away_and_as_clear(void **state)
{
    (void)state;
    vq_signal *x = make_noise(1), *y = make_noise(1);
    for (size_t i = 0; i < LENGTH; i++)
        y->data[i] *= 0.5f;
    vq_audio_quality q;
    assert_ok(vq_audio_compare(&q, x, y));
    assert_true(q.si_sdr_db > 120 || isinf(q.si_sdr_db));
    assert_true(fabs(q.lsd_db - 20 * log10(2)) < 1e-3);
    assert_true(fabs(q.log_mel - log(2)) < 1e-3);
    assert_true(fabs(q.stoi - 1) < 1e-6);
    vq_signal_free(x);
    vq_signal_free(y);
}

/* A sine and its cosine are orthogonal: at a tenth of its size the distortion is 20 dB down, whatever the scale. */
static void the_ratio_is_that_of_orthogonal_parts(void **state)
{
    (void)state;
    vq_signal *x = make_sound(LENGTH, 1), *y = make_sound(LENGTH, 1);
    for (size_t i = 0; i < LENGTH; i++) {
        const double t = 2 * M_PI * 1000 * (double)i / RATE;
        x->data[i] = (float)(0.5 * sin(t));
        y->data[i] = (float)(0.2 * (sin(t) + 0.1 * cos(t)));
    }
    vq_audio_quality q;
    assert_ok(vq_audio_compare(&q, x, y));
    assert_true(fabs(q.si_sdr_db - 20) < 1e-4);
    vq_signal_free(x);
    vq_signal_free(y);
}

static void another_noise_is_not_understood(void **state)
{
    (void)state;
    vq_signal *x = make_noise(1), *y = make_noise(2), *silence = make_sound(LENGTH, 1);
    vq_audio_quality q;
    assert_ok(vq_audio_compare(&q, x, y));
    assert_true(q.si_sdr_db < -20);
    assert_ok(vq_audio_compare(&q, x, silence));
    assert_true(isnan(q.si_sdr_db));
    assert_true(q.stoi < 0.1 && q.lsd_db > 50);
    assert_ok(vq_audio_compare(&q, silence, silence));
    assert_true(q.lsd_db == 0 && q.log_mel == 0);
    vq_signal_free(x);
    vq_signal_free(y);
    vq_signal_free(silence);
}

/* Real speech, coarsely rounded: STOI is pystoi 0.4.1's (the authors' Matlab in Python), the rest NumPy's in double. */
static void real_speech_has_the_reference_s_figures(void **state)
{
    (void)state;
    static const struct {
        uint32_t rate;
        double si_sdr, lsd, log_mel, stoi;
    } known[] = {{16000, -1.315538, 15.199794, 2.888720, 0.506728},
                 {24000, -1.297547, 17.729234, 3.006204, 0.509026}};
    const char *path = test_data("audio/speech16k/103-1240-0000.flac");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        vq_sound_opts opts = VQ_SOUND_OPTS_INIT;
        opts.rate = known[i].rate;
        vq_signal *x, *y;
        assert_ok(vq_sound_read(&x, path, &opts));
        assert_ok(vq_sound_read(&y, path, &opts));
        for (size_t k = 0; k < y->shape[0]; k++)
            y->data[k] = nearbyintf(y->data[k] * 8) / 8;
        vq_audio_quality q;
        assert_ok(vq_audio_compare(&q, x, y));
        assert_true(fabs(q.si_sdr_db - known[i].si_sdr) < 1e-3);
        assert_true(fabs(q.lsd_db - known[i].lsd) < 1e-3);
        assert_true(fabs(q.log_mel - known[i].log_mel) < 1e-3);
        assert_true(fabs(q.stoi - known[i].stoi) < 1e-3);
        vq_signal_free(x);
        vq_signal_free(y);
    }
}

static void short_sounds_have_no_intelligibility(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 255, 256, 257, 511, 2048, 5000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        vq_signal *x = make_sound(lengths[i], 2);
        for (size_t k = 0; k < 2 * lengths[i]; k++)
            x->data[k] = 0.25f;
        vq_audio_quality q;
        assert_ok(vq_audio_compare(&q, x, x));
        assert_true(isnan(q.stoi) && q.lsd_db == 0);
        vq_signal_free(x);
    }
}

static void a_sine_stands_in_its_row_of_the_spectrogram(void **state)
{
    (void)state;
    enum { COLUMNS = 7, ROWS = 100 };
    static float picture[COLUMNS * ROWS];
    vq_signal *x = make_sound(LENGTH, 1);
    for (size_t i = 0; i < LENGTH; i++)
        x->data[i] = (float)sin(2 * M_PI * 2040 * (double)i / RATE);
    assert_ok(vq_audio_spectrogram(picture, x, COLUMNS, ROWS));
    for (int c = 0; c < COLUMNS; c++)
        for (int r = 0; r < ROWS; r++) {
            const float db = picture[c * ROWS + r];
            assert_true(r == 25 ? fabsf(db) < 1 : r < 23 || r > 27 ? db < -60 : db <= 1);
        }
    assert_status(VQ_E_ARG, vq_audio_spectrogram(picture, x, 0, ROWS));
    assert_status(VQ_E_ARG, vq_audio_spectrogram(picture, x, 1, 1025));
    vq_signal_free(x);
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    vq_signal *x = make_noise(1), *y = make_sound(LENGTH, 2), *z = make_noise(2);
    vq_audio_quality q;
    assert_status(VQ_E_ARG, vq_audio_compare(&q, x, y));
    z->data[5] = NAN;
    assert_status(VQ_E_NONFINITE, vq_audio_compare(&q, x, z));
    z->data[5] = 0;
    z->rate = 8000;
    assert_status(VQ_E_ARG, vq_audio_compare(&q, x, z));
    z->rate = 0;
    assert_status(VQ_E_ARG, vq_audio_compare(&q, z, z));
    z->kind = VQ_KIND_ACTION;
    assert_status(VQ_E_ARG, vq_audio_compare(&q, z, z));
    vq_signal_free(x);
    vq_signal_free(y);
    vq_signal_free(z);
}

static vq_status compare_once(void *context)
{
    const vq_signal *x = context;
    vq_audio_quality q;
    return vq_audio_compare(&q, x, x);
}

static void no_memory_is_survived(void **state)
{
    (void)state;
    vq_signal *x = make_noise(1);
    x->shape[0] = 12000;
    test_allocation_failures(compare_once, x);
    vq_signal_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_sounds_are_perfect),
        cmocka_unit_test(half_as_loud_is_6_db_away_and_as_clear),
        cmocka_unit_test(the_ratio_is_that_of_orthogonal_parts),
        cmocka_unit_test(another_noise_is_not_understood),
        cmocka_unit_test(real_speech_has_the_reference_s_figures),
        cmocka_unit_test(short_sounds_have_no_intelligibility),
        cmocka_unit_test(a_sine_stands_in_its_row_of_the_spectrogram),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(no_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
