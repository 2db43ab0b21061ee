/* SPDX-License-Identifier: Apache-2.0 */
/* Multi-scale residual quantization: making one, encoding and decoding. */
#include "rvq/multiscale.h"

#include <math.h>
#include <string.h>

#include "rvq/multiscale_internal.h"
#include "rvq/parts_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

enum { MOST_CELLS = 1 << 20, MOST_CHANNELS = 1 << 16 };

static vq_status check_design(vq_multiscale_design *own, const vq_multiscale_design *design)
{
    const vq_status status = vqi_options(own, sizeof *own, design, "vq_multiscale_design");
    if (status)
        return status;
    if (!own->rows || !own->columns || (uint64_t)own->rows * own->columns > MOST_CELLS)
        return vqi_fail(VQ_E_ARG, "vq_multiscale_design: a grid of %u x %u (1 to %d cells)",
                        own->rows, own->columns, MOST_CELLS);
    if (!own->channels || own->channels > MOST_CHANNELS)
        return vqi_fail(VQ_E_ARG, "vq_multiscale_design.channels is %u (1 to %d)", own->channels,
                        MOST_CHANNELS);
    if (!own->scales || own->scales > VQ_MAX_LEVELS || !own->sizes)
        return vqi_fail(VQ_E_ARG, "vq_multiscale_design: %u scales (1 to %d, and their sizes)",
                        own->scales, VQ_MAX_LEVELS);
    for (uint32_t s = 0; s < own->scales; s++)
        if (!own->sizes[2 * s] || own->sizes[2 * s] > own->rows || !own->sizes[2 * s + 1] ||
            own->sizes[2 * s + 1] > own->columns)
            return vqi_fail(VQ_E_ARG, "scale %u is %u x %u (1 x 1 to %u x %u)", s,
                            own->sizes[2 * s], own->sizes[2 * s + 1], own->rows, own->columns);
    if (own->up != VQ_MULTISCALE_BICUBIC && own->up != VQ_MULTISCALE_BILINEAR)
        return vqi_fail(VQ_E_ARG, "vq_multiscale_design.up is %d", (int)own->up);
    if (own->phis > VQ_MAX_LEVELS || (own->phis && (!own->phi_weight || !own->phi_bias)))
        return vqi_fail(VQ_E_ARG,
                        "vq_multiscale_design: %u phis (at most %d, with weights and bias)",
                        own->phis, VQ_MAX_LEVELS);
    for (uint32_t s = 0; own->phis && own->phi_of && s < own->scales; s++)
        if (own->phi_of[s] >= own->phis)
            return vqi_fail(VQ_E_ARG, "scale %u has phi %u (there are %u)", s, own->phi_of[s],
                            own->phis);
    if (own->phi_ratio == 0)
        own->phi_ratio = 0.5f;
    if (!(own->phi_ratio > 0 && own->phi_ratio <= 1))
        return vqi_fail(VQ_E_ARG, "vq_multiscale_design.phi_ratio is %g (above 0, at most 1)",
                        (double)own->phi_ratio);
    return VQ_OK;
}

static vq_status check_quantizers(const vq_multiscale_design *design,
                                  vq_quantizer *const *quantizers, uint32_t count)
{
    if (count != 1 && count != design->scales)
        return vqi_fail(VQ_E_ARG, "%u quantizers for %u scales (one, or one for each)", count,
                        design->scales);
    for (uint32_t s = 0; s < count; s++)
        if (quantizers[s]->dim != design->channels || quantizers[s]->levels != 1)
            return vqi_fail(
                VQ_E_ARG,
                "the quantizer of scale %u has %u dimensions and %u levels (not %u and 1)", s,
                quantizers[s]->dim, quantizers[s]->levels, design->channels);
    return VQ_OK;
}

/* The phi whose tick is nearest to s / (scales - 1). VAR has its ticks so; for four of them they lie further out. */
static uint32_t nearest_phi(uint32_t phis, uint32_t scale, uint32_t scales)
{
    const double at = scales > 1 ? (double)scale / (scales - 1) : 0;
    const double edge = 1.0 / (phis == 4 ? 3 : 2) / phis;
    uint32_t best = 0;
    double least = INFINITY;
    for (uint32_t p = 0; p < phis; p++) {
        const double tick = phis > 1 ? edge + p * (1 - 2 * edge) / (phis - 1) : edge;
        if (fabs(tick - at) < least) {
            least = fabs(tick - at);
            best = p;
        }
    }
    return best;
}

