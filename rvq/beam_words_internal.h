/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/beam_words_internal.h  How the beam search's int16 kernels read a row. */
#ifndef RVQ_BEAM_WORDS_INTERNAL_H
#define RVQ_BEAM_WORDS_INTERNAL_H

#include <math.h>

#include "rvq/beam_kernels_internal.h"

/** @return a little more than |x'|, as the square is rounded. */
static inline float vqi_beam_row_norm(const vqi_block *block, size_t r)
{
    return sqrtf(block->square[r]) * (1 + 0x1p-10f);
}

/** @return what 1 stands for in a row of this norm: with the codewords' 32766 its 32000 steps make products of 31 bits. 0 where a
 *  unit or a reciprocal would leave float32: then all reads as zeros, and the error says so. */
static inline float vqi_beam_row_scale(float norm, const vq_codebook *codebook)
{
    const float scale = norm / 32000, unit = scale * codebook->coarse[VQI_WORDS].step;
    return scale > 0x1p-60f && unit > 0x1p-100f ? scale : 0;
}

/** @return not below |x' - p|, from the sum of its squares in float32. */
static inline float vqi_beam_row_error(float squares, float norm)
{
    return sqrtf(squares) * (1 + 0x1p-8f) + norm * 0x1p-22f + 0x1p-60f;
}

#endif
