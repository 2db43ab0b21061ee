/* SPDX-License-Identifier: Apache-2.0 */
/* The kind "projected": one part, behind a linear map. */
#include "rvq/projected.h"

#include <string.h>

#include "rvq/parts_internal.h"
#include "rvq/projected_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/nearest_internal.h"
#include "vq/parallel_internal.h"

typedef struct projected {
    vqi_parts parts; /* one */
    float *in;       /* m x d */
    float *in_bias;  /* m */
    float *back;     /* d x m */
    float *back_bias;
} projected;

static void projected_free(vq_quantizer *q)
{
    projected *own = (projected *)q;
    vq_free(own->in);
    vq_free(own->in_bias);
    vq_free(own->back);
    vq_free(own->back_bias);
    vqi_parts_free(q);
}

static size_t latent_bytes(const projected *own, size_t rows)
{
    return vqi_aligned(rows * own->parts.part[0]->dim * sizeof(float));
}

/* to = map x + bias, one row */
static void apply(float *to, const float *map, const float *bias, const float *x, size_t rows,
                  size_t columns)
{
    vqi_contract_portable.dots(to, x, map, rows, columns);
    for (size_t i = 0; i < rows; i++)
        to[i] += bias[i];
}

static size_t block_workspace(const vq_quantizer *q, size_t rows, const vq_quantize_opts *opts,
                              int threads)
{
    const projected *own = (const projected *)q;
    const vq_quantizer *part = own->parts.part[0];
    vq_quantize_opts inner = *opts;
    inner.threads = threads;
    return latent_bytes(own, rows) + vqi_aligned(part->kind->workspace(part, rows, &inner));
}

static size_t projected_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
{
    const size_t rows = vqi_block_rows(q->dim, n);
    const size_t shared = block_workspace(q, rows, opts, opts->threads),
                 own = block_workspace(q, rows, opts, 1) *
                       (size_t)vqi_block_threads(n, rows, opts->threads);
    return shared > own ? shared : own;
}

static vq_status quantize_block(uint32_t *codes, const vq_quantizer *q, const float *x,
                                size_t first, size_t count, const vq_quantize_opts *opts)
{
    const projected *own = (const projected *)q;
    const vq_quantizer *part = own->parts.part[0];
    const size_t latent = latent_bytes(own, count);
    float *y = opts->workspace;
    vq_quantize_opts inner = *opts;
    inner.workspace = (char *)opts->workspace + latent;
    inner.workspace_size = opts->workspace_size - latent;
    for (size_t i = 0; i < count; i++)
        apply(y + i * part->dim, own->in, own->in_bias, x + (first + i) * q->dim, part->dim,
              q->dim);
    /* What is not finite in a row stays so in its products, with zeros too. */
    if (!vqi_contract_portable.all_finite(y, count * part->dim))
        return vqi_fail_nonfinite(x, first, count, q->dim);
    return part->kind->quantize(codes + first * opts->levels, part, y, count, &inner);
}

static vq_status projected_quantize(uint32_t *codes, const vq_quantizer *q, const float *x,
                                    size_t n, const vq_quantize_opts *opts)
{
    return vqi_quantize_blocks(codes, q, x, n, opts,
                               block_workspace(q, vqi_block_rows(q->dim, n), opts, 1),
                               quantize_block);
}

static vq_status projected_dequantize(float *x, const vq_quantizer *q, const uint32_t *codes,
                                      size_t n, const vq_quantize_opts *opts)
{
    const projected *own = (const projected *)q;
    const vq_quantizer *part = own->parts.part[0];
    const size_t m = part->dim, rows = VQ_PROJECTED_MAX_DIM / m, blocks = (n + rows - 1) / rows;
    const int threads = vqi_threads(opts->threads, n * q->dim / 16384 + 1);
    vq_quantize_opts inner = *opts;
    inner.threads = 1;
    int worst = VQ_OK;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(max : worst)
    for (size_t b = 0; b < blocks; b++) {
        float y[VQ_PROJECTED_MAX_DIM];
        const size_t first = b * rows, count = n - first < rows ? n - first : rows;
        const int status =
            (int)part->kind->dequantize(y, part, codes + first * opts->levels, count, &inner);
        worst = status > worst ? status : worst;
        for (size_t i = 0; i < count && !status; i++)
            apply(x + (first + i) * q->dim, own->back, own->back_bias, y + i * m, q->dim, m);
    }
    return (vq_status)worst;
}

/* A copy of `count` numbers, or zeros. */
static vq_status copy(float **to, const float *from, size_t count, const char *what)
{
    *to = vqi_calloc(count, sizeof **to);
    if (!*to)
        return vqi_fail_nomem((unsigned long long)count * sizeof **to);
    if (!from)
        return VQ_OK;
    if (!vqi_contract_portable.all_finite(from, count))
        return vqi_fail(VQ_E_NONFINITE, "%s of a projected quantizer holds a NaN or an infinity",
                        what);
    memcpy(*to, from, count * sizeof **to);
    return VQ_OK;
}

