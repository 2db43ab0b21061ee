/* SPDX-License-Identifier: Apache-2.0 */
/* The trade-off as a drawing: KL divergence over the share of the dense head's bytes, both by their logarithms. */
#include <math.h>
#include <string.h>

#include "cli_plot.h"
#include "io/image.h"
#include "vqlogits.h"

enum { WIDTH = 960, HEIGHT = 640, LEFT = 120, RIGHT = 40, TOP = 30, BOTTOM = 60, COLOURS = 6 };

static const float ink[3] = {0.1f, 0.1f, 0.1f}, grey[3] = {0.85f, 0.85f, 0.85f};
static const float palette[COLOURS][3] = {{0.85f, 0.2f, 0.1f},  {0.1f, 0.35f, 0.8f},
                                          {0.1f, 0.6f, 0.25f},  {0.6f, 0.25f, 0.7f},
                                          {0.85f, 0.55f, 0.0f}, {0.2f, 0.6f, 0.65f}};

/* Whole powers of ten. */
typedef struct axis {
    int low, high;
    long from, to; /* pixels */
} axis;

static long place(const axis *a, double value)
{
    const double at = value > 0 ? log10(value) : a->low;
    const double part = (fmin(fmax(at, a->low), a->high) - a->low) / (a->high - a->low);
    return a->from + lround(part * (double)(a->to - a->from));
}

static void decades(axis *a, double least, double most)
{
    a->low = (int)floor(log10(least));
    a->high = (int)ceil(log10(most));
    if (a->high <= a->low)
        a->high = a->low + 1;
}

static void grid(vq_signal *picture, const axis *x, const axis *y)
{
    char text[32];
    for (int p = x->low; p <= x->high; p++) {
        const long at = place(x, pow(10, p));
        cli_plot_line(picture, (long[]){at, y->to}, (long[]){at, y->from}, grey);
        snprintf(text, sizeof text, "%g%%", pow(10, p + 2));
        cli_plot_text(picture, at - (long)strlen(text) * CLI_PLOT_WIDE / 2, y->from + 16, text,
                      ink);
    }
    for (int p = y->low; p <= y->high; p++) {
        const long at = place(y, pow(10, p));
        cli_plot_line(picture, (long[]){x->from, at}, (long[]){x->to, at}, grey);
        snprintf(text, sizeof text, "%.*f", p < 0 ? -p : 0, pow(10, p));
        cli_plot_text(picture, x->from - 8 - (long)strlen(text) * CLI_PLOT_WIDE,
                      at - CLI_PLOT_HIGH / 2, text, ink);
    }
    cli_plot_text(picture, x->from + 8, y->to + 8, "KL", ink);
}

static void mark(vq_signal *picture, const long at[2], const float colour[3])
{
    for (long v = -4; v <= 4; v++)
        for (long u = -4; u <= 4; u++)
            cli_plot_dot(picture, at[0] + u, at[1] + v, colour);
}

int vqlogits_plot(const cli_common *common, const char *path, const vqlogits_trial *trials,
                  const vqlogits_figures *figures, size_t count,
                  const vqlogits_reference *reference)
{
    axis x = {.from = LEFT, .to = WIDTH - RIGHT}, y = {.from = HEIGHT - BOTTOM, .to = TOP};
    double least[2] = {1, 1}, most[2] = {1, 1e-6};
    for (size_t i = 0; i < count; i++) {
        const double share = figures[i].bytes / reference->bytes, kl = fmax(figures[i].kl, 1e-6);
        least[0] = fmin(least[0], share);
        most[0] = fmax(most[0], share);
        least[1] = fmin(least[1], kl);
        most[1] = fmax(most[1], kl);
    }
    decades(&x, fmax(least[0], 1e-6), most[0]);
    decades(&y, least[1], most[1]);
    vq_signal *picture;
    vq_status status = cli_plot_paper(&picture, WIDTH, HEIGHT);
    if (!status)
        grid(picture, &x, &y);
    long before[2] = {0, 0};
    size_t head = 0;
    for (size_t i = 0; i < count && !status; i++) {
        const long at[2] = {place(&x, figures[i].bytes / reference->bytes),
                            place(&y, figures[i].kl)};
        const int same = i && trials[i].head == trials[i - 1].head;
        head += i && !same;
        if (same)
            cli_plot_line(picture, before, at, palette[head % COLOURS]);
        mark(picture, at, palette[head % COLOURS]);
        memcpy(before, at, sizeof before);
    }
    if (!status)
        status = vq_png_write(path, picture, 8, NULL);
    vq_signal_free(picture);
    if (status)
        return cli_fail(common, path, status);
    cli_note(common, "%s: KL divergence in nats over the bytes read, of the dense head's", path);
    return CLI_DONE;
}
