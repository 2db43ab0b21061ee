/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqtrain.c  Pictures or features to a model. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/digest.h"
#include "io/safetensors.h"
#include "vqtrain.h"

static int is_array_name(const char *name)
{
    return cli_has_suffix(name, ".npy");
}

static int is_action_name(const char *name)
{
    return is_array_name(name) || cli_has_suffix(name, ".npz") || cli_has_suffix(name, ".csv");
}

static int is_training_name(const char *name)
{
    const cli_kind *kind = cli_kind_by_name(name);
    return is_array_name(name) || (kind && kind->kind != VQ_KIND_ACTION);
}

/** What the inputs are signals of, by their names: pictures, if those do not tell. */
static const cli_kind *kind_of_name(const char *name)
{
    const cli_kind *kind = cli_kind_by_name(name);
    return kind ? kind : cli_kind_of(VQ_KIND_IMAGE);
}

static const char *what(const char *name)
{
    return is_array_name(name) ? ".npy features" : kind_of_name(name)->many;
}

/** Are the inputs features, or signals of which kind? They may not be mixed. */
static int choose_kind(const cli_common *common, const cli_paths *inputs, vqtrain_settings *s,
                       int *features)
{
    const char *first = inputs->path[0];
    *features = !s->action && is_array_name(first);
    if (s->actions_only && !s->action)
        return cli_usage(common, "--%s needs --action", s->actions_only);
    if (s->action) {
        if (s->dim || s->teacher || (s->kind && vqtrain_wants_grids(s->kind)))
            return cli_usage(common, "--%s is not for actions",
                             s->dim       ? "dim"
                             : s->teacher ? "teacher"
                                          : "quantizer multiscale");
        s->kind_of_signal = cli_kind_of(VQ_KIND_ACTION);
        s->codec = s->codec ? s->codec : s->kind_of_signal->codec;
        return vqtrain_resolve(s, common);
    }
    for (size_t i = 1; i < inputs->count; i++)
        if (strcmp(what(inputs->path[i]), what(first)) != 0)
            return cli_usage(common, "%s and %s: %s and %s cannot be mixed", first, inputs->path[i],
                             what(first), what(inputs->path[i]));
    if (*features && s->pictures_only)
        return cli_usage(common, "--%s is for pictures and sounds, not for features",
                         s->pictures_only);
    if (*features && !s->kind)
        s->kind = vqtrain_find_kind(common, "kmeans");
    if (*features)
        return vqtrain_resolve(s, common);
    s->kind_of_signal = kind_of_name(first);
    if (s->kind && (s->teacher || vqtrain_wants_grids(s->kind)))
        return cli_usage(common, "--%s is for features, not for %s",
                         s->teacher ? "teacher" : "quantizer multiscale", s->kind_of_signal->many);
    if (s->codec && strcmp(s->codec, s->kind_of_signal->codec) != 0)
        return cli_usage(common, "--codec %s is not for %s", s->codec, s->kind_of_signal->many);
    s->codec = s->kind_of_signal->codec;
    return vqtrain_resolve(s, common);
}

/** What would otherwise be found out after hours of training. */
static int check_output(const cli_common *common, const cli_paths *inputs)
{
    const char *output = common->output;
    if (!output)
        return cli_usage(common, "no output was named (give --output FILE)");
    if (cli_is_folder(output))
        return cli_usage(common, "%s: the output is a folder (name a file)", output);
    const int code = cli_check_output(common, output, inputs->path, inputs->count);
    if (code || strcmp(output, "-") == 0)
        return code;
    const char *slash = strrchr(output, '/');
    char *folder = slash ? cli_format("%.*s", (int)(slash - output) + 1, output) : cli_copy(".");
    const int unusable = access(folder, W_OK | X_OK);
    if (unusable)
        cli_fault(common, output, "the folder %s cannot be written to: %s", folder,
                  strerror(errno));
    free(folder);
    return unusable ? CLI_FAILED : CLI_DONE;
}

static int prepare_checkpoint(vqtrain_run *run)
{
    const cli_common *common = run->common;
    if (strcmp(common->output, "-") == 0)
        return run->settings->resume
                   ? cli_usage(common, "--resume needs a file as output, not standard output")
                   : CLI_DONE;
    run->checkpoint = cli_format("%s.partial", common->output);
    if (run->settings->resume)
        return vqtrain_resume(run);
    if (!common->force && access(run->checkpoint, F_OK) == 0)
        return cli_usage(common,
                         "%s: an interrupted run left this (go on with --resume, or start again "
                         "with --force)",
                         run->checkpoint);
    return CLI_DONE;
}

