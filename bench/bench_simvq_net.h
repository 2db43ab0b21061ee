/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file bench/bench_simvq_net.h
 * The encoder and decoder of bench_simvq_joint.c: layers with ReLU between them, trained by Adam. One thread, sums in one
 * order: a seed is one result.
 */
#ifndef BENCH_SIMVQ_NET_H
#define BENCH_SIMVQ_NET_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_simvq.h"
#include "vq/adam_internal.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default"))) /* the same sums, wider */
#else
#define WIDE
#endif

enum { MOST_LAYERS = 3 };

typedef struct layer {
    size_t in, out;
    float *w, *bias;   /* in x out, out */
    float *dw, *dbias; /* gradients */
    float *moments;    /* 2 x (in + 1) x out */
    float *transposed; /* out x in: w, for the way back */
    float *x;          /* rows x in: what came in */
    float *dx;         /* rows x in */
} layer;

typedef struct net {
    size_t layers;
    layer layer[MOST_LAYERS];
    float *y, *dy; /* rows x out of the last layer */
} net;

/* y = x w + b, and max(0, y) if asked. */
WIDE static void multiply(float *restrict y, const float *restrict x, const float *restrict w,
                          const float *restrict bias, size_t rows, size_t in, size_t out, int relu)
{
    for (size_t n = 0; n < rows; n++) {
        float *restrict to = y + n * out;
        for (size_t j = 0; j < out; j++)
            to[j] = bias ? bias[j] : 0;
        for (size_t i = 0; i < in; i++)
            for (size_t j = 0; j < out; j++)
                to[j] += x[n * in + i] * w[i * out + j];
        for (size_t j = 0; relu && j < out; j++)
            to[j] = to[j] > 0 ? to[j] : 0;
    }
}

/* dw += x' dy, db += dy. */
WIDE static void outer(float *restrict dw, float *restrict db, const float *restrict x,
                       const float *restrict dy, size_t rows, size_t in, size_t out)
{
    for (size_t n = 0; n < rows; n++) {
        for (size_t i = 0; i < in; i++)
            for (size_t j = 0; j < out; j++)
                dw[i * out + j] += x[n * in + i] * dy[n * out + j];
        for (size_t j = 0; j < out; j++)
            db[j] += dy[n * out + j];
    }
}

/* sizes: layers + 1 of them. Weights uniform in +-1/sqrt(in), as usual. */
static void net_create(net *own, size_t layers, const size_t *sizes, size_t rows, uint64_t seed)
{
    vqi_random random = vqi_random_from(seed);
    own->layers = layers;
    for (size_t l = 0; l < layers; l++) {
        layer *a = &own->layer[l];
        *a = (layer){.in = sizes[l], .out = sizes[l + 1]};
        const size_t count = (a->in + 1) * a->out;
        a->w = room(count);
        a->bias = a->w + a->in * a->out;
        a->dw = room(count);
        a->dbias = a->dw + a->in * a->out;
        a->moments = room(2 * count);
        a->transposed = room(count);
        a->x = room(rows * a->in);
        a->dx = room(rows * a->in);
        for (size_t i = 0; i < count; i++)
            a->w[i] = (float)((2 * vqi_random_uniform(&random) - 1) / sqrt((double)a->in));
    }
    own->y = room(rows * sizes[layers]);
    own->dy = room(rows * sizes[layers]);
}

static void net_free(net *own)
{
    for (size_t l = 0; l < own->layers; l++) {
        layer *a = &own->layer[l];
        free(a->w);
        free(a->dw);
        free(a->moments);
        free(a->transposed);
        free(a->x);
        free(a->dx);
    }
    free(own->y);
    free(own->dy);
}

/* @return the output, rows x out, in the net's own memory. */
static const float *net_forward(net *own, const float *x, size_t rows)
{
    memcpy(own->layer[0].x, x, rows * own->layer[0].in * sizeof *x);
    for (size_t l = 0; l < own->layers; l++) {
        layer *a = &own->layer[l];
        const int last = l + 1 == own->layers;
        multiply(last ? own->y : own->layer[l + 1].x, a->x, a->w, a->bias, rows, a->in, a->out,
                 !last);
    }
    return own->y;
}

/* From own->dy to the gradients of all layers. @return the gradient of the input. */
static const float *net_backward(net *own, size_t rows)
{
    for (size_t l = own->layers; l-- > 0;) {
        layer *a = &own->layer[l];
        float *dy = l + 1 == own->layers ? own->dy : own->layer[l + 1].dx;
        if (l + 1 < own->layers)
            for (size_t i = 0; i < rows * a->out; i++)
                dy[i] = own->layer[l + 1].x[i] > 0 ? dy[i] : 0;
        memset(a->dw, 0, (a->in + 1) * a->out * sizeof *a->dw);
        outer(a->dw, a->dbias, a->x, dy, rows, a->in, a->out);
        for (size_t i = 0; i < a->in; i++)
            for (size_t j = 0; j < a->out; j++)
                a->transposed[j * a->in + i] = a->w[i * a->out + j];
        multiply(a->dx, dy, a->transposed, NULL, rows, a->out, a->in, 0);
    }
    return own->layer[0].dx;
}

static void net_step(net *own, double rate, uint64_t step)
{
    const vqi_adam_rates rates = {rate, 0.9, 0.999, 1e-8};
    for (size_t l = 0; l < own->layers; l++) {
        layer *a = &own->layer[l];
        const size_t count = (a->in + 1) * a->out;
        vqi_adam_step(a->w, a->dw, a->moments, a->moments + count, count, &rates, step);
    }
}

#endif
