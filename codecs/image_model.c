/* SPDX-License-Identifier: Apache-2.0 */
/* The image model's tables: from a model file, checked, and into one. docs/FORMATS.md names them. */
#include <math.h>
#include <string.h>

#include "codecs/image_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

vq_status vqi_image_model_allocate(vqi_image_model *model, int with_filter)
{
    const size_t square = (size_t)model->block * model->block;
    model->basis = vqi_calloc(square, sizeof(float));
    model->kept = vqi_calloc(model->dim, sizeof(uint32_t));
    model->weights = vqi_calloc(model->dim, sizeof(float));
    if (with_filter) {
        model->pre_filter = vqi_calloc(square, sizeof(float));
        model->post_filter = vqi_calloc(square, sizeof(float));
    }
    if (!model->basis || !model->kept || !model->weights ||
        (with_filter && (!model->pre_filter || !model->post_filter)))
        return vqi_fail_nomem(square * sizeof(float));
    return VQ_OK;
}

void vqi_image_model_free(vqi_image_model *model)
{
    if (!model)
        return;
    vqi_lapped_clear(&model->lapped);
    vq_free(model->basis);
    vq_free(model->pre_filter);
    vq_free(model->post_filter);
    vq_free(model->kept);
    vq_free(model->weights);
    vq_free(model);
}

/* The inverse of a 3 x 3 matrix by its adjugate, in double. */
static int invert_colour(float inverse[9], const float matrix[9])
{
    double m[9], determinant;
    for (int i = 0; i < 9; i++)
        m[i] = matrix[i];
    const double adjugate[9] = {
        m[4] * m[8] - m[5] * m[7], m[2] * m[7] - m[1] * m[8], m[1] * m[5] - m[2] * m[4],
        m[5] * m[6] - m[3] * m[8], m[0] * m[8] - m[2] * m[6], m[2] * m[3] - m[0] * m[5],
        m[3] * m[7] - m[4] * m[6], m[1] * m[6] - m[0] * m[7], m[0] * m[4] - m[1] * m[3]};
    determinant = m[0] * adjugate[0] + m[1] * adjugate[3] + m[2] * adjugate[6];
    if (!(fabs(determinant) > 1e-6))
        return 0;
    for (int i = 0; i < 9; i++)
        inverse[i] = (float)(adjugate[i] / determinant);
    return 1;
}

static int all_finite(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return 0;
    return 1;
}

vq_status vqi_image_model_prepare(vqi_image_model *model)
{
    const uint32_t m = model->block;
    const size_t square = (size_t)m * m;
    if (!all_finite(model->colour, 9) || !invert_colour(model->colour_inverse, model->colour))
        return vqi_fail(VQ_E_FORMAT, "the model's \"colour\" is not an invertible matrix");
    if (!all_finite(model->basis, square) ||
        (model->pre_filter &&
         (!all_finite(model->pre_filter, square) || !all_finite(model->post_filter, square))))
        return vqi_fail(VQ_E_FORMAT, "the model's transform holds a NaN or an infinity");
    memset(model->rows, 0, sizeof model->rows);
    uint8_t seen[VQI_IMAGE_PLANES * VQI_LAPPED_MAX_BLOCK * VQI_LAPPED_MAX_BLOCK] = {0};
    for (uint32_t i = 0; i < model->dim; i++) {
        const uint32_t index = model->kept[i];
        if (index >= VQI_IMAGE_PLANES * square)
            return vqi_fail(VQ_E_FORMAT, "the model keeps a coefficient %u of %zu", index,
                            VQI_IMAGE_PLANES * square);
        if (seen[index]++)
            return vqi_fail(VQ_E_FORMAT, "the model keeps coefficient %u twice", index);
        if (!isfinite(model->weights[i]) || !(fabsf(model->weights[i]) > 1e-6f))
            return vqi_fail(VQ_E_FORMAT, "the model's weight %u is not a usable number", i);
        const uint32_t plane = index / (m * m), row = index / m % m;
        if (model->rows[plane] < row + 1)
            model->rows[plane] = row + 1;
    }
    vqi_lapped_clear(&model->lapped);
    return vqi_lapped_create(&model->lapped, m, model->basis, model->pre_filter,
                             model->post_filter);
}

