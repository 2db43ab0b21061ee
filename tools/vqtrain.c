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

enum {
    KEY_QUANTIZER = CLI_KEY_FIRST,
    KEY_METRIC,
    KEY_STORAGE,
    KEY_TOLERANCE,
    KEY_SEEDING,
    KEY_REPAIR,
    KEY_MAX_VECTORS,
    KEY_CODEC,
    KEY_DIM,
    KEY_RESUME
};

static const cli_option options[] = {
    CLI_OPTION_OUTPUT("the model file (safetensors), or - for standard output"),
    {'k', "k", "K", "codewords per level (default: features 256, pictures the recipe's)"},
    {'l', "levels", "L", "levels (default: rvq 4, pictures the recipe's)"},
    {'i', "iterations", "N", "k-means iterations per level (default 25, pictures the recipe's)"},
    {KEY_MAX_VECTORS, "max-vectors", "N", "train on an even sample of so many vectors"},
    {'s', "seed", "N", "seed of the random numbers (default 0)"},
    {KEY_CODEC, "codec", "NAME", "pictures: the front end to train (default image)"},
    {KEY_DIM, "dim", "N", "pictures: coefficients kept per grid position"},
    {KEY_QUANTIZER, "quantizer", "KIND", "features: kmeans (one codebook, default) or rvq"},
    {KEY_METRIC, "metric", "NAME", "features: euclidean (default) or cosine (kmeans only)"},
    {KEY_STORAGE, "storage", "TYPE", "features: codewords as f32 (default), f16 or bf16"},
    {KEY_SEEDING, "seeding", "HOW", "features: kmeans++ (default) or random"},
    {KEY_REPAIR, "repair", "N", "features: rounds that move wasted codewords (default 0)"},
    {KEY_TOLERANCE, "tolerance", "X",
     "features: stop a level when the error falls by less than this share\n"
     "                            (default 1e-4; negative = never)"},
    {KEY_RESUME, "resume", NULL, "go on from OUTPUT.partial, to the same model, bit for bit"},
    CLI_OPTION_THREADS,
    CLI_OPTION_CPU,
    CLI_OPTION_JSON,
    CLI_OPTION_FORCE("start again even if there is an OUTPUT.partial"),
    CLI_OPTION_QUIET,
    CLI_OPTION_VERBOSE,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

/** @return the index of `value` among the words, or -1 after a message. */
static int one_of(const cli_common *common, const char *option, const char *value,
                  const char *const *words, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(value, words[i]) == 0)
            return i;
    char list[64] = "";
    for (int i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", words[i]);
    cli_usage(common, "--%s: '%s' is none of %s", option, value, list);
    return -1;
}

static int word_option(vqtrain_settings *s, const cli_common *common, int key, const char *value)
{
    static const char *const quantizers[] = {"kmeans", "rvq"};
    static const char *const metrics[] = {"euclidean", "cosine"};
    static const char *const storages[] = {"f32", "f16", "bf16"};
    static const char *const seedings[] = {"kmeans++", "random"};
    static const vq_dtype dtypes[] = {VQ_DTYPE_F32, VQ_DTYPE_F16, VQ_DTYPE_BF16};
    int i;
    switch (key) {
    case KEY_QUANTIZER:
        s->features_only = "quantizer";
        s->residual = i = one_of(common, "quantizer", value, quantizers, 2);
        break;
    case KEY_METRIC:
        s->features_only = "metric";
        i = one_of(common, "metric", value, metrics, 2);
        s->metric = i == 1 ? VQ_METRIC_COSINE : VQ_METRIC_EUCLIDEAN;
        break;
    case KEY_STORAGE:
        s->features_only = "storage";
        i = one_of(common, "storage", value, storages, 3);
        s->storage = i < 0 ? VQ_DTYPE_F32 : dtypes[i];
        break;
    default:
        s->features_only = "seeding";
        i = one_of(common, "seeding", value, seedings, 2);
        s->seeding = i == 1 ? VQ_SEEDING_RANDOM : VQ_SEEDING_KMEANSPP;
        break;
    }
    return i < 0 ? CLI_USAGE : CLI_DONE;
}

static int number_option(uint32_t *out, const cli_common *common, const char *option,
                         const char *value, uint64_t high)
{
    uint64_t number;
    const int code = cli_read_uint(common, option, value, 1, high, &number);
    if (!code)
        *out = (uint32_t)number;
    return code;
}

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    vqtrain_settings *s = state;
    switch (key) {
    case 'k':
        return number_option(&s->k, common, "k", value, 1u << 24);
    case 'l':
        return number_option(&s->levels, common, "levels", value, VQ_MAX_LEVELS);
    case 'i':
        return number_option(&s->iterations, common, "iterations", value, 1000000);
    case KEY_DIM:
        s->pictures_only = "dim";
        return number_option(&s->dim, common, "dim", value, 65536);
    case 's':
        return cli_read_uint(common, "seed", value, 0, UINT64_MAX, &s->seed);
    case KEY_MAX_VECTORS:
        return cli_read_uint(common, "max-vectors", value, 1, (uint64_t)1 << 48, &s->max_vectors);
    case KEY_TOLERANCE:
        s->features_only = "tolerance";
        return cli_read_double(common, "tolerance", value, &s->tolerance);
    case KEY_REPAIR:
        s->features_only = "repair";
        return number_option(&s->repair, common, "repair", value, 1000);
    case KEY_CODEC:
        s->pictures_only = "codec";
        s->codec = value;
        return CLI_DONE;
    case KEY_RESUME:
        s->resume = 1;
        return CLI_DONE;
    default:
        return word_option(s, common, key, value);
    }
}

