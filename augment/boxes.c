/* SPDX-License-Identifier: Apache-2.0 */
/* Patches of grids, exchanged. */
#include <math.h>

#include "augment/augment_internal.h"
#include "vq/error_internal.h"

static int fits(size_t at, size_t size, size_t in)
{
    return at <= in && size <= in - at;
}

static int apart(size_t a, size_t b, size_t size)
{
    return a < b ? b - a >= size : a - b >= size;
}

static vq_status check_boxes(const vq_tokens *a, const vq_token_box *box, const vq_tokens *b,
                             size_t row, size_t column)
{
    const vqi_planes in_a = vqi_planes_of(a), in_b = vqi_planes_of(b);
    if (in_a.planes != in_b.planes)
        return vqi_fail(VQ_E_ARG, "tokens of %zu and of %zu planes", in_a.planes, in_b.planes);
    if (!fits(box->row, box->rows, in_a.rows) || !fits(box->column, box->columns, in_a.columns))
        return vqi_fail(VQ_E_ARG, "a box of %zu x %zu at %zu, %zu of a grid of %zu x %zu",
                        box->rows, box->columns, box->row, box->column, in_a.rows, in_a.columns);
    if (!fits(row, box->rows, in_b.rows) || !fits(column, box->columns, in_b.columns))
        return vqi_fail(VQ_E_ARG, "a box of %zu x %zu at %zu, %zu of a grid of %zu x %zu",
                        box->rows, box->columns, row, column, in_b.rows, in_b.columns);
    if (a == b && box->rows && box->columns && !apart(box->row, row, box->rows) &&
        !apart(box->column, column, box->columns))
        return vqi_fail(VQ_E_ARG, "two boxes of one grid that overlap");
    return VQ_OK;
}

vq_status vq_tokens_exchange(vq_tokens *a, const vq_token_box *box, vq_tokens *b, size_t row,
                             size_t column)
{
    vq_status status = vqi_augment_check(a, "tokens");
    if (!status)
        status = vqi_augment_check(b, "the other tokens");
    if (!status)
        status = vqi_augment_check_alike(a, b);
    if (!status)
        status = check_boxes(a, box, b, row, column);
    if (status)
        return status;
    const vqi_planes in_a = vqi_planes_of(a), in_b = vqi_planes_of(b);
    for (size_t plane = 0; plane < in_a.planes * a->levels; plane++)
        for (size_t y = 0; y < box->rows; y++) {
            uint32_t *one =
                         a->codes + (plane * in_a.rows + box->row + y) * in_a.columns + box->column,
                     *other = b->codes + (plane * in_b.rows + row + y) * in_b.columns + column;
            for (size_t x = 0; x < box->columns; x++) {
                const uint32_t code = one[x];
                one[x] = other[x];
                other[x] = code;
            }
        }
    return VQ_OK;
}

/* A side of the box, of a centre drawn evenly, cut off at the borders. */
static void place_side(size_t *at, size_t *size, size_t side, const vqi_philox *numbers, size_t in)
{
    const size_t centre = (size_t)vqi_draw_below(numbers, in), before = side / 2,
                 first = centre > before ? centre - before : 0, end = centre + (side - before);
    *at = first;
    *size = (end < in ? end : in) - first;
}

vq_status vq_tokens_cutmix(double *share, vq_tokens *a, vq_tokens *b, vq_draw draw)
{
    const vqi_planes of = vqi_planes_of(a), other = vqi_planes_of(b);
    if (a == b)
        return vqi_fail(VQ_E_ARG, "CutMix of tokens with themselves (see vq_tokens_swap_patches)");
    if (of.planes != other.planes || of.rows != other.rows || of.columns != other.columns)
        return vqi_fail(VQ_E_ARG, "CutMix of a grid of %zu x %zu x %zu and one of %zu x %zu x %zu",
                        of.planes, of.rows, of.columns, other.planes, other.rows, other.columns);
    const vqi_philox area = vqi_draw_at(&draw, VQI_DRAW_CUTMIX, 0, 0),
                     down = vqi_draw_at(&draw, VQI_DRAW_CUTMIX, 0, 1),
                     across = vqi_draw_at(&draw, VQI_DRAW_CUTMIX, 0, 2);
    /* A side of 1 is taken whole, and the other one has the share. */
    const double part = vqi_draw_uniform(&area),
                 side = of.rows == 1 || of.columns == 1 ? part : sqrt(part);
    const size_t rows = of.rows == 1 ? 1 : (size_t)(side * (double)of.rows),
                 columns = of.columns == 1 ? 1 : (size_t)(side * (double)of.columns);
    vq_token_box box;
    place_side(&box.row, &box.rows, rows, &down, of.rows);
    place_side(&box.column, &box.columns, columns, &across, of.columns);
    const vq_status status = vq_tokens_exchange(a, &box, b, box.row, box.column);
    if (!status && share)
        *share = (double)box.rows * (double)box.columns / ((double)of.rows * (double)of.columns);
    return status;
}

vq_status vq_tokens_swap_patches(vq_tokens *tokens, size_t rows, size_t columns, vq_draw draw)
{
    const vqi_planes of = vqi_planes_of(tokens);
    const size_t down = rows ? of.rows / rows : 0, across = columns ? of.columns / columns : 0;
    if (!down || !across || (down == 1 && across == 1))
        return vqi_fail(VQ_E_ARG, "two patches of %zu x %zu do not fit into a grid of %zu x %zu",
                        rows, columns, of.rows, of.columns);
    const vqi_philox offset_row = vqi_draw_at(&draw, VQI_DRAW_PATCHES, 0, 0),
                     offset_column = vqi_draw_at(&draw, VQI_DRAW_PATCHES, 0, 1),
                     first = vqi_draw_at(&draw, VQI_DRAW_PATCHES, 0, 2),
                     second = vqi_draw_at(&draw, VQI_DRAW_PATCHES, 0, 3);
    const size_t top = (size_t)vqi_draw_below(&offset_row, of.rows % rows + 1),
                 left = (size_t)vqi_draw_below(&offset_column, of.columns % columns + 1),
                 one = (size_t)vqi_draw_below(&first, down * across);
    size_t other = (size_t)vqi_draw_below(&second, down * across - 1);
    other += other >= one;
    const vq_token_box box = {top + one / across * rows, left + one % across * columns, rows,
                              columns};
    return vq_tokens_exchange(tokens, &box, tokens, top + other / across * rows,
                              left + other % across * columns);
}
