/* SPDX-License-Identifier: Apache-2.0 */
/* The kind "product": contiguous slices of the vector, each with a quantizer of its own. */
#include "rvq/product.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "rvq/parts_internal.h"
#include "rvq/product_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

typedef struct product_quantizer {
    vqi_parts parts;
    uint32_t begin[VQ_MAX_LEVELS]; /* of the slice of each part */
    uint32_t widest;
    int flat;            /* 1 = all parts are: level p is that of part p */
    uint32_t flat_width; /* of all parts, if they are; 0 = widths differ */
} product_quantizer;

/* Decoding takes so many floats of a slice and so many codes at once, on the stack. */
enum { STACK_FLOATS = 2048, STACK_ROWS = 64 };

void vqi_slice_take(float *slice, const float *x, size_t count, size_t d, size_t begin,
                    size_t width)
{
    /* The usual widths with a copy of a size that the compiler knows. */
    x += begin;
    if (width == 8)
        for (size_t i = 0; i < count; i++)
            memcpy(slice + i * 8, x + i * d, 8 * sizeof *slice);
    else if (width == 16)
        for (size_t i = 0; i < count; i++)
            memcpy(slice + i * 16, x + i * d, 16 * sizeof *slice);
    else
        for (size_t i = 0; i < count; i++)
            memcpy(slice + i * width, x + i * d, width * sizeof *slice);
}

/* What a block needs: a slice of its rows, the codes of a part, and what the most demanding part wants. */
static size_t block_workspace(const vq_quantizer *q, size_t rows, const vq_quantize_opts *opts,
                              int threads)
{
    const product_quantizer *own = (const product_quantizer *)q;
    return vqi_aligned(rows * own->widest * sizeof(float)) +
           vqi_aligned(rows * q->levels * sizeof(uint32_t)) +
           vqi_parts_workspace(&own->parts, rows, opts, threads);
}

static size_t product_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
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
    const product_quantizer *own = (const product_quantizer *)q;
    const size_t slice_bytes = vqi_aligned(count * own->widest * sizeof(float)),
                 code_bytes = vqi_aligned(count * q->levels * sizeof(uint32_t));
    float *slice = opts->workspace;
    uint32_t *part_codes = (uint32_t *)(void *)((char *)opts->workspace + slice_bytes);
    vq_quantize_opts inner = *opts;
    inner.workspace = (char *)opts->workspace + slice_bytes + code_bytes;
    inner.workspace_size = opts->workspace_size - slice_bytes - code_bytes;
    for (uint32_t p = 0; p < own->parts.count; p++) {
        const vq_quantizer *part = own->parts.part[p];
        inner.levels = vqi_parts_levels(&own->parts, p, opts->levels);
        if (!inner.levels)
            continue;
        vqi_slice_take(slice, x + first * q->dim, count, q->dim, own->begin[p], part->dim);
        const vq_status status = part->kind->quantize(part_codes, part, slice, count, &inner);
        if (status)
            return status == VQ_E_NONFINITE ? vqi_fail_nonfinite(x, first, count, q->dim) : status;
        vqi_parts_put(codes + first * opts->levels, opts->levels, part_codes, &own->parts, p,
                      count);
    }
    return VQ_OK;
}

static vq_status product_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                                  const vq_quantize_opts *opts)
{
    return vqi_quantize_blocks(codes, q, x, n, opts,
                               block_workspace(q, vqi_block_rows(q->dim, n), opts, 1),
                               quantize_block);
}

/* Zeros for the slice of a part, in rows of q->dim floats. */
static void clear_slice(float *x, const vq_quantizer *q, size_t begin, size_t width, size_t count)
{
    for (size_t i = 0; i < count; i++)
        memset(x + i * q->dim + begin, 0, width * sizeof *x);
}

/* From so many bytes on, what is decoded leaves the caches anyway: it need not be read before it is written. */
#define STREAM_FROM ((size_t)8 << 20)

/* `width` floats, past the caches if `stream`: then `to` is aligned to 16 bytes and width a multiple of 4. */
static inline __attribute__((always_inline)) void put_codeword(float *to, const float *codeword,
                                                               const size_t width, int stream)
{
#if defined(__SSE2__)
    for (size_t i = 0; stream && i < width; i += 4)
        _mm_stream_ps(to + i, _mm_loadu_ps(codeword + i));
    if (stream)
        return;
#endif
    (void)stream;
    memcpy(to, codeword, width * sizeof *to);
}

