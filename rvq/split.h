/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/split.h
 * Split quantization: several quantizers of the whole vector whose outputs are added, such as a semantic codebook beside
 * acoustic levels (Mimi: Defossez et al. 2024; SpeechTokenizer: Zhang et al. 2024).
 */
#ifndef RVQ_SPLIT_H
#define RVQ_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#include "rvq/residual.h"
#include "vq/quantizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What the parts after the first quantize. */
typedef enum vq_split_input {
    VQ_SPLIT_REST = 0, /**< what the parts before leave over, as SpeechTokenizer does */
    VQ_SPLIT_SAME =
        1 /**< the vector itself, as Mimi does, whose projections are learned so that the outputs add up */
} vq_split_input;

/** The most dimensions of a split quantizer. */
#define VQ_SPLIT_MAX_DIM 8192

/**
 * Make a split quantizer, kind "split". It decodes to the sum of what its parts decode to, in float32, part 0 first. The
 * levels are those of part 0, then those of part 1, and so on; parts of which a prefix holds no code add nothing.
 * @param parts count quantizers of any kinds and of one dimension, at most VQ_SPLIT_MAX_DIM, with at most VQ_MAX_LEVELS
 *              levels in all; owned by the quantizer on VQ_OK, left to the caller otherwise.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_split_create(vq_quantizer **out, vq_quantizer *const *parts, uint32_t count,
                                 vq_split_input input);

/** @return the number of parts of a split quantizer; 0 for another kind. */
VQ_API uint32_t vq_split_parts(const vq_quantizer *quantizer);
/** @return a part, borrowed; NULL if there is none or the kind is another. */
VQ_API const vq_quantizer *vq_split_part(const vq_quantizer *quantizer, uint32_t part);

typedef struct vq_split_train_opts {
    size_t struct_size;             /**< sizeof(vq_split_train_opts) */
    const vq_kmeans_opts *semantic; /**< of part 0, a codebook; required; seeds must be NULL */
    const vq_residual_train_opts
        *acoustic; /**< of part 1; required. levels 0 = 4; resume and level_done must be NULL */
    /** What a teacher says of the same moments: n x d with VQ_SPLIT_REST, where part 0 is trained on it instead of x; n x teacher_dim
     *  with VQ_SPLIT_SAME, where part 0 has the directions of x that go with it. NULL = x. */
    const float *teacher;
    vq_split_input input;
    uint32_t
        teacher_dim; /**< floats of a teacher's row; 0 = d, and with VQ_SPLIT_REST it must be */
    uint32_t
        semantic_dim; /**< VQ_SPLIT_SAME: dimensions that part 0 has, below d; 0 = as many as hold the bits of its
                              codes when the bits of all levels are shared out among the directions so that the error is least */
} vq_split_train_opts;

#define VQ_SPLIT_TRAIN_OPTS_INIT                                                                   \
    {                                                                                              \
        sizeof(vq_split_train_opts), NULL, NULL, NULL, VQ_SPLIT_REST, 0, 0                         \
    }

/**
 * Train a split quantizer of two parts, a codebook by k-means and residual levels.
 *
 * VQ_SPLIT_REST: the levels learn what the codebook, given x, leaves over.
 *
 * VQ_SPLIT_SAME: both quantize x, each behind projections of its own (rvq/projected.h), which are learned so that the outputs add up:
 * onto two subspaces that are orthogonal to each other and together the whole. Part 0 has the directions in which x varies most
 * with the teacher (partial least squares; principal components without a teacher), part 1 all others. Then neither has to
 * know what the other said, and the squared errors add up as well.
 *
 * Needs working copies of x. The result is the same for any number of threads.
 * @param x n x d, row-major, finite; borrowed.
 * @return as vq_residual_train(); VQ_E_ARG also if VQ_SPLIT_SAME has one dimension to share out, or a metric that is not Euclidean.
 */
VQ_API vq_status vq_split_train(vq_quantizer **out, const float *x, size_t n, uint32_t d,
                                const vq_split_train_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
