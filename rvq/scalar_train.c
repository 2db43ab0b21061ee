/* SPDX-License-Identifier: Apache-2.0 */
/* Scalar quantizers for features: components, their quantizer, the least squares back. */
#include "rvq/scalar_train.h"

#include <math.h>
#include <string.h>

#include "rvq/components_internal.h"
#include "rvq/projected_internal.h"
#include "rvq/scalar_train_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

enum { MOST_ROWS = 1 << 17, DEFAULT_K = 256, DEFAULT_ITERATIONS = 25 };

typedef struct training {
    vq_scalar_train_opts opts;
    size_t n; /* rows of the sample */
    uint32_t d;
    uint32_t components; /* that are looked at */
    uint32_t bits;       /* LFQ and BSQ: of a level */
    uint32_t m;          /* dimensions of the code space */
    float *x;            /* n x d, the sample */
    double *mean;        /* d */
    double *variance;    /* components */
    double *component;   /* components x d */
    double *values;      /* components x n */
    double *map;         /* m x d: into the code space */
    vq_quantizer *inner; /* until a projected one owns it */
    vq_quantizer *projected;
} training;

static vq_status resolve_fsq(training *t)
{
    vq_scalar_train_opts *o = &t->opts;
    if ((unsigned)o->bound > VQ_FSQ_CLAMP)
        return vqi_fail(VQ_E_ARG, "vq_scalar_train_opts.bound is %d (see vq_fsq_bound)",
                        (int)o->bound);
    const uint32_t least = o->bound == VQ_FSQ_TANH ? 3 : 2;
    if (o->bins && (!o->bin_count || o->bin_count >= VQI_MOST_NUMBERS))
        return vqi_fail(VQ_E_ARG, "vq_scalar_train_opts.bin_count is %u (1 to %d)", o->bin_count,
                        VQI_MOST_NUMBERS - 1);
    for (uint32_t i = 0; o->bins && i < o->bin_count; i++)
        if (o->bins[i] < least || o->bins[i] > VQ_FSQ_MAX_BINS)
            return vqi_fail(VQ_E_ARG, "vq_scalar_train_opts.bins[%u] is %u (%s: %u to %d)", i,
                            o->bins[i], vq_fsq_bound_name(o->bound), least, VQ_FSQ_MAX_BINS);
    uint32_t numbers = o->bins ? o->bin_count : 0;
    for (uint64_t product = least; !o->bins && product <= o->k; product *= least)
        numbers++;
    if (!numbers)
        return vqi_fail(VQ_E_ARG, "vq_scalar_train_opts.k is %u (at least %u)", o->k, least);
    if (o->bins && numbers * o->levels > t->d)
        return vqi_fail(VQ_E_ARG, "%u bins on each of %u levels are more than the %u dimensions",
                        numbers, o->levels, t->d);
    t->components = numbers * o->levels < t->d ? numbers * o->levels : t->d;
    return VQ_OK;
}

static vq_status resolve_lfq(training *t)
{
    const uint32_t k = t->opts.k, levels = t->opts.levels;
    while (t->bits < 31 && (uint32_t)1 << t->bits < k)
        t->bits++;
    if ((uint32_t)1 << t->bits != k || k < 2)
        return vqi_fail(VQ_E_ARG, "vq_scalar_train_opts.k is %u (a power of 2, 2 to 2^31)", k);
    if ((uint64_t)t->bits * levels > t->d)
        return vqi_fail(
            VQ_E_ARG,
            "%u bits on each of %u levels are more than the %u dimensions (one for each bit)",
            t->bits, levels, t->d);
    t->components = t->bits * levels;
    return VQ_OK;
}

