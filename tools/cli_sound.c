/* SPDX-License-Identifier: Apache-2.0 */
#include "cli_sound.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codecs/stream.h"

enum {
    BLOCK = 4096 /* samples that are read together */,
    FRAMES = 256 /* that wait in a stream */
};

/** Open the input at `rate`, 0 = its own, with one or two channels: more are mixed to one. */
static vq_status open_source(vq_sound_source **out, const cli_input *input, uint32_t rate)
{
    vq_sound_opts opts = VQ_SOUND_OPTS_INIT;
    opts.rate = rate;
    for (;;) {
        const vq_status status = input->bytes.data
                                     ? vq_sound_source_open_memory(out, input->bytes.data,
                                                                   input->bytes.size, NULL, &opts)
                                     : vq_sound_source_open(out, input->path, &opts);
        vq_sound_info info;
        if (status)
            return status;
        vq_sound_source_info(&info, *out);
        if (info.channels <= 2)
            return VQ_OK;
        vq_sound_source_free(*out);
        opts.channels = 1;
    }
}

uint32_t cli_sound_levels(const vq_codec_info *info, double kbits)
{
    double bits = 0;
    for (uint32_t l = 0; l < info->levels; l++) {
        bits += ceil(log2(vq_quantizer_k(info->quantizer, l)));
        /* A thousandth more than asked for is still what was asked for. */
        if (bits * info->rate / info->hop[0] > 1001 * kbits)
            return l;
    }
    return info->levels;
}

/** How samples of so many bits are written to a file of that name: 16 (also for 0), 24, 32 = float. */
static vq_sound_coding coding_of(const char *output, uint32_t bits)
{
    const int flac = cli_has_suffix(output, ".flac");
    switch (bits) {
    case 24:
        return flac ? VQ_SOUND_FLAC_24 : VQ_SOUND_WAV_24;
    case 32:
        return VQ_SOUND_WAV_FLOAT;
    default:
        return flac ? VQ_SOUND_FLAC_16 : VQ_SOUND_WAV_16;
    }
}

/** A sound on its way to tokens; the codes of a frame are together, as the stream gives them. */
typedef struct encoding {
    vq_sound_source *source;
    vq_stream *stream;
    const vq_coding_opts *opts;
    vq_sound_info sound;
    vq_stream_info shape;
    float *samples;
    uint32_t *codes;
    size_t frames, room;
    uint64_t read;
} encoding;

static vq_status pull(encoding *e)
{
    const size_t width = (size_t)e->shape.positions * e->shape.levels;
    size_t got;
    do {
        if (e->room - e->frames < FRAMES) {
            const size_t room = e->room ? 2 * e->room : 16 * FRAMES;
            e->codes = cli_need(realloc(e->codes, room * width * sizeof *e->codes));
            e->room = room;
        }
        got = vq_stream_pull_tokens(e->codes + e->frames * width, e->stream, FRAMES);
        e->frames += got;
    } while (got);
    const vq_progress progress = {e->read / e->shape.hop, e->sound.declared_frames / e->shape.hop};
    return e->opts->progress && e->opts->progress(e->opts->progress_context, &progress)
               ? VQ_E_CANCELLED
               : VQ_OK;
}

static vq_status push(encoding *e, size_t count)
{
    vq_status status = VQ_OK;
    for (size_t at = 0, taken; at < count && !status; at += taken) {
        status = vq_stream_push_samples(&taken, e->stream, e->samples + at * e->sound.channels,
                                        count - at);
        if (!status)
            status = pull(e);
    }
    return status;
}

static vq_status run_encoder(encoding *e)
{
    size_t got = 0;
    vq_status status;
    do {
        status = vq_sound_source_read(e->source, e->samples, BLOCK, &got);
        e->read += got;
        if (!status)
            status = push(e, got);
    } while (!status && got);
    if (!status)
        status = vq_stream_flush(e->stream);
    return status ? status : pull(e);
}

/* Tokens lie level by level, channel by channel. */
static vq_status make_tokens(vq_tokens **out, const encoding *e, const vq_codec_info *info)
{
    const uint32_t levels = e->shape.levels, channels = e->sound.channels;
    uint32_t k[VQ_MAX_LEVELS];
    for (uint32_t l = 0; l < levels; l++)
        k[l] = vq_quantizer_k(info->quantizer, l);
    vq_tokens *tokens;
    const vq_status status =
        vq_tokens_create(&tokens, 2, (size_t[]){channels, e->frames}, levels, k);
    if (status)
        return status;
    const uint32_t *from = e->codes;
    for (size_t f = 0; f < e->frames; f++)
        for (size_t c = 0; c < channels; c++)
            for (size_t l = 0; l < levels; l++)
                tokens->codes[(l * channels + c) * e->frames + f] = *from++;
    tokens->kind = VQ_KIND_AUDIO;
    tokens->source_ndim = 2;
    tokens->source_shape[0] = (size_t)e->read;
    tokens->source_shape[1] = channels;
    tokens->rate = info->rate;
    tokens->bits = 16;
    snprintf(tokens->codec, sizeof tokens->codec, "%s", info->name);
    memcpy(tokens->model_sha256, info->model_sha256, sizeof tokens->model_sha256);
    *out = tokens;
    return VQ_OK;
}

