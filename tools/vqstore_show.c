/* SPDX-License-Identifier: Apache-2.0 */
/* One record or all of them: ls, get, cat. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "vqstore.h"

static const cli_option ls_options[] = {
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static const cli_program ls_program = {
    .name = "vqstore ls",
    .usage = "STORE [options]",
    .about = "List the records of a store: number, grid of each stream, label, key.\n"
             "A STORE is a folder with manifest.json, the manifest, or one shard.\n",
    .options = ls_options,
    .option_count = sizeof ls_options / sizeof *ls_options,
    .examples = "  vqstore ls tokens/\n",
    .option = vqstore_no_option,
};

static json_t *record_json(const vq_record *r, const vq_shard_info *info, int codes)
{
    json_t *json = json_object(), *streams = json_object();
    json_object_set_new(json, "record", json_integer((json_int_t)r->number));
    if (r->info.key)
        json_object_set_new(json, "key", json_string(r->info.key));
    if (r->info.has_label)
        json_object_set_new(json, "label", json_integer(r->info.label));
    if (r->info.split)
        json_object_set_new(json, "split", json_string(r->info.split));
    if (r->info.caption)
        json_object_set_new(json, "caption", json_string(r->info.caption));
    if (r->info.source_bytes)
        json_object_set_new(json, "source_bytes", json_integer((json_int_t)r->info.source_bytes));
    for (uint32_t s = 0; s < r->streams; s++) {
        const vq_tokens *t = r->tokens[s];
        if (!t)
            continue;
        json_t *stream = json_object(), *levels = codes ? json_array() : NULL;
        const size_t positions = vq_tokens_positions(t);
        if (t->source_ndim)
            json_object_set_new(stream, "shape", cli_json_sizes(t->source_shape, t->source_ndim));
        json_object_set_new(stream, "grid", cli_json_sizes(t->grid, t->grid_ndim));
        for (uint32_t l = 0; codes && l < t->levels; l++) {
            json_t *level = json_array();
            for (size_t i = 0; i < positions; i++)
                json_array_append_new(level, json_integer(t->codes[l * positions + i]));
            json_array_append_new(levels, level);
        }
        if (codes)
            json_object_set_new(stream, "codes", levels);
        json_object_set_new(streams, info->schema.stream[s].name, stream);
    }
    json_object_set_new(json, "streams", streams);
    return json;
}

static void print_line(const vq_record *r)
{
    char grids[256] = "";
    size_t used = 0;
    for (uint32_t s = 0; s < r->streams && used < sizeof grids; s++) {
        const vq_tokens *t = r->tokens[s];
        used += (size_t)snprintf(grids + used, sizeof grids - used, "%s%s", s ? " + " : "",
                                 t ? "" : "-");
        for (uint32_t i = 0; t && i < t->grid_ndim && used < sizeof grids; i++)
            used += (size_t)snprintf(grids + used, sizeof grids - used, "%s%zu", i ? "x" : "",
                                     t->grid[i]);
        if (t && used < sizeof grids)
            used += (size_t)snprintf(grids + used, sizeof grids - used, "x%u", t->levels);
    }
    printf("%8llu  %-16s", (unsigned long long)r->number, grids);
    if (r->info.has_label)
        printf("  %6lld", (long long)r->info.label);
    else
        printf("  %6s", "-");
    printf("  %s\n", r->info.key ? r->info.key : "-");
}

/* Every record, in order. */
static int each(const cli_common *common, const vq_store *store, int json, int codes)
{
    vq_record *record;
    vq_shard_info info;
    vq_status status = vq_record_create(&record);
    if (!vq_store_shards(store))
        return CLI_DONE;
    vq_shard_get_info(&info, vq_store_shard(NULL, store, 0));
    int code = status ? cli_fail(common, NULL, status) : CLI_DONE;
    cli_catch_signals();
    for (uint64_t i = 0; status != VQ_E_NOMEM && i < vq_store_records(store); i++) {
        if (cli_interrupted() || ferror(stdout)) {
            code = ferror(stdout) ? CLI_FAILED : CLI_INTERRUPTED;
            break;
        }
        status = vq_store_read(record, store, i);
        if (status)
            code = cli_fail(common, NULL, status); /* one bad record does not hide the others */
        else if (json)
            cli_json_print(common, record_json(record, &info, codes), 0);
        else
            print_line(record);
    }
    vq_record_free(record);
    return code;
}

int vqstore_ls(int argc, char **argv)
{
    cli_common common;
    vq_store *store;
    int code = cli_parse(&common, &ls_program, argc, argv, NULL);
    if (code != CLI_GO_ON)
        return code;
    code = vqstore_open(&store, &common, argc, argv, 1);
    if (!code)
        code = each(&common, store, common.json, 0);
    vq_store_free(store);
    return cli_close_stdout(&common, code);
}

