/* SPDX-License-Identifier: Apache-2.0 */
/* The kind "simvq": codewords that are a map of a basis, searched as a flat codebook. */
#include "vq/simvq.h"

#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/mapped_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/simvq_internal.h"

enum {
    PIECE = 64, /* basis rows that a thread makes at once */
    WIDE = 32,  /* elements of a codeword that are added up at once */
    PART = 64   /* elements of a basis row that decoding makes at once */
};

/* From so many floats of codewords on, 16 MiB, they are not kept unless that is asked for. */
#define NOT_KEPT_FROM ((double)(1 << 22))

/* With fewer codewords for each of the d numbers, to transform a vector takes more than a quarter of the time of its search. */
#define ROWS_PER_COLUMN 32

typedef struct simvq_quantizer {
    vq_quantizer base;
    vq_simvq_form form;
    float *map;  /* r x d */
    float *bias; /* d, or NULL */
    /* One of the two: */
    vq_codebook *effective;
    vq_codebook *mapped;
} simvq_quantizer;

vq_status vqi_simvq_check(vq_simvq_form *own, const vq_simvq_form *form)
{
    const vq_status status = vqi_options(own, sizeof *own, form, "vq_simvq_form");
    if (status)
        return status;
    if (!own->k || own->k > VQI_MAX_CODEWORDS)
        return vqi_fail(VQ_E_ARG, "vq_simvq_form.k is %u (1 to %d)", own->k, VQI_MAX_CODEWORDS);
    if (!own->dim)
        return vqi_fail(VQ_E_ARG, "vq_simvq_form.dim is 0 (at least 1)");
    own->basis_dim = own->basis_dim ? own->basis_dim : own->dim;
    return VQ_OK;
}

static void begin(float *c, const float *bias, size_t d)
{
    if (bias)
        memcpy(c, bias, d * sizeof *c);
    else
        memset(c, 0, d * sizeof *c);
}

/* Add `count` of the products of one codeword. */
static void add(float *restrict c, const float *q, size_t count, const float *restrict map,
                size_t d)
{
    size_t j = 0;
    for (; j + WIDE <= d; j += WIDE) { /* sums that stay in registers */
        float sum[WIDE];
        memcpy(sum, c + j, sizeof sum);
        for (size_t i = 0; i < count; i++)
            for (size_t l = 0; l < WIDE; l++)
                sum[l] += q[i] * map[i * d + j + l];
        memcpy(c + j, sum, sizeof sum);
    }
    for (size_t i = 0; i < count; i++)
        for (size_t l = j; l < d; l++)
            c[l] += q[i] * map[i * d + l];
}

void vqi_simvq_rows(float *codewords, const float *basis, size_t count, const float *map,
                    const float *bias, uint32_t r, uint32_t d)
{
    for (size_t k = 0; k < count; k++) {
        begin(codewords + k * d, bias, d);
        add(codewords + k * d, basis + k * r, r, map, d);
    }
}

/* The threads that so much work is worth. */
static size_t worth(size_t count, uint32_t r, uint32_t d)
{
    return (size_t)((double)count * r * d / 4e6) + 1;
}

void vqi_simvq_apply(float *codewords, const float *basis, size_t count, const float *map,
                     const float *bias, uint32_t r, uint32_t d, int threads)
{
    const size_t pieces = (count + PIECE - 1) / PIECE;
#pragma omp parallel for schedule(static) num_threads(vqi_threads(threads, worth(count, r, d)))
    for (size_t p = 0; p < pieces; p++) {
        const size_t first = p * PIECE, some = count - first < PIECE ? count - first : PIECE;
        vqi_simvq_rows(codewords + first * d, basis + first * r, some, map, bias, r, d);
    }
}

vq_status vqi_simvq_codewords(float *codewords, const vq_simvq_form *form, const float *map,
                              const float *bias)
{
    const uint32_t r = form->basis_dim, d = form->dim;
    const size_t pieces = ((size_t)form->k + PIECE - 1) / PIECE;
    const int threads = vqi_threads(0, worth(form->k, r, d));
    float *rows = vqi_alloc((size_t)threads * PIECE, (size_t)r * sizeof *rows);
    if (!rows)
        return vqi_fail_nomem((unsigned long long)threads * PIECE * r * sizeof *rows);
#pragma omp parallel num_threads(threads)
    {
        float *own = rows + (size_t)omp_get_thread_num() * PIECE * r;
#pragma omp for schedule(static)
        for (size_t p = 0; p < pieces; p++) {
            const size_t first = p * PIECE,
                         count = form->k - first < PIECE ? form->k - first : PIECE;
            vq_simvq_basis(own, form->seed, r, (uint32_t)first, count);
            vqi_simvq_rows(codewords + first * d, own, count, map, bias, r, d);
        }
    }
    vqi_free(rows);
    return VQ_OK;
}

