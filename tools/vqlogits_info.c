/* SPDX-License-Identifier: Apache-2.0 */
/* vqlogits info: what a head is. */
#include <getopt.h>
#include <string.h>

#include "vqlogits.h"

json_t *vqlogits_head_json(const char *path, const vq_head *head)
{
    vq_head_info i = VQ_HEAD_INFO_INIT;
    vq_head_get_info(&i, head);
    const uint32_t *ids = vq_head_ids(head);
    json_t *object = json_pack("{ss ss sI sI sI sI sI}", "head", path, "mode",
                               vq_head_mode_name(i.mode), "tokens", (json_int_t)i.v, "dimension",
                               (json_int_t)i.d, "bytes", (json_int_t)i.bytes, "first_id",
                               (json_int_t)ids[0], "last_id", (json_int_t)ids[i.v - 1]);
    if (i.mode == VQ_HEAD_DENSE || i.mode == VQ_HEAD_RERANK)
        json_object_set_new(object, "storage", json_string(vq_head_storage_name(i.storage)));
    if (i.mode == VQ_HEAD_TIED || i.mode == VQ_HEAD_RERANK) {
        json_object_set_new(object, "codes", json_integer(i.codes));
        json_object_set_new(object, "code_storage",
                            json_string(vq_head_storage_name(i.code_storage)));
        json_object_set_new(object, "largest_code", json_integer(i.largest_code));
    }
    if (i.mode == VQ_HEAD_RERANK) {
        json_object_set_new(object, "probes", json_integer(i.probes));
        json_object_set_new(object, "always", json_integer(i.always));
    }
    if (i.mode == VQ_HEAD_RVQ)
        json_object_set_new(object, "levels", json_integer(i.levels));
    return object;
}

void vqlogits_head_print(FILE *to, const char *path, const vq_head *head)
{
    vq_head_info i = VQ_HEAD_INFO_INIT;
    vq_head_get_info(&i, head);
    fprintf(to, "%s: %s head, %zu tokens, dimension %u", cli_input_name(path),
            vq_head_mode_name(i.mode), i.v, i.d);
    if (i.mode == VQ_HEAD_DENSE || i.mode == VQ_HEAD_RERANK)
        fprintf(to, ", rows %s", vq_head_storage_name(i.storage));
    if (i.mode == VQ_HEAD_TIED || i.mode == VQ_HEAD_RERANK)
        fprintf(to, ", %u codes %s (at most %u tokens each)", i.codes,
                vq_head_storage_name(i.code_storage), i.largest_code);
    if (i.mode == VQ_HEAD_RERANK)
        fprintf(to, ", %u probed, %u ids always scored", i.probes, i.always);
    if (i.mode == VQ_HEAD_RVQ)
        fprintf(to, ", %u levels", i.levels);
    fprintf(to, ", %llu bytes\n", (unsigned long long)i.bytes);
}

static const cli_option options[] = {CLI_OPTION_JSON, CLI_OPTION_HELP, CLI_OPTION_VERSION};

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    (void)state, (void)common, (void)key, (void)value;
    return CLI_DONE;
}

static const cli_program program = {
    .name = "vqlogits info",
    .usage = "HEAD... [options]",
    .about = "Say what heads are: mode, tokens, codes, storage, bytes in memory.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqlogits info head.safetensors\n",
    .option = on_option,
};

int vqlogits_info(int argc, char **argv)
{
    cli_common common;
    int code = cli_parse(&common, &program, argc, argv, NULL);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "no head was named (see vqlogits info --help)");
    code = CLI_DONE;
    for (int i = optind; i < argc; i++) {
        vq_head *head = NULL;
        const int failed = vqlogits_head_open(&head, &common, argv[i]);
        if (failed)
            code = failed;
        else if (common.json)
            code =
                cli_json_print(&common, vqlogits_head_json(argv[i], head), 0) ? CLI_FAILED : code;
        else
            vqlogits_head_print(stdout, argv[i], head);
        vq_head_free(head);
    }
    return cli_close_stdout(&common, code);
}
