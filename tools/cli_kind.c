/* SPDX-License-Identifier: Apache-2.0 */
#include "cli_kind.h"

#include <string.h>
#include <sys/stat.h>

#include "cli_sound.h"
#include "io/actions.h"
#include "io/image.h"

/* Pictures. */

static int image_sniff(const void *data, size_t size)
{
    return vq_image_sniff(data, size) != NULL;
}

static vq_status image_read(vq_signal **out, const cli_input *input)
{
    return input->bytes.data ? vq_image_parse(out, input->bytes.data, input->bytes.size, NULL, NULL)
                             : vq_image_read(out, input->path, NULL);
}

static vq_status image_encode(vq_tokens **out, const vq_codec *codec, const cli_input *input,
                              const vq_coding_opts *opts)
{
    vq_signal *picture;
    vq_status status = image_read(&picture, input);
    if (status)
        return status;
    status = vq_codec_encode(out, codec, picture, opts);
    vq_signal_free(picture);
    return status;
}

static vq_status image_decode(const char *output, const vq_codec *codec, const vq_tokens *tokens,
                              const vq_coding_opts *opts, const cli_writing *writing)
{
    vq_signal *picture;
    vq_status status = vq_codec_decode(&picture, codec, tokens, opts);
    if (status)
        return status;
    status = vq_png_write(output, picture, writing->bits, NULL);
    vq_signal_free(picture);
    return status;
}

static void image_size_text(char out[CLI_SIZE_TEXT], const vq_tokens *tokens)
{
    snprintf(out, CLI_SIZE_TEXT, "%zux%zu", tokens->source_shape[1], tokens->source_shape[0]);
}

static void image_size_json(json_t *object, const vq_tokens *tokens)
{
    json_object_set_new(object, "width", json_integer((json_int_t)tokens->source_shape[1]));
    json_object_set_new(object, "height", json_integer((json_int_t)tokens->source_shape[0]));
    json_object_set_new(object, "channels", json_integer((json_int_t)tokens->source_shape[2]));
}

static const char *image_channels(const vq_tokens *tokens)
{
    return cli_channels_name(tokens->source_shape[2]);
}

static double image_units(const vq_tokens *tokens)
{
    return cli_sites(tokens->source_shape);
}

static const char *const image_suffixes[] = {".png", ".jpg", ".jpeg", NULL};
static const char *const image_written[] = {".png", NULL};

/* Sounds. */

static int sound_sniff(const void *data, size_t size)
{
    return vq_sound_sniff(data, size) != NULL;
}

static double sound_units(const vq_tokens *tokens)
{
    return (double)tokens->source_shape[0] / (tokens->rate > 0 ? tokens->rate : 1);
}

static void sound_size_text(char out[CLI_SIZE_TEXT], const vq_tokens *tokens)
{
    snprintf(out, CLI_SIZE_TEXT, "%.3f s at %g Hz", sound_units(tokens), tokens->rate);
}

static void sound_size_json(json_t *object, const vq_tokens *tokens)
{
    json_object_set_new(object, "seconds", cli_json_real(sound_units(tokens)));
    json_object_set_new(object, "rate", cli_json_real(tokens->rate));
    json_object_set_new(object, "channels", json_integer((json_int_t)tokens->source_shape[1]));
}

static const char *sound_channels(const vq_tokens *tokens)
{
    return tokens->source_shape[1] == 1   ? "mono"
           : tokens->source_shape[1] == 2 ? "stereo"
                                          : "of many channels";
}

static const char *const sound_suffixes[] = {".wav",  ".flac", ".ogg", ".oga", ".opus",
                                             ".aiff", ".aif",  ".mp3", ".au",  ".caf",
                                             ".w64",  ".rf64", NULL};
static const char *const sound_written[] = {".wav", ".flac", NULL};

/* Actions. */

static int action_sniff(const void *data, size_t size)
{
    return (size >= 6 && !memcmp(data, "\x93NUMPY", 6)) ||
           (size >= 4 && !memcmp(data, "PK\3\4", 4));
}

/** Give an action these ranges; its names stay. */
static vq_status give_ranges(vq_signal *action, const vq_dimensions *ranges)
{
    vq_dimensions *own = action->dimensions, *copy;
    vq_status status = vq_dimensions_copy(&copy, ranges);
    for (size_t i = 0; !status && own && own->names && i < own->count && i < copy->count; i++)
        status = vq_dimensions_set_name(copy, i, own->names[i]);
    if (status) {
        vq_dimensions_free(copy);
        return status;
    }
    vq_dimensions_free(own);
    action->dimensions = copy;
    return VQ_OK;
}

static vq_status action_read(vq_signal **out, const cli_input *input)
{
    vq_status status = input->bytes.data
                           ? vq_actions_parse(out, input->bytes.data, input->bytes.size, NULL, NULL)
                           : vq_actions_read(out, input->path, NULL);
    if (!status && input->ranges) {
        status = give_ranges(*out, input->ranges);
        if (status) {
            vq_signal_free(*out);
            *out = NULL;
        }
    }
    return status;
}

