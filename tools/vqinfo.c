/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqinfo.c  What is in a file, and whether it is whole. */
#include <getopt.h>
#include <string.h>

#include "io/image.h"
#include "io/sound.h"
#include "vqinfo.h"

enum { KEY_STATS = CLI_KEY_FIRST };

static const cli_option options[] = {
    {'s', "stats", NULL, "also the statistics of codes (per level) and the range of arrays"},
    CLI_OPTION_JSON,
    CLI_OPTION_CPU,
    CLI_OPTION_QUIET,
    CLI_OPTION_VERBOSE,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    (void)common;
    (void)key;
    (void)value;
    *(int *)state = 1;
    return CLI_DONE;
}

static const cli_program program = {
    .name = "vqinfo",
    .usage = "FILE... [options]",
    .about = "Tell what is in token files, models, safetensors, .npy arrays and pictures, and "
             "verify that\n"
             "they are whole: every checksum, every code, every size.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqinfo tokens.bin\n"
                "  vqinfo --stats --json tokens.bin\n"
                "  vqinfo --quiet *.bin && echo all whole\n",
    .option = on_option,
};

static vq_status code_statistics(const vqinfo_file *file, const vq_tokens *tokens)
{
    vq_report *report = NULL;
    vq_level_report rows[VQ_MAX_LEVELS];
    vq_status status = vq_report_create(&report, tokens->levels, tokens->k);
    if (!status)
        status = vq_report_add_tokens(report, tokens);
    if (!status) {
        const uint32_t levels = cli_level_rows(rows, report, tokens->levels);
        if (file->json)
            json_object_set_new(file->json, "statistics", cli_json_level_rows(rows, levels));
        else
            cli_print_levels(stdout, rows, levels);
    }
    vq_report_free(report);
    return status;
}

static void tokens_as_json(json_t *json, const vq_tokens *t, const vq_tokens_info *info,
                           const char *sha, const char *builtin)
{
    char version[32];
    snprintf(version, sizeof version, "%u.%u", info->version_major, info->version_minor);
    json_object_set_new(json, "type", json_string("tokens"));
    json_object_set_new(json, "version", json_string(version));
    json_object_set_new(json, "kind", json_string(vq_kind_name(t->kind)));
    json_object_set_new(json, "shape", cli_json_sizes(t->source_shape, t->source_ndim));
    json_object_set_new(json, "bits", json_integer(t->bits));
    json_object_set_new(json, "rate", cli_json_real(t->rate));
    json_object_set_new(json, "grid", cli_json_sizes(t->grid, t->grid_ndim));
    json_object_set_new(json, "k", cli_json_levels(t->levels, t->k));
    json_object_set_new(json, "packing", json_string(vq_packing_name(info->packing)));
    json_object_set_new(json, "bytes", json_integer((json_int_t)info->file_bytes));
    json_object_set_new(json, "payload_offset", json_integer((json_int_t)info->payload_offset));
    json_object_set_new(json, "payload_bytes", json_integer((json_int_t)info->payload_bytes));
    const cli_kind *kind = cli_kind_of(t->kind);
    if (kind)
        json_object_set_new(json, kind->rate_key,
                            cli_json_real(cli_kind_rate(kind, info->file_bytes, t)));
    json_object_set_new(json, "codec", json_string(t->codec));
    json_object_set_new(json, "model_sha256", json_string(sha));
    json_object_set_new(json, "built_in", builtin ? json_string(builtin) : json_null());
}

