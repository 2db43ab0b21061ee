/* SPDX-License-Identifier: Apache-2.0 */
/* Files to tokens, one after the other; of many small pictures each thread takes one at a time, as reading one is the work of
 * one thread. What is said and written stays in the order of the inputs. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vqenc.h"

enum {
    BATCH_PER_THREAD = 8,
    SMALL_BYTES = 1 << 23 /* a file of more is alone, with all threads: its picture is large, too */
};

/** The codec that is open, and the kind of signal that it is for. */
typedef struct open_codec {
    vq_codec *codec;
    const cli_kind *kind;
    vq_codec_info info;
} open_codec;

/** An input, where its tokens go, and what became of it. */
typedef struct job {
    const char *output;
    cli_input input;
    const cli_kind *kind;
    vq_packing packing;
    vq_tokens *tokens;
    vq_bytes bytes;
    vq_status status;
    char *sentence; /**< of the failure */
    double seconds;
} job;

static void job_clear(job *j)
{
    cli_input_clear(&j->input);
    vq_tokens_free(j->tokens);
    vq_bytes_clear(&j->bytes);
    free(j->sentence);
    *j = (job){0};
}

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

static int tell(const cli_common *common, const job *j)
{
    const cli_kind *kind = j->kind;
    const vq_tokens *tokens = j->tokens;
    const size_t bytes = j->bytes.size;
    if (common->json)
        return cli_json_print(
            common, as_json(kind, j->input.path, j->output, tokens, j->packing, bytes), 0);
    char size[CLI_SIZE_TEXT], levels[CLI_K_SIZE];
    kind->size_text(size, tokens);
    cli_describe_levels(levels, tokens->levels, tokens->k);
    cli_note(common, "%s: %s, %s, %zu bytes, %.3f %s", j->input.name, size, levels, bytes,
             cli_kind_rate(kind, bytes, tokens), kind->rate_name);
    return CLI_DONE;
}

