/* SPDX-License-Identifier: Apache-2.0 */
/* Latents to picture, one row of blocks at a time: columns first, then rows with what the neighbours add. */
#include <string.h>

#include "codecs/image_internal.h"

static size_t padded_width(const vqi_image_model *model, const vqi_picture *picture)
{
    return (picture->columns + 1) * model->block;
}

/* Where the vertical frequencies of a plane begin in a synthesised row. */
static size_t first_line(const vqi_image_model *model, uint32_t plane)
{
    size_t lines = 0;
    for (uint32_t p = 0; p < plane; p++)
        lines += model->rows[p];
    return lines;
}

size_t vqi_image_row_size(const vqi_image_model *model, const vqi_picture *picture)
{
    return first_line(model, VQI_IMAGE_PLANES) * padded_width(model, picture);
}

void vqi_image_synthesise_columns(float *out, const vqi_image_model *model,
                                  const vqi_picture *picture, const float *latents)
{
    const uint32_t m = model->block;
    const size_t padded = padded_width(model, picture);
    memset(out, 0, vqi_image_row_size(model, picture) * sizeof *out);
    for (size_t b = 0; b < picture->columns; b++, latents += model->dim) {
        const float *matrix = model->lapped.synthesis[vqi_lapped_edges(b, picture->columns)];
        for (uint32_t i = 0; i < model->dim; i++) {
            const uint32_t plane = model->kept[i] / (m * m), v = model->kept[i] / m % m;
            const float coefficient = latents[i] / model->weights[i];
            const float *function = matrix + (size_t)(model->kept[i] % m) * 2 * m;
            float *line = out + (first_line(model, plane) + v) * padded + b * m;
            for (uint32_t j = 0; j < 2 * m; j++)
                line[j] += coefficient * function[j];
        }
    }
}

/* sums[x] += what one row of blocks adds to one pixel row: `at` is its place in that row's window. */
static void add_row(float *sums, const vqi_image_model *model, const vqi_picture *picture,
                    const float *lines, uint32_t plane, unsigned edges, uint32_t at)
{
    const uint32_t m = model->block;
    const size_t padded = padded_width(model, picture);
    lines += first_line(model, plane) * padded + m / 2;
    for (uint32_t v = 0; v < model->rows[plane]; v++, lines += padded) {
        const float a = model->lapped.synthesis[edges][(size_t)v * 2 * m + at];
        for (size_t x = 0; x < picture->width; x++)
            sums[x] += a * lines[x];
    }
}

static void store_row(vq_signal *target, const vqi_image_model *model, const vqi_picture *picture,
                      size_t y, const float *planes)
{
    const size_t channels = target->shape[2], width = picture->width;
    const float *inverse = model->colour_inverse;
    float *sample = target->data + y * width * channels;
    for (size_t x = 0; x < width; x++, sample += channels) {
        float rgb[3];
        for (size_t c = 0; c < 3; c++)
            rgb[c] = (inverse[3 * c] * planes[x] + inverse[3 * c + 1] * planes[width + x]) +
                     inverse[3 * c + 2] * planes[2 * width + x] + 0.5f;
        const float grey = (rgb[0] + rgb[1] + rgb[2]) / 3.0f;
        if (picture->alpha)
            sample[channels - 1] = grey;
        else if (channels < 3)
            sample[0] = grey;
        else
            memcpy(sample, rgb, sizeof rgb);
    }
}

void vqi_image_synthesise_rows(vq_signal *target, const vqi_image_model *model,
                               const vqi_picture *picture, size_t row, const float *above,
                               const float *here, const float *below, float *scratch)
{
    const uint32_t m = model->block, half = m / 2;
    const size_t width = picture->width;
    for (uint32_t r = 0; r < m && row * m + r < picture->height; r++) {
        memset(scratch, 0, VQI_IMAGE_PLANES * width * sizeof *scratch);
        for (uint32_t p = 0; p < VQI_IMAGE_PLANES; p++) {
            float *sums = scratch + p * width;
            add_row(sums, model, picture, here, p, vqi_lapped_edges(row, picture->rows), half + r);
            if (r < half && above)
                add_row(sums, model, picture, above, p, vqi_lapped_edges(row - 1, picture->rows),
                        half + m + r);
            if (r >= half && below)
                add_row(sums, model, picture, below, p, vqi_lapped_edges(row + 1, picture->rows),
                        r - half);
        }
        store_row(target, model, picture, row * m + r, scratch);
    }
}
