/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/multiscale.h
 * Multi-scale residual quantization over a grid (VAR: Tian, Jiang, Yuan, Peng and Wang 2024): what the scales before it
 * left over is averaged down to a small grid, quantized, interpolated up again, and taken away; then the next, larger
 * scale. A token is a code of one cell of one scale; coarse scales come first, and any prefix of the scales decodes.
 *
 * Its unit is a whole grid, with hundreds of tokens of unlike places, so it has an interface of its own beside vq_quantizer's;
 * the quantizers of the cells are vq_quantizers of any kind.
 */
#ifndef RVQ_MULTISCALE_H
#define RVQ_MULTISCALE_H

#include <stddef.h>
#include <stdint.h>

#include "vq/kmeans.h"
#include "vq/quantizer.h"
#include "vq/report.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vq_multiscale vq_multiscale;

/** How a scale becomes as large as the grid. Both as PyTorch's interpolate() with align_corners off. */
typedef enum vq_multiscale_up {
    VQ_MULTISCALE_BICUBIC = 0, /**< Keys' kernel with a = -0.75; VAR's */
    VQ_MULTISCALE_BILINEAR = 1
} vq_multiscale_up;

/** What a multi-scale quantizer is, but for the quantizers of its cells. Everything is copied. */
typedef struct vq_multiscale_design {
    size_t struct_size;     /**< sizeof(vq_multiscale_design) */
    uint32_t rows, columns; /**< of the grid, required */
    uint32_t channels;      /**< floats of a cell, required */
    uint32_t scales;        /**< 1 to VQ_MAX_LEVELS, required */
    const uint32_t
        *sizes; /**< scales x 2, rows and columns of each, at most those of the grid; required */
    vq_multiscale_up up;
    /** Convolutions that follow the interpolation, h = (1 - phi_ratio) h + phi_ratio (phi(h)), as VAR's "quant_resi": 3 x 3,
     *  zeros around. 0 = none. */
    uint32_t phis;
    const float *phi_weight; /**< phis x channels (out) x channels (in) x 3 x 3 */
    const float *phi_bias;   /**< phis x channels */
    const uint32_t *phi_of;  /**< scales: which one follows; NULL = spread evenly, as VAR does */
    float phi_ratio;         /**< 0 = 0.5; in (0, 1] */
} vq_multiscale_design;

#define VQ_MULTISCALE_DESIGN_INIT                                                                  \
    {                                                                                              \
        sizeof(vq_multiscale_design), 0, 0, 0, 0, NULL, VQ_MULTISCALE_BICUBIC, 0, NULL, NULL,      \
            NULL, 0                                                                                \
    }

/**
 * Make a multi-scale quantizer.
 * @param quantizers one for each scale, or one that all share; of `channels` dimensions and one level. They belong to it on
 *                   VQ_OK and stay the caller's otherwise.
 * @param count      design->scales or 1.
 * @return VQ_OK, VQ_E_ARG (the sentence names the field), VQ_E_NONFINITE (a weight), VQ_E_NOMEM.
 */
VQ_API vq_status vq_multiscale_create(vq_multiscale **out, const vq_multiscale_design *design,
                                      vq_quantizer *const *quantizers, uint32_t count);
VQ_API void vq_multiscale_free(vq_multiscale *multiscale);

/** @return the design, borrowed: every field is set, but phi_weight, phi_bias and phi_of where phis is 0. */
VQ_API const vq_multiscale_design *vq_multiscale_get_design(const vq_multiscale *multiscale);
/** @return the quantizer of a scale, borrowed; NULL if there is no such scale. */
VQ_API const vq_quantizer *vq_multiscale_quantizer(const vq_multiscale *multiscale, uint32_t scale);
/** @return tokens of the first `scales` scales of one grid; 0 = of all. */
VQ_API size_t vq_multiscale_tokens(const vq_multiscale *multiscale, uint32_t scales);
/** @return bytes of workspace with which encoding and decoding n grids allocate nothing. */
VQ_API size_t vq_multiscale_workspace(const vq_multiscale *multiscale, size_t n, int threads);

