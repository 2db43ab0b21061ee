/* SPDX-License-Identifier: Apache-2.0 */
/* Mini-batch k-means: every codeword is the mean of the rows that ever chose it, which are kept as sums. */
#include "vq/kmeans_minibatch.h"

#include <math.h>
#include <string.h>

#include "vq/batch_internal.h"
#include "vq/codebook_internal.h"
#include "vq/error_internal.h"
#include "vq/kmeans.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/random_internal.h"

enum {
    DEFAULT_BATCH = 1024,
    BATCH_PER_CODEWORD = 4, /* a larger one, if there are many codewords */
    DEFAULT_EPOCHS = 100,
    DEFAULT_PATIENCE = 10,
    FIRST_BATCH = 3, /* times as large as the others, and as k */
    FIRST_BATCH_ITERATIONS = 3,
    REASSIGN_AFTER = 10 /* times k rows */
};
static const double default_smoothing = 0.02, default_ratio = 0.01;

struct vq_minibatch {
    vq_minibatch_opts opts; /* every default filled in; seeds only say whether there were any */
    uint32_t d;
    vq_codebook *codebook; /* float32; NULL before the first batch if there were no seeds */
    double *sum, *weight;  /* of all rows so far; k x d, k */
    float *codewords;      /* k x d: the next ones */
    vqi_batch batch;
    uint64_t since;   /* rows since codewords were last reassigned */
    double low;       /* of the smoothed MSE */
    uint32_t waiting; /* batches since that low */
    vq_minibatch_report report;
};

