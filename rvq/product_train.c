/* SPDX-License-Identifier: Apache-2.0 */
/* Training of a product quantizer: each slice by itself, as many at once as there are threads. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "rvq/parts_internal.h"
#include "rvq/product_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

enum { DEFAULT_PARTS = 8 };

typedef struct training {
    vq_product_train_opts opts;
    vq_residual_train_opts part; /* of opts.part, as this library knows it */
    const float *x;
    size_t n;
    uint32_t d;
    uint32_t widths[VQ_MAX_LEVELS];
    uint32_t begins[VQ_MAX_LEVELS];
    uint32_t widest;
    int threads;   /* in all, ... */
    int at_once;   /* ... and slices that are trained at the same time */
    float *slices; /* at_once x n x the widest */
    vq_quantizer *parts[VQ_MAX_LEVELS];
    uint32_t done;
} training;

static vq_status find_widths(training *t)
{
    uint64_t sum = 0;
    for (uint32_t p = 0; p < t->opts.parts; p++) {
        t->widths[p] =
            t->opts.widths ? t->opts.widths[p] : t->d / t->opts.parts + (p < t->d % t->opts.parts);
        if (!t->widths[p])
            return vqi_fail(VQ_E_ARG, "slice %u of %u dimensions would have none (fewer parts)", p,
                            t->d);
        t->begins[p] = (uint32_t)sum;
        t->widest = t->widths[p] > t->widest ? t->widths[p] : t->widest;
        sum += t->widths[p];
    }
    if (sum != t->d)
        return vqi_fail(VQ_E_ARG, "vq_product_train_opts.widths are %llu in all (the rows have %u)",
                        (unsigned long long)sum, t->d);
    return VQ_OK;
}

static uint32_t level_k(const training *t, uint32_t part, uint32_t level)
{
    return t->opts.part_k ? t->opts.part_k[part * t->part.levels + level]
           : t->part.k    ? t->part.k[level]
                          : t->part.kmeans.k;
}

/* The first slices must be those that an uninterrupted run with these options would have made. */
static vq_status check_resume(const training *t)
{
    const vq_quantizer *q = t->opts.resume;
    const uint32_t parts = vq_product_parts(q);
    if (!parts)
        return vqi_fail(VQ_E_ARG, "a %s quantizer cannot be resumed as a product one",
                        vq_quantizer_kind(q));
    if (parts > t->opts.parts)
        return vqi_fail(VQ_E_ARG, "the quantizer to resume has %u slices (more than the %u wanted)",
                        parts, t->opts.parts);
    for (uint32_t p = 0; p < parts; p++) {
        const vq_quantizer *part = vq_product_part(q, p);
        int fits = vq_quantizer_dim(part) == t->widths[p] &&
                   vq_quantizer_levels(part) == t->part.levels &&
                   !strcmp(vq_quantizer_kind(part), t->part.levels > 1 ? "residual" : "flat");
        for (uint32_t l = 0; fits && l < t->part.levels; l++)
            fits = vq_quantizer_k(part, l) == level_k(t, p, l);
        if (!fits)
            return vqi_fail(VQ_E_ARG, "slice %u to resume is not of the width and the sizes wanted",
                            p);
    }
    return VQ_OK;
}

static vq_status prepare(training *t, const float *x, size_t n, uint32_t d,
                         const vq_product_train_opts *opts)
{
    vq_status status = vqi_options(&t->opts, sizeof t->opts, opts, "vq_product_train_opts");
    if (status)
        return status;
    if (!t->opts.part)
        return vqi_fail(VQ_E_ARG, "vq_product_train_opts.part is NULL (it says how to train)");
    status = vqi_options(&t->part, sizeof t->part, t->opts.part, "vq_residual_train_opts");
    if (status)
        return status;
    if (t->part.resume || t->part.level_done)
        return vqi_fail(VQ_E_ARG, "vq_product_train_opts.part: resume and level_done must be NULL");
    if (t->part.kmeans.threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.threads is %d (0 means all)",
                        t->part.kmeans.threads);
    t->part.levels = t->part.levels ? t->part.levels : 1;
    t->opts.parts = t->opts.parts ? t->opts.parts : DEFAULT_PARTS;
    if (t->opts.parts > VQ_MAX_LEVELS || t->part.levels > VQ_MAX_LEVELS / t->opts.parts)
        return vqi_fail(VQ_E_ARG, "%u slices of %u levels (at most %d levels in all)",
                        t->opts.parts, t->part.levels, VQ_MAX_LEVELS);
    size_t floats;
    if (!x || !n || !d || !vqi_mul(&floats, n, d))
        return vqi_fail(VQ_E_ARG, "product training on %zu rows of %u floats (give some)", n, d);
    t->x = x;
    t->n = n;
    t->d = d;
    status = find_widths(t);
    if (!status && t->opts.resume)
        status = check_resume(t);
    if (status)
        return status;
    /* Who is told of progress hears of one slice after another. */
    t->threads = vqi_threads(t->part.kmeans.threads, SIZE_MAX);
    t->at_once = t->part.kmeans.progress ? 1 : vqi_threads(t->threads, t->opts.parts);
    t->slices = vqi_alloc((size_t)t->at_once, n * t->widest * sizeof *t->slices);
    return t->slices ? VQ_OK
                     : vqi_fail_nomem((unsigned long long)n * t->widest * sizeof *t->slices);
}

