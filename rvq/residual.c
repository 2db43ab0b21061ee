/* SPDX-License-Identifier: Apache-2.0 */
/* The kind "residual": a stack of codebooks, encoded greedily (here) or by beam search (beam.c), decoded by summing. */
#include "rvq/residual.h"

#include <math.h>
#include <string.h>

#include "rvq/beam_internal.h"
#include "rvq/residual_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

static const vq_codebook *level_codebook(const vq_quantizer *q, uint32_t level)
{
    return ((const vqi_residual *)q)->codebooks[level];
}

void vqi_residual_free_codebooks(vq_codebook *const *codebooks, uint32_t levels)
{
    for (uint32_t l = 1; l < levels; l++)
        if (codebooks[l] != codebooks[0])
            vq_codebook_free(codebooks[l]);
    if (levels)
        vq_codebook_free(codebooks[0]);
}

static void residual_free(vq_quantizer *q)
{
    vqi_residual *own = (vqi_residual *)q;
    vqi_rate_clear(own);
    vq_free(own->tables);
    if (own->owner)
        vqi_residual_free_codebooks(own->codebooks, q->levels);
    vq_free(own);
}

static uint32_t residual_k(const vq_quantizer *q, uint32_t level)
{
    return vq_codebook_k(level_codebook(q, level));
}

/* Vectors are encoded in blocks of about 256 KiB, which stay in a level-2 cache for all levels. */
static size_t block_rows(const vq_quantizer *q, size_t n)
{
    const size_t fit = ((size_t)1 << 16) / q->dim, rows = fit > 384 ? 384 : fit < 96 ? 96 : fit;
    return n >= rows ? rows : n ? n : 1;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* What one thread holds: the residuals and the codes of a block, then what vq_nearest() wants. */
static size_t block_workspace(const vq_quantizer *q, size_t rows, int threads)
{
    size_t search = 0;
    for (uint32_t l = 0; l < q->levels; l++) {
        const size_t need = vq_nearest_workspace(level_codebook(q, l), rows, threads);
        search = need > search ? need : search;
    }
    return aligned(rows * q->dim * sizeof(float)) + aligned(rows * sizeof(uint32_t)) + search;
}

/* Threads take blocks; where there is but one block, they share each of its searches. */
static int block_threads(size_t n, size_t rows, int threads)
{
    return vqi_threads(threads, (n + rows - 1) / rows);
}

static bool is_greedy(const vq_quantize_opts *opts)
{
    return opts->beam == 1 && opts->lambda == 0;
}

static size_t residual_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
{
    if (!is_greedy(opts))
        return vqi_beam_workspace(q, n, opts);
    const size_t rows = block_rows(q, n);
    const size_t shared = block_workspace(q, rows, opts->threads),
                 own = block_workspace(q, rows, 1) * (size_t)block_threads(n, rows, opts->threads);
    return shared > own ? shared : own;
}

void vqi_residual_subtract(float *residual, const vq_codebook *codebook, const uint32_t *codes,
                           size_t stride, size_t n, int threads)
{
    const size_t d = vq_codebook_dim(codebook);
    const float *codewords = vq_codebook_codewords(codebook);
    const int used = vqi_threads(threads, n * d / 32768 + 1);
#pragma omp parallel for schedule(static) num_threads(used)
    for (size_t i = 0; i < n; i++) {
        float *restrict r = residual + i * d;
        const float *restrict c = codewords + codes[i * stride] * d;
        for (size_t j = 0; j < d; j++)
            r[j] -= c[j];
    }
}

/* The residuals of level 0 are the vectors. The row number in the sentence is the caller's. */
static vq_status copy_finite(float *to, const float *x, size_t first, size_t count, size_t d)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < d; j++) {
            const float value = x[(first + i) * d + j];
            if (!isfinite(value))
                return vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", first + i);
            to[i * d + j] = value;
        }
    return VQ_OK;
}

/* All levels of the block that begins at row `first`. */
static vq_status quantize_block(uint32_t *codes, const vq_quantizer *q, const float *x,
                                size_t first, size_t count, uint32_t levels, int threads,
                                char *workspace, size_t workspace_size)
{
    const size_t d = q->dim;
    const size_t residual_bytes = aligned(count * d * sizeof(float)),
                 code_bytes = aligned(count * sizeof(uint32_t));
    float *residual = (float *)(void *)workspace;
    uint32_t *level_codes = (uint32_t *)(void *)(workspace + residual_bytes);
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = threads;
    search.workspace = workspace + residual_bytes + code_bytes;
    search.workspace_size = workspace_size - residual_bytes - code_bytes;
    vq_status status = copy_finite(residual, x, first, count, d);
    for (uint32_t l = 0; l < levels && !status; l++) {
        const vq_codebook *codebook = level_codebook(q, l);
        status = vq_nearest(level_codes, NULL, codebook, residual, count, &search);
        if (status)
            break;
        for (size_t i = 0; i < count; i++)
            codes[(first + i) * levels + l] = level_codes[i];
        if (l + 1 < levels)
            vqi_residual_subtract(residual, codebook, level_codes, 1, count, threads);
    }
    return status;
}

