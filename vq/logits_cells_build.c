/* SPDX-License-Identifier: Apache-2.0 */
/* Making the heads of clusters, tied and rerank: weights, cells, codewords, and what the codewords stand for. */
#include <stdlib.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

enum { RERANK_SHARE = 16, TIED_SHARE = 8, PROBE_SHARE = 32, APART = UINT32_MAX };

/* What is known while a head is made; arrays are by place, the order of the ids. */
typedef struct making {
    const vq_tensor *rows;
    const uint32_t *row_of;
    const vq_head_opts *opts;
    size_t v;
    float *bias, *counts, *weights; /* NULL = none */
    float *states;                  /* n x d; NULL = none */
    size_t n;
    uint32_t *cell;   /* the code, APART = none */
    uint32_t *places; /* those that are clustered */
} making;

static void making_clear(making *m)
{
    vq_free(m->bias);
    vq_free(m->counts);
    vq_free(m->weights);
    vq_free(m->states);
    vq_free(m->cell);
    vq_free(m->places);
}

static vq_status take_counts(making *m)
{
    const vq_tensor *tensor = m->opts->counts;
    if (!tensor)
        return VQ_OK;
    m->counts = vqi_alloc(m->v, sizeof *m->counts);
    if (!m->counts)
        return vqi_fail_nomem((unsigned long long)m->v * sizeof *m->counts);
    for (size_t i = 0; i < m->v; i++) {
        vq_tensor_to_f32(m->counts + i, tensor, m->row_of[i], 1);
        if (!isfinite(m->counts[i]))
            return vqi_fail(VQ_E_NONFINITE, "the count of row %u is a NaN or an infinity",
                            m->row_of[i]);
        if (m->counts[i] < 0)
            return vqi_fail(VQ_E_ARG, "the count of row %u is %g", m->row_of[i],
                            (double)m->counts[i]);
    }
    return VQ_OK;
}

/* How much each row matters. */
static vq_status weigh(making *m, uint32_t k)
{
    const vq_head_opts *o = m->opts;
    if (!o->states && !m->counts)
        return VQ_OK;
    m->weights = vqi_alloc(m->v, sizeof *m->weights);
    if (!m->weights)
        return vqi_fail_nomem((unsigned long long)m->v * sizeof *m->weights);
    for (size_t i = 0; i < m->v && !o->states; i++)
        m->weights[i] = sqrtf(m->counts[i] + 1);
    if (!o->states)
        return VQ_OK;
    const vq_status status = vqi_fit_states(&m->states, &m->n, o->states, m->v, k);
    return status ? status
                  : vqi_fit_weights(m->weights, m->rows, m->row_of, m->bias, m->states, m->n,
                                    o->threads);
}

typedef struct counted {
    float count;
    uint32_t place;
} counted;

static int most_first(const void *a, const void *b)
{
    const counted *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return (x->place > y->place) - (x->place < y->place);
}

/* The most frequent tokens have the first codes, one each. */
static vq_status take_singles(making *m, uint32_t singles)
{
    counted *order = vqi_alloc(m->v, sizeof *order);
    if (!order)
        return vqi_fail_nomem((unsigned long long)m->v * sizeof *order);
    for (size_t i = 0; i < m->v; i++)
        order[i] = (counted){m->counts[i], (uint32_t)i};
    qsort(order, m->v, sizeof *order, most_first);
    for (uint32_t i = 0; i < singles; i++)
        m->cell[order[i].place] = i;
    vq_free(order);
    return VQ_OK;
}

static vq_status take_always(making *m, const vq_head *head, uint32_t k)
{
    for (uint32_t i = 0; i < m->opts->n_always; i++) {
        size_t place;
        if (!vqi_head_find(&place, head, m->opts->always[i]))
            return vqi_fail(VQ_E_ARG, "vq_head_opts.always has id %u, which no row has",
                            m->opts->always[i]);
        m->cell[place] = k;
    }
    return VQ_OK;
}

/* The caller's own cells. */
static vq_status take_cells(making *m, uint32_t k)
{
    for (size_t i = 0; i < m->v; i++) {
        const uint32_t cell = m->opts->cells[m->row_of[i]];
        if (cell >= k)
            return vqi_fail(VQ_E_ARG, "vq_head_opts.cells has %u for row %u (K is %u)", cell,
                            m->row_of[i], k);
        if (m->cell[i] == APART)
            m->cell[i] = cell;
    }
    return VQ_OK;
}

