/* SPDX-License-Identifier: Apache-2.0 */
/* Grids of features, [H, W, D] or [N, H, W, D], to a multi-scale quantizer. */
#include <stdlib.h>
#include <string.h>

#include "io/digest.h"
#include "io/npy.h"
#include "rvq/multiscale.h"
#include "vqtrain.h"

typedef struct grids {
    float *x; /* n grids */
    size_t n; /* of all files */
    uint32_t rows, columns, channels;
} grids;

static size_t floats_of(const grids *g)
{
    return (size_t)g->rows * g->columns * g->channels;
}

/* The array's grids after those that there are. */
static int take(vqtrain_run *run, grids *g, const char *path, const vq_tensor *array)
{
    const size_t *shape = array->shape + (array->ndim == 4);
    if (array->ndim != 3 && array->ndim != 4)
        return cli_fault(run->common, path,
                         "an array of %u dimension%s (grids are [H, W, D] or [N, H, W, D])",
                         array->ndim, array->ndim == 1 ? "" : "s");
    if (shape[0] > 65536 || shape[1] > 65536 || shape[2] > 65536)
        return cli_fault(run->common, path, "a grid of %zu x %zu x %zu (at most 65536 each)",
                         shape[0], shape[1], shape[2]);
    if (g->x && (shape[0] != g->rows || shape[1] != g->columns || shape[2] != g->channels))
        return cli_fault(run->common, path,
                         "grids of %zu x %zu x %zu (the file before: %u x %u x %u)", shape[0],
                         shape[1], shape[2], g->rows, g->columns, g->channels);
    g->rows = (uint32_t)shape[0];
    g->columns = (uint32_t)shape[1];
    g->channels = (uint32_t)shape[2];
    if (!array->count)
        return CLI_DONE;
    const size_t had = g->n * floats_of(g);
    float *longer = realloc(g->x, (had + array->count) * sizeof *longer);
    if (!longer)
        return cli_fault(run->common, path, "out of memory for %zu numbers more", array->count);
    g->x = longer;
    const vq_status status = vq_tensor_to_f32(longer + had, array, 0, array->count);
    if (status)
        return cli_fail(run->common, path, status);
    const size_t more = array->count / floats_of(g);
    for (size_t i = 0; i < more; i++) {
        const int code = vqtrain_check_finite(run, path, "grid", longer + had + i * floats_of(g),
                                              floats_of(g), i);
        if (code)
            return code;
    }
    g->n += more;
    return CLI_DONE;
}

static int read_file(vqtrain_run *run, grids *g, const char *path)
{
    vq_tensors *tensors;
    const vq_status status = vq_npy_read(&tensors, path, "grids", NULL);
    if (status)
        return cli_fail(run->common, path, status);
    const int code = take(run, g, path, vq_tensors_at(tensors, 0));
    vq_tensors_free(tensors);
    return code;
}

static int load(vqtrain_run *run, grids *g)
{
    const cli_paths *inputs = run->inputs;
    cli_progress_start(&run->progress, run->common);
    for (size_t i = 0; i < inputs->count; i++) {
        const int code =
            cli_progress_show(&run->progress, "reading", (double)i, (double)inputs->count, "files")
                ? cli_fail(run->common, NULL, VQ_E_CANCELLED)
                : read_file(run, g, inputs->path[i]);
        if (code)
            return code;
    }
    cli_progress_clear(&run->progress);
    if (!g->n)
        return cli_fault(run->common, inputs->path[0], "there are no grids to train on");
    const uint64_t most = run->settings->max_vectors;
    if (most && most < g->n) { /* grid j of the sample is grid floor(j n / most) of the whole */
        for (size_t j = 0; j < most; j++)
            memmove(g->x + j * floats_of(g),
                    g->x + (size_t)((unsigned __int128)j * g->n / most) * floats_of(g),
                    floats_of(g) * sizeof *g->x);
        g->n = (size_t)most;
    }
    run->vectors = g->n;
    run->data =
        cli_format("grids=%zu rows=%u columns=%u dimension=%u crc32c=%08x", g->n, g->rows,
                   g->columns, g->channels, vq_crc32c(0, g->x, g->n * floats_of(g) * sizeof *g->x));
    return CLI_DONE;
}

/* Each scale twice as large as the one before, until it is the grid. */
static uint32_t default_scales(uint32_t sizes[2 * VQ_MAX_LEVELS], const grids *g)
{
    uint32_t scales = 0, side = 1;
    do {
        sizes[2 * scales] = side < g->rows ? side : g->rows;
        sizes[2 * scales + 1] = side < g->columns ? side : g->columns;
        scales++;
        side *= 2;
    } while (side / 2 < g->rows || side / 2 < g->columns);
    return scales;
}

/* Scales that share nothing have no more codewords than cells. */
static vq_status train(vqtrain_run *run, vq_multiscale **out, const grids *g)
{
    const vqtrain_settings *s = run->settings;
    const vq_kmeans_opts kmeans = vqtrain_kmeans_opts(run);
    uint32_t sizes[2 * VQ_MAX_LEVELS], k[VQ_MAX_LEVELS];
    vq_multiscale_design design = VQ_MULTISCALE_DESIGN_INIT;
    vq_multiscale_train_opts opts = VQ_MULTISCALE_TRAIN_OPTS_INIT;
    design.rows = g->rows;
    design.columns = g->columns;
    design.channels = g->channels;
    design.scales = s->scale_count ? s->scale_count : default_scales(sizes, g);
    design.sizes = s->scale_count ? s->scales : sizes;
    for (uint32_t i = 0; i < design.scales; i++) {
        const size_t cells = (size_t)design.sizes[2 * i] * design.sizes[2 * i + 1] * g->n;
        k[i] = cells < kmeans.k ? (uint32_t)cells : kmeans.k;
    }
    opts.design = &design;
    opts.kmeans = &kmeans;
    opts.shared = s->shared;
    opts.k = s->shared ? NULL : k;
    return vq_multiscale_train(out, g->x, g->n, &opts);
}

int vqtrain_grids(vqtrain_run *run, vq_tensors **model)
{
    grids g = {0};
    vq_multiscale *multiscale = NULL;
    int code = load(run, &g);
    if (!code) {
        cli_progress_start(&run->progress, run->common);
        vq_status status = train(run, &multiscale, &g);
        cli_progress_clear(&run->progress);
        if (!status)
            status = vq_multiscale_report(run->rows, multiscale, g.x, g.n, run->common->threads);
        if (!status) {
            run->levels = vq_multiscale_get_design(multiscale)->scales;
            status = vq_tensors_create(model);
        }
        if (!status)
            status = vq_multiscale_save(*model, multiscale, "");
        if (status)
            code = cli_fail(run->common, NULL, status);
    }
    vq_multiscale_free(multiscale);
    free(g.x);
    return code;
}
