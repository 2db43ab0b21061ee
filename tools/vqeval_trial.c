/* SPDX-License-Identifier: Apache-2.0 */
/* A codec on some files, whatever they are of. */
#include <string.h>

#include "vqeval.h"

int vqeval_trial_open(vqeval_trial *out, const cli_common *common, const vqeval_settings *settings,
                      const cli_paths *inputs, const vq_codec *codec)
{
    uint32_t k[VQ_MAX_LEVELS];
    *out = (vqeval_trial){.common = common, .settings = settings, .inputs = inputs, .codec = codec};
    vq_codec_get_info(&out->info, codec);
    out->high = settings->all_levels ? out->info.levels
                : settings->levels   ? settings->levels
                                     : out->info.default_levels;
    out->low = settings->all_levels ? 1 : out->high;
    for (uint32_t i = 0; i < out->high; i++)
        k[i] = vq_quantizer_k(out->info.quantizer, i);
    const vq_status status = vq_report_create(&out->report, out->high, k);
    return status ? cli_fail(common, NULL, status) : CLI_DONE;
}

int vqeval_trial_each(const vqeval_trial *trial, const char *many,
                      int (*try_one)(void *state, size_t index), void *state)
{
    const size_t count = trial->inputs->count;
    cli_progress progress;
    int code = CLI_DONE;
    cli_catch_signals();
    cli_progress_start(&progress, trial->common);
    for (size_t i = 0; i < count && !code; i++) {
        code = try_one(state, i);
        cli_progress_show(&progress, "evaluating", (double)i + 1, (double)count, many);
        if (!code && cli_interrupted())
            code = cli_fail(trial->common, NULL, VQ_E_CANCELLED);
    }
    cli_progress_clear(&progress);
    return code;
}

static void print_score(const vqeval_telling *how, const void *state, const char *name, int width,
                        ptrdiff_t index, uint32_t levels)
{
    printf("%-*s", width, name);
    how->print(state, index, levels);
    putchar('\n');
}

static void print_tables(const vqeval_trial *trial, const vqeval_telling *how, const void *state,
                         const vq_level_report *rows)
{
    const cli_paths *inputs = trial->inputs;
    const int every = !trial->settings->all_levels || trial->common->verbose;
    int width = how->width;
    for (size_t i = 0; every && i < inputs->count; i++)
        if ((int)strlen(inputs->path[i]) > width)
            width = (int)strlen(inputs->path[i]);
    printf("%-*s%s\n", width, "", how->columns);
    for (uint32_t levels = trial->low; levels <= trial->high; levels++) {
        char name[48];
        for (size_t i = 0; every && i < inputs->count; i++)
            print_score(how, state, inputs->path[i], width, (ptrdiff_t)i, levels);
        snprintf(name, sizeof name, "%u level%s", levels, levels == 1 ? "" : "s");
        print_score(how, state, trial->settings->all_levels ? name : "mean", width, VQEVAL_MEAN,
                    levels);
    }
    printf("\n%s model, %u of %u levels, %zu %s%s, %llu %s\n", trial->info.name, trial->high,
           trial->info.levels, inputs->count, how->one, inputs->count == 1 ? "" : "s",
           (unsigned long long)vq_report_vectors(trial->report), how->grid);
    cli_print_levels(stdout, rows, trial->high);
}

static json_t *as_json(const vqeval_trial *trial, const vqeval_telling *how, const void *state,
                       const vq_level_report *rows)
{
    char sha[CLI_HEX_SIZE];
    cli_hex(sha, trial->info.model_sha256);
    json_t *results = json_array();
    for (uint32_t levels = trial->low; levels <= trial->high; levels++) {
        json_t *list = json_array();
        for (size_t i = 0; i < trial->inputs->count; i++) {
            json_t *one = how->as_json(state, (ptrdiff_t)i, levels);
            json_object_set_new(one, "file", json_string(trial->inputs->path[i]));
            json_array_append_new(list, one);
        }
        json_array_append_new(results,
                              json_pack("{si so so}", "levels", (int)levels, "mean",
                                        how->as_json(state, VQEVAL_MEAN, levels), how->list, list));
    }
    return json_pack("{ss ss ss sI so so s{sf sf sf}}", "model", trial->settings->model, "codec",
                     trial->info.name, "model_sha256", sha, "positions",
                     (json_int_t)vq_report_vectors(trial->report), "results", results, "statistics",
                     cli_json_level_rows(rows, trial->high), "time", how->amount_name, how->amount,
                     "encode_seconds", how->encode_seconds, "decode_seconds", how->decode_seconds);
}

int vqeval_trial_tell(const vqeval_trial *trial, const vqeval_telling *how, const void *state)
{
    vq_level_report rows[VQ_MAX_LEVELS];
    cli_level_rows(rows, trial->report, trial->high);
    if (trial->common->json)
        return cli_json_print(trial->common, as_json(trial, how, state, rows), 1);
    print_tables(trial, how, state, rows);
    return CLI_DONE;
}
