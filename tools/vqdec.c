/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqdec.c  Tokens to signals. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli_kind.h"

enum { KEY_ANY_MODEL = CLI_KEY_FIRST, KEY_MALFORMED };

typedef struct settings {
    const char *model; /**< NULL = the built-in one that made the tokens */
    cli_writing writing;
    cli_kind_options kind_options;
    vq_coding_opts coding;
} settings;

static const cli_option options[] = {
    CLI_OPTION_OUTPUT("the file, - for standard output, or an existing folder"),
    {'l', "levels", "N", "levels to decode; fewer = coarser (default: all in the file)"},
    {'m', "model", "MODEL", "a built-in model or a model file (default: the built-in one)"},
    {KEY_ANY_MODEL, "any-model", NULL, "decode even if another model made the tokens"},
    {'b', "bits", "N",
     "bits per sample of a PNG (8, 16; default: as the source had) or a sound (16, the default, "
     "24;\n"
     "32 = float)"},
    {KEY_MALFORMED, "malformed", "HOW",
     "of FAST's tokens that spell no actions, and all after them: strict (an error, default), pad\n"
     "(missing coefficients are 0) or hold (the action before)"},
    CLI_OPTION_THREADS,
    CLI_OPTION_CPU,
    CLI_OPTION_JSON,
    CLI_OPTION_FORCE("write the result even to a terminal"),
    CLI_OPTION_QUIET,
    CLI_OPTION_VERBOSE,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int read_policy(settings *s, const cli_common *common, const char *value)
{
    static const char *const names[] = {
        [VQ_FAST_STRICT] = "strict", [VQ_FAST_PAD] = "pad", [VQ_FAST_HOLD] = "hold"};
    for (int i = VQ_FAST_STRICT; i <= VQ_FAST_HOLD; i++)
        if (!strcmp(value, names[i])) {
            s->coding.malformed = (vq_fast_policy)i;
            cli_kind_option_given(&s->kind_options, "malformed", CLI_FOR_ACTION);
            return CLI_DONE;
        }
    return cli_usage(common, "--malformed: '%s' is none of strict, pad and hold", value);
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
    case 'b':
        if (cli_read_uint(common, "bits", value, 8, 32, &number))
            return CLI_USAGE;
        if (number % 8)
            return cli_usage(common, "--bits: '%s' is none of 8, 16, 24 and 32", value);
        cli_kind_option_given(&s->kind_options, "bits", CLI_FOR_IMAGE | CLI_FOR_AUDIO);
        s->writing.bits = (uint32_t)number;
        return CLI_DONE;
    case KEY_MALFORMED:
        return read_policy(s, common, value);
    default:
        s->coding.any_model = 1;
        return CLI_DONE;
    }
}

static const cli_program program = {
    .name = "vqdec",
    .usage = "TOKENS... -o OUTPUT [options]",
    .about = "Turn token files that vqenc made back into pictures (PNG) or sounds (WAV, or FLAC by "
             "its name).\n"
             "With several token files OUTPUT is a folder, which receives NAME.png or NAME.wav for "
             "each.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqdec tokens.bin -o photo.png\n"
                "  vqdec tokens.bin --levels 2 -o coarse.png\n"
                "  vqenc photo.png -o - | vqdec - -o photo.png\n",
    .option = on_option,
};

typedef struct showing {
    cli_progress progress;
    const cli_kind *kind;
} showing;

static int on_progress(void *context, const vq_progress *progress)
{
    showing *s = context;
    return cli_progress_show(&s->progress, "decoding", (double)progress->done,
                             (double)progress->total, s->kind->progress_name);
}

/** The model for these tokens; `codec` may be open already, from --model or from the file before. */
static int choose_model(const cli_common *common, const settings *s, vq_codec **codec,
                        const char *name, const vq_tokens *tokens)
{
    const char *model = s->model;
    if (*codec && model)
        return CLI_DONE;
    if (!model && tokens->codec[0] == '\0')
        return cli_fault(common, name, "no codec made these tokens, so there is no signal in them");
    if (!model)
        model = cli_builtin_of(tokens->model_sha256);
    if (!model && s->coding.any_model)
        model = tokens->codec;
    if (!model) {
        char sha[CLI_HEX_SIZE];
        cli_hex(sha, tokens->model_sha256);
        cli_fault(common, name,
                  "needs a model of the codec %s that is not built in, SHA-256 %.16s... (give its "
                  "file with --model, or force the built-in one with --any-model)",
                  tokens->codec, sha);
        return CLI_MISMATCH;
    }
    vq_codec_free(*codec);
    const vq_status status = vq_codec_open(codec, model, NULL);
    return status ? cli_fail(common, s->model ? model : name, status) : CLI_DONE;
}

