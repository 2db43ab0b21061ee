/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/augment_support.h  Tokens and what all operations on them must keep. */
#ifndef AUGMENT_SUPPORT_H
#define AUGMENT_SUPPORT_H

#include "augment/augment.h"
#include "parts_support.h"

/** Random tokens of two or three dimensions (planes first), for a quantizer. */
static inline vq_tokens *augment_tokens(const vq_quantizer *q, size_t planes, size_t rows,
                                        size_t columns, uint64_t seed)
{
    const size_t grid[] = {planes, rows, columns};
    uint32_t k[VQ_MAX_LEVELS];
    vq_tokens *tokens;
    for (uint32_t l = 0; l < vq_quantizer_levels(q); l++)
        k[l] = vq_quantizer_k(q, l);
    assert_ok(vq_tokens_create(&tokens, 3, grid, vq_quantizer_levels(q), k));
    tokens->kind = VQ_KIND_IMAGE;
    const size_t positions = vq_tokens_positions(tokens);
    for (size_t i = 0; i < positions * tokens->levels; i++)
        tokens->codes[i] = (uint32_t)(test_random(&seed) % k[i / positions]);
    return tokens;
}

static inline size_t augment_bytes(const vq_tokens *tokens)
{
    return vq_tokens_positions(tokens) * tokens->levels * sizeof *tokens->codes;
}

/** A copy of the codes. */
static inline uint32_t *augment_codes(const vq_tokens *tokens)
{
    uint32_t *codes = malloc(augment_bytes(tokens));
    assert_non_null(codes);
    memcpy(codes, tokens->codes, augment_bytes(tokens));
    return codes;
}

static inline size_t augment_differences(const vq_tokens *tokens, const uint32_t *codes)
{
    const size_t count = vq_tokens_positions(tokens) * tokens->levels;
    size_t differences = 0;
    for (size_t i = 0; i < count; i++)
        differences += tokens->codes[i] != codes[i];
    return differences;
}

/** Pearson's chi-square of counts against probabilities that add up to 1. */
static inline double chi_square(const uint64_t *counts, const double *expected, size_t cells,
                                double n)
{
    double sum = 0;
    for (size_t i = 0; i < cells; i++) {
        const double wanted = expected[i] * n, off = (double)counts[i] - wanted;
        assert_true(wanted > 0 || !counts[i]);
        sum += wanted > 0 ? off * off / wanted : 0;
    }
    return sum;
}

#endif
