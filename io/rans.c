/* SPDX-License-Identifier: Apache-2.0 */
#include "io/rans_internal.h"

#include <string.h>

/* The decoder takes the symbols from first to last, so they go in from last to first, and words from the end of the
   buffer backwards. */
size_t vqi_rans_encode(uint8_t *out, const vqi_rans_symbol *symbols, size_t count)
{
    const bool two = count >= VQI_RANS_TWO;
    const size_t room = vqi_rans_bound(count);
    uint64_t x[2] = {two ? VQI_RANS_LOW : VQI_RANS_ONE_BEGIN, VQI_RANS_LOW};
    uint8_t *at = out + room;
    for (size_t i = count; i--;) {
        const vqi_rans_symbol s = symbols[i];
        uint64_t *state = &x[two ? i % 2 : 0];
        if (*state >= (uint64_t)s.freq << 40) {
            at -= 4;
            vqi_store_u32(at, (uint32_t)*state);
            *state >>= 32;
        }
        *state = (*state / s.freq << VQI_RANS_BITS) + *state % s.freq + s.start;
    }
    const size_t words = (size_t)(out + room - at);
    uint8_t state[8];
    size_t size = 0;
    for (int i = 0; i <= (int)two; i++) {
        vqi_store_u64(state, x[i]);
        size_t bytes = VQI_RANS_STATE;
        while (!two && bytes && !state[bytes - 1])
            bytes--;
        memcpy(out + size, state,
               bytes); /* the words lie behind: there is room for two states before them */
        size += bytes;
    }
    memmove(out + size, at, words);
    return size + words;
}

static uint64_t load_state(const uint8_t *bytes, size_t size)
{
    uint64_t x = 0;
    for (size_t i = 0; i < size; i++)
        x |= (uint64_t)bytes[i] << 8 * i;
    return x;
}

bool vqi_rans_begin(vqi_rans_decoder *d, const uint8_t *bytes, size_t size, size_t count)
{
    d->two = count >= VQI_RANS_TWO;
    d->end = bytes + size;
    /* A state that is alone is written without its upper zeros. It has four bytes or more if words follow it, which
       have four each: so the size tells how many it has. */
    size_t first = VQI_RANS_STATE;
    if (!d->two)
        first = size < 8 ? size : 4 + size % 4;
    const size_t states = d->two ? 2 * (size_t)VQI_RANS_STATE : first;
    if (size < states || (size - states) % 4)
        return false;
    d->now = load_state(bytes, first);
    d->other = d->two ? load_state(bytes + first, VQI_RANS_STATE) : 0;
    d->at = bytes + states;
    return d->now >> 56 == 0 && (d->two || (first && bytes[first - 1]));
}
