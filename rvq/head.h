/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/head.h
 * The rvq head of a language model (vq/logits.h): every row of the output matrix as a sum of codewords, slice by slice of the
 * dimensions, each slice coded by residual quantization. Eight numbers in two codes of 8 bits are 2 bits a weight. Tokens stay
 * distinct; logits are sums of table entries (as in AQLM, Egiazarian et al. 2024, arXiv:2401.06118, without fine-tuning).
 */
#ifndef RVQ_HEAD_H
#define RVQ_HEAD_H

#include "vq/logits.h"

#ifdef __cplusplus
extern "C" {
#endif

/** All zero = all defaults. */
typedef struct vq_rvq_head_opts {
    size_t struct_size;     /**< sizeof(vq_rvq_head_opts) */
    uint32_t width;         /**< dimensions of a slice; 0 = 8; the last one may be narrower */
    uint32_t levels;        /**< codes of a slice; 0 = 2 */
    uint32_t k;             /**< codewords of a level; 0 = 256, the most; at most V */
    uint32_t beam;          /**< of the search for codes (rvq/residual.h); 0 = 8 */
    uint32_t training_rows; /**< a sample of so many rows trains the codebooks; 0 = 65536 */
} vq_rvq_head_opts;

#define VQ_RVQ_HEAD_OPTS_INIT                                                                      \
    {                                                                                              \
        sizeof(vq_rvq_head_opts), 0, 0, 0, 0, 0                                                    \
    }

/**
 * Train codebooks on the rows, find the codes of all, and make the head (vq_head_from_codes()). With `states` the error of a
 * dimension counts by the states' mean square there, so that logits, not rows, are kept; with `counts` rows weigh (count + 1)^(1/2).
 * Memory beyond rows and head: V x width floats, and V codes of 4 bytes for each level of a slice, all slices.
 * @param[out] out  owned by the caller, free with vq_head_free().
 * @param      rows as in vq_head_build().
 * @param      head ids, bias, counts, states, iterations, seed, threads and progress are used; NULL = defaults.
 * @param      opts NULL = defaults.
 * @return as vq_head_build().
 */
VQ_API vq_status vq_rvq_head_build(vq_head **out, const vq_tensor *rows, const vq_head_opts *head,
                                   const vq_rvq_head_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
