/* SPDX-License-Identifier: Apache-2.0 */
/* The audio codec: whole signals, which are streams that take everything at once. */
#include <math.h>
#include <omp.h>

#include "codecs/audio_internal.h"
#include "codecs/stream_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* Frames in a stream of a whole signal, so that the search has work for every thread. */
enum { BATCH_FRAMES = 1024, OVERLAP = 1 };

static size_t frames_of(const vqi_audio_model *model, size_t samples)
{
    return samples / model->hop + (samples % model->hop != 0) + OVERLAP;
}

static vq_status open_stream(vq_stream **out, const vq_codec *codec, vq_stream_direction direction,
                             uint32_t channels, size_t frames, const vq_coding_opts *opts)
{
    vq_stream_opts stream = VQ_STREAM_OPTS_INIT;
    stream.levels = opts->levels;
    stream.channels = channels;
    stream.frames = frames < BATCH_FRAMES ? (uint32_t)frames : BATCH_FRAMES;
    stream.threads = opts->threads > 0 ? opts->threads : omp_get_max_threads();
    stream.beam = opts->beam;
    stream.lambda = opts->lambda;
    return vq_stream_open(out, codec, direction, &stream);
}

static vq_status report_progress(const vq_coding_opts *opts, uint64_t done, uint64_t total)
{
    const vq_progress progress = {done, total};
    if (opts->progress && opts->progress(opts->progress_context, &progress))
        return vqi_fail(VQ_E_CANCELLED, "cancelled");
    return VQ_OK;
}

/* Codes of n frames from `first` on, between a stream's order (frames x channels x levels) and that of tokens. */
static void exchange_codes(vq_tokens *tokens, uint32_t *codes, uint32_t levels, size_t first,
                           size_t n, int store)
{
    const size_t channels = tokens->grid[0], frames = tokens->grid[1];
    for (uint32_t l = 0; l < levels; l++)
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < n; i++) {
                uint32_t *theirs = tokens->codes + (l * channels + c) * frames + first + i;
                uint32_t *ours = codes + (i * channels + c) * levels + l;
                if (store)
                    *theirs = *ours;
                else
                    *ours = *theirs;
            }
}

static vq_status encode_all(vq_tokens *tokens, uint32_t *codes, vq_stream *stream,
                            const vq_signal *signal, const vq_coding_opts *opts)
{
    const size_t samples = signal->shape[0], channels = signal->shape[1];
    size_t done = 0;
    vq_status status = VQ_OK;
    for (size_t at = 0, taken; !status && done < tokens->grid[1]; at += taken) {
        taken = 0;
        if (at < samples)
            status =
                vq_stream_push_samples(&taken, stream, signal->data + at * channels, samples - at);
        else
            status = vq_stream_flush(stream);
        if (status)
            break;
        const size_t n = vq_stream_pull_tokens(codes, stream, BATCH_FRAMES);
        exchange_codes(tokens, codes, tokens->levels, done, n, 1);
        done += n;
        status = report_progress(opts, done, tokens->grid[1]);
    }
    return status;
}

static vq_status check_signal(const vqi_audio_model *model, const vq_signal *signal)
{
    if (signal->rate != 0 && signal->rate != (double)model->rate)
        return vqi_fail(VQ_E_ARG,
                        "the sound has %g samples per second (the model wants %u: resample it)",
                        signal->rate, model->rate);
    const size_t samples = signal->shape[0], channels = signal->shape[1];
    for (size_t i = 0; i < samples * channels; i++)
        if (!isfinite(signal->data[i]))
            return vqi_fail(VQ_E_NONFINITE, "sample %zu of channel %zu is a NaN or an infinity",
                            i / channels, i % channels);
    return VQ_OK;
}

static vq_status encode(vq_tokens **out, const vq_codec *codec, const vq_signal *signal,
                        const vq_coding_opts *opts)
{
    const vqi_audio_model *model = codec->state;
    vq_status status = check_signal(model, signal);
    if (status)
        return status;
    const size_t grid[2] = {signal->shape[1], frames_of(model, signal->shape[0])};
    uint32_t k[VQ_MAX_LEVELS];
    for (uint32_t l = 0; l < opts->levels; l++)
        k[l] = vq_quantizer_k(codec->quantizer, l);
    vq_tokens *tokens = NULL;
    vq_stream *stream = NULL;
    uint32_t *codes = NULL;
    if (grid[0] > UINT32_MAX)
        return vqi_fail(VQ_E_ARG, "a sound of %zu channels", grid[0]);
    status = open_stream(&stream, codec, VQ_STREAM_ENCODE, (uint32_t)grid[0], grid[1], opts);
    if (!status)
        status = vq_tokens_create(&tokens, 2, grid, opts->levels, k);
    if (!status && !(codes = vqi_alloc(BATCH_FRAMES * grid[0], opts->levels * sizeof *codes)))
        status = vqi_fail_nomem(BATCH_FRAMES * grid[0] * opts->levels * sizeof *codes);
    if (!status)
        status = encode_all(tokens, codes, stream, signal, opts);
    vq_free(codes);
    vq_stream_free(stream);
    if (status) {
        vq_tokens_free(tokens);
        return status;
    }
    tokens->source_ndim = 2;
    tokens->source_shape[0] = signal->shape[0];
    tokens->source_shape[1] = signal->shape[1];
    *out = tokens;
    return VQ_OK;
}

