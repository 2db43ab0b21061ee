/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the action codecs in files, and the ranges of dimensions. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codecs/action_internal.h"
#include "codecs/lapped_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { KEY_SIZE = 40, MAX_BINS = 65536 };

vq_status vqi_action_model_create(vqi_action_model **out, uint32_t horizon)
{
    *out = NULL;
    vqi_action_model *model = vqi_calloc(1, sizeof *model);
    float *basis = vqi_alloc((size_t)horizon * horizon, sizeof *basis);
    if (!model || !basis) {
        vq_free(model);
        vq_free(basis);
        return vqi_fail_nomem((size_t)horizon * horizon * sizeof *basis);
    }
    model->horizon = horizon;
    model->basis = basis;
    vqi_dct2(basis, horizon);
    *out = model;
    return VQ_OK;
}

void vqi_action_model_free(vqi_action_model *model)
{
    if (!model)
        return;
    vq_free(model->basis);
    vq_free(model->edges);
    vq_dimensions_free(model->dimensions);
    vq_free(model);
}

static const char *const range_names[] = {"dimensions.low", "dimensions.high", "dimensions.min",
                                          "dimensions.max"};

static float *range_of(const vq_dimensions *d, int i)
{
    float *const ranges[] = {d->low, d->high, d->min, d->max};
    return ranges[i];
}

vq_status vqi_dimensions_save(vq_tensors *tensors, const vq_dimensions *d)
{
    vq_status status = VQ_OK;
    for (int i = 0; !status && i < 4; i++)
        status = vq_tensors_add(NULL, tensors, range_names[i], VQ_DTYPE_F32, 1, &d->count,
                                range_of(d, i));
    if (!status)
        status = vq_tensors_add(NULL, tensors, "dimensions.binary", VQ_DTYPE_U8, 1, &d->count,
                                d->binary);
    for (size_t i = 0; !status && d->names && i < d->count; i++) {
        char key[KEY_SIZE];
        snprintf(key, sizeof key, "dimensions.name.%zu", i);
        status = vq_tensors_set(tensors, key, d->names[i]);
    }
    return status;
}

static vq_status load_names(vq_dimensions *d, const vq_tensors *tensors)
{
    vq_status status = VQ_OK;
    for (size_t i = 0; !status && i < d->count; i++) {
        char key[KEY_SIZE];
        snprintf(key, sizeof key, "dimensions.name.%zu", i);
        const char *name = vq_tensors_get(tensors, key);
        if (!name && !d->names)
            return VQ_OK; /* none has */
        status = name ? vq_dimensions_set_name(d, i, name)
                      : vqi_fail(VQ_E_FORMAT, "dimension %zu has no name, others have", i);
    }
    return status;
}

vq_status vqi_dimensions_load(vq_dimensions **out, const vq_tensors *tensors)
{
    *out = NULL;
    const vq_tensor *low = vq_tensors_find(tensors, range_names[0]);
    const vq_tensor *binary = vq_tensors_find(tensors, "dimensions.binary");
    if (!low)
        return VQ_OK;
    const vq_tensor *ranges[4];
    for (int i = 0; i < 4; i++) {
        ranges[i] = vq_tensors_find(tensors, range_names[i]);
        if (!ranges[i] || ranges[i]->dtype != VQ_DTYPE_F32 || ranges[i]->ndim != 1 || !low->count ||
            ranges[i]->count != low->count)
            return vqi_fail(VQ_E_FORMAT, "\"%s\" is missing or is not F32 [D]", range_names[i]);
    }
    if (!binary || binary->dtype != VQ_DTYPE_U8 || binary->ndim != 1 || binary->count != low->count)
        return vqi_fail(VQ_E_FORMAT, "\"dimensions.binary\" is missing or is not U8 [D]");
    vq_dimensions *d;
    vq_status status = vq_dimensions_create(&d, low->count);
    if (status)
        return status;
    for (int i = 0; i < 4; i++)
        memcpy(range_of(d, i), ranges[i]->data, d->count * sizeof(float));
    memcpy(d->binary, binary->data, d->count);
    d->scaled = 1;
    status = vq_dimensions_validate(d) ? VQ_E_FORMAT : load_names(d, tensors);
    if (status) {
        vq_dimensions_free(d);
        return status;
    }
    *out = d;
    return VQ_OK;
}

vq_status vqi_dimensions_for(vq_dimensions **out, const vq_dimensions *model,
                             const vq_signal *signal)
{
    *out = NULL;
    const size_t count = signal->shape[signal->ndim - 1];
    const vq_dimensions *given = signal->dimensions;
    if (given && given->count != count)
        return vqi_fail(VQ_E_ARG, "the action has %zu dimensions and ranges for %zu", count,
                        given->count);
    if (model && model->count != count)
        return vqi_fail(VQ_E_ARG, "the action has %zu dimensions, the model is for %zu", count,
                        model->count);
    vq_dimensions *d;
    vq_status status;
    if (given && given->scaled)
        return vq_dimensions_validate(given) ? VQ_E_RANGE : vq_dimensions_copy(out, given);
    status = model ? vq_dimensions_copy(&d, model) : vq_dimensions_create(&d, count);
    if (status)
        return status;
    for (size_t i = 0; !status && given && given->names && i < count; i++)
        status = vq_dimensions_set_name(d, i, given->names[i]);
    if (!status && !model) {
        const float *rows = signal->data;
        const size_t length =
            signal->ndim == 3 ? signal->shape[0] * signal->shape[1] : signal->shape[0];
        status = vq_dimensions_fit(d, &rows, &length, 1);
    }
    if (status) {
        vq_dimensions_free(d);
        return status;
    }
    *out = d;
    return VQ_OK;
}

