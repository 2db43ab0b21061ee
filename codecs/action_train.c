/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training the action codecs. A fitted model takes the ranges of all signals together and learns from their overlapping chunks, also
 * backwards and upside down, and from steps, as grippers make them. A universal one gives the signals of each number of dimensions
 * ranges of their own and learns from equally many chunks of each group; it keeps no ranges.
 */
#include <string.h>

#include "codecs/action_internal.h"
#include "codecs/train_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* 8 levels of 256 are 4 bits per value of 16-step chunks, the default half of them. */
enum {
    HORIZON = 16,
    LEVELS = 8,
    DEFAULT_LEVELS = 4,
    CODEWORDS = 256,
    ITERATIONS = 20,
    OVERLAP = 4, /* chunks begin at every H / 4 steps */
    FITTED_VECTORS = 1 << 17,
    UNIVERSAL_VECTORS = 1 << 18,
    MIRRORED = 4,           /* what becomes of a vector: itself, upside down, backwards, and both */
    STEP_COPIES = 32,       /* of each position of a step in a universal model's chunks ... */
    FITTED_STEP_COPIES = 4, /* ... and in a fitted one's */
};

void vqi_action_set_clear(vqi_action_set *set)
{
    for (size_t i = 0; set->signals && i < set->count; i++)
        vq_signal_free(set->signals[i]);
    vq_free(set->signals);
    set->signals = NULL;
}

vq_status vqi_action_set_read(vqi_action_set *set, const vq_signal_source *source,
                              const vq_codec_train_opts *opts)
{
    set->count = source->count;
    set->signals = vqi_calloc(source->count, sizeof *set->signals);
    if (!source->count)
        return vqi_fail(VQ_E_ARG, "there are no training actions");
    if (!set->signals)
        return vqi_fail_nomem(source->count * sizeof *set->signals);
    for (size_t i = 0; i < source->count; i++) {
        if (opts->reading && opts->reading(opts->context, i, source->count))
            return vqi_fail(VQ_E_CANCELLED, "cancelled");
        const vq_status status = source->read(source->context, i, &set->signals[i]);
        if (status)
            return status;
        const vq_signal *s = set->signals[i];
        if (s->kind != VQ_KIND_ACTION)
            return vqi_fail(VQ_E_ARG, "training signal %zu is not an action", i);
        if (!opts->universal &&
            s->shape[s->ndim - 1] != set->signals[0]->shape[set->signals[0]->ndim - 1])
            return vqi_fail(VQ_E_ARG,
                            "training signal %zu has %zu dimensions, the first has %zu (a "
                            "universal model takes any)",
                            i, s->shape[s->ndim - 1],
                            set->signals[0]->shape[set->signals[0]->ndim - 1]);
    }
    return VQ_OK;
}

static size_t dimensions_of(const vq_signal *signal)
{
    return signal->shape[signal->ndim - 1];
}

vq_status vqi_action_set_fit(vq_dimensions **out, const vqi_action_set *set, size_t like)
{
    *out = NULL;
    const vq_signal *first = set->signals[like];
    const vq_dimensions *given = first->dimensions;
    const size_t count = dimensions_of(first);
    if (given && given->scaled) /* the caller knows them */
        return vq_dimensions_copy(out, given);
    const float **rows = vqi_alloc(set->count, sizeof *rows);
    size_t *lengths = vqi_alloc(set->count, sizeof *lengths), parts = 0;
    vq_dimensions *d = NULL;
    vq_status status =
        rows && lengths ? VQ_OK : vqi_fail_nomem(set->count * (sizeof *rows + sizeof *lengths));
    for (size_t i = 0; !status && i < set->count; i++)
        if (dimensions_of(set->signals[i]) == count) {
            rows[parts] = set->signals[i]->data;
            lengths[parts++] = vq_signal_count(set->signals[i]) / count;
        }
    if (!status)
        status = vq_dimensions_create(&d, count);
    for (size_t i = 0; !status && given && given->names && i < count; i++)
        status = vq_dimensions_set_name(d, i, given->names[i]);
    if (!status)
        status = vq_dimensions_fit(d, rows, lengths, parts);
    vq_free(rows);
    vq_free(lengths);
    if (status) {
        vq_dimensions_free(d);
        return status;
    }
    *out = d;
    return VQ_OK;
}

typedef struct trainer {
    const vq_codec_train_opts *opts;
    vqi_action_set set;
    vqi_action_model *model;
    size_t *group; /* of each signal: the first one with as many dimensions */
    size_t *total; /* per group, at its first signal: vectors that there are */
    size_t *seen;  /* and that came by */
    size_t *taken; /* and that were kept */
    size_t quota;  /* the most of each group */
    float *latents;
    size_t count, room;
    vq_quantizer *quantizer;
} trainer;

static size_t step_copies(const trainer *t)
{
    return t->opts->universal ? STEP_COPIES : FITTED_STEP_COPIES;
}

