/* SPDX-License-Identifier: Apache-2.0 */
/* Multi-scale quantizers to and from sets of tensors: docs/FORMATS.md. */
#include <stdio.h>
#include <string.h>

#include "rvq/multiscale_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

static const char kind_name[] = "multiscale";
static const char *const up_names[] = {"bicubic", "bilinear"};

static vq_status add(vq_tensors *tensors, const char *prefix, const char *rest, vq_dtype dtype,
                     uint32_t ndim, const size_t *shape, const void *data)
{
    char name[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(name, prefix, rest);
    return status ? status : vq_tensors_add(NULL, tensors, name, dtype, ndim, shape, data);
}

static vq_status set(vq_tensors *tensors, const char *prefix, const char *rest, const char *value)
{
    char name[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(name, prefix, rest);
    return status ? status : vq_tensors_set(tensors, name, value);
}

static vq_status scale_prefix(char name[VQI_NAME_SIZE], const char *prefix, uint32_t scale)
{
    char rest[32];
    snprintf(rest, sizeof rest, "scale.%u.", scale);
    return vqi_quantizer_name(name, prefix, rest);
}

vq_status vq_multiscale_save(vq_tensors *tensors, const vq_multiscale *multiscale,
                             const char *prefix)
{
    const vq_multiscale_design *design = &multiscale->design;
    const size_t d = design->channels, phis = design->phis;
    const size_t three[1] = {3}, one[1] = {1}, sizes[2] = {design->scales, 2},
                 kernel[5] = {phis, d, d, 3, 3}, bias[2] = {phis, d}, scales[1] = {design->scales};
    const uint32_t grid[3] = {design->rows, design->columns, design->channels};
    char name[VQI_NAME_SIZE];
    vq_status status = vqi_quantizer_name(name, prefix, "kind");
    if (!status && vq_tensors_get(tensors, name))
        status = vqi_fail(VQ_E_ARG, "the set already holds a quantizer (\"%s\" is set)", name);
    if (!status)
        status = set(tensors, prefix, "kind", kind_name);
    if (!status)
        status = set(tensors, prefix, "up", up_names[design->up]);
    if (!status)
        status = set(tensors, prefix, "shared", multiscale->count == 1 ? "1" : "0");
    if (!status)
        status = add(tensors, prefix, "grid", VQ_DTYPE_U32, 1, three, grid);
    if (!status)
        status = add(tensors, prefix, "sizes", VQ_DTYPE_U32, 2, sizes, design->sizes);
    if (!status && phis)
        status = add(tensors, prefix, "phi.weight", VQ_DTYPE_F32, 5, kernel, design->phi_weight);
    if (!status && phis)
        status = add(tensors, prefix, "phi.bias", VQ_DTYPE_F32, 2, bias, design->phi_bias);
    if (!status && phis)
        status = add(tensors, prefix, "phi.of", VQ_DTYPE_U32, 1, scales, design->phi_of);
    if (!status && phis)
        status = add(tensors, prefix, "phi.ratio", VQ_DTYPE_F32, 1, one, &design->phi_ratio);
    for (uint32_t s = 0; s < multiscale->count && !status; s++) {
        status = scale_prefix(name, prefix, s);
        if (!status)
            status = vq_quantizer_save(tensors, multiscale->quantizers[s], name);
    }
    return status;
}

/* A tensor of this type and shape; a dimension of 0 may be any, and is filled in. @return NULL after a sentence. */
static const vq_tensor *want(const vq_tensors *tensors, const char *prefix, const char *rest,
                             vq_dtype dtype, uint32_t ndim, size_t *shape)
{
    char name[VQI_NAME_SIZE];
    if (vqi_quantizer_name(name, prefix, rest))
        return NULL;
    const vq_tensor *tensor = vq_tensors_find(tensors, name);
    if (!tensor || tensor->dtype != dtype || tensor->ndim != ndim) {
        vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing, or not %s of %u dimensions", name,
                 vq_dtype_name(dtype), ndim);
        return NULL;
    }
    for (uint32_t i = 0; i < ndim; i++) {
        if (!shape[i])
            shape[i] = tensor->shape[i];
        if (!tensor->shape[i] || tensor->shape[i] != shape[i]) {
            vqi_fail(VQ_E_FORMAT, "tensor \"%s\" has %zu as dimension %u (not %zu)", name,
                     tensor->shape[i], i, shape[i]);
            return NULL;
        }
    }
    return tensor;
}

static vq_status load_phis(vq_multiscale_design *design, const vq_tensors *tensors,
                           const char *prefix)
{
    static const char *const names[] = {"phi.bias", "phi.of", "phi.ratio", "phi.weight"};
    char name[VQI_NAME_SIZE];
    int found = 0;
    for (int i = 0; i < 4; i++) {
        const vq_status status = vqi_quantizer_name(name, prefix, names[i]);
        if (status)
            return status;
        found |= vq_tensors_find(tensors, name) != NULL;
    }
    if (!found)
        return VQ_OK;
    const size_t d = design->channels;
    size_t kernel[5] = {0, d, d, 3, 3};
    const vq_tensor *weight = want(tensors, prefix, "phi.weight", VQ_DTYPE_F32, 5, kernel);
    size_t bias_shape[2] = {kernel[0], d}, scales[1] = {design->scales}, one[1] = {1};
    const vq_tensor *bias =
        weight ? want(tensors, prefix, "phi.bias", VQ_DTYPE_F32, 2, bias_shape) : NULL;
    const vq_tensor *of = bias ? want(tensors, prefix, "phi.of", VQ_DTYPE_U32, 1, scales) : NULL;
    const vq_tensor *ratio = of ? want(tensors, prefix, "phi.ratio", VQ_DTYPE_F32, 1, one) : NULL;
    if (!ratio)
        return VQ_E_FORMAT;
    if (kernel[0] > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_FORMAT, "\"%s\" holds %zu phis (at most %d)", name, kernel[0],
                        VQ_MAX_LEVELS);
    design->phis = (uint32_t)kernel[0];
    design->phi_weight = weight->data;
    design->phi_bias = bias->data;
    design->phi_of = of->data;
    memcpy(&design->phi_ratio, ratio->data, sizeof design->phi_ratio);
    if (!(design->phi_ratio > 0)) /* 0 would be the default */
        return vqi_fail(VQ_E_FORMAT, "tensor \"%sphi.ratio\" is not above 0", prefix);
    return VQ_OK;
}

static vq_status load_design(vq_multiscale_design *design, uint32_t *count,
                             const vq_tensors *tensors, const char *prefix, const vq_limits *limits)
{
    char name[VQI_NAME_SIZE];
    uint64_t shared = 0;
    vq_status status = vqi_quantizer_name(name, prefix, "kind");
    if (status)
        return status;
    const char *kind = vq_tensors_get(tensors, name);
    if (!kind || strcmp(kind, kind_name) != 0)
        return vqi_fail(VQ_E_UNSUPPORTED, "\"%s\" is \"%.40s\", not %s", name, kind ? kind : "",
                        kind_name);
    status = vqi_quantizer_name(name, prefix, "shared");
    if (!status)
        status = vq_tensors_get_uint(&shared, tensors, name, 0, 1);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "up");
    if (status)
        return status;
    const char *up = vq_tensors_get(tensors, name);
    const int bilinear = up && !strcmp(up, up_names[1]);
    if (!up || (!bilinear && strcmp(up, up_names[0]) != 0))
        return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is \"%.40s\" (not bicubic or bilinear)", name,
                        up ? up : "");
    size_t three[1] = {3}, sizes[2] = {0, 2};
    const vq_tensor *grid = want(tensors, prefix, "grid", VQ_DTYPE_U32, 1, three);
    const vq_tensor *scales = grid ? want(tensors, prefix, "sizes", VQ_DTYPE_U32, 2, sizes) : NULL;
    if (!scales)
        return VQ_E_FORMAT;
    const uint32_t *numbers = grid->data;
    if (sizes[0] > limits->max_levels || numbers[2] > limits->max_dim)
        return vqi_fail(VQ_E_LIMIT, "%zu scales of %u channels (the limits are %u and %u)",
                        sizes[0], numbers[2], limits->max_levels, limits->max_dim);
    design->rows = numbers[0];
    design->columns = numbers[1];
    design->channels = numbers[2];
    design->scales = (uint32_t)sizes[0];
    design->sizes = scales->data;
    design->up = bilinear ? VQ_MULTISCALE_BILINEAR : VQ_MULTISCALE_BICUBIC;
    *count = shared ? 1 : design->scales;
    return load_phis(design, tensors, prefix);
}

