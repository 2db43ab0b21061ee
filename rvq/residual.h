/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/residual.h
 * Residual vector quantization: a stack of codebooks, each of which codes what the ones before it left
 * over (Juang and Gray 1982; Barnes et al. 1996; "RVQ" of SoundStream, Zeghidour et al. 2021).
 * The decoded vector is the sum of one codeword per level, so any prefix of the levels decodes.
 *
 * The contract of encoding. A prefix of codes has a residual, in float32, one subtraction per level:
 * r = ((x - c0) - c1) - ...; and a rate, in float32, one addition per level: R = (0 + cost(k0)) + cost(k1) + ..., where
 * cost(k) = lambda x length(k) rounded to float32, and length(k) = log2((sum + K) / (count of k + 1)) bits in steps of
 * 2^-16, from the level's frequencies. At each level every kept prefix and every code k is scored
 * J = D(r, c_k) + (R + cost(k)) in float32, D being the squared distance of vq/codebook.h; the `beam` smallest are
 * kept, equal ones in order of their prefix's rank before and then of k; a score that overflowed is the largest. At the
 * last level the first is the answer. beam = 1 with lambda = 0 is the greedy search: each level takes the codeword
 * nearest to the residual. A wider beam lowers the mean error, not that of every vector (M-search: Jelinek and Anderson
 * 1971; "M-best": LeBlanc et al. 1993).
 */
#ifndef RVQ_RESIDUAL_H
#define RVQ_RESIDUAL_H

#include <stddef.h>
#include <stdint.h>

#include "vq/kmeans.h"
#include "vq/quantizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Make a residual quantizer, kind "residual".
 * @param codebooks levels codebooks of one dimension, Euclidean; owned by the quantizer on VQ_OK, left
 *                  to the caller otherwise. All may be one and the same: a shared codebook.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_residual_create(vq_quantizer **out, vq_codebook *const *codebooks,
                                    uint32_t levels);

/**
 * Give it the codes' frequencies, which rate-aware encoding needs and vq_quantizer_save() saves; training does so too.
 * Not while another thread uses the quantizer.
 * @param counts for each level K counts, at most 2^38 each; copied.
 * @return VQ_OK, VQ_E_ARG (also: another kind of quantizer), VQ_E_NOMEM; on failure it keeps what it had.
 */
VQ_API vq_status vq_residual_set_frequencies(vq_quantizer *quantizer,
                                             const uint64_t *const *counts);

/**
 * What the levels from `first` up to but not including `end` add to the vectors: the sums of their codewords, in float32, in rising
 * order ("summed embeddings" of a language model over audio tokens).
 * @param[out] sums   n x d, row-major.
 * @param      codes  n x levels, row-major; those of the range are checked.
 * @param      levels the row length of codes, at most the quantizer's.
 * @return VQ_OK, VQ_E_ARG (also: an empty range, another kind of quantizer), VQ_E_RANGE.
 */
VQ_API vq_status vq_residual_sum(float *sums, const vq_quantizer *quantizer, const uint32_t *codes,
                                 size_t n, uint32_t levels, uint32_t first, uint32_t end);

/**
 * Prepare for beams: keep the inner products of all codewords of different levels, 2 bytes each. Codes are the same
 * without, but a call with few vectors is slower, and one with many makes them for itself, in its workspace. Does nothing if they would
 * take more than 256 MiB. Not while another thread uses the quantizer.
 * @return VQ_OK, VQ_E_ARG (another kind of quantizer), VQ_E_NOMEM.
 */
VQ_API vq_status vq_residual_prepare(vq_quantizer *quantizer, int threads);

/** A value of vq_residual_train_opts.inner_seeds. */
enum { VQ_INNER_SEEDS_WHERE_SPREAD = 2 };

typedef struct vq_residual_train_opts {
    size_t struct_size; /**< sizeof(vq_residual_train_opts) */
    uint32_t levels;    /**< 0 = 4; at most VQ_MAX_LEVELS */
    const uint32_t *k;  /**< levels sizes; NULL = kmeans.k for every level */
    vq_kmeans_opts
        kmeans; /**< for each level; `seeds` must be NULL; level l uses kmeans.seed + l */
    const vq_quantizer
        *resume; /**< a residual quantizer that holds the first levels already; NULL = none */
    /** Called after each level with all levels so far, borrowed: for checkpoints and progress. May be
     *  NULL. Not 0 = stop: VQ_E_CANCELLED. */
    int (*level_done)(void *context, uint32_t level, const vq_quantizer *so_far,
                      const vq_kmeans_report *report);
    void *level_context;
    uint32_t
        beam; /**< of the search between levels and for refits; 0 = 1. The next level is then trained on what the
                        best prefix leaves. Independent of the beam in encoding. Prefixes are kept from level to level
                        (4 bytes x rows x beam x levels) where they take no more than two copies of the rows */
    uint32_t
        refits; /**< after all levels: rounds of encoding the rows and refitting all codewords together by least
                        squares; 0 = none. Level_done is not called for them */
    double
        damping; /**< of a refit: every codeword is held where it is as if by so many rows, which keeps rare ones
                        from learning their few rows by heart; 0 = 64 */
    int shared; /**< 1 = one codebook for all levels, of kmeans.k codewords: those of levels with an equal share of k
                        each, then refitted; `k` and `resume` must be NULL, level_done is not called, refits 0 = 4 */
    int inner_seeds; /**< 1 = with VQ_SEEDING_RANDOM and no weights, seeds are rows drawn towards the mean, as far as theory
                        says: where rows vary in many dimensions (above some 15 log2 K) better than the rows themselves, and
                        better than k-means++. VQ_INNER_SEEDS_WHERE_SPREAD = so, whatever the seeding, at those levels
                        where they do, by the participation ratio (tr C)^2 / tr C^2; other levels are seeded as kmeans says */
    /** Of the beam: the next level is trained on what so many of the best prefixes leave of each row, not only the best, as all
     *  of them will be met in encoding: with 64 rows for each codeword 2 % less error on fresh rows. 0 = 1; at most the
     *  beam. Takes that many copies of the rows in memory, and k-means that many times as long. */
    uint32_t prefixes;
} vq_residual_train_opts;

#define VQ_RESIDUAL_TRAIN_OPTS_INIT                                                                \
    {                                                                                              \
        sizeof(vq_residual_train_opts), 0, NULL, VQ_KMEANS_OPTS_INIT, NULL, NULL, NULL, 0, 0, 0,   \
            0, 0, 0                                                                                \
    }

/**
 * Train level after level, each by k-means on the residuals of the ones before; then, if asked, refit all of them
 * together (the codebook update of additive quantization, Babenko and Lempitsky 2014, from normal equations that are never
 * built). The quantizer carries the frequencies of the rows' codes. Needs a working copy of x (n x d floats), n x levels
 * codes and, to refit, 256 bytes x codewords per thread. Resuming gives the same quantizer as an uninterrupted run, bit for
 * bit.
 * @return as vq_kmeans_train().
 */
VQ_API vq_status vq_residual_train(vq_quantizer **out, const float *x, size_t n, uint32_t d,
                                   const vq_residual_train_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