static void *copy_of(const void *data, size_t count, size_t size)
{
    void *copy = vqi_alloc(count, size);
    if (copy)
        memcpy(copy, data, count * size);
    return copy;
}

static vq_status take_phis(vq_multiscale *m, const vq_multiscale_design *design)
{
    const size_t d = design->channels;
    size_t weights;
    if (!vqi_mul(&weights, d * d * 9, design->phis))
        return vqi_fail_nomem(SIZE_MAX);
    for (size_t i = 0; i < weights; i++)
        if (!isfinite(design->phi_weight[i]))
            return vqi_fail(VQ_E_NONFINITE, "weight %zu of phi holds a NaN or an infinity", i);
    for (size_t i = 0; i < d * design->phis; i++)
        if (!isfinite(design->phi_bias[i]))
            return vqi_fail(VQ_E_NONFINITE, "bias %zu of phi holds a NaN or an infinity", i);
    m->phi_weight = copy_of(design->phi_weight, weights, sizeof(float));
    m->phi_bias = copy_of(design->phi_bias, d * design->phis, sizeof(float));
    m->phi_of = vqi_alloc(design->scales, sizeof *m->phi_of);
    m->kernel = vqi_alloc(weights, sizeof(float));
    if (!m->phi_weight || !m->phi_bias || !m->phi_of || !m->kernel)
        return vqi_fail_nomem((unsigned long long)weights * 2 * sizeof(float));
    for (uint32_t s = 0; s < design->scales; s++)
        m->phi_of[s] =
            design->phi_of ? design->phi_of[s] : nearest_phi(design->phis, s, design->scales);
    for (size_t p = 0; p < design->phis; p++)
        for (size_t o = 0; o < d; o++)
            for (size_t i = 0; i < d; i++)
                for (size_t tap = 0; tap < 9; tap++)
                    m->kernel[((p * 9 + tap) * d + i) * d + o] =
                        m->phi_weight[((p * d + o) * d + i) * 9 + tap];
    return VQ_OK;
}

static vq_status fill(vq_multiscale *m, const vq_multiscale_design *design)
{
    const size_t side = (size_t)design->rows + design->columns;
    m->sizes = copy_of(design->sizes, design->scales, 2 * sizeof *m->sizes);
    m->taps = vqi_alloc(side * design->scales, sizeof *m->taps);
    if (!m->sizes || !m->taps)
        return vqi_fail_nomem(side * design->scales * sizeof *m->taps);
    for (uint32_t s = 0; s < design->scales; s++) {
        vqi_taps *taps = m->taps + side * s;
        vqi_find_taps(taps, design->rows, m->sizes[2 * s], 0, m->sizes[2 * s], design->up);
        vqi_find_taps(taps + design->rows, design->columns, m->sizes[2 * s + 1], 0,
                      m->sizes[2 * s + 1], design->up);
        const size_t cells = vqi_scale_cells(m, s);
        m->most_cells = cells > m->most_cells ? cells : m->most_cells;
    }
    const vq_status status = design->phis ? take_phis(m, design) : VQ_OK;
    m->design = *design;
    m->design.sizes = m->sizes;
    m->design.phi_of = m->phi_of;
    m->design.phi_weight = m->phi_weight;
    m->design.phi_bias = m->phi_bias;
    return status;
}

vq_status vq_multiscale_create(vq_multiscale **out, const vq_multiscale_design *design,
                               vq_quantizer *const *quantizers, uint32_t count)
{
    vq_multiscale_design own;
    *out = NULL;
    vq_status status = check_design(&own, design);
    if (!status)
        status = check_quantizers(&own, quantizers, count);
    if (status)
        return status;
    vq_multiscale *m = vqi_calloc(1, sizeof *m);
    if (!m)
        return vqi_fail_nomem(sizeof *m);
    status = fill(m, &own);
    if (status) {
        vq_multiscale_free(m);
        return status;
    }
    m->count = count;
    memcpy(m->quantizers, quantizers, count * sizeof *quantizers);
    *out = m;
    return VQ_OK;
}

void vq_multiscale_free(vq_multiscale *multiscale)
{
    if (!multiscale)
        return;
    for (uint32_t s = 0; s < multiscale->count; s++)
        vq_quantizer_free(multiscale->quantizers[s]);
    vq_free(multiscale->sizes);
    vq_free(multiscale->phi_of);
    vq_free(multiscale->phi_weight);
    vq_free(multiscale->phi_bias);
    vq_free(multiscale->kernel);
    vq_free(multiscale->taps);
    vq_free(multiscale);
}

