/* SPDX-License-Identifier: Apache-2.0 */
/* The codecs "action" and "bins": bands of chunks through analysis and quantizer, and back. */
#include <string.h>

#include "codecs/action_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* Vectors of a band: enough for every thread's search. */
enum { BAND_VECTORS = 4096 };

/* Chunks of a signal, and what coding a band of them needs. */
typedef struct band {
    const vq_codec *codec;
    const vqi_action_model *model;
    const vq_dimensions *dimensions;
    size_t episodes, steps, per_episode; /* steps and chunks of an episode */
    size_t chunks;                       /* of a full band */
    float *latents;                      /* chunks x D x H */
    uint32_t *codes;                     /* chunks x D x levels */
    vq_quantize_opts quantize;
} band;

static size_t chunks_of(size_t steps, uint32_t horizon)
{
    return steps / horizon + (steps % horizon != 0);
}

static void band_clear(band *b)
{
    vq_free(b->latents);
    vq_free(b->codes);
    vq_free(b->quantize.workspace);
}

static vq_status band_create(band *b, const vq_codec *codec, const vq_dimensions *dimensions,
                             const size_t *shape, uint32_t ndim, const vq_coding_opts *opts)
{
    memset(b, 0, sizeof *b);
    b->codec = codec;
    b->model = codec->state;
    b->dimensions = dimensions;
    b->episodes = ndim == 3 ? shape[0] : 1;
    b->steps = shape[ndim - 2];
    b->per_episode = chunks_of(b->steps, b->model->horizon);
    b->chunks = (BAND_VECTORS + dimensions->count - 1) / dimensions->count;
    if (b->chunks > b->episodes * b->per_episode)
        b->chunks = b->episodes * b->per_episode;
    vq_quantize_opts quantize = VQ_QUANTIZE_OPTS_INIT;
    quantize.levels = opts->levels;
    quantize.threads = opts->threads;
    quantize.beam = opts->beam;
    quantize.lambda = opts->lambda;
    const size_t vectors = b->chunks * dimensions->count;
    quantize.workspace_size = vq_quantize_workspace_for(codec->quantizer, vectors, &quantize);
    quantize.workspace = vqi_alloc(quantize.workspace_size, 1);
    b->quantize = quantize;
    b->latents = vqi_alloc(vectors, b->model->horizon * sizeof *b->latents);
    b->codes = vqi_alloc(vectors, opts->levels * sizeof *b->codes);
    if (!b->latents || !b->codes || !quantize.workspace)
        return vqi_fail_nomem(vectors * b->model->horizon * sizeof *b->latents);
    return VQ_OK;
}

/* Where a chunk begins among the steps of all episodes, and how many it has. */
static size_t chunk_steps(size_t *first, const band *b, size_t chunk)
{
    const size_t episode = chunk / b->per_episode, at = chunk % b->per_episode * b->model->horizon;
    *first = episode * b->steps + at;
    return b->steps - at < b->model->horizon ? b->steps - at : b->model->horizon;
}

static vq_status report_progress(const vq_coding_opts *opts, size_t done, size_t total)
{
    const vq_progress progress = {done, total};
    if (opts->progress && opts->progress(opts->progress_context, &progress))
        return vqi_fail(VQ_E_CANCELLED, "cancelled");
    return VQ_OK;
}

static vq_status encode_band(band *b, vq_tokens *tokens, const float *data, size_t chunk, size_t n)
{
    const size_t count = b->dimensions->count;
    for (size_t c = 0; c < n; c++) {
        size_t first;
        const size_t steps = chunk_steps(&first, b, chunk + c);
        const long bad = vqi_action_analyse(b->latents + c * count * b->model->horizon, b->model,
                                            b->dimensions, data + first * count, steps);
        if (bad >= 0)
            return vqi_fail(VQ_E_NONFINITE, "step %zu, dimension %zu is a NaN or an infinity",
                            first + (size_t)bad / count, (size_t)bad % count);
    }
    const vq_status status =
        vq_quantize(b->codes, b->codec->quantizer, b->latents, n * count, &b->quantize);
    if (!status)
        vqi_action_store_codes(tokens->codes, vq_tokens_positions(tokens), b->codes, chunk * count,
                               n * count, tokens->levels);
    return status;
}

static vq_status encode_with(vq_tokens *tokens, const vq_codec *codec, const vq_signal *signal,
                             const vq_coding_opts *opts)
{
    band b;
    vq_status status =
        band_create(&b, codec, tokens->dimensions, signal->shape, signal->ndim, opts);
    const size_t chunks = b.episodes * b.per_episode;
    for (size_t c = 0; !status && c < chunks; c += b.chunks) {
        const size_t n = chunks - c < b.chunks ? chunks - c : b.chunks;
        status = encode_band(&b, tokens, signal->data, c, n);
        if (!status)
            status = report_progress(opts, c + n, chunks);
    }
    band_clear(&b);
    return status;
}