static vq_status resolve(training *t, size_t n, uint32_t d, const vq_scalar_train_opts *opts)
{
    vq_scalar_train_opts *o = &t->opts;
    const vq_status status = vqi_options(o, sizeof *o, opts, "vq_scalar_train_opts");
    if (status)
        return status;
    o->k = o->k ? o->k : DEFAULT_K;
    o->levels = o->levels ? o->levels : 1;
    o->iterations = o->iterations ? o->iterations : DEFAULT_ITERATIONS;
    if (!n || !d)
        return vqi_fail(VQ_E_ARG, "scalar training on %zu rows of %u floats (give some)", n, d);
    if ((unsigned)o->kind > VQ_SCALAR_BSQ)
        return vqi_fail(VQ_E_ARG, "vq_scalar_train_opts.kind is %d (see vq_scalar_kind)",
                        (int)o->kind);
    if (o->levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "vq_scalar_train_opts.levels is %u (at most %d)", o->levels,
                        VQ_MAX_LEVELS);
    if (o->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_scalar_train_opts.threads is %d (0 = all)", o->threads);
    t->d = d;
    return o->kind == VQ_SCALAR_FSQ ? resolve_fsq(t) : resolve_lfq(t);
}

/* Row j of the sample is row floor(j n / rows) of the whole. */
static vq_status take_sample(training *t, const float *x, size_t n)
{
    const size_t d = t->d;
    t->n = n < MOST_ROWS ? n : MOST_ROWS;
    t->x = vqi_alloc(t->n * d, sizeof *t->x);
    t->mean = vqi_alloc(d, sizeof *t->mean);
    t->variance = vqi_alloc(t->components, sizeof *t->variance);
    t->component = vqi_alloc(t->components * d, sizeof *t->component);
    t->values = vqi_alloc(t->components * t->n, sizeof *t->values);
    t->map = vqi_calloc(t->components * d, sizeof *t->map);
    if (!t->x || !t->mean || !t->variance || !t->component || !t->values || !t->map)
        return vqi_fail_nomem((unsigned long long)t->n * d * sizeof *t->x);
    for (size_t j = 0; j < t->n; j++) {
        const size_t row = (size_t)((unsigned __int128)j * n / t->n);
        memcpy(t->x + j * d, x + row * d, d * sizeof *x);
        for (size_t i = 0; i < d; i++)
            if (!isfinite(x[row * d + i]))
                return vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", row);
    }
    return VQ_OK;
}

static void find_values(training *t)
{
    const size_t d = t->d, n = t->n;
    const int threads = vqi_threads(t->opts.threads, n / 1024 + 1);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < t->components; i++) {
            double sum = 0;
            for (size_t j = 0; j < d; j++)
                sum += (t->x[r * d + j] - t->mean[j]) * t->component[i * d + j];
            t->values[i * n + r] = sum;
        }
}

static vq_status make_fsq(training *t, const vqi_component_rows *rows)
{
    enum { MOST = VQ_MAX_LEVELS * VQI_MOST_NUMBERS };
    uint32_t picked[MOST], bins[MOST], dims[VQ_MAX_LEVELS], flat[MOST];
    double gain[MOST];
    vq_fsq_opts opts = VQ_FSQ_OPTS_INIT;
    const vq_status status = vqi_fsq_choose(picked, bins, gain, dims, rows, &t->opts);
    if (status)
        return status;
    for (uint32_t l = 0; l < t->opts.levels; l++)
        for (uint32_t i = 0; i < dims[l]; i++) {
            const size_t at = (size_t)l * VQI_MOST_NUMBERS + i;
            for (uint32_t j = 0; j < t->d; j++)
                t->map[(size_t)t->m * t->d + j] =
                    gain[at] * t->component[(size_t)picked[at] * t->d + j];
            flat[t->m++] = bins[at];
        }
    opts.bound = t->opts.bound;
    opts.levels = t->opts.levels;
    opts.dims = dims;
    return vq_fsq_create(&t->inner, flat, t->m, &opts);
}

static vq_status make_lfq(training *t, const vqi_component_rows *rows)
{
    const size_t m = t->m = t->components;
    double *rotation = vqi_alloc(m * m, sizeof *rotation);
    if (!rotation)
        return vqi_fail_nomem(m * m * sizeof *rotation);
    vq_status status = vqi_lfq_rotation(rotation, rows, &t->opts);
    for (size_t j = 0; j < m && !status; j++)
        for (size_t i = 0; i < m; i++)
            for (size_t k = 0; k < t->d; k++)
                t->map[j * t->d + k] += rotation[i * m + j] * t->component[i * t->d + k];
    vq_free(rotation);
    if (status)
        return status;
    vq_lfq_opts opts = VQ_LFQ_OPTS_INIT;
    opts.spherical = t->opts.kind == VQ_SCALAR_BSQ;
    opts.levels = t->opts.levels;
    return vq_lfq_create(&t->inner, t->m, &opts);
}

/* The projected quantizer, with zeros as the map back (d x m). It owns the inner one. */
static vq_status project(training *t, const float *zeros)
{
    float *in = vqi_alloc((size_t)t->m * t->d, sizeof *in), *bias = vqi_alloc(t->m, sizeof *bias);
    vq_status status =
        in && bias ? VQ_OK : vqi_fail_nomem((unsigned long long)t->m * t->d * sizeof *in);
    for (size_t i = 0; i < t->m && !status; i++) {
        for (size_t j = 0; j < t->d; j++)
            in[i * t->d + j] = (float)t->map[i * t->d + j];
        bias[i] = (float)-vqi_dot_double(t->map + i * t->d, t->mean, t->d);
    }
    if (!status)
        status = vq_projected_create(&t->projected, t->inner, t->d, in, bias, zeros, NULL);
    vq_free(in);
    vq_free(bias);
    return status;
}

/* What the codes of the sample decode to in the code space: n x m. */
static vq_status code_space(training *t, float *decoded)
{
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    float *zeros = vqi_calloc((size_t)t->m * t->d, sizeof *zeros);
    uint32_t *codes = vqi_alloc(t->n * t->opts.levels, sizeof *codes);
    vq_status status = zeros && codes
                           ? project(t, zeros)
                           : vqi_fail_nomem((unsigned long long)t->m * t->d * sizeof *zeros);
    opts.threads = t->opts.threads;
    if (!status)
        status = vq_quantize(codes, t->projected, t->x, t->n, &opts);
    if (!status)
        status = vq_dequantize(decoded, vq_projected_inner(t->projected), codes, t->n, &opts);
    vq_free(zeros);
    vq_free(codes);
    return status;
}

