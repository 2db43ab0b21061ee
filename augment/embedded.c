/* SPDX-License-Identifier: Apache-2.0 */
/* Operations in the space of the embeddings: tokens are dequantized, changed and quantized again. */
#include <math.h>
#include <string.h>

#include "augment/augment_internal.h"
#include "rvq/multiscale_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

/* Embeddings of one plane after another, positions x d, and the codes that they are quantized to. */
typedef struct embedded {
    vqi_planes of;
    size_t positions, d;
    float *x;
    uint32_t *codes; /* positions x levels */
    vq_quantize_opts opts;
} embedded;

static void clear(embedded *e)
{
    vqi_free(e->x);
    vqi_free(e->codes);
}

static vq_status check(embedded *e, const vq_tokens *tokens, const vq_quantizer *quantizer,
                       const vq_quantize_opts *opts)
{
    vq_status status = vqi_options(&e->opts, sizeof e->opts, opts, "vq_quantize_opts");
    if (!status)
        status = vqi_augment_check(tokens, "tokens");
    if (status)
        return status;
    if (e->opts.levels && e->opts.levels != tokens->levels)
        return vqi_fail(VQ_E_ARG,
                        "vq_quantize_opts.levels is %u and the tokens have %u (0 means theirs)",
                        e->opts.levels, tokens->levels);
    if (tokens->levels > vq_quantizer_levels(quantizer))
        return vqi_fail(VQ_E_ARG, "tokens of %u levels and a quantizer of %u", tokens->levels,
                        vq_quantizer_levels(quantizer));
    for (uint32_t l = 0; l < tokens->levels; l++)
        if (tokens->k[l] != vq_quantizer_k(quantizer, l))
            return vqi_fail(VQ_E_ARG, "level %u of the tokens has K = %u, the quantizer's %u", l,
                            tokens->k[l], vq_quantizer_k(quantizer, l));
    e->opts.levels = tokens->levels;
    e->opts.workspace = NULL;
    return VQ_OK;
}

static vq_status embed(embedded *e, const vq_tokens *tokens, const vq_quantizer *quantizer,
                       const vq_quantize_opts *opts)
{
    vq_status status = check(e, tokens, quantizer, opts);
    if (status)
        return status;
    const size_t levels = tokens->levels;
    e->of = vqi_planes_of(tokens);
    e->positions = vq_tokens_positions(tokens);
    e->d = vq_quantizer_dim(quantizer);
    e->x = vqi_alloc(e->positions, e->d * sizeof *e->x);
    e->codes = vqi_alloc(e->positions, levels * sizeof *e->codes);
    if (!e->x || !e->codes)
        return vqi_fail_nomem((unsigned long long)e->positions * e->d * sizeof *e->x);
    for (size_t l = 0; l < levels; l++)
        for (size_t i = 0; i < e->positions; i++)
            e->codes[i * levels + l] = tokens->codes[l * e->positions + i];
    return vq_dequantize(e->x, quantizer, e->codes, e->positions, &e->opts);
}

static vq_status requantize(vq_tokens *tokens, embedded *e, const vq_quantizer *quantizer,
                            const float *x)
{
    const size_t levels = tokens->levels;
    const vq_status status = vq_quantize(e->codes, quantizer, x, e->positions, &e->opts);
    for (size_t l = 0; l < levels && !status; l++)
        for (size_t i = 0; i < e->positions; i++)
            tokens->codes[l * e->positions + i] = e->codes[i * levels + l];
    return status;
}

vq_status vq_tokens_draw_crop(vq_token_crop *out, const vq_tokens *tokens, double least_share,
                              double most_aspect, vq_draw draw)
{
    const vq_status status = vqi_augment_check(tokens, "tokens");
    if (status)
        return status;
    if (!(least_share > 0 && least_share <= 1))
        return vqi_fail(VQ_E_ARG, "a least share of %g (above 0, at most 1)", least_share);
    if (!(most_aspect >= 1 && most_aspect <= 1e6))
        return vqi_fail(VQ_E_ARG, "a most aspect of %g (1 to 1000000)", most_aspect);
    const vqi_planes of = vqi_planes_of(tokens);
    const double rows = (double)of.rows, columns = (double)of.columns;
    const vqi_philox size = vqi_draw_at(&draw, VQI_DRAW_CROP, 0, 0),
                     shape = vqi_draw_at(&draw, VQI_DRAW_CROP, 0, 1),
                     down = vqi_draw_at(&draw, VQI_DRAW_CROP, 0, 2),
                     across = vqi_draw_at(&draw, VQI_DRAW_CROP, 0, 3);
    const double share = least_share + (1 - least_share) * vqi_draw_uniform(&size);
    double aspect = 1 + (most_aspect - 1) * vqi_draw_uniform(&shape);
    if (vqi_draw_below(&shape, 2))
        aspect = 1 / aspect;
    /* A side of 1 is kept whole, and the other one has the share. */
    out->rows = of.rows == 1 ? 1 : of.columns == 1 ? rows * share : rows * sqrt(share / aspect);
    out->columns = of.columns == 1 ? 1
                   : of.rows == 1  ? columns * share
                                   : columns * sqrt(share * aspect);
    out->rows = fmin(out->rows, rows);
    out->columns = fmin(out->columns, columns);
    out->row = (rows - out->rows) * vqi_draw_uniform(&down);
    out->column = (columns - out->columns) * vqi_draw_uniform(&across);
    return VQ_OK;
}

