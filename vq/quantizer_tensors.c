/* SPDX-License-Identifier: Apache-2.0 */
/* Quantizers to and from sets of tensors; the layout is docs/FORMATS.md, "Quantizer tensors". */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/quantizer_internal.h"

vq_status vqi_quantizer_name(char name[VQI_NAME_SIZE], const char *prefix, const char *rest)
{
    const int length = snprintf(name, VQI_NAME_SIZE, "%s%s", prefix, rest);
    if (length < 0 || length >= VQI_NAME_SIZE)
        return vqi_fail(VQ_E_ARG, "the prefix of a quantizer's names is too long (under %d bytes)",
                        VQI_NAME_SIZE - 32);
    return VQ_OK;
}

static vq_status codebook_name(char name[VQI_NAME_SIZE], const char *prefix, uint32_t level)
{
    char rest[32];
    snprintf(rest, sizeof rest, "codebook.%u", level);
    return vqi_quantizer_name(name, prefix, rest);
}

static vq_status save_codebook(vq_tensors *tensors, const vq_codebook *codebook, const char *name)
{
    const vq_dtype storage = vq_codebook_storage(codebook);
    const float *codewords = vq_codebook_codewords(codebook);
    const size_t shape[2] = {vq_codebook_k(codebook), vq_codebook_dim(codebook)};
    vq_tensor *tensor;
    const vq_status status = vq_tensors_add(&tensor, tensors, name, storage, 2, shape,
                                            storage == VQ_DTYPE_F32 ? codewords : NULL);
    if (status || storage == VQ_DTYPE_F32)
        return status;
    uint16_t *half = tensor->data;
    for (size_t i = 0; i < tensor->count; i++)
        half[i] =
            storage == VQ_DTYPE_F16 ? vq_f32_to_f16(codewords[i]) : vq_f32_to_bf16(codewords[i]);
    return VQ_OK;
}

vq_status vqi_codebooks_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    char name[VQI_NAME_SIZE];
    vq_status status = vqi_quantizer_name(name, prefix, "levels");
    if (!status)
        status = vq_tensors_set_uint(tensors, name, q->levels);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "metric");
    if (!status)
        status = vq_tensors_set(tensors, name,
                                vq_metric_name(vq_codebook_metric(vq_quantizer_codebook(q, 0))));
    for (uint32_t l = 0; l < q->levels && !status; l++) {
        status = codebook_name(name, prefix, l);
        if (!status)
            status = save_codebook(tensors, vq_quantizer_codebook(q, l), name);
    }
    return status;
}

vq_status vq_quantizer_save(vq_tensors *tensors, const vq_quantizer *quantizer, const char *prefix)
{
    char name[VQI_NAME_SIZE];
    vq_status status = vqi_quantizer_name(name, prefix, "kind");
    if (status)
        return status;
    if (vq_tensors_get(tensors, name))
        return vqi_fail(VQ_E_ARG, "the set already holds a quantizer (\"%s\" is set)", name);
    status = vq_tensors_set(tensors, name, quantizer->kind->name);
    return status ? status : quantizer->kind->save(tensors, quantizer, prefix);
}

/* Is every codeword of unit length, as far as its storage type can say? */
static vq_status check_unit_length(const float *codewords, uint32_t k, uint32_t d, const char *name)
{
    for (uint32_t c = 0; c < k; c++) {
        double square = 0;
        for (uint32_t i = 0; i < d; i++)
            square += (double)codewords[(size_t)c * d + i] * codewords[(size_t)c * d + i];
        if (fabs(square - 1) > 0.02) /* bfloat16 rounding moves it by less than 0.01 */
            return vqi_fail(VQ_E_FORMAT,
                            "tensor \"%s\": codeword %u of a cosine codebook has length %g, not 1",
                            name, c, sqrt(square));
    }
    return VQ_OK;
}

