/* SPDX-License-Identifier: Apache-2.0 */
/* Heads that are not dense: what each guarantees, however it was made. */
#include "logits_modes_support.h"

#include "vq/cpu.h"

/* All logits are the product with the decoded matrix, and the partition is theirs. */
static void check_logits(const material *m, const vq_head *head, const vq_head_opts *o)
{
    (void)o;
    float *rows = malloc(sizeof *rows * V * D), biases[V], *logits = malloc(sizeof *logits * N * V);
    float partition[N];
    double want[V], lengths[V];
    assert_ok(vq_head_decode(rows, biases, head, 0, V));
    assert_ok(vq_head_logits(logits, partition, NULL, head, m->h, N, NULL));
    for (size_t s = 0; s < N; s++) {
        product(want, lengths, rows, V, D, biases, m->h + s * D);
        double sum = 0;
        for (size_t r = 0; r < V; r++) {
            const double reach = lengths[r] * length_of(m->h + s * D, D) + fabs(want[r]);
            assert_true(fabs(logits[s * V + r] - want[r]) <= 1e-6 * reach);
            sum += exp((double)logits[s * V + r] - partition[s]);
        }
        assert_true(fabs(sum - 1) < 1e-5);
    }
    free(logits);
    free(rows);
}

static void test_logits(void **state)
{
    (void)state;
    for_all_cases(check_logits);
}

/* The log-probabilities of all tokens add up to 1, with any number of probes; they are those of samples, see below. */
static void check_log_probs(const material *m, const vq_head *head, const vq_head_opts *o)
{
    float log_probs[V], logits[V], partition, exact;
    for (uint32_t probes = 1; probes <= 81; probes += 20) {
        const vq_head_call call = {.struct_size = sizeof call, .probes = probes};
        for (size_t s = 0; s < 3; s++) {
            const float *h = m->h + s * D;
            double sum = 0;
            assert_ok(vq_head_log_probs(log_probs, NULL, head, h, 1, vq_head_ids(head), V, &call));
            for (size_t i = 0; i < V; i++)
                sum += exp(log_probs[i]);
            assert_true(fabs(sum - 1) < 1e-5);
            assert_ok(
                vq_head_scores(logits, &partition, NULL, head, h, 1, vq_head_ids(head), V, &call));
            float *all = malloc(V * sizeof *all);
            assert_ok(vq_head_logits(all, &exact, NULL, head, h, 1, NULL));
            assert_memory_equal(all, logits, V * sizeof *all);
            free(all);
            if (o->mode == VQ_HEAD_TIED || probes >= GROUPS)
                assert_true(o->codes == V || fabsf(partition - exact) < 1e-5f);
            else /* made rows: the estimate is not that good, but near */
                assert_true(fabsf(partition - exact) < 0.7f);
        }
    }
}

