/* SPDX-License-Identifier: Apache-2.0 */
#include "rvq/head.h"

#include <math.h>
#include <string.h>

#include "rvq/residual.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

enum { WIDTH = 8, LEVELS = 2, MOST_K = 256, BEAM = 8, TRAINING_ROWS = 1 << 16, ITERATIONS = 10 };

typedef struct making {
    const vq_tensor *rows;
    const vq_head_opts *head;
    vq_rvq_head_opts opts;
    size_t v, d, slices, sampled;
    uint32_t levels;             /* of all slices */
    float *scale;                /* d, or NULL: the root mean square of the states */
    float *weights;              /* sampled, or NULL */
    float *slice, *sample, *row; /* v x width, sampled x width, d */
    uint32_t *codes, *part;      /* v x levels, v x opts.levels */
    uint32_t *first;             /* levels */
    vq_codebook **books;         /* levels */
} making;

static void making_clear(making *m)
{
    for (uint32_t l = 0; m->books && l < m->levels; l++)
        vq_codebook_free(m->books[l]);
    vq_free(m->books);
    vq_free(m->scale);
    vq_free(m->weights);
    vq_free(m->slice);
    vq_free(m->sample);
    vq_free(m->row);
    vq_free(m->codes);
    vq_free(m->part);
    vq_free(m->first);
}

static int is_matrix(const vq_tensor *t)
{
    return t && t->ndim == 2 && t->count &&
           (t->dtype == VQ_DTYPE_F32 || t->dtype == VQ_DTYPE_F16 || t->dtype == VQ_DTYPE_BF16);
}

static vq_status check(making *m)
{
    vq_rvq_head_opts *o = &m->opts;
    if (!is_matrix(m->rows))
        return vqi_fail(VQ_E_ARG, "the rows are no matrix of F32, F16 or BF16");
    m->v = m->rows->shape[0];
    m->d = m->rows->shape[1];
    if (m->head->states && (!is_matrix(m->head->states) || m->head->states->shape[1] != m->d))
        return vqi_fail(VQ_E_ARG, "vq_head_opts.states is no matrix of F32, F16 or BF16 as wide as "
                                  "the rows");
    if (m->head->counts && (m->head->counts->ndim != 1 || m->head->counts->count != m->v))
        return vqi_fail(VQ_E_ARG, "vq_head_opts.counts is not a row of %zu", m->v);
    o->width = o->width ? o->width : WIDTH;
    o->levels = o->levels ? o->levels : LEVELS;
    o->beam = o->beam ? o->beam : BEAM;
    if (!o->k)
        o->k = m->v < MOST_K ? (uint32_t)m->v : MOST_K;
    if (o->k > MOST_K || o->k > m->v)
        return vqi_fail(VQ_E_ARG, "vq_rvq_head_opts.k is %u (at most %d, and %zu rows)", o->k,
                        MOST_K, m->v);
    o->width = o->width < m->d ? o->width : (uint32_t)m->d;
    m->slices = (m->d + o->width - 1) / o->width;
    if (o->levels > VQ_MAX_LEVELS || m->slices * o->levels > 4096)
        return vqi_fail(VQ_E_ARG,
                        "vq_rvq_head_opts: %u levels of %zu slices (at most %d, and 4096 in all)",
                        o->levels, m->slices, VQ_MAX_LEVELS);
    m->levels = (uint32_t)m->slices * o->levels;
    m->sampled = o->training_rows ? o->training_rows : TRAINING_ROWS;
    m->sampled = m->sampled < o->k ? o->k : m->sampled < m->v ? m->sampled : m->v;
    return VQ_OK;
}

/* The rows of the sample, spread over all. */
static size_t sample_row(const making *m, size_t i)
{
    return (size_t)((double)i * (double)m->v / (double)m->sampled);
}

static vq_status allocate(making *m)
{
    size_t codes;
    const int fits = vqi_mul(&codes, m->v, m->levels);
    m->codes = fits ? vqi_alloc(codes, sizeof *m->codes) : NULL;
    m->part = vqi_alloc(m->v * m->opts.levels, sizeof *m->part);
    m->slice = vqi_alloc(m->v * m->opts.width, sizeof *m->slice);
    m->sample = vqi_alloc(m->sampled * m->opts.width, sizeof *m->sample);
    m->row = vqi_alloc(m->d, sizeof *m->row);
    m->first = vqi_alloc(m->levels, sizeof *m->first);
    m->books = vqi_calloc(m->levels, sizeof(vq_codebook *));
    m->scale = m->head->states ? vqi_alloc(m->d, sizeof *m->scale) : NULL;
    m->weights = m->head->counts ? vqi_alloc(m->sampled, sizeof *m->weights) : NULL;
    if (m->codes && m->part && m->slice && m->sample && m->row && m->first && m->books &&
        (m->scale || !m->head->states) && (m->weights || !m->head->counts))
        return VQ_OK;
    return vqi_fail_nomem((unsigned long long)m->v * m->levels * sizeof *m->codes);
}

