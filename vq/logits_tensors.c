/* SPDX-License-Identifier: Apache-2.0 */
/* Heads to and from sets of tensors; the layout is docs/FORMATS.md, "Heads". */
#include <stdio.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/quantizer_internal.h"

static const vqi_head_kind *const kinds[] = {&vqi_head_dense, &vqi_head_tied, &vqi_head_rerank,
                                             &vqi_head_rvq};

vq_status vqi_head_save_array(vq_tensors *tensors, const char *prefix, const char *name,
                              vq_dtype dtype, size_t rows, size_t columns, const void *data)
{
    char whole[VQI_NAME_SIZE];
    const size_t shape[2] = {rows, columns};
    const vq_status status = vqi_quantizer_name(whole, prefix, name);
    return status ? status
                  : vq_tensors_add(NULL, tensors, whole, dtype, columns ? 2 : 1, shape, data);
}

vq_status vqi_head_save_rows(vq_tensors *tensors, const char *prefix, const char *name,
                             const vqi_rows *rows)
{
    char part[32];
    vq_status status =
        vqi_head_save_array(tensors, prefix, name, rows->dtype, rows->n, rows->d, rows->data);
    snprintf(part, sizeof part, "%s.scale", name);
    if (!status && rows->scale)
        status = vqi_head_save_array(tensors, prefix, part, VQ_DTYPE_F32, rows->n, 0, rows->scale);
    snprintf(part, sizeof part, "%s.bias", name);
    if (!status && rows->bias)
        status = vqi_head_save_array(tensors, prefix, part, VQ_DTYPE_F32, rows->n, 0, rows->bias);
    return status;
}

