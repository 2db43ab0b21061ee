/* SPDX-License-Identifier: Apache-2.0 */
/* Actions: the error of a pair of files or of a codec, dimension by dimension, and a drawing of both. */
#include <math.h>
#include <stdlib.h>

#include "cli_plot.h"
#include "codecs/action_metrics.h"
#include "io/actions.h"
#include "io/image.h"
#include "vqeval.h"

enum { WIDTH = 1200, ROW = 120, PLOTTED = 32 /* dimensions that are drawn */, MARGIN = 8 };

/* What is said of one file, or of all together. */
typedef struct result {
    vq_action_error *errors; /* of D dimensions */
    size_t dimensions, steps, tokens;
    uint64_t bytes;
    double rate, seconds;
} result;

static double mean_square(const result *r, int mapped)
{
    double sum = 0;
    for (size_t i = 0; i < r->dimensions; i++)
        sum += mapped ? r->errors[i].rmse_mapped * r->errors[i].rmse_mapped
                      : r->errors[i].rmse * r->errors[i].rmse;
    return sqrt(sum / (double)r->dimensions);
}

static double largest(const result *r)
{
    double most = 0;
    for (size_t i = 0; i < r->dimensions; i++)
        most = fmax(most, r->errors[i].largest_mapped);
    return most;
}

static json_t *as_json(const result *r, const char *file, const vq_dimensions *names)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < r->dimensions; i++) {
        const vq_action_error *e = &r->errors[i];
        json_t *row = json_pack("{sf sf sf sf sf sf}", "rmse", e->rmse, "max", e->largest,
                                "rmse_mapped", e->rmse_mapped, "max_mapped", e->largest_mapped,
                                "jerk_original", e->jerk_original, "jerk_decoded", e->jerk_decoded);
        if (names && names->names)
            json_object_set_new(row, "name", json_string(names->names[i]));
        json_array_append_new(rows, row);
    }
    json_t *object =
        json_pack("{ss sI sf sf so}", "file", file, "steps", (json_int_t)r->steps, "rmse_mapped",
                  mean_square(r, 1), "max_mapped", largest(r), "dimensions", rows);
    if (r->bytes) {
        json_object_set_new(object, "bytes", json_integer((json_int_t)r->bytes));
        json_object_set_new(object, "bits_per_step",
                            json_real(8.0 * (double)r->bytes / (double)r->steps));
        json_object_set_new(object, "tokens_per_step",
                            json_real((double)r->tokens / (double)r->steps));
    }
    if (r->bytes && r->rate > 0)
        json_object_set_new(object, "tokens_per_second",
                            json_real((double)r->tokens / (double)r->steps * r->rate));
    return object;
}

static void print_result(const result *r, const char *file, const vq_dimensions *names)
{
    printf("%s: %zu steps of %zu dimensions", file, r->steps, r->dimensions);
    if (r->bytes)
        printf(", %.2f bits per step, %.2f tokens per step",
               8.0 * (double)r->bytes / (double)r->steps, (double)r->tokens / (double)r->steps);
    if (r->bytes && r->rate > 0)
        printf(", %.1f tokens per second", (double)r->tokens / (double)r->steps * r->rate);
    printf("\n%-16s %12s %12s %12s %12s %12s\n", "dimension", "RMSE", "maximum", "RMSE mapped",
           "max mapped", "jerk ratio");
    for (size_t i = 0; i < r->dimensions; i++) {
        const vq_action_error *e = &r->errors[i];
        char number[24];
        snprintf(number, sizeof number, "%zu", i);
        printf("%-16.16s %12.6g %12.6g %12.6f %12.6f ",
               names && names->names && *names->names[i] ? names->names[i] : number, e->rmse,
               e->largest, e->rmse_mapped, e->largest_mapped);
        if (e->jerk_original > 0)
            printf("%12.3f\n", e->jerk_decoded / e->jerk_original);
        else
            printf("%12s\n", "-");
    }
    printf("%-16s %12s %12s %12.6f %12.6f\n", "all", "", "", mean_square(r, 1), largest(r));
}

/* A polyline of one dimension: between two columns a vertical run, so that it has no gaps. */
static void curve(vq_signal *picture, const vq_signal *s, size_t i, size_t top,
                  const double range[2], const float colour[3])
{
    const size_t d = s->shape[s->ndim - 1], n = vq_signal_count(s) / d;
    const double span = range[1] > range[0] ? range[1] - range[0] : 1;
    long before = -1;
    for (long x = MARGIN; x < WIDTH - MARGIN; x++) {
        const double at = (double)(x - MARGIN) / (WIDTH - 2 * MARGIN) * (double)(n - 1);
        const size_t t = (size_t)at, next = t + 1 < n ? t + 1 : t;
        const double part = at - (double)t;
        const double v =
            (double)s->data[t * d + i] * (1 - part) + (double)s->data[next * d + i] * part;
        const long y =
            (long)top + ROW - MARGIN - (long)lrint((v - range[0]) / span * (ROW - 2 * MARGIN));
        const long from = before < 0 || before > y ? y : before, to = before > y ? before : y;
        for (long run = from; run <= to; run++)
            cli_plot_dot(picture, x, run, colour);
        before = y;
    }
}

