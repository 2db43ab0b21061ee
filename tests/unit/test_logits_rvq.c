/* SPDX-License-Identifier: Apache-2.0 */
/* rvq heads: logits by tables, heads made of codes and trained on rows. */
#include "logits_support.h"

#include "rvq/head.h"
#include "vq/cpu.h"

enum { V = 333, D = 21, N = 18, LEVELS = 5, K = 5 };

typedef struct material {
    vq_codebook *books[LEVELS];
    uint32_t codes[V * LEVELS], ids[V];
    float *bias, *h, *rows;
    vq_tensor b, w;
} material;

/* Slices that overlap, leave gaps, and end with the row. */
static const uint32_t first[LEVELS] = {0, 0, 8, 15, 20}, widths[LEVELS] = {8, 21, 3, 6, 1},
                      sizes[LEVELS] = {256, 7, 100, 1, 33};

static void material_make(material *m)
{
    uint64_t seed = 9;
    for (int l = 0; l < LEVELS; l++) {
        float *codewords = normals((size_t)sizes[l] * widths[l], 0.5f, 10 + (uint64_t)l);
        assert_ok(vq_codebook_create(&m->books[l], codewords, sizes[l], widths[l],
                                     VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
        free(codewords);
    }
    for (uint32_t i = 0; i < V; i++) {
        m->ids[i] = 7 + 2 * (i * 100 % V);
        for (int l = 0; l < LEVELS; l++)
            m->codes[i * LEVELS + (uint32_t)l] = (uint32_t)(test_random(&seed) % sizes[l]);
        if (i % 7 == 1) /* ties */
            memcpy(m->codes + i * LEVELS, m->codes, LEVELS * sizeof *m->codes);
    }
    m->bias = normals(V, 0.5f, 2);
    m->h = normals(N * D, 0.6f, 4);
    m->rows = clustered(V, D, 40, 0.4f, 1);
    m->b = vq_tensor_from_memory(m->bias, VQ_DTYPE_F32, V, 0);
    m->w = vq_tensor_from_memory(m->rows, VQ_DTYPE_F32, V, D);
}

static void material_free(material *m)
{
    for (int l = 0; l < LEVELS; l++)
        vq_codebook_free(m->books[l]);
    free(m->bias);
    free(m->h);
    free(m->rows);
}

static vq_status make(vq_head **head, const material *m, const vq_tensor *bias)
{
    const vq_head_opts o = {
        .struct_size = sizeof o, .mode = VQ_HEAD_RVQ, .ids = m->ids, .bias = bias};
    return vq_head_from_codes(head, (const vq_codebook *const *)m->books, first, LEVELS, m->codes,
                              V, D, &o);
}

typedef struct ranked {
    float logit;
    uint32_t id;
} ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Logits are the product with the decoded matrix; scores and the best are those of all logits; they add up to 1. */
static void check(const vq_head *head, const float *h)
{
    float *rows = malloc(sizeof *rows * V * D), biases[V], logits[V], scores[V], partition, same;
    double want[V], lengths[V];
    assert_ok(vq_head_decode(rows, biases, head, 0, V));
    for (size_t s = 0; s < N; s++, h += D) {
        assert_ok(vq_head_logits(logits, &partition, NULL, head, h, 1, NULL));
        product(want, lengths, rows, V, D, biases, h);
        double sum = 0;
        ranked order[V];
        for (size_t r = 0; r < V; r++) {
            /* a row may be shorter than what it is the sum of */
            assert_true(fabs(logits[r] - want[r]) <= 4e-6 * (lengths[r] + 1) * length_of(h, D));
            sum += exp((double)logits[r] - partition);
            order[r] = (ranked){logits[r], vq_head_ids(head)[r]};
        }
        assert_true(fabs(sum - 1) < 1e-5);
        assert_ok(vq_head_scores(scores, &same, NULL, head, h, 1, vq_head_ids(head), V, NULL));
        assert_memory_equal(scores, logits, sizeof logits);
        assert_true(same == partition);
        qsort(order, V, sizeof *order, by_rank);
        uint32_t best[50];
        assert_ok(vq_head_topk(best, NULL, NULL, NULL, head, h, 1, 50, NULL));
        for (size_t i = 0; i < 50; i++)
            assert_int_equal(best[i], order[i].id);
    }
    free(rows);
}

static void test_codes(void **state)
{
    (void)state;
    material m;
    material_make(&m);
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        vq_head *head;
        vq_head_info info = VQ_HEAD_INFO_INIT;
        assert_ok(make(&head, &m, with_bias ? &m.b : NULL));
        assert_ok(vq_head_get_info(&info, head));
        assert_int_equal(info.mode, VQ_HEAD_RVQ);
        assert_int_equal(info.levels, LEVELS);
        check(head, m.h);
        vq_head_free(head);
    }
    material_free(&m);
}

/* The same bits by any threads, kernels, batch, and after saving and loading. */
static void test_bits(void **state)
{
    (void)state;
    static const uint32_t masks[] = {0, VQ_CPU_AVX2, UINT32_MAX};
    material m;
    vq_head *head, *loaded;
    vq_tensors *tensors;
    uint32_t want[N * K], ids[N * K], drawn[N], again[N];
    float logits[N * K], same[N * K], partition[N], other[N];
    material_make(&m);
    assert_ok(make(&head, &m, &m.b));
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_head_save(tensors, head, ""));
    assert_ok(vq_head_load(&loaded, tensors, "", NULL));
    assert_ok(vq_head_topk(want, logits, partition, NULL, head, m.h, N, K, NULL));
    assert_ok(vq_head_sample(drawn, NULL, NULL, head, m.h, N, NULL, NULL));
    for (size_t c = 0; c < 3; c++)
        for (int threads = 1; threads < 4; threads++) {
            vq_head_call call = VQ_HEAD_CALL_INIT;
            vq_cpu_set_mask(masks[c]);
            call.threads = threads;
            call.workspace_size = vq_head_workspace(loaded, N, K, &call);
            call.workspace = aligned_alloc(64, call.workspace_size);
            assert_ok(vq_head_topk(ids, same, other, NULL, loaded, m.h, N, K, &call));
            assert_memory_equal(ids, want, sizeof ids);
            assert_memory_equal(same, logits, sizeof same);
            assert_memory_equal(other, partition, sizeof other);
            assert_ok(vq_head_sample(again, NULL, NULL, loaded, m.h, N, NULL, &call));
            assert_memory_equal(again, drawn, sizeof again);
            free(call.workspace);
        }
    vq_cpu_set_mask(UINT32_MAX);
    vq_tensors_free(tensors);
    vq_head_free(loaded);
    vq_head_free(head);
    material_free(&m);
}

