/* SPDX-License-Identifier: Apache-2.0 */
/* Training of a residual quantizer: one k-means after another, each on what the last left over; then refits. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "rvq/residual.h"
#include "rvq/residual_internal.h"
#include "vq/error_internal.h"
#include "vq/kmeans_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/random_internal.h"

enum { DEFAULT_LEVELS = 4, SHARED_REFITS = 4 };

#define DEFAULT_DAMPING 64

typedef struct training {
    vq_residual_train_opts opts;
    const float *x; /* n x d */
    size_t n;
    uint32_t d;
    float *
        residual; /* n x d for each of opts.prefixes: the best prefixes of all rows, then the second best ... */
    float *weights;  /* kmeans.weights as often, or NULL */
    size_t rows;     /* of the residuals that are there: n, or a multiple */
    uint32_t *codes; /* n x levels; greedily found ones are there as soon as their level is */
    uint32_t *own;   /* n: of one level */
    bool coded;      /* the codes are those of the codebooks */
    vqi_beam_kept
        kept; /* of a beam: where it is after the levels so far; without codes if that would be much */
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    uint32_t levels; /* trained so far */
} training;

static uint32_t level_k(const training *t, uint32_t level)
{
    if (t->opts
            .shared) { /* equal shares, the first ones larger by one where it does not come out even */
        const uint32_t k = t->opts.kmeans.k, levels = t->opts.levels;
        return k / levels + (level < k % levels);
    }
    return t->opts.k ? t->opts.k[level] : t->opts.kmeans.k;
}

/* The first levels must be those that an uninterrupted run with these options would have made. */
static vq_status check_resume(const training *t)
{
    const vq_quantizer *q = t->opts.resume;
    if (strcmp(vq_quantizer_kind(q), vqi_residual_kind.name) != 0)
        return vqi_fail(VQ_E_ARG, "a %s quantizer cannot be resumed as a residual one",
                        vq_quantizer_kind(q));
    if (vq_quantizer_dim(q) != t->d)
        return vqi_fail(VQ_E_ARG, "the quantizer to resume has %u dimensions and the rows have %u",
                        vq_quantizer_dim(q), t->d);
    if (vq_quantizer_levels(q) > t->opts.levels)
        return vqi_fail(VQ_E_ARG, "the quantizer to resume has %u levels (more than the %u wanted)",
                        vq_quantizer_levels(q), t->opts.levels);
    for (uint32_t l = 0; l < vq_quantizer_levels(q); l++)
        if (vq_quantizer_k(q, l) != level_k(t, l))
            return vqi_fail(VQ_E_ARG, "level %u to resume has %u codewords (not the %u wanted)", l,
                            vq_quantizer_k(q, l), level_k(t, l));
    return VQ_OK;
}

