/* SPDX-License-Identifier: Apache-2.0 */
#include "rvq/parts_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

vq_status vqi_parts_check(vq_quantizer *const *parts, uint32_t count, const char *kind)
{
    uint64_t levels = 0;
    if (!count || count > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "a %s quantizer has 1 to %d parts, not %u", kind, VQ_MAX_LEVELS,
                        count);
    for (uint32_t p = 0; p < count; p++)
        levels += parts[p]->levels;
    if (levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "the parts have %llu levels in all (at most %d)",
                        (unsigned long long)levels, VQ_MAX_LEVELS);
    return VQ_OK;
}

void vqi_parts_free(vq_quantizer *q)
{
    vqi_parts *own = (vqi_parts *)q;
    for (uint32_t p = 0; p < own->count; p++)
        vq_quantizer_free(own->part[p]);
    vq_free(own);
}

uint32_t vqi_parts_levels(const vqi_parts *parts, uint32_t part, uint32_t levels)
{
    uint32_t count = 0;
    for (uint32_t l = 0; l < levels; l++)
        count += parts->place[l].part == part;
    return count;
}

size_t vqi_parts_workspace(const vqi_parts *parts, size_t rows, const vq_quantize_opts *opts,
                           int threads)
{
    vq_quantize_opts inner = *opts;
    inner.threads = threads;
    size_t most = 0;
    for (uint32_t p = 0; p < parts->count; p++) {
        const vq_quantizer *part = parts->part[p];
        inner.levels = vqi_parts_levels(parts, p, opts->levels);
        const size_t need = inner.levels ? part->kind->workspace(part, rows, &inner) : 0;
        most = need > most ? need : most;
    }
    return vqi_aligned(most);
}

void vqi_parts_put(uint32_t *codes, uint32_t levels, const uint32_t *part_codes,
                   const vqi_parts *parts, uint32_t part, size_t count)
{
    const uint32_t own = vqi_parts_levels(parts, part, levels);
    for (uint32_t l = 0; l < levels; l++) {
        if (parts->place[l].part != part)
            continue;
        const uint32_t *from = part_codes + parts->place[l].level;
        for (size_t i = 0; i < count; i++)
            codes[i * levels + l] = from[i * own];
    }
}

void vqi_parts_get(uint32_t *part_codes, const uint32_t *codes, uint32_t levels,
                   const vqi_parts *parts, uint32_t part, size_t count)
{
    const uint32_t own = vqi_parts_levels(parts, part, levels);
    for (uint32_t l = 0; l < levels; l++) {
        if (parts->place[l].part != part)
            continue;
        uint32_t *to = part_codes + parts->place[l].level;
        for (size_t i = 0; i < count; i++)
            to[i * own] = codes[i * levels + l];
    }
}

uint32_t vqi_parts_k(const vq_quantizer *q, uint32_t level)
{
    const vqi_parts *own = (const vqi_parts *)q;
    return vq_quantizer_k(own->part[own->place[level].part], own->place[level].level);
}

const vq_codebook *vqi_parts_codebook(const vq_quantizer *q, uint32_t level)
{
    const vqi_parts *own = (const vqi_parts *)q;
    return vq_quantizer_codebook(own->part[own->place[level].part], own->place[level].level);
}

const uint64_t *vqi_parts_frequencies(const vq_quantizer *q, uint32_t level)
{
    const vqi_parts *own = (const vqi_parts *)q;
    for (uint32_t p = 0; p < own->count; p++)
        if (!vq_quantizer_frequencies(own->part[p], 0))
            return NULL;
    return vq_quantizer_frequencies(own->part[own->place[level].part], own->place[level].level);
}

size_t vqi_block_rows(uint32_t dim, size_t n)
{
    const size_t fit = ((size_t)1 << 16) / dim, rows = fit > 384 ? 384 : fit < 96 ? 96 : fit;
    return n >= rows ? rows : n ? n : 1;
}

int vqi_block_threads(size_t n, size_t rows, int threads)
{
    return vqi_threads(threads, (n + rows - 1) / rows);
}

