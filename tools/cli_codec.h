/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/cli_codec.h  What the programs that use a codec share. */
#ifndef TOOLS_CLI_CODEC_H
#define TOOLS_CLI_CODEC_H

#include "cli.h"
#include "codecs/codec.h"
#include "io/tokens_file.h"
#include "vq/report.h"

enum { CLI_HEX_SIZE = 2 * VQ_SHA256_SIZE + 1, CLI_K_SIZE = 512 };

/** SHA-256 as lower-case hexadecimal. */
void cli_hex(char out[CLI_HEX_SIZE], const uint8_t digest[VQ_SHA256_SIZE]);

/** @return the name of the built-in model with this SHA-256, or NULL. */
const char *cli_builtin_of(const uint8_t digest[VQ_SHA256_SIZE]);

/** "6 levels of 1024", or "3 levels of 1024, 512, 256". */
void cli_describe_levels(char out[CLI_K_SIZE], uint32_t levels, const uint32_t *k);
json_t *cli_json_levels(uint32_t levels, const uint32_t *k);

/** "grey", "grey + alpha", "RGB", "RGBA". */
const char *cli_channels_name(size_t channels);

/** Bits per pixel of a picture that takes so many bytes. */
double cli_bits_per_pixel(uint64_t bytes, const size_t shape[3]);

/** Samples (of time, or pixels) in a signal of this shape, without its channels. */
double cli_sites(const size_t shape[3]);

/** One row per level of the one report, as a table or as JSON. */
void cli_print_levels(FILE *to, const vq_level_report *rows, uint32_t levels);
json_t *cli_json_level_rows(const vq_level_report *rows, uint32_t levels);
/** The rows of a report; there are at most VQ_MAX_LEVELS. @return how many there are, up to `levels`. */
uint32_t cli_level_rows(vq_level_report rows[VQ_MAX_LEVELS], const vq_report *report,
                        uint32_t levels);

#endif
