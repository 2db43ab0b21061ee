/* SPDX-License-Identifier: Apache-2.0 */
/* SimVQ batch by batch: gradient steps, moving averages, shrinkage. */
#include <math.h>

#include "test_support.h"

enum { BATCH = 400, D = 6, K = 50, STEPS = 60 };

static float *make_rows(size_t n, uint64_t seed)
{
    float *x = malloc(n * D * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < D; j++)
            x[i * D + j] = (float)((test_uniform(&seed) + test_uniform(&seed) - 1) * (1 + j) + 2);
    return x;
}

static vq_quantizer *begin(int no_bias)
{
    const vq_simvq_form form = {sizeof form, K, D, 0, 3};
    vq_quantizer *q;
    assert_ok(vq_simvq_begin(&q, &form, no_bias));
    return q;
}

static size_t codewords_size(void)
{
    return (size_t)K * D * sizeof(float);
}

/* The first step by hand: the gradient of the codebook term, which Adam takes as its sign x the rate. */
static void test_first_step(void **state)
{
    (void)state;
    float *x = make_rows(BATCH, 1), q[BATCH * D], grad_q[BATCH * D] = {0};
    float grad_codewords[K * D] = {0}, grad_map[D * D] = {0}, grad_bias[D] = {0}, basis[K * D];
    uint32_t codes[BATCH];
    vq_quantizer *start = begin(0);
    vq_simvq_learner *learner;
    vq_simvq_learn_opts opts = VQ_SIMVQ_LEARN_OPTS_INIT;
    opts.learning_rate = 0.01;
    assert_ok(vq_simvq_learner_create(&learner, start, &opts));
    vq_simvq_learn_report report;
    assert_ok(vq_simvq_learner_update(learner, codes, q, &report, x, BATCH, 0));
    const float *codewords = vq_codebook_codewords(vq_quantizer_codebook(start, 0));
    uint32_t expected[BATCH];
    assert_ok(vq_quantize(expected, start, x, BATCH, NULL));
    assert_memory_equal(codes, expected, sizeof codes);
    for (size_t i = 0; i < BATCH; i++)
        assert_memory_equal(q + i * D, codewords + codes[i] * D, D * sizeof *q);
    const vq_loss_weights weights = {1, 0};
    assert_float_equal(report.mse / vq_loss_forward(x, q, BATCH, D, &weights), 1, 1e-6);
    assert_int_equal(report.updates, 1);
    assert_true(report.used > 0 && report.perplexity <= report.used * (1 + 1e-9));
    vq_loss_backward(NULL, grad_q, x, q, BATCH, D, &weights, 1);
    vq_lookup_backward(grad_codewords, grad_q, codes, BATCH, D);
    vq_simvq_basis(basis, 3, D, 0, K);
    vq_simvq_backward(grad_map, grad_bias, NULL, grad_codewords, basis, vq_simvq_map(start), K, D,
                      D, 1);
    for (size_t i = 0; i < D * D; i++) {
        const double moved = vq_simvq_learner_map(learner)[i] - vq_simvq_map(start)[i];
        assert_true(fabs(grad_map[i]) > 1e-4);
        assert_float_equal(moved, grad_map[i] > 0 ? -0.01 : 0.01, 1e-5);
    }
    for (size_t i = 0; i < D; i++) {
        const double moved = vq_simvq_learner_bias(learner)[i] - vq_simvq_bias(start)[i];
        assert_float_equal(moved, grad_bias[i] > 0 ? -0.01 : 0.01, 1e-5);
    }
    assert_memory_equal(vq_simvq_learner_basis(learner), basis, sizeof basis); /* frozen */
    vq_simvq_learner_free(learner);
    vq_quantizer_free(start);
    free(x);
}

typedef struct way {
    vq_simvq_method method;
    vq_simvq_learned learned;
    double shrinkage;
} way;

static const way ways[] = {
    {VQ_SIMVQ_GRADIENT, VQ_SIMVQ_LEARN_MAP, 0},   {VQ_SIMVQ_GRADIENT, VQ_SIMVQ_LEARN_BASIS, 0},
    {VQ_SIMVQ_GRADIENT, VQ_SIMVQ_LEARN_BOTH, 0},  {VQ_SIMVQ_AVERAGES, VQ_SIMVQ_LEARN_MAP, 0},
    {VQ_SIMVQ_AVERAGES, VQ_SIMVQ_LEARN_MAP, 0.5}, {VQ_SIMVQ_AVERAGES, VQ_SIMVQ_LEARN_BOTH, 0.1},
};
enum { WAYS = sizeof ways / sizeof *ways };