/* A tensor of the model as floats; its shape must be rows x columns (columns 0: one dimension). */
static vq_status load_floats(float *out, const vq_tensors *tensors, const char *name, size_t rows,
                             size_t columns)
{
    const vq_tensor *tensor = vq_tensors_find(tensors, name);
    if (!tensor)
        return vqi_fail(VQ_E_FORMAT, "the model has no tensor \"%s\"", name);
    const uint32_t ndim = columns ? 2 : 1;
    if (tensor->ndim != ndim || tensor->shape[0] != rows ||
        (columns && tensor->shape[1] != columns))
        return vqi_fail(VQ_E_FORMAT, "the model's tensor \"%s\" has the wrong shape", name);
    return vq_tensor_to_f32(out, tensor, 0, tensor->count);
}

static vq_status load_kept(uint32_t *kept, const vq_tensors *tensors, uint32_t dim)
{
    const vq_tensor *tensor = vq_tensors_find(tensors, "kept");
    if (!tensor || tensor->dtype != VQ_DTYPE_U16 || tensor->ndim != 1 || tensor->count != dim)
        return vqi_fail(VQ_E_FORMAT, "the model has no tensor \"kept\" of %u U16", dim);
    const uint16_t *indices = tensor->data;
    for (uint32_t i = 0; i < dim; i++)
        kept[i] = indices[i];
    return VQ_OK;
}

static vq_status load_tables(vqi_image_model *model, const vq_tensors *tensors)
{
    const uint32_t m = model->block;
    vq_status status = load_floats(model->colour, tensors, "colour", 3, 3);
    if (!status)
        status = load_floats(model->basis, tensors, "basis", m, m);
    if (!status && model->pre_filter)
        status = load_floats(model->pre_filter, tensors, "pre_filter", m, m);
    if (!status && model->pre_filter)
        status = load_floats(model->post_filter, tensors, "post_filter", m, m);
    if (!status)
        status = load_kept(model->kept, tensors, model->dim);
    if (!status)
        status = load_floats(model->weights, tensors, "weights", model->dim, 0);
    return status ? status : vqi_image_model_prepare(model);
}

vq_status vqi_image_model_load(vqi_image_model **out, const vq_tensors *tensors, uint32_t dim)
{
    uint64_t block, default_levels;
    vq_status status = vq_tensors_get_uint(&block, tensors, "block", 4, VQI_LAPPED_MAX_BLOCK);
    if (!status)
        status = vq_tensors_get_uint(&default_levels, tensors, "default_levels", 1, VQ_MAX_LEVELS);
    if (status)
        return status;
    if (block % 2 || dim > VQI_IMAGE_PLANES * block * block)
        return vqi_fail(VQ_E_FORMAT, "the model keeps %u coefficients of a block of %u pixels", dim,
                        (unsigned)block);
    vqi_image_model *model = vqi_calloc(1, sizeof *model);
    if (!model)
        return vqi_fail_nomem(sizeof *model);
    model->block = (uint32_t)block;
    model->dim = dim;
    model->default_levels = (uint32_t)default_levels;
    status = vqi_image_model_allocate(model, vq_tensors_find(tensors, "pre_filter") ||
                                                 vq_tensors_find(tensors, "post_filter"));
    if (!status)
        status = load_tables(model, tensors);
    if (status) {
        vqi_image_model_free(model);
        return status;
    }
    *out = model;
    return VQ_OK;
}

static vq_status save_square(vq_tensors *tensors, const char *name, const float *values, size_t m)
{
    const size_t shape[2] = {m, m};
    return vq_tensors_add(NULL, tensors, name, VQ_DTYPE_F32, 2, shape, values);
}

vq_status vqi_image_model_save(vq_tensors *tensors, const vqi_image_model *model)
{
    const size_t dim = model->dim;
    vq_tensor *kept;
    vq_status status = vq_tensors_set(tensors, "codec", vqi_front_end_image.name);
    if (!status)
        status = vq_tensors_set_uint(tensors, "block", model->block);
    if (!status)
        status = vq_tensors_set_uint(tensors, "default_levels", model->default_levels);
    if (!status)
        status = save_square(tensors, "colour", model->colour, 3);
    if (!status)
        status = save_square(tensors, "basis", model->basis, model->block);
    if (!status && model->pre_filter)
        status = save_square(tensors, "pre_filter", model->pre_filter, model->block);
    if (!status && model->post_filter)
        status = save_square(tensors, "post_filter", model->post_filter, model->block);
    if (!status)
        status = vq_tensors_add(NULL, tensors, "weights", VQ_DTYPE_F32, 1, &dim, model->weights);
    if (!status)
        status = vq_tensors_add(&kept, tensors, "kept", VQ_DTYPE_U16, 1, &dim, NULL);
    if (status)
        return status;
    uint16_t *indices = kept->data;
    for (size_t i = 0; i < dim; i++)
        indices[i] = (uint16_t)model->kept[i];
    return VQ_OK;
}