static vq_status check_options(vq_minibatch_opts *o, const vq_minibatch_opts *opts)
{
    const vq_status status = vqi_options(o, sizeof *o, opts, "vq_minibatch_opts");
    if (status)
        return status;
    if (!o->k || o->k > VQI_MAX_CODEWORDS)
        return vqi_fail(VQ_E_ARG, "vq_minibatch_opts.k is %u (1 to %d codewords)", o->k,
                        VQI_MAX_CODEWORDS);
    if (o->metric != VQ_METRIC_EUCLIDEAN && o->metric != VQ_METRIC_COSINE)
        return vqi_fail(VQ_E_ARG, "vq_minibatch_opts.metric is %s (euclidean or cosine)",
                        vq_metric_name(o->metric));
    if (o->storage != VQ_DTYPE_F32 && o->storage != VQ_DTYPE_F16 && o->storage != VQ_DTYPE_BF16)
        return vqi_fail(VQ_E_ARG, "vq_minibatch_opts.storage is %s (F32, F16 or BF16)",
                        vq_dtype_name(o->storage));
    if (!(o->smoothing >= 0 && o->smoothing <= 1))
        return vqi_fail(VQ_E_ARG, "vq_minibatch_opts.smoothing is %g (0 to 1)", o->smoothing);
    if (!(o->reassignment_ratio < 1))
        return vqi_fail(VQ_E_ARG, "vq_minibatch_opts.reassignment_ratio is %g (below 1)",
                        o->reassignment_ratio);
    if (o->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_minibatch_opts.threads is %d (0 means all)", o->threads);
    const uint32_t many = BATCH_PER_CODEWORD * o->k;
    if (!o->batch)
        o->batch = many > DEFAULT_BATCH ? many : DEFAULT_BATCH;
    o->max_epochs = o->max_epochs ? o->max_epochs : DEFAULT_EPOCHS;
    o->patience = o->patience ? o->patience : DEFAULT_PATIENCE;
    if (o->reassignment_ratio == 0)
        o->reassignment_ratio = default_ratio;
    return VQ_OK;
}

void vq_minibatch_free(vq_minibatch *m)
{
    if (!m)
        return;
    vq_codebook_free(m->codebook);
    vqi_free(m->sum);
    vqi_free(m->weight);
    vqi_free(m->codewords);
    vqi_batch_clear(&m->batch);
    vqi_free(m);
}

vq_status vq_minibatch_create(vq_minibatch **out, uint32_t d, const vq_minibatch_opts *opts)
{
    vq_minibatch_opts own;
    *out = NULL;
    vq_status status = check_options(&own, opts);
    if (!status && !d)
        status = vqi_fail(VQ_E_ARG, "mini-batch k-means of rows of 0 floats");
    if (status)
        return status;
    vq_minibatch *m = vqi_calloc(1, sizeof *m);
    if (!m)
        return vqi_fail_nomem(sizeof *m);
    m->opts = own;
    m->d = d;
    m->low = INFINITY;
    m->report.mse = m->report.smoothed_mse = NAN;
    status = vqi_batch_create(&m->batch, own.k, d, own.metric);
    if (!status) {
        const size_t count = (size_t)own.k * d; /* so many doubles exist already */
        m->sum = vqi_calloc(count, sizeof *m->sum);
        m->weight = vqi_calloc(own.k, sizeof *m->weight);
        m->codewords = vqi_alloc(count, sizeof *m->codewords);
        if (!m->sum || !m->weight || !m->codewords)
            status = vqi_fail_nomem((unsigned long long)count * sizeof *m->sum);
    }
    if (!status && own.seeds)
        status = vq_codebook_create(&m->codebook, own.seeds, own.k, d, own.metric, VQ_DTYPE_F32);
    if (status) {
        vq_minibatch_free(m);
        return status;
    }
    *out = m;
    return VQ_OK;
}

/* The first codewords. */
static vq_status seed(vq_codebook **out, const vq_minibatch *m, const float *x, size_t n,
                      const float *weights)
{
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    opts.k = m->opts.k;
    opts.metric = m->opts.metric;
    opts.weights = weights;
    opts.seed = m->opts.seed;
    opts.threads = m->opts.threads;
    opts.max_iterations = FIRST_BATCH_ITERATIONS;
    return vq_kmeans_train(out, NULL, x, n, m->d, &opts);
}

/* The mean, or under the cosine metric its direction; a codeword without either stays. */
static void move_to_mean(float *codeword, const double *sum, double weight, uint32_t d,
                         vq_metric metric)
{
    double divisor = weight;
    if (metric == VQ_METRIC_COSINE) {
        double square = 0;
        for (uint32_t j = 0; j < d; j++)
            square += sum[j] * sum[j];
        divisor = sqrt(square);
    }
    if (divisor <= 1e-12 * weight)
        return;
    for (uint32_t j = 0; j < d; j++)
        codeword[j] = (float)(sum[j] / divisor);
}

/* Codewords of few rows move to rows of the batch, and count as many as the least of the others. The sums of
 * `batch` are those of all rows by now. */
static uint32_t reassign(vq_minibatch *m, const float *x, size_t n, const float *weights)
{
    const uint32_t k = m->opts.k, d = m->d;
    vqi_batch *b = &m->batch;
    double total = 0, least = INFINITY;
    uint32_t few = 0;
    for (uint32_t c = 0; c < k; c++)
        total += b->weight[c];
    const double bound = m->opts.reassignment_ratio * total / k;
    for (uint32_t c = 0; c < k; c++)
        if (b->weight[c] < bound)
            few++;
        else if (b->weight[c] < least)
            least = b->weight[c];
    const size_t half = (n + 1) / 2;
    vqi_draw draw;
    const size_t rows = vqi_draw_begin(&draw, b, x, n, weights, few < half ? few : half,
                                       m->opts.seed, m->report.batches);
    size_t left = rows;
    for (int unused = 1; unused >= 0; unused--) /* those without any rows come first */
        for (uint32_t c = 0; c < k && left; c++) {
            if (!(b->weight[c] < bound) || (b->weight[c] == 0) != unused)
                continue;
            const float *row = x + vqi_draw_next(&draw) * d;
            float *codeword = m->codewords + (size_t)c * d;
            if (b->metric == VQ_METRIC_COSINE)
                vqi_unit_row(codeword, row, d);
            else
                memcpy(codeword, row, d * sizeof *codeword);
            for (uint32_t j = 0; j < d; j++)
                b->sum[(size_t)c * d + j] = least * (double)codeword[j];
            b->weight[c] = least;
            left--;
        }
    return (uint32_t)rows;
}

/* The sums of the batch become those of all rows. @return 1 if a codeword still has none. */
static int accumulate(vq_minibatch *m)
{
    const uint32_t k = m->opts.k, d = m->d;
    vqi_batch *b = &m->batch;
    const int threads = (size_t)k * d < ((size_t)1 << 18) ? 1 : vqi_threads(m->opts.threads, k);
    int unused = 0;
    memcpy(m->codewords, vq_codebook_codewords(m->codebook), (size_t)k * d * sizeof *m->codewords);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint32_t c = 0; c < k; c++) {
        const int moves = b->weight[c] > 0;
        b->weight[c] += m->weight[c];
        for (size_t i = (size_t)c * d; i < (size_t)(c + 1) * d; i++)
            b->sum[i] += m->sum[i];
        if (moves)
            move_to_mean(m->codewords + (size_t)c * d, b->sum + (size_t)c * d, b->weight[c], d,
                         b->metric);
    }
    for (uint32_t c = 0; c < k; c++)
        unused |= b->weight[c] == 0;
    return unused;
}

