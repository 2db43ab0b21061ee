/* SPDX-License-Identifier: Apache-2.0 */
/* The codec "bins": even bins of the range of each dimension, or bins in which equally many steps lie. */
#include <stdlib.h>

#include "codecs/action_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { BINS = 256, MAX_BINS = 65536 };

/* Even bins of [-1, 1]: codeword k is the middle of bin k. */
static vq_status even_bins(vq_quantizer **out, uint32_t bins)
{
    *out = NULL;
    vq_codebook *codebook = NULL;
    float *middles = vqi_alloc(bins, sizeof *middles);
    if (!middles)
        return vqi_fail_nomem(bins * sizeof *middles);
    for (uint32_t k = 0; k < bins; k++)
        middles[k] = ((float)k + 0.5f) * 2 / (float)bins - 1;
    vq_status status =
        vq_codebook_create(&codebook, middles, bins, 1, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    if (!status)
        status = vq_quantizer_from_codebook(out, codebook);
    if (status)
        vq_codebook_free(codebook);
    vq_free(middles);
    return status;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Edges between which equally many of the steps lie; the outer ones are the ends of what occurs. */
static vq_status quantile_edges(vqi_action_model *model, const vqi_action_set *set, uint32_t bins)
{
    const vq_dimensions *d = model->dimensions;
    size_t n = 0;
    for (size_t i = 0; i < set->count; i++)
        n += vq_signal_count(set->signals[i]) / d->count;
    float *values = vqi_alloc(n, sizeof *values);
    model->edges = vqi_alloc(d->count, (bins + 1) * sizeof *model->edges);
    model->bins = bins;
    if (!values || !model->edges) {
        vq_free(values);
        return vqi_fail_nomem(n * sizeof *values);
    }
    for (size_t i = 0; i < d->count; i++) {
        size_t at = 0;
        for (size_t s = 0; s < set->count; s++)
            for (size_t r = i; r < vq_signal_count(set->signals[s]); r += d->count)
                values[at++] = vqi_action_normalise(d, i, set->signals[s]->data[r]);
        qsort(values, n, sizeof *values, ascending);
        for (uint32_t b = 0; b <= bins; b++)
            model->edges[i * (bins + 1) + b] = values[(size_t)((double)(n - 1) * b / bins + 0.5)];
    }
    vq_free(values);
    return VQ_OK;
}

vq_status vqi_bins_train(vq_tensors **model, const vq_signal_source *source,
                         const vq_codec_train_opts *opts)
{
    const uint32_t bins = opts->k ? opts->k : BINS;
    vqi_action_set set = {0};
    vqi_action_model *own = NULL;
    vq_quantizer *quantizer = NULL;
    vq_status status = vqi_action_check(opts);
    if (!status && (opts->levels > 1 || opts->horizon > 1 || opts->quantizer || bins < 2 ||
                    bins > MAX_BINS || (opts->universal && opts->quantile_bins)))
        status =
            vqi_fail(VQ_E_ARG, "bins have one level, chunks of one step, and 2 to 65536 codes; "
                               "quantile bins are not universal");
    if (!status)
        status = vqi_action_set_read(&set, source, opts);
    if (!status)
        status = vqi_action_model_create(&own, 1);
    if (!status && !opts->universal)
        status = vqi_action_set_fit(&own->dimensions, &set, 0);
    if (!status && opts->quantile_bins)
        status = quantile_edges(own, &set, bins);
    if (!status)
        status = even_bins(&quantizer, bins);
    if (!status) {
        own->default_levels = 1;
        status = vqi_action_save(model, own, quantizer, "bins");
    }
    vq_quantizer_free(quantizer);
    vqi_action_model_free(own);
    vqi_action_set_clear(&set);
    return status;
}
