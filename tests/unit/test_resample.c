/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "io/resample.h"
#include "test_support.h"

/* All of `in` in blocks of random size. @return the frames that came. */
static size_t run(vq_resampler *r, const float *in, size_t frames, float *out, size_t room,
                  uint64_t *seed)
{
    size_t at = 0, filled = 0;
    for (int over = 0; !over;) {
        size_t count = seed ? 1 + test_random(seed) % 900 : 512, used, got;
        count = count < frames - at ? count : frames - at;
        const size_t most = seed ? 1 + test_random(seed) % 900 : room - filled;
        assert_true(filled + (most < room - filled ? most : room - filled) <= room);
        assert_ok(vq_resampler_process(r, in + at, count, &used, out + filled,
                                       most < room - filled ? most : room - filled, &got));
        over = !count && !got;
        at += used;
        filled += got;
    }
    return filled;
}

static void lengths_are_exact_and_blocks_do_not_matter(void **state)
{
    (void)state;
    static const uint32_t rates[][2] = {{8000, 24000},   {11025, 24000}, {16000, 24000},
                                        {24000, 24000},  {44100, 24000}, {48000, 24000},
                                        {192000, 24000}, {24000, 16000}, {24000, 44100}};
    static const size_t lengths[] = {1, 2, 3, 7, 100, 1023, 5000, 20000};
    enum { ROOM = 80000 };
    float *in = malloc(20000 * sizeof *in), *a = malloc(ROOM * sizeof *a),
          *b = malloc(ROOM * sizeof *b);
    assert_true(in && a && b);
    uint64_t seed = 1;
    for (size_t i = 0; i < 20000; i++)
        in[i] = (float)(test_uniform(&seed) - 0.5);
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
        vq_resampler *r;
        assert_ok(vq_resampler_create(&r, rates[k][0], rates[k][1], 1));
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            const size_t expected =
                (size_t)vq_resampled_length(lengths[i], rates[k][0], rates[k][1]);
            assert_int_equal(run(r, in, lengths[i], a, ROOM, NULL), expected);
            vq_resampler_reset(r);
            assert_int_equal(run(r, in, lengths[i], b, ROOM, &seed), expected);
            assert_memory_equal(a, b, expected * sizeof *a);
            vq_resampler_reset(r);
        }
        vq_resampler_free(r);
    }
    free(in);
    free(a);
    free(b);
}

/* Time and loudness stay: a sine at one rate is the same sine at the other. */
static void a_sine_stays_a_sine_in_its_place(void **state)
{
    (void)state;
    static const uint32_t rates[][2] = {{16000, 24000}, {44100, 24000}, {8000, 24000}};
    enum { SECOND = 48000 };
    static float in[SECOND], out[SECOND];
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
        const uint32_t from = rates[k][0], to = rates[k][1];
        for (uint32_t i = 0; i < from; i++)
            in[i] = (float)(0.5 * sin(2 * M_PI * 1000 * i / from));
        vq_resampler *r;
        assert_ok(vq_resampler_create(&r, from, to, 1));
        assert_int_equal(run(r, in, from, out, SECOND, NULL), to);
        for (uint32_t i = to / 8; i < to - to / 8; i++)
            assert_true(fabs((double)out[i] - 0.5 * sin(2 * M_PI * 1000 * i / to)) < 1e-4);
        vq_resampler_free(r);
    }
}

static void lengths_of_days_do_not_overflow(void **state)
{
    (void)state;
    assert_true(vq_resampled_length(UINT64_C(48000) * 86400 * 10000, 48000, 24000) ==
                UINT64_C(24000) * 86400 * 10000);
    assert_int_equal(vq_resampled_length(0, 48000, 24000), 0);
    assert_int_equal(vq_resampled_length(1, 192000, 24000), 1);
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    vq_resampler *r;
    assert_status(VQ_E_ARG, vq_resampler_create(&r, 0, 24000, 1));
    assert_status(VQ_E_ARG, vq_resampler_create(&r, 24000, 50, 1));
    assert_status(VQ_E_ARG, vq_resampler_create(&r, 24000, 16000, 9));
    assert_ok(vq_resampler_create(&r, 24000, 16000, 2));
    float in[2] = {0}, out[2];
    size_t used, got;
    assert_ok(vq_resampler_process(r, NULL, 0, &used, out, 1, &got));
    assert_int_equal(got, 0);
    assert_status(VQ_E_ARG, vq_resampler_process(r, in, 1, &used, out, 1, &got));
    vq_resampler_free(r);
    vq_resampler_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_are_exact_and_blocks_do_not_matter),
        cmocka_unit_test(a_sine_stays_a_sine_in_its_place),
        cmocka_unit_test(lengths_of_days_do_not_overflow),
        cmocka_unit_test(mistakes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
