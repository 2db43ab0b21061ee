/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training the image model. Three passes over the pictures: the first measures the energy of every coefficient
 * and decides which are kept; the second collects latents, of each picture in its eight orientations (flips
 * and transposition double the data three times over without changing what photographs look like), for the
 * residual quantizer; the third counts how codes follow each other, for entropy coding.
 */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "codecs/image_internal.h"
#include "codecs/train_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* The recipe of the built-in model. 12 levels of 1024 codewords of 112 halves are 2.75 MB, and six of them
   0.234 bit per pixel; 112 coefficients leave out no more than the codebooks could say at that rate. The levels after
   the sixth are for pictures of a chosen lambda, whose difficult blocks use them. */
enum {
    BLOCK = 16,
    DIM = 112,
    LEVELS = 12,
    DEFAULT_LEVELS = 6,
    CODEWORDS = 1024,
    ITERATIONS = 20,
    ORIENTATIONS = 8,
    PASSES = 3,
    REFINE_ROUNDS = 6,
    BEAM = 2, /* in training: a wider one gains no more */
    TABLE_SETS = 3
};

/* Trained at 0.01, the codebooks lose 0.02 dB where bits are not minded and gain a fifth of the rate where they
   are; at 0.02 they would lose 0.1 dB to gain little more. */
static const float refine_lambda = 0.01f;
/* Tables for nearest codes, for good pictures and for small ones. */
static const float table_lambdas[TABLE_SETS] = {0.0f, 0.01f, 0.03f};

/* Orthonormal, so that the error of a coefficient is the error of the picture: brightness, red against blue,
   green against magenta. */
static const double colour_table[9] = {0.57735026918962576451,
                                       0.57735026918962576451,
                                       0.57735026918962576451,
                                       0.70710678118654752440,
                                       0.0,
                                       -0.70710678118654752440,
                                       0.40824829046386301637,
                                       -0.81649658092772603273,
                                       0.40824829046386301637};

/* V of the type-II fast lapped orthogonal transform (Malvar 1992): J C2^T C4 J of order n = M / 2. */
static void lot_matrix(double *v, uint32_t n)
{
    const double pi = 3.14159265358979323846;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            double sum = 0;
            for (uint32_t k = 0; k < n; k++) {
                const double c2 =
                    sqrt((k ? 2.0 : 1.0) / n) * cos(pi * (2.0 * (n - 1 - i) + 1) * k / (2.0 * n));
                const double c4 =
                    sqrt(2.0 / n) * cos(pi * (2.0 * k + 1) * (2.0 * (n - 1 - j) + 1) / (4.0 * n));
                sum += c2 * c4;
            }
            v[i * n + j] = sum;
        }
}

/* P = 1/2 [I J; J -I] diag(I, V) [I J; J -I], which is orthogonal: its inverse is its transpose. */
static vq_status lot_filter(float *pre, float *post, uint32_t m)
{
    const uint32_t n = m / 2;
    double *v = vqi_alloc((size_t)n * n, sizeof *v);
    if (!v)
        return vqi_fail_nomem(sizeof *v * n * n);
    lot_matrix(v, n);
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t j = 0; j < m; j++) {
            /* Butterflies: the sum part of i meets that of j in the identity, the differences in V. */
            const uint32_t si = i < n ? i : m - 1 - i, sj = j < n ? j : m - 1 - j;
            const uint32_t di = n - 1 - si, dj = n - 1 - sj;
            const double sign = (i < n) == (j < n) ? 1.0 : -1.0;
            const double p = 0.5 * ((si == sj ? 1.0 : 0.0) + sign * v[di * n + dj]);
            pre[i * m + j] = (float)p;
            post[j * m + i] = (float)p;
        }
    vq_free(v);
    return VQ_OK;
}

typedef struct trainer {
    const vq_signal_source *source;
    const vq_codec_train_opts *opts;
    vqi_image_model *model;
    double *energy;         /**< [3 M M], then sorted through `kept` */
    uint64_t total;         /**< vectors that the source offers, in all orientations */
    uint64_t seen, sampled; /**< of them, in the second pass */
    size_t limit;           /**< vectors to keep */
    float *latents;         /**< limit x dim */
    vq_quantizer *quantizer;
    vq_table_counts *counts; /**< of the third pass */
} trainer;

