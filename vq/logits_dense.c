/* SPDX-License-Identifier: Apache-2.0 */
/* The dense head: every row is scored, in the order of the ids. */
#include "vq/logits_internal.h"

static void count_rows(vqi_head_call *c, size_t rows)
{
    c->report.rows += rows;
    c->report.bytes += rows * vqi_row_bytes(&c->head->rows);
}

static void all(float *logits, vqi_mass *mass, vqi_head_call *c, size_t states)
{
    vqi_pass pass = {.rows = &c->head->rows, .mass = mass, .scale = 1};
    pass.logits = logits;
    vqi_head_pass(c, &pass, states);
    count_rows(c, states * c->head->v);
}

static void rank(vqi_mass *mass, vqi_head_call *c, size_t states, float scale)
{
    const vqi_pass pass = {.rows = &c->head->rows,
                           .ids = c->count ? c->head->ids : NULL,
                           .mass = mass,
                           .scale = scale};
    vqi_head_pass(c, &pass, states);
    count_rows(c, states * c->head->v);
}

static float score(vqi_head_call *c, size_t state, size_t place)
{
    float logit;
    c->kernels->one(&logit, &c->head->rows, place, 1, vqi_head_state(c, state));
    count_rows(c, 1);
    return logit;
}

static void decode(float *row, float *bias, const vq_head *head, size_t place)
{
    vqi_rows_get(row, &head->rows, place);
    *bias = head->rows.bias ? head->rows.bias[place] : 0;
}

/* Which block, by the masses of the last pass; then which of its rows. */
static double draw(vqi_token *token, vqi_head_call *c, size_t state, double u, vqi_mass mass,
                   float scale)
{
    const vq_head *head = c->head;
    size_t block = 0;
    const double rest = vqi_head_pick_block(&block, c, state, head->v, u, mass);
    const size_t first = block * VQI_HEAD_BLOCK,
                 count = head->v - first < VQI_HEAD_BLOCK ? head->v - first : VQI_HEAD_BLOCK;
    c->kernels->one(c->tiles, &head->rows, first, count, vqi_head_state(c, state));
    const size_t i = vqi_mass_pick(c->tiles, count, scale, rest);
    *token = (vqi_token){c->tiles[i], head->ids[first + i]};
    return (double)token->logit * scale - vqi_mass_log(mass);
}

static vq_status save(vq_tensors *tensors, const vq_head *head, const char *prefix)
{
    return vqi_head_save_rows(tensors, prefix, "rows", &head->rows);
}

static vq_status load(vq_head *head, const vq_tensors *tensors, const char *prefix,
                      const vq_limits *limits)
{
    vq_status status = vqi_head_ids_rise(head);
    if (!status)
        status = vqi_head_load_rows(&head->rows, tensors, prefix, "rows", head->v, 0, limits);
    head->d = head->rows.d;
    head->largest = head->rows.largest;
    head->most_bias = head->rows.most_bias;
    return status;
}

static void describe(vq_head_info *info, const vq_head *head)
{
    info->storage = vqi_head_storage_of(head->rows.dtype);
    info->bytes += head->v * vqi_row_bytes(&head->rows);
}

const vqi_head_kind vqi_head_dense = {.mode = VQ_HEAD_DENSE,
                                      .all = all,
                                      .rank = rank,
                                      .score = score,
                                      .decode = decode,
                                      .draw = draw,
                                      .save = save,
                                      .load = load,
                                      .describe = describe};
