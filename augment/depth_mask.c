/* SPDX-License-Identifier: Apache-2.0 */
#include "augment/depth_mask.h"

#include <string.h>

#include "augment/augment_internal.h"
#include "rvq/residual.h"
#include "vq/error_internal.h"

vq_status vq_depth_mask_draw(uint32_t *visible, size_t positions, uint32_t levels, uint64_t masked,
                             vq_draw draw)
{
    if (levels < 1 || levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "a mask of %u levels (1 to %d)", levels, VQ_MAX_LEVELS);
    if (positions > UINT32_MAX)
        return vqi_fail(VQ_E_ARG, "a mask of more than 2^32 positions");
    uint64_t left = (uint64_t)positions * levels;
    if (masked > left)
        return vqi_fail(VQ_E_ARG, "%llu masked codes of %llu", (unsigned long long)masked,
                        (unsigned long long)left);
    /* Selection sampling: each code is taken with the share that is still wanted of those that are left. */
    for (size_t i = 0; i < positions; i++) {
        visible[i] = levels;
        for (uint32_t l = 0; l < levels; l++, left--) {
            const vqi_philox numbers = vqi_draw_at(&draw, VQI_DRAW_DEPTHS, l, i);
            if (vqi_draw_below(&numbers, left) < masked) {
                visible[i]--;
                masked--;
            }
        }
    }
    return VQ_OK;
}

static vq_status check(const vq_tokens *tokens, const uint32_t *visible)
{
    const vq_status status = vqi_augment_check(tokens, "tokens");
    if (status)
        return status;
    const size_t positions = vq_tokens_positions(tokens);
    for (size_t i = 0; i < positions; i++)
        if (visible[i] > tokens->levels)
            return vqi_fail(VQ_E_ARG, "%u visible levels at position %zu of tokens of %u",
                            visible[i], i, tokens->levels);
    return VQ_OK;
}

vq_status vq_depth_mask_apply(uint32_t *codes, const vq_tokens *tokens, const uint32_t *visible)
{
    const vq_status status = check(tokens, visible);
    if (status)
        return status;
    const size_t positions = vq_tokens_positions(tokens);
    for (uint32_t l = 0; l < tokens->levels; l++)
        for (size_t i = 0; i < positions; i++) {
            const size_t at = l * positions + i;
            codes[at] = l < visible[i] ? tokens->codes[at] : tokens->k[l];
        }
    return VQ_OK;
}

/* An empty range is a sum of nothing. */
static vq_status add(float *sum, const vq_quantizer *quantizer, const uint32_t *codes,
                     uint32_t levels, uint32_t first, uint32_t end)
{
    if (!sum)
        return VQ_OK;
    if (first < end)
        return vq_residual_sum(sum, quantizer, codes, 1, levels, first, end);
    memset(sum, 0, vq_quantizer_dim(quantizer) * sizeof *sum);
    return VQ_OK;
}

vq_status vq_depth_mask_sums(float *seen, float *masked, const vq_quantizer *quantizer,
                             const vq_tokens *tokens, const uint32_t *visible)
{
    vq_status status = check(tokens, visible);
    if (status)
        return status;
    const uint32_t levels = tokens->levels;
    const size_t positions = vq_tokens_positions(tokens), d = vq_quantizer_dim(quantizer);
    if (strcmp(vq_quantizer_kind(quantizer), "residual") != 0 ||
        levels > vq_quantizer_levels(quantizer))
        return vqi_fail(
            VQ_E_ARG,
            "tokens of %u levels and a quantizer of %u, of the kind %s (residual, of as "
            "many or more)",
            levels, vq_quantizer_levels(quantizer), vq_quantizer_kind(quantizer));
    for (uint32_t l = 0; l < levels; l++)
        if (tokens->k[l] != vq_quantizer_k(quantizer, l))
            return vqi_fail(VQ_E_ARG, "level %u of the tokens has K = %u, the quantizer's %u", l,
                            tokens->k[l], vq_quantizer_k(quantizer, l));
    for (size_t i = 0; i < positions && !status; i++) {
        uint32_t codes[VQ_MAX_LEVELS];
        for (uint32_t l = 0; l < levels; l++)
            codes[l] = tokens->codes[l * positions + i];
        status = add(seen ? seen + i * d : NULL, quantizer, codes, levels, 0, visible[i]);
        if (!status)
            status =
                add(masked ? masked + i * d : NULL, quantizer, codes, levels, visible[i], levels);
    }
    return status;
}
