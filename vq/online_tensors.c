/* SPDX-License-Identifier: Apache-2.0 */
/* The state of an online codebook to and from a set of tensors. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "vq/codebook_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/online_internal.h"

enum { NAME_SIZE = 256, STATE_VERSION = 1, RATES = 3 };

static const char state_name[] = "vq_online";

static vq_status join(char name[NAME_SIZE], const char *prefix, const char *rest)
{
    const int length = snprintf(name, NAME_SIZE, "%s%s", prefix, rest);
    if (length < 0 || length >= NAME_SIZE)
        return vqi_fail(VQ_E_ARG,
                        "the prefix of an online codebook's names is too long (under %d "
                        "bytes)",
                        NAME_SIZE - 16);
    return VQ_OK;
}

static vq_status set_text(vq_tensors *tensors, const char *prefix, const char *key,
                          const char *value)
{
    char name[NAME_SIZE];
    const vq_status status = join(name, prefix, key);
    return status ? status : vq_tensors_set(tensors, name, value);
}

static vq_status set_number(vq_tensors *tensors, const char *prefix, const char *key,
                            uint64_t value)
{
    char name[NAME_SIZE];
    const vq_status status = join(name, prefix, key);
    return status ? status : vq_tensors_set_uint(tensors, name, value);
}

static vq_status add_array(vq_tensors *tensors, const char *prefix, const char *key, vq_dtype dtype,
                           size_t rows, size_t columns, const void *data)
{
    char name[NAME_SIZE];
    const size_t shape[2] = {rows, columns};
    const vq_status status = join(name, prefix, key);
    return status ? status
                  : vq_tensors_add(NULL, tensors, name, dtype, columns ? 2 : 1, shape, data);
}

vq_status vq_online_save(vq_tensors *tensors, const vq_online *o, const char *prefix)
{
    const double rates[RATES] = {o->opts.decay, o->opts.epsilon, o->opts.threshold};
    char name[NAME_SIZE];
    vq_status status = join(name, prefix, "state");
    if (!status && vq_tensors_get(tensors, name))
        status = vqi_fail(VQ_E_ARG, "the set already holds a state (\"%s\" is set)", name);
    if (!status)
        status = set_text(tensors, prefix, "state", state_name);
    if (!status)
        status = set_number(tensors, prefix, "version", STATE_VERSION);
    if (!status)
        status = set_text(tensors, prefix, "metric", vq_metric_name(o->batch.metric));
    if (!status)
        status = set_number(tensors, prefix, "patience", o->opts.patience);
    if (!status)
        status = set_number(tensors, prefix, "seed", o->opts.seed);
    if (!status)
        status = set_number(tensors, prefix, "updates", o->updates);
    if (!status)
        status = add_array(tensors, prefix, "codewords", VQ_DTYPE_F32, o->k, o->d,
                           vq_codebook_codewords(o->codebook));
    if (!status)
        status = add_array(tensors, prefix, "counts", VQ_DTYPE_F64, o->k, 0, o->now.counts);
    if (!status)
        status = add_array(tensors, prefix, "sums", VQ_DTYPE_F64, o->k, o->d, o->now.sums);
    if (!status)
        status = add_array(tensors, prefix, "dying", VQ_DTYPE_U32, o->k, 0, o->now.dying);
    if (!status)
        status = add_array(tensors, prefix, "rates", VQ_DTYPE_F64, RATES, 0, rates);
    return status;
}

static vq_status get_number(uint64_t *value, const vq_tensors *tensors, const char *prefix,
                            const char *key, uint64_t low, uint64_t high)
{
    char name[NAME_SIZE];
    const vq_status status = join(name, prefix, key);
    return status ? status : vq_tensors_get_uint(value, tensors, name, low, high);
}

/* An array of `rows`, or rows x columns if columns is not 0. */
static vq_status get_array(const vq_tensor **out, const vq_tensors *tensors, const char *prefix,
                           const char *key, vq_dtype dtype, size_t rows, size_t columns)
{
    char name[NAME_SIZE];
    const vq_status status = join(name, prefix, key);
    if (status)
        return status;
    const vq_tensor *t = vq_tensors_find(tensors, name);
    if (!t)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing", name);
    if (t->dtype != dtype || t->ndim != (columns ? 2 : 1) || t->shape[0] != rows ||
        (columns && t->shape[1] != columns))
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is not %s of %zu%s%.0zu", name,
                        vq_dtype_name(dtype), rows, columns ? " x " : "", columns);
    *out = t;
    return VQ_OK;
}

static vq_status get_metric(vq_metric *metric, const vq_tensors *tensors, const char *prefix)
{
    char name[NAME_SIZE];
    vq_status status = join(name, prefix, "state");
    if (status)
        return status;
    const char *state = vq_tensors_get(tensors, name);
    if (!state || strcmp(state, state_name))
        return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is not \"%s\": no state of an online codebook",
                        name, state_name);
    status = join(name, prefix, "metric");
    if (status)
        return status;
    const char *text = vq_tensors_get(tensors, name);
    *metric = text && !strcmp(text, vq_metric_name(VQ_METRIC_COSINE)) ? VQ_METRIC_COSINE
                                                                      : VQ_METRIC_EUCLIDEAN;
    if (!text || strcmp(text, vq_metric_name(*metric)))
        return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is not euclidean or cosine", name);
    return VQ_OK;
}

