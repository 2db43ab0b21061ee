/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/codebook_internal.h  What a codebook holds. */
#ifndef VQ_CODEBOOK_INTERNAL_H
#define VQ_CODEBOOK_INTERNAL_H

#include "vq/codebook.h"

enum { VQI_MAX_CODEWORDS = 1 << 24 };

struct vq_codebook {
    uint32_t k, d;
    vq_metric metric;
    vq_dtype storage;
    float *codewords; /* k x d */
};

/**
 * As vq_codebook_create(), for codewords that were a codebook before: under the cosine metric they are
 * taken as they are, not scaled again, so that a loaded codebook equals the saved one bit for bit.
 */
vq_status vqi_codebook_restore(vq_codebook **out, const float *codewords, uint32_t k, uint32_t d,
                               vq_metric metric, vq_dtype storage);

#endif
