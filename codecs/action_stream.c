/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of actions: a frame is a chunk, a position a dimension. */
#include "codecs/action_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* Chunks know nothing of each other: there is no state but where the tables are. */
typedef struct action_stream {
    const vqi_action_model *model;
} action_stream;

static vq_status stream_open(void **state, vqi_stream_shape *shape, const vq_codec *codec,
                             uint32_t channels)
{
    const vqi_action_model *model = codec->state;
    if (!model->dimensions)
        return vqi_fail(VQ_E_UNSUPPORTED,
                        "the model is for any action and has no ranges, which a stream needs "
                        "beforehand (train a model of your own)");
    if (model->dimensions->count != channels)
        return vqi_fail(VQ_E_ARG, "a stream of %u channels, and a model of %zu dimensions",
                        channels, model->dimensions->count);
    action_stream *s = vqi_alloc(1, sizeof *s);
    if (!s)
        return vqi_fail_nomem(sizeof *s);
    s->model = model;
    *shape = (vqi_stream_shape){.hop = model->horizon, .positions = channels, .overlap = 0};
    *state = s;
    return VQ_OK;
}

static void stream_free(void *state)
{
    vq_free(state);
}

static void stream_reset(void *state)
{
    (void)state;
}

static void stream_analyse(float *latents, void *state, const float *block)
{
    const action_stream *s = state;
    vqi_action_analyse(latents, s->model, s->model->dimensions, block, s->model->horizon);
}

static void stream_synthesise(float *block, void *state, const float *latents, uint32_t levels)
{
    const action_stream *s = state;
    (void)levels;
    vqi_action_synthesise(block, s->model, s->model->dimensions, latents, s->model->horizon);
}

const vqi_stream_kind vqi_action_stream = {.open = stream_open,
                                           .free = stream_free,
                                           .reset = stream_reset,
                                           .analyse = stream_analyse,
                                           .synthesise = stream_synthesise,
                                           .holds = 1};
