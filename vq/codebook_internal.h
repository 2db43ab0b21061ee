/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/codebook_internal.h  What a codebook holds: its codewords, and what the search makes of them once. */
#ifndef VQ_CODEBOOK_INTERNAL_H
#define VQ_CODEBOOK_INTERNAL_H

#include "vq/codebook.h"

enum {
    VQI_MAX_CODEWORDS = 1 << 24,
    VQI_LANES = 16,           /* the floats of the widest register */
    VQI_GROUP = 64,           /* codewords that a filter scores at once: four to a lane */
    VQI_MOST_BYTES = 1 << 14, /* dimensions whose int8 products take less than 29 bits */
    VQI_MOST_FILTERED =
        1 << 20 /* dimensions at which the bounds of float32 sums are still worth something */
};

#define VQI_LARGEST_NORM 0x1p60 /* of what a filter reads: squares stay far from overflow */

struct vq_codebook {
    uint32_t k, d;
    vq_metric metric;
    vq_dtype storage;
    uint32_t padded_k; /* k rounded up to whole groups; the added codewords are zero */
    float *codewords;  /* padded_k x d */

    /* For the filters: s(k) = x'.c'(k) + start(k), with x' = x - centre, c'(k) = c(k) - centre. Euclidean:
     * start(k) = -|c'(k)|^2 / 2; otherwise centre and start are 0. The added codewords have c' = 0 and start
     * -infinity. */
    float *centre;       /* d */
    float *start;        /* padded_k */
    float *groups;       /* padded_k / 64 groups of d x 64: c' */
    double largest_norm; /* of a c'; infinity if one overflowed */
    /* c' in bytes, offset by 128: groups of ceil(d/4) x 64 x 4. NULL where no processor of ours reads it. */
    uint8_t *bytes;
    float byte_step;   /* what one step of a byte stands for */
    double byte_error; /* the largest |c' - what its bytes stand for| */
    /* c' in bfloat16: groups of ceil(d/32) x 4 tiles of 16 pairs x 16 codewords x 2. NULL as above. */
    uint16_t *halves;
    double half_error;
};

/** Fill in all that follows `codewords`. @return VQ_OK or VQ_E_NOMEM; what was made is freed with the codebook. */
vq_status vqi_codebook_prepare(vq_codebook *codebook);

/**
 * As vq_codebook_create(), for codewords that were a codebook before: under the cosine metric they are
 * taken as they are, not scaled again, so that a loaded codebook equals the saved one bit for bit.
 */
vq_status vqi_codebook_restore(vq_codebook **out, const float *codewords, uint32_t k, uint32_t d,
                               vq_metric metric, vq_dtype storage);

#endif