static size_t hop_of(const vqi_action_model *model)
{
    return model->horizon < OVERLAP ? 1 : model->horizon / OVERLAP;
}

/* Overlapping chunks of an episode; a short one has one, the last step held. */
static size_t chunks_in(const vqi_action_model *model, size_t steps)
{
    return steps <= model->horizon ? 1 : (steps - model->horizon) / hop_of(model) + 1;
}

static size_t episodes_of(const vq_signal *signal)
{
    return signal->ndim == 3 ? signal->shape[0] : 1;
}

static vq_status plan(trainer *t)
{
    const size_t n = t->set.count;
    t->group = vqi_calloc(n, sizeof *t->group);
    t->total = vqi_calloc(n, sizeof *t->total);
    t->seen = vqi_calloc(n, sizeof *t->seen);
    t->taken = vqi_calloc(n, sizeof *t->taken);
    if (!t->group || !t->total || !t->seen || !t->taken)
        return vqi_fail_nomem(n * 4 * sizeof *t->group);
    size_t groups = 0; /* 1 or more: the first signal begins one */
    for (size_t i = 0; i < n; i++) {
        const vq_signal *s = t->set.signals[i];
        size_t g = 0;
        while (dimensions_of(t->set.signals[g]) != dimensions_of(s))
            g++;
        t->group[i] = g;
        groups += g == i;
        t->total[g] +=
            episodes_of(s) * chunks_in(t->model, s->shape[s->ndim - 2]) * dimensions_of(s);
    }
    const size_t limit = t->opts->max_vectors ? t->opts->max_vectors
                         : t->opts->universal ? UNIVERSAL_VECTORS / MIRRORED
                                              : FITTED_VECTORS / MIRRORED;
    t->quota = groups && limit > groups ? limit / groups : 1;
    for (size_t i = 0; i < n; i++)
        t->room += t->total[i] < t->quota ? t->total[i] : t->quota;
    t->room = t->room * MIRRORED + 2 * step_copies(t) * (t->model->horizon - 1);
    t->latents = vqi_alloc(t->room, t->model->horizon * sizeof *t->latents);
    return t->latents ? VQ_OK : vqi_fail_nomem(t->room * t->model->horizon * sizeof *t->latents);
}

/* Half a turn of time changes the sign of the odd frequencies. Few demonstrations hold few motions: their mirror images make a model
 * ready for those of others, with a tenth of the error where they are smooth. */
static void add_mirrored(trainer *t, const float *latent)
{
    const uint32_t horizon = t->model->horizon;
    for (int way = 0; way < MIRRORED; way++) {
        float *to = t->latents + t->count++ * horizon;
        for (uint32_t k = 0; k < horizon; k++)
            to[k] = ((way & 1) != 0) != ((way & 2) && k % 2) ? -latent[k] : latent[k];
    }
}

static void sample(trainer *t, size_t group, const float *latents, size_t n)
{
    const size_t total = t->total[group];
    for (size_t i = 0; i < n; i++, t->seen[group]++)
        if (total <= t->quota || (t->seen[group] + 1) * t->quota / total != t->taken[group]) {
            t->taken[group]++;
            add_mirrored(t, latents + i * t->model->horizon);
        }
}

static vq_status collect_signal(trainer *t, size_t index, const vq_dimensions *ranges,
                                float *latents)
{
    const vq_signal *s = t->set.signals[index];
    const size_t steps = s->shape[s->ndim - 2], count = dimensions_of(s);
    for (size_t e = 0; e < episodes_of(s); e++)
        for (size_t c = 0; c < chunks_in(t->model, steps); c++) {
            const size_t at = c * hop_of(t->model), left = steps - at;
            const float *chunk = s->data + (e * steps + at) * count;
            if (vqi_action_analyse(latents, t->model, ranges, chunk,
                                   left < t->model->horizon ? left : t->model->horizon) >= 0)
                return vqi_fail(VQ_E_NONFINITE, "training action %zu holds a NaN or an infinity",
                                index);
            sample(t, t->group[index], latents, count);
        }
    return VQ_OK;
}

/* Jumps from one end of the range to the other at every step of a chunk, which quiet data seldom hold. */
static void add_steps(trainer *t)
{
    const uint32_t horizon = t->model->horizon;
    for (size_t copy = 0; copy < step_copies(t); copy++)
        for (uint32_t at = 1; at < horizon; at++)
            for (int sign = -1; sign <= 1; sign += 2) {
                float *to = t->latents + t->count++ * horizon;
                for (uint32_t k = 0; k < horizon; k++) {
                    to[k] = 0;
                    for (uint32_t i = 0; i < horizon; i++)
                        to[k] += t->model->basis[k * horizon + i] *
                                 (float)((i < at) == (sign > 0) ? 1 : -1);
                }
            }
}

