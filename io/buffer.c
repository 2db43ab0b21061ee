/* SPDX-License-Identifier: Apache-2.0 */
#include "io/buffer_internal.h"

#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

uint8_t *vqi_buffer_reserve(vqi_buffer *b, size_t more)
{
    size_t need;
    if (!vqi_add(&need, b->size, more)) {
        vqi_fail_nomem(UINT64_MAX);
        return NULL;
    }
    if (need > b->room || !b->data) {
        const size_t room = need > SIZE_MAX / 2 ? need : need + need / 2 + 64;
        uint8_t *data = vqi_alloc(room, 1);
        if (!data) {
            vqi_fail_nomem(room);
            return NULL;
        }
        if (b->data)
            memcpy(data, b->data, b->size);
        vq_free(b->data);
        b->data = data;
        b->room = room;
    }
    return b->data + b->size;
}

vq_status vqi_buffer_put(vqi_buffer *b, const void *bytes, size_t size)
{
    uint8_t *to = vqi_buffer_reserve(b, size);
    if (!to)
        return VQ_E_NOMEM;
    if (size)
        memcpy(to, bytes, size);
    b->size += size;
    return VQ_OK;
}

vq_status vqi_buffer_put_varint(vqi_buffer *b, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    return vqi_buffer_put(b, bytes, n);
}
