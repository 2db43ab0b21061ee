/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of k-means as an object: made, filled from a source, merged and looked at. */
#include "vq/kmeans_stats.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_stats_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/source_internal.h"

/* Squared distances of numbers of at most 2^value_exponent, with room for rounding; cosine: 1 - cosine. */
static int error_exponent(const vqi_stats_form *form)
{
    if (form->metric == VQ_METRIC_COSINE)
        return 2;
    const int exponent = 2 * (form->value_exponent + 1) + vqi_exact_exponent(form->d) + 1;
    return exponent < 128 ? exponent : 128; /* they are floats */
}

vq_status vqi_stats_create(vq_kmeans_stats **out, const vqi_stats_form *form)
{
    const size_t k = form->k, d = form->d;
    const int errors = error_exponent(form);
    size_t sums = 0, limbs = 0;
    *out = NULL;
    vq_kmeans_stats *s = vqi_calloc(1, sizeof *s);
    if (!s)
        return vqi_fail_nomem(sizeof *s);
    s->form = *form;
    s->limbs = form->weighted ? 3 : 2;
    s->sum_grid = vqi_exact_grid_of(form->value_exponent + form->weight_exponent);
    s->weight_grid = vqi_exact_grid_of(form->weight_exponent);
    s->cost_grid = vqi_exact_grid_of(errors + form->weight_exponent);
    s->largest_error = ldexp(1, errors);
    if (vqi_mul(&sums, k, d) && vqi_mul(&limbs, sums, (size_t)s->limbs))
        s->sum = vqi_alloc(limbs, sizeof *s->sum);
    if (form->weighted)
        s->weight = vqi_alloc(k * VQI_EXACT_LIMBS, sizeof *s->weight);
    s->cost = vqi_alloc(k * VQI_EXACT_LIMBS, sizeof *s->cost);
    s->rows = vqi_alloc(k, sizeof *s->rows);
    s->worst = vqi_alloc(k, sizeof *s->worst);
    s->number = vqi_alloc(k, sizeof *s->number);
    s->worst_row = vqi_alloc(sums, sizeof *s->worst_row);
    s->worst_mass = vqi_alloc(k, sizeof *s->worst_mass);
    if (!s->sum || (form->weighted && !s->weight) || !s->cost || !s->rows || !s->worst ||
        !s->number || !s->worst_row || !s->worst_mass) {
        vq_kmeans_stats_free(s);
        return vqi_fail_nomem((unsigned long long)k * d * sizeof *s->sum);
    }
    vqi_stats_reset(s);
    *out = s;
    return VQ_OK;
}

void vq_kmeans_stats_free(vq_kmeans_stats *stats)
{
    if (!stats)
        return;
    vqi_free(stats->sum);
    vqi_free(stats->weight);
    vqi_free(stats->cost);
    vqi_free(stats->rows);
    vqi_free(stats->worst);
    vqi_free(stats->number);
    vqi_free(stats->worst_row);
    vqi_free(stats->worst_mass);
    vqi_free(stats);
}

void vqi_stats_reset(vq_kmeans_stats *s)
{
    const size_t k = s->form.k, sums = k * s->form.d;
    s->total = 0;
    s->uncarried = 0;
    memset(s->sum, 0, (size_t)s->limbs * sums * sizeof *s->sum);
    if (s->weight)
        memset(s->weight, 0, VQI_EXACT_LIMBS * k * sizeof *s->weight);
    memset(s->cost, 0, VQI_EXACT_LIMBS * k * sizeof *s->cost);
    memset(s->rows, 0, k * sizeof *s->rows);
    memset(s->worst, 0, k * sizeof *s->worst);
    memset(s->number, 0, k * sizeof *s->number);
    memset(s->worst_row, 0, sums * sizeof *s->worst_row);
    memset(s->worst_mass, 0, k * sizeof *s->worst_mass);
}

