/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file augment/augment.h
 * Training from tokens: operations that make other tokens of the same shape, without decoding a signal (SeiT: Park et al.
 * 2023, "SeiT: Storage-Efficient Vision Training with Tokens Using 1% of Pixel Storage"; SeiT++: Lee et al. 2024). They
 * work on the tokens of any codec and quantizer, and what they leave is always valid.
 *
 * A room of its own: the operations are of no codec and know no signals, so not of codecs/; and they ask residual
 * quantizers for sums of levels and the multi-scale one for its interpolation, so they stand above rvq/.
 *
 * Random numbers are by place (Philox; vq_draw), so a sample's are the same whatever was drawn before, on any number
 * of threads and any machine: the draws use integers and the four operations and square root of IEEE 754 alone.
 */
#ifndef AUGMENT_AUGMENT_H
#define AUGMENT_AUGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "rvq/multiscale.h"
#include "vq/quantizer.h"
#include "vq/tokens.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Which random numbers: the same two give the same result. Different operations do not share any. */
typedef struct vq_draw {
    uint64_t seed;   /**< of the training run */
    uint64_t number; /**< of the sample in it, for example epoch x samples + index */
} vq_draw;

/* Synonyms: codes whose codewords are near. */

/** For every code of every level the codes nearest to it. Immutable; may be used from many threads at once. */
typedef struct vq_synonyms vq_synonyms;

/**
 * Find the synonyms of all codes: those of the `count` codewords of its level that are nearest to its own, itself left
 * out, by Euclidean distance (under the cosine metric codewords have unit length, and it is the same order); equal ones in
 * order of their codes.
 * @param[out] out       owned by the caller, free with vq_synonyms_free().
 * @param      quantizer every level has a codebook. Need not outlive this call.
 * @param      count     1 to VQ_NEAREST_K_MAX - 1; SeiT takes 5. A level of K codewords has at most K - 1.
 * @param      threads   0 = as many as OpenMP gives; never changes the result.
 * @return VQ_OK, VQ_E_ARG, VQ_E_UNSUPPORTED (a level without a codebook: FSQ, LFQ), VQ_E_NOMEM.
 */
VQ_API vq_status vq_synonyms_create(vq_synonyms **out, const vq_quantizer *quantizer,
                                    uint32_t count, int threads);
VQ_API void vq_synonyms_free(vq_synonyms *synonyms);
/** @return how many each code of a level has; 0 if there is no such level. */
VQ_API uint32_t vq_synonyms_count(const vq_synonyms *synonyms, uint32_t level);
/** @return the synonyms of a code, nearest first, borrowed; NULL if there is no such code or it has none. */
VQ_API const uint32_t *vq_synonyms_of(const vq_synonyms *synonyms, uint32_t level, uint32_t code);

/**
 * Replace codes by synonyms: each, with this probability, by one of its own, drawn evenly (the TokenEDA of SeiT, with
 * 5 synonyms and the probability 0.25).
 * @param[in,out] tokens      of levels and K that the synonyms have, or the first so many levels; untouched on failure.
 * @param         probability 0 to 1.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (a code).
 */
VQ_API vq_status vq_tokens_swap_synonyms(vq_tokens *tokens, const vq_synonyms *synonyms,
                                         double probability, vq_draw draw);

/* Degradation by the k-th nearest code (VQD-SR: Tuo, Yang, Fu, Dun and Qian 2023, "Learning Data-Driven Vector-Quantized
 * Degradation Model for Animation Video Super-Resolution"). There k is drawn for a whole picture: 1-15, 16-30 or 31-50 with
 * the probabilities 0.3, 0.4, 0.3 on the finest of three scales, and 1-10 on the middle one. */

/**
 * Vectors to codes as vq_quantize(), but at each level the code of the k-th nearest codeword instead of the nearest: of the
 * vector, or of what the levels before leave of it. k = 1 everywhere gives the codes of vq_quantize(), and the error of a flat
 * quantizer rises with k for every vector.
 * @param[out] codes     n x levels, row-major.
 * @param      quantizer flat or residual.
 * @param      x         n x d, row-major, finite.
 * @param      nearest   of each level, 1 (the nearest) to VQ_NEAREST_K_MAX, at most the level's K.
 * @param      opts      levels and threads count; beam and lambda must be 0, the workspace is not used.
 * @return VQ_OK, VQ_E_ARG, VQ_E_UNSUPPORTED (another kind), VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_degrade(uint32_t *codes, const vq_quantizer *quantizer, const float *x,
                            size_t n, const uint32_t *nearest, const vq_quantize_opts *opts);

/**
 * The same for tokens, where the vector is gone: each code becomes the k-th nearest to its own codeword, itself being
 * the first.
 * @param[in,out] tokens  as for vq_tokens_swap_synonyms().
 * @param         nearest of each level of the tokens, 1 (no change) to the number of synonyms + 1.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (a code).
 */