/* The K x d elements from `first` on as a codebook: one of ours as it is, of another program like a new one. */
static vq_status make_codebook(vq_codebook **out, const vq_tensor *tensor, size_t first, uint32_t k,
                               uint32_t d, vq_metric metric, int ours)
{
    const size_t count = (size_t)k * d; /* within max_alloc_bytes: checked by check_shape() */
    float *codewords = vqi_alloc(count, sizeof *codewords);
    if (!codewords)
        return vqi_fail_nomem((unsigned long long)count * sizeof *codewords);
    vq_status status = vq_tensor_to_f32(codewords, tensor, first, count);
    if (!status && ours && metric == VQ_METRIC_COSINE)
        status = check_unit_length(codewords, k, d, tensor->name);
    if (!status) {
        status = (ours ? vqi_codebook_restore : vq_codebook_create)(
            out, codewords, k, d, metric,
            tensor->dtype == VQ_DTYPE_F64 ? VQ_DTYPE_F32 : tensor->dtype);
        if (status == VQ_E_NONFINITE || status == VQ_E_ARG) {
            char context[VQI_NAME_SIZE];
            snprintf(context, sizeof context, "tensor \"%.200s\"", tensor->name);
            vqi_fail_in(status, context);
        }
    }
    vq_free(codewords);
    return status;
}

/* The last two dimensions of the tensor as K and d. */
static vq_status check_shape(uint32_t *k, uint32_t *d, const vq_tensor *tensor,
                             const vq_limits *limits)
{
    const size_t rows = tensor->shape[tensor->ndim - 2], columns = tensor->shape[tensor->ndim - 1];
    if (!rows || !columns)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is [%zu, %zu]: an empty codebook", tensor->name,
                        rows, columns);
    if (rows > limits->max_codewords || rows > VQI_MAX_CODEWORDS)
        return vqi_fail(VQ_E_LIMIT, "tensor \"%s\" has %zu codewords (the limit is %u)",
                        tensor->name, rows, limits->max_codewords);
    if (columns > limits->max_dim)
        return vqi_fail(VQ_E_LIMIT, "tensor \"%s\" has %zu dimensions (the limit is %u)",
                        tensor->name, columns, limits->max_dim);
    if (rows > limits->max_alloc_bytes / sizeof(float) / columns)
        return vqi_fail(VQ_E_LIMIT, "tensor \"%s\" is larger than max_alloc_bytes", tensor->name);
    *k = (uint32_t)rows;
    *d = (uint32_t)columns;
    return VQ_OK;
}

static vq_status load_codebook(vq_codebook **out, const vq_tensors *tensors, const char *name,
                               vq_metric metric, const vq_limits *limits)
{
    const vq_tensor *tensor = vq_tensors_find(tensors, name);
    if (!tensor)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing", name);
    if (tensor->ndim != 2)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" has %u dimensions, not 2", name, tensor->ndim);
    if (tensor->dtype != VQ_DTYPE_F32 && tensor->dtype != VQ_DTYPE_F16 &&
        tensor->dtype != VQ_DTYPE_BF16)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is %s, not F32, F16 or BF16", name,
                        vq_dtype_name(tensor->dtype));
    uint32_t k, d;
    const vq_status status = check_shape(&k, &d, tensor, limits);
    return status ? status : make_codebook(out, tensor, 0, k, d, metric, 1);
}

static vq_status get_metric(vq_metric *metric, const vq_tensors *tensors, const char *name)
{
    const char *text = vq_tensors_get(tensors, name);
    if (!text)
        return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is missing", name);
    for (int m = VQ_METRIC_EUCLIDEAN; m <= VQ_METRIC_DOT; m++)
        if (!strcmp(text, vq_metric_name((vq_metric)m))) {
            *metric = (vq_metric)m;
            return VQ_OK;
        }
    return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is \"%.40s\" (not euclidean, cosine or dot)", name,
                    text);
}

static void free_codebooks(vq_codebook **codebooks, uint32_t count)
{
    for (uint32_t l = 0; l < count; l++)
        vq_codebook_free(codebooks[l]);
}

/* Elements of a model that are worth a thread. */
enum { PER_THREAD = 1 << 16 };

static vq_status load_level(vq_codebook **out, const vq_tensors *tensors, const char *prefix,
                            uint32_t l, vq_metric metric, const vq_limits *limits)
{
    char name[VQI_NAME_SIZE];
    const vq_status status = codebook_name(name, prefix, l);
    *out = NULL;
    return status ? status : load_codebook(out, tensors, name, metric, limits);
}

/* Levels share nothing, so threads share them out. What fails is left NULL: who tries again gets the error in a thread of its
 * own. */
