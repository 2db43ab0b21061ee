/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/parts_internal.h
 * What quantizers made of quantizers share: their parts, which part a level belongs to, blocks of rows for
 * threads, and the parts in files.
 */
#ifndef RVQ_PARTS_INTERNAL_H
#define RVQ_PARTS_INTERNAL_H

#include "vq/quantizer_internal.h"

/** Where a level of the whole lies among the parts. */
typedef struct vqi_place {
    uint8_t part, level;
} vqi_place;

/** A quantizer whose codes are those of its parts. Begins the struct of a kind. */
typedef struct vqi_parts {
    vq_quantizer base; /* kind, dim, levels */
    uint32_t count;
    vq_quantizer *part[VQ_MAX_LEVELS];
    vqi_place place[VQ_MAX_LEVELS]; /* of each level, in the order of the codes */
} vqi_parts;

/** @return VQ_OK, or VQ_E_ARG: no parts, or more than VQ_MAX_LEVELS levels in all. */
vq_status vqi_parts_check(vq_quantizer *const *parts, uint32_t count, const char *kind);
void vqi_parts_free(vq_quantizer *q);

/** How many of the first `levels` levels of the whole are levels of this part: its own first ones. */
uint32_t vqi_parts_levels(const vqi_parts *parts, uint32_t part, uint32_t levels);
/** Workspace that the most demanding part wants for a block of `rows`, a multiple of 64. */
size_t vqi_parts_workspace(const vqi_parts *parts, size_t rows, const vq_quantize_opts *opts,
                           int threads);
/** codes (rows of `levels`) <-> part_codes (rows of the part's own levels among them), for `count` rows. */
void vqi_parts_put(uint32_t *codes, uint32_t levels, const uint32_t *part_codes,
                   const vqi_parts *parts, uint32_t part, size_t count);
void vqi_parts_get(uint32_t *part_codes, const uint32_t *codes, uint32_t levels,
                   const vqi_parts *parts, uint32_t part, size_t count);

/** Functions of the kind's table. */
uint32_t vqi_parts_k(const vq_quantizer *q, uint32_t level);
const vq_codebook *vqi_parts_codebook(const vq_quantizer *q, uint32_t level);
/* NULL unless all parts carry them. */
const uint64_t *vqi_parts_frequencies(const vq_quantizer *q, uint32_t level);

/** Quantize `count` rows from `first` on, with the threads and the workspace of opts. */
typedef vq_status (*vqi_block_function)(uint32_t *codes, const vq_quantizer *q, const float *x,
                                        size_t first, size_t count, const vq_quantize_opts *opts);
/** Rows of a block, about 256 KiB of them. */
size_t vqi_block_rows(uint32_t dim, size_t n);
/** Threads take blocks; where there is but one block, they share its searches. */
int vqi_block_threads(size_t n, size_t rows, int threads);
/**
 * All blocks.
 * @param own bytes of workspace that a block needs with one thread, a multiple of 64.
 * @return as `block`; of several failures, the first block's.
 */
vq_status vqi_quantize_blocks(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                              const vq_quantize_opts *opts, size_t own, vqi_block_function block);

/** VQ_E_NONFINITE, naming the first of the rows (of d floats) that is not finite by its number. */
vq_status vqi_fail_nonfinite(const float *x, size_t first, size_t count, size_t d);

/** Settings p + "parts"; the parts under p + "part.0." and so on. */
vq_status vqi_parts_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix);
/**
 * Their counterpart.
 * @param[out] parts VQ_MAX_LEVELS places; *count of them are the caller's on VQ_OK, none otherwise.
 */
vq_status vqi_parts_load(vq_quantizer **parts, uint32_t *count, const vq_tensors *tensors,
                         const char *prefix, const vq_limits *limits);
/** Free parts that were loaded; what was the caller's fault in `status` is the bytes' fault. @return that status. */
vq_status vqi_parts_refuse(vq_quantizer **parts, uint32_t count, vq_status status);

/** The bytes, up to a multiple of 64. */
static inline size_t vqi_aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

#endif
