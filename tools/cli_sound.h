/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/cli_sound.h  Sound through a codec, block by block: hours of it take as much memory as a minute. */
#ifndef TOOLS_CLI_SOUND_H
#define TOOLS_CLI_SOUND_H

#include "cli_kind.h"
#include "io/sound.h"

/** Open the input at `rate`, 0 = its own, with one or two channels: more are mixed to one. */
vq_status cli_sound_open(vq_sound_source **out, const cli_input *input, uint32_t rate);

/** Members of the table of kinds; cli_kind.h. */
vq_status cli_sound_encode(vq_tokens **out, const vq_codec *codec, const cli_input *input,
                           const vq_coding_opts *opts);
vq_status cli_sound_decode(const char *output, const vq_codec *codec, const vq_tokens *tokens,
                           const vq_coding_opts *opts, const cli_writing *writing);

/** How samples of so many bits are written to a file of that name: 16 (also for 0), 24, 32 = float. */
vq_sound_coding cli_sound_coding(const char *output, uint32_t bits);

/** Levels whose codes take at most so many kbit/s for each channel; 0 = not even one. */
uint32_t cli_sound_levels(const vq_codec_info *info, double kbits);

#endif
