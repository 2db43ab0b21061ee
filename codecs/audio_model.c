/* SPDX-License-Identifier: Apache-2.0 */
/* The audio model's tables: from a model file, checked, and into one. docs/FORMATS.md names them. */
#include <math.h>

#include "codecs/audio_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

vq_status vqi_audio_model_allocate(vqi_audio_model *model)
{
    const size_t kept = model->kept_count, bands = model->band_count;
    model->window = vqi_calloc(model->hop, 2 * sizeof *model->window);
    model->kept = vqi_calloc(kept + 1, sizeof *model->kept);
    model->edges = vqi_calloc(bands + 1, sizeof *model->edges);
    model->weights = vqi_calloc(kept + bands, sizeof *model->weights);
    model->offsets = vqi_calloc(bands + 1, sizeof *model->offsets);
    model->gains = vqi_calloc(model->gain_levels, (kept + 1) * sizeof *model->gains);
    if (!model->window || !model->kept || !model->edges || !model->weights || !model->offsets ||
        !model->gains)
        return vqi_fail_nomem((2ull * model->hop + 2 * (kept + bands)) * sizeof(float));
    return VQ_OK;
}

void vqi_audio_model_free(vqi_audio_model *model)
{
    if (!model)
        return;
    vqi_mdct_clear(&model->mdct);
    vq_free(model->window);
    vq_free(model->kept);
    vq_free(model->edges);
    vq_free(model->weights);
    vq_free(model->offsets);
    vq_free(model->gains);
    vq_free(model);
}

/* All finite, and from `low` to `high` in size. */
static int within(const float *values, size_t count, float low, float high)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(values[i]) >= low && fabsf(values[i]) <= high))
            return 0;
    return 1;
}

static int rising(const uint32_t *values, size_t count, uint32_t end)
{
    for (size_t i = 0; i < count; i++)
        if (values[i] >= end || (i && values[i] <= values[i - 1]))
            return 0;
    return 1;
}

/* A coefficient is coded as it is, or by its band's energy, not both. */
static int apart(const vqi_audio_model *model)
{
    for (uint32_t i = 0; model->band_count && i < model->kept_count; i++)
        if (model->kept[i] >= model->edges[0] && model->kept[i] < model->edges[model->band_count])
            return 0;
    return 1;
}

vq_status vqi_audio_model_prepare(vqi_audio_model *model)
{
    const size_t dim = vqi_audio_dim(model);
    const char *wrong = NULL;
    if (!within(model->window, 2 * (size_t)model->hop, 0, 2))
        wrong = "window";
    else if (!rising(model->kept, model->kept_count, model->hop))
        wrong = "kept";
    else if (!rising(model->edges, (size_t)model->band_count + 1, model->hop + 1) || !apart(model))
        wrong = "edges";
    else if (!within(model->weights, dim, 1e-6f, 1e6f))
        wrong = "weights";
    else if (!within(model->offsets, model->band_count, 0, 1e3f))
        wrong = "offsets";
    else if (!within(model->gains, (size_t)model->gain_levels * model->kept_count, 0, 1e3f))
        wrong = "gains";
    else if (!(model->exponent >= 0.1f && model->exponent <= 1) ||
             !(model->floor >= 1e-20f && model->floor <= 1))
        wrong = "companding";
    if (wrong)
        return vqi_fail(VQ_E_FORMAT, "the model's tensor \"%s\" has a value that cannot be", wrong);
    vqi_mdct_clear(&model->mdct);
    return vqi_mdct_create(&model->mdct, model->hop, model->window);
}

static vq_status load_floats(float *out, const vq_tensors *tensors, const char *name, size_t rows,
                             size_t columns)
{
    const vq_tensor *tensor = vq_tensors_find(tensors, name);
    const uint32_t ndim = columns ? 2 : 1;
    if (!tensor || tensor->ndim != ndim || tensor->shape[0] != rows ||
        (columns && tensor->shape[1] != columns))
        return vqi_fail(VQ_E_FORMAT, "the model has no tensor \"%s\" of the right shape", name);
    return vq_tensor_to_f32(out, tensor, 0, tensor->count);
}

static vq_status load_indices(uint32_t *out, const vq_tensors *tensors, const char *name,
                              size_t count)
{
    const vq_tensor *tensor = vq_tensors_find(tensors, name);
    if (!tensor || tensor->dtype != VQ_DTYPE_U16 || tensor->ndim != 1 || tensor->count != count)
        return vqi_fail(VQ_E_FORMAT, "the model has no tensor \"%s\" of %zu U16", name, count);
    const uint16_t *indices = tensor->data;
    for (size_t i = 0; i < count; i++)
        out[i] = indices[i];
    return VQ_OK;
}

