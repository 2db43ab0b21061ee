/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/bytes_internal.h
 * The one cursor through untrusted bytes: it never passes the end, and knows its offset for the sentence.
 */
#ifndef IO_BYTES_INTERNAL_H
#define IO_BYTES_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct vqi_cursor {
    const uint8_t *begin, *at, *end;
} vqi_cursor;

static inline vqi_cursor vqi_cursor_of(const void *data, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)data;
    return (vqi_cursor){bytes, bytes, size ? bytes + size : bytes};
}

static inline size_t vqi_offset(const vqi_cursor *c)
{
    return (size_t)(c->at - c->begin);
}

static inline size_t vqi_remaining(const vqi_cursor *c)
{
    return (size_t)(c->end - c->at);
}

/** The next `size` bytes, or NULL without moving if there are fewer. */
static inline const uint8_t *vqi_take(vqi_cursor *c, uint64_t size)
{
    if (size > vqi_remaining(c))
        return NULL;
    const uint8_t *bytes = c->at;
    c->at += size;
    return bytes;
}

/* Little-endian numbers, whatever the machine. */
static inline uint16_t vqi_load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t vqi_load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t vqi_load_u64(const uint8_t *p)
{
    return vqi_load_u32(p) | (uint64_t)vqi_load_u32(p + 4) << 32;
}

static inline void vqi_store_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void vqi_store_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static inline void vqi_store_u64(uint8_t *p, uint64_t v)
{
    vqi_store_u32(p, (uint32_t)v);
    vqi_store_u32(p + 4, (uint32_t)(v >> 32));
}

static inline bool vqi_read_u64(vqi_cursor *c, uint64_t *v)
{
    const uint8_t *p = vqi_take(c, 8);
    if (!p)
        return false;
    *v = vqi_load_u64(p);
    return true;
}

/** Is this machine little-endian, so that arrays in files are arrays in memory? */
static inline bool vqi_little_endian(void)
{
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

/** Reverse the bytes of each of `count` elements of `size` bytes. */
void vqi_swap_elements(void *data, size_t count, size_t size);

#endif