static vq_simvq_learn_opts options(const way *w)
{
    vq_simvq_learn_opts opts = VQ_SIMVQ_LEARN_OPTS_INIT;
    opts.method = w->method;
    opts.learned = w->learned;
    opts.shrinkage = w->shrinkage;
    opts.learning_rate = 0.01;
    opts.decay = 0.9;
    return opts;
}

/* Every way lowers the error; the snapshot is the codebook, and what it can be saved as. */
static void test_learning(void **state)
{
    (void)state;
    float *x = make_rows(BATCH * STEPS, 2);
    double mse[WAYS];
    for (size_t w = 0; w < WAYS; w++) {
        const vq_simvq_learn_opts opts = options(&ways[w]);
        vq_quantizer *start = begin(w == 3), *snapshot;
        vq_simvq_learner *learner;
        vq_simvq_learn_report first, last;
        assert_ok(vq_simvq_learner_create(&learner, start, &opts));
        assert_memory_equal(vq_codebook_codewords(vq_simvq_learner_codebook(learner)),
                            vq_codebook_codewords(vq_quantizer_codebook(start, 0)),
                            codewords_size());
        for (size_t s = 0; s < STEPS; s++)
            assert_ok(vq_simvq_learner_update(learner, NULL, NULL, s ? &last : &first,
                                              x + s * BATCH * D, BATCH, 0));
        assert_int_equal(last.updates, STEPS);
        assert_true(last.mse < 0.9 * first.mse);
        mse[w] = last.mse;
        assert_ok(vq_simvq_learner_snapshot(&snapshot, learner));
        assert_string_equal(vq_quantizer_kind(snapshot), w == 0 || w == 3 ? "simvq" : "flat");
        assert_memory_equal(vq_codebook_codewords(vq_simvq_learner_codebook(learner)),
                            vq_codebook_codewords(vq_quantizer_codebook(snapshot, 0)),
                            codewords_size());
        vq_quantizer_free(snapshot);
        vq_simvq_learner_free(learner);
        vq_quantizer_free(start);
    }
    assert_true(mse[4] < mse[3]); /* codewords of their own serve rows better than a map of all */
    free(x);
}

static void test_same_on_any_machine(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7};
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    enum { FEW = 10 };
    float *x = make_rows(BATCH * FEW, 4), *first = malloc(codewords_size());
    assert_non_null(first);
    for (size_t w = 0; w < WAYS; w++)
        for (int m = 0; m < 3; m++)
            for (int t = 0; t < 3; t++) {
                vq_cpu_set_mask(masks[m]);
                const vq_simvq_learn_opts opts = options(&ways[w]);
                vq_quantizer *start = begin(0);
                vq_simvq_learner *learner;
                assert_ok(vq_simvq_learner_create(&learner, start, &opts));
                for (size_t s = 0; s < FEW; s++)
                    assert_ok(vq_simvq_learner_update(learner, NULL, NULL, NULL, x + s * BATCH * D,
                                                      BATCH, threads[t]));
                vq_cpu_set_mask(UINT32_MAX);
                const float *got = vq_codebook_codewords(vq_simvq_learner_codebook(learner));
                if (m + t == 0)
                    memcpy(first, got, codewords_size());
                assert_memory_equal(got, first, codewords_size());
                vq_simvq_learner_free(learner);
                vq_quantizer_free(start);
            }
    free(x);
    free(first);
}

