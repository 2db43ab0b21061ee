/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rerank head: rows in the order of their clusters. For each state the estimated mass of every cluster is scored, then the rows
 * of the best clusters, and of the group without a codeword, which holds the ids that are always scored.
 *
 * The estimate of the logarithm of a cluster's mass is c . h + o + r |h|^2: c the weighted mean of its rows; with o fitted to hidden states
 * (logits_fit.c) and r = 0, or without states o = log n and r half the variance of a row along a direction, the second
 * term of the cumulants. At a temperature T that is log n + c . h / T + (o - log n + r |h|^2) / T^2.
 */
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

/* Where a cluster's rows were scored, its estimate is out of the sum. */
#define SCORED (-INFINITY)
/* Of an estimate: a long state among widely spread rows must not overflow. */
#define LARGEST 0x1p100f

static float square_of(const float *h, size_t d)
{
    double square = 0;
    for (size_t i = 0; i < d; i++)
        square += (double)h[i] * h[i];
    return (float)fmin(square, LARGEST);
}

/* The estimates of all clusters, of logits as they are. */
static void estimate(vqi_head_call *c, size_t states)
{
    const vq_head *head = c->head;
    vqi_pass pass = {.rows = &head->codes, .scale = 1};
    pass.logits = c->scores;
    vqi_head_pass(c, &pass, states);
    for (size_t s = 0; s < states && head->spread; s++) {
        const float square = square_of(vqi_head_state(c, s), head->d);
        float *scores = c->scores + s * head->k;
        for (uint32_t k = 0; k < head->k; k++)
            scores[k] = fminf(scores[k] + head->spread[k] * square, LARGEST);
    }
    c->report.codes += states * head->k;
    c->report.bytes += states * head->k *
                       (vqi_row_bytes(&head->codes) + (head->spread ? sizeof *head->spread : 0));
}

static uint32_t size_of(const vq_head *head, uint32_t group)
{
    return head->first[group + 1] - head->first[group];
}

/* The best clusters of a state, as many as asked for, or as it takes to have the rows that are ranked. @return how many. */
static uint32_t choose(vqi_head_call *c, size_t state)
{
    const vq_head *head = c->head;
    const float *scores = c->scores + state * head->k;
    vqi_token *picks = c->picks + state * head->k;
    size_t most = c->probes;
    for (;;) {
        vqi_best best = {picks, 0, most < head->k ? most : head->k};
        size_t rows = head->groups > head->k ? size_of(head, head->k) : 0;
        for (uint32_t k = 0; k < head->k; k++)
            if (best.count < best.most || scores[k] >= picks[0].logit)
                vqi_best_add(&best, (vqi_token){scores[k], k});
        for (size_t i = 0; i < best.count; i++)
            rows += size_of(head, picks[i].id);
        if (rows >= c->count || best.most == head->k)
            return (uint32_t)best.count;
        most *= 2;
    }
}

/* The estimate at another temperature, with `scale` = 1 / T. */
static float at_scale(const vq_head *head, uint32_t k, float score, float extra, float scale)
{
    if (scale == 1)
        return score;
    const float log_n = logf((float)size_of(head, k)), spread = head->codes.bias[k] - log_n + extra;
    return log_n + (score - log_n - spread) * scale + spread * scale * scale;
}

static vqi_mass score_group(vqi_head_call *c, size_t state, uint32_t group, float *tile,
                            vqi_best *best, float scale)
{
    const vq_head *head = c->head;
    vqi_mass mass = VQI_NO_MASS;
    for (uint32_t first = head->first[group]; first < head->first[group + 1];
         first += VQI_HEAD_BLOCK) {
        const uint32_t left = head->first[group + 1] - first,
                       count = left < VQI_HEAD_BLOCK ? left : VQI_HEAD_BLOCK;
        c->kernels->one(tile, &head->rows, first, count, vqi_head_state(c, state));
        if (best)
            vqi_best_add_all(best, tile, head->ids, head->tokens + first, count);
        vqi_mass_add(&mass, vqi_mass_of(tile, count, scale));
    }
    return mass;
}

/* Which of the state's groups a task is: first the chosen clusters, then the group that is always scored. */
static uint32_t group_of(const vqi_head_call *c, size_t state, size_t i)
{
    return i < c->picked[state] ? c->picks[state * c->head->k + i].id : c->head->k;
}

static size_t groups_of(const vqi_head_call *c, size_t state)
{
    return c->picked[state] + (c->head->groups > c->head->k);
}

