/* SPDX-License-Identifier: Apache-2.0 */
/* A codec on some files, whatever they are of. */
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