static void test_log_probs(void **state)
{
    (void)state;
    for_all_cases(check_log_probs);
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

/* With all clusters probed, and in a tied head always: the best are the best of all logits. With few: they are exact, in order, and
 * the best of their clusters. */
static void check_topk(const material *m, const vq_head *head, const vq_head_opts *o)
{
    enum { K = 30 };
    float *all = malloc(sizeof *all * V), logits[K];
    uint32_t ids[K];
    const uint32_t *rising = vq_head_ids(head);
    for (size_t s = 0; s < N; s++) {
        const float *h = m->h + s * D;
        ranked want[V];
        assert_ok(vq_head_logits(all, NULL, NULL, head, h, 1, NULL));
        for (size_t i = 0; i < V; i++)
            want[i] = (ranked){all[i], rising[i]};
        qsort(want, V, sizeof *want, by_rank);
        vq_head_call call = {.struct_size = sizeof call, .probes = V};
        assert_ok(vq_head_topk(ids, logits, NULL, NULL, head, h, 1, K, &call));
        for (size_t i = 0; i < K; i++) {
            assert_int_equal(ids[i], want[i].id);
            assert_true(logits[i] == want[i].logit);
        }
        call.probes = 2;
        assert_ok(vq_head_topk(ids, logits, NULL, NULL, head, h, 1, K, &call));
        size_t at = 0;
        for (size_t i = 0; i < K;
             i++, at++) { /* in the order of the whole ranking, some left out */
            while (at < V && want[at].id != ids[i])
                at++;
            assert_true(at < V && logits[i] == want[at].logit);
        }
        for (uint32_t i = 0; i < o->n_always; i++) /* what is always scored is never left out */
            for (size_t r = 0; r < V && want[r].logit > logits[K - 1]; r++)
                if (want[r].id == o->always[i]) {
                    size_t found = 0;
                    while (found < K && ids[found] != want[r].id)
                        found++;
                    assert_true(found < K);
                }
    }
    free(all);
}

static void test_topk(void **state)
{
    (void)state;
    for_all_cases(check_topk);
}

/* The same bits by any threads, kernels, batch, and after saving and loading; the head itself too. */
static void check_bits(const material *m, const vq_head *head, const vq_head_opts *o)
{
    enum { K = 5 };
    static const uint32_t masks[] = {0, VQ_CPU_AVX2, UINT32_MAX};
    uint32_t want[N * K], ids[N * K], drawn[N], again[N];
    float logits[N * K], same[N * K], partition[N], other[N], log_probs[N], lp[N];
    const vq_head_sample_opts sampling = {
        .struct_size = sizeof sampling, .temperature = 1.3f, .seed = 5};
    assert_ok(vq_head_topk(want, logits, partition, NULL, head, m->h, N, K, NULL));
    assert_ok(vq_head_sample(drawn, log_probs, NULL, head, m->h, N, &sampling, NULL));
    vq_tensors *tensors;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_head_save(tensors, head, "x."));
    for (size_t c = 0; c < 3; c++) {
        vq_head_opts own = *o;
        vq_head *made, *loaded;
        vq_tensors *saved;
        own.threads = (int)c + 1;
        vq_cpu_set_mask(masks[c]);
        assert_ok(vq_head_build(&made, &m->w, &own));
        assert_ok(vq_tensors_create(&saved));
        assert_ok(vq_head_save(saved, made, "x."));
        assert_int_equal(vq_tensors_count(saved), vq_tensors_count(tensors));
        for (size_t i = 0; i < vq_tensors_count(saved); i++) {
            const vq_tensor *a = vq_tensors_at(saved, i), *b = vq_tensors_at(tensors, i);
            assert_int_equal(a->count, b->count);
            assert_memory_equal(a->data, b->data, a->count * vq_dtype_size(a->dtype));
        }
        assert_ok(vq_head_load(&loaded, saved, "x.", NULL));
        for (int threads = 1; threads < 4; threads++) {
            vq_head_call call = VQ_HEAD_CALL_INIT;
            call.threads = threads;
            call.workspace_size = vq_head_workspace(loaded, N, K, &call);
            call.workspace = aligned_alloc(64, call.workspace_size);
            assert_ok(vq_head_topk(ids, same, other, NULL, loaded, m->h, N, K, &call));
            assert_memory_equal(ids, want, sizeof ids);
            assert_memory_equal(same, logits, sizeof same);
            assert_memory_equal(other, partition, sizeof other);
            assert_ok(vq_head_sample(again, lp, NULL, loaded, m->h, N, &sampling, &call));
            assert_memory_equal(again, drawn, sizeof again);
            assert_memory_equal(lp, log_probs, sizeof lp);
            free(call.workspace);
        }
        for (size_t s = 0; s < N; s++) {
            assert_ok(vq_head_topk(ids, same, other, NULL, loaded, m->h + s * D, 1, K, NULL));
            assert_memory_equal(ids, want + s * K, K * sizeof *ids);
            assert_true(other[0] == partition[s]);
        }
        vq_head_free(loaded);
        vq_head_free(made);
        vq_tensors_free(saved);
    }
    vq_cpu_set_mask(UINT32_MAX);
    vq_tensors_free(tensors);
}

static void test_bits(void **state)
{
    (void)state;
    for_all_cases(check_bits);
}

