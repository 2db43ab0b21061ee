/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/** One line on standard error: control characters, which a file name may hold, become '?'. */
static void say(const char *program, const char *path, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
static void say(const char *program, const char *path, const char *format, va_list args)
{
    char line[8192];
    size_t used = 0;
    if (program)
        used = (size_t)snprintf(line, sizeof line, "%s: ", program);
    if (path)
        used += (size_t)snprintf(line + used, sizeof line - used, "%.4096s: ", path);
    vsnprintf(line + used, sizeof line - used, format, args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    fprintf(stderr, "%s\n", line);
}

static void say_text(const char *program, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void say_text(const char *program, const char *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(program, path, format, args);
    va_end(args);
}

int cli_usage(const cli_common *common, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(common->program, NULL, format, args);
    va_end(args);
    return CLI_USAGE;
}

int cli_fault(const cli_common *common, const char *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(common->program, path, format, args);
    va_end(args);
    return CLI_FAILED;
}

void cli_note(const cli_common *common, const char *format, ...)
{
    if (common->quiet)
        return;
    va_list args;
    va_start(args, format);
    say(NULL, NULL, format, args);
    va_end(args);
}

void cli_warn(const cli_common *common, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(common->program, NULL, format, args);
    va_end(args);
}

const char *cli_input_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/** The sentence without the file's name, where the library put it first: as given, or with links followed. */
static const char *without_name(const char *sentence, const char *path)
{
    char resolved[PATH_MAX] = "";
    const char *names[] = {path, path ? realpath(path, resolved) : NULL, "-"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t length = names[i] ? strlen(names[i]) : 0;
        if (length && strncmp(sentence, names[i], length) == 0 &&
            strncmp(sentence + length, ": ", 2) == 0)
            return sentence + length + 2;
    }
    return sentence;
}

int cli_fail_saying(const cli_common *common, const char *path, vq_status status,
                    const char *sentence)
{
    if (status == VQ_E_CANCELLED && cli_interrupted()) {
        say_text(common->program, NULL, "interrupted");
        return CLI_INTERRUPTED;
    }
    say_text(common->program, path, "%s", without_name(sentence, path));
    return status == VQ_E_MISMATCH ? CLI_MISMATCH : CLI_FAILED;
}

int cli_fail(const cli_common *common, const char *path, vq_status status)
{
    return cli_fail_saying(common, path, status, vq_last_error());
}

int cli_close_stdout(const cli_common *common, int code)
{
    const int failed = ferror(stdout);
    errno = 0;
    if (fflush(stdout) || failed)
        return cli_fault(common, "standard output", "%s",
                         errno ? strerror(errno) : "could not be written");
    return code;
}
