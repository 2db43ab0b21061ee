/* SPDX-License-Identifier: Apache-2.0 */
/* The first codewords: greedy k-means++ (the variant of scikit-learn), random rows, or the caller's.
 *
 * Each seed of k-means++ is the best of a few draws, a row being drawn in proportion to its weighted
 * squared distance from the nearest seed so far, and best meaning the largest fall of the sum of those
 * distances. Most rows need no look at a draw. By the triangle inequality one that lies at least twice as far
 * from the row's seed as the row does cannot be nearer to the row; and neither can one whose sketch is
 * farther from the row's sketch. Both proofs allow for rounding, so that what is passed over could not have
 * changed one bit of the result. */
#include "vq/kmeans_internal.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_distance_internal.h"
#include "vq/kmeans_sketch_internal.h"
#include "vq/memory_internal.h"
#include "vq/random_internal.h"

/* Rows whose sums are added up on their own. It fixes the draws, so it is part of what a seed means. */
enum { BLOCK = 1024 };

/* Sketches of short rows would cost what they save, and a few seeds do not repay making them. */
enum { SKETCH_FROM_D = 24, SKETCH_FROM_K = 16 };

/* Below this, underflow spoils the proofs. */
#define UNDERFLOW 1e-30f

/* Multiplications below which another thread costs more than it does. */
enum { SMALL = 1 << 21 };

typedef struct seeding {
    const vqi_kmeans *run;
    vqi_distance_fn *distance;
    size_t blocks;
    uint32_t trials;
    int threads;
    float *near;     /* n: squared distance to the nearest seed; 0 = never to be drawn */
    uint32_t *owner; /* n: that seed */
    double *block;   /* blocks: weighted sums of `near` */
    double *gain;    /* blocks x trials: by how much a draw would lower them */
    float *reach;    /* seeds x trials: a row nearer to its seed than this may gain from the draw */
    float *draws;    /* trials x d */
    vqi_sketcher sketcher;
    float *sketches;      /* n x VQI_SKETCH_SIZE; NULL = none */
    float *draw_sketches; /* trials x VQI_SKETCH_SIZE */
    float slack;          /* what rounding may have added to the distance of two sketches */
    float *scratch;       /* threads x d */
} seeding;

static void seeding_clear(seeding *s)
{
    vqi_free(s->near);
    vqi_free(s->owner);
    vqi_free(s->block);
    vqi_free(s->gain);
    vqi_free(s->reach);
    vqi_free(s->draws);
    vqi_free(s->sketches);
    vqi_free(s->draw_sketches);
    vqi_free(s->scratch);
    vqi_sketcher_clear(&s->sketcher);
}

static vq_status make_sketches(seeding *s)
{
    const vqi_kmeans *run = s->run;
    const size_t n = run->n, d = run->d;
    s->sketches = vqi_alloc(n, VQI_SKETCH_SIZE * sizeof *s->sketches);
    s->draw_sketches = vqi_alloc(s->trials, VQI_SKETCH_SIZE * sizeof *s->draw_sketches);
    if (!s->sketches || !s->draw_sketches)
        return vqi_fail_nomem((unsigned long long)n * VQI_SKETCH_SIZE * sizeof *s->sketches);
    const vq_status status = vqi_sketcher_create(&s->sketcher, run);
    if (status)
        return status;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < n; i++)
        vqi_sketch(s->sketches + i * VQI_SKETCH_SIZE, &s->sketcher,
                   vqi_kmeans_row(run, i, s->scratch + (size_t)omp_get_thread_num() * d));
    float longest = 0;
    for (size_t i = 0; i < n; i++) {
        float square = 0;
        for (int a = 0; a < VQI_SKETCH_SIZE; a++)
            square += s->sketches[i * VQI_SKETCH_SIZE + (size_t)a] *
                      s->sketches[i * VQI_SKETCH_SIZE + (size_t)a];
        longest = square > longest ? square : longest;
    }
    s->slack = vqi_sketch_slack(sqrtf(longest), run->d);
    if (!isfinite(s->slack)) { /* such rows have no sketches worth comparing */
        vqi_free(s->sketches);
        s->sketches = NULL;
    }
    return VQ_OK;
}

