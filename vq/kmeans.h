/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/kmeans.h
 * k-means: codebook training by Lloyd's iteration (Lloyd 1982; Linde, Buzo and Gray 1980) from k-means++
 * seeds (Arthur and Vassilvitskii 2007, greedy variant). The codebook is bit-identical for any number
 * of threads, any SIMD path and any way the rows are cut into chunks: sums are of integers, and do not round.
 */
#ifndef VQ_KMEANS_H
#define VQ_KMEANS_H

#include <stddef.h>
#include <stdint.h>

#include "vq/codebook.h"
#include "vq/communicator.h"
#include "vq/source.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vq_seeding {
    VQ_SEEDING_KMEANSPP = 0, /**< greedy k-means++: best of 2 + floor(ln K) draws for each seed */
    VQ_SEEDING_RANDOM = 1    /**< K distinct rows, drawn uniformly (or by weight) */
} vq_seeding;

/** What becomes of a codeword that no row chose in an iteration. */
typedef enum vq_empty_policy {
    VQ_EMPTY_FARTHEST = 0, /**< it moves to the row that is worst served: the worst row of each cell
                              is a candidate, so it takes a few iterations to fill many */
    VQ_EMPTY_SPLIT = 1,    /**< it moves beside the codeword with the largest cell cost, to halve
                              that cell; each cell is split at most once in an iteration */
    VQ_EMPTY_KEEP = 2      /**< it stays where it is */
} vq_empty_policy;

typedef struct vq_kmeans_progress {
    uint32_t iteration; /**< finished iterations; 0 while seeding */
    uint32_t max_iterations;
    uint32_t seeds_done; /**< seeds found, up to k */
    uint32_t k;
    double mse; /**< of the last iteration, per dimension; NaN while seeding */
} vq_kmeans_progress;

/** All zero = all defaults, but k. */
typedef struct vq_kmeans_opts {
    size_t struct_size;      /**< sizeof(vq_kmeans_opts) */
    uint32_t k;              /**< codewords, required, at least 1, at most n */
    vq_metric metric;        /**< Euclidean; cosine = spherical k-means; dot is VQ_E_ARG */
    vq_dtype storage;        /**< of the resulting codebook: F32, F16, BF16 */
    uint32_t max_iterations; /**< 0 = 25 */
    double
        tolerance; /**< stop when the MSE falls by less than this share; 0 = 1e-4; negative = never */
    uint64_t seed;
    vq_seeding seeding;
    const float
        *seeds; /**< k x d, row-major: the caller's own first codewords; NULL = by `seeding` */
    const float *weights; /**< n weights of the rows, finite, >= 0, not all 0; NULL = all 1. A row
                             of weight 0 counts for nothing, as if it were not there */
    vq_empty_policy empty;
    int threads; /**< 0 = as many as OpenMP gives; never changes the result */
    int (*progress)(void *context,
                    const vq_kmeans_progress *progress); /**< not 0 = stop: VQ_E_CANCELLED */
    void *progress_context;
    /** Seeds are chosen from a sample of at most so many rows, spread over all (by weight), if there are
     *  more. 0 = 128 k, or 2 k with random seeding, but at least 131072 and at most 256 MiB or 16 k; 16 k but at
     *  least 16384 if repair_rounds is not 0; and with more than 8192 codewords random seeding, since greedy
     *  k-means++ takes time in proportion to k^2. */
    size_t seeding_rows;
    /** When Lloyd's iteration has stopped: up to so many rounds that move wasted codewords to cells that gain more
     *  from a second one, with 2 iterations each. A round that does not lower the MSE is taken back, so the
     *  result is never worse than before. 0 = none; 5 to 15 lower the MSE of natural data by 1 % or more, beyond
     *  what as many iterations do. Memory: at most 128 MiB, and 8 bytes x K x d, more. */
    uint32_t repair_rounds;
} vq_kmeans_opts;

