/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/kmeans_internal.h  What the files of k-means share. */
#ifndef VQ_KMEANS_INTERNAL_H
#define VQ_KMEANS_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vq/kmeans.h"
#include "vq/kmeans_stats.h"
#include "vq/ranks_internal.h"
#include "vq/source.h"

/** As vq_kmeans_train(), and the codes of the rows under the codebook, which the last pass found anyway. */
vq_status vqi_kmeans_train_codes(vq_codebook **out, vq_kmeans_report *report, uint32_t *codes,
                                 const float *x, size_t n, uint32_t d, const vq_kmeans_opts *opts);

/** One training run: the rows, and options in which every default is filled in. */
typedef struct vqi_kmeans {
    const float *x; /**< the rows that seeding looks at */
    size_t n;
    uint32_t d;
    double weight; /**< sum of the rows' weights, in all ranks */
    vq_kmeans_opts opts;
    int exhaustive;   /**< seeding looks at every row for every draw: the reference, slow */
    size_t total;     /**< rows of all ranks; n if there is one process */
    uint64_t first;   /**< rows of the ranks before this one */
    vqi_ranks *ranks; /**< those who train together; NULL = one process */
} vqi_kmeans;

/** Fill in run and every default, and refuse what cannot be trained on. @return as vq_kmeans_train_source(). */
vq_status vqi_kmeans_prepare(vqi_kmeans *run, vq_source *source, const vq_source *theirs,
                             const vq_kmeans_opts *opts);
vq_status vqi_kmeans_check_seeds(const vqi_kmeans *run);

static inline float vqi_kmeans_weight(const vqi_kmeans *run, size_t row)
{
    return run->opts.weights ? run->opts.weights[row] : 1.0f;
}

/** Row i as training sees it: the row itself, or under the cosine metric its unit vector in `scratch`
 *  (d floats); a zero row stays zero. */
const float *vqi_kmeans_row(const vqi_kmeans *run, size_t i, float *scratch);

/** @return VQ_OK, or VQ_E_CANCELLED if the caller's progress function says so. */
vq_status vqi_kmeans_tell(const vqi_kmeans *run, uint32_t seeds_done, uint32_t iteration,
                          double mse);

/** Choose the first codewords, k x d. @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE, VQ_E_NOMEM, VQ_E_CANCELLED. */
vq_status vqi_kmeans_seed(float *codewords, const vqi_kmeans *run);

/** The rows that seeding looks at: all, or a sample. A zeroed struct is empty. */
typedef struct vqi_sample {
    const float *x;
    const float *weights; /**< NULL = all 1 */
    size_t n;
    float *own_x, *own_weights; /**< what of them was copied */
} vqi_sample;

void vqi_sample_clear(vqi_sample *sample);

/** @return how many rows seeding looks at; 0 if the caller gave seeds. */
size_t vqi_kmeans_seeding_rows(const vqi_kmeans *run);

/**
 * One pass over the rows: are all finite, how large are they, and, unless the caller gave seeds, which does
 * seeding look at?
 * @param[out] sample  free with vqi_sample_clear(), whatever is returned.
 * @param[out] largest the largest |x|.
 * @param      run     n, d, weight and opts.
 * @return VQ_OK, VQ_E_NONFINITE, VQ_E_NOMEM, what the source says.
 */
vq_status vqi_kmeans_look(vqi_sample *sample, float *largest, const vq_source *source,
                          const vqi_kmeans *run);

/* What ranks exchange (kmeans_ranks.c). Each takes the status of what this rank did before, of which the others must hear, and
 * does nothing more where there is one process. */

/** Compare the settings and count the rows: fill in first and total. */
vq_status vqi_kmeans_meet(vqi_kmeans *run, vq_status status);
/** Make the sample, of which each rank has its part, and the largest number those of all ranks. */
vq_status vqi_kmeans_share_sample(vqi_sample *sample, float *largest, const vqi_kmeans *run,
                                  vq_status status);
/** Make the statistics of a pass those of the rows of all ranks. */
vq_status vqi_kmeans_reduce(vq_kmeans_stats *stats, const vqi_kmeans *run, vq_status status);

#endif