/* Moving averages without memory and with all rows in one batch are a step of the closed form. */
static void test_closed_form(void **state)
{
    (void)state;
    float *x = make_rows(BATCH, 5);
    vq_quantizer *start = begin(0), *next;
    vq_simvq_learner *learner;
    vq_simvq_learn_opts opts = VQ_SIMVQ_LEARN_OPTS_INIT;
    opts.method = VQ_SIMVQ_AVERAGES;
    opts.decay = -1;
    assert_ok(vq_simvq_learner_create(&learner, start, &opts));
    assert_ok(vq_simvq_learner_update(learner, NULL, NULL, NULL, x, BATCH, 0));
    vq_kmeans_stats *stats;
    const vq_codebook *codebook = vq_quantizer_codebook(start, 0);
    const vq_source rows = vq_source_from_memory(x, BATCH, D);
    assert_ok(vq_kmeans_stats_create(&stats, codebook, NULL));
    assert_ok(vq_kmeans_stats_accumulate(stats, codebook, &rows, 0, NULL, 0));
    assert_ok(vq_simvq_update(&next, start, stats, 0, 0));
    for (size_t i = 0; i < D * D; i++)
        assert_float_equal(vq_simvq_learner_map(learner)[i], vq_simvq_map(next)[i], 1e-4);
    vq_kmeans_stats_free(stats);
    vq_quantizer_free(next);
    vq_quantizer_free(start);
    vq_simvq_learner_free(learner);
    free(x);
}

static int stop_at_3(void *context, const vq_simvq_learn_report *report)
{
    (void)context;
    return report->updates == 3;
}

/* Gradient steps on rows in memory, and that the closed form is at least as good in a few passes. */
static void test_descend(void **state)
{
    (void)state;
    float *x = make_rows(4000, 6);
    vq_quantizer *start = begin(0), *q, *closed, *out = (vq_quantizer *)&out;
    vq_simvq_descend_opts opts = VQ_SIMVQ_DESCEND_OPTS_INIT;
    opts.learn.learning_rate = 0.01;
    opts.batch = 1000;
    opts.steps = 300;
    assert_ok(vq_simvq_descend(&q, start, x, 4000, D, &opts));
    vq_simvq_form form;
    assert_ok(vq_simvq_get_form(&form, q));
    assert_int_equal(form.seed, 3);
    vq_simvq_train_opts train = VQ_SIMVQ_TRAIN_OPTS_INIT;
    train.k = K;
    train.seed = 3;
    train.start = VQ_SIMVQ_START_UNIFORM;
    vq_kmeans_report report;
    assert_ok(vq_simvq_train(&closed, &report, x, 4000, D, &train));
    float scores[4000];
    uint32_t codes[4000];
    double mse = 0, before = 0;
    assert_ok(vq_nearest(codes, scores, vq_quantizer_codebook(start, 0), x, 4000, NULL));
    for (size_t i = 0; i < 4000; i++)
        before += scores[i] / (4000.0 * D);
    assert_float_equal(before, report.mse[0], 1e-6); /* they begin alike */
    assert_ok(vq_nearest(codes, scores, vq_quantizer_codebook(q, 0), x, 4000, NULL));
    for (size_t i = 0; i < 4000; i++)
        mse += scores[i] / (4000.0 * D);
    assert_true(mse < 0.5 * before);
    assert_true(report.mse[report.iterations] < 1.05 * mse);
    opts.progress = stop_at_3;
    assert_status(VQ_E_CANCELLED, vq_simvq_descend(&out, start, x, 4000, D, &opts));
    assert_null(out);
    opts.threads = -1;
    assert_status(VQ_E_ARG, vq_simvq_descend(&out, start, x, 4000, D, &opts));
    opts.threads = 0;
    opts.learn.method = VQ_SIMVQ_AVERAGES;
    assert_status(VQ_E_ARG, vq_simvq_descend(&out, start, x, 4000, D, &opts));
    assert_status(VQ_E_ARG, vq_simvq_descend(&out, start, x, 4000, D - 1, NULL));
    assert_status(VQ_E_ARG, vq_simvq_descend(&out, start, NULL, 4000, D, NULL));
    assert_status(VQ_E_ARG, vq_simvq_descend(&out, start, x, 0, D, NULL));
    vq_kmeans_report_clear(&report);
    vq_quantizer_free(start);
    vq_quantizer_free(q);
    vq_quantizer_free(closed);
    free(x);
}

static void test_bad_input(void **state)
{
    (void)state;
    float *x = make_rows(BATCH, 7);
    vq_quantizer *start = begin(0), *flat;
    vq_simvq_learner *out = (vq_simvq_learner *)&out;
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, x, K, D, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_quantizer_from_codebook(&flat, codebook));
    assert_status(VQ_E_ARG, vq_simvq_learner_create(&out, flat, NULL));
    assert_null(out);