#define VQ_KMEANS_OPTS_INIT                                                                        \
    {                                                                                              \
        sizeof(vq_kmeans_opts), 0, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32, 0, 0.0, 0,                   \
            VQ_SEEDING_KMEANSPP, NULL, NULL, VQ_EMPTY_FARTHEST, 0, NULL, NULL, 0, 0                \
    }

/** What a training run did. mse is owned; vq_kmeans_report_clear() frees it. */
typedef struct vq_kmeans_report {
    uint32_t iterations; /**< updates of the codebook */
    int converged;       /**< 1 if the tolerance, 0 if the iteration limit ended it */
    double *mse;   /**< iterations + 1 values per dimension: mse[i] is that of the codebook after i
                              updates; the last is that of the codebook that was returned */
    uint32_t used; /**< codewords with at least one row, under the returned codebook */
    uint32_t dead; /**< k - used */
    uint32_t revived; /**< codewords moved by the empty policy or by repair, over all iterations */
    double utilisation;  /**< used / k */
    double entropy_bits; /**< of the (weighted) code frequencies */
    double perplexity;   /**< 2^entropy_bits */
} vq_kmeans_report;

/**
 * Train a codebook from rows in memory. As vq_kmeans_train_source() with vq_source_from_memory().
 * @param x n x d, row-major, finite; borrowed.
 */
VQ_API vq_status vq_kmeans_train(vq_codebook **out, vq_kmeans_report *report, const float *x,
                                 size_t n, uint32_t d, const vq_kmeans_opts *opts);

/**
 * Train a codebook from rows that are read chunk by chunk: once to look at them and to gather the rows that
 * seeds are chosen from, then once for each iteration and once for the result. Memory beyond the rows: 24 to 32
 * bytes x K x d and a chunk of 16 MiB, and for rows in memory 8 bytes x n, 8 x K x d and a chunk more; before that, while seeding, the sample (unless it is all of rows in
 * memory), 40 bytes for each row of it, K x (2 + ln K) floats and 4 MiB.
 * Under the cosine metric mse is 2 - 2 x mean cosine, divided by d: the MSE between unit vectors. A
 * zero row has the cosine 0 with every codeword: it takes code 0 and moves nothing.
 *
 * @param[out] out    owned by the caller on VQ_OK, free with vq_codebook_free().
 * @param[out] report NULL, or a struct to fill; free its array with vq_kmeans_report_clear().
 * @param      source n rows of d floats, finite; borrowed.
 * @return VQ_OK; VQ_E_ARG (n = 0, n < k, d = 0, a bad option: the sentence names it; only zero rows
 *         under the cosine metric); VQ_E_NONFINITE (rows, seeds or weights, or squared distances that
 *         overflow float32); VQ_E_NOMEM; VQ_E_CANCELLED; VQ_E_IO (rows that change from pass to pass); what the
 *         source says. Fewer than k distinct rows are no error: the spare codewords repeat others and count
 *         as dead.
 */
VQ_API vq_status vq_kmeans_train_source(vq_codebook **out, vq_kmeans_report *report,
                                        const vq_source *source, const vq_kmeans_opts *opts);

/**
 * Train one codebook in several processes, each of which has a part of the rows: every rank makes this call and gets the codebook
 * and the report that one process would get of all rows, in the order of the ranks, bit for bit. Seeds are chosen by every
 * rank for itself, from a sample that all share; in each iteration sums and counts are exchanged, 16 x K x d bytes.
 * @param source       the rows of this rank; may be none.
 * @param opts         the same in every rank, but threads and progress; weights must be NULL and repair_rounds 0. If progress stops
 *                     one rank, it stops all.
 * @param communicator vq/communicator.h.
 * @return as vq_kmeans_train_source(), also where it is another rank that failed; VQ_E_MISMATCH (ranks with different options);
 *         VQ_E_IO (the communicator failed).
 */
VQ_API vq_status vq_kmeans_train_ranks(vq_codebook **out, vq_kmeans_report *report,
                                       const vq_source *source, const vq_kmeans_opts *opts,
                                       const vq_communicator *communicator);

VQ_API void vq_kmeans_report_clear(vq_kmeans_report *report);

#ifdef __cplusplus
}
#endif
#endif