static const cli_option cat_options[] = {
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static const cli_program cat_program = {
    .name = "vqstore cat",
    .usage = "STORE [KEY...]",
    .about = "Print records with their codes, one JSON object to a line: those named, or all.\n"
             "A KEY may be a number: '#12'.\n",
    .options = cat_options,
    .option_count = sizeof cat_options / sizeof *cat_options,
    .examples = "  vqstore cat tokens/ | head -1\n  vqstore cat tokens/ cat.png '#7'\n",
    .option = vqstore_no_option,
};

static int cat_one(const cli_common *common, const vq_store *store, vq_record *record,
                   const char *text)
{
    uint64_t number;
    const int code = vqstore_lookup(&number, common, store, text);
    if (code)
        return code;
    const vq_status status = vq_store_read(record, store, number);
    if (status)
        return cli_fail(common, NULL, status);
    vq_shard_info info;
    vq_shard_get_info(&info, vq_store_shard(NULL, store, 0));
    return cli_json_print(common, record_json(record, &info, 1), 0);
}

int vqstore_cat(int argc, char **argv)
{
    cli_common common;
    vq_store *store;
    vq_record *record = NULL;
    int code = cli_parse(&common, &cat_program, argc, argv, NULL);
    if (code != CLI_GO_ON)
        return code;
    code = vqstore_open(&store, &common, argc, argv, argc);
    if (!code && optind + 1 == argc)
        code = each(&common, store, 1, 1);
    else if (!code && vq_record_create(&record))
        code = cli_fail(&common, NULL, VQ_E_NOMEM);
    for (int i = optind + 1; record && i < argc; i++) {
        const int one = cat_one(&common, store, record, argv[i]);
        code = one > code ? one : code;
    }
    vq_record_free(record);
    vq_store_free(store);
    return cli_close_stdout(&common, code);
}

static const cli_option get_options[] = {
    CLI_OPTION_OUTPUT("the token file, or - for standard output"),
    {'s', "stream", "NAME", "which stream (default: the first that the record has)"},
    CLI_OPTION_FORCE("write tokens even to a terminal"),
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int get_option(void *state, const cli_common *common, int key, const char *value)
{
    (void)common;
    (void)key;
    *(const char **)state = value;
    return CLI_DONE;
}

static const cli_program get_program = {
    .name = "vqstore get",
    .usage = "STORE KEY -o OUTPUT",
    .about = "Take one record out as a token file, which vqdec and vqinfo read.\n"
             "KEY may be a number: '#12'.\n",
    .options = get_options,
    .option_count = sizeof get_options / sizeof *get_options,
    .examples = "  vqstore get tokens/ cat.png -o - | vqdec - -o cat.png\n",
    .option = get_option,
};

static int get(const cli_common *common, const vq_store *store, const char *text,
               const char *stream)
{
    uint64_t number;
    vq_record *record;
    int code = vqstore_lookup(&number, common, store, text);
    if (code)
        return code;
    vq_status status = vq_record_create(&record);
    if (!status)
        status = vq_store_read(record, store, number);
    const vq_tokens *tokens = NULL;
    vq_shard_info info;
    vq_shard_get_info(&info, vq_store_shard(NULL, store, 0));
    for (uint32_t s = 0; !status && !tokens && s < record->streams; s++)
        if (!stream || !strcmp(stream, info.schema.stream[s].name))
            tokens = record->tokens[s];
    if (status)
        code = cli_fail(common, NULL, status);
    else if (!tokens)
        code = cli_fault(common, text, "has no %s%s", stream ? "stream " : "tokens",
                         stream ? stream : "");
    else if (!tokens->kind)
        code = cli_fault(common, text, "these codes are of no signal (vqstore cat prints them)");
    if (!code)
        status = vq_tokens_write(common->output, tokens, VQ_PACKING_BITS, NULL);
    if (!code && status)
        code = cli_fail(common, common->output, status);
    vq_record_free(record);
    return code;
}

int vqstore_get(int argc, char **argv)
{
    cli_common common;
    vq_store *store = NULL;
    const char *stream = NULL;
    int code = cli_parse(&common, &get_program, argc, argv, &stream);
    if (code != CLI_GO_ON)
        return code;
    if (!common.output || optind + 2 != argc)
        return cli_usage(&common, "a store, a key and --output are needed");
    code = cli_check_output(&common, common.output, argv + optind, 1);
    if (!code)
        code = vqstore_open(&store, &common, argc, argv, 2);
    if (!code)
        code = get(&common, store, argv[optind + 1], stream);
    vq_store_free(store);
    return cli_close_stdout(&common, code);
}
