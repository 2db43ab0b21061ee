/* SPDX-License-Identifier: Apache-2.0 */
#include "cli_plot.h"

#include <stdlib.h>
#include <string.h>

vq_status cli_plot_paper(vq_signal **out, size_t width, size_t height)
{
    const size_t shape[3] = {height, width, 3};
    const vq_status status = vq_signal_create(out, VQ_KIND_IMAGE, 3, shape);
    for (size_t i = 0; !status && i < vq_signal_count(*out); i++)
        (*out)->data[i] = 1;
    return status;
}

void cli_plot_dot(vq_signal *picture, long x, long y, const float colour[3])
{
    if (x < 0 || y < 0 || (size_t)x >= picture->shape[1] || (size_t)y >= picture->shape[0])
        return;
    memcpy(picture->data + ((size_t)y * picture->shape[1] + (size_t)x) * 3, colour,
           3 * sizeof *colour);
}

void cli_plot_line(vq_signal *picture, const long from[2], const long to[2], const float colour[3])
{
    const long dx = to[0] - from[0], dy = to[1] - from[1];
    const long steps = labs(dx) > labs(dy) ? labs(dx) : labs(dy);
    for (long i = 0; i <= steps; i++) {
        const double part = steps ? (double)i / (double)steps : 0;
        cli_plot_dot(picture, from[0] + (long)((double)dx * part),
                     from[1] + (long)((double)dy * part), colour);
    }
}

/* Five rows of three pixels each, from the top, the left one the highest bit. */
static const struct {
    char letter;
    unsigned char rows[5];
} glyphs[] = {
    {'0', {7, 5, 5, 5, 7}}, {'1', {2, 6, 2, 2, 7}}, {'2', {7, 1, 7, 4, 7}}, {'3', {7, 1, 7, 1, 7}},
    {'4', {5, 5, 7, 1, 1}}, {'5', {7, 4, 7, 1, 7}}, {'6', {7, 4, 7, 5, 7}}, {'7', {7, 1, 2, 2, 2}},
    {'8', {7, 5, 7, 5, 7}}, {'9', {7, 5, 7, 1, 7}}, {'.', {0, 0, 0, 0, 2}}, {'-', {0, 0, 7, 0, 0}},
    {'%', {5, 1, 2, 4, 5}}, {'K', {5, 5, 6, 5, 5}}, {'L', {4, 4, 4, 4, 7}},
};

static void glyph(vq_signal *picture, long x, long y, const unsigned char rows[5],
                  const float colour[3])
{
    for (long v = 0; v < 5 * CLI_PLOT_SCALE; v++)
        for (long u = 0; u < 3 * CLI_PLOT_SCALE; u++)
            if (rows[v / CLI_PLOT_SCALE] >> (2 - u / CLI_PLOT_SCALE) & 1)
                cli_plot_dot(picture, x + u, y + v, colour);
}

void cli_plot_text(vq_signal *picture, long x, long y, const char *text, const float colour[3])
{
    for (; *text; text++, x += CLI_PLOT_WIDE)
        for (size_t i = 0; i < sizeof glyphs / sizeof *glyphs; i++)
            if (glyphs[i].letter == *text)
                glyph(picture, x, y, glyphs[i].rows, colour);
}