static vq_status prepare(training *t, const float *x, size_t n, uint32_t d,
                         const vq_residual_train_opts *opts)
{
    const vq_status status = vqi_options(&t->opts, sizeof t->opts, opts, "vq_residual_train_opts");
    if (status)
        return status;
    if (!t->opts.levels)
        t->opts.levels = DEFAULT_LEVELS;
    if (t->opts.levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "vq_residual_train_opts.levels is %u (at most %d)",
                        t->opts.levels, VQ_MAX_LEVELS);
    if (t->opts.kmeans.seeds)
        return vqi_fail(VQ_E_ARG, "vq_residual_train_opts.kmeans.seeds must be NULL");
    if (t->opts.kmeans.metric != VQ_METRIC_EUCLIDEAN)
        return vqi_fail(VQ_E_ARG,
                        "vq_residual_train_opts.kmeans.metric is %s (residual levels are "
                        "euclidean)",
                        vq_metric_name(t->opts.kmeans.metric));
    if (t->opts.beam > VQ_MAX_BEAM)
        return vqi_fail(VQ_E_ARG, "vq_residual_train_opts.beam is %u (at most %d)", t->opts.beam,
                        VQ_MAX_BEAM);
    if (!(t->opts.damping >= 0 && t->opts.damping <= DBL_MAX))
        return vqi_fail(VQ_E_ARG, "vq_residual_train_opts.damping is %g (finite, not below 0)",
                        t->opts.damping);
    if (!(t->opts.damping > 0))
        t->opts.damping = DEFAULT_DAMPING;
    if (t->opts.prefixes > (t->opts.beam > 1 ? t->opts.beam : 1))
        return vqi_fail(VQ_E_ARG, "vq_residual_train_opts.prefixes is %u, of a beam of %u",
                        t->opts.prefixes, t->opts.beam > 1 ? t->opts.beam : 1);
    t->opts.prefixes = t->opts.prefixes ? t->opts.prefixes : 1;
    if (t->opts.inner_seeds < 0 || t->opts.inner_seeds > VQ_INNER_SEEDS_WHERE_SPREAD)
        return vqi_fail(VQ_E_ARG, "vq_residual_train_opts.inner_seeds is %d (0 to 2)",
                        t->opts.inner_seeds);
    if (t->opts.shared && (t->opts.k || t->opts.resume))
        return vqi_fail(VQ_E_ARG,
                        "vq_residual_train_opts.shared is set, and so is %s (which must be NULL)",
                        t->opts.k ? "k" : "resume");
    if (t->opts.shared && t->opts.kmeans.k < t->opts.levels)
        return vqi_fail(VQ_E_ARG, "%u codewords for %u levels to share (at least as many)",
                        t->opts.kmeans.k, t->opts.levels);
    const uint32_t prefixes = t->opts.prefixes;
    size_t floats, codes, most;
    if (!x || !n || !d || !vqi_mul(&floats, n, d) || !vqi_mul(&codes, n, t->opts.levels) ||
        !vqi_mul(&most, floats, prefixes))
        return vqi_fail(VQ_E_ARG, "residual training on %zu rows of %u floats (give some)", n, d);
    t->x = x;
    t->n = t->rows = n;
    t->d = d;
    if (t->opts.resume) {
        const vq_status resumable = check_resume(t);
        if (resumable)
            return resumable;
    }
    t->residual = vqi_alloc(most, sizeof *t->residual);
    t->codes = vqi_alloc(codes, sizeof *t->codes);
    t->own = vqi_alloc(n, sizeof *t->own);
    if (!t->residual || !t->codes || !t->own)
        return vqi_fail_nomem((unsigned long long)most * sizeof *t->residual);
    memcpy(t->residual, x, floats * sizeof *x);
    if (t->opts.kmeans.weights && prefixes > 1) {
        t->weights = vqi_alloc(most / d, sizeof *t->weights);
        if (!t->weights)
            return vqi_fail_nomem((unsigned long long)most / d * sizeof *t->weights);
        for (uint32_t p = 0; p < prefixes; p++)
            memcpy(t->weights + p * n, t->opts.kmeans.weights, n * sizeof *t->weights);
        t->opts.kmeans.weights = t->weights;
    }
    /* As large as two copies of the rows, at most; with more, each level begins at the first again. */
    if (t->opts.beam > 1 &&
        (prefixes > 1 || (uint64_t)t->opts.beam * t->opts.levels <= 2 * (uint64_t)d))
        return vqi_beam_keep(&t->kept, n, t->opts.beam, t->opts.levels);
    return VQ_OK;
}

/* The codes of all rows under the levels so far, by the beam of training. */
static vq_status encode(training *t, const vq_quantizer *q)
{
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.beam = t->opts.beam;
    opts.threads = t->opts.kmeans.threads;
    return vq_quantize(t->codes, q, t->x, t->n, &opts);
}

/* What these codes leave of the rows. */
static void leave(training *t, const vq_quantizer *q)
{
    const uint32_t levels = vq_quantizer_levels(q);
    memcpy(t->residual, t->x, t->n * t->d * sizeof *t->residual);
    for (uint32_t l = 0; l < levels; l++)
        vqi_residual_subtract(t->residual, vq_quantizer_codebook(q, l), t->codes + l, levels, t->n,
                              t->opts.kmeans.threads);
}

/* What the best of the prefixes that are kept leave of the rows, one prefix after the other. */
static void leave_kept(training *t, const vq_quantizer *q)
{
    const vqi_beam_kept *kept = &t->kept;
    const uint32_t levels = vq_quantizer_levels(q),
                   some = kept->prefixes < t->opts.prefixes ? kept->prefixes : t->opts.prefixes;
    for (uint32_t p = 0; p < some; p++) {
        float *residual = t->residual + p * t->n * t->d;
        memcpy(residual, t->x, t->n * t->d * sizeof *residual);
        for (uint32_t l = 0; l < levels; l++)
            vqi_residual_subtract(residual, vq_quantizer_codebook(q, l),
                                  kept->codes + (size_t)p * kept->room + l,
                                  (size_t)kept->beam * kept->room, t->n, t->opts.kmeans.threads);
    }
    t->rows = some * t->n;
}

