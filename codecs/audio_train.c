/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training the audio model. Two passes over the sounds: the first measures how large coefficients and energies are, the second
 * collects latents for the residual quantizer. Each sound is taken several times, begun a part of a hop later: its
 * coefficients are then all different, and sound the same.
 */
#include <math.h>
#include <string.h>

#include "codecs/audio_internal.h"
#include "codecs/elementary_internal.h"
#include "codecs/train_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* The recipe of the built-in model. */
enum {
    HOP = 320,
    RATE = VQ_AUDIO_TRAIN_RATE,
    LEVELS = 16,
    DEFAULT_LEVELS = 8,
    CODEWORDS = 1024,
    FIRST_KEPT = 1,
    KEPT = 37,
    ITERATIONS = 6,
    TRAIN_BEAM = 2, /* wider ones in training gain nothing */
    BEAM = 6,       /* in encoding they do */
    GAINS_BEAM =
        8, /* the wider, the quieter are prefixes of few levels: gains make up for a little more */
    REFITS = 3,
    SHIFTS = 5,
    MAX_VECTORS = 400000,
    PASSES = 2,
    CHUNK = 4096 /* latents */
};

/* Chosen on speakers that were trained on; STOI is what they are for. */
static const float exponent = 0.8f, energy_floor = 1e-9f;
/* The energies' part of a latent's variance against the coefficients' part. */
static const double energy_weight = 1.4;
/* Of the bands, in coefficients; at low rates nothing hears more. */
static const uint32_t band_edges[] = {38,  45,  52,  61,  70,  81,  92,  106, 120,
                                      137, 155, 175, 198, 224, 252, 284, 320};
enum { BANDS = sizeof band_edges / sizeof *band_edges - 1 };
static const double max_gain = 4;
/* The last shift of a sound is this loud, so that quiet sounds have codewords too. */
static const float quiet_gain = 0.25f;

typedef struct trainer {
    const vq_signal_source *source;
    const vq_codec_train_opts *opts;
    vqi_audio_model *model;
    float *scratch;
    float *frame;           /**< the latents of one */
    double *sums;           /**< d, of the first pass */
    double *squares;        /**< d */
    uint64_t total;         /**< vectors that the source offers, all shifts */
    uint64_t seen, sampled; /**< of them, in the second pass */
    size_t limit;           /**< vectors to keep */
    float *latents;         /**< limit x d */
    vq_quantizer *quantizer;
} trainer;

static vq_status model_create(vqi_audio_model **out, uint32_t kept, uint32_t levels)
{
    vqi_audio_model *model = vqi_calloc(1, sizeof *model);
    if (!model)
        return vqi_fail_nomem(sizeof *model);
    *model = (vqi_audio_model){.hop = HOP,
                               .rate = RATE,
                               .default_levels = levels < DEFAULT_LEVELS ? levels : DEFAULT_LEVELS,
                               .beam = BEAM,
                               .kept_count = kept,
                               .gain_levels = levels,
                               .exponent = exponent,
                               .floor = energy_floor};
    /* Bands take over where the coefficients end: the first one that reaches beyond them, or its rest. */
    uint32_t first = 0;
    while (band_edges[first + 1] <= FIRST_KEPT + kept)
        first++;
    model->band_count = BANDS - first;
    vq_status status = vqi_audio_model_allocate(model);
    if (!status) {
        const double pi = 3.14159265358979323846;
        for (uint32_t j = 0; j < 2 * HOP; j++)
            model->window[j] = (float)sin(pi * (j + 0.5) / (2 * HOP));
        for (uint32_t i = 0; i < kept; i++)
            model->kept[i] = FIRST_KEPT + i;
        for (uint32_t b = 0; b <= model->band_count; b++)
            model->edges[b] = b ? band_edges[first + b] : FIRST_KEPT + kept;
        for (uint32_t i = 0; i < vqi_audio_dim(model); i++)
            model->weights[i] = 1.0f;
        for (size_t i = 0; i < (size_t)levels * kept; i++)
            model->gains[i] = 1.0f;
        status = vqi_audio_model_prepare(model);
    }
    if (status) {
        vqi_audio_model_free(model);
        return status;
    }
    *out = model;
    return VQ_OK;
}