static vq_status model_create(vqi_image_model **out, uint32_t dim, uint32_t levels)
{
    vqi_image_model *model = vqi_calloc(1, sizeof *model);
    if (!model)
        return vqi_fail_nomem(sizeof *model);
    model->block = BLOCK;
    model->dim = dim;
    model->default_levels = levels < DEFAULT_LEVELS ? levels : DEFAULT_LEVELS;
    for (int i = 0; i < 9; i++)
        model->colour[i] = (float)colour_table[i];
    vq_status status = vqi_image_model_allocate(model, 1);
    if (!status) {
        vqi_dct2(model->basis, BLOCK);
        status = lot_filter(model->pre_filter, model->post_filter, BLOCK);
    }
    for (uint32_t i = 0; !status && i < dim; i++) {
        model->kept[i] = i; /* any, until the energies are known */
        model->weights[i] = 1.0f;
    }
    if (!status)
        status = vqi_image_model_prepare(model);
    if (status) {
        vqi_image_model_free(model);
        return status;
    }
    *out = model;
    return VQ_OK;
}

/* The picture turned: bit 0 flips columns, bit 1 rows, bit 2 then transposes. */
static vq_status oriented(vq_signal **out, const vq_signal *signal, int orientation)
{
    const size_t h = signal->shape[0], w = signal->shape[1], c = signal->shape[2];
    const int transpose = orientation & 4;
    const size_t shape[3] = {transpose ? w : h, transpose ? h : w, c};
    const vq_status status = vq_signal_create(out, VQ_KIND_IMAGE, 3, shape);
    if (status)
        return status;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            const size_t ty = orientation & 2 ? h - 1 - y : y, tx = orientation & 1 ? w - 1 - x : x;
            const size_t to = transpose ? tx * h + ty : ty * w + tx;
            memcpy((*out)->data + to * c, signal->data + (y * w + x) * c, c * sizeof(float));
        }
    return VQ_OK;
}

/* All latents of a picture, rows of blocks spread over the threads. With `all`, every coefficient. */
static vq_status analyse(float **out, size_t *count, const trainer *t, const vq_signal *signal,
                         int all)
{
    *out = NULL;
    vqi_picture picture = {.signal = signal,
                           .composite = 1,
                           .height = signal->shape[0],
                           .width = signal->shape[1],
                           .rows = vqi_blocks(signal->shape[0], BLOCK),
                           .columns = vqi_blocks(signal->shape[1], BLOCK)};
    const int threads = t->opts->threads > 0 ? t->opts->threads : omp_get_max_threads();
    const size_t stride = all ? (size_t)VQI_IMAGE_PLANES * BLOCK * BLOCK : t->model->dim;
    const size_t scratch_size = vqi_image_analysis_scratch(t->model, &picture);
    float *latents = vqi_alloc(picture.rows * picture.columns, stride * sizeof *latents);
    float *scratch = vqi_alloc((size_t)threads, scratch_size * sizeof *scratch);
    long *bad = vqi_alloc(picture.rows, sizeof *bad);
    vq_status status = VQ_OK;
    if (!latents || !scratch || !bad)
        status = vqi_fail_nomem(picture.rows * picture.columns * stride * sizeof *latents);
    else
        vqi_image_analyse_rows(latents, bad, t->model, &picture, 0, picture.rows, all, scratch,
                               scratch_size, threads);
    for (size_t r = 0; !status && r < picture.rows; r++)
        if (bad[r] >= 0)
            status = vqi_fail(VQ_E_NONFINITE, "a training picture holds a NaN or an infinity");
    vq_free(bad);
    vq_free(scratch);
    if (status) {
        vq_free(latents);
        return status;
    }
    *out = latents;
    *count = picture.rows * picture.columns;
    return VQ_OK;
}

