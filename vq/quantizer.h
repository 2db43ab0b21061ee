/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/quantizer.h
 * One interface, many kinds: vectors to codes and back. A quantizer is immutable once made and may be
 * used from many threads at once.
 */
#ifndef VQ_QUANTIZER_H
#define VQ_QUANTIZER_H

#include <stddef.h>
#include <stdint.h>

#include "vq/codebook.h"
#include "vq/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vq_quantizer vq_quantizer;

/** Make a quantizer of one level from a codebook, which it then owns (on failure the caller keeps it).
 *  Kind "flat". @return VQ_OK, VQ_E_NOMEM. */
VQ_API vq_status vq_quantizer_from_codebook(vq_quantizer **out, vq_codebook *codebook);

VQ_API void vq_quantizer_free(vq_quantizer *quantizer);

/** @return the kind's name as it is stored in files: "flat", "residual", "product", ... Static storage. */
VQ_API const char *vq_quantizer_kind(const vq_quantizer *quantizer);
/** @return d, the floats of a vector. */
VQ_API uint32_t vq_quantizer_dim(const vq_quantizer *quantizer);
/** @return the number of levels: codes per vector. */
VQ_API uint32_t vq_quantizer_levels(const vq_quantizer *quantizer);
/** @return K of a level; 0 if there is no such level. */
VQ_API uint32_t vq_quantizer_k(const vq_quantizer *quantizer, uint32_t level);
/** @return the codebook of a level, borrowed; NULL if there is no such level or it keeps none. */
VQ_API const vq_codebook *vq_quantizer_codebook(const vq_quantizer *quantizer, uint32_t level);

/** The widest beam. */
#define VQ_MAX_BEAM 64

/** How to quantize; NULL means all defaults. */
typedef struct vq_quantize_opts {
    size_t struct_size; /**< sizeof(vq_quantize_opts) */
    uint32_t levels;    /**< use only the first so many; 0 = all. Also the row length of `codes`. */
    int threads;        /**< 0 = as many as OpenMP gives; never changes the codes */
    void
        *workspace; /**< vq_quantize_workspace() bytes, 64-byte aligned; NULL = allocate per call */
    size_t workspace_size; /**< bytes at workspace */
    uint32_t
        beam; /**< of kinds whose levels depend on each other: the prefixes of codes that are kept for
                      each vector from level to level, 1 to VQ_MAX_BEAM; 0 = 1, greedy. Others ignore it */
    float
        lambda; /**< rate-aware encoding: what a bit costs, in units of squared error (the sum over d);
                     needs vq_quantizer_frequencies(); 0 = error alone */
} vq_quantize_opts;

#define VQ_QUANTIZE_OPTS_INIT                                                                      \
    {                                                                                              \
        sizeof(vq_quantize_opts), 0, 0, NULL, 0, 0, 0                                              \
    }

/** @return the bytes of workspace with which vq_quantize() and vq_dequantize() allocate nothing, beam and lambda
 *  being 0. */
VQ_API size_t vq_quantize_workspace(const vq_quantizer *quantizer, size_t n, int threads);
/** The same for the beam, lambda, levels and threads of `opts`, whose workspace is not looked at. @return 0 if a
 *  field is wrong. */
VQ_API size_t vq_quantize_workspace_for(const vq_quantizer *quantizer, size_t n,
                                        const vq_quantize_opts *opts);

/** @return how often each code of a level occurred in training, K counts, borrowed; NULL if there is no such level
 *  or the quantizer carries none. The ideal length of a code in bits is log2 of their sum over its count. */
VQ_API const uint64_t *vq_quantizer_frequencies(const vq_quantizer *quantizer, uint32_t level);

/**
 * Vectors to codes.
 * @param[out] codes n x levels, row-major: the codes of one vector are contiguous.
 * @param      x     n x d, row-major, finite; n may be 0.
 * @return VQ_OK, VQ_E_ARG (also: lambda, and no frequencies), VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_quantize(uint32_t *codes, const vq_quantizer *quantizer, const float *x,
                             size_t n, const vq_quantize_opts *opts);

/**
 * Codes to vectors. With opts->levels = m the codes are n x m and the vectors are what the first m
 * levels say. Decoding a prefix equals encoding with that prefix and decoding it, if the beam is 1.
 * @param[out] x     n x d, row-major.
 * @param      codes n x levels, row-major; every code is checked.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (the sentence names row and level), VQ_E_NOMEM.
 */
VQ_API vq_status vq_dequantize(float *x, const vq_quantizer *quantizer, const uint32_t *codes,
                               size_t n, const vq_quantize_opts *opts);

/**
 * Add the quantizer to a set: arrays named `prefix` + "codebook.0" and so on, in their storage type,
 * and settings `prefix` + "kind", "levels", "metric". docs/FORMATS.md is the specification.
 * @param prefix "" or for example "quantizer.".
 * @return VQ_OK, VQ_E_ARG (names taken), VQ_E_NOMEM.
 */
VQ_API vq_status vq_quantizer_save(vq_tensors *tensors, const vq_quantizer *quantizer,
                                   const char *prefix);

/** What the codebooks of another program are; NULL means all defaults. */
typedef struct vq_import_opts {
    size_t struct_size; /**< sizeof(vq_import_opts) */
    /** The array's name. A "*" in it stands for 0, 1, 2, ...: one array for each level, until one is missing. NULL = the
     *  only floating-point array of two or three dimensions. */
    const char *tensor;
    const char *
        kind; /**< NULL = "flat" for one [K, d], else "residual"; "product": the levels are slices of the vector,
                         slice by slice */
    vq_metric
        metric; /**< of the search; Euclidean if it is not set. Under cosine the codewords are scaled to unit length */
} vq_import_opts;

#define VQ_IMPORT_OPTS_INIT                                                                        \
    {                                                                                              \
        sizeof(vq_import_opts), NULL, NULL, VQ_METRIC_EUCLIDEAN                                    \
    }

/**
 * Make a quantizer of the codebooks of another program: an array of [K, d], or of [L, K, d], or one [K, d] for each level,
 * of F16, BF16, F32 or F64, which is rounded to F32. io/npy.h and io/safetensors.h read such arrays.
 * @param limits NULL for the defaults.
 * @return VQ_OK, VQ_E_ARG (levels that the kind cannot have: the sentence says why), VQ_E_FORMAT (no such array, or not of such
 *         a shape), VQ_E_LIMIT, VQ_E_UNSUPPORTED (a kind that this library does not know, or not of codebooks),
 *         VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_quantizer_import(vq_quantizer **out, const vq_tensors *tensors,
                                     const vq_import_opts *opts, const vq_limits *limits);

/**
 * Make the quantizer that vq_quantizer_save() described. A set without a "kind" that holds one tensor of
 * [K, d] or [L, K, d], floating point, is taken as a flat or residual codebook, Euclidean.
 * @param limits NULL for the defaults.
 * @return VQ_OK, VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_UNSUPPORTED (a kind this library does not know),
 *         VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_quantizer_load(vq_quantizer **out, const vq_tensors *tensors,
                                   const char *prefix, const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
