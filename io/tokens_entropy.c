/* SPDX-License-Identifier: Apache-2.0 */
/* Codes through the range coder, level by level over the grid, with the probabilities of a model's tables: the number
   of the set of tables, then the stream. docs/FORMATS.md, "entropy". */
#include "io/tokens_entropy_internal.h"

#include <string.h>

#include "io/range_coder_internal.h"
#include "vq/code_tables_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

vq_status vqi_entropy_check(const vq_tokens *tokens, const vq_code_tables *tables)
{
    if (tokens->levels > tables->levels)
        return vqi_fail(VQ_E_ARG, "the tables of probabilities have %u levels, the tokens %u",
                        tables->levels, tokens->levels);
    for (uint32_t l = 0; l < tokens->levels; l++)
        if (tokens->k[l] != tables->classes[l].k)
            return vqi_fail(VQ_E_ARG, "level %u has K = %u in the tables and %u in the tokens", l,
                            tables->classes[l].k, tokens->k[l]);
    return VQ_OK;
}

static void encode_code(vqi_range_encoder *e, const vqi_code_classes *c, const vqi_code_freqs *f,
                        uint32_t context, uint32_t code, uint32_t place)
{
    const uint16_t *freqs = f->of_class + (size_t)context * c->count;
    const uint32_t class_of = c->class_of[code];
    uint32_t start = 0;
    for (uint32_t j = 0; j < class_of; j++)
        start += freqs[j];
    vqi_range_encode(e, start, freqs[class_of]);
    if (f->of_code[code])
        vqi_range_encode(e, f->start[place], f->of_code[code]);
}

/* place: where each code stands among the members; sums: zeros, positions many. */
static void encode(vqi_range_encoder *e, const vq_tokens *tokens, const vq_code_tables *tables,
                   uint32_t set, uint16_t *sums, uint32_t *place)
{
    size_t shape[3];
    vqi_code_planes(shape, tokens);
    const size_t plane = shape[1] * shape[2], positions = shape[0] * plane;
    for (uint32_t l = 0; l < tokens->levels; l++) {
        const vqi_code_classes *c = &tables->classes[l];
        for (uint32_t m = 0; m < c->k; m++)
            place[c->members[m]] = m;
        for (size_t p = 0; p < shape[0]; p++) {
            const uint32_t *codes = tokens->codes + l * positions + p * plane;
            for (size_t i = 0; i < plane; i++)
                encode_code(
                    e, c, &tables->freqs[set][l],
                    vqi_code_context(c, l, codes, i, shape[2], i % shape[2], sums[p * plane + i]),
                    codes[i], place[codes[i]]);
        }
        vqi_code_activities_add(sums, c, l, tokens->codes + l * positions, positions);
    }
    vqi_range_finish(e);
}

vq_status vqi_entropy_pack(uint8_t **bytes, size_t *size, const vq_tokens *tokens,
                           const vq_code_tables *tables)
{
    *bytes = NULL;
    *size = 0;
    const size_t positions = vq_tokens_positions(tokens);
    uint16_t *sums = vqi_alloc(positions, sizeof *sums);
    uint32_t *place = vqi_alloc(VQ_MAX_TABLE_CODES, sizeof *place);
    vq_status status = sums && place ? VQ_OK : vqi_fail_nomem(positions * sizeof *sums);
    uint32_t best = 0;
    size_t least = SIZE_MAX;
    for (uint32_t s = 0; !status && s < tables->sets; s++) {
        vqi_range_encoder counting = vqi_range_encoder_of(NULL, 0);
        memset(sums, 0, positions * sizeof *sums);
        encode(&counting, tokens, tables, s, sums, place);
        if (counting.size < least) {
            least = counting.size;
            best = s;
        }
    }
    uint8_t *out = status ? NULL : vqi_alloc(least + 1, 1);
    if (!status && !out)
        status = vqi_fail_nomem(least + 1);
    if (!status) {
        vqi_range_encoder e = vqi_range_encoder_of(out + 1, least);
        memset(sums, 0, positions * sizeof *sums);
        encode(&e, tokens, tables, best, sums, place);
        out[0] = (uint8_t)best;
        *bytes = out;
        *size = e.size + 1;
    }
    vq_free(sums);
    vq_free(place);
    return status;
}

int vqi_entropy_plausible(size_t size, size_t count)
{
    return count / VQI_CODES_PER_BYTE_MOST <= size + VQI_RANGE_FLUSH;
}

/* The code at the next place of the stream; c->k if no encoder wrote these bytes. */
static uint32_t decode_code(vqi_range_decoder *d, const vqi_code_classes *c,
                            const vqi_code_freqs *f, uint32_t context)
{
    const uint16_t *freqs = f->of_class + (size_t)context * c->count;
    const uint32_t at = vqi_range_peek(d);
    if (at >> VQI_RANGE_FREQ_BITS)
        return c->k;
    uint32_t class_of = 0, start = 0;
    while (at >= start + freqs[class_of])
        start += freqs[class_of++];
    vqi_range_take(d, start, freqs[class_of]);

    uint32_t low = c->first[class_of], high = c->first[class_of + 1];
    if (high - low == 1)
        return c->members[low];
    const uint32_t within = vqi_range_peek(d);
    if (within >> VQI_RANGE_FREQ_BITS)
        return c->k;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (f->start[middle] <= within)
            low = middle;
        else
            high = middle;
    }
    vqi_range_take(d, f->start[low], f->of_code[c->members[low]]);
    return c->members[low];
}

static vq_status decode(vq_tokens *tokens, vqi_range_decoder *d, const vq_code_tables *tables,
                        uint32_t set, uint16_t *sums)
{
    size_t shape[3];
    vqi_code_planes(shape, tokens);
    const size_t plane = shape[1] * shape[2], positions = shape[0] * plane;
    for (uint32_t l = 0; l < tokens->levels; l++) {
        const vqi_code_classes *c = &tables->classes[l];
        for (size_t p = 0; p < shape[0]; p++) {
            uint32_t *codes = tokens->codes + l * positions + p * plane;
            for (size_t i = 0; i < plane; i++) {
                codes[i] = decode_code(
                    d, c, &tables->freqs[set][l],
                    vqi_code_context(c, l, codes, i, shape[2], i % shape[2], sums[p * plane + i]));
                if (codes[i] == c->k || d->beyond > VQI_RANGE_FLUSH)
                    return vqi_fail(VQ_E_FORMAT,
                                    "TOKS: the stream breaks at level %u, position %zu", l,
                                    p * plane + i);
            }
        }
        vqi_code_activities_add(sums, c, l, tokens->codes + l * positions, positions);
    }
    return VQ_OK;
}

vq_status vqi_entropy_unpack(vq_tokens *tokens, const uint8_t *bytes, size_t size,
                             const vq_code_tables *tables)
{
    if (!size || bytes[0] >= tables->sets)
        return vqi_fail(VQ_E_FORMAT, "TOKS: there is no such set of tables (the model has %u)",
                        tables->sets);
    const size_t positions = vq_tokens_positions(tokens);
    uint16_t *sums = vqi_calloc(positions, sizeof *sums);
    if (!sums)
        return vqi_fail_nomem(positions * sizeof *sums);
    vqi_range_decoder d = vqi_range_decoder_of(bytes + 1, size - 1);
    vq_status status = decode(tokens, &d, tables, bytes[0], sums);
    if (!status && !vqi_range_done(&d))
        status = vqi_fail(VQ_E_FORMAT, "TOKS: the stream does not end with its codes");
    vq_free(sums);
    return status;
}
