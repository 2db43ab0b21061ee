/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/action_support.h  Motions to encode, and how near two are. */
#ifndef TESTS_UNIT_ACTION_SUPPORT_H
#define TESTS_UNIT_ACTION_SUPPORT_H

#include <math.h>

#include "codecs/train.h"
#include "io/safetensors.h"
#include "test_support.h"

enum { HORIZON = 16, DIM = 5 };

/* Smooth motions: three joints, a constant, and a gripper. */
static inline vq_signal *make_signal(size_t episodes, size_t steps, uint64_t seed)
{
    const size_t shape[3] = {episodes, steps, DIM};
    vq_signal *signal;
    assert_ok(vq_signal_create(&signal, VQ_KIND_ACTION, episodes ? 3 : 2, shape + !episodes));
    const size_t rows = vq_signal_count(signal) / DIM;
    double phase[DIM];
    for (int i = 0; i < DIM; i++)
        phase[i] = 6 * test_uniform(&seed);
    for (size_t r = 0; r < rows; r++) {
        float *row = signal->data + r * DIM;
        for (int i = 0; i < 3; i++)
            row[i] = (float)(100 * i + (i + 1) * sin(0.05 * (i + 1) * (double)r + phase[i]));
        row[3] = 7.25f;
        row[4] = sin(0.03 * (double)r + phase[4]) > 0.8 ? 1 : 0;
    }
    signal->rate = 50;
    return signal;
}

static inline vq_status read_signal(void *context, size_t index, vq_signal **out)
{
    (void)context;
    *out = make_signal(0, 400, index + 1);
    return VQ_OK;
}

static inline vq_codec *open_tensors(const vq_tensors *model)
{
    vq_bytes bytes;
    vq_codec *codec;
    assert_ok(vq_safetensors_serialize(&bytes, model));
    assert_ok(vq_codec_open_memory(&codec, bytes.data, bytes.size, "model", NULL));
    vq_bytes_clear(&bytes);
    return codec;
}

static inline double rmse(const vq_signal *a, const vq_signal *b, size_t dimension)
{
    const size_t d = a->shape[a->ndim - 1], n = vq_signal_count(a) / d;
    double sum = 0;
    for (size_t r = 0; r < n; r++)
        sum += pow((double)a->data[r * d + dimension] - (double)b->data[r * d + dimension], 2);
    return sqrt(sum / (double)n);
}

#endif