/* Convergence, as scikit-learn judges it: the first batch does not count, having chosen the codewords. */
static void judge(vq_minibatch *m, double mse)
{
    vq_minibatch_report *r = &m->report;
    r->batch_mse = mse;
    if (r->batches == 1)
        return;
    const double rate = m->opts.smoothing > 0 ? m->opts.smoothing : default_smoothing;
    r->smoothed_mse =
        isnan(r->smoothed_mse) ? mse : r->smoothed_mse + rate * (mse - r->smoothed_mse);
    m->waiting = r->smoothed_mse < m->low ? 0 : m->waiting + (m->waiting < UINT32_MAX);
    m->low = r->smoothed_mse < m->low ? r->smoothed_mse : m->low;
    r->converged = m->opts.patience < UINT32_MAX && m->waiting >= m->opts.patience;
}

static vq_status learn(vq_minibatch *m, const float *x, size_t n, const float *weights)
{
    vqi_batch *b = &m->batch;
    const double mse = b->error / b->total / m->d;
    const uint32_t k = m->opts.k;
    const int unused = accumulate(m);
    const uint64_t since = m->since + n;
    const int due =
        m->opts.reassignment_ratio > 0 && (unused || since >= (uint64_t)REASSIGN_AFTER * m->opts.k);
    const uint32_t reassigned = due ? reassign(m, x, n, weights) : 0;
    vq_codebook *codebook;
    const vq_status status =
        vqi_codebook_restore(&codebook, m->codewords, k, m->d, m->opts.metric, VQ_DTYPE_F32);
    if (status)
        return status;
    vq_codebook_free(m->codebook);
    m->codebook = codebook;
    double *const sum = m->sum, *const weight = m->weight;
    m->sum = b->sum;
    m->weight = b->weight;
    b->sum = sum;
    b->weight = weight;
    m->since = due ? 0 : since;
    m->report.batches++;
    m->report.rows += n;
    m->report.reassigned += reassigned;
    m->report.used = 0;
    for (uint32_t c = 0; c < k; c++)
        m->report.used += m->weight[c] > 0;
    judge(m, mse);
    return VQ_OK;
}

vq_status vq_minibatch_add(vq_minibatch *m, vq_minibatch_report *report, const float *x, size_t n,
                           const float *weights)
{
    vq_codebook *seeds = NULL;
    int any = 0;
    vq_status status = vqi_batch_check(x, n, m->d, weights);
    for (size_t i = 0; i < n && !any && !status; i++)
        any = vqi_batch_counts(&m->batch, x + i * m->d, weights, i);
    if (!status && any && !m->codebook) {
        status = seed(&seeds, m, x, n, weights);
        m->codebook = seeds;
    }
    if (!status && any)
        status = vqi_batch_assign(&m->batch, m->codebook, x, n, weights, m->opts.threads);
    if (!status && any)
        status = learn(m, x, n, weights);
    if (status && seeds) { /* the next batch is the first again */
        vq_codebook_free(seeds);
        m->codebook = NULL;
    }
    if (report && !status)
        *report = m->report;
    return status;
}

vq_status vq_minibatch_codebook(vq_codebook **out, const vq_minibatch *m)
{
    *out = NULL;
    if (!m->codebook)
        return vqi_fail(VQ_E_ARG, "mini-batch k-means has no codewords yet (add a batch)");
    return vqi_codebook_restore(out, vq_codebook_codewords(m->codebook), m->opts.k, m->d,
                                m->opts.metric, m->opts.storage);
}

