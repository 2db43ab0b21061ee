/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/audio_support.h  Sounds by formula, and a small audio model that learns from them. */
#ifndef AUDIO_SUPPORT_H
#define AUDIO_SUPPORT_H

#include <math.h>

#include "codecs/codec.h"
#include "codecs/train.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "test_support.h"

/** Harmonics of a gliding pitch that swells and fades, and a little noise; the same for the same arguments. */
static inline vq_signal *make_sound(size_t samples, size_t channels, uint64_t seed)
{
    vq_signal *signal;
    const size_t shape[2] = {samples, channels};
    assert_ok(vq_signal_create(&signal, VQ_KIND_AUDIO, 2, shape));
    signal->rate = 24000;
    const double pitch = 0.02 + 0.04 * test_uniform(&seed);
    for (size_t t = 0; t < samples; t++)
        for (size_t c = 0; c < channels; c++) {
            const double at = (double)t, phase = pitch * at * (1 + 2e-6 * at) + (double)c;
            double sum = 0;
            for (int h = 1; h < 20; h++)
                sum += sin(h * phase) / h;
            signal->data[t * channels + c] =
                (float)(0.2 * sum * (0.6 + 0.4 * sin(0.0005 * at * (double)(c + 1))) +
                        0.02 * (test_uniform(&seed) - 0.5));
        }
    return signal;
}

static vq_bytes model_bytes;

static inline vq_status next_sound(void *context, size_t index, vq_signal **out)
{
    (void)context;
    *out = make_sound(3000 + 100 * index, 1 + index % 2, index);
    return VQ_OK;
}

/** Three levels of sixteen codewords: a model of a few kilobytes. */
static inline int train_small_model(void **state)
{
    (void)state;
    const vq_signal_source source = {8, next_sound, NULL};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    opts.levels = 3;
    opts.k = 16;
    opts.dim = 20;
    opts.max_iterations = 4;
    opts.max_vectors = 300;
    vq_tensors *tensors;
    assert_ok(vq_codec_train(&tensors, "audio", &source, &opts));
    assert_ok(vq_safetensors_serialize(&model_bytes, tensors));
    vq_tensors_free(tensors);
    return 0;
}

static inline int free_small_model(void **state)
{
    (void)state;
    vq_bytes_clear(&model_bytes);
    return 0;
}

static inline vq_codec *open_small_model(void)
{
    vq_codec *codec;
    assert_ok(vq_codec_open_memory(&codec, model_bytes.data, model_bytes.size, "small", NULL));
    return codec;
}

#endif
