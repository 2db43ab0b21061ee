/* SPDX-License-Identifier: Apache-2.0 */
/* Features: .npy arrays of [n, d] to a flat or residual quantizer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/digest.h"
#include "io/npy.h"
#include "vqtrain.h"

typedef struct features {
    vq_tensors **files; /**< one tensor each */
    size_t count;
    uint64_t rows;
    uint32_t dim;
    vq_tensors *owner; /**< of x */
    const float *x;
    size_t n;
} features;

static void clear(features *f)
{
    for (size_t i = 0; i < f->count; i++)
        vq_tensors_free(f->files[i]);
    free(f->files);
    vq_tensors_free(f->owner);
    *f = (features){0};
}

/** Rows of an array: all its dimensions but the last. */
static size_t rows_of(const vq_tensor *array)
{
    size_t rows = 1;
    for (uint32_t i = 0; i + 1 < array->ndim; i++)
        rows *= array->shape[i];
    return rows;
}

static int read_file(vqtrain_run *run, features *f, const char *path)
{
    const vq_status status = vq_npy_read(&f->files[f->count], path, "x", NULL);
    if (status)
        return cli_fail(run->common, path, status);
    const vq_tensor *array = vq_tensors_at(f->files[f->count++], 0);
    if (array->ndim < 2)
        return cli_fault(run->common, path,
                         "an array of %u dimension%s (features are [n, d]; reshape it)",
                         array->ndim, array->ndim == 1 ? "" : "s");
    const size_t dim = array->shape[array->ndim - 1];
    if (dim == 0 || dim > UINT32_MAX || (f->dim && dim != f->dim))
        return cli_fault(run->common, path, "vectors of %zu numbers (the file before: %u)", dim,
                         f->dim);
    f->dim = (uint32_t)dim;
    f->rows += rows_of(array);
    return CLI_DONE;
}

static int all_finite(const float *row, uint32_t dim)
{
    for (uint32_t i = 0; i < dim; i++)
        if (!isfinite(row[i]))
            return 0;
    return 1;
}

/** Lay the rows of all files, or an even sample of them, one after another as float32. */
static int gather(vqtrain_run *run, features *f)
{
    const uint64_t most = run->settings->max_vectors;
    const uint64_t limit = most && most < f->rows ? most : f->rows;
    const size_t shape[2] = {(size_t)limit, f->dim};
    vq_tensor *x;
    vq_status status = vq_tensors_create(&f->owner);
    if (!status)
        status = vq_tensors_add(&x, f->owner, "x", VQ_DTYPE_F32, 2, shape, NULL);
    if (status)
        return cli_fail(run->common, NULL, status);
    float *out = x->data;
    f->x = out;
    uint64_t row = 0;
    for (size_t i = 0; i < f->count; i++) {
        const vq_tensor *array = vq_tensors_at(f->files[i], 0);
        const size_t rows = rows_of(array);
        for (size_t r = 0; r < rows; r++, row++) {
            /* Row number j of the sample is row floor(j * rows / limit) of the whole. */
            if (f->n == limit || (uint64_t)((unsigned __int128)f->n * f->rows / limit) != row)
                continue;
            float *to = out + f->n++ * f->dim;
            status = vq_tensor_to_f32(to, array, r * f->dim, f->dim);
            if (status)
                return cli_fail(run->common, run->inputs->path[i], status);
            if (!all_finite(to, f->dim))
                return cli_fault(run->common, run->inputs->path[i],
                                 "row %zu holds a NaN or an infinity (leave it out)", r);
        }
        vq_tensors_free(f->files[i]); /* room for the next */
        f->files[i] = NULL;
    }
    return CLI_DONE;
}

