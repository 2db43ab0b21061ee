/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The made layer: a Gaussian mixture of four generations. A row is norm * (0.62^(1/2) a + 0.04^(1/2) b + 0.04^(1/2) c + 0.30^(1/2) e),
 * a, b, c of its clusters among V/512, V/128 and V/32 nested ones of unequal size, e its own, each Gaussian of length 1; norms go with the
 * fourth root of the token's rank, as frequent tokens have short rows. With these shares k-means of V/128, V/32 and V/8 clusters
 * leaves the part of the variance that it leaves of the trained layer code_lm (0.36, 0.32, 0.27).
 * A state is c w / |w|^2 of a token drawn by Zipf's law, c uniform from 6 to 18, plus Gaussian noise of 2 in each dimension: the best
 * token's probability then spreads over 0.05 to 0.8, and its cluster is the best one about as seldom as there.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "bench_logits.h"

/* splitmix64: a number for each (stream, i), so that threads may begin anywhere. */
static uint64_t mix(uint64_t stream, uint64_t i)
{
    uint64_t z = (stream << 44) + (i + 1) * 0x9E3779B97F4A7C15U;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    return z ^ z >> 31;
}

/* Nearly Gaussian: the sum of four uniform numbers, of variance 1. */
static float normal(uint64_t stream, uint64_t i)
{
    const uint64_t bits = mix(stream, i);
    const int64_t sum = (int64_t)(bits & 65535) + (int64_t)(bits >> 16 & 65535) +
                        (int64_t)(bits >> 32 & 65535) + (int64_t)(bits >> 48);
    return (float)(sum - 2 * 65535) * (1.7320508f / 65535);
}

static double uniform(uint64_t stream, uint64_t i)
{
    return (double)(mix(stream, i) >> 11) * 0x1p-53;
}

/* Ranks have nothing to do with clusters. 48271 is prime and divides no V in use. */
size_t layer_token(const layer *l, size_t rank)
{
    return rank * 48271 % l->v;
}

static float *matrix(size_t n, size_t d, uint64_t stream, float scale)
{
    float *out = malloc(n * d * sizeof *out);
#pragma omp parallel for
    for (size_t i = 0; i < (out ? n * d : 0); i++)
        out[i] = scale * normal(stream, i);
    return out;
}

static void fill(layer *l, float *const parents[3], size_t finest)
{
    const float own = sqrtf(0.30f / (float)l->d);
#pragma omp parallel for schedule(static, 64)
    for (size_t rank = 0; rank < l->v; rank++) {
        const size_t t = layer_token(l, rank);
        const size_t cluster = (size_t)((double)finest * pow(uniform(9, t), 1.5));
        const float norm = powf((float)(rank + 1) / (0.5f * (float)l->v), 0.25f);
        const float *a = parents[0] + cluster / 16 * l->d, *b = parents[1] + cluster / 4 * l->d,
                    *c = parents[2] + cluster * l->d;
        double square = 0;
        for (size_t i = 0; i < l->d; i++) {
            const float w = norm * (a[i] + b[i] + c[i] + own * normal(4, t * l->d + i));
            l->rows[t * l->d + i] = w;
            square += (double)w * w;
        }
        l->norms[t] = (float)sqrt(square);
    }
}

int layer_make(layer *out, size_t v, size_t d)
{
    const size_t finest = v / 32 + 1;
    const float unit = 1 / sqrtf((float)d);
    float *parents[3] = {matrix(finest / 16 + 1, d, 1, sqrtf(0.62f) * unit),
                         matrix(finest / 4 + 1, d, 2, sqrtf(0.04f) * unit),
                         matrix(finest, d, 3, sqrtf(0.04f) * unit)};
    *out = (layer){v, d, aligned_alloc(64, (v * d + 15) / 16 * 64), malloc(v * sizeof *out->norms),
                   malloc(v * sizeof *out->chance)};
    const int failed =
        !parents[0] || !parents[1] || !parents[2] || !out->rows || !out->norms || !out->chance;
    if (!failed) {
        double sum = 0;
        fill(out, parents, finest);
        for (size_t rank = 0; rank < v; rank++)
            out->chance[rank] = sum += 1.0 / (double)(rank + 1);
    }
    for (int i = 0; i < 3; i++)
        free(parents[i]);
    return failed;
}

void layer_clear(layer *l)
{
    free(l->rows);
    free(l->norms);
    free(l->chance);
}

float *layer_states(const layer *l, size_t n, unsigned seed)
{
    float *states = malloc(n * l->d * sizeof *states);
    for (size_t s = 0; s < (states ? n : 0); s++) {
        const uint64_t stream = 16 + seed, at = s * (l->d + 2);
        const double u = uniform(stream, at) * l->chance[l->v - 1];
        size_t low = 0, high = l->v - 1;
        while (low < high) {
            const size_t middle = low + (high - low) / 2;
            if (l->chance[middle] > u)
                high = middle;
            else
                low = middle + 1;
        }
        const size_t t = layer_token(l, low);
        const float strength =
            (float)(6 + 12 * uniform(stream, at + 1)) / (l->norms[t] * l->norms[t]);
        for (size_t i = 0; i < l->d; i++)
            states[s * l->d + i] =
                strength * l->rows[t * l->d + i] + 2 * normal(stream, at + 2 + i);
    }
    return states;
}
