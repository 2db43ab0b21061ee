/* SPDX-License-Identifier: Apache-2.0 */
/* How often would a token be another one if FFTW used the vector instructions of this processor? It does not, so that tokens are
   the same on every processor; this counts what that avoids. FFTW cannot be told which instructions to use, only whether any. */
#include <fftw3.h>

#include "audio_support.h"
#include "codecs/audio_internal.h"

/* A second copy of the plans' source, with other names and flags. */
#define VQI_FFTW_FLAGS     (FFTW_ESTIMATE | FFTW_DESTROY_INPUT)
#define vqi_fourier_create vectors_create
#define vqi_fourier_free   vectors_free
#define vqi_fourier_run    vectors_run
vq_status vectors_create(vqi_fourier **out, uint32_t n);
void vectors_free(vqi_fourier *plan);
void vectors_run(const vqi_fourier *plan, float *out, float *in);
#include "codecs/fourier_fftw.c"

static void tokens_by_vector_code(void **state)
{
    (void)state;
    vq_codec *codec = open_small_model();
    vqi_audio_model *model = codec->state;
    vqi_fourier *ours = model->mdct.fourier, *vectors;
    vq_signal *sound = make_sound(200000, 1, 99);
    vq_tokens *a, *b;
    assert_ok(vectors_create(&vectors, model->hop / 2));
    assert_ok(vq_codec_encode(&a, codec, sound, NULL));
    model->mdct.fourier = vectors;
    assert_ok(vq_codec_encode(&b, codec, sound, NULL));
    model->mdct.fourier = ours;
    const size_t count = vq_tokens_positions(a) * a->levels;
    size_t different = 0;
    for (size_t i = 0; i < count; i++)
        different += a->codes[i] != b->codes[i];
    print_message("%zu of %zu tokens differ with vector code\n", different, count);
    assert_true(different < 1 + count / 500);
    vectors_free(vectors);
    vq_tokens_free(a);
    vq_tokens_free(b);
    vq_signal_free(sound);
    vq_codec_free(codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tokens_by_vector_code)};
    return cmocka_run_group_tests(tests, train_small_model, free_small_model);
}