/* The tasks of all states, numbered in a row. */
static void score_groups(vqi_head_call *c, size_t states, float scale)
{
    const vq_head *head = c->head;
    size_t begin[VQI_STATES + 1] = {0};
    for (size_t s = 0; s < states; s++)
        begin[s + 1] = begin[s] + groups_of(c, s);
#pragma omp parallel for num_threads(c->threads) schedule(dynamic, 8)
    for (size_t task = 0; task < begin[states]; task++) {
        const size_t me = (size_t)omp_get_thread_num();
        size_t s = 0;
        while (task >= begin[s + 1])
            s++;
        const size_t i = task - begin[s];
        c->group_mass[s * (head->k + 1) + i] =
            score_group(c, s, group_of(c, s, i), c->tiles + me * VQI_STATES * VQI_HEAD_BLOCK,
                        c->count ? c->best + me * VQI_STATES + s : NULL, scale);
    }
}

/* Everything together; the estimates are left as they are at the scale, SCORED where they do not count. */
static vqi_mass add_up(vqi_head_call *c, size_t state, float scale)
{
    const vq_head *head = c->head;
    float *scores = c->scores + state * head->k;
    vqi_mass mass = VQI_NO_MASS;
    size_t rows = 0;
    for (size_t i = 0; i < groups_of(c, state); i++) {
        vqi_mass_add(&mass, c->group_mass[state * (head->k + 1) + i]);
        rows += size_of(head, group_of(c, state, i));
    }
    for (uint32_t i = 0; i < c->picked[state]; i++)
        scores[c->picks[state * head->k + i].id] = SCORED;
    c->report.rows += rows;
    c->report.bytes += rows * vqi_row_bytes(&head->rows);
    if (c->picked[state] == head->k)
        return mass;
    if (scale != 1) {
        const float square = head->spread ? square_of(vqi_head_state(c, state), head->d) : 0;
        for (uint32_t k = 0; k < head->k; k++)
            if (scores[k] != SCORED)
                scores[k] = at_scale(head, k, scores[k],
                                     head->spread ? head->spread[k] * square : 0, scale);
    }
    vqi_mass_add(&mass, vqi_mass_of(scores, head->k, 1));
    return mass;
}

static void rank(vqi_mass *mass, vqi_head_call *c, size_t states, float scale)
{
    estimate(c, states);
    for (size_t s = 0; s < states; s++)
        c->picked[s] = choose(c, s);
    if (c->count)
        vqi_best_clear(c);
    score_groups(c, states, scale);
    if (c->count)
        vqi_best_gather(c, states);
    for (size_t s = 0; s < states; s++) {
        const vqi_mass all = add_up(c, s, scale);
        if (mass)
            mass[s] = all;
    }
}

static void all(float *logits, vqi_mass *mass, vqi_head_call *c, size_t states)
{
    const vq_head *head = c->head;
    vqi_pass pass = {.rows = &head->rows, .to = head->tokens, .mass = mass, .scale = 1};
    pass.logits = logits;
    vqi_head_pass(c, &pass, states);
    c->report.rows += states * head->v;
    c->report.bytes += states * head->v * vqi_row_bytes(&head->rows);
}

static float score(vqi_head_call *c, size_t state, size_t place)
{
    float logit;
    c->kernels->one(&logit, &c->head->rows, c->head->at[place], 1, vqi_head_state(c, state));
    c->report.rows++;
    c->report.bytes += vqi_row_bytes(&c->head->rows);
    return logit;
}

static vqi_mass mass_of_group(vqi_head_call *c, size_t state, uint32_t group, float scale)
{
    c->report.rows += size_of(c->head, group);
    c->report.bytes += size_of(c->head, group) * vqi_row_bytes(&c->head->rows);
    return score_group(c, state, group, c->tiles, NULL, scale);
}

static double log_prob(vqi_head_call *c, size_t state, size_t place, vqi_mass mass)
{
    const vq_head *head = c->head;
    const uint32_t group = vqi_cells_group(head, head->at[place]);
    const double logit = score(c, state, place), whole = vqi_mass_log(mass);
    const float estimated = group < head->k ? c->scores[state * head->k + group] : SCORED;
    if (estimated == SCORED)
        return logit - whole;
    return estimated - whole + logit - vqi_mass_log(mass_of_group(c, state, group, 1));
}

