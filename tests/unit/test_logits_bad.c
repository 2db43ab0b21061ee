/* SPDX-License-Identifier: Apache-2.0 */
/* Heads that are not dense: what cannot be made, damaged files, allocations that fail. */
#include "logits_modes_support.h"

static void test_bad_input(void **state)
{
    (void)state;
    material m;
    vq_head_opts o;
    vq_head *head;
    material_make(&m);
    assert_true(options(&o, &m, 3));
    m.cells[7] = GROUPS;
    assert_status(VQ_E_ARG, vq_head_build(&head, &m.w, &o));
    m.cells[7] = 0;
    m.always[1] = 1;
    assert_status(VQ_E_ARG, vq_head_build(&head, &m.w, &o));
    assert_true(options(&o, &m, 7));
    o.singles = GROUPS;
    assert_status(VQ_E_ARG, vq_head_build(&head, &m.w, &o));
    o.singles = 0;
    m.counts[5] = -1;
    assert_status(VQ_E_ARG, vq_head_build(&head, &m.w, &o));
    m.counts[5] = NAN;
    assert_status(VQ_E_NONFINITE, vq_head_build(&head, &m.w, &o));
    m.counts[5] = 0;
    m.bias[5] = INFINITY;
    assert_status(VQ_E_NONFINITE, vq_head_build(&head, &m.w, &o));
    m.bias[5] = 0;
    m.states[5] = NAN;
    assert_status(VQ_E_NONFINITE, vq_head_build(&head, &m.w, &o));
    m.states[5] = 0;
    m.rows[3 * D] = NAN;
    for (int i = 0; options(&o, &m, i); i++) {
        m.always[1] = m.ids[300];
        assert_status(VQ_E_NONFINITE, vq_head_build(&head, &m.w, &o));
    }
    memset(m.rows, 0, sizeof *m.rows * V * D); /* zero rows: one code is left */
    for (int i = 0; options(&o, &m, i); i++) {
        uint32_t id;
        assert_ok(vq_head_build(&head, &m.w, &o));
        assert_ok(vq_head_topk(&id, NULL, NULL, NULL, head, m.h, 1, 1, NULL));
        vq_head_free(head);
    }
    const vq_tensor one = vq_tensor_from_memory(m.rows, VQ_DTYPE_F32, 1, D);
    for (int mode = VQ_HEAD_RERANK; mode <= VQ_HEAD_TIED; mode++) {
        const vq_head_opts small = {.struct_size = sizeof small, .mode = (vq_head_mode)mode};
        uint32_t id = 9;
        float log_prob = 1;
        assert_ok(vq_head_build(&head, &one, &small));
        assert_ok(vq_head_sample(&id, &log_prob, NULL, head, m.h, 1, NULL, NULL));
        assert_int_equal(id, 0);
        assert_true(log_prob == 0);
        vq_head_free(head);
    }
    material_free(&m);
}

/* Damaged tensors are refused. */
static void test_damage(void **state)
{
    (void)state;
    material m;
    vq_head_opts o;
    vq_head *head, *loaded;
    vq_tensors *t;
    material_make(&m);
    assert_true(options(&o, &m, 0));
    head = build(&m, &o);
    assert_ok(vq_tensors_create(&t));
    assert_ok(vq_head_save(t, head, ""));
    uint32_t *first = vq_tensors_find(t, "first")->data, *ids = vq_tensors_find(t, "ids")->data;
    float *spread = vq_tensors_find(t, "codes.spread")->data;
#define REFUSED(change, back)                                                                      \
    do {                                                                                           \
        change;                                                                                    \
        assert_status(VQ_E_FORMAT, vq_head_load(&loaded, t, "", NULL));                            \
        assert_null(loaded);                                                                       \
        back;                                                                                      \
    } while (0)
    const uint32_t kept = first[1], id = ids[0], last = first[GROUPS];
    REFUSED(first[1] = 0, first[1] = kept);
    REFUSED(first[1] = first[2], first[1] = kept);
    REFUSED(first[1] = UINT32_MAX, first[1] = kept);
    REFUSED(first[0] = 1, first[0] = 0);
    REFUSED(first[GROUPS] = V + 1, first[GROUPS] = last);
    REFUSED(ids[0] = ids[1], ids[0] = id);
    REFUSED(spread[2] = NAN, spread[2] = 0);
    REFUSED(assert_ok(vq_tensors_set(t, "probes", "0")),
            assert_ok(vq_tensors_set(t, "probes", "1")));
    REFUSED(assert_ok(vq_tensors_set(t, "head", "dense")),
            assert_ok(vq_tensors_set(t, "head", "rerank")));
    assert_ok(vq_head_load(&loaded, t, "", NULL));
    vq_head_free(loaded);
    vq_tensors_free(t);
    vq_head_free(head);
    assert_true(options(&o, &m, 6));
    head = build(&m, &o);
    assert_ok(vq_tensors_create(&t));
    assert_ok(vq_head_save(t, head, ""));
    float *bias = vq_tensors_find(t, "bias")->data;
    const float lowest = bias[V - 1];
    REFUSED(bias[V - 1] = 1e30f, bias[V - 1] = lowest);
    REFUSED(bias[V - 1] = NAN, bias[V - 1] = lowest);
    assert_ok(vq_head_load(&loaded, t, "", NULL));
    vq_head_free(loaded);
    vq_tensors_free(t);
    vq_head_free(head);
    material_free(&m);
}

/* What allocation failures are tried on: one case, made, used, saved and loaded. */
typedef struct trial {
    const material *m;
    int number;
} trial;

static vq_status scenario(void *context)
{
    const trial *t = context;
    vq_head_opts o;
    vq_head *head = NULL, *loaded = NULL;
    vq_tensors *tensors = NULL;
    uint32_t ids[4];
    float logits[V];
    options(&o, t->m, t->number);
    o.iterations = 1;
    vq_status status = vq_head_build(&head, &t->m->w, &o);
    if (!status)
        status = vq_head_logits(logits, NULL, NULL, head, t->m->h, 1, NULL);
    if (!status)
        status = vq_head_topk(ids, NULL, NULL, NULL, head, t->m->h, 1, 4, NULL);
    if (!status)
        status = vq_head_log_probs(logits, NULL, head, t->m->h, 1, ids, 4, NULL);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_head_save(tensors, head, "");
    if (!status)
        status = vq_head_load(&loaded, tensors, "", NULL);
    vq_head_free(loaded);
    vq_head_free(head);
    vq_tensors_free(tensors);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    material m;
    material_make(&m);
    for (int i = 2; i <= 7; i += 5) {
        trial t = {&m, i};
        test_allocation_failures(scenario, &t);
    }
    material_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bad_input),
                                       cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
