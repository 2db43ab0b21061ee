/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vq/cpu.h"
#include "vq/export.h"

enum { MAX_OPTIONS = 40, HELP_COLUMN = 28 };

int cli_read_uint(const cli_common *common, const char *option, const char *text, uint64_t low,
                  uint64_t high, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || value < low || value > high)
        return cli_usage(common, "--%s: '%s' is not a whole number from %llu to %llu", option, text,
                         (unsigned long long)low, (unsigned long long)high);
    *out = value;
    return CLI_DONE;
}

int cli_read_double(const cli_common *common, const char *option, const char *text, double *out)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value))
        return cli_usage(common, "--%s: '%s' is not a number", option, text);
    *out = value;
    return CLI_DONE;
}

static void print_help(const cli_program *program)
{
    printf("Usage: %s %s\n%s\nOptions:\n", program->name, program->usage, program->about);
    for (size_t i = 0; i < program->option_count; i++) {
        const cli_option *option = &program->options[i];
        char left[64];
        const int used = snprintf(
            left, sizeof left, "  %c%c%s --%s%s%s", option->key < 256 ? '-' : ' ',
            option->key < 256 ? option->key : ' ', option->key < 256 ? "," : " ", option->name,
            option->argument ? " " : "", option->argument ? option->argument : "");
        if (used >= HELP_COLUMN)
            printf("%s\n%*s%s\n", left, HELP_COLUMN, "", option->help);
        else
            printf("%-*s%s\n", HELP_COLUMN, left, option->help);
    }
    printf("\nExamples:\n%s\nExit status: 0 done, 1 data or I/O error, 2 usage, 3 mismatch, 130 "
           "interrupted. See %.*s(1).\n",
           program->examples, (int)strcspn(program->name, " "), program->name);
}

static int read_cpu(const cli_common *common, const char *value)
{
    uint32_t mask;
    if (vq_cpu_parse_mask(&mask, value))
        return cli_usage(common, "--cpu: %s", vq_last_error());
    vq_cpu_set_mask(mask);
    return CLI_DONE;
}

/** The options that all programs understand alike. @return CLI_GO_ON if it is none of them. */
static int shared_option(cli_common *common, const cli_program *program, int key, const char *value)
{
    uint64_t number = 0;
    switch (key) {
    case 'h':
        print_help(program);
        return CLI_DONE;
    case 'V':
        printf("%s (libvq) %s\n", program->name, vq_version());
        return CLI_DONE;
    case 'o':
        common->output = value;
        return value[0] ? CLI_DONE : cli_usage(common, "--output: the name is empty");
    case 'q':
        common->quiet = 1;
        return CLI_DONE;
    case 'v':
        common->verbose = 1;
        return CLI_DONE;
    case 'j':
        common->json = 1;
        return CLI_DONE;
    case 'f':
        common->force = 1;
        return CLI_DONE;
    case 't':
        if (cli_read_uint(common, "threads", value, 0, 1024, &number))
            return CLI_USAGE;
        common->threads = (int)number;
        return CLI_DONE;
    case CLI_KEY_CPU:
        return read_cpu(common, value);
    default:
        return CLI_GO_ON;
    }
}

/** getopt's complaint in our own words. */
static int bad_option(const cli_common *common, const cli_program *program, int how,
                      const char *word)
{
    const int is_long = optopt == 0 || optopt >= 256 || (word[0] == '-' && word[1] == '-');
    char letter[3] = {'-', (char)optopt, 0};
    const char *spelled = is_long ? word : letter;
    const int length = is_long ? (int)strcspn(word, "=") : 2;
    if (how == ':')
        return cli_usage(common, "%.*s needs an argument (see %s --help)", length, spelled,
                         program->name);
    if (is_long && optopt)
        return cli_usage(common, "%.*s takes no argument (see %s --help)", length, spelled,
                         program->name);
    return cli_usage(common, "unknown or ambiguous option %.*s (see %s --help)", length, spelled,
                     program->name);
}

int cli_parse(cli_common *common, const cli_program *program, int argc, char **argv, void *state)
{
    struct option longs[MAX_OPTIONS + 1] = {{0}};
    char shorts[2 * MAX_OPTIONS + 2] = ":";
    *common = (cli_common){.program = program->name};
    cli_guard_streams();
    cli_ignore_sigpipe();

    size_t end = 1;
    for (size_t i = 0; i < program->option_count && i < MAX_OPTIONS; i++) {
        const cli_option *option = &program->options[i];
        longs[i] = (struct option){option->name, option->argument ? required_argument : no_argument,
                                   NULL, option->key};
        if (option->key < 256) {
            shorts[end++] = (char)option->key;
            if (option->argument)
                shorts[end++] = ':';
        }
    }

    opterr = 0;
    for (;;) {
        const int before = optind;
        const int key = getopt_long(argc, argv, shorts, longs, NULL);
        if (key == -1)
            return CLI_GO_ON;
        if (key == '?' || key == ':') {
            /* Operands may have been moved behind the option, which then stands just before optind. */
            const char *word = argv[optind > before ? optind - 1 : before];
            return bad_option(common, program, key, word);
        }
        int code = shared_option(common, program, key, optarg);
        if (code == CLI_DONE && (key == 'h' || key == 'V'))
            return cli_close_stdout(common, CLI_DONE);
        if (code == CLI_GO_ON)
            code = program->option(state, common, key, optarg);
        if (code)
            return code;
    }
}
