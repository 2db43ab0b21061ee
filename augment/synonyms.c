/* SPDX-License-Identifier: Apache-2.0 */
/* The codes nearest to each code, and what is done with them. */
#include <string.h>

#include "augment/augment_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/simvq_internal.h"

struct vq_synonyms {
    uint32_t levels;
    uint32_t k[VQ_MAX_LEVELS], count[VQ_MAX_LEVELS];
    uint32_t *codes[VQ_MAX_LEVELS]; /* k x count */
};

vq_status vqi_augment_check(const vq_tokens *tokens, const char *name)
{
    const vq_status status = vq_tokens_validate(tokens);
    if (status)
        return vqi_fail_in(status, name);
    if (vq_tokens_positions(tokens) > UINT32_MAX)
        return vqi_fail(VQ_E_ARG, "%s: a grid of more than 2^32 positions", name);
    return VQ_OK;
}

vq_status vqi_augment_check_alike(const vq_tokens *a, const vq_tokens *b)
{
    if (a->levels != b->levels)
        return vqi_fail(VQ_E_ARG, "tokens of %u and of %u levels", a->levels, b->levels);
    for (uint32_t l = 0; l < a->levels; l++)
        if (a->k[l] != b->k[l])
            return vqi_fail(VQ_E_ARG, "level %u of the tokens has K = %u and K = %u", l, a->k[l],
                            b->k[l]);
    return VQ_OK;
}

/* Of each code its count + 1 nearest, without itself; where it is not among them (many codewords that are equal), without
 * the last. */
static void leave_out_itself(uint32_t *out, const uint32_t *near, uint32_t code, uint32_t count)
{
    uint32_t taken = 0;
    for (uint32_t j = 0; j <= count && taken < count; j++)
        if (near[j] != code)
            out[taken++] = near[j];
}

