/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image codec on a list of pictures: one JSON object on standard output with, per picture and setting (levels, or
 * lambda of rate-aware encoding), true bytes and quality, and the speed of the parts. bench/image.py runs it beside the peers.
 *
 *     bench_image [--threads N] [--rounds N] PICTURE...
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codecs/codec.h"
#include "codecs/image_internal.h"
#include "codecs/image_metrics.h"
#include "io/image.h"
#include "io/tokens_file.h"

/* The settings of rate-aware encoding, and the beam. */
static const float lambdas[] = {0.06f, 0.04f, 0.03f, 0.02f, 0.01f, 0.005f};
enum { LAMBDAS = sizeof lambdas / sizeof *lambdas, TIMED_LAMBDA = 3, BEAM = 8 };

static void check(vq_status status)
{
    if (status) {
        fprintf(stderr, "bench_image: %s: %s\n", vq_status_name(status), vq_last_error());
        exit(1);
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Seconds spent on all pictures in one round. */
typedef struct timing {
    double read, encode, serialize, decode, write, transform, search, rate_aware;
} timing;

/* The two halves of encoding on their own: the transform of the whole picture, then the search. */
static void time_parts(timing *t, const vq_codec *codec, const vq_signal *picture, uint32_t levels,
                       int threads)
{
    const vqi_image_model *model = codec->state;
    const vqi_picture view = {.signal = picture,
                              .height = picture->shape[0],
                              .width = picture->shape[1],
                              .rows = vqi_blocks(picture->shape[0], model->block),
                              .columns = vqi_blocks(picture->shape[1], model->block)};
    const size_t n = view.rows * view.columns;
    const size_t scratch_size = vqi_image_analysis_scratch(model, &view);
    float *latents = malloc(n * model->dim * sizeof *latents);
    float *scratch = malloc((size_t)threads * scratch_size * sizeof *scratch);
    uint32_t *codes = malloc(n * levels * sizeof *codes);
    long *bad = malloc(view.rows * sizeof *bad);
    if (!latents || !scratch || !codes || !bad)
        check(VQ_E_NOMEM);
    double start = seconds();
    vqi_image_analyse_rows(latents, bad, model, &view, 0, view.rows, 0, scratch, scratch_size,
                           threads);
    t->transform += seconds() - start;
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = levels;
    opts.threads = threads;
    start = seconds();
    check(vq_quantize(codes, codec->quantizer, latents, n, &opts));
    t->search += seconds() - start;
    free(latents);
    free(scratch);
    free(codes);
    free(bad);
}

static void time_picture(timing *t, const vq_codec *codec, const char *path, int threads)
{
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.threads = threads;
    vq_signal *picture, *copy;
    vq_tokens *tokens;
    vq_bytes bytes, png;
    const double start = seconds();
    check(vq_image_read(&picture, path, NULL));
    const double read = seconds();
    check(vq_codec_encode(&tokens, codec, picture, &opts));
    const double encoded = seconds();
    check(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
    const double serialized = seconds();
    check(vq_codec_decode(&copy, codec, tokens, &opts));
    const double decoded = seconds();
    check(vq_png_serialize(&png, copy, 8));
    const double written = seconds();
    t->read += read - start;
    t->encode += encoded - read;
    t->serialize += serialized - encoded;
    t->decode += decoded - serialized;
    t->write += written - decoded;
    time_parts(t, codec, picture, info.default_levels, threads);
    vq_bytes_clear(&png);
    vq_bytes_clear(&bytes);
    vq_tokens_free(tokens);
    opts.beam = BEAM;
    opts.lambda = lambdas[TIMED_LAMBDA];
    const double again = seconds();
    check(vq_codec_encode(&tokens, codec, picture, &opts));
    check(vq_tokens_serialize_with(&bytes, tokens, VQ_PACKING_ENTROPY, info.tables));
    t->rate_aware += seconds() - again;
    vq_bytes_clear(&bytes);
    vq_signal_free(copy);
    vq_signal_free(picture);
    vq_tokens_free(tokens);
}

/* Write, read and decode the tokens, and print what that takes and gives; `what` names the setting in JSON. */
static void print_setting(const vq_codec *codec, const vq_tokens *tokens, vq_packing packing,
                          const vq_signal *picture, const char *what, int last)
{
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    vq_bytes bytes;
    vq_tokens *stored;
    vq_signal *copy;
    vq_image_quality quality;
    check(vq_tokens_serialize_with(&bytes, tokens, packing, info.tables));
    check(vq_tokens_parse_with(&stored, NULL, bytes.data, bytes.size, NULL, info.tables, NULL));
    check(vq_codec_decode(&copy, codec, stored, NULL));
    check(vq_image_compare(&quality, picture, copy));
    printf("    {%s, \"bytes\": %zu, \"psnr\": %.6f, \"ssim\": %.6f, \"ms_ssim\": %.6f}%s\n", what,
           bytes.size, quality.psnr_db, quality.ssim, quality.ms_ssim, last ? "]" : ",");
    vq_bytes_clear(&bytes);
    vq_tokens_free(stored);
    vq_signal_free(copy);
}

/* Quality and true bytes of every prefix of the levels, in whole bits, and of every lambda, entropy coded. */
static void print_quality(const vq_codec *codec, const char *path, int threads, int last)
{
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.threads = threads;
    opts.levels = info.levels;
    vq_signal *picture;
    vq_tokens *tokens;
    char what[64];
    check(vq_image_read(&picture, path, NULL));
    check(vq_codec_encode(&tokens, codec, picture, &opts));
    printf("  {\"file\": \"%s\", \"pixels\": %zu, \"levels\": [\n", strrchr(path, '/') + 1,
           picture->shape[0] * picture->shape[1]);
    for (uint32_t levels = info.levels; levels >= 1; levels--) {
        check(vq_tokens_truncate(tokens, levels));
        snprintf(what, sizeof what, "\"levels\": %u", levels);
        print_setting(codec, tokens, VQ_PACKING_BITS, picture, what, levels == 1);
    }
    printf("    , \"rates\": [\n");
    opts.beam = BEAM;
    for (int i = 0; i < LAMBDAS; i++) {
        vq_tokens_free(tokens);
        opts.lambda = lambdas[i];
        check(vq_codec_encode(&tokens, codec, picture, &opts));
        snprintf(what, sizeof what, "\"lambda\": %g", (double)lambdas[i]);
        print_setting(codec, tokens, VQ_PACKING_ENTROPY, picture, what, i + 1 == LAMBDAS);
    }
    printf("  }%s\n", last ? "" : ",");
    vq_signal_free(picture);
    vq_tokens_free(tokens);
}

int main(int argc, char **argv)
{
    int threads = omp_get_max_threads(), rounds = 3, first = 1;
    for (; first + 1 < argc && !strncmp(argv[first], "--", 2); first += 2) {
        if (!strcmp(argv[first], "--threads"))
            threads = atoi(argv[first + 1]);
        else if (!strcmp(argv[first], "--rounds"))
            rounds = atoi(argv[first + 1]);
        else
            break;
    }
    if (first >= argc || threads < 1 || rounds < 1) {
        fprintf(stderr, "usage: bench_image [--threads N] [--rounds N] PICTURE...\n");
        return 2;
    }
    vq_codec *codec;
    check(vq_codec_open(&codec, "image", NULL));
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    printf("{\"version\": \"%s\", \"default_levels\": %u, \"threads\": %d,\n\"images\": [\n",
           vq_version(), info.default_levels, threads);
    for (int i = first; i < argc; i++)
        print_quality(codec, argv[i], threads, i + 1 == argc);

    /* The fastest of the rounds for each part: the machines are shared. */
    timing best = {0};
    for (int round = 0; round < rounds; round++) {
        timing t = {0};
        for (int i = first; i < argc; i++)
            time_picture(&t, codec, argv[i], threads);
#define KEEP(part)                                                                                 \
    if (!round || t.part < best.part)                                                              \
    best.part = t.part
        KEEP(read);
        KEEP(encode);
        KEEP(serialize);
        KEEP(decode);
        KEEP(write);
        KEEP(transform);
        KEEP(search);
        KEEP(rate_aware);
#undef KEEP
    }
    printf("],\n\"seconds\": {\"png_read\": %.6f, \"encode\": %.6f, \"serialize\": %.6f, "
           "\"decode\": %.6f, \"png_write\": %.6f, \"transform\": %.6f, \"search\": %.6f, "
           "\"rate_aware\": %.6f}}\n",
           best.read, best.encode, best.serialize, best.decode, best.write, best.transform,
           best.search, best.rate_aware);
    vq_codec_free(codec);
    return 0;
}
