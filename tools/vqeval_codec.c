/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures through a codec and back: quality and true bytes, for one or every number of levels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"
#include "vqeval.h"

/** One picture at one number of levels. */
typedef struct score {
    uint64_t bytes; /**< of the token file, container included */
    double bpp;
    vq_image_quality quality;
} score;

typedef struct evaluation {
    vqeval_trial trial;
    score *scores; /**< [picture][level - low] */
    double pixels, encode_seconds, decode_seconds;
} evaluation;

static score *score_of(const evaluation *e, size_t picture, uint32_t levels)
{
    return &e->scores[picture * (e->trial.high - e->trial.low + 1) + levels - e->trial.low];
}

/** Decode what `levels` levels say, and compare. The tokens lose their other levels. */
static int try_levels(evaluation *e, size_t index, uint32_t levels, vq_tokens *tokens,
                      const vq_signal *original)
{
    const char *name = e->trial.inputs->path[index];
    score *s = score_of(e, index, levels);
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.threads = e->trial.common->threads;
    vq_bytes bytes = {0};
    vq_signal *decoded = NULL;
    vq_status status = vq_tokens_truncate(tokens, levels);
    if (!status)
        status = vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS);
    const double started = cli_seconds();
    if (!status)
        status = vq_codec_decode(&decoded, e->trial.codec, tokens, &opts);
    e->decode_seconds += cli_seconds() - started;
    int code = status ? cli_fail(e->trial.common, name, status) : CLI_DONE;
    if (!code) {
        s->bytes = bytes.size;
        s->bpp = cli_bits_per_pixel(bytes.size, original->shape);
        code = vqeval_compare(&s->quality, e->trial.common, name, original, decoded);
    }
    if (!code && e->trial.settings->side)
        code = vqeval_draw(e->trial.common, e->trial.settings, original, decoded);
    vq_signal_free(decoded);
    vq_bytes_clear(&bytes);
    return code;
}

static int try_picture(void *state, size_t index)
{
    evaluation *e = state;
    const char *name = e->trial.inputs->path[index];
    vq_signal *original = NULL;
    vq_tokens *tokens = NULL;
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = e->trial.high;
    opts.beam = e->trial.settings->beam;
    opts.threads = e->trial.common->threads;
    vq_status status = vq_image_read(&original, name, NULL);
    const double started = cli_seconds();
    if (!status)
        status = vq_codec_encode(&tokens, e->trial.codec, original, &opts);
    e->encode_seconds += cli_seconds() - started;
    if (!status)
        status = vq_report_add_tokens(e->trial.report, tokens);
    int code = status ? cli_fail(e->trial.common, name, status) : CLI_DONE;
    if (!code)
        e->pixels += cli_sites(original->shape);
    for (uint32_t levels = e->trial.high; !code && levels >= e->trial.low; levels--)
        code = try_levels(e, index, levels, tokens, original);
    vq_tokens_free(tokens);
    vq_signal_free(original);
    return code;
}

/** The mean over the pictures. MS-SSIM is NaN for small pictures, which then do not count. */
static score mean_of(const evaluation *e, uint32_t levels)
{
    score mean = {0};
    const double n = (double)e->trial.inputs->count;
    double large = 0;
    for (size_t i = 0; i < e->trial.inputs->count; i++) {
        const score *s = score_of(e, i, levels);
        mean.bytes += s->bytes;
        mean.bpp += s->bpp / n;
        mean.quality.mse += s->quality.mse / n;
        mean.quality.psnr_db += s->quality.psnr_db / n;
        mean.quality.ssim += s->quality.ssim / n;
        if (!isnan(s->quality.ms_ssim)) {
            mean.quality.ms_ssim += s->quality.ms_ssim;
            large++;
        }
    }
    mean.bytes = (uint64_t)((double)mean.bytes / n + 0.5);
    mean.quality.ms_ssim = large > 0 ? mean.quality.ms_ssim / large : NAN;
    return mean;
}

static score score_at(const evaluation *e, ptrdiff_t index, uint32_t levels)
{
    return index == VQEVAL_MEAN ? mean_of(e, levels) : *score_of(e, (size_t)index, levels);
}

static void print_score(const void *state, ptrdiff_t index, uint32_t levels)
{
    const score s = score_at(state, index, levels);
    printf(" %10llu %8.4f", (unsigned long long)s.bytes, s.bpp);
    cli_print_real(stdout, 9, 3, s.quality.psnr_db);
    cli_print_real(stdout, 9, 4, s.quality.ssim);
    cli_print_real(stdout, 9, 4, s.quality.ms_ssim);
}

static json_t *score_as_json(const void *state, ptrdiff_t index, uint32_t levels)
{
    const score s = score_at(state, index, levels);
    json_t *object = json_pack("{sI sf}", "bytes", (json_int_t)s.bytes, "bits_per_pixel", s.bpp);
    vqeval_json_quality(object, &s.quality);
    return object;
}

static int run(evaluation *e)
{
    const size_t count = e->trial.inputs->count;
    e->scores = cli_need(calloc(count * (e->trial.high - e->trial.low + 1), sizeof *e->scores));
    const int code = vqeval_trial_each(&e->trial, "pictures", try_picture, e);
    if (code)
        return code;
    const vqeval_telling how = {.one = "picture",
                                .list = "images",
                                .grid = "grid positions",
                                .columns = "      bytes      bpp  PSNR dB     SSIM  MS-SSIM",
                                .width = 8,
                                .print = print_score,
                                .as_json = score_as_json,
                                .amount_name = "pixels",
                                .amount = e->pixels,
                                .encode_seconds = e->encode_seconds,
                                .decode_seconds = e->decode_seconds};
    return vqeval_trial_tell(&e->trial, &how, e);
}

int vqeval_codec(const cli_common *common, const vqeval_settings *settings,
                 const cli_paths *pictures, const vq_codec *codec)
{
    evaluation e = {.scores = NULL};
    int code = vqeval_trial_open(&e.trial, common, settings, pictures, codec);
    if (!code)
        code = run(&e);
    vq_report_free(e.trial.report);
    free(e.scores);
    return code;
}