vq_status vqi_action_model_save(vq_tensors *tensors, const vqi_action_model *model,
                                const char *codec)
{
    const size_t shape[2] = {model->horizon, model->horizon};
    vq_status status = vq_tensors_set(tensors, "codec", codec);
    if (!status)
        status = vq_tensors_set_uint(tensors, "horizon", model->horizon);
    if (!status)
        status = vq_tensors_set_uint(tensors, "default_levels", model->default_levels);
    if (!status)
        status = vq_tensors_add(NULL, tensors, "basis", VQ_DTYPE_F32, 2, shape, model->basis);
    if (!status && model->dimensions)
        status = vqi_dimensions_save(tensors, model->dimensions);
    if (!status && model->edges && model->dimensions) {
        const size_t edges[2] = {model->dimensions->count, (size_t)model->bins + 1};
        status = vq_tensors_add(NULL, tensors, "edges", VQ_DTYPE_F32, 2, edges, model->edges);
    }
    return status;
}

static vq_status load_basis(vqi_action_model *model, const vq_tensors *tensors)
{
    const vq_tensor *basis = vq_tensors_find(tensors, "basis");
    if (!basis || basis->dtype != VQ_DTYPE_F32 || basis->ndim != 2 ||
        basis->shape[0] != model->horizon || basis->shape[1] != model->horizon)
        return vqi_fail(VQ_E_FORMAT, "\"basis\" is missing or is not F32 [%u, %u]", model->horizon,
                        model->horizon);
    memcpy(model->basis, basis->data, basis->count * sizeof(float));
    for (size_t i = 0; i < basis->count; i++)
        if (!(fabsf(model->basis[i]) <= 1))
            return vqi_fail(VQ_E_FORMAT, "\"basis\" holds a number that is not from -1 to 1");
    return VQ_OK;
}

static vq_status load_edges(vqi_action_model *model, const vq_tensors *tensors)
{
    const vq_tensor *edges = vq_tensors_find(tensors, "edges");
    if (!edges)
        return VQ_OK;
    if (edges->dtype != VQ_DTYPE_F32 || edges->ndim != 2 || !model->dimensions ||
        edges->shape[0] != model->dimensions->count || edges->shape[1] < 2 ||
        edges->shape[1] > MAX_BINS + 1)
        return vqi_fail(VQ_E_FORMAT, "\"edges\" is not F32 [D, bins + 1], or there are no ranges");
    const size_t n = edges->shape[1];
    const float *values = edges->data;
    for (size_t i = 0; i < edges->count; i++)
        if (!(fabsf(values[i]) <= 0x1p20f) || (i % n && values[i] < values[i - 1]))
            return vqi_fail(VQ_E_FORMAT, "\"edges\" of dimension %zu fall, or are not finite",
                            i / n);
    model->edges = vqi_alloc(edges->count, sizeof *model->edges);
    if (!model->edges)
        return vqi_fail_nomem(edges->count * sizeof *model->edges);
    memcpy(model->edges, values, edges->count * sizeof *values);
    model->bins = (uint32_t)(n - 1);
    return VQ_OK;
}

vq_status vqi_action_load(void **state, const vq_tensors *tensors, const vq_quantizer *quantizer,
                          const vq_limits *limits)
{
    (void)limits;
    uint64_t horizon = 0, levels = 0;
    vqi_action_model *model = NULL;
    vq_status status = vq_tensors_get_uint(&horizon, tensors, "horizon", 1, VQI_MAX_HORIZON);
    if (!status)
        status = vq_tensors_get_uint(&levels, tensors, "default_levels", 1,
                                     vq_quantizer_levels(quantizer));
    if (!status && vq_quantizer_dim(quantizer) != horizon)
        status = vqi_fail(VQ_E_FORMAT, "chunks of %u steps and a quantizer of %u numbers",
                          (unsigned)horizon, vq_quantizer_dim(quantizer));
    if (!status)
        status = vqi_action_model_create(&model, (uint32_t)horizon);
    if (!status) {
        model->default_levels = (uint32_t)levels;
        status = load_basis(model, tensors);
    }
    if (!status)
        status = vqi_dimensions_load(&model->dimensions, tensors);
    if (!status)
        status = load_edges(model, tensors);
    if (status) {
        vqi_action_model_free(model);
        return status;
    }
    *state = model;
    return VQ_OK;
}