typedef struct least_squares {
    double *mean;    /* m, of the decoded numbers */
    double *columns; /* m x n: without their mean */
    double *square;  /* m x m */
    double *cross;   /* m x d */
    double *values, *vectors;
    float *back, *bias;
} least_squares;

static void gather(least_squares *s, const training *t, const float *decoded)
{
    const size_t n = t->n, m = t->m, d = t->d;
    const int threads = vqi_threads(t->opts.threads, m);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < m; i++) {
        double sum = 0;
        for (size_t r = 0; r < n; r++)
            sum += decoded[r * m + i];
        s->mean[i] = sum / (double)n;
        for (size_t r = 0; r < n; r++)
            s->columns[i * n + r] = decoded[r * m + i] - s->mean[i];
        for (size_t r = 0; r < n; r++)
            for (size_t j = 0; j < d; j++)
                s->cross[i * d + j] += s->columns[i * n + r] * (t->x[r * d + j] - t->mean[j]);
    }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j <= i; j++)
            s->square[i * m + j] = s->square[j * m + i] =
                vqi_dot_double(s->columns + i * n, s->columns + j * n, n);
}

/* back = (square^+ cross)', by eigenvalues, so that numbers that never vary do no harm. */
static void solve(least_squares *s, const training *t)
{
    const size_t m = t->m, d = t->d;
    vqi_eigen_symmetric(s->values, s->vectors, s->square, m);
    for (size_t j = 0; j < d; j++) {
        double bias = t->mean[j];
        for (size_t i = 0; i < m; i++)
            s->columns[i] = 0;
        for (size_t k = 0; k < m; k++) {
            double along = 0;
            for (size_t i = 0; i < m; i++)
                along += s->vectors[k * m + i] * s->cross[i * d + j];
            if (s->values[k] > s->values[0] * 1e-12)
                for (size_t i = 0; i < m; i++)
                    s->columns[i] += s->vectors[k * m + i] * along / s->values[k];
        }
        for (size_t i = 0; i < m; i++) {
            s->back[j * m + i] = (float)s->columns[i];
            bias -= s->columns[i] * s->mean[i];
        }
        s->bias[j] = (float)bias;
    }
}

static vq_status fit_back(training *t, least_squares *s)
{
    const size_t n = t->n, m = t->m, d = t->d;
    float *decoded = vqi_alloc(n * m, sizeof *decoded);
    s->mean = vqi_alloc(m, sizeof(double));
    s->columns = vqi_alloc(m * n, sizeof(double));
    s->square = vqi_alloc(m * m, sizeof(double));
    s->cross = vqi_calloc(m * d, sizeof(double));
    s->values = vqi_alloc(m, sizeof(double));
    s->vectors = vqi_alloc(m * m, sizeof(double));
    s->back = vqi_alloc(m * d, sizeof(float));
    s->bias = vqi_alloc(d, sizeof(float));
    vq_status status = VQ_OK;
    if (!decoded || !s->mean || !s->columns || !s->square || !s->cross || !s->values ||
        !s->vectors || !s->back || !s->bias)
        status = vqi_fail_nomem((unsigned long long)n * m * sizeof(double));
    if (!status)
        status = code_space(t, decoded);
    if (!status) {
        gather(s, t, decoded);
        solve(s, t);
    }
    vq_free(decoded);
    return status;
}

static void clear(training *t, least_squares *s)
{
    void *const all[] = {t->x,      t->mean,    t->variance, t->component, t->values,
                         t->map,    s->mean,    s->columns,  s->square,    s->cross,
                         s->values, s->vectors, s->back,     s->bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        vq_free(all[i]);
    vq_quantizer_free(t->projected ? t->projected : t->inner);
}

vq_status vq_scalar_train(vq_quantizer **out, const float *x, size_t n, uint32_t d,
                          const vq_scalar_train_opts *opts)
{
    training t = {0};
    least_squares s = {0};
    *out = NULL;
    vq_status status = resolve(&t, n, d, opts);
    if (!status)
        status = take_sample(&t, x, n);
    if (!status)
        status = vqi_components(t.mean, t.variance, t.component, t.x, t.n, d, t.components,
                                t.opts.threads);
    if (!status) {
        find_values(&t);
        const vqi_component_rows rows = {t.n, t.components, t.values, t.variance, t.opts.threads};
        status = t.opts.kind == VQ_SCALAR_FSQ ? make_fsq(&t, &rows) : make_lfq(&t, &rows);
    }
    if (!status)
        status = fit_back(&t, &s);
    if (!status) { /* the same inner quantizer, with the map back that was found for it */
        vqi_projected_set_back(t.projected, s.back, s.bias);
        *out = t.projected;
        t.projected = NULL;
        t.inner = NULL;
    }
    clear(&t, &s);
    return status;
}
