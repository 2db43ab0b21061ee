/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/train.h
 * Training a codec's model from signals.
 */
#ifndef CODECS_TRAIN_H
#define CODECS_TRAIN_H

#include "codecs/codec.h"
#include "rvq/residual.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Where training signals come from: read the index-th of count signals. Called in rising order, possibly more
 * than once for each. The signal becomes the trainer's. A status other than VQ_OK ends the training.
 */
typedef struct vq_signal_source {
    size_t count;
    vq_status (*read)(void *context, size_t index, vq_signal **out);
    void *context;
} vq_signal_source;

/** Samples per second of the audio recipe: what sounds must have to train from. */
enum { VQ_AUDIO_TRAIN_RATE = 24000 };

/** All zero = the recipe of the built-in model. */
typedef struct vq_codec_train_opts {
    size_t struct_size; /**< sizeof(vq_codec_train_opts) */
    uint32_t levels;    /**< 0 = the recipe's */
    uint32_t k;         /**< codewords per level; 0 = the recipe's */
    uint32_t dim; /**< coefficients kept per position; 0 = the recipe's. Audio: those that are kept
                                beside the energies of bands */
    uint32_t max_iterations; /**< of k-means, per level; 0 = the recipe's */
    size_t max_vectors; /**< latents kept, sampled evenly; 0 = the recipe's, 2^21 (audio: 2^18) */
    uint64_t seed;
    int threads;
    const vq_quantizer *resume; /**< first levels of an interrupted run; NULL = none */
    int (*level_done)(void *context, uint32_t level, const vq_quantizer *so_far,
                      const vq_kmeans_report *report); /**< as in vq_residual_train_opts */
    int (*progress)(void *context, uint32_t level, const vq_kmeans_progress *progress);
    int (*reading)(void *context, size_t done, size_t count); /**< signals read so far */
    void *context;
    /** Train the quantizer on n latents of d floats, row-major, borrowed; the codec takes it. NULL = the recipe's residual
     *  quantizer. With it only dim, max_vectors, threads, reading, trained and context of the other fields count. */
    vq_status (*quantizer)(void *context, vq_quantizer **out, const float *latents, size_t n,
                           uint32_t d);
    /** The quantizer as it will be written and the latents that it learned from, n x d, both borrowed: for reports. NULL = none.
     *  A status other than VQ_OK ends the training. */
    vq_status (*trained)(void *context, const vq_quantizer *quantizer, const float *latents,
                         size_t n);
    uint32_t beam;   /**< of training the levels; 0 = the recipe's: 2, of actions 1 */
    uint32_t refits; /**< rounds of that; 0 = the recipe's, 6 */
    float
        lambda; /**< of error + lambda x bits, which they are trained for; 0 = the recipe's, 0.01; below 0 = error alone */
    uint32_t horizon; /**< actions: steps of a chunk; 0 = the recipe's, 16 */
    int universal; /**< actions: 1 = a model for any number of dimensions, which keeps no ranges: signals may
                          differ in theirs */
    int quantile_bins; /**< bins: 1 = bins in which equally many steps lie, not even ones */
} vq_codec_train_opts;

#define VQ_CODEC_TRAIN_OPTS_INIT                                                                   \
    {                                                                                              \
        sizeof(vq_codec_train_opts), 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL,      \
            NULL, 0, 0, 0, 0, 0, 0                                                                 \
    }

/**
 * Train the model of a front end.
 * @param[out] model the tensors to write with vq_safetensors_write(); owned by the caller.
 * @param      codec the front end's name: "image", "audio", "action", "bins", "fast".
 * @return VQ_OK, VQ_E_ARG (unknown front end, too few signals), VQ_E_NOMEM, VQ_E_CANCELLED, or what the
 *         source returned.
 */
VQ_API vq_status vq_codec_train(vq_tensors **model, const char *codec,
                                const vq_signal_source *source, const vq_codec_train_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
