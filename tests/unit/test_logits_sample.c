/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of heads: the distribution that they come from, cuts against a reference, seeds and numbers. */
#include "logits_support.h"

enum { V = 60, D = 8, DRAWS = 40000 };

static vq_head *make(const float *rows, size_t v)
{
    const vq_tensor w = vq_tensor_from_memory(rows, VQ_DTYPE_F32, v, D);
    vq_head_opts opts = VQ_HEAD_OPTS_INIT;
    vq_head *head;
    opts.mode = VQ_HEAD_DENSE;
    assert_ok(vq_head_build(&head, &w, &opts));
    return head;
}

typedef struct candidate {
    double p;
    uint32_t id;
} candidate;

static int by_rank(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The distribution after the cuts, by its definition. @return how many have any probability. */
static size_t reference(double *p, const double *logits, size_t v, const vq_head_sample_opts *o)
{
    candidate *c = malloc(v * sizeof *c);
    const double scale = o->temperature > 0 ? 1 / (double)o->temperature : 1,
                 log_mass = log_sum_exp(logits, v, scale);
    for (size_t i = 0; i < v; i++)
        c[i] = (candidate){exp(logits[i] * scale - log_mass), (uint32_t)i};
    qsort(c, v, sizeof *c, by_rank);
    size_t left = o->top_k && o->top_k < v ? o->top_k : v;
    double sum = 0, reached = 0;
    for (size_t i = 0; i < left; i++)
        sum += c[i].p;
    if (o->top_p > 0 && o->top_p < 1) {
        size_t i = 0;
        while (i < left && reached < o->top_p * sum)
            reached += c[i++].p;
        left = i;
    }
    while (left > 1 && c[left - 1].p < o->min_p * c[0].p)
        left--;
    sum = 0;
    for (size_t i = 0; i < left; i++)
        sum += c[i].p;
    for (size_t i = 0; i < v; i++)
        p[i] = 0;
    for (size_t i = 0; i < left; i++)
        p[c[i].id] = c[i].p / sum;
    free(c);
    return left;
}

/* Draws by the thousand, with every kind of cut: those that may not come do not, the others as often as they should. */
static void test_distribution(void **state)
{
    (void)state;
    static const vq_head_sample_opts cases[] = {
        {.temperature = 0},
        {.temperature = 0.5f},
        {.temperature = 3},
        {.top_k = 7},
        {.top_k = 1},
        {.top_p = 0.7f},
        {.top_p = 0.999f, .temperature = 2},
        {.min_p = 0.05f},
        {.temperature = 1.5f, .top_k = 20, .top_p = 0.9f, .min_p = 0.02f},
        {.top_k = V, .top_p = 0.5f},
        {.top_p = 1e-6f},
        {.min_p = 1},
    };
    float *rows = normals(V * D, 0.7f, 1), *h = normals(D, 1, 2),
          *many = malloc(sizeof(float) * DRAWS * D);
    vq_head *head = make(rows, V);
    double logits[V], p[V];
    product(logits, NULL, rows, V, D, NULL, h);
    for (size_t i = 0; i < DRAWS; i++)
        memcpy(many + i * D, h, D * sizeof *h);
    uint32_t *ids = malloc(sizeof *ids * DRAWS);
    float *log_probs = malloc(sizeof *log_probs * DRAWS);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        vq_head_sample_opts o = cases[c];
        o.struct_size = sizeof o;
        o.seed = 11 + c;
        const size_t left = reference(p, logits, V, &o);
        assert_ok(vq_head_sample(ids, log_probs, NULL, head, many, DRAWS, &o, NULL));
        size_t counts[V] = {0};
        for (size_t i = 0; i < DRAWS; i++) {
            counts[ids[i]]++;
            assert_true(p[ids[i]] > 0);
            assert_true(fabs(log_probs[i] - log(p[ids[i]])) < 1e-4);
        }
        double chi = 0, rare = 0, seen = 0;
        size_t freedom = 0;
        for (size_t i = 0; i < V; i++) {
            const double expected = p[i] * DRAWS;
            if (expected >= 5) {
                chi += (counts[i] - expected) * (counts[i] - expected) / expected;
                freedom++;
            } else {
                rare += expected;
                seen += (double)counts[i];
            }
        }
        if (rare >= 5) {
            chi += (seen - rare) * (seen - rare) / rare;
            freedom++;
        }
        /* Wilson and Hilferty: 4 standard deviations */
        const double f = freedom > 1 ? (double)(freedom - 1) : 1, t = 2 / (9 * f);
        if (left > 1)
            assert_true(chi < f * pow(1 - t + 4 * sqrt(t), 3));
    }
    free(log_probs);
    free(ids);
    vq_head_free(head);
    free(many);
    free(h);
    free(rows);
}

/* A draw depends on seed, number, state and options only. */
static void test_reproducible(void **state)
{
    (void)state;
    enum { N = 40, LARGE = 3000 };
    float *rows = normals(LARGE * D, 0.3f, 1), *h = normals(N * D, 1, 2);
    vq_head *head = make(rows, LARGE);
    static const vq_head_sample_opts cases[] = {
        {.temperature = 0.8f}, {.top_k = 5}, {.top_p = 0.95f}, {.min_p = 0.001f, .temperature = 4}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        vq_head_sample_opts o = cases[c];
        uint32_t want[N], ids[N];
        o.struct_size = sizeof o;
        o.seed = 3;
        o.position = UINT32_MAX - 5u; /* the number has more than 32 bits */
        assert_ok(vq_head_sample(want, NULL, NULL, head, h, N, &o, NULL));
        for (int threads = 1; threads < 4; threads++) {
            vq_head_call call = VQ_HEAD_CALL_INIT;
            call.threads = threads;
            const size_t count = o.top_k ? o.top_k : o.top_p > 0 || o.min_p > 0 ? LARGE : 0;
            call.workspace_size = vq_head_workspace(head, N, count, &call);
            call.workspace = aligned_alloc(64, call.workspace_size);
            assert_ok(vq_head_sample(ids, NULL, NULL, head, h, N, &o, &call));
            assert_memory_equal(ids, want, sizeof want);
            free(call.workspace);
        }
        const uint64_t position = o.position;
        for (size_t i = 0; i < N; i++) {
            o.position = position + i;
            assert_ok(vq_head_sample(ids, NULL, NULL, head, h + i * D, 1, &o, NULL));
            assert_int_equal(ids[0], want[i]);
        }
        o.seed = 4;
        o.position = position;
        assert_ok(vq_head_sample(ids, NULL, NULL, head, h, N, &o, NULL));
        assert_memory_not_equal(ids, want, sizeof want);
    }
    vq_head_free(head);
    free(h);
    free(rows);
}

static void test_bad_options(void **state)
{
    (void)state;
    static const vq_head_sample_opts cases[] = {
        {.temperature = -1}, {.temperature = NAN}, {.temperature = 1e-9f}, {.top_p = -0.1f},
        {.top_p = 1.5f},     {.min_p = 2},         {.min_p = NAN}};
    float *rows = normals(V * D, 0.7f, 1);
    vq_head *head = make(rows, V);
    uint32_t id;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        vq_head_sample_opts o = cases[c];
        o.struct_size = sizeof o;
        assert_status(VQ_E_ARG, vq_head_sample(&id, NULL, NULL, head, rows, 1, &o, NULL));
    }
    vq_head_free(head);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distribution),
                                       cmocka_unit_test(test_reproducible),
                                       cmocka_unit_test(test_bad_options)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