/** Open the codec of that name, or of that kind, unless it is open. The last one is closed. */
static int open_codec_of(const cli_common *common, vqenc_settings *s, open_codec *open,
                         const cli_kind *kind)
{
    const char *model = s->model || !kind ? s->model : kind->codec;
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
static int prepare(job *j, const cli_common *common, vqenc_settings *s, open_codec *open,
                   const char *path, const char *output)
{
    *j = (job){.output = output};
    int code = cli_input_open(&j->input, common, path);
    j->input.ranges = s->ranges;
    if (!code && !(j->kind = cli_kind_find(common, &j->input, open->kind)))
        code = CLI_FAILED;
    if (!code)
        code = cli_kind_check_options(common, &s->kind_options, j->kind, j->input.name);
    if (!code)
        code = open_codec_of(common, s, open, j->kind);
    if (!code && open->kind != j->kind)
        code = cli_usage(common, "%s is %s, and the model %s is for %s", j->input.name,
                         j->kind->one, s->model, open->kind->many);
    if (code)
        return code;
    j->packing = s->has_packing                              ? s->packing
                 : s->coding.lambda > 0 && open->info.tables ? VQ_PACKING_ENTROPY
                                                             : VQ_PACKING_BITS;
    return CLI_DONE;
}

/** Safe on any thread: prints nothing but progress. */
static void encode(job *j, const open_codec *open, const vq_coding_opts *coding)
{
    const double started = cli_seconds();
    j->status = j->kind->encode(&j->tokens, open->codec, &j->input, coding);
    if (!j->status)
        j->status = vq_tokens_serialize_with(&j->bytes, j->tokens, j->packing, open->info.tables);
    if (j->status)
        j->sentence = cli_copy(vq_last_error());
    j->seconds = cli_seconds() - started;
}

/** Write what was encoded, and say so. */
static int finish(job *j, const cli_common *common)
{
    if (j->status)
        return cli_fail_saying(common, j->input.name, j->status, j->sentence);
    if (cli_interrupted())
        return cli_fail(common, NULL, VQ_E_CANCELLED);
    const vq_status status = vq_file_write(j->output, j->bytes.data, j->bytes.size, NULL);
    if (status)
        return cli_fail(common, strcmp(j->output, "-") ? j->output : "standard output", status);
    const int code = tell(common, j);
    if (!code && common->verbose)
        cli_kind_tell_speed(common, j->kind, j->tokens, j->seconds);
    return code;
}

/** One input, with all threads. */
static int encode_alone(const cli_common *common, vqenc_settings *s, open_codec *open,
                        const char *path, const char *output)
{
    job j;
    int code = prepare(&j, common, s, open, path, output);
    if (!code) {
        showing shown = {.kind = j.kind};
        vq_coding_opts coding = s->coding;
        coding.progress = on_progress;
        coding.progress_context = &shown;
        cli_catch_signals();
        cli_progress_start(&shown.progress, common);
        encode(&j, open, &coding);
        cli_progress_clear(&shown.progress);
        code = finish(&j, common);
    }
    job_clear(&j);
    return code;
}

/** Is this a file of a picture, and not a large one? Says nothing. */
static int is_small_picture(const char *path)
{
    uint8_t head[CLI_HEAD_BYTES];
    struct stat info;
    if (!strcmp(path, "-") || stat(path, &info) || !S_ISREG(info.st_mode) ||
        info.st_size > SMALL_BYTES)
        return 0;
    FILE *file = fopen(path, "rb");
    const size_t size = file ? fread(head, 1, sizeof head, file) : 0;
    if (file)
        fclose(file);
    return size && cli_kind_of(VQ_KIND_IMAGE)->sniff(head, size);
}

static int threads_of(const cli_common *common)
{
    return common->threads ? common->threads : omp_get_max_threads();
}

/** How many of the inputs go together from here on. */
static int batch_from(const cli_common *common, char **inputs, int count)
{
    const int threads = threads_of(common);
    const int most = count < threads * BATCH_PER_THREAD ? count : threads * BATCH_PER_THREAD;
    int found = 0;
    while (threads > 1 && found < most && is_small_picture(inputs[found]))
        found++;
    /* With fewer, threads inside each do more. */
    return found < threads ? 0 : found;
}

static int stop_if_interrupted(void *context, const vq_progress *progress)
{
    (void)context;
    (void)progress;
    return cli_interrupted();
}

/** Some inputs, each with one thread. */
static int encode_together(const cli_common *common, vqenc_settings *s, open_codec *open,
                           char **inputs, char **outputs, int count)
{
    job *jobs = cli_need(calloc((size_t)count, sizeof *jobs));
    int *codes = cli_need(calloc((size_t)count, sizeof *codes)), worst = CLI_DONE;
    vq_coding_opts coding = s->coding;
    coding.threads = 1;
    coding.progress = stop_if_interrupted;
    cli_catch_signals();
    for (int i = 0; i < count; i++)
        codes[i] = prepare(&jobs[i], common, s, open, inputs[i], outputs[i]);
#pragma omp parallel for schedule(dynamic) num_threads(threads_of(common))
    for (int i = 0; i < count; i++)
        if (!codes[i])
            encode(&jobs[i], open, &coding);
    for (int i = 0; i < count; i++) {
        if (!codes[i] && worst != CLI_INTERRUPTED)
            codes[i] = finish(&jobs[i], common);
        worst = codes[i] > worst ? codes[i] : worst;
        job_clear(&jobs[i]);
    }
    free(codes);
    free(jobs);
    return worst;
}

static const char *suffix_of(const char *path)
{
    (void)path;
    return ".bin";
}

int vqenc_encode_all(const cli_common *common, vqenc_settings *s, char **inputs, int count)
{
    cli_paths outputs;
    open_codec open = {0};
    int code = cli_plan_outputs(&outputs, common, inputs, count, suffix_of);
    if (!code && s->stats)
        code = cli_read_ranges(&s->ranges, common, s->stats, s->stats_key);
    if (!code && s->model)
        code = open_codec_of(common, s, &open, NULL);
    int worst = code;
    for (int i = 0, done; !code && i < count && !cli_interrupted(); i += done) {
        const int together = batch_from(common, inputs + i, count - i);
        done = together ? together : 1;
        const int some =
            together ? encode_together(common, s, &open, inputs + i, outputs.path + i, together)
                     : encode_alone(common, s, &open, inputs[i], outputs.path[i]);
        worst = some > worst ? some : worst;
    }
    vq_dimensions_free(s->ranges);
    vq_codec_free(open.codec);
    cli_paths_clear(&outputs);
    return worst;
}