static void load_levels(vq_codebook **codebooks, uint32_t count, const vq_tensors *tensors,
                        const char *prefix, vq_metric metric, const vq_limits *limits)
{
    char name[VQI_NAME_SIZE];
    const vq_tensor *first =
        codebook_name(name, prefix, 0) == VQ_OK ? vq_tensors_find(tensors, name) : NULL;
    const double work = first ? (double)first->count * count / PER_THREAD + 1 : 1;
    const int threads = vqi_threads(0, work < count ? (size_t)work : count);
    memset(codebooks, 0, count * sizeof(vq_codebook *));
    if (threads == 1)
        return;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (uint32_t l = 0; l < count; l++)
        if (load_level(&codebooks[l], tensors, prefix, l, metric, limits))
            codebooks[l] = NULL;
}

vq_status vqi_codebooks_load(vq_codebook **codebooks, uint32_t *levels, const vq_tensors *tensors,
                             const char *prefix, const vq_limits *limits)
{
    char name[VQI_NAME_SIZE];
    uint64_t count = 0;
    vq_metric metric = VQ_METRIC_EUCLIDEAN;
    vq_status status = vqi_quantizer_name(name, prefix, "levels");
    if (!status)
        status = vq_tensors_get_uint(&count, tensors, name, 1, limits->max_levels);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "metric");
    if (!status)
        status = get_metric(&metric, tensors, name);
    if (status)
        return status;
    load_levels(codebooks, (uint32_t)count, tensors, prefix, metric, limits);
    for (uint32_t l = 0; l < count && !status; l++) {
        if (!codebooks[l])
            status = load_level(&codebooks[l], tensors, prefix, l, metric, limits);
        if (!status && vq_codebook_dim(codebooks[l]) != vq_codebook_dim(codebooks[0]))
            status = vqi_fail(VQ_E_FORMAT, "level %u has %u dimensions, level 0 has %u", l,
                              vq_codebook_dim(codebooks[l]), vq_codebook_dim(codebooks[0]));
    }
    if (status) {
        free_codebooks(codebooks, (uint32_t)count);
        return status;
    }
    *levels = (uint32_t)count;
    return VQ_OK;
}

/* An array of another program: [K, d], or [L, K, d]; after the *levels codebooks that there are already. */
static vq_status add_codebooks(vq_codebook **codebooks, uint32_t *levels, const vq_tensor *tensor,
                               vq_metric metric, const vq_limits *limits)
{
    const size_t count = tensor->ndim == 3 ? tensor->shape[0] : 1;
    if (!count)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" has 0 levels", tensor->name);
    if (count > limits->max_levels - *levels)
        return vqi_fail(VQ_E_LIMIT, "tensor \"%s\" has %zu levels (the limit is %u in all)",
                        tensor->name, count, limits->max_levels);
    uint32_t k, d;
    vq_status status = check_shape(&k, &d, tensor, limits);
    for (size_t l = 0; l < count && !status; l++) {
        status = make_codebook(&codebooks[*levels], tensor, l * k * d, k, d, metric, 0);
        *levels += !status;
    }
    return status;
}

static const vqi_quantizer_kind *find_kind(const char *name)
{
    for (const vqi_quantizer_kind *const *kind = vqi_quantizer_kinds; *kind; kind++)
        if (!strcmp((*kind)->name, name))
            return *kind;
    return NULL;
}

static int is_codebook_array(const vq_tensor *tensor)
{
    const int floating = tensor->dtype == VQ_DTYPE_F32 || tensor->dtype == VQ_DTYPE_F64 ||
                         tensor->dtype == VQ_DTYPE_F16 || tensor->dtype == VQ_DTYPE_BF16;
    return floating && (tensor->ndim == 2 || tensor->ndim == 3);
}

/* The one array that can be codebooks. */
static vq_status find_array(const vq_tensor **found, const vq_tensors *tensors, const char *prefix)
{
    *found = NULL;
    for (size_t i = 0; i < vq_tensors_count(tensors); i++) {
        const vq_tensor *tensor = vq_tensors_at(tensors, i);
        if (!is_codebook_array(tensor) || strncmp(tensor->name, prefix, strlen(prefix)) != 0)
            continue;
        if (*found)
            return vqi_fail(VQ_E_FORMAT,
                            "there is no \"%skind\", and both \"%s\" and \"%s\" could be the "
                            "codebook (keep one)",
                            prefix, (*found)->name, tensor->name);
        *found = tensor;
    }
    if (!*found)
        return vqi_fail(
            VQ_E_FORMAT,
            "there is no \"%skind\" and no array of [K, d] or [L, K, d] to be a codebook", prefix);
    return VQ_OK;
}

