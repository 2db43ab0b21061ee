/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/integer_tile_internal.h  How the integer kernels lay out rows and codewords. `width` is that of an element in bytes. */
#ifndef VQ_INTEGER_TILE_INTERNAL_H
#define VQ_INTEGER_TILE_INTERNAL_H

#include <math.h>
#include <stddef.h>

#include "vq/nearest_internal.h"

enum { VQI_TILE_ROWS = 6 }; /* of a register tile, which share one scale */

/** @return which form of the codebook such elements are. */
static inline vqi_form vqi_tile_form(const int width)
{
    return width == 1 ? VQI_BYTES : VQI_WORDS;
}

/** @return the 32-bit lanes that d elements take. */
static inline size_t vqi_tile_lanes(size_t d, const int width)
{
    return (d * (size_t)width + 3) / 4;
}

/** @return bytes of a packed row, a multiple of 64. */
static inline size_t vqi_tile_row_bytes(size_t d, const int width)
{
    return (d * (size_t)width + 63) / 64 * 64;
}

/** What a row of int16 needs: neither a row nor a codeword is longer than 32766, so that their product has 31 bits. */
static inline float vqi_words_scale(float square)
{
    return sqrtf(square) * (1 + 0x1p-10f) / 32766;
}

/**
 * The scale of the rows of a tile that need at least `scale`, which they share so that their sums can start from the
 * codewords' own terms as integers: not so fine that those, |c'|^2 / 2, would leave the 29 bits that they have.
 * @return 0 where the unit or a reciprocal would leave float32: then all reads as zeros, and the errors say so.
 */
static inline float vqi_tile_scale(float scale, const vq_codebook *codebook, const int width)
{
    const float step = codebook->coarse[vqi_tile_form(width)].step,
                norm = (float)codebook->largest_norm,
                finest = step > 0 ? norm * norm / step * 0x1p-29f : 0;
    scale = fmaxf(scale, finest);
    return scale > 0x1p-100f && scale * step > 0x1p-100f ? scale : 0;
}

#endif
