/* SPDX-License-Identifier: Apache-2.0 */
/* The one report, of the scales of a multi-scale quantizer. */
#include <math.h>
#include <string.h>

#include "rvq/multiscale_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/report.h"

enum { CHUNK = 64 }; /* grids that are encoded together */

typedef struct measuring {
    const vq_multiscale *m;
    vq_quantize_opts opts;
    uint32_t scales;
    size_t tokens, floats; /* of a grid */
    uint32_t *codes;       /* CHUNK x tokens */
    uint32_t *some;        /* those of the first scales, or of one */
    float *decoded;        /* CHUNK grids */
    vq_report *reports[VQ_MAX_LEVELS];
    double error[VQ_MAX_LEVELS], energy;
} measuring;

static void clear(measuring *t)
{
    for (uint32_t s = 0; s < t->scales; s++)
        vq_report_free(t->reports[s]);
    vqi_free(t->codes);
    vqi_free(t->some);
    vqi_free(t->decoded);
}

static vq_status prepare(measuring *t, size_t n)
{
    const size_t most = n < CHUNK ? n : CHUNK;
    t->scales = t->m->design.scales;
    t->tokens = vq_multiscale_tokens(t->m, 0);
    t->floats = vqi_grid_cells(t->m) * t->m->design.channels;
    t->codes = vqi_alloc(most * t->tokens, sizeof *t->codes);
    t->some = vqi_alloc(most * t->tokens, sizeof *t->some);
    t->decoded = vqi_alloc(most * t->floats, sizeof *t->decoded);
    if (!t->codes || !t->some || !t->decoded)
        return vqi_fail_nomem((unsigned long long)most * t->floats * sizeof *t->decoded);
    vq_status status = VQ_OK;
    for (uint32_t s = 0; s < t->scales && !status; s++) {
        const uint32_t k = vq_quantizer_k(vq_multiscale_quantizer(t->m, s), 0);
        status = vq_report_create(&t->reports[s], 1, &k);
    }
    return status;
}

/* Codes from `first` to `end` of each of n grids, one after another at t->some. */
static void cut(measuring *t, size_t first, size_t end, size_t n)
{
    for (size_t i = 0; i < n; i++)
        memcpy(t->some + i * (end - first), t->codes + i * t->tokens + first,
               (end - first) * sizeof *t->some);
}

static vq_status count(measuring *t, uint32_t scale, size_t first, size_t end, size_t n)
{
    const size_t grid[1] = {n * (end - first)};
    const uint32_t k = vq_quantizer_k(vq_multiscale_quantizer(t->m, scale), 0);
    vq_tokens *tokens;
    vq_status status = vq_tokens_create(&tokens, 1, grid, 1, &k);
    if (status)
        return status;
    cut(t, first, end, n);
    memcpy(tokens->codes, t->some, grid[0] * sizeof *t->some);
    status = vq_report_add_tokens(t->reports[scale], tokens);
    vq_tokens_free(tokens);
    return status;
}

static vq_status measure(measuring *t, const float *x, size_t n)
{
    vq_status status = vq_multiscale_encode(t->codes, t->m, x, n, &t->opts);
    for (uint32_t s = 0; s < t->scales && !status; s++) {
        const size_t first = s ? vq_multiscale_tokens(t->m, s) : 0,
                     end = vq_multiscale_tokens(t->m, s + 1);
        vq_quantize_opts opts = t->opts;
        opts.levels = s + 1;
        status = count(t, s, first, end, n);
        cut(t, 0, end, n);
        if (!status)
            status = vq_multiscale_decode(t->decoded, t->m, t->some, n, &opts);
        for (size_t i = 0; i < n * t->floats && !status; i++) {
            const double off = (double)x[i] - t->decoded[i];
            t->error[s] += off * off;
        }
    }
    for (size_t i = 0; i < n * t->floats; i++)
        t->energy += (double)x[i] * x[i];
    return status;
}

vq_status vq_multiscale_report(vq_level_report *rows, const vq_multiscale *multiscale,
                               const float *x, size_t n, int threads)
{
    measuring t = {.m = multiscale, .opts = VQ_QUANTIZE_OPTS_INIT};
    if (!n || !x)
        return vqi_fail(VQ_E_ARG, "a report on %zu grids (give some)", n);
    t.opts.threads = threads;
    vq_status status = prepare(&t, n);
    for (size_t i = 0; i < n && !status; i += CHUNK)
        status = measure(&t, x + i * t.floats, n - i < CHUNK ? n - i : CHUNK);
    for (uint32_t s = 0; s < t.scales && !status; s++) {
        status = vq_report_level(&rows[s], t.reports[s], 0);
        rows[s].mse = t.error[s] / ((double)n * (double)t.floats);
        rows[s].snr_db = t.error[s] > 0 ? 10 * log10(t.energy / t.error[s]) : INFINITY;
    }
    clear(&t);
    return status;
}