static vq_status check(const vq_codec *codec, const vq_tokens *tokens)
{
    const vqi_audio_model *model = codec->state;
    const size_t *shape = tokens->source_shape;
    if (tokens->source_ndim != 2 || !shape[0] || !shape[1])
        return vqi_fail(VQ_E_ARG, "the tokens' source is not a sound");
    if (tokens->rate != 0 && tokens->rate != (double)model->rate)
        return vqi_fail(VQ_E_ARG, "the tokens are of %g samples per second, the model of %u",
                        tokens->rate, model->rate);
    if (tokens->grid_ndim != 2 || tokens->grid[0] != shape[1] || shape[1] > UINT32_MAX ||
        tokens->grid[1] != frames_of(model, shape[0]))
        return vqi_fail(VQ_E_ARG, "a grid of %zu x %zu does not fit a sound of %zu x %zu samples",
                        tokens->grid[0], tokens->grid[1], shape[0], shape[1]);
    return VQ_OK;
}

static vq_status decode_all(vq_signal *signal, uint32_t *codes, vq_stream *stream,
                            const vq_tokens *tokens, const vq_coding_opts *opts)
{
    const size_t frames = tokens->grid[1], samples = signal->shape[0], channels = signal->shape[1];
    /* Reading only; the exchange has one spelling for both ways. */
    vq_tokens view = *tokens;
    size_t pulled = 0;
    vq_status status = VQ_OK;
    for (size_t done = 0, n; !status && done < frames; done += n) {
        n = frames - done < BATCH_FRAMES ? frames - done : BATCH_FRAMES;
        exchange_codes(&view, codes, opts->levels, done, n, 0);
        status = vq_stream_push_tokens(NULL, stream, codes, n);
        if (status)
            break;
        pulled +=
            vq_stream_pull_samples(signal->data + pulled * channels, stream, samples - pulled);
        status = report_progress(opts, done + n, frames);
    }
    return status;
}

static vq_status decode(vq_signal **out, const vq_codec *codec, const vq_tokens *tokens,
                        const vq_coding_opts *opts)
{
    vq_status status = check(codec, tokens);
    if (status)
        return status;
    const size_t channels = tokens->grid[0];
    vq_signal *signal = NULL;
    vq_stream *stream = NULL;
    uint32_t *codes = vqi_alloc(BATCH_FRAMES * channels, opts->levels * sizeof *codes);
    status = codes ? VQ_OK : vqi_fail_nomem(BATCH_FRAMES * channels * opts->levels * sizeof *codes);
    if (!status)
        status = open_stream(&stream, codec, VQ_STREAM_DECODE, (uint32_t)channels, tokens->grid[1],
                             opts);
    if (!status)
        status = vq_signal_create(&signal, VQ_KIND_AUDIO, 2, tokens->source_shape);
    if (!status)
        status = decode_all(signal, codes, stream, tokens, opts);
    vq_free(codes);
    vq_stream_free(stream);
    if (status) {
        vq_signal_free(signal);
        return status;
    }
    *out = signal;
    return VQ_OK;
}

static vq_status load(void **state, const vq_tensors *model, const vq_quantizer *quantizer,
                      const vq_limits *limits)
{
    (void)
        limits; /* what bounds everything here, the quantizer's dimension, was checked when it was made */
    vqi_audio_model *audio;
    const vq_status status = vqi_audio_model_load(&audio, model, vq_quantizer_dim(quantizer));
    if (status)
        return status;
    if (audio->default_levels > vq_quantizer_levels(quantizer))
        audio->default_levels = vq_quantizer_levels(quantizer);
    *state = audio;
    return VQ_OK;
}

static void release(void *state)
{
    vqi_audio_model_free(state);
}

static void describe(vq_codec_info *info, const void *state)
{
    const vqi_audio_model *model = state;
    info->default_levels = model->default_levels;
    info->hop[0] = model->hop;
    info->hop[1] = 1;
    info->rate = model->rate;
    info->beam = model->beam;
}

const vqi_front_end vqi_front_end_audio = {
    .name = "audio",
    .id = 2,
    .kind = VQ_KIND_AUDIO,
    .load = load,
    .free = release,
    .describe = describe,
    .encode = encode,
    .decode = decode,
    .check = check,
    .stream = &vqi_stream_audio,
    .train = vqi_audio_train,
};
