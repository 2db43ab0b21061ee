/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/product.h
 * Product quantization: the vector is cut into slices, each with a quantizer of its own (Jegou, Douze and Schmid
 * 2011). With residual quantizers as parts it is grouped residual quantization (HiFi-Codec, Yang et al. 2023).
 */
#ifndef RVQ_PRODUCT_H
#define RVQ_PRODUCT_H

#include <stddef.h>
#include <stdint.h>

#include "rvq/residual.h"
#include "vq/quantizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Make a product quantizer, kind "product". Part p quantizes a slice of vq_quantizer_dim(parts[p]) floats that
 * begins where the slice before it ends; d is the sum of their dimensions.
 *
 * The levels of the whole come in rounds: the first level of every part, then the second of every part that has
 * one, and so on; so any prefix of the levels decodes, coarse to fine. A slice of which a prefix holds no code
 * decodes to zeros, as a residual quantizer without levels would.
 * vq_quantizer_codebook() gives the codebooks of the parts, which are of the slices' dimensions.
 * @param parts count quantizers of any kinds, at most VQ_MAX_LEVELS levels in all; owned by the quantizer on VQ_OK,
 *              left to the caller otherwise.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_product_create(vq_quantizer **out, vq_quantizer *const *parts, uint32_t count);

/** @return the number of slices of a product quantizer; 0 for another kind. */
VQ_API uint32_t vq_product_parts(const vq_quantizer *quantizer);
/** @return the quantizer of a slice, borrowed; NULL if there is none or the kind is another. */
VQ_API const vq_quantizer *vq_product_part(const vq_quantizer *quantizer, uint32_t part);

typedef struct vq_product_train_opts {
    size_t struct_size; /**< sizeof(vq_product_train_opts) */
    uint32_t parts;     /**< slices; 0 = 8 */
    const uint32_t
        *widths; /**< parts dimensions, d in all; NULL = equal ones, the first a float wider if
                         d is no multiple */
    /** How the quantizer of each slice is trained, required. levels: 0 or 1 = a flat codebook, more = a residual
     *  quantizer. k and kmeans.k are the same for all slices unless part_k says. `resume` and `level_done`
     *  must be NULL. Slice p uses kmeans.seed + p * levels, and level l of it that + l. */
    const vq_residual_train_opts *part;
    const uint32_t *part_k; /**< parts x levels sizes, slice by slice; NULL = part->k or kmeans.k */
    const vq_quantizer
        *resume; /**< a product quantizer that holds the first slices already; NULL = none */
    /** Called after each slice with all so far, borrowed. `report` is that of a flat slice, otherwise NULL. May be NULL.
     *  Not 0 = stop: VQ_E_CANCELLED. */
    int (*part_done)(void *context, uint32_t part, const vq_quantizer *so_far,
                     const vq_kmeans_report *report);
    void *part_context;
} vq_product_train_opts;

#define VQ_PRODUCT_TRAIN_OPTS_INIT                                                                 \
    {                                                                                              \
        sizeof(vq_product_train_opts), 0, NULL, NULL, NULL, NULL, NULL, NULL                       \
    }

/**
 * Train every slice by k-means or residual training on its columns of x, as many at once as there are threads (one after
 * another if opts->part->kmeans.progress is set). Needs a copy of each slice at work (n x width floats). The result is the same for any number of threads; resuming gives the same quantizer as an
 * uninterrupted run, bit for bit.
 * @param x n x d, row-major, finite; borrowed.
 * @return as vq_residual_train().
 */
VQ_API vq_status vq_product_train(vq_quantizer **out, const float *x, size_t n, uint32_t d,
                                  const vq_product_train_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