static vq_status read_picture(vq_signal **out, const trainer *t, size_t index, size_t pass)
{
    const vq_codec_train_opts *opts = t->opts;
    if (opts->reading &&
        opts->reading(opts->context, pass * t->source->count + index, PASSES * t->source->count))
        return vqi_fail(VQ_E_CANCELLED, "cancelled");
    const vq_status status = t->source->read(t->source->context, index, out);
    if (status)
        return status;
    if ((*out)->kind != VQ_KIND_IMAGE) {
        vq_signal_free(*out);
        return vqi_fail(VQ_E_ARG, "training signal %zu is not a picture", index);
    }
    return VQ_OK;
}

static vq_status measure_picture(trainer *t, const vq_signal *signal)
{
    enum { COEFFICIENTS = VQI_IMAGE_PLANES * BLOCK * BLOCK };
    float *latents;
    size_t count;
    const vq_status status = analyse(&latents, &count, t, signal, 1);
    if (status)
        return status;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < COEFFICIENTS; j++)
            t->energy[j] += (double)latents[i * COEFFICIENTS + j] * latents[i * COEFFICIENTS + j];
    vq_free(latents);
    t->total += (uint64_t)count * ORIENTATIONS;
    return VQ_OK;
}

typedef struct ranked {
    double energy;
    uint32_t index;
} ranked;

static int by_energy(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->energy != y->energy)
        return x->energy < y->energy ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

/* Keep the coefficients of most energy; a transposed picture has its rows and columns exchanged, so both
   orders of a pair count together. */
static vq_status choose_coefficients(trainer *t)
{
    enum { SQUARE = BLOCK * BLOCK, COEFFICIENTS = VQI_IMAGE_PLANES * SQUARE };
    ranked *order = vqi_alloc(COEFFICIENTS, sizeof *order);
    if (!order)
        return vqi_fail_nomem(COEFFICIENTS * sizeof *order);
    for (uint32_t i = 0; i < COEFFICIENTS; i++) {
        const uint32_t plane = i / SQUARE, u = i / BLOCK % BLOCK, v = i % BLOCK;
        order[i] = (ranked){t->energy[i] + t->energy[plane * SQUARE + v * BLOCK + u], i};
    }
    qsort(order, COEFFICIENTS, sizeof *order, by_energy);
    for (uint32_t i = 0; i < t->model->dim; i++)
        t->model->kept[i] = order[i].index;
    vq_free(order);
    return vqi_image_model_prepare(t->model);
}

/* Take latents at even steps, so that exactly `limit` of all that there are come together. */
static void sample(trainer *t, const float *latents, size_t count)
{
    const size_t dim = t->model->dim;
    for (size_t i = 0; i < count; i++, t->seen++)
        if (t->total <= t->limit || (t->seen + 1) * t->limit / t->total != t->sampled)
            memcpy(t->latents + t->sampled++ * dim, latents + i * dim, dim * sizeof *latents);
}

static vq_status collect_picture(trainer *t, const vq_signal *signal)
{
    for (int orientation = 0; orientation < ORIENTATIONS; orientation++) {
        vq_signal *turned;
        float *latents;
        size_t count;
        vq_status status = oriented(&turned, signal, orientation);
        if (status)
            return status;
        status = analyse(&latents, &count, t, turned, 0);
        vq_signal_free(turned);
        if (status)
            return status;
        sample(t, latents, count);
        vq_free(latents);
    }
    return VQ_OK;
}

static vq_status for_each_picture(trainer *t, size_t pass,
                                  vq_status (*use)(trainer *, const vq_signal *))
{
    for (size_t i = 0; i < t->source->count; i++) {
        vq_signal *signal;
        vq_status status = read_picture(&signal, t, i, pass);
        if (status)
            return status;
        status = use(t, signal);
        vq_signal_free(signal);
        if (status)
            return status;
    }
    return VQ_OK;
}

static vq_status collect(trainer *t)
{
    vq_status status = for_each_picture(t, 0, measure_picture);
    if (!status)
        status = choose_coefficients(t);
    if (status)
        return status;
    const uint64_t kept = t->total < t->limit ? t->total : t->limit;
    t->latents = vqi_alloc((size_t)kept, t->model->dim * sizeof *t->latents);
    if (!t->latents)
        return vqi_fail_nomem(kept * t->model->dim * sizeof *t->latents);
    return for_each_picture(t, 1, collect_picture);
}

