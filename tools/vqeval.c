/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqeval.c  How good a decoded picture or sound, or a codec, is. */
#include <getopt.h>
#include <string.h>

#include "io/image.h"
#include "vqeval.h"

enum { KEY_CODEC = CLI_KEY_FIRST, KEY_AMPLIFY, KEY_BEAM };

static const cli_option options[] = {
    {'m', "model", "MODEL", "encode and decode every input with this built-in model or file"},
    {KEY_CODEC, "codec", "NAME",
     "the same with the built-in model of that name: image, audio or action"},
    {'l', "levels", "N", "levels of the model to use, or all for a table over their number"},
    {KEY_BEAM, "beam", "N",
     "look at the N best ways in the search, 1 to 64 (default: the model's)"},
    {'p', "png", "FILE",
     "draw original, decoded and amplified error beside each other; of sounds both spectrograms"},
    {KEY_AMPLIFY, "amplify", "X", "factor of the error in that drawing (default 4)"},
    CLI_OPTION_THREADS,
    CLI_OPTION_CPU,
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    CLI_OPTION_VERBOSE,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    vqeval_settings *s = state;
    uint64_t number;
    switch (key) {
    case 'm':
    case KEY_CODEC:
        if (s->model)
            return cli_usage(common, "--model and --codec: one of them, once");
        s->model = value;
        return CLI_DONE;
    case 'l':
        s->all_levels = strcmp(value, "all") == 0;
        if (s->all_levels)
            return CLI_DONE;
        if (cli_read_uint(common, "levels", value, 1, VQ_MAX_LEVELS, &number))
            return CLI_USAGE;
        s->levels = (uint32_t)number;
        return CLI_DONE;
    case KEY_BEAM:
        if (cli_read_uint(common, "beam", value, 1, VQ_MAX_BEAM, &number))
            return CLI_USAGE;
        s->beam = (uint32_t)number;
        return CLI_DONE;
    case 'p':
        s->side = value;
        return CLI_DONE;
    default:
        return cli_read_double(common, "amplify", value, &s->amplify);
    }
}

static const cli_program program = {
    .name = "vqeval",
    .usage = "ORIGINAL DECODED [options]\n"
             "       vqeval --codec image|audio|action INPUT|FOLDER... [options]",
    .about =
        "Measure PSNR, SSIM and MS-SSIM of a decoded picture, or SI-SDR, log-spectral and log-mel\n"
        "distance and STOI of a decoded sound, or the error of decoded actions, or of a whole "
        "codec with its rate (counted in true\n"
        "bytes of the token files) and the statistics of its codes.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqeval photo.png decoded.png --png side.png\n"
                "  vqeval --codec image photos/\n"
                "  vqeval talk.wav decoded.wav --png spectrograms.png\n"
                "  vqeval --model model.safetensors --levels all --json photos/\n",
    .option = on_option,
};

static int compare_pair(const cli_common *common, const vqeval_settings *s,
                        const cli_paths *pictures)
{
    const char *names[2] = {cli_input_name(pictures->path[0]), cli_input_name(pictures->path[1])};
    vq_signal *original = NULL, *decoded = NULL;
    vq_image_quality quality;
    int code = CLI_DONE;
    vq_status status = vq_image_read(&original, pictures->path[0], NULL);
    if (status)
        code = cli_fail(common, names[0], status);
    else if ((status = vq_image_read(&decoded, pictures->path[1], NULL)))
        code = cli_fail(common, names[1], status);
    if (!code)
        code = vqeval_compare(&quality, common, names[1], original, decoded);
    if (!code && s->side)
        code = vqeval_draw(common, s, original, decoded);
    if (!code && common->json) {
        json_t *result =
            json_pack("{ss ss}", "original", pictures->path[0], "decoded", pictures->path[1]);
        vqeval_json_quality(result, &quality);
        code = cli_json_print(common, result, 1);
    } else if (!code) {
        fputs("PSNR ", stdout);
        cli_print_real(stdout, 1, 3, quality.psnr_db);
        fputs(" dB, SSIM ", stdout);
        cli_print_real(stdout, 1, 4, quality.ssim);
        fputs(", MS-SSIM ", stdout);
        cli_print_real(stdout, 1, 4, quality.ms_ssim);
        printf(", MSE %.4g\n", quality.mse);
    }
    vq_signal_free(original);
    vq_signal_free(decoded);
    return code;
}

