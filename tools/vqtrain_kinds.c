/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of quantizer that vqtrain makes: what options each takes, and how it is trained and measured. */
#include <stdlib.h>
#include <string.h>

#include "rvq/product.h"
#include "rvq/scalar_train.h"
#include "vq/simvq.h"
#include "vqtrain.h"

struct vqtrain_kind {
    const char *name;
    uint32_t takes;  /* VQTRAIN_ bits */
    uint32_t levels; /* that it has unless --levels says; 0 = the data say */
    int in_memory;
    vq_status (*train)(vqtrain_run *run, vq_quantizer **out, const vq_source *rows);
};

static vq_status train_simvq(vqtrain_run *run, vq_quantizer **out, const vq_source *rows)
{
    const vq_kmeans_opts kmeans = vqtrain_kmeans_opts(run);
    vq_simvq_train_opts opts = VQ_SIMVQ_TRAIN_OPTS_INIT;
    opts.k = kmeans.k;
    opts.seed = kmeans.seed;
    opts.max_iterations = kmeans.max_iterations;
    opts.tolerance = kmeans.tolerance;
    opts.threads = kmeans.threads;
    opts.progress = kmeans.progress;
    opts.progress_context = kmeans.progress_context;
    return vq_simvq_train_source(out, NULL, rows, &opts);
}

static vq_residual_train_opts residual_opts(vqtrain_run *run)
{
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = run->settings->levels;
    opts.kmeans = vqtrain_kmeans_opts(run);
    opts.beam = run->settings->train_beam;
    opts.prefixes = run->settings->train_prefixes;
    opts.refits = run->settings->refits;
    opts.shared = run->settings->shared;
    if (!(run->settings->given & VQTRAIN_SEEDING))
        opts.inner_seeds = VQ_INNER_SEEDS_WHERE_SPREAD;
    return opts;
}

static vq_status train_rvq(vqtrain_run *run, vq_quantizer **out, const vq_source *rows)
{
    vq_residual_train_opts opts = residual_opts(run);
    opts.resume = run->before;
    opts.level_done = vqtrain_level_done;
    opts.level_context = run;
    return vq_residual_train(out, rows->memory, rows->n, rows->d, &opts);
}

/* A part of one level is what a checkpoint holds; with more of them there is none. */
static int on_part(void *context, uint32_t part, const vq_quantizer *so_far,
                   const vq_kmeans_report *report)
{
    return report ? vqtrain_level_done(context, part, so_far, report) : cli_interrupted();
}

static vq_status train_pq(vqtrain_run *run, vq_quantizer **out, const vq_source *rows)
{
    const vq_residual_train_opts part = residual_opts(run);
    vq_product_train_opts opts = VQ_PRODUCT_TRAIN_OPTS_INIT;
    opts.parts = run->settings->parts;
    opts.part = &part;
    opts.resume = run->before;
    opts.part_done = on_part;
    opts.part_context = run;
    return vq_product_train(out, rows->memory, rows->n, rows->d, &opts);
}

static vq_status train_split(vqtrain_run *run, vq_quantizer **out, const vq_source *rows)
{
    const vqtrain_settings *s = run->settings;
    const vq_kmeans_opts semantic = vqtrain_kmeans_opts(run);
    vq_residual_train_opts acoustic = residual_opts(run);
    vq_split_train_opts opts = VQ_SPLIT_TRAIN_OPTS_INIT;
    acoustic.levels = s->levels - 1;
    acoustic.kmeans.seed++;
    opts.semantic = &semantic;
    opts.acoustic = &acoustic;
    opts.input = s->split_input;
    opts.teacher = run->teacher;
    opts.teacher_dim = run->teacher_dim;
    return vq_split_train(out, rows->memory, rows->n, rows->d, &opts);
}

static vq_status train_scalar(vqtrain_run *run, vq_quantizer **out, const vq_source *rows,
                              vq_scalar_kind kind)
{
    const vqtrain_settings *s = run->settings;
    vq_scalar_train_opts opts = VQ_SCALAR_TRAIN_OPTS_INIT;
    opts.kind = kind;
    opts.k = s->k;
    opts.levels = s->levels;
    opts.bins = s->bin_count ? s->bins : NULL;
    opts.bin_count = s->bin_count;
    opts.bound = s->bound;
    opts.iterations = s->iterations;
    opts.seed = s->seed;
    opts.threads = run->common->threads;
    return vq_scalar_train(out, rows->memory, rows->n, rows->d, &opts);
}

static vq_status train_fsq(vqtrain_run *run, vq_quantizer **out, const vq_source *rows)
{
    return train_scalar(run, out, rows, VQ_SCALAR_FSQ);
}

