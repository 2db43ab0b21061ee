/* SPDX-License-Identifier: Apache-2.0 */
/* SSIM by separable Gaussian filters, a row of the window at a time: memory for a few planes, sums in double
   where they are long. */
#include "codecs/image_metrics.h"

#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { WINDOW = 11, SCALES = 5, MOMENTS = 5, MIN_MS_SIDE = WINDOW * 16 };

static float rounded(float sample)
{
    const float clipped = sample < 0 ? 0 : sample > 1 ? 1 : sample;
    return floorf(clipped * 255.0f + 0.5f) / 255.0f;
}

/* Rounded luma of a picture, and through `finite` whether all samples are. */
static void luma_of(float *luma, int *finite, const vq_signal *image)
{
    const size_t pixels = image->shape[0] * image->shape[1], channels = image->shape[2];
    for (size_t i = 0; i < pixels; i++) {
        const float *s = image->data + i * channels;
        for (size_t c = 0; c < channels; c++)
            *finite &= isfinite(s[c]) != 0;
        luma[i] = channels < 3
                      ? rounded(s[0])
                      : 0.299f * rounded(s[0]) + 0.587f * rounded(s[1]) + 0.114f * rounded(s[2]);
    }
}

static double colour_mse(const vq_signal *a, const vq_signal *b)
{
    const size_t pixels = a->shape[0] * a->shape[1], channels = a->shape[2];
    const size_t colours = channels < 3 ? 1 : 3;
    double sum = 0;
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < colours; c++) {
            const double d = (double)rounded(a->data[i * channels + c]) -
                             (double)rounded(b->data[i * channels + c]);
            sum += d * d;
        }
    return sum / (double)(pixels * colours);
}

static void gaussian(float weights[WINDOW])
{
    const double sigma = 1.5;
    const int centre = WINDOW / 2;
    double values[WINDOW], sum = 0;
    for (int i = 0; i < WINDOW; i++) {
        values[i] = exp(-(i - centre) * (i - centre) / (2 * sigma * sigma));
        sum += values[i];
    }
    for (int i = 0; i < WINDOW; i++)
        weights[i] = (float)(values[i] / sum);
}

/* One output row of the five filtered moments: x, y, xx, yy, xy. `columns` is scratch, 5 x width. */
static void filter_row(float *const moments[MOMENTS], float *columns, const float *x,
                       const float *y, size_t width, const float weights[WINDOW])
{
    memset(columns, 0, MOMENTS * width * sizeof *columns);
    for (int j = 0; j < WINDOW; j++)
        for (size_t i = 0; i < width; i++) {
            const float a = x[(size_t)j * width + i], b = y[(size_t)j * width + i];
            columns[i] += weights[j] * a;
            columns[width + i] += weights[j] * b;
            columns[2 * width + i] += weights[j] * a * a;
            columns[3 * width + i] += weights[j] * b * b;
            columns[4 * width + i] += weights[j] * a * b;
        }
    for (int m = 0; m < MOMENTS; m++)
        for (size_t i = 0; i + WINDOW <= width; i++) {
            float sum = 0;
            for (int j = 0; j < WINDOW; j++)
                sum += weights[j] * columns[(size_t)m * width + i + (size_t)j];
            moments[m][i] = sum;
        }
}

/* Mean SSIM, and mean of its contrast-structure factor, where the window lies wholly inside. `scratch`: 10 x width. */
static void ssim_means(double *ssim, double *structure, const float *x, const float *y,
                       size_t height, size_t width, float *scratch)
{
    const double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
    float weights[WINDOW], *moments[MOMENTS];
    gaussian(weights);
    for (int m = 0; m < MOMENTS; m++)
        moments[m] = scratch + (MOMENTS + (size_t)m) * width;
    double ssim_sum = 0, structure_sum = 0;
    for (size_t row = 0; row + WINDOW <= height; row++) {
        filter_row(moments, scratch, x + row * width, y + row * width, width, weights);
        for (size_t i = 0; i + WINDOW <= width; i++) {
            const double mx = moments[0][i], my = moments[1][i];
            const double vx = moments[2][i] - mx * mx, vy = moments[3][i] - my * my;
            const double cov = moments[4][i] - mx * my;
            const double cs = (2 * cov + c2) / (vx + vy + c2);
            structure_sum += cs;
            ssim_sum += cs * (2 * mx * my + c1) / (mx * mx + my * my + c1);
        }
    }
    const double count = (double)((height - WINDOW + 1) * (width - WINDOW + 1));
    *ssim = ssim_sum / count;
    *structure = structure_sum / count;
}

/* Halve a plane in place by 2 x 2 means; an odd last row or column is dropped. */
static void halve(float *plane, size_t height, size_t width)
{
    for (size_t y = 0; y < height / 2; y++)
        for (size_t x = 0; x < width / 2; x++) {
            const float *p = plane + 2 * y * width + 2 * x;
            plane[y * (width / 2) + x] = (p[0] + p[1] + p[width] + p[width + 1]) / 4;
        }
}

static void structural(vq_image_quality *out, float *x, float *y, size_t height, size_t width,
                       float *scratch)
{
    static const double exponents[SCALES] = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
    const int multi = height >= MIN_MS_SIDE && width >= MIN_MS_SIDE;
    out->ssim = out->ms_ssim = NAN;
    if (height < WINDOW || width < WINDOW)
        return;
    double product = 1;
    for (int scale = 0; scale < (multi ? SCALES : 1); scale++) {
        double ssim, structure;
        ssim_means(&ssim, &structure, x, y, height, width, scratch);
        if (!scale)
            out->ssim = ssim;
        /* A factor below 0, pictures that are each other's negative, has no real power. */
        const double factor = scale == SCALES - 1 ? ssim : structure;
        product *= pow(factor > 0 ? factor : 0, exponents[scale]);
        halve(x, height, width);
        halve(y, height, width);
        height /= 2;
        width /= 2;
    }
    if (multi)
        out->ms_ssim = product;
}

vq_status vq_image_compare(vq_image_quality *out, const vq_signal *reference,
                           const vq_signal *other)
{
    if (reference->kind != VQ_KIND_IMAGE || other->kind != VQ_KIND_IMAGE)
        return vqi_fail(VQ_E_ARG, "only pictures can be compared");
    if (memcmp(reference->shape, other->shape, sizeof reference->shape))
        return vqi_fail(VQ_E_ARG,
                        "pictures of different shapes, %zu x %zu x %zu and %zu x %zu x %zu",
                        reference->shape[1], reference->shape[0], reference->shape[2],
                        other->shape[1], other->shape[0], other->shape[2]);
    const size_t height = reference->shape[0], width = reference->shape[1];
    float *planes = vqi_alloc(height * width, 2 * sizeof *planes);
    float *scratch = vqi_alloc(width, 2 * MOMENTS * sizeof *scratch);
    int finite = 1;
    vq_status status = VQ_OK;
    if (!planes || !scratch)
        status = vqi_fail_nomem(2 * height * width * sizeof *planes);
    if (!status) {
        luma_of(planes, &finite, reference);
        luma_of(planes + height * width, &finite, other);
        if (!finite)
            status = vqi_fail(VQ_E_NONFINITE, "a picture holds a NaN or an infinity");
    }
    if (!status) {
        out->mse = colour_mse(reference, other);
        out->psnr_db = out->mse > 0 ? -10 * log10(out->mse) : INFINITY;
        structural(out, planes, planes + height * width, height, width, scratch);
    }
    vq_free(planes);
    vq_free(scratch);
    return status;
}