/* Give every frame of a sound to `use`, begun at each shift, channel by channel. */
static vq_status each_frame(trainer *t, const vq_signal *signal, void (*use)(trainer *))
{
    const size_t samples = signal->shape[0], channels = signal->shape[1];
    float *window = vqi_calloc(samples + 3 * (size_t)HOP, sizeof *window);
    if (!window)
        return vqi_fail_nomem((samples + 3ull * HOP) * sizeof *window);
    for (size_t c = 0; c < channels; c++) {
        for (size_t shift = 0; shift < SHIFTS; shift++) {
            const float gain = shift + 1 < SHIFTS ? 1 : quiet_gain;
            for (size_t i = 0; i < samples; i++)
                window[HOP + i] = gain * signal->data[i * channels + c];
            for (size_t at = shift * HOP / SHIFTS; at < samples + HOP; at += HOP) {
                vqi_audio_analyse(t->frame, t->model, window + at, t->scratch);
                use(t);
            }
        }
    }
    vq_free(window);
    return VQ_OK;
}

static void measure(trainer *t)
{
    for (uint32_t i = 0; i < vqi_audio_dim(t->model); i++) {
        t->sums[i] += (double)t->frame[i];
        t->squares[i] += (double)t->frame[i] * (double)t->frame[i];
    }
    t->total++;
}

/* Take latents at even steps, so that exactly `limit` of all that there are come together. */
static void sample(trainer *t)
{
    const size_t dim = vqi_audio_dim(t->model);
    if (t->total <= t->limit || (t->seen + 1) * t->limit / t->total != t->sampled)
        memcpy(t->latents + t->sampled++ * dim, t->frame, dim * sizeof *t->frame);
    t->seen++;
}

static vq_status read_sound(vq_signal **out, const trainer *t, size_t index, size_t pass)
{
    const vq_codec_train_opts *opts = t->opts;
    if (opts->reading &&
        opts->reading(opts->context, pass * t->source->count + index, PASSES * t->source->count))
        return vqi_fail(VQ_E_CANCELLED, "cancelled");
    vq_signal *signal = NULL;
    const vq_status status = t->source->read(t->source->context, index, &signal);
    if (status)
        return status;
    int finite = 1;
    for (size_t i = 0; i < vq_signal_count(signal); i++)
        finite &= fabsf(signal->data[i]) <= 0x1p20f;
    const char *wrong = signal->kind != VQ_KIND_AUDIO ? "is not a sound"
                        : signal->rate != 0 && signal->rate != RATE
                            ? "is not of VQ_AUDIO_TRAIN_RATE samples per second"
                            : NULL;
    if (!wrong && finite) {
        *out = signal;
        return VQ_OK;
    }
    vq_signal_free(signal);
    return wrong
               ? vqi_fail(VQ_E_ARG, "training signal %zu %s", index, wrong)
               : vqi_fail(VQ_E_NONFINITE, "training signal %zu holds a NaN or an infinity", index);
}

static vq_status for_each_sound(trainer *t, size_t pass, void (*use)(trainer *))
{
    for (size_t i = 0; i < t->source->count; i++) {
        vq_signal *signal = NULL;
        vq_status status = read_sound(&signal, t, i, pass);
        if (status)
            return status;
        status = each_frame(t, signal, use);
        vq_signal_free(signal);
        if (status)
            return status;
    }
    return VQ_OK;
}

/* Coefficients share one weight, and so do energies: what is larger on average matters more. */
static void choose_weights(trainer *t)
{
    vqi_audio_model *model = t->model;
    const double n = (double)t->total;
    const uint32_t kept = model->kept_count, dim = vqi_audio_dim(model);
    double coefficients = 0, energies = 0, mean = 0;
    for (uint32_t i = 0; i < kept; i++)
        coefficients += t->squares[i] / n / kept;
    for (uint32_t i = kept; i < dim; i++) {
        model->offsets[i - kept] = (float)(t->sums[i] / n);
        mean += t->sums[i] / n / (dim - kept);
        energies += t->squares[i] / n / (dim - kept);
    }
    energies -= mean * mean;
    for (uint32_t i = 0; i < dim; i++)
        model->weights[i] = (float)(i < kept ? 1 / sqrt(coefficients + 1e-12)
                                             : energy_weight / sqrt(energies + 1e-6));
}

