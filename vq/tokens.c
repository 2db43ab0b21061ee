/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/tokens.h"

#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

static vq_status check_shape(uint32_t grid_ndim, const size_t *grid, uint32_t levels,
                             const uint32_t *k, size_t *count)
{
    if (grid_ndim < 1 || grid_ndim > 3)
        return vqi_fail(VQ_E_ARG, "a token grid has 1 to 3 dimensions, not %u", grid_ndim);
    if (levels < 1 || levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "tokens have 1 to %d levels, not %u", VQ_MAX_LEVELS, levels);
    *count = levels;
    for (uint32_t i = 0; i < grid_ndim; i++)
        if (!grid[i] || !vqi_mul(count, *count, grid[i]))
            return vqi_fail(VQ_E_ARG, "dimension %u of a token grid is %zu", i, grid[i]);
    for (uint32_t l = 0; l < levels; l++)
        if (!k[l])
            return vqi_fail(VQ_E_ARG, "level %u has a codebook of 0 codewords", l);
    return VQ_OK;
}

vq_status vq_tokens_create(vq_tokens **out, uint32_t grid_ndim, const size_t *grid, uint32_t levels,
                           const uint32_t *k)
{
    *out = NULL;
    size_t count = 0;
    const vq_status status = check_shape(grid_ndim, grid, levels, k, &count);
    if (status)
        return status;
    vq_tokens *tokens = vqi_calloc(1, sizeof *tokens);
    uint32_t *codes = vqi_calloc(count, sizeof *codes);
    if (!tokens || !codes) {
        vq_free(tokens);
        vq_free(codes);
        return vqi_fail_nomem((unsigned long long)count * sizeof *codes);
    }
    tokens->grid_ndim = grid_ndim;
    for (uint32_t i = 0; i < 3; i++) {
        tokens->grid[i] = i < grid_ndim ? grid[i] : 1;
        tokens->source_shape[i] = 1;
    }
    tokens->levels = levels;
    memcpy(tokens->k, k, levels * sizeof *k);
    tokens->codes = codes;
    *out = tokens;
    return VQ_OK;
}

void vq_tokens_free(vq_tokens *tokens)
{
    if (!tokens)
        return;
    vq_free(tokens->codes);
    vq_dimensions_free(tokens->dimensions);
    vq_free(tokens);
}

size_t vq_tokens_positions(const vq_tokens *tokens)
{
    return tokens->grid[0] * tokens->grid[1] * tokens->grid[2];
}

vq_status vq_tokens_validate(const vq_tokens *tokens)
{
    size_t count = 0;
    const vq_status status =
        check_shape(tokens->grid_ndim, tokens->grid, tokens->levels, tokens->k, &count);
    if (status)
        return status;
    const size_t positions = count / tokens->levels;
    for (uint32_t l = 0; l < tokens->levels; l++)
        for (size_t i = 0; i < positions; i++)
            if (tokens->codes[l * positions + i] >= tokens->k[l])
                return vqi_fail(VQ_E_RANGE, "code %u at level %u, position %zu (K is %u)",
                                tokens->codes[l * positions + i], l, i, tokens->k[l]);
    return VQ_OK;
}

vq_status vq_tokens_truncate(vq_tokens *tokens, uint32_t levels)
{
    if (levels < 1 || levels > tokens->levels)
        return vqi_fail(VQ_E_ARG, "%u levels were asked for (the tokens have 1 to %u)", levels,
                        tokens->levels);
    tokens->levels = levels;
    for (uint32_t l = levels; l < VQ_MAX_LEVELS; l++)
        tokens->k[l] = 0;
    return VQ_OK;
}
