/* SPDX-License-Identifier: Apache-2.0 */
/* Which components FSQ quantizes, with how many bins and at what gain: by the errors that these would make. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rvq/scalar_train_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"
#include "vq/scalar_internal.h"

enum { GAINS = 41 /* from 1/8 to 4 over the standard deviation, 8 to an octave */ };

/* A component, sorted, with the sums of its first i values. */
typedef struct sorted {
    size_t n;
    double *values, *sums;
    double deviation;
    double *error; /* by bins: of the best gain; < 0 = not known yet; VQ_FSQ_MAX_BINS + 1 of them */
} sorted;

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* How many values are below `limit`. */
static size_t below(const sorted *s, double limit)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (s->values[middle] < limit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The squared error that is left after the least squares of the values on what their bins decode to. */
static double error_at(const sorted *s, const float *threshold, uint32_t bins, double gain)
{
    double sum_q = 0, sum_qq = 0, sum_qv = 0;
    size_t from = 0;
    for (uint32_t b = 0; b < bins; b++) {
        const size_t to = b + 1 < bins ? below(s, threshold[b] / gain) : s->n;
        const double q = b, count = (double)(to - from);
        sum_q += q * count;
        sum_qq += q * q * count;
        sum_qv += q * (s->sums[to] - s->sums[from]);
        from = to;
    }
    const double n = (double)s->n, variance = s->deviation * s->deviation;
    const double spread = sum_qq / n - sum_q / n * (sum_q / n);
    const double along = sum_qv / n - sum_q / n * (s->sums[s->n] / n);
    return spread > 0 ? variance - along * along / spread : variance;
}

/* The bins decode to even steps, so their numbers serve for the values. */
static double best_error(double *gain, const sorted *s, uint32_t bins, vq_fsq_bound bound)
{
    float threshold[VQ_FSQ_MAX_BINS];
    double best = INFINITY;
    *gain = 1;
    if (!(s->deviation > 0))
        return 0;
    vqi_fsq_thresholds(threshold, bins, bound);
    double factor = 0.125;
    for (int i = 0; i < GAINS; i++) {
        const double error = error_at(s, threshold, bins, factor / s->deviation);
        if (error < best) {
            best = error;
            *gain = factor / s->deviation;
        }
        factor *= 0x1.172b83c7d517bp0; /* 2^(1/8) */
    }
    return best;
}

static double known_error(sorted *s, uint32_t bins, vq_fsq_bound bound)
{
    double gain;
    if (bins == 1)
        return s->deviation * s->deviation;
    if (s->error[bins] < 0)
        s->error[bins] = best_error(&gain, s, bins, bound);
    return s->error[bins];
}

/* Give bins one after another to the component whose error falls most for the bits, while their product is at most k. */
static void allot(uint32_t *bins, const char *taken, sorted *s, size_t m,
                  const vq_scalar_train_opts *opts)
{
    const uint32_t least = opts->bound == VQ_FSQ_TANH ? 3 : 2;
    for (size_t i = 0; i < m; i++)
        bins[i] = 1;
    for (double product = 1;;) {
        size_t best = m, numbers = 0;
        double most = 0;
        for (size_t i = 0; i < m; i++)
            numbers += bins[i] > 1;
        for (size_t i = 0; i < m; i++) {
            const uint32_t next = bins[i] == 1 ? least : bins[i] + 1;
            if (taken[i] || next > VQ_FSQ_MAX_BINS || product / bins[i] * next > opts->k ||
                (bins[i] == 1 && numbers == VQI_MOST_NUMBERS - 1))
                continue;
            const double gain =
                (known_error(&s[i], bins[i], opts->bound) - known_error(&s[i], next, opts->bound)) /
                (next - bins[i]) * bins[i];
            if (gain > most) {
                most = gain;
                best = i;
            }
        }
        if (best == m)
            return;
        const uint32_t next = bins[best] == 1 ? least : bins[best] + 1;
        product = product / bins[best] * next;
        bins[best] = next;
    }
}

static vq_status prepare(sorted *s, const vqi_component_rows *rows)
{
    const int threads = vqi_threads(rows->threads, rows->m);
    for (size_t i = 0; i < rows->m; i++) {
        s[i].n = rows->n;
        s[i].values = vqi_alloc(rows->n, sizeof(double));
        s[i].sums = vqi_alloc(rows->n + 1, sizeof(double));
        s[i].error = vqi_alloc(VQ_FSQ_MAX_BINS + 1, sizeof(double));
        if (!s[i].values || !s[i].sums || !s[i].error)
            return vqi_fail_nomem((unsigned long long)rows->n * sizeof(double));
        s[i].deviation = sqrt(rows->variance[i]);
        for (int b = 0; b <= VQ_FSQ_MAX_BINS; b++)
            s[i].error[b] = -1;
    }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < rows->m; i++) {
        memcpy(s[i].values, rows->values + i * rows->n, rows->n * sizeof(double));
        qsort(s[i].values, rows->n, sizeof(double), by_value);
        s[i].sums[0] = 0;
        for (size_t r = 0; r < rows->n; r++)
            s[i].sums[r + 1] = s[i].sums[r] + s[i].values[r];
    }
    return VQ_OK;
}

static vq_status choose(uint32_t *picked, uint32_t *bins, double *gain, uint32_t *dims, sorted *s,
                        uint32_t *allotted, char *taken, size_t m, const vq_scalar_train_opts *opts)
{
    for (uint32_t l = 0; l < opts->levels; l++) {
        uint32_t count = 0;
        memset(allotted, 0, m * sizeof *allotted);
        if (!opts->bins)
            allot(allotted, taken, s, m, opts);
        for (size_t i = 0, given = 0; i < m; i++) {
            if (opts->bins && !taken[i] && given < opts->bin_count)
                allotted[i] = opts->bins[given++];
            if (allotted[i] < 2)
                continue;
            const size_t at = (size_t)l * VQI_MOST_NUMBERS + count++;
            taken[i] = 1;
            picked[at] = (uint32_t)i;
            bins[at] = allotted[i];
            best_error(&gain[at], &s[i], bins[at], opts->bound);
        }
        if (!count || (opts->bins && count < opts->bin_count))
            return vqi_fail(VQ_E_ARG,
                            "level %u finds too few components that vary (of %zu; use fewer levels "
                            "or bins)",
                            l, m);
        dims[l] = count;
    }
    return VQ_OK;
}

vq_status vqi_fsq_choose(uint32_t *picked, uint32_t *bins, double *gain, uint32_t *dims,
                         const vqi_component_rows *rows, const vq_scalar_train_opts *opts)
{
    sorted *s = vqi_calloc(rows->m, sizeof *s);
    uint32_t *allotted = vqi_alloc(rows->m, sizeof *allotted);
    char *taken = vqi_calloc(rows->m, 1);
    vq_status status =
        s && allotted && taken ? prepare(s, rows) : vqi_fail_nomem(rows->m * sizeof *s);
    if (!status)
        status = choose(picked, bins, gain, dims, s, allotted, taken, rows->m, opts);
    for (size_t i = 0; s && i < rows->m; i++) {
        vq_free(s[i].values);
        vq_free(s[i].sums);
        vq_free(s[i].error);
    }
    vq_free(s);
    vq_free(allotted);
    vq_free(taken);
    return status;
}