static vq_status collect(trainer *t)
{
    const size_t dim = vqi_audio_dim(t->model);
    t->scratch = vqi_alloc(vqi_audio_scratch(t->model), sizeof *t->scratch);
    t->frame = vqi_alloc(dim, sizeof *t->frame);
    t->sums = vqi_calloc(dim, sizeof *t->sums);
    t->squares = vqi_calloc(dim, sizeof *t->squares);
    if (!t->scratch || !t->frame || !t->sums || !t->squares)
        return vqi_fail_nomem(vqi_audio_scratch(t->model) * sizeof *t->scratch);
    vq_status status = for_each_sound(t, 0, measure);
    if (status)
        return status;
    choose_weights(t);
    const uint64_t kept = t->total < t->limit ? t->total : t->limit;
    t->latents = vqi_alloc((size_t)kept, dim * sizeof *t->latents);
    if (!t->latents)
        return vqi_fail_nomem(kept * dim * sizeof *t->latents);
    return for_each_sound(t, 1, sample);
}

/* Levels up to `levels` on top of those that are there, and then all of them together. */
static vq_status train_more(trainer *t, uint32_t levels, uint32_t refits,
                            vqi_level_progress *progress)
{
    const vq_codec_train_opts *given = t->opts;
    const vq_quantizer *have = t->quantizer ? t->quantizer : given->resume;
    vq_residual_train_opts opts = vqi_levels_opts(progress, have, CODEWORDS, ITERATIONS);
    opts.levels = levels;
    opts.beam = given->beam ? given->beam : TRAIN_BEAM;
    opts.refits = refits;
    opts.kmeans.seeding = VQ_SEEDING_RANDOM;
    vq_quantizer *quantizer;
    const vq_status status = vq_residual_train(&quantizer, t->latents, (size_t)t->sampled,
                                               vqi_audio_dim(t->model), &opts);
    if (status)
        return status;
    vq_quantizer_free(t->quantizer);
    t->quantizer = quantizer;
    return VQ_OK;
}

/* The default levels are refitted among themselves, so that they lose nothing to those that come after; these have enough bits
   as they are. */
static vq_status train_levels(trainer *t, uint32_t levels)
{
    const vq_codec_train_opts *given = t->opts;
    const uint32_t first = levels < DEFAULT_LEVELS ? levels : DEFAULT_LEVELS;
    if (given->quantizer)
        return given->quantizer(given->context, &t->quantizer, t->latents, (size_t)t->sampled,
                                vqi_audio_dim(t->model));
    vqi_level_progress progress = {given, 0};
    vq_status status = VQ_OK;
    if (!given->resume || vq_quantizer_levels(given->resume) <= first)
        status = train_more(t, first, given->refits ? given->refits : REFITS, &progress);
    return status || levels == first ? status : train_more(t, levels, 0, &progress);
}

/* energies[j] += |y|^(2 / exponent) of each kept coefficient: their energies before companding. */
static void add_energies(double *energies, const vqi_audio_model *model, const float *y, size_t n)
{
    const uint32_t dim = vqi_audio_dim(model);
    const double power = 2 / (double)model->exponent;
    for (size_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < model->kept_count; j++)
            energies[j] += vqi_power(fabs((double)y[i * dim + j]), power);
}

/* Energies of the coefficients, row 0, and of what each number of levels gives, in the rows after. */
static vq_status measure_levels(double *energies, const trainer *t, uint32_t *codes, float *decoded)
{
    const vqi_audio_model *model = t->model;
    const uint32_t levels = vq_quantizer_levels(t->quantizer), dim = vqi_audio_dim(model);
    uint32_t *prefix = codes + (size_t)CHUNK * levels;
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.threads = t->opts->threads;
    opts.beam = GAINS_BEAM;
    for (size_t first = 0; first < t->sampled; first += CHUNK) {
        const size_t n = t->sampled - first < CHUNK ? (size_t)t->sampled - first : CHUNK;
        const float *x = t->latents + first * dim;
        add_energies(energies, model, x, n);
        opts.levels = levels;
        vq_status status = vq_quantize(codes, t->quantizer, x, n, &opts);
        for (uint32_t l = 1; !status && l <= levels; l++) {
            for (size_t i = 0; i < n; i++)
                memcpy(prefix + i * l, codes + i * levels, l * sizeof *codes);
            opts.levels = l;
            status = vq_dequantize(decoded, t->quantizer, prefix, n, &opts);
            if (!status)
                add_energies(energies + (size_t)l * model->kept_count, model, decoded, n);
        }
        if (status)
            return status;
    }
    return VQ_OK;
}

