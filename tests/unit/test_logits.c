/* SPDX-License-Identifier: Apache-2.0 */
/* Heads: what every mode must do, on the dense one; names, ids, options, workspaces, bad input. */
#include "logits_support.h"

#include "vq/cpu.h"

enum { V = 700, D = 37, N = 19 };

static vq_head *dense(const float *rows, size_t v, size_t d, vq_head_storage storage,
                      const uint32_t *ids, const float *bias)
{
    const vq_tensor w = vq_tensor_from_memory(rows, VQ_DTYPE_F32, v, d),
                    b = vq_tensor_from_memory(bias, VQ_DTYPE_F32, v, 0);
    vq_head_opts opts = VQ_HEAD_OPTS_INIT;
    vq_head *head;
    opts.mode = VQ_HEAD_DENSE;
    opts.storage = storage;
    opts.ids = ids;
    opts.bias = bias ? &b : NULL;
    assert_ok(vq_head_build(&head, &w, &opts));
    return head;
}

/* Logits are the product with the decoded matrix, the log-partition is theirs, in every storage. */
static void test_logits(void **state)
{
    (void)state;
    float *rows = normals(V * D, 0.3f, 1), *h = normals(N * D, 1, 2), *bias = normals(V, 1, 3);
    for (int storage = VQ_HEAD_AS_GIVEN; storage <= VQ_HEAD_I8; storage++)
        for (int with_bias = 0; with_bias < 2; with_bias++) {
            const float *b = with_bias ? bias : NULL;
            vq_head *head = dense(rows, V, D, (vq_head_storage)storage, NULL, b);
            float *w = decoded(head), *logits = malloc(sizeof(float) * N * V), partition[N];
            double want[V], lengths[V];
            vq_head_report report;
            assert_ok(vq_head_logits(logits, partition, &report, head, h, N, NULL));
            assert_int_equal(report.rows, (uint64_t)N * V);
            for (size_t s = 0; s < N; s++) {
                product(want, lengths, w, V, D, b, h + s * D);
                double sum = 0;
                for (size_t r = 0; r < V; r++) {
                    const double reach = lengths[r] * length_of(h + s * D, D) + fabs(want[r]);
                    assert_true(fabs(logits[s * V + r] - want[r]) <= 1e-6 * reach);
                    sum += exp((double)logits[s * V + r] - partition[s]);
                }
                assert_true(fabs(sum - 1) < 1e-5);
                assert_true(fabs(partition[s] - log_sum_exp(want, V, 1)) < 1e-5);
            }
            free(logits);
            free(w);
            vq_head_free(head);
        }
    free(bias);
    free(h);
    free(rows);
}

/* Rounding to a storage type is to the nearest: F16 rows in F16 are as they were. */
static void test_storage(void **state)
{
    (void)state;
    float *rows = normals(V * D, 0.3f, 1);
    uint16_t *half = malloc(sizeof *half * V * D);
    for (size_t i = 0; i < V * D; i++)
        half[i] = vq_f32_to_f16(rows[i]);
    const vq_tensor w = vq_tensor_from_memory(half, VQ_DTYPE_F16, V, D);
    vq_head_opts opts = VQ_HEAD_OPTS_INIT;
    vq_head_info info = VQ_HEAD_INFO_INIT;
    vq_head *head;
    opts.mode = VQ_HEAD_DENSE;
    assert_ok(vq_head_build(&head, &w, &opts));
    assert_ok(vq_head_get_info(&info, head));
    assert_int_equal(info.storage, VQ_HEAD_F16);
    assert_int_equal(info.v, V);
    assert_int_equal(info.d, D);
    assert_int_equal(info.bytes, V * D * 2 + V * 4);
    float *back = decoded(head);
    for (size_t i = 0; i < V * D; i++)
        assert_true(back[i] == vq_f16_to_f32(half[i]));
    free(back);
    vq_head_free(head);
    head = dense(rows, V, D, VQ_HEAD_I8, NULL, NULL);
    back = decoded(head);
    for (size_t r = 0; r < V; r++) {
        float most = 0;
        for (size_t i = 0; i < D; i++)
            most = fmaxf(most, fabsf(rows[r * D + i]));
        for (size_t i = 0; i < D; i++)
            assert_true(fabsf(back[r * D + i] - rows[r * D + i]) <= most / 253);
    }
    free(back);
    vq_head_free(head);
    free(half);
    free(rows);
}

static int better(const void *a, const void *b)
{
    const double *x = a, *y = b; /* logit, id */
    if (x[0] != y[0])
        return x[0] < y[0] ? 1 : -1;
    return (x[1] > y[1]) - (x[1] < y[1]);
}

