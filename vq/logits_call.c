/* SPDX-License-Identifier: Apache-2.0 */
/* What every call on a head begins with: checks, a workspace cut into pieces, states 16 at a time; and the pass over all rows. */
#include <float.h>
#include <string.h>

#include "vq/cpu.h"
#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

/* Below about this many multiplications a second thread costs more than it brings. */
#define WORK_PER_THREAD 1e6

enum {
    FEW_STATES = 3,    /* with so many or fewer, 16 lanes are mostly idle */
    MANY_RANKS = 4096, /* with more, states come one by one */
    BLOCKS_AT_ONCE = 4
};

const vqi_logit_kernels *vqi_logit_kernels_now(void)
{
#if defined(__x86_64__)
    const uint32_t flags = vq_cpu_flags();
    if (flags & VQ_CPU_AVX512)
        return &vqi_logit_avx512;
    if (flags & VQ_CPU_AVX2)
        return &vqi_logit_avx2;
#endif
    return &vqi_logit_portable;
}

static size_t blocks_of(size_t n)
{
    return (n + VQI_HEAD_BLOCK - 1) / VQI_HEAD_BLOCK;
}

/* The next piece of a workspace, which may be NULL, in whole lines of the cache. */
static void *piece(char *workspace, size_t *at, size_t count, size_t size)
{
    char *p = workspace ? workspace + *at : NULL;
    *at += (count * size + 63) / 64 * 64;
    return p;
}

/* Cut the workspace, which may be NULL. @return its bytes. */
static size_t cut(vqi_head_call *c, char *workspace)
{
    const vq_head *head = c->head;
    const size_t threads = (size_t)c->threads, states = VQI_STATES, d8 = vqi_padded(head->d);
    size_t at = 0;
    c->h = piece(workspace, &at, states * d8, sizeof *c->h);
    c->packed = piece(workspace, &at, states * d8, sizeof *c->packed);
    c->masses = piece(workspace, &at, states * blocks_of(head->v), sizeof *c->masses);
    c->tiles = piece(workspace, &at, threads * states * VQI_HEAD_BLOCK, sizeof *c->tiles);
    const size_t few = c->count < MANY_RANKS ? c->count : MANY_RANKS;
    const size_t ranks = c->count > states * few ? c->count : states * few;
    c->heaps = piece(workspace, &at, threads * ranks, sizeof *c->heaps);
    c->best = piece(workspace, &at, threads * states, sizeof *c->best);
    const size_t scores = states * head->k;
    c->scores = piece(workspace, &at, scores, sizeof *c->scores);
    if (head->kind == &vqi_head_rvq) {
        c->tables = piece(workspace, &at, states * head->levels * VQI_TABLE, sizeof *c->tables);
        c->slices = piece(workspace, &at, threads * d8, sizeof *c->slices);
    }
    if (head->kind == &vqi_head_tied) {
        c->scaled = piece(workspace, &at, scores, sizeof *c->scaled);
        c->code_mass = piece(workspace, &at, head->k, sizeof *c->code_mass);
    }
    if (head->kind == &vqi_head_rerank) {
        c->picks = piece(workspace, &at, scores, sizeof *c->picks);
        c->group_mass = piece(workspace, &at, scores + states, sizeof *c->group_mass);
    }
    return at;
}

static int threads_of(const vq_head *head, size_t n, uint32_t probes, int threads)
{
    double rows = (double)head->v;
    if (head->kind == &vqi_head_tied)
        rows = head->k;
    if (head->kind == &vqi_head_rerank && probes < head->k)
        rows = head->k + rows * probes / head->k;
    const double work = (double)(n < VQI_STATES ? n : VQI_STATES) * rows * head->d;
    return vqi_threads(threads, work < 1e6 * WORK_PER_THREAD ? (size_t)(work / WORK_PER_THREAD) + 1
                                                             : (size_t)1e6);
}

