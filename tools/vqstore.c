/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqstore.c  A data set as tokens: pack it, look at it, get it out again. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "vqstore.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"pack", vqstore_pack, "encode files into shards"},
    {"merge", vqstore_merge, "make shards one store"},
    {"ls", vqstore_ls, "list records"},
    {"get", vqstore_get, "take a record out, as a token file"},
    {"cat", vqstore_cat, "print records as JSON, one to a line"},
    {"verify", vqstore_verify, "look at every byte"},
    {"repair", vqstore_repair, "save what is whole of a damaged or unfinished shard"},
    {"export", vqstore_export, "write .npy, safetensors, Megatron or WebDataset files"},
    {"stats", vqstore_stats, "sizes, use of the codes, entropy"},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

int vqstore_no_option(void *state, const cli_common *common, int key, const char *value)
{
    (void)state;
    (void)key;
    return cli_usage(common, "%s: is not an option of this command", value ? value : "");
}

int vqstore_open(vq_store **out, const cli_common *common, int argc, char **argv, int most)
{
    *out = NULL;
    if (optind == argc)
        return cli_usage(common, "no store was named (see %s --help)", common->program);
    if (argc - optind > most)
        return cli_usage(common, "'%s' is one word too many", argv[optind + most]);
    const vq_status status = vq_store_open(out, argv[optind], NULL);
    return status ? cli_fail(common, argv[optind], status) : CLI_DONE;
}

int vqstore_lookup(uint64_t *number, const cli_common *common, const vq_store *store,
                   const char *text)
{
    if (*text == '#') {
        const uint64_t records = vq_store_records(store);
        return records ? cli_read_uint(common, "record", text + 1, 0, records - 1, number)
                       : cli_usage(common, "the store is empty");
    }
    const vq_status status = vq_store_find(number, store, text);
    return status ? cli_fail(common, NULL, status) : CLI_DONE;
}

int vqstore_read_packing(int *packing, const cli_common *common, const char *text)
{
    static const vq_packing of_shards[] = {VQ_PACKING_RAW, VQ_PACKING_BITS, VQ_PACKING_RANS};
    for (size_t i = 0; i < sizeof of_shards / sizeof *of_shards; i++)
        if (!strcmp(text, vq_packing_name(of_shards[i]))) {
            *packing = (int)of_shards[i] + 1;
            return CLI_DONE;
        }
    return cli_usage(common, "--packing: '%s' is none of bits, rans and raw", text);
}

static void print_help(void)
{
    printf("usage: vqstore COMMAND ...\n"
           "A data set as tokens, in shards of which any record is read in microseconds.\n\n"
           "Commands (vqstore COMMAND --help says more of each):\n");
    for (int i = 0; i < COMMANDS; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].what);
    printf("\nExamples:\n"
           "  vqstore pack photos/ -o tokens/\n"
           "  vqstore get tokens/ cat.png -o cat.bin\n"
           "  vqstore verify tokens/\n");
}

int main(int argc, char **argv)
{
    const cli_common common = {.program = "vqstore"};
    const char *word = argc > 1 ? argv[1] : "";
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(word, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
        print_help();
        return cli_close_stdout(&common, CLI_DONE);
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("vqstore (libvq) %s\n", vq_version());
        return cli_close_stdout(&common, CLI_DONE);
    }
    return *word ? cli_usage(&common, "'%s' is not a command (see vqstore --help)", word)
                 : cli_usage(&common, "no command was given (see vqstore --help)");
}
