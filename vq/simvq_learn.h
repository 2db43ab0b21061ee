/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/simvq_learn.h
 * SimVQ inside a training loop: a codebook that learns from each batch of rows, while the encoder that makes the rows
 * learns too (vq/gradients.h has the other half of the loss). Two ways to learn:
 *
 * - by gradient steps: Adam (Kingma and Ba 2015) on the codebook term of the loss, with the published rates; on the map,
 *   on the basis (with W = I this is the plain gradient codebook), or on both.
 * - by moving averages: the counts and sums of each code are averaged as in vq/online.h, and the map is their weighted
 *   least squares: no learning rate. With `shrinkage` t the codewords are c_k = (m_k + t q_k W) / (N_k + t): those that
 *   many rows choose follow their rows, as in k-means, and those that few choose follow the map, so that they are not
 *   left behind. When basis and map are both learned so, the basis is the codebook itself and the map is how the rows of
 *   its codes have moved since the last update, held back by a ridge of 100 (d + 1) / n: all codewords move with the map,
 *   and then each towards its own rows. So averages may reach far without lagging behind an encoder that learns. Begun with
 *   k-means of the first latents (vq_simvq_learner_create_from_basis()), with a decay of 0.999 and a shrinkage of 0.001, this
 *   has the lowest reconstruction error of the codebooks that bench/run simvq trains.
 *
 * The state is bit-identical for any number of threads and any SIMD path.
 */
#ifndef VQ_SIMVQ_LEARN_H
#define VQ_SIMVQ_LEARN_H

#include <stddef.h>
#include <stdint.h>

#include "vq/simvq.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vq_simvq_method {
    VQ_SIMVQ_GRADIENT = 0, /**< Adam */
    VQ_SIMVQ_AVERAGES = 1  /**< moving averages and least squares */
} vq_simvq_method;

/** What gradient steps change. */
typedef enum vq_simvq_learned {
    VQ_SIMVQ_LEARN_MAP = 0,
    VQ_SIMVQ_LEARN_BASIS = 1,
    VQ_SIMVQ_LEARN_BOTH = 2
} vq_simvq_learned;

/** All zero = all defaults. */
typedef struct vq_simvq_learn_opts {
    size_t struct_size; /**< sizeof(vq_simvq_learn_opts) */
    vq_simvq_method method;
    /* Gradient steps. */
    vq_simvq_learned learned;
    double learning_rate;   /**< 0 = 1e-4 */
    double beta1, beta2;    /**< below 1; 0 = 0.5 and 0.9 as published; negative = 0 */
    double epsilon;         /**< of Adam; 0 = 1e-8 */
    double codebook_weight; /**< of mean (sg(x) - q)^2; 0 = 1 */
    /* Moving averages. */
    double decay; /**< below 1; 0 = 0.99; negative = 0: each batch starts afresh */
    /** Averages reach over the last 1/growth of the updates so far, until they reach as far as decay has them: short
     *  while an encoder is young and moves, long when it is old. 0 = 8; negative = as decay has them from the start. */
    double growth;
    double ridge; /**< as in vq_simvq_train_opts; 0 = 1e-6 */
    double
        shrinkage; /**< t, in shares of even use (rows / K); 0 = infinite: the codewords are q W + b */
} vq_simvq_learn_opts;

#define VQ_SIMVQ_LEARN_OPTS_INIT                                                                   \
    {                                                                                              \
        sizeof(vq_simvq_learn_opts), VQ_SIMVQ_GRADIENT, VQ_SIMVQ_LEARN_MAP, 0.0, 0.0, 0.0, 0.0,    \
            0.0, 0.0, 0.0, 0.0, 0.0                                                                \
    }

typedef struct vq_simvq_learner vq_simvq_learner;

/** Of the codebook before the update. */
typedef struct vq_simvq_learn_report {
    uint64_t updates;  /**< since creation, this one included */
    double mse;        /**< of the batch, per dimension */
    uint32_t used;     /**< codes that have a row in the batch */
    double perplexity; /**< 2^entropy of their shares */
} vq_simvq_learn_report;

/**
 * A quantizer whose map (and bias) begin uniform in +-1/sqrt(r), as published.
 * @return as vq_simvq_create().
 */
VQ_API vq_status vq_simvq_begin(vq_quantizer **out, const vq_simvq_form *form, int no_bias);

