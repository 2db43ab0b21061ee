/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The joint test bed: a linear encoder and decoder trained together with a codebook on patches of 4 x 4 pixels, in colour,
 * by straight-through gradients: mean squared error + codebook term + 1/4 commitment. 195 patches for each code, of
 * pictures that were not trained on, measure; how many codes are in use is told of the first 64 and of all.
 *
 * Their learning rate is high enough that they arrive: without a quantizer they then leave what 8 principal components
 * leave, whatever the codebook, and what is more is the codebook's.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_simvq.h"
#include "bench_simvq_net.h"

enum {
    PATCH = 4,
    WIDTH = PATCH * PATCH * 3,
    D = 8,
    FEW_TOKENS = 64,
    TOKENS = 195,
    PIECE = 4096,
    FIRST = 16
};
enum { WARM_UP = 100 }; /* steps */
static const double highest_rate = 1e-2;

/* The best of 0.001, 0.003 and 0.01 for each codebook that learns by gradients, by the reconstruction error. */
static const double simvq_rate = 1e-3, other_rate = 1e-2;

/* One of two kinds of learner. */
typedef struct codes {
    vq_simvq_learner *simvq;
    vq_online *online;
} codes;

typedef struct bed {
    pictures all;
    size_t training, batch;
    uint32_t k;
    uint64_t seed, steps;
    net encoder, decoder;
    vqi_random random;
    codes codes;
} bed;

static const vq_codebook *codebook_of(const codes *c)
{
    return c->simvq ? vq_simvq_learner_codebook(c->simvq) : vq_online_codebook(c->online);
}

/* A few latents for each code, of the encoder before it has learned. */
static float *first_latents(bed *b, size_t n)
{
    float *latents = room(n * D), *rows = room(PIECE * WIDTH);
    for (size_t i = 0; i < n; i += PIECE) {
        const size_t count = n - i < PIECE ? n - i : PIECE;
        draw_patches(rows, &b->all, 0, b->training, PATCH, count, &b->random);
        memcpy(latents + i * D, net_forward(&b->encoder, rows, count), count * D * sizeof *latents);
    }
    free(rows);
    return latents;
}

/* The plain gradient codebook: uniform in +-1/K, as van den Oord's code and its heirs begin, or N(0, 1/d). */
static void begin_plain(bed *b, int uniform)
{
    vq_simvq_learn_opts opts = VQ_SIMVQ_LEARN_OPTS_INIT;
    const vq_simvq_form form = {sizeof form, b->k, D, 0, b->seed};
    float *basis = room((size_t)b->k * D);
    vqi_random random = vqi_random_from(b->seed);
    vq_simvq_basis(basis, b->seed, D, 0, b->k);
    for (size_t i = 0; uniform && i < (size_t)b->k * D; i++)
        basis[i] = (float)((2 * vqi_random_uniform(&random) - 1) / b->k);
    opts.learned = VQ_SIMVQ_LEARN_BASIS;
    opts.learning_rate = other_rate;
    check(vq_simvq_learner_create_from_basis(&b->codes.simvq, &form, basis, NULL, NULL, &opts));
    free(basis);
}

static void begin_online(bed *b, double decay)
{
    const size_t n = (size_t)b->k * FIRST;
    float *latents = first_latents(b, n);
    vq_online_opts opts = VQ_ONLINE_OPTS_INIT;
    opts.seed = b->seed;
    opts.decay = decay;
    check(vq_online_create_from_batch(&b->codes.online, latents, n, D, NULL, b->k,
                                      VQ_METRIC_EUCLIDEAN, &opts));
    free(latents);
}

/* As published, or with what else learns. */
static void begin_simvq(bed *b, const vq_simvq_learn_opts *opts)
{
    const vq_simvq_form form = {sizeof form, b->k, D, 0, b->seed};
    vq_quantizer *start;
    check(vq_simvq_begin(&start, &form, 0));
    check(vq_simvq_learner_create(&b->codes.simvq, start, opts));
    vq_quantizer_free(start);
}

