/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/kmeans_stats.h
 * What one pass of k-means over some rows learns of each codeword, as an object that can be saved, loaded and
 * merged: so that shards, processes or machines train one codebook together. Each iteration, every worker makes
 * statistics for the same codebook and adds its rows; all are merged; the update is the next codebook.
 *
 * The result is bit-identical for any split of the rows, in any order of adding and merging, because no sum
 * rounds: every addend is rounded once, to a grid 2^-72 (with weights 2^-117) as fine as the bound below, and
 * integers are added. Float32 rows whose numbers span 14 decimal digits are summed without any error.
 */
#ifndef VQ_KMEANS_STATS_H
#define VQ_KMEANS_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "vq/codebook.h"
#include "vq/kmeans.h"
#include "vq/source.h"
#include "vq/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Statistics of K cells of d dimensions. Memory: 20 bytes x K x d, 28 with weights. */
typedef struct vq_kmeans_stats vq_kmeans_stats;

/** The same in every shard of one iteration. */
typedef struct vq_kmeans_stats_opts {
    size_t struct_size; /**< sizeof(vq_kmeans_stats_opts) */
    double
        largest_value; /**< no |x| is larger, nor any codeword; 0 = 65536 times the largest of the
                              codebook; no matter under the cosine metric */
    double largest_weight; /**< no weight is larger; 0 = rows have no weights */
} vq_kmeans_stats_opts;

#define VQ_KMEANS_STATS_OPTS_INIT                                                                  \
    {                                                                                              \
        sizeof(vq_kmeans_stats_opts), 0.0, 0.0                                                     \
    }

/**
 * Make empty statistics for a codebook: only its shape, metric and largest number matter.
 * @param[out] out owned by the caller on VQ_OK, free with vq_kmeans_stats_free().
 * @return VQ_OK; VQ_E_ARG (no codebook; the dot metric; a bad bound; a codebook of zeros and no largest_value); VQ_E_NOMEM.
 */
VQ_API vq_status vq_kmeans_stats_create(vq_kmeans_stats **out, const vq_codebook *codebook,
                                        const vq_kmeans_stats_opts *opts);
VQ_API void vq_kmeans_stats_free(vq_kmeans_stats *stats);

/**
 * Find the nearest codeword of each row and add the row to its cell. On failure the statistics hold a part of
 * the rows and are of no more use.
 * @param codebook of the shape and metric that the statistics were made for; the same one in every call.
 * @param rows     read once, chunk by chunk.
 * @param first    the number of the first of them among the rows of all shards, below 2^53: of rows that are
 *                 equally badly served an empty cell takes the one of the lowest number.
 * @param weights  one for each of `rows`, finite, >= 0; NULL = all 1. A row of weight 0 counts for nothing.
 * @param threads  0 = as many as OpenMP gives; never changes the result.
 * @return VQ_OK; VQ_E_ARG (another shape; a number above its bound; weights without a bound; 2^35 rows in one
 *         object); VQ_E_NONFINITE (rows, weights, distances that overflow float32); VQ_E_NOMEM; what the source says.
 */
VQ_API vq_status vq_kmeans_stats_accumulate(vq_kmeans_stats *stats, const vq_codebook *codebook,
                                            const vq_source *rows, uint64_t first,
                                            const float *weights, int threads);

/**
 * Add the statistics of other rows. @return VQ_OK; VQ_E_MISMATCH (another shape, metric or bound: `into` is
 * untouched); VQ_E_ARG (2^35 rows).
 */
VQ_API vq_status vq_kmeans_stats_merge(vq_kmeans_stats *into, const vq_kmeans_stats *from);

/**
 * The next codebook: every codeword at the mean of its cell (under the cosine metric, its direction), and
 * those of empty cells as the policy says; a cell that has neither keeps its codeword.
 * @param[out] out      owned by the caller; of the storage type of `codebook`.
 * @param[out] moved    how many codewords of empty cells were moved, or NULL.
 * @param      codebook that the rows were added with.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE (a mean that the storage type cannot hold), VQ_E_NOMEM.
 */
VQ_API vq_status vq_kmeans_stats_update(vq_codebook **out, uint32_t *moved,
                                        const vq_kmeans_stats *stats, const vq_codebook *codebook,
                                        vq_empty_policy policy);

VQ_API uint32_t vq_kmeans_stats_k(const vq_kmeans_stats *stats);
VQ_API uint32_t vq_kmeans_stats_dim(const vq_kmeans_stats *stats);
/** @return rows of a weight above 0, in all cells. */
VQ_API int64_t vq_kmeans_stats_total(const vq_kmeans_stats *stats);
/** @return weighted sum of the errors of all rows: squared distances, or 1 - cosine. */
VQ_API double vq_kmeans_stats_objective(const vq_kmeans_stats *stats);

/** One cell. */
typedef struct vq_kmeans_cell {
    int64_t rows;     /**< of a weight above 0 */
    double weight;    /**< sum of weights */
    double objective; /**< weighted sum of errors */
} vq_kmeans_cell;

/**
 * Look at one cell.
 * @param[out] out the cell.
 * @param[out] sum d weighted sums of rows (of unit rows under the cosine metric), or NULL.
 * @return VQ_OK; VQ_E_RANGE if there is no such code.
 */
VQ_API vq_status vq_kmeans_stats_cell(vq_kmeans_cell *out, double *sum,
                                      const vq_kmeans_stats *stats, uint32_t code);

/**
 * Save to tensors whose names begin with `prefix`: the same statistics give the same bytes, however they were
 * come by. @return VQ_OK, VQ_E_ARG (a name is taken), VQ_E_NOMEM.
 */
VQ_API vq_status vq_kmeans_stats_save(vq_tensors *tensors, const vq_kmeans_stats *stats,
                                      const char *prefix);
/**
 * Load what was saved; every number is checked.
 * @param[out] out owned by the caller on VQ_OK.
 * @return VQ_OK, VQ_E_FORMAT (the sentence names the tensor), VQ_E_LIMIT, VQ_E_VERSION, VQ_E_NOMEM.
 */
VQ_API vq_status vq_kmeans_stats_load(vq_kmeans_stats **out, const vq_tensors *tensors,
                                      const char *prefix, const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
