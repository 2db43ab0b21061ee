/* SPDX-License-Identifier: Apache-2.0 */
/* What a training run is asked to do: checked, and every default filled in. */
#include <math.h>
#include <omp.h>

#include "vq/error_internal.h"
#include "vq/exact_sum_internal.h"
#include "vq/kmeans_internal.h"
#include "vq/options_internal.h"
#include "vq/source_internal.h"

enum { MAX_K = 1 << 24, DEFAULT_ITERATIONS = 25, MOST_PLUSPLUS = 8192 };
static const double default_tolerance = 1e-4;

static vq_status check_options(const vq_kmeans_opts *o, uint32_t d)
{
    if (!d)
        return vqi_fail(VQ_E_ARG, "k-means of rows of 0 floats");
    if (!o->k || o->k > MAX_K)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.k is %u (1 to %d codewords)", o->k, MAX_K);
    if (o->metric != VQ_METRIC_EUCLIDEAN && o->metric != VQ_METRIC_COSINE)
        return vqi_fail(VQ_E_ARG,
                        "vq_kmeans_opts.metric is %s (k-means knows euclidean and cosine)",
                        vq_metric_name(o->metric));
    if (o->storage != VQ_DTYPE_F32 && o->storage != VQ_DTYPE_F16 && o->storage != VQ_DTYPE_BF16)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.storage is %s (F32, F16 or BF16)",
                        vq_dtype_name(o->storage));
    if (isnan(o->tolerance))
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.tolerance is NaN (negative means never stop)");
    if ((int)o->seeding < VQ_SEEDING_KMEANSPP || o->seeding > VQ_SEEDING_RANDOM)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.seeding is %d (see vq_seeding)", (int)o->seeding);
    if ((int)o->empty < VQ_EMPTY_FARTHEST || o->empty > VQ_EMPTY_KEEP)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.empty is %d (see vq_empty_policy)",
                        (int)o->empty);
    if (o->seeding_rows && o->seeding_rows < o->k)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.seeding_rows is %zu (at least k, or 0)",
                        o->seeding_rows);
    if (o->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_opts.threads is %d (0 means all)", o->threads);
    return VQ_OK;
}

static vq_status check_rows(const vqi_kmeans *run)
{
    if (!run->total)
        return vqi_fail(VQ_E_ARG, "k-means of 0 rows");
    if (run->total < run->opts.k)
        return vqi_fail(VQ_E_ARG,
                        "%zu rows are too few for %u codewords (give more rows or lower k)",
                        run->total, run->opts.k);
    return VQ_OK;
}

vq_status vqi_kmeans_check_seeds(const vqi_kmeans *run)
{
    for (uint32_t c = 0; c < run->opts.k; c++)
        if (vqi_largest_bits(run->opts.seeds + (size_t)c * run->d, run->d) >= 0x7f800000u)
            return vqi_fail(VQ_E_NONFINITE, "seed %u of k-means holds a NaN or an infinity", c);
    return VQ_OK;
}

static vq_status check_weights(vqi_kmeans *run)
{
    run->weight = run->ranks ? (double)run->total : 0;
    for (size_t i = 0; i < run->n && !run->ranks; i++) {
        const float weight = vqi_kmeans_weight(run, i);
        if (!isfinite(weight))
            return vqi_fail(VQ_E_NONFINITE, "weight %zu of k-means is not finite", i);
        if (weight < 0)
            return vqi_fail(VQ_E_ARG, "weight %zu of k-means is %g (weights are at least 0)", i,
                            (double)weight);
        run->weight += (double)weight;
    }
    if (!(run->weight > 0))
        return vqi_fail(VQ_E_ARG, "all weights of k-means are 0 (give some row a weight)");
    return VQ_OK;
}

vq_status vqi_kmeans_prepare(vqi_kmeans *run, vq_source *source, const vq_source *theirs,
                             const vq_kmeans_opts *opts)
{
    vq_status status = vqi_source_check(source, theirs);
    if (!status)
        status = vqi_options(&run->opts, sizeof run->opts, opts, "vq_kmeans_opts");
    if (!status)
        status = check_options(&run->opts, source->d);
    vq_kmeans_opts *o = &run->opts;
    if (!o->max_iterations)
        o->max_iterations = DEFAULT_ITERATIONS;
    if (o->tolerance == 0)
        o->tolerance = default_tolerance;
    if (!o->seeding_rows && o->k > MOST_PLUSPLUS)
        o->seeding = VQ_SEEDING_RANDOM;
    if (o->k < 2)
        o->repair_rounds = 0; /* there is no second nearest */
    if (!o->threads)
        o->threads = omp_get_max_threads();
    run->n = source->n;
    run->d = source->d;
    status = vqi_kmeans_meet(run, status);
    if (!status)
        status = check_rows(run);
    return status ? status : check_weights(run);
}