static vq_status load_tables(vqi_audio_model *model, const vq_tensors *tensors)
{
    float companding[2] = {0};
    vq_status status = load_floats(companding, tensors, "companding", 2, 0);
    if (!status)
        status = load_floats(model->window, tensors, "window", 2 * (size_t)model->hop, 0);
    if (!status)
        status = load_indices(model->kept, tensors, "kept", model->kept_count);
    if (!status)
        status = load_indices(model->edges, tensors, "edges", (size_t)model->band_count + 1);
    if (!status)
        status = load_floats(model->weights, tensors, "weights", vqi_audio_dim(model), 0);
    if (!status)
        status = load_floats(model->offsets, tensors, "offsets", model->band_count, 0);
    if (!status)
        status = load_floats(model->gains, tensors, "gains", model->gain_levels, model->kept_count);
    if (status)
        return status;
    model->exponent = companding[0];
    model->floor = companding[1];
    return vqi_audio_model_prepare(model);
}

/* Sizes from the settings and from the shapes of "kept" and "gains". */
static vq_status load_sizes(vqi_audio_model *model, const vq_tensors *tensors, uint32_t dim)
{
    uint64_t hop, rate, default_levels, beam;
    vq_status status = vq_tensors_get_uint(&hop, tensors, "hop", 4, VQI_MDCT_MAX);
    if (!status)
        status = vq_tensors_get_uint(&rate, tensors, "rate", 1000, 1000000);
    if (!status)
        status = vq_tensors_get_uint(&default_levels, tensors, "default_levels", 1, VQ_MAX_LEVELS);
    if (!status)
        status = vq_tensors_get_uint(&beam, tensors, "beam", 1, VQ_MAX_BEAM);
    if (status)
        return status;
    const vq_tensor *kept = vq_tensors_find(tensors, "kept");
    const vq_tensor *gains = vq_tensors_find(tensors, "gains");
    if (hop % 4 || !kept || !kept->count || kept->count >= dim || dim > hop)
        return vqi_fail(VQ_E_FORMAT,
                        "the model has %u dimensions for a hop of %u samples, and a tensor "
                        "\"kept\" that does not fit",
                        dim, (unsigned)hop);
    if (!gains || gains->ndim != 2 || !gains->shape[0] || gains->shape[0] > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_FORMAT, "the model has no tensor \"gains\" of the right shape");
    model->hop = (uint32_t)hop;
    model->rate = (uint32_t)rate;
    model->default_levels = (uint32_t)default_levels;
    model->beam = (uint32_t)beam;
    model->kept_count = (uint32_t)kept->count;
    model->band_count = dim - model->kept_count;
    model->gain_levels = (uint32_t)gains->shape[0];
    return VQ_OK;
}

vq_status vqi_audio_model_load(vqi_audio_model **out, const vq_tensors *tensors, uint32_t dim)
{
    vqi_audio_model *model = vqi_calloc(1, sizeof *model);
    if (!model)
        return vqi_fail_nomem(sizeof *model);
    vq_status status = load_sizes(model, tensors, dim);
    if (!status)
        status = vqi_audio_model_allocate(model);
    if (!status)
        status = load_tables(model, tensors);
    if (status) {
        vqi_audio_model_free(model);
        return status;
    }
    *out = model;
    return VQ_OK;
}

static vq_status save_indices(vq_tensors *tensors, const char *name, const uint32_t *values,
                              size_t count)
{
    vq_tensor *tensor;
    const vq_status status = vq_tensors_add(&tensor, tensors, name, VQ_DTYPE_U16, 1, &count, NULL);
    if (status)
        return status;
    uint16_t *indices = tensor->data;
    for (size_t i = 0; i < count; i++)
        indices[i] = (uint16_t)values[i];
    return VQ_OK;
}

static vq_status save_floats(vq_tensors *tensors, const char *name, const float *values,
                             size_t count)
{
    return vq_tensors_add(NULL, tensors, name, VQ_DTYPE_F32, 1, &count, values);
}

vq_status vqi_audio_model_save(vq_tensors *tensors, const vqi_audio_model *model)
{
    const float companding[2] = {model->exponent, model->floor};
    const size_t gains[2] = {model->gain_levels, model->kept_count};
    vq_status status = vq_tensors_set(tensors, "codec", vqi_front_end_audio.name);
    if (!status)
        status = vq_tensors_set_uint(tensors, "hop", model->hop);
    if (!status)
        status = vq_tensors_set_uint(tensors, "rate", model->rate);
    if (!status)
        status = vq_tensors_set_uint(tensors, "default_levels", model->default_levels);
    if (!status)
        status = vq_tensors_set_uint(tensors, "beam", model->beam);
    if (!status)
        status = save_floats(tensors, "companding", companding, 2);
    if (!status)
        status = save_floats(tensors, "window", model->window, 2 * (size_t)model->hop);
    if (!status)
        status = save_indices(tensors, "kept", model->kept, model->kept_count);
    if (!status)
        status = save_indices(tensors, "edges", model->edges, (size_t)model->band_count + 1);
    if (!status)
        status = save_floats(tensors, "weights", model->weights, vqi_audio_dim(model));
    if (!status)
        status = save_floats(tensors, "offsets", model->offsets, model->band_count);
    if (!status)
        status = vq_tensors_add(NULL, tensors, "gains", VQ_DTYPE_F32, 2, gains, model->gains);
    return status;
}