static vq_status seeding_create(seeding *s, const vqi_kmeans *run)
{
    const size_t n = run->n, k = run->opts.k, d = run->d;
    s->run = run;
    s->distance = vqi_distance_kernel();
    s->blocks = (n - 1) / BLOCK + 1;
    s->trials = run->opts.seeding == VQ_SEEDING_RANDOM ? 1 : 2 + (uint32_t)floor(log((double)k));
    s->threads = n * d < SMALL / 2 ? 1 : run->opts.threads;
    s->near = vqi_alloc(n, sizeof *s->near);
    s->owner = vqi_calloc(n, sizeof *s->owner);
    s->block = vqi_alloc(s->blocks, sizeof *s->block);
    s->gain = vqi_alloc(s->blocks * s->trials, sizeof *s->gain);
    s->reach = vqi_alloc(k * s->trials, sizeof *s->reach);
    s->draws = vqi_alloc(s->trials * d, sizeof *s->draws);
    s->scratch = vqi_alloc((size_t)s->threads * d, sizeof *s->scratch);
    if (!s->near || !s->owner || !s->block || !s->gain || !s->reach || !s->draws || !s->scratch)
        return vqi_fail_nomem((unsigned long long)n * (sizeof *s->near + sizeof *s->owner));
    const bool sketch = run->opts.seeding == VQ_SEEDING_KMEANSPP && d >= SKETCH_FROM_D &&
                        k >= SKETCH_FROM_K && !run->exhaustive;
    return sketch ? make_sketches(s) : VQ_OK;
}

static size_t block_end(const seeding *s, size_t block)
{
    const size_t end = (block + 1) * BLOCK;
    return end < s->run->n ? end : s->run->n;
}

static void sum_block(seeding *s, size_t block)
{
    double sum = 0;
    for (size_t i = block * BLOCK; i < block_end(s, block); i++)
        sum += (double)vqi_kmeans_weight(s->run, i) * (double)s->near[i];
    s->block[block] = sum;
}

static double total(const seeding *s)
{
    double sum = 0;
    for (size_t b = 0; b < s->blocks; b++)
        sum += s->block[b];
    return sum;
}

/* Before there is a seed every row is as likely as its weight; a zero row has no direction to give. */
static void start(seeding *s)
{
    const bool cosine = s->run->opts.metric == VQ_METRIC_COSINE;
    const uint32_t d = s->run->d;
    for (size_t i = 0; i < s->run->n; i++) {
        bool zero = cosine;
        for (uint32_t j = 0; j < d && zero; j++)
            zero = s->run->x[i * d + j] == 0;
        s->near[i] = zero ? 0 : 1;
    }
    for (size_t b = 0; b < s->blocks; b++)
        sum_block(s, b);
}

/* A row with the probability of its share of `sum` > 0, which is total(s). */
static size_t draw(const seeding *s, double sum, vqi_random *random)
{
    double at = vqi_random_uniform(random) * sum;
    size_t block = 0, row = 0;
    /* Rounding may carry `at` past the end: then the last row that can be drawn is it. */
    for (size_t b = 0; b < s->blocks; b++) {
        if (!(s->block[b] > 0))
            continue;
        block = b;
        if (at < s->block[b])
            break;
        at -= s->block[b];
    }
    for (size_t i = block * BLOCK; i < block_end(s, block); i++) {
        const double share = (double)vqi_kmeans_weight(s->run, i) * (double)s->near[i];
        if (!(share > 0))
            continue;
        row = i;
        if (at < share)
            break;
        at -= share;
    }
    return row;
}

/* By how much the share of a computed squared distance of d floats that is rounding error stays below 1:
 * it is at most (d / 8 + 8) 2^-24, and this is 16 times that. */
static float error_share(uint32_t d)
{
    return ((float)d + 64) * 0x1p-23f;
}

/* The squared distance of sketches from which on the rows themselves are no nearer than `near`, computed. */
static float sketch_bound(const seeding *s, float near)
{
    const float root = sqrtf(near) * (1 + error_share(s->run->d)) + s->slack,
                bound = root * root * (1 + 0x1p-18f);
    return bound > UNDERFLOW ? bound : UNDERFLOW;
}

