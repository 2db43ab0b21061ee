/* SPDX-License-Identifier: Apache-2.0 */
/* vqtrain --import: codebooks of another program to a model, without any training. */
#include <getopt.h>
#include <string.h>

#include "io/npy.h"
#include "io/safetensors.h"
#include "vqtrain.h"

enum { KEY_METRIC = CLI_KEY_FIRST, KEY_QUANTIZER, KEY_TENSOR };

static const cli_option options[] = {
    CLI_OPTION_OUTPUT("the model file (safetensors), or - for standard output"),
    {KEY_METRIC, "metric", "NAME", "of the search: euclidean (default), cosine or dot"},
    {KEY_QUANTIZER, "quantizer", "KIND",
     "kmeans (one codebook), rvq (a stack) or pq (slices of the vector)\n"
     "                            (default: kmeans for one codebook, else rvq)"},
    {KEY_TENSOR, "tensor", "NAME",
     "the array; a * in it stands for the level: 0, 1, 2, ...\n"
     "                            (default: the only one of 2 or 3 dimensions)"},
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    static const char *const words[] = {"kmeans", "rvq", "pq"};
    static const char *const kinds[] = {"flat", "residual", "product"};
    vq_import_opts *opts = state;
    switch (key) {
    case KEY_TENSOR:
        opts->tensor = value;
        return CLI_DONE;
    case KEY_METRIC:
        for (int m = VQ_METRIC_EUCLIDEAN; m <= VQ_METRIC_DOT; m++)
            if (strcmp(value, vq_metric_name((vq_metric)m)) == 0) {
                opts->metric = (vq_metric)m;
                return CLI_DONE;
            }
        return cli_usage(common, "--metric: '%s' is none of euclidean, cosine, dot", value);
    default:
        for (int i = 0; i < 3; i++)
            if (strcmp(value, words[i]) == 0) {
                opts->kind = kinds[i];
                return CLI_DONE;
            }
        return cli_usage(common, "--quantizer: '%s' is none of kmeans, rvq, pq", value);
    }
}

static const cli_program program = {
    .name = "vqtrain --import",
    .usage = "CODEBOOKS -o MODEL [options]",
    .about =
        "Make a model of another program's codebooks: an array of [K, d] or [L, K, d], .npy or "
        "safetensors,\nor in safetensors one [K, d] for each level. Nothing is trained.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples =
        "  vqtrain --import codebooks.npy -o model.safetensors\n"
        "  vqtrain --import centroids.npy --quantizer pq -o pq.safetensors\n"
        "  vqtrain --import codec.safetensors --tensor 'quantizer.layers.*.codebook.embed' -o "
        "rvq.safetensors\n",
    .option = on_option,
};

static void tell(const cli_common *common, const char *input, const vq_quantizer *q)
{
    char levels[CLI_K_SIZE];
    uint32_t k[VQ_MAX_LEVELS];
    const uint32_t count = vq_quantizer_levels(q), d = vq_quantizer_dim(q);
    const char *kind = vq_quantizer_kind(q);
    for (uint32_t l = 0; l < count; l++)
        k[l] = vq_quantizer_k(q, l);
    if (common->json) {
        cli_json_print(common,
                       json_pack("{ss ss ss ss sI so}", "output", common->output, "imported", input,
                                 "kind", kind, "metric",
                                 vq_metric_name(vq_codebook_metric(vq_quantizer_codebook(q, 0))),
                                 "dimension", (json_int_t)d, "k", cli_json_levels(count, k)),
                       1);
        return;
    }
    cli_describe_levels(levels, count, k);
    fprintf(strcmp(common->output, "-") ? stdout : stderr,
            "%s: %s, %s, dimension %u, imported from %s\n", common->output, kind, levels, d, input);
}

static int import(const cli_common *common, const char *input, const vq_import_opts *opts)
{
    vq_tensors *arrays = NULL, *model = NULL;
    vq_quantizer *q = NULL;
    const char *at_fault = input;
    vq_status status = cli_has_suffix(input, ".npy")
                           ? vq_npy_read(&arrays, input, "codebooks", NULL)
                           : vq_safetensors_read(&arrays, input, NULL);
    if (!status)
        status = vq_quantizer_import(&q, arrays, opts, NULL);
    if (!status)
        status = vq_tensors_create(&model);
    if (!status)
        status = vq_quantizer_save(model, q, "");
    if (!status) {
        at_fault = common->output;
        status = vq_safetensors_write(common->output, model, NULL);
    }
    const int code = status ? cli_fail(common, at_fault, status) : CLI_DONE;
    if (!code && !common->quiet)
        tell(common, input, q);
    vq_quantizer_free(q);
    vq_tensors_free(arrays);
    vq_tensors_free(model);
    return code;
}

int vqtrain_import(int argc, char **argv)
{
    cli_common common;
    vq_import_opts opts = VQ_IMPORT_OPTS_INIT;
    int code = cli_parse(&common, &program, argc, argv, &opts);
    if (code != CLI_GO_ON)
        return code;
    if (optind + 1 != argc)
        return cli_usage(&common, "one file of codebooks is wanted (see vqtrain --import --help)");
    if (!common.output)
        return cli_usage(&common, "no output was named (give --output FILE)");
    char *inputs[1] = {argv[optind]};
    code = cli_check_output(&common, common.output, inputs, 1);
    if (!code)
        code = import(&common, inputs[0], &opts);
    return cli_close_stdout(&common, code);
}
