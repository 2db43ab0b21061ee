/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do the kernels of all CPU masks give the contract's codes and scores, bit for bit? The reference is the exhaustive
 * search with the contract kernel; on every 16th block of rows the portable kernels take part as well, and the
 * portable exhaustive search is the reference. JSON goes to standard output, for each kind of data:
 * {"queries", "mismatches"}, where a mismatch is a row that one kernel gave another code or score.
 *
 *     bench_exactness gaussian COUNT     shapes from (K, d) = (2, 1) to (2^20, 8) and (100, 4096)
 *     bench_exactness hard COUNT         data made to be hard: offsets, ties, denormals and so on
 *     bench_exactness bytes K D          rows of D bytes from standard input, over 255, and their residuals
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vq/codebook.h"
#include "vq/cpu.h"
#include "vq/random_internal.h"

enum { BLOCK = 16384, PORTABLE_EVERY = 16 };

static const char *const words[] = {"all", "vnni", "avx512", "avx2", "none"};
enum { WORDS = sizeof words / sizeof *words };

typedef struct tally {
    size_t queries, mismatches, blocks;
} tally;

static void fail(const char *what)
{
    fprintf(stderr, "bench_exactness: %s\n", what);
    exit(1);
}

static void check(vq_status status)
{
    if (status)
        fail(vq_last_error());
}

static void *allocate(size_t size)
{
    void *p = malloc(size);
    if (!p)
        fail("no memory");
    return p;
}

/* The codes and scores that a search under a mask gives; found = n codes, then n scores. */
static void search(uint32_t *found, const char *word, int exhaustive, const vq_codebook *codebook,
                   const float *x, size_t n)
{
    uint32_t mask;
    check(vq_cpu_parse_mask(&mask, word));
    vq_cpu_set_mask(mask);
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    opts.exhaustive = exhaustive;
    check(vq_nearest(found, (float *)(void *)(found + n), codebook, x, n, &opts));
    vq_cpu_set_mask(UINT32_MAX);
}

static size_t differing_rows(const uint32_t *a, const uint32_t *b, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) /* scores are compared as bits */
        count += a[i] != b[i] || a[n + i] != b[n + i];
    return count;
}

/* Compare all kernels on up to BLOCK rows. The contract's codes stay in `codes` unless that is NULL. */
static void compare(tally *t, uint32_t *codes, const vq_codebook *codebook, const float *x,
                    size_t n)
{
    uint32_t *expected = allocate(2 * n * sizeof *expected);
    uint32_t *found = allocate(2 * n * sizeof *found);
    const int portable = t->blocks++ % PORTABLE_EVERY == 0;
    search(expected, portable ? "none" : "all", 1, codebook, x, n);
    if (portable) {
        search(found, "all", 1, codebook, x, n);
        t->mismatches += differing_rows(expected, found, n);
    }
    uint32_t seen[WORDS];
    for (int w = 0; w < WORDS; w++) {
        uint32_t mask;
        check(vq_cpu_parse_mask(&mask, words[w]));
        vq_cpu_set_mask(mask);
        seen[w] = vq_cpu_flags();
        int again = !seen[w] && !portable;
        for (int i = 0; i < w; i++)
            again |= seen[i] == seen[w];
        if (again)
            continue;
        search(found, words[w], 0, codebook, x, n);
        t->mismatches += differing_rows(expected, found, n);
    }
    t->queries += n;
    if (codes)
        memcpy(codes, expected, n * sizeof *codes);
    free(expected);
    free(found);
}

/* Box and Muller, in float32. Each row has its own seed: threads may fill them in any order. */
static void fill_gaussian(float *x, size_t n, size_t d, uint64_t seed)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n; r++) {
        vqi_random random = vqi_random_from(seed ^ (r + 1) * 0x9e3779b97f4a7c15u);
        for (size_t i = 0; i < d; i += 2) {
            const float u = (float)(1 - vqi_random_uniform(&random));
            const float angle = 6.2831853f * (float)vqi_random_uniform(&random);
            const float radius = sqrtf(-2 * logf(u));
            x[r * d + i] = radius * cosf(angle);
            if (i + 1 < d)
                x[r * d + i + 1] = radius * sinf(angle);
        }
    }
}

static vq_codebook *make(const float *codewords, uint32_t k, uint32_t d, vq_metric metric)
{
    vq_codebook *codebook;
    check(vq_codebook_create(&codebook, codewords, k, d, metric, VQ_DTYPE_F32));
    return codebook;
}