static int check(const cli_common *common, const vqeval_settings *s, const cli_paths *inputs)
{
    if (!s->model && (s->levels || s->all_levels || s->beam))
        return cli_usage(common, "--levels and --beam need --codec or --model");
    if (!s->model && inputs->count != 2)
        return cli_usage(common, "give the original and the decoded file, or --codec image (or "
                                 "audio) for files to encode");
    if (s->side && s->model && (inputs->count != 1 || s->all_levels))
        return cli_usage(common, "--png shows one input at one number of levels");
    if (!s->side)
        return CLI_DONE;
    if (strcmp(s->side, "-") == 0)
        return cli_usage(common, "--png needs a file: standard output takes the figures");
    return cli_check_output(common, s->side, inputs->path, inputs->count);
}

#ifndef VQ_AUDIO
/* Built without the audio codec, and without the transform that the measures need. */
int vqeval_sounds(const cli_common *common, const vqeval_settings *settings,
                  const cli_paths *sounds)
{
    (void)settings;
    return cli_fault(common, sounds->path[0], "a sound, and this build has no audio codec");
}

int vqeval_sound_codec(const cli_common *common, const vqeval_settings *settings,
                       const cli_paths *sounds, const vq_codec *codec)
{
    (void)codec;
    return vqeval_sounds(common, settings, sounds);
}
#endif

/** The codec that is to be measured; --levels has to be in it. */
static int open_codec(const cli_common *common, const vqeval_settings *s, vq_codec **codec,
                      vq_codec_info *info)
{
    const vq_status status = vq_codec_open(codec, s->model, NULL);
    if (status)
        return cli_fail(common, s->model, status);
    vq_codec_get_info(info, *codec);
    if (s->levels > info->levels)
        return cli_usage(common, "--levels: %u, but the model has %u levels", s->levels,
                         info->levels);
    return CLI_DONE;
}

static int is_sound_name(const char *name)
{
    const cli_kind *kind = cli_kind_by_name(name);
    return kind && kind->kind == VQ_KIND_AUDIO;
}

static int is_action_name(const char *name)
{
    const cli_kind *kind = cli_kind_by_name(name);
    return kind && kind->kind == VQ_KIND_ACTION;
}

static int is_signal_name(const char *name)
{
    return cli_is_picture_name(name) || is_sound_name(name);
}

/** Two files are measured as what the first is. */
static int compare(const cli_common *common, const vqeval_settings *s, const cli_paths *inputs)
{
    cli_input first;
    const cli_kind *kind = NULL;
    int code = cli_input_open(&first, common, inputs->path[0]);
    if (!code && !(kind = cli_kind_find(common, &first, NULL)))
        code = CLI_FAILED;
    cli_input_clear(&first);
    if (code)
        return code;
    switch (kind->kind) {
    case VQ_KIND_IMAGE:
        return compare_pair(common, s, inputs);
    case VQ_KIND_AUDIO:
        return vqeval_sounds(common, s, inputs);
    case VQ_KIND_ACTION:
        break;
    }
    return vqeval_actions(common, s, inputs);
}

int main(int argc, char **argv)
{
    cli_common common;
    vqeval_settings s = {.amplify = 4};
    cli_paths inputs = {0};
    vq_codec *codec = NULL;
    vq_codec_info info = {0};
    int code = cli_parse(&common, &program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "no file was named (see vqeval --help)");
    code = s.model ? open_codec(&common, &s, &codec, &info) : CLI_DONE;
    if (!code)
        code = cli_expand(&inputs, &common, argv + optind, argc - optind,
                          info.kind == VQ_KIND_IMAGE    ? cli_is_picture_name
                          : info.kind == VQ_KIND_AUDIO  ? is_sound_name
                          : info.kind == VQ_KIND_ACTION ? is_action_name
                                                        : is_signal_name);
    if (!code)
        code = check(&common, &s, &inputs);
    if (!code)
        code = !codec                        ? compare(&common, &s, &inputs)
               : info.kind == VQ_KIND_AUDIO  ? vqeval_sound_codec(&common, &s, &inputs, codec)
               : info.kind == VQ_KIND_ACTION ? vqeval_action_codec(&common, &s, &inputs, codec)
                                             : vqeval_codec(&common, &s, &inputs, codec);
    vq_codec_free(codec);
    cli_paths_clear(&inputs);
    return cli_close_stdout(&common, code);
}