static void tokens_as_text(const vqinfo_file *file, const vq_tokens *t, const vq_tokens_info *info,
                           const char *sha, const char *builtin, int seen)
{
    char levels[CLI_K_SIZE];
    cli_describe_levels(levels, t->levels, t->k);
    const cli_kind *kind = cli_kind_of(t->kind);
    printf("%s: tokens", file->name);
    if (kind) {
        char size[CLI_SIZE_TEXT];
        kind->size_text(size, t);
        printf(" of %s, %s%s%s", kind->one, size, kind->channels ? " " : "",
               kind->channels ? kind->channels(t) : "");
        if (kind->default_bits)
            printf(", %u bits per sample", t->bits ? t->bits : kind->default_bits);
        putchar('\n');
    } else {
        printf(", kind %s, %zu x %zu\n", vq_kind_name(t->kind), t->source_shape[0],
               t->source_shape[1]);
    }
    printf("  %-10s version %u.%u, %s packing, %llu bytes, codes %llu bytes at %llu\n", "container",
           info->version_major, info->version_minor, vq_packing_name(info->packing),
           (unsigned long long)info->file_bytes, (unsigned long long)info->payload_bytes,
           (unsigned long long)info->payload_offset);
    printf("  %-10s ", "grid");
    for (uint32_t i = 0; i < t->grid_ndim; i++)
        printf("%s%zu", i ? " x " : "", t->grid[i]);
    printf(" positions, %s\n", levels);
    if (kind)
        printf("  %-10s %.4f %s\n", "rate", cli_kind_rate(kind, info->file_bytes, t),
               kind->rate_text);
    if (t->codec[0])
        printf("  %-10s codec %s, model SHA-256 %s (%s%s)\n", "needs", t->codec, sha,
               builtin ? "built in as " : "not built in: give it with --model",
               builtin ? builtin : "");
    printf("  %-10s yes: every checksum matches, %s\n", "whole",
           seen ? "every code is in range" : "but only the model can read the codes");
}

vq_status vqinfo_tokens(const vqinfo_file *file)
{
    vq_tokens head = {0}, *tokens = NULL;
    vq_tokens_info info;
    vq_codec *codec = NULL;
    vq_codec_info model = {0};
    const uint8_t *data = file->bytes.data;
    const size_t size = file->bytes.size;
    vq_status status = vq_tokens_parse_head(&head, &info, data, size, file->name, NULL);
    if (status)
        return status;
    const char *builtin = cli_builtin_of(head.model_sha256);
    if (info.packing == VQ_PACKING_ENTROPY && builtin) {
        status = vq_codec_open(&codec, builtin, NULL);
        if (!status)
            vq_codec_get_info(&model, codec);
    }
    /* Without its model an entropy coded file tells what it is; the codes are asked for only if they can be had, or
       if they must. */
    if (!status && (info.packing != VQ_PACKING_ENTROPY || model.tables || file->stats))
        status = vq_tokens_parse_with(&tokens, NULL, data, size, file->name, model.tables, NULL);
    if (!status) {
        char sha[CLI_HEX_SIZE];
        cli_hex(sha, head.model_sha256);
        if (file->json)
            tokens_as_json(file->json, &head, &info, sha, builtin);
        else
            tokens_as_text(file, &head, &info, sha, builtin, tokens != NULL);
        if (file->stats && tokens)
            status = code_statistics(file, tokens);
    }
    vq_tokens_free(tokens);
    vq_codec_free(codec);
    return status;
}

vq_status vqinfo_picture(const vqinfo_file *file)
{
    vq_signal *picture;
    const vq_status status =
        vq_image_parse(&picture, file->bytes.data, file->bytes.size, file->name, NULL);
    if (status)
        return status;
    const char *format = vq_image_sniff(file->bytes.data, file->bytes.size);
    if (file->json) {
        json_object_set_new(file->json, "type", json_string("picture"));
        json_object_set_new(file->json, "format", json_string(format));
        json_object_set_new(file->json, "shape", cli_json_sizes(picture->shape, 3));
        json_object_set_new(file->json, "bits", json_integer(picture->bits));
    } else {
        printf("%s: %s picture, %zux%zu %s, %u bits per sample, %zu bytes, %.3f bits per pixel\n",
               file->name, format, picture->shape[1], picture->shape[0],
               cli_channels_name(picture->shape[2]), picture->bits, file->bytes.size,
               cli_bits_per_pixel(file->bytes.size, picture->shape));
        printf("  %-10s yes: every row was decoded\n", "whole");
    }
    vq_signal_free(picture);
    return VQ_OK;
}