void vqi_stats_carry(vq_kmeans_stats *s, int threads)
{
    const size_t k = s->form.k, d = s->form.d, sums = k * d;
    const int some = sums < ((size_t)1 << 16) ? 1 : threads;
#pragma omp parallel for schedule(static) num_threads(some)
    for (size_t c = 0; c < k; c++)
        vqi_exact_carry(s->sum + c * d, sums, s->limbs, d);
    if (s->weight)
        vqi_exact_carry(s->weight, k, VQI_EXACT_LIMBS, k);
    vqi_exact_carry(s->cost, k, VQI_EXACT_LIMBS, k);
    s->uncarried = 0;
}

static vq_status make_form(vqi_stats_form *form, const vq_codebook *codebook,
                           const vq_kmeans_stats_opts *o)
{
    form->k = vq_codebook_k(codebook);
    form->d = vq_codebook_dim(codebook);
    form->metric = vq_codebook_metric(codebook);
    if (form->metric == VQ_METRIC_DOT)
        return vqi_fail(VQ_E_ARG,
                        "the codebook's metric is dot (k-means knows euclidean and cosine)");
    if (!(o->largest_value >= 0) || o->largest_value > 0x1p128)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_stats_opts.largest_value is %g (a bound on floats)",
                        o->largest_value);
    if (!(o->largest_weight >= 0) || o->largest_weight > 0x1p128)
        return vqi_fail(VQ_E_ARG, "vq_kmeans_stats_opts.largest_weight is %g (a bound on floats)",
                        o->largest_weight);
    form->weighted = o->largest_weight > 0;
    form->weight_exponent = vqi_exact_exponent(o->largest_weight);
    if (form->metric == VQ_METRIC_COSINE) {
        form->value_exponent = 1; /* a unit row may be a little longer than 1 */
        return VQ_OK;
    }
    const uint32_t bits =
        vqi_largest_bits(vq_codebook_codewords(codebook), (size_t)form->k * form->d);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (o->largest_value > 0 && (double)largest > o->largest_value)
        return vqi_fail(VQ_E_ARG,
                        "vq_kmeans_stats_opts.largest_value is %g and a codeword holds %g",
                        o->largest_value, (double)largest);
    if (!(o->largest_value > 0) && !(largest > 0))
        return vqi_fail(VQ_E_ARG,
                        "all codewords are zero (set vq_kmeans_stats_opts.largest_value)");
    form->value_exponent = o->largest_value > 0 ? vqi_exact_exponent(o->largest_value)
                                                : vqi_exact_exponent((double)largest) + 16;
    return VQ_OK;
}

vq_status vq_kmeans_stats_create(vq_kmeans_stats **out, const vq_codebook *codebook,
                                 const vq_kmeans_stats_opts *opts)
{
    vq_kmeans_stats_opts own;
    vqi_stats_form form = {0};
    *out = NULL;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_kmeans_stats_opts");
    if (!status && !codebook)
        status = vqi_fail(VQ_E_ARG, "statistics of no codebook (a SimVQ that is searched by its "
                                    "basis keeps none: see vq_simvq_search_as)");
    if (!status)
        status = make_form(&form, codebook, &own);
    return status ? status : vqi_stats_create(out, &form);
}

static vq_status check_fit(const vq_kmeans_stats *stats, const vq_codebook *codebook, uint32_t d)
{
    const vqi_stats_form *form = &stats->form;
    if (vq_codebook_k(codebook) != form->k || vq_codebook_dim(codebook) != form->d ||
        vq_codebook_metric(codebook) != form->metric)
        return vqi_fail(
            VQ_E_ARG, "statistics of %u codewords of %u floats, %s, and a codebook of %u of %u, %s",
            form->k, form->d, vq_metric_name(form->metric), vq_codebook_k(codebook),
            vq_codebook_dim(codebook), vq_metric_name(vq_codebook_metric(codebook)));
    if (d != form->d)
        return vqi_fail(VQ_E_ARG, "rows of %u floats for codewords of %u", d, form->d);
    return VQ_OK;
}

