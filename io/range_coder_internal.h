/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/range_coder_internal.h
 * A range coder (Martin 1979; carries as in LZMA): symbols as intervals of frequencies that add up to 2^16,
 * 32-bit integers throughout, so that every machine writes and reads the same bytes.
 */
#ifndef IO_RANGE_CODER_INTERNAL_H
#define IO_RANGE_CODER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VQI_RANGE_FREQ_BITS = 16, VQI_RANGE_FLUSH = 4 };

/** Writes into a buffer that may be too small: it goes on counting, so that a second run fits. */
typedef struct vqi_range_encoder {
    uint64_t low; /* 32 bits and a carry */
    uint32_t range;
    uint8_t waiting; /* the byte that a carry may still raise */
    uint64_t nines;  /* bytes of 0xff behind it, which it would turn to 0 */
    bool begun;      /* is there a byte waiting? */
    uint8_t *out;
    size_t room, size;
} vqi_range_encoder;

static inline vqi_range_encoder vqi_range_encoder_of(uint8_t *out, size_t room)
{
    return (vqi_range_encoder){.range = UINT32_MAX, .out = out, .room = room};
}

static inline void vqi_range_put(vqi_range_encoder *e, uint8_t byte)
{
    if (e->size < e->room)
        e->out[e->size] = byte;
    e->size++;
}

/* Move the top byte of low out, once it is known whether a carry comes. */
static inline void vqi_range_shift(vqi_range_encoder *e)
{
    const uint8_t carry = (uint8_t)(e->low >> 32), top = (uint8_t)(e->low >> 24);
    if (carry || top != 0xff) {
        if (e->begun)
            vqi_range_put(e, (uint8_t)(e->waiting + carry));
        for (; e->nines; e->nines--)
            vqi_range_put(e, (uint8_t)(0xff + carry));
        e->waiting = top;
        e->begun = true;
    } else
        e->nines++;
    e->low = (e->low & 0x00ffffffu) << 8;
}

/** Code the symbol whose frequencies are [start, start + freq) of 2^16; freq is at least 1. */
static inline void vqi_range_encode(vqi_range_encoder *e, uint32_t start, uint32_t freq)
{
    const uint32_t unit = e->range >> VQI_RANGE_FREQ_BITS;
    e->low += (uint64_t)unit * start;
    e->range = unit * freq;
    while (e->range < 1u << 24) {
        e->range <<= 8;
        vqi_range_shift(e);
    }
}

/** End the stream with the fewest bytes: up to VQI_RANGE_FLUSH zeros are left out, since what is not there is read as 0. */
static inline void vqi_range_finish(vqi_range_encoder *e)
{
    /* The number in [low, low + range) with the most zeros at its end. */
    const uint64_t end = e->low + e->range;
    for (unsigned bits = 33; bits--;) {
        const uint64_t mask = ((uint64_t)1 << bits) - 1, value = (e->low + mask) & ~mask;
        if (value < end) {
            e->low = value;
            break;
        }
    }
    for (int i = 0; i < VQI_RANGE_FLUSH + 1; i++)
        vqi_range_shift(e);
    for (int i = 0; i < VQI_RANGE_FLUSH && e->size && e->size <= e->room; i++)
        e->size -= !e->out[e->size - 1];
}

typedef struct vqi_range_decoder {
    uint32_t code, range;
    const uint8_t *begin, *at, *end;
    uint32_t beyond; /* bytes read past the end, as 0 */
} vqi_range_decoder;

static inline uint32_t vqi_range_get(vqi_range_decoder *d)
{
    if (d->at < d->end)
        return *d->at++;
    d->beyond++;
    return 0;
}

static inline vqi_range_decoder vqi_range_decoder_of(const uint8_t *bytes, size_t size)
{
    vqi_range_decoder d = {0, UINT32_MAX, bytes, bytes, size ? bytes + size : bytes, 0};
    for (int i = 0; i < 4; i++)
        d.code = d.code << 8 | vqi_range_get(&d);
    return d;
}

/** @return the frequency that the next symbol holds, below 2^16; more only if the bytes are no encoder's. */
static inline uint32_t vqi_range_peek(const vqi_range_decoder *d)
{
    return d->code / (d->range >> VQI_RANGE_FREQ_BITS);
}

/** Take the symbol with [start, start + freq) that vqi_range_peek() found. */
static inline void vqi_range_take(vqi_range_decoder *d, uint32_t start, uint32_t freq)
{
    const uint32_t unit = d->range >> VQI_RANGE_FREQ_BITS;
    d->code -= unit * start;
    d->range = unit * freq;
    while (d->range < 1u << 24) {
        d->range <<= 8;
        d->code = d->code << 8 | vqi_range_get(d);
    }
}

/** @return whether all bytes were used, and as many are missing as an encoder leaves out at its end. */
static inline bool vqi_range_done(const vqi_range_decoder *d)
{
    return d->at == d->end && (d->beyond == VQI_RANGE_FLUSH ||
                               (d->beyond < VQI_RANGE_FLUSH && d->end > d->begin && d->end[-1]));
}

#endif
