/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqenc.c  Signals to tokens. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "vqenc.h"

enum {
    KEY_ALPHA = CLI_KEY_FIRST,
    KEY_BACKGROUND,
    KEY_BEAM,
    KEY_LAMBDA,
    KEY_BITRATE,
    KEY_STATS,
    KEY_STATS_KEY
};

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

static int read_background(vqenc_settings *s, const cli_common *common, const char *text)
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

static int read_packing(vqenc_settings *s, const cli_common *common, const char *text)
{
    for (int p = VQ_PACKING_RAW; p <= VQ_PACKING_ENTROPY; p++)
        if (!strcmp(text, vq_packing_name((vq_packing)p))) {
            s->packing = (vq_packing)p;
            s->has_packing = 1;
            return CLI_DONE;
        }
    return cli_usage(common, "--packing: '%s' is none of bits, entropy and raw", text);
}

static int read_lambda(vqenc_settings *s, const cli_common *common, const char *text)
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
    vqenc_settings *s = state;
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

int main(int argc, char **argv)
{
    cli_common common;
    vqenc_settings s = {.coding = VQ_CODING_OPTS_INIT};
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
    return cli_close_stdout(&common, vqenc_encode_all(&common, &s, argv + optind, argc - optind));
}
