/* SPDX-License-Identifier: Apache-2.0 */
/* The kind "split": quantizers of the whole vector, whose outputs are added. */
#include "rvq/split.h"

#include <string.h>

#include "rvq/parts_internal.h"
#include "rvq/split_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

typedef struct split_quantizer {
    vqi_parts parts;
    vq_split_input input;
} split_quantizer;

static const char *const input_names[] = {"rest", "same"};

/* What a block needs: the rows that a part takes, what a part says of them, its codes, and its workspace. */
static size_t block_workspace(const vq_quantizer *q, size_t rows, const vq_quantize_opts *opts,
                              int threads)
{
    const split_quantizer *own = (const split_quantizer *)q;
    return 2 * vqi_aligned(rows * q->dim * sizeof(float)) +
           vqi_aligned(rows * q->levels * sizeof(uint32_t)) +
           vqi_parts_workspace(&own->parts, rows, opts, threads);
}

static size_t split_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
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
    const split_quantizer *own = (const split_quantizer *)q;
    const size_t floats = count * q->dim, bytes = vqi_aligned(floats * sizeof(float)),
                 code_bytes = vqi_aligned(count * q->levels * sizeof(uint32_t));
    char *workspace = opts->workspace;
    float *rest = (float *)(void *)workspace, *said = (float *)(void *)(workspace + bytes);
    uint32_t *part_codes = (uint32_t *)(void *)(workspace + 2 * bytes);
    vq_quantize_opts inner = *opts;
    inner.workspace = workspace + 2 * bytes + code_bytes;
    inner.workspace_size = opts->workspace_size - 2 * bytes - code_bytes;
    memcpy(rest, x + first * q->dim, floats * sizeof *rest);
    for (uint32_t p = 0; p < own->parts.count; p++) {
        const vq_quantizer *part = own->parts.part[p];
        inner.levels = vqi_parts_levels(&own->parts, p, opts->levels);
        if (!inner.levels)
            break; /* nor has any part after it */
        vq_status status = part->kind->quantize(part_codes, part, rest, count, &inner);
        if (status)
            return status == VQ_E_NONFINITE ? vqi_fail_nonfinite(x, first, count, q->dim) : status;
        vqi_parts_put(codes + first * opts->levels, opts->levels, part_codes, &own->parts, p,
                      count);
        if (own->input == VQ_SPLIT_SAME || p + 1 == own->parts.count)
            continue;
        status = part->kind->dequantize(said, part, part_codes, count, &inner);
        if (status)
            return status;
        for (size_t i = 0; i < floats; i++)
            rest[i] -= said[i];
    }
    return VQ_OK;
}

static vq_status split_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                                const vq_quantize_opts *opts)
{
    return vqi_quantize_blocks(codes, q, x, n, opts,
                               block_workspace(q, vqi_block_rows(q->dim, n), opts, 1),
                               quantize_block);
}

static vq_status add_row(float *x, const vq_quantizer *q, const uint32_t *codes,
                         const vq_quantize_opts *opts)
{
    const split_quantizer *own = (const split_quantizer *)q;
    float said[VQ_SPLIT_MAX_DIM];
    uint32_t part_codes[VQ_MAX_LEVELS];
    vq_quantize_opts inner = *opts;
    inner.threads = 1;
    for (uint32_t p = 0; p < own->parts.count; p++) {
        const vq_quantizer *part = own->parts.part[p];
        inner.levels = vqi_parts_levels(&own->parts, p, opts->levels);
        if (!inner.levels)
            break;
        vqi_parts_get(part_codes, codes, opts->levels, &own->parts, p, 1);
        const vq_status status = part->kind->dequantize(p ? said : x, part, part_codes, 1, &inner);
        if (status)
            return status;
        for (size_t j = 0; p && j < q->dim; j++)
            x[j] += said[j];
    }
    return VQ_OK;
}

