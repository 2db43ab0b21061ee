/* SPDX-License-Identifier: Apache-2.0 */
#include "io/npz.h"

#include <string.h>

#include <zlib.h>

#include "io/bytes_internal.h"
#include "io/npy.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* PKWARE's APPNOTE: sizes of the fixed parts, and the most that deflate can swell. */
enum {
    END_SIZE = 22,
    CENTRAL_SIZE = 46,
    LOCAL_SIZE = 30,
    MAX_COMMENT = 65535,
    MAX_RATIO = 1032,
    STORED = 0,
    DEFLATED = 8,
    ENCRYPTED = 1,
    MAX_NAME = 256
};

typedef struct member {
    char name[MAX_NAME]; /* "" if it is not an array */
    unsigned flags, method;
    uint32_t crc, packed, size, local;
} member;

/* The record at the end of the archive, sought from the back over its comment. */
static const uint8_t *find_end(const uint8_t *data, size_t size)
{
    for (size_t back = END_SIZE; back <= size && back <= END_SIZE + MAX_COMMENT; back++) {
        const uint8_t *at = data + size - back;
        if (!memcmp(at, "PK\5\6", 4) && vqi_load_u16(at + 20) == back - END_SIZE)
            return at;
    }
    return NULL;
}

static vq_status read_member(member *m, vqi_cursor *directory)
{
    const size_t offset = vqi_offset(directory);
    const uint8_t *c = vqi_take(directory, CENTRAL_SIZE);
    if (!c || memcmp(c, "PK\1\2", 4))
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the archive's directory is damaged", offset);
    m->flags = vqi_load_u16(c + 8);
    m->method = vqi_load_u16(c + 10);
    m->crc = vqi_load_u32(c + 16);
    m->packed = vqi_load_u32(c + 20);
    m->size = vqi_load_u32(c + 24);
    m->local = vqi_load_u32(c + 42);
    const size_t name_size = vqi_load_u16(c + 28);
    const uint8_t *name = vqi_take(directory, name_size);
    if (!name || !vqi_take(directory, (uint64_t)vqi_load_u16(c + 30) + vqi_load_u16(c + 32)))
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the archive's directory is damaged", offset);
    m->name[0] = 0;
    if (name_size > 4 && name_size - 4 < MAX_NAME && !memcmp(name + name_size - 4, ".npy", 4) &&
        !memchr(name, 0, name_size)) {
        memcpy(m->name, name, name_size - 4);
        m->name[name_size - 4] = 0;
    }
    return VQ_OK;
}

static void *zlib_alloc(void *context, unsigned count, unsigned size)
{
    (void)context;
    return vqi_alloc(count, size);
}

static void zlib_free(void *context, void *pointer)
{
    (void)context;
    vq_free(pointer);
}

static vq_status unpack(uint8_t *out, const member *m, const uint8_t *packed)
{
    if (m->method == STORED) {
        memcpy(out, packed, m->size);
        return VQ_OK;
    }
    z_stream z = {.zalloc = zlib_alloc, .zfree = zlib_free};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return vqi_fail_nomem(0);
    z.next_in = (Bytef *)packed;
    z.avail_in = m->packed;
    z.next_out = out;
    z.avail_out = m->size;
    const int result = inflate(&z, Z_FINISH);
    const int whole = result == Z_STREAM_END && !z.avail_in && !z.avail_out;
    inflateEnd(&z);
    if (result == Z_MEM_ERROR)
        return vqi_fail_nomem(0);
    return whole ? VQ_OK : vqi_fail(VQ_E_FORMAT, "the deflated data are damaged");
}

/* Where a member's data lie, after what its own header repeats. */
static vq_status find_data(const uint8_t **packed, const member *m, const uint8_t *data,
                           size_t size)
{
    vqi_cursor cursor = vqi_cursor_of(data, size);
    const uint8_t *local = vqi_take(&cursor, m->local) ? vqi_take(&cursor, LOCAL_SIZE) : NULL;
    if (!local || memcmp(local, "PK\3\4", 4) ||
        !vqi_take(&cursor, (uint64_t)vqi_load_u16(local + 26) + vqi_load_u16(local + 28)))
        return vqi_fail(VQ_E_FORMAT, "byte %u: not the header of a member", m->local);
    *packed = vqi_take(&cursor, m->packed);
    return *packed ? VQ_OK
                   : vqi_fail(VQ_E_FORMAT, "byte %zu: the data are cut short", vqi_offset(&cursor));
}