static double error_of(const vq_head *head, const float *rows)
{
    double sum = 0;
    float *got = decoded(head);
    for (size_t i = 0; i < V * D; i++)
        sum += ((double)got[i] - rows[i]) * ((double)got[i] - rows[i]);
    free(got);
    return sum / (V * D);
}

/* Trained: more levels and wider beams are nearer to the rows; each is as exact as any. */
static void test_build(void **state)
{
    (void)state;
    material m;
    material_make(&m);
    vq_head_opts o = VQ_HEAD_OPTS_INIT;
    const vq_tensor states = vq_tensor_from_memory(m.h, VQ_DTYPE_F32, N, D),
                    counts = vq_tensor_from_memory(m.codes, VQ_DTYPE_U32, V, 0);
    double before = 1e9;
    for (uint32_t levels = 1; levels <= 3; levels++) {
        const vq_rvq_head_opts r = {.struct_size = sizeof r, .levels = levels, .k = 16};
        vq_head *head;
        assert_ok(vq_rvq_head_build(&head, &m.w, &o, &r));
        const double error = error_of(head, m.rows);
        assert_true(error < 0.8 * before);
        before = error;
        vq_head_free(head);
    }
    o.states = &states;
    o.counts = &counts;
    o.bias = &m.b;
    o.ids = m.ids;
    vq_head *head;
    assert_ok(vq_rvq_head_build(&head, &m.w, &o, NULL));
    check(head, m.h);
    vq_head_free(head);
    const vq_rvq_head_opts many = {.struct_size = sizeof many, .k = 257};
    assert_status(VQ_E_ARG, vq_rvq_head_build(&head, &m.w, &o, &many));
    const vq_rvq_head_opts deep = {.struct_size = sizeof deep, .levels = 65};
    assert_status(VQ_E_ARG, vq_rvq_head_build(&head, &m.w, &o, &deep));
    m.rows[7] = NAN;
    assert_status(VQ_E_NONFINITE, vq_rvq_head_build(&head, &m.w, &o, NULL));
    material_free(&m);
}