static vq_status find(uint32_t *out, const vq_codebook *codebook, uint32_t count, int threads)
{
    const uint32_t k = vq_codebook_k(codebook), d = vq_codebook_dim(codebook);
    const float *codewords = vq_codebook_codewords(codebook);
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    vq_codebook *euclidean = NULL;
    size_t numbers;
    uint32_t *near =
        vqi_mul(&numbers, k, (size_t)count + 1) ? vqi_alloc(numbers, sizeof *near) : NULL;
    vq_status status = near ? VQ_OK : vqi_fail_nomem((unsigned long long)k * count * sizeof *near);
    search.threads = threads;
    /* By dot product a code need not be the nearest to itself. */
    if (!status && vq_codebook_metric(codebook) != VQ_METRIC_EUCLIDEAN) {
        status = vq_codebook_create(&euclidean, codewords, k, d, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
        codebook = euclidean;
    }
    if (!status)
        status = vq_nearest_k(near, NULL, codebook, codewords, k, count + 1, &search);
    for (uint32_t c = 0; c < k && !status; c++)
        leave_out_itself(out + (size_t)c * count, near + (size_t)c * (count + 1), c, count);
    vqi_free(near);
    vq_codebook_free(euclidean);
    return status;
}

static vq_status find_level(vq_synonyms *s, const vq_quantizer *quantizer, uint32_t level,
                            uint32_t count, int threads)
{
    const vq_codebook *codebook = vq_quantizer_codebook(quantizer, level);
    if (!codebook)
        return vqi_fail(VQ_E_UNSUPPORTED, "level %u of the quantizer (%s) has no codebook", level,
                        vq_quantizer_kind(quantizer));
    const uint32_t k = vq_codebook_k(codebook);
    s->k[level] = k;
    s->count[level] = count < k ? count : k - 1;
    if (!s->count[level])
        return VQ_OK;
    size_t numbers;
    if (vqi_mul(&numbers, k, s->count[level]))
        s->codes[level] = vqi_alloc(numbers, sizeof *s->codes[level]);
    return s->codes[level] ? find(s->codes[level], codebook, s->count[level], threads)
                           : vqi_fail_nomem((unsigned long long)k * count * sizeof(uint32_t));
}

vq_status vq_synonyms_create(vq_synonyms **out, const vq_quantizer *quantizer, uint32_t count,
                             int threads)
{
    *out = NULL;
    if (!count || count >= VQ_NEAREST_K_MAX)
        return vqi_fail(VQ_E_ARG, "%u synonyms (1 to %d)", count, VQ_NEAREST_K_MAX - 1);
    if (threads < 0)
        return vqi_fail(VQ_E_ARG, "threads is %d (0 means all)", threads);
    vq_synonyms *s = vqi_calloc(1, sizeof *s);
    if (!s)
        return vqi_fail_nomem(sizeof *s);
    vq_quantizer *made;
    vq_status status = vqi_simvq_with_codewords(&made, &quantizer);
    s->levels = vq_quantizer_levels(quantizer);
    for (uint32_t l = 0; l < s->levels && !status; l++)
        status = find_level(s, quantizer, l, count, threads);
    vq_quantizer_free(made);
    if (status) {
        vq_synonyms_free(s);
        return status;
    }
    *out = s;
    return VQ_OK;
}

void vq_synonyms_free(vq_synonyms *synonyms)
{
    if (!synonyms)
        return;
    for (uint32_t l = 0; l < synonyms->levels; l++)
        vqi_free(synonyms->codes[l]);
    vqi_free(synonyms);
}

uint32_t vq_synonyms_count(const vq_synonyms *synonyms, uint32_t level)
{
    return level < synonyms->levels ? synonyms->count[level] : 0;
}

const uint32_t *vq_synonyms_of(const vq_synonyms *synonyms, uint32_t level, uint32_t code)
{
    if (level >= synonyms->levels || code >= synonyms->k[level] || !synonyms->count[level])
        return NULL;
    return synonyms->codes[level] + (size_t)code * synonyms->count[level];
}

static vq_status check_fit(const vq_tokens *tokens, const vq_synonyms *s)
{
    const vq_status status = vqi_augment_check(tokens, "tokens");
    if (status)
        return status;
    if (tokens->levels > s->levels)
        return vqi_fail(VQ_E_ARG, "tokens of %u levels and synonyms of %u", tokens->levels,
                        s->levels);
    for (uint32_t l = 0; l < tokens->levels; l++)
        if (tokens->k[l] != s->k[l])
            return vqi_fail(VQ_E_ARG, "level %u of the tokens has K = %u, the synonyms' %u", l,
                            tokens->k[l], s->k[l]);
    return VQ_OK;
}

vq_status vq_tokens_swap_synonyms(vq_tokens *tokens, const vq_synonyms *synonyms,
                                  double probability, vq_draw draw)
{
    const vq_status status = check_fit(tokens, synonyms);
    if (status)
        return status;
    if (!(probability >= 0 && probability <= 1))
        return vqi_fail(VQ_E_ARG, "a probability of %g", probability);
    const size_t positions = vq_tokens_positions(tokens);
    for (uint32_t l = 0; l < tokens->levels; l++) {
        uint32_t *codes = tokens->codes + l * positions;
        const uint32_t count = synonyms->count[l];
        for (size_t i = 0; i < positions && count; i++) {
            const vqi_philox numbers = vqi_draw_at(&draw, VQI_DRAW_SYNONYMS, l, i);
            if (vqi_draw_uniform(&numbers) < probability)
                codes[i] = synonyms->codes[l][(size_t)codes[i] * count +
                                              (size_t)vqi_draw_below(&numbers, count)];
        }
    }
    return VQ_OK;
}

vq_status vq_tokens_degrade(vq_tokens *tokens, const vq_synonyms *synonyms, const uint32_t *nearest)
{
    const vq_status status = check_fit(tokens, synonyms);
    if (status)
        return status;
    for (uint32_t l = 0; l < tokens->levels; l++)
        if (!nearest[l] || nearest[l] > synonyms->count[l] + 1)
            return vqi_fail(VQ_E_ARG, "the %u-th nearest at level %u (1 to %u)", nearest[l], l,
                            synonyms->count[l] + 1);
    const size_t positions = vq_tokens_positions(tokens);
    for (uint32_t l = 0; l < tokens->levels; l++) {
        uint32_t *codes = tokens->codes + l * positions;
        const size_t count = synonyms->count[l];
        for (size_t i = 0; i < positions && nearest[l] > 1; i++)
            codes[i] = synonyms->codes[l][codes[i] * count + nearest[l] - 2];
    }
    return VQ_OK;
}
