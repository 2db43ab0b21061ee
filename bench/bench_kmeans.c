/* SPDX-License-Identifier: Apache-2.0 */
/*
 * k-means on a file of raw float32 rows; bench/kmeans.py runs it beside scikit-learn. The codewords go to OUT as
 * raw float32, the times and the MSE to standard output as JSON.
 *
 *     bench_kmeans FILE N D K ITERATIONS SEED OUT [REPAIR [SEEDING_ROWS]]
 *
 * REPAIR: rounds of repair after the iterations. SEEDING_ROWS: rows that seeds are chosen from, 0 = the default.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vq/kmeans.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The clock when the last seed was found. */
static int note_seeded(void *context, const vq_kmeans_progress *progress)
{
    if (!progress->iteration && progress->seeds_done == progress->k)
        *(double *)context = now();
    return 0;
}

static int fail(const char *what)
{
    fprintf(stderr, "bench_kmeans: %s\n", what);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 8 || argc > 10)
        return fail("use: bench_kmeans FILE N D K ITERATIONS SEED OUT [REPAIR [SEEDING_ROWS]]");
    const size_t n = strtoull(argv[2], NULL, 10);
    const uint32_t d = (uint32_t)strtoul(argv[3], NULL, 10);
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    double seeded = 0;
    opts.k = (uint32_t)strtoul(argv[4], NULL, 10);
    opts.max_iterations = (uint32_t)strtoul(argv[5], NULL, 10);
    opts.seed = strtoull(argv[6], NULL, 10);
    opts.repair_rounds = argc > 8 ? (uint32_t)strtoul(argv[8], NULL, 10) : 0;
    opts.seeding_rows = argc > 9 ? strtoull(argv[9], NULL, 10) : 0;
    opts.tolerance = -1;
    opts.progress = note_seeded;
    opts.progress_context = &seeded;

    float *x = malloc(n * d * sizeof *x);
    FILE *in = fopen(argv[1], "rb");
    if (!x || !in || fread(x, sizeof *x, n * d, in) != n * d)
        return fail("cannot read the rows");
    fclose(in);

    vq_codebook *codebook;
    vq_kmeans_report report;
    const double start = now();
    if (vq_kmeans_train(&codebook, &report, x, n, d, &opts))
        return fail(vq_last_error());
    const double end = now();
    printf("{\"mse\": %.9g, \"iterations\": %u, \"used\": %u, \"seeding_s\": %.6f, "
           "\"iterations_s\": %.6f, \"moved\": %u, \"history\": [",
           report.mse[report.iterations], report.iterations, report.used, seeded - start,
           end - seeded, report.revived);
    for (uint32_t i = 0; i <= report.iterations; i++)
        printf("%s%.9g", i ? ", " : "", report.mse[i]);
    printf("]}\n");
    free(x);

    const size_t count = (size_t)opts.k * d;
    FILE *out = fopen(argv[7], "wb");
    if (!out || fwrite(vq_codebook_codewords(codebook), sizeof *x, count, out) != count ||
        fclose(out))
        return fail("cannot write the codewords");
    vq_kmeans_report_clear(&report);
    vq_codebook_free(codebook);
    return 0;
}
