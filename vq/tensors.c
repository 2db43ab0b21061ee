/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

typedef struct setting {
    uint64_t hash; /* of the key */
    char *key, *value;
} setting;

struct vq_tensors {
    vq_tensor *tensors;
    size_t count, room;
    uint64_t *hashes; /* of the names: a file with many long names must not make look-ups slow */
    size_t hash_room;
    setting *settings;
    size_t setting_count, setting_room;
};

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [VQ_DTYPE_F32] = {"F32", 4},   [VQ_DTYPE_F64] = {"F64", 8}, [VQ_DTYPE_F16] = {"F16", 2},
    [VQ_DTYPE_BF16] = {"BF16", 2}, [VQ_DTYPE_I8] = {"I8", 1},   [VQ_DTYPE_I16] = {"I16", 2},
    [VQ_DTYPE_I32] = {"I32", 4},   [VQ_DTYPE_I64] = {"I64", 8}, [VQ_DTYPE_U8] = {"U8", 1},
    [VQ_DTYPE_U16] = {"U16", 2},   [VQ_DTYPE_U32] = {"U32", 4}, [VQ_DTYPE_U64] = {"U64", 8},
    [VQ_DTYPE_BOOL] = {"BOOL", 1},
};

/* FNV-1a (Fowler, Noll, Vo). */
static uint64_t hash_of(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

static int dtype_known(vq_dtype dtype)
{
    return (size_t)dtype < sizeof dtypes / sizeof *dtypes;
}

size_t vq_dtype_size(vq_dtype dtype)
{
    return dtype_known(dtype) ? dtypes[dtype].size : 0;
}

const char *vq_dtype_name(vq_dtype dtype)
{
    return dtype_known(dtype) ? dtypes[dtype].name : "?";
}

vq_status vq_tensors_create(vq_tensors **out)
{
    *out = vqi_calloc(1, sizeof **out);
    return *out ? VQ_OK : vqi_fail_nomem(sizeof **out);
}

void vq_tensors_free(vq_tensors *tensors)
{
    if (!tensors)
        return;
    for (size_t i = 0; i < tensors->count; i++) {
        vq_free((char *)tensors->tensors[i].name);
        vq_free(tensors->tensors[i].data);
    }
    for (size_t i = 0; i < tensors->setting_count; i++) {
        vq_free(tensors->settings[i].key);
        vq_free(tensors->settings[i].value);
    }
    vq_free(tensors->tensors);
    vq_free(tensors->hashes);
    vq_free(tensors->settings);
    vq_free(tensors);
}

/* Room for one more element of an array that doubles. */
static vq_status grow(void **array, size_t *room, size_t count, size_t size)
{
    if (count < *room)
        return VQ_OK;
    const size_t more = *room ? *room * 2 : 8;
    void *bigger = vqi_alloc(more, size);
    if (!bigger)
        return vqi_fail_nomem((unsigned long long)more * size);
    if (count)
        memcpy(bigger, *array, count * size);
    vq_free(*array);
    *array = bigger;
    *room = more;
    return VQ_OK;
}

static vq_status check_new(const vq_tensors *tensors, const char *name, vq_dtype dtype,
                           uint32_t ndim, const size_t *shape, size_t *count, size_t *bytes)
{
    if (!name || !*name)
        return vqi_fail(VQ_E_ARG, "a tensor needs a name");
    if (vq_tensors_find(tensors, name))
        return vqi_fail(VQ_E_ARG, "there is already a tensor \"%.80s\"", name);
    if (!dtype_known(dtype))
        return vqi_fail(VQ_E_ARG, "tensor \"%.80s\": %d is not a dtype", name, (int)dtype);
    if (ndim > VQ_MAX_NDIM)
        return vqi_fail(VQ_E_ARG, "tensor \"%.80s\" has %u dimensions (at most %d)", name, ndim,
                        VQ_MAX_NDIM);
    *count = 1;
    for (uint32_t i = 0; i < ndim; i++)
        if (!vqi_mul(count, *count, shape[i]))
            return vqi_fail(VQ_E_ARG, "tensor \"%.80s\" is larger than the address space", name);
    if (!vqi_mul(bytes, *count, vq_dtype_size(dtype)))
        return vqi_fail(VQ_E_ARG, "tensor \"%.80s\" is larger than the address space", name);
    return VQ_OK;
}

vq_status vq_tensors_add(vq_tensor **out, vq_tensors *tensors, const char *name, vq_dtype dtype,
                         uint32_t ndim, const size_t *shape, const void *data)
{
    if (out)
        *out = NULL;
    size_t count = 0, bytes = 0;
    vq_status status = check_new(tensors, name, dtype, ndim, shape, &count, &bytes);
    if (!status)
        status = grow((void **)&tensors->tensors, &tensors->room, tensors->count,
                      sizeof *tensors->tensors);
    if (!status)
        status = grow((void **)&tensors->hashes, &tensors->hash_room, tensors->count,
                      sizeof *tensors->hashes);
    if (status)
        return status;
    char *own_name = vqi_strdup(name);
    void *own_data = vqi_alloc(bytes, 1);
    if (!own_name || !own_data) {
        vq_free(own_name);
        vq_free(own_data);
        return vqi_fail_nomem(bytes);
    }
    if (data && bytes)
        memcpy(own_data, data, bytes);
    else
        memset(own_data, 0, bytes);
    tensors->hashes[tensors->count] = hash_of(name);
    vq_tensor *tensor = &tensors->tensors[tensors->count++];
    *tensor = (vq_tensor){
        .name = own_name, .dtype = dtype, .ndim = ndim, .count = count, .data = own_data};
    for (uint32_t i = 0; i < ndim; i++)
        tensor->shape[i] = shape[i];
    if (out)
        *out = tensor;
    return VQ_OK;
}

size_t vq_tensors_count(const vq_tensors *tensors)
{
    return tensors->count;
}

const vq_tensor *vq_tensors_at(const vq_tensors *tensors, size_t i)
{
    return i < tensors->count ? &tensors->tensors[i] : NULL;
}

const vq_tensor *vq_tensors_find(const vq_tensors *tensors, const char *name)
{
    const uint64_t hash = hash_of(name);
    for (size_t i = 0; i < tensors->count; i++)
        if (tensors->hashes[i] == hash && !strcmp(tensors->tensors[i].name, name))
            return &tensors->tensors[i];
    return NULL;
}

static setting *find_setting(const vq_tensors *tensors, const char *key)
{
    const uint64_t hash = hash_of(key);
    for (size_t i = 0; i < tensors->setting_count; i++)
        if (tensors->settings[i].hash == hash && !strcmp(tensors->settings[i].key, key))
            return &tensors->settings[i];
    return NULL;
}

vq_status vq_tensors_set(vq_tensors *tensors, const char *key, const char *value)
{
    setting *existing = find_setting(tensors, key);
    char *own_value = vqi_strdup(value);
    if (!own_value)
        return vqi_fail_nomem(strlen(value) + 1);
    if (existing) {
        vq_free(existing->value);
        existing->value = own_value;
        return VQ_OK;
    }
    char *own_key = vqi_strdup(key);
    const vq_status status = own_key ? grow((void **)&tensors->settings, &tensors->setting_room,
                                            tensors->setting_count, sizeof *tensors->settings)
                                     : vqi_fail_nomem(strlen(key) + 1);
    if (status) {
        vq_free(own_key);
        vq_free(own_value);
        return status;
    }
    tensors->settings[tensors->setting_count++] = (setting){hash_of(key), own_key, own_value};
    return VQ_OK;
}

const char *vq_tensors_get(const vq_tensors *tensors, const char *key)
{
    const setting *found = find_setting(tensors, key);
    return found ? found->value : NULL;
}

vq_status vq_tensors_setting_at(const char **key, const char **value, const vq_tensors *tensors,
                                size_t i)
{
    if (i >= tensors->setting_count)
        return vqi_fail(VQ_E_ARG, "there is no setting %zu", i);
    *key = tensors->settings[i].key;
    *value = tensors->settings[i].value;
    return VQ_OK;
}

vq_status vq_tensors_set_uint(vq_tensors *tensors, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return vq_tensors_set(tensors, key, text);
}

/* Decimal digits only, no sign, no blanks, no overflow: strtoull is too kind to a damaged file. */
static int parse_uint(uint64_t *value, const char *text)
{
    uint64_t v = 0;
    if (!*text)
        return 0;
    for (; *text; text++) {
        const unsigned digit = (unsigned)(*text - '0');
        if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v))
            return 0;
    }
    *value = v;
    return 1;
}