static vq_status train_levels(trainer *t, uint32_t levels)
{
    if (t->opts->quantizer) {
        const vq_status status = t->opts->quantizer(t->opts->context, &t->quantizer, t->latents,
                                                    (size_t)t->sampled, t->model->dim);
        if (!status)
            t->model->default_levels = vq_quantizer_levels(t->quantizer);
        return status;
    }
    vqi_level_progress progress = {t->opts, 0};
    vq_residual_train_opts opts =
        vqi_levels_opts(&progress, t->opts->resume, CODEWORDS, ITERATIONS);
    opts.levels = levels;
    /* With a thousand rows to a codeword k-means++ gains nothing over random rows, and takes longer than
       everything else together. */
    opts.kmeans.seeding = VQ_SEEDING_RANDOM;
    return vq_residual_train(&t->quantizer, t->latents, (size_t)t->sampled, t->model->dim, &opts);
}

static uint32_t refine_rounds(const vq_codec_train_opts *opts)
{
    return opts->refits ? opts->refits : REFINE_ROUNDS;
}

static int on_refine(void *context, uint32_t round, size_t done, size_t count)
{
    const vqi_level_progress *p = context;
    (void)done;
    (void)count;
    const vq_kmeans_progress progress = {
        .iteration = round, .max_iterations = refine_rounds(p->opts) + 1, .mse = NAN};
    return vqi_level_progress_tell(p, &progress);
}

static vq_status refine(trainer *t)
{
    /* Of its own: the quantizer is replaced meanwhile. */
    vqi_level_progress after_all = {t->opts, vq_quantizer_levels(t->quantizer)};
    const float lambda = t->opts->lambda;
    const vqi_refine_opts opts = {.rounds = refine_rounds(t->opts),
                                  .beam = t->opts->beam ? t->opts->beam : BEAM,
                                  .lambda = lambda > 0   ? lambda
                                            : lambda < 0 ? 0
                                                         : refine_lambda,
                                  .threads = t->opts->threads,
                                  .progress = on_refine,
                                  .context = &after_all};
    return vqi_image_refine(&t->quantizer, t->latents, (size_t)t->sampled, &opts);
}

/* Encode the latents of a grid for each set of tables, and count. */
static vq_status count_grid(const trainer *t, vq_tokens *tokens, uint32_t *codes,
                            const float *latents, size_t n)
{
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.threads = t->opts->threads;
    opts.beam = BEAM;
    vq_status status = VQ_OK;
    for (uint32_t s = 0; !status && s < TABLE_SETS; s++) {
        opts.lambda = table_lambdas[s];
        status = vq_quantize(codes, t->quantizer, latents, n, &opts);
        if (status)
            break;
        for (uint32_t l = 0; l < tokens->levels; l++)
            for (size_t i = 0; i < n; i++)
                tokens->codes[l * n + i] = codes[i * tokens->levels + l];
        status = vq_table_counts_add(t->counts, s, tokens);
    }
    return status;
}

static vq_status count_picture(trainer *t, const vq_signal *signal)
{
    const uint32_t levels = vq_quantizer_levels(t->quantizer);
    uint32_t k[VQ_MAX_LEVELS];
    for (uint32_t l = 0; l < levels; l++)
        k[l] = vq_quantizer_k(t->quantizer, l);
    vq_status status = VQ_OK;
    for (int orientation = 0; !status && orientation < ORIENTATIONS; orientation++) {
        vq_signal *turned;
        vq_tokens *tokens = NULL;
        uint32_t *codes = NULL;
        float *latents = NULL;
        size_t count = 0;
        status = oriented(&turned, signal, orientation);
        if (status)
            return status;
        const size_t grid[2] = {vqi_blocks(turned->shape[0], BLOCK),
                                vqi_blocks(turned->shape[1], BLOCK)};
        status = analyse(&latents, &count, t, turned, 0);
        if (!status)
            status = vq_tokens_create(&tokens, 2, grid, levels, k);
        if (!status && !(codes = vqi_alloc(count, levels * sizeof *codes)))
            status = vqi_fail_nomem(count * levels * sizeof *codes);
        if (!status)
            status = count_grid(t, tokens, codes, latents, count);
        vq_free(codes);
        vq_tokens_free(tokens);
        vq_free(latents);
        vq_signal_free(turned);
    }
    return status;
}