static int draw(const cli_common *common, const char *path, const vq_signal *original,
                const vq_signal *decoded)
{
    static const float black[3] = {0.1f, 0.1f, 0.1f}, red[3] = {0.9f, 0.2f, 0.1f},
                       grey[3] = {0.8f, 0.8f, 0.8f};
    const size_t d = original->shape[original->ndim - 1], n = vq_signal_count(original) / d;
    const size_t rows = d < PLOTTED ? d : PLOTTED;
    vq_signal *picture;
    vq_status status = cli_plot_paper(&picture, WIDTH, rows * ROW);
    for (size_t i = 0; !status && i < rows; i++) {
        double range[2] = {INFINITY, -INFINITY};
        for (size_t r = 0; r < n; r++) {
            range[0] = fmin(range[0], (double)original->data[r * d + i]);
            range[1] = fmax(range[1], (double)original->data[r * d + i]);
        }
        for (long x = 0; x < WIDTH; x++)
            cli_plot_dot(picture, x, (long)(i * ROW), grey);
        curve(picture, original, i, i * ROW, range, black);
        curve(picture, decoded, i, i * ROW, range, red);
    }
    if (!status)
        status = vq_png_write(path, picture, 8, NULL);
    vq_signal_free(picture);
    return status ? cli_fail(common, path, status) : CLI_DONE;
}

static int measure(result *r, const cli_common *common, const char *name, const vq_signal *original,
                   const vq_signal *decoded, const vq_dimensions *ranges)
{
    r->dimensions = original->shape[original->ndim - 1];
    r->steps = vq_signal_count(original) / r->dimensions;
    r->rate = original->rate;
    r->errors = calloc(r->dimensions, sizeof *r->errors);
    if (!r->errors)
        return cli_fault(common, name, "out of memory");
    const vq_status status = vq_action_compare(r->errors, original, decoded, ranges);
    return status ? cli_fail(common, name, status) : CLI_DONE;
}

static int tell(const cli_common *common, const result *r, const char *file,
                const vq_dimensions *names)
{
    if (common->json)
        return cli_json_print(common, as_json(r, file, names), 0);
    print_result(r, file, names);
    return CLI_DONE;
}

/* Encode and decode one file at one number of levels. */
static int try_file(const cli_common *common, const vqeval_settings *s, const vq_codec *codec,
                    const char *path, uint32_t levels)
{
    vq_signal *original = NULL, *decoded = NULL;
    vq_tokens *tokens = NULL;
    vq_bytes bytes = {0};
    result r = {0};
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = levels;
    opts.beam = s->beam;
    opts.threads = common->threads;
    vq_status status = vq_actions_read(&original, path, NULL);
    if (!status)
        status = vq_codec_encode(&tokens, codec, original, &opts);
    if (!status)
        status = vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS);
    if (!status)
        status = vq_codec_decode(&decoded, codec, tokens, &opts);
    int code = status ? cli_fail(common, cli_input_name(path), status) : CLI_DONE;
    if (!code && tokens)
        code = measure(&r, common, path, original, decoded, tokens->dimensions);
    if (!code && tokens) {
        r.bytes = bytes.size;
        r.tokens = vq_tokens_positions(tokens) * tokens->levels;
        if (s->all_levels && !common->json)
            printf("%u level%s: ", levels, levels == 1 ? "" : "s");
        code = tell(common, &r, path, tokens->dimensions);
    }
    if (!code && s->side)
        code = draw(common, s->side, original, decoded);
    free(r.errors);
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
    vq_signal_free(original);
    vq_signal_free(decoded);
    return code;
}

int vqeval_action_codec(const cli_common *common, const vqeval_settings *s, const cli_paths *files,
                        const vq_codec *codec)
{
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    int code = CLI_DONE;
    const uint32_t high = s->all_levels ? info.levels : s->levels ? s->levels : info.default_levels;
    for (size_t i = 0; !code && i < files->count; i++)
        for (uint32_t levels = s->all_levels ? 1 : high; !code && levels <= high; levels++)
            code = try_file(common, s, codec, files->path[i], levels);
    return code;
}

int vqeval_actions(const cli_common *common, const vqeval_settings *s, const cli_paths *files)
{
    vq_signal *original = NULL, *decoded = NULL;
    result r = {0};
    vq_status status = vq_actions_read(&original, files->path[0], NULL);
    int code = status ? cli_fail(common, files->path[0], status) : CLI_DONE;
    if (!code && (status = vq_actions_read(&decoded, files->path[1], NULL)))
        code = cli_fail(common, files->path[1], status);
    if (!code)
        code = measure(&r, common, files->path[1], original, decoded, NULL);
    if (!code)
        code = tell(common, &r, files->path[1], original->dimensions);
    if (!code && s->side)
        code = draw(common, s->side, original, decoded);
    free(r.errors);
    vq_signal_free(original);
    vq_signal_free(decoded);
    return code;
}