static float sketch_distance(const float *a, const float *b)
{
    float square[VQI_SKETCH_SIZE];
    for (int i = 0; i < VQI_SKETCH_SIZE; i++)
        square[i] = (a[i] - b[i]) * (a[i] - b[i]);
    return ((square[0] + square[4]) + (square[2] + square[6])) +
           ((square[1] + square[5]) + (square[3] + square[7]));
}

/* What `draws` would gain: the distances of rows that they are nearer to, in a fixed order. */
static void weigh_draws(seeding *s, size_t block, float *scratch)
{
    const uint32_t d = s->run->d, trials = s->trials;
    double *gain = s->gain + block * trials;
    memset(gain, 0, trials * sizeof *gain);
    for (size_t i = block * BLOCK; i < block_end(s, block); i++) {
        const float near = s->near[i];
        const float *reach = s->reach + (size_t)s->owner[i] * trials;
        const float *row = NULL, *sketch = s->sketches ? s->sketches + i * VQI_SKETCH_SIZE : NULL;
        float bound = -1;
        for (uint32_t t = 0; t < trials; t++) {
            if (near <= reach[t])
                continue;
            if (sketch) {
                bound = bound < 0 ? sketch_bound(s, near) : bound;
                if (sketch_distance(sketch, s->draw_sketches + t * VQI_SKETCH_SIZE) >= bound)
                    continue;
            }
            if (!row)
                row = vqi_kmeans_row(s->run, i, scratch);
            const float distance = s->distance(row, s->draws + (size_t)t * d, d, near);
            if (distance < near)
                gain[t] += (double)vqi_kmeans_weight(s->run, i) * ((double)near - (double)distance);
        }
    }
}

/* Let draw t be seed number `seed`. */
static void take_draw(seeding *s, size_t block, uint32_t seed, uint32_t t, float *scratch)
{
    const uint32_t d = s->run->d;
    bool changed = false;
    if (!(s->gain[block * s->trials + t] > 0))
        return; /* no row of weight comes nearer */
    for (size_t i = block * BLOCK; i < block_end(s, block); i++) {
        if (s->near[i] <= s->reach[(size_t)s->owner[i] * s->trials + t])
            continue;
        if (s->sketches &&
            sketch_distance(s->sketches + i * VQI_SKETCH_SIZE,
                            s->draw_sketches + t * VQI_SKETCH_SIZE) >= sketch_bound(s, s->near[i]))
            continue;
        const float *row = vqi_kmeans_row(s->run, i, scratch);
        const float distance = s->distance(row, s->draws + (size_t)t * d, d, s->near[i]);
        if (distance < s->near[i]) {
            s->near[i] = distance;
            s->owner[i] = seed;
            changed = true;
        }
    }
    if (changed)
        sum_block(s, block);
}

/* near <= reach proves that the draw's *computed* distance is no less than `near`. */
static void find_reach(seeding *s, const float *seeds, uint32_t count)
{
    const uint32_t d = s->run->d, trials = s->trials;
    const float share = 0.25f / (1 + error_share(d));
    const int threads = (size_t)count * trials * d < SMALL ? 1 : s->threads;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint32_t c = 0; c < count; c++)
        for (uint32_t t = 0; t < trials; t++) {
            const float square =
                s->distance(seeds + (size_t)c * d, s->draws + (size_t)t * d, d, INFINITY);
            const bool proves = square > UNDERFLOW && square < INFINITY && !s->run->exhaustive;
            s->reach[(size_t)c * trials + t] = proves ? square * share : -1;
        }
}

static uint32_t best_draw(const seeding *s)
{
    uint32_t best = 0;
    double most = -1;
    for (uint32_t t = 0; t < s->trials; t++) {
        double gain = 0;
        for (size_t b = 0; b < s->blocks; b++)
            gain += s->gain[b * s->trials + t];
        if (gain > most) {
            most = gain;
            best = t;
        }
    }
    return best;
}