static const cli_program program = {
    .name = "vqtrain",
    .usage = "INPUT... -o MODEL [options]",
    .about =
        "Train a model. Pictures (PNG, JPEG), or folders of them, make a model for vqenc; .npy "
        "arrays\nof [n, d] features make a quantizer. Ctrl-C loses at most the level at work: see "
        "--resume.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples =
        "  vqtrain photos/ -o model.safetensors\n"
        "  vqtrain features.npy --k 1024 -o codebook.safetensors\n"
        "  vqtrain a.npy b.npy --quantizer rvq --levels 8 --k 256 -o rvq.safetensors\n"
        "  vqtrain --import codebooks.npy -o model.safetensors    (see vqtrain --import --help)\n",
    .option = on_option,
};

static int is_array_name(const char *name)
{
    return cli_has_suffix(name, ".npy");
}

static int is_training_name(const char *name)
{
    return cli_is_picture_name(name) || is_array_name(name);
}

/** Are the inputs features or pictures? They may not be mixed. */
static int choose_kind(const cli_common *common, const cli_paths *inputs, vqtrain_settings *s,
                       int *features)
{
    *features = is_array_name(inputs->path[0]);
    for (size_t i = 1; i < inputs->count; i++)
        if (is_array_name(inputs->path[i]) != *features)
            return cli_usage(common, "%s and %s: pictures and .npy features cannot be mixed",
                             inputs->path[0], inputs->path[i]);
    if (*features && s->pictures_only)
        return cli_usage(common, "--%s is for pictures, not for features", s->pictures_only);
    if (!*features && s->features_only)
        return cli_usage(common, "--%s is for .npy features, not for pictures", s->features_only);
    if (!*features) {
        s->codec = s->codec ? s->codec : "image";
        return CLI_DONE;
    }
    if (s->levels > 1 && !s->residual)
        return cli_usage(common, "--levels needs --quantizer rvq (kmeans has one level)");
    if (s->metric == VQ_METRIC_COSINE && s->residual)
        return cli_usage(common, "--metric cosine is for --quantizer kmeans");
    if (!s->levels)
        s->levels = s->residual ? 4 : 1;
    s->k = s->k ? s->k : 256;
    s->iterations = s->iterations ? s->iterations : 25;
    return CLI_DONE;
}

static char *describe_run(const vqtrain_settings *s, int features)
{
    const unsigned long long sample = s->max_vectors, seed = s->seed;
    if (!features)
        return cli_format("libvq=%s codec=%s levels=%u k=%u dim=%u iterations=%u max_vectors=%llu "
                          "seed=%llu",
                          vq_version(), s->codec, s->levels, s->k, s->dim, s->iterations, sample,
                          seed);
    return cli_format("libvq=%s quantizer=%s levels=%u k=%u metric=%s storage=%s iterations=%u "
                      "tolerance=%g seeding=%s repair=%u max_vectors=%llu seed=%llu",
                      vq_version(), s->residual ? "rvq" : "kmeans", s->levels, s->k,
                      vq_metric_name(s->metric), vq_dtype_name(s->storage), s->iterations,
                      s->tolerance, s->seeding == VQ_SEEDING_RANDOM ? "random" : "kmeans++",
                      s->repair, sample, seed);
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
    const char *kind = !features                 ? run->settings->codec
                       : run->settings->residual ? "rvq"
                                                 : "kmeans";
    if (common->json)
        return cli_json_print(
            common,
            json_pack("{ss ss sI ss ss ss so so}", "output", common->output, "kind", kind, "bytes",
                      (json_int_t)bytes->size, "sha256", sha, "settings", run->identity, "data",
                      run->data, "vectors",
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
    int code = features ? vqtrain_features(run, &model) : vqtrain_pictures(run, &model);
    if (code == CLI_INTERRUPTED && run->checkpoint && run->levels)
        cli_note(run->common, "%s: %u level%s done (go on with --resume)", run->checkpoint,
                 run->levels, run->levels == 1 ? "" : "s");
    if (!code) {
        vq_status status = vq_safetensors_serialize(&bytes, model);
        if (!status)
            status = vq_file_write(run->common->output, bytes.data, bytes.size, NULL);
        if (status)
            code = cli_fail(run->common, run->common->output, status);
    }
    if (!code && run->checkpoint)
        unlink(run->checkpoint);
    if (!code)
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
    int features, code = cli_parse(&common, &program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "nothing to train on was named (see vqtrain --help)");
    cli_catch_signals();
    code = cli_expand(&inputs, &common, argv + optind, argc - optind, is_training_name);
    if (!code)
        code = choose_kind(&common, &inputs, &s, &features);
    if (!code)
        code = check_output(&common, &inputs);
    if (!code) {
        vqtrain_run run = {.common = &common, .settings = &s, .inputs = &inputs};
        run.identity = describe_run(&s, features);
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
    return cli_close_stdout(&common, code);
}
