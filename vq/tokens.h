/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/tokens.h
 * The codes of a whole signal, with all that is needed to decode them.
 */
#ifndef VQ_TOKENS_H
#define VQ_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "vq/dimensions.h"
#include "vq/limits.h"
#include "vq/signal.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { VQ_CODEC_NAME_SIZE = 32, VQ_SHA256_SIZE = 32 };

/**
 * Tokens. `codes` is levels x grid, row-major with the level slowest: the codes of level l start at
 * codes + l * vq_tokens_positions(), so the first n levels are a prefix of the array. Every code of
 * level l is below k[l].
 *
 * An image's grid is planes x rows x columns: plane 0 is the picture; plane 1, present when alpha was
 * kept, is the alpha channel coded as a grey picture. Audio's is channels x frames, an action's chunks x dimensions or
 * episodes x chunks x dimensions.
 */
typedef struct vq_tokens {
    vq_kind kind;
    uint32_t source_ndim;   /**< shape of the signal that was encoded, as in vq_signal */
    size_t source_shape[3]; /**< unused dimensions are 1 */
    double rate;            /**< as in vq_signal */
    uint32_t bits;          /**< as in vq_signal */

    uint32_t grid_ndim; /**< 1 to 3 */
    size_t grid[3];     /**< unused dimensions are 1 */
    uint32_t levels;    /**< 1 to VQ_MAX_LEVELS */
    uint32_t k[VQ_MAX_LEVELS];
    uint32_t *codes; /**< owned */

    char codec[VQ_CODEC_NAME_SIZE]; /**< the codec's name, "image"; "" if no codec made them */
    uint8_t
        model_sha256[VQ_SHA256_SIZE]; /**< of the model file that made them; zeros if none did */
    vq_dimensions *dimensions;        /**< of an action, owned; NULL = nothing is known of them */
} vq_tokens;

/**
 * Make tokens with all codes 0 and the source's fields zeroed.
 * @param[out] out    owned by the caller, free with vq_tokens_free().
 * @param      grid   grid_ndim sizes, each at least 1.
 * @param      k      levels sizes of the codebooks, each at least 1.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_tokens_create(vq_tokens **out, uint32_t grid_ndim, const size_t *grid,
                                  uint32_t levels, const uint32_t *k);
VQ_API void vq_tokens_free(vq_tokens *tokens);

/** @return the number of grid positions, the product of the grid; codes has levels times as many. */
VQ_API size_t vq_tokens_positions(const vq_tokens *tokens);

/**
 * Check what a struct filled by hand or from a file must keep: shapes, levels, and every code below
 * its K (VQ_E_RANGE, with level and position in the sentence).
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE.
 */
VQ_API vq_status vq_tokens_validate(const vq_tokens *tokens);

/** Drop all levels from `levels` on. @return VQ_OK, or VQ_E_ARG if it is 0 or more than there are. */
VQ_API vq_status vq_tokens_truncate(vq_tokens *tokens, uint32_t levels);

#ifdef __cplusplus
}
#endif
#endif
