/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqenc.c  Pictures to tokens. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli_codec.h"
#include "io/image.h"

enum { KEY_ALPHA = CLI_KEY_FIRST, KEY_BACKGROUND, KEY_BEAM, KEY_LAMBDA };

typedef struct settings {
    const char *model;
    vq_packing packing;
    int has_packing;
    vq_coding_opts coding;
    int has_background;
} settings;

static const cli_option options[] = {
    CLI_OPTION_OUTPUT("the token file, - for standard output, or an existing folder"),
    {'l', "levels", "N",
     "levels of the quantizer to use; fewer = smaller (default: the model's; with --lambda all)"},
    {KEY_LAMBDA, "lambda", "L",
     "mind the bits: a bit more for each L less of squared error; larger = smaller file (0.01 is\n"
     "good, 0.03 small; default 0: the nearest codes, whatever they cost)"},
    {KEY_BEAM, "beam", "N",
     "look at the N best ways in the search, 1 (default) to 64; 8 is slow and good"},
    {'m', "model", "MODEL", "a built-in model (image, default) or a model file"},
    {'p', "packing", "HOW",
     "bits (default), entropy (smallest, needs the model to read; default with --lambda) or raw\n"
     "(can be memory-mapped)"},
    {KEY_ALPHA, "alpha", "HOW", "keep (coded as a second plane, default) or composite"},
    {KEY_BACKGROUND, "background", "RRGGBB", "colour under --alpha composite (default 000000)"},
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
    case KEY_LAMBDA:
        return read_lambda(s, common, value);
    case KEY_ALPHA:
        if (strcmp(value, "keep") && strcmp(value, "composite"))
            return cli_usage(common, "--alpha: '%s' is neither keep nor composite", value);
        s->coding.alpha = strcmp(value, "keep") ? VQ_ALPHA_COMPOSITE : VQ_ALPHA_KEEP;
        return CLI_DONE;
    default:
        return read_background(s, common, value);
    }
}

static const cli_program program = {
    .name = "vqenc",
    .usage = "PICTURE... -o OUTPUT [options]",
    .about =
        "Turn a PNG or JPEG picture into a small file of discrete tokens; vqdec turns it back.\n"
        "With several pictures OUTPUT is a folder, which receives NAME.bin for each.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqenc photo.png -o tokens.bin\n"
                "  vqenc photo.jpg --levels 3 -o small.bin\n"
                "  vqenc photo.jpg --lambda 0.02 --beam 8 -o smallest.bin\n"
                "  vqenc photos/*.png -o tokens/\n",
    .option = on_option,
};

static int on_progress(void *context, const vq_progress *progress)
{
    return cli_progress_show(context, "encoding", (double)progress->done, (double)progress->total,
                             "rows");
}

static int tell(const cli_common *common, const settings *s, const char *input, const char *output,
                const vq_tokens *tokens, size_t bytes)
{
    const double bpp = cli_bits_per_pixel(bytes, tokens->source_shape);
    if (common->json) {
        char sha[CLI_HEX_SIZE];
        cli_hex(sha, tokens->model_sha256);
        return cli_json_print(
            common,
            json_pack("{ss ss si si si so so ss sI sf ss ss}", "file", input, "output", output,
                      "width", (int)tokens->source_shape[1], "height", (int)tokens->source_shape[0],
                      "channels", (int)tokens->source_shape[2], "grid",
                      json_pack("[iii]", (int)tokens->grid[0], (int)tokens->grid[1],
                                (int)tokens->grid[2]),
                      "k", cli_json_levels(tokens->levels, tokens->k), "packing",
                      vq_packing_name(s->packing), "bytes", (json_int_t)bytes, "bits_per_pixel",
                      bpp, "codec", tokens->codec, "model_sha256", sha),
            0);
    }
    char levels[CLI_K_SIZE];
    cli_describe_levels(levels, tokens->levels, tokens->k);
    cli_note(common, "%s: %zux%zu, %s, %zu bytes, %.3f bpp", cli_input_name(input),
             tokens->source_shape[1], tokens->source_shape[0], levels, bytes, bpp);
    return CLI_DONE;
}

static int encode(const cli_common *common, settings *s, const vq_codec *codec, const char *input,
                  const char *output)
{
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    vq_signal *picture = NULL;
    vq_tokens *tokens = NULL;
    vq_bytes bytes = {0};
    cli_progress progress;
    const char *name = cli_input_name(input);
    vq_status status = vq_image_read(&picture, input, NULL);
    if (status)
        return cli_fail(common, name, status);

    cli_catch_signals();
    cli_progress_start(&progress, common);
    s->coding.progress = on_progress;
    s->coding.progress_context = &progress;
    status = vq_codec_encode(&tokens, codec, picture, &s->coding);
    cli_progress_clear(&progress);
    if (!status)
        status = vq_tokens_serialize_with(&bytes, tokens, s->packing, info.tables);
    int code = status ? cli_fail(common, name, status) : CLI_DONE;
    if (!code && cli_interrupted())
        code = cli_fail(common, NULL, VQ_E_CANCELLED);
    if (!code && (status = vq_file_write(output, bytes.data, bytes.size, NULL)))
        code = cli_fail(common, strcmp(output, "-") ? output : "standard output", status);
    if (!code)
        code = tell(common, s, input, output, tokens, bytes.size);
    if (!code && common->verbose)
        cli_note(common, "  %.3f s, %.2f megapixels/s", cli_seconds() - progress.started,
                 1e-6 * cli_sites(tokens->source_shape) / (cli_seconds() - progress.started));
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
    vq_signal_free(picture);
    return code;
}

static int encode_all(const cli_common *common, settings *s, char **inputs, int count)
{
    cli_paths outputs;
    vq_codec *codec = NULL;
    vq_codec_info info;
    int code = cli_plan_outputs(&outputs, common, inputs, count, ".bin");
    if (!code) {
        const vq_status status = vq_codec_open(&codec, s->model, NULL);
        if (status)
            code = cli_fail(common, s->model, status);
    }
    if (!code) {
        vq_codec_get_info(&info, codec);
        if (info.kind != VQ_KIND_IMAGE)
            code = cli_usage(common, "%s: a model for %s, not for pictures", s->model,
                             vq_kind_name(info.kind));
        else if (s->coding.levels > info.levels)
            code = cli_usage(common, "--levels: %u, but the model has %u levels", s->coding.levels,
                             info.levels);
        else if (!s->has_packing && s->coding.lambda > 0 && info.tables)
            s->packing = VQ_PACKING_ENTROPY;
    }
    /* One bad picture does not stop the others; it decides the exit code. */
    int worst = code;
    for (int i = 0; !code && i < count && !cli_interrupted(); i++) {
        const int one = encode(common, s, codec, inputs[i], outputs.path[i]);
        if (one > worst)
            worst = one;
    }
    vq_codec_free(codec);
    cli_paths_clear(&outputs);
    return worst;
}

int main(int argc, char **argv)
{
    cli_common common;
    settings s = {.model = "image", .packing = VQ_PACKING_BITS, .coding = VQ_CODING_OPTS_INIT};
    const int code = cli_parse(&common, &program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "no picture was named (see vqenc --help)");
    if (s.has_background && s.coding.alpha != VQ_ALPHA_COMPOSITE)
        return cli_usage(&common, "--background needs --alpha composite");
    s.coding.threads = common.threads;
    return cli_close_stdout(&common, encode_all(&common, &s, argv + optind, argc - optind));
}
