/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec "fast": the chunks of a signal as FAST's tokens, one after the other. The tokens of a chunk spell exactly its
 * coefficients, so that it is seen where it ends. The model is a tokenizer.json with its form and the ranges.
 */
#include <stdlib.h>
#include <string.h>

#include "codecs/action_internal.h"
#include "codecs/fast_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { HORIZON = 16 };

typedef struct fast_model {
    vq_fast *fast;
    vq_fast_form form;
    vq_dimensions *dimensions;
} fast_model;

static void release(void *state)
{
    fast_model *m = state;
    if (!m)
        return;
    vq_fast_free(m->fast);
    vq_dimensions_free(m->dimensions);
    vq_free(m);
}

static vq_status load_form(vq_fast_form *form, const vq_tensors *tensors)
{
    uint64_t horizon = 0, dimensions = 0;
    const vq_tensor *numbers = vq_tensors_find(tensors, "form");
    vq_status status = vq_tensors_get_uint(&horizon, tensors, "horizon", 1, VQI_MAX_HORIZON);
    if (!status)
        status = vq_tensors_get_uint(&dimensions, tensors, "dimensions", 1, UINT32_MAX);
    if (status)
        return status;
    if (!numbers || numbers->dtype != VQ_DTYPE_F64 || numbers->count != 2)
        return vqi_fail(VQ_E_FORMAT, "\"form\" is missing or is not F64 [2]");
    const double *values = numbers->data;
    if (!(values[1] >= -VQI_FAST_LAST && values[1] <= VQI_FAST_LAST) || !(values[0] > 0))
        return vqi_fail(VQ_E_FORMAT, "\"form\" holds scale %g and smallest integer %g", values[0],
                        values[1]);
    form->horizon = (uint32_t)horizon;
    form->dimensions = (uint32_t)dimensions;
    form->scale = values[0];
    form->min_token = (int32_t)values[1];
    return VQ_OK;
}

static vq_status load(void **state, const vq_tensors *tensors, const vq_quantizer *quantizer,
                      const vq_limits *limits)
{
    (void)quantizer;
    const vq_tensor *json = vq_tensors_find(tensors, "tokenizer");
    fast_model *m = vqi_calloc(1, sizeof *m);
    if (!m)
        return vqi_fail_nomem(sizeof *m);
    m->form = (vq_fast_form)VQ_FAST_FORM_INIT;
    vq_status status = load_form(&m->form, tensors);
    if (!status && (!json || json->dtype != VQ_DTYPE_U8))
        status = vqi_fail(VQ_E_FORMAT, "\"tokenizer\" is missing or is not U8");
    if (!status)
        status = vq_fast_parse(&m->fast, json->data, json->count, &m->form, "tokenizer", limits);
    if (!status)
        status = vqi_dimensions_load(&m->dimensions, tensors);
    if (!status && (!m->dimensions || m->dimensions->count != m->form.dimensions))
        status = vqi_fail(VQ_E_FORMAT, "there are no ranges for %u dimensions", m->form.dimensions);
    if (status) {
        if (status == VQ_E_ARG) /* of a form that a file says */
            status = VQ_E_FORMAT;
        release(m);
        return status;
    }
    vq_fast_get_form(&m->form, m->fast);
    *state = m;
    return VQ_OK;
}

static void describe(vq_codec_info *info, const void *state)
{
    const fast_model *m = state;
    info->default_levels = 1;
    info->hop[0] = m->form.horizon;
    info->hop[1] = 1;
}

static size_t chunks_of(const size_t *shape, uint32_t ndim, uint32_t horizon)
{
    const size_t steps = shape[ndim - 2];
    return (ndim == 3 ? shape[0] : 1) * (steps / horizon + (steps % horizon != 0));
}