/* The best are those of a full sort, ties by the lower id; ids are the caller's. */
static void test_topk(void **state)
{
    (void)state;
    float *rows = normals(V * D, 0.3f, 1), *h = normals(N * D, 1, 2);
    uint32_t ids[V];
    for (uint32_t i = 0; i < V; i++)
        ids[i] = 5 + (i * 277 % V) * 3; /* in no order, with gaps */
    for (size_t r = 0; r < V; r += 3)   /* many that are the same */
        memcpy(rows + r * D, rows + r % 12 * D, D * sizeof *rows);
    vq_head *head = dense(rows, V, D, VQ_HEAD_F32, ids, NULL);
    const uint32_t *rising = vq_head_ids(head);
    float *logits = malloc(sizeof(float) * N * V), partition[N], same[N];
    assert_ok(vq_head_logits(logits, partition, NULL, head, h, N, NULL));
    for (size_t k = 1; k <= V; k = k * 3 + 1) {
        uint32_t *best = malloc(sizeof *best * N * V);
        float *values = malloc(sizeof *values * N * V);
        assert_ok(vq_head_topk(best, values, same, NULL, head, h, N, k, NULL));
        assert_memory_equal(partition, same, sizeof same);
        for (size_t s = 0; s < N; s++) {
            double want[V][2];
            for (size_t r = 0; r < V; r++) {
                want[r][0] = logits[s * V + r];
                want[r][1] = rising[r];
            }
            qsort(want, V, sizeof *want, better);
            for (size_t i = 0; i < k; i++) {
                assert_int_equal(best[s * k + i], (uint32_t)want[i][1]);
                assert_true(values[s * k + i] == (float)want[i][0]);
            }
        }
        free(values);
        free(best);
    }
    free(logits);
    vq_head_free(head);
    free(h);
    free(rows);
}

static void test_scores(void **state)
{
    (void)state;
    float *rows = normals(V * D, 0.3f, 1), *h = normals(N * D, 1, 2);
    vq_head *head = dense(rows, V, D, VQ_HEAD_BF16, NULL, NULL);
    float *logits = malloc(sizeof(float) * N * V), partition[N], same[N];
    assert_ok(vq_head_logits(logits, partition, NULL, head, h, N, NULL));
    enum { COUNT = 5 };
    uint32_t ids[N * COUNT];
    float scores[N * COUNT], log_probs[N * COUNT];
    for (uint32_t i = 0; i < N * COUNT; i++)
        ids[i] = i * 131 % V;
    vq_head_report report;
    assert_ok(vq_head_scores(scores, NULL, &report, head, h, N, ids, COUNT, NULL));
    assert_int_equal(report.rows, N * COUNT);
    assert_int_equal(report.bytes, N * COUNT * D * 2);
    assert_ok(vq_head_scores(scores, same, NULL, head, h, N, ids, COUNT, NULL));
    assert_ok(vq_head_log_probs(log_probs, NULL, head, h, N, ids, COUNT, NULL));
    assert_memory_equal(partition, same, sizeof same);
    for (size_t i = 0; i < N * COUNT; i++) {
        assert_true(scores[i] == logits[i / COUNT * V + ids[i]]);
        assert_true(fabsf(log_probs[i] - (scores[i] - partition[i / COUNT])) < 1e-5f);
    }
    ids[3] = V;
    assert_status(VQ_E_RANGE, vq_head_scores(scores, NULL, NULL, head, h, N, ids, COUNT, NULL));
    free(logits);
    vq_head_free(head);
    free(h);
    free(rows);
}

/* Neither threads, workspaces nor strides nor the batch change a bit. */
static void test_calls(void **state)
{
    (void)state;
    float *rows = normals(V * D, 0.3f, 1), *h = normals(N * D, 1, 2);
    vq_head *head = dense(rows, V, D, VQ_HEAD_F16, NULL, NULL);
    enum { K = 9 };
    uint32_t want[N * K], ids[N * K];
    float values[N * K], got[N * K], partition[N], same[N];
    assert_ok(vq_head_topk(want, values, partition, NULL, head, h, N, K, NULL));
    float *wide = calloc(N * (D + 5), sizeof *wide);
    for (size_t s = 0; s < N; s++)
        memcpy(wide + s * (D + 5), h + s * D, D * sizeof *h);
    for (int threads = 1; threads <= 4; threads++) {
        vq_head_call call = VQ_HEAD_CALL_INIT;
        call.threads = threads;
        call.stride = D + 5;
        call.workspace_size = vq_head_workspace(head, N, K, &call);
        call.workspace = aligned_alloc(64, call.workspace_size);
        test_allocator none = {0, 0, 0, true}; /* nothing can be allocated */
        const vq_allocator allocator = {failing_alloc, failing_free, &none};
        vq_set_allocator(&allocator);
        const vq_status status = vq_head_topk(ids, got, same, NULL, head, wide, N, K, &call);
        vq_set_allocator(NULL);
        assert_ok(status);
        assert_memory_equal(ids, want, sizeof want);
        assert_memory_equal(got, values, sizeof values);
        assert_memory_equal(same, partition, sizeof same);
        call.workspace_size--;
        assert_status(VQ_E_ARG, vq_head_topk(ids, got, same, NULL, head, wide, N, K, &call));
        free(call.workspace);
    }
    for (size_t s = 0; s < N; s++) { /* one by one */
        assert_ok(vq_head_topk(ids, got, same, NULL, head, h + s * D, 1, K, NULL));
        assert_memory_equal(ids, want + s * K, K * sizeof *ids);
        assert_memory_equal(got, values + s * K, K * sizeof *got);
        assert_true(same[0] == partition[s]);
    }
    assert_ok(vq_head_topk(ids, got, same, NULL, head, h, 0, K, NULL));
    free(wide);
    vq_head_free(head);
    free(h);
    free(rows);
}

