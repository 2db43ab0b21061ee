/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hidden states tell a head that is made. Where the model is uncertain: the weight of a row is the mean p (1 - p) of its
 * token (the curvature of the softmax), and a tenth of the mean of all, so that none counts for nothing. And the part of the
 * partition that a codeword stands for: the logarithm of a cluster's mass, log sum exp(w_t . h) over its tokens, is taken as c . h + o, and o so that
 * over the states the mass that was not probed is right on average, which is where the divergence from the dense head is least.
 */
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

/* At most so many multiplications, and so many floats of scores, are spent on them. */
#define MOST_WORK 4e11
enum { MOST_STATES = 8192, MOST_SCORES = 1 << 24, LEAST_STATES = 64 };

#define FLOOR 0.1 /* of a weight, in shares of the mean */
#define SHRINK                                                                                     \
    0.1 /* of a fit, in shares of the mean mass: as if so much had been as the first guess has it */
enum { ROUNDS = 2 };

/* How many of the states are used, spread over all. */
static size_t states_used(const vq_tensor *states, size_t v, uint32_t d, uint32_t k)
{
    const double work = MOST_WORK / ((double)v * d);
    size_t n = work < MOST_STATES ? (size_t)work : MOST_STATES;
    n = k && n > MOST_SCORES / k ? MOST_SCORES / k : n;
    n = n > LEAST_STATES ? n : LEAST_STATES;
    return n < states->shape[0] ? n : states->shape[0];
}

vq_status vqi_fit_states(float **out, size_t *count, const vq_tensor *states, size_t v, uint32_t k)
{
    const size_t d = states->shape[1], n = states_used(states, v, (uint32_t)d, k);
    float *x = vqi_alloc(n * d, sizeof *x);
    *out = NULL;
    if (!x)
        return vqi_fail_nomem((unsigned long long)n * d * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        const size_t row = (size_t)((double)i * (double)states->shape[0] / (double)n);
        vq_tensor_to_f32(x + i * d, states, row * d, d);
    }
    *out = x;
    *count = n;
    return VQ_OK;
}

/* A dense head on the caller's own rows, for its pass; the rows are borrowed. */
static vq_head borrow(const vq_tensor *rows)
{
    vq_head head = {.kind = &vqi_head_dense, .d = (uint32_t)rows->shape[1], .v = rows->shape[0]};
    head.rows = (vqi_rows){.n = head.v, .d = head.d, .dtype = rows->dtype};
    head.rows.data = rows->data;
    return head;
}

/* Two buffers of 16 x V floats and a call on `head`; end in any case. */
typedef struct measuring {
    vqi_head_call call;
    float *logits, *sorted;
} measuring;

static vq_status begin(measuring *m, const vq_head *head, const float *states, size_t n,
                       int threads)
{
    const vq_head_call opts = {.struct_size = sizeof opts, .threads = threads};
    size_t floats = 0;
    const int fits = vqi_mul(&floats, VQI_STATES, head->v);
    *m = (measuring){.logits = fits ? vqi_alloc(floats, sizeof(float)) : NULL,
                     .sorted = fits ? vqi_alloc(floats, sizeof(float)) : NULL};
    if (!m->logits || !m->sorted)
        return vqi_fail_nomem((unsigned long long)head->v * VQI_STATES * 2 * sizeof(float));
    return vqi_head_begin(&m->call, head, states, n, 0, &opts);
}

static void end(measuring *m)
{
    vqi_head_end(&m->call, NULL);
    vq_free(m->logits);
    vq_free(m->sorted);
}

/* The next up to 16 states' logits, in the order of `from`: sorted[i] is of row from[i]. */
static vq_status next(measuring *m, size_t first, size_t some, const uint32_t *from,
                      const float *bias)
{
    const vq_head *head = m->call.head;
    const size_t v = head->v;
    const vq_status status = vqi_head_take(&m->call, first, some);
    if (status)
        return status;
    head->kind->all(m->logits, NULL, &m->call, some);
#pragma omp parallel for num_threads(m->call.threads)
    for (size_t s = 0; s < some; s++)
        for (size_t i = 0; i < v; i++)
            m->sorted[s * v + i] = m->logits[s * v + from[i]] + (bias ? bias[i] : 0);
    return VQ_OK;
}

