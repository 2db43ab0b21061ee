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
    char *const *path; /* of the files, borrowed */
    size_t files;
    vq_source rows;       /* all that is trained on */
    uint64_t total;       /* rows of the files, before any sampling */
    uint64_t limit;       /* that are trained on */
    uint64_t first, last; /* this rank's share of those, without the last */
    uint32_t checksum;
    uint64_t *end; /* of each file, the number of the row after its last */
    float *buffer; /* VQTRAIN_CHUNK rows */
    float *x;      /* the rows themselves, where they have to be in memory */
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
    vq_source *parts = calloc(f->files, sizeof *parts);
    int code = CLI_DONE;
    f->end = calloc(f->files, sizeof *f->end);
    if (!parts || !f->end) {
        free(parts);
        return cli_fault(run->common, "features", "out of memory");
    }
    for (size_t i = 0; !code && i < f->files; i++) {
        if (cli_interrupted()) {
            code = cli_fail(run->common, NULL, VQ_E_CANCELLED);
            break;
        }
        const vq_status status = vq_npy_source_open(&parts[i], f->path[i], NULL, NULL);
        if (status)
            code = cli_fail(run->common, f->path[i], status);
        else if (parts[i].d != parts[0].d)
            code = cli_fault(run->common, f->path[i], "vectors of %u numbers (the file before: %u)",
                             parts[i].d, parts[0].d);
        f->end[i] = parts[i].n + (i ? f->end[i - 1] : 0);
    }
    if (!code) {
        const vq_status status = vq_source_concat(&f->rows, parts, f->files);
        if (status)
            code = cli_fail(run->common, NULL, status);
    }
    for (size_t i = 0; i < f->files; i++)
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

int vqtrain_check_finite(vqtrain_run *run, const char *path, const char *what, const float *row,
                         size_t count, uint64_t number)
{
    size_t i = 0;
    while (i < count && isfinite(row[i]))
        i++;
    if (i == count)
        return CLI_DONE;
    cli_progress_clear(&run->progress);
    return cli_fault(run->common, path, "%s %llu holds a NaN or an infinity (leave it out)", what,
                     (unsigned long long)number);
}

/* By the name and the row of its file. */
static int check_row(vqtrain_run *run, const features *f, const float *row, uint64_t number)
{
    size_t file = 0;
    while (number >= f->end[file])
        file++;
    return vqtrain_check_finite(run, f->path[file], "row", row, f->rows.d,
                                number - (file ? f->end[file - 1] : 0));
}

/* Row number j of what is trained on is row floor(j * rows / limit) of the files: all of them, or an even sample. */
static size_t row_of(const features *f, uint64_t j)
{
    return (size_t)((unsigned __int128)j * f->total / f->limit);
}

/** Look at every row of this rank's share, laid out at f->x if that is room. */
static int look(vqtrain_run *run, features *f)
{
    const size_t size = f->rows.d * sizeof(float);
    const size_t rows = f->last > f->first ? row_of(f, f->last - 1) + 1 : 0;
    uint64_t taken = f->first;
    for (size_t first = row_of(f, f->first); first < rows; first += VQTRAIN_CHUNK) {
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
        for (size_t i = 0; i < count && taken < f->last && !code; i++) {
            if (row_of(f, taken) != first + i)
                continue;
            const float *row = chunk + i * f->rows.d;
            code = check_row(run, f, row, first + i);
            f->checksum = vq_crc32c(f->checksum, row, size);
            if (f->x)
                memcpy(f->x + (taken - f->first) * f->rows.d, row, size);
            taken++;
        }
        done_rows(f, first, count);
        if (code)
            return code;
    }
    return CLI_DONE;
}