static void test_bad_input(void **state)
{
    (void)state;
    float *rows = normals(V * D, 0.3f, 1), *h = normals(D, 1, 2), out[V];
    uint32_t ids[V];
    vq_head_opts opts = VQ_HEAD_OPTS_INIT;
    vq_head *head;
    vq_tensor w = vq_tensor_from_memory(rows, VQ_DTYPE_F32, V, D);
    opts.mode = VQ_HEAD_DENSE;
    rows[5 * D + 3] = NAN;
    assert_status(VQ_E_NONFINITE, vq_head_build(&head, &w, &opts));
    assert_null(head);
    rows[5 * D + 3] = INFINITY;
    assert_status(VQ_E_NONFINITE, vq_head_build(&head, &w, &opts));
    rows[5 * D + 3] = 1e6f; /* overflows half precision only */
    opts.storage = VQ_HEAD_F16;
    assert_status(VQ_E_NONFINITE, vq_head_build(&head, &w, &opts));
    opts.storage = VQ_HEAD_F32;
    for (uint32_t i = 0; i < V; i++)
        ids[i] = i;
    ids[9] = 400;
    opts.ids = ids;
    assert_status(VQ_E_ARG, vq_head_build(&head, &w, &opts));
    opts.ids = NULL;
    opts.threads = -1;
    assert_status(VQ_E_ARG, vq_head_build(&head, &w, &opts));
    opts.threads = 0;
    opts.mode = VQ_HEAD_RVQ;
    assert_status(VQ_E_ARG, vq_head_build(&head, &w, &opts));
    opts.mode = (vq_head_mode)7;
    assert_status(VQ_E_ARG, vq_head_build(&head, &w, &opts));
    opts.mode = VQ_HEAD_DENSE;
    opts.codes = V + 1;
    assert_status(VQ_E_ARG, vq_head_build(&head, &w, &opts));
    opts.codes = 0;
    const vq_tensor flat = vq_tensor_from_memory(rows, VQ_DTYPE_F32, V, 0),
                    none = vq_tensor_from_memory(rows, VQ_DTYPE_F32, 0, D),
                    whole = vq_tensor_from_memory(rows, VQ_DTYPE_I32, V, D);
    assert_status(VQ_E_ARG, vq_head_build(&head, &flat, &opts));
    assert_status(VQ_E_ARG, vq_head_build(&head, &none, &opts));
    assert_status(VQ_E_ARG, vq_head_build(&head, &whole, &opts));
    memset(rows, 0, V * D * sizeof *rows); /* rows of zeros are rows too */
    assert_ok(vq_head_build(&head, &w, &opts));
    assert_ok(vq_head_topk(ids, out, NULL, NULL, head, h, 1, 3, NULL));
    assert_int_equal(ids[0], 0);
    assert_int_equal(ids[2], 2);
    assert_status(VQ_E_ARG, vq_head_topk(ids, out, NULL, NULL, head, h, 1, 0, NULL));
    assert_status(VQ_E_ARG, vq_head_topk(ids, out, NULL, NULL, head, h, 1, V + 1, NULL));
    h[0] = NAN;
    assert_status(VQ_E_NONFINITE, vq_head_logits(out, NULL, NULL, head, h, 1, NULL));
    vq_head_free(head);
    for (size_t i = 0; i < V * D; i++)
        rows[i] = 1e20f;
    for (size_t i = 0; i < D; i++)
        h[i] = 1e20f;
    assert_ok(vq_head_build(&head, &w, &opts));
    assert_status(VQ_E_NONFINITE, vq_head_logits(out, NULL, NULL, head, h, 1, NULL));
    vq_head_call call = VQ_HEAD_CALL_INIT;
    call.stride = D - 1;
    assert_status(VQ_E_ARG, vq_head_logits(out, NULL, NULL, head, h, 1, &call));
    vq_head_free(head);
    vq_head_free(NULL);
    free(h);
    free(rows);
}

