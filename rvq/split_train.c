/* SPDX-License-Identifier: Apache-2.0 */
/* Training of split quantizers: of the rest that part 0 leaves, or of two subspaces side by side. */
#include <math.h>
#include <string.h>

#include "rvq/components_internal.h"
#include "rvq/parts_internal.h"
#include "rvq/projected.h"
#include "rvq/split.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

enum { DEFAULT_ACOUSTIC_LEVELS = 4 };

typedef struct training {
    vq_split_train_opts opts;
    vq_kmeans_opts semantic;
    vq_residual_train_opts acoustic;
    const float *x; /* n x d */
    size_t n;
    uint32_t d;
    uint32_t m;                  /* VQ_SPLIT_SAME: dimensions of part 0 */
    double *mean, *basis;        /* d; d x d, the first m rows are part 0's */
    float *semantic_x, *other_x; /* what the parts are trained on */
    vq_quantizer *parts[2];
} training;

static vq_status resolve(training *t, const float *x, size_t n, uint32_t d,
                         const vq_split_train_opts *opts)
{
    vq_split_train_opts *o = &t->opts;
    vq_status status = vqi_options(o, sizeof *o, opts, "vq_split_train_opts");
    if (!status && (!o->semantic || !o->acoustic))
        status = vqi_fail(VQ_E_ARG, "vq_split_train_opts: semantic and acoustic are required");
    if (!status)
        status =
            vqi_options(&t->acoustic, sizeof t->acoustic, o->acoustic, "vq_residual_train_opts");
    if (!status)
        status = vqi_options(&t->semantic, sizeof t->semantic, o->semantic, "vq_kmeans_opts");
    if (status)
        return status;
    size_t floats;
    if (t->acoustic.resume || t->acoustic.level_done)
        return vqi_fail(VQ_E_ARG,
                        "vq_split_train_opts.acoustic: resume and level_done must be NULL");
    if (t->semantic.seeds)
        return vqi_fail(VQ_E_ARG, "vq_split_train_opts.semantic: seeds must be NULL");
    if (!x || !n || !d || !vqi_mul(&floats, n, d))
        return vqi_fail(VQ_E_ARG, "split training on %zu rows of %u floats (give some)", n, d);
    if (o->input != VQ_SPLIT_REST && o->input != VQ_SPLIT_SAME)
        return vqi_fail(VQ_E_ARG, "%d is not a vq_split_input", (int)o->input);
    const int same = o->input == VQ_SPLIT_SAME;
    o->teacher_dim = o->teacher_dim ? o->teacher_dim : d;
    if (!same && (o->teacher_dim != d || o->semantic_dim))
        return vqi_fail(VQ_E_ARG,
                        "vq_split_train_opts: teacher_dim and semantic_dim are for VQ_SPLIT_SAME");
    if (same && t->semantic.metric != VQ_METRIC_EUCLIDEAN)
        return vqi_fail(VQ_E_ARG,
                        "vq_split_train_opts.semantic: metric %s (outputs that add up "
                        "are euclidean)",
                        vq_metric_name(t->semantic.metric));
    if (same && (d < 2 || d > VQ_PROJECTED_MAX_DIM))
        return vqi_fail(VQ_E_ARG,
                        "rows of %u numbers cannot be shared out between two parts side by side (2 "
                        "to %d)",
                        d, VQ_PROJECTED_MAX_DIM);
    if (same && o->semantic_dim >= d)
        return vqi_fail(VQ_E_ARG, "vq_split_train_opts.semantic_dim is %u of %u (leave some)",
                        o->semantic_dim, d);
    t->x = x;
    t->n = n;
    t->d = d;
    return VQ_OK;
}

static vq_status train_semantic(training *t, const float *x, uint32_t d)
{
    vq_codebook *codebook;
    vq_status status = vq_kmeans_train(&codebook, NULL, x, t->n, d, &t->semantic);
    if (status)
        return status;
    status = vq_quantizer_from_codebook(&t->parts[0], codebook);
    if (status)
        vq_codebook_free(codebook);
    return status;
}