/* Open the files and look at every row that is trained on. */
static int load(vqtrain_run *run, features *f, int in_memory)
{
    int code = open_files(run, f);
    if (code)
        return code;
    f->total = f->rows.n;
    const uint64_t most = run->settings->max_vectors, rank = run->ranks.rank,
                   size = run->ranks.size ? run->ranks.size : 1;
    const uint32_t d = f->rows.d;
    f->limit = most && most < f->total ? most : f->total;
    if (!f->limit)
        return cli_fault(run->common, f->path[0], "there are no vectors to train on");
    f->first = (uint64_t)((unsigned __int128)f->limit * rank / size);
    f->last = (uint64_t)((unsigned __int128)f->limit * (rank + 1) / size);
    const uint64_t own = f->last - f->first;
    in_memory = in_memory || f->limit < f->total;
    f->buffer = malloc((size_t)VQTRAIN_CHUNK * d * sizeof *f->buffer);
    if (in_memory && own <= SIZE_MAX / sizeof *f->x / d)
        f->x = malloc((size_t)(own ? own : 1) * d * sizeof *f->x);
    if (!f->buffer || (in_memory && !f->x))
        return cli_fault(run->common, "features",
                         "out of memory for %llu vectors of %u numbers (see --max-vectors)",
                         (unsigned long long)own, d);
    cli_progress_start(&run->progress, run->common);
    code = look(run, f);
    if (code)
        return code;
    cli_progress_clear(&run->progress);
    if (in_memory) {
        vq_source_close(&f->rows);
        f->rows = vq_source_from_memory(f->x, (size_t)own, d);
    } else if (size > 1) {
        const vq_status status = vq_source_slice(&f->rows, &f->rows, (size_t)f->first, (size_t)own);
        if (status)
            return cli_fail(run->common, NULL, status);
    }
    return CLI_DONE;
}

/* What a teacher says of the same rows. */
static int load_teacher(vqtrain_run *run, features *teacher, const features *of)
{
    const int code = load(run, teacher, 1);
    if (code)
        return code;
    if (teacher->total != of->total)
        return cli_fault(run->common, teacher->path[0],
                         "%llu rows for the %llu of the features (one for each)",
                         (unsigned long long)teacher->total, (unsigned long long)of->total);
    if (run->settings->split_input == VQ_SPLIT_REST && teacher->rows.d != of->rows.d)
        return cli_fault(run->common, teacher->path[0],
                         "rows of %u numbers for features of %u (see --split-input same)",
                         teacher->rows.d, of->rows.d);
    run->teacher = teacher->x;
    run->teacher_dim = teacher->rows.d;
    return CLI_DONE;
}

static int load_all(vqtrain_run *run, features *f, features *teacher)
{
    const vqtrain_settings *s = run->settings;
    char said[64] = "";
    int code = load(run, f, vqtrain_in_memory(s->kind));
    if (!code && s->teacher)
        code = load_teacher(run, teacher, f);
    if (code)
        return code;
    if (s->teacher)
        snprintf(said, sizeof said, " teacher_dimension=%u teacher_crc32c=%08x", teacher->rows.d,
                 teacher->checksum);
    run->vectors = f->limit;
    if (run->ranks.size > 1) /* no rank has seen them all */
        run->data = cli_format("vectors=%llu dimension=%u processes=%u",
                               (unsigned long long)f->limit, f->rows.d, run->ranks.size);
    else
        run->data = cli_format("vectors=%zu dimension=%u crc32c=%08x%s", f->rows.n, f->rows.d,
                               f->checksum, said);
    return vqtrain_check_data(run);
}

int vqtrain_features(vqtrain_run *run, vq_tensors **model)
{
    char *taught_by = cli_copy(run->settings->teacher ? run->settings->teacher : "");
    features f = {.path = run->inputs->path, .files = run->inputs->count},
             teacher = {.path = &taught_by, .files = 1};
    vq_quantizer *quantizer = NULL;
    int code = load_all(run, &f, &teacher);
    if (!code) {
        cli_progress_start(&run->progress, run->common);
        vq_status status = vqtrain_quantizer(run, &quantizer, &f.rows);
        if (!status && run->ranks.size <= 1)
            status = vqtrain_measure(run, quantizer, &f.rows);
        if (!status)
            status = vq_tensors_create(model);
        if (!status)
            status = vq_quantizer_save(*model, quantizer, "");
        if (status)
            code = cli_fail(run->common, NULL, status);
    }
    vq_quantizer_free(quantizer);
    clear(&f);
    clear(&teacher);
    free(taught_by);
    return code;
}

int vqtrain_statistics(vqtrain_run *run, vq_kmeans_stats *stats, const vq_codebook *codebook)
{
    features f = {.path = run->inputs->path, .files = run->inputs->count};
    int code = load(run, &f, 0);
    if (!code) {
        const vq_status status = vq_kmeans_stats_accumulate(stats, codebook, &f.rows, f.first, NULL,
                                                            run->common->threads);
        code = status ? cli_fail(run->common, NULL, status) : CLI_DONE;
    }
    clear(&f);
    return code;
}
