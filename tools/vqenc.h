/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqenc.h  The parts of vqenc: what is asked, and who does it. */
#ifndef TOOLS_VQENC_H
#define TOOLS_VQENC_H

#include "cli_sound.h"

typedef struct vqenc_settings {
    const char *model; /**< NULL = the built-in one of the signal's kind */
    vq_packing packing;
    int has_packing;
    vq_coding_opts coding;
    int has_background;
    double bitrate;                /**< of a sound's channel, kbit/s; 0 = levels say it */
    const char *stats, *stats_key; /**< of actions: a file with their ranges, and which of them */
    vq_dimensions *ranges;         /**< read from it */
    cli_kind_options kind_options;
} vqenc_settings;

/**
 * Encode all inputs. One bad input does not stop the others.
 * @return the worst of their exit codes, after messages.
 */
int vqenc_encode_all(const cli_common *common, vqenc_settings *s, char **inputs, int count);

#endif
