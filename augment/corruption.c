/* SPDX-License-Identifier: Apache-2.0 */
#include "augment/corruption.h"

#include "augment/augment_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

enum { MAX_K = 1 << 24, MAX_STEPS = 1000000, DEFAULT_STEPS = 100 };

struct vq_corruption {
    uint32_t k, steps;
    double *kept, *masked; /* cumulative, steps + 1 */
};

/* Rates that are below 0 by rounding alone are 0. */
static const double rounding = 1e-12;

static vq_corruption_rates between(const vq_corruption *c, uint32_t from, uint32_t to)
{
    vq_corruption_rates r = {1, 0, 0};
    if (from == to)
        return r;
    r.keep = c->kept[to] / c->kept[from];
    /* Nothing that is not masked is left: then it does not matter. */
    r.mask = c->masked[from] < 1 ? 1 - (1 - c->masked[to]) / (1 - c->masked[from]) : 1 - r.keep;
    r.replace = (1 - r.keep - r.mask) / c->k;
    if (r.replace < 0)
        r.replace = 0;
    return r;
}

static vq_status check(const vq_corruption_opts *o)
{
    if (!o->k || o->k > MAX_K)
        return vqi_fail(VQ_E_ARG, "vq_corruption_opts.k is %u (1 to %d)", o->k, MAX_K);
    if (o->steps < 2 || o->steps > MAX_STEPS)
        return vqi_fail(VQ_E_ARG, "vq_corruption_opts.steps is %u (2 to %d)", o->steps, MAX_STEPS);
    const double rates[] = {o->keep_first, o->keep_last, o->mask_first, o->mask_last};
    for (int i = 0; i < 4; i++)
        if (!(rates[i] > 0 && rates[i] <= 1))
            return vqi_fail(VQ_E_ARG, "a cumulative rate of corruption is %g (above 0, at most 1)",
                            rates[i]);
    return VQ_OK;
}

/* Every step has to be one: its rates are at least 0. What is cumulative follows from that. */
static vq_status check_steps(const vq_corruption *c)
{
    for (uint32_t t = 1; t <= c->steps; t++) {
        const vq_corruption_rates r = between(c, t - 1, t);
        if (r.keep > 1 + rounding || r.mask < -rounding || 1 - r.keep - r.mask < -rounding)
            return vqi_fail(
                VQ_E_ARG,
                "step %u of the corruption would keep %g and mask %g (keep has to fall, mask "
                "to rise, and both together to be at most 1)",
                t, r.keep, r.mask);
    }
    return VQ_OK;
}

vq_status vq_corruption_create(vq_corruption **out, const vq_corruption_opts *opts)
{
    vq_corruption_opts o;
    *out = NULL;
    vq_status status = vqi_options(&o, sizeof o, opts, "vq_corruption_opts");
    if (status)
        return status;
    o.steps = o.steps ? o.steps : DEFAULT_STEPS;
    o.keep_first = o.keep_first != 0 ? o.keep_first : 0.99999;
    o.keep_last = o.keep_last != 0 ? o.keep_last : 0.000009;
    o.mask_first = o.mask_first != 0 ? o.mask_first : 0.000009;
    o.mask_last = o.mask_last != 0 ? o.mask_last : 0.99999;
    status = check(&o);
    if (status)
        return status;
    vq_corruption *c = vqi_calloc(1, sizeof *c);
    if (!c)
        return vqi_fail_nomem(sizeof *c);
    c->k = o.k;
    c->steps = o.steps;
    c->kept = vqi_alloc((size_t)o.steps + 1, sizeof *c->kept);
    c->masked = vqi_alloc((size_t)o.steps + 1, sizeof *c->masked);
    if (!c->kept || !c->masked) {
        vq_corruption_free(c);
        return vqi_fail_nomem((unsigned long long)o.steps * sizeof *c->kept);
    }
    c->kept[0] = 1;
    c->masked[0] = 0;
    for (uint32_t i = 0; i < o.steps; i++) {
        const double at = (double)i / (o.steps - 1);
        c->kept[i + 1] = (1 - at) * o.keep_first + at * o.keep_last;
        c->masked[i + 1] = (1 - at) * o.mask_first + at * o.mask_last;
    }
    status = check_steps(c);
    if (status) {
        vq_corruption_free(c);
        return status;
    }
    *out = c;
    return VQ_OK;
}

