/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of k-means to and from sets of tensors. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_stats_internal.h"
#include "vq/memory_internal.h"

enum { NAME_SIZE = 256, FORMAT = 1, FORM_FIELDS = 5, MOST_EXPONENT = 400 };

static vq_status join(char name[NAME_SIZE], const char *prefix, const char *rest)
{
    const int length = snprintf(name, NAME_SIZE, "%s%s", prefix, rest);
    if (length < 0 || length >= NAME_SIZE)
        return vqi_fail(VQ_E_ARG, "the prefix of the names is too long (under %d bytes)",
                        NAME_SIZE - 32);
    return VQ_OK;
}

/* The arrays, in the order in which they are saved; a NULL array is one that these statistics do not have. */
typedef struct array {
    const char *name;
    void *data;
    vq_dtype dtype;
    uint32_t ndim;
    size_t shape[3];
} array;

enum { ARRAYS = 8 };

static void list_arrays(array list[ARRAYS], const vq_kmeans_stats *s)
{
    const size_t k = s->form.k, d = s->form.d, limbs = (size_t)s->limbs;
    const array arrays[ARRAYS] = {
        {"rows", s->rows, VQ_DTYPE_I64, 1, {k}},
        {"sum", s->sum, VQ_DTYPE_I64, 3, {limbs, k, d}},
        {"cost", s->cost, VQ_DTYPE_I64, 2, {VQI_EXACT_LIMBS, k}},
        {"worst", s->worst, VQ_DTYPE_F32, 1, {k}},
        {"worst.number", s->number, VQ_DTYPE_U64, 1, {k}},
        {"worst.row", s->worst_row, VQ_DTYPE_F32, 2, {k, d}},
        {"worst.weight", s->worst_mass, VQ_DTYPE_F32, 1, {k}},
        {"weight", s->weight, VQ_DTYPE_I64, 2, {VQI_EXACT_LIMBS, k}},
    };
    memcpy(list, arrays, sizeof arrays);
}

static vq_status save_array(vq_tensors *tensors, const array *a, const char *prefix)
{
    char name[NAME_SIZE];
    const vq_status status = join(name, prefix, a->name);
    return status ? status
                  : vq_tensors_add(NULL, tensors, name, a->dtype, a->ndim, a->shape, a->data);
}

vq_status vq_kmeans_stats_save(vq_tensors *tensors, const vq_kmeans_stats *stats,
                               const char *prefix)
{
    const vqi_stats_form *form = &stats->form;
    int32_t fields[FORM_FIELDS] = {FORMAT, (int32_t)form->metric, form->value_exponent,
                                   form->weighted, form->weight_exponent};
    const array form_array = {"form", fields, VQ_DTYPE_I32, 1, {FORM_FIELDS}};
    vq_kmeans_stats *own;
    vq_status status = vqi_stats_create(&own, form);
    if (!status) /* the one form of the sums, of a copy */
        status = vq_kmeans_stats_merge(own, stats);
    if (!status) {
        array list[ARRAYS];
        vqi_stats_carry(own, 1);
        list_arrays(list, own);
        status = save_array(tensors, &form_array, prefix);
        for (int i = 0; i < ARRAYS && !status; i++)
            if (list[i].data)
                status = save_array(tensors, &list[i], prefix);
    }
    vq_kmeans_stats_free(own);
    return status;
}

/* The tensor of that name, type and shape; a size of 0 stands for any. */
static vq_status find(const vq_tensor **out, const vq_tensors *tensors, const array *a,
                      const char *prefix)
{
    char name[NAME_SIZE];
    const vq_status status = join(name, prefix, a->name);
    if (status)
        return status;
    const vq_tensor *t = vq_tensors_find(tensors, name);
    if (!t)
        return vqi_fail(VQ_E_FORMAT, "there is no tensor \"%s\"", name);
    int fits = t->dtype == a->dtype && t->ndim == a->ndim;
    for (uint32_t i = 0; i < a->ndim && fits; i++)
        fits = a->shape[i] == 0 || t->shape[i] == a->shape[i];
    if (!fits)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" has a type or shape that it cannot have", name);
    *out = t;
    return VQ_OK;
}