static vq_status collect(trainer *t)
{
    vq_status status = plan(t);
    for (size_t g = 0; !status && g < t->set.count; g++) {
        if (t->group[g] != g)
            continue;
        vq_dimensions *ranges = NULL;
        float *latents =
            vqi_alloc(dimensions_of(t->set.signals[g]), t->model->horizon * sizeof *latents);
        status = latents ? vqi_action_set_fit(&ranges, &t->set, g) : vqi_fail_nomem(0);
        for (size_t i = g; !status && i < t->set.count; i++)
            if (t->group[i] == g)
                status = collect_signal(t, i, ranges, latents);
        vq_free(latents);
        if (t->opts->universal || status)
            vq_dimensions_free(ranges);
        else
            t->model->dimensions = ranges;
    }
    if (!status)
        add_steps(t);
    return status;
}

/*
 * A universal model is to be good in proportion: what is smooth can be told exactly, and shall be, though noisy data have a thousand
 * times its error. So a chunk counts by what is neither mean nor slope in it; half as much where that is `smooth`.
 */
static float *relative_weights(const trainer *t)
{
    const double smooth = 1.2e-4;
    const uint32_t horizon = t->model->horizon;
    float *weights = vqi_alloc(t->count, sizeof *weights);
    for (size_t i = 0; weights && i < t->count; i++) {
        double rough = 0;
        for (uint32_t k = 2; k < horizon; k++)
            rough += (double)t->latents[i * horizon + k] * t->latents[i * horizon + k];
        weights[i] = (float)(smooth / (smooth + rough));
    }
    return weights;
}

static vq_status train_levels(trainer *t)
{
    const vq_codec_train_opts *given = t->opts;
    if (given->quantizer)
        return given->quantizer(given->context, &t->quantizer, t->latents, t->count,
                                t->model->horizon);
    vqi_level_progress progress = {given, 0};
    vq_residual_train_opts opts = vqi_levels_opts(&progress, given->resume, CODEWORDS, ITERATIONS);
    opts.levels = given->levels ? given->levels : LEVELS;
    opts.beam = given->beam;
    opts.refits = given->refits;
    float *weights = given->universal ? relative_weights(t) : NULL;
    if (given->universal && !weights)
        return vqi_fail_nomem(t->count * sizeof *weights);
    opts.kmeans.weights = weights;
    const vq_status status =
        vq_residual_train(&t->quantizer, t->latents, t->count, t->model->horizon, &opts);
    vq_free(weights);
    return status;
}

vq_status vqi_action_save(vq_tensors **out, const vqi_action_model *model,
                          const vq_quantizer *quantizer, const char *codec)
{
    vq_tensors *tensors;
    vq_status status = vq_tensors_create(&tensors);
    if (status)
        return status;
    status = vqi_action_model_save(tensors, model, codec);
    if (!status)
        status = vq_quantizer_save(tensors, quantizer, "quantizer.");
    if (status) {
        vq_tensors_free(tensors);
        return status;
    }
    *out = tensors;
    return VQ_OK;
}

vq_status vqi_action_check(const vq_codec_train_opts *opts)
{
    if (opts->levels > VQ_MAX_LEVELS || opts->horizon > VQI_MAX_HORIZON || opts->beam > VQ_MAX_BEAM)
        return vqi_fail(VQ_E_ARG,
                        "%u levels, chunks of %u steps and a beam of %u were asked for (at most "
                        "%d, %d and %d)",
                        opts->levels, opts->horizon, opts->beam, VQ_MAX_LEVELS, VQI_MAX_HORIZON,
                        VQ_MAX_BEAM);
    if (opts->dim)
        return vqi_fail(VQ_E_ARG, "the codec of actions keeps all coefficients of a chunk");
    return VQ_OK;
}

vq_status vqi_action_train(vq_tensors **model, const vq_signal_source *source,
                           const vq_codec_train_opts *opts)
{
    trainer t = {.opts = opts};
    vq_status status = vqi_action_check(opts);
    if (!status)
        status = vqi_action_set_read(&t.set, source, opts);
    if (!status)
        status = vqi_action_model_create(&t.model, opts->horizon ? opts->horizon : HORIZON);
    if (!status)
        status = collect(&t);
    if (!status)
        status = train_levels(&t);
    if (!status && opts->trained)
        status = opts->trained(opts->context, t.quantizer, t.latents, t.count);
    if (!status) {
        const uint32_t levels = vq_quantizer_levels(t.quantizer);
        t.model->default_levels = levels < DEFAULT_LEVELS ? levels : DEFAULT_LEVELS;
        status = vqi_action_save(model, t.model, t.quantizer, "action");
    }
    vq_quantizer_free(t.quantizer);
    vqi_action_model_free(t.model);
    vqi_action_set_clear(&t.set);
    vq_free(t.group);
    vq_free(t.total);
    vq_free(t.seen);
    vq_free(t.taken);
    vq_free(t.latents);
    return status;
}
