/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <sha2.h>
#include <stdio.h>
#include <string.h>

#include "io/bytes_internal.h"
#include "io/safetensors.h"
#include "io/safetensors_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

void vqi_seal(char digits[VQI_SEAL_SIZE + 1], const uint8_t *file, size_t size, size_t offset)
{
    uint8_t zeros[VQI_SEAL_SIZE], digest[SHA256_DIGEST_LENGTH];
    memset(zeros, '0', sizeof zeros);
    SHA2_CTX context;
    SHA256Init(&context);
    SHA256Update(&context, file, offset);
    SHA256Update(&context, zeros, sizeof zeros);
    SHA256Update(&context, file + offset + VQI_SEAL_SIZE, size - offset - VQI_SEAL_SIZE);
    SHA256Final(digest, &context);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(digits + 2 * i, 3, "%02x", digest[i]);
}

/* The settings as a JSON object in text form; the caller frees it with jansson's own allocator. */
static char *settings_text(const vq_tensors *tensors)
{
    json_t *object = json_object();
    const char *key, *value;
    for (size_t i = 0; object && !vq_tensors_setting_at(&key, &value, tensors, i); i++)
        if (json_object_set_new(object, key, json_string(value))) {
            json_decref(object);
            return NULL;
        }
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(object);
    return text;
}

static json_t *tensor_entry(const vq_tensor *tensor, uint64_t begin, uint64_t end)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; shape && i < tensor->ndim; i++)
        if (json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]))) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", vq_dtype_name(tensor->dtype), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)end);
}

/* The header: `__metadata__` with a seal of zeros, then the tensors in their order. */
static char *header_text(const vq_tensors *tensors, char *settings)
{
    char zeros[VQI_SEAL_SIZE + 1];
    memset(zeros, '0', VQI_SEAL_SIZE);
    zeros[VQI_SEAL_SIZE] = '\0';
    json_t *header = json_pack("{s:{s:s, s:s}}", "__metadata__", VQI_SETTINGS_KEY, settings,
                               VQI_SEAL_KEY, zeros);
    uint64_t offset = 0;
    for (size_t i = 0; header && i < vq_tensors_count(tensors); i++) {
        const vq_tensor *tensor = vq_tensors_at(tensors, i);
        const uint64_t end = offset + tensor->count * vq_dtype_size(tensor->dtype);
        if (json_object_set_new(header, tensor->name, tensor_entry(tensor, offset, end))) {
            json_decref(header);
            return NULL;
        }
        offset = end;
    }
    char *text = header ? json_dumps(header, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(header);
    return text;
}

static vq_status assemble(vq_bytes *out, const vq_tensors *tensors, const char *header)
{
    /* The data begins at a multiple of 64 so that it can be mapped and used where it lies. */
    const size_t length = strlen(header), header_size = (length + 8 + 63) / 64 * 64 - 8;
    size_t size = 8 + header_size;
    for (size_t i = 0; i < vq_tensors_count(tensors); i++) {
        const vq_tensor *tensor = vq_tensors_at(tensors, i);
        size += tensor->count * vq_dtype_size(tensor->dtype);
    }
    uint8_t *file = vqi_alloc(size, 1);
    if (!file)
        return vqi_fail_nomem(size);
    vqi_store_u64(file, header_size);
    memset(file + 8, ' ', header_size);
    memcpy(file + 8, header, length);
    uint8_t *data = file + 8 + header_size;
    for (size_t i = 0; i < vq_tensors_count(tensors); i++) {
        const vq_tensor *tensor = vq_tensors_at(tensors, i);
        const size_t width = vq_dtype_size(tensor->dtype), bytes = tensor->count * width;
        if (bytes)
            memcpy(data, tensor->data, bytes);
        if (!vqi_little_endian())
            vqi_swap_elements(data, tensor->count, width);
        data += bytes;
    }
    const char *seal_key = "\"" VQI_SEAL_KEY "\":\"";
    const char *seal = strstr(header, seal_key);
    const size_t offset = 8 + (size_t)(seal - header) + strlen(seal_key);
    char digits[VQI_SEAL_SIZE + 1];
    vqi_seal(digits, file, size, offset);
    memcpy(file + offset, digits, VQI_SEAL_SIZE);
    out->data = file;
    out->size = size;
    return VQ_OK;
}

vq_status vq_safetensors_serialize(vq_bytes *out, const vq_tensors *tensors)
{
    out->data = NULL;
    out->size = 0;
    for (size_t i = 0; i < vq_tensors_count(tensors); i++)
        if (!strcmp(vq_tensors_at(tensors, i)->name, "__metadata__"))
            return vqi_fail(VQ_E_ARG, "a tensor cannot be called \"__metadata__\"");
    char *settings = settings_text(tensors);
    char *header = settings ? header_text(tensors, settings) : NULL;
    const vq_status status = header ? assemble(out, tensors, header) : vqi_fail_nomem(0);
    /* jansson's texts come from its allocator, which a program may have replaced. */
    json_malloc_t json_alloc;
    json_free_t json_free;
    json_get_alloc_funcs(&json_alloc, &json_free);
    json_free(settings);
    json_free(header);
    return status;
}

vq_status vq_safetensors_write(const char *path, const vq_tensors *tensors,
                               const vq_write_opts *opts)
{
    vq_bytes bytes;
    vq_status status = vq_safetensors_serialize(&bytes, tensors);
    if (!status)
        status = vq_file_write(path, bytes.data, bytes.size, opts);
    vq_bytes_clear(&bytes);
    return status;
}