vq_status vq_projected_create(vq_quantizer **out, vq_quantizer *inner, uint32_t d, const float *in,
                              const float *in_bias, const float *back, const float *back_bias)
{
    *out = NULL;
    size_t count;
    if (!d || inner->dim > VQ_PROJECTED_MAX_DIM || !vqi_mul(&count, d, inner->dim))
        return vqi_fail(VQ_E_ARG, "a projection from %u to %u dimensions (at least 1, at most %d)",
                        d, inner->dim, VQ_PROJECTED_MAX_DIM);
    projected *own = vqi_calloc(1, sizeof *own);
    if (!own)
        return vqi_fail_nomem(sizeof *own);
    own->parts.base = (vq_quantizer){&vqi_projected_kind, d, inner->levels};
    vq_status status = copy(&own->in, in, count, "the map into the codes");
    if (!status)
        status = copy(&own->in_bias, in_bias, inner->dim, "the bias into the codes");
    if (!status)
        status = copy(&own->back, back, count, "the map back");
    if (!status)
        status = copy(&own->back_bias, back_bias, d, "the bias back");
    if (status) {
        projected_free(&own->parts.base);
        return status;
    }
    own->parts.count = 1;
    own->parts.part[0] = inner;
    for (uint32_t l = 0; l < inner->levels; l++)
        own->parts.place[l] = (vqi_place){0, (uint8_t)l};
    *out = &own->parts.base;
    return VQ_OK;
}

void vqi_projected_set_back(vq_quantizer *q, const float *back, const float *back_bias)
{
    const projected *own = (const projected *)q;
    memcpy(own->back, back, (size_t)q->dim * own->parts.part[0]->dim * sizeof *back);
    memcpy(own->back_bias, back_bias, q->dim * sizeof *back_bias);
}

const vq_quantizer *vq_projected_inner(const vq_quantizer *quantizer)
{
    return quantizer->kind == &vqi_projected_kind ? ((const projected *)quantizer)->parts.part[0]
                                                  : NULL;
}

static vq_status save_array(vq_tensors *tensors, const char *prefix, const char *name,
                            const float *values, size_t rows, size_t columns)
{
    char whole[VQI_NAME_SIZE];
    const size_t shape[2] = {rows, columns};
    const vq_status status = vqi_quantizer_name(whole, prefix, name);
    return status
               ? status
               : vq_tensors_add(NULL, tensors, whole, VQ_DTYPE_F32, columns ? 2 : 1, shape, values);
}

static vq_status projected_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    const projected *own = (const projected *)q;
    const size_t m = own->parts.part[0]->dim, d = q->dim;
    vq_status status = vqi_parts_save(tensors, q, prefix);
    if (!status)
        status = save_array(tensors, prefix, "in", own->in, m, d);
    if (!status)
        status = save_array(tensors, prefix, "in.bias", own->in_bias, m, 0);
    if (!status)
        status = save_array(tensors, prefix, "back", own->back, d, m);
    return status ? status : save_array(tensors, prefix, "back.bias", own->back_bias, d, 0);
}

/* rows x columns floats of this name, or `rows` of them if columns is 0; *rows = 0: as many as there are. */
static vq_status load_array(const float **values, size_t *rows, size_t columns,
                            const vq_tensors *tensors, const char *prefix, const char *name)
{
    char whole[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(whole, prefix, name);
    if (status)
        return status;
    const vq_tensor *tensor = vq_tensors_find(tensors, whole);
    if (!tensor)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing", whole);
    if (tensor->dtype != VQ_DTYPE_F32 || tensor->ndim != (columns ? 2 : 1) || !tensor->count ||
        (*rows && tensor->shape[0] != *rows) || (columns && tensor->shape[1] != columns))
        return vqi_fail(VQ_E_FORMAT,
                        "tensor \"%s\" is not of the F32 shape that the others ask for", whole);
    *values = tensor->data;
    *rows = tensor->shape[0];
    return VQ_OK;
}

static vq_status projected_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                                const vq_limits *limits)
{
    vq_quantizer *parts[VQ_MAX_LEVELS];
    const float *in, *in_bias, *back, *back_bias;
    uint32_t count = 0;
    size_t m, d = 0;
    vq_status status = vqi_parts_load(parts, &count, tensors, prefix, limits);
    if (status)
        return status;
    m = parts[0]->dim;
    if (count != 1)
        status = vqi_fail(VQ_E_FORMAT, "a projected quantizer has 1 part, not %u", count);
    if (!status)
        status = load_array(&back_bias, &d, 0, tensors, prefix, "back.bias");
    if (!status && d > limits->max_dim)
        status = vqi_fail(VQ_E_LIMIT, "a projection from %zu dimensions (the limit is %u)", d,
                          limits->max_dim);
    if (!status)
        status = load_array(&back, &d, m, tensors, prefix, "back");
    if (!status)
        status = load_array(&in, &m, d, tensors, prefix, "in");
    if (!status)
        status = load_array(&in_bias, &m, 0, tensors, prefix, "in.bias");
    if (!status)
        status = vq_projected_create(out, parts[0], (uint32_t)d, in, in_bias, back, back_bias);
    return status ? vqi_parts_refuse(parts, count, status) : VQ_OK;
}

const vqi_quantizer_kind vqi_projected_kind = {
    .name = "projected",
    .free = projected_free,
    .k = vqi_parts_k,
    .codebook = vqi_parts_codebook,
    .frequencies = vqi_parts_frequencies,
    .workspace = projected_workspace,
    .quantize = projected_quantize,
    .dequantize = projected_dequantize,
    .save = projected_save,
    .load = projected_load,
};