static vq_status check_weights(const vq_kmeans_stats *stats, const float *weights, size_t n)
{
    if (weights && !stats->form.weighted)
        return vqi_fail(VQ_E_ARG, "rows with weights, and statistics without "
                                  "(set vq_kmeans_stats_opts.largest_weight)");
    const double most = stats->form.weighted ? ldexp(1, stats->form.weight_exponent) : 1;
    for (size_t i = 0; weights && i < n; i++) {
        if (!isfinite(weights[i]))
            return vqi_fail(VQ_E_NONFINITE, "weight %zu of k-means is not finite", i);
        if (weights[i] < 0 || (double)weights[i] > most)
            return vqi_fail(VQ_E_ARG, "weight %zu of k-means is %g (from 0 to %g)", i,
                            (double)weights[i], most);
    }
    if (!weights && most < 1)
        return vqi_fail(VQ_E_ARG, "rows of weight 1, and vq_kmeans_stats_opts.largest_weight is %g",
                        most);
    return VQ_OK;
}

/* vq_nearest() says which row is not finite; here it is enough that none is too large. */
static vq_status check_values(const vq_kmeans_stats *stats, const float *rows, size_t count)
{
    if (stats->form.metric == VQ_METRIC_COSINE)
        return VQ_OK;
    const uint32_t bits = vqi_largest_bits(rows, count * stats->form.d);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (isfinite(largest) && (double)largest > ldexp(1, stats->form.value_exponent))
        return vqi_fail(VQ_E_ARG,
                        "a row holds %g and the bound is %g (raise "
                        "vq_kmeans_stats_opts.largest_value in every shard)",
                        (double)largest, ldexp(1, stats->form.value_exponent));
    return VQ_OK;
}

vq_status vq_kmeans_stats_accumulate(vq_kmeans_stats *stats, const vq_codebook *codebook,
                                     const vq_source *rows, uint64_t first, const float *weights,
                                     int threads)
{
    vq_source source;
    vq_status status = vqi_source_check(&source, rows);
    if (!status)
        status = check_fit(stats, codebook, source.d);
    if (!status && threads < 0)
        status = vqi_fail(VQ_E_ARG, "threads is %d (0 means all)", threads);
    if (!status)
        status = check_weights(stats, weights, source.n);
    if (!status &&
        (source.n > VQI_EXACT_ADDENDS || stats->total > VQI_EXACT_ADDENDS - (int64_t)source.n))
        status = vqi_fail(VQ_E_ARG, "more than 2^35 rows in one object (begin another iteration)");
    if (status || !source.n)
        return status;
    const size_t chunk = vqi_stats_chunk(source.n, source.d);
    vqi_assign assign = {0};
    float *buffer = source.memory ? NULL : vqi_alloc(chunk * source.d, sizeof *buffer);
    status = source.memory || buffer
                 ? vqi_assign_create(&assign, &stats->form, chunk)
                 : vqi_fail_nomem((unsigned long long)chunk * source.d * sizeof *buffer);
    for (size_t i = 0; i < source.n && !status; i += chunk) {
        const size_t count = source.n - i < chunk ? source.n - i : chunk;
        const float *some;
        status = vqi_source_read(&some, &source, buffer, i, count);
        if (status)
            break;
        status = check_values(stats, some, count);
        if (!status)
            status = vqi_assign_rows(stats, &assign, codebook, some, count, first + i,
                                     weights ? weights + i : NULL,
                                     threads ? threads : omp_get_max_threads());
        vqi_source_done(&source, i, count);
    }
    vqi_assign_clear(&assign);
    vqi_free(buffer);
    return status;
}

static void add_all(int64_t *into, const int64_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        into[i] += from[i];
}

