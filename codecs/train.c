/* SPDX-License-Identifier: Apache-2.0 */
#include "codecs/train_internal.h"

int vqi_level_progress_tell(const vqi_level_progress *progress, const vq_kmeans_progress *kmeans)
{
    const vq_codec_train_opts *opts = progress->opts;
    return opts->progress ? opts->progress(opts->context, progress->level, kmeans) : 0;
}

static int on_progress(void *context, const vq_kmeans_progress *kmeans)
{
    return vqi_level_progress_tell(context, kmeans);
}

static int on_level(void *context, uint32_t level, const vq_quantizer *so_far,
                    const vq_kmeans_report *report)
{
    vqi_level_progress *progress = context;
    const vq_codec_train_opts *opts = progress->opts;
    progress->level = level + 1;
    return opts->level_done ? opts->level_done(opts->context, level, so_far, report) : 0;
}

vq_residual_train_opts vqi_levels_opts(vqi_level_progress *progress, const vq_quantizer *have,
                                       uint32_t codewords, uint32_t iterations)
{
    const vq_codec_train_opts *given = progress->opts;
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    progress->level = have ? vq_quantizer_levels(have) : 0;
    opts.resume = have;
    opts.level_done = on_level;
    opts.level_context = progress;
    opts.kmeans.k = given->k ? given->k : codewords;
    opts.kmeans.storage = VQ_DTYPE_F16;
    opts.kmeans.max_iterations = given->max_iterations ? given->max_iterations : iterations;
    opts.kmeans.tolerance = -1;
    opts.kmeans.seed = given->seed;
    opts.kmeans.threads = given->threads;
    opts.kmeans.progress = on_progress;
    opts.kmeans.progress_context = progress;
    return opts;
}