static vq_status encode(vq_tokens **out, const vq_codec *codec, const vq_signal *signal,
                        const vq_coding_opts *opts)
{
    const vqi_action_model *model = codec->state;
    const uint32_t ndim = signal->ndim;
    vq_dimensions *dimensions;
    vq_status status = vqi_dimensions_for(&dimensions, model->dimensions, signal);
    if (status)
        return status;
    size_t grid[3];
    memcpy(grid, signal->shape, sizeof grid);
    grid[ndim - 2] = chunks_of(grid[ndim - 2], model->horizon);
    uint32_t k[VQ_MAX_LEVELS];
    for (uint32_t l = 0; l < opts->levels; l++)
        k[l] = vq_quantizer_k(codec->quantizer, l);
    vq_tokens *tokens;
    status = vq_tokens_create(&tokens, ndim, grid, opts->levels, k);
    if (status) {
        vq_dimensions_free(dimensions);
        return status;
    }
    tokens->dimensions = dimensions;
    tokens->source_ndim = ndim;
    memcpy(tokens->source_shape, signal->shape, sizeof tokens->source_shape);
    status = encode_with(tokens, codec, signal, opts);
    if (status) {
        vq_tokens_free(tokens);
        return status;
    }
    *out = tokens;
    return VQ_OK;
}

/* The ranges that decoding takes: those that the tokens carry, else the model's. */
static vq_status ranges_of(const vq_dimensions **out, const vqi_action_model *model,
                           const vq_tokens *tokens)
{
    const size_t count = tokens->source_shape[tokens->source_ndim - 1];
    const vq_dimensions *d = tokens->dimensions;
    *out = d && d->scaled ? d : model->dimensions;
    if (!*out || (*out)->count != count || (model->edges && model->dimensions->count != count))
        return vqi_fail(VQ_E_ARG,
                        "the tokens have no ranges for their %zu dimensions, nor has the "
                        "model",
                        count);
    return vq_dimensions_validate(*out);
}

static vq_status check_grid(const vq_codec *codec, const vq_tokens *tokens)
{
    const vqi_action_model *model = codec->state;
    const uint32_t ndim = tokens->source_ndim;
    int good = (ndim == 2 || ndim == 3) && tokens->grid_ndim == ndim;
    for (uint32_t i = 0; good && i < ndim; i++)
        good =
            tokens->grid[i] == (i == ndim - 2 ? chunks_of(tokens->source_shape[i], model->horizon)
                                              : tokens->source_shape[i]);
    return good ? VQ_OK
                : vqi_fail(VQ_E_ARG,
                           "the grid of the tokens is not that of an action of their shape in "
                           "chunks of %u steps",
                           model->horizon);
}

static vq_status decode_into(vq_signal *signal, const vq_codec *codec, const vq_tokens *tokens,
                             const vq_dimensions *ranges, const vq_coding_opts *opts)
{
    band b;
    vq_coding_opts own = *opts;
    own.beam = 0;
    own.lambda = 0;
    vq_status status = band_create(&b, codec, ranges, signal->shape, signal->ndim, &own);
    const size_t chunks = b.episodes * b.per_episode, count = ranges->count;
    for (size_t c = 0; !status && c < chunks; c += b.chunks) {
        const size_t n = chunks - c < b.chunks ? chunks - c : b.chunks;
        vqi_action_fetch_codes(b.codes, tokens->codes, vq_tokens_positions(tokens), c * count,
                               n * count, opts->levels);
        status = vq_dequantize(b.latents, codec->quantizer, b.codes, n * count, &b.quantize);
        for (size_t i = 0; !status && i < n; i++) {
            size_t first;
            const size_t steps = chunk_steps(&first, &b, c + i);
            vqi_action_synthesise(signal->data + first * count, b.model, ranges,
                                  b.latents + i * count * b.model->horizon, steps);
        }
        if (!status)
            status = report_progress(opts, c + n, chunks);
    }
    band_clear(&b);
    return status;
}

static vq_status decode(vq_signal **out, const vq_codec *codec, const vq_tokens *tokens,
                        const vq_coding_opts *opts)
{
    const vqi_action_model *model = codec->state;
    const vq_dimensions *ranges;
    vq_signal *signal = NULL;
    vq_status status = check_grid(codec, tokens);
    if (!status)
        status = ranges_of(&ranges, model, tokens);
    if (!status)
        status =
            vq_signal_create(&signal, VQ_KIND_ACTION, tokens->source_ndim, tokens->source_shape);
    if (!status)
        status = vq_dimensions_copy(&signal->dimensions, ranges);
    if (!status)
        status = decode_into(signal, codec, tokens, ranges, opts);
    if (status) {
        vq_signal_free(signal);
        return status;
    }
    *out = signal;
    return VQ_OK;
}

static void describe(vq_codec_info *info, const void *state)
{
    const vqi_action_model *model = state;
    info->default_levels = model->default_levels;
    info->hop[0] = model->horizon;
    info->hop[1] = 1;
}

static void release(void *state)
{
    vqi_action_model_free(state);
}

const vqi_front_end vqi_front_end_action = {.name = "action",
                                            .id = 3,
                                            .kind = VQ_KIND_ACTION,
                                            .load = vqi_action_load,
                                            .free = release,
                                            .describe = describe,
                                            .encode = encode,
                                            .decode = decode,
                                            .stream = &vqi_action_stream,
                                            .check = check_grid,
                                            .train = vqi_action_train};

const vqi_front_end vqi_front_end_bins = {.name = "bins",
                                          .id = 5,
                                          .kind = VQ_KIND_ACTION,
                                          .load = vqi_action_load,
                                          .free = release,
                                          .describe = describe,
                                          .encode = encode,
                                          .decode = decode,
                                          .stream = &vqi_action_stream,
                                          .check = check_grid,
                                          .train = vqi_bins_train};
