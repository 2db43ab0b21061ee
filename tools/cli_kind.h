/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/cli_kind.h  The kinds of signal: whose file is it, who reads and writes it, how is its size said. */
#ifndef TOOLS_CLI_KIND_H
#define TOOLS_CLI_KIND_H

#include "cli_codec.h"

enum { CLI_HEAD_BYTES = 4096, CLI_SIZE_TEXT = 96 };

/** A file whose first bytes have been looked at, and all of them if it can be read only once. */
typedef struct cli_input {
    const char *path;
    const char *name; /**< for messages */
    vq_bytes
        bytes; /**< the whole of standard input or a pipe; NULL for a file, which can be opened again */
    uint8_t head[CLI_HEAD_BYTES];
    size_t head_size;
    const vq_dimensions
        *ranges; /**< of actions: those to take, instead of the data's own; or NULL */
} cli_input;

/** @return CLI_DONE, or CLI_FAILED after a message. Free with cli_input_clear() in both cases. */
int cli_input_open(cli_input *out, const cli_common *common, const char *path);
void cli_input_clear(cli_input *input);

/** How a file is written; zeros mean as the source was. */
typedef struct cli_writing {
    uint32_t bits; /**< per sample */
} cli_writing;

/** A kind of signal. One line of the table in cli_kind.c. */
typedef struct cli_kind {
    vq_kind kind;
    const char *codec;           /**< the built-in codec */
    const char *one, *many;      /**< "a picture", "pictures" */
    const char *formats;         /**< that are read, for people */
    const char *const *suffixes; /**< of the names of files that are read; NULL ends them */
    const char *const *written; /**< of files that are written, the default first; NULL ends them */
    /** Are these the first bytes of a file of this kind, whether or not we read its format? */
    int (*sniff)(const void *data, size_t size);
    /** A file to tokens, and back, through the codec; progress is told as it says. */
    vq_status (*encode)(vq_tokens **out, const vq_codec *codec, const cli_input *input,
                        const vq_coding_opts *opts);
    vq_status (*decode)(const char *output, const vq_codec *codec, const vq_tokens *tokens,
                        const vq_coding_opts *opts, const cli_writing *writing);
    /** The size of what the tokens stand for: "70x45", and the same into an object. */
    void (*size_text)(char out[CLI_SIZE_TEXT], const vq_tokens *tokens);
    void (*size_json)(json_t *object, const vq_tokens *tokens);
    /** The channels of the decoded signal, for people; NULL = the size says it. */
    const char *(*channels)(const vq_tokens *tokens);
    uint32_t bits[4]; /**< per sample that can be written; 0 ends them */
    uint32_t
        default_bits; /**< bits per sample of what is written if nothing says them; 0 = it has none */
    /** The unit that a rate is given per, so many in the signal: pixels for bits per pixel. */
    double (*units)(const vq_tokens *tokens);
    double unit_bits;                  /**< bits in one of rate_name: 1 for bpp, 1000 for kbit/s */
    const char *rate_name, *rate_text; /**< "bpp", "bits per pixel" */
    const char *rate_key;              /**< "bits_per_pixel" */
    const char *speed_name;            /**< "megapixels/s" */
    double speed_units;                /**< units in one of speed_name */
    const char *progress_name;         /**< what vq_progress counts: "rows" */
} cli_kind;

/** @return the kind with that number; NULL if the programs have none. */
const cli_kind *cli_kind_of(vq_kind kind);
/** By content, then by name, then `otherwise`. @return NULL after a message. */
const cli_kind *cli_kind_find(const cli_common *common, const cli_input *input,
                              const cli_kind *otherwise);
/** @return the kind that a name of this ending is written or read as, or NULL. */
const cli_kind *cli_kind_by_name(const char *path);
/** Refuse an output whose name belongs to another kind. @return CLI_DONE or CLI_USAGE after a message. */
int cli_kind_check_output(const cli_common *common, const cli_kind *kind, const char *output);
/** Refuse bits per sample that the kind's files do not have. @return CLI_DONE or CLI_USAGE after a message. */
int cli_kind_check_bits(const cli_common *common, const cli_kind *kind, uint32_t bits);

/** Bits per pixel, kbit/s, ...: of a file of so many bytes. */
double cli_kind_rate(const cli_kind *kind, uint64_t bytes, const vq_tokens *tokens);
/** Note "0.123 s, 12.3 megapixels/s". */
void cli_kind_tell_speed(const cli_common *common, const cli_kind *kind, const vq_tokens *tokens,
                         double seconds);

/** Ranges of actions from the statistics of another program. @return CLI_DONE, or CLI_FAILED after a message. */
int cli_read_ranges(vq_dimensions **out, const cli_common *common, const char *path,
                    const char *key);

/* Options that some kinds take and others do not. */

enum {
    CLI_FOR_IMAGE = 1 << VQ_KIND_IMAGE,
    CLI_FOR_AUDIO = 1 << VQ_KIND_AUDIO,
    CLI_FOR_ACTION = 1 << VQ_KIND_ACTION,
    CLI_MOST_GIVEN = 16
};

typedef struct cli_kind_option {
    const char *name;
    unsigned kinds; /**< CLI_FOR_ bits */
} cli_kind_option;

/** Those that the command line gave. */
typedef struct cli_kind_options {
    cli_kind_option given[CLI_MOST_GIVEN];
    size_t count;
} cli_kind_options;

/** Note that an option was given. */
void cli_kind_option_given(cli_kind_options *options, const char *name, unsigned kinds);
/** Refuse an option that is not for this kind. @return CLI_DONE or CLI_USAGE after a message. */
int cli_kind_check_options(const cli_common *common, const cli_kind_options *options,
                           const cli_kind *kind, const char *name);

#endif