static vq_status add_named(vq_codebook **codebooks, uint32_t *levels, const vq_tensors *tensors,
                           const char *name, vq_metric metric, const vq_limits *limits)
{
    const vq_tensor *tensor = vq_tensors_find(tensors, name);
    if (!tensor)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing", name);
    if (!is_codebook_array(tensor))
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is not [K, d] or [L, K, d], floating point",
                        name);
    return add_codebooks(codebooks, levels, tensor, metric, limits);
}

/* One array for each level: "*" in the pattern is 0, 1, 2, ... */
static vq_status add_numbered(vq_codebook **codebooks, uint32_t *levels, const vq_tensors *tensors,
                              const char *pattern, vq_metric metric, const vq_limits *limits)
{
    const char *star = strchr(pattern, '*');
    char before[VQI_NAME_SIZE], name[VQI_NAME_SIZE], rest[VQI_NAME_SIZE];
    vq_status status = VQ_OK;
    for (uint32_t number = 0; !status; number++) {
        snprintf(before, sizeof before, "%.*s", (int)(star - pattern), pattern);
        snprintf(rest, sizeof rest, "%u%s", number, star + 1);
        status = vqi_quantizer_name(name, before, rest);
        if (!status && number && !vq_tensors_find(tensors, name))
            return VQ_OK;
        if (!status)
            status = add_named(codebooks, levels, tensors, name, metric, limits);
    }
    return status;
}

static vq_status import(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                        const vq_import_opts *opts, const vq_limits *limits)
{
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    uint32_t levels = 0;
    int stacked = 0;
    vq_status status;
    if (opts->tensor) {
        status = (strchr(opts->tensor, '*') ? add_numbered : add_named)(
            codebooks, &levels, tensors, opts->tensor, opts->metric, limits);
        stacked = levels > 1;
    } else {
        const vq_tensor *tensor;
        status = find_array(&tensor, tensors, prefix);
        if (!status)
            status = add_codebooks(codebooks, &levels, tensor, opts->metric, limits);
        stacked = !status && tensor->ndim == 3;
    }
    const char *name = opts->kind ? opts->kind : stacked ? "residual" : "flat";
    const vqi_quantizer_kind *kind = find_kind(name);
    if (!status && !kind)
        status =
            vqi_fail(VQ_E_UNSUPPORTED, "this library has no quantizer of kind \"%.40s\"", name);
    if (!status && !kind->from_codebooks)
        status =
            vqi_fail(VQ_E_UNSUPPORTED, "a quantizer of kind \"%s\" is not made of codebooks", name);
    if (!status)
        status = kind->from_codebooks(out, codebooks, levels);
    if (status)
        free_codebooks(codebooks, levels);
    return status;
}

vq_status vq_quantizer_import(vq_quantizer **out, const vq_tensors *tensors,
                              const vq_import_opts *opts, const vq_limits *limits)
{
    *out = NULL;
    vq_limits own_limits;
    vq_import_opts own;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_import_opts");
    if (!status)
        status = vq_limits_resolve(&own_limits, limits);
    return status ? status : import(out, tensors, "", &own, &own_limits);
}

vq_status vq_quantizer_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                            const vq_limits *limits)
{
    const vq_import_opts defaults = VQ_IMPORT_OPTS_INIT;
    *out = NULL;
    vq_limits own;
    char name[VQI_NAME_SIZE];
    vq_status status = vq_limits_resolve(&own, limits);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "kind");
    if (status)
        return status;
    const char *kind_name = vq_tensors_get(tensors, name);
    if (!kind_name)
        return import(out, tensors, prefix, &defaults, &own);
    const vqi_quantizer_kind *kind = find_kind(kind_name);
    if (!kind)
        return vqi_fail(VQ_E_UNSUPPORTED, "this library has no quantizer of kind \"%.40s\"",
                        kind_name);
    return kind->load(out, tensors, prefix, &own);
}