static void test_bad(void **state)
{
    (void)state;
    material m;
    vq_head *head, *loaded;
    vq_tensors *t;
    material_make(&m);
    const uint32_t kept = m.codes[3];
    m.codes[3] = 1; /* the level has one codeword */
    assert_status(VQ_E_RANGE, make(&head, &m, NULL));
    m.codes[3] = kept;
    const vq_head_opts dense = {.struct_size = sizeof dense, .mode = VQ_HEAD_DENSE},
                       rvq = {.struct_size = sizeof rvq, .mode = VQ_HEAD_RVQ};
    assert_status(VQ_E_ARG, vq_head_from_codes(&head, (const vq_codebook *const *)m.books, first,
                                               LEVELS, m.codes, V, D, &dense));
    assert_status(VQ_E_ARG, vq_head_from_codes(&head, (const vq_codebook *const *)m.books, first,
                                               LEVELS, m.codes, V, D - 1, &rvq));
    assert_status(VQ_E_ARG, vq_head_from_codes(&head, (const vq_codebook *const *)m.books, first, 0,
                                               m.codes, V, D, &rvq));
    assert_ok(make(&head, &m, NULL));
    assert_ok(vq_tensors_create(&t));
    assert_ok(vq_head_save(t, head, ""));
    uint8_t *codes = vq_tensors_find(t, "row.codes")->data;
    uint32_t *starts = vq_tensors_find(t, "book.first")->data;
    float *book = vq_tensors_find(t, "book.1")->data;
    const uint8_t code = codes[1];
    codes[1] = 7;
    assert_status(VQ_E_FORMAT, vq_head_load(&loaded, t, "", NULL));
    codes[1] = code;
    starts[0] = D;
    assert_status(VQ_E_FORMAT, vq_head_load(&loaded, t, "", NULL));
    starts[0] = 0;
    book[0] = INFINITY;
    assert_status(VQ_E_FORMAT, vq_head_load(&loaded, t, "", NULL));
    book[0] = 0;
    assert_ok(vq_head_load(&loaded, t, "", NULL));
    vq_head_free(loaded);
    vq_tensors_free(t);
    vq_head_free(head);
    material_free(&m);
}

static vq_status scenario(void *context)
{
    const material *m = context;
    vq_head *head = NULL, *made = NULL, *loaded = NULL;
    vq_tensors *tensors = NULL;
    const vq_rvq_head_opts r = {.struct_size = sizeof r, .levels = 1, .k = 4, .width = 11};
    const vq_head_opts o = {.struct_size = sizeof o, .iterations = 1};
    uint32_t id;
    vq_status status = make(&made, m, &m->b);
    if (!status)
        status = vq_rvq_head_build(&head, &m->w, &o, &r);
    if (!status)
        status = vq_head_topk(&id, NULL, NULL, NULL, head, m->h, 1, 1, NULL);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_head_save(tensors, made, "");
    if (!status)
        status = vq_head_load(&loaded, tensors, "", NULL);
    vq_tensors_free(tensors);
    vq_head_free(loaded);
    vq_head_free(made);
    vq_head_free(head);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    material m;
    material_make(&m);
    test_allocation_failures(scenario, &m);
    material_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_codes), cmocka_unit_test(test_bits),
                                       cmocka_unit_test(test_build), cmocka_unit_test(test_bad),
                                       cmocka_unit_test(test_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
