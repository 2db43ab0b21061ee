/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqenc.c  Signals to tokens. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli_sound.h"

enum {
    KEY_ALPHA = CLI_KEY_FIRST,
    KEY_BACKGROUND,
    KEY_BEAM,
    KEY_LAMBDA,
    KEY_BITRATE,
    KEY_STATS,
    KEY_STATS_KEY
};

typedef struct settings {
    const char *model; /**< NULL = the built-in one of the signal's kind */
    vq_packing packing;
    int has_packing;
    vq_coding_opts coding;
    int has_background;
    double bitrate;                /**< of a sound's channel, kbit/s; 0 = levels say it */
    const char *stats, *stats_key; /**< of actions: a file with their ranges, and which of them */
    vq_dimensions *ranges;         /**< read from it */
    cli_kind_options kind_options;
} settings;

/** The codec that is open, and the kind of signal that it is for. */
typedef struct open_codec {
    vq_codec *codec;
    const cli_kind *kind;
    vq_codec_info info;
} open_codec;

static const cli_option options[] = {
    CLI_OPTION_OUTPUT("the token file, - for standard output, or an existing folder"),
    {'l', "levels", "N",
     "levels of the quantizer to use; fewer = smaller (default: the model's; with --lambda all)"},
    {KEY_BITRATE, "bitrate", "KBIT",
     "of sounds: as many levels as fit into so many kbit/s a channel, 1.5, 3, 6 or 12 say"},
    {KEY_LAMBDA, "lambda", "L",
     "mind the bits: a bit more for each L less of squared error; larger = smaller file (0.01 is\n"
     "good, 0.03 small; default 0: the nearest codes, whatever they cost)"},
    {KEY_BEAM, "beam", "N",
     "look at the N best ways in the search, 1 to 64 (default: the model's); more is slower and "
     "better"},
    {'m', "model", "MODEL",
     "a built-in model or a model file (default: the built-in one of the input's kind)"},
    {'p', "packing", "HOW",
     "bits (default), entropy (smallest, needs the model to read; default with --lambda) or raw\n"
     "(can be memory-mapped)"},
    {KEY_ALPHA, "alpha", "HOW",
     "of pictures: keep (coded as a second plane, default) or composite"},
    {KEY_BACKGROUND, "background", "RRGGBB", "colour under --alpha composite (default 000000)"},
    {KEY_STATS, "stats", "FILE",
     "of actions: their ranges from LeRobot's stats.json or OpenVLA's dataset_statistics.json\n"
     "(default: the model's, or those of the file)"},
    {KEY_STATS_KEY, "stats-key", "NAME", "the data set or feature in it"},
    CLI_OPTION_THREADS,
    CLI_OPTION_CPU,
    CLI_OPTION_JSON,
    CLI_OPTION_FORCE("write tokens even to a terminal"),
    CLI_OPTION_QUIET,
    CLI_OPTION_VERBOSE,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int read_background(settings *s, const cli_common *common, const char *text)
{
    const char *digits = text[0] == '#' ? text + 1 : text;
    if (strlen(digits) != 6 || strspn(digits, "0123456789abcdefABCDEF") != 6)
        return cli_usage(common, "--background: '%s' is not a colour (six hexadecimal digits)",
                         text);
    const unsigned long colour = strtoul(digits, NULL, 16);
    for (int i = 0; i < 3; i++)
        s->coding.background[i] = (float)(colour >> (16 - 8 * i) & 255) / 255.0f;
    s->has_background = 1;
    return CLI_DONE;
}

static int read_packing(settings *s, const cli_common *common, const char *text)
{
    for (int p = VQ_PACKING_RAW; p <= VQ_PACKING_ENTROPY; p++)
        if (!strcmp(text, vq_packing_name((vq_packing)p))) {
            s->packing = (vq_packing)p;
            s->has_packing = 1;
            return CLI_DONE;
        }
    return cli_usage(common, "--packing: '%s' is none of bits, entropy and raw", text);
}

static int read_lambda(settings *s, const cli_common *common, const char *text)
{
    double lambda;
    if (cli_read_double(common, "lambda", text, &lambda))
        return CLI_USAGE;
    if (!(lambda >= 0 && lambda <= 1e6))
        return cli_usage(common, "--lambda: %g is not from 0 to 1000000", lambda);
    s->coding.lambda = (float)lambda;
    return CLI_DONE;
}

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    settings *s = state;
    uint64_t number;
    switch (key) {
    case 'l':
        if (cli_read_uint(common, "levels", value, 1, VQ_MAX_LEVELS, &number))
            return CLI_USAGE;
        s->coding.levels = (uint32_t)number;
        return CLI_DONE;
    case 'm':
        s->model = value;
        return CLI_DONE;
    case 'p':
        return read_packing(s, common, value);
    case KEY_BEAM:
        if (cli_read_uint(common, "beam", value, 1, VQ_MAX_BEAM, &number))
            return CLI_USAGE;
        s->coding.beam = (uint32_t)number;
        return CLI_DONE;
    case KEY_BITRATE:
        cli_kind_option_given(&s->kind_options, "bitrate", CLI_FOR_AUDIO);
        if (cli_read_double(common, "bitrate", value, &s->bitrate))
            return CLI_USAGE;
        return s->bitrate > 0 ? CLI_DONE
                              : cli_usage(common, "--bitrate: %g is not above 0", s->bitrate);
    case KEY_STATS:
        cli_kind_option_given(&s->kind_options, "stats", CLI_FOR_ACTION);
        s->stats = value;
        return CLI_DONE;
    case KEY_STATS_KEY:
        s->stats_key = value;
        return CLI_DONE;
    case KEY_LAMBDA:
        return read_lambda(s, common, value);
    case KEY_ALPHA:
        cli_kind_option_given(&s->kind_options, "alpha", CLI_FOR_IMAGE);
        if (strcmp(value, "keep") && strcmp(value, "composite"))
            return cli_usage(common, "--alpha: '%s' is neither keep nor composite", value);
        s->coding.alpha = strcmp(value, "keep") ? VQ_ALPHA_COMPOSITE : VQ_ALPHA_KEEP;
        return CLI_DONE;
    default:
        cli_kind_option_given(&s->kind_options, "background", CLI_FOR_IMAGE);
        return read_background(s, common, value);
    }
}

