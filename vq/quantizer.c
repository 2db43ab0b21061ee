/* SPDX-License-Identifier: Apache-2.0 */
/* The interface: checks what all kinds share, then calls the kind. */
#include "vq/quantizer.h"

#include <float.h>
#include <stdint.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/quantizer_internal.h"

void vq_quantizer_free(vq_quantizer *quantizer)
{
    if (quantizer)
        quantizer->kind->free(quantizer);
}

const char *vq_quantizer_kind(const vq_quantizer *quantizer)
{
    return quantizer->kind->name;
}

uint32_t vq_quantizer_dim(const vq_quantizer *quantizer)
{
    return quantizer->dim;
}

uint32_t vq_quantizer_levels(const vq_quantizer *quantizer)
{
    return quantizer->levels;
}

uint32_t vq_quantizer_k(const vq_quantizer *quantizer, uint32_t level)
{
    return level < quantizer->levels ? quantizer->kind->k(quantizer, level) : 0;
}

const vq_codebook *vq_quantizer_codebook(const vq_quantizer *quantizer, uint32_t level)
{
    return level < quantizer->levels ? quantizer->kind->codebook(quantizer, level) : NULL;
}

const uint64_t *vq_quantizer_frequencies(const vq_quantizer *quantizer, uint32_t level)
{
    const vqi_quantizer_kind *kind = quantizer->kind;
    return kind->frequencies && level < quantizer->levels ? kind->frequencies(quantizer, level)
                                                          : NULL;
}

static vq_status resolve(vq_quantize_opts *own, const vq_quantize_opts *opts, const vq_quantizer *q)
{
    const vq_status status = vqi_options(own, sizeof *own, opts, "vq_quantize_opts");
    if (status)
        return status;
    if (own->levels > q->levels)
        return vqi_fail(VQ_E_ARG, "%u levels were asked for (the quantizer has %u)", own->levels,
                        q->levels);
    if (!own->levels)
        own->levels = q->levels;
    if (own->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_quantize_opts.threads is %d (0 = all)", own->threads);
    if (own->beam > VQ_MAX_BEAM)
        return vqi_fail(VQ_E_ARG, "vq_quantize_opts.beam is %u (at most %d)", own->beam,
                        VQ_MAX_BEAM);
    if (!own->beam)
        own->beam = 1;
    if (!(own->lambda >= 0 && own->lambda <= FLT_MAX))
        return vqi_fail(VQ_E_ARG, "vq_quantize_opts.lambda is %g (finite, not below 0)",
                        (double)own->lambda);
    if (own->lambda > 0 && !vq_quantizer_frequencies(q, 0))
        return vqi_fail(VQ_E_ARG,
                        "vq_quantize_opts.lambda is %g, but this %s quantizer carries no code "
                        "frequencies",
                        (double)own->lambda, q->kind->name);
    return VQ_OK;
}

size_t vq_quantize_workspace_for(const vq_quantizer *quantizer, size_t n,
                                 const vq_quantize_opts *opts)
{
    vq_quantize_opts own;
    return resolve(&own, opts, quantizer) ? 0 : quantizer->kind->workspace(quantizer, n, &own);
}

size_t vq_quantize_workspace(const vq_quantizer *quantizer, size_t n, int threads)
{
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.threads = threads;
    return vq_quantize_workspace_for(quantizer, n, &opts);
}

/* Make sure of a workspace: the caller's, or an allocation that the caller of this frees. */
static vq_status take_workspace(void **allocated, vq_quantize_opts *own, const vq_quantizer *q,
                                size_t n)
{
    *allocated = NULL;
    const size_t need = q->kind->workspace(q, n, own);
    if (own->workspace && own->workspace_size < need)
        return vqi_fail(VQ_E_ARG,
                        "the workspace has %zu bytes, not %zu (see vq_quantize_workspace_for())",
                        own->workspace_size, need);
    if (own->workspace && (uintptr_t)own->workspace % 64)
        return vqi_fail(VQ_E_ARG, "the workspace is not aligned to 64 bytes");
    if (own->workspace || !need)
        return VQ_OK;
    *allocated = vqi_alloc(need, 1);
    if (!*allocated)
        return vqi_fail_nomem(need);
    own->workspace = *allocated;
    own->workspace_size = need;
    return VQ_OK;
}

vq_status vq_quantize(uint32_t *codes, const vq_quantizer *quantizer, const float *x, size_t n,
                      const vq_quantize_opts *opts)
{
    vq_quantize_opts own;
    vq_status status = resolve(&own, opts, quantizer);
    if (status || !n)
        return status;
    void *allocated;
    status = take_workspace(&allocated, &own, quantizer, n);
    if (status)
        return status;
    status = quantizer->kind->quantize(codes, quantizer, x, n, &own);
    vq_free(allocated);
    return status;
}

/* Whether all codes of some rows are below the K of their levels; without a branch for each. */
static int codes_fit(const uint32_t *codes, size_t rows, const uint32_t *k, uint32_t levels)
{
    uint32_t wrong = 0;
    for (size_t i = 0; i < rows; i++, codes += levels)
        for (uint32_t l = 0; l < levels; l++)
            wrong |= codes[l] >= k[l];
    return !wrong;
}

static vq_status check_codes(const vq_quantizer *q, const uint32_t *codes, size_t n,
                             uint32_t levels, int threads)
{
    enum { ROWS = 512 };
    const size_t blocks = (n + ROWS - 1) / ROWS;
    const int some = vqi_threads(threads, n * levels / 65536 + 1);
    uint32_t k[VQ_MAX_LEVELS];
    size_t bad = blocks;
    for (uint32_t l = 0; l < levels; l++)
        k[l] = q->kind->k(q, l);
#pragma omp parallel for schedule(static) num_threads(some) reduction(min : bad) if (some > 1)
    for (size_t b = 0; b < blocks; b++) {
        const size_t rows = n - b * ROWS < ROWS ? n - b * ROWS : ROWS;
        if (!codes_fit(codes + b * ROWS * levels, rows, k, levels))
            bad = b < bad ? b : bad;
    }
    for (size_t i = bad * ROWS; i < n; i++)
        for (uint32_t l = 0; l < levels; l++)
            if (codes[i * levels + l] >= k[l])
                return vqi_fail(VQ_E_RANGE, "row %zu, level %u: code %u is not below K = %u", i, l,
                                codes[i * levels + l], k[l]);
    return VQ_OK;
}

vq_status vq_dequantize(float *x, const vq_quantizer *quantizer, const uint32_t *codes, size_t n,
                        const vq_quantize_opts *opts)
{
    vq_quantize_opts own;
    vq_status status = resolve(&own, opts, quantizer);
    if (status || !n)
        return status;
    status = check_codes(quantizer, codes, n, own.levels, own.threads);
    if (status)
        return status;
    return quantizer->kind->dequantize(x, quantizer, codes, n, &own);
}
