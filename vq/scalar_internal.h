/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/scalar_internal.h  What the quantizers without a codebook share: numbers divided among levels. */
#ifndef VQ_SCALAR_INTERNAL_H
#define VQ_SCALAR_INTERNAL_H

#include "vq/quantizer_internal.h"
#include "vq/scalar.h"

enum { VQI_SCALAR_ROWS = 256 /* that a thread quantizes at once */ };

/** The first members of every struct of these kinds. */
typedef struct vqi_scalar {
    vq_quantizer base;
    uint32_t dims[VQ_MAX_LEVELS];      /* numbers of a level; they add up to base.dim */
    uint32_t first[VQ_MAX_LEVELS + 1]; /* the first number of a level; then base.dim */
    uint32_t k[VQ_MAX_LEVELS];
} vqi_scalar;

extern const vqi_quantizer_kind vqi_fsq_kind, vqi_lfq_kind, vqi_bsq_kind;

/** Fill in dims and first. @return VQ_OK, or VQ_E_ARG with the options' name in the sentence. */
vq_status vqi_scalar_divide(vqi_scalar *s, const vqi_quantizer_kind *kind, uint32_t d,
                            uint32_t levels, const uint32_t *dims, const char *opts);

/** The table's functions that are the same for all. */
uint32_t vqi_scalar_k(const vq_quantizer *q, uint32_t level);
const vq_codebook *vqi_scalar_codebook(const vq_quantizer *q, uint32_t level);
size_t vqi_scalar_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts);

/** Quantize rows first to first + count - 1, at most VQI_SCALAR_ROWS of x, n x d. */
typedef void (*vqi_scalar_rows)(uint32_t *codes, const vq_quantizer *q, const float *x,
                                size_t count, uint32_t levels);
/** Divide the rows among threads. @return VQ_OK, or VQ_E_NONFINITE that names the row. */
vq_status vqi_scalar_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                              const vq_quantize_opts *opts, vqi_scalar_rows rows);

/** Save and load p"dims"; what is loaded is borrowed from the set. */
vq_status vqi_scalar_save_dims(vq_tensors *tensors, const vq_quantizer *q, const char *prefix);
vq_status vqi_scalar_load_dims(const uint32_t **dims, uint32_t *levels, uint32_t *d,
                               const vq_tensors *tensors, const char *prefix,
                               const vq_limits *limits);
/** Add an array of U32, or find one of a type; of one dimension, not empty. */
vq_status vqi_scalar_save_array(vq_tensors *tensors, const char *prefix, const char *name,
                                const uint32_t *values, size_t count);
vq_status vqi_scalar_load_array(const vq_tensor **out, const vq_tensors *tensors,
                                const char *prefix, const char *name, vq_dtype dtype);

/**
 * The thresholds of FSQ: bin i + 1 begins at thresholds[i], the least float32 that is not below the real number at
 * which the published formula begins to say so. bins - 1 of them, rising.
 */
void vqi_fsq_thresholds(float *thresholds, uint32_t bins, vq_fsq_bound bound);

/** Row by row, gradient_x may be gradient. */
void vqi_fsq_gradient(float *gradient_x, const vq_quantizer *q, const float *x,
                      const float *gradient);
void vqi_bsq_gradient(float *gradient_x, const vq_quantizer *q, const float *x,
                      const float *gradient);

#endif
