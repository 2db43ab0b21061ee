/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: blocks through a front end, frames through the quantizer in batches, and queues on both sides. */
#include "codecs/stream.h"

#include <math.h>
#include <string.h>

#include "codecs/codec_internal.h"
#include "codecs/stream_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

enum { DEFAULT_FRAMES = 64, MAX_FRAMES = 1 << 20, MAX_CHANNELS = 4096 };

static const float max_sample = 0x1p20f;

struct vq_stream {
    const vq_codec *codec;
    const vqi_stream_kind *kind;
    void *state;
    vq_stream_direction direction;
    vq_stream_opts opts; /**< resolved */
    vqi_stream_shape shape;
    size_t capacity;   /**< frames that the queues hold: opts.frames and what a flush adds */
    float *latents;    /**< capacity x positions x d */
    uint32_t *codes;   /**< encoding: capacity frames, those from first_code on wait */
    float *samples;    /**< encoding: one block; decoding: capacity blocks */
    float *dropped;    /**< decoding: one block, for those before the signal */
    size_t first;      /**< of the queue: frames pulled already, or samples */
    size_t count;      /**< frames in the queue, or samples */
    size_t filled;     /**< encoding: samples in the block */
    uint64_t finished; /**< frames that went through the front end */
    int flushed;
    vq_quantize_opts quantize; /**< with the workspace */
};

static size_t frame_codes(const vq_stream *s)
{
    return (size_t)s->shape.positions * s->opts.levels;
}

static size_t frame_latents(const vq_stream *s)
{
    return (size_t)s->shape.positions * vq_quantizer_dim(s->codec->quantizer);
}

static size_t block_samples(const vq_stream *s)
{
    return s->shape.hop * s->opts.channels;
}

static vq_status resolve(vq_stream *s, const vq_stream_opts *opts)
{
    vq_codec_info info;
    vq_codec_get_info(&info, s->codec);
    vq_status status = vqi_options(&s->opts, sizeof s->opts, opts, "vq_stream_opts");
    if (status)
        return status;
    if (s->direction != VQ_STREAM_ENCODE && s->direction != VQ_STREAM_DECODE)
        return vqi_fail(VQ_E_ARG, "a stream of direction %d (see vq_stream_direction)",
                        (int)s->direction);
    if (!s->opts.levels)
        s->opts.levels = s->direction == VQ_STREAM_ENCODE ? info.default_levels : info.levels;
    if (!s->opts.beam)
        s->opts.beam = info.beam;
    s->opts.channels += !s->opts.channels;
    s->opts.threads += !s->opts.threads;
    if (!s->opts.frames)
        s->opts.frames = DEFAULT_FRAMES;
    if (s->opts.levels > info.levels)
        return vqi_fail(VQ_E_ARG, "%u levels were asked for (there are 1 to %u)", s->opts.levels,
                        info.levels);
    if (s->opts.channels > MAX_CHANNELS || s->opts.frames > MAX_FRAMES || s->opts.threads < 0)
        return vqi_fail(VQ_E_ARG,
                        "a stream of %u channels, %u frames, %d threads (at most %d, %d, and 0 or "
                        "more)",
                        s->opts.channels, s->opts.frames, s->opts.threads, MAX_CHANNELS,
                        MAX_FRAMES);
    return VQ_OK;
}

