/* SPDX-License-Identifier: Apache-2.0 */
/* vq_head_sample(): one number of Philox for each state, looked up in the cumulated distribution: with cuts that of the best
 * tokens, without cuts that of all, as the mode has it. */
#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/options_internal.h"
#include "vq/philox_internal.h"

/* Where top_p or min_p cut, they mostly do so within so many tokens. */
enum { FIRST_LOOK = 256 };

typedef struct sampling {
    vq_head_sample_opts opts;
    float scale; /* 1 / temperature */
    uint32_t *ids;
    float *log_probs;
} sampling;

static vq_status check(sampling *s, const vq_head *head, const vq_head_sample_opts *opts)
{
    vq_head_sample_opts *o = &s->opts;
    const vq_status status = vqi_options(o, sizeof *o, opts, "vq_head_sample_opts");
    if (status)
        return status;
    if (!(o->temperature >= 0 && o->temperature < INFINITY) ||
        (o->temperature > 0 && o->temperature < 1e-6f))
        return vqi_fail(VQ_E_ARG,
                        "vq_head_sample_opts.temperature is %g (0 = 1, else from 1e-6 up; top_k "
                        "= 1 is greedy)",
                        o->temperature);
    if (!(o->top_p >= 0 && o->top_p <= 1))
        return vqi_fail(VQ_E_ARG, "vq_head_sample_opts.top_p is %g (0 to 1)", o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return vqi_fail(VQ_E_ARG, "vq_head_sample_opts.min_p is %g (0 to 1)", o->min_p);
    s->scale = o->temperature > 0 ? 1 / o->temperature : 1;
    if (o->top_p >= 1)
        o->top_p = 0;
    if (o->top_k >= head->v) /* all of them: no cut, but then min_p and top_p see everything */
        o->top_k = o->top_p > 0 || o->min_p > 0 ? (uint32_t)head->v : 0;
    return VQ_OK;
}

/* Uniform in [0, 1), a multiple of 2^-53. */
static double uniform(uint64_t seed, uint64_t position)
{
    const vqi_philox r =
        vqi_philox4x32((vqi_philox){{(uint32_t)position, (uint32_t)(position >> 32), 0, 0}}, seed);
    return ((double)(r.word[0] >> 5) * 0x1p26 + (double)(r.word[1] >> 6)) * 0x1p-53;
}

/* Probability of a candidate as a share of the best one's. */
static double share(const vqi_best *best, size_t i, float scale)
{
    return exp(((double)best->heap[i].logit - best->heap[0].logit) * scale);
}

/* How many of the best are left by the cuts, and their sum; 0 if it takes more of them to know. */
static size_t cut(double *sum, const sampling *s, const vqi_best *best, vqi_mass mass, size_t v)
{
    const vq_head_sample_opts *o = &s->opts;
    const int complete = o->top_k || best->count == v;
    size_t left = best->count;
    double total = 0;
    if (complete)
        for (size_t i = 0; i < left; i++)
            total += share(best, i, s->scale);
    else
        total = exp(vqi_mass_log(mass) - (double)best->heap[0].logit * s->scale);
    *sum = 0;
    if (o->top_p > 0) {
        size_t i = 0;
        double reached = 0;
        while (i < left && reached < o->top_p * total)
            reached += share(best, i++, s->scale);
        if (reached < o->top_p * total && !complete)
            return 0;
        left = i;
    }
    size_t i = 0;
    for (; i < left; i++) {
        const double w = share(best, i, s->scale);
        if (w < o->min_p)
            break;
        *sum += w;
    }
    /* All are large enough, and there may be more. */
    return i == best->count && !complete ? 0 : i;
}

static void pick(const sampling *s, const vqi_best *best, size_t count, double sum, double u,
                 size_t at)
{
    double reached = 0, w = 0;
    size_t i = 0;
    for (; i < count; i++) {
        w = share(best, i, s->scale);
        reached += w;
        if (reached > u * sum)
            break;
    }
    i = i < count ? i : count - 1;
    s->ids[at] = best->heap[i].id;
    if (s->log_probs)
        s->log_probs[at] = (float)log(w / sum);
}

/* Look at all tokens of one state, where the best few do not tell. */
static vq_status sample_all(const sampling *s, vqi_head_call *c, size_t at, double u)
{
    const size_t few = c->count;
    vqi_mass mass;
    const vq_status status = vqi_head_take(c, at, 1);
    if (status)
        return status;
    c->count = c->head->v;
    c->head->kind->rank(&mass, c, 1, s->scale);
    double sum = 0;
    const size_t left = cut(&sum, s, c->best, mass, c->head->v);
    pick(s, c->best, left, sum, u, at);
    c->count = few;
    return VQ_OK;
}

static vq_status sample_group(const sampling *s, vqi_head_call *c, size_t first, size_t count)
{
    uint32_t open[VQI_STATES];
    size_t left_open = 0;
    vqi_mass mass[VQI_STATES];
    vq_status status = vqi_head_take(c, first, count);
    if (status)
        return status;
    c->head->kind->rank(mass, c, count, s->scale);
    for (size_t i = 0; i < count; i++) {
        const size_t at = first + i;
        const double u = uniform(s->opts.seed, s->opts.position + at);
        if (!c->count) {
            vqi_token token;
            const double log_prob = c->head->kind->draw(&token, c, i, u, mass[i], s->scale);
            s->ids[at] = token.id;
            if (s->log_probs)
                s->log_probs[at] = (float)log_prob;
            continue;
        }
        double sum = 0;
        const size_t left = cut(&sum, s, c->best + i, mass[i], c->head->v);
        if (left)
            pick(s, c->best + i, left, sum, u, at);
        else
            open[left_open++] = (uint32_t)i;
    }
    for (size_t i = 0; i < left_open && !status; i++)
        status = sample_all(s, c, first + open[i],
                            uniform(s->opts.seed, s->opts.position + first + open[i]));
    return status;
}

vq_status vq_head_sample(uint32_t *ids, float *log_probs, vq_head_report *report,
                         const vq_head *head, const float *states, size_t n,
                         const vq_head_sample_opts *opts, const vq_head_call *call)
{
    sampling s = {0};
    vqi_head_call c;
    s.ids = ids;
    s.log_probs = log_probs;
    vq_status status = check(&s, head, opts);
    if (status)
        return status;
    const vq_head_sample_opts *o = &s.opts;
    const size_t most = o->top_k ? o->top_k : o->top_p > 0 || o->min_p > 0 ? head->v : 0;
    status = vqi_head_begin(&c, head, states, n, most, call);
    if (!o->top_k && c.count > FIRST_LOOK)
        c.count = FIRST_LOOK;
    for (size_t first = 0; first < n && !status;) {
        const size_t some = vqi_head_group(&c, first);
        status = sample_group(&s, &c, first, some);
        first += some;
    }
    vqi_head_end(&c, report);
    return status;
}
