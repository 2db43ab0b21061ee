/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Least-squares refit of all levels of a residual quantizer together: for given codes, the codewords that lower the error most.
 *
 * With A the n x M matrix that has a 1 where a row uses a codeword (M = all codewords), the change D of the codewords
 * minimises |e - A D|^2 + damping |D|^2, where e is what the codes leave of the rows now: (A'A + damping) D = A'e. The
 * matrix is never built: A p is a sum of one row of p per level, A'r adds to one. Conjugate gradients (Hestenes and Stiefel
 * 1952), preconditioned by the diagonal, for every dimension by itself: so threads share out dimensions, every sum goes
 * over the rows in their order, in double, and the result is the same on any machine.
 */
#include <string.h>

#include "rvq/residual_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

enum { PANEL = 8, MOST_STEPS = 40 }; /* dimensions that go together */

#define ENOUGH 1e-8 /* of |A'e|^2 in the preconditioner's norm */

typedef struct refit {
    const float *residual;          /* n x d */
    const uint32_t *codes;          /* n x levels */
    uint32_t offset[VQ_MAX_LEVELS]; /* of a level's codewords among all */
    size_t n, columns;
    uint32_t d, levels;
    double damping;
    double *diagonal; /* columns: how often each codeword is used, and damping */
} refit;

/* What a thread works on: columns x PANEL each. */
typedef struct panel {
    double *change, *gradient, *direction, *image;
} panel;

static double *at(const refit *f, double *values, size_t row, uint32_t l)
{
    return values + (f->offset[l] + (size_t)f->codes[row * f->levels + l]) * PANEL;
}

/* image = (A'A + damping) direction. */
static void apply(const refit *f, const panel *p)
{
    for (size_t i = 0; i < f->columns * PANEL; i++)
        p->image[i] = f->damping * p->direction[i];
    for (size_t r = 0; r < f->n; r++) {
        double sum[PANEL] = {0};
        for (uint32_t l = 0; l < f->levels; l++) {
            const double *restrict from = at(f, p->direction, r, l);
            for (int j = 0; j < PANEL; j++)
                sum[j] += from[j];
        }
        for (uint32_t l = 0; l < f->levels; l++) {
            double *restrict to = at(f, p->image, r, l);
            for (int j = 0; j < PANEL; j++)
                to[j] += sum[j];
        }
    }
}

/* out[j] = sum of a b / diagonal in dimension j, or of a b where `diagonal` is NULL. */
static void products(double out[PANEL], const double *a, const double *b, const double *diagonal,
                     size_t columns)
{
    double sum[PANEL] = {0};
    for (size_t c = 0; c < columns; c++)
        for (int j = 0; j < PANEL; j++)
            sum[j] += diagonal ? a[c * PANEL + j] * b[c * PANEL + j] / diagonal[c]
                               : a[c * PANEL + j] * b[c * PANEL + j];
    memcpy(out, sum, sizeof sum);
}

/* Dimensions `first` and on, `wide` of them: the change of the codewords. */
static void solve(const refit *f, const panel *p, uint32_t first, uint32_t wide)
{
    const size_t columns = f->columns;
    double old[PANEL], start[PANEL], curvature[PANEL], step[PANEL];
    memset(p->change, 0, columns * PANEL * sizeof(double));
    memset(p->gradient, 0, columns * PANEL * sizeof(double));
    for (size_t r = 0; r < f->n; r++)
        for (uint32_t l = 0; l < f->levels; l++) {
            double *to = at(f, p->gradient, r, l);
            for (uint32_t j = 0; j < wide; j++)
                to[j] += f->residual[r * f->d + first + j];
        }
    for (size_t c = 0; c < columns; c++)
        for (int j = 0; j < PANEL; j++)
            p->direction[c * PANEL + j] = p->gradient[c * PANEL + j] / f->diagonal[c];
    products(old, p->gradient, p->gradient, f->diagonal, columns);
    memcpy(start, old, sizeof old);
    for (int n = 0; n < MOST_STEPS; n++) {
        int more = 0;
        apply(f, p);
        products(curvature, p->direction, p->image, NULL, columns);
        for (int j = 0; j < PANEL; j++) { /* a dimension that is done stands still */
            const int goes_on = old[j] > start[j] * ENOUGH && curvature[j] > 0;
            step[j] = goes_on ? old[j] / curvature[j] : 0;
            more |= goes_on;
        }
        if (!more)
            break;
        for (size_t i = 0; i < columns * PANEL; i++) {
            p->change[i] += step[i % PANEL] * p->direction[i];
            p->gradient[i] -= step[i % PANEL] * p->image[i];
        }
        double now[PANEL];
        products(now, p->gradient, p->gradient, f->diagonal, columns);
        for (int j = 0; j < PANEL; j++) {
            step[j] = step[j] != 0 ? now[j] / old[j] : 0;
            old[j] = step[j] != 0 ? now[j] : old[j];
        }
        for (size_t c = 0; c < columns; c++)
            for (int j = 0; j < PANEL; j++)
                p->direction[c * PANEL + j] = p->gradient[c * PANEL + j] / f->diagonal[c] +
                                              step[j] * p->direction[c * PANEL + j];
    }
}