/* x less what part 0 says of it. */
static vq_status find_rest(training *t)
{
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.threads = t->semantic.threads;
    uint32_t *codes = vqi_alloc(t->n, sizeof *codes);
    t->other_x = vqi_alloc(t->n, t->d * sizeof *t->other_x);
    vq_status status = codes && t->other_x
                           ? vq_quantize(codes, t->parts[0], t->x, t->n, &opts)
                           : vqi_fail_nomem((unsigned long long)t->n * t->d * sizeof *t->other_x);
    if (!status)
        status = vq_dequantize(t->other_x, t->parts[0], codes, t->n, &opts);
    vq_free(codes);
    for (size_t i = 0; !status && i < t->n * t->d; i++)
        t->other_x[i] = t->x[i] - t->other_x[i];
    return status;
}

static vq_status train_rest(training *t)
{
    vq_status status = train_semantic(t, t->opts.teacher ? t->opts.teacher : t->x, t->d);
    if (!status)
        status = find_rest(t);
    return status ? status : vq_residual_train(&t->parts[1], t->other_x, t->n, t->d, &t->acoustic);
}

/* log2, with straight lines between the powers of two: the same everywhere, and near enough to share out bits. */
static double rough_log2(double value)
{
    int exponent;
    const double mantissa = frexp(value, &exponent);
    return exponent - 2 + 2 * mantissa;
}

/* Bits of a direction when everything below the water line is left out: log2 of its deviation over that of the line. */
static double bits_above(double log_variance, double line)
{
    return log_variance > line ? (log_variance - line) / 2 : 0;
}

/*
 * Bits are shared out by reverse water-filling: those directions get some whose variance is above a line, and all keep the error of
 * the line. Part 0 has the first directions, as many as make up its bits.
 * @param variance of each direction; its logarithm takes its place.
 */
static uint32_t choose_dim(const training *t, double *variance)
{
    const vq_residual_train_opts *acoustic = &t->acoustic;
    const uint32_t levels = acoustic->levels ? acoustic->levels : DEFAULT_ACOUSTIC_LEVELS;
    const double own = rough_log2(t->semantic.k);
    double all = own, high = -INFINITY;
    for (uint32_t l = 0; l < levels; l++)
        all += rough_log2(acoustic->k ? acoustic->k[l] : acoustic->kmeans.k);
    for (uint32_t i = 0; i < t->d; i++) {
        variance[i] = variance[i] > 0 ? rough_log2(variance[i]) : -INFINITY;
        high = variance[i] > high ? variance[i] : high;
    }
    double low = high - 2 * all; /* there the largest alone would have all bits */
    for (int step = 0; step < 60; step++) {
        const double line = (low + high) / 2;
        double sum = 0;
        for (uint32_t i = 0; i < t->d; i++)
            sum += bits_above(variance[i], line);
        *(sum < all ? &high : &low) = line;
    }
    double sum = 0;
    uint32_t m = 0;
    while (m + 1 < t->d) {
        const double next = sum + bits_above(variance[m], low);
        if (m && next - own > own - sum) /* without it the sum is nearer */
            break;
        sum = next;
        m++;
    }
    return m;
}

