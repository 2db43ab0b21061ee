/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After each level vqtrain writes what it has to OUTPUT.partial: the quantizer so far, the report of its levels,
 * and two texts that say what the run depends on. A run resumes only from a checkpoint whose texts are its
 * own; then its result is that of a run that was never interrupted, bit for bit.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"
#include "vqtrain.h"

static const char prefix[] = "quantizer.";

static vq_status fill_checkpoint(vq_tensors *tensors, const vqtrain_run *run,
                                 const vq_quantizer *so_far)
{
    vq_status status = vq_tensors_set(tensors, "checkpoint", "vqtrain");
    if (!status)
        status = vq_tensors_set(tensors, "settings", run->identity);
    if (!status)
        status = vq_tensors_set(tensors, "data", run->data);
    for (uint32_t i = 0; !status && i < run->levels; i++) {
        const vq_level_report *row = &run->rows[i];
        char key[32], value[160];
        snprintf(key, sizeof key, "report.%u", i);
        snprintf(value, sizeof value, "%u %u %a %a %a", row->k, row->used, row->entropy_bits,
                 row->perplexity, row->mse);
        status = vq_tensors_set(tensors, key, value);
    }
    return status ? status : vq_quantizer_save(tensors, so_far, prefix);
}

static vq_status write_checkpoint(const vqtrain_run *run, const vq_quantizer *so_far)
{
    vq_tensors *tensors;
    vq_status status = vq_tensors_create(&tensors);
    if (status)
        return status;
    status = fill_checkpoint(tensors, run, so_far);
    if (!status)
        status = vq_safetensors_write(run->checkpoint, tensors, NULL);
    vq_tensors_free(tensors);
    return status;
}

void vqtrain_note_level(vqtrain_run *run, uint32_t level, const vq_kmeans_report *report)
{
    run->rows[level] = (vq_level_report){
        .k = report->used + report->dead,
        .used = report->used,
        .dead = report->dead,
        .utilisation = report->utilisation,
        .entropy_bits = report->entropy_bits,
        .perplexity = report->perplexity,
        .mse = report->mse[report->iterations],
        .snr_db = NAN,
    };
    run->levels = level + 1;
    cli_progress_clear(&run->progress);
    if (run->common->verbose)
        cli_note(run->common, "level %u: %u iterations%s, mse %.6g, %u of %u used, %u revived",
                 level, report->iterations, report->converged ? " (converged)" : "",
                 run->rows[level].mse, report->used, run->rows[level].k, report->revived);
}

int vqtrain_level_done(void *context, uint32_t level, const vq_quantizer *so_far,
                       const vq_kmeans_report *report)
{
    vqtrain_run *run = context;
    if (level >= VQ_MAX_LEVELS)
        return 1;
    vqtrain_note_level(run, level, report);
    /* A checkpoint that cannot be written is no reason to lose the levels that are in memory. */
    if (run->checkpoint && write_checkpoint(run, so_far))
        cli_warn(run->common, "%s (this run cannot be resumed; it goes on)", vq_last_error());
    return cli_interrupted();
}

/** "K used entropy perplexity mse", as fill_checkpoint() wrote it. @return 0 if it is something else. */
static int read_row(vq_level_report *row, const char *text)
{
    char *at;
    const unsigned long k = strtoul(text, &at, 10);
    const unsigned long used = strtoul(at, &at, 10);
    double numbers[3];
    for (int i = 0; i < 3; i++) {
        const char *from = at;
        numbers[i] = strtod(from, &at);
        if (at == from)
            return 0;
    }
    if (*at || k == 0 || k > UINT32_MAX || used > k)
        return 0;
    *row = (vq_level_report){
        .k = (uint32_t)k,
        .used = (uint32_t)used,
        .dead = (uint32_t)(k - used),
        .utilisation = (double)used / (double)k,
        .entropy_bits = numbers[0],
        .perplexity = numbers[1],
        .mse = numbers[2],
        .snr_db = NAN,
    };
    return 1;
}

static int read_rows(vqtrain_run *run, const vq_tensors *tensors)
{
    run->levels = vq_quantizer_levels(run->before);
    for (uint32_t i = 0; i < run->levels; i++) {
        char key[32];
        snprintf(key, sizeof key, "report.%u", i);
        const char *value = vq_tensors_get(tensors, key);
        if (!value || !read_row(&run->rows[i], value))
            return 0;
    }
    return 1;
}

static int read_checkpoint(vqtrain_run *run, const vq_tensors *tensors)
{
    const char *what = vq_tensors_get(tensors, "checkpoint");
    const char *settings = vq_tensors_get(tensors, "settings");
    const char *data = vq_tensors_get(tensors, "data");
    if (!what || strcmp(what, "vqtrain") || !settings || !data)
        return cli_fault(run->common, run->checkpoint, "not a checkpoint of vqtrain");
    if (strcmp(settings, run->identity)) {
        cli_fault(
            run->common, run->checkpoint,
            "the checkpoint of a run with other settings: %s (this run: %s; give the same, or "
            "start again with --force)",
            settings, run->identity);
        return CLI_MISMATCH;
    }
    const vq_status status = vq_quantizer_load(&run->before, tensors, prefix, NULL);
    if (status)
        return cli_fail(run->common, run->checkpoint, status);
    if (!read_rows(run, tensors))
        return cli_fault(run->common, run->checkpoint, "the report of its levels is damaged");
    run->data_before = cli_copy(data);
    return CLI_DONE;
}

int vqtrain_resume(vqtrain_run *run)
{
    vq_tensors *tensors;
    const vq_status status = vq_safetensors_read(&tensors, run->checkpoint, NULL);
    if (status)
        return cli_fail(run->common, run->checkpoint, status);
    const int code = read_checkpoint(run, tensors);
    vq_tensors_free(tensors);
    if (code == CLI_DONE)
        cli_note(run->common, "%s: going on after %u level%s", run->checkpoint, run->levels,
                 run->levels == 1 ? "" : "s");
    return code;
}

int vqtrain_check_data(vqtrain_run *run)
{
    if (!run->data_before || strcmp(run->data, run->data_before) == 0)
        return CLI_DONE;
    cli_progress_clear(&run->progress);
    cli_fault(run->common, run->checkpoint,
              "the checkpoint of a run on other data: %s (these are: %s; give the same files, or "
              "start again with --force)",
              run->data_before, run->data);
    return CLI_MISMATCH;
}

int vqtrain_progress(void *context, uint32_t level, const vq_kmeans_progress *progress)
{
    vqtrain_run *run = context;
    const uint32_t levels = run->settings->levels; /* 0: the recipe's, which we do not know */
    char what[128], of[24] = "";
    if (!run->progress.on)
        return cli_interrupted();
    const double per_level = progress->max_iterations;
    const double first = levels ? level * per_level : 0;
    if (run->clock != level + 1) { /* each level has its own rate */
        cli_progress_clear(&run->progress);
        cli_progress_start(&run->progress, run->common);
        run->progress.base = first;
        run->clock = level + 1;
    }
    if (levels)
        snprintf(of, sizeof of, " of %u", levels);
    if (progress->iteration == 0) {
        snprintf(what, sizeof what, "level %u%s, seeding: %u of %u", level + 1, of,
                 progress->seeds_done, progress->k);
        return cli_progress_show(&run->progress, what, 0, 0, "");
    }
    snprintf(what, sizeof what, "level %u%s, mse %.4g", level + 1, of, progress->mse);
    return cli_progress_show(&run->progress, what, first + progress->iteration,
                             levels ? levels * per_level : per_level, "iterations");
}
