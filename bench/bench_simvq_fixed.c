/* SPDX-License-Identifier: Apache-2.0 */
/* SimVQ on features that do not change, by gradient steps and in closed form, with k-means beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_simvq.h"

enum { PATCH = 4, D = PATCH * PATCH * 3, MOST = 1 << 16 };

/* What a trainer said, and when. */
typedef struct trace {
    double start, seconds[MOST], mse[MOST];
    size_t count;
} trace;

static int note(trace *t, double mse)
{
    t->seconds[t->count] = now() - t->start;
    t->mse[t->count++] = mse;
    return t->count == MOST;
}

static int note_iteration(void *context, const vq_kmeans_progress *progress)
{
    return progress->mse >= 0 ? note(context, progress->mse) : 0;
}

static double mse_of(const vq_codebook *codebook, const float *x, size_t n, double *use)
{
    float *scores = room(n);
    uint32_t *codes = malloc(n * sizeof *codes);
    const uint32_t k = vq_codebook_k(codebook);
    char *used = calloc(k, 1);
    double sum = 0;
    check(vq_nearest(codes, scores, codebook, x, n, NULL));
    for (size_t i = 0; i < n; i++) {
        sum += (double)scores[i];
        used[codes[i]] = 1;
    }
    *use = 0;
    for (uint32_t c = 0; c < k; c++)
        *use += used[c] / (double)k;
    free(scores);
    free(codes);
    free(used);
    return sum / (double)n / D;
}

static void tell(const char *trainer, double rate, double mse, double use, double seconds)
{
    printf("{\"trainer\": \"%s\", \"rate\": %g, \"mse\": %.9g, \"use\": %.6f, \"seconds\": %.6f}\n",
           trainer, rate, mse, use, seconds);
}

/* Gradient steps on batches of rows drawn at random. Every LOOK steps, off the clock, the MSE of all rows is taken. */
static void descend(const vq_quantizer *start, double rate, const float *x, size_t n,
                    uint32_t steps, uint64_t seed)
{
    enum { BATCH = 4096, LOOK = 40 };
    vq_simvq_learn_opts opts = VQ_SIMVQ_LEARN_OPTS_INIT;
    vq_simvq_learner *learner;
    vqi_random random = vqi_random_from(seed);
    float *rows = room((size_t)BATCH * D);
    double use = 0, seconds = 0, mse = 0;
    opts.learning_rate = rate;
    check(vq_simvq_learner_create(&learner, start, &opts));
    for (uint32_t step = 1; step <= steps; step++) {
        const double before = now();
        for (size_t i = 0; i < BATCH; i++)
            memcpy(rows + i * D, x + vqi_random_next(&random) % n * D, D * sizeof *rows);
        check(vq_simvq_learner_update(learner, NULL, NULL, NULL, rows, BATCH, 0));
        seconds += now() - before;
        if (step % LOOK && step < steps)
            continue;
        mse = mse_of(vq_simvq_learner_codebook(learner), x, n, &use);
        tell("step", rate, mse, use, seconds);
    }
    tell("gradient", rate, mse, use, seconds);
    vq_simvq_learner_free(learner);
    free(rows);
}

int fixed(int argc, char **argv)
{
    (void)argc;
    static const struct {
        double rate;
        uint32_t longer;                                      /* times as many steps */
    } runs[] = {{1e-4, 20}, {3e-3, 1}, {1e-2, 1}, {3e-2, 1}}; /* the first is published */
    const pictures all = read_pictures(argv[2], strtoull(argv[3], NULL, 10));
    const size_t n = strtoull(argv[4], NULL, 10);
    const uint32_t k = (uint32_t)strtoul(argv[5], NULL, 10);
    const uint64_t seed = strtoull(argv[6], NULL, 10);
    float *x = room(n * D);
    vqi_random random = vqi_random_from(seed);
    draw_patches(x, &all, 0, all.count, PATCH, n, &random);

    const vq_simvq_form form = {sizeof form, k, D, 0, seed};
    trace *t = calloc(1, sizeof *t);
    vq_quantizer *start, *q;
    double use, mse;
    if (!t)
        return 1;
    check(vq_simvq_begin(&start, &form, 0));
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++)
        descend(start, runs[r].rate, x, n, runs[r].longer * (uint32_t)strtoul(argv[7], NULL, 10),
                seed);
    for (int moments = 0; moments < 2; moments++) {
        vq_simvq_train_opts opts = VQ_SIMVQ_TRAIN_OPTS_INIT;
        opts.k = k;
        opts.seed = seed;
        opts.start = moments ? VQ_SIMVQ_START_MOMENTS : VQ_SIMVQ_START_UNIFORM;
        opts.max_iterations = 100;
        opts.progress = note_iteration;
        opts.progress_context = t;
        t->count = 0;
        t->start = now();
        check(vq_simvq_train(&q, NULL, x, n, D, &opts));
        for (size_t i = 0; i < t->count; i++)
            tell(moments ? "iteration from moments" : "iteration", 0, t->mse[i], 0, t->seconds[i]);
        mse = mse_of(vq_quantizer_codebook(q, 0), x, n, &use);
        tell(moments ? "closed form from moments" : "closed form", 0, mse, use,
             t->seconds[t->count - 1]);
        if (moments)
            for (double shrinkage = 100; shrinkage > 0.05; shrinkage /= 10) {
                vq_kmeans_stats *stats;
                vq_codebook *shrunk;
                const vq_source rows = vq_source_from_memory(x, n, D);
                const vq_codebook *codebook = vq_quantizer_codebook(q, 0);
                check(vq_kmeans_stats_create(&stats, codebook, NULL));
                check(vq_kmeans_stats_accumulate(stats, codebook, &rows, 0, NULL, 0));
                check(vq_simvq_shrink(&shrunk, q, stats, shrinkage));
                mse = mse_of(shrunk, x, n, &use);
                tell("shrinkage, one step", shrinkage, mse, use, 0);
                vq_codebook_free(shrunk);
                vq_kmeans_stats_free(stats);
            }
        vq_quantizer_free(q);
    }
    vq_kmeans_opts kmeans = VQ_KMEANS_OPTS_INIT;
    vq_codebook *codebook;
    kmeans.k = k;
    kmeans.seed = seed;
    t->start = now();
    check(vq_kmeans_train(&codebook, NULL, x, n, D, &kmeans));
    const double seconds = now() - t->start;
    mse = mse_of(codebook, x, n, &use);
    tell("k-means", 0, mse, use, seconds);
    vq_codebook_free(codebook);
    vq_quantizer_free(start);
    free(all.pixels);
    free(x);
    free(t);
    return 0;
}
