/* SPDX-License-Identifier: Apache-2.0 */
/* The kind "simvq" as settings and tensors: docs/FORMATS.md. */
#include <string.h>

#include "vq/error_internal.h"
#include "vq/simvq_internal.h"

/* What makes basis rows from a seed, as files call it. */
#define GENERATOR "philox4x32-10-flips96"

vq_status vqi_simvq_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    vq_simvq_form form = VQ_SIMVQ_FORM_INIT;
    char name[VQI_NAME_SIZE];
    vq_status status = vq_simvq_get_form(&form, q);
    const size_t shape[2] = {form.basis_dim, form.dim};
    if (!status)
        status = vqi_quantizer_name(name, prefix, "generator");
    if (!status)
        status = vq_tensors_set(tensors, name, GENERATOR);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "seed");
    if (!status)
        status = vq_tensors_set_uint(tensors, name, form.seed);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "k");
    if (!status)
        status = vq_tensors_set_uint(tensors, name, form.k);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "map");
    if (!status)
        status = vq_tensors_add(NULL, tensors, name, VQ_DTYPE_F32, 2, shape, vq_simvq_map(q));
    if (status || !vq_simvq_bias(q))
        return status;
    status = vqi_quantizer_name(name, prefix, "bias");
    return status
               ? status
               : vq_tensors_add(NULL, tensors, name, VQ_DTYPE_F32, 1, shape + 1, vq_simvq_bias(q));
}

static vq_status find_tensor(const vq_tensor **out, const vq_tensors *tensors, const char *prefix,
                             const char *rest, uint32_t ndim, int optional)
{
    char name[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(name, prefix, rest);
    if (status)
        return status;
    const vq_tensor *tensor = vq_tensors_find(tensors, name);
    *out = tensor;
    if (!tensor && optional)
        return VQ_OK;
    if (!tensor)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing", name);
    if (tensor->dtype != VQ_DTYPE_F32)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is %s, not F32", name,
                        vq_dtype_name(tensor->dtype));
    if (tensor->ndim != ndim)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" has %u dimensions, not %u", name, tensor->ndim,
                        ndim);
    return VQ_OK;
}

static vq_status load_settings(vq_simvq_form *form, const vq_tensors *tensors, const char *prefix,
                               const vq_limits *limits)
{
    char name[VQI_NAME_SIZE];
    uint64_t k = 0;
    vq_status status = vqi_quantizer_name(name, prefix, "generator");
    if (status)
        return status;
    const char *generator = vq_tensors_get(tensors, name);
    if (!generator)
        return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is missing", name);
    if (strcmp(generator, GENERATOR) != 0)
        return vqi_fail(VQ_E_UNSUPPORTED, "setting \"%s\" is \"%.40s\" (this library knows %s)",
                        name, generator, GENERATOR);
    status = vqi_quantizer_name(name, prefix, "seed");
    if (!status)
        status = vq_tensors_get_uint(&form->seed, tensors, name, 0, UINT64_MAX);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "k");
    if (!status)
        status = vq_tensors_get_uint(&k, tensors, name, 1, VQI_MAX_CODEWORDS);
    if (!status && k > limits->max_codewords)
        status = vqi_fail(VQ_E_LIMIT, "setting \"%s\": %llu codewords (the limit is %u)", name,
                          (unsigned long long)k, limits->max_codewords);
    form->k = (uint32_t)k;
    return status;
}

static vq_status load_shapes(vq_simvq_form *form, const vq_tensor *map, const vq_tensor *bias,
                             const vq_limits *limits)
{
    const size_t r = map->shape[0], d = map->shape[1];
    if (!r || !d)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is [%zu, %zu]: an empty map", map->name, r, d);
    if (r > limits->max_dim || d > limits->max_dim)
        return vqi_fail(VQ_E_LIMIT, "tensor \"%s\" is [%zu, %zu] (the limit is %u)", map->name, r,
                        d, limits->max_dim);
    if (bias && bias->shape[0] != d)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" has %zu elements for codewords of %zu",
                        bias->name, bias->shape[0], d);
    /* The codewords are no bytes of the file; with what the search makes of them they take three times their size. */
    if (form->k > limits->max_alloc_bytes / (3 * sizeof(float)) / d)
        return vqi_fail(VQ_E_LIMIT,
                        "a search of %u codewords of %zu floats takes more than "
                        "max_alloc_bytes",
                        form->k, d);
    form->basis_dim = (uint32_t)r;
    form->dim = (uint32_t)d;
    return VQ_OK;
}

vq_status vqi_simvq_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                         const vq_limits *limits)
{
    vq_simvq_form form = VQ_SIMVQ_FORM_INIT;
    const vq_tensor *map = NULL, *bias = NULL;
    vq_status status = load_settings(&form, tensors, prefix, limits);
    if (!status)
        status = find_tensor(&map, tensors, prefix, "map", 2, 0);
    if (!status)
        status = find_tensor(&bias, tensors, prefix, "bias", 1, 1);
    if (!status)
        status = load_shapes(&form, map, bias, limits);
    return status ? status : vq_simvq_create(out, &form, map->data, bias ? bias->data : NULL);
}
