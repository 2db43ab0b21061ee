/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The residual quantizer on files of raw float32; bench/rvq.py runs it beside faiss. It answers in JSON.
 *
 *     bench_rvq encode ROWS N D CODEBOOKS LEVELS K BEAM REPEATS CODES
 *     bench_rvq train ROWS N D CODEBOOKS LEVELS K BEAM ITERATIONS REFIT
 *
 * encode: the codes go to CODES as uint32; the codebooks are prepared before the clock starts. train: the codewords
 * go to CODEBOOKS.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rvq/residual.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bench_rvq: %s\n", what);
    exit(1);
}

static float *read_floats(const char *path, size_t count)
{
    float *x = malloc(count * sizeof *x);
    FILE *in = fopen(path, "rb");
    if (!x || !in || fread(x, sizeof *x, count, in) != count)
        fail("cannot read floats");
    fclose(in);
    return x;
}

static uint32_t number(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 10);
}

static int encode(char **argv, const float *x, size_t n, uint32_t d)
{
    const uint32_t levels = number(argv[6]), k = number(argv[7]);
    float *codewords = read_floats(argv[5], (size_t)levels * k * d);
    uint32_t *codes = malloc(n * levels * sizeof *codes);
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    vq_quantizer *q;
    for (uint32_t l = 0; l < levels; l++)
        if (vq_codebook_create(&codebooks[l], codewords + (size_t)l * k * d, k, d,
                               VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32))
            fail(vq_last_error());
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.beam = number(argv[8]);
    const double start = now();
    if (vq_residual_create(&q, codebooks, levels) || (opts.beam > 1 && vq_residual_prepare(q, 0)))
        fail(vq_last_error());
    const double prepared = now() - start;
    double best = 1e300;
    for (uint32_t i = 0; i < number(argv[9]); i++) {
        const double begin = now();
        if (vq_quantize(codes, q, x, n, &opts))
            fail(vq_last_error());
        best = now() - begin < best ? now() - begin : best;
    }
    FILE *out = fopen(argv[10], "wb");
    if (!out || fwrite(codes, sizeof *codes, n * levels, out) != n * levels || fclose(out))
        fail("cannot write the codes");
    printf("{\"seconds\": %.6f, \"prepare_seconds\": %.6f}\n", best, prepared);
    return 0;
}

static int train(char **argv, const float *x, size_t n, uint32_t d)
{
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = number(argv[6]);
    opts.kmeans.k = number(argv[7]);
    opts.beam = number(argv[8]);
    opts.kmeans.max_iterations = number(argv[9]);
    opts.kmeans.tolerance = -1;
    opts.refits = number(argv[10]);
    opts.prefixes = opts.beam;               /* as faiss does */
    opts.kmeans.seeding = VQ_SEEDING_RANDOM; /* as faiss's */
    opts.inner_seeds = 1;
    vq_quantizer *q;
    const double start = now();
    if (vq_residual_train(&q, x, n, d, &opts))
        fail(vq_last_error());
    const double seconds = now() - start;
    FILE *out = fopen(argv[5], "wb");
    for (uint32_t l = 0; l < opts.levels; l++)
        if (!out || fwrite(vq_codebook_codewords(vq_quantizer_codebook(q, l)), sizeof *x,
                           (size_t)opts.kmeans.k * d, out) != (size_t)opts.kmeans.k * d)
            fail("cannot write the codewords");
    if (fclose(out))
        fail("cannot write the codewords");
    vq_quantizer_free(q);
    printf("{\"seconds\": %.6f}\n", seconds);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 11)
        fail("use: bench_rvq encode|train ROWS N D CODEBOOKS LEVELS K BEAM ...");
    const size_t n = strtoull(argv[3], NULL, 10);
    const uint32_t d = number(argv[4]);
    float *x = read_floats(argv[2], n * d);
    if (!strcmp(argv[1], "encode"))
        return encode(argv, x, n, d);
    if (!strcmp(argv[1], "train"))
        return train(argv, x, n, d);
    fail("encode or train?");
}
