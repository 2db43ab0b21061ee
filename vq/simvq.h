/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/simvq.h
 * SimVQ: a codebook whose codewords are all moved together (Zhu and others 2024, "Addressing Representation Collapse
 * in Vector Quantized Models with One Linear Layer"). A basis of K rows q_k ~ N(0, 1/r) is frozen, and one linear
 * map is learned: codeword k is c_k = q_k W + b. A code that no vector chooses still moves when W does, so it does not
 * die.
 *
 * The basis is made from a seed, so a model is the map: 64 KiB for 262,144 codewords of 128 floats, where the
 * codewords take 128 MiB. The codes are exactly those of vq/codebook.h for c_k, each computed in float32 as
 * ((b_j + q_1 W_1j) + q_2 W_2j) + ... Decoding gives these same vectors. vq_simvq_search says how they are found.
 *
 * On features that do not change, k-means has the lower error: it moves every codeword where it is best, and SimVQ has
 * only a map to choose. SimVQ is for codebooks that are trained together with an encoder (vq/simvq_learn.h), and
 * for models that must be small.
 */
#ifndef VQ_SIMVQ_H
#define VQ_SIMVQ_H

#include <stddef.h>
#include <stdint.h>

#include "vq/kmeans.h"
#include "vq/kmeans_stats.h"
#include "vq/quantizer.h"
#include "vq/source.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The shape of a SimVQ codebook and the seed of its basis. */
typedef struct vq_simvq_form {
    size_t struct_size; /**< sizeof(vq_simvq_form) */
    uint32_t k;         /**< K, 1 to 2^24 */
    uint32_t dim;       /**< d, of the vectors, at least 1 */
    uint32_t
        basis_dim; /**< r, of the basis; 0 = d. Below d the codewords lie in a plane of r dimensions */
    uint64_t seed; /**< of the basis */
} vq_simvq_form;

#define VQ_SIMVQ_FORM_INIT                                                                         \
    {                                                                                              \
        sizeof(vq_simvq_form), 0, 0, 0, 0                                                          \
    }

/**
 * Rows of a basis, the same bits on every machine (docs/FORMATS.md has the generator). Neither K nor the rows
 * before matter: a larger K only adds rows.
 * @param[out] rows      count x basis_dim.
 * @param      basis_dim at least 1.
 * @param      first     the first of the rows; first + count is at most 2^32.
 */
VQ_API void vq_simvq_basis(float *rows, uint64_t seed, uint32_t basis_dim, uint32_t first,
                           size_t count);

/** How a quantizer of kind "simvq" finds its codes. The codes and decoded vectors are the same. */
typedef enum vq_simvq_search {
    /** By the basis if K x d is at least 2^22, K at least 32 d, r at most d, and a trial is fast; else by codewords. A trial is
     *  slow where few dimensions hold nearly all of the codewords' variance, or the bias is thousands of times as long as they. */
    VQ_SIMVQ_SEARCH_AUTO = 0,
    /**
     * Transform the vector and search the basis; keep the norms of the codewords alone. Memory: what the filters of this
     * processor read of K x r elements (2 to 5 bytes for each; 4 without AVX2), and 8 bytes for each codeword. About as fast
     * as by codewords where r = d, and faster where r is less. Decoding makes codewords: r x d multiplications for each vector.
     * vq_quantizer_codebook() gives NULL.
     */
    VQ_SIMVQ_SEARCH_BASIS = 1,
    /** Make all codewords and search them as a flat codebook, with its memory and speed. Decoding copies. */
    VQ_SIMVQ_SEARCH_CODEWORDS = 2
} vq_simvq_search;

/**
 * Make a quantizer of kind "simvq", with the search VQ_SIMVQ_SEARCH_AUTO; so does vq_quantizer_load(). Those that
 * training makes have codewords.
 * @param[out] out  owned by the caller, free with vq_quantizer_free().
 * @param      map  W, r x d, row-major, finite; copied.
 * @param      bias b, d, finite; copied. NULL = none.
 * @return VQ_OK; VQ_E_ARG (the form: the sentence names the field); VQ_E_NONFINITE (the map, or a codeword that
 *         overflows); VQ_E_NOMEM.
 */
VQ_API vq_status vq_simvq_create(vq_quantizer **out, const vq_simvq_form *form, const float *map,
                                 const float *bias);

/** @return VQ_OK, or VQ_E_ARG if the quantizer is of another kind. */
VQ_API vq_status vq_simvq_get_form(vq_simvq_form *out, const vq_quantizer *simvq);
/**
 * The same quantizer with another search.
 * @param[out] out    owned by the caller.
 * @param      search VQ_SIMVQ_SEARCH_BASIS becomes _CODEWORDS where a map is too large for it: codewords beyond 2^60.
 * @return VQ_OK; VQ_E_ARG (another kind; no such search); VQ_E_NOMEM.
 */
VQ_API vq_status vq_simvq_search_as(vq_quantizer **out, const vq_quantizer *simvq,
                                    vq_simvq_search search);
/** @return _BASIS or _CODEWORDS; _AUTO if the quantizer is of another kind. */
VQ_API vq_simvq_search vq_simvq_get_search(const vq_quantizer *simvq);
/** @return W, r x d, borrowed; NULL if the quantizer is of another kind. */
VQ_API const float *vq_simvq_map(const vq_quantizer *simvq);
/** @return b, d, borrowed; NULL if there is none. */
VQ_API const float *vq_simvq_bias(const vq_quantizer *simvq);

/** Where the map begins. */
typedef enum vq_simvq_start {
    VQ_SIMVQ_START_MOMENTS = 0, /**< the codewords have the mean and covariance of the rows */
    VQ_SIMVQ_START_UNIFORM =
        1 /**< W and b uniform in +-1/sqrt(r), as published. From the seed alone */
} vq_simvq_start;

/** All zero = all defaults, but k. */
typedef struct vq_simvq_train_opts {
    size_t struct_size; /**< sizeof(vq_simvq_train_opts) */
    uint32_t k;         /**< required, 1 to 2^24 */
    uint32_t basis_dim; /**< r; 0 = d */
    uint64_t seed;      /**< of the basis, and of a uniform start */
    int no_bias;        /**< 1 = codewords are q W */
    vq_simvq_start start;
    uint32_t max_iterations; /**< 0 = 25 */
    double
        tolerance; /**< stop when the MSE falls by less than this share; 0 = 1e-4; negative = never */
    /** Weight of |W|^2 beside the squared errors, in units of sum n_k |q_k|^2 / r; 0 = 1e-6; at most 1e6. */
    double ridge;
    int threads; /**< 0 = as many as OpenMP gives; never changes the result */
    int (*progress)(void *context,
                    const vq_kmeans_progress *progress); /**< not 0 = stop: VQ_E_CANCELLED */
    void *progress_context;
} vq_simvq_train_opts;

#define VQ_SIMVQ_TRAIN_OPTS_INIT                                                                   \
    {                                                                                              \
        sizeof(vq_simvq_train_opts), 0, 0, 0, 0, VQ_SIMVQ_START_MOMENTS, 0, 0.0, 0.0, 0, NULL,     \
            NULL                                                                                   \
    }

/**
 * Fit the map in closed form: find the code of every row, then solve the weighted least squares of the map for
 * these codes, again and again. It needs no learning rate. With a small ridge the error falls in every iteration; the best
 * map is kept and the training ends when it does not. Of 16 K rows or more (and 8192) the first steps are taken on even
 * samples, of 8 K rows (at least 4096) and then of four times as many up to half of all; the report begins after them.
 * Bit-identical for any number of threads and any SIMD path.
 * Memory beyond the rows: the statistics of k-means, 20 bytes x K x d, and 12 x K x d + 4 x K x r.
 * @param[out] out    owned by the caller on VQ_OK.
 * @param[out] report NULL, or a struct to fill, to be cleared by vq_kmeans_report_clear(); `revived` is 0.
 * @param      source n rows of d floats, finite; borrowed. n may be below K.
 * @return VQ_OK; VQ_E_ARG (no rows, a bad option: the sentence names it); VQ_E_NONFINITE; VQ_E_NOMEM;
 *         VQ_E_CANCELLED; what the source says.
 */
VQ_API vq_status vq_simvq_train_source(vq_quantizer **out, vq_kmeans_report *report,
                                       const vq_source *source, const vq_simvq_train_opts *opts);
/** The same for rows in memory. @param x n x d, row-major, finite; borrowed. */
VQ_API vq_status vq_simvq_train(vq_quantizer **out, vq_kmeans_report *report, const float *x,
                                size_t n, uint32_t d, const vq_simvq_train_opts *opts);

/**
 * One such step from statistics, so that shards, processes or machines fit one map together: each adds its rows
 * to statistics made for vq_quantizer_codebook(simvq, 0), all are merged, and this is the next quantizer. One that
 * was loaded may have no codebook: vq_simvq_search_as() gives one that has.
 * @param[out] out   owned by the caller; of the same form, with a bias if `simvq` has one.
 * @param      ridge as in vq_simvq_train_opts.
 * @return VQ_OK; VQ_E_ARG (another kind; statistics of another shape or metric, or of no rows; the ridge);
 *         VQ_E_NONFINITE; VQ_E_NOMEM.
 */
VQ_API vq_status vq_simvq_update(vq_quantizer **out, const vq_quantizer *simvq,
                                 const vq_kmeans_stats *stats, double ridge, int threads);

/**
 * A shrinkage codebook: c_k = (sum_k + t c_k) / (n_k + t), from the counts and sums of the rows of each code.
 * t = 0 is k-means (codes without rows keep their codewords), t = infinity is SimVQ: codewords that many rows chose go to
 * their mean, and those that few chose stay near where the map has them. It is a flat codebook, of
 * K x d floats in a file.
 * @param[out] out   owned by the caller; float32.
 * @param      t     in rows, >= 0.
 * @return as vq_simvq_update().
 */
VQ_API vq_status vq_simvq_shrink(vq_codebook **out, const vq_quantizer *simvq,
                                 const vq_kmeans_stats *stats, double t);

#ifdef __cplusplus
}
#endif
#endif
