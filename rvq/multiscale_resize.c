/* SPDX-License-Identifier: Apache-2.0 */
/* Down by means, up by interpolation and convolution; float32, every sum in a fixed order. */
#include <math.h>
#include <string.h>

#include "rvq/multiscale_internal.h"

/* Keys' cubic kernel at distance t. */
static double cubic(double t)
{
    const double a = -0.75;
    t = fabs(t);
    if (t <= 1)
        return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

static uint32_t clamp(double at, uint32_t in)
{
    return at < 0 ? 0 : at > in - 1 ? in - 1 : (uint32_t)at;
}

void vqi_find_taps(vqi_taps *taps, uint32_t out, uint32_t in, double from, double size,
                   vq_multiscale_up up)
{
    for (uint32_t i = 0; i < out; i++) {
        double at = from + (i + 0.5) * size / out - 0.5;
        if (up == VQ_MULTISCALE_BILINEAR && at < 0)
            at = 0;
        const double base = floor(at), t = at - base;
        for (int j = 0; j < 4; j++) {
            taps[i].from[j] = clamp(base + j - 1, in);
            const double linear = j == 1 ? 1 - t : j == 2 ? t : 0;
            taps[i].weight[j] = (float)(up == VQ_MULTISCALE_BILINEAR ? linear : cubic(t + 1 - j));
        }
    }
}

void vqi_scale_down(float *cells, const vq_multiscale *m, uint32_t scale, const float *grid)
{
    const size_t rows = m->design.rows, columns = m->design.columns, d = m->design.channels,
                 down = m->sizes[2 * scale], across = m->sizes[2 * scale + 1];
    if (down == rows && across == columns) {
        memcpy(cells, grid, rows * columns * d * sizeof *cells);
        return;
    }
    for (size_t i = 0; i < down; i++)
        for (size_t j = 0; j < across; j++, cells += d) {
            const size_t top = i * rows / down, bottom = ((i + 1) * rows + down - 1) / down,
                         left = j * columns / across,
                         right = ((j + 1) * columns + across - 1) / across;
            memset(cells, 0, d * sizeof *cells);
            for (size_t y = top; y < bottom; y++)
                for (size_t x = left; x < right; x++)
                    for (size_t c = 0; c < d; c++)
                        cells[c] += grid[(y * columns + x) * d + c];
            const float count = (float)((bottom - top) * (right - left));
            for (size_t c = 0; c < d; c++)
                cells[c] /= count;
        }
}

static void interpolate(float *grid, const vq_multiscale *m, uint32_t scale, const float *cells)
{
    const size_t rows = m->design.rows, columns = m->design.columns, d = m->design.channels,
                 across = m->sizes[2 * scale + 1];
    const vqi_taps *down = m->taps + (rows + columns) * scale, *over = down + rows;
    memset(grid, 0, rows * columns * d * sizeof *grid);
    for (size_t y = 0; y < rows; y++)
        for (size_t x = 0; x < columns; x++) {
            float *restrict out = grid + (y * columns + x) * d;
            for (int i = 0; i < 16; i++) {
                const float weight = down[y].weight[i / 4] * over[x].weight[i % 4];
                const float *restrict in =
                    cells + (down[y].from[i / 4] * across + over[x].from[i % 4]) * d;
                for (size_t c = 0; weight != 0 && c < d; c++)
                    out[c] += weight * in[c];
            }
        }
}

/* out = (1 - ratio) in + ratio (bias + 3 x 3 convolution of in). */
static void convolve(float *out, const vq_multiscale *m, uint32_t phi, const float *in)
{
    const size_t rows = m->design.rows, columns = m->design.columns, d = m->design.channels;
    const float ratio = m->design.phi_ratio, *kernel = m->kernel + phi * 9 * d * d;
    for (size_t y = 0; y < rows; y++)
        for (size_t x = 0; x < columns; x++) {
            float *restrict sum = out + (y * columns + x) * d;
            memcpy(sum, m->phi_bias + phi * d, d * sizeof *sum);
            for (size_t tap = 0; tap < 9; tap++) {
                const size_t v = y + tap / 3, u = x + tap % 3; /* each one more than it is */
                if (v < 1 || v > rows || u < 1 || u > columns)
                    continue;
                const float *cell = in + ((v - 1) * columns + u - 1) * d;
                for (size_t i = 0; i < d; i++) {
                    const float *restrict weight = kernel + (tap * d + i) * d;
                    for (size_t o = 0; o < d; o++)
                        sum[o] += cell[i] * weight[o];
                }
            }
            const float *restrict centre = in + (y * columns + x) * d;
            for (size_t o = 0; o < d; o++)
                sum[o] = (1 - ratio) * centre[o] + ratio * sum[o];
        }
}

void vqi_scale_up(float *grid, float *scratch, const vq_multiscale *m, uint32_t scale,
                  const float *cells)
{
    const int whole =
        m->sizes[2 * scale] == m->design.rows && m->sizes[2 * scale + 1] == m->design.columns;
    float *flat = m->design.phis ? scratch : grid;
    if (whole)
        memcpy(flat, cells, vqi_grid_cells(m) * m->design.channels * sizeof *flat);
    else
        interpolate(flat, m, scale, cells);
    if (m->design.phis)
        convolve(grid, m, m->phi_of[scale], flat);
}
