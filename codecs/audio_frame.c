/* SPDX-License-Identifier: Apache-2.0 */
/* Samples to latents and back, a frame at a time; and the state of a stream of frames. Everything runs in one fixed order and
   without libm: the latents are the same bits on every processor. */
#include <math.h>
#include <string.h>

#include "codecs/audio_internal.h"
#include "codecs/elementary_internal.h"
#include "codecs/stream_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/philox_internal.h"

size_t vqi_audio_scratch(const vqi_audio_model *model)
{
    return model->hop + vqi_mdct_scratch(model->hop);
}

/* Whatever the tables and the codewords of a model are, what they decode to stays finite. */
static const double max_coefficient = 0x1p40;

static float signed_power(float x, double exponent)
{
    const double power = vqi_power(fabsf(x), exponent);
    const float magnitude = (float)(power < max_coefficient ? power : max_coefficient);
    return x < 0 ? -magnitude : magnitude;
}

void vqi_audio_analyse(float *latents, const vqi_audio_model *model, const float *samples,
                       float *scratch)
{
    float *coefficients = scratch;
    vqi_mdct_forward(coefficients, &model->mdct, samples, scratch + model->hop);
    for (uint32_t i = 0; i < model->kept_count; i++)
        latents[i] =
            signed_power(coefficients[model->kept[i]], (double)model->exponent) * model->weights[i];
    for (uint32_t b = 0; b < model->band_count; b++) {
        const uint32_t first = model->edges[b], end = model->edges[b + 1];
        double energy = 0;
        for (uint32_t k = first; k < end; k++)
            energy += (double)coefficients[k] * coefficients[k];
        const double logarithm = vqi_log2(energy / (end - first) + (double)model->floor);
        latents[model->kept_count + b] =
            ((float)logarithm - model->offsets[b]) * model->weights[model->kept_count + b];
    }
}

/* Coefficients of the bands: their decoded root mean square, with signs by the coefficient's place. */
static void fill_bands(float *coefficients, const vqi_audio_model *model, const float *latents,
                       uint64_t frame, uint32_t channel)
{
    uint32_t signs[VQI_MDCT_MAX / 32];
    for (uint32_t i = 0; i * 128 < model->hop; i++) {
        const vqi_philox random =
            vqi_philox4x32((vqi_philox){{(uint32_t)frame, (uint32_t)(frame >> 32), channel, i}}, 0);
        memcpy(signs + (size_t)4 * i, random.word, sizeof random.word);
    }
    for (uint32_t b = 0; b < model->band_count; b++) {
        const float logarithm = latents[b] / model->weights[model->kept_count + b];
        const double energy =
            vqi_exp2((double)logarithm + (double)model->offsets[b]) - (double)model->floor;
        const double root = energy > 0 ? sqrt(energy) : 0;
        const float rms = (float)(root < max_coefficient ? root : max_coefficient);
        for (uint32_t k = model->edges[b]; k < model->edges[b + 1]; k++)
            coefficients[k] = signs[k / 32] >> k % 32 & 1 ? rms : -rms;
    }
}

void vqi_audio_synthesise_add(float *samples, const vqi_audio_model *model, const float *latents,
                              uint32_t levels, uint64_t frame, uint32_t channel, float *scratch)
{
    float *coefficients = scratch;
    const uint32_t row = levels < model->gain_levels ? levels - 1 : model->gain_levels - 1;
    const float *gains = model->gains + (size_t)row * model->kept_count;
    memset(coefficients, 0, model->hop * sizeof *coefficients);
    for (uint32_t i = 0; i < model->kept_count; i++)
        coefficients[model->kept[i]] =
            signed_power(latents[i] / model->weights[i], 1 / (double)model->exponent) * gains[i];
    fill_bands(coefficients, model, latents + model->kept_count, frame, channel);
    vqi_mdct_inverse_add(samples, &model->mdct, coefficients, scratch + model->hop);
}

typedef struct audio_stream {
    const vqi_audio_model *model;
    uint32_t channels, dim;
    uint64_t frame;
    float *windows; /**< channels x 2 H: the block before and this one, or what adds up */
    float *scratch;
} audio_stream;

static void close_stream(void *state)
{
    audio_stream *s = state;
    if (!s)
        return;
    vq_free(s->windows);
    vq_free(s->scratch);
    vq_free(s);
}

static vq_status open_stream(void **state, vqi_stream_shape *shape, const vq_codec *codec,
                             uint32_t channels)
{
    const vqi_audio_model *model = codec->state;
    audio_stream *s = vqi_calloc(1, sizeof *s);
    if (!s)
        return vqi_fail_nomem(sizeof *s);
    s->model = model;
    s->channels = channels;
    s->dim = vqi_audio_dim(model);
    s->windows = vqi_alloc(channels, 2 * (size_t)model->hop * sizeof *s->windows);
    s->scratch = vqi_alloc(vqi_audio_scratch(model), sizeof *s->scratch);
    if (!s->windows || !s->scratch) {
        close_stream(s);
        return vqi_fail_nomem(2ull * channels * model->hop * sizeof(float));
    }
    *state = s;
    *shape = (vqi_stream_shape){.hop = model->hop, .positions = channels, .overlap = 1};
    return VQ_OK;
}

static void reset_stream(void *state)
{
    audio_stream *s = state;
    s->frame = 0;
    memset(s->windows, 0, 2 * (size_t)s->model->hop * s->channels * sizeof *s->windows);
}

static void analyse_block(float *latents, void *state, const float *block)
{
    audio_stream *s = state;
    const size_t hop = s->model->hop;
    for (uint32_t c = 0; c < s->channels; c++) {
        float *window = s->windows + 2 * hop * c;
        memcpy(window, window + hop, hop * sizeof *window);
        for (size_t j = 0; j < hop; j++)
            window[hop + j] = block[j * s->channels + c];
        vqi_audio_analyse(latents + (size_t)c * s->dim, s->model, window, s->scratch);
    }
}

static void synthesise_block(float *block, void *state, const float *latents, uint32_t levels)
{
    audio_stream *s = state;
    const size_t hop = s->model->hop;
    for (uint32_t c = 0; c < s->channels; c++) {
        float *window = s->windows + 2 * hop * c;
        memcpy(window, window + hop, hop * sizeof *window);
        memset(window + hop, 0, hop * sizeof *window);
        vqi_audio_synthesise_add(window, s->model, latents + (size_t)c * s->dim, levels, s->frame,
                                 c, s->scratch);
        for (size_t j = 0; j < hop; j++)
            block[j * s->channels + c] = window[j];
    }
    s->frame++;
}

const vqi_stream_kind vqi_stream_audio = {
    .open = open_stream,
    .free = close_stream,
    .reset = reset_stream,
    .analyse = analyse_block,
    .synthesise = synthesise_block,
};
