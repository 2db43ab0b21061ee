/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tied head: tokens share codewords, and differ by a bias within a code. The tokens of a code are in falling order of their
 * biases, so that only the first ones of a code are looked at for the best; the logarithm of the sum of exp(bias) of each code is kept, so that
 * the partition is a sum over codes.
 */
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

/* The logarithms of the codes' sums of exp(bias x scale). */
static void masses_at(float *out, const vq_head *head, float scale, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (uint32_t k = 0; k < head->k; k++)
        out[k] = (float)vqi_mass_log(vqi_mass_of(head->token_bias + head->first[k],
                                                 head->first[k + 1] - head->first[k], scale));
}

vq_status vqi_tied_finish(vq_head *head)
{
    head->code_mass = vqi_alloc(head->k, sizeof *head->code_mass);
    if (!head->code_mass)
        return vqi_fail_nomem((unsigned long long)head->k * sizeof *head->code_mass);
    masses_at(head->code_mass, head, 1, 1);
    head->largest = head->codes.largest;
    for (size_t r = 0; r < head->v; r++)
        head->most_bias = fmaxf(head->most_bias, fabsf(head->token_bias[r]));
    return VQ_OK;
}

/* The scores of the codes in c->scores, and the logarithms of their masses in c->scaled. */
static void score_codes(vqi_mass *mass, vqi_head_call *c, size_t states, float scale)
{
    const vq_head *head = c->head;
    const size_t k = head->k;
    const float *code_mass = head->code_mass;
    vqi_pass pass = {.rows = &head->codes, .scale = 1};
    pass.logits = c->scores;
    vqi_head_pass(c, &pass, states);
    if (mass && scale != 1) {
        if (c->mass_scale != scale)
            masses_at(c->code_mass, head, scale, c->threads);
        c->mass_scale = scale;
        code_mass = c->code_mass;
    }
    for (size_t s = 0; mass && s < states; s++) {
        for (size_t i = 0; i < k; i++)
            c->scaled[s * k + i] = c->scores[s * k + i] * scale + code_mass[i];
        mass[s] = vqi_mass_of(c->scaled + s * k, k, 1);
    }
    c->report.codes += states * k;
    c->report.bytes += states * k * (vqi_row_bytes(&head->codes) + 2 * sizeof(float));
}

static void best_of(vqi_best *best, const vq_head *head, const float *scores)
{
    for (uint32_t k = 0; k < head->k; k++)
        for (uint32_t r = head->first[k]; r < head->first[k + 1]; r++) {
            const float logit = scores[k] + head->token_bias[r];
            if (best->count == best->most && logit < best->heap[0].logit)
                break;
            vqi_best_add(best, (vqi_token){logit, head->ids[head->tokens[r]]});
        }
    vqi_best_sort(best);
}

static void rank(vqi_mass *mass, vqi_head_call *c, size_t states, float scale)
{
    score_codes(mass, c, states, scale);
    if (!c->count)
        return;
    vqi_best_clear(c);
    const int team = states < (size_t)c->threads ? (int)states : c->threads;
#pragma omp parallel for num_threads(team)
    for (size_t s = 0; s < states; s++)
        best_of(c->best + s, c->head, c->scores + s * c->head->k);
}

static void all(float *logits, vqi_mass *mass, vqi_head_call *c, size_t states)
{
    const vq_head *head = c->head;
    score_codes(mass, c, states, 1);
#pragma omp parallel for num_threads(c->threads)
    for (uint32_t k = 0; k < head->k; k++)
        for (size_t s = 0; s < states; s++)
            for (uint32_t r = head->first[k]; r < head->first[k + 1]; r++)
                logits[s * head->v + head->tokens[r]] =
                    c->scores[s * head->k + k] + head->token_bias[r];
    c->report.bytes += states * head->v * 2 * sizeof(float);
}

static float score(vqi_head_call *c, size_t state, size_t place)
{
    const vq_head *head = c->head;
    const uint32_t row = head->at[place];
    float logit;
    c->kernels->one(&logit, &head->codes, vqi_cells_group(head, row), 1, vqi_head_state(c, state));
    c->report.codes++;
    c->report.bytes += vqi_row_bytes(&head->codes) + sizeof(float);
    return logit + head->token_bias[row];
}

static double draw(vqi_token *token, vqi_head_call *c, size_t state, double u, vqi_mass mass,
                   float scale)
{
    const vq_head *head = c->head;
    const float *scaled = c->scaled + state * head->k;
    double left = u * mass.sum;
    uint32_t code = 0;
    double inside = 1;
    for (uint32_t k = 0; k < head->k; k++) {
        const double share = exp((double)scaled[k] - mass.largest);
        code = share > 0 ? k : code;
        if (left < share) {
            inside = left / share;
            break;
        }
        left -= share;
    }
    const uint32_t first = head->first[code];
    const size_t row = first + vqi_mass_pick(head->token_bias + first,
                                             head->first[code + 1] - first, scale, inside);
    *token = (vqi_token){c->scores[state * head->k + code] + head->token_bias[row],
                         head->ids[head->tokens[row]]};
    return (double)token->logit * scale - vqi_mass_log(mass);
}

static void decode(float *row, float *bias, const vq_head *head, size_t place)
{
    vqi_rows_get(row, &head->codes, vqi_cells_group(head, head->at[place]));
    *bias = head->token_bias[head->at[place]];
}

static void describe(vq_head_info *info, const vq_head *head)
{
    info->bytes += (head->v + head->k) * sizeof(float);
    vqi_cells_describe(info, head);
}

static vq_status save(vq_tensors *tensors, const vq_head *head, const char *prefix)
{
    const vq_status status = vqi_cells_save(tensors, head, prefix);
    return status ? status
                  : vqi_head_save_array(tensors, prefix, "bias", VQ_DTYPE_F32, head->v, 0,
                                        head->token_bias);
}

/* Within a code: falling biases, then rising ids. */
static vq_status check_order(const vq_head *head)
{
    for (uint32_t k = 0; k < head->k; k++)
        for (uint32_t r = head->first[k] + 1; r < head->first[k + 1]; r++) {
            const float before = head->token_bias[r - 1], bias = head->token_bias[r];
            if (bias > before || (bias == before && head->tokens[r] < head->tokens[r - 1]))
                return vqi_fail(VQ_E_FORMAT,
                                "the tokens of code %u are not in falling order of "
                                "their biases at %u",
                                k, r);
        }
    return VQ_OK;
}

static vq_status load(vq_head *head, const vq_tensors *tensors, const char *prefix,
                      const vq_limits *limits)
{
    vq_status status = vqi_cells_load(head, tensors, prefix, limits);
    if (!status && head->groups > head->k)
        status = vqi_fail(VQ_E_FORMAT, "there are %u groups of tokens and %u codewords",
                          head->groups, head->k);
    if (!status && head->codes.bias)
        status = vqi_fail(VQ_E_FORMAT, "the codewords of a tied head have no biases");
    if (!status)
        status = vqi_head_load_numbers(&head->token_bias, tensors, prefix, "bias", head->v, 1);
    if (!status)
        status = check_order(head);
    return status ? status : vqi_tied_finish(head);
}

const vqi_head_kind vqi_head_tied = {.mode = VQ_HEAD_TIED,
                                     .all = all,
                                     .rank = rank,
                                     .score = score,
                                     .decode = decode,
                                     .draw = draw,
                                     .save = save,
                                     .load = load,
                                     .describe = describe};
