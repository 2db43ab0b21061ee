/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/cli_sound.h  Sound through a codec, block by block: hours of it take as much memory as a minute. */
#ifndef TOOLS_CLI_SOUND_H
#define TOOLS_CLI_SOUND_H

#include "cli_kind.h"
#include "io/sound.h"

/** Members of the table of kinds; cli_kind.h. */
vq_status cli_sound_encode(vq_tokens **out, const vq_codec *codec, const cli_input *input,
                           const vq_coding_opts *opts);
vq_status cli_sound_decode(const char *output, const vq_codec *codec, const vq_tokens *tokens,
                           const vq_coding_opts *opts, const cli_writing *writing);

/** Levels whose codes take at most so many kbit/s for each channel; 0 = not even one. */
uint32_t cli_sound_levels(const vq_codec_info *info, double kbits);

#endif