/* Which row of a group, at u of its mass. */
static double draw_row(vqi_token *token, vqi_head_call *c, size_t state, uint32_t group,
                       vqi_mass mass, double u, float scale)
{
    const vq_head *head = c->head;
    double left = u * mass.sum;
    uint32_t first = head->first[group], count = 0;
    for (;; first += VQI_HEAD_BLOCK) {
        const uint32_t end = head->first[group + 1];
        count = end - first < VQI_HEAD_BLOCK ? end - first : VQI_HEAD_BLOCK;
        c->kernels->one(c->tiles, &head->rows, first, count, vqi_head_state(c, state));
        const vqi_mass part = vqi_mass_of(c->tiles, count, scale);
        const double share = part.sum * exp((double)part.largest - mass.largest);
        if (left < share || first + count == end) {
            const size_t i = vqi_mass_pick(c->tiles, count, scale, share > 0 ? left / share : 0);
            *token = (vqi_token){c->tiles[i], head->ids[head->tokens[first + i]]};
            return (double)token->logit * scale;
        }
        left -= share;
    }
}

static double draw(vqi_token *token, vqi_head_call *c, size_t state, double u, vqi_mass mass,
                   float scale)
{
    const vq_head *head = c->head;
    const float *scores = c->scores + state * head->k;
    double left = u * mass.sum;
    const size_t scored = groups_of(c, state);
    size_t last = 0;
    for (size_t i = 0; i < scored; i++) {
        const vqi_mass one = c->group_mass[state * (head->k + 1) + i];
        const double share = one.sum * exp((double)one.largest - mass.largest);
        if (left < share)
            return draw_row(token, c, state, group_of(c, state, i), one, left / share, scale) -
                   vqi_mass_log(mass);
        left -= share;
        last = share > 0 ? i : last;
    }
    for (uint32_t k = 0; k < head->k; k++) {
        const double share = scores[k] == SCORED ? 0 : exp((double)scores[k] - mass.largest);
        if (left < share) {
            const vqi_mass one = mass_of_group(c, state, k, scale);
            return draw_row(token, c, state, k, one, left / share, scale) - vqi_mass_log(one) +
                   scores[k] - vqi_mass_log(mass);
        }
        left -= share;
    }
    /* Rounding left a little after the last: it is of the last group that was scored. */
    return draw_row(token, c, state, group_of(c, state, last),
                    c->group_mass[state * (head->k + 1) + last], 1, scale) -
           vqi_mass_log(mass);
}

static void decode(float *row, float *bias, const vq_head *head, size_t place)
{
    vqi_rows_get(row, &head->rows, head->at[place]);
    *bias = head->rows.bias ? head->rows.bias[head->at[place]] : 0;
}

static void describe(vq_head_info *info, const vq_head *head)
{
    info->probes = head->probes;
    info->always = head->groups > head->k ? size_of(head, head->k) : 0;
    info->storage = vqi_head_storage_of(head->rows.dtype);
    info->bytes +=
        head->v * vqi_row_bytes(&head->rows) + (head->spread ? head->k * sizeof *head->spread : 0);
    vqi_cells_describe(info, head);
}

static vq_status save(vq_tensors *tensors, const vq_head *head, const char *prefix)
{
    vq_status status = vqi_head_save_rows(tensors, prefix, "rows", &head->rows);
    if (!status)
        status = vqi_cells_save(tensors, head, prefix);
    if (!status && head->spread)
        status = vqi_head_save_array(tensors, prefix, "codes.spread", VQ_DTYPE_F32, head->k, 0,
                                     head->spread);
    return status ? status : vqi_head_save_uint(tensors, prefix, "probes", head->probes);
}

static vq_status load(vq_head *head, const vq_tensors *tensors, const char *prefix,
                      const vq_limits *limits)
{
    vq_status status = vqi_head_load_rows(&head->rows, tensors, prefix, "rows", head->v, 0, limits);
    head->d = head->rows.d;
    if (!status)
        status = vqi_cells_load(head, tensors, prefix, limits);
    if (!status)
        status = vqi_head_load_numbers(&head->spread, tensors, prefix, "codes.spread", head->k, 0);
    if (!status && !head->codes.bias)
        status = vqi_fail(VQ_E_FORMAT, "tensor \"%scodes.bias\" is missing", prefix);
    uint64_t probes = 0;
    if (!status)
        status = vqi_head_load_uint(&probes, tensors, prefix, "probes", 1, head->k);
    head->probes = (uint32_t)probes;
    head->largest = fmax(head->rows.largest, head->codes.largest);
    head->most_bias = fmaxf(head->rows.most_bias, head->codes.most_bias);
    return status;
}

const vqi_head_kind vqi_head_rerank = {.mode = VQ_HEAD_RERANK,
                                       .all = all,
                                       .rank = rank,
                                       .score = score,
                                       .log_prob = log_prob,
                                       .decode = decode,
                                       .draw = draw,
                                       .save = save,
                                       .load = load,
                                       .describe = describe};