static vq_status load_quantizer(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                                uint32_t scale, const vq_limits *limits)
{
    char name[VQI_NAME_SIZE], kind[VQI_NAME_SIZE];
    vq_status status = scale_prefix(name, prefix, scale);
    if (!status)
        status = vqi_quantizer_name(kind, name, "kind");
    if (!status && !vq_tensors_get(tensors, kind))
        return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is missing", kind);
    return status ? status : vq_quantizer_load(out, tensors, name, limits);
}

vq_status vq_multiscale_load(vq_multiscale **out, const vq_tensors *tensors, const char *prefix,
                             const vq_limits *limits)
{
    vq_multiscale_design design = VQ_MULTISCALE_DESIGN_INIT;
    vq_quantizer *quantizers[VQ_MAX_LEVELS];
    uint32_t count = 0, made = 0;
    vq_limits own;
    *out = NULL;
    vq_status status = vq_limits_resolve(&own, limits);
    if (!status)
        status = load_design(&design, &count, tensors, prefix, &own);
    for (; made < count && !status; made += !status)
        status = load_quantizer(&quantizers[made], tensors, prefix, made, &own);
    if (!status)
        status = vq_multiscale_create(out, &design, quantizers, count);
    for (uint32_t s = 0; status && s < made; s++)
        vq_quantizer_free(quantizers[s]);
    /* What is the caller's fault in a call is the bytes' fault in a file; the sentence stays. */
    return status == VQ_E_ARG ? VQ_E_FORMAT : status;
}