static vq_status train_lfq(vqtrain_run *run, vq_quantizer **out, const vq_source *rows)
{
    return train_scalar(run, out, rows, VQ_SCALAR_LFQ);
}

static vq_status train_bsq(vqtrain_run *run, vq_quantizer **out, const vq_source *rows)
{
    return train_scalar(run, out, rows, VQ_SCALAR_BSQ);
}

enum {
    ANY_KMEANS = VQTRAIN_K | VQTRAIN_ITERATIONS | VQTRAIN_STORAGE | VQTRAIN_SEEDING |
                 VQTRAIN_TOLERANCE | VQTRAIN_REPAIR,
    ANY_RESIDUAL = ANY_KMEANS | VQTRAIN_LEVELS | VQTRAIN_TRAIN_BEAM | VQTRAIN_TRAIN_PREFIXES |
                   VQTRAIN_REFIT | VQTRAIN_BEAM
};

static const vqtrain_kind kinds[] = {
    {"kmeans", ANY_KMEANS | VQTRAIN_METRIC, 1, 0, vqtrain_kmeans},
    {"simvq", VQTRAIN_K | VQTRAIN_ITERATIONS | VQTRAIN_TOLERANCE, 1, 0, train_simvq},
    {"rvq", ANY_RESIDUAL | VQTRAIN_SHARED | VQTRAIN_LAMBDA, 4, 1, train_rvq},
    {"pq", ANY_RESIDUAL | VQTRAIN_PARTS, 1, 1, train_pq},
    {"split", ANY_RESIDUAL | VQTRAIN_SPLIT_INPUT | VQTRAIN_TEACHER, 4, 1, train_split},
    {"multiscale", ANY_KMEANS | VQTRAIN_SHARED | VQTRAIN_SCALES, 0, 1, NULL},
    {"fsq", VQTRAIN_K | VQTRAIN_LEVELS | VQTRAIN_BINS | VQTRAIN_BOUND, 1, 1, train_fsq},
    {"lfq", VQTRAIN_K | VQTRAIN_LEVELS | VQTRAIN_ITERATIONS, 1, 1, train_lfq},
    {"bsq", VQTRAIN_K | VQTRAIN_LEVELS | VQTRAIN_ITERATIONS, 1, 1, train_bsq},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Names of the bits, in their order. */
static const char *const option_names[] = {
    "k",     "levels", "iterations",  "metric",  "storage",    "seeding",       "tolerance",
    "parts", "bins",   "bound",       "repair",  "train-beam", "refit",         "shared",
    "beam",  "lambda", "split-input", "teacher", "scales",     "train-prefixes"};

enum { OPTIONS = sizeof option_names / sizeof *option_names };

static void list_kinds(char list[64], uint32_t takes)
{
    list[0] = '\0';
    for (int i = 0; i < KINDS; i++)
        if ((kinds[i].takes & takes) == takes)
            snprintf(list + strlen(list), 64 - strlen(list), "%s%s", *list ? ", " : "",
                     kinds[i].name);
}

const vqtrain_kind *vqtrain_find_kind(const cli_common *common, const char *name)
{
    char list[64];
    for (int i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    list_kinds(list, 0);
    cli_usage(common, "--quantizer: '%s' is none of %s", name, list);
    return NULL;
}

const char *vqtrain_kind_name(const vqtrain_kind *kind)
{
    return kind->name;
}

int vqtrain_in_memory(const vqtrain_kind *kind)
{
    return kind->in_memory;
}

int vqtrain_wants_grids(const vqtrain_kind *kind)
{
    return !kind->train;
}

int vqtrain_resolve(vqtrain_settings *s, const cli_common *common)
{
    char list[64];
    enum {
        RECIPE = VQTRAIN_K | VQTRAIN_LEVELS | VQTRAIN_ITERATIONS | VQTRAIN_TRAIN_BEAM |
                 VQTRAIN_REFIT | VQTRAIN_BEAM | VQTRAIN_LAMBDA
    };
    for (uint32_t bit = 0; !s->kind && bit < OPTIONS; bit++)
        if (s->given & ~(uint32_t)RECIPE & (1u << bit))
            return cli_usage(common, "--%s needs --quantizer (pictures go by the codec's recipe)",
                             option_names[bit]);
    if (!s->kind)
        return CLI_DONE;
    for (uint32_t bit = 0; bit < OPTIONS; bit++) {
        if (!(s->given & ~s->kind->takes & (1u << bit)))
            continue;
        list_kinds(list, 1u << bit);
        return cli_usage(common, "--%s is for --quantizer %s (not for %s)", option_names[bit], list,
                         s->kind->name);
    }
    if (s->given & VQTRAIN_K & s->kind->takes && s->bin_count)
        return cli_usage(common, "--bins says what --k would (give one of them)");
    if (s->train_prefixes > (s->train_beam ? s->train_beam : 1))
        return cli_usage(common, "--train-prefixes: %u of the %u that --train-beam keeps",
                         s->train_prefixes, s->train_beam ? s->train_beam : 1);
    const int has_codebook = (s->kind->takes & VQTRAIN_TOLERANCE) != 0;
    if (has_codebook && s->k > 1u << 24)
        return cli_usage(common, "--k: %u is more than 16777216", s->k);
    s->levels = s->levels ? s->levels : s->kind->levels;
    const int signs = s->kind->train == train_lfq || s->kind->train == train_bsq;
    if (signs && s->k && (s->k == 1 || (s->k & (s->k - 1))))
        return cli_usage(common,
                         "--k: %u is not a power of 2, from 2 on (%s says a sign with each bit)",
                         s->k, s->kind->name);
    const uint32_t least = s->bound == VQ_FSQ_TANH ? 3 : 2;
    if (s->kind->train == train_fsq && s->k && s->k < least)
        return cli_usage(common, "--k: %u is too few for fsq (%u or more)", s->k, least);
    for (uint32_t i = 0; i < s->bin_count; i++)
        if (s->bins[i] < least)
            return cli_usage(common, "--bins: %u is too few (%s: 3 or more, others 2)", s->bins[i],
                             vq_fsq_bound_name(VQ_FSQ_TANH));
    if (s->kind->train == train_split && s->levels < 2)
        return cli_usage(common, "--levels: split has 2 or more, a semantic one and acoustic ones");
    s->parts = s->parts || !(s->kind->takes & VQTRAIN_PARTS) ? s->parts : 8;
    if ((uint64_t)s->parts * s->levels > VQ_MAX_LEVELS)
        return cli_usage(common, "--parts %u of --levels %u are more than %d levels in all",
                         s->parts, s->levels, VQ_MAX_LEVELS);
    s->k = s->k || s->bin_count ? s->k : 256;
    s->iterations = s->iterations || !(s->kind->takes & VQTRAIN_ITERATIONS) ? s->iterations : 25;
    return CLI_DONE;
}

/* Rows first to first + count - 1; they stay until the next call. */
static vq_status read_rows(const float **x, const vq_source *rows, float *buffer, size_t first,
                           size_t count)
{
    if (!rows->memory)
        return rows->read(rows->context, x, buffer, first, count);
    *x = rows->memory + first * rows->d;
    return VQ_OK;
}

/* In chunks that bound the memory for codes. */
vq_status vqtrain_measure(vqtrain_run *run, const vq_quantizer *quantizer, const vq_source *rows)
{
    cli_progress_start(&run->progress, run->common);
    const uint32_t levels = vq_quantizer_levels(quantizer);
    uint32_t k[VQ_MAX_LEVELS];
    for (uint32_t i = 0; i < levels; i++)
        k[i] = vq_quantizer_k(quantizer, i);
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.threads = run->common->threads;
    opts.beam = run->settings->beam;
    opts.lambda = run->settings->kind ? run->settings->lambda : 0;
    uint32_t *codes = malloc(sizeof *codes * VQTRAIN_CHUNK * VQ_MAX_LEVELS);
    float *buffer = rows->memory ? NULL : malloc(sizeof *buffer * VQTRAIN_CHUNK * rows->d);
    vq_report *report = NULL;
    vq_status status =
        codes && (buffer || rows->memory) ? vq_report_create(&report, levels, k) : VQ_E_NOMEM;
    for (size_t i = 0; !status && i < rows->n; i += VQTRAIN_CHUNK) {
        const size_t n = rows->n - i < VQTRAIN_CHUNK ? rows->n - i : VQTRAIN_CHUNK;
        const float *x;
        status =
            cli_progress_show(&run->progress, "measuring", (double)i, (double)rows->n, "vectors")
                ? VQ_E_CANCELLED
                : read_rows(&x, rows, buffer, i, n);
        if (status)
            break;
        status = vq_quantize(codes, quantizer, x, n, &opts);
        if (!status)
            status = vq_report_add(report, quantizer, x, codes, n);
        if (rows->done)
            rows->done(rows->context, i, n);
    }
    cli_progress_clear(&run->progress);
    if (!status)
        run->levels = cli_level_rows(run->rows, report, levels);
    vq_report_free(report);
    free(buffer);
    free(codes);
    return status;
}

vq_status vqtrain_quantizer(vqtrain_run *run, vq_quantizer **out, const vq_source *rows)
{
    const vq_status status = run->settings->kind->train(run, out, rows);
    cli_progress_clear(&run->progress);
    return status;
}
