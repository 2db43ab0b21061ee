/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqlogits.c  The output layer of a language model: made cheaper, looked at, measured. */
#include <getopt.h>
#include <string.h>

#include "vqlogits.h"

static const struct {
    const char *word;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"build", vqlogits_build},
    {"info", vqlogits_info},
    {"eval", vqlogits_eval},
    {"bench", vqlogits_bench},
};

static const cli_option options[] = {CLI_OPTION_HELP, CLI_OPTION_VERSION};

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    (void)state, (void)common, (void)key, (void)value;
    return CLI_DONE;
}

static const cli_program program = {
    .name = "vqlogits",
    .usage = "build|info|eval|bench ... (vqlogits build --help, and so on)",
    .about = "The output layer of a language model for a fraction of its memory traffic.\n"
             "  build  make a head from the output matrix\n"
             "  info   say what a head is\n"
             "  eval   what heads cost in perplexity, and save in bytes, on hidden states\n"
             "  bench  how fast a head is\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqlogits build model.safetensors:lm_head.weight -o head.safetensors\n"
                "  vqlogits eval head.safetensors --states states.npy --targets targets.npy\n",
    .option = on_option,
};

int main(int argc, char **argv)
{
    cli_common common;
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].word) == 0)
            return commands[i].run(argc - 1, argv + 1);
    const int code = cli_parse(&common, &program, argc, argv, NULL);
    if (code != CLI_GO_ON)
        return code;
    if (optind < argc)
        return cli_usage(&common, "'%s' is none of build, info, eval, bench (see vqlogits --help)",
                         argv[optind]);
    return cli_usage(&common, "say what to do: build, info, eval or bench (see vqlogits --help)");
}