/* Those that are nowhere yet, into codes `first` to k - 1. */
static vq_status find_cells(making *m, uint32_t first, uint32_t k)
{
    size_t n = 0;
    m->places = vqi_alloc(m->v, sizeof *m->places);
    uint32_t *codes = vqi_alloc(m->v, sizeof *codes);
    vq_status status =
        m->places && codes ? VQ_OK : vqi_fail_nomem((unsigned long long)m->v * 2 * sizeof *codes);
    for (size_t i = 0; i < m->v && !status; i++)
        if (m->cell[i] == APART)
            m->places[n++] = (uint32_t)i;
    const uint32_t want = n < k - first ? (uint32_t)n : k - first;
    if (!status && want)
        status =
            vqi_head_cluster(codes, m->rows, m->row_of, m->places, n, m->weights, want, m->opts);
    for (size_t i = 0; i < n && !status; i++)
        m->cell[m->places[i]] = first + codes[i];
    vq_free(codes);
    return status;
}

static vq_status divide(making *m, vq_head *head, uint32_t k, uint32_t singles)
{
    m->cell = vqi_alloc(m->v, sizeof *m->cell);
    if (!m->cell)
        return vqi_fail_nomem((unsigned long long)m->v * sizeof *m->cell);
    for (size_t i = 0; i < m->v; i++)
        m->cell[i] = APART;
    vq_status status = singles ? take_singles(m, singles) : take_always(m, head, k);
    if (!status)
        status = m->opts->cells ? take_cells(m, k) : find_cells(m, singles, k);
    return status ? status : vqi_head_index(head, m->cell, k);
}

/* log sum exp(bias) of each code: what it adds where all its rows are the codeword. */
static void plain_offsets(float *offsets, const making *m, const vq_head *head)
{
    for (uint32_t k = 0; k < head->k; k++) {
        vqi_mass mass = VQI_NO_MASS;
        for (uint32_t r = head->first[k]; r < head->first[k + 1]; r++)
            vqi_mass_add(&mass, (vqi_mass){m->bias ? m->bias[head->tokens[r]] : 0, 1});
        offsets[k] = (float)vqi_mass_log(mass);
    }
}

static vq_status find_offsets(float **out, const making *m, const vq_head *head, uint32_t probes)
{
    float *offsets = vqi_alloc(head->k, sizeof *offsets);
    *out = offsets;
    if (!offsets)
        return vqi_fail_nomem((unsigned long long)head->k * sizeof *offsets);
    plain_offsets(offsets, m, head);
    return m->states ? vqi_fit_offsets(offsets, head, m->rows, m->row_of, m->bias, m->states, m->n,
                                       probes, m->opts->threads)
                     : VQ_OK;
}

/* Half the variance of each cluster's rows along a direction. */
static vq_status find_spread(vq_head *head, int threads)
{
    const size_t d = head->d;
    const int team = vqi_threads(threads, head->v / 256 + 1);
    float *buffers = vqi_alloc((size_t)team * 2 * d, sizeof *buffers);
    head->spread = vqi_alloc(head->k, sizeof *head->spread);
    if (!buffers || !head->spread) {
        vq_free(buffers);
        return vqi_fail_nomem((unsigned long long)team * 2 * d * sizeof *buffers);
    }
#pragma omp parallel for num_threads(team) schedule(dynamic, 16)
    for (uint32_t k = 0; k < head->k; k++) {
        float *code = buffers + (size_t)omp_get_thread_num() * 2 * d, *row = code + d;
        double sum = 0;
        vqi_rows_get(code, &head->codes, k);
        for (uint32_t r = head->first[k]; r < head->first[k + 1]; r++) {
            vqi_rows_get(row, &head->rows, r);
            for (size_t i = 0; i < d; i++)
                sum += ((double)row[i] - code[i]) * ((double)row[i] - code[i]);
        }
        head->spread[k] =
            (float)(sum / (2.0 * (double)d * (double)(head->first[k + 1] - head->first[k])));
    }
    vq_free(buffers);
    return VQ_OK;
}

/* The rows and their biases in the order of the clusters. */
static vq_status fill_rows(vq_head *head, const making *m)
{
    uint32_t *order = vqi_alloc(m->v, sizeof *order);
    vq_status status = order ? vqi_rows_allocate(&head->rows, m->v, head->d,
                                                 vqi_head_dtype(m->opts->storage, m->rows->dtype))
                             : vqi_fail_nomem((unsigned long long)m->v * sizeof *order);
    for (size_t r = 0; r < m->v && !status; r++)
        order[r] = m->row_of[head->tokens[r]];
    if (!status)
        status = vqi_rows_fill(&head->rows, m->rows, order, m->opts->threads);
    if (!status && m->bias) {
        head->rows.bias = vqi_alloc(m->v, sizeof *head->rows.bias);
        if (!head->rows.bias)
            status = vqi_fail_nomem((unsigned long long)m->v * sizeof *head->rows.bias);
        for (size_t r = 0; r < m->v && !status; r++)
            head->rows.bias[r] = m->bias[head->tokens[r]];
    }
    if (!status)
        vqi_rows_measure(&head->rows, m->opts->threads);
    vq_free(order);
    return status;
}

