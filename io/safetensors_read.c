/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "io/bytes_internal.h"
#include "io/json_internal.h"
#include "io/safetensors.h"
#include "io/safetensors_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* One tensor as the header declares it. */
typedef struct entry {
    const char *name; /* borrowed from the JSON */
    vq_dtype dtype;
    uint32_t ndim;
    size_t shape[VQ_MAX_NDIM];
    uint64_t begin, end; /* in the data */
    size_t index;        /* in the header */
} entry;

static vq_status find_dtype(vq_dtype *dtype, const char *tensor, const char *text)
{
    static const char *const unsupported[] = {"F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3",
                                              "F6_E3M2", "F4",      "C64"};
    for (int d = VQ_DTYPE_F32; d <= VQ_DTYPE_BOOL; d++)
        if (!strcmp(text, vq_dtype_name((vq_dtype)d))) {
            *dtype = (vq_dtype)d;
            return VQ_OK;
        }
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (!strcmp(text, unsupported[i]))
            return vqi_fail(VQ_E_UNSUPPORTED, "tensor \"%.80s\" is of type %s, which is not read",
                            tensor, text);
    return vqi_fail(VQ_E_FORMAT, "tensor \"%.80s\" is of an unknown type \"%.20s\"", tensor, text);
}

/* An integer of the header that is not negative. */
static int get_size(uint64_t *value, const json_t *json)
{
    if (!json_is_integer(json) || json_integer_value(json) < 0)
        return 0;
    *value = (uint64_t)json_integer_value(json);
    return 1;
}

static vq_status parse_entry(entry *e, const char *name, const json_t *json, size_t data_size)
{
    const json_t *shape = json_object_get(json, "shape");
    const json_t *offsets = json_object_get(json, "data_offsets");
    const char *dtype = json_string_value(json_object_get(json, "dtype"));
    e->name = name;
    if (!dtype || !json_is_array(shape) || json_array_size(offsets) != 2 ||
        !get_size(&e->begin, json_array_get(offsets, 0)) ||
        !get_size(&e->end, json_array_get(offsets, 1)))
        return vqi_fail(VQ_E_FORMAT, "tensor \"%.80s\" lacks a proper dtype, shape or data_offsets",
                        name);
    const vq_status status = find_dtype(&e->dtype, name, dtype);
    if (status)
        return status;
    if (json_array_size(shape) > VQ_MAX_NDIM)
        return vqi_fail(VQ_E_LIMIT, "tensor \"%.80s\" has %zu dimensions (at most %d)", name,
                        json_array_size(shape), VQ_MAX_NDIM);
    e->ndim = (uint32_t)json_array_size(shape);
    size_t bytes = vq_dtype_size(e->dtype);
    for (uint32_t i = 0; i < e->ndim; i++) {
        uint64_t side;
        if (!get_size(&side, json_array_get(shape, i)) || side > SIZE_MAX ||
            !vqi_mul(&bytes, bytes, (size_t)side))
            return vqi_fail(VQ_E_FORMAT, "tensor \"%.80s\": dimension %u is not a possible size",
                            name, i);
        e->shape[i] = (size_t)side;
    }
    if (e->begin > e->end || e->end > data_size)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%.80s\" lies outside the data (%zu bytes)", name,
                        data_size);
    if (e->end - e->begin != bytes)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%.80s\" needs %zu bytes and has %llu", name, bytes,
                        (unsigned long long)(e->end - e->begin));
    return VQ_OK;
}

static int by_offset(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* Sorted, each tensor must begin where the one before it ended, and the last end with the data. */
static vq_status check_layout(entry *entries, size_t count, size_t data_size)
{
    qsort(entries, count, sizeof *entries, by_offset);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].begin != at)
            return vqi_fail(VQ_E_FORMAT, "tensor \"%.80s\" %s the one before it", entries[i].name,
                            entries[i].begin < at ? "overlaps" : "leaves a hole after");
        at = entries[i].end;
    }
    if (at != data_size)
        return vqi_fail(VQ_E_FORMAT, "%llu bytes follow the last tensor",
                        (unsigned long long)(data_size - at));
    return VQ_OK;
}

static vq_status set_all(vq_tensors *tensors, json_t *object, const char *where)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value))
            return vqi_fail(VQ_E_FORMAT, "%s: \"%.80s\" is not a text", where, key);
        const vq_status status = vq_tensors_set(tensors, key, json_string_value(value));
        if (status)
            return status;
    }
    return VQ_OK;
}

/* The settings: entries of other programs first, then ours, which win. */
static vq_status load_settings(vq_tensors *tensors, json_t *metadata, const vq_limits *limits)
{
    if (!metadata)
        return VQ_OK;
    if (!json_is_object(metadata))
        return vqi_fail(VQ_E_FORMAT, "__metadata__ is not an object");
    if (json_object_size(metadata) > limits->max_tensors)
        return vqi_fail(VQ_E_LIMIT, "__metadata__ has %zu entries (at most %u)",
                        json_object_size(metadata), limits->max_tensors);
    const json_t *ours = json_object_get(metadata, VQI_SETTINGS_KEY);
    json_t *settings = NULL;
    vq_status status = VQ_OK;
    if (json_is_string(ours)) {
        status =
            vqi_json_parse(&settings, json_string_value(ours), json_string_length(ours), 0, limits);
        if (status)
            return vqi_fail_in(status, "__metadata__." VQI_SETTINGS_KEY);
        json_object_del(metadata, VQI_SETTINGS_KEY);
        json_object_del(metadata, VQI_SEAL_KEY);
        if (json_object_size(settings) > limits->max_tensors)
            status = vqi_fail(VQ_E_LIMIT, "there are %zu settings (at most %u)",
                              json_object_size(settings), limits->max_tensors);
    }
    if (!status)
        status = set_all(tensors, metadata, "__metadata__");
    if (!status && settings)
        status = set_all(tensors, settings, "__metadata__." VQI_SETTINGS_KEY);
    json_decref(settings);
    return status;
}

