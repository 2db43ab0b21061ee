/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/image_internal.h
 * The image front end: RGB -> decorrelated planes -> lapped transform of M x M blocks -> the coefficients
 * worth keeping, weighted -> one vector per block. Everything about it is data of the model.
 */
#ifndef CODECS_IMAGE_INTERNAL_H
#define CODECS_IMAGE_INTERNAL_H

#include <stdint.h>

#include "codecs/codec_internal.h"
#include "codecs/lapped_internal.h"

enum { VQI_IMAGE_PLANES = 3 };

/** The tables of a model. */
typedef struct vqi_image_model {
    uint32_t block; /**< M, pixels per side of a block */
    uint32_t dim;   /**< d, coefficients kept */
    uint32_t default_levels;
    float colour[9];         /**< 3 x 3: plane p = sum over c of colour[p][c] * (rgb[c] - 1/2) */
    float colour_inverse[9]; /**< 3 x 3 */
    float *basis;            /**< M x M */
    float *pre_filter;       /**< M x M, or NULL */
    float *post_filter;      /**< M x M, or NULL */
    uint32_t *kept;          /**< d indices into planes x M x M, (plane * M + row) * M + column */
    float *weights;          /**< d: latent = coefficient * weight */
    /* Derived. */
    vqi_lapped lapped;
    uint32_t rows[VQI_IMAGE_PLANES]; /**< vertical frequencies that are needed of each plane */
} vqi_image_model;

/** Allocate the arrays of a model whose block and dim are set. */
vq_status vqi_image_model_allocate(vqi_image_model *model, int with_filter);
/** Fill in what is derived from the tables; @return VQ_OK, VQ_E_FORMAT (tables that cannot be), VQ_E_NOMEM. */
vq_status vqi_image_model_prepare(vqi_image_model *model);
vq_status vqi_image_model_load(vqi_image_model **out, const vq_tensors *tensors, uint32_t dim);
vq_status vqi_image_model_save(vq_tensors *tensors, const vqi_image_model *model);
void vqi_image_model_free(vqi_image_model *model);

/** One picture as the transform sees it: three channels, from a signal's colours or from its alpha. */
typedef struct vqi_picture {
    const vq_signal *signal;
    int alpha;     /**< 1 = the alpha channel as a grey picture */
    int composite; /**< 1 = colours over the background */
    float background[3];
    size_t height, width; /**< pixels */
    size_t rows, columns; /**< blocks */
} vqi_picture;

/** @return the number of blocks of m that cover n pixels. */
static inline size_t vqi_blocks(size_t n, uint32_t m)
{
    return (n + m - 1) / m;
}

/** Floats of scratch that one thread of the analysis needs. */
size_t vqi_image_analysis_scratch(const vqi_image_model *model, const vqi_picture *picture);

/**
 * The latents of some rows of blocks, by `threads` threads.
 * @param[out] latents rows x columns x d, or, if all is 1, rows x columns x (3 * M * M): every coefficient, unweighted.
 * @param[out] bad     rows: -1, or the index of the first pixel column of a sample that is not finite.
 * @param      scratch threads x scratch_size.
 */
void vqi_image_analyse_rows(float *latents, long *bad, const vqi_image_model *model,
                            const vqi_picture *picture, size_t first, size_t rows, int all,
                            float *scratch, size_t scratch_size, int threads);

/** Floats that the horizontal synthesis of one row of blocks fills. */
size_t vqi_image_row_size(const vqi_image_model *model, const vqi_picture *picture);

/** Horizontal synthesis: latents (columns x d) of one row of blocks to `out`. */
void vqi_image_synthesise_columns(float *out, const vqi_image_model *model,
                                  const vqi_picture *picture, const float *latents);

/**
 * Vertical synthesis and colour: M pixel rows (fewer at the bottom) from a row of blocks and its neighbours.
 * @param above, here, below what vqi_image_synthesise_columns() made; NULL where there is no row.
 * @param target             the signal to write: its colours, or its alpha if picture->alpha.
 * @param scratch            3 x width floats.
 */
void vqi_image_synthesise_rows(vq_signal *target, const vqi_image_model *model,
                               const vqi_picture *picture, size_t row, const float *above,
                               const float *here, const float *below, float *scratch);

/** How vqi_image_refine() trains. */
typedef struct vqi_refine_opts {
    uint32_t rounds; /**< of encoding and fitting */
    uint32_t
        beam; /**< of the encoding; the first one, which gives the first frequencies, is greedy */
    float lambda; /**< squared error that a bit is worth */
    int threads;
    /** Rows done of those of a round, 0 to rounds + 1; not 0 = stop: VQ_E_CANCELLED. May be NULL. */
    int (*progress)(void *context, uint32_t round, size_t done, size_t count);
    void *context;
} vqi_refine_opts;

/**
 * Train all levels of a residual quantizer together, and count how often each code is used.
 * @param[in,out] quantizer replaced by the new one; the caller's in any case.
 * @param         x         n x d, row-major.
 */
vq_status vqi_image_refine(vq_quantizer **quantizer, const float *x, size_t n,
                           const vqi_refine_opts *opts);

/** Train a model's tables and codebooks; vqi_front_end.train. */
vq_status vqi_image_train(vq_tensors **model, const vq_signal_source *source,
                          const vq_codec_train_opts *opts);

#endif
