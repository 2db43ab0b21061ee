/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/residual_internal.h  What the parts of the residual quantizer know of each other. */
#ifndef RVQ_RESIDUAL_INTERNAL_H
#define RVQ_RESIDUAL_INTERNAL_H

#include <stdbool.h>

#include "rvq/residual.h"
#include "vq/quantizer_internal.h"

extern const vqi_quantizer_kind vqi_residual_kind;

typedef struct vqi_beam_tables vqi_beam_tables;

/** The kind's struct. A codebook may serve many levels. */
typedef struct vqi_residual {
    vq_quantizer base;
    bool owner; /* of the codebooks */
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    uint64_t *frequencies[VQ_MAX_LEVELS]; /* K counts; all NULL if there are none */
    float *lengths[VQ_MAX_LEVELS];        /* K: bits of each code */
    vqi_beam_tables *tables;              /* of vq_residual_prepare(), or NULL */
} vqi_residual;

/** As vq_residual_create(), but the codebooks stay the caller's and must outlive the quantizer. */
vq_status vqi_residual_view(vq_quantizer **out, vq_codebook *const *codebooks, uint32_t levels);

/** residual -= the codeword of each row: the one subtraction that encoding and training share. */
void vqi_residual_subtract(float *residual, const vq_codebook *codebook, const uint32_t *codes,
                           size_t n, int threads);

/** Free frequencies and lengths. */
void vqi_rate_clear(vqi_residual *q);
/** p`frequency.l` for each level, if there are any. */
vq_status vqi_rate_save(vq_tensors *tensors, const vqi_residual *q, const char *prefix);
vq_status vqi_rate_load(vqi_residual *q, const vq_tensors *tensors, const char *prefix);

#endif