/* A file with our settings must carry our seal, and the seal must be true. */
static vq_status check_seal(const json_t *metadata, const uint8_t *file, size_t size,
                            size_t header_size)
{
    const json_t *seal = json_object_get(metadata, VQI_SEAL_KEY);
    if (!seal && !json_object_get(metadata, VQI_SETTINGS_KEY))
        return VQ_OK;
    const char *digits = json_string_value(seal);
    if (!digits || json_string_length(seal) != VQI_SEAL_SIZE)
        return vqi_fail(VQ_E_FORMAT, "a model of libvq without its checksum (" VQI_SEAL_KEY ")");
    for (size_t at = 8; at + VQI_SEAL_SIZE <= 8 + header_size; at++)
        if (!memcmp(file + at, digits, VQI_SEAL_SIZE)) {
            char expected[VQI_SEAL_SIZE + 1];
            vqi_seal(expected, file, size, at);
            if (!memcmp(expected, digits, VQI_SEAL_SIZE))
                return VQ_OK;
            break;
        }
    return vqi_fail(VQ_E_CHECKSUM, "the checksum does not match: the file is damaged, or was "
                                   "changed by a program that did not renew it");
}

static vq_status load_tensors(vq_tensors *tensors, json_t *header, const uint8_t *data,
                              size_t data_size, const vq_limits *limits)
{
    const size_t count = json_object_size(header);
    if (count > limits->max_tensors)
        return vqi_fail(VQ_E_LIMIT, "there are %zu tensors (at most %u)", count,
                        limits->max_tensors);
    entry *entries = vqi_calloc(count + 1, sizeof *entries);
    if (!entries)
        return vqi_fail_nomem(count * sizeof *entries);
    vq_status status = VQ_OK;
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach(header, name, value)
    {
        entries[n].index = n;
        status = parse_entry(&entries[n++], name, value, data_size);
        if (status)
            break;
    }
    if (!status)
        status = check_layout(entries, count, data_size);
    for (size_t i = 0; !status && i < count; i++) {
        const entry *e = &entries[i];
        vq_tensor *tensor;
        if (e->end - e->begin > limits->max_alloc_bytes)
            status = vqi_fail(VQ_E_LIMIT, "tensor \"%.80s\" has %llu bytes (at most %llu)", e->name,
                              (unsigned long long)(e->end - e->begin),
                              (unsigned long long)limits->max_alloc_bytes);
        else
            status = vq_tensors_add(&tensor, tensors, e->name, e->dtype, e->ndim, e->shape,
                                    data + e->begin);
        /* A name the set refuses, the empty one, is the file's fault here, not the caller's. */
        if (status == VQ_E_ARG)
            status = vqi_fail(VQ_E_FORMAT, "a tensor has no name");
        if (!status && !vqi_little_endian())
            vqi_swap_elements(tensor->data, tensor->count, vq_dtype_size(tensor->dtype));
    }
    vq_free(entries);
    return status;
}

static vq_status parse(vq_tensors *tensors, const uint8_t *file, size_t size,
                       const vq_limits *limits, int sealed)
{
    vqi_cursor cursor = vqi_cursor_of(file, size);
    uint64_t header_size;
    if (!vqi_read_u64(&cursor, &header_size))
        return vqi_fail(VQ_E_FORMAT, "not a safetensors file (only %zu bytes)", size);
    const uint8_t *text = vqi_take(&cursor, header_size);
    if (!text)
        return vqi_fail(VQ_E_FORMAT,
                        "not a safetensors file, or cut short (a header of %llu bytes in a file "
                        "of %zu)",
                        (unsigned long long)header_size, size);
    if (header_size > limits->max_header_bytes)
        return vqi_fail(VQ_E_LIMIT, "the header has %llu bytes (at most %u)",
                        (unsigned long long)header_size, limits->max_header_bytes);
    if (!header_size || *text != '{')
        return vqi_fail(VQ_E_FORMAT, "byte 8: not a safetensors file (the header is no JSON)");
    json_t *header;
    vq_status status = vqi_json_parse(&header, (const char *)text, (size_t)header_size, 8, limits);
    if (status)
        return status;
    json_t *metadata = json_incref(json_object_get(header, "__metadata__"));
    json_object_del(header, "__metadata__");
    if (sealed)
        status = check_seal(metadata, file, size, (size_t)header_size);
    if (!status)
        status = load_tensors(tensors, header, cursor.at, vqi_remaining(&cursor), limits);
    if (!status)
        status = load_settings(tensors, metadata, limits);
    json_decref(metadata);
    json_decref(header);
    return status;
}

vq_status vqi_safetensors_parse(vq_tensors **out, const void *data, size_t size, const char *name,
                                const vq_limits *limits, int sealed)
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
    status = parse(tensors, data, size, &own, sealed);
    if (status) {
        vq_tensors_free(tensors);
        return name ? vqi_fail_in(status, name) : status;
    }
    *out = tensors;
    return VQ_OK;
}

vq_status vq_safetensors_read(vq_tensors **out, const char *path, const vq_limits *limits)
{
    *out = NULL;
    vq_bytes bytes;
    vq_status status = vq_file_read(&bytes, path, limits);
    if (!status)
        status = vq_safetensors_parse(out, bytes.data, bytes.size, path, limits);
    vq_bytes_clear(&bytes);
    return status;
}

vq_status vq_safetensors_parse(vq_tensors **out, const void *data, size_t size, const char *name,
                               const vq_limits *limits)
{
    return vqi_safetensors_parse(out, data, size, name, limits, 1);
}