static vq_status action_encode(vq_tokens **out, const vq_codec *codec, const cli_input *input,
                               const vq_coding_opts *opts)
{
    vq_signal *action;
    vq_status status = action_read(&action, input);
    if (status)
        return status;
    status = vq_codec_encode(out, codec, action, opts);
    vq_signal_free(action);
    return status;
}

static vq_status action_decode(const char *output, const vq_codec *codec, const vq_tokens *tokens,
                               const vq_coding_opts *opts, const cli_writing *writing)
{
    (void)writing;
    vq_signal *action;
    vq_bytes bytes = {0};
    vq_status status = vq_codec_decode(&action, codec, tokens, opts);
    if (status)
        return status;
    status = vq_actions_serialize(&bytes, action,
                                  cli_has_suffix(output, ".csv") ? VQ_ACTIONS_CSV : VQ_ACTIONS_NPY);
    if (!status)
        status = vq_file_write(output, bytes.data, bytes.size, NULL);
    vq_bytes_clear(&bytes);
    vq_signal_free(action);
    return status;
}

static size_t action_dimensions(const vq_tokens *tokens)
{
    return tokens->source_shape[tokens->source_ndim - 1];
}

/* Steps, of all episodes. */
static double action_units(const vq_tokens *tokens)
{
    return (double)tokens->source_shape[0] *
           (tokens->source_ndim == 3 ? (double)tokens->source_shape[1] : 1);
}

static void action_size_text(char out[CLI_SIZE_TEXT], const vq_tokens *tokens)
{
    snprintf(out, CLI_SIZE_TEXT, "%.0f steps of %zu dimensions", action_units(tokens),
             action_dimensions(tokens));
}

static void action_size_json(json_t *object, const vq_tokens *tokens)
{
    json_object_set_new(object, "steps", json_integer((json_int_t)action_units(tokens)));
    json_object_set_new(object, "dimensions", json_integer((json_int_t)action_dimensions(tokens)));
}

static const char *const action_suffixes[] = {".npy", ".npz", ".csv", NULL};
static const char *const action_written[] = {".npy", ".csv", NULL};

static const cli_kind kinds[] = {
    {.kind = VQ_KIND_IMAGE,
     .codec = "image",
     .one = "a picture",
     .many = "pictures",
     .formats = "PNG and JPEG",
     .suffixes = image_suffixes,
     .written = image_written,
     .sniff = image_sniff,
     .encode = image_encode,
     .decode = image_decode,
     .bits = {8, 16},
     .size_text = image_size_text,
     .size_json = image_size_json,
     .channels = image_channels,
     .default_bits = 8,
     .units = image_units,
     .unit_bits = 1,
     .rate_name = "bpp",
     .rate_text = "bits per pixel",
     .rate_key = "bits_per_pixel",
     .speed_name = "megapixels/s",
     .speed_units = 1e6,
     .progress_name = "rows"},
    {.kind = VQ_KIND_AUDIO,
     .codec = "audio",
     .one = "a sound",
     .many = "sounds",
     .formats = "WAV, FLAC, Ogg, AIFF and MP3",
     .suffixes = sound_suffixes,
     .written = sound_written,
     .sniff = sound_sniff,
     .encode = cli_sound_encode,
     .decode = cli_sound_decode,
     .bits = {16, 24, 32},
     .size_text = sound_size_text,
     .size_json = sound_size_json,
     .channels = sound_channels,
     .default_bits = 16,
     .units = sound_units,
     .unit_bits = 1000,
     .rate_name = "kbit/s",
     .rate_text = "kbit/s",
     .rate_key = "kbit_per_s",
     .speed_name = "x real time",
     .speed_units = 1,
     .progress_name = "frames"},
    {.kind = VQ_KIND_ACTION,
     .codec = "action",
     .one = "an action",
     .many = "actions",
     .formats = "NumPy's .npy and .npz, CSV",
     .suffixes = action_suffixes,
     .written = action_written,
     .sniff = action_sniff,
     .encode = action_encode,
     .decode = action_decode,
     .size_text = action_size_text,
     .size_json = action_size_json,
     .units = action_units,
     .unit_bits = 1,
     .rate_name = "bits per step",
     .rate_text = "bits per step",
     .rate_key = "bits_per_step",
     .speed_name = "steps/s",
     .speed_units = 1,
     .progress_name = "chunks"},
};

enum { KIND_COUNT = sizeof kinds / sizeof *kinds };

/* All kinds. */