vq_status vqi_quantize_blocks(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                              const vq_quantize_opts *opts, size_t own, vqi_block_function block)
{
    const size_t rows = vqi_block_rows(q->dim, n), blocks = (n + rows - 1) / rows;
    if (blocks == 1)
        return block(codes, q, x, 0, n, opts);
    const int threads = vqi_block_threads(n, rows, opts->threads);
    char *workspace = opts->workspace;
    vq_quantize_opts one = *opts;
    one.threads = 1;
    one.workspace_size = own;
    size_t bad = blocks;
#pragma omp parallel for schedule(dynamic) num_threads(threads) reduction(min : bad)
    for (size_t b = 0; b < blocks; b++) {
        const size_t first = b * rows, count = n - first < rows ? n - first : rows;
        vq_quantize_opts mine = one;
        mine.workspace = workspace + (size_t)omp_get_thread_num() * own;
        if (block(codes, q, x, first, count, &mine))
            bad = b < bad ? b : bad;
    }
    if (bad == blocks)
        return VQ_OK;
    /* The sentence of a failure is its thread's own: fail again in this one. */
    const size_t first = bad * rows, count = n - first < rows ? n - first : rows;
    one.workspace = workspace;
    return block(codes, q, x, first, count, &one);
}

vq_status vqi_fail_nonfinite(const float *x, size_t first, size_t count, size_t d)
{
    size_t at = 0;
    while (at < count * d && isfinite(x[first * d + at]))
        at++;
    if (at == count * d) /* the rows are, but what was computed of them was not */
        return vqi_fail(VQ_E_NONFINITE, "rows %zu to %zu: the numbers overflow float32", first,
                        first + count - 1);
    return vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", first + at / d);
}

static vq_status part_prefix(char name[VQI_NAME_SIZE], const char *prefix, uint32_t part)
{
    char rest[32];
    snprintf(rest, sizeof rest, "part.%u.", part);
    return vqi_quantizer_name(name, prefix, rest);
}

vq_status vqi_parts_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    const vqi_parts *own = (const vqi_parts *)q;
    char name[VQI_NAME_SIZE];
    vq_status status = vqi_quantizer_name(name, prefix, "parts");
    if (!status)
        status = vq_tensors_set_uint(tensors, name, own->count);
    for (uint32_t p = 0; p < own->count && !status; p++) {
        status = part_prefix(name, prefix, p);
        if (!status)
            status = vq_quantizer_save(tensors, own->part[p], name);
    }
    return status;
}

/* A part without a "kind" would be sought among the arrays of other programs. */
static vq_status load_part(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                           const vq_limits *limits)
{
    char name[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(name, prefix, "kind");
    if (status)
        return status;
    if (!vq_tensors_get(tensors, name))
        return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is missing", name);
    return vq_quantizer_load(out, tensors, prefix, limits);
}

vq_status vqi_parts_load(vq_quantizer **parts, uint32_t *count, const vq_tensors *tensors,
                         const char *prefix, const vq_limits *limits)
{
    char name[VQI_NAME_SIZE];
    uint64_t number = 0;
    vq_status status = vqi_quantizer_name(name, prefix, "parts");
    if (!status)
        status = vq_tensors_get_uint(&number, tensors, name, 1, limits->max_levels);
    for (uint32_t p = 0; p < number && !status; p++) {
        status = part_prefix(name, prefix, p);
        if (!status)
            status = load_part(&parts[p], tensors, name, limits);
        if (status)
            return vqi_parts_refuse(parts, p, status);
    }
    *count = (uint32_t)number;
    return status == VQ_E_ARG ? VQ_E_FORMAT : status;
}

vq_status vqi_parts_refuse(vq_quantizer **parts, uint32_t count, vq_status status)
{
    for (uint32_t p = 0; p < count; p++)
        vq_quantizer_free(parts[p]);
    return status == VQ_E_ARG ? VQ_E_FORMAT : status;
}