const vq_multiscale_design *vq_multiscale_get_design(const vq_multiscale *multiscale)
{
    return &multiscale->design;
}

const vq_quantizer *vq_multiscale_quantizer(const vq_multiscale *multiscale, uint32_t scale)
{
    if (scale >= multiscale->design.scales)
        return NULL;
    return multiscale->quantizers[multiscale->count > 1 ? scale : 0];
}

size_t vq_multiscale_tokens(const vq_multiscale *multiscale, uint32_t scales)
{
    size_t tokens = 0;
    const uint32_t all = multiscale->design.scales;
    for (uint32_t s = 0; s < (scales && scales < all ? scales : all); s++)
        tokens += vqi_scale_cells(multiscale, s);
    return tokens;
}

/* What one grid needs: itself (the rest), what a scale says of it, scratch, the cells of a scale, and a search. */
static size_t grid_workspace(const vq_multiscale *m, int threads)
{
    size_t most = 0;
    for (uint32_t s = 0; s < m->design.scales; s++) {
        const size_t need =
            vq_quantize_workspace(vq_multiscale_quantizer(m, s), vqi_scale_cells(m, s), threads);
        most = need > most ? need : most;
    }
    return 3 * vqi_aligned(vqi_grid_cells(m) * m->design.channels * sizeof(float)) +
           vqi_aligned(m->most_cells * m->design.channels * sizeof(float)) + vqi_aligned(most);
}

size_t vq_multiscale_workspace(const vq_multiscale *multiscale, size_t n, int threads)
{
    return n > 1 ? grid_workspace(multiscale, 1) * (size_t)vqi_threads(threads, n)
                 : grid_workspace(multiscale, threads);
}

typedef struct room {
    float *rest, *said, *scratch, *cells;
    vq_quantize_opts search;
} room;

static room lay_out(const vq_multiscale *m, char *workspace, size_t size, int threads)
{
    const size_t grid = vqi_aligned(vqi_grid_cells(m) * m->design.channels * sizeof(float)),
                 cells = vqi_aligned(m->most_cells * m->design.channels * sizeof(float));
    room r = {.search = VQ_QUANTIZE_OPTS_INIT};
    r.rest = (float *)(void *)workspace;
    r.said = (float *)(void *)(workspace + grid);
    r.scratch = (float *)(void *)(workspace + 2 * grid);
    r.cells = (float *)(void *)(workspace + 3 * grid);
    r.search.threads = threads;
    r.search.workspace = workspace + 3 * grid + cells;
    r.search.workspace_size = size - 3 * grid - cells;
    return r;
}

static vq_status encode_grid(uint32_t *codes, const vq_multiscale *m, const float *x, size_t number,
                             uint32_t scales, room *r)
{
    const size_t floats = vqi_grid_cells(m) * m->design.channels;
    memcpy(r->rest, x, floats * sizeof *x);
    for (uint32_t s = 0; s < scales; s++) {
        const size_t cells = vqi_scale_cells(m, s);
        const vq_quantizer *q = vq_multiscale_quantizer(m, s);
        vqi_scale_down(r->cells, m, s, r->rest);
        vq_status status = vq_quantize(codes, q, r->cells, cells, &r->search);
        if (status == VQ_E_NONFINITE)
            return vqi_fail(status, "grid %zu holds a NaN, an infinity or numbers that overflow",
                            number);
        if (!status && s + 1 < scales)
            status = vq_dequantize(r->cells, q, codes, cells, &r->search);
        if (status)
            return status;
        codes += cells;
        if (s + 1 == scales)
            break;
        vqi_scale_up(r->said, r->scratch, m, s, r->cells);
        for (size_t i = 0; i < floats; i++)
            r->rest[i] -= r->said[i];
    }
    return VQ_OK;
}