static vq_status set(vq_tensors *tensors, const char *prefix, const char *key, const char *value)
{
    char whole[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(whole, prefix, key);
    return status ? status : vq_tensors_set(tensors, whole, value);
}

vq_status vqi_head_save_uint(vq_tensors *tensors, const char *prefix, const char *name,
                             uint64_t value)
{
    char whole[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(whole, prefix, name);
    return status ? status : vq_tensors_set_uint(tensors, whole, value);
}

vq_status vqi_head_load_uint(uint64_t *value, const vq_tensors *tensors, const char *prefix,
                             const char *name, uint64_t low, uint64_t high)
{
    char whole[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(whole, prefix, name);
    return status ? status : vq_tensors_get_uint(value, tensors, whole, low, high);
}

/* The ids in the order of what is stored of them. */
static vq_status save_ids(vq_tensors *tensors, const vq_head *head, const char *prefix)
{
    if (!head->tokens)
        return vqi_head_save_array(tensors, prefix, "ids", VQ_DTYPE_U32, head->v, 0, head->ids);
    uint32_t *ids = vqi_alloc(head->v, sizeof *ids);
    if (!ids)
        return vqi_fail_nomem((unsigned long long)head->v * sizeof *ids);
    for (size_t r = 0; r < head->v; r++)
        ids[r] = head->ids[head->tokens[r]];
    const vq_status status =
        vqi_head_save_array(tensors, prefix, "ids", VQ_DTYPE_U32, head->v, 0, ids);
    vq_free(ids);
    return status;
}

vq_status vq_head_save(vq_tensors *tensors, const vq_head *head, const char *prefix)
{
    char whole[VQI_NAME_SIZE];
    vq_status status = vqi_quantizer_name(whole, prefix, "head");
    if (status)
        return status;
    if (vq_tensors_get(tensors, whole))
        return vqi_fail(VQ_E_ARG, "the set already holds a head (\"%s\" is set)", whole);
    status = set(tensors, prefix, "head", vq_head_mode_name(head->kind->mode));
    if (!status)
        status = save_ids(tensors, head, prefix);
    return status ? status : head->kind->save(tensors, head, prefix);
}

vq_status vqi_head_load_array(const vq_tensor **out, const vq_tensors *tensors, const char *prefix,
                              const char *name, vq_dtype dtype, size_t count)
{
    char whole[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(whole, prefix, name);
    *out = NULL;
    if (status)
        return status;
    const vq_tensor *tensor = vq_tensors_find(tensors, whole);
    if (!tensor)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing", whole);
    if (tensor->dtype != dtype || tensor->ndim != 1 || !tensor->count ||
        (count && tensor->count != count))
        return vqi_fail(VQ_E_FORMAT,
                        "tensor \"%s\" is %s of %zu, not a row of %s of the head's size", whole,
                        vq_dtype_name(tensor->dtype), tensor->count, vq_dtype_name(dtype));
    *out = tensor;
    return VQ_OK;
}

/* Finite numbers of each row; NULL if there are none and none are needed. */
vq_status vqi_head_load_numbers(float **out, const vq_tensors *tensors, const char *prefix,
                                const char *name, size_t count, int needed)
{
    char whole[VQI_NAME_SIZE];
    const vq_tensor *tensor = NULL;
    *out = NULL;
    vq_status status = vqi_quantizer_name(whole, prefix, name);
    if (!status && !needed && !vq_tensors_find(tensors, whole))
        return VQ_OK;
    if (!status)
        status = vqi_head_load_array(&tensor, tensors, prefix, name, VQ_DTYPE_F32, count);
    if (status)
        return status;
    const float *from = tensor->data;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(from[i]))
            return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" holds a NaN or an infinity at %zu", whole,
                            i);
    float *numbers = vqi_alloc(count, sizeof *numbers);
    if (!numbers)
        return vqi_fail_nomem((unsigned long long)count * sizeof *numbers);
    memcpy(numbers, from, count * sizeof *numbers);
    *out = numbers;
    return VQ_OK;
}

static vq_status check_matrix(const vq_tensor *tensor, const char *name, size_t n, uint32_t d,
                              const vq_limits *limits)
{
    if (!tensor)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing", name);
    if (tensor->ndim != 2 || !tensor->count ||
        (tensor->dtype != VQ_DTYPE_F32 && tensor->dtype != VQ_DTYPE_F16 &&
         tensor->dtype != VQ_DTYPE_BF16 && tensor->dtype != VQ_DTYPE_I8))
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is no matrix of F32, F16, BF16 or I8", name);
    if (tensor->shape[0] > limits->max_codewords || tensor->shape[1] > limits->max_dim ||
        tensor->count * vq_dtype_size(tensor->dtype) > limits->max_alloc_bytes)
        return vqi_fail(VQ_E_LIMIT,
                        "tensor \"%s\" is [%zu, %zu], beyond max_codewords, max_dim or "
                        "max_alloc_bytes",
                        name, tensor->shape[0], tensor->shape[1]);
    if ((n && tensor->shape[0] != n) || (d && tensor->shape[1] != d))
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is [%zu, %zu], not of the head's size", name,
                        tensor->shape[0], tensor->shape[1]);
    return VQ_OK;
}

vq_status vqi_head_load_rows(vqi_rows *rows, const vq_tensors *tensors, const char *prefix,
                             const char *name, size_t n, uint32_t d, const vq_limits *limits)
{
    char whole[VQI_NAME_SIZE], part[32];
    vq_status status = vqi_quantizer_name(whole, prefix, name);
    const vq_tensor *tensor = status ? NULL : vq_tensors_find(tensors, whole);
    if (!status)
        status = check_matrix(tensor, whole, n, d, limits);
    if (!status)
        status =
            vqi_rows_allocate(rows, tensor->shape[0], (uint32_t)tensor->shape[1], tensor->dtype);
    if (status)
        return status;
    memcpy(rows->data, tensor->data, tensor->count * vq_dtype_size(tensor->dtype));
    vq_free(rows->scale);
    rows->scale = NULL;
    snprintf(part, sizeof part, "%s.scale", name);
    if (rows->dtype == VQ_DTYPE_I8)
        status = vqi_head_load_numbers(&rows->scale, tensors, prefix, part, rows->n, 1);
    snprintf(part, sizeof part, "%s.bias", name);
    if (!status)
        status = vqi_head_load_numbers(&rows->bias, tensors, prefix, part, rows->n, 0);
    if (!status) {
        vqi_rows_measure(rows, 0);
        if (!isfinite(rows->largest))
            status = vqi_fail(VQ_E_FORMAT, "tensor \"%s\" holds a NaN or an infinity", whole);
    }
    if (status)
        vqi_rows_clear(rows);
    return status;
}

static vq_status load_ids(vq_head *head, const vq_tensors *tensors, const char *prefix,
                          const vq_limits *limits)
{
    const vq_tensor *tensor;
    const vq_status status = vqi_head_load_array(&tensor, tensors, prefix, "ids", VQ_DTYPE_U32, 0);
    if (status)
        return status;
    if (tensor->count > limits->max_codewords)
        return vqi_fail(VQ_E_LIMIT, "tensor \"%s\" has %zu ids (the limit is %u)", tensor->name,
                        tensor->count, limits->max_codewords);
    head->v = tensor->count;
    head->tokens = vqi_alloc(head->v, sizeof *head->tokens);
    head->at = vqi_alloc(head->v, sizeof *head->at);
    if (!head->tokens || !head->at)
        return vqi_fail_nomem((unsigned long long)head->v * 2 * sizeof *head->at);
    const vq_status sorted = vqi_head_sort_ids(head, head->at, tensor->data);
    if (sorted)
        return sorted == VQ_E_ARG ? vqi_fail_in(VQ_E_FORMAT, "tensor \"ids\"") : sorted;
    for (size_t i = 0; i < head->v; i++)
        head->tokens[head->at[i]] = (uint32_t)i;
    return VQ_OK;
}

vq_status vqi_head_ids_rise(vq_head *head)
{
    for (size_t i = 0; i < head->v; i++)
        if (head->at[i] != i)
            return vqi_fail(VQ_E_FORMAT, "tensor \"ids\" does not rise at %zu", i);
    vq_free(head->at);
    vq_free(head->tokens);
    head->at = head->tokens = NULL;
    return VQ_OK;
}

static vq_status find_kind(const vqi_head_kind **kind, const vq_tensors *tensors,
                           const char *prefix)
{
    char whole[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(whole, prefix, "head");
    if (status)
        return status;
    const char *name = vq_tensors_get(tensors, whole);
    if (!name)
        return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is missing: this is no head", whole);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(name, vq_head_mode_name(kinds[i]->mode))) {
            *kind = kinds[i];
            return VQ_OK;
        }
    return vqi_fail(VQ_E_UNSUPPORTED, "this library has no head of mode \"%.40s\"", name);
}

vq_status vq_head_load(vq_head **out, const vq_tensors *tensors, const char *prefix,
                       const vq_limits *limits)
{
    vq_limits own;
    const vqi_head_kind *kind = NULL;
    *out = NULL;
    vq_status status = vq_limits_resolve(&own, limits);
    if (!status)
        status = find_kind(&kind, tensors, prefix);
    if (status)
        return status;
    vq_head *head = vqi_calloc(1, sizeof *head);
    if (!head)
        return vqi_fail_nomem(sizeof *head);
    head->kind = kind;
    status = load_ids(head, tensors, prefix, &own);
    if (!status)
        status = kind->load(head, tensors, prefix, &own);
    if (status)
        vq_head_free(head);
    else
        *out = head;
    return status;
}