vq_status vqi_fit_weights(float *weights, const vq_tensor *rows, const uint32_t *row_of,
                          const float *bias, const float *states, size_t n, int threads)
{
    vq_head head = borrow(rows);
    const size_t v = head.v;
    measuring m;
    vqi_rows_measure(&head.rows, threads);
    head.largest = head.rows.largest;
    double *sums = vqi_calloc(v, sizeof *sums), total = 0;
    vq_status status = begin(&m, &head, states, n, threads);
    if (!status && !sums)
        status = vqi_fail_nomem((unsigned long long)v * sizeof *sums);
    for (size_t first = 0, some; first < n && !status; first += some) {
        double log_mass[VQI_STATES];
        some = vqi_head_group(&m.call, first);
        status = next(&m, first, some, row_of, bias);
        if (status)
            break;
        for (size_t s = 0; s < some; s++)
            log_mass[s] = vqi_mass_log(vqi_mass_of(m.sorted + s * v, v, 1));
#pragma omp parallel for num_threads(m.call.threads)
        for (size_t i = 0; i < v; i++)
            for (size_t s = 0; s < some; s++) {
                const double p = exp(m.sorted[s * v + i] - log_mass[s]);
                sums[i] += p * (1 - p);
            }
    }
    end(&m);
    for (size_t i = 0; i < v && !status; i++)
        total += sums[i] / (double)v;
    for (size_t i = 0; i < v && !status; i++)
        weights[i] = (float)((sums[i] + FLOOR * total) / (double)n);
    vq_free(sums);
    return status;
}

/* Of n states: the logarithms of all clusters' masses, exact and as their codewords have them, n x K, and of the whole. */
typedef struct fit {
    size_t n, k;
    float *exact, *guess;
    float *limit;  /* n: clusters whose guess is above it are probed */
    double *whole; /* n */
    double *sums;  /* 2 x K */
} fit;

static vq_status fit_make(fit *f, size_t n, size_t k)
{
    *f = (fit){.n = n, .k = k};
    f->exact = vqi_alloc(n * k, sizeof *f->exact);
    f->guess = vqi_alloc(n * k, sizeof *f->guess);
    f->limit = vqi_alloc(n, sizeof *f->limit);
    f->whole = vqi_alloc(n, sizeof *f->whole);
    f->sums = vqi_alloc(2 * k, sizeof *f->sums);
    if (f->exact && f->guess && f->limit && f->whole && f->sums)
        return VQ_OK;
    return vqi_fail_nomem((unsigned long long)n * k * 2 * sizeof(float));
}

static void fit_clear(fit *f)
{
    vq_free(f->exact);
    vq_free(f->guess);
    vq_free(f->limit);
    vq_free(f->whole);
    vq_free(f->sums);
}

/* @param logits of one state, in the order of the head's groups. */
static void masses_of(fit *f, const vq_head *head, const float *logits, size_t state)
{
    vqi_mass whole = VQI_NO_MASS;
    for (uint32_t g = 0; g < head->groups; g++) {
        const uint32_t first = head->first[g];
        const vqi_mass mass = vqi_mass_of(logits + first, head->first[g + 1] - first, 1);
        vqi_mass_add(&whole, mass);
        if (g < f->k)
            f->exact[state * f->k + g] = (float)vqi_mass_log(mass);
    }
    f->whole[state] = vqi_mass_log(whole);
}

static vq_status measure(fit *f, const vq_head *head, const vq_tensor *rows, const uint32_t *from,
                         const float *bias, const float *states, int threads)
{
    vq_head dense = borrow(rows), codes = {.kind = &vqi_head_dense, .d = head->d, .v = f->k};
    vqi_head_call scoring = {0};
    measuring m;
    dense.largest = head->largest;
    codes.rows = head->codes;
    codes.largest = head->largest;
    const vq_head_call opts = {.struct_size = sizeof opts, .threads = threads};
    vq_status status = begin(&m, &dense, states, f->n, threads);
    if (!status)
        status = vqi_head_begin(&scoring, &codes, states, f->n, 0, &opts);
    for (size_t first = 0, some; first < f->n && !status; first += some) {
        some = vqi_head_group(&m.call, first);
        status = next(&m, first, some, from, bias);
        if (!status)
            status = vqi_head_take(&scoring, first, some);
        if (status)
            break;
        codes.kind->all(f->guess + first * f->k, NULL, &scoring, some);
#pragma omp parallel for num_threads(m.call.threads)
        for (size_t s = 0; s < some; s++)
            masses_of(f, head, m.sorted + s * dense.v, first + s);
    }
    vqi_head_end(&scoring, NULL);
    end(&m);
    return status;
}

