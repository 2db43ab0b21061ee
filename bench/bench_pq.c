/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Product quantization of raw float32 rows; bench/pq.py runs it beside faiss.
 *
 *     bench_pq train ROWS N D M K ITERATIONS SEED CODEBOOKS     k-means for each slice; writes M x K x D/M floats
 *     bench_pq code ROWS N D M K CODEBOOKS REPEATS CODES MASK   encodes and decodes; writes N x M uint32
 *
 * What it took goes to standard output as JSON: the least time of REPEATS, and the mean squared error for each element.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rvq/product.h"
#include "vq/cpu.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_pq: %s\n", what);
    exit(1);
}

static void check(vq_status status)
{
    if (status)
        fail(vq_last_error());
}

static void *room(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (!p)
        fail("no memory");
    return p;
}

static float *read_floats(const char *path, size_t count)
{
    float *x = room(count, sizeof *x);
    FILE *in = fopen(path, "rb");
    if (!in || fread(x, sizeof *x, count, in) != count)
        fail("cannot read a file of floats");
    fclose(in);
    return x;
}

static void write_all(const char *path, const void *data, size_t count)
{
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(data, 4, count, out) != count || fclose(out))
        fail("cannot write a file");
}

static void train(char **argument, const float *x, size_t n, uint32_t d, uint32_t parts, uint32_t k)
{
    const uint32_t width = d / parts;
    vq_residual_train_opts part = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    vq_product_train_opts opts = VQ_PRODUCT_TRAIN_OPTS_INIT;
    part.kmeans.k = k;
    part.kmeans.max_iterations = (uint32_t)strtoul(argument[0], NULL, 10);
    part.kmeans.seed = strtoull(argument[1], NULL, 10);
    part.kmeans.seeding =
        VQ_SEEDING_RANDOM; /* as faiss has it; k-means++ gains half a per cent and takes longer */
    opts.parts = parts;
    opts.part = &part;
    vq_quantizer *q;
    const double start = now();
    check(vq_product_train(&q, x, n, d, &opts));
    printf("{\"seconds\": %.9g}\n", now() - start);
    float *all = room((size_t)k * d, sizeof *all);
    for (uint32_t p = 0; p < parts; p++)
        memcpy(all + (size_t)p * k * width, vq_codebook_codewords(vq_quantizer_codebook(q, p)),
               (size_t)k * width * sizeof *all);
    write_all(argument[2], all, (size_t)k * d);
    free(all);
    vq_quantizer_free(q);
}

static vq_quantizer *make(const char *path, uint32_t d, uint32_t parts, uint32_t k)
{
    const uint32_t width = d / parts;
    float *codewords = read_floats(path, (size_t)k * d);
    vq_quantizer *part[VQ_MAX_LEVELS], *q;
    for (uint32_t p = 0; p < parts; p++) {
        vq_codebook *codebook;
        check(vq_codebook_create(&codebook, codewords + (size_t)p * k * width, k, width,
                                 VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
        check(vq_quantizer_from_codebook(&part[p], codebook));
    }
    check(vq_product_create(&q, part, parts));
    free(codewords);
    return q;
}

static void code(char **argument, const float *x, size_t n, uint32_t d, uint32_t parts, uint32_t k)
{
    uint32_t mask;
    vq_quantizer *q = make(argument[0], d, parts, k);
    const int repeats = (int)strtol(argument[1], NULL, 10);
    check(vq_cpu_parse_mask(&mask, argument[3]));
    vq_cpu_set_mask(mask);
    uint32_t *codes = room(n * parts, sizeof *codes);
    float *decoded = room(n * d, sizeof *decoded);
    double encode = 1e30, decode = 1e30, error = 0;
    for (int r = 0; r < repeats; r++) {
        const double start = now();
        check(vq_quantize(codes, q, x, n, NULL));
        const double between = now();
        check(vq_dequantize(decoded, q, codes, n, NULL));
        const double end = now();
        encode = between - start < encode ? between - start : encode;
        decode = end - between < decode ? end - between : decode;
    }
    for (size_t i = 0; i < n * d; i++) {
        const double off = (double)x[i] - (double)decoded[i];
        error += off * off;
    }
    printf("{\"flags\": %u, \"encode\": %.9g, \"decode\": %.9g, \"mse\": %.9g}\n", vq_cpu_flags(),
           encode, decode, error / (double)(n * d));
    write_all(argument[2], codes, n * parts);
    free(codes);
    free(decoded);
    vq_quantizer_free(q);
}

int main(int argc, char **argv)
{
    const int training = argc == 10 && !strcmp(argv[1], "train");
    if (!training && !(argc == 11 && !strcmp(argv[1], "code")))
        fail("use: bench_pq train|code ROWS N D M K ...");
    const size_t n = strtoull(argv[3], NULL, 10);
    const uint32_t d = (uint32_t)strtoul(argv[4], NULL, 10),
                   parts = (uint32_t)strtoul(argv[5], NULL, 10),
                   k = (uint32_t)strtoul(argv[6], NULL, 10);
    if (!n || !d || !k || !parts || parts > VQ_MAX_LEVELS || d % parts)
        fail("N, D, M and K are at least 1, and D is a multiple of M");
    float *x = read_floats(argv[2], n * d);
    (training ? train : code)(argv + 7, x, n, d, parts, k);
    free(x);
    return 0;
}