int cli_input_open(cli_input *out, const cli_common *common, const char *path)
{
    *out = (cli_input){.path = path, .name = cli_input_name(path)};
    struct stat info;
    const int regular = strcmp(path, "-") && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    FILE *file = regular ? fopen(path, "rb") : NULL;
    if (file) {
        out->head_size = fread(out->head, 1, sizeof out->head, file);
        const int bad = ferror(file);
        fclose(file);
        return bad ? cli_fault(common, out->name, "cannot be read") : CLI_DONE;
    }
    /* Who reads files says what cannot be opened, too. */
    const vq_status status = vq_file_read(&out->bytes, path, NULL);
    if (status)
        return cli_fail(common, out->name, status);
    out->head_size = out->bytes.size < sizeof out->head ? out->bytes.size : sizeof out->head;
    if (out->head_size)
        memcpy(out->head, out->bytes.data, out->head_size);
    return CLI_DONE;
}

void cli_input_clear(cli_input *input)
{
    vq_bytes_clear(&input->bytes);
}

const cli_kind *cli_kind_of(vq_kind kind)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (kinds[i].kind == kind)
            return &kinds[i];
    return NULL;
}

static int has_suffix_of(const char *path, const char *const *suffixes)
{
    for (; *suffixes; suffixes++)
        if (cli_has_suffix(path, *suffixes))
            return 1;
    return 0;
}

const cli_kind *cli_kind_by_name(const char *path)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (has_suffix_of(path, kinds[i].suffixes) || has_suffix_of(path, kinds[i].written))
            return &kinds[i];
    return NULL;
}

const cli_kind *cli_kind_find(const cli_common *common, const cli_input *input,
                              const cli_kind *otherwise)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (kinds[i].sniff(input->head, input->head_size))
            return &kinds[i];
    const cli_kind *kind = cli_kind_by_name(input->path);
    if (kind || otherwise)
        return kind ? kind : otherwise;
    char text[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < KIND_COUNT && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s: %s", i ? "; " : "",
                                 kinds[i].many, kinds[i].formats);
    cli_fault(common, input->name, "%s (%s)",
              input->head_size ? "not a file that is read" : "the file is empty", text);
    return NULL;
}

int cli_kind_check_output(const cli_common *common, const cli_kind *kind, const char *output)
{
    const cli_kind *named = cli_kind_by_name(output);
    if (!named || named == kind)
        return CLI_DONE;
    return cli_usage(common, "%s: the name is one for %s, and the tokens are of %s (write to %s)",
                     output, named->many, kind->one, kind->written[0]);
}

int cli_kind_check_bits(const cli_common *common, const cli_kind *kind, uint32_t bits)
{
    char text[48] = "";
    size_t used = 0;
    if (!bits)
        return CLI_DONE;
    for (size_t i = 0; i < sizeof kind->bits / sizeof *kind->bits && kind->bits[i]; i++) {
        if (bits == kind->bits[i])
            return CLI_DONE;
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%u", i ? ", " : "", kind->bits[i]);
    }
    return cli_usage(common, "--bits: %s cannot have %u (%s)", kind->many, bits, text);
}

double cli_kind_rate(const cli_kind *kind, uint64_t bytes, const vq_tokens *tokens)
{
    return 8.0 * (double)bytes / (kind->units(tokens) * kind->unit_bits);
}

void cli_kind_tell_speed(const cli_common *common, const cli_kind *kind, const vq_tokens *tokens,
                         double seconds)
{
    cli_note(common, "  %.3f s, %.2f %s", seconds,
             kind->units(tokens) / (kind->speed_units * seconds), kind->speed_name);
}

int cli_read_ranges(vq_dimensions **out, const cli_common *common, const char *path,
                    const char *key)
{
    vq_bytes bytes = {0};
    *out = NULL;
    vq_status status = vq_file_read(&bytes, path, NULL);
    if (!status)
        status = vq_dimensions_parse_stats(out, bytes.data, bytes.size, key, NULL, NULL);
    vq_bytes_clear(&bytes);
    return status ? cli_fail(common, cli_input_name(path), status) : CLI_DONE;
}

void cli_kind_option_given(cli_kind_options *options, const char *name, unsigned for_kinds)
{
    if (options->count < CLI_MOST_GIVEN)
        options->given[options->count++] = (cli_kind_option){name, for_kinds};
}

int cli_kind_check_options(const cli_common *common, const cli_kind_options *options,
                           const cli_kind *kind, const char *name)
{
    for (size_t i = 0; i < options->count; i++) {
        const cli_kind_option *given = &options->given[i];
        if (given->kinds >> kind->kind & 1)
            continue;
        char text[96] = "";
        size_t used = 0;
        for (size_t k = 0; k < KIND_COUNT && used < sizeof text; k++)
            if (given->kinds >> kinds[k].kind & 1)
                used += (size_t)snprintf(text + used, sizeof text - used, "%s%s",
                                         used ? " and " : "", kinds[k].many);
        return cli_usage(common, "--%s is for %s, and %s is %s", given->name, text, name,
                         kind->one);
    }
    return CLI_DONE;
}