static vq_status allocate(vq_stream *s)
{
    const int encoding = s->direction == VQ_STREAM_ENCODE;
    s->capacity = (size_t)s->opts.frames + 1 + s->shape.overlap;
    const size_t vectors = s->capacity * s->shape.positions;
    s->quantize = (vq_quantize_opts)VQ_QUANTIZE_OPTS_INIT;
    s->quantize.levels = s->opts.levels;
    s->quantize.threads = s->opts.threads;
    s->quantize.beam = encoding ? s->opts.beam : 0;
    s->quantize.lambda = encoding ? s->opts.lambda : 0;
    s->quantize.workspace_size =
        vq_quantize_workspace_for(s->codec->quantizer, vectors, &s->quantize);
    if (!s->quantize.workspace_size)
        return vqi_fail(VQ_E_ARG, "a beam of %u with lambda %g was asked for (0 to %d, finite)",
                        s->opts.beam, (double)s->opts.lambda, VQ_MAX_BEAM);
    s->quantize.workspace = vqi_alloc(s->quantize.workspace_size, 1);
    s->latents = vqi_alloc(s->capacity, frame_latents(s) * sizeof *s->latents);
    s->samples = vqi_alloc(encoding ? 1 : s->capacity, block_samples(s) * sizeof *s->samples);
    if (encoding)
        s->codes = vqi_alloc(s->capacity, frame_codes(s) * sizeof *s->codes);
    else
        s->dropped = vqi_alloc(block_samples(s), sizeof *s->dropped);
    if (!s->quantize.workspace || !s->latents || !s->samples ||
        (encoding ? !s->codes : !s->dropped))
        return vqi_fail_nomem((unsigned long long)s->capacity * frame_latents(s) * sizeof(float));
    return VQ_OK;
}

vq_status vq_stream_open(vq_stream **out, const vq_codec *codec, vq_stream_direction direction,
                         const vq_stream_opts *opts)
{
    *out = NULL;
    const vqi_stream_kind *kind = codec->front_end->stream;
    if (!kind)
        return vqi_fail(VQ_E_UNSUPPORTED, "the codec \"%s\" has no streams",
                        codec->front_end->name);
    vq_stream *s = vqi_calloc(1, sizeof *s);
    if (!s)
        return vqi_fail_nomem(sizeof *s);
    s->codec = codec;
    s->kind = kind;
    s->direction = direction;
    vq_status status = resolve(s, opts);
    if (!status)
        status = kind->open(&s->state, &s->shape, codec, s->opts.channels);
    if (!status)
        status = allocate(s);
    if (status) {
        vq_stream_free(s);
        return status;
    }
    vq_stream_reset(s);
    *out = s;
    return VQ_OK;
}

void vq_stream_free(vq_stream *s)
{
    if (!s)
        return;
    s->kind->free(s->state);
    vq_free(s->quantize.workspace);
    vq_free(s->latents);
    vq_free(s->codes);
    vq_free(s->samples);
    vq_free(s->dropped);
    vq_free(s);
}

void vq_stream_get_info(vq_stream_info *out, const vq_stream *s)
{
    *out = (vq_stream_info){.levels = s->opts.levels,
                            .channels = s->opts.channels,
                            .positions = s->shape.positions,
                            .hop = s->shape.hop,
                            .delay = s->shape.hop * (1 + s->shape.overlap),
                            .overlap = s->shape.overlap};
}

void vq_stream_reset(vq_stream *s)
{
    s->kind->reset(s->state);
    s->first = s->count = s->filled = 0;
    s->finished = 0;
    s->flushed = 0;
}

static vq_status check_push(const vq_stream *s, vq_stream_direction direction)
{
    if (s->direction != direction)
        return vqi_fail(VQ_E_ARG, "the stream %s",
                        s->direction == VQ_STREAM_ENCODE ? "encodes: push samples, pull tokens"
                                                         : "decodes: push tokens, pull samples");
    if (s->flushed)
        return vqi_fail(VQ_E_ARG, "the stream was flushed (reset it to begin another signal)");
    return VQ_OK;
}

static vq_status check_samples(const vq_stream *s, const float *samples, size_t n)
{
    for (size_t i = 0; i < n * s->opts.channels; i++)
        if (!(fabsf(samples[i]) <= max_sample))
            return vqi_fail(VQ_E_NONFINITE,
                            "sample %zu of those pushed is not finite, or far outside [-1, 1]",
                            i / s->opts.channels);
    return VQ_OK;
}

/* Make room at the end of a queue of items of so many bytes. */
static void *compact(vq_stream *s, void *queue, size_t item)
{
    if (s->first)
        memmove(queue, (char *)queue + s->first * item, s->count * item);
    s->first = 0;
    return (char *)queue + s->count * item;
}

