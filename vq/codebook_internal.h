/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/codebook_internal.h  What a codebook holds: its codewords, and what the search makes of them once. */
#ifndef VQ_CODEBOOK_INTERNAL_H
#define VQ_CODEBOOK_INTERNAL_H

#include "vq/codebook.h"

enum {
    VQI_MAX_CODEWORDS = 1 << 24,
    VQI_PANEL = 16 /* codewords of a panel: the floats of the widest register */
};

struct vq_codebook {
    uint32_t k, d;
    vq_metric metric;
    vq_dtype storage;
    uint32_t padded_k; /* k rounded up to whole panels; the added codewords are zero */
    float *codewords;  /* padded_k x d */

    /* For the contract kernels: padded_k / 16 panels of d x 16, so that one register holds the same
     * element of 16 codewords and each lane sums in the contract's order. */
    float *panels;

    /* For the shortlist: score(k) = x'.shortlist[k] - bias[k]. Euclidean: x' = x - centre, shortlist[k] =
     * c[k] - centre, bias[k] = |shortlist[k]|^2 / 2. Otherwise x' = x, shortlist = codewords, bias 0. Added
     * codewords have bias infinity. */
    float *centre;       /* d; NULL unless Euclidean */
    float *shortlist;    /* padded_k x d */
    float *bias;         /* padded_k */
    double largest_norm; /* of a row of shortlist; infinity if one overflowed */
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