#define REFUSED(change)                                                                            \
    do {                                                                                           \
        vq_simvq_learn_opts opts = VQ_SIMVQ_LEARN_OPTS_INIT;                                       \
        change;                                                                                    \
        assert_status(VQ_E_ARG, vq_simvq_learner_create(&out, start, &opts));                      \
        assert_null(out);                                                                          \
    } while (0)
    REFUSED(opts.struct_size = 0);
    REFUSED(opts.method = (vq_simvq_method)2);
    REFUSED(opts.learned = (vq_simvq_learned)3);
    REFUSED((opts.method = VQ_SIMVQ_AVERAGES, opts.learned = VQ_SIMVQ_LEARN_BASIS));
    REFUSED(opts.growth = NAN);
    REFUSED(opts.learning_rate = -1);
    REFUSED(opts.learning_rate = INFINITY);
    REFUSED(opts.beta1 = 1);
    REFUSED(opts.beta2 = NAN);
    REFUSED(opts.decay = 1);
    REFUSED(opts.epsilon = -1);
    REFUSED(opts.codebook_weight = NAN);
    REFUSED(opts.ridge = -1);
    REFUSED(opts.shrinkage = -1);
#undef REFUSED
    const vq_simvq_form wide = {sizeof wide, K, D, D + 1, 0}, form = {sizeof form, K, D, 0, 0};
    assert_status(VQ_E_ARG, vq_simvq_learner_create_from_basis(&out, &wide, x, NULL, NULL, NULL));
    assert_status(VQ_E_ARG,
                  vq_simvq_learner_create_from_basis(&out, &form, NULL, NULL, NULL, NULL));
    assert_ok(vq_simvq_learner_create_from_basis(&out, &form, x, NULL, NULL, NULL));
    assert_null(vq_simvq_learner_bias(out));
    assert_memory_equal(vq_codebook_codewords(vq_simvq_learner_codebook(out)), x,
                        codewords_size()); /* the map is the identity */
    assert_ok(vq_simvq_learner_update(out, NULL, NULL, NULL, x, 0, 0));
    assert_status(VQ_E_ARG, vq_simvq_learner_update(out, NULL, NULL, NULL, x, BATCH, -1));
    x[9] = NAN;
    assert_status(VQ_E_NONFINITE, vq_simvq_learner_update(out, NULL, NULL, NULL, x, BATCH, 0));
    vq_simvq_learner_free(out);
    vq_simvq_learner_free(NULL);
    vq_quantizer_free(start);
    vq_quantizer_free(flat);
    free(x);
}

static vq_status learn_all(void *context)
{
    (void)context;
    static const float x[16] = {1, 2, 3, 4, 1, 7, 2, 9, 4, 1, 0, 1, 5, 5, 8, 1};
    const vq_simvq_form form = {sizeof form, 3, 2, 0, 1};
    vq_quantizer *start = NULL, *q = NULL;
    vq_simvq_descend_opts descend = VQ_SIMVQ_DESCEND_OPTS_INIT;
    descend.batch = 4;
    descend.steps = 2;
    descend.threads = 1;
    vq_status status = vq_simvq_begin(&start, &form, 0);
    if (!status)
        status = vq_simvq_descend(&q, start, x, 8, 2, &descend);
    for (size_t w = 2; w < WAYS && !status; w++) {
        const vq_simvq_learn_opts opts = options(&ways[w]);
        vq_simvq_learner *learner = NULL;
        vq_quantizer *snapshot = NULL;
        status = vq_simvq_learner_create(&learner, start, &opts);
        if (!status)
            status = vq_simvq_learner_update(learner, NULL, NULL, NULL, x, 8, 1);
        if (!status)
            status = vq_simvq_learner_snapshot(&snapshot, learner);
        vq_quantizer_free(snapshot);
        vq_simvq_learner_free(learner);
    }
    vq_quantizer_free(start);
    vq_quantizer_free(q);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    test_allocation_failures(learn_all, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_step),
        cmocka_unit_test(test_learning),
        cmocka_unit_test(test_same_on_any_machine),
        cmocka_unit_test(test_closed_form),
        cmocka_unit_test(test_descend),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
