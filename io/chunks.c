/* SPDX-License-Identifier: Apache-2.0 */
#include "io/chunks_internal.h"

#include <string.h>

#include "io/digest.h"
#include "vq/error_internal.h"

vq_status vqi_file_header_read(uint32_t *major, uint32_t *minor, vqi_cursor *cursor,
                               const char *magic, const char *what)
{
    const size_t size = vqi_remaining(cursor);
    const uint8_t *header = vqi_take(cursor, VQI_FILE_HEADER);
    if (!size)
        return vqi_fail(VQ_E_FORMAT, "not a %s (it is empty)", what);
    if (memcmp(cursor->begin, magic, size < 8 ? size : 8))
        return vqi_fail(VQ_E_FORMAT, "not a %s (it does not begin with its signature)", what);
    if (!header)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the file ends inside its header", size);
    *major = vqi_load_u16(header + 8);
    *minor = vqi_load_u16(header + 10);
    if (vqi_load_u32(header + 44) != vq_crc32c(0, header, 44))
        return vqi_fail(VQ_E_CHECKSUM, "byte 44: the checksum of the file header does not match");
    if (*major != VQI_VERSION_MAJOR)
        return vqi_fail(VQ_E_VERSION, "byte 8: version %u.%u (this library reads %d.x)", *major,
                        *minor, VQI_VERSION_MAJOR);
    for (size_t i = 12; i < 44; i++)
        if (header[i] && *minor == VQI_VERSION_MINOR)
            return vqi_fail(VQ_E_FORMAT, "byte %zu: a reserved byte is not 0", i);
    return VQ_OK;
}

void vqi_file_header_write(uint8_t *file, const char *magic)
{
    memset(file, 0, VQI_FILE_HEADER);
    memcpy(file, magic, 8);
    vqi_store_u16(file + 8, VQI_VERSION_MAJOR);
    vqi_store_u16(file + 10, VQI_VERSION_MINOR);
    vqi_store_u32(file + 44, vq_crc32c(0, file, 44));
}

vq_status vqi_chunk_take(vqi_chunk *c, vqi_cursor *cursor)
{
    c->offset = vqi_offset(cursor);
    const uint8_t *header = vqi_take(cursor, VQI_CHUNK_HEADER);
    if (!header)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the file ends where a chunk should begin",
                        c->offset);
    for (int i = 0; i < 4; i++) {
        const int letter = header[i] | 0x20;
        if (letter < 'a' || letter > 'z')
            return vqi_fail(VQ_E_FORMAT, "byte %zu: not the type of a chunk", c->offset);
        c->type[i] = (char)header[i];
    }
    c->type[4] = '\0';
    const uint64_t length = vqi_load_u64(header + 8);
    c->payload = vqi_take(cursor, length);
    if (!c->payload || !vqi_take(cursor, 4))
        return vqi_fail(VQ_E_FORMAT,
                        "byte %zu: the chunk %s declares %llu bytes, more than the file has",
                        c->offset, c->type, (unsigned long long)length);
    c->length = (size_t)length;
    return VQ_OK;
}

vq_status vqi_chunk_check(const vqi_chunk *c)
{
    const uint8_t *header = c->payload - VQI_CHUNK_HEADER;
    if (vqi_load_u32(c->payload + c->length) != vq_crc32c(0, header, VQI_CHUNK_HEADER + c->length))
        return vqi_fail(VQ_E_CHECKSUM, "byte %zu: the checksum of the chunk %s does not match",
                        c->offset, c->type);
    if (vqi_load_u32(header + 4))
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the chunk %s has flags that are not known",
                        c->offset + 4, c->type);
    return VQ_OK;
}

vq_status vqi_chunk_skip_padding(vqi_cursor *cursor)
{
    while ((vqi_offset(cursor) + VQI_CHUNK_HEADER) % VQI_CHUNK_ALIGN) {
        const size_t offset = vqi_offset(cursor);
        const uint8_t *byte = vqi_take(cursor, 1);
        if (!byte)
            return vqi_fail(VQ_E_FORMAT, "byte %zu: the file ends where a chunk should begin",
                            offset);
        if (*byte)
            return vqi_fail(VQ_E_FORMAT, "byte %zu: a padding byte is not 0", offset);
    }
    return VQ_OK;
}

size_t vqi_chunk_next(size_t end)
{
    const size_t payload =
        (end + VQI_CHUNK_HEADER + VQI_CHUNK_ALIGN - 1) / VQI_CHUNK_ALIGN * VQI_CHUNK_ALIGN;
    return payload - VQI_CHUNK_HEADER;
}

size_t vqi_chunk_seal(uint8_t *file, size_t header, const char *type, size_t length)
{
    memcpy(file + header, type, 4);
    vqi_store_u32(file + header + 4, 0);
    vqi_store_u64(file + header + 8, length);
    const size_t end = header + VQI_CHUNK_HEADER + length;
    vqi_store_u32(file + end, vq_crc32c(0, file + header, end - header));
    return end + 4;
}
