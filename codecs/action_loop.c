/* SPDX-License-Identifier: Apache-2.0 */
/* One chunk at a time, in a control loop: all memory is taken when it is opened. */
#include "codecs/action_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

struct vq_action {
    const vq_codec *codec;
    const vqi_action_model *model;
    vq_dimensions *dimensions;
    float *latents;  /* D x H */
    uint32_t *codes; /* D x levels */
    vq_quantize_opts quantize;
};

void vq_action_free(vq_action *action)
{
    if (!action)
        return;
    vq_dimensions_free(action->dimensions);
    vq_free(action->latents);
    vq_free(action->codes);
    vq_free(action->quantize.workspace);
    vq_free(action);
}

static vq_status choose_ranges(vq_dimensions **out, const vqi_action_model *model,
                               const vq_dimensions *given)
{
    const vq_dimensions *d = given && given->scaled ? given : model->dimensions;
    if (!d)
        return vqi_fail(VQ_E_ARG,
                        "the model is for any action and has no ranges (give vq_action_opts"
                        ".dimensions, or train a model of your own)");
    if (model->dimensions && model->dimensions->count != d->count)
        return vqi_fail(VQ_E_ARG, "ranges for %zu dimensions, and a model for %zu", d->count,
                        model->dimensions->count);
    const vq_status status = vq_dimensions_validate(d);
    return status ? status : vq_dimensions_copy(out, d);
}

static vq_status prepare(vq_action *action, const vq_action_opts *opts)
{
    const vqi_action_model *model = action->model;
    const uint32_t levels = opts->levels ? opts->levels : model->default_levels;
    vq_status status = choose_ranges(&action->dimensions, model, opts->dimensions);
    if (status)
        return status;
    if (levels > vq_quantizer_levels(action->codec->quantizer) || opts->beam > VQ_MAX_BEAM)
        return vqi_fail(VQ_E_ARG, "%u levels and a beam of %u (at most %u and %d)", levels,
                        opts->beam, vq_quantizer_levels(action->codec->quantizer), VQ_MAX_BEAM);
    const size_t count = action->dimensions->count;
    vq_quantize_opts quantize = VQ_QUANTIZE_OPTS_INIT;
    quantize.levels = levels;
    quantize.threads = 1;
    quantize.beam = opts->beam;
    quantize.workspace_size = vq_quantize_workspace_for(action->codec->quantizer, count, &quantize);
    quantize.workspace = vqi_alloc(quantize.workspace_size, 1);
    action->quantize = quantize;
    action->latents = vqi_alloc(count, model->horizon * sizeof *action->latents);
    action->codes = vqi_alloc(count, levels * sizeof *action->codes);
    if (!quantize.workspace || !action->latents || !action->codes)
        return vqi_fail_nomem(count * model->horizon * sizeof *action->latents);
    return VQ_OK;
}

vq_status vq_action_open(vq_action **out, const vq_codec *codec, const vq_action_opts *opts)
{
    *out = NULL;
    vq_action_opts own;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_action_opts");
    if (status)
        return status;
    if (codec->front_end != &vqi_front_end_action && codec->front_end != &vqi_front_end_bins)
        return vqi_fail(VQ_E_ARG, "the codec \"%s\" does not code chunks of actions",
                        codec->front_end->name);
    vq_action *action = vqi_calloc(1, sizeof *action);
    if (!action)
        return vqi_fail_nomem(sizeof *action);
    action->codec = codec;
    action->model = codec->state;
    status = prepare(action, &own);
    if (status) {
        vq_action_free(action);
        return status;
    }
    *out = action;
    return VQ_OK;
}

uint32_t vq_action_horizon(const vq_action *action)
{
    return action->model->horizon;
}

size_t vq_action_dimensions(const vq_action *action)
{
    return action->dimensions->count;
}

size_t vq_action_codes(const vq_action *action)
{
    return action->dimensions->count * action->quantize.levels;
}

vq_status vq_action_encode(uint32_t *codes, vq_action *action, const float *chunk, size_t steps)
{
    const size_t count = action->dimensions->count;
    if (!steps || steps > action->model->horizon)
        return vqi_fail(VQ_E_ARG, "a chunk of %zu steps (1 to %u)", steps, action->model->horizon);
    const long bad =
        vqi_action_analyse(action->latents, action->model, action->dimensions, chunk, steps);
    if (bad >= 0)
        return vqi_fail(VQ_E_NONFINITE, "step %zu, dimension %zu is a NaN or an infinity",
                        (size_t)bad / count, (size_t)bad % count);
    const vq_status status = vq_quantize(action->codes, action->codec->quantizer, action->latents,
                                         count, &action->quantize);
    if (!status)
        vqi_action_store_codes(codes, count, action->codes, 0, count, action->quantize.levels);
    return status;
}

vq_status vq_action_decode(float *chunk, vq_action *action, const uint32_t *codes)
{
    const size_t count = action->dimensions->count;
    vqi_action_fetch_codes(action->codes, codes, count, 0, count, action->quantize.levels);
    const vq_status status = vq_dequantize(action->latents, action->codec->quantizer, action->codes,
                                           count, &action->quantize);
    if (!status)
        vqi_action_synthesise(chunk, action->model, action->dimensions, action->latents,
                              action->model->horizon);
    return status;
}
