/* SPDX-License-Identifier: Apache-2.0 */
/* Picture to latents, one row of blocks at a time. All sums run in one fixed order, and the loops that the
   compiler may make wide run over independent results: the latents are the same bits on every machine. */
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "codecs/image_internal.h"

/* Pixels of a padded row: a margin of M/2 on either side, in which the folded matrices are 0 at the edges. */
static size_t padded_width(const vqi_image_model *model, const vqi_picture *picture)
{
    return (picture->columns + 1) * model->block;
}

size_t vqi_image_analysis_scratch(const vqi_image_model *model, const vqi_picture *picture)
{
    const size_t m = model->block;
    /* 2 M rows of three planes, M vertical frequencies of one, and the coefficients of a block. */
    return padded_width(model, picture) * (2 * m * VQI_IMAGE_PLANES + m) + VQI_IMAGE_PLANES * m * m;
}

static void load_pixel(float rgb[3], const vqi_picture *picture, const float *sample)
{
    const size_t channels = picture->signal->shape[2];
    const int has_alpha = channels == 2 || channels == 4;
    if (picture->alpha) {
        rgb[0] = rgb[1] = rgb[2] = sample[channels - 1];
        return;
    }
    for (size_t c = 0; c < 3; c++)
        rgb[c] = sample[channels < 3 ? 0 : c];
    if (picture->composite && has_alpha) {
        const float a = sample[channels - 1];
        for (size_t c = 0; c < 3; c++)
            rgb[c] = rgb[c] * a + picture->background[c] * (1.0f - a);
    }
}

/* The planes of one pixel, from its colours less 1/2. */
static inline void decorrelate(float *const planes[VQI_IMAGE_PLANES], size_t x, const float *colour,
                               const float *rgb)
{
    const float r = rgb[0] - 0.5f, g = rgb[1] - 0.5f, b = rgb[2] - 0.5f;
    for (size_t p = 0; p < VQI_IMAGE_PLANES; p++)
        planes[p][x] = (colour[3 * p] * r + colour[3 * p + 1] * g) + colour[3 * p + 2] * b;
}

static long first_bad_pixel(const vqi_picture *picture, const float *sample)
{
    const size_t channels = picture->signal->shape[2];
    for (size_t x = 0; x < picture->width; x++) {
        float rgb[3];
        load_pixel(rgb, picture, sample + x * channels);
        if (!isfinite(rgb[0]) || !isfinite(rgb[1]) || !isfinite(rgb[2]))
            return (long)x;
    }
    return -1;
}

/* One pixel row as three decorrelated planes, its edges repeated. Returns the first column that is not finite. */
static long load_row(float *const planes[VQI_IMAGE_PLANES], const vqi_image_model *model,
                     const vqi_picture *picture, size_t y)
{
    const size_t margin = model->block / 2, channels = picture->signal->shape[2];
    const size_t padded = padded_width(model, picture);
    const float *sample = picture->signal->data + y * picture->width * channels;
    const int plain = channels == 3 && !picture->alpha;
    float bad = 0; /* 0 * NaN and 0 * infinity are NaN, which stays */
    for (size_t x = 0; x < picture->width; x++) {
        float rgb[3];
        if (plain)
            memcpy(rgb, sample + 3 * x, sizeof rgb);
        else
            load_pixel(rgb, picture, sample + x * channels);
        decorrelate(planes, margin + x, model->colour, rgb);
        bad += (rgb[0] + rgb[1] + rgb[2]) * 0.0f;
    }
    for (size_t p = 0; p < VQI_IMAGE_PLANES; p++) {
        const float first = planes[p][margin], last = planes[p][margin + picture->width - 1];
        for (size_t x = 0; x < margin; x++)
            planes[p][x] = first;
        for (size_t x = margin + picture->width; x < padded; x++)
            planes[p][x] = last;
    }
    return bad == 0 ? -1 : first_bad_pixel(picture, sample);
}

