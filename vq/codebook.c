/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/codebook.h"

#include <math.h>
#include <string.h>

#include "vq/codebook_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/short_internal.h"

const char *vq_metric_name(vq_metric metric)
{
    switch (metric) {
    case VQ_METRIC_EUCLIDEAN:
        return "euclidean";
    case VQ_METRIC_COSINE:
        return "cosine";
    case VQ_METRIC_DOT:
        return "dot";
    }
    return "?";
}

static vq_status check_arguments(uint32_t k, uint32_t d, vq_metric metric, vq_dtype storage)
{
    if (k < 1 || k > VQI_MAX_CODEWORDS)
        return vqi_fail(VQ_E_ARG, "a codebook has 1 to %d codewords, not %u", VQI_MAX_CODEWORDS, k);
    if (d < 1)
        return vqi_fail(VQ_E_ARG, "the codewords have 0 dimensions (at least 1)");
    if (metric != VQ_METRIC_EUCLIDEAN && metric != VQ_METRIC_COSINE && metric != VQ_METRIC_DOT)
        return vqi_fail(VQ_E_ARG, "%d is not a vq_metric", (int)metric);
    if (storage != VQ_DTYPE_F32 && storage != VQ_DTYPE_F16 && storage != VQ_DTYPE_BF16)
        return vqi_fail(VQ_E_ARG, "a codebook is stored as F32, F16 or BF16, not as %s",
                        vq_dtype_name(storage));
    return VQ_OK;
}

static float round_to_storage(float value, vq_dtype storage)
{
    switch (storage) {
    case VQ_DTYPE_F16:
        return vq_f16_to_f32(vq_f32_to_f16(value));
    case VQ_DTYPE_BF16:
        return vq_bf16_to_f32(vq_f32_to_bf16(value));
    default:
        return value;
    }
}

/* One codeword: scaled to unit length if asked for, rounded to the storage type. */
static vq_status prepare_codeword(float *out, const float *codeword, uint32_t index,
                                  const vq_codebook *codebook, int scale)
{
    double square = 0; /* in double no finite float32 vector over- or underflows */
    for (uint32_t i = 0; i < codebook->d; i++)
        square += (double)codeword[i] * codeword[i];
    if (!isfinite(square))
        return vqi_fail(VQ_E_NONFINITE, "codeword %u holds a NaN or an infinity", index);
    if (codebook->metric == VQ_METRIC_COSINE && square == 0)
        return vqi_fail(VQ_E_ARG,
                        "codeword %u is zero, which has no direction (use the Euclidean metric, or "
                        "leave it out)",
                        index);
    const double length = scale ? sqrt(square) : 1;
    for (uint32_t i = 0; i < codebook->d; i++) {
        out[i] = round_to_storage((float)(codeword[i] / length), codebook->storage);
        if (!isfinite(out[i]))
            return vqi_fail(VQ_E_NONFINITE, "codeword %u is too large for storage as %s (use F32)",
                            index, vq_dtype_name(codebook->storage));
    }
    return VQ_OK;
}

static vq_status make(vq_codebook **out, const float *codewords, uint32_t k, uint32_t d,
                      vq_metric metric, vq_dtype storage, int scale)
{
    *out = NULL;
    vq_status status = check_arguments(k, d, metric, storage);
    if (status)
        return status;
    size_t count;
    vq_codebook *codebook = vqi_calloc(1, sizeof *codebook);
    float *copy = vqi_mul(&count, k, d) ? vqi_alloc(count, sizeof *copy) : NULL;
    if (!codebook || !copy) {
        vq_free(codebook);
        vq_free(copy);
        return vqi_fail_nomem((unsigned long long)k * d * sizeof *copy);
    }
    *codebook =
        (vq_codebook){.k = k, .d = d, .metric = metric, .storage = storage, .codewords = copy};
    for (uint32_t c = 0; c < k && !status; c++)
        status = prepare_codeword(copy + (size_t)c * d, codewords + (size_t)c * d, c, codebook,
                                  scale && metric == VQ_METRIC_COSINE);
    if (!status)
        status = vqi_codebook_prepare(codebook);
    if (status) {
        vq_codebook_free(codebook);
        return status;
    }
    *out = codebook;
    return VQ_OK;
}

vq_status vq_codebook_create(vq_codebook **out, const float *codewords, uint32_t k, uint32_t d,
                             vq_metric metric, vq_dtype storage)
{
    return make(out, codewords, k, d, metric, storage, 1);
}

vq_status vqi_codebook_restore(vq_codebook **out, const float *codewords, uint32_t k, uint32_t d,
                               vq_metric metric, vq_dtype storage)
{
    return make(out, codewords, k, d, metric, storage, 0);
}

void vq_codebook_free(vq_codebook *codebook)
{
    if (!codebook)
        return;
    vq_free(codebook->order);
    vq_free(codebook->centre);
    vq_free(codebook->start);
    vq_free(codebook->groups);
    for (int f = 0; f < VQI_FORMS; f++) {
        vq_free(codebook->coarse[f].data);
        vq_free(codebook->coarse[f].group_error);
    }
    vq_free(codebook->weight);
    vq_free(codebook->inverse_weight);
    vq_free(codebook->group_norm);
    vqi_short_free(codebook->few);
    vq_free(codebook->mapped);
    vq_free(codebook->codewords);
    vq_free(codebook);
}

uint32_t vq_codebook_k(const vq_codebook *codebook)
{
    return codebook->k;
}

uint32_t vq_codebook_dim(const vq_codebook *codebook)
{
    return codebook->d;
}

vq_metric vq_codebook_metric(const vq_codebook *codebook)
{
    return codebook->metric;
}

vq_dtype vq_codebook_storage(const vq_codebook *codebook)
{
    return codebook->storage;
}

const float *vq_codebook_codewords(const vq_codebook *codebook)
{
    return codebook->codewords;
}