static vq_status split_dequantize(float *x, const vq_quantizer *q, const uint32_t *codes, size_t n,
                                  const vq_quantize_opts *opts)
{
    const int threads = vqi_threads(opts->threads, n / 1024 + 1);
    int worst = VQ_OK;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(max : worst)
    for (size_t i = 0; i < n; i++) {
        const int status = (int)add_row(x + i * q->dim, q, codes + i * opts->levels, opts);
        worst = status > worst ? status : worst;
    }
    return (vq_status)worst;
}

vq_status vq_split_create(vq_quantizer **out, vq_quantizer *const *parts, uint32_t count,
                          vq_split_input input)
{
    *out = NULL;
    const vq_status status = vqi_parts_check(parts, count, vqi_split_kind.name);
    if (status)
        return status;
    if (input != VQ_SPLIT_REST && input != VQ_SPLIT_SAME)
        return vqi_fail(VQ_E_ARG, "%d is not a vq_split_input", (int)input);
    const uint32_t d = parts[0]->dim;
    for (uint32_t p = 0; p < count; p++)
        if (parts[p]->dim != d)
            return vqi_fail(VQ_E_ARG, "part %u has %u dimensions and part 0 has %u", p,
                            parts[p]->dim, d);
    if (d > VQ_SPLIT_MAX_DIM)
        return vqi_fail(VQ_E_ARG, "the parts have %u dimensions (at most %d)", d, VQ_SPLIT_MAX_DIM);
    split_quantizer *q = vqi_calloc(1, sizeof *q);
    if (!q)
        return vqi_fail_nomem(sizeof *q);
    q->parts.base = (vq_quantizer){&vqi_split_kind, d, 0};
    q->parts.count = count;
    q->input = input;
    for (uint32_t p = 0; p < count; p++) {
        q->parts.part[p] = parts[p];
        for (uint32_t l = 0; l < parts[p]->levels; l++)
            q->parts.place[q->parts.base.levels++] = (vqi_place){(uint8_t)p, (uint8_t)l};
    }
    *out = &q->parts.base;
    return VQ_OK;
}

uint32_t vq_split_parts(const vq_quantizer *quantizer)
{
    return quantizer->kind == &vqi_split_kind ? ((const vqi_parts *)quantizer)->count : 0;
}

const vq_quantizer *vq_split_part(const vq_quantizer *quantizer, uint32_t part)
{
    return part < vq_split_parts(quantizer) ? ((const vqi_parts *)quantizer)->part[part] : NULL;
}

static vq_status split_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    char name[VQI_NAME_SIZE];
    vq_status status = vqi_quantizer_name(name, prefix, "input");
    if (!status)
        status = vq_tensors_set(tensors, name, input_names[((const split_quantizer *)q)->input]);
    return status ? status : vqi_parts_save(tensors, q, prefix);
}

static vq_status split_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                            const vq_limits *limits)
{
    vq_quantizer *parts[VQ_MAX_LEVELS];
    uint32_t count = 0;
    char name[VQI_NAME_SIZE];
    vq_status status = vqi_quantizer_name(name, prefix, "input");
    if (status)
        return status;
    const char *input = vq_tensors_get(tensors, name);
    const int same = input && !strcmp(input, input_names[VQ_SPLIT_SAME]);
    if (!input || (!same && strcmp(input, input_names[VQ_SPLIT_REST]) != 0))
        return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is \"%.40s\" (not rest or same)", name,
                        input ? input : "");
    status = vqi_parts_load(parts, &count, tensors, prefix, limits);
    if (status)
        return status;
    status = vq_split_create(out, parts, count, same ? VQ_SPLIT_SAME : VQ_SPLIT_REST);
    return status ? vqi_parts_refuse(parts, count, status) : VQ_OK;
}

const vqi_quantizer_kind vqi_split_kind = {
    .name = "split",
    .free = vqi_parts_free,
    .k = vqi_parts_k,
    .codebook = vqi_parts_codebook,
    .frequencies = vqi_parts_frequencies,
    .workspace = split_workspace,
    .quantize = split_quantize,
    .dequantize = split_dequantize,
    .save = split_save,
    .load = split_load,
};