static void simvq_free(vq_quantizer *base)
{
    simvq_quantizer *q = (simvq_quantizer *)base;
    vq_codebook_free(q->effective);
    vq_codebook_free(q->mapped);
    vqi_free(q->map);
    vqi_free(q->bias);
    vqi_free(q);
}

static vq_status check_finite(const float *values, size_t count, const char *what)
{
    for (size_t i = 0; values && i < count; i++)
        if (!isfinite(values[i]))
            return vqi_fail(VQ_E_NONFINITE, "the %s of SimVQ holds a NaN or an infinity", what);
    return VQ_OK;
}

static vq_status make_codebook(simvq_quantizer *q)
{
    size_t count;
    float *codewords =
        vqi_mul(&count, q->form.k, q->form.dim) ? vqi_alloc(count, sizeof *codewords) : NULL;
    if (!codewords)
        return vqi_fail_nomem((unsigned long long)q->form.k * q->form.dim * sizeof *codewords);
    vq_status status = vqi_simvq_codewords(codewords, &q->form, q->map, q->bias);
    if (!status)
        status = vq_codebook_create(&q->effective, codewords, q->form.k, q->form.dim,
                                    VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    vqi_free(codewords);
    return status;
}

/* What is searched. */
static vq_status make_search(simvq_quantizer *q, vq_simvq_search search)
{
    const double k = q->form.k, d = q->form.dim;
    const int large = k * d >= NOT_KEPT_FROM && q->form.basis_dim <= q->form.dim &&
                      k >= ROWS_PER_COLUMN * d,
              asked = search == VQ_SIMVQ_SEARCH_BASIS;
    vq_status status = VQ_OK;
    if (asked || (search == VQ_SIMVQ_SEARCH_AUTO && large))
        status = vqi_mapped_create(&q->mapped, &q->form, q->map, q->bias, !asked);
    return status || q->mapped ? status : make_codebook(q);
}

vq_status vqi_simvq_create(vq_quantizer **out, const vq_simvq_form *form, const float *map,
                           const float *bias, vq_simvq_search search)
{
    vq_simvq_form own;
    size_t count;
    *out = NULL;
    vq_status status = vqi_simvq_check(&own, form);
    if (!status && !map)
        status = vqi_fail(VQ_E_ARG, "SimVQ without a map");
    if (!status && !vqi_mul(&count, own.basis_dim, own.dim))
        status = vqi_fail(VQ_E_ARG, "a map of %u x %u", own.basis_dim, own.dim);
    if (!status)
        status = check_finite(map, count, "map");
    if (!status)
        status = check_finite(bias, own.dim, "bias");
    if (status)
        return status;
    simvq_quantizer *q = vqi_calloc(1, sizeof *q);
    if (!q)
        return vqi_fail_nomem(sizeof *q);
    q->base = (vq_quantizer){&vqi_simvq_kind, own.dim, 1};
    q->form = own;
    q->map = vqi_alloc(count, sizeof *q->map);
    q->bias = bias ? vqi_alloc(own.dim, sizeof *q->bias) : NULL;
    if (q->map && (q->bias || !bias)) {
        memcpy(q->map, map, count * sizeof *map);
        if (bias)
            memcpy(q->bias, bias, own.dim * sizeof *bias);
        status = make_search(q, search);
    } else {
        status = vqi_fail_nomem((unsigned long long)count * sizeof *map);
    }
    if (status) {
        simvq_free(&q->base);
        return status;
    }
    *out = &q->base;
    return VQ_OK;
}

vq_status vq_simvq_create(vq_quantizer **out, const vq_simvq_form *form, const float *map,
                          const float *bias)
{
    return vqi_simvq_create(out, form, map, bias, VQ_SIMVQ_SEARCH_AUTO);
}

static const simvq_quantizer *as_simvq(const vq_quantizer *q)
{
    return q->kind == &vqi_simvq_kind ? (const simvq_quantizer *)q : NULL;
}

vq_status vq_simvq_get_form(vq_simvq_form *out, const vq_quantizer *simvq)
{
    const simvq_quantizer *q = as_simvq(simvq);
    if (!q)
        return vqi_fail(VQ_E_ARG, "a %s quantizer is no SimVQ", vq_quantizer_kind(simvq));
    *out = q->form;
    return VQ_OK;
}

vq_status vq_simvq_search_as(vq_quantizer **out, const vq_quantizer *simvq, vq_simvq_search search)
{
    vq_simvq_form form;
    *out = NULL;
    const vq_status status = vq_simvq_get_form(&form, simvq);
    if (status)
        return status;
    if (search != VQ_SIMVQ_SEARCH_AUTO && search != VQ_SIMVQ_SEARCH_BASIS &&
        search != VQ_SIMVQ_SEARCH_CODEWORDS)
        return vqi_fail(VQ_E_ARG, "%d is not a vq_simvq_search", (int)search);
    return vqi_simvq_create(out, &form, vq_simvq_map(simvq), vq_simvq_bias(simvq), search);
}

vq_status vqi_simvq_with_codewords(vq_quantizer **made, const vq_quantizer **quantizer)
{
    *made = NULL;
    if (vq_simvq_get_search(*quantizer) != VQ_SIMVQ_SEARCH_BASIS)
        return VQ_OK;
    const vq_status status = vq_simvq_search_as(made, *quantizer, VQ_SIMVQ_SEARCH_CODEWORDS);
    if (!status)
        *quantizer = *made;
    return status;
}

vq_simvq_search vq_simvq_get_search(const vq_quantizer *simvq)
{
    const simvq_quantizer *q = as_simvq(simvq);
    return !q          ? VQ_SIMVQ_SEARCH_AUTO
           : q->mapped ? VQ_SIMVQ_SEARCH_BASIS
                       : VQ_SIMVQ_SEARCH_CODEWORDS;
}

const float *vq_simvq_map(const vq_quantizer *simvq)
{
    const simvq_quantizer *q = as_simvq(simvq);
    return q ? q->map : NULL;
}

const float *vq_simvq_bias(const vq_quantizer *simvq)
{
    const simvq_quantizer *q = as_simvq(simvq);
    return q ? q->bias : NULL;
}

static uint32_t simvq_k(const vq_quantizer *q, uint32_t level)
{
    (void)level;
    return ((const simvq_quantizer *)q)->form.k;
}

static const vq_codebook *effective(const vq_quantizer *q, uint32_t level)
{
    (void)level;
    return ((const simvq_quantizer *)q)->effective;
}

static const vq_codebook *searched(const vq_quantizer *base)
{
    const simvq_quantizer *q = (const simvq_quantizer *)base;
    return q->mapped ? q->mapped : q->effective;
}

static size_t simvq_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
{
    return vq_nearest_workspace(searched(q), n, opts->threads);
}

static vq_status simvq_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                                const vq_quantize_opts *opts)
{
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = opts->threads;
    search.workspace = opts->workspace;
    search.workspace_size = opts->workspace_size;
    return vq_nearest(codes, NULL, searched(q), x, n, &search);
}