/* Where a chunk begins among the steps of all episodes, and how many it has. */
static size_t chunk_steps(size_t *first, const size_t *shape, uint32_t ndim, uint32_t horizon,
                          size_t chunk)
{
    const size_t steps = shape[ndim - 2], per_episode = (steps + horizon - 1) / horizon;
    const size_t at = chunk % per_episode * horizon;
    *first = chunk / per_episode * steps + at;
    return steps - at < horizon ? steps - at : horizon;
}

/* A chunk mapped to [-1, 1], its last step held. @return -1, or the index of the first value that is not finite. */
static long normalise(float *out, const vq_dimensions *d, const float *chunk, size_t steps,
                      uint32_t horizon)
{
    const size_t count = d->count;
    for (size_t i = 0; i < steps * count; i++) {
        if (!(chunk[i] - chunk[i] == 0))
            return (long)i;
        out[i] = vqi_action_normalise(d, i % count, chunk[i]);
    }
    for (size_t t = steps; t < horizon; t++)
        memcpy(out + t * count, out + (steps - 1) * count, count * sizeof *out);
    return -1;
}

static vq_status encode_chunks(uint32_t *ids, size_t *count, const fast_model *m,
                               const vq_dimensions *d, const vq_signal *signal)
{
    const size_t dims = d->count, chunks = chunks_of(signal->shape, signal->ndim, m->form.horizon);
    float *mapped = vqi_alloc(m->form.horizon, dims * sizeof *mapped);
    if (!mapped)
        return vqi_fail_nomem(m->form.horizon * dims * sizeof *mapped);
    vq_status status = VQ_OK;
    *count = 0;
    for (size_t c = 0; !status && c < chunks; c++) {
        size_t first, n = 0;
        const size_t steps = chunk_steps(&first, signal->shape, signal->ndim, m->form.horizon, c);
        const long bad = normalise(mapped, d, signal->data + first * dims, steps, m->form.horizon);
        if (bad >= 0)
            status = vqi_fail(VQ_E_NONFINITE, "step %zu, dimension %zu is a NaN or an infinity",
                              first + (size_t)bad / dims, (size_t)bad % dims);
        else
            status = vq_fast_encode(ids + *count, &n, NULL, m->fast, mapped);
        *count += n;
    }
    vq_free(mapped);
    return status;
}

static vq_status encode(vq_tokens **out, const vq_codec *codec, const vq_signal *signal,
                        const vq_coding_opts *opts)
{
    (void)opts;
    const fast_model *m = codec->state;
    vq_dimensions *d;
    vq_status status = vqi_dimensions_for(&d, m->dimensions, signal);
    if (status)
        return status;
    size_t room = 0, count = 0;
    vq_tokens *tokens = NULL;
    uint32_t *ids = NULL;
    if (vqi_mul(&room, chunks_of(signal->shape, signal->ndim, m->form.horizon),
                vq_fast_max_tokens(m->fast)))
        ids = vqi_alloc(room, sizeof *ids);
    status = ids ? encode_chunks(ids, &count, m, d, signal) : vqi_fail_nomem(room * sizeof *ids);
    if (!status)
        status = vq_tokens_create(&tokens, 1, &count, 1, &m->form.vocabulary);
    if (!status) {
        memcpy(tokens->codes, ids, count * sizeof *ids);
        tokens->dimensions = d;
        tokens->source_ndim = signal->ndim;
        memcpy(tokens->source_shape, signal->shape, sizeof tokens->source_shape);
        *out = tokens;
    } else
        vq_dimensions_free(d);
    vq_free(ids);
    return status;
}

/* A chunk from tokens that spell none. last: NULL = there is none. */
static vq_status mend_chunk(float *mapped, const fast_model *m, const uint32_t *ids, size_t count,
                            vq_fast_policy policy, const float *last, size_t chunk)
{
    if (policy == VQ_FAST_HOLD && !last)
        return vqi_fail(VQ_E_FORMAT,
                        "the tokens do not spell chunk %zu, and its episode has no action before "
                        "that could be held",
                        chunk);
    return vq_fast_decode(mapped, NULL, m->fast, ids, count, policy, last);
}