/* A copy, since the quantizer to resume keeps its parts: by way of what is stored. */
static vq_status copy_part(vq_quantizer **out, const vq_quantizer *part)
{
    vq_tensors *tensors;
    vq_status status = vq_tensors_create(&tensors);
    if (status)
        return status;
    status = vq_quantizer_save(tensors, part, "");
    if (!status)
        status = vq_quantizer_load(out, tensors, "", NULL);
    vq_tensors_free(tensors);
    return status;
}

static vq_status tell(const training *t, const vq_kmeans_report *report)
{
    if (!t->opts.part_done)
        return VQ_OK;
    vq_quantizer *so_far;
    const vq_status status = vq_product_create(&so_far, t->parts, t->done);
    if (status)
        return status;
    const int stop = t->opts.part_done(t->opts.part_context, t->done - 1, so_far, report);
    vq_free(so_far); /* but not the parts */
    return stop ? vqi_fail(VQ_E_CANCELLED, "product training was stopped after slice %u",
                           t->done - 1)
                : VQ_OK;
}

/* A slice while it is trained, in a thread that may not be the caller's. */
typedef struct training_part {
    vq_kmeans_report report;
    vq_status status;
    char sentence[512]; /* of a failure: it is its thread's own */
} training_part;

static vq_status train_flat(training *t, uint32_t p, const float *slice, vq_kmeans_report *report,
                            const vq_kmeans_opts *opts)
{
    vq_codebook *codebook;
    vq_status status = vq_kmeans_train(&codebook, report, slice, t->n, t->widths[p], opts);
    if (status)
        return status;
    status = vq_quantizer_from_codebook(&t->parts[p], codebook);
    if (status) {
        vq_codebook_free(codebook);
        vq_kmeans_report_clear(report);
    }
    return status;
}

static void train_part(training_part *own, training *t, uint32_t p, float *slice, int threads)
{
    const uint32_t levels = t->part.levels;
    vq_residual_train_opts part = t->part;
    *own = (training_part){0};
    vqi_slice_take(slice, t->x, t->n, t->d, t->begins[p], t->widths[p]);
    part.kmeans.seed += (uint64_t)p * levels;
    part.kmeans.threads = threads;
    if (t->opts.part_k)
        part.k = t->opts.part_k + (size_t)p * levels;
    if (levels > 1) {
        own->status = vq_residual_train(&t->parts[p], slice, t->n, t->widths[p], &part);
    } else {
        part.kmeans.k = level_k(t, p, 0);
        own->status = train_flat(t, p, slice, &own->report, &part.kmeans);
    }
    if (own->status)
        snprintf(own->sentence, sizeof own->sentence, "%s", vq_last_error());
}

/* The next slices, one for each thread; told of in their order. */
static vq_status train_parts(training *t)
{
    training_part own[VQ_MAX_LEVELS];
    const uint32_t first = t->done, left = t->opts.parts - first,
                   count = left < (uint32_t)t->at_once ? left : (uint32_t)t->at_once;
    const int inner = t->threads / (int)count;
#pragma omp parallel for schedule(static, 1) num_threads((int)count) if (count > 1)
    for (uint32_t i = 0; i < count; i++)
        train_part(&own[i], t, first + i, t->slices + i * t->n * t->widest, inner);
    vq_status status = VQ_OK;
    for (uint32_t i = 0; i < count; i++) {
        if (!status && own[i].status)
            status = vqi_fail(own[i].status, "%s", own[i].sentence);
        if (!status) {
            t->done++;
            status = tell(t, t->part.levels > 1 ? NULL : &own[i].report);
        } else if (!own[i].status) {
            vq_quantizer_free(t->parts[first + i]);
        }
        vq_kmeans_report_clear(&own[i].report);
    }
    return status;
}

vq_status vq_product_train(vq_quantizer **out, const float *x, size_t n, uint32_t d,
                           const vq_product_train_opts *opts)
{
    training t = {0};
    *out = NULL;
    vq_status status = prepare(&t, x, n, d, opts);
    const uint32_t before = !status && t.opts.resume ? vq_product_parts(t.opts.resume) : 0;
    while (t.done < before && !status)
        if (!(status = copy_part(&t.parts[t.done], vq_product_part(t.opts.resume, t.done))))
            t.done++;
    while (t.done < t.opts.parts && !status)
        status = train_parts(&t);
    vqi_free(t.slices);
    if (!status)
        status = vq_product_create(out, t.parts, t.done);
    for (uint32_t p = 0; status && p < t.done; p++)
        vq_quantizer_free(t.parts[p]);
    return status;
}
