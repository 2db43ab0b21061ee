/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/limits.h
 * How much a reader may believe a file. A file that asks for more is refused with VQ_E_LIMIT before
 * anything is allocated for it.
 */
#ifndef VQ_LIMITS_H
#define VQ_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "vq/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Sizes that are fixed by the formats, not by the limits. */
enum {
    VQ_MAX_LEVELS = 64, /**< levels of one quantizer */
    VQ_MAX_NDIM = 8     /**< dimensions of a tensor */
};

/** A field that is 0 means the default named beside it. Every reader takes a pointer; NULL = defaults. */
typedef struct vq_limits {
    size_t struct_size;          /**< sizeof(vq_limits) */
    uint64_t max_file_bytes;     /**< a file read whole: 8 GiB */
    uint64_t max_alloc_bytes;    /**< one array made from what a file declares: 4 GiB */
    uint32_t max_image_side;     /**< pixels: 16384 */
    uint64_t max_image_pixels;   /**< width x height: 2^28 (16384 x 16384) */
    uint32_t max_codewords;      /**< K of a codebook: 2^20 */
    uint32_t max_dim;            /**< d of a codebook: 4096 */
    uint32_t max_levels;         /**< levels: 64, which is also the most that is allowed */
    uint64_t max_tokens;         /**< codes in one token file: 2^30 */
    uint32_t max_tensors;        /**< arrays, and also settings, in one safetensors file: 16384 */
    uint32_t max_header_bytes;   /**< JSON header of a safetensors or token file: 16 MiB */
    uint32_t max_json_depth;     /**< nesting of that JSON: 64 */
    uint32_t max_sound_rate;     /**< samples per second of a sound file: 768000 */
    uint32_t max_sound_channels; /**< of a sound file: 8 */
    uint64_t max_sound_frames; /**< samples per channel of a sound file: 2^34 (4 days at 48 kHz) */
} vq_limits;

#define VQ_LIMITS_INIT                                                                             \
    {                                                                                              \
        sizeof(vq_limits), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                \
    }

/**
 * Fill in the defaults.
 * @param[out] out    every field set, none 0.
 * @param      limits the caller's, or NULL.
 * @return VQ_OK, or VQ_E_ARG if struct_size or max_levels is wrong.
 */
VQ_API vq_status vq_limits_resolve(vq_limits *out, const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