static vq_status decode_chunks(vq_signal *signal, const fast_model *m, const vq_tokens *tokens,
                               const vq_coding_opts *opts)
{
    const vq_dimensions *d = signal->dimensions;
    const size_t dims = d->count, chunks = chunks_of(signal->shape, signal->ndim, m->form.horizon);
    const size_t count = tokens->grid[0], episode = signal->shape[signal->ndim - 2];
    const vq_fast_policy policy = opts->malformed;
    float *mapped = vqi_alloc(m->form.horizon + (size_t)1, dims * sizeof *mapped);
    if (!mapped)
        return vqi_fail_nomem((m->form.horizon + 1ull) * dims * sizeof *mapped);
    float *last = mapped + m->form.horizon * dims;
    vq_status status = VQ_OK;
    size_t at = 0, made = 0;
    for (size_t c = 0; !status && c < chunks; c++) {
        size_t first;
        const size_t steps = chunk_steps(&first, signal->shape, signal->ndim, m->form.horizon, c);
        size_t n = vqi_fast_chunk_tokens(m->fast, tokens->codes, at, count);
        if (n)
            status =
                vq_fast_decode(mapped, NULL, m->fast, tokens->codes + at, n, VQ_FAST_STRICT, NULL);
        else if (policy == VQ_FAST_STRICT)
            status =
                vqi_fail(VQ_E_ARG, "from token %zu on the tokens do not spell chunk %zu", at, c);
        else {
            n = count - at;
            made++;
            status = mend_chunk(mapped, m, tokens->codes + at, n, policy,
                                first % episode ? last : NULL, c);
        }
        if (status)
            break;
        for (size_t i = 0; i < steps * dims; i++)
            signal->data[first * dims + i] = vqi_action_restore(d, i % dims, mapped[i]);
        memcpy(last, mapped + (steps - 1) * dims, dims * sizeof *last);
        at += n;
    }
    if (!status && at != count && policy == VQ_FAST_STRICT)
        status = vqi_fail(VQ_E_ARG, "%zu tokens after those of the last chunk", count - at);
    if (!status && opts->malformed_chunks)
        *opts->malformed_chunks = made;
    vq_free(mapped);
    return status;
}

static vq_status decode(vq_signal **out, const vq_codec *codec, const vq_tokens *tokens,
                        const vq_coding_opts *opts)
{
    const fast_model *m = codec->state;
    const vq_dimensions *d =
        tokens->dimensions && tokens->dimensions->scaled ? tokens->dimensions : m->dimensions;
    const uint32_t ndim = tokens->source_ndim;
    if (tokens->grid_ndim != 1 || tokens->levels != 1 || tokens->k[0] != m->form.vocabulary ||
        (ndim != 2 && ndim != 3) || tokens->source_shape[ndim - 1] != m->form.dimensions ||
        d->count != m->form.dimensions)
        return vqi_fail(VQ_E_ARG, "not tokens of actions of %u dimensions, of a vocabulary of %u",
                        m->form.dimensions, m->form.vocabulary);
    vq_signal *signal = NULL;
    vq_status status = vq_dimensions_validate(d);
    /* A chunk has at least one token: what is claimed is at most what the tokens can say. */
    if (!status && chunks_of(tokens->source_shape, ndim, m->form.horizon) > tokens->grid[0])
        status = vqi_fail(VQ_E_ARG, "%zu tokens are fewer than the chunks", tokens->grid[0]);
    if (!status)
        status = vq_signal_create(&signal, VQ_KIND_ACTION, ndim, tokens->source_shape);
    if (!status)
        status = vq_dimensions_copy(&signal->dimensions, d);
    if (!status)
        status = decode_chunks(signal, m, tokens, opts);
    if (status) {
        vq_signal_free(signal);
        return status;
    }
    *out = signal;
    return VQ_OK;
}

