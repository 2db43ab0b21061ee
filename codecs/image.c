/* SPDX-License-Identifier: Apache-2.0 */
/* The image codec: bands of block rows through analysis and quantizer, and back. */
#include <omp.h>
#include <string.h>

#include "codecs/image_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* A band holds at least this many vectors, so that the search has work for every thread, and at least so many
   rows of blocks that the rows that decoding computes twice (its neighbours') are few. */
enum { BAND_VECTORS = 2048, BAND_ROWS = 8 };

/* What coding one band needs, allocated once per picture. */
typedef struct band {
    const vq_codec *codec;
    const vqi_image_model *model;
    const vq_coding_opts *opts;
    vqi_picture picture;
    size_t rows; /**< of blocks in a full band */
    int threads;
    uint32_t beam; /**< of the search, when encoding */
    float lambda;
    float
        *latents; /**< (rows + 2) x columns x d: decoding has a row of neighbours on either side */
    uint32_t *codes; /**< (rows + 2) x columns x levels */
    float *lines;    /**< decoding: (rows + 2) synthesised rows */
    float *scratch;  /**< scratch_size floats per thread */
    size_t scratch_size;
    long *bad; /**< encoding, per row of the band: vqi_image_analyse_row()'s result */
    void *workspace;
    size_t workspace_size;
    uint64_t done, total; /**< rows of blocks, for progress */
} band;

static void picture_init(vqi_picture *picture, const vqi_image_model *model,
                         const vq_signal *signal, int alpha, const vq_coding_opts *opts)
{
    memset(picture, 0, sizeof *picture);
    picture->signal = signal;
    picture->alpha = alpha;
    picture->composite = opts->alpha == VQ_ALPHA_COMPOSITE;
    memcpy(picture->background, opts->background, sizeof picture->background);
    picture->height = signal->shape[0];
    picture->width = signal->shape[1];
    picture->rows = vqi_blocks(picture->height, model->block);
    picture->columns = vqi_blocks(picture->width, model->block);
}

static void band_clear(band *b)
{
    vq_free(b->latents);
    vq_free(b->codes);
    vq_free(b->lines);
    vq_free(b->scratch);
    vq_free(b->bad);
    vq_free(b->workspace);
}

static vq_quantize_opts quantize_opts(const band *b)
{
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = b->opts->levels;
    opts.beam = b->beam;
    opts.lambda = b->lambda;
    opts.threads = b->threads;
    opts.workspace = b->workspace;
    opts.workspace_size = b->workspace_size;
    return opts;
}

static vq_status band_create(band *b, const vq_codec *codec, const vq_signal *signal,
                             const vq_coding_opts *opts, size_t planes, int decoding)
{
    memset(b, 0, sizeof *b);
    b->codec = codec;
    b->model = codec->state;
    b->opts = opts;
    b->threads = opts->threads > 0 ? opts->threads : omp_get_max_threads();
    b->beam = decoding ? 0 : opts->beam;
    b->lambda = decoding ? 0 : opts->lambda;
    picture_init(&b->picture, b->model, signal, 0, opts);
    const size_t columns = b->picture.columns;
    b->rows = (BAND_VECTORS + columns - 1) / columns;
    b->rows = b->rows < BAND_ROWS ? BAND_ROWS : b->rows;
    b->rows = b->rows > b->picture.rows ? b->picture.rows : b->rows;
    b->total = (uint64_t)planes * b->picture.rows;

    const size_t vectors = (b->rows + 2) * columns;
    const vq_quantize_opts quantize = quantize_opts(b);
    b->workspace_size = vq_quantize_workspace_for(codec->quantizer, vectors, &quantize);
    b->scratch_size = decoding ? VQI_IMAGE_PLANES * b->picture.width
                               : vqi_image_analysis_scratch(b->model, &b->picture);
    b->latents = vqi_alloc(vectors, b->model->dim * sizeof *b->latents);
    b->codes = vqi_alloc(vectors, opts->levels * sizeof *b->codes);
    b->scratch = vqi_alloc((size_t)b->threads, b->scratch_size * sizeof *b->scratch);
    b->workspace = vqi_alloc(b->workspace_size, 1);
    b->bad = vqi_alloc(b->rows, sizeof *b->bad);
    if (decoding)
        b->lines =
            vqi_alloc(b->rows + 2, vqi_image_row_size(b->model, &b->picture) * sizeof *b->lines);
    if (!b->latents || !b->codes || !b->scratch || !b->workspace || !b->bad ||
        (decoding && !b->lines))
        return vqi_fail_nomem((unsigned long long)vectors * b->model->dim * sizeof(float));
    return VQ_OK;
}

static vq_status report_progress(band *b, size_t rows)
{
    b->done += rows;
    const vq_progress progress = {b->done, b->total};
    if (b->opts->progress && b->opts->progress(b->opts->progress_context, &progress))
        return vqi_fail(VQ_E_CANCELLED, "cancelled");
    return VQ_OK;
}

/* Tokens are level by level over the whole grid; the quantizer's codes are vector by vector. */
static void store_codes(vq_tokens *tokens, const uint32_t *codes, size_t first, size_t n)
{
    const size_t positions = vq_tokens_positions(tokens);
    for (uint32_t l = 0; l < tokens->levels; l++)
        for (size_t i = 0; i < n; i++)
            tokens->codes[l * positions + first + i] = codes[i * tokens->levels + l];
}

static void fetch_codes(uint32_t *codes, const vq_tokens *tokens, uint32_t levels, size_t first,
                        size_t n)
{
    const size_t positions = vq_tokens_positions(tokens);
    for (uint32_t l = 0; l < levels; l++)
        for (size_t i = 0; i < n; i++)
            codes[i * levels + l] = tokens->codes[l * positions + first + i];
}

static vq_status encode_band(band *b, vq_tokens *tokens, size_t plane, size_t row, size_t rows)
{
    const vqi_picture *picture = &b->picture;
    const size_t columns = picture->columns;
    vqi_image_analyse_rows(b->latents, b->bad, b->model, picture, row, rows, 0, b->scratch,
                           b->scratch_size, b->threads);
    for (size_t r = 0; r < rows; r++)
        if (b->bad[r] >= 0)
            return vqi_fail(VQ_E_NONFINITE,
                            "the picture holds a NaN or an infinity near row %zu, column %ld",
                            (row + r) * b->model->block, b->bad[r]);
    const vq_quantize_opts opts = quantize_opts(b);
    const vq_status status =
        vq_quantize(b->codes, b->codec->quantizer, b->latents, rows * columns, &opts);
    if (status)
        return status;
    store_codes(tokens, b->codes, (plane * picture->rows + row) * columns, rows * columns);
    return report_progress(b, rows);
}

/* Does the picture have an alpha channel worth keeping: one that is not 1 everywhere? */
static int alpha_is_kept(const vq_signal *signal, const vq_coding_opts *opts)
{
    const size_t channels = signal->shape[2], count = vq_signal_count(signal);
    if (opts->alpha == VQ_ALPHA_COMPOSITE || (channels != 2 && channels != 4))
        return 0;
    for (size_t i = channels - 1; i < count; i += channels)
        if (signal->data[i] != 1.0f)
            return 1;
    return 0;
}

static vq_status encode(vq_tokens **out, const vq_codec *codec, const vq_signal *signal,
                        const vq_coding_opts *opts)
{
    const vqi_image_model *model = codec->state;
    const size_t height = signal->shape[0], width = signal->shape[1];
    const vq_limits *limits = &codec->limits;
    if (height > limits->max_image_side || width > limits->max_image_side)
        return vqi_fail(VQ_E_LIMIT, "the picture is %zu x %zu (at most %u on a side)", width,
                        height, limits->max_image_side);
    const int keep_alpha = alpha_is_kept(signal, opts);
    const size_t grid[3] = {keep_alpha ? 2 : 1, vqi_blocks(height, model->block),
                            vqi_blocks(width, model->block)};
    uint32_t k[VQ_MAX_LEVELS];
    for (uint32_t l = 0; l < opts->levels; l++)
        k[l] = vq_quantizer_k(codec->quantizer, l);
    vq_tokens *tokens;
    vq_status status = vq_tokens_create(&tokens, 3, grid, opts->levels, k);
    if (status)
        return status;
    tokens->source_ndim = 3;
    tokens->source_shape[0] = height;
    tokens->source_shape[1] = width;
    tokens->source_shape[2] = (signal->shape[2] < 3 ? 1 : 3) + (size_t)keep_alpha;

    band b;
    status = band_create(&b, codec, signal, opts, grid[0], 0);
    for (size_t plane = 0; !status && plane < grid[0]; plane++) {
        b.picture.alpha = plane == 1;
        for (size_t row = 0; !status && row < grid[1]; row += b.rows)
            status = encode_band(&b, tokens, plane, row,
                                 grid[1] - row < b.rows ? grid[1] - row : b.rows);
    }
    band_clear(&b);
    if (status) {
        vq_tokens_free(tokens);
        return status;
    }
    *out = tokens;
    return VQ_OK;
}

static vq_status decode_band(band *b, vq_signal *target, const vq_tokens *tokens, size_t plane,
                             size_t row, size_t rows)
{
    const vqi_picture *picture = &b->picture;
    const size_t columns = picture->columns;
    const size_t line_size = vqi_image_row_size(b->model, picture);
    /* Rows of blocks that take part: a neighbour above and below where there is one. */
    const size_t first = row ? row - 1 : 0;
    const size_t end = row + rows < picture->rows ? row + rows + 1 : picture->rows;
    const size_t n = (end - first) * columns;
    fetch_codes(b->codes, tokens, b->opts->levels, (plane * picture->rows + first) * columns, n);
    const vq_quantize_opts opts = quantize_opts(b);
    const vq_status status = vq_dequantize(b->latents, b->codec->quantizer, b->codes, n, &opts);
    if (status)
        return status;
#pragma omp parallel num_threads(b->threads)
    {
#pragma omp for schedule(dynamic)
        for (size_t r = first; r < end; r++)
            vqi_image_synthesise_columns(b->lines + (r - first) * line_size, b->model, picture,
                                         b->latents + (r - first) * columns * b->model->dim);
#pragma omp for schedule(dynamic)
        for (size_t r = row; r < row + rows; r++) {
            const float *here = b->lines + (r - first) * line_size;
            vqi_image_synthesise_rows(target, b->model, picture, r, r ? here - line_size : NULL,
                                      here, r + 1 < picture->rows ? here + line_size : NULL,
                                      b->scratch + (size_t)omp_get_thread_num() * b->scratch_size);
        }
    }
    return report_progress(b, rows);
}

static vq_status check_grid(const vqi_image_model *model, const vq_tokens *tokens,
                            const vq_limits *limits)
{
    const size_t *shape = tokens->source_shape;
    if (tokens->source_ndim != 3 || !shape[0] || !shape[1] || shape[2] < 1 || shape[2] > 4)
        return vqi_fail(VQ_E_ARG, "the tokens' source is not a picture");
    if (shape[0] > limits->max_image_side || shape[1] > limits->max_image_side)
        return vqi_fail(VQ_E_LIMIT, "the picture is %zu x %zu (at most %u on a side)", shape[1],
                        shape[0], limits->max_image_side);
    const size_t planes = shape[2] % 2 ? 1 : 2;
    if (tokens->grid_ndim != 3 || tokens->grid[0] != planes ||
        tokens->grid[1] != vqi_blocks(shape[0], model->block) ||
        tokens->grid[2] != vqi_blocks(shape[1], model->block))
        return vqi_fail(
            VQ_E_ARG, "a grid of %zu x %zu x %zu does not fit a picture of %zu x %zu x %zu",
            tokens->grid[0], tokens->grid[1], tokens->grid[2], shape[0], shape[1], shape[2]);
    return VQ_OK;
}

static vq_status decode(vq_signal **out, const vq_codec *codec, const vq_tokens *tokens,
                        const vq_coding_opts *opts)
{
    vq_status status = check_grid(codec->state, tokens, &codec->limits);
    if (status)
        return status;
    vq_signal *signal;
    status = vq_signal_create(&signal, VQ_KIND_IMAGE, 3, tokens->source_shape);
    if (status)
        return status;
    band b;
    status = band_create(&b, codec, signal, opts, tokens->grid[0], 1);
    for (size_t plane = 0; !status && plane < tokens->grid[0]; plane++) {
        b.picture.alpha = plane == 1;
        for (size_t row = 0; !status && row < b.picture.rows; row += b.rows)
            status = decode_band(&b, signal, tokens, plane, row,
                                 b.picture.rows - row < b.rows ? b.picture.rows - row : b.rows);
    }
    band_clear(&b);
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
        limits; /* the quantizer's sizes, which bound everything here, were checked when it was made */
    vqi_image_model *image;
    const vq_status status = vqi_image_model_load(&image, model, vq_quantizer_dim(quantizer));
    if (status)
        return status;
    if (image->default_levels > vq_quantizer_levels(quantizer))
        image->default_levels = vq_quantizer_levels(quantizer);
    *state = image;
    return VQ_OK;
}

static void release(void *state)
{
    vqi_image_model_free(state);
}

static void describe(vq_codec_info *info, const void *state)
{
    const vqi_image_model *model = state;
    info->default_levels = model->default_levels;
    info->hop[0] = info->hop[1] = model->block;
}

const vqi_front_end vqi_front_end_image = {
    .name = "image",
    .id = 1,
    .kind = VQ_KIND_IMAGE,
    .load = load,
    .free = release,
    .describe = describe,
    .encode = encode,
    .decode = decode,
    .train = vqi_image_train,
};