static vq_status check_crop(const vq_token_crop *crop, const vqi_planes *of, vq_multiscale_up up)
{
    if (up != VQ_MULTISCALE_BICUBIC && up != VQ_MULTISCALE_BILINEAR)
        return vqi_fail(VQ_E_ARG, "an interpolation of %d (see vq_multiscale_up)", (int)up);
    /* A drawn crop's place and size may add up to a little more than the grid. */
    const double rows = (double)of->rows, columns = (double)of->columns, most = 1 + 0x1p-40;
    if (crop->row >= 0 && crop->column >= 0 && crop->rows > 0 && crop->columns > 0 &&
        crop->row + crop->rows <= rows * most && crop->column + crop->columns <= columns * most)
        return VQ_OK;
    return vqi_fail(VQ_E_ARG, "a crop of %g x %g at %g, %g of a grid of %g x %g", crop->rows,
                    crop->columns, crop->row, crop->column, rows, columns);
}

/* Sixteen positions make one, in float32, row by row. */
static void interpolate(float *out, const embedded *e, const vqi_taps *down, const vqi_taps *across)
{
    const size_t d = e->d;
    memset(out, 0, e->positions * d * sizeof *out);
    for (size_t plane = 0; plane < e->of.planes; plane++) {
        const float *x = e->x + plane * e->of.rows * e->of.columns * d;
        for (size_t row = 0; row < e->of.rows; row++)
            for (size_t column = 0; column < e->of.columns; column++, out += d)
                for (int i = 0; i < 16; i++) {
                    const float weight = down[row].weight[i / 4] * across[column].weight[i % 4];
                    const float *restrict in =
                        x +
                        (down[row].from[i / 4] * e->of.columns + across[column].from[i % 4]) * d;
                    for (size_t j = 0; weight != 0 && j < d; j++)
                        out[j] += weight * in[j];
                }
    }
}

vq_status vq_tokens_crop(vq_tokens *tokens, const vq_quantizer *quantizer,
                         const vq_token_crop *crop, vq_multiscale_up up,
                         const vq_quantize_opts *opts)
{
    embedded e = {0};
    float *x = NULL;
    vqi_taps *taps = NULL;
    vq_status status = embed(&e, tokens, quantizer, opts);
    if (!status)
        status = check_crop(crop, &e.of, up);
    if (!status) {
        x = vqi_alloc(e.positions, e.d * sizeof *x);
        taps = vqi_alloc(e.of.rows + e.of.columns, sizeof *taps);
        if (!x || !taps)
            status = vqi_fail_nomem((unsigned long long)e.positions * e.d * sizeof *x);
    }
    if (!status) {
        const uint32_t rows = (uint32_t)e.of.rows, columns = (uint32_t)e.of.columns;
        vqi_find_taps(taps, rows, rows, crop->row, crop->rows, up);
        vqi_find_taps(taps + rows, columns, columns, crop->column, crop->columns, up);
        interpolate(x, &e, taps, taps + rows);
        status = requantize(tokens, &e, quantizer, x);
    }
    vqi_free(x);
    vqi_free(taps);
    clear(&e);
    return status;
}

/* The mean of one channel over the positions of a plane, and its deviation. */
static void find_moments(double *mean, double *deviation, const float *x, size_t positions,
                         size_t d)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < positions; i++)
        sum += (double)x[i * d];
    *mean = sum / (double)positions;
    for (size_t i = 0; i < positions; i++) {
        const double off = (double)x[i * d] - *mean;
        squares += off * off;
    }
    *deviation = positions > 1 ? sqrt(squares / (double)(positions - 1)) : 0;
}

static void adapt(float *x, size_t positions, const float *style, size_t style_positions, size_t d)
{
    for (size_t j = 0; j < d; j++) {
        double mean, deviation, to_mean, to_deviation;
        find_moments(&mean, &deviation, x + j, positions, d);
        find_moments(&to_mean, &to_deviation, style + j, style_positions, d);
        const double scale = deviation > 0 ? to_deviation / deviation : 0;
        for (size_t i = 0; i < positions; i++)
            x[i * d + j] = (float)(((double)x[i * d + j] - mean) * scale + to_mean);
    }
}

vq_status vq_tokens_color_adapt(vq_tokens *tokens, const vq_tokens *style,
                                const vq_quantizer *quantizer, const vq_quantize_opts *opts)
{
    embedded e = {0}, s = {0};
    vq_status status = embed(&e, tokens, quantizer, opts);
    if (!status)
        status = vqi_augment_check_alike(tokens, style);
    if (!status)
        status = embed(&s, style, quantizer, opts);
    if (!status && s.of.planes != e.of.planes)
        status =
            vqi_fail(VQ_E_ARG, "tokens of %zu planes and a style of %zu", e.of.planes, s.of.planes);
    if (!status) {
        const size_t cells = e.of.rows * e.of.columns, style_cells = s.of.rows * s.of.columns;
        for (size_t plane = 0; plane < e.of.planes; plane++)
            adapt(e.x + plane * cells * e.d, cells, s.x + plane * style_cells * e.d, style_cells,
                  e.d);
        status = requantize(tokens, &e, quantizer, e.x);
    }
    clear(&e);
    clear(&s);
    return status;
}