size_t vq_head_workspace(const vq_head *head, size_t n, size_t count, const vq_head_call *opts)
{
    vq_head_call own;
    if (vqi_options(&own, sizeof own, opts, "vq_head_call"))
        return 0;
    vqi_head_call c = {.head = head, .count = count < head->v ? count : head->v};
    c.threads = threads_of(head, n, own.probes ? own.probes : head->probes, own.threads);
    return cut(&c, NULL);
}

vq_status vqi_head_begin(vqi_head_call *c, const vq_head *head, const float *states, size_t n,
                         size_t count, const vq_head_call *opts)
{
    vq_head_call own;
    *c = (vqi_head_call){.head = head, .states = states, .n = n, .count = count};
    const vq_status status = vqi_options(&own, sizeof own, opts, "vq_head_call");
    if (status)
        return status;
    if (own.threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_head_call.threads is %d (0 = all)", own.threads);
    if (own.stride && own.stride < head->d)
        return vqi_fail(VQ_E_ARG, "vq_head_call.stride is %zu, below d = %u", own.stride, head->d);
    c->kernels = vqi_logit_kernels_now();
    c->stride = own.stride ? own.stride : head->d;
    c->probes = own.probes ? own.probes : head->probes;
    c->threads = threads_of(head, n, c->probes, own.threads);
    const size_t need = cut(c, NULL);
    if (own.workspace && own.workspace_size < need)
        return vqi_fail(VQ_E_ARG, "the workspace has %zu bytes, not %zu (see vq_head_workspace())",
                        own.workspace_size, need);
    if (own.workspace && (uintptr_t)own.workspace % 64)
        return vqi_fail(VQ_E_ARG, "the workspace is not aligned to 64 bytes");
    if (!own.workspace) {
        c->allocated = vqi_alloc(need, 1);
        if (!c->allocated)
            return vqi_fail_nomem(need);
    }
    cut(c, own.workspace ? own.workspace : c->allocated);
    return VQ_OK;
}

void vqi_head_end(vqi_head_call *c, vq_head_report *report)
{
    vq_free(c->allocated);
    if (report)
        *report = c->report;
}

size_t vqi_head_group(const vqi_head_call *c, size_t first)
{
    const size_t most = c->count <= MANY_RANKS ? VQI_STATES : 1;
    return c->n - first < most ? c->n - first : most;
}

vq_status vqi_head_take(vqi_head_call *c, size_t first, size_t count)
{
    const size_t d = c->head->d, d8 = vqi_padded(c->head->d);
    for (size_t s = 0; s < count; s++) {
        const float *x = c->states + (first + s) * c->stride;
        float *h = c->h + s * d8;
        double square = 0;
        for (size_t i = 0; i < d; i++)
            square += (double)x[i] * x[i];
        if (!isfinite(square))
            return vqi_fail(VQ_E_NONFINITE, "state %zu holds a NaN or an infinity", first + s);
        if (sqrt(square) * c->head->largest + c->head->most_bias > FLT_MAX / 4)
            return vqi_fail(VQ_E_NONFINITE, "state %zu has the length %g: logits would overflow",
                            first + s, sqrt(square));
        memcpy(h, x, d * sizeof *x);
        memset(h + d, 0, (d8 - d) * sizeof *h);
    }
    if (count > FEW_STATES)
        for (size_t i = 0; i < d8; i++)
            for (size_t s = 0; s < VQI_STATES; s++)
                c->packed[i * VQI_STATES + s] = s < count ? c->h[s * d8 + i] : 0;
    return VQ_OK;
}

void vqi_head_look_up(float *out, const vqi_head_call *c, size_t state, size_t first, size_t count)
{
    const vq_head *head = c->head;
    const size_t levels = head->levels;
    c->kernels->look_up(out, head->row_codes + first * levels, count, levels,
                        c->tables + state * levels * VQI_TABLE);
    for (size_t r = 0; head->rows.bias && r < count; r++)
        out[r] += head->rows.bias[first + r];
}

/* What one thread does with one block of rows. */
static void look_at(const vqi_head_call *c, const vqi_pass *pass, size_t block, size_t states,
                    float *tile, vqi_best *best)
{
    const vqi_rows *rows = pass->rows;
    const size_t first = block * VQI_HEAD_BLOCK, d8 = vqi_padded(rows->d);
    const size_t count = rows->n - first < VQI_HEAD_BLOCK ? rows->n - first : VQI_HEAD_BLOCK;
    if (states > FEW_STATES && !pass->looked_up)
        c->kernels->many(tile, rows, first, count, c->packed);
    for (size_t s = 0; s < states; s++) {
        float *logits = tile + s * VQI_HEAD_BLOCK;
        if (pass->looked_up)
            vqi_head_look_up(logits, c, s, first, count);
        else if (states <= FEW_STATES)
            c->kernels->one(logits, rows, first, count, c->h + s * d8);
        if (pass->logits && !pass->to)
            memcpy(pass->logits + s * rows->n + first, logits, count * sizeof *logits);
        for (size_t r = 0; pass->logits && pass->to && r < count; r++)
            pass->logits[s * rows->n + pass->to[first + r]] = logits[r];
        if (pass->ids)
            vqi_best_add_all(best + s, logits, pass->ids + first, NULL, count);
        if (pass->mass)
            c->masses[block * VQI_STATES + s] = vqi_mass_of(logits, count, pass->scale);
    }
}

void vqi_best_clear(vqi_head_call *c)
{
    const size_t states = c->count <= MANY_RANKS ? VQI_STATES : 1;
    for (size_t t = 0; t < (size_t)c->threads; t++)
        for (size_t s = 0; s < states; s++)
            c->best[t * VQI_STATES + s] =
                (vqi_best){c->heaps + (t * states + s) * c->count, 0, c->count};
}

void vqi_best_gather(vqi_head_call *c, size_t states)
{
    for (size_t s = 0; s < states; s++) {
        for (size_t t = 1; t < (size_t)c->threads; t++) {
            const vqi_best *more = c->best + t * VQI_STATES + s;
            for (size_t i = 0; i < more->count; i++)
                vqi_best_add(c->best + s, more->heap[i]);
        }
        vqi_best_sort(c->best + s);
    }
}

void vqi_head_pass(vqi_head_call *c, const vqi_pass *pass, size_t states)
{
    const size_t blocks = blocks_of(pass->rows->n);
    if (pass->ids)
        vqi_best_clear(c);
#pragma omp parallel for num_threads(c->threads) schedule(dynamic, BLOCKS_AT_ONCE)
    for (size_t b = 0; b < blocks; b++) {
        const size_t me = (size_t)omp_get_thread_num() * VQI_STATES;
        look_at(c, pass, b, states, c->tiles + me * VQI_HEAD_BLOCK, c->best + me);
    }
    if (pass->ids)
        vqi_best_gather(c, states);
    for (size_t s = 0; pass->mass && s < states; s++) {
        pass->mass[s] = VQI_NO_MASS;
        for (size_t b = 0; b < blocks; b++)
            vqi_mass_add(pass->mass + s, c->masses[b * VQI_STATES + s]);
    }
}

double vqi_head_pick_block(size_t *block, const vqi_head_call *c, size_t state, size_t n, double u,
                           vqi_mass mass)
{
    const size_t blocks = blocks_of(n);
    double left = u * mass.sum;
    for (size_t b = 0; b < blocks; b++) {
        const vqi_mass one = c->masses[b * VQI_STATES + state];
        const double part = one.sum * exp((double)one.largest - mass.largest);
        if (left < part) {
            *block = b;
            return left / part;
        }
        left -= part;
        if (part > 0) /* rounding may leave some after the last */
            *block = b;
    }
    return 1;
}