/* Moving averages of basis and map both, from k-means of the first latents. */
static void begin_together(bed *b, const vq_simvq_learn_opts *opts)
{
    const size_t n = (size_t)b->k * FIRST;
    const vq_simvq_form form = {sizeof form, b->k, D, 0, b->seed};
    float *latents = first_latents(b, n);
    vq_kmeans_opts kmeans = VQ_KMEANS_OPTS_INIT;
    vq_codebook *codebook;
    kmeans.k = b->k;
    kmeans.seed = b->seed;
    kmeans.max_iterations = 10; /* as vq_online_create_from_batch() */
    check(vq_kmeans_train(&codebook, NULL, latents, n, D, &kmeans));
    check(vq_simvq_learner_create_from_basis(&b->codes.simvq, &form,
                                             vq_codebook_codewords(codebook), NULL, NULL, opts));
    vq_codebook_free(codebook);
    free(latents);
}

static int begin(bed *b, const char *codebook)
{
    vq_simvq_learn_opts opts = VQ_SIMVQ_LEARN_OPTS_INIT;
    opts.learning_rate = simvq_rate;
    if (!strcmp(codebook, "plain") || !strcmp(codebook, "normal")) {
        begin_plain(b, !strcmp(codebook, "plain"));
    } else if (!strcmp(codebook, "online")) {
        begin_online(b, 0.99);
    } else if (!strcmp(codebook, "online-0.98")) {
        begin_online(b, 0.98);
    } else if (!strcmp(codebook, "simvq")) {
        begin_simvq(b, &opts);
    } else if (!strcmp(codebook, "both")) {
        opts.learned = VQ_SIMVQ_LEARN_BOTH;
        opts.learning_rate = other_rate;
        begin_simvq(b, &opts);
    } else if (!strcmp(codebook, "shrinkage")) {
        opts.method = VQ_SIMVQ_AVERAGES;
        opts.shrinkage = 0.1;
        begin_simvq(b, &opts);
    } else if (!strcmp(codebook, "together")) {
        opts.method = VQ_SIMVQ_AVERAGES;
        opts.learned = VQ_SIMVQ_LEARN_BOTH;
        opts.shrinkage = 0.001;
        opts.decay = 0.999;
        begin_together(b, &opts);
    } else {
        return 0;
    }
    return 1;
}

/* The codes and codewords of z, and then the codebook learns. */
static void look_up(bed *b, uint32_t *own, float *q, const float *z)
{
    if (b->codes.simvq) {
        check(vq_simvq_learner_update(b->codes.simvq, own, q, NULL, z, b->batch, 1));
        return;
    }
    const size_t count = (size_t)b->k * D;
    float *before = room(count);
    memcpy(before, vq_codebook_codewords(codebook_of(&b->codes)), count * sizeof *before);
    check(vq_online_update(b->codes.online, own, NULL, z, b->batch, NULL, 1));
    vq_lookup_forward(q, before, own, b->batch, D);
    free(before);
}

/* A warm-up, and then half a cosine down to 0. */
static double rate_at(const bed *b, uint64_t step)
{
    const double done = ((double)step - WARM_UP) / ((double)b->steps - WARM_UP);
    return highest_rate * (step < WARM_UP ? (double)step / WARM_UP : (1 + cos(M_PI * done)) / 2);
}

static void train(bed *b)
{
    const vq_loss_weights weights = VQ_LOSS_WEIGHTS_PUBLISHED;
    const size_t batch = b->batch;
    float *rows = room(batch * WIDTH), *q = room(batch * D), *dz = b->encoder.dy;
    uint32_t *own = malloc(batch * sizeof *own);
    for (uint64_t step = 1; step <= b->steps; step++) {
        draw_patches(rows, &b->all, 0, b->training, PATCH, batch, &b->random);
        const float *z = net_forward(&b->encoder, rows, batch);
        look_up(b, own, q, z);
        const float *y = net_forward(&b->decoder, q, batch);
        for (size_t i = 0; i < batch * WIDTH; i++)
            b->decoder.dy[i] = 2 * (y[i] - rows[i]) / (float)(batch * WIDTH);
        const float *dq = net_backward(&b->decoder, batch);
        memset(dz, 0, batch * D * sizeof *dz);
        vq_estimate_backward(dz, dq, z, q, batch, D, VQ_ESTIMATOR_STRAIGHT_THROUGH);
        vq_loss_backward(dz, NULL, z, q, batch, D, &weights, 1);
        net_backward(&b->encoder, batch);
        net_step(&b->encoder, rate_at(b, step), step);
        net_step(&b->decoder, rate_at(b, step), step);
    }
    free(rows);
    free(q);
    free(own);
}

typedef struct measures {
    double few_use, use, perplexity, code_error, error;
    double unquantized; /* error of the decoder on what the encoder says */
} measures;