static const cli_program program = {
    .name = "vqenc",
    .usage = "INPUT... -o OUTPUT [options]",
    .about =
        "Turn a picture (PNG, JPEG), a sound (WAV, FLAC, Ogg, MP3, ...) or robot actions (.npy, "
        ".npz, CSV)\ninto a small file of discrete tokens; vqdec turns it back.\n"
        "With several inputs OUTPUT is a folder, which receives NAME.bin for each.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqenc photo.png -o tokens.bin\n"
                "  vqenc photo.jpg --levels 3 -o small.bin\n"
                "  vqenc photo.jpg --lambda 0.02 --beam 8 -o smallest.bin\n"
                "  vqenc photos/*.png -o tokens/\n"
                "  vqenc speech.wav --bitrate 6 -o tokens.bin\n"
                "  vqenc arm.npy --model arm.safetensors -o tokens.bin\n",
    .option = on_option,
};

typedef struct showing {
    cli_progress progress;
    const cli_kind *kind;
} showing;

static int on_progress(void *context, const vq_progress *progress)
{
    showing *s = context;
    return cli_progress_show(&s->progress, "encoding", (double)progress->done,
                             (double)progress->total, s->kind->progress_name);
}

static json_t *as_json(const cli_kind *kind, const char *input, const char *output,
                       const vq_tokens *tokens, vq_packing packing, size_t bytes)
{
    char sha[CLI_HEX_SIZE];
    cli_hex(sha, tokens->model_sha256);
    json_t *object = json_pack("{ss ss}", "file", input, "output", output);
    kind->size_json(object, tokens);
    json_object_update_new(object, json_pack("{so so ss sI}", "grid",
                                             cli_json_sizes(tokens->grid, tokens->grid_ndim), "k",
                                             cli_json_levels(tokens->levels, tokens->k), "packing",
                                             vq_packing_name(packing), "bytes", (json_int_t)bytes));
    json_object_set_new(object, kind->rate_key, json_real(cli_kind_rate(kind, bytes, tokens)));
    json_object_set_new(object, "codec", json_string(tokens->codec));
    json_object_set_new(object, "model_sha256", json_string(sha));
    return object;
}

static int tell(const cli_common *common, const cli_kind *kind, const settings *s,
                const char *input, const char *output, const vq_tokens *tokens, size_t bytes)
{
    if (common->json)
        return cli_json_print(common, as_json(kind, input, output, tokens, s->packing, bytes), 0);
    char size[CLI_SIZE_TEXT], levels[CLI_K_SIZE];
    kind->size_text(size, tokens);
    cli_describe_levels(levels, tokens->levels, tokens->k);
    cli_note(common, "%s: %s, %s, %zu bytes, %.3f %s", cli_input_name(input), size, levels, bytes,
             cli_kind_rate(kind, bytes, tokens), kind->rate_name);
    return CLI_DONE;
}

