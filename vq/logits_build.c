/* SPDX-License-Identifier: Apache-2.0 */
/* vq_head_build(): checks, and what the heads of all modes have in common. */
#include <stdlib.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

static int is_real(vq_dtype dtype)
{
    return dtype == VQ_DTYPE_F32 || dtype == VQ_DTYPE_F16 || dtype == VQ_DTYPE_BF16;
}

static vq_status check_matrix(const vq_tensor *rows, const char *what)
{
    if (!rows || rows->ndim != 2 || !is_real(rows->dtype))
        return vqi_fail(VQ_E_ARG, "%s are no matrix of F32, F16 or BF16", what);
    if (!rows->shape[0] || !rows->shape[1] || rows->shape[0] > VQI_MAX_TOKENS ||
        rows->shape[1] > VQI_MAX_DIM)
        return vqi_fail(VQ_E_ARG, "%s are [%zu, %zu] (1 to %d rows of 1 to %d numbers)", what,
                        rows->shape[0], rows->shape[1], VQI_MAX_TOKENS, VQI_MAX_DIM);
    return VQ_OK;
}

static vq_status check_row(const vq_tensor *row, size_t v, const char *what)
{
    if (row && (row->ndim != 1 || row->count != v))
        return vqi_fail(VQ_E_ARG, "%s: %u dimensions and %zu numbers, not a row of %zu", what,
                        row->ndim, row->count, v);
    return VQ_OK;
}

static vq_status check(const vq_tensor *rows, const vq_head_opts *o)
{
    vq_status status = check_matrix(rows, "the rows");
    if (!status && ((unsigned)o->mode > VQ_HEAD_RVQ || o->mode == VQ_HEAD_RVQ))
        status =
            vqi_fail(VQ_E_ARG, "vq_head_opts.mode is %d: not rerank, dense or tied", (int)o->mode);
    if (!status && ((unsigned)o->storage > VQ_HEAD_I8 || (unsigned)o->code_storage > VQ_HEAD_I8))
        status = vqi_fail(VQ_E_ARG, "vq_head_opts.storage or code_storage is none");
    if (!status && o->states)
        status = check_matrix(o->states, "vq_head_opts.states");
    if (status)
        return status;
    const size_t v = rows->shape[0];
    if (o->states && o->states->shape[1] != rows->shape[1])
        return vqi_fail(VQ_E_ARG, "the states have %zu numbers, the rows %zu", o->states->shape[1],
                        rows->shape[1]);
    status = check_row(o->counts, v, "vq_head_opts.counts");
    if (!status)
        status = check_row(o->bias, v, "vq_head_opts.bias");
    if (!status && o->codes > v)
        status = vqi_fail(VQ_E_ARG, "vq_head_opts.codes is %u for %zu rows (at most as many)",
                          o->codes, v);
    if (!status && o->threads < 0)
        status = vqi_fail(VQ_E_ARG, "vq_head_opts.threads is %d (0 = all)", o->threads);
    return status;
}

typedef struct place {
    uint32_t id, row;
} place;

static int by_id(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

vq_status vqi_head_sort_ids(vq_head *head, uint32_t *row_of, const uint32_t *ids)
{
    const size_t v = head->v;
    place *places = vqi_alloc(v, sizeof *places);
    head->ids = vqi_alloc(v, sizeof *head->ids);
    vq_status status =
        places && head->ids ? VQ_OK : vqi_fail_nomem((unsigned long long)v * sizeof *places);
    for (size_t i = 0; i < v && !status; i++)
        places[i] = (place){ids ? ids[i] : (uint32_t)i, (uint32_t)i};
    if (ids && !status)
        qsort(places, v, sizeof *places, by_id);
    for (size_t i = 0; i < v && !status; i++) {
        head->ids[i] = places[i].id;
        row_of[i] = places[i].row;
        if (i && places[i].id == places[i - 1].id)
            status = vqi_fail(VQ_E_ARG, "id %u stands for two rows, %u and %u", places[i].id,
                              places[i - 1].row, places[i].row);
    }
    vq_free(places);
    return status;
}

vq_status vqi_head_new(vq_head **out, uint32_t **row_of, size_t v, uint32_t d, const uint32_t *ids)
{
    vq_head *head = vqi_calloc(1, sizeof *head);
    *row_of = vqi_alloc(v, sizeof **row_of);
    *out = NULL;
    vq_status status = VQ_OK;
    if (head && *row_of) {
        head->v = v;
        head->d = d;
        status = vqi_head_sort_ids(head, *row_of, ids);
    } else {
        status = vqi_fail_nomem((unsigned long long)v * sizeof **row_of);
    }
    if (status) {
        vq_head_free(head);
        vq_free(*row_of);
        *row_of = NULL;
        return status;
    }
    *out = head;
    return VQ_OK;
}

vq_status vqi_head_bias(float **bias, const vq_tensor *tensor, const uint32_t *row_of, size_t v)
{
    *bias = NULL;
    if (!tensor)
        return VQ_OK;
    float *b = vqi_alloc(v, sizeof *b);
    if (!b)
        return vqi_fail_nomem((unsigned long long)v * sizeof *b);
    for (size_t i = 0; i < v; i++) {
        vq_tensor_to_f32(b + i, tensor, row_of[i], 1);
        if (!isfinite(b[i])) {
            vq_free(b);
            return vqi_fail(VQ_E_NONFINITE, "the bias of row %u is a NaN or an infinity",
                            row_of[i]);
        }
    }
    *bias = b;
    return VQ_OK;
}

/* The rows in the order that the head has them in, with their biases. */
static vq_status fill_rows(vq_head *head, const vq_tensor *rows, const uint32_t *row_of,
                           const vq_head_opts *o)
{
    vq_status status =
        vqi_rows_allocate(&head->rows, head->v, head->d, vqi_head_dtype(o->storage, rows->dtype));
    if (!status)
        status = vqi_rows_fill(&head->rows, rows, row_of, o->threads);
    if (!status)
        status = vqi_head_bias(&head->rows.bias, o->bias, row_of, head->v);
    if (!status) {
        vqi_rows_measure(&head->rows, o->threads);
        head->largest = head->rows.largest;
        head->most_bias = head->rows.most_bias;
    }
    return status;
}

vq_status vq_head_build(vq_head **out, const vq_tensor *rows, const vq_head_opts *opts)
{
    vq_head_opts o;
    vq_head *head = NULL;
    uint32_t *row_of = NULL;
    *out = NULL;
    vq_status status = vqi_options(&o, sizeof o, opts, "vq_head_opts");
    if (!status)
        status = check(rows, &o);
    if (!status)
        status = vqi_head_new(&head, &row_of, rows->shape[0], (uint32_t)rows->shape[1], o.ids);
    if (status)
        return status;
    if (o.mode == VQ_HEAD_DENSE) {
        head->kind = &vqi_head_dense;
        status = fill_rows(head, rows, row_of, &o);
    } else {
        status = vqi_cells_build(head, rows, row_of, &o);
    }
    vq_free(row_of);
    if (status)
        vq_head_free(head);
    else
        *out = head;
    return status;
}
