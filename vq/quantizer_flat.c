/* SPDX-License-Identifier: Apache-2.0 */
/* The kind "flat": one codebook, one code per vector. */
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"
#include "vq/quantizer_internal.h"

typedef struct flat_quantizer {
    vq_quantizer base;
    vq_codebook *own;
} flat_quantizer;

static const vq_codebook *own_codebook(const vq_quantizer *q, uint32_t level)
{
    (void)level;
    return ((const flat_quantizer *)q)->own;
}

static void flat_free(vq_quantizer *q)
{
    vq_codebook_free(((flat_quantizer *)q)->own);
    vq_free(q);
}

static uint32_t flat_k(const vq_quantizer *q, uint32_t level)
{
    return vq_codebook_k(own_codebook(q, level));
}

static size_t flat_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
{
    return vq_nearest_workspace(own_codebook(q, 0), n, opts->threads);
}

static vq_status flat_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                               const vq_quantize_opts *opts)
{
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = opts->threads;
    search.workspace = opts->workspace;
    search.workspace_size = opts->workspace_size;
    return vq_nearest(codes, NULL, own_codebook(q, 0), x, n, &search);
}

static vq_status flat_dequantize(float *x, const vq_quantizer *q, const uint32_t *codes, size_t n,
                                 const vq_quantize_opts *opts)
{
    const float *codewords = vq_codebook_codewords(own_codebook(q, 0));
    const size_t d = q->dim;
    const int threads = vqi_threads(opts->threads, n / 1024 + 1);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < n; i++)
        memcpy(x + i * d, codewords + codes[i] * d, d * sizeof *x);
    return VQ_OK;
}

static vq_status from_codebooks(vq_quantizer **out, vq_codebook *const *codebooks, uint32_t levels)
{
    if (levels != 1)
        return vqi_fail(VQ_E_FORMAT, "a flat quantizer has 1 level, not %u", levels);
    return vq_quantizer_from_codebook(out, codebooks[0]);
}

static vq_status flat_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                           const vq_limits *limits)
{
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    uint32_t levels = 0;
    vq_status status = vqi_codebooks_load(codebooks, &levels, tensors, prefix, limits);
    if (status)
        return status;
    status = from_codebooks(out, codebooks, levels);
    if (status)
        for (uint32_t l = 0; l < levels; l++)
            vq_codebook_free(codebooks[l]);
    return status;
}

const vqi_quantizer_kind vqi_flat_kind = {
    .name = "flat",
    .free = flat_free,
    .k = flat_k,
    .codebook = own_codebook,
    .workspace = flat_workspace,
    .quantize = flat_quantize,
    .dequantize = flat_dequantize,
    .save = vqi_codebooks_save,
    .load = flat_load,
    .from_codebooks = from_codebooks,
};

vq_status vq_quantizer_from_codebook(vq_quantizer **out, vq_codebook *codebook)
{
    *out = NULL;
    flat_quantizer *q = vqi_calloc(1, sizeof *q);
    if (!q)
        return vqi_fail_nomem(sizeof *q);
    q->base = (vq_quantizer){&vqi_flat_kind, vq_codebook_dim(codebook), 1};
    q->own = codebook;
    *out = &q->base;
    return VQ_OK;
}
