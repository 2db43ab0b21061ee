/* SPDX-License-Identifier: Apache-2.0 */
/** @file io/buffer_internal.h  Bytes that grow, and numbers of as many bytes as they need. */
#ifndef IO_BUFFER_INTERNAL_H
#define IO_BUFFER_INTERNAL_H

#include "io/bytes_internal.h"
#include "vq/status.h"

/** A zeroed struct is empty; vq_free(data) when done. */
typedef struct vqi_buffer {
    uint8_t *data;
    size_t size, room;
} vqi_buffer;

/** Room for `more` bytes behind what is there. @return where they go, or NULL after VQ_E_NOMEM was set. */
uint8_t *vqi_buffer_reserve(vqi_buffer *buffer, size_t more);
/** @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_buffer_put(vqi_buffer *buffer, const void *bytes, size_t size);
/** LEB128: seven bits a byte, the lowest first, the eighth bit telling that more follow. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_buffer_put_varint(vqi_buffer *buffer, uint64_t value);

/** Signed numbers as unsigned ones, so that small ones stay small: 0, -1, 1, -2, ... */
static inline uint64_t vqi_zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
}

static inline int64_t vqi_unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0));
}

/** Take one; false if the bytes end, it does not fit, or it has more bytes than it needs. */
static inline bool vqi_take_varint(vqi_cursor *c, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *byte = vqi_take(c, 1);
        if (!byte || (shift == 63 && *byte > 1) || (shift && !*byte))
            return false;
        *value |= (uint64_t)(*byte & 0x7f) << shift;
        if (!(*byte & 0x80))
            return true;
    }
    return false;
}

#endif