/* The next level is there, with its codes of the residuals: find what it leaves over. */
static vq_status strip(training *t)
{
    const vq_codebook *codebook = t->codebooks[t->levels++];
    const bool last = t->levels == t->opts.levels; /* nothing is trained on what that leaves */
    vq_quantizer *so_far;
    if (t->opts.beam <= 1) {
        for (size_t i = 0; i < t->n; i++)
            t->codes[i * t->opts.levels + t->levels - 1] = t->own[i];
        if (!last)
            vqi_residual_subtract(t->residual, codebook, t->own, 1, t->n, t->opts.kmeans.threads);
        t->coded = last;
        return VQ_OK;
    }
    if (last && !t->kept.codes)
        return VQ_OK;
    vq_status status = vqi_residual_view(&so_far, t->codebooks, t->levels);
    if (status)
        return status;
    const bool keeps = t->kept.codes != NULL;
    status = keeps ? vqi_beam_extend(t->codes, &t->kept, so_far, t->x, t->n, t->opts.kmeans.threads)
                   : encode(t, so_far);
    if (!status && !last)
        (keeps ? leave_kept : leave)(t, so_far);
    t->coded = !status && last;
    vq_quantizer_free(so_far);
    return status;
}

/* Codebooks that fit the codes better; the old ones are freed. */
static vq_status refit(training *t)
{
    vq_codebook *better[VQ_MAX_LEVELS];
    vq_quantizer *q;
    vq_status status = vqi_residual_view(&q, t->codebooks, t->levels);
    if (status)
        return status;
    if (!t->coded)
        status = encode(t, q);
    if (!status) {
        leave(t, q);
        status = vqi_residual_refit(better, q, t->residual, t->codes, t->n, t->opts.damping,
                                    t->opts.kmeans.threads);
    }
    vq_quantizer_free(q);
    if (status)
        return status;
    vqi_residual_free_codebooks(t->codebooks, t->levels);
    memcpy(t->codebooks, better, t->levels * sizeof *better);
    t->coded = false;
    return VQ_OK;
}

static vq_status resume(training *t)
{
    for (uint32_t l = 0; l < vq_quantizer_levels(t->opts.resume); l++) {
        const vq_codebook *theirs = vq_quantizer_codebook(t->opts.resume, l);
        vq_status status = vq_codebook_create(&t->codebooks[l], vq_codebook_codewords(theirs),
                                              vq_codebook_k(theirs), t->d, VQ_METRIC_EUCLIDEAN,
                                              vq_codebook_storage(theirs));
        if (!status && t->opts.beam <= 1) {
            vq_search_opts search = VQ_SEARCH_OPTS_INIT;
            search.threads = t->opts.kmeans.threads;
            status = vq_nearest(t->own, NULL, t->codebooks[l], t->residual, t->n, &search);
            if (status) {
                vq_codebook_free(t->codebooks[l]);
                t->codebooks[l] = NULL;
            }
        }
        if (!status)
            status = strip(t);
        if (status)
            return status;
    }
    return VQ_OK;
}

static vq_status tell(const training *t, const vq_kmeans_report *report)
{
    if (!t->opts.level_done || t->opts.shared)
        return VQ_OK;
    vq_quantizer *so_far;
    const vq_status status = vqi_residual_view(&so_far, t->codebooks, t->levels);
    if (status)
        return status;
    const int stop = t->opts.level_done(t->opts.level_context, t->levels - 1, so_far, report);
    vq_quantizer_free(so_far);
    return stop ? vqi_fail(VQ_E_CANCELLED, "residual training was stopped after level %u",
                           t->levels - 1)
                : VQ_OK;
}

/*
 * Random rows as seeds, drawn towards the mean. In many dimensions a row is far from every other and near to itself: rows as
 * they are would keep themselves as codewords and leave the rest to the few that happen to be short. A codeword of K
 * in a Gaussian cloud has the share 1 - K^(-2/d) of the rows' mean square (rate and distortion), so seeds get that.
 */
static vq_status draw_seeds(float *seeds, const training *t, uint32_t k, uint64_t seed)
{
    const size_t d = t->d;
    double *mean = vqi_calloc(d, sizeof *mean);
    if (!mean)
        return vqi_fail_nomem(d * sizeof *mean);
    for (size_t i = 0; i < t->rows; i++)
        for (size_t j = 0; j < d; j++)
            mean[j] += t->residual[i * d + j];
    /* In steps, as the last bit of pow() is not the same everywhere. */
    const double share = ceil(64 * sqrt(1 - pow(k, -2.0 / (double)d))) / 64;
    vqi_random random = vqi_random_from(seed);
    for (size_t c = 0; c < k; c++) { /* one of each k-th of the rows: all differ */
        const size_t first = t->rows * c / k, end = t->rows * (c + 1) / k;
        const size_t row = first + (size_t)(vqi_random_uniform(&random) * (double)(end - first));
        for (size_t j = 0; j < d; j++) {
            const double middle = mean[j] / (double)t->rows;
            seeds[c * d + j] = (float)(middle + share * (t->residual[row * d + j] - middle));
        }
    }
    vq_free(mean);
    return VQ_OK;
}

