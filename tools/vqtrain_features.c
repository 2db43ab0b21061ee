/* SPDX-License-Identifier: Apache-2.0 */
/* Features: .npy arrays of [n, d] to a quantizer. k-means reads the files again in every iteration and holds a chunk
 * of them; a sample, and what the trainers of other kinds need, is held in memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/digest.h"
#include "io/npy_source.h"
#include "vqtrain.h"

typedef struct features {
    vq_source rows; /* all that is trained on */
    uint64_t *end;  /* of each file, the number of the row after its last */
    float *buffer;  /* VQTRAIN_CHUNK rows */
    float *x;       /* the rows themselves, where they have to be in memory */
} features;

static void clear(features *f)
{
    vq_source_close(&f->rows);
    free(f->end);
    free(f->buffer);
    free(f->x);
    *f = (features){0};
}

static int open_files(vqtrain_run *run, features *f)
{
    const cli_paths *inputs = run->inputs;
    vq_source *parts = calloc(inputs->count, sizeof *parts);
    int code = CLI_DONE;
    f->end = calloc(inputs->count, sizeof *f->end);
    if (!parts || !f->end) {
        free(parts);
        return cli_fault(run->common, "features", "out of memory");
    }
    for (size_t i = 0; !code && i < inputs->count; i++) {
        if (cli_interrupted()) {
            code = cli_fail(run->common, NULL, VQ_E_CANCELLED);
            break;
        }
        const vq_status status = vq_npy_source_open(&parts[i], inputs->path[i], NULL, NULL);
        if (status)
            code = cli_fail(run->common, inputs->path[i], status);
        else if (parts[i].d != parts[0].d)
            code = cli_fault(run->common, inputs->path[i],
                             "vectors of %u numbers (the file before: %u)", parts[i].d, parts[0].d);
        f->end[i] = parts[i].n + (i ? f->end[i - 1] : 0);
    }
    if (!code) {
        const vq_status status = vq_source_concat(&f->rows, parts, inputs->count);
        if (status)
            code = cli_fail(run->common, NULL, status);
    }
    for (size_t i = 0; i < inputs->count; i++)
        vq_source_close(&parts[i]);
    free(parts);
    return code;
}

/** Rows first to first + count - 1, at most VQTRAIN_CHUNK; they stay until the next call. */
static vq_status read_rows(const float **rows, features *f, size_t first, size_t count)
{
    if (f->rows.memory) {
        *rows = f->rows.memory + first * f->rows.d;
        return VQ_OK;
    }
    return f->rows.read(f->rows.context, rows, f->buffer, first, count);
}

static void done_rows(const features *f, size_t first, size_t count)
{
    if (f->rows.done)
        f->rows.done(f->rows.context, first, count);
}

/** Refuse a row that is not finite by the name and the row of its file. */
static int check_finite(vqtrain_run *run, const features *f, const float *row, uint64_t number)
{
    uint32_t i = 0;
    size_t file = 0;
    while (i < f->rows.d && isfinite(row[i]))
        i++;
    if (i == f->rows.d)
        return CLI_DONE;
    while (number >= f->end[file])
        file++;
    cli_progress_clear(&run->progress);
    return cli_fault(run->common, run->inputs->path[file],
                     "row %llu holds a NaN or an infinity (leave it out)",
                     (unsigned long long)(number - (file ? f->end[file - 1] : 0)));
}

/** Look at every row that is trained on: `limit` of them, an even sample, laid out at f->x if that is room. */
static int look(vqtrain_run *run, features *f, uint64_t limit, uint32_t *checksum)
{
    const uint64_t rows = f->rows.n;
    const size_t size = f->rows.d * sizeof(float);
    uint64_t taken = 0;
    for (size_t first = 0; first < rows; first += VQTRAIN_CHUNK) {
        const size_t count = rows - first < VQTRAIN_CHUNK ? rows - first : VQTRAIN_CHUNK;
        const float *chunk;
        int code = CLI_DONE;
        const vq_status status =
            cli_progress_show(&run->progress, "reading", (double)first, (double)rows, "vectors")
                ? VQ_E_CANCELLED
                : read_rows(&chunk, f, first, count);
        if (status) {
            cli_progress_clear(&run->progress);
            return cli_fail(run->common, NULL, status);
        }
        for (size_t i = 0; i < count && taken < limit && !code; i++) {
            /* Row number j of the sample is row floor(j * rows / limit) of the whole. */
            if ((uint64_t)((unsigned __int128)taken * rows / limit) != first + i)
                continue;
            const float *row = chunk + i * f->rows.d;
            code = check_finite(run, f, row, first + i);
            *checksum = vq_crc32c(*checksum, row, size);
            if (f->x)
                memcpy(f->x + taken * f->rows.d, row, size);
            taken++;
        }
        done_rows(f, first, count);
        if (code)
            return code;
    }
    return CLI_DONE;
}

static int load(vqtrain_run *run, features *f)
{
    const vqtrain_settings *s = run->settings;
    int code = open_files(run, f);
    if (code)
        return code;
    const uint64_t most = s->max_vectors, limit = most && most < f->rows.n ? most : f->rows.n;
    const uint32_t d = f->rows.d;
    if (!limit)
        return cli_fault(run->common, run->inputs->path[0], "there are no vectors to train on");
    const int in_memory = vqtrain_in_memory(s->kind) || limit < f->rows.n;
    uint32_t checksum = 0;
    f->buffer = malloc((size_t)VQTRAIN_CHUNK * d * sizeof *f->buffer);
    if (in_memory && limit <= SIZE_MAX / sizeof *f->x / d)
        f->x = malloc((size_t)limit * d * sizeof *f->x);
    if (!f->buffer || (in_memory && !f->x))
        return cli_fault(run->common, "features",
                         "out of memory for %llu vectors of %u numbers (see --max-vectors)",
                         (unsigned long long)limit, d);
    cli_progress_start(&run->progress, run->common);
    code = look(run, f, limit, &checksum);
    if (code)
        return code;
    cli_progress_clear(&run->progress);
    if (in_memory) {
        vq_source_close(&f->rows);
        f->rows = vq_source_from_memory(f->x, (size_t)limit, d);
    }
    run->vectors = limit;
    run->data =
        cli_format("vectors=%llu dimension=%u crc32c=%08x", (unsigned long long)limit, d, checksum);
    return vqtrain_check_data(run);
}

int vqtrain_features(vqtrain_run *run, vq_tensors **model)
{
    features f = {0};
    vq_quantizer *quantizer = NULL;
    int code = load(run, &f);
    if (!code) {
        cli_progress_start(&run->progress, run->common);
        vq_status status = vqtrain_quantizer(run, &quantizer, &f.rows);
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
