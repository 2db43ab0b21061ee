/* SPDX-License-Identifier: Apache-2.0 */
/* The arrays that the quantizers without a codebook have in common, to and from sets of tensors. */
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/scalar_internal.h"

vq_status vqi_scalar_save_array(vq_tensors *tensors, const char *prefix, const char *name,
                                const uint32_t *values, size_t count)
{
    char whole[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(whole, prefix, name);
    return status ? status : vq_tensors_add(NULL, tensors, whole, VQ_DTYPE_U32, 1, &count, values);
}

vq_status vqi_scalar_load_array(const vq_tensor **out, const vq_tensors *tensors,
                                const char *prefix, const char *name, vq_dtype dtype)
{
    char whole[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(whole, prefix, name);
    if (status)
        return status;
    const vq_tensor *tensor = vq_tensors_find(tensors, whole);
    if (!tensor)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing", whole);
    if (tensor->dtype != dtype || tensor->ndim != 1 || !tensor->count)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is no row of %s", whole, vq_dtype_name(dtype));
    *out = tensor;
    return VQ_OK;
}

vq_status vqi_scalar_save_dims(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    return vqi_scalar_save_array(tensors, prefix, "dims", ((const vqi_scalar *)q)->dims, q->levels);
}

vq_status vqi_scalar_load_dims(const uint32_t **dims, uint32_t *levels, uint32_t *d,
                               const vq_tensors *tensors, const char *prefix,
                               const vq_limits *limits)
{
    const vq_tensor *tensor = NULL;
    const vq_status status = vqi_scalar_load_array(&tensor, tensors, prefix, "dims", VQ_DTYPE_U32);
    if (status)
        return status;
    if (tensor->count > limits->max_levels)
        return vqi_fail(VQ_E_LIMIT, "tensor \"%s\" has %zu levels (the limit is %u)", tensor->name,
                        tensor->count, limits->max_levels);
    uint64_t sum = 0;
    *dims = tensor->data;
    for (size_t l = 0; l < tensor->count; l++)
        sum += (*dims)[l];
    if (sum > limits->max_dim)
        return vqi_fail(VQ_E_LIMIT, "tensor \"%s\" adds up to %llu dimensions (the limit is %u)",
                        tensor->name, (unsigned long long)sum, limits->max_dim);
    *levels = (uint32_t)tensor->count;
    *d = (uint32_t)sum;
    return VQ_OK;
}