void vq_corruption_free(vq_corruption *corruption)
{
    if (!corruption)
        return;
    vqi_free(corruption->kept);
    vqi_free(corruption->masked);
    vqi_free(corruption);
}

uint32_t vq_corruption_k(const vq_corruption *corruption)
{
    return corruption->k;
}

uint32_t vq_corruption_steps(const vq_corruption *corruption)
{
    return corruption->steps;
}

vq_status vq_corruption_between(vq_corruption_rates *out, const vq_corruption *corruption,
                                uint32_t from, uint32_t to)
{
    if (from > to || to > corruption->steps)
        return vqi_fail(VQ_E_ARG, "corruption from step %u to %u of %u", from, to,
                        corruption->steps);
    *out = between(corruption, from, to);
    return VQ_OK;
}

vq_status vq_corrupt(uint32_t *out, const vq_corruption *corruption, const uint32_t *codes,
                     size_t n, uint32_t from, uint32_t to, vq_draw draw)
{
    const uint32_t k = corruption->k;
    vq_corruption_rates r;
    const vq_status status = vq_corruption_between(&r, corruption, from, to);
    if (status)
        return status;
    if (n > UINT32_MAX)
        return vqi_fail(VQ_E_ARG, "corruption of more than 2^32 codes at once");
    for (size_t i = 0; i < n; i++)
        if (codes[i] > k)
            return vqi_fail(VQ_E_RANGE, "code %u at position %zu (K is %u, which is the mask)",
                            codes[i], i, k);
    for (size_t i = 0; i < n; i++) {
        const vqi_philox numbers = vqi_draw_at(&draw, VQI_DRAW_CORRUPT, to, i);
        const double uniform = vqi_draw_uniform(&numbers);
        if (codes[i] == k || uniform < r.mask)
            out[i] = k;
        else if (uniform < r.mask + r.keep)
            out[i] = codes[i];
        else
            out[i] = (uint32_t)vqi_draw_below(&numbers, k);
    }
    return VQ_OK;
}

/* The probability that what is `from` becomes `to`; k is the mask. */
static double passage(const vq_corruption_rates *r, uint32_t k, uint32_t from, uint32_t to)
{
    if (from == k)
        return to == k;
    if (to == k)
        return r->mask;
    return (from == to ? r->keep : 0) + r->replace;
}

vq_status vq_corruption_posterior(double *out, const vq_corruption *corruption, uint32_t now,
                                  uint32_t origin, uint32_t step)
{
    const uint32_t k = corruption->k;
    if (!step || step > corruption->steps)
        return vqi_fail(VQ_E_ARG, "the posterior of step %u of %u", step, corruption->steps);
    if (now > k || origin >= k)
        return vqi_fail(VQ_E_RANGE, "code %u of an origin of %u (K is %u)", now, origin, k);
    const vq_corruption_rates whole = between(corruption, 0, step),
                              before = between(corruption, 0, step - 1),
                              last = between(corruption, step - 1, step);
    if (!(passage(&whole, k, origin, now) > 0))
        return vqi_fail(VQ_E_ARG, "code %u cannot come of %u in %u steps", now, origin, step);
    double sum = 0;
    for (uint32_t j = 0; j <= k; j++) {
        out[j] = passage(&before, k, origin, j) * passage(&last, k, j, now);
        sum += out[j];
    }
    for (uint32_t j = 0; j <= k; j++)
        out[j] /= sum; /* the closed form of the sum, but for rounding */
    return VQ_OK;
}
