/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of vqtrain. */
#include <stdlib.h>
#include <string.h>

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
    KEY_PARTS,
    KEY_BINS,
    KEY_BOUND,
    KEY_TRAIN_BEAM,
    KEY_TRAIN_PREFIXES,
    KEY_REFIT,
    KEY_SHARED,
    KEY_SPLIT_INPUT,
    KEY_TEACHER,
    KEY_SCALES,
    KEY_BEAM,
    KEY_LAMBDA,
    KEY_ACTION,
    KEY_UNIVERSAL,
    KEY_HORIZON,
    KEY_QUANTILE,
    KEY_RESUME
};

static const cli_option options[] = {
    CLI_OPTION_OUTPUT("the model file (safetensors), or - for standard output"),
    {KEY_QUANTIZER, "quantizer", "KIND",
     "kmeans (one codebook; features' default), simvq, rvq (residual), pq\n"
     "                            (product), split (semantic + acoustic), multiscale (of grids),\n"
     "                            fsq, lfq, bsq (scalar); pictures: the recipe's"},
    {'k', "k", "K", "codewords per level (default 256; pictures the recipe's)"},
    {'l', "levels", "L", "levels (default: rvq and split 4, others 1, pictures the recipe's)"},
    {'i', "iterations", "N", "iterations per level (default 25, pictures the recipe's)"},
    {KEY_MAX_VECTORS, "max-vectors", "N", "train on an even sample of so many vectors"},
    {'s', "seed", "N", "seed of the random numbers (default 0)"},
    {KEY_CODEC, "codec", "NAME",
     "pictures, sounds, actions: the front end to train (default: by the names of the\n"
     "                            inputs; with --action: action)"},
    {KEY_DIM, "dim", "N", "pictures: coefficients kept per grid position"},
    {KEY_METRIC, "metric", "NAME", "kmeans: euclidean (default) or cosine"},
    {KEY_STORAGE, "storage", "TYPE", "codewords as f32 (default), f16 or bf16"},
    {KEY_SEEDING, "seeding", "HOW",
     "first codewords: kmeans++ (default) or random; rvq, pq and split:\n"
     "                            by default as suits each level"},
    {KEY_REPAIR, "repair", "N", "rounds that move wasted codewords (default 0)"},
    {KEY_TOLERANCE, "tolerance", "X",
     "stop a level when the error falls by less than this share\n"
     "                            (default 1e-4; negative = never)"},
    {KEY_TRAIN_BEAM, "train-beam", "N",
     "prefixes kept between levels in training (default 1, pictures 2)"},
    {KEY_TRAIN_PREFIXES, "train-prefixes", "N",
     "of these, how many the next level is trained on: better on vectors that\n"
     "                            were not there, and as many times the memory (default 1)"},
    {KEY_REFIT, "refit", "N", "rounds that refit all levels together (default 0, pictures 6)"},
    {KEY_LAMBDA, "lambda", "L",
     "what a bit costs, in squared error of a vector: in the encoding that\n"
     "                            the report is about; pictures: in --refit (default 0.01)"},
    {KEY_BEAM, "beam", "N", "prefixes kept in the encoding that the report is about (default 1)"},
    {KEY_SHARED, "shared", NULL, "rvq, multiscale: one codebook of K for all levels"},
    {KEY_SPLIT_INPUT, "split-input", "WHAT",
     "split: the acoustic levels take the rest of the semantic one\n"
     "                            (default), or the same vector"},
    {KEY_TEACHER, "teacher", "FILE",
     "split: .npy of [n, e], what the semantic level is to speak of"},
    {KEY_SCALES, "scales", "LIST",
     "multiscale: sizes of the scales, 1,2,4x6,8x12 (default: doubled\n"
     "                            up to the grid)"},
    {KEY_PARTS, "parts", "M", "pq: slices of the vector (default 8)"},
    {KEY_BINS, "bins", "LIST", "fsq: bins of a level's numbers, 8,5,5,5 (default: chosen for K)"},
    {KEY_BOUND, "bound", "NAME", "fsq: tanh (default), symmetric or clamp"},
    {KEY_ACTION, "action", NULL,
     "the inputs are robot actions, .npy [T, D] or [N, T, D], .npz or CSV: make\n"
     "                            a model for vqenc, of the codec action or --codec bins"},
    {KEY_HORIZON, "horizon", "H", "actions: steps of a chunk (default 16)"},
    {KEY_UNIVERSAL, "universal", NULL, "actions: a model for any robot, which keeps no ranges"},
    {KEY_QUANTILE, "quantile", NULL, "bins: equally many steps in each (default: even bins)"},
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
    static const char *const metrics[] = {"euclidean", "cosine"};
    static const char *const storages[] = {"f32", "f16", "bf16"};
    static const char *const seedings[] = {"kmeans++", "random"};
    static const char *const split_inputs[] = {"rest", "same"};
    static const char *const bounds[] = {"tanh", "symmetric", "clamp"};
    static const vq_dtype dtypes[] = {VQ_DTYPE_F32, VQ_DTYPE_F16, VQ_DTYPE_BF16};
    int i;
    switch (key) {
    case KEY_METRIC:
        s->given |= VQTRAIN_METRIC;
        i = one_of(common, "metric", value, metrics, 2);
        s->metric = i == 1 ? VQ_METRIC_COSINE : VQ_METRIC_EUCLIDEAN;
        break;
    case KEY_STORAGE:
        s->given |= VQTRAIN_STORAGE;
        i = one_of(common, "storage", value, storages, 3);
        s->storage = i < 0 ? VQ_DTYPE_F32 : dtypes[i];
        break;
    case KEY_SPLIT_INPUT:
        s->given |= VQTRAIN_SPLIT_INPUT;
        i = one_of(common, "split-input", value, split_inputs, 2);
        s->split_input = i == 1 ? VQ_SPLIT_SAME : VQ_SPLIT_REST;
        break;
    case KEY_BOUND:
        s->given |= VQTRAIN_BOUND;
        i = one_of(common, "bound", value, bounds, 3);
        s->bound = i < 0 ? VQ_FSQ_TANH : (vq_fsq_bound)i;
        break;
    default:
        s->given |= VQTRAIN_SEEDING;
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

/** "8,5,5,5" */
static int bins_option(vqtrain_settings *s, const cli_common *common, const char *value)
{
    char number[16];
    s->bin_count = 0;
    for (const char *at = value;; at++) {
        const size_t length = strcspn(at, ",");
        if (s->bin_count == VQTRAIN_MOST_BINS)
            return cli_usage(common, "--bins: more than %d numbers", VQTRAIN_MOST_BINS);
        snprintf(number, sizeof number, "%.*s", (int)(length < 15 ? length : 15), at);
        const int code =
            number_option(&s->bins[s->bin_count++], common, "bins", number, VQ_FSQ_MAX_BINS);
        if (code)
            return code;
        at += length;
        if (!*at)
            return CLI_DONE;
    }
}

/** "1,2,4x6": a number alone is that of rows and of columns. */
static int scales_option(vqtrain_settings *s, const cli_common *common, const char *value)
{
    char number[16];
    s->scale_count = 0;
    for (const char *at = value;; at++) {
        if (s->scale_count == VQ_MAX_LEVELS)
            return cli_usage(common, "--scales: more than %d sizes", VQ_MAX_LEVELS);
        uint32_t *size = s->scales + 2 * s->scale_count++;
        for (int side = 0; side < 2; side++) {
            const size_t length = strcspn(at, side ? "," : ",x");
            snprintf(number, sizeof number, "%.*s", (int)(length < 15 ? length : 15), at);
            const int code = number_option(size + side, common, "scales", number, 65536);
            if (code)
                return code;
            at += length;
            if (*at != 'x') {
                size[1] = size[side];
                break;
            }
            at++;
        }
        if (!*at)
            return CLI_DONE;
    }
}

static int lambda_option(vqtrain_settings *s, const cli_common *common, const char *value)
{
    double lambda;
    if (cli_read_double(common, "lambda", value, &lambda))
        return CLI_USAGE;
    if (!(lambda >= 0 && lambda <= 1e6))
        return cli_usage(common, "--lambda: %g is not from 0 to 1000000", lambda);
    s->given |= VQTRAIN_LAMBDA;
    s->lambda = (float)lambda;
    return CLI_DONE;
}

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    vqtrain_settings *s = state;
    switch (key) {
    case KEY_QUANTIZER:
        s->kind = vqtrain_find_kind(common, value);
        return s->kind ? CLI_DONE : CLI_USAGE;
    case 'k':
        s->given |= VQTRAIN_K;
        return number_option(&s->k, common, "k", value, UINT32_MAX);
    case 'l':
        s->given |= VQTRAIN_LEVELS;
        return number_option(&s->levels, common, "levels", value, VQ_MAX_LEVELS);
    case 'i':
        s->given |= VQTRAIN_ITERATIONS;
        return number_option(&s->iterations, common, "iterations", value, 1000000);
    case KEY_PARTS:
        s->given |= VQTRAIN_PARTS;
        return number_option(&s->parts, common, "parts", value, VQ_MAX_LEVELS);
    case KEY_BINS:
        s->given |= VQTRAIN_BINS;
        return bins_option(s, common, value);
    case KEY_TRAIN_BEAM:
        s->given |= VQTRAIN_TRAIN_BEAM;
        return number_option(&s->train_beam, common, "train-beam", value, VQ_MAX_BEAM);
    case KEY_TRAIN_PREFIXES:
        s->given |= VQTRAIN_TRAIN_PREFIXES;
        return number_option(&s->train_prefixes, common, "train-prefixes", value, VQ_MAX_BEAM);
    case KEY_REFIT:
        s->given |= VQTRAIN_REFIT;
        return number_option(&s->refits, common, "refit", value, 1000);
    case KEY_BEAM:
        s->given |= VQTRAIN_BEAM;
        return number_option(&s->beam, common, "beam", value, VQ_MAX_BEAM);
    case KEY_LAMBDA:
        return lambda_option(s, common, value);
    case KEY_SHARED:
        s->given |= VQTRAIN_SHARED;
        s->shared = 1;
        return CLI_DONE;
    case KEY_TEACHER:
        s->given |= VQTRAIN_TEACHER;
        s->teacher = value;
        return CLI_DONE;
    case KEY_SCALES:
        s->given |= VQTRAIN_SCALES;
        return scales_option(s, common, value);
    case KEY_DIM:
        s->pictures_only = "dim";
        return number_option(&s->dim, common, "dim", value, 65536);
    case 's':
        return cli_read_uint(common, "seed", value, 0, UINT64_MAX, &s->seed);
    case KEY_MAX_VECTORS:
        return cli_read_uint(common, "max-vectors", value, 1, (uint64_t)1 << 48, &s->max_vectors);
    case KEY_TOLERANCE:
        s->given |= VQTRAIN_TOLERANCE;
        return cli_read_double(common, "tolerance", value, &s->tolerance);
    case KEY_REPAIR:
        s->given |= VQTRAIN_REPAIR;
        return number_option(&s->repair, common, "repair", value, 1000);
    case KEY_CODEC:
        s->pictures_only = "codec";
        s->codec = value;
        return CLI_DONE;
    case KEY_ACTION:
        s->action = 1;
        return CLI_DONE;
    case KEY_UNIVERSAL:
        s->actions_only = "universal";
        s->universal = 1;
        return CLI_DONE;
    case KEY_QUANTILE:
        s->actions_only = "quantile";
        s->quantile_bins = 1;
        return CLI_DONE;
    case KEY_HORIZON:
        s->actions_only = "horizon";
        return number_option(&s->horizon, common, "horizon", value, 512);
    case KEY_RESUME:
        s->resume = 1;
        return CLI_DONE;
    default:
        return word_option(s, common, key, value);
    }
}

const cli_program vqtrain_program = {
    .name = "vqtrain",
    .usage = "INPUT... -o MODEL [options]",
    .about =
        "Train a model. Pictures (PNG, JPEG), or folders of them, make a model for vqenc; .npy "
        "arrays\nof [n, d] features make a quantizer, with --action a model of robot actions. "
        "Ctrl-C loses at most the level at work: see "
        "--resume.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples =
        "  vqtrain photos/ -o model.safetensors\n"
        "  vqtrain features.npy --k 1024 -o codebook.safetensors\n"
        "  vqtrain a.npy b.npy --quantizer rvq --levels 8 --k 256 -o rvq.safetensors\n"
        "  vqtrain --action demos/*.npy -o arm.safetensors\n"
        "  vqtrain --import codebooks.npy -o model.safetensors    (see vqtrain --import --help)\n"
        "  vqtrain --partial 1/8 ..., vqtrain --merge ...    k-means in jobs (see vqtrain --merge "
        "--help)\n",
    .option = on_option,
};

/* "8,5,5" */
static char *list(const uint32_t *numbers, uint32_t count)
{
    char *text = cli_copy("");
    for (uint32_t i = 0; i < count; i++) {
        char *longer = cli_format("%s%s%u", text, i ? "," : "", numbers[i]);
        free(text);
        text = longer;
    }
    return text;
}

char *vqtrain_identity(const vqtrain_settings *s, int features)
{
    const unsigned long long sample = s->max_vectors, seed = s->seed;
    char *codec = features    ? cli_copy("")
                  : s->action ? cli_format("codec=%s horizon=%u universal=%d quantile=%d ",
                                           s->codec, s->horizon, s->universal, s->quantile_bins)
                              : cli_format("codec=%s dim=%u ", s->codec, s->dim);
    char *bins = list(s->bins, s->bin_count), *scales = list(s->scales, 2 * s->scale_count);
    const char *seeding = !(s->given & VQTRAIN_SEEDING)     ? "default"
                          : s->seeding == VQ_SEEDING_RANDOM ? "random"
                                                            : "kmeans++";
    char *identity;
    if (!s->kind)
        identity = cli_format("libvq=%s %slevels=%u k=%u iterations=%u train_beam=%u refit=%u "
                              "lambda=%g max_vectors=%llu seed=%llu",
                              vq_version(), codec, s->levels, s->k, s->iterations, s->train_beam,
                              s->refits, s->given & VQTRAIN_LAMBDA ? (double)s->lambda : -1.0,
                              sample, seed);
    else
        identity = cli_format(
            "libvq=%s %squantizer=%s levels=%u k=%u parts=%u bins=%s bound=%s scales=%s split=%s%s "
            "metric=%s storage=%s iterations=%u tolerance=%g seeding=%s repair=%u train_beam=%u "
            "train_prefixes=%u refit=%u shared=%d max_vectors=%llu seed=%llu",
            vq_version(), codec, vqtrain_kind_name(s->kind), s->levels, s->k, s->parts, bins,
            vq_fsq_bound_name(s->bound), scales, s->split_input == VQ_SPLIT_SAME ? "same" : "rest",
            s->teacher ? ",teacher" : "", vq_metric_name(s->metric), vq_dtype_name(s->storage),
            s->iterations, s->tolerance, seeding, s->repair, s->train_beam, s->train_prefixes,
            s->refits, s->shared, sample, seed);
    free(codec);
    free(bins);
    free(scales);
    return identity;
}
