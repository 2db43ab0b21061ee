/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/cli_plot.h  Simple drawings: dots, lines and numbers on white. */
#ifndef TOOLS_CLI_PLOT_H
#define TOOLS_CLI_PLOT_H

#include "vq/signal.h"

/** A white picture, RGB; vq_signal_free() frees it. */
vq_status cli_plot_paper(vq_signal **out, size_t width, size_t height);
/** One pixel; outside of the picture nothing happens. */
void cli_plot_dot(vq_signal *picture, long x, long y, const float colour[3]);
/** From one point to another, both included. */
void cli_plot_line(vq_signal *picture, const long from[2], const long to[2], const float colour[3]);
/** Digits, '.', '-', '%', 'K', 'L': what axes are labelled with; glyphs are CLI_PLOT_WIDE x CLI_PLOT_HIGH. */
void cli_plot_text(vq_signal *picture, long x, long y, const char *text, const float colour[3]);

enum { CLI_PLOT_SCALE = 3, CLI_PLOT_WIDE = 4 * CLI_PLOT_SCALE, CLI_PLOT_HIGH = 5 * CLI_PLOT_SCALE };

#endif