static double squares(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const double t = (double)a[i] - (b ? (double)b[i] : 0);
        sum += t * t;
    }
    return sum;
}

static double use_of(const double *counts, uint32_t k)
{
    size_t used = 0;
    for (size_t c = 0; c < k; c++)
        used += counts[c] > 0;
    return (double)used / k;
}

/* Errors are shares of the variance of what is quantized or reconstructed. */
static measures evaluate(bed *b)
{
    const vq_codebook *codebook = codebook_of(&b->codes);
    const size_t total = (size_t)TOKENS * b->k, few = (size_t)FEW_TOKENS * b->k;
    measures m = {0};
    vqi_random random = vqi_random_from(12345); /* the same patches for all */
    float *rows = room(PIECE * WIDTH), *q = room(PIECE * D);
    uint32_t *own = malloc(PIECE * sizeof *own);
    double *counts = calloc(b->k, sizeof *counts), sum[D] = {0};
    double latent = 0, spread = 0, error = 0, unquantized = 0, energy = 0, bits = 0;
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = 1;
    for (size_t i = 0; i < total; i += PIECE) {
        const size_t count = total - i < PIECE ? total - i : PIECE;
        draw_patches(rows, &b->all, b->training, b->all.count, PATCH, count, &random);
        const float *z = net_forward(&b->encoder, rows, count);
        check(vq_nearest(own, NULL, codebook, z, count, &search));
        vq_lookup_forward(q, vq_codebook_codewords(codebook), own, count, D);
        for (size_t r = 0; r < count; r++)
            counts[own[r]]++;
        if (i < few && i + PIECE >= few) /* by whole pieces */
            m.few_use = use_of(counts, b->k);
        for (size_t j = 0; j < count * D; j++)
            sum[j % D] += (double)z[j];
        latent += squares(z, q, count * D);
        spread += squares(z, NULL, count * D);
        unquantized += squares(net_forward(&b->decoder, z, count), rows, count * WIDTH);
        error += squares(net_forward(&b->decoder, q, count), rows, count * WIDTH);
        energy += squares(rows, NULL, count * WIDTH); /* rows have mean 0 */
    }
    m.use = use_of(counts, b->k);
    for (size_t c = 0; c < b->k; c++) {
        const double share = counts[c] / (double)total;
        bits -= share > 0 ? share * log2(share) : 0;
    }
    for (size_t j = 0; j < D; j++)
        spread -= sum[j] * sum[j] / (double)total;
    m.perplexity = exp2(bits);
    m.code_error = latent / spread;
    m.error = error / energy;
    m.unquantized = unquantized / energy;
    free(rows);
    free(q);
    free(own);
    free(counts);
    return m;
}

int joint(int argc, char **argv)
{
    (void)argc;
    static const size_t in[2] = {WIDTH, D}, out[2] = {D, WIDTH};
    bed b = {.all = read_pictures(argv[2], strtoull(argv[3], NULL, 10)),
             .training = strtoull(argv[4], NULL, 10),
             .k = (uint32_t)strtoul(argv[6], NULL, 10),
             .seed = strtoull(argv[7], NULL, 10),
             .steps = strtoull(argv[8], NULL, 10),
             .batch = strtoull(argv[9], NULL, 10)};
    const size_t most = b.batch > PIECE ? b.batch : PIECE;
    const double start = now();
    net_create(&b.encoder, 1, in, most, b.seed * 4 + 1);
    net_create(&b.decoder, 1, out, most, b.seed * 4 + 2);
    b.random = vqi_random_from(b.seed * 4 + 3);
    if (!begin(&b, argv[5])) {
        fprintf(stderr, "bench_simvq: no codebook is called %s\n", argv[5]);
        return 1;
    }
    train(&b);
    const measures m = evaluate(&b);
    printf("{\"use\": %.6f, \"use_195\": %.6f, \"perplexity\": %.2f, \"code_error\": %.6f, "
           "\"error\": %.6f, "
           "\"unquantized\": %.6f, \"seconds\": %.2f}\n",
           m.few_use, m.use, m.perplexity, m.code_error, m.error, m.unquantized, now() - start);
    vq_simvq_learner_free(b.codes.simvq);
    vq_online_free(b.codes.online);
    net_free(&b.encoder);
    net_free(&b.decoder);
    free(b.all.pixels);
    return 0;
}
