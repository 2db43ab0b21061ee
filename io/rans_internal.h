/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/rans_internal.h
 * rANS (Duda 2009; with 64-bit states and 32-bit words, as Giesen's rans64): symbols as intervals of frequencies that add up
 * to 2^16, integers throughout. Short streams have one state, which begins small, so that little is lost at the end; long
 * ones have two that take turns.
 */
#ifndef IO_RANS_INTERNAL_H
#define IO_RANS_INTERNAL_H

#include <stdbool.h>

#include "io/bytes_internal.h"

enum {
    VQI_RANS_BITS = 16, /**< frequencies add up to 2^16 */
    VQI_RANS_TOTAL = 1 << VQI_RANS_BITS,
    VQI_RANS_MOST = VQI_RANS_TOTAL - 256, /**< of a symbol: so it takes at least 1/178 bit */
    VQI_RANS_TWO = 4096,                  /**< symbols from which on there are two states */
    VQI_RANS_ONE_BEGIN = VQI_RANS_TOTAL,  /**< a state that is alone */
    VQI_RANS_LOW = 1 << 24, /**< a state is not below after a word was read; two begin here */
    VQI_RANS_STATE = 7      /**< bytes of a state: it is below 2^56 */
};

typedef struct vqi_rans_symbol {
    uint32_t start, freq;
} vqi_rans_symbol;

/** @return the bytes that so many symbols take at most. */
static inline size_t vqi_rans_bound(size_t symbols)
{
    return 2 * symbols + 2 * VQI_RANS_STATE + 4;
}

/** @return whether so many symbols can be in a stream of this size: asked before memory is taken for them. */
static inline bool vqi_rans_plausible(size_t size, size_t symbols)
{
    return symbols / 1536 <= size + 2 * VQI_RANS_STATE;
}

/**
 * Code symbols, at least one, each with a frequency of 1 to VQI_RANS_MOST.
 * @param out vqi_rans_bound() bytes.
 * @return the bytes of the stream.
 */
size_t vqi_rans_encode(uint8_t *out, const vqi_rans_symbol *symbols, size_t count);

typedef struct vqi_rans_decoder {
    uint64_t now, other; /**< the state whose turn it is; the other one */
    const uint8_t *at, *end;
    bool two;
} vqi_rans_decoder;

/** @return false if no encoder wrote so many symbols into these bytes. */
bool vqi_rans_begin(vqi_rans_decoder *d, const uint8_t *bytes, size_t size, size_t count);

/** @return the frequency that the next symbol holds, below 2^16. */
static inline uint32_t vqi_rans_peek(const vqi_rans_decoder *d)
{
    return (uint32_t)d->now & (VQI_RANS_TOTAL - 1);
}

/** Take the symbol with [start, start + freq) that vqi_rans_peek() found. */
static inline void vqi_rans_take(vqi_rans_decoder *d, uint32_t start, uint32_t freq)
{
    uint64_t x = freq * (d->now >> VQI_RANS_BITS) + (d->now & (VQI_RANS_TOTAL - 1)) - start;
    /* Without a branch: whether a word is due cannot be foreseen. */
    static const uint8_t none[4];
    const bool more = d->at < d->end, due = more & (x < VQI_RANS_LOW);
    const uint64_t with_word = x << 32 | vqi_load_u32(more ? d->at : none);
    x = due ? with_word : x;
    d->at += (size_t)due * 4;
    if (d->two) {
        d->now = d->other;
        d->other = x;
    } else
        d->now = x;
}

/** @return whether all bytes were used and the states are as an encoder begins. */
static inline bool vqi_rans_done(const vqi_rans_decoder *d)
{
    return d->at == d->end && (d->two ? d->now == VQI_RANS_LOW && d->other == VQI_RANS_LOW
                                      : d->now == VQI_RANS_ONE_BEGIN);
}

#endif