/* All dimensions; codewords: columns x d, changed in place. */
static vq_status solve_all(float *codewords, const refit *f, int threads)
{
    const uint32_t panels = (f->d + PANEL - 1) / PANEL;
    const int used = vqi_threads(threads, panels);
    size_t doubles;
    double *memory = vqi_mul(&doubles, f->columns * PANEL * 4, (size_t)used)
                         ? vqi_alloc(doubles, sizeof *memory)
                         : NULL;
    if (!memory)
        return vqi_fail_nomem((unsigned long long)f->columns * PANEL * 4 * sizeof *memory);
#pragma omp parallel for schedule(dynamic) num_threads(used)
    for (uint32_t i = 0; i < panels; i++) {
        const size_t size = f->columns * PANEL;
        double *own = memory + (size_t)omp_get_thread_num() * size * 4;
        const panel p = {own, own + size, own + 2 * size, own + 3 * size};
        const uint32_t first = i * PANEL, wide = f->d - first < PANEL ? f->d - first : PANEL;
        solve(f, &p, first, wide);
        for (size_t c = 0; c < f->columns; c++)
            for (uint32_t j = 0; j < wide; j++) {
                float *to = codewords + c * f->d + first + j;
                *to = (float)(*to + p.change[c * PANEL + j]);
            }
    }
    vq_free(memory);
    return VQ_OK;
}

static vq_status prepare(refit *f, const vqi_residual *q, const uint32_t *codes)
{
    for (uint32_t l = 0; l < f->levels; l++) {
        f->offset[l] = q->codebooks[l] == q->codebooks[0] ? 0 : (uint32_t)f->columns;
        if (!l || f->offset[l])
            f->columns += q->codebooks[l]->k;
    }
    f->diagonal = vqi_alloc(f->columns, sizeof *f->diagonal);
    if (!f->diagonal)
        return vqi_fail_nomem(f->columns * sizeof *f->diagonal);
    for (size_t c = 0; c < f->columns; c++)
        f->diagonal[c] = f->damping;
    for (size_t r = 0; r < f->n; r++)
        for (uint32_t l = 0; l < f->levels; l++)
            f->diagonal[f->offset[l] + codes[r * f->levels + l]] += 1;
    return VQ_OK;
}

/* The codebooks of the refitted codewords; shared ones are made once. */
static vq_status make_codebooks(vq_codebook **out, const refit *f, const vqi_residual *q,
                                const float *codewords)
{
    for (uint32_t l = 0; l < f->levels; l++) {
        const vq_codebook *old = q->codebooks[l];
        if (l && old == q->codebooks[0]) {
            out[l] = out[0];
            continue;
        }
        const vq_status status =
            vq_codebook_create(&out[l], codewords + (size_t)f->offset[l] * f->d, old->k, f->d,
                               VQ_METRIC_EUCLIDEAN, old->storage);
        if (!status)
            continue;
        for (uint32_t i = 0; i < l; i++)
            if (!i || out[i] != out[0])
                vq_codebook_free(out[i]);
        return status;
    }
    return VQ_OK;
}

vq_status vqi_residual_refit(vq_codebook **out, const vq_quantizer *quantizer,
                             const float *residual, const uint32_t *codes, size_t n, double damping,
                             int threads)
{
    const vqi_residual *q = (const vqi_residual *)quantizer;
    refit f = {.residual = residual,
               .codes = codes,
               .n = n,
               .d = quantizer->dim,
               .levels = quantizer->levels,
               .damping = damping};
    vq_status status = prepare(&f, q, codes);
    if (status)
        return status;
    float *codewords = vqi_alloc(f.columns, f.d * sizeof *codewords);
    if (!codewords)
        status = vqi_fail_nomem((unsigned long long)f.columns * f.d * sizeof *codewords);
    for (uint32_t l = 0; l < f.levels && !status; l++)
        memcpy(codewords + (size_t)f.offset[l] * f.d, q->codebooks[l]->codewords,
               (size_t)q->codebooks[l]->k * f.d * sizeof *codewords);
    if (!status)
        status = solve_all(codewords, &f, threads);
    if (!status)
        status = make_codebooks(out, &f, q, codewords);
    vq_free(codewords);
    vq_free(f.diagonal);
    return status;
}