/* Codewords are means, and means are smaller than what they stand for: what so many levels give has less energy than the
   sound. The gain of a coefficient puts that right on average. */
static vq_status fit_gains(trainer *t)
{
    vqi_audio_model *model = t->model;
    const uint32_t levels = vq_quantizer_levels(t->quantizer), dim = vqi_audio_dim(model);
    const size_t kept = model->kept_count;
    float *gains = vqi_alloc(levels, kept * sizeof *gains);
    uint32_t *codes = vqi_alloc(CHUNK, 2 * (size_t)levels * sizeof *codes);
    float *decoded = vqi_alloc(CHUNK, dim * sizeof *decoded);
    double *energies = vqi_calloc(levels + (size_t)1, kept * sizeof *energies);
    vq_status status = gains && codes && decoded && energies
                           ? measure_levels(energies, t, codes, decoded)
                           : vqi_fail_nomem((unsigned long long)CHUNK * dim * sizeof(float));
    if (!status) {
        for (size_t i = 0; i < levels * kept; i++) {
            const double has = energies[kept + i], should = energies[i % kept];
            const double gain = has > 0 ? sqrt(should / has) : 1;
            gains[i] = (float)(gain < max_gain ? gain : max_gain);
        }
        vq_free(model->gains);
        model->gains = gains;
        model->gain_levels = levels;
        gains = NULL;
    }
    vq_free(gains);
    vq_free(codes);
    vq_free(decoded);
    vq_free(energies);
    return status;
}

static vq_status save(vq_tensors **out, const vqi_audio_model *model, const vq_quantizer *quantizer)
{
    vq_tensors *tensors;
    vq_status status = vq_tensors_create(&tensors);
    if (status)
        return status;
    status = vqi_audio_model_save(tensors, model);
    if (!status)
        status = vq_quantizer_save(tensors, quantizer, "quantizer.");
    if (status) {
        vq_tensors_free(tensors);
        return status;
    }
    *out = tensors;
    return VQ_OK;
}

vq_status vqi_audio_train(vq_tensors **model, const vq_signal_source *source,
                          const vq_codec_train_opts *opts)
{
    const uint32_t levels = opts->levels ? opts->levels : LEVELS;
    const uint32_t kept = opts->dim ? opts->dim : KEPT;
    const uint32_t max_kept = band_edges[BANDS - 1] - FIRST_KEPT;
    if (levels > VQ_MAX_LEVELS || kept > max_kept)
        return vqi_fail(VQ_E_ARG, "%u levels of %u coefficients were asked for (at most %d of %u)",
                        levels, kept, VQ_MAX_LEVELS, max_kept);
    if (opts->beam > VQ_MAX_BEAM)
        return vqi_fail(VQ_E_ARG, "a beam of %u was asked for (at most %d)", opts->beam,
                        VQ_MAX_BEAM);
    if (!source->count)
        return vqi_fail(VQ_E_ARG, "there are no training sounds");
    trainer t = {.source = source,
                 .opts = opts,
                 .limit = opts->max_vectors ? opts->max_vectors : MAX_VECTORS};
    vq_status status = model_create(&t.model, kept, levels);
    if (!status)
        status = collect(&t);
    if (!status)
        status = train_levels(&t, levels);
    if (!status)
        status = fit_gains(&t);
    if (!status && opts->trained)
        status = opts->trained(opts->context, t.quantizer, t.latents, (size_t)t.sampled);
    if (!status)
        status = save(model, t.model, t.quantizer);
    vq_quantizer_free(t.quantizer);
    vqi_audio_model_free(t.model);
    vq_free(t.scratch);
    vq_free(t.frame);
    vq_free(t.sums);
    vq_free(t.squares);
    vq_free(t.latents);
    return status;
}