/* Load the 2 M pixel rows of a window, of which the window before it left the first M behind if this one goes on from there; rows
 * beyond the padded picture are never read by the matrices. */
static long load_window(float *planes, const vqi_image_model *model, const vqi_picture *picture,
                        size_t row, int goes_on)
{
    const size_t m = model->block, padded = padded_width(model, picture);
    long bad = -1;
    for (size_t p = 0; goes_on && p < VQI_IMAGE_PLANES; p++) {
        float *plane = planes + p * 2 * m * padded;
        memcpy(plane, plane + m * padded, m * padded * sizeof *plane);
    }
    for (size_t j = goes_on ? m : 0; j < 2 * m; j++) {
        float *plane[VQI_IMAGE_PLANES];
        for (size_t p = 0; p < VQI_IMAGE_PLANES; p++)
            plane[p] = planes + (p * 2 * m + j) * padded;
        const size_t below_top = row * m + j; /* of the window's row, from M/2 above the picture */
        const size_t y = below_top < m / 2                     ? 0
                         : below_top - m / 2 < picture->height ? below_top - m / 2
                                                               : picture->height - 1;
        const long column = load_row(plane, model, picture, y);
        if (bad < 0)
            bad = column;
    }
    return bad;
}

/* goes_on: 1 = the scratch is as the row before this one left it. @return -1, or the first column that is not finite. */
static long analyse_row(float *latents, const vqi_image_model *model, const vqi_picture *picture,
                        size_t row, int all, int goes_on, float *scratch)
{
    const uint32_t m = model->block;
    const size_t padded = padded_width(model, picture), square = (size_t)m * m;
    float *planes = scratch, *frequencies = planes + VQI_IMAGE_PLANES * 2 * m * padded;
    const long bad = load_window(planes, model, picture, row, goes_on);
    if (bad >= 0)
        return bad;

    const vqi_lapped_kernels kernels = vqi_lapped_select();
    const float *vertical = model->lapped.analysis[vqi_lapped_edges(row, picture->rows)];
    const size_t stride = all ? VQI_IMAGE_PLANES * square : model->dim;
    for (uint32_t p = 0; p < VQI_IMAGE_PLANES; p++) {
        const uint32_t count = all ? m : model->rows[p];
        kernels.columns(frequencies, planes + p * 2 * m * padded, padded, vertical, m, count);
        for (size_t b = 0; b < picture->columns; b++) {
            const float *horizontal = model->lapped.analysis[vqi_lapped_edges(b, picture->columns)];
            float *block =
                all ? latents + b * stride + p * square : frequencies + m * padded + p * square;
            kernels.block(block, frequencies + b * m, padded, horizontal, m, count);
            if (all)
                continue;
            for (uint32_t i = 0; i < model->dim; i++)
                if (model->kept[i] - p * square < square) /* of this plane: below it, it wraps */
                    latents[b * stride + i] =
                        frequencies[m * padded + model->kept[i]] * model->weights[i];
        }
    }
    return -1;
}

void vqi_image_analyse_rows(float *latents, long *bad, const vqi_image_model *model,
                            const vqi_picture *picture, size_t first, size_t rows, int all,
                            float *scratch, size_t scratch_size, int threads)
{
    const size_t square = (size_t)model->block * model->block,
                 stride = picture->columns * (all ? VQI_IMAGE_PLANES * square : model->dim);
    /* Neighbours share half of their pixels: a few in a row for each thread. */
    const size_t fair = rows / (size_t)threads, few = fair > 4 ? 4 : fair ? fair : 1;
#pragma omp parallel num_threads(threads)
    {
        float *own = scratch + (size_t)omp_get_thread_num() * scratch_size;
        size_t next = SIZE_MAX;
#pragma omp for schedule(dynamic, few)
        for (size_t r = 0; r < rows; r++) {
            bad[r] =
                analyse_row(latents + r * stride, model, picture, first + r, all, r == next, own);
            next = r + 1;
        }
    }
}