/* Parts of which each is flat: a row is a codeword of each, zeros where the levels end. `width` is that of all parts,
 * 0 = each its own. */
static inline __attribute__((always_inline)) void copy_rows(float *x, const product_quantizer *own,
                                                            const uint32_t *codes, uint32_t levels,
                                                            size_t count, const size_t width,
                                                            const int stream)
{
    const float *codewords[VQ_MAX_LEVELS];
    const size_t d = own->parts.base.dim;
    for (uint32_t p = 0; p < levels; p++)
        codewords[p] = vq_codebook_codewords(vq_quantizer_codebook(own->parts.part[p], 0));
    const size_t end = levels < own->parts.count ? own->begin[levels] : d;
    for (size_t i = 0; i < count; i++, x += d, codes += levels) {
        for (uint32_t p = 0; p < levels; p++) {
            const size_t size = width ? width : own->parts.part[p]->dim;
            put_codeword(x + (width ? p * width : own->begin[p]), codewords[p] + codes[p] * size,
                         size, stream);
        }
        memset(x + end, 0, (d - end) * sizeof *x);
    }
#if defined(__SSE2__)
    if (stream) /* other threads may look as soon as this one says that it is done */
        _mm_sfence();
#endif
}

/* The usual widths with copies of a size that the compiler knows. */
static void copy_codewords(float *x, const product_quantizer *own, const uint32_t *codes,
                           uint32_t levels, size_t count, int stream)
{
    if (own->flat_width == 8 && stream)
        copy_rows(x, own, codes, levels, count, 8, 1);
    else if (own->flat_width == 8)
        copy_rows(x, own, codes, levels, count, 8, 0);
    else if (own->flat_width == 16 && stream)
        copy_rows(x, own, codes, levels, count, 16, 1);
    else if (own->flat_width == 16)
        copy_rows(x, own, codes, levels, count, 16, 0);
    else
        copy_rows(x, own, codes, levels, count, 0, 0);
}

/* Rows of one part: through the stack where some fit there, or one by one to where they belong. */
static vq_status dequantize_part(float *x, const vq_quantizer *q, uint32_t p, const uint32_t *codes,
                                 size_t count, const vq_quantize_opts *opts)
{
    const product_quantizer *own = (const product_quantizer *)q;
    const vq_quantizer *part = own->parts.part[p];
    const size_t d = q->dim, begin = own->begin[p], width = part->dim;
    uint32_t part_codes[STACK_ROWS * VQ_MAX_LEVELS];
    float slice[STACK_FLOATS];
    vq_quantize_opts inner = *opts;
    inner.threads = 1;
    inner.levels = vqi_parts_levels(&own->parts, p, opts->levels);
    if (!inner.levels) {
        clear_slice(x, q, begin, width, count);
        return VQ_OK;
    }
    const size_t fit = STACK_FLOATS / width, step = fit > STACK_ROWS ? STACK_ROWS : fit ? fit : 1;
    for (size_t i = 0; i < count; i += step) {
        const size_t rows = count - i < step ? count - i : step;
        vqi_parts_get(part_codes, codes + i * opts->levels, opts->levels, &own->parts, p, rows);
        const vq_status status =
            part->kind->dequantize(fit ? slice : x + i * d + begin, part, part_codes, rows, &inner);
        if (status)
            return status;
        for (size_t r = 0; fit && r < rows; r++)
            memcpy(x + (i + r) * d + begin, slice + r * width, width * sizeof *x);
    }
    return VQ_OK;
}

static vq_status product_dequantize(float *x, const vq_quantizer *q, const uint32_t *codes,
                                    size_t n, const vq_quantize_opts *opts)
{
    enum { ROWS = 64 };
    const product_quantizer *own = (const product_quantizer *)q;
    const size_t blocks = (n + ROWS - 1) / ROWS;
    const int threads = vqi_threads(opts->threads, n / 1024 + 1);
    /* Rows of codewords of 8 or 16 floats are aligned if the first is. */
    const int stream = (uintptr_t)x % 16 == 0 && n * q->dim * sizeof *x >= STREAM_FROM;
    int worst = VQ_OK;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(max : worst)
    for (size_t b = 0; b < blocks; b++) {
        const size_t first = b * ROWS, count = n - first < ROWS ? n - first : ROWS;
        if (own->flat)
            copy_codewords(x + first * q->dim, own, codes + first * opts->levels, opts->levels,
                           count, stream);
        for (uint32_t p = 0; !own->flat && p < own->parts.count; p++) {
            const int status = (int)dequantize_part(x + first * q->dim, q, p,
                                                    codes + first * opts->levels, count, opts);
            worst = status > worst ? status : worst;
        }
    }
    return (vq_status)worst;
}