VQ_API vq_status vq_tokens_degrade(vq_tokens *tokens, const vq_synonyms *synonyms,
                                   const uint32_t *nearest);

/* Patches. Rows and columns are the last two dimensions of a grid; what is before them are planes, all of which get the
 * same patch. A grid of one dimension has one row, and so has each channel of a sound, whose planes are its channels. */

typedef struct vq_token_box {
    size_t row, column, rows, columns;
} vq_token_box;

/**
 * Exchange two patches of one size, of all planes and levels.
 * @param[in,out] a, b        of the same number of planes, levels and K; may be the same tokens, if the boxes do not overlap.
 * @param         box         in a; may be empty.
 * @param         row, column where it begins in b.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (a code of either); on failure both are untouched.
 */
VQ_API vq_status vq_tokens_exchange(vq_tokens *a, const vq_token_box *box, vq_tokens *b, size_t row,
                                    size_t column);

/**
 * CutMix (Yun et al. 2019) between two grids of one shape, both ways: a box of the same place is exchanged, of a share of the
 * area that is drawn evenly from 0 to 1 and a centre drawn evenly over the grid, where the box is cut off at the borders.
 * @param[out]    share of the positions of each that come from the other now: the weight of the other's label. Or NULL.
 * @param[in,out] a, b  two different objects.
 * @return as vq_tokens_exchange().
 */
VQ_API vq_status vq_tokens_cutmix(double *share, vq_tokens *a, vq_tokens *b, vq_draw draw);

/**
 * Exchange two patches of one grid (SeiT's TokenEDA): two different cells, drawn evenly, of a lattice of such patches that is
 * laid over the grid at an offset drawn evenly.
 * @param rows, columns of a patch; two of them fit into the grid side by side.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (a code).
 */
VQ_API vq_status vq_tokens_swap_patches(vq_tokens *tokens, size_t rows, size_t columns,
                                        vq_draw draw);

/* In the space of the embeddings: tokens are dequantized, changed and quantized again, plane by plane. `quantizer` is the one
 * that made them (vq_codec_get_info() has a codec's), or has as many levels or more, of the same K. Memory: d + 1 floats and
 * the codes for each position. opts: levels must be 0 or the tokens'; beam, lambda and threads as in vq_quantize(). A change
 * that is none gives the same tokens with a flat quantizer whose codewords differ; greedy residual codes may differ, since they
 * do not always repeat themselves. */

/** A part of a grid in positions: row 0.5 is between the first two. */
typedef struct vq_token_crop {
    double row, column, rows, columns;
} vq_token_crop;

/**
 * Draw a crop for RandomResizedCrop (Szegedy et al. 2015), without logarithms: a share of the area drawn evenly from
 * least_share to 1, an aspect drawn evenly from 1 to most_aspect and turned over with the probability 1/2, limited to the grid's
 * size, and a place drawn evenly.
 * @param least_share in (0, 1]; the usual one is 0.08. @param most_aspect at least 1; usually 4/3.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (a code).
 */
VQ_API vq_status vq_tokens_draw_crop(vq_token_crop *out, const vq_tokens *tokens,
                                     double least_share, double most_aspect, vq_draw draw);

/**
 * Enlarge a part of the grid to the whole: embeddings are interpolated as rvq/multiscale.h says, beyond the part as
 * far as the kernel reaches and at the grid's border by the nearest position.
 * @param crop inside the grid, rows and columns above 0.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (a code), VQ_E_NONFINITE (embeddings that overflow), VQ_E_NOMEM; untouched on failure.
 */
VQ_API vq_status vq_tokens_crop(vq_tokens *tokens, const vq_quantizer *quantizer,
                                const vq_token_crop *crop, vq_multiscale_up up,
                                const vq_quantize_opts *opts);

/**
 * ColorAdapt (SeiT++), which is AdaIN (Huang and Belongie 2017) on embeddings: each channel, in each plane, is given the mean
 * and the deviation (of n - 1) over the positions that it has in `style`: (x - mean) deviation' / deviation + mean'. A
 * channel that does not vary becomes mean'. Sums in double, in order.
 * @param style of the same planes, levels and K; rows and columns may differ. May be `tokens`.
 * @return as vq_tokens_crop().
 */
VQ_API vq_status vq_tokens_color_adapt(vq_tokens *tokens, const vq_tokens *style,
                                       const vq_quantizer *quantizer, const vq_quantize_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