static int encode(const cli_common *common, settings *s, const open_codec *open,
                  const cli_input *input, const char *output)
{
    vq_tokens *tokens = NULL;
    vq_bytes bytes = {0};
    showing shown = {.kind = open->kind};
    cli_catch_signals();
    cli_progress_start(&shown.progress, common);
    s->coding.progress = on_progress;
    s->coding.progress_context = &shown;
    vq_status status = open->kind->encode(&tokens, open->codec, input, &s->coding);
    cli_progress_clear(&shown.progress);
    if (!status)
        status = vq_tokens_serialize_with(&bytes, tokens, s->packing, open->info.tables);
    int code = status ? cli_fail(common, input->name, status) : CLI_DONE;
    if (!code && cli_interrupted())
        code = cli_fail(common, NULL, VQ_E_CANCELLED);
    if (!code && (status = vq_file_write(output, bytes.data, bytes.size, NULL)))
        code = cli_fail(common, strcmp(output, "-") ? output : "standard output", status);
    if (!code)
        code = tell(common, open->kind, s, input->path, output, tokens, bytes.size);
    if (!code && common->verbose)
        cli_kind_tell_speed(common, open->kind, tokens, cli_seconds() - shown.progress.started);
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
    return code;
}

/** Open the codec of that name, or of that kind, unless it is open. The last one is closed. */
static int open_codec_of(const cli_common *common, settings *s, open_codec *open,
                         const cli_kind *kind)
{
    const char *model = s->model ? s->model : kind->codec;
    if (open->codec && (s->model || open->kind == kind))
        return CLI_DONE;
    vq_codec_free(open->codec);
    open->codec = NULL;
    const vq_status status = vq_codec_open(&open->codec, model, NULL);
    if (status)
        return cli_fail(common, model, status);
    vq_codec_get_info(&open->info, open->codec);
    open->kind = cli_kind_of(open->info.kind);
    if (!open->kind)
        return cli_usage(common, "%s: a model for %s, which %s does not encode", model,
                         vq_kind_name(open->info.kind), common->program);
    if (s->bitrate > 0 && open->info.kind == VQ_KIND_AUDIO) {
        s->coding.levels = cli_sound_levels(&open->info, s->bitrate);
        if (!s->coding.levels)
            return cli_usage(common,
                             "--bitrate: %g kbit/s are less than one level of the model takes",
                             s->bitrate);
    }
    if (s->coding.levels > open->info.levels)
        return cli_usage(common, "--levels: %u, but the model has %u levels", s->coding.levels,
                         open->info.levels);
    return CLI_DONE;
}

/** Find what the input is, and have its codec open. */
static int encode_input(const cli_common *common, settings *s, open_codec *open, const char *path,
                        const char *output)
{
    cli_input input;
    int code = cli_input_open(&input, common, path);
    const cli_kind *kind = NULL;
    input.ranges = s->ranges;
    if (!code && !(kind = cli_kind_find(common, &input, open->kind)))
        code = CLI_FAILED;
    if (!code)
        code = cli_kind_check_options(common, &s->kind_options, kind, input.name);
    if (!code)
        code = open_codec_of(common, s, open, kind);
    if (!code && open->kind != kind)
        code = cli_usage(common, "%s is %s, and the model %s is for %s", input.name, kind->one,
                         s->model, open->kind->many);
    if (!code) {
        if (!s->has_packing)
            s->packing =
                s->coding.lambda > 0 && open->info.tables ? VQ_PACKING_ENTROPY : VQ_PACKING_BITS;
        code = encode(common, s, open, &input, output);
    }
    cli_input_clear(&input);
    return code;
}

static const char *suffix_of(const char *path)
{
    (void)path;
    return ".bin";
}

static int encode_all(const cli_common *common, settings *s, char **inputs, int count)
{
    cli_paths outputs;
    open_codec open = {0};
    int code = cli_plan_outputs(&outputs, common, inputs, count, suffix_of);
    if (!code && s->stats)
        code = cli_read_ranges(&s->ranges, common, s->stats, s->stats_key);
    if (!code && s->model)
        code = open_codec_of(common, s, &open, NULL);
    /* One bad input does not stop the others; it decides the exit code. */
    int worst = code;
    for (int i = 0; !code && i < count && !cli_interrupted(); i++) {
        const int one = encode_input(common, s, &open, inputs[i], outputs.path[i]);
        if (one > worst)
            worst = one;
    }
    vq_dimensions_free(s->ranges);
    vq_codec_free(open.codec);
    cli_paths_clear(&outputs);
    return worst;
}

int main(int argc, char **argv)
{
    cli_common common;
    settings s = {.coding = VQ_CODING_OPTS_INIT};
    const int code = cli_parse(&common, &program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "no file to encode was named (see vqenc --help)");
    if (s.has_background && s.coding.alpha != VQ_ALPHA_COMPOSITE)
        return cli_usage(&common, "--background needs --alpha composite");
    if (s.bitrate > 0 && s.coding.levels)
        return cli_usage(&common, "--levels and --bitrate say the same: give one of them");
    s.coding.threads = common.threads;
    return cli_close_stdout(&common, encode_all(&common, &s, argv + optind, argc - optind));
}
