/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/signal.h
 * A continuous signal on its way to or from tokens.
 */
#ifndef VQ_SIGNAL_H
#define VQ_SIGNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vq/dimensions.h"
#include "vq/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a signal is. The numbers are stored in files and never change. */
typedef enum vq_kind {
    VQ_KIND_IMAGE =
        1, /**< H x W x C, samples in [0, 1]; C is 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA */
    VQ_KIND_AUDIO = 2, /**< T x C, samples in [-1, 1] */
    VQ_KIND_ACTION = 3 /**< T x D, or N x T x D (episodes), in the user's units */
} vq_kind;

/** A shaped float32 array, row-major (the last dimension is contiguous). Made by vq_signal_create(). */
typedef struct vq_signal {
    vq_kind kind;
    uint32_t ndim;   /**< 3 for an image, 2 for audio, 2 or 3 for actions */
    size_t shape[3]; /**< unused dimensions are 1 */
    double rate;     /**< samples or steps per second; 0 for an image or when it is not known */
    uint32_t bits; /**< bits per sample of the source, a hint for writers: 8 or 16; 0 = not known */
    float *data;   /**< owned */
    vq_dimensions *dimensions; /**< of an action, owned; NULL = nothing is known of them */
} vq_signal;

/**
 * Make a zeroed signal.
 * @param[out] out   owned by the caller, free with vq_signal_free().
 * @param      shape ndim sizes, each at least 1; an image's C is 1 to 4.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_signal_create(vq_signal **out, vq_kind kind, uint32_t ndim,
                                  const size_t *shape);
VQ_API void vq_signal_free(vq_signal *signal);

/** @return the number of samples, the product of the shape. */
VQ_API size_t vq_signal_count(const vq_signal *signal);

/** @return "image", "audio", "action", or "unknown". Static storage. */
VQ_API const char *vq_kind_name(vq_kind kind);

#ifdef __cplusplus
}
#endif
#endif