static vq_status check_member(const member *m, uint64_t total, const vq_limits *limits)
{
    if (m->flags & ENCRYPTED)
        return vqi_fail(VQ_E_UNSUPPORTED, "it is encrypted");
    if (m->method != STORED && m->method != DEFLATED)
        return vqi_fail(VQ_E_UNSUPPORTED, "compression method %u (stored and deflated are read)",
                        m->method);
    if (m->packed == UINT32_MAX || m->size == UINT32_MAX || m->local == UINT32_MAX)
        return vqi_fail(VQ_E_UNSUPPORTED,
                        "it has 4 GiB or more (zip64 is not read; write it as .npy)");
    if (m->method == STORED ? m->size != m->packed
                            : m->size > (uint64_t)m->packed * MAX_RATIO + MAX_RATIO)
        return vqi_fail(VQ_E_FORMAT, "%u bytes cannot unpack to %u", m->packed, m->size);
    if (total > limits->max_alloc_bytes)
        return vqi_fail(VQ_E_LIMIT, "the arrays have more than %llu bytes",
                        (unsigned long long)limits->max_alloc_bytes);
    return VQ_OK;
}

static vq_status add_array(vq_tensors *tensors, const char *name, const uint8_t *bytes, size_t size,
                           const vq_limits *limits)
{
    vq_tensors *one;
    vq_status status = vq_npy_parse(&one, bytes, size, name, limits);
    if (status)
        return status == VQ_E_UNSUPPORTED ? VQ_OK : status;
    const vq_tensor *t = vq_tensors_at(one, 0);
    if (vq_tensors_find(tensors, name))
        status = vqi_fail(VQ_E_FORMAT, "there are two of that name");
    else
        status = vq_tensors_add(NULL, tensors, name, t->dtype, t->ndim, t->shape, t->data);
    vq_tensors_free(one);
    return status;
}

static vq_status read_array(vq_tensors *tensors, const member *m, uint64_t total,
                            const uint8_t *data, size_t size, const vq_limits *limits)
{
    const uint8_t *packed = NULL;
    vq_status status = check_member(m, total, limits);
    if (!status)
        status = find_data(&packed, m, data, size);
    if (status)
        return status;
    uint8_t *bytes = vqi_alloc(m->size, 1);
    if (!bytes)
        return vqi_fail_nomem(m->size);
    status = unpack(bytes, m, packed);
    if (!status && crc32(crc32(0, NULL, 0), bytes, m->size) != m->crc)
        status = vqi_fail(VQ_E_CHECKSUM, "the checksum does not agree with the data");
    if (!status)
        status = add_array(tensors, m->name, bytes, m->size, limits);
    vq_free(bytes);
    return status;
}

static vq_status read_archive(vq_tensors *tensors, const uint8_t *data, size_t size,
                              const vq_limits *limits)
{
    const uint8_t *end = find_end(data, size);
    if (!end)
        return vqi_fail(VQ_E_FORMAT, "not a whole zip archive (its end is missing)");
    const unsigned count = vqi_load_u16(end + 10);
    const uint32_t directory_size = vqi_load_u32(end + 12), directory_at = vqi_load_u32(end + 16);
    if (directory_at == UINT32_MAX || count == UINT16_MAX)
        return vqi_fail(VQ_E_UNSUPPORTED, "a zip64 archive (write it as .npy)");
    if (count > limits->max_tensors)
        return vqi_fail(VQ_E_LIMIT, "%u members (at most %u)", count, limits->max_tensors);
    vqi_cursor directory = vqi_cursor_of(data, (size_t)(end - data));
    if (!vqi_take(&directory, directory_at) || vqi_remaining(&directory) != directory_size)
        return vqi_fail(VQ_E_FORMAT, "the archive's directory does not lie before its end");
    uint64_t total = 0;
    for (unsigned i = 0; i < count; i++) {
        member m;
        vq_status status = read_member(&m, &directory);
        if (status)
            return status;
        if (!m.name[0])
            continue;
        total += m.size;
        status = read_array(tensors, &m, total, data, size, limits);
        if (status)
            return vqi_fail_in(status, m.name);
    }
    return VQ_OK;
}

vq_status vq_npz_parse(vq_tensors **out, const void *data, size_t size, const char *name,
                       const vq_limits *limits)
{
    *out = NULL;
    vq_limits own;
    vq_status status = vq_limits_resolve(&own, limits);
    vq_tensors *tensors = NULL;
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = read_archive(tensors, data, size, &own);
    if (status) {
        vq_tensors_free(tensors);
        return name ? vqi_fail_in(status, name) : status;
    }
    *out = tensors;
    return VQ_OK;
}
