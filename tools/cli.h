/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/cli.h  What the programs share: options, messages, files, progress, tables, JSON. */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "vq/status.h"

/** Exit codes of every program. */
enum {
    CLI_DONE = 0,
    CLI_FAILED = 1,   /**< data or I/O error */
    CLI_USAGE = 2,    /**< the command line asks for what cannot be */
    CLI_MISMATCH = 3, /**< the pieces do not belong together */
    CLI_INTERRUPTED = 130
};

/* Options (cli_options.c). */

/** One option. The same table feeds getopt_long() and --help, so that they cannot disagree. */
typedef struct cli_option {
    int key;              /**< the short letter, or a number from CLI_KEY_FIRST on */
    const char *name;     /**< the long spelling */
    const char *argument; /**< name of its argument, or NULL */
    const char *help;
} cli_option;

/** Keys of long options without a letter. */
enum { CLI_KEY_CPU = 256, CLI_KEY_FIRST };

#define CLI_OPTION_OUTPUT(what)                                                                    \
    {                                                                                              \
        'o', "output", "FILE", what                                                                \
    }
#define CLI_OPTION_THREADS                                                                         \
    {                                                                                              \
        't', "threads", "N", "threads; 0 = all (default); never changes the result"                \
    }
#define CLI_OPTION_JSON                                                                            \
    {                                                                                              \
        'j', "json", NULL, "print the result as JSON on standard output"                           \
    }
#define CLI_OPTION_FORCE(what)                                                                     \
    {                                                                                              \
        'f', "force", NULL, what                                                                   \
    }
#define CLI_OPTION_CPU                                                                             \
    {                                                                                              \
        CLI_KEY_CPU, "cpu", "MASK",                                                                \
            "use no more than this: all, none, avx2, avx512, vnni, amx; never changes the result"  \
    }
#define CLI_OPTION_QUIET                                                                           \
    {                                                                                              \
        'q', "quiet", NULL, "print errors only"                                                    \
    }
#define CLI_OPTION_VERBOSE                                                                         \
    {                                                                                              \
        'v', "verbose", NULL, "print more"                                                         \
    }
#define CLI_OPTION_HELP                                                                            \
    {                                                                                              \
        'h', "help", NULL, "print this text and exit"                                              \
    }
#define CLI_OPTION_VERSION                                                                         \
    {                                                                                              \
        'V', "version", NULL, "print the version and exit"                                         \
    }

/** What the shared options say, and the program's name for messages. */
typedef struct cli_common {
    const char *program;
    const char *output; /**< -o, or NULL */
    int threads;
    int quiet, verbose, json, force;
} cli_common;

typedef struct cli_program {
    const char *name;
    const char *usage; /**< "FILE... -o OUT", after the name */
    const char *about; /**< a few lines */
    const cli_option *options;
    size_t option_count;
    const char *examples; /**< lines after "Examples:" */
    /** An option that is the program's own. @return CLI_DONE or CLI_USAGE after cli_usage(). */
    int (*option)(void *state, const cli_common *common, int key, const char *value);
} cli_program;

/** Go on with the program: not an exit code. */
enum { CLI_GO_ON = -1 };

/**
 * Read the command line; on CLI_GO_ON the operands are argv[optind] to argv[argc - 1].
 * @return CLI_GO_ON, or the code to exit with (after --help, --version and mistakes).
 */
int cli_parse(cli_common *common, const cli_program *program, int argc, char **argv, void *state);

/* Numbers: CLI_DONE, or CLI_USAGE after a message that names the option and its range. */
int cli_read_uint(const cli_common *common, const char *option, const char *text, uint64_t low,
                  uint64_t high, uint64_t *out);
int cli_read_double(const cli_common *common, const char *option, const char *text, double *out);

/* Messages (cli_message.c). Each is one line on standard error. */

