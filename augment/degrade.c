/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors to the codes of their k-th nearest codewords. */
#include <string.h>

#include "augment/augment.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

enum { CHUNK = 4096 /* rows that are searched together */ };

static vq_status check(vq_quantize_opts *o, const vq_quantizer *quantizer, const uint32_t *nearest,
                       const vq_quantize_opts *opts)
{
    const char *kind = vq_quantizer_kind(quantizer);
    const uint32_t levels = vq_quantizer_levels(quantizer);
    const vq_status status = vqi_options(o, sizeof *o, opts, "vq_quantize_opts");
    if (status)
        return status;
    if (strcmp(kind, "flat") != 0 && strcmp(kind, "residual") != 0)
        return vqi_fail(VQ_E_UNSUPPORTED,
                        "the k-th nearest code of a quantizer of the kind %s "
                        "(flat and residual have one)",
                        kind);
    if (o->levels > levels || o->threads < 0)
        return vqi_fail(VQ_E_ARG,
                        "vq_quantize_opts of %u levels and %d threads (the quantizer has %u)",
                        o->levels, o->threads, levels);
    if (o->beam > 1 || o->lambda != 0)
        return vqi_fail(VQ_E_ARG,
                        "the k-th nearest code by a beam or with a lambda (leave them 0)");
    o->levels = o->levels ? o->levels : levels;
    for (uint32_t l = 0; l < o->levels; l++) {
        const uint32_t k = vq_quantizer_k(quantizer, l),
                       most = k < VQ_NEAREST_K_MAX ? k : VQ_NEAREST_K_MAX;
        if (!nearest[l] || nearest[l] > most)
            return vqi_fail(VQ_E_ARG, "the %u-th nearest at level %u (1 to %u)", nearest[l], l,
                            most);
    }
    return VQ_OK;
}

/* The codes of one level, and what is left of the rows. */
static vq_status take_level(uint32_t *codes, float *rest, uint32_t *found,
                            const vq_codebook *codebook, size_t n, uint32_t nearest,
                            uint32_t levels, int threads)
{
    const uint32_t d = vq_codebook_dim(codebook);
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = threads;
    const vq_status status = vq_nearest_k(found, NULL, codebook, rest, n, nearest, &search);
    for (size_t i = 0; i < n && !status; i++) {
        const uint32_t code = found[i * nearest + nearest - 1];
        const float *codeword = vq_codebook_codewords(codebook) + (size_t)code * d;
        codes[i * levels] = code;
        for (uint32_t j = 0; j < d; j++)
            rest[i * d + j] -= codeword[j];
    }
    return status;
}

vq_status vq_degrade(uint32_t *codes, const vq_quantizer *quantizer, const float *x, size_t n,
                     const uint32_t *nearest, const vq_quantize_opts *opts)
{
    vq_quantize_opts o;
    vq_status status = check(&o, quantizer, nearest, opts);
    if (status || !n)
        return status;
    const size_t d = vq_quantizer_dim(quantizer), chunk = n < CHUNK ? n : CHUNK;
    uint32_t most = 0;
    for (uint32_t l = 0; l < o.levels; l++)
        most = nearest[l] > most ? nearest[l] : most;
    float *rest = vqi_alloc(chunk, d * sizeof *rest);
    uint32_t *found = vqi_alloc(chunk, most * sizeof *found);
    if (!rest || !found)
        status = vqi_fail_nomem((unsigned long long)chunk * d * sizeof *rest);
    for (size_t first = 0; first < n && !status; first += chunk) {
        const size_t count = n - first < chunk ? n - first : chunk;
        memcpy(rest, x + first * d, count * d * sizeof *rest);
        for (uint32_t l = 0; l < o.levels && !status; l++)
            status = take_level(codes + first * o.levels + l, rest, found,
                                vq_quantizer_codebook(quantizer, l), count, nearest[l], o.levels,
                                o.threads);
    }
    vqi_free(rest);
    vqi_free(found);
    return status;
}