static tally gaussian(size_t count)
{
    static const struct {
        uint32_t k, d;
        double share;
    } shapes[] = {{1024, 64, 0.25}, {64, 3, 0.2},        {256, 8, 0.2},        {1000, 17, 0.207},
                  {8192, 8, 0.1},   {512, 128, 0.03},    {257, 300, 0.01},     {65536, 32, 0.003},
                  {2, 1, 0.01},     {100, 4096, 0.0005}, {1 << 20, 8, 0.00002}};
    tally t = {0};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const uint32_t k = shapes[s].k, d = shapes[s].d;
        const size_t n = (size_t)((double)count * shapes[s].share + 0.5);
        float *codewords = allocate((size_t)k * d * sizeof *codewords);
        float *x = allocate((size_t)BLOCK * d * sizeof *x);
        fill_gaussian(codewords, k, d, s);
        vq_codebook *codebook = make(codewords, k, d, VQ_METRIC_EUCLIDEAN);
        for (size_t i = 0; i < n; i += BLOCK) {
            const size_t rows = n - i < BLOCK ? n - i : BLOCK;
            fill_gaussian(x, rows, d, (s + 1) << 32 | i);
            compare(&t, NULL, codebook, x, rows);
        }
        vq_codebook_free(codebook);
        free(codewords);
        free(x);
    }
    return t;
}

/* What makes a set hard, applied to `count` Gaussian values. */
typedef void harden(float *x, size_t count, vqi_random *random);

static void offset(float *x, size_t count, vqi_random *random)
{
    (void)random;
    for (size_t i = 0; i < count; i++)
        x[i] += 1e4f;
}

/* A handful of values: many scores are equal. */
static void ties(float *x, size_t count, vqi_random *random)
{
    (void)random;
    for (size_t i = 0; i < count; i++)
        x[i] = rintf(x[i]);
}

/* Everything within a few units in the last place of one. */
static void near_duplicates(float *x, size_t count, vqi_random *random)
{
    for (size_t i = 0; i < count; i++)
        x[i] = 1 + (float)(vqi_random_next(random) % 8) * 0x1p-23f;
}

static void denormals(float *x, size_t count, vqi_random *random)
{
    (void)random;
    for (size_t i = 0; i < count; i++)
        x[i] *= 1e-40f;
}

/* Squares of which some are denormal, some zero. */
static void small(float *x, size_t count, vqi_random *random)
{
    (void)random;
    for (size_t i = 0; i < count; i++)
        x[i] *= 1e-20f;
}

static void dynamic_range(float *x, size_t count, vqi_random *random)
{
    for (size_t i = 0; i < count; i++)
        x[i] = ldexpf(x[i], (int)(vqi_random_next(random) % 120) - 60);
}

/* Most scores overflow. */
static void overflow(float *x, size_t count, vqi_random *random)
{
    for (size_t i = 0; i < count; i++)
        x[i] *= vqi_random_next(random) % 4 ? 1e18f : 1e19f;
}

/* Codewords and queries between two of them, all multiples of a step: exact ties of two. */
static void midpoints(float *x, size_t count, vqi_random *random)
{
    (void)random;
    for (size_t i = 0; i < count; i++)
        x[i] = rintf(x[i] * 64) / 64;
}

static tally hard(harden *how, size_t count, uint64_t seed)
{
    static const struct {
        uint32_t k, d;
    } shapes[] = {{256, 16}, {1024, 64}, {100, 7}, {2048, 33}, {300, 192}};
    static const vq_metric metrics[] = {VQ_METRIC_EUCLIDEAN, VQ_METRIC_DOT, VQ_METRIC_COSINE};
    enum { SHAPES = sizeof shapes / sizeof *shapes, METRICS = sizeof metrics / sizeof *metrics };
    const size_t each = count / (SHAPES * METRICS) + 1;
    tally t = {0};
    for (size_t s = 0; s < SHAPES; s++) {
        const uint32_t k = shapes[s].k, d = shapes[s].d;
        vqi_random random = vqi_random_from(seed);
        float *codewords = allocate((size_t)k * d * sizeof *codewords);
        float *x = allocate((size_t)BLOCK * d * sizeof *x);
        fill_gaussian(codewords, k, d, seed);
        how(codewords, (size_t)k * d, &random);
        /* Two codewords are equal; none may be zero, for the cosine's sake. */
        memcpy(codewords + (size_t)(k - 1) * d, codewords + (size_t)(k / 2) * d, d * sizeof *x);
        for (size_t c = 0; c < k; c++)
            if (codewords[c * d] == 0)
                codewords[c * d] = 1;
        for (size_t m = 0; m < METRICS; m++) {
            vq_codebook *codebook = make(codewords, k, d, metrics[m]);
            const float *c = vq_codebook_codewords(codebook);
            for (size_t i = 0; i < each; i += BLOCK) {
                const size_t rows = each - i < BLOCK ? each - i : BLOCK;
                fill_gaussian(x, rows, d, seed + (i + m + 1) * 77);
                how(x, rows * d, &random);
                if (how == midpoints)
                    for (size_t r = 0; r < rows; r++) {
                        const size_t a = vqi_random_next(&random) % k;
                        const size_t b = vqi_random_next(&random) % k;
                        for (size_t j = 0; j < d; j++)
                            x[r * d + j] = (c[a * d + j] + c[b * d + j]) / 2;
                    }
                compare(&t, NULL, codebook, x, rows);
            }
            vq_codebook_free(codebook);
        }
        free(codewords);
        free(x);
    }
    return t;
}

