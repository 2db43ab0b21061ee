/* SPDX-License-Identifier: Apache-2.0 */
/*
 * k-means on a .npy file; bench/kmeans.py runs it beside its peers. The codewords go to OUT as raw float32; times, errors
 * and the peak memory of the process to standard output as JSON.
 *
 *     bench_kmeans FILE OUT K [iterations=N] [seed=N] [seeds=FILE] [repair=N] [stream=1]
 *
 * seeds: k x d raw float32, instead of seeding. repair: rounds after the iterations. stream: the file is mapped and let go of chunk by chunk, also in the
 * system's cache, as if it were larger than memory; without it, the rows are read before the clock starts.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/npy_source.h"
#include "vq/kmeans.h"

enum { MOST_TIMES = 1024 };

/* What happens when, in seconds. */
typedef struct times {
    double start, seeded;
    double iteration[MOST_TIMES]; /* the end of each */
    double pass[MOST_TIMES];      /* the beginning of each pass over the source */
    size_t iterations, passes;
    double io; /* until rows were in memory */
} times;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int note_progress(void *context, const vq_kmeans_progress *progress)
{
    times *t = context;
    if (!progress->iteration && progress->seeds_done == progress->k)
        t->seeded = now() - t->start;
    if (progress->iteration && t->iterations < MOST_TIMES)
        t->iteration[t->iterations++] = now() - t->start;
    return 0;
}

/* A source beside a clock. */
typedef struct timed {
    vq_source rows;
    times *t;
    int fd;
    off_t offset; /* of the rows in the file */
    size_t row_bytes;
} timed;

static vq_status timed_read(void *context, const float **rows, float *buffer, size_t first,
                            size_t count)
{
    timed *s = context;
    const double start = now();
    if (!first && s->t->passes < MOST_TIMES)
        s->t->pass[s->t->passes++] = start - s->t->start;
    const vq_status status = s->rows.read(s->rows.context, rows, buffer, first, count);
    /* A mapped page is read when it is touched: now, so that the time is known. */
    volatile char sink;
    const char *bytes = (const char *)*rows;
    for (size_t at = 0; !status && at < count * s->row_bytes; at += 4096)
        sink = bytes[at];
    (void)sink;
    s->t->io += now() - start;
    return status;
}

static void timed_done(void *context, size_t first, size_t count)
{
    const timed *s = context;
    if (s->rows.done)
        s->rows.done(s->rows.context, first, count);
    posix_fadvise(s->fd, s->offset + (off_t)(first * s->row_bytes), (off_t)(count * s->row_bytes),
                  POSIX_FADV_DONTNEED);
}

static int fail(const char *what)
{
    fprintf(stderr, "bench_kmeans: %s\n", what);
    exit(1);
}

static void *read_file(const char *path, size_t size)
{
    void *data = malloc(size);
    FILE *in = fopen(path, "rb");
    if (!data || !in || fread(data, 1, size, in) != size)
        fail("cannot read the seeds");
    fclose(in);
    return data;
}

/* The mapped file, from a cold cache. */
static vq_source open_stream(timed *s, const char *path)
{
    struct stat info;
    vq_npy_source_opts opts = VQ_NPY_SOURCE_OPTS_INIT;
    opts.map = 1;
    if (vq_npy_source_open(&s->rows, path, &opts, NULL))
        fail(vq_last_error());
    s->fd = open(path, O_RDONLY);
    if (s->rows.memory || s->fd < 0 || fstat(s->fd, &info))
        fail("a file that cannot be streamed");
    fdatasync(s->fd);
    posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED);
    s->row_bytes = s->rows.d * sizeof(float);
    s->offset = info.st_size - (off_t)(s->rows.n * s->row_bytes);
    vq_source source = s->rows;
    source.read = timed_read;
    source.done = timed_done;
    source.close = NULL;
    source.context = s;
    return source;
}

static vq_source open_memory(const char *path)
{
    vq_source file = VQ_SOURCE_INIT;
    const float *rows;
    if (vq_npy_source_open(&file, path, NULL, NULL))
        fail(vq_last_error());
    float *x = malloc(file.n * file.d * sizeof *x);
    if (!x || file.memory || file.read(file.context, &rows, x, 0, file.n))
        fail("the rows cannot be read");
    const vq_source source = vq_source_from_memory(x, file.n, file.d);
    vq_source_close(&file);
    return source;
}

static void print_list(const char *name, const double *list, size_t count)
{
    printf("\"%s\": [", name);
    for (size_t i = 0; i < count; i++)
        printf("%s%.9g", i ? ", " : "", list[i]);
    printf("], ");
}

int main(int argc, char **argv)
{
    static times t;
    static timed s = {.t = &t};
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    const char *seeds = NULL;
    int stream = 0;
    if (argc < 4)
        fail("use: bench_kmeans FILE OUT K [NAME=VALUE...]");
    opts.k = (uint32_t)strtoul(argv[3], NULL, 10);
    opts.tolerance = -1;
    opts.progress = note_progress;
    opts.progress_context = &t;
    for (int i = 4; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        if (!value++)
            fail(argv[i]);
        if (strncmp(argv[i], "iterations=", 11) == 0)
            opts.max_iterations = (uint32_t)strtoul(value, NULL, 10);
        else if (strncmp(argv[i], "seed=", 5) == 0)
            opts.seed = strtoull(value, NULL, 10);
        else if (strncmp(argv[i], "seeds=", 6) == 0)
            seeds = value;
        else if (strncmp(argv[i], "repair=", 7) == 0)
            opts.repair_rounds = (uint32_t)strtoul(value, NULL, 10);
        else if (strncmp(argv[i], "stream=", 7) == 0)
            stream = atoi(value);
        else
            fail(argv[i]);
    }
    t.start = now();
    vq_source source = stream ? open_stream(&s, argv[1]) : open_memory(argv[1]);
    const size_t count = (size_t)opts.k * source.d;
    float *own_seeds = seeds ? read_file(seeds, count * sizeof *own_seeds) : NULL;
    opts.seeds = own_seeds;

    vq_codebook *codebook;
    vq_kmeans_report report;
    t.start = now();
    if (vq_kmeans_train_source(&codebook, &report, &source, &opts))
        fail(vq_last_error());
    const double seconds = now() - t.start;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"n\": %zu, \"d\": %u, \"seconds\": %.6f, \"seeded\": %.6f, ", source.n, source.d,
           seconds, t.seeded);
    print_list("ends", t.iteration, t.iterations);
    print_list("passes", t.pass, t.passes);
    print_list("mse", report.mse, report.iterations + 1);
    printf("\"io\": %.6f, \"used\": %u, \"revived\": %u, \"peak_rss\": %ld}\n", t.io, report.used,
           report.revived, usage.ru_maxrss * 1024L);

    FILE *out = fopen(argv[2], "wb");
    if (!out || fwrite(vq_codebook_codewords(codebook), sizeof(float), count, out) != count ||
        fclose(out))
        fail("cannot write the codewords");
    if (stream)
        vq_source_close(&s.rows);
    free((void *)source.memory);
    free(own_seeds);
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
    return 0;
}