/** "program: what". @return CLI_USAGE. */
int cli_usage(const cli_common *common, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** "program: path: what". @return CLI_FAILED. */
int cli_fault(const cli_common *common, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** "program: path: sentence of vq_last_error()", the path said once. path may be NULL.
 *  @return the exit code that belongs to the status. */
int cli_fail(const cli_common *common, const char *path, vq_status status);
/** The same of a failure on another thread, whose sentence was kept. */
int cli_fail_saying(const cli_common *common, const char *path, vq_status status,
                    const char *sentence);
/** "what", unless --quiet. */
void cli_note(const cli_common *common, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** "what", even with --quiet: prefixed by the program's name. */
void cli_warn(const cli_common *common, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** Flush standard output. @return `code`, or CLI_FAILED if what was printed could not be written. */
int cli_close_stdout(const cli_common *common, int code);
/** @return how a path is called in messages: "standard input" for "-". */
const char *cli_input_name(const char *path);

/* Interruption and progress (cli_progress.c). */

/** From now on Ctrl-C and SIGTERM only set a flag; a second one kills. Called after standard input has
 *  been read, since a read that waits has to be killed. */
void cli_catch_signals(void);
/** Fill the places of standard streams that the caller closed, so that no output file ends up in them. */
void cli_guard_streams(void);
/** A closed pipe becomes a write error with a message, not a silent death. */
void cli_ignore_sigpipe(void);
/** @return 1 once Ctrl-C or SIGTERM has come. */
int cli_interrupted(void);

/** A line on standard error that is redrawn at most 6 times a second, if it is a terminal. */
typedef struct cli_progress {
    int on;
    int drawn;
    double base;          /**< work that was done before it started */
    double started, last; /**< seconds; 0 = never */
} cli_progress;

void cli_progress_start(cli_progress *progress, const cli_common *common);
/** Draw "what: done of total unit, rate, time left", or "what" alone if the total is 0.
 *  @return cli_interrupted(), for callbacks. */
int cli_progress_show(cli_progress *progress, const char *what, double done, double total,
                      const char *unit);
/** Wipe the line, before other output. */
void cli_progress_clear(cli_progress *progress);
/** @return seconds of a clock that only goes forward. */
double cli_seconds(void);

/* Files (cli_files.c). */

/** An owned list of owned paths. */
typedef struct cli_paths {
    char **path;
    size_t count, room;
} cli_paths;

void cli_paths_clear(cli_paths *paths);
/**
 * The operands, with every folder replaced by the files under it that `wanted` accepts, sorted by the
 * bytes of their paths. Hidden entries and links to folders are passed over.
 * @return CLI_DONE or the exit code after a message.
 */
int cli_expand(cli_paths *out, const cli_common *common, char **operands, int count,
               int (*wanted)(const char *name));
/** @return 1 if the name ends in .png, .jpg or .jpeg, in any case. */
int cli_is_picture_name(const char *name);
int cli_has_suffix(const char *name, const char *suffix);
int cli_is_folder(const char *path);

/**
 * Where each input's result goes: `output` itself, or output/<stem><suffix of the input> if it is a folder.
 * Refuses several inputs for one file, two inputs for one name, an output that is an input, and
 * bytes for a terminal.
 * @return CLI_DONE, or CLI_USAGE after a message.
 */
int cli_plan_outputs(cli_paths *out, const cli_common *common, char **inputs, int count,
                     const char *(*suffix)(const char *input));
/** Refuses an output that is the same file as an input, and bytes for a terminal. */
int cli_check_output(const cli_common *common, const char *output, char *const *inputs,
                     size_t count);
/** @return the pointer; if it is NULL, the program ends: there was no memory for it. */
void *cli_need(void *pointer);
/** Copy text or die: memory for a path that is not there ends the program. */
char *cli_copy(const char *text);
char *cli_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* JSON and numbers for people (cli_json.c). */

/** A finite number, or null. */
json_t *cli_json_real(double value);
/** Sizes of an array, outermost first. */
json_t *cli_json_sizes(const size_t *shape, uint32_t ndim);
/** Print as one line, or indented, and release. @return CLI_DONE, or CLI_FAILED without memory. */
int cli_json_print(const cli_common *common, json_t *object, int indented);
/** "12.34", "inf" or "-" for NaN, in a field of `width`. */
void cli_print_real(FILE *to, int width, int decimals, double value);

#endif
