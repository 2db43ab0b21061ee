/* SPDX-License-Identifier: Apache-2.0 */
/* What the quantizers without a codebook share: the levels' shares of the numbers, rows among threads, whole indices. */
#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/nearest_internal.h"
#include "vq/parallel_internal.h"
#include "vq/scalar_internal.h"

vq_status vqi_scalar_divide(vqi_scalar *s, const vqi_quantizer_kind *kind, uint32_t d,
                            uint32_t levels, const uint32_t *dims, const char *opts)
{
    levels = levels ? levels : 1;
    if (levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "%s.levels is %u (at most %d)", opts, levels, VQ_MAX_LEVELS);
    if (!d || (!dims && d % levels))
        return vqi_fail(VQ_E_ARG, "%u numbers do not divide into %u equal levels (set %s.dims)", d,
                        levels, opts);
    uint64_t total = 0;
    for (uint32_t l = 0; l < levels; l++) {
        s->dims[l] = dims ? dims[l] : d / levels;
        s->first[l] = (uint32_t)total;
        total += s->dims[l];
        if (!s->dims[l] || total > d)
            return vqi_fail(VQ_E_ARG, "%s.dims[%u] is %u (the counts add up to d = %u, none is 0)",
                            opts, l, s->dims[l], d);
    }
    if (total != d)
        return vqi_fail(VQ_E_ARG, "%s.dims add up to %u, not to d = %u", opts, (uint32_t)total, d);
    s->first[levels] = d;
    s->base = (vq_quantizer){kind, d, levels};
    return VQ_OK;
}

uint32_t vqi_scalar_k(const vq_quantizer *q, uint32_t level)
{
    return ((const vqi_scalar *)q)->k[level];
}

const vq_codebook *vqi_scalar_codebook(const vq_quantizer *q, uint32_t level)
{
    (void)q, (void)level;
    return NULL;
}

size_t vqi_scalar_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
{
    (void)q, (void)n, (void)opts;
    return 0;
}

/** @return the number of the first row that is not finite; n if all are. */
static size_t first_bad_row(const float *x, size_t n, size_t d)
{
    size_t row = 0;
    while (row < n && vqi_contract_portable.all_finite(x + row * d, d))
        row++;
    return row;
}

static vq_status fail_row(size_t row)
{
    return vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", row);
}

vq_status vqi_scalar_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                              const vq_quantize_opts *opts, vqi_scalar_rows rows)
{
    const size_t d = q->dim, levels = opts->levels;
    const size_t blocks = (n + VQI_SCALAR_ROWS - 1) / VQI_SCALAR_ROWS;
    /* A block of a few numbers is done sooner than a thread is woken. */
    const int threads = vqi_threads(opts->threads, n * d / 16384 + 1);
    size_t bad = n;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(min : bad)
    for (size_t b = 0; b < blocks; b++) {
        const size_t first = b * VQI_SCALAR_ROWS,
                     count = n - first < VQI_SCALAR_ROWS ? n - first : VQI_SCALAR_ROWS;
        if (vqi_contract_portable.all_finite(x + first * d, count * d)) {
            rows(codes + first * levels, q, x + first * d, count, opts->levels);
        } else {
            const size_t row = first + first_bad_row(x + first * d, count, d);
            bad = row < bad ? row : bad;
        }
    }
    return bad == n ? VQ_OK : fail_row(bad);
}

static int is_lfq(const vq_quantizer *q)
{
    return q->kind == &vqi_lfq_kind || q->kind == &vqi_bsq_kind;
}

static vq_status check_kind(const vq_quantizer *q)
{
    if (q->kind == &vqi_fsq_kind || is_lfq(q))
        return VQ_OK;
    return vqi_fail(VQ_E_ARG, "a quantizer of kind \"%s\" is not a scalar one", q->kind->name);
}

/* What a code of each level counts in the whole index; *top is the largest index. */
static vq_status weigh_levels(uint64_t weight[VQ_MAX_LEVELS], uint64_t *top, const vq_quantizer *q)
{
    const vq_status status = check_kind(q);
    if (status)
        return status;
    const vqi_scalar *s = (const vqi_scalar *)q;
    uint64_t largest = 0; /* index of the levels so far */
    for (uint32_t i = 0; i < q->levels; i++) {
        const uint32_t l = is_lfq(q) ? q->levels - 1 - i : i;
        const unsigned __int128 product = ((unsigned __int128)largest + 1) * s->k[l];
        if (product > (unsigned __int128)1 << 64)
            return vqi_fail(VQ_E_ARG, "the levels have more than 2^64 codes together");
        weight[l] = largest + 1; /* 0 only for a level that cannot follow: K is at least 2 */
        largest = (uint64_t)(product - 1);
    }
    *top = largest;
    return VQ_OK;
}

vq_status vq_scalar_index(uint64_t *index, const vq_quantizer *quantizer, const uint32_t *codes,
                          size_t n)
{
    const vqi_scalar *s = (const vqi_scalar *)quantizer;
    const uint32_t levels = quantizer->levels;
    uint64_t weight[VQ_MAX_LEVELS], top;
    const vq_status status = weigh_levels(weight, &top, quantizer);
    if (status)
        return status;
    for (size_t i = 0; i < n; i++) {
        uint64_t sum = 0;
        for (uint32_t l = 0; l < levels; l++) {
            const uint32_t code = codes[i * levels + l];
            if (code >= s->k[l])
                return vqi_fail(VQ_E_RANGE, "row %zu, level %u: code %u is not below K = %u", i, l,
                                code, s->k[l]);
            sum += weight[l] * code;
        }
        index[i] = sum;
    }
    return VQ_OK;
}

vq_status vq_scalar_codes(uint32_t *codes, const vq_quantizer *quantizer, const uint64_t *index,
                          size_t n)
{
    const vqi_scalar *s = (const vqi_scalar *)quantizer;
    const uint32_t levels = quantizer->levels;
    uint64_t weight[VQ_MAX_LEVELS], top;
    const vq_status status = weigh_levels(weight, &top, quantizer);
    if (status)
        return status;
    for (size_t i = 0; i < n; i++)
        if (index[i] > top)
            return vqi_fail(VQ_E_RANGE, "row %zu: index %llu is above the largest, %llu", i,
                            (unsigned long long)index[i], (unsigned long long)top);
    for (size_t i = 0; i < n; i++)
        for (uint32_t l = 0; l < levels; l++)
            codes[i * levels + l] = (uint32_t)(index[i] / weight[l] % s->k[l]);
    return VQ_OK;
}

vq_status vq_scalar_gradient(float *gradient_x, const vq_quantizer *quantizer, const float *x,
                             const float *gradient, size_t n)
{
    const size_t d = quantizer->dim;
    const vq_status status = check_kind(quantizer);
    if (status)
        return status;
    const size_t bad = first_bad_row(x, n, d);
    if (bad < n)
        return fail_row(bad);
    for (size_t i = 0; i < n; i++) {
        if (quantizer->kind == &vqi_fsq_kind)
            vqi_fsq_gradient(gradient_x + i * d, quantizer, x + i * d, gradient + i * d);
        else if (quantizer->kind == &vqi_bsq_kind)
            vqi_bsq_gradient(gradient_x + i * d, quantizer, x + i * d, gradient + i * d);
        else if (gradient_x != gradient)
            memcpy(gradient_x + i * d, gradient + i * d, d * sizeof *gradient);
    }
    return VQ_OK;
}