/* All chunks of all signals, mapped to [-1, 1]. */
static vq_status collect(float **out, size_t *count, const vqi_action_set *set,
                         const vq_dimensions *d, uint32_t horizon)
{
    *count = 0;
    for (size_t s = 0; s < set->count; s++)
        *count += chunks_of(set->signals[s]->shape, set->signals[s]->ndim, horizon);
    const size_t size = horizon * d->count;
    float *chunks = vqi_alloc(*count, size * sizeof *chunks), *to = chunks;
    if (!chunks)
        return vqi_fail_nomem(*count * size * sizeof *chunks);
    for (size_t s = 0; s < set->count; s++) {
        const vq_signal *signal = set->signals[s];
        for (size_t c = 0; c < chunks_of(signal->shape, signal->ndim, horizon); c++, to += size) {
            size_t first;
            const size_t steps = chunk_steps(&first, signal->shape, signal->ndim, horizon, c);
            if (normalise(to, d, signal->data + first * d->count, steps, horizon) >= 0) {
                vq_free(chunks);
                return vqi_fail(VQ_E_NONFINITE, "training action %zu holds a NaN or an infinity",
                                s);
            }
        }
    }
    *out = chunks;
    return VQ_OK;
}

static vq_status save(vq_tensors **out, const vq_fast *fast, const vq_dimensions *d)
{
    vq_fast_form form;
    vq_bytes json = {0};
    vq_tensors *tensors;
    vq_fast_get_form(&form, fast);
    const double numbers[2] = {form.scale, form.min_token};
    const size_t two = 2;
    vq_status status = vq_tensors_create(&tensors);
    if (status)
        return status;
    status = vq_fast_serialize(&json, fast);
    if (!status)
        status = vq_tensors_set(tensors, "codec", "fast");
    if (!status)
        status = vq_tensors_set_uint(tensors, "horizon", form.horizon);
    if (!status)
        status = vq_tensors_set_uint(tensors, "dimensions", form.dimensions);
    if (!status)
        status = vq_tensors_add(NULL, tensors, "form", VQ_DTYPE_F64, 1, &two, numbers);
    if (!status)
        status = vqi_dimensions_save(tensors, d);
    if (!status)
        status = vq_tensors_add(NULL, tensors, "tokenizer", VQ_DTYPE_U8, 1, &json.size, json.data);
    vq_bytes_clear(&json);
    if (status) {
        vq_tensors_free(tensors);
        return status;
    }
    *out = tensors;
    return VQ_OK;
}

static vq_status train(vq_tensors **out, const vq_signal_source *source,
                       const vq_codec_train_opts *opts)
{
    vqi_action_set set = {0};
    vq_dimensions *d = NULL;
    vq_fast *fast = NULL;
    float *chunks = NULL;
    size_t count = 0;
    vq_fast_form form = VQ_FAST_FORM_INIT;
    vq_status status = vqi_action_check(opts);
    if (!status && (opts->levels > 1 || opts->quantizer || opts->universal))
        status = vqi_fail(VQ_E_ARG, "fast has one level and a vocabulary of its own, and is not "
                                    "universal");
    if (!status)
        status = vqi_action_set_read(&set, source, opts);
    if (!status)
        status = vqi_action_set_fit(&d, &set, 0);
    if (!status) {
        form.horizon = opts->horizon ? opts->horizon : HORIZON;
        form.dimensions = (uint32_t)d->count;
        form.vocabulary = opts->k;
        status = collect(&chunks, &count, &set, d, form.horizon);
    }
    if (!status)
        status = vq_fast_train(&fast, chunks, count, &form);
    if (!status)
        status = save(out, fast, d);
    vq_free(chunks);
    vq_fast_free(fast);
    vq_dimensions_free(d);
    vqi_action_set_clear(&set);
    return status;
}

const vqi_front_end vqi_front_end_fast = {.name = "fast",
                                          .id = 4,
                                          .kind = VQ_KIND_ACTION,
                                          .spells = 1,
                                          .load = load,
                                          .free = release,
                                          .describe = describe,
                                          .encode = encode,
                                          .decode = decode,
                                          .train = train};