static vq_status load_form(vqi_stats_form *form, const vq_tensors *tensors, const char *prefix,
                           const vq_limits *limits)
{
    const array fields = {"form", NULL, VQ_DTYPE_I32, 1, {FORM_FIELDS}},
                rows = {"worst.row", NULL, VQ_DTYPE_F32, 2, {0, 0}};
    const vq_tensor *t;
    vq_status status = find(&t, tensors, &fields, prefix);
    if (status)
        return status;
    const int32_t *field = t->data;
    if (field[0] != FORMAT)
        return vqi_fail(VQ_E_VERSION, "statistics of k-means, version %d (%d is read)", field[0],
                        FORMAT);
    if ((field[1] != VQ_METRIC_EUCLIDEAN && field[1] != VQ_METRIC_COSINE) ||
        field[2] < -MOST_EXPONENT || field[2] > MOST_EXPONENT || (field[3] & ~1) ||
        field[4] < -MOST_EXPONENT || field[4] > MOST_EXPONENT || (!field[3] && field[4]))
        return vqi_fail(VQ_E_FORMAT, "tensor \"%sform\" holds what cannot be", prefix);
    status = find(&t, tensors, &rows, prefix);
    if (status)
        return status;
    if (!t->count)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%sworst.row\" is empty", prefix);
    if (t->shape[0] > limits->max_codewords || t->shape[1] > limits->max_dim)
        return vqi_fail(VQ_E_LIMIT, "statistics of %zu codewords of %zu floats (at most %u of %u)",
                        t->shape[0], t->shape[1], limits->max_codewords, limits->max_dim);
    *form = (vqi_stats_form){(uint32_t)t->shape[0],
                             (uint32_t)t->shape[1],
                             (vq_metric)field[1],
                             field[2],
                             field[4],
                             field[3]};
    return VQ_OK;
}

/* Are the `count` sums of each cell in their one form, and no larger than its rows can make them? */
static int are_sums(const int64_t *limb, const vq_kmeans_stats *s, int limbs, size_t count)
{
    const size_t k = s->form.k, stride = k * count;
    for (size_t j = 0; j < stride; j++) {
        const int64_t rows = s->rows[j / count], most = (rows << VQI_EXACT_FIRST_BITS) + rows + 1;
        if (limb[j] < -most || limb[j] > most)
            return 0;
        for (int i = 1; i < limbs; i++)
            if (limb[(size_t)i * stride + j] >> VQI_EXACT_NEXT_BITS)
                return 0;
    }
    return 1;
}

static int are_between(const float *x, size_t count, double most)
{
    for (size_t i = 0; i < count; i++)
        if (!(x[i] >= 0 && (double)x[i] <= most))
            return 0;
    return 1;
}

/* Numbers that accumulate() can have made, so that nothing overflows on them. */
static vq_status check_numbers(vq_kmeans_stats *s, const char *prefix)
{
    const size_t k = s->form.k, sums = k * s->form.d;
    const char *bad = NULL;
    s->total = 0;
    for (size_t c = 0; c < k && !bad; c++) {
        if (s->rows[c] < 0 || s->rows[c] > VQI_EXACT_ADDENDS - s->total)
            bad = "rows";
        else
            s->total += s->rows[c];
    }
    if (!bad && !are_sums(s->sum, s, s->limbs, s->form.d))
        bad = "sum";
    if (!bad && !are_sums(s->cost, s, VQI_EXACT_LIMBS, 1))
        bad = "cost";
    if (!bad && s->weight && !are_sums(s->weight, s, VQI_EXACT_LIMBS, 1))
        bad = "weight";
    if (!bad && !are_between(s->worst, k, s->largest_error))
        bad = "worst";
    if (!bad && !are_between(s->worst_mass, k, ldexp(1, s->form.weight_exponent)))
        bad = "worst.weight";
    const uint32_t bits = vqi_largest_bits(s->worst_row, sums);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (!bad && !(isfinite(largest) && (double)largest <= ldexp(1, s->form.value_exponent)))
        bad = "worst.row";
    if (bad)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s%s\" holds what cannot be", prefix, bad);
    return VQ_OK;
}

vq_status vq_kmeans_stats_load(vq_kmeans_stats **out, const vq_tensors *tensors, const char *prefix,
                               const vq_limits *limits)
{
    vq_limits own;
    vqi_stats_form form;
    vq_kmeans_stats *s = NULL;
    array list[ARRAYS];
    *out = NULL;
    vq_status status = vq_limits_resolve(&own, limits);
    if (!status)
        status = load_form(&form, tensors, prefix, &own);
    if (!status)
        status = vqi_stats_create(&s, &form);
    if (status)
        return status;
    list_arrays(list, s);
    for (int i = 0; i < ARRAYS && !status; i++) {
        const vq_tensor *t;
        if (!list[i].data)
            continue;
        status = find(&t, tensors, &list[i], prefix);
        if (!status)
            memcpy(list[i].data, t->data, t->count * vq_dtype_size(t->dtype));
    }
    if (!status)
        status = check_numbers(s, prefix);
    if (status)
        vq_kmeans_stats_free(s);
    else
        *out = s;
    return status;
}