/**
 * Go on from a SimVQ quantizer.
 * @param[out] out   owned by the caller, free with vq_simvq_learner_free().
 * @param      simvq copied; the map has a bias if it has one.
 * @return VQ_OK, VQ_E_ARG (another kind; a bad option: the sentence names it), VQ_E_NOMEM.
 */
VQ_API vq_status vq_simvq_learner_create(vq_simvq_learner **out, const vq_quantizer *simvq,
                                         const vq_simvq_learn_opts *opts);
/**
 * Go on from a basis of the caller's own, with which nothing is saved as a seed.
 * @param form  its seed does not matter.
 * @param basis k x r, finite; copied. @param map r x d, NULL = the identity (r = d). @param bias d or NULL.
 */
VQ_API vq_status vq_simvq_learner_create_from_basis(vq_simvq_learner **out,
                                                    const vq_simvq_form *form, const float *basis,
                                                    const float *map, const float *bias,
                                                    const vq_simvq_learn_opts *opts);
VQ_API void vq_simvq_learner_free(vq_simvq_learner *learner);

/**
 * Learn from one batch. n = 0 changes nothing and is no update. After VQ_E_NOMEM or VQ_E_NONFINITE the learner
 * may hold half an update: free it.
 * @param[out] codes     n or NULL: the code of each row before the update.
 * @param[out] quantized n x d or NULL: their codewords, before the update.
 * @param[out] report    or NULL.
 * @param      x         n x d, finite.
 * @param      threads   0 = as many as OpenMP gives; never changes the result.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE (rows; codewords that overflow: lower the learning rate), VQ_E_NOMEM.
 */
VQ_API vq_status vq_simvq_learner_update(vq_simvq_learner *learner, uint32_t *codes,
                                         float *quantized, vq_simvq_learn_report *report,
                                         const float *x, size_t n, int threads);

/** @return the codebook as it is now, borrowed, valid until the next update. */
VQ_API const vq_codebook *vq_simvq_learner_codebook(const vq_simvq_learner *learner);
/** @return the map (r x d), the bias (d, NULL if none), the basis (k x r) as they are now; borrowed. */
VQ_API const float *vq_simvq_learner_map(const vq_simvq_learner *learner);
VQ_API const float *vq_simvq_learner_bias(const vq_simvq_learner *learner);
VQ_API const float *vq_simvq_learner_basis(const vq_simvq_learner *learner);

/**
 * A quantizer of its own, that later updates do not change: "simvq" while the basis is a seed's and nothing is shrunk, else
 * "flat". @return VQ_OK, VQ_E_NOMEM.
 */
VQ_API vq_status vq_simvq_learner_snapshot(vq_quantizer **out, const vq_simvq_learner *learner);

/** How rows in memory are learned by gradient steps; all zero = all defaults, but form.k. */
typedef struct vq_simvq_descend_opts {
    size_t struct_size;        /**< sizeof(vq_simvq_descend_opts) */
    vq_simvq_learn_opts learn; /**< method and learned must be 0: gradient steps on the map */
    uint32_t batch;            /**< rows of a step, drawn at random; 0 = 4096 */
    uint32_t steps;            /**< 0 = 1000 */
    uint64_t seed;             /**< of the rows that are drawn */
    int threads;               /**< 0 = as many as OpenMP gives; never changes the result */
    /** Called after every step. not 0 = stop: VQ_E_CANCELLED */
    int (*progress)(void *context, const vq_simvq_learn_report *report);
    void *progress_context;
} vq_simvq_descend_opts;

#define VQ_SIMVQ_DESCEND_OPTS_INIT                                                                 \
    {                                                                                              \
        sizeof(vq_simvq_descend_opts), VQ_SIMVQ_LEARN_OPTS_INIT, 0, 0, 0, 0, NULL, NULL            \
    }

/**
 * Gradient steps on the map for rows that do not change: the published way; vq_simvq_train() is the fast one.
 * @param[out] out   owned by the caller: a SimVQ quantizer of the form of `start`.
 * @param      start where the map begins (vq_simvq_begin()).
 * @param      x     n x d, row-major, finite; borrowed.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE, VQ_E_NOMEM, VQ_E_CANCELLED.
 */
VQ_API vq_status vq_simvq_descend(vq_quantizer **out, const vq_quantizer *start, const float *x,
                                  size_t n, uint32_t d, const vq_simvq_descend_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