/* A million pairs of heads and states: greedy equals dense whenever the cluster of the dense argmax was probed. */
static void test_greedy(void **state)
{
    (void)state;
    enum { HEADS = 20, STATES = 50000, ROWS = 64, WIDTH = 8 };
    uint32_t *best = malloc(sizeof *best * STATES), *got = malloc(sizeof *got * STATES);
    float *partition = malloc(sizeof *partition * STATES);
    size_t probed = 0, pairs = 0;
    for (uint64_t i = 0; i < HEADS; i++) {
        float *rows = clustered(ROWS, WIDTH, 12, 0.3f, 100 + i),
              *h = normals((size_t)STATES * WIDTH, 1, 200 + i);
        for (size_t r = 0; r < ROWS; r += 5) /* ties */
            memcpy(rows + r * WIDTH, rows + (r + 7) % ROWS * WIDTH, WIDTH * sizeof *rows);
        const vq_tensor w = vq_tensor_from_memory(rows, VQ_DTYPE_F32, ROWS, WIDTH);
        vq_head_opts o = VQ_HEAD_OPTS_INIT;
        vq_head *dense, *head;
        o.storage = (vq_head_storage)(i % 5);
        o.codes = 12;
        o.probes = 1 + (uint32_t)i % 3;
        o.seed = i;
        assert_ok(vq_head_build(&head, &w, &o));
        o.mode = VQ_HEAD_DENSE;
        assert_ok(vq_head_build(&dense, &w, &o));
        assert_ok(vq_head_topk(best, NULL, NULL, NULL, dense, h, STATES, 1, NULL));
        assert_ok(vq_head_topk(got, NULL, partition, NULL, head, h, STATES, 1, NULL));
        for (size_t s = 0; s < STATES; s++) {
            pairs++;
            probed += best[s] == got[s];
            if (best[s] == got[s])
                continue;
            /* Then none of the rows that were scored is it. */
            uint32_t scored[ROWS], one;
            vq_head_report report;
            assert_ok(vq_head_topk(&one, NULL, NULL, &report, head, h + s * WIDTH, 1, 1, NULL));
            assert_int_equal(one, got[s]);
            assert_ok(
                vq_head_topk(scored, NULL, NULL, NULL, head, h + s * WIDTH, 1, report.rows, NULL));
            for (size_t r = 0; r < report.rows; r++)
                assert_int_not_equal(scored[r], best[s]);
        }
        vq_head_free(dense);
        vq_head_free(head);
        free(h);
        free(rows);
    }
    assert_int_equal(pairs, 1000000);
    assert_true(probed > pairs * 7 / 10);
    free(partition);
    free(got);
    free(best);
}