static vq_status decode_grid(float *x, const vq_multiscale *m, const uint32_t *codes, size_t number,
                             uint32_t scales, room *r)
{
    const size_t floats = vqi_grid_cells(m) * m->design.channels;
    size_t token = 0;
    memset(x, 0, floats * sizeof *x);
    for (uint32_t s = 0; s < scales; s++) {
        const size_t cells = vqi_scale_cells(m, s);
        const vq_quantizer *q = vq_multiscale_quantizer(m, s);
        const uint32_t k = vq_quantizer_k(q, 0);
        for (size_t i = 0; i < cells; i++)
            if (codes[token + i] >= k)
                return vqi_fail(VQ_E_RANGE, "grid %zu, token %zu: code %u is not below K = %u",
                                number, token + i, codes[token + i], k);
        const vq_status status = vq_dequantize(r->cells, q, codes + token, cells, &r->search);
        if (status)
            return status;
        vqi_scale_up(r->said, r->scratch, m, s, r->cells);
        for (size_t i = 0; i < floats; i++)
            x[i] += r->said[i];
        token += cells;
    }
    return VQ_OK;
}

typedef struct call {
    const vq_multiscale *m;
    uint32_t *codes;             /* encoding, or NULL */
    const uint32_t *given_codes; /* decoding */
    const float *x;
    float *out;
    size_t n, tokens, floats;
    uint32_t scales;
} call;

static vq_status one_grid(const call *c, size_t i, char *workspace, size_t size, int threads)
{
    room r = lay_out(c->m, workspace, size, threads);
    return c->codes
               ? encode_grid(c->codes + i * c->tokens, c->m, c->x + i * c->floats, i, c->scales, &r)
               : decode_grid(c->out + i * c->floats, c->m, c->given_codes + i * c->tokens, i,
                             c->scales, &r);
}

static vq_status all_grids(const call *c, char *workspace, size_t size, int threads)
{
    if (c->n == 1)
        return one_grid(c, 0, workspace, size, threads);
    const size_t own = grid_workspace(c->m, 1);
    const int used = vqi_threads(threads, c->n);
    size_t bad = c->n;
#pragma omp parallel for schedule(dynamic) num_threads(used) reduction(min : bad)
    for (size_t i = 0; i < c->n; i++)
        if (one_grid(c, i, workspace + (size_t)omp_get_thread_num() * own, own, 1))
            bad = i < bad ? i : bad;
    /* The sentence of a failure is its thread's own: fail again in this one. */
    return bad < c->n ? one_grid(c, bad, workspace, own, 1) : VQ_OK;
}

static vq_status run(call *c, const vq_quantize_opts *opts)
{
    vq_quantize_opts own;
    const vq_status status = vqi_options(&own, sizeof own, opts, "vq_quantize_opts");
    if (status)
        return status;
    if (own.levels > c->m->design.scales)
        return vqi_fail(VQ_E_ARG, "%u scales were asked for (there are %u)", own.levels,
                        c->m->design.scales);
    if (own.threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_quantize_opts.threads is %d (0 = all)", own.threads);
    if (own.lambda != 0)
        return vqi_fail(VQ_E_ARG,
                        "vq_quantize_opts.lambda is %g (there is no rate-aware encoding of "
                        "scales: 0)",
                        (double)own.lambda);
    if (!c->n)
        return VQ_OK;
    c->scales = own.levels ? own.levels : c->m->design.scales;
    c->tokens = vq_multiscale_tokens(c->m, c->scales);
    c->floats = vqi_grid_cells(c->m) * c->m->design.channels;
    const size_t need = vq_multiscale_workspace(c->m, c->n, own.threads);
    if (own.workspace && (own.workspace_size < need || (uintptr_t)own.workspace % 64))
        return vqi_fail(VQ_E_ARG,
                        "the workspace has %zu bytes, not %zu (see vq_multiscale_workspace()), or "
                        "is not aligned to 64",
                        own.workspace_size, need);
    char *allocated = own.workspace ? NULL : vqi_alloc(need, 1);
    if (!own.workspace && !allocated)
        return vqi_fail_nomem(need);
    const vq_status done =
        all_grids(c, own.workspace ? own.workspace : allocated, need, own.threads);
    vq_free(allocated);
    return done;
}

vq_status vq_multiscale_encode(uint32_t *codes, const vq_multiscale *multiscale, const float *x,
                               size_t n, const vq_quantize_opts *opts)
{
    call c = {.m = multiscale, .x = x, .n = n};
    c.codes = codes;
    return run(&c, opts);
}

vq_status vq_multiscale_decode(float *x, const vq_multiscale *multiscale, const uint32_t *codes,
                               size_t n, const vq_quantize_opts *opts)
{
    call c = {.m = multiscale, .given_codes = codes, .n = n};
    c.out = x;
    return run(&c, opts);
}