/* A codeword as encoding made it, from its basis row piece by piece. */
static void decode(float *x, const simvq_quantizer *q, uint32_t code)
{
    const uint32_t r = q->form.basis_dim, d = q->form.dim;
    float part[PART];
    begin(x, q->bias, d);
    for (uint32_t i = 0; i < r; i += PART) {
        const uint32_t count = r - i < PART ? r - i : PART;
        vqi_simvq_basis_part(part, q->form.seed, r, code, i, count);
        add(x, part, count, q->map + (size_t)i * d, d);
    }
}

static vq_status simvq_dequantize(float *x, const vq_quantizer *base, const uint32_t *codes,
                                  size_t n, const vq_quantize_opts *opts)
{
    const simvq_quantizer *q = (const simvq_quantizer *)base;
    const size_t d = q->form.dim;
    if (q->effective) {
        const float *codewords = vq_codebook_codewords(q->effective);
        for (size_t i = 0; i < n; i++)
            memcpy(x + i * d, codewords + codes[i] * d, d * sizeof *x);
        return VQ_OK;
    }
    const int threads = vqi_threads(opts->threads, worth(n, q->form.basis_dim, q->form.dim));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < n; i++)
        decode(x + i * d, q, codes[i]);
    return VQ_OK;
}

const vqi_quantizer_kind vqi_simvq_kind = {
    .name = "simvq",
    .free = simvq_free,
    .k = simvq_k,
    .codebook = effective,
    .workspace = simvq_workspace,
    .quantize = simvq_quantize,
    .dequantize = simvq_dequantize,
    .save = vqi_simvq_save,
    .load = vqi_simvq_load,
    .from_codebooks = NULL,
};
