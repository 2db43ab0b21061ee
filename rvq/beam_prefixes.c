/* SPDX-License-Identifier: Apache-2.0 */
/* The prefixes of the beam search: the tree that they are, a level further, and kept from one level to the next. */
#include <math.h>
#include <string.h>

#include "rvq/beam_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* The children of one prefix take its place in the order; of the level's codes, siblings share all but the last. */
static void order_picks(vqi_beam_block *b, size_t r, uint32_t level, const vqi_picks *picks)
{
    uint8_t *order = b->order + r * b->beam, *shared = b->shared + r * b->beam;
    uint8_t first[VQ_MAX_BEAM] = {0}, last[VQ_MAX_BEAM] = {0},
            next[VQ_MAX_BEAM] = {0}; /* children of a rank, + 1 */
    uint8_t new_order[VQ_MAX_BEAM] = {0}, new_shared[VQ_MAX_BEAM] = {0};
    for (uint32_t i = 0; i < picks->count; i++) {
        const uint32_t parent = picks->pick[i].parent;
        next[i] = 0;
        if (first[parent])
            next[last[parent] - 1] = (uint8_t)(i + 1);
        else
            first[parent] = (uint8_t)(i + 1);
        last[parent] = (uint8_t)(i + 1);
    }
    uint32_t at = 0;
    uint8_t common = UINT8_MAX;
    for (uint32_t i = 0; i < b->prefixes; i++) {
        common = shared[i] < common ? shared[i] : common;
        for (uint32_t child = first[order[i]]; child; child = next[child - 1]) {
            new_order[at] = (uint8_t)(child - 1);
            new_shared[at++] = common;
            common = (uint8_t)level;
        }
        if (first[order[i]])
            common = UINT8_MAX;
    }
    memcpy(order, new_order, at);
    memcpy(shared, new_shared, at);
}

void vqi_beam_move_on(vqi_beam_block *b, size_t r, const vqi_beam_level *level,
                      const vqi_picks *picks, const vq_codebook *next)
{
    const size_t d = b->d, levels = b->levels, at = r * b->beam;
    const uint32_t l = level->number;
    const float *residuals = b->residuals + at * d;
    const uint32_t *codes = b->codes + at * levels;
    for (uint32_t i = 0; i < picks->count; i++) {
        const vqi_pick *pick = &picks->pick[i];
        uint32_t *to = b->next_codes + (at + i) * levels;
        memcpy(to, codes + pick->parent * levels, l * sizeof *to);
        to[l] = pick->code;
        b->rates[at + i] = pick->rate;
        if (next)
            b->squares[at + i] =
                level->ops->move_on(b->next_residuals + (at + i) * d, residuals + pick->parent * d,
                                    level->codebook->codewords + pick->code * d, next->centre, d);
    }
    if (next || b->keeps)
        order_picks(b, r, l, picks);
}

void vqi_beam_take_up(vqi_beam_block *b, const vqi_residual *q, uint32_t first,
                      const vqi_beam_kept *kept, size_t row, size_t r)
{
    const size_t d = b->d, at = r * b->beam, from = row * b->beam, levels = b->levels;
    const vqi_beam_ops *ops = vqi_beam_ops_now();
    double reach = 0;
    for (uint32_t p = 0; p < kept->prefixes; p++) {
        uint32_t *codes = b->codes + (at + p) * levels;
        float *residual = b->residuals + (at + p) * d;
        const float *left = b->x + r * d;
        memcpy(codes, kept->codes + (from + p) * kept->room, first * sizeof *codes);
        for (uint32_t l = 0; l < first; l++) {
            const vq_codebook *codebook = q->codebooks[l];
            const bool last = l + 1 == first;
            const float square = ops->move_on(residual, left, codebook->codewords + codes[l] * d,
                                              last ? q->codebooks[l + 1]->centre : b->zeros, d);
            left = residual;
            if (last)
                b->squares[at + p] = square;
            else
                reach = fmax(reach, sqrt((double)square) * (1 + 0x1p-10));
        }
        b->rates[at + p] = 0;
    }
    b->reach[r] = (float)(reach * (1 + 0x1p-20));
    memcpy(b->order + at, kept->order + from, kept->prefixes);
    memcpy(b->shared + at, kept->shared + from, kept->prefixes);
}

void vqi_beam_leave(const vqi_beam_block *b, vqi_beam_kept *kept, size_t first)
{
    for (size_t r = 0; r < b->rows; r++) {
        const size_t at = r * b->beam, to = (first + r) * b->beam;
        for (uint32_t p = 0; p < b->prefixes; p++)
            memcpy(kept->codes + (to + p) * kept->room, b->codes + (at + p) * b->levels,
                   b->levels * sizeof *kept->codes);
        memcpy(kept->order + to, b->order + at, b->prefixes);
        memcpy(kept->shared + to, b->shared + at, b->prefixes);
    }
}

vq_status vqi_beam_keep(vqi_beam_kept *kept, size_t n, uint32_t beam, uint32_t levels)
{
    size_t prefixes, codes;
    *kept = (vqi_beam_kept){.beam = beam, .room = levels, .prefixes = 1};
    if (vqi_mul(&prefixes, n, beam) && vqi_mul(&codes, prefixes, levels)) {
        kept->codes = vqi_alloc(codes, sizeof *kept->codes);
        kept->order = vqi_alloc(prefixes, 1);
        kept->shared = vqi_alloc(prefixes, 1);
    }
    if (kept->codes && kept->order && kept->shared)
        return VQ_OK;
    vqi_beam_kept_clear(kept);
    return vqi_fail_nomem((unsigned long long)n * beam * levels * sizeof *kept->codes);
}

void vqi_beam_kept_clear(vqi_beam_kept *kept)
{
    vqi_free(kept->codes);
    vqi_free(kept->order);
    vqi_free(kept->shared);
    *kept = (vqi_beam_kept){0};
}
