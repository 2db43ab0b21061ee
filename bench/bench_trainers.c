/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trainers beside Lloyd's iteration, on a file of raw float32 rows; bench/trainers.py runs it beside the peers.
 * Codewords go to OUT as raw float32, the time and what the trainer says to standard output as JSON.
 *
 *     bench_trainers lloyd|minibatch|online|balanced|exact FILE N D K SEED OUT
 *
 * online: 1000 updates of 4096 random rows. exact: D is 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vq/vq.h"

enum { BATCH = 4096, UPDATES = 1000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fail(const char *what)
{
    fprintf(stderr, "bench_trainers: %s\n", what);
    return 1;
}

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static vq_status train_online(vq_codebook **out, const float *x, size_t n, uint32_t d, uint32_t k,
                              uint64_t seed)
{
    const size_t batch = k > BATCH ? k : BATCH;
    float *rows = malloc(batch * d * sizeof *rows);
    vq_online *online = NULL;
    vq_status status = rows ? VQ_OK : VQ_E_NOMEM;
    for (int u = 0; u < UPDATES && !status; u++) {
        for (size_t i = 0; i < batch; i++)
            memcpy(rows + i * d, x + random_next(&seed) % n * d, d * sizeof *rows);
        if (!online)
            status = vq_online_create_from_batch(&online, rows, batch, d, NULL, k,
                                                 VQ_METRIC_EUCLIDEAN, NULL);
        if (!status)
            status = vq_online_update(online, NULL, NULL, rows, batch, NULL, 0);
    }
    if (!status)
        status = vq_online_snapshot(out, online, VQ_DTYPE_F32);
    vq_online_free(online);
    free(rows);
    return status;
}

static vq_status train(vq_codebook **out, double *said, const char *how, const float *x, size_t n,
                       uint32_t d, uint32_t k, uint64_t seed)
{
    if (!strcmp(how, "lloyd")) {
        vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
        opts.k = k;
        opts.seed = seed;
        opts.tolerance = -1;
        return vq_kmeans_train(out, NULL, x, n, d, &opts);
    }
    if (!strcmp(how, "minibatch")) {
        vq_minibatch_opts opts = VQ_MINIBATCH_OPTS_INIT;
        opts.k = k;
        opts.seed = seed;
        return vq_minibatch_train(out, NULL, x, n, d, NULL, &opts);
    }
    if (!strcmp(how, "online"))
        return train_online(out, x, n, d, k, seed);
    if (!strcmp(how, "exact"))
        return vq_kmeans_1d(out, said, x, n, NULL, k);
    vq_balanced_opts opts = VQ_BALANCED_OPTS_INIT;
    vq_balanced_report report;
    opts.k = k;
    const vq_status status = vq_kmeans_balanced(out, NULL, &report, x, n, d, &opts);
    *said = status ? 0 : report.mse;
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 8)
        return fail(
            "use: bench_trainers lloyd|minibatch|online|balanced|exact FILE N D K SEED OUT");
    const size_t n = strtoull(argv[3], NULL, 10);
    const uint32_t d = (uint32_t)strtoul(argv[4], NULL, 10),
                   k = (uint32_t)strtoul(argv[5], NULL, 10);
    float *x = malloc(n * d * sizeof *x);
    FILE *in = fopen(argv[2], "rb");
    if (!x || !in || fread(x, sizeof *x, n * d, in) != n * d)
        return fail("cannot read the rows");
    fclose(in);
    vq_codebook *codebook = NULL;
    double said = 0;
    const double start = now();
    if (train(&codebook, &said, argv[1], x, n, d, k, strtoull(argv[6], NULL, 10)))
        return fail(vq_last_error());
    printf("{\"seconds\": %.6f, \"mse\": %.9g}\n", now() - start, said);
    free(x);
    const size_t count = (size_t)k * d;
    FILE *out = fopen(argv[7], "wb");
    if (!out || fwrite(vq_codebook_codewords(codebook), sizeof *x, count, out) != count ||
        fclose(out))
        return fail("cannot write the codewords");
    vq_codebook_free(codebook);
    return 0;
}