/* How much each dimension counts; a tenth of the mean at least, so that none is given up. */
static vq_status measure_states(making *m)
{
    const vq_tensor *states = m->head->states;
    double mean = 0;
    double *squares = vqi_calloc(m->d, sizeof *squares);
    if (!squares)
        return vqi_fail_nomem(m->d * sizeof *squares);
    for (size_t s = 0; s < states->shape[0]; s++) {
        vq_tensor_to_f32(m->row, states, s * m->d, m->d);
        for (size_t i = 0; i < m->d; i++)
            squares[i] += (double)m->row[i] * m->row[i] / (double)states->shape[0];
    }
    for (size_t i = 0; i < m->d; i++)
        mean += squares[i] / (double)m->d;
    for (size_t i = 0; i < m->d; i++)
        m->scale[i] = (float)sqrt((squares[i] + 0.1 * mean) / (mean > 0 ? 1.1 * mean : 1));
    vq_free(squares);
    for (size_t i = 0; i < m->d; i++)
        if (!isfinite(m->scale[i]))
            return vqi_fail(VQ_E_NONFINITE, "the states hold a NaN or an infinity");
    for (size_t i = 0; i < m->d && !(mean > 0); i++)
        m->scale[i] = 1;
    return VQ_OK;
}

static vq_status take_weights(making *m)
{
    for (size_t i = 0; i < m->sampled; i++) {
        float count;
        vq_tensor_to_f32(&count, m->head->counts, sample_row(m, i), 1);
        if (!isfinite(count))
            return vqi_fail(VQ_E_NONFINITE, "a count is a NaN or an infinity");
        if (count < 0)
            return vqi_fail(VQ_E_ARG, "a count is %g", (double)count);
        m->weights[i] = sqrtf(count + 1);
    }
    return VQ_OK;
}

/* The columns of a slice of all rows, scaled. */
static void take_slice(making *m, size_t first, size_t width)
{
    for (size_t r = 0; r < m->v; r++) {
        float *x = m->slice + r * width;
        vq_tensor_to_f32(x, m->rows, r * m->d + first, width);
        for (size_t i = 0; m->scale && i < width; i++)
            x[i] *= m->scale[first + i];
    }
    for (size_t i = 0; i < m->sampled; i++)
        memcpy(m->sample + i * width, m->slice + sample_row(m, i) * width, width * sizeof(float));
}

/* A codebook of the quantizer as the head takes it: not scaled. */
static vq_status take_book(vq_codebook **out, making *m, const vq_codebook *book, size_t first)
{
    const uint32_t k = vq_codebook_k(book), d = vq_codebook_dim(book);
    float *codewords = vqi_alloc((size_t)k * d, sizeof *codewords);
    if (!codewords)
        return vqi_fail_nomem((unsigned long long)k * d * sizeof *codewords);
    memcpy(codewords, vq_codebook_codewords(book), (size_t)k * d * sizeof *codewords);
    for (size_t i = 0; m->scale && i < (size_t)k * d; i++)
        codewords[i] /= m->scale[first + i % d];
    const vq_status status =
        vq_codebook_create(out, codewords, k, d, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    vq_free(codewords);
    return status;
}

static vq_status code_slice(making *m, size_t slice)
{
    const vq_rvq_head_opts *o = &m->opts;
    const size_t first = slice * o->width, levels = o->levels,
                 width = m->d - first < o->width ? m->d - first : o->width;
    vq_residual_train_opts training = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    vq_quantize_opts coding = VQ_QUANTIZE_OPTS_INIT;
    vq_quantizer *quantizer = NULL;
    training.levels = o->levels;
    training.kmeans.k = o->k;
    training.kmeans.max_iterations = m->head->iterations ? m->head->iterations : ITERATIONS;
    training.kmeans.seed = m->head->seed + slice * levels;
    training.kmeans.threads = coding.threads = m->head->threads;
    training.kmeans.weights = m->weights;
    training.kmeans.seeding = VQ_SEEDING_RANDOM;
    coding.beam = o->beam;
    take_slice(m, first, width);
    vq_status status =
        vq_residual_train(&quantizer, m->sample, m->sampled, (uint32_t)width, &training);
    if (!status)
        status = vq_quantize(m->part, quantizer, m->slice, m->v, &coding);
    for (size_t l = 0; l < levels && !status; l++) {
        const size_t level = slice * levels + l;
        m->first[level] = (uint32_t)first;
        status =
            take_book(&m->books[level], m, vq_quantizer_codebook(quantizer, (uint32_t)l), first);
        for (size_t r = 0; r < m->v; r++)
            m->codes[r * m->levels + level] = m->part[r * levels + l];
    }
    vq_quantizer_free(quantizer);
    return status;
}

static vq_status make(vq_head **out, making *m, const vq_head_opts *head)
{
    vq_status status = check(m);
    if (!status)
        status = allocate(m);
    if (!status && m->scale)
        status = measure_states(m);
    if (!status && m->weights)
        status = take_weights(m);
    for (size_t s = 0; s < m->slices && !status; s++) {
        status = code_slice(m, s);
        if (!status && head->progress &&
            head->progress(head->progress_context, (double)(s + 1) / (double)m->slices))
            status = vqi_fail(VQ_E_CANCELLED, "stopped after %zu of %zu slices", s + 1, m->slices);
    }
    if (!status)
        status = vq_head_from_codes(out, (const vq_codebook *const *)m->books, m->first, m->levels,
                                    m->codes, m->v, (uint32_t)m->d, head);
    return status;
}

vq_status vq_rvq_head_build(vq_head **out, const vq_tensor *rows, const vq_head_opts *head,
                            const vq_rvq_head_opts *opts)
{
    vq_head_opts own;
    making m = {.rows = rows, .head = &own};
    *out = NULL;
    vq_status status = vqi_options(&own, sizeof own, head, "vq_head_opts");
    if (!status)
        status = vqi_options(&m.opts, sizeof m.opts, opts, "vq_rvq_head_opts");
    own.mode = VQ_HEAD_RVQ;
    if (!status)
        status = make(out, &m, &own);
    making_clear(&m);
    return status;
}