static vq_status get_options(vq_online_opts *own, const vq_tensors *tensors, const char *prefix)
{
    const vq_tensor *rates = NULL;
    uint64_t version, patience, seed;
    vq_status status = get_number(&version, tensors, prefix, "version", 1, UINT32_MAX);
    if (!status && version != STATE_VERSION)
        status = vqi_fail(VQ_E_VERSION, "a state of version %llu (this library knows %d)",
                          (unsigned long long)version, STATE_VERSION);
    if (!status)
        status = get_number(&patience, tensors, prefix, "patience", 1, UINT32_MAX);
    if (!status)
        status = get_number(&seed, tensors, prefix, "seed", 0, UINT64_MAX);
    if (!status)
        status = get_array(&rates, tensors, prefix, "rates", VQ_DTYPE_F64, RATES, 0);
    if (status)
        return status;
    const double *r = rates->data;
    if (!(r[0] >= 0 && r[0] < 1) || !(r[1] >= 0 && isfinite(r[1])) || !(r[2] >= 0 && r[2] <= 1))
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" holds a rate out of its range", rates->name);
    *own = (vq_online_opts){sizeof *own, r[0], r[1], r[2], (uint32_t)patience, seed};
    return VQ_OK;
}

static vq_status check_codewords(const vq_tensor *codewords, vq_metric metric)
{
    const size_t d = codewords->shape[1];
    const float *x = codewords->data;
    for (size_t c = 0; c < codewords->shape[0] && metric == VQ_METRIC_COSINE; c++) {
        double square = 0;
        for (size_t j = 0; j < d; j++)
            square += (double)x[c * d + j] * (double)x[c * d + j];
        if (!(fabs(square - 1) < 1e-2)) /* it may have begun as a codebook in bfloat16 */
            return vqi_fail(VQ_E_FORMAT, "tensor \"%s\": codeword %zu has length %g, not 1",
                            codewords->name, c, sqrt(square));
    }
    return VQ_OK;
}

static vq_status get_codebook(vq_codebook **out, const vq_tensors *tensors, const char *prefix,
                              vq_metric metric, const vq_limits *limits)
{
    char name[NAME_SIZE];
    vq_status status = join(name, prefix, "codewords");
    if (status)
        return status;
    const vq_tensor *t = vq_tensors_find(tensors, name);
    if (!t || t->dtype != VQ_DTYPE_F32 || t->ndim != 2 || !t->count)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing or not F32 of K x d", name);
    if (t->shape[0] > limits->max_codewords || t->shape[0] > VQI_MAX_CODEWORDS ||
        t->shape[1] > limits->max_dim || t->count > limits->max_alloc_bytes / sizeof(double))
        return vqi_fail(VQ_E_LIMIT, "tensor \"%s\" is %zu x %zu, above the limits", name,
                        t->shape[0], t->shape[1]);
    status = check_codewords(t, metric);
    return status ? status
                  : vqi_codebook_restore(out, t->data, (uint32_t)t->shape[0], (uint32_t)t->shape[1],
                                         metric, VQ_DTYPE_F32);
}

static vq_status fill(vq_online *o, const vq_tensors *tensors, const char *prefix)
{
    const vq_tensor *counts, *sums, *dying;
    vq_status status = get_array(&counts, tensors, prefix, "counts", VQ_DTYPE_F64, o->k, 0);
    if (!status)
        status = get_array(&sums, tensors, prefix, "sums", VQ_DTYPE_F64, o->k, o->d);
    if (!status)
        status = get_array(&dying, tensors, prefix, "dying", VQ_DTYPE_U32, o->k, 0);
    if (!status)
        status = get_number(&o->updates, tensors, prefix, "updates", 0, UINT64_MAX);
    if (status)
        return status;
    memcpy(o->now.counts, counts->data, counts->count * sizeof(double));
    memcpy(o->now.sums, sums->data, sums->count * sizeof(double));
    memcpy(o->now.dying, dying->data, dying->count * sizeof(uint32_t));
    double total = 0, bad = 0;
    for (uint32_t c = 0; c < o->k; c++) {
        if (!(o->now.counts[c] >= 0))
            return vqi_fail(VQ_E_FORMAT, "tensor \"%s\": count %u is below 0", counts->name, c);
        total += o->now.counts[c];
    }
    for (size_t i = 0; i < sums->count; i++)
        bad += o->now.sums[i] - o->now.sums[i];
    if (!(total > 0) || !isfinite(total) || bad != 0)
        return vqi_fail(VQ_E_FORMAT, "the counts or sums of the state are not finite or all 0");
    return VQ_OK;
}

vq_status vq_online_load(vq_online **out, const vq_tensors *tensors, const char *prefix,
                         const vq_limits *limits)
{
    vq_limits resolved;
    vq_online_opts own;
    vq_metric metric = VQ_METRIC_EUCLIDEAN;
    vq_codebook *codebook = NULL;
    *out = NULL;
    vq_status status = vq_limits_resolve(&resolved, limits);
    if (!status)
        status = get_metric(&metric, tensors, prefix);
    if (!status)
        status = get_options(&own, tensors, prefix);
    if (!status)
        status = get_codebook(&codebook, tensors, prefix, metric, &resolved);
    if (!status)
        status = vqi_online_make(out, codebook, &own);
    if (!status) {
        status = fill(*out, tensors, prefix);
        if (status) {
            vq_online_free(*out);
            *out = NULL;
        }
    }
    return status;
}
