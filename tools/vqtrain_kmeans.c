/* SPDX-License-Identifier: Apache-2.0 */
/* One codebook by k-means, whose rows may be read again in every iteration. */
#include <math.h>
#include <string.h>

#include "vqtrain.h"

static int on_progress(void *context, const vq_kmeans_progress *progress)
{
    vqtrain_run *run = context;
    if (progress->iteration < run->iteration) /* not every kind says when a level is done */
        run->over++;
    run->iteration = progress->iteration;
    return vqtrain_progress(run, run->levels > run->over ? run->levels : run->over, progress);
}

vq_kmeans_opts vqtrain_kmeans_opts(vqtrain_run *run)
{
    const vqtrain_settings *s = run->settings;
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    opts.k = s->k;
    opts.metric = s->metric;
    opts.storage = s->storage;
    opts.max_iterations = s->iterations;
    opts.tolerance = s->tolerance;
    opts.seed = s->seed;
    opts.seeding = s->seeding;
    opts.repair_rounds = s->repair;
    opts.threads = run->common->threads;
    opts.progress = on_progress;
    opts.progress_context = run;
    return opts;
}

/* Features beside a progress line: one pass over a large file may take minutes. */
typedef struct watched {
    vqtrain_run *run;
    const vq_source *rows;
    uint32_t passes; /* begun: the first is to look at the rows, then one for each codebook */
    uint32_t iteration, most; /* finished; to be expected */
    double mse;               /* after `iteration` */
} watched;

static int on_iteration(void *context, const vq_kmeans_progress *progress)
{
    watched *w = context;
    w->iteration = progress->iteration;
    w->most = progress->max_iterations;
    w->mse = progress->mse;
    return progress->iteration ? cli_interrupted() : on_progress(w->run, progress);
}

static vq_status watched_read(void *context, const float **rows, float *buffer, size_t first,
                              size_t count)
{
    watched *w = context;
    const vq_source *source = w->rows;
    const double n = (double)source->n;
    char what[96] = "reading";
    if (!first && ++w->passes <= 2) { /* each kind of pass has its own rate */
        cli_progress_clear(&w->run->progress);
        cli_progress_start(&w->run->progress, w->run->common);
        w->run->progress.base = (w->passes - 1) * n;
    }
    if (w->iteration)
        snprintf(what, sizeof what, "%u of %u iterations, mse %.4g", w->iteration, w->most, w->mse);
    else if (w->passes > 1)
        snprintf(what, sizeof what, "the first codewords");
    if (cli_progress_show(&w->run->progress, what, (w->passes - 1) * n + (double)first,
                          w->passes > 1 ? (w->most + 2) * n : n, "vectors"))
        return VQ_E_CANCELLED;
    return source->read(source->context, rows, buffer, first, count);
}

static void watched_done(void *context, size_t first, size_t count)
{
    const vq_source *source = ((const watched *)context)->rows;
    if (source->done)
        source->done(source->context, first, count);
}

vq_status vqtrain_kmeans(vqtrain_run *run, vq_quantizer **out, const vq_source *rows)
{
    vq_kmeans_opts opts = vqtrain_kmeans_opts(run);
    vq_codebook *codebook;
    vq_kmeans_report report = {0};
    vq_source source = *rows;
    watched w = {.run = run, .rows = rows, .most = opts.max_iterations};
    if (!source.memory) {
        source.read = watched_read;
        source.done = watched_done;
        source.context = &w;
        opts.progress = on_iteration;
        opts.progress_context = &w;
    }
    const int several = run->ranks.size > 1;
    vq_status status = several
                           ? vq_kmeans_train_ranks(&codebook, &report, &source, &opts, &run->ranks)
                           : vq_kmeans_train_source(&codebook, NULL, &source, &opts);
    if (status)
        return status;
    if (several) { /* the report of all rows, which no rank has */
        vqtrain_note_level(run, 0, &report);
        if (opts.metric == VQ_METRIC_COSINE) /* it is of unit vectors, and ours of vectors */
            run->rows[0].mse = NAN;
    }
    vq_kmeans_report_clear(&report);
    status = vq_quantizer_from_codebook(out, codebook);
    if (status)
        vq_codebook_free(codebook);
    return status;
}

int vqtrain_ranks_check(const cli_common *common, const vqtrain_settings *s, int features)
{
    const char *kind = !features ? "pictures, sounds and actions" : vqtrain_kind_name(s->kind);
    if (!features || strcmp(kind, "kmeans") != 0)
        return cli_usage(common, "several processes train --quantizer kmeans of features (not %s)",
                         kind);
    if (s->repair || s->resume)
        return cli_usage(common, "--%s is for one process", s->repair ? "repair" : "resume");
    return CLI_DONE;
}