static void test_names(void **state)
{
    (void)state;
    vq_head_mode mode;
    vq_head_storage storage;
    for (int m = 0; m < 4; m++) {
        assert_ok(vq_head_mode_parse(&mode, vq_head_mode_name((vq_head_mode)m)));
        assert_int_equal(mode, m);
    }
    for (int s = 0; s < 5; s++) {
        assert_ok(vq_head_storage_parse(&storage, vq_head_storage_name((vq_head_storage)s)));
        assert_int_equal(storage, s);
    }
    assert_string_equal(vq_head_mode_name((vq_head_mode)4), "?");
    assert_string_equal(vq_head_storage_name((vq_head_storage)-1), "?");
    assert_status(VQ_E_ARG, vq_head_mode_parse(&mode, "sparse"));
    assert_status(VQ_E_ARG, vq_head_storage_parse(&storage, "f64"));
}

/* Everything on a head: what allocation failures are tried on. */
static vq_status scenario(void *context)
{
    const float *rows = context;
    const vq_tensor w = vq_tensor_from_memory(rows, VQ_DTYPE_F32, V, D),
                    bias = vq_tensor_from_memory(rows, VQ_DTYPE_F32, V, 0);
    vq_head_opts opts = VQ_HEAD_OPTS_INIT;
    opts.mode = VQ_HEAD_DENSE;
    opts.storage = VQ_HEAD_I8;
    opts.bias = &bias;
    vq_head *head = NULL, *loaded = NULL;
    vq_tensors *tensors = NULL;
    float logits[V], again[V], log_prob;
    uint32_t ids[3];
    vq_status status = vq_head_build(&head, &w, &opts);
    if (!status)
        status = vq_head_logits(logits, NULL, NULL, head, rows, 1, NULL);
    if (!status)
        status = vq_head_topk(ids, NULL, NULL, NULL, head, rows, 1, 3, NULL);
    if (!status)
        status = vq_head_sample(ids, NULL, NULL, head, rows, 3, NULL, NULL);
    if (!status)
        status = vq_head_log_probs(&log_prob, NULL, head, rows, 1, ids, 1, NULL);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_head_save(tensors, head, "lm.");
    if (!status)
        status = vq_head_load(&loaded, tensors, "lm.", NULL);
    if (!status)
        status = vq_head_logits(again, NULL, NULL, loaded, rows, 1, NULL);
    if (!status && memcmp(logits, again, sizeof logits))
        status = VQ_E_MISMATCH;
    vq_head_free(loaded);
    vq_head_free(head);
    vq_tensors_free(tensors);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    float *rows = normals(V * D, 0.3f, 1);
    test_allocation_failures(scenario, rows);
    free(rows);
}

/* A file that was damaged is refused with a sentence. */
static void test_damage(void **state)
{
    (void)state;
    float *rows = normals(V * D, 0.3f, 1);
    vq_head *head = dense(rows, V, D, VQ_HEAD_I8, NULL, NULL), *loaded;
    vq_tensors *tensors;
    const vq_limits small = {.struct_size = sizeof small, .max_codewords = V - 1};
    assert_ok(vq_tensors_create(&tensors));
    assert_status(VQ_E_FORMAT, vq_head_load(&loaded, tensors, "", NULL));
    assert_ok(vq_head_save(tensors, head, ""));
    assert_status(VQ_E_ARG, vq_head_save(tensors, head, ""));
    assert_ok(vq_head_load(&loaded, tensors, "", NULL));
    vq_head_free(loaded);
    assert_status(VQ_E_LIMIT, vq_head_load(&loaded, tensors, "", &small));
    uint32_t *ids = vq_tensors_find(tensors, "ids")->data;
    float *scale = vq_tensors_find(tensors, "rows.scale")->data;
    ids[7] = 6;
    assert_status(VQ_E_FORMAT, vq_head_load(&loaded, tensors, "", NULL));
    ids[7] = 7;
    scale[7] = NAN;
    assert_status(VQ_E_FORMAT, vq_head_load(&loaded, tensors, "", NULL));
    scale[7] = 1;
    assert_ok(vq_tensors_set(tensors, "head", "sparse"));
    assert_status(VQ_E_UNSUPPORTED, vq_head_load(&loaded, tensors, "", NULL));
    vq_tensors_free(tensors);
    vq_head_free(head);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits), cmocka_unit_test(test_storage),
        cmocka_unit_test(test_topk),   cmocka_unit_test(test_scores),
        cmocka_unit_test(test_calls),  cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_names),  cmocka_unit_test(test_failures),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