vq_status vq_kmeans_stats_merge(vq_kmeans_stats *into, const vq_kmeans_stats *from)
{
    const vqi_stats_form *a = &into->form, *b = &from->form;
    if (a->k != b->k || a->d != b->d || a->metric != b->metric || a->weighted != b->weighted ||
        a->value_exponent != b->value_exponent || a->weight_exponent != b->weight_exponent)
        return vqi_fail(VQ_E_MISMATCH, "statistics of different shape, metric or bounds (make them "
                                       "with the same codebook and options)");
    if (from->total > VQI_EXACT_ADDENDS - into->total)
        return vqi_fail(VQ_E_ARG, "more than 2^35 rows in one object (begin another iteration)");
    if (into->uncarried + from->uncarried + 1 > VQI_EXACT_CHUNK)
        vqi_stats_carry(into, omp_get_max_threads());
    const size_t k = a->k, d = a->d;
    add_all(into->sum, from->sum, (size_t)into->limbs * k * d);
    if (into->weight)
        add_all(into->weight, from->weight, VQI_EXACT_LIMBS * k);
    add_all(into->cost, from->cost, VQI_EXACT_LIMBS * k);
    add_all(into->rows, from->rows, k);
    into->total += from->total;
    into->uncarried +=
        from->uncarried + 2; /* a limb in its one form may be as large as two addends */
    for (size_t c = 0; c < k; c++) {
        if (from->worst[c] < into->worst[c] ||
            (!(from->worst[c] > into->worst[c]) &&
             (!(from->worst[c] > 0) || from->number[c] > into->number[c])))
            continue;
        into->worst[c] = from->worst[c];
        into->number[c] = from->number[c];
        into->worst_mass[c] = from->worst_mass[c];
        memcpy(into->worst_row + c * d, from->worst_row + c * d, d * sizeof *into->worst_row);
    }
    return VQ_OK;
}

uint32_t vq_kmeans_stats_k(const vq_kmeans_stats *stats)
{
    return stats->form.k;
}

uint32_t vq_kmeans_stats_dim(const vq_kmeans_stats *stats)
{
    return stats->form.d;
}

int64_t vq_kmeans_stats_total(const vq_kmeans_stats *stats)
{
    return stats->total;
}

double vq_kmeans_stats_objective(const vq_kmeans_stats *stats)
{
    int64_t all[VQI_EXACT_LIMBS] = {0};
    for (size_t c = 0; c < stats->form.k; c++) {
        for (size_t i = 0; i < VQI_EXACT_LIMBS; i++)
            all[i] += stats->cost[i * stats->form.k + c];
        vqi_exact_carry(all, 1, VQI_EXACT_LIMBS, 1);
    }
    return vqi_exact_value(all, 1, &stats->cost_grid, VQI_EXACT_LIMBS);
}

vq_status vq_kmeans_stats_cell(vq_kmeans_cell *out, double *sum, const vq_kmeans_stats *stats,
                               uint32_t code)
{
    const size_t k = stats->form.k, d = stats->form.d;
    if (code >= k)
        return vqi_fail(VQ_E_RANGE, "code %u of statistics of %zu cells", code, k);
    out->rows = stats->rows[code];
    out->weight = vqi_stats_weight(stats, code);
    out->objective = vqi_stats_cost(stats, code);
    for (size_t j = 0; sum && j < d; j++)
        sum[j] = vqi_exact_value(stats->sum + code * d + j, k * d, &stats->sum_grid, stats->limbs);
    return VQ_OK;
}

vq_status vq_kmeans_stats_update(vq_codebook **out, uint32_t *moved, const vq_kmeans_stats *stats,
                                 const vq_codebook *codebook, vq_empty_policy policy)
{
    const size_t count = (size_t)stats->form.k * stats->form.d;
    uint32_t own = 0;
    *out = NULL;
    vq_status status = check_fit(stats, codebook, stats->form.d);
    if (!status && ((int)policy < VQ_EMPTY_FARTHEST || policy > VQ_EMPTY_KEEP))
        status = vqi_fail(VQ_E_ARG, "an empty policy of %d (see vq_empty_policy)", (int)policy);
    if (status)
        return status;
    float *codewords = vqi_alloc(count, sizeof *codewords);
    if (!codewords)
        return vqi_fail_nomem((unsigned long long)count * sizeof *codewords);
    memcpy(codewords, vq_codebook_codewords(codebook), count * sizeof *codewords);
    status = vqi_stats_move(codewords, &own, stats, policy, omp_get_max_threads());
    if (!status)
        status = vq_codebook_create(out, codewords, stats->form.k, stats->form.d,
                                    stats->form.metric, vq_codebook_storage(codebook));
    vqi_free(codewords);
    if (moved && !status)
        *moved = own;
    return status;
}