/* The score of the last cluster that would be probed. */
static float limit_of(const float *guess, const float *offsets, size_t k, vqi_best *best)
{
    best->count = 0;
    for (size_t c = 0; c < k; c++)
        vqi_best_add(best, (vqi_token){guess[c] + offsets[c], (uint32_t)c});
    return best->heap[0].logit;
}

/* One round: the offsets at which the masses that were not probed agree. */
static void balance(float *offsets, fit *f, int threads)
{
    const size_t k = f->k;
    double mean = 0;
#pragma omp parallel for num_threads(threads)
    for (size_t c = 0; c < k; c++) {
        double exact = 0, guess = 0;
        for (size_t s = 0; s < f->n; s++) {
            const float score = f->guess[s * k + c] + offsets[c];
            if (score >= f->limit[s])
                continue;
            exact += exp(f->exact[s * k + c] - f->whole[s]);
            guess += exp(score - f->whole[s]);
        }
        f->sums[2 * c] = exact;
        f->sums[2 * c + 1] = guess;
    }
    for (size_t c = 0; c < k; c++)
        mean += f->sums[2 * c + 1] / (double)k;
    for (size_t c = 0; c < k; c++) {
        const double change =
            log((f->sums[2 * c] + SHRINK * mean) / (f->sums[2 * c + 1] + SHRINK * mean));
        if (isfinite(change))
            offsets[c] = (float)(offsets[c] + change);
    }
}

static vq_status find_offsets(float *offsets, fit *f, uint32_t probes, int threads)
{
    const size_t k = f->k;
    const int team = vqi_threads(threads, f->n);
    vqi_token *heaps = vqi_alloc((size_t)team * (probes + 1), sizeof *heaps);
    if (!heaps)
        return vqi_fail_nomem((unsigned long long)team * probes * sizeof *heaps);
#pragma omp parallel for num_threads(team)
    for (size_t c = 0; c < k; c++) {
        double sum = 0;
        for (size_t s = 0; s < f->n; s++)
            sum += (double)f->exact[s * k + c] - f->guess[s * k + c];
        offsets[c] = (float)(sum / (double)f->n);
    }
    for (int round = 0; round < ROUNDS; round++) {
#pragma omp parallel for num_threads(team)
        for (size_t s = 0; s < f->n; s++) {
            vqi_best best = {heaps + (size_t)omp_get_thread_num() * (probes + 1), 0, probes};
            f->limit[s] = probes ? limit_of(f->guess + s * k, offsets, k, &best) : INFINITY;
        }
        balance(offsets, f, team);
    }
    vq_free(heaps);
    return VQ_OK;
}

vq_status vqi_fit_offsets(float *offsets, const vq_head *head, const vq_tensor *rows,
                          const uint32_t *row_of, const float *bias, const float *states, size_t n,
                          uint32_t probes, int threads)
{
    fit f;
    vq_status status = fit_make(&f, n, head->k);
    /* Rows and biases in the order of the groups. */
    uint32_t *from = vqi_alloc(head->v, sizeof *from);
    float *sorted = bias ? vqi_alloc(head->v, sizeof *sorted) : NULL;
    if (!status && (!from || (bias && !sorted)))
        status = vqi_fail_nomem((unsigned long long)head->v * 8);
    for (size_t r = 0; r < head->v && !status; r++) {
        from[r] = row_of[head->tokens[r]];
        if (bias)
            sorted[r] = bias[head->tokens[r]];
    }
    if (!status)
        status = measure(&f, head, rows, from, sorted, states, threads);
    if (!status)
        status = find_offsets(offsets, &f, probes < head->k ? probes : 0, threads);
    vq_free(from);
    vq_free(sorted);
    fit_clear(&f);
    return status;
}