/* Up to BLOCK rows from standard input as floats in [0, 1]. */
static size_t read_rows(float *x, uint8_t *bytes, size_t d)
{
    const size_t n = fread(bytes, d, BLOCK, stdin);
    for (size_t i = 0; i < n * d; i++)
        x[i] = (float)bytes[i] / 255;
    return n;
}

/* The first K rows of a block, spread evenly. */
static vq_codebook *from_rows(const float *x, size_t n, uint32_t k, uint32_t d)
{
    if (n < k)
        fail("fewer rows than codewords");
    float *codewords = allocate((size_t)k * d * sizeof *codewords);
    for (size_t c = 0; c < k; c++)
        memcpy(codewords + c * d, x + c * n / k * d, d * sizeof *x);
    vq_codebook *codebook = make(codewords, k, d, VQ_METRIC_EUCLIDEAN);
    free(codewords);
    return codebook;
}

/* Rows, then what is left of them: two levels of a residual quantizer whose codewords are rows of the first block. */
static tally bytes_and_residuals(uint32_t k, uint32_t d)
{
    tally t = {0};
    uint8_t *bytes = allocate((size_t)BLOCK * d);
    float *x = allocate((size_t)BLOCK * d * sizeof *x);
    uint32_t *codes = allocate(BLOCK * sizeof *codes);
    vq_codebook *first = NULL, *second = NULL;
    size_t n;
    while ((n = read_rows(x, bytes, d)) > 0) {
        if (!first)
            first = from_rows(x, n, k, d);
        compare(&t, codes, first, x, n);
        const float *codewords = vq_codebook_codewords(first);
        for (size_t r = 0; r < n; r++)
            for (size_t i = 0; i < d; i++)
                x[r * d + i] -= codewords[codes[r] * d + i];
        if (!second)
            second = from_rows(x, n, k, d);
        compare(&t, NULL, second, x, n);
    }
    vq_codebook_free(first);
    vq_codebook_free(second);
    free(codes);
    free(x);
    free(bytes);
    return t;
}

static void print(const char *name, tally t, const char *end)
{
    printf("\"%s\": {\"queries\": %zu, \"mismatches\": %zu}%s", name, t.queries, t.mismatches, end);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        harden *how;
    } kinds[] = {{"offset 1e4", offset},
                 {"near duplicates", near_duplicates},
                 {"ties", ties},
                 {"midpoints", midpoints},
                 {"denormals", denormals},
                 {"tiny", small},
                 {"dynamic range", dynamic_range},
                 {"overflow", overflow}};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    printf("{");
    if (argc == 3 && !strcmp(argv[1], "gaussian")) {
        print("Gaussian", gaussian(strtoull(argv[2], NULL, 10)), "}\n");
    } else if (argc == 3 && !strcmp(argv[1], "hard")) {
        const size_t count = strtoull(argv[2], NULL, 10) / KINDS;
        for (size_t i = 0; i < KINDS; i++)
            print(kinds[i].name, hard(kinds[i].how, count, i + 1), i + 1 < KINDS ? ", " : "}\n");
    } else if (argc == 4 && !strcmp(argv[1], "bytes")) {
        const uint32_t k = (uint32_t)strtoul(argv[2], NULL, 10);
        const uint32_t d = (uint32_t)strtoul(argv[3], NULL, 10);
        print("features", bytes_and_residuals(k, d), "}\n");
    } else {
        fail("use: bench_exactness gaussian COUNT | hard COUNT | bytes K D");
    }
    return 0;
}