static int load(vqtrain_run *run, features *f)
{
    int code = CLI_DONE;
    f->files = calloc(run->inputs->count, sizeof *f->files);
    if (!f->files)
        return cli_fault(run->common, "features", "out of memory");
    for (size_t i = 0; !code && i < run->inputs->count; i++)
        code = cli_interrupted() ? cli_fail(run->common, NULL, VQ_E_CANCELLED)
                                 : read_file(run, f, run->inputs->path[i]);
    if (code)
        return code;
    if (f->rows == 0)
        return cli_fault(run->common, run->inputs->path[0], "there are no vectors to train on");
    code = gather(run, f);
    if (code)
        return code;
    run->vectors = f->n;
    run->data = cli_format("vectors=%zu dimension=%u crc32c=%08x", f->n, f->dim,
                           vq_crc32c(0, f->x, f->n * f->dim * sizeof *f->x));
    return vqtrain_check_data(run);
}

static int on_progress(void *context, const vq_kmeans_progress *progress)
{
    vqtrain_run *run = context;
    return vqtrain_progress(run, run->levels, progress);
}

static vq_status train(vqtrain_run *run, const features *f, vq_quantizer **out)
{
    const vqtrain_settings *s = run->settings;
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = s->levels;
    opts.kmeans.k = s->k;
    opts.kmeans.metric = s->metric;
    opts.kmeans.storage = s->storage;
    opts.kmeans.max_iterations = s->iterations;
    opts.kmeans.tolerance = s->tolerance;
    opts.kmeans.seed = s->seed;
    opts.kmeans.seeding = s->seeding;
    opts.kmeans.threads = run->common->threads;
    opts.kmeans.progress = on_progress;
    opts.kmeans.progress_context = run;
    opts.resume = run->before;
    opts.level_done = vqtrain_level_done;
    opts.level_context = run;
    if (s->residual)
        return vq_residual_train(out, f->x, f->n, f->dim, &opts);

    vq_codebook *codebook;
    vq_status status = vq_kmeans_train(&codebook, NULL, f->x, f->n, f->dim, &opts.kmeans);
    if (status)
        return status;
    status = vq_quantizer_from_codebook(out, codebook);
    if (status)
        vq_codebook_free(codebook);
    return status;
}

/** The report on the data that it was trained on, in chunks that bound the memory for codes. */
static vq_status measure(vqtrain_run *run, const features *f, const vq_quantizer *quantizer)
{
    enum { CHUNK = 1 << 12 };
    const uint32_t levels = vq_quantizer_levels(quantizer);
    uint32_t k[VQ_MAX_LEVELS];
    for (uint32_t i = 0; i < levels; i++)
        k[i] = vq_quantizer_k(quantizer, i);
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.threads = run->common->threads;
    uint32_t *codes = malloc(sizeof *codes * CHUNK * VQ_MAX_LEVELS);
    vq_report *report = NULL;
    vq_status status = codes ? vq_report_create(&report, levels, k) : VQ_E_NOMEM;
    for (size_t i = 0; !status && i < f->n; i += CHUNK) {
        const size_t n = f->n - i < CHUNK ? f->n - i : CHUNK;
        const float *x = f->x + i * f->dim;
        status = vq_quantize(codes, quantizer, x, n, &opts);
        if (!status)
            status = vq_report_add(report, quantizer, x, codes, n);
    }
    if (!status)
        run->levels = cli_level_rows(run->rows, report, levels);
    vq_report_free(report);
    free(codes);
    return status;
}

int vqtrain_features(vqtrain_run *run, vq_tensors **model)
{
    features f = {0};
    vq_quantizer *quantizer = NULL;
    int code = load(run, &f);
    if (!code) {
        cli_progress_start(&run->progress, run->common);
        vq_status status = train(run, &f, &quantizer);
        cli_progress_clear(&run->progress);
        if (!status)
            status = measure(run, &f, quantizer);
        if (!status)
            status = vq_tensors_create(model);
        if (!status)
            status = vq_quantizer_save(*model, quantizer, "");
        if (status)
            code = cli_fail(run->common, NULL, status);
    }
    vq_quantizer_free(quantizer);
    clear(&f);
    return code;
}
