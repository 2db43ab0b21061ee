/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens through rANS with a shard's tables. */
#include "io/rans_tables_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

void vqi_rans_place_begin(vqi_rans_place *p, const vq_tokens *tokens)
{
    *p = (vqi_rans_place){.shape = {1, 1, 1}};
    for (uint32_t i = 0; i < tokens->grid_ndim; i++)
        p->shape[3 - tokens->grid_ndim + i] = tokens->grid[i];
}

/* Symbols of one stream's codes: a second one, of 16 even bits, for each code of a K above 2^16. */
static size_t count_symbols(const vqi_rans_stream *stream, size_t positions)
{
    size_t count = 0;
    for (uint32_t l = 0; l < stream->levels; l++)
        count += stream->level[l].k > VQI_RANS_SYMBOLS ? 2 * positions : positions;
    return count;
}

static vqi_rans_symbol *put_level(vqi_rans_symbol *to, const vqi_rans_stream *stream, uint32_t l,
                                  const vq_tokens *tokens)
{
    const vqi_rans_level *level = &stream->level[l];
    const size_t positions = vq_tokens_positions(tokens);
    const uint32_t *codes = tokens->codes + l * positions;
    const uint32_t k_below = l ? level[-1].k : 0;
    vqi_rans_place p;
    vqi_rans_place_begin(&p, tokens);
    for (size_t i = 0; i < positions; i++, vqi_rans_place_next(&p)) {
        const uint32_t context =
            vqi_rans_context(level, k_below, &p, codes + i, l ? codes + i - positions : NULL);
        const uint32_t *start = level->start + (size_t)context * (level->symbols + 1) +
                                vqi_rans_symbol_of(level->k, codes[i]);
        *to++ = (vqi_rans_symbol){start[0], start[1] - start[0]};
        if (level->k > VQI_RANS_SYMBOLS)
            *to++ = (vqi_rans_symbol){codes[i] % VQI_RANS_SYMBOLS, 1};
    }
    return to;
}

vq_status vqi_rans_pack(vqi_buffer *out, const vqi_rans_stream *stream, const vq_tokens *tokens)
{
    const size_t count = count_symbols(stream, vq_tokens_positions(tokens));
    vqi_rans_symbol *symbols = vqi_alloc(count, sizeof *symbols), *at = symbols;
    if (!symbols)
        return vqi_fail_nomem((unsigned long long)count * sizeof *symbols);
    for (uint32_t l = 0; l < stream->levels; l++)
        at = put_level(at, stream, l, tokens);
    uint8_t *to = vqi_buffer_reserve(out, vqi_rans_bound(count));
    if (to)
        out->size += vqi_rans_encode(to, symbols, count);
    vq_free(symbols);
    return to ? VQ_OK : VQ_E_NOMEM;
}

/* The symbol whose interval holds the next frequency. */
static inline uint32_t take_symbol(vqi_rans_decoder *d, const vqi_rans_level *level,
                                   uint32_t context)
{
    const uint32_t *start = level->start + (size_t)context * (level->symbols + 1);
    const uint32_t at = vqi_rans_peek(d);
    const uint16_t *bucket = level->bucket + ((size_t)context << (VQI_RANS_BITS - level->shift));
    uint32_t s = bucket[at >> level->shift];
    while (start[s + 1] <= at)
        s++;
    vqi_rans_take(d, start[s], start[s + 1] - start[s]);
    return s;
}

static inline uint32_t take_code(vqi_rans_decoder *d, const vqi_rans_level *level, uint32_t context)
{
    uint32_t code = take_symbol(d, level, context);
    if (level->k > VQI_RANS_SYMBOLS) {
        const uint32_t low = vqi_rans_peek(d);
        vqi_rans_take(d, low, 1);
        code = code * VQI_RANS_SYMBOLS + low;
    }
    return code;
}

static bool take_level(vqi_rans_decoder *decoder, const vqi_rans_stream *stream, uint32_t l,
                       vq_tokens *tokens)
{
    const vqi_rans_level *level = &stream->level[l];
    const size_t positions = vq_tokens_positions(tokens);
    uint32_t *codes = tokens->codes + l * positions, largest = 0;
    const uint32_t k_below = l ? level[-1].k : 0;
    vqi_rans_decoder d = *decoder;
    if (!level->nears)
        for (size_t i = 0; i < positions; i++) {
            codes[i] = take_code(&d, level, 0);
            largest = codes[i] > largest ? codes[i] : largest;
        }
    vqi_rans_place p;
    vqi_rans_place_begin(&p, tokens);
    for (size_t i = 0; level->nears && i < positions; i++, vqi_rans_place_next(&p)) {
        codes[i] = take_code(
            &d, level,
            vqi_rans_context(level, k_below, &p, codes + i, l ? codes + i - positions : NULL));
        largest = codes[i] > largest ? codes[i] : largest;
    }
    *decoder = d;
    return largest < level->k;
}

vq_status vqi_rans_unpack(vq_tokens *tokens, const vqi_rans_stream *stream, const uint8_t *bytes,
                          size_t size)
{
    vqi_rans_decoder d;
    bool good = vqi_rans_begin(&d, bytes, size, count_symbols(stream, vq_tokens_positions(tokens)));
    for (uint32_t l = 0; good && l < stream->levels; l++)
        good = take_level(&d, stream, l, tokens);
    return good && vqi_rans_done(&d)
               ? VQ_OK
               : vqi_fail(VQ_E_FORMAT, "the entropy coded stream breaks, or was written with other "
                                       "tables");
}
