/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/logits_modes_support.h  Heads of all kinds that are not dense, and what they are made from. */
#ifndef LOGITS_MODES_SUPPORT_H
#define LOGITS_MODES_SUPPORT_H

#include "logits_support.h"

enum { V = 500, D = 24, N = 18, GROUPS = 40 };

/* Everything that heads are made from in these tests. */
typedef struct material {
    float *rows, *bias, *counts, *states, *h;
    uint32_t ids[V], always[3], cells[V];
    vq_tensor w, b, c, s;
} material;

static inline void material_make(material *m)
{
    m->rows = clustered(V, D, GROUPS, 0.4f, 1);
    m->bias = normals(V, 0.5f, 2);
    m->counts = malloc(V * sizeof *m->counts);
    m->states = normals(200 * D, 0.6f, 3);
    m->h = normals(N * D, 0.6f, 4);
    for (uint32_t i = 0; i < V; i++) {
        m->ids[i] = 3 * (i * 37 % V) + 11;
        m->counts[i] = floorf(10000.0f / (float)(i + 1)) - 20;
        m->counts[i] = m->counts[i] > 0 ? m->counts[i] : 0;
        m->cells[i] = i % GROUPS;
    }
    m->always[0] = m->ids[3];
    m->always[1] = m->ids[300];
    m->always[2] = m->ids[3];
    m->w = vq_tensor_from_memory(m->rows, VQ_DTYPE_F32, V, D);
    m->b = vq_tensor_from_memory(m->bias, VQ_DTYPE_F32, V, 0);
    m->c = vq_tensor_from_memory(m->counts, VQ_DTYPE_F32, V, 0);
    m->s = vq_tensor_from_memory(m->states, VQ_DTYPE_F32, 200, D);
}

static inline void material_free(material *m)
{
    free(m->rows);
    free(m->bias);
    free(m->counts);
    free(m->states);
    free(m->h);
}

/* @return 0 if there is no such case. */
static inline int options(vq_head_opts *o, const material *m, int number)
{
    const vq_head_opts none = VQ_HEAD_OPTS_INIT;
    *o = none;
    o->mode = number < 5 ? VQ_HEAD_RERANK : VQ_HEAD_TIED;
    o->codes = GROUPS;
    switch (number) {
    case 0:
        break;
    case 1:
        o->counts = &m->c;
        o->ids = m->ids;
        o->always = m->always;
        o->n_always = 3;
        o->storage = VQ_HEAD_F16;
        break;
    case 2:
        o->states = &m->s;
        o->bias = &m->b;
        o->storage = VQ_HEAD_I8;
        break;
    case 3:
        o->cells = m->cells;
        o->states = &m->s;
        o->code_storage = VQ_HEAD_F32;
        o->always = m->always + 1;
        o->n_always = 1;
        o->ids = m->ids;
        o->bias = &m->b;
        break;
    case 4:
        o->codes = V;
        o->probes = 7;
        break;
    case 5:
        break;
    case 6:
        o->counts = &m->c;
        o->ids = m->ids;
        o->code_storage = VQ_HEAD_I8;
        break;
    case 7:
        o->counts = &m->c;
        o->bias = &m->b;
        o->states = &m->s;
        o->singles = 5;
        break;
    case 8:
        o->cells = m->cells;
        o->bias = &m->b;
        o->code_storage = VQ_HEAD_BF16;
        break;
    case 9:
        o->codes = 1;
        break;
    default:
        return 0;
    }
    return 1;
}

static inline vq_head *build(const material *m, const vq_head_opts *o)
{
    vq_head *head;
    assert_ok(vq_head_build(&head, &m->w, o));
    return head;
}

static inline void for_all_cases(void (*test)(const material *m, const vq_head *head,
                                              const vq_head_opts *o))
{
    material m;
    vq_head_opts o;
    material_make(&m);
    for (int i = 0; options(&o, &m, i); i++) {
        vq_head *head = build(&m, &o);
        test(&m, head, &o);
        vq_head_free(head);
    }
    material_free(&m);
}

#endif