static void copy_row(float *to, const seeding *s, size_t row)
{
    memcpy(to, vqi_kmeans_row(s->run, row, s->scratch), s->run->d * sizeof *to);
}

/* The first seed: any row by weight. From now on `near` holds distances. */
static void plusplus_first(float *seeds, seeding *s, double sum, vqi_random *random)
{
    const uint32_t d = s->run->d;
    copy_row(seeds, s, draw(s, sum, random));
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t b = 0; b < s->blocks; b++) {
        float *scratch = s->scratch + (size_t)omp_get_thread_num() * d;
        for (size_t i = b * BLOCK; i < block_end(s, b); i++)
            if (s->near[i] > 0)
                s->near[i] = s->distance(vqi_kmeans_row(s->run, i, scratch), seeds, d, INFINITY);
        sum_block(s, b);
    }
}

static void plusplus_next(float *seeds, uint32_t count, seeding *s, double sum, vqi_random *random)
{
    const uint32_t d = s->run->d;
    for (uint32_t t = 0; t < s->trials; t++) {
        const size_t row = draw(s, sum, random);
        copy_row(s->draws + (size_t)t * d, s, row);
        if (s->sketches)
            memcpy(s->draw_sketches + t * VQI_SKETCH_SIZE, s->sketches + row * VQI_SKETCH_SIZE,
                   VQI_SKETCH_SIZE * sizeof *s->sketches);
    }
    find_reach(s, seeds, count);
#pragma omp parallel for schedule(dynamic) num_threads(s->threads)
    for (size_t b = 0; b < s->blocks; b++)
        weigh_draws(s, b, s->scratch + (size_t)omp_get_thread_num() * d);
    const uint32_t best = best_draw(s);
    /* Few rows come nearer to a late seed: what is left is a look at each row. */
    const int threads = s->run->n < SMALL / 8 && count > 64 ? 1 : s->threads;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t b = 0; b < s->blocks; b++)
        take_draw(s, b, count, best, s->scratch + (size_t)omp_get_thread_num() * d);
    memcpy(seeds + (size_t)count * d, s->draws + (size_t)best * d, d * sizeof *seeds);
}

static void random_next(float *seeds, uint32_t count, seeding *s, double sum, vqi_random *random)
{
    const size_t row = draw(s, sum, random);
    copy_row(seeds + (size_t)count * s->run->d, s, row);
    s->near[row] = 0; /* drawn once */
    sum_block(s, row / BLOCK);
}

static vq_status find_seeds(float *seeds, seeding *s)
{
    const vqi_kmeans *run = s->run;
    vqi_random random = vqi_random_from(run->opts.seed);
    start(s);
    for (uint32_t count = 0; count < run->opts.k; count++) {
        const double sum = total(s);
        if (!isfinite(sum))
            return vqi_fail(VQ_E_NONFINITE, "the squared distances of k-means overflow float32 "
                                            "(scale the rows down)");
        if (!(sum > 0) && !count)
            return vqi_fail(VQ_E_ARG, "every row of k-means is zero, and the cosine metric needs "
                                      "directions (drop zero rows)");
        if (!(sum > 0)) /* no row is left that differs from all seeds: repeat one */
            memcpy(seeds + (size_t)count * run->d, seeds, run->d * sizeof *seeds);
        else if (run->opts.seeding == VQ_SEEDING_RANDOM)
            random_next(seeds, count, s, sum, &random);
        else if (!count)
            plusplus_first(seeds, s, sum, &random);
        else
            plusplus_next(seeds, count, s, sum, &random);
        const vq_status status = vqi_kmeans_tell(run, count + 1, 0, (double)NAN);
        if (status)
            return status;
    }
    return VQ_OK;
}

vq_status vqi_kmeans_seed(float *codewords, const vqi_kmeans *run)
{
    if (run->opts.seeds) {
        memcpy(codewords, run->opts.seeds, (size_t)run->opts.k * run->d * sizeof *codewords);
        return vqi_kmeans_tell(run, run->opts.k, 0, (double)NAN);
    }
    seeding s = {0};
    vq_status status = seeding_create(&s, run);
    if (!status)
        status = find_seeds(codewords, &s);
    seeding_clear(&s);
    return status;
}