/* Codebooks of one codeword, or of very many, have no tables, and their codes are packed in whole bits. */
static int can_have_tables(const vq_quantizer *q)
{
    for (uint32_t l = 0; l < vq_quantizer_levels(q); l++)
        if (vq_quantizer_k(q, l) < 2 || vq_quantizer_k(q, l) > VQ_MAX_TABLE_CODES)
            return 0;
    return 1;
}

static vq_status make_tables(vq_code_tables **out, trainer *t)
{
    *out = NULL;
    if (!can_have_tables(t->quantizer))
        return VQ_OK;
    vq_status status = vq_table_counts_create(&t->counts, t->quantizer);
    if (!status)
        status = for_each_picture(t, 2, count_picture);
    if (!status)
        status = vq_code_tables_create(out, t->counts, TABLE_SETS);
    vq_table_counts_free(t->counts);
    return status;
}

static vq_status save(vq_tensors **out, const vqi_image_model *model, const vq_quantizer *quantizer,
                      const vq_code_tables *tables)
{
    vq_tensors *tensors;
    vq_status status = vq_tensors_create(&tensors);
    if (status)
        return status;
    status = vqi_image_model_save(tensors, model);
    if (!status)
        status = vq_quantizer_save(tensors, quantizer, "quantizer.");
    if (!status && tables)
        status = vq_code_tables_save(tensors, tables, "tables.");
    if (status) {
        vq_tensors_free(tensors);
        return status;
    }
    *out = tensors;
    return VQ_OK;
}

vq_status vqi_image_train(vq_tensors **model, const vq_signal_source *source,
                          const vq_codec_train_opts *opts)
{
    const uint32_t levels = opts->levels ? opts->levels : LEVELS;
    const uint32_t dim = opts->dim ? opts->dim : DIM;
    if (levels > VQ_MAX_LEVELS || dim > VQI_IMAGE_PLANES * BLOCK * BLOCK)
        return vqi_fail(VQ_E_ARG, "%u levels of %u coefficients were asked for (at most %d of %d)",
                        levels, dim, VQ_MAX_LEVELS, VQI_IMAGE_PLANES * BLOCK * BLOCK);
    if (opts->beam > VQ_MAX_BEAM || !isfinite(opts->lambda))
        return vqi_fail(VQ_E_ARG, "a beam of %u with lambda %g was asked for (at most %d, finite)",
                        opts->beam, (double)opts->lambda, VQ_MAX_BEAM);
    if (!source->count)
        return vqi_fail(VQ_E_ARG, "there are no training pictures");
    trainer t = {.source = source,
                 .opts = opts,
                 .limit = opts->max_vectors ? opts->max_vectors : (size_t)1 << 21};
    vq_code_tables *tables = NULL;
    vq_status status = model_create(&t.model, dim, levels);
    if (!status) {
        t.energy = vqi_calloc((size_t)VQI_IMAGE_PLANES * BLOCK * BLOCK, sizeof *t.energy);
        status = t.energy ? collect(&t) : vqi_fail_nomem(sizeof *t.energy);
    }
    if (!status)
        status = train_levels(&t, levels);
    /* A quantizer of the caller's own making stays as it is. */
    if (!status && !opts->quantizer)
        status = refine(&t);
    if (!status && opts->trained)
        status = opts->trained(opts->context, t.quantizer, t.latents, (size_t)t.sampled);
    if (!status && !opts->quantizer)
        status = make_tables(&tables, &t);
    if (!status)
        status = save(model, t.model, t.quantizer, tables);
    vq_code_tables_free(tables);
    vq_quantizer_free(t.quantizer);
    vqi_image_model_free(t.model);
    vq_free(t.energy);
    vq_free(t.latents);
    return status;
}