vq_status cli_sound_encode(vq_tokens **out, const vq_codec *codec, const cli_input *input,
                           const vq_coding_opts *opts)
{
    vq_codec_info info;
    encoding e = {.opts = opts};
    vq_codec_get_info(&info, codec);
    vq_status status = open_source(&e.source, input, (uint32_t)info.rate);
    if (status)
        return status;
    vq_sound_source_info(&e.sound, e.source);
    vq_stream_opts stream = VQ_STREAM_OPTS_INIT;
    stream.levels = opts->levels ? opts->levels : opts->lambda > 0 ? info.levels : 0;
    stream.channels = e.sound.channels;
    stream.frames = FRAMES;
    stream.threads = opts->threads;
    stream.beam = opts->beam;
    stream.lambda = opts->lambda;
    status = vq_stream_open(&e.stream, codec, VQ_STREAM_ENCODE, &stream);
    if (!status) {
        vq_stream_get_info(&e.shape, e.stream);
        e.samples = cli_need(malloc(BLOCK * e.sound.channels * sizeof *e.samples));
        status = run_encoder(&e);
    }
    if (!status)
        status = make_tokens(out, &e, &info);
    free(e.samples);
    free(e.codes);
    vq_stream_free(e.stream);
    vq_sound_source_free(e.source);
    return status;
}

/** Tokens on their way to a file. */
typedef struct decoding {
    vq_stream *stream;
    vq_sound_writer *writer;
    const vq_tokens *tokens;
    const vq_coding_opts *opts;
    vq_stream_info shape;
    float *samples;
    uint32_t *codes;
    size_t left; /* samples to write */
} decoding;

static vq_status write_ready(decoding *d)
{
    size_t got;
    vq_status status = VQ_OK;
    do {
        got = vq_stream_pull_samples(d->samples, d->stream, d->left < BLOCK ? d->left : BLOCK);
        d->left -= got;
        if (got)
            status = vq_sound_writer_write(d->writer, d->samples, got);
    } while (got && !status);
    return status;
}

static vq_status run_decoder(decoding *d)
{
    const size_t frames = d->tokens->grid[1], channels = d->tokens->grid[0];
    vq_status status = VQ_OK;
    for (size_t done = 0, count, taken; done < frames && !status; done += taken) {
        count = frames - done < FRAMES ? frames - done : FRAMES;
        uint32_t *to = d->codes;
        for (size_t f = 0; f < count; f++)
            for (size_t c = 0; c < channels; c++)
                for (size_t l = 0; l < d->shape.levels; l++)
                    *to++ = d->tokens->codes[(l * channels + c) * frames + done + f];
        status = vq_stream_push_tokens(&taken, d->stream, d->codes, count);
        if (!status)
            status = write_ready(d);
        const vq_progress progress = {done + taken, frames};
        if (!status && d->opts->progress && d->opts->progress(d->opts->progress_context, &progress))
            status = VQ_E_CANCELLED;
    }
    return status;
}

vq_status cli_sound_decode(const char *output, const vq_codec *codec, const vq_tokens *tokens,
                           const vq_coding_opts *opts, const cli_writing *writing)
{
    vq_status status = vq_codec_check(codec, tokens, opts);
    if (status)
        return status;
    decoding d = {.tokens = tokens, .opts = opts, .left = tokens->source_shape[0]};
    const size_t channels = tokens->grid[0];
    vq_stream_opts stream = VQ_STREAM_OPTS_INIT;
    stream.levels = opts->levels ? opts->levels : tokens->levels;
    stream.channels = (uint32_t)channels;
    stream.frames = FRAMES;
    stream.threads = opts->threads;
    status = vq_stream_open(&d.stream, codec, VQ_STREAM_DECODE, &stream);
    if (!status) {
        vq_stream_get_info(&d.shape, d.stream);
        d.samples = cli_need(malloc(BLOCK * channels * sizeof *d.samples));
        d.codes = cli_need(malloc(FRAMES * channels * d.shape.levels * sizeof *d.codes));
        status = vq_sound_writer_open(&d.writer, output, (uint32_t)tokens->rate, (uint32_t)channels,
                                      coding_of(output, writing->bits), NULL);
    }
    if (!status) {
        status = run_decoder(&d);
        const vq_status closed = vq_sound_writer_close(d.writer, !status);
        status = status ? status : closed;
    }
    free(d.samples);
    free(d.codes);
    vq_stream_free(d.stream);
    return status;
}
