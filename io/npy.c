/* SPDX-License-Identifier: Apache-2.0 */
#include "io/npy.h"

#include <stdio.h>
#include <string.h>

#include "io/bytes_internal.h"
#include "io/npy_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

#define MAGIC "\x93NUMPY"

enum { PREAMBLE = 10, ALIGN = 64, MAX_HEADER = 65536 };

/* Copy a column-major array to row-major, and swap its bytes if asked. */
static void copy_elements(vq_tensor *tensor, const uint8_t *data, const vqi_npy_header *header)
{
    const size_t width = vq_dtype_size(tensor->dtype);
    uint8_t *out = tensor->data;
    if (!header->fortran_order || tensor->ndim < 2) {
        if (tensor->count)
            memcpy(out, data, tensor->count * width);
    } else {
        /* Walk the file in its order; `at` counts through the shape, the first index fastest. */
        size_t at[VQ_MAX_NDIM] = {0}, stride[VQ_MAX_NDIM];
        stride[tensor->ndim - 1] = 1;
        for (uint32_t i = tensor->ndim - 1; i > 0; i--)
            stride[i - 1] = stride[i] * tensor->shape[i];
        size_t to = 0;
        for (size_t from = 0; from < tensor->count; from++) {
            memcpy(out + to * width, data + from * width, width);
            for (uint32_t i = 0; i < tensor->ndim; i++) {
                to += stride[i];
                if (++at[i] < tensor->shape[i])
                    break;
                to -= stride[i] * tensor->shape[i];
                at[i] = 0;
            }
        }
    }
    if (header->big_endian == vqi_little_endian())
        vqi_swap_elements(out, tensor->count, width);
}

vq_status vqi_npy_parse_preamble(vqi_npy_header *header, vqi_cursor *cursor)
{
    const size_t size = vqi_remaining(cursor);
    const uint8_t *preamble = vqi_take(cursor, PREAMBLE);
    if (!preamble || memcmp(preamble, MAGIC, 6))
        return vqi_fail(VQ_E_FORMAT, size ? "not a .npy file" : "not a .npy file (it is empty)");
    const unsigned major = preamble[6];
    if (major < 1 || major > 3)
        return vqi_fail(VQ_E_VERSION, "byte 6: version %u of the format (1 to 3 are read)", major);
    uint32_t length = vqi_load_u16(preamble + 8);
    if (major > 1) { /* four bytes of length from version 2 on */
        const uint8_t *high = vqi_take(cursor, 2);
        if (!high)
            return vqi_fail(VQ_E_FORMAT, "byte 8: the file ends inside its header");
        length |= (uint32_t)vqi_load_u16(high) << 16;
    }
    if (length > MAX_HEADER)
        return vqi_fail(VQ_E_LIMIT, "byte 8: a header of %u bytes (at most %d)", length,
                        MAX_HEADER);
    const size_t offset = vqi_offset(cursor);
    const uint8_t *text = vqi_take(cursor, length);
    if (!text)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the file ends inside its header", offset);
    return vqi_npy_parse_header(header, (const char *)text, length, offset);
}

static vq_status parse(vq_tensors *tensors, const void *data, size_t size, const char *name,
                       const vq_limits *limits)
{
    vqi_cursor cursor = vqi_cursor_of(data, size);
    vqi_npy_header header;
    vq_status status = vqi_npy_parse_preamble(&header, &cursor);
    if (status)
        return status;
    size_t bytes = vq_dtype_size(header.dtype);
    for (uint32_t i = 0; i < header.ndim; i++)
        if (!vqi_mul(&bytes, bytes, header.shape[i]))
            return vqi_fail(VQ_E_LIMIT, "the array is larger than the address space");
    if (bytes != vqi_remaining(&cursor))
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the array needs %zu bytes and the file has %zu",
                        vqi_offset(&cursor), bytes, vqi_remaining(&cursor));
    if (bytes > limits->max_alloc_bytes)
        return vqi_fail(VQ_E_LIMIT, "the array has %zu bytes (at most %llu)", bytes,
                        (unsigned long long)limits->max_alloc_bytes);
    vq_tensor *tensor;
    status = vq_tensors_add(&tensor, tensors, name, header.dtype, header.ndim, header.shape, NULL);
    if (!status)
        copy_elements(tensor, cursor.at, &header);
    return status;
}