/* Rows along the basis: those of all directions at other_x, then part 0's own at semantic_x and the others closed up. */
static vq_status rotate(training *t)
{
    const size_t d = t->d, n = t->n;
    const int threads = vqi_threads(t->semantic.threads, n / 256 + 1);
    double *variance = vqi_calloc(d, sizeof *variance),
           *row = vqi_alloc((size_t)threads, d * sizeof *row);
    t->other_x = vqi_alloc(n, d * sizeof *t->other_x);
    if (!variance || !row || !t->other_x) {
        vq_free(variance);
        vq_free(row);
        return vqi_fail_nomem((unsigned long long)n * d * sizeof *t->other_x);
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < n; i++) {
        double *mine = row + (size_t)omp_get_thread_num() * d;
        for (size_t j = 0; j < d; j++)
            mine[j] = t->x[i * d + j] - t->mean[j];
        for (size_t j = 0; j < d; j++)
            t->other_x[i * d + j] = (float)vqi_dot_double(t->basis + j * d, mine, d);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            variance[j] += (double)t->other_x[i * d + j] * t->other_x[i * d + j];
    t->m = t->opts.semantic_dim ? t->opts.semantic_dim : choose_dim(t, variance);
    vq_free(variance);
    vq_free(row);
    t->semantic_x = vqi_alloc(n, t->m * sizeof *t->semantic_x);
    if (!t->semantic_x)
        return vqi_fail_nomem((unsigned long long)n * t->m * sizeof *t->semantic_x);
    for (size_t i = 0; i < n; i++) {
        memcpy(t->semantic_x + i * t->m, t->other_x + i * d, t->m * sizeof *t->semantic_x);
        memmove(t->other_x + i * (d - t->m), t->other_x + i * d + t->m,
                (d - t->m) * sizeof *t->other_x);
    }
    return VQ_OK;
}

/* Put a part behind its rows of the basis. The mean of x comes back with part 0. */
static vq_status project(training *t, int part)
{
    const size_t d = t->d, first = part ? t->m : 0, m = part ? d - t->m : t->m;
    float *in = vqi_alloc(m * d, sizeof *in), *back = vqi_alloc(m * d, sizeof *back),
          *in_bias = vqi_alloc(m, sizeof *in_bias), *mean = vqi_alloc(d, sizeof *mean);
    vq_status status = in && back && in_bias && mean
                           ? VQ_OK
                           : vqi_fail_nomem((unsigned long long)m * d * sizeof *in);
    for (size_t i = 0; i < m && !status; i++) {
        const double *row = t->basis + (first + i) * d;
        in_bias[i] = (float)-vqi_dot_double(row, t->mean, d);
        for (size_t j = 0; j < d; j++)
            in[i * d + j] = back[j * m + i] = (float)row[j];
    }
    for (size_t j = 0; j < d && !status; j++)
        mean[j] = (float)t->mean[j];
    vq_quantizer *projected;
    if (!status)
        status = vq_projected_create(&projected, t->parts[part], t->d, in, in_bias, back,
                                     part ? NULL : mean);
    if (!status)
        t->parts[part] = projected;
    vq_free(in);
    vq_free(back);
    vq_free(in_bias);
    vq_free(mean);
    return status;
}

static vq_status train_same(training *t)
{
    const size_t d = t->d;
    const float *teacher = t->opts.teacher ? t->opts.teacher : t->x;
    const size_t e = t->opts.teacher ? t->opts.teacher_dim : d;
    for (size_t i = 0; i < t->n * d; i++)
        if (!isfinite(t->x[i]))
            return vqi_fail_nonfinite(t->x, 0, t->n, d);
    for (size_t i = 0; i < t->n * e; i++)
        if (!isfinite(teacher[i]))
            return vqi_fail(VQ_E_NONFINITE, "row %zu of the teacher holds a NaN or an infinity",
                            i / e);
    t->mean = vqi_alloc(d, sizeof *t->mean);
    t->basis = vqi_alloc(d * d, sizeof *t->basis);
    vq_status status = t->mean && t->basis
                           ? vqi_cross_components(t->mean, t->basis, t->x, teacher, t->n, d, e,
                                                  t->semantic.threads)
                           : vqi_fail_nomem((unsigned long long)d * d * sizeof *t->basis);
    if (!status)
        status = rotate(t);
    if (!status)
        status = train_semantic(t, t->semantic_x, t->m);
    if (!status)
        status = vq_residual_train(&t->parts[1], t->other_x, t->n, t->d - t->m, &t->acoustic);
    for (int p = 0; !status && p < 2; p++)
        status = project(t, p);
    return status;
}

vq_status vq_split_train(vq_quantizer **out, const float *x, size_t n, uint32_t d,
                         const vq_split_train_opts *opts)
{
    training t = {0};
    *out = NULL;
    vq_status status = resolve(&t, x, n, d, opts);
    if (!status)
        status = t.opts.input == VQ_SPLIT_SAME ? train_same(&t) : train_rest(&t);
    if (!status)
        status = vq_split_create(out, t.parts, 2, t.opts.input);
    for (int p = 0; status && p < 2; p++)
        vq_quantizer_free(t.parts[p]);
    vq_free(t.mean);
    vq_free(t.basis);
    vq_free(t.semantic_x);
    vq_free(t.other_x);
    return status;
}
