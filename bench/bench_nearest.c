/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search of the nearest codewords of raw float32 rows under several CPU masks, which take turns; bench/search.py
 * runs it beside other libraries. The codes of the first mask go to CODES as uint32, the rest to standard output as
 * JSON: how many rows were searched (of N, as many as take about SECONDS), and for each mask the flags that it left,
 * the least time of REPEATS passes, and on how many rows its codes differ from those of the first.
 *
 *     bench_nearest ROWS N D CODEWORDS K MASK,... BATCH SECONDS REPEATS CODES
 *
 * A call searches BATCH rows (0 = all). A mask that leaves the flags of an earlier one takes over its figures.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vq/codebook.h"
#include "vq/cpu.h"

enum { MOST_MASKS = 8 };

typedef struct mask_run {
    const char *word;
    uint32_t mask, flags;
    int same; /* the first run with these flags, perhaps this one */
    double seconds;
    uint32_t *codes;
} mask_run;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_nearest: %s\n", what);
    exit(1);
}

static void check(vq_status status)
{
    if (status)
        fail(vq_last_error());
}

static float *read_floats(const char *path, size_t count)
{
    float *x = malloc(count * sizeof *x);
    FILE *in = fopen(path, "rb");
    if (!x || !in || fread(x, sizeof *x, count, in) != count)
        fail("cannot read the rows or the codewords");
    fclose(in);
    return x;
}

static int parse_masks(mask_run *runs, char *words)
{
    int count = 0;
    for (char *word = strtok(words, ","); word; word = strtok(NULL, ",")) {
        mask_run *run = &runs[count];
        if (count == MOST_MASKS)
            fail("too many masks");
        run->word = word;
        check(vq_cpu_parse_mask(&run->mask, word));
        vq_cpu_set_mask(run->mask);
        run->flags = vq_cpu_flags();
        while (runs[run->same].flags != run->flags)
            run->same++;
        count++;
    }
    if (!count)
        fail("no mask");
    return count;
}

/* Room for every mask, so that no call allocates. */
static void prepare_workspace(vq_search_opts *opts, const mask_run *runs, int count,
                              const vq_codebook *codebook, size_t batch)
{
    for (int i = 0; i < count; i++) {
        vq_cpu_set_mask(runs[i].mask);
        const size_t size = vq_nearest_workspace(codebook, batch, 0);
        opts->workspace_size = size > opts->workspace_size ? size : opts->workspace_size;
    }
    opts->workspace = aligned_alloc(64, (opts->workspace_size + 63) / 64 * 64);
    if (!opts->workspace)
        fail("no memory");
}

/* Seconds of one pass over n rows. */
static double pass(mask_run *run, const vq_codebook *codebook, const float *x, size_t n,
                   size_t batch, const vq_search_opts *opts)
{
    const size_t d = vq_codebook_dim(codebook);
    vq_cpu_set_mask(run->mask);
    const double start = now();
    for (size_t i = 0; i < n; i += batch)
        check(vq_nearest(run->codes + i, NULL, codebook, x + i * d, n - i < batch ? n - i : batch,
                         opts));
    return now() - start;
}

int main(int argc, char **argv)
{
    if (argc != 11)
        fail("use: bench_nearest ROWS N D CODEWORDS K MASK,... BATCH SECONDS REPEATS CODES");
    size_t n = strtoull(argv[2], NULL, 10);
    const uint32_t d = (uint32_t)strtoul(argv[3], NULL, 10);
    const uint32_t k = (uint32_t)strtoul(argv[5], NULL, 10);
    size_t batch = strtoull(argv[7], NULL, 10);
    const double target = strtod(argv[8], NULL);
    const int repeats = atoi(argv[9]);
    if (!n || !d || !k || repeats < 1)
        fail("N, D, K and REPEATS are at least 1");
    batch = batch && batch < n ? batch : n;

    mask_run runs[MOST_MASKS] = {{0}};
    const int count = parse_masks(runs, argv[6]);
    float *x = read_floats(argv[1], n * d), *codewords = read_floats(argv[4], (size_t)k * d);
    vq_codebook *codebook;
    check(vq_codebook_create(&codebook, codewords, k, d, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    free(codewords);
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    prepare_workspace(&opts, runs, count, codebook, batch);
    for (int i = 0; i < count; i++) {
        runs[i].codes = malloc(n * sizeof *runs[i].codes);
        if (!runs[i].codes)
            fail("no memory");
    }

    /* A first look, the second time with warm caches, says how many rows take as long as asked. */
    const size_t few = n < 4096 ? n : 4096;
    pass(&runs[0], codebook, x, few, batch < few ? batch : few, &opts);
    const double looked = pass(&runs[0], codebook, x, few, batch < few ? batch : few, &opts);
    const double fit = (double)few * target / looked;
    n = fit < (double)few ? few : fit < (double)n ? (size_t)fit : n;
    batch = batch < n ? batch : n;

    for (int r = 0; r < repeats; r++)
        for (int i = 0; i < count; i++) {
            if (runs[i].same != i)
                continue;
            const double seconds = pass(&runs[i], codebook, x, n, batch, &opts);
            if (!r || seconds < runs[i].seconds)
                runs[i].seconds = seconds;
        }

    printf("{\"n\": %zu, \"masks\": [", n);
    for (int i = 0; i < count; i++) {
        const mask_run *run = &runs[runs[i].same];
        size_t differ = 0;
        for (size_t j = 0; j < n; j++)
            differ += run->codes[j] != runs[0].codes[j];
        printf("%s{\"mask\": \"%s\", \"flags\": %u, \"seconds\": %.9g, \"differ\": %zu}",
               i ? ", " : "", runs[i].word, run->flags, run->seconds, differ);
    }
    printf("]}\n");
    FILE *out = fopen(argv[10], "wb");
    if (!out || fwrite(runs[0].codes, sizeof *runs[0].codes, n, out) != n || fclose(out))
        fail("cannot write the codes");
    for (int i = 0; i < count; i++)
        free(runs[i].codes);
    free(opts.workspace);
    free(x);
    vq_codebook_free(codebook);
    return 0;
}