static vq_status residual_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                                   const vq_quantize_opts *opts)
{
    if (!is_greedy(opts))
        return vqi_beam_quantize(codes, q, x, n, opts);
    const size_t rows = block_rows(q, n), blocks = rows ? (n + rows - 1) / rows : 0;
    const int threads = block_threads(n, rows, opts->threads);
    char *workspace = opts->workspace;
    if (blocks <= 1)
        return n ? quantize_block(codes, q, x, 0, n, opts->levels, opts->threads, workspace,
                                  opts->workspace_size)
                 : VQ_OK;
    const size_t own = block_workspace(q, rows, 1);
    size_t bad = blocks;
#pragma omp parallel for schedule(dynamic) num_threads(threads) reduction(min : bad)
    for (size_t b = 0; b < blocks; b++) {
        const size_t first = b * rows, count = n - first < rows ? n - first : rows;
        if (quantize_block(codes, q, x, first, count, opts->levels, 1,
                           workspace + (size_t)omp_get_thread_num() * own, own))
            bad = b < bad ? b : bad;
    }
    if (bad == blocks)
        return VQ_OK;
    /* The sentence of a failure is its thread's own: fail again in this one. */
    const size_t first = bad * rows, count = n - first < rows ? n - first : rows;
    return quantize_block(codes, q, x, first, count, opts->levels, 1, workspace, own);
}

/* The sums of levels first to end - 1, of codes n x levels. */
static void sum_levels(float *x, const vq_quantizer *q, const uint32_t *codes, size_t n,
                       uint32_t levels, uint32_t first, uint32_t end, int threads)
{
    const size_t d = q->dim;
    const float *codewords[VQ_MAX_LEVELS] = {NULL};
    for (uint32_t l = first; l < end; l++)
        codewords[l] = vq_codebook_codewords(level_codebook(q, l));
    const int used = vqi_threads(threads, n / 1024 + 1);
#pragma omp parallel for schedule(static) num_threads(used)
    for (size_t i = 0; i < n; i++) {
        float *restrict row = x + i * d;
        memcpy(row, codewords[first] + codes[i * levels + first] * d, d * sizeof *row);
        for (uint32_t l = first + 1; l < end; l++) {
            const float *restrict c = codewords[l] + codes[i * levels + l] * d;
            for (size_t j = 0; j < d; j++)
                row[j] += c[j];
        }
    }
}

static vq_status residual_dequantize(float *x, const vq_quantizer *q, const uint32_t *codes,
                                     size_t n, const vq_quantize_opts *opts)
{
    sum_levels(x, q, codes, n, opts->levels, 0, opts->levels, opts->threads);
    return VQ_OK;
}

vq_status vq_residual_sum(float *sums, const vq_quantizer *quantizer, const uint32_t *codes,
                          size_t n, uint32_t levels, uint32_t first, uint32_t end)
{
    if (quantizer->kind != &vqi_residual_kind)
        return vqi_fail(VQ_E_ARG, "a %s quantizer has no levels to sum (a residual one has)",
                        quantizer->kind->name);
    if (first >= end || end > levels || levels > quantizer->levels)
        return vqi_fail(VQ_E_ARG, "levels %u to %u of codes with %u levels (the quantizer has %u)",
                        first, end, levels, quantizer->levels);
    for (size_t i = 0; i < n; i++)
        for (uint32_t l = first; l < end; l++)
            if (codes[i * levels + l] >= residual_k(quantizer, l))
                return vqi_fail(VQ_E_RANGE, "row %zu, level %u: code %u is not below K = %u", i, l,
                                codes[i * levels + l], residual_k(quantizer, l));
    sum_levels(sums, quantizer, codes, n, levels, first, end, 0);
    return VQ_OK;
}

