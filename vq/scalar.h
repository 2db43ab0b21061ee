/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/scalar.h
 * Quantizers without a codebook: each number of a vector is quantized by itself, and the code is integer
 * arithmetic on what came out. Nothing of size K is ever made, so K may be as large as a code can be.
 *
 * FSQ, finite scalar quantization (Mentzer et al. 2023, arXiv:2309.15505): number j goes to one of bins[j] values
 * between -1 and 1. LFQ, lookup-free quantization (Yu et al. 2023, arXiv:2310.05737): its sign. BSQ, binary
 * spherical quantization (Zhao et al. 2024, arXiv:2406.07548): the same, with codewords on a sphere.
 *
 * The numbers of a vector may be divided among several levels, each with a code of its own: 36 bits are one vector
 * of 36 numbers as 2 levels of 18. Levels that are left out decode to 0, which is the middle.
 *
 * The code of a number is found by comparing it with thresholds that are fixed to the bit (docs/FORMATS.md), never
 * by a tanh() of the machine's library: tokens are the same everywhere.
 */
#ifndef VQ_SCALAR_H
#define VQ_SCALAR_H

#include <stddef.h>
#include <stdint.h>

#include "vq/quantizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The most bins of a number: beyond it the published bound rounds to bins that do not exist. */
enum { VQ_FSQ_MAX_BINS = 1000 };

/** How FSQ bounds a number z before it rounds. L is the number of bins. The numbers are stored in files as names. */
typedef enum vq_fsq_bound {
    /** "tanh": h tanh(z + atanh(o / h)) - o, h = 1.001 (L - 1) / 2, o = 1/2 if L is even, else 0; rounded to a whole
     *  number and divided by floor(L / 2). Even L reach -1 but not 1. L is at least 3. */
    VQ_FSQ_TANH = 0,
    /** "symmetric" (arXiv:2411.19842, 3.2): floor((L - 1) (tanh z + 1) / 2 + 1/2), scaled so that 0 .. L - 1 become
     *  -1 .. 1. L is at least 2. */
    VQ_FSQ_SYMMETRIC = 1,
    /** "clamp": the grid of "symmetric" without tanh: to the nearest value, the upper one half-way. Encoding what was
     *  decoded gives the same code. */
    VQ_FSQ_CLAMP = 2
} vq_fsq_bound;

/** @return "tanh", "symmetric", "clamp"; "?" otherwise. Static storage. */
VQ_API const char *vq_fsq_bound_name(vq_fsq_bound bound);

typedef struct vq_fsq_opts {
    size_t struct_size; /**< sizeof(vq_fsq_opts) */
    vq_fsq_bound bound;
    uint32_t levels;      /**< 0 = 1 */
    const uint32_t *dims; /**< levels counts that add up to d; NULL = d / levels each */
} vq_fsq_opts;

#define VQ_FSQ_OPTS_INIT                                                                           \
    {                                                                                              \
        sizeof(vq_fsq_opts), VQ_FSQ_TANH, 0, NULL                                                  \
    }

/**
 * Make an FSQ quantizer, kind "fsq". K of a level is the product of its bins. With the bin of each number of the level,
 * b_0, b_1, ..., counted from 0 at -1, the code is b_0 + bins_0 (b_1 + bins_1 (b_2 + ...)), as published. After the
 * bounding function, the bin is the nearest on the grid.
 * @param bins d bins, each from 3 ("symmetric" and "clamp": 2) to VQ_FSQ_MAX_BINS; the product of a level is below 2^32.
 * @param opts NULL for the defaults.
 * @return VQ_OK, VQ_E_ARG (the sentence names the field), VQ_E_NOMEM.
 */
VQ_API vq_status vq_fsq_create(vq_quantizer **out, const uint32_t *bins, uint32_t d,
                               const vq_fsq_opts *opts);

typedef struct vq_lfq_opts {
    size_t struct_size;   /**< sizeof(vq_lfq_opts) */
    int spherical;        /**< 1 = BSQ */
    float scale;          /**< 0 = 1 */
    uint32_t levels;      /**< 0 = 1 */
    const uint32_t *dims; /**< as in vq_fsq_opts; each at most 31 */
} vq_lfq_opts;

#define VQ_LFQ_OPTS_INIT                                                                           \
    {                                                                                              \
        sizeof(vq_lfq_opts), 0, 0, 0, NULL                                                         \
    }

/**
 * Make an LFQ quantizer, kind "lfq", or a BSQ quantizer, kind "bsq". A level of m numbers has K = 2^m; the bit of a
 * number is 1 if it is above 0, and the first number is the highest bit, as published. LFQ decodes a bit to -scale or
 * scale, BSQ to that over sqrt(m). That is the nearest codeword (BSQ: also after scaling x to length 1, which changes
 * no sign); the 0 between two goes to the lower code.
 * @param opts NULL for the defaults.
 * @return VQ_OK, VQ_E_ARG (the sentence names the field), VQ_E_NOMEM.
 */
VQ_API vq_status vq_lfq_create(vq_quantizer **out, uint32_t d, const vq_lfq_opts *opts);

/**
 * The codes of all levels as one whole number below the product of all K, which is at most 2^64: what a quantizer
 * of one level would give, if a code could be so large. FSQ's first level is the lowest digit, that of LFQ and BSQ the
 * highest.
 * @param[out] index n numbers.
 * @param      codes n x levels, row-major; all levels; checked.
 * @return VQ_OK, VQ_E_ARG (no quantizer of this page; more than 2^64), VQ_E_RANGE.
 */
VQ_API vq_status vq_scalar_index(uint64_t *index, const vq_quantizer *quantizer,
                                 const uint32_t *codes, size_t n);
/** The other way. @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (an index is too large). */
VQ_API vq_status vq_scalar_codes(uint32_t *codes, const vq_quantizer *quantizer,
                                 const uint64_t *index, size_t n);

/**
 * The straight-through gradient, for training an encoder in front: rounding and signs pass it on; bounding (FSQ; "clamp"
 * passes 0 outside -1 .. 1) and scaling to the sphere (BSQ, where a row of zeros gets 0) have their own. Uses the
 * machine's tanh(); no code depends on it.
 * @param[out] gradient_x n x d: d loss / d x; may be the same array as gradient.
 * @param      x          n x d, what was quantized, finite.
 * @param      gradient   n x d: d loss / d decoded.
 * @return VQ_OK, VQ_E_ARG (no quantizer of this page), VQ_E_NONFINITE (x).
 */
VQ_API vq_status vq_scalar_gradient(float *gradient_x, const vq_quantizer *quantizer,
                                    const float *x, const float *gradient, size_t n);

#ifdef __cplusplus
}
#endif
#endif