vq_status vq_tensors_get_uint(uint64_t *value, const vq_tensors *tensors, const char *key,
                              uint64_t low, uint64_t high)
{
    const char *text = vq_tensors_get(tensors, key);
    uint64_t v;
    if (!text)
        return vqi_fail(VQ_E_FORMAT, "the setting \"%.80s\" is missing", key);
    if (!parse_uint(&v, text) || v < low || v > high)
        return vqi_fail(VQ_E_FORMAT,
                        "the setting \"%.80s\" is \"%.40s\", not a number from %" PRIu64
                        " to %" PRIu64,
                        key, text, low, high);
    *value = v;
    return VQ_OK;
}

vq_tensor vq_tensor_from_memory(const void *data, vq_dtype dtype, size_t rows, size_t columns)
{
    vq_tensor view = {.name = "",
                      .dtype = dtype,
                      .ndim = columns ? 2 : 1,
                      .shape = {rows, columns},
                      .count = rows * (columns ? columns : 1)};
    memcpy(&view.data, &data, sizeof data); /* a tensor may be written to, this view is not */
    return view;
}

vq_status vq_tensor_to_f32(float *out, const vq_tensor *tensor, size_t first, size_t count)
{
    if (first > tensor->count || count > tensor->count - first)
        return vqi_fail(VQ_E_ARG, "elements %zu to %zu of tensor \"%.80s\", which has %zu", first,
                        first + count, tensor->name, tensor->count);
    switch (tensor->dtype) {
#define CONVERT(dtype, type, expression)                                                           \
    case dtype: {                                                                                  \
        const type *v = (const type *)tensor->data + first;                                        \
        for (size_t i = 0; i < count; i++)                                                         \
            out[i] = (expression);                                                                 \
        break;                                                                                     \
    }
        CONVERT(VQ_DTYPE_F32, float, v[i])
        CONVERT(VQ_DTYPE_F64, double, (float)v[i])
        CONVERT(VQ_DTYPE_F16, uint16_t, vq_f16_to_f32(v[i]))
        CONVERT(VQ_DTYPE_BF16, uint16_t, vq_bf16_to_f32(v[i]))
        CONVERT(VQ_DTYPE_I8, int8_t, (float)v[i])
        CONVERT(VQ_DTYPE_I16, int16_t, (float)v[i])
        CONVERT(VQ_DTYPE_I32, int32_t, (float)v[i])
        CONVERT(VQ_DTYPE_I64, int64_t, (float)v[i])
        CONVERT(VQ_DTYPE_U8, uint8_t, (float)v[i])
        CONVERT(VQ_DTYPE_U16, uint16_t, (float)v[i])
        CONVERT(VQ_DTYPE_U32, uint32_t, (float)v[i])
        CONVERT(VQ_DTYPE_U64, uint64_t, (float)v[i])
        CONVERT(VQ_DTYPE_BOOL, uint8_t, v[i] ? 1.0f : 0.0f)
#undef CONVERT
    }
    return VQ_OK;
}