static vq_status train_level(training *t)
{
    const uint32_t level = t->levels;
    vq_kmeans_opts kmeans = t->opts.kmeans;
    vq_kmeans_report report;
    kmeans.k = level_k(t, level);
    kmeans.seed += level;
    float *seeds = NULL;
    vq_status status = VQ_OK;
    int inner = t->opts.inner_seeds == 1 && kmeans.seeding == VQ_SEEDING_RANDOM;
    if (t->opts.inner_seeds == VQ_INNER_SEEDS_WHERE_SPREAD)
        status = vqi_residual_is_spread(&inner, t->residual, t->rows, t->d, kmeans.k);
    if (!status && inner && !kmeans.weights && kmeans.k && kmeans.k <= t->n) {
        seeds = vqi_alloc(kmeans.k, t->d * sizeof *seeds);
        status = seeds ? draw_seeds(seeds, t, kmeans.k, kmeans.seed)
                       : vqi_fail_nomem((unsigned long long)kmeans.k * t->d * sizeof *seeds);
        kmeans.seeds = seeds;
    }
    if (!status)
        status =
            vqi_kmeans_train_codes(&t->codebooks[level], &report, t->opts.beam <= 1 ? t->own : NULL,
                                   t->residual, t->rows, t->d, &kmeans);
    vq_free(seeds);
    if (status)
        return status;
    status = strip(t);
    if (!status)
        status = tell(t, &report);
    vq_kmeans_report_clear(&report);
    return status;
}

/* One codebook of all the levels' codewords, for all levels. */
static vq_status share(training *t)
{
    size_t k = 0;
    for (uint32_t l = 0; l < t->levels; l++)
        k += vq_codebook_k(t->codebooks[l]);
    float *all = vqi_alloc(k, t->d * sizeof *all), *to = all;
    if (!all)
        return vqi_fail_nomem((unsigned long long)k * t->d * sizeof *all);
    for (uint32_t l = 0; l < t->levels; l++) {
        const size_t count = (size_t)vq_codebook_k(t->codebooks[l]) * t->d;
        memcpy(to, vq_codebook_codewords(t->codebooks[l]), count * sizeof *to);
        to += count;
    }
    vq_codebook *shared;
    const vq_status status = vq_codebook_create(&shared, all, (uint32_t)k, t->d,
                                                VQ_METRIC_EUCLIDEAN, t->opts.kmeans.storage);
    vq_free(all);
    if (status)
        return status;
    vqi_residual_free_codebooks(t->codebooks, t->levels);
    for (uint32_t l = 0; l < t->levels; l++)
        t->codebooks[l] = shared;
    t->coded = false;
    return VQ_OK;
}

static vq_status train_all(training *t)
{
    vq_status status = t->opts.resume ? resume(t) : VQ_OK;
    while (!status && t->levels < t->opts.levels)
        status = train_level(t);
    if (!status && t->opts.shared)
        status = share(t);
    const uint32_t refits = t->opts.refits ? t->opts.refits : t->opts.shared ? SHARED_REFITS : 0;
    for (uint32_t i = 0; i < refits && !status; i++)
        status = refit(t);
    return status;
}

vq_status vq_residual_train(vq_quantizer **out, const float *x, size_t n, uint32_t d,
                            const vq_residual_train_opts *opts)
{
    training t = {0};
    *out = NULL;
    vq_status status = prepare(&t, x, n, d, opts);
    if (!status)
        status = train_all(&t);
    vq_quantizer *q = NULL;
    if (!status)
        status = vq_residual_create(&q, t.codebooks, t.levels);
    if (!q)
        vqi_residual_free_codebooks(t.codebooks, t.levels);
    if (!status && !t.coded)
        status = encode(&t, q);
    if (!status)
        status = vqi_rate_count(q, t.codes, n);
    vqi_free(t.residual);
    vqi_free(t.codes);
    vqi_free(t.own);
    vqi_free(t.weights);
    vqi_beam_kept_clear(&t.kept);
    if (status)
        vq_quantizer_free(q);
    else
        *out = q;
    return status;
}