static int tell(const cli_common *common, const cli_kind *kind, const settings *s,
                const char *input, const char *output, const vq_tokens *tokens)
{
    const uint32_t used = s->coding.levels ? s->coding.levels : tokens->levels;
    if (common->json) {
        json_t *object = json_pack("{ss ss}", "file", input, "output", output);
        kind->size_json(object, tokens);
        if (kind->default_bits) {
            const uint32_t own = tokens->bits ? tokens->bits : kind->default_bits;
            json_object_set_new(object, "bits",
                                json_integer(s->writing.bits ? s->writing.bits : own));
        }
        json_object_update_new(object, json_pack("{si si}", "levels", (int)used, "levels_in_file",
                                                 (int)tokens->levels));
        return cli_json_print(common, object, 0);
    }
    char size[CLI_SIZE_TEXT];
    kind->size_text(size, tokens);
    const char *channels = kind->channels ? kind->channels(tokens) : "";
    cli_note(common, "%s: %s%s%s, %u of %u levels", cli_input_name(input), size,
             *channels ? " " : "", channels, used, tokens->levels);
    return CLI_DONE;
}

/* Read the tokens, and open the model that they need on the way. */
static int load(vq_tokens **tokens, const cli_kind **kind, const cli_common *common,
                const settings *s, vq_codec **codec, const char *input, const char *output)
{
    const char *name = cli_input_name(input);
    vq_bytes bytes;
    vq_tokens head = {0};
    vq_codec_info info;
    vq_status status = vq_file_read(&bytes, input, NULL);
    if (!status)
        status = vq_tokens_parse_head(&head, NULL, bytes.data, bytes.size, input, NULL);
    int code = status ? cli_fail(common, name, status) : CLI_DONE;
    if (!code && !(*kind = cli_kind_of(head.kind)))
        code = cli_fault(common, name, "holds tokens of kind %s, which vqdec cannot write",
                         vq_kind_name(head.kind));
    if (!code)
        code = cli_kind_check_options(common, &s->kind_options, *kind, name);
    if (!code)
        code = cli_kind_check_bits(common, *kind, s->writing.bits);
    if (!code)
        code = cli_kind_check_output(common, *kind, output);
    if (!code && s->coding.levels > head.levels)
        code = cli_usage(common, "%s: --levels: %u, but the file has %u levels", name,
                         s->coding.levels, head.levels);
    if (!code)
        code = choose_model(common, s, codec, name, &head);
    if (!code) {
        vq_codec_get_info(&info, *codec);
        status =
            vq_tokens_parse_with(tokens, NULL, bytes.data, bytes.size, input, info.tables, NULL);
        code = status ? cli_fail(common, name, status) : CLI_DONE;
    }
    vq_bytes_clear(&bytes);
    return code;
}

static int decode(const cli_common *common, settings *s, vq_codec **codec, const char *input,
                  const char *output)
{
    vq_tokens *tokens = NULL;
    showing shown = {0};
    size_t malformed = 0;
    const char *name = cli_input_name(input);
    int code = load(&tokens, &shown.kind, common, s, codec, input, output);
    if (code)
        return code;

    cli_catch_signals();
    cli_progress_start(&shown.progress, common);
    s->coding.progress = on_progress;
    s->coding.progress_context = &shown;
    s->coding.malformed_chunks = &malformed;
    const vq_status status = shown.kind->decode(output, *codec, tokens, &s->coding, &s->writing);
    cli_progress_clear(&shown.progress);
    if (status == VQ_E_IO)
        code = cli_fail(common, strcmp(output, "-") ? output : "standard output", status);
    else if (status)
        code = cli_fail(common, name, status);
    if (!code && malformed)
        cli_warn(common, "%s: %zu chunks are made up, as their tokens spell no actions", name,
                 malformed);
    if (!code)
        code = tell(common, shown.kind, s, input, output, tokens);
    if (!code && common->verbose)
        cli_kind_tell_speed(common, shown.kind, tokens, cli_seconds() - shown.progress.started);
    vq_tokens_free(tokens);
    return code;
}

/** The ending of the name of what these tokens become, in a folder. What cannot be read is told when it is decoded. */
static const char *suffix_of(const char *path)
{
    vq_bytes bytes = {0};
    vq_tokens head = {0};
    const cli_kind *kind = cli_kind_of(VQ_KIND_IMAGE);
    if (!vq_file_read(&bytes, path, NULL) &&
        !vq_tokens_parse_head(&head, NULL, bytes.data, bytes.size, path, NULL) &&
        cli_kind_of(head.kind))
        kind = cli_kind_of(head.kind);
    vq_bytes_clear(&bytes);
    return kind->written[0];
}

int main(int argc, char **argv)
{
    cli_common common;
    settings s = {.coding = VQ_CODING_OPTS_INIT};
    int code = cli_parse(&common, &program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "no token file was named (see vqdec --help)");
    s.coding.threads = common.threads;

    cli_paths outputs;
    vq_codec *codec = NULL;
    code = cli_plan_outputs(&outputs, &common, argv + optind, argc - optind, suffix_of);
    int worst = code;
    for (int i = optind; !code && i < argc && !cli_interrupted(); i++) {
        const int one = decode(&common, &s, &codec, argv[i], outputs.path[i - optind]);
        if (one > worst)
            worst = one;
    }
    vq_codec_free(codec);
    cli_paths_clear(&outputs);
    return cli_close_stdout(&common, worst);
}