static int by_id(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Samples without cuts come as often as the log-probabilities say; of a tied head at any temperature as the logits say. */
static void check_samples(const material *m, const vq_head *head, const vq_head_opts *o)
{
    enum { DRAWS = 10000 };
    const float *h = m->h;
    float *many = malloc(sizeof *many * DRAWS * D), *drawn = malloc(sizeof *drawn * DRAWS),
          log_probs[V];
    uint32_t *ids = malloc(sizeof *ids * DRAWS);
    for (size_t i = 0; i < DRAWS; i++)
        memcpy(many + i * D, h, D * sizeof *h);
    const vq_head_call call = {.struct_size = sizeof call, .probes = 3};
    for (int warm = 0; warm < 2; warm++) {
        const vq_head_sample_opts sampling = {
            .struct_size = sizeof sampling, .temperature = warm ? 1.7f : 0, .seed = 8};
        assert_ok(vq_head_sample(ids, drawn, NULL, head, many, DRAWS, &sampling, &call));
        double p[V];
        if (warm && o->mode == VQ_HEAD_RERANK) {
            for (size_t i = 0; i < V; i++) /* what the samples say themselves */
                p[i] = 0;
            for (size_t i = 0; i < DRAWS; i++)
                p[(const uint32_t *)bsearch(ids + i, vq_head_ids(head), V, sizeof *ids, by_id) -
                  vq_head_ids(head)] = exp(drawn[i]);
        } else if (warm) {
            double logits[V];
            float all[V];
            assert_ok(vq_head_logits(all, NULL, NULL, head, h, 1, NULL));
            for (size_t i = 0; i < V; i++)
                logits[i] = all[i];
            for (size_t i = 0; i < V; i++)
                p[i] = exp(logits[i] / 1.7 - log_sum_exp(logits, V, 1 / 1.7));
        } else {
            assert_ok(vq_head_log_probs(log_probs, NULL, head, h, 1, vq_head_ids(head), V, &call));
            for (size_t i = 0; i < V; i++)
                p[i] = exp(log_probs[i]);
        }
        size_t counts[V] = {0};
        for (size_t i = 0; i < DRAWS; i++) {
            const uint32_t *at = bsearch(ids + i, vq_head_ids(head), V, sizeof *ids, by_id);
            assert_non_null(at);
            counts[at - vq_head_ids(head)]++;
            assert_true(fabs(drawn[i] - log(p[at - vq_head_ids(head)])) < 1e-4);
        }
        double chi = 0;
        size_t freedom = 0;
        for (size_t i = 0; i < V; i++)
            if (p[i] * DRAWS >= 5) {
                chi += (counts[i] - p[i] * DRAWS) * (counts[i] - p[i] * DRAWS) / (p[i] * DRAWS);
                freedom++;
            }
        const double t = 2 / (9.0 * (double)freedom);
        assert_true(chi < (double)freedom * pow(1 - t + 4 * sqrt(t), 3));
    }
    free(ids);
    free(drawn);
    free(many);
}

static void test_samples(void **state)
{
    (void)state;
    for_all_cases(check_samples);
}

/* Cuts that reach beyond the clusters that are probed: with all tokens they are those of a dense head. */
static void test_cuts(void **state)
{
    (void)state;
    material m;
    vq_head_opts o;
    material_make(&m);
    assert_true(options(&o, &m, 0));
    vq_head *head = build(&m, &o);
    o.mode = VQ_HEAD_DENSE;
    vq_head *dense = build(&m, &o);
    static const vq_head_sample_opts cases[] = {
        {.top_p = 0.99f}, {.min_p = 1e-6f}, {.top_k = 400, .top_p = 0.9f}, {.top_k = 1}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        vq_head_sample_opts sampling = cases[c];
        uint32_t want[N], ids[N];
        const vq_head_call call = {.struct_size = sizeof call, .probes = GROUPS};
        sampling.struct_size = sizeof sampling;
        assert_ok(vq_head_sample(want, NULL, NULL, dense, m.h, N, &sampling, NULL));
        assert_ok(vq_head_sample(ids, NULL, NULL, head, m.h, N, &sampling, &call));
        assert_memory_equal(ids, want, sizeof ids);
        assert_ok(vq_head_sample(ids, NULL, NULL, head, m.h, N, &sampling, NULL)); /* few probes */
    }
    vq_head_free(dense);
    vq_head_free(head);
    material_free(&m);
}

/* Rows longer than the sketch that they are clustered in: the clusters are found, and by any threads the same. */
static void test_long_rows(void **state)
{
    (void)state;
    enum { ROWS = 240, LONG = 300, MEANINGS = 12, STATES = 40 };
    float *rows = clustered(ROWS, LONG, MEANINGS, 0.1f, 1);
    const vq_tensor w = vq_tensor_from_memory(rows, VQ_DTYPE_F32, ROWS, LONG);
    vq_head_opts o = VQ_HEAD_OPTS_INIT;
    vq_head *head, *one, *dense;
    uint32_t want[STATES], ids[STATES];
    o.codes = MEANINGS;
    o.probes = 1;
    assert_ok(vq_head_build(&head, &w, &o));
    o.threads = 1;
    assert_ok(vq_head_build(&one, &w, &o));
    o.mode = VQ_HEAD_DENSE;
    assert_ok(vq_head_build(&dense, &w, &o));
    assert_ok(vq_head_topk(want, NULL, NULL, NULL, dense, rows, STATES, 1, NULL));
    assert_ok(vq_head_topk(ids, NULL, NULL, NULL, head, rows, STATES, 1, NULL));
    assert_memory_equal(ids, want, sizeof ids); /* states that are rows find their own cluster */
    assert_ok(vq_head_topk(ids, NULL, NULL, NULL, one, rows, STATES, 1, NULL));
    assert_memory_equal(ids, want, sizeof ids);
    float a[STATES], b[STATES];
    assert_ok(vq_head_scores(a, b, NULL, head, rows, STATES, want, 1, NULL));
    float c[STATES], d[STATES];
    assert_ok(vq_head_scores(c, d, NULL, one, rows, STATES, want, 1, NULL));
    assert_memory_equal(a, c, sizeof a);
    assert_memory_equal(b, d, sizeof b);
    vq_head_free(dense);
    vq_head_free(one);
    vq_head_free(head);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits), cmocka_unit_test(test_log_probs),
        cmocka_unit_test(test_topk),   cmocka_unit_test(test_bits),
        cmocka_unit_test(test_greedy), cmocka_unit_test(test_samples),
        cmocka_unit_test(test_cuts),   cmocka_unit_test(test_long_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