/* Samples, or zeros if there are none, to frames; no more than the queue has room for. */
static vq_status encode(size_t *taken, vq_stream *s, const float *samples, size_t n, size_t room)
{
    const size_t channels = s->opts.channels, hop = s->shape.hop;
    size_t batch = 0, at = 0;
    while (at < n && batch < room) {
        const size_t piece = n - at < hop - s->filled ? n - at : hop - s->filled;
        float *end = s->samples + s->filled * channels;
        if (samples)
            memcpy(end, samples + at * channels, piece * channels * sizeof *end);
        else if (s->kind->holds && s->filled)
            for (size_t i = 0; i < piece; i++)
                memcpy(end + i * channels, end - channels, channels * sizeof *end);
        else
            memset(end, 0, piece * channels * sizeof *end);
        at += piece;
        s->filled += piece;
        if (s->filled < hop)
            break;
        s->kind->analyse(s->latents + batch++ * frame_latents(s), s->state, s->samples);
        s->filled = 0;
        s->finished++;
    }
    *taken = at;
    if (!batch)
        return VQ_OK;
    uint32_t *codes = compact(s, s->codes, frame_codes(s) * sizeof *codes);
    s->count += batch;
    return vq_quantize(codes, s->codec->quantizer, s->latents, batch * s->shape.positions,
                       &s->quantize);
}

vq_status vq_stream_push_samples(size_t *taken, vq_stream *s, const float *samples, size_t n)
{
    size_t own = 0;
    taken = taken ? taken : &own;
    *taken = 0;
    vq_status status = check_push(s, VQ_STREAM_ENCODE);
    if (!status)
        status = check_samples(s, samples, n);
    return status ? status : encode(taken, s, samples, n, s->opts.frames - s->count);
}

size_t vq_stream_pull_tokens(uint32_t *codes, vq_stream *s, size_t frames)
{
    if (s->direction != VQ_STREAM_ENCODE)
        return 0;
    const size_t n = frames < s->count ? frames : s->count, size = frame_codes(s);
    memcpy(codes, s->codes + s->first * size, n * size * sizeof *codes);
    s->first += n;
    s->count -= n;
    return n;
}

vq_status vq_stream_push_tokens(size_t *taken, vq_stream *s, const uint32_t *codes, size_t n)
{
    size_t own = 0;
    taken = taken ? taken : &own;
    *taken = 0;
    vq_status status = check_push(s, VQ_STREAM_DECODE);
    if (status)
        return status;
    const size_t hop = s->shape.hop, room = s->opts.frames - (s->count + hop - 1) / hop;
    const size_t batch = n < room ? n : room;
    status = vq_dequantize(s->latents, s->codec->quantizer, codes, batch * s->shape.positions,
                           &s->quantize);
    if (status)
        return status;
    float *block = compact(s, s->samples, s->opts.channels * sizeof *block);
    for (size_t i = 0; i < batch; i++) {
        const int before = s->finished++ < s->shape.overlap;
        s->kind->synthesise(before ? s->dropped : block, s->state,
                            s->latents + i * frame_latents(s), s->opts.levels);
        block += before ? 0 : block_samples(s);
        s->count += before ? 0 : hop;
    }
    *taken = batch;
    return VQ_OK;
}

size_t vq_stream_pull_samples(float *samples, vq_stream *s, size_t n)
{
    if (s->direction != VQ_STREAM_DECODE)
        return 0;
    n = n < s->count ? n : s->count;
    memcpy(samples, s->samples + s->first * s->opts.channels,
           n * s->opts.channels * sizeof *samples);
    s->first += n;
    s->count -= n;
    return n;
}

vq_status vq_stream_flush(vq_stream *s)
{
    if (s->flushed)
        return VQ_OK;
    s->flushed = 1;
    if (s->direction != VQ_STREAM_ENCODE || (!s->finished && !s->filled))
        return VQ_OK;
    const size_t hop = s->shape.hop;
    const size_t zeros = (s->filled ? hop - s->filled : 0) + s->shape.overlap * hop;
    size_t taken;
    /* The queue holds that much more than pushing fills. */
    return encode(&taken, s, NULL, zeros, s->capacity - s->count);
}
