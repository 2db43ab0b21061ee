/* SPDX-License-Identifier: Apache-2.0 */
/* Is it whole, what can be saved, and shards to a store: verify, repair, merge. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "vqstore.h"

static const cli_option plain_options[] = {
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static const cli_program verify_program = {
    .name = "vqstore verify",
    .usage = "STORE [options]",
    .about =
        "Look at every byte of a store: checksums, records, indexes, and the manifest's SHA-256.\n"
        "Exit status 1 if anything is wrong; each fault is a line on standard error.\n",
    .options = plain_options,
    .option_count = sizeof plain_options / sizeof *plain_options,
    .examples = "  vqstore verify tokens/ && echo whole\n",
    .option = vqstore_no_option,
};

/* Faults are told of, up to a number; all are counted. */
typedef struct faults {
    const cli_common *common;
    uint64_t records, others;
} faults;

enum { MOST_TOLD = 100 };

static int tell_fault(void *context, uint64_t record, vq_status status, const char *what)
{
    faults *f = context;
    (void)status;
    if (record == UINT64_MAX)
        f->others++;
    else
        f->records++;
    if (f->records + f->others <= MOST_TOLD)
        cli_warn(f->common, "%s", what);
    return cli_interrupted();
}

int vqstore_verify(int argc, char **argv)
{
    cli_common common;
    vq_store *store;
    int code = cli_parse(&common, &verify_program, argc, argv, NULL);
    if (code != CLI_GO_ON)
        return code;
    code = vqstore_open(&store, &common, argc, argv, 1);
    if (code)
        return code;
    faults f = {.common = &common};
    cli_catch_signals();
    const vq_status status = vq_store_verify(store, tell_fault, &f);
    const unsigned long long records = vq_store_records(store);
    vq_store_free(store);
    if (status && !f.records && !f.others)
        return cli_fail(&common, argv[optind], status);
    if (common.json)
        cli_json_print(&common,
                       json_pack("{s:I, s:I, s:I, s:b}", "records", (json_int_t)records,
                                 "damaged_records", (json_int_t)f.records, "other_faults",
                                 (json_int_t)f.others, "whole", status == VQ_OK),
                       0);
    else if (!status)
        cli_note(&common, "%s: whole: %llu records", argv[optind], records);
    else
        cli_warn(&common, "%s: %llu of %llu records are damaged, and %llu other faults",
                 argv[optind], (unsigned long long)f.records, records,
                 (unsigned long long)f.others);
    return cli_close_stdout(&common, status ? CLI_FAILED : CLI_DONE);
}

static int repair_option(void *state, const cli_common *common, int key, const char *value)
{
    (void)key;
    return vqstore_read_packing(&((vq_shard_opts *)state)->packing, common, value);
}

static const cli_option repair_options[] = {
    CLI_OPTION_OUTPUT("the new shard"),
    {'p', "packing", "HOW", "bits, rans or raw (default: as it was)"},
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static const cli_program repair_program = {
    .name = "vqstore repair",
    .usage = "SHARD -o NEW.vqs",
    .about =
        "Save every whole record of a damaged or unfinished shard (NAME.vqs, NAME.vqs.part).\n",
    .options = repair_options,
    .option_count = sizeof repair_options / sizeof *repair_options,
    .examples = "  vqstore repair broken.vqs -o saved.vqs\n",
    .option = repair_option,
};

int vqstore_repair(int argc, char **argv)
{
    cli_common common;
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    int code = cli_parse(&common, &repair_program, argc, argv, &opts);
    if (code != CLI_GO_ON)
        return code;
    if (!common.output || optind + 1 != argc)
        return cli_usage(&common, "a shard and --output are needed");
    code = cli_check_output(&common, common.output, argv + optind, 1);
    if (code)
        return code;
    faults f = {.common = &common};
    uint64_t lost = 0;
    cli_catch_signals();
    const vq_status status =
        vq_shard_repair(common.output, argv[optind], &opts, tell_fault, &f, &lost, NULL);
    if (status)
        return cli_fail(&common, argv[optind], status);
    vq_shard *shard;
    if (vq_shard_open(&shard, common.output, NULL))
        return cli_fail(&common, common.output, VQ_E_IO);
    const unsigned long long saved = vq_shard_records(shard);
    vq_shard_free(shard);
    if (common.json)
        cli_json_print(
            &common, json_pack("{s:I, s:I}", "saved", (json_int_t)saved, "lost", (json_int_t)lost),
            0);
    else
        cli_note(&common, "%s: %llu records saved, %llu known to be lost", common.output, saved,
                 (unsigned long long)lost);
    return cli_close_stdout(&common, CLI_DONE);
}

static const cli_program merge_program = {
    .name = "vqstore merge",
    .usage = "FOLDER [SHARD...]",
    .about = "Write manifest.json over the shards in a folder: those named, or every *.vqs.\n"
             "Each is opened, and its SHA-256 taken. No shard is changed.\n",
    .options = plain_options,
    .option_count = sizeof plain_options / sizeof *plain_options,
    .examples = "  vqstore merge tokens/\n",
    .option = vqstore_no_option,
};

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_shards(char ***names, size_t *count, const cli_common *common, const char *folder)
{
    DIR *directory = opendir(folder);
    if (!directory)
        return cli_fault(common, folder, "cannot be opened (%s)", strerror(errno));
    for (const struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.' || !cli_has_suffix(entry->d_name, ".vqs"))
            continue;
        *names = cli_need(realloc(*names, (*count + 1) * sizeof **names));
        (*names)[(*count)++] = cli_copy(entry->d_name);
    }
    closedir(directory);
    if (!*count)
        return cli_fault(common, folder, "there is no *.vqs in this folder");
    qsort(*names, *count, sizeof **names, by_bytes);
    return CLI_DONE;
}

int vqstore_merge(int argc, char **argv)
{
    cli_common common;
    int code = cli_parse(&common, &merge_program, argc, argv, NULL);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "no folder was named");
    const char *folder = argv[optind];
    char **names = NULL;
    size_t count = 0;
    if (optind + 1 == argc)
        code = list_shards(&names, &count, &common, folder);
    for (int i = optind + 1; i < argc; i++) {
        const char *slash = strrchr(argv[i], '/');
        names = cli_need(realloc(names, (count + 1) * sizeof *names));
        names[count++] = cli_copy(slash ? slash + 1 : argv[i]);
    }
    if (!code) {
        const vq_status status = vq_store_write_manifest(folder, (const char *const *)names, count);
        code = status ? cli_fail(&common, NULL, status) : CLI_DONE;
    }
    if (!code && common.json)
        cli_json_print(&common, json_pack("{s:I}", "shards", (json_int_t)count), 0);
    else if (!code)
        cli_note(&common, "%s: %zu shards", folder, count);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return cli_close_stdout(&common, code);
}