/**
 * Grids to tokens. The same on any number of threads and with any kernels.
 * @param[out] codes n x vq_multiscale_tokens(), scale after scale, each row-major.
 * @param      x     n x rows x columns x channels, row-major, finite.
 * @param      opts  levels = use only so many first scales, threads, workspace; lambda must be 0; NULL = all defaults.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE (the sentence names the grid), VQ_E_NOMEM.
 */
VQ_API vq_status vq_multiscale_encode(uint32_t *codes, const vq_multiscale *multiscale,
                                      const float *x, size_t n, const vq_quantize_opts *opts);

/**
 * Tokens to grids.
 * @param[out] x     n x rows x columns x channels: the sum of what the scales say.
 * @param      codes as vq_multiscale_encode() with these opts gives them; every code is checked.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE (the sentence names grid and token), VQ_E_NOMEM.
 */
VQ_API vq_status vq_multiscale_decode(float *x, const vq_multiscale *multiscale,
                                      const uint32_t *codes, size_t n,
                                      const vq_quantize_opts *opts);

/**
 * The one report, scale by scale, on given grids: how often the codes of a scale's cells occurred, and the error of the grids
 * decoded from the scales up to this one.
 * @param[out] rows one for each scale.
 * @param      x    n x rows x columns x channels, row-major, finite.
 * @return VQ_OK, VQ_E_ARG (also: no grids), VQ_E_NONFINITE, VQ_E_NOMEM; on failure rows are not defined.
 */
VQ_API vq_status vq_multiscale_report(vq_level_report *rows, const vq_multiscale *multiscale,
                                      const float *x, size_t n, int threads);

/** Add it to a set under names that begin with `prefix`: docs/FORMATS.md. @return VQ_OK, VQ_E_ARG (names taken),
 *  VQ_E_NOMEM. */
VQ_API vq_status vq_multiscale_save(vq_tensors *tensors, const vq_multiscale *multiscale,
                                    const char *prefix);
/** Make what vq_multiscale_save() described. @return VQ_OK, VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_UNSUPPORTED, VQ_E_NONFINITE,
 *  VQ_E_NOMEM. */
VQ_API vq_status vq_multiscale_load(vq_multiscale **out, const vq_tensors *tensors,
                                    const char *prefix, const vq_limits *limits);

typedef struct vq_multiscale_train_opts {
    size_t struct_size;                 /**< sizeof(vq_multiscale_train_opts) */
    const vq_multiscale_design *design; /**< required; its phis are used as they are, not trained */
    int shared;                         /**< 1 = one codebook for all scales, as VAR has it */
    const uint32_t *k; /**< scales sizes; NULL = kmeans->k for every scale. Not if shared */
    const vq_kmeans_opts
        *kmeans; /**< required; scale s uses seed + s; seeds and weights must be NULL */
    uint32_t
        rounds; /**< shared: encode and train in turns so often; the best round is kept; 0 = 4 */
} vq_multiscale_train_opts;

#define VQ_MULTISCALE_TRAIN_OPTS_INIT                                                              \
    {                                                                                              \
        sizeof(vq_multiscale_train_opts), NULL, 0, NULL, NULL, 0                                   \
    }

/**
 * Train scale after scale, each by k-means on the cells that the scales before it leave. Shared: one k-means on the cells of
 * all scales, then rounds of encoding with its codebook and going on with k-means on the cells that then occur. Memory: a copy
 * of x and n x tokens x channels floats. The result is the same for any number of threads.
 * @param x n x rows x columns x channels, finite; borrowed.
 * @return as vq_kmeans_train().
 */
VQ_API vq_status vq_multiscale_train(vq_multiscale **out, const float *x, size_t n,
                                     const vq_multiscale_train_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