vq_status vq_npy_parse(vq_tensors **out, const void *data, size_t size, const char *name,
                       const vq_limits *limits)
{
    *out = NULL;
    vq_limits own;
    vq_status status = vq_limits_resolve(&own, limits);
    if (status)
        return status;
    vq_tensors *tensors;
    status = vq_tensors_create(&tensors);
    if (status)
        return status;
    status = parse(tensors, data, size, name, &own);
    if (status) {
        vq_tensors_free(tensors);
        return status;
    }
    *out = tensors;
    return VQ_OK;
}

vq_status vq_npy_read(vq_tensors **out, const char *path, const char *name, const vq_limits *limits)
{
    *out = NULL;
    vq_bytes bytes;
    vq_status status = vq_file_read(&bytes, path, limits);
    if (status)
        return status;
    status = vq_npy_parse(out, bytes.data, bytes.size, name, limits);
    vq_bytes_clear(&bytes);
    return status ? vqi_fail_in(status, path) : VQ_OK;
}

static const char *descr_of(vq_dtype dtype)
{
    switch (dtype) {
    case VQ_DTYPE_F64:
        return "<f8";
    case VQ_DTYPE_F16:
        return "<f2";
    case VQ_DTYPE_I8:
        return "|i1";
    case VQ_DTYPE_I16:
        return "<i2";
    case VQ_DTYPE_I32:
        return "<i4";
    case VQ_DTYPE_I64:
        return "<i8";
    case VQ_DTYPE_U8:
        return "|u1";
    case VQ_DTYPE_U16:
        return "<u2";
    case VQ_DTYPE_U32:
        return "<u4";
    case VQ_DTYPE_U64:
        return "<u8";
    case VQ_DTYPE_BOOL:
        return "|b1";
    case VQ_DTYPE_F32:
    case VQ_DTYPE_BF16: /* NumPy has none; every value of it is a float32 */
        break;
    }
    return "<f4";
}

/* The dict, padded with blanks and a newline so that the data begins at a multiple of 64. */
static size_t write_header(char text[256], const vq_tensor *tensor)
{
    size_t n = (size_t)snprintf(text, 256, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                                descr_of(tensor->dtype));
    for (uint32_t i = 0; i < tensor->ndim; i++)
        n += (size_t)snprintf(text + n, 256 - n, "%s%zu", i ? ", " : "", tensor->shape[i]);
    n += (size_t)snprintf(text + n, 256 - n, tensor->ndim == 1 ? ",), }" : "), }");
    while ((PREAMBLE + n + 1) % ALIGN)
        text[n++] = ' ';
    text[n++] = '\n';
    return n;
}

vq_status vq_npy_serialize(vq_bytes *out, const vq_tensor *tensor)
{
    out->data = NULL;
    out->size = 0;
    char header[256];
    const size_t header_size = write_header(header, tensor);
    const int widen = tensor->dtype == VQ_DTYPE_BF16;
    const size_t width = widen ? sizeof(float) : vq_dtype_size(tensor->dtype);
    size_t bytes, size;
    if (!vqi_mul(&bytes, tensor->count, width) || !vqi_add(&size, bytes, PREAMBLE + header_size))
        return vqi_fail(VQ_E_ARG, "the array is larger than the address space");
    uint8_t *file = vqi_alloc(size, 1);
    if (!file)
        return vqi_fail_nomem(size);
    memcpy(file, MAGIC "\x01", 8); /* the text's own end is the minor version, 0 */
    vqi_store_u16(file + 8, (uint16_t)header_size);
    memcpy(file + PREAMBLE, header, header_size);
    uint8_t *data = file + PREAMBLE + header_size;
    for (size_t i = 0; widen && i < tensor->count; i++) {
        const float value = vq_bf16_to_f32(((const uint16_t *)tensor->data)[i]);
        memcpy(data + i * width, &value, width);
    }
    if (!widen && bytes)
        memcpy(data, tensor->data, bytes);
    if (!vqi_little_endian())
        vqi_swap_elements(data, tensor->count, width);
    out->data = file;
    out->size = size;
    return VQ_OK;
}

vq_status vq_npy_write(const char *path, const vq_tensor *tensor, const vq_write_opts *opts)
{
    vq_bytes bytes;
    vq_status status = vq_npy_serialize(&bytes, tensor);
    if (!status)
        status = vq_file_write(path, bytes.data, bytes.size, opts);
    vq_bytes_clear(&bytes);
    return status;
}