/* Rounds: level 0 of every part, then level 1 of every part that has one, ... */
static void order_levels(vqi_parts *parts)
{
    uint32_t at = 0;
    for (uint32_t round = 0; at < parts->base.levels; round++)
        for (uint32_t p = 0; p < parts->count; p++)
            if (round < parts->part[p]->levels)
                parts->place[at++] = (vqi_place){(uint8_t)p, (uint8_t)round};
}

vq_status vq_product_create(vq_quantizer **out, vq_quantizer *const *parts, uint32_t count)
{
    *out = NULL;
    const vq_status status = vqi_parts_check(parts, count, vqi_product_kind.name);
    if (status)
        return status;
    uint64_t dim = 0;
    for (uint32_t p = 0; p < count; p++)
        dim += parts[p]->dim;
    if (dim > UINT32_MAX)
        return vqi_fail(VQ_E_ARG, "the parts have %llu dimensions in all (too many)",
                        (unsigned long long)dim);
    product_quantizer *q = vqi_calloc(1, sizeof *q);
    if (!q)
        return vqi_fail_nomem(sizeof *q);
    q->parts.base = (vq_quantizer){&vqi_product_kind, (uint32_t)dim, 0};
    q->parts.count = count;
    q->flat = 1;
    q->flat_width = parts[0]->dim;
    uint32_t begin = 0;
    for (uint32_t p = 0; p < count; p++) {
        q->parts.part[p] = parts[p];
        q->begin[p] = begin;
        begin += parts[p]->dim;
        q->parts.base.levels += parts[p]->levels;
        q->widest = parts[p]->dim > q->widest ? parts[p]->dim : q->widest;
        q->flat &= parts[p]->kind == &vqi_flat_kind;
        q->flat_width = parts[p]->dim == parts[0]->dim ? q->flat_width : 0;
    }
    order_levels(&q->parts);
    *out = &q->parts.base;
    return VQ_OK;
}

uint32_t vq_product_parts(const vq_quantizer *quantizer)
{
    return quantizer->kind == &vqi_product_kind ? ((const vqi_parts *)quantizer)->count : 0;
}

const vq_quantizer *vq_product_part(const vq_quantizer *quantizer, uint32_t part)
{
    return part < vq_product_parts(quantizer) ? ((const vqi_parts *)quantizer)->part[part] : NULL;
}

static vq_status product_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                              const vq_limits *limits)
{
    vq_quantizer *parts[VQ_MAX_LEVELS];
    uint32_t count = 0;
    vq_status status = vqi_parts_load(parts, &count, tensors, prefix, limits);
    if (status)
        return status;
    uint64_t dim = 0;
    for (uint32_t p = 0; p < count; p++)
        dim += parts[p]->dim;
    if (dim > limits->max_dim)
        status = vqi_fail(VQ_E_LIMIT, "the parts have %llu dimensions in all (the limit is %u)",
                          (unsigned long long)dim, limits->max_dim);
    if (!status)
        status = vq_product_create(out, parts, count);
    return status ? vqi_parts_refuse(parts, count, status) : VQ_OK;
}

/* One flat part of each. */
static vq_status from_codebooks(vq_quantizer **out, vq_codebook *const *codebooks, uint32_t levels)
{
    vq_quantizer *parts[VQ_MAX_LEVELS];
    vq_status status = VQ_OK;
    uint32_t made = 0;
    for (; made < levels && !status; made += !status)
        status = vq_quantizer_from_codebook(&parts[made], codebooks[made]);
    if (!status)
        status = vq_product_create(out, parts, levels);
    for (uint32_t p = 0; status && p < made;
         p++) /* but not the codebooks, which stay the caller's */
        vq_free(parts[p]);
    return status;
}

const vqi_quantizer_kind vqi_product_kind = {
    .name = "product",
    .free = vqi_parts_free,
    .k = vqi_parts_k,
    .codebook = vqi_parts_codebook,
    .frequencies = vqi_parts_frequencies,
    .workspace = product_workspace,
    .quantize = product_quantize,
    .dequantize = product_dequantize,
    .save = vqi_parts_save,
    .load = product_load,
    .from_codebooks = from_codebooks,
};