/* Add batches of random rows until it converges. `rows` and `of_rows` have room for the first. */
static vq_status add_batches(vq_minibatch *m, float *rows, float *of_rows, size_t first,
                             const float *x, size_t n, const float *weights)
{
    const uint32_t d = m->d;
    const double most = (double)m->opts.max_epochs * (double)n;
    double drawn = 0;
    vqi_random random = vqi_random_from(m->opts.seed);
    do {
        const size_t count = m->report.batches || m->opts.seeds ? m->opts.batch : first;
        for (size_t i = 0; i < count; i++) {
            const size_t row = (size_t)(vqi_random_uniform(&random) * (double)n);
            memcpy(rows + i * d, x + row * d, d * sizeof *rows);
            if (weights)
                of_rows[i] = weights[row];
        }
        const vq_status status = vq_minibatch_add(m, NULL, rows, count, weights ? of_rows : NULL);
        if (status)
            return status;
        drawn += (double)count;
    } while (!m->report.converged && drawn < most);
    return VQ_OK;
}

/* The MSE of all rows, and how many codewords they use. */
static vq_status measure(vq_minibatch *m, const vq_codebook *codebook, const float *x, size_t n,
                         const float *weights)
{
    enum { CHUNK = 65536 };
    double error = 0, total = 0;
    memset(m->weight, 0, m->opts.k * sizeof *m->weight);
    for (size_t first = 0; first < n; first += CHUNK) {
        const size_t count = n - first < CHUNK ? n - first : CHUNK;
        const vq_status status =
            vqi_batch_assign(&m->batch, codebook, x + first * m->d, count,
                             weights ? weights + first : NULL, m->opts.threads);
        if (status)
            return status;
        error += m->batch.error;
        total += m->batch.total;
        for (uint32_t c = 0; c < m->opts.k; c++)
            m->weight[c] += m->batch.weight[c];
    }
    m->report.mse = error / total / m->d;
    m->report.used = 0;
    for (uint32_t c = 0; c < m->opts.k; c++)
        m->report.used += m->weight[c] > 0;
    return VQ_OK;
}

/* Refuse what has no rows to learn from. */
static vq_status check_rows(const vq_minibatch *m, const float *x, size_t n, const float *weights)
{
    const vq_status status = vqi_batch_check(x, n, m->d, weights);
    if (status)
        return status;
    if (n < m->opts.k)
        return vqi_fail(VQ_E_ARG,
                        "%zu rows are too few for %u codewords (give more rows or lower "
                        "k)",
                        n, m->opts.k);
    for (size_t i = 0; i < n; i++)
        if (vqi_batch_counts(&m->batch, x + i * m->d, weights, i))
            return VQ_OK;
    return vqi_fail(VQ_E_ARG, "all rows of mini-batch k-means have weight 0 or no direction");
}

vq_status vq_minibatch_train(vq_codebook **out, vq_minibatch_report *report, const float *x,
                             size_t n, uint32_t d, const float *weights,
                             const vq_minibatch_opts *opts)
{
    vq_minibatch *m;
    *out = NULL;
    vq_status status = vq_minibatch_create(&m, d, opts);
    if (status)
        return status;
    status = check_rows(m, x, n, weights);
    const size_t batch = m->opts.batch,
                 first = FIRST_BATCH * (batch > m->opts.k ? batch : (size_t)m->opts.k);
    float *rows = NULL, *of_rows = NULL;
    if (!status) {
        size_t count = 0;
        rows = vqi_mul(&count, first, d) ? vqi_alloc(count, sizeof *rows) : NULL;
        of_rows = vqi_alloc(first, sizeof *of_rows);
        if (!rows || !of_rows)
            status = vqi_fail_nomem((unsigned long long)first * d * sizeof *rows);
        if (m->opts.smoothing == 0) {
            const double rate = 2 * (double)batch / ((double)n + 1);
            m->opts.smoothing = rate < 1 ? rate : 1;
        }
    }
    if (!status)
        status = add_batches(m, rows, of_rows, first, x, n, weights);
    if (!status)
        status = vq_minibatch_codebook(out, m);
    if (!status)
        status = measure(m, *out, x, n, weights);
    if (!status && report)
        *report = m->report;
    if (status) {
        vq_codebook_free(*out);
        *out = NULL;
    }
    vqi_free(rows);
    vqi_free(of_rows);
    vq_minibatch_free(m);
    return status;
}