static vq_status make_rerank(vq_head *head, making *m)
{
    const vq_head_opts *o = m->opts;
    head->kind = &vqi_head_rerank;
    const uint32_t share = (uint32_t)(m->v / RERANK_SHARE), k = o->codes ? o->codes
                                                                : share  ? share
                                                                         : 1;
    vq_status status = weigh(m, k);
    if (!status)
        status = divide(m, head, k, 0);
    if (!status && !head->k)
        status = vqi_fail(VQ_E_ARG, "vq_head_opts.always has all ids: use a dense head");
    if (!status)
        status = vqi_head_means(head, m->rows, m->row_of, m->weights,
                                vqi_head_dtype(o->code_storage, VQ_DTYPE_I8), o->threads);
    if (status)
        return status;
    head->probes = o->probes ? o->probes : head->k / PROBE_SHARE;
    head->probes = head->probes < 1 ? 1 : head->probes < head->k ? head->probes : head->k;
    vqi_rows_measure(&head->codes, o->threads);
    status = fill_rows(head, m);
    head->largest = fmax(head->rows.largest, head->codes.largest);
    float *offsets = NULL; /* while they are sought the codewords have none */
    if (!status)
        status = find_offsets(&offsets, m, head, head->probes);
    head->codes.bias = offsets;
    if (!status && !m->states)
        status = find_spread(head, o->threads);
    if (!status) {
        vqi_rows_measure(&head->codes, o->threads); /* the biases are new */
        head->most_bias = fmaxf(head->rows.most_bias, head->codes.most_bias);
    }
    return status;
}

typedef struct biased {
    float bias;
    uint32_t place;
} biased;

static int falling(const void *a, const void *b)
{
    const biased *x = a, *y = b;
    if (x->bias != y->bias)
        return x->bias < y->bias ? 1 : -1;
    return (x->place > y->place) - (x->place < y->place);
}

/* The biases of a code's tokens: their shares of its use, and what the code adds. And their order. */
static void set_biases(vq_head *head, const making *m, uint32_t code, float offset, biased *order)
{
    const uint32_t first = head->first[code], n = head->first[code + 1] - first;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t place = head->tokens[first + i];
        sum += m->counts ? (double)m->counts[place] + 1 : m->bias ? exp((double)m->bias[place]) : 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t place = head->tokens[first + i];
        const double use = m->counts ? log((double)m->counts[place] + 1)
                           : m->bias ? m->bias[place]
                                     : 0;
        order[i] = (biased){(float)(use - log(sum) + offset), place};
    }
    qsort(order, n, sizeof *order, falling);
    for (uint32_t i = 0; i < n; i++) {
        head->token_bias[first + i] = order[i].bias;
        head->tokens[first + i] = order[i].place;
        head->at[order[i].place] = first + i;
    }
}

static vq_status make_tied(vq_head *head, making *m)
{
    const vq_head_opts *o = m->opts;
    head->kind = &vqi_head_tied;
    const uint32_t share = (uint32_t)(m->v / TIED_SHARE), k = o->codes ? o->codes
                                                              : share  ? share
                                                                       : 1;
    const uint32_t singles = !m->counts || o->cells ? 0 : o->singles ? o->singles : k / 2;
    if (singles >= k && k > 1)
        return vqi_fail(VQ_E_ARG, "vq_head_opts.singles is %u, not below the %u codes", singles, k);
    vq_status status = weigh(m, k);
    if (!status)
        status = divide(m, head, k, singles);
    if (!status)
        status = vqi_head_means(head, m->rows, m->row_of, m->weights,
                                vqi_head_dtype(o->code_storage, m->rows->dtype), o->threads);
    if (status)
        return status;
    vqi_rows_measure(&head->codes, o->threads);
    head->largest = head->codes.largest;
    float *offsets = NULL;
    biased *order = vqi_alloc(m->v, sizeof *order);
    head->token_bias = vqi_alloc(m->v, sizeof *head->token_bias);
    status = find_offsets(&offsets, m, head, 0);
    if (!status && (!order || !head->token_bias))
        status = vqi_fail_nomem((unsigned long long)m->v * sizeof *order);
    for (uint32_t c = 0; c < head->k && !status; c++)
        set_biases(head, m, c, offsets[c], order);
    vq_free(offsets);
    vq_free(order);
    return status ? status : vqi_tied_finish(head);
}

vq_status vqi_cells_build(vq_head *head, const vq_tensor *rows, const uint32_t *row_of,
                          const vq_head_opts *opts)
{
    making m = {.rows = rows, .row_of = row_of, .opts = opts, .v = head->v};
    vq_status status = vqi_head_bias(&m.bias, opts->bias, row_of, m.v);
    if (!status)
        status = take_counts(&m);
    if (!status)
        status = opts->mode == VQ_HEAD_TIED ? make_tied(head, &m) : make_rerank(head, &m);
    making_clear(&m);
    return status;
}