static int tell(const vqtrain_run *run, int features, const vq_bytes *bytes)
{
    const cli_common *common = run->common;
    uint8_t digest[VQ_SHA256_SIZE];
    char sha[CLI_HEX_SIZE], levels[CLI_K_SIZE];
    uint32_t k[VQ_MAX_LEVELS];
    vq_sha256(digest, bytes->data, bytes->size);
    cli_hex(sha, digest);
    const vqtrain_kind *made = run->settings->kind;
    const char *quantizer = made ? vqtrain_kind_name(made) : "rvq";
    const char *kind = features ? quantizer : run->settings->codec;
    if (common->json)
        return cli_json_print(
            common,
            json_pack("{ss ss ss sI ss ss ss so so}", "output", common->output, "kind", kind,
                      "quantizer", quantizer, "bytes", (json_int_t)bytes->size, "sha256", sha,
                      "settings", run->identity, "data", run->data, "vectors",
                      run->vectors ? json_integer((json_int_t)run->vectors) : json_null(), "levels",
                      cli_json_level_rows(run->rows, run->levels)),
            1);
    if (common->quiet)
        return CLI_DONE;
    FILE *to = strcmp(common->output, "-") ? stdout : stderr;
    for (uint32_t i = 0; i < run->levels; i++)
        k[i] = run->rows[i].k;
    cli_describe_levels(levels, run->levels, k);
    fprintf(to, "%s: %s, %s, %zu bytes, trained on %s\n", common->output, kind, levels, bytes->size,
            run->data);
    cli_print_levels(to, run->rows, run->levels);
    return CLI_DONE;
}

static int train(vqtrain_run *run, int features)
{
    vq_tensors *model = NULL;
    vq_bytes bytes = {0};
    int code = !features                                  ? vqtrain_signals(run, &model)
               : vqtrain_wants_grids(run->settings->kind) ? vqtrain_grids(run, &model)
                                                          : vqtrain_features(run, &model);
    if (code == CLI_INTERRUPTED && run->checkpoint && run->levels)
        cli_note(run->common, "%s: %u level%s done (go on with --resume)", run->checkpoint,
                 run->levels, run->levels == 1 ? "" : "s");
    if (!code && run->ranks.rank == 0) {
        vq_status status = vq_safetensors_serialize(&bytes, model);
        if (!status)
            status = vq_file_write(run->common->output, bytes.data, bytes.size, NULL);
        if (status)
            code = cli_fail(run->common, run->common->output, status);
    }
    if (!code && run->checkpoint && run->ranks.rank == 0)
        unlink(run->checkpoint);
    if (!code && run->ranks.rank == 0)
        code = tell(run, features, &bytes);
    vq_bytes_clear(&bytes);
    vq_tensors_free(model);
    return code;
}

int main(int argc, char **argv)
{
    cli_common common;
    vqtrain_settings s = {0};
    cli_paths inputs = {0};
    if (argc > 1 && strcmp(argv[1], "--import") == 0)
        return vqtrain_import(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "--partial") == 0)
        return vqtrain_partial(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "--merge") == 0)
        return vqtrain_merge(argc - 1, argv + 1);
    int features, code = cli_parse(&common, &vqtrain_program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "nothing to train on was named (see vqtrain --help)");
    vqtrain_run run = {.common = &common, .settings = &s, .inputs = &inputs};
    cli_catch_signals();
    code = cli_ranks_begin(&run.ranks, &common, "see --partial");
    if (!code)
        code = cli_expand(&inputs, &common, argv + optind, argc - optind,
                          s.action ? is_action_name : is_training_name);
    if (!code)
        code = choose_kind(&common, &inputs, &s, &features);
    if (!code && run.ranks.size > 1)
        code = vqtrain_ranks_check(&common, &s, features);
    if (!code)
        code = check_output(&common, &inputs);
    if (!code) {
        run.identity = vqtrain_identity(&s, features);
        code = prepare_checkpoint(&run);
        if (!code)
            code = train(&run, features);
        vq_quantizer_free(run.before);
        free(run.checkpoint);
        free(run.identity);
        free(run.data);
        free(run.data_before);
    }
    cli_paths_clear(&inputs);
    code = cli_close_stdout(&common, code);
    cli_ranks_end(code, 0);
    return code;
}