vq_status vqinfo_sound(const vqinfo_file *file)
{
    enum { BLOCK = 4096 };
    vq_sound_source *source;
    vq_sound_info info;
    vq_status status =
        vq_sound_source_open_memory(&source, file->bytes.data, file->bytes.size, file->name, NULL);
    if (status)
        return status;
    vq_sound_source_info(&info, source);
    float *block = cli_need(malloc(BLOCK * info.channels * sizeof *block));
    size_t got = 0;
    uint64_t frames = 0;
    do
        status = vq_sound_source_read(source, block, BLOCK, &got);
    while (!status && (frames += got, got));
    vq_sound_source_free(source);
    free(block);
    if (status)
        return status;
    const double seconds = (double)frames / info.rate;
    if (file->json) {
        json_object_set_new(file->json, "type", json_string("sound"));
        json_object_set_new(file->json, "format", json_string(info.format));
        json_object_set_new(file->json, "rate", json_integer(info.rate));
        json_object_set_new(file->json, "channels", json_integer(info.channels));
        json_object_set_new(file->json, "bits", json_integer(info.bits));
        json_object_set_new(file->json, "frames", json_integer((json_int_t)frames));
        json_object_set_new(file->json, "seconds", json_real(seconds));
    } else {
        printf("%s: %s sound, %.3f s at %u Hz, %u channel%s, %zu bytes\n", file->name, info.format,
               seconds, info.rate, info.channels, info.channels == 1 ? "" : "s", file->bytes.size);
        printf("  %-10s yes: every sample was decoded\n", "whole");
    }
    return VQ_OK;
}

static int is_safetensors(const vq_bytes *bytes)
{
    if (bytes->size < 9 || bytes->data[8] != '{')
        return 0;
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | bytes->data[i];
    return header <= bytes->size - 8;
}

/** By content, then, for what is too damaged to be known by sight, by name. NULL = not ours. */
static vq_status (*teller_of(const vq_bytes *bytes, const char *path))(const vqinfo_file *)
{
    if (vq_image_sniff(bytes->data, bytes->size))
        return vqinfo_picture;
    if (vq_sound_sniff(bytes->data, bytes->size))
        return vqinfo_sound;
    if (bytes->size >= 6 && memcmp(bytes->data, "\x93NUMPY", 6) == 0)
        return vqinfo_npy;
    if (is_safetensors(bytes))
        return vqinfo_safetensors;
    if (bytes->size >= 4 && memcmp(bytes->data, "\x89VQT", 4) == 0)
        return vqinfo_tokens;
    if (bytes->size >= 4 && memcmp(bytes->data, "\x89VQS", 4) == 0)
        return vqinfo_shard;
    if (cli_has_suffix(path, ".safetensors"))
        return vqinfo_safetensors;
    if (cli_has_suffix(path, ".npy"))
        return vqinfo_npy;
    if (cli_has_suffix(path, ".bin"))
        return vqinfo_tokens;
    const cli_kind *kind = cli_kind_by_name(path);
    return !kind                         ? NULL
           : kind->kind == VQ_KIND_IMAGE ? vqinfo_picture
           : kind->kind == VQ_KIND_AUDIO ? vqinfo_sound
                                         : NULL;
}

static int look(const cli_common *common, const char *path, int stats)
{
    vqinfo_file file = {.name = cli_input_name(path), .stats = stats, .verbose = common->verbose};
    vq_status status = vq_file_read(&file.bytes, path, NULL);
    if (status)
        return cli_fail(common, file.name, status);
    vq_status (*tell)(const vqinfo_file *) = teller_of(&file.bytes, path);
    int code = CLI_DONE;
    /* Quiet means that only the verdict counts: the telling goes nowhere. */
    if (common->json || common->quiet)
        file.json = json_pack("{ss sI}", "file", path, "size", (json_int_t)file.bytes.size);
    if (!tell) {
        code =
            cli_fault(common, file.name,
                      file.bytes.size ? "not a file that libvq knows (tokens, safetensors, .npy, "
                                        "pictures, sounds)"
                                      : "the file is empty");
    } else if ((status = tell(&file))) {
        code = cli_fail(common, file.name, status);
    }
    if (file.json)
        json_object_set_new(file.json, "whole", json_boolean(code == CLI_DONE));
    if (file.json && code && tell)
        json_object_set_new(file.json, "error", json_string(vq_last_error()));
    if (common->json && !common->quiet) {
        const int printed = cli_json_print(common, json_incref(file.json), 0);
        code = code ? code : printed;
    }
    json_decref(file.json);
    vq_bytes_clear(&file.bytes);
    return code;
}

int main(int argc, char **argv)
{
    cli_common common;
    int stats = 0;
    const int code = cli_parse(&common, &program, argc, argv, &stats);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "no file was named (see vqinfo --help)");
    int worst = CLI_DONE;
    for (int i = optind; i < argc; i++) {
        const int one = look(&common, argv[i], stats);
        worst = one > worst ? one : worst;
    }
    return cli_close_stdout(&common, worst);
}