static vq_status make(vq_quantizer **out, vq_codebook *const *codebooks, uint32_t levels,
                      bool owner)
{
    *out = NULL;
    if (!levels || levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "a residual quantizer has 1 to %d levels, not %u", VQ_MAX_LEVELS,
                        levels);
    const uint32_t d = vq_codebook_dim(codebooks[0]);
    for (uint32_t l = 0; l < levels; l++) {
        if (vq_codebook_dim(codebooks[l]) != d)
            return vqi_fail(VQ_E_ARG, "level %u has %u dimensions and level 0 has %u", l,
                            vq_codebook_dim(codebooks[l]), d);
        if (l > 1 && (codebooks[l] == codebooks[0]) != (codebooks[1] == codebooks[0]))
            return vqi_fail(VQ_E_ARG, "some levels share a codebook (all do, or none)");
        if (vq_codebook_metric(codebooks[l]) != VQ_METRIC_EUCLIDEAN)
            return vqi_fail(VQ_E_ARG, "level %u has the metric %s (residual levels are euclidean)",
                            l, vq_metric_name(vq_codebook_metric(codebooks[l])));
    }
    vqi_residual *q = vqi_calloc(1, sizeof *q);
    if (!q)
        return vqi_fail_nomem(sizeof *q);
    q->base = (vq_quantizer){&vqi_residual_kind, d, levels};
    q->owner = owner;
    memcpy(q->codebooks, codebooks, levels * sizeof *codebooks);
    *out = &q->base;
    return VQ_OK;
}

vq_status vq_residual_create(vq_quantizer **out, vq_codebook *const *codebooks, uint32_t levels)
{
    return make(out, codebooks, levels, true);
}

vq_status vqi_residual_view(vq_quantizer **out, vq_codebook *const *codebooks, uint32_t levels)
{
    return make(out, codebooks, levels, false);
}

static const uint64_t *residual_frequencies(const vq_quantizer *q, uint32_t level)
{
    return ((const vqi_residual *)q)->frequencies[level];
}

/* A shared codebook is stored once: p"shared" says so, and its levels are those of the setting. */
static vq_status residual_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    const vqi_residual *own = (const vqi_residual *)q;
    const bool shared = q->levels > 1 && own->codebooks[1] == own->codebooks[0];
    char name[VQI_NAME_SIZE];
    vqi_residual one = *own;
    one.base.levels = shared ? 1 : q->levels;
    vq_status status = vqi_codebooks_save(tensors, &one.base, prefix);
    if (!status && shared)
        status = vqi_quantizer_name(name, prefix, "shared");
    if (!status && shared)
        status = vq_tensors_set_uint(tensors, name, q->levels);
    return status ? status : vqi_rate_save(tensors, own, prefix);
}

/* The levels of p"shared", if it is set: all are the one codebook. */
static vq_status load_shared(vq_codebook **codebooks, uint32_t *levels, const vq_tensors *tensors,
                             const char *prefix, const vq_limits *limits)
{
    char name[VQI_NAME_SIZE];
    uint64_t count = 0;
    vq_status status = vqi_quantizer_name(name, prefix, "shared");
    if (status || !vq_tensors_get(tensors, name))
        return status;
    status = vq_tensors_get_uint(&count, tensors, name, 2, limits->max_levels);
    if (!status && *levels != 1)
        status = vqi_fail(VQ_E_FORMAT, "setting \"%s\" with %u codebooks, not 1", name, *levels);
    for (; *levels < count && !status; ++*levels)
        codebooks[*levels] = codebooks[0];
    return status;
}

static vq_status residual_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                               const vq_limits *limits)
{
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    uint32_t levels = 0;
    vq_status status = vqi_codebooks_load(codebooks, &levels, tensors, prefix, limits);
    if (status)
        return status;
    status = load_shared(codebooks, &levels, tensors, prefix, limits);
    if (!status)
        status = vq_residual_create(out, codebooks, levels);
    if (status) {
        vqi_residual_free_codebooks(codebooks, levels);
        /* What is the caller's fault in a call is the bytes' fault in a file; the sentence stays. */
        return status == VQ_E_ARG ? VQ_E_FORMAT : status;
    }
    status = vqi_rate_load((vqi_residual *)*out, tensors, prefix);
    if (status) {
        vq_quantizer_free(*out);
        *out = NULL;
    }
    return status;
}

const vqi_quantizer_kind vqi_residual_kind = {
    .name = "residual",
    .free = residual_free,
    .k = residual_k,
    .codebook = level_codebook,
    .frequencies = residual_frequencies,
    .workspace = residual_workspace,
    .quantize = residual_quantize,
    .dequantize = residual_dequantize,
    .save = residual_save,
    .load = residual_load,
    .from_codebooks = vq_residual_create,
};
