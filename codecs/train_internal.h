/* SPDX-License-Identifier: Apache-2.0 */
/** @file codecs/train_internal.h  What the trainers of all front ends do alike: a residual quantizer of their latents. */
#ifndef CODECS_TRAIN_INTERNAL_H
#define CODECS_TRAIN_INTERNAL_H

#include "codecs/train.h"
#include "rvq/residual.h"

/** The k-means of a level does not know its level; the caller's progress wants it. */
typedef struct vqi_level_progress {
    const vq_codec_train_opts *opts;
    uint32_t level;
} vqi_level_progress;

/** Tell the caller. @return what it says: not 0 = stop. */
int vqi_level_progress_tell(const vqi_level_progress *progress, const vq_kmeans_progress *kmeans);

/**
 * Options of vq_residual_train() as the caller of a codec's trainer gave them, with `codewords` and `iterations` where it gave
 * none: on top of `have` (NULL = from the start), codewords in float16. The levels, beam, refits and seeding are the front end's.
 * @param progress lives as long as the options.
 */
vq_residual_train_opts vqi_levels_opts(vqi_level_progress *progress, const vq_quantizer *have,
                                       uint32_t codewords, uint32_t iterations);

#endif
