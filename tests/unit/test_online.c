/* SPDX-License-Identifier: Apache-2.0 */
/* Online codebooks: the averages by hand, dead codes, resumption, and that nothing is ever half done. */
#include <math.h>

#include "unit/kmeans_support.h"
#include "vq/online.h"

static vq_codebook *codebook_of(const float *codewords, uint32_t k, uint32_t d, vq_metric metric)
{
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, codewords, k, d, metric, VQ_DTYPE_F32));
    return codebook;
}

static vq_online *online_of(const float *codewords, uint32_t k, uint32_t d, vq_metric metric,
                            const vq_online_opts *opts)
{
    vq_codebook *codebook = codebook_of(codewords, k, d, metric);
    vq_online *online;
    assert_ok(vq_online_create(&online, codebook, opts));
    vq_codebook_free(codebook);
    return online;
}

static const float *codewords_of(const vq_online *online)
{
    return vq_codebook_codewords(vq_online_codebook(online));
}

/* The formulas of the header as one would write them down. */
static void test_by_hand(void **state)
{
    (void)state;
    enum { N = 300, D = 3, K = 5, UPDATES = 6 };
    const double decay = 0.9, epsilon = 1e-3;
    float *x = make_rows(N * UPDATES, D, 5), weights[N * UPDATES];
    double counts[K], sums[K][D];
    uint64_t random = 4;
    for (int i = 0; i < N * UPDATES; i++)
        weights[i] = (float)(test_random(&random) % 3);
    vq_online_opts opts = VQ_ONLINE_OPTS_INIT;
    opts.decay = decay;
    opts.epsilon = epsilon;
    opts.threshold = -1;
    vq_online *online = online_of(x, K, D, VQ_METRIC_EUCLIDEAN, &opts);
    for (int u = 0; u < UPDATES; u++) {
        const float *rows = x + u * N * D, *w = weights + u * N;
        float scores[N];
        uint32_t codes[N], told[N];
        double n[K] = {0}, s[K][D] = {{0}}, batch = 0, total = 0, error = 0;
        assert_ok(vq_nearest(codes, scores, vq_online_codebook(online), rows, N, NULL));
        for (int i = 0; i < N; i++) {
            n[codes[i]] += (double)w[i];
            batch += (double)w[i];
            error += (double)w[i] * (double)scores[i];
            for (int j = 0; j < D; j++)
                s[codes[i]][j] += (double)w[i] * (double)rows[i * D + j];
        }
        uint32_t used = 0;
        for (int c = 0; c < K; c++) {
            counts[c] = decay * (u ? counts[c] : batch / K) + (1 - decay) * n[c];
            total += counts[c];
            used += n[c] > 0;
            for (int j = 0; j < D; j++)
                sums[c][j] = decay * (u ? sums[c][j] : batch / K * (double)x[c * D + j]) +
                             (1 - decay) * s[c][j];
        }
        vq_online_report report;
        assert_ok(vq_online_update(online, told, &report, rows, N, w, 0));
        assert_memory_equal(codes, told, sizeof codes);
        assert_int_equal(report.updates, u + 1);
        assert_int_equal(report.used, used);
        assert_int_equal(report.revived, 0);
        assert_true(fabs(report.mse - error / batch / D) < 1e-12 * report.mse);
        for (int c = 0; c < K; c++) {
            assert_true(fabs(vq_online_counts(online)[c] - counts[c]) < 1e-12 * counts[c]);
            for (int j = 0; j < D && n[c] > 0; j++) {
                const double smooth = (counts[c] + epsilon) / (total + K * epsilon) * total;
                assert_true(fabs((double)codewords_of(online)[c * D + j] - sums[c][j] / smooth) <
                            1e-6);
            }
        }
    }
    vq_online_free(online);
    free(x);
}

/* A code that no row chooses stays where it is, to the bit, and is not drawn to the origin. */
static void test_unused_code_stays(void **state)
{
    (void)state;
    for (vq_metric metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++) {
        const float codewords[4] = {0.1f, 0.3f, -700.3f, -900.7f}, x[4] = {0.1f, 0.2f, 0.3f, 0.4f};
        vq_online_opts opts = VQ_ONLINE_OPTS_INIT;
        opts.threshold = -1;
        vq_online *online = online_of(codewords, 2, 2, metric, &opts);
        float before[4];
        memcpy(before, codewords_of(online), sizeof before);
        for (int u = 0; u < 3000; u++)
            assert_ok(vq_online_update(online, NULL, NULL, x, 2, NULL, 0));
        assert_memory_equal(before + 2, codewords_of(online) + 2, 2 * sizeof *before);
        assert_memory_not_equal(before, codewords_of(online), 2 * sizeof *before);
        vq_online_free(online);
    }
}

/* 64 clumps and a codebook of which only one codeword is anywhere near them. */
enum { CLUMPS = 64, BATCH = 640, DIM = 3 };

static void make_clumps(float *x, uint64_t *random)
{
    for (int i = 0; i < BATCH; i++) {
        const uint64_t clump = test_random(random) % CLUMPS;
        for (int j = 0; j < DIM; j++)
            x[i * DIM + j] = (float)(20 * (clump >> 2 * j & 3) + test_uniform(random));
    }
}

static vq_online_report train_on_clumps(double threshold, int updates, vq_metric metric)
{
    float x[BATCH * DIM], codewords[CLUMPS * DIM];
    for (int i = 0; i < CLUMPS * DIM; i++)
        codewords[i] = i < DIM ? 30.0f : (float)(-1000 - 10 * i);
    uint64_t random = 2;
    vq_online_opts opts = VQ_ONLINE_OPTS_INIT;
    opts.threshold = threshold;
    opts.decay = 0.9;
    opts.patience = 3;
    vq_online *online = online_of(codewords, CLUMPS, DIM, metric, &opts);
    vq_online_report report;
    uint32_t revived = 0;
    for (int u = 0; u < updates; u++) {
        make_clumps(x, &random);
        assert_ok(vq_online_update(online, NULL, &report, x, BATCH, NULL, 0));
        revived += report.revived;
    }
    report.revived = revived;
    vq_online_free(online);
    return report;
}

static void test_dead_codes_are_revived(void **state)
{
    (void)state;
    const vq_online_report collapsed = train_on_clumps(-1, 300, VQ_METRIC_EUCLIDEAN);
    assert_int_equal(collapsed.used, 1);
    assert_int_equal(collapsed.revived, 0);
    const vq_online_report alive = train_on_clumps(0, 300, VQ_METRIC_EUCLIDEAN);
    print_message("collapsed: mse %.3f; alive: mse %.4f, %u used, perplexity %.2f, %u revived\n",
                  collapsed.mse, alive.mse, alive.used, alive.perplexity, alive.revived);
    assert_true(alive.revived >= CLUMPS - 1);
    assert_int_equal(alive.used, CLUMPS);
    assert_int_equal(alive.dying, 0);
    assert_true(alive.mse < 0.05 * collapsed.mse);
    assert_true(alive.perplexity > 0.75 * CLUMPS);
    assert_true(train_on_clumps(-1, 300, VQ_METRIC_COSINE).used < CLUMPS / 4);
    assert_true(train_on_clumps(0, 300, VQ_METRIC_COSINE).used > CLUMPS / 2);
}

/* Codeword and statistics move together: the next update does not take a revived code back, and its
 * count is that of average use. This is where published code fails. */
static void test_revival_survives(void **state)
{
    (void)state;
    enum { N = 8, K = 4 };
    const float codewords[K] = {0, 1000, 2000, 3000}, x[N] = {-4, -3, -2, -1, 1, 2, 3, 4};
    vq_online_opts opts = VQ_ONLINE_OPTS_INIT;
    opts.decay = 0.5;
    opts.threshold = 0.5; /* below it from the second update on */
    opts.patience = 4;
    for (opts.seed = 0; opts.seed < 20; opts.seed++) {
        vq_online *online = online_of(codewords, K, 1, VQ_METRIC_EUCLIDEAN, &opts);
        vq_online_report report;
        for (int u = 1; u <= 4; u++) {
            assert_ok(vq_online_update(online, NULL, &report, x, N, NULL, 0));
            assert_int_equal(report.dying, u < 2 ? 0 : 3);
            assert_int_equal(report.revived, 0);
        }
        assert_ok(vq_online_update(online, NULL, &report, x, N, NULL, 0));
        assert_int_equal(report.revived, 3);
        assert_int_equal(report.dying, 0);
        for (int a = 1; a < K; a++) {
            int of_batch = 0;
            for (int i = 0; i < N; i++)
                of_batch += codewords_of(online)[a] == x[i];
            assert_int_equal(of_batch, 1);
            for (int b = 1; b < a; b++)
                assert_true(codewords_of(online)[a] != codewords_of(online)[b]);
            assert_true(fabs(vq_online_counts(online)[a] - (double)N / K) < 1e-9);
        }
        for (int u = 0; u < 3; u++) {
            assert_ok(vq_online_update(online, NULL, &report, x, N, NULL, 0));
            for (int a = 0; a < K; a++)
                assert_true(fabsf(codewords_of(online)[a]) < 5);
            assert_in_range(report.used, K - 1, K); /* the oldest may lose its rows to them */
            assert_int_equal(report.revived, 0);
        }
        vq_online_free(online);
    }
}

/* More dead codes than rows that help: as many as can be; rows of no weight and served rows do not help. */
static void test_few_rows_to_move_to(void **state)
{
    (void)state;
    const float codewords[5] = {0, 1000, 2000, 3000, 4000}, x[4] = {0, 0, 7, 8},
                weights[4] = {1, 1, 1, 0};
    vq_online_opts opts = VQ_ONLINE_OPTS_INIT;
    opts.decay = -1;
    opts.patience = 1;
    vq_online *online = online_of(codewords, 5, 1, VQ_METRIC_EUCLIDEAN, &opts);
    vq_online_report report;
    assert_ok(vq_online_update(online, NULL, &report, x, 2, weights, 0));
    assert_int_equal(report.revived, 0); /* every row is its codeword already */
    assert_int_equal(report.dying, 4);
    assert_ok(vq_online_update(online, NULL, &report, x, 4, weights, 0));
    assert_int_equal(report.revived, 1);
    assert_int_equal(report.dying, 3);
    assert_true(codewords_of(online)[1] == 7 && codewords_of(online)[2] == 2000);
    vq_online_free(online);
}

/* No weight, no update. Whole-number weights are copies of rows. */
static void test_weights(void **state)
{
    (void)state;
    enum { N = 200, D = 2, K = 4 };
    float *x = make_rows(N, D, 3), copies[3 * N * D], weights[N], none[N] = {0};
    size_t count = 0;
    for (int i = 0; i < N; i++) {
        weights[i] = (float)(i % 4);
        for (int j = 0; j < i % 4; j++)
            memcpy(copies + D * count++, x + i * D, D * sizeof *x);
    }
    vq_online *a = online_of(x, K, D, VQ_METRIC_EUCLIDEAN, NULL),
              *b = online_of(x, K, D, VQ_METRIC_EUCLIDEAN, NULL);
    for (int u = 0; u < 50; u++) {
        vq_online_report of_a, of_b;
        uint32_t codes[N];
        assert_ok(vq_online_update(a, codes, &of_a, x, N, weights, 0));
        assert_ok(vq_online_update(b, NULL, &of_b, copies, count, NULL, 0));
        assert_true(fabs(of_a.mse - of_b.mse) < 1e-9 * of_a.mse);
        assert_ok(vq_online_update(a, codes, &of_a, x, N, none, 0));
        assert_ok(vq_online_update(a, NULL, &of_a, NULL, 0, NULL, 0));
        assert_int_equal(of_a.updates, u + 1);
        assert_ok(vq_nearest(codes, NULL, vq_online_codebook(a), x, N, NULL));
    }
    for (int i = 0; i < K * D; i++)
        assert_true(fabsf(codewords_of(a)[i] - codewords_of(b)[i]) < 1e-5f);
    vq_online_free(a);
    vq_online_free(b);
    free(x);
}

static void assert_same_state(const vq_online *a, const vq_online *b)
{
    vq_tensors *of_a, *of_b;
    assert_ok(vq_tensors_create(&of_a));
    assert_ok(vq_tensors_create(&of_b));
    assert_ok(vq_online_save(of_a, a, ""));
    assert_ok(vq_online_save(of_b, b, ""));
    for (size_t i = 0; i < vq_tensors_count(of_a); i++) {
        const vq_tensor *t = vq_tensors_at(of_a, i), *u = vq_tensors_find(of_b, t->name);
        assert_non_null(u);
        assert_int_equal(t->count, u->count);
        assert_memory_equal(t->data, u->data, t->count * vq_dtype_size(t->dtype));
    }
    for (size_t i = 0;; i++) {
        const char *key, *value;
        if (vq_tensors_setting_at(&key, &value, of_a, i))
            break;
        assert_string_equal(value, vq_tensors_get(of_b, key));
    }
    vq_tensors_free(of_a);
    vq_tensors_free(of_b);
}

static vq_online *saved_and_loaded(vq_online *online)
{
    vq_tensors *tensors;
    vq_online *loaded;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_online_save(tensors, online, "state."));
    assert_status(VQ_E_ARG, vq_online_save(tensors, online, "state."));
    assert_ok(vq_online_load(&loaded, tensors, "state.", NULL));
    vq_tensors_free(tensors);
    vq_online_free(online);
    return loaded;
}

/* Threads, instruction sets, and a save and a load between any two updates change no bit. */
static void test_same_on_any_machine_and_resumed(void **state)
{
    (void)state;
    enum { N = 4000, D = 70, K = 40, UPDATES = 8 }; /* enough to share out sums */
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    float *x = make_rows(N * UPDATES, D, 9), codewords[K * D];
    memcpy(codewords, x, sizeof codewords);
    for (int i = 20 * D; i < K * D; i++)
        codewords[i] += 500; /* to be revived */
    for (vq_metric metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++) {
        vq_online_opts opts = VQ_ONLINE_OPTS_INIT;
        opts.decay = 0.3;
        opts.patience = 2;
        vq_online *first = NULL;
        for (int kind = 0; kind < 6; kind++) {
            vq_online *online = online_of(codewords, K, D, metric, &opts);
            uint32_t revived = 0;
            vq_cpu_set_mask(masks[kind % 3]);
            for (int u = 0; u < UPDATES; u++) {
                vq_online_report report;
                if (kind > 3)
                    online = saved_and_loaded(online);
                assert_ok(vq_online_update(online, NULL, &report, x + u * N * D, N, NULL,
                                           1 + kind % 3 * 3));
                revived += report.revived;
            }
            vq_cpu_set_mask(UINT32_MAX);
            assert_true(metric == VQ_METRIC_COSINE || revived > 0);
            if (first) {
                assert_same_state(first, online);
                vq_online_free(online);
            } else
                first = online;
        }
        vq_online_free(first);
    }
    free(x);
}

/* On data that does not move it reaches what k-means reaches, and it follows data that does. */
static void test_learns(void **state)
{
    (void)state;
    enum { N = 16384, D = 4, K = 64, ROWS = 1024 };
    float *x = make_rows(N, D, 31);
    vq_codebook *codebook;
    vq_kmeans_report kmeans;
    vq_kmeans_opts opts = options(K);
    assert_ok(vq_kmeans_train(&codebook, &kmeans, x, N, D, &opts));
    vq_online *online;
    assert_ok(vq_online_create_from_batch(&online, x, ROWS, D, NULL, K, VQ_METRIC_EUCLIDEAN, NULL));
    vq_online_report report;
    double mse = 0;
    for (int u = 0; u < 40 * N / ROWS; u++) {
        assert_ok(
            vq_online_update(online, NULL, &report, x + u % (N / ROWS) * ROWS * D, ROWS, NULL, 0));
        mse += u >= 39 * N / ROWS ? report.mse / (N / ROWS) : 0;
    }
    print_message("k-means %.5f, online %.5f\n", kmeans.mse[kmeans.iterations], mse);
    assert_true(mse < 1.05 * kmeans.mse[kmeans.iterations]);
    for (int i = 0; i < N * D; i++)
        x[i] = x[i] + 3;
    for (int u = 0; u < 1500; u++)
        assert_ok(
            vq_online_update(online, NULL, &report, x + u % (N / ROWS) * ROWS * D, ROWS, NULL, 0));
    assert_true(report.mse < 1.1 * kmeans.mse[kmeans.iterations]);
    vq_codebook *half;
    assert_ok(vq_online_snapshot(&half, online, VQ_DTYPE_F16));
    assert_int_equal(vq_codebook_storage(half), VQ_DTYPE_F16);
    for (int i = 0; i < K * D; i++)
        assert_true(vq_codebook_codewords(half)[i] ==
                    vq_f16_to_f32(vq_f32_to_f16(codewords_of(online)[i])));
    vq_codebook_free(half);
    vq_codebook_free(codebook);
    vq_kmeans_report_clear(&kmeans);
    vq_online_free(online);
    free(x);
}

static void test_bad_arguments(void **state)
{
    (void)state;
    const float codewords[4] = {1, 2, 3, 4};
    float x[4] = {1, 1, 2, 2}, weights[2] = {1, 1};
    vq_codebook *euclidean = codebook_of(codewords, 2, 2, VQ_METRIC_EUCLIDEAN),
                *dot = codebook_of(codewords, 2, 2, VQ_METRIC_DOT);
    vq_online *out = (vq_online *)&out;
    vq_online_opts opts;
    assert_status(VQ_E_ARG, vq_online_create(&out, dot, NULL));
    assert_null(out);
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        opts = (vq_online_opts)VQ_ONLINE_OPTS_INIT;                                                \
        opts.field = (value);                                                                      \
        assert_status(VQ_E_ARG, vq_online_create(&out, euclidean, &opts));                         \
        assert_null(out);                                                                          \
        assert_non_null(strstr(vq_last_error(), "vq_online_opts." #field));                        \
    } while (0)
    REFUSED(struct_size, 1);
    REFUSED(decay, 1.0);
    REFUSED(decay, (double)NAN);
    REFUSED(epsilon, (double)INFINITY);
    REFUSED(threshold, 1.5);
    REFUSED(threshold, (double)NAN);
#undef REFUSED
    assert_status(VQ_E_ARG,
                  vq_online_create_from_batch(&out, x, 2, 2, NULL, 3, VQ_METRIC_EUCLIDEAN, NULL));
    assert_null(out);

    vq_online *same = online_of(codewords, 2, 2, VQ_METRIC_EUCLIDEAN, NULL);
    assert_ok(vq_online_create(&out, euclidean, NULL));
    assert_ok(vq_online_update(out, NULL, NULL, x, 2, weights, 0));
    assert_ok(vq_online_update(same, NULL, NULL, x, 2, weights, 0));
    assert_status(VQ_E_ARG, vq_online_update(out, NULL, NULL, x, 2, NULL, -1));
    assert_status(VQ_E_ARG, vq_online_update(out, NULL, NULL, NULL, 2, NULL, 0));
    weights[1] = -1;
    assert_status(VQ_E_ARG, vq_online_update(out, NULL, NULL, x, 2, weights, 0));
    assert_non_null(strstr(vq_last_error(), "weight 1"));
    weights[1] = NAN;
    assert_status(VQ_E_NONFINITE, vq_online_update(out, NULL, NULL, x, 2, weights, 0));
    x[3] = INFINITY;
    assert_status(VQ_E_NONFINITE, vq_online_update(out, NULL, NULL, x, 2, NULL, 0));
    assert_non_null(strstr(vq_last_error(), "row 1"));
    x[3] = 3e38f;
    assert_status(VQ_E_NONFINITE, vq_online_update(out, NULL, NULL, x, 2, NULL, 0));
    assert_same_state(out, same);
    vq_online_free(out);
    vq_online_free(same);
    vq_codebook_free(euclidean);
    vq_codebook_free(dot);
}

/* A set with one thing wrong in it is refused, whatever it is. */
static void test_bad_state(void **state)
{
    (void)state;
    const float codewords[4] = {1, 2, 3, 4};
    vq_online *online = online_of(codewords, 2, 2, VQ_METRIC_COSINE, NULL), *out;
    static const char *const settings[][3] = {
        {"state", "vq_offline"}, {"metric", "dot"}, {"version", "0"},       {"version", "x"},
        {"patience", "0"},       {"seed", "-1"},    {"updates", "nothing"},
    };
    static const struct {
        const char *name;
        double value;
    } numbers[] = {{"counts", -1}, {"counts", INFINITY}, {"counts", NAN}, {"sums", NAN},
                   {"rates", 1},   {"rates", NAN},       {"counts", 0}};
    vq_tensors *tensors;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        assert_ok(vq_tensors_create(&tensors));
        assert_ok(vq_online_save(tensors, online, ""));
        assert_ok(vq_tensors_set(tensors, settings[i][0], settings[i][1]));
        assert_status(VQ_E_FORMAT, vq_online_load(&out, tensors, "", NULL));
        assert_null(out);
        assert_status(VQ_E_FORMAT, vq_online_load(&out, tensors, "other.", NULL));
        vq_tensors_free(tensors);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_ok(vq_tensors_create(&tensors));
        assert_ok(vq_online_save(tensors, online, ""));
        double *data = vq_tensors_find(tensors, numbers[i].name)->data;
        data[0] = numbers[i].value;
        if (numbers[i].value == 0)
            data[1] = 0;
        assert_status(VQ_E_FORMAT, vq_online_load(&out, tensors, "", NULL));
        assert_null(out);
        vq_tensors_free(tensors);
    }
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_online_save(tensors, online, ""));
    float *saved = vq_tensors_find(tensors, "codewords")->data;
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_codewords = 1;
    assert_status(VQ_E_LIMIT, vq_online_load(&out, tensors, "", &limits));
    saved[0] += 1; /* no unit vector any more */
    assert_status(VQ_E_FORMAT, vq_online_load(&out, tensors, "", NULL));
    saved[0] = NAN;
    assert_status(VQ_E_FORMAT, vq_online_load(&out, tensors, "", NULL));
    assert_ok(vq_tensors_set(tensors, "version", "2"));
    assert_status(VQ_E_VERSION, vq_online_load(&out, tensors, "", NULL));
    vq_tensors_free(tensors);
    vq_online_free(online);
}

typedef struct scene {
    const float *x;
    vq_metric metric;
} scene;

static vq_status live(void *context)
{
    const scene *s = context;
    vq_online *online = NULL, *loaded = NULL;
    vq_tensors *tensors = NULL;
    vq_codebook *codebook = NULL;
    vq_status status = vq_online_create_from_batch(&online, s->x, 20, 2, NULL, 4, s->metric, NULL);
    if (!status)
        status = vq_online_update(online, NULL, NULL, s->x, 10, NULL, 1);
    if (!status)
        status = vq_online_update(online, NULL, NULL, s->x, 20, NULL, 1);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_online_save(tensors, online, "o.");
    if (!status)
        status = vq_online_load(&loaded, tensors, "o.", NULL);
    if (!status)
        status = vq_online_snapshot(&codebook, online, VQ_DTYPE_BF16);
    vq_codebook_free(codebook);
    vq_tensors_free(tensors);
    vq_online_free(online);
    vq_online_free(loaded);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    float *x = make_rows(40, 2, 6);
    for (vq_metric metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++) {
        scene s = {x, metric};
        test_allocation_failures(live, &s);
        /* An update that failed for want of memory left the state as it was. */
        vq_online *online = online_of(x + 2, 5, 2, metric, NULL),
                  *same = online_of(x + 2, 5, 2, metric, NULL);
        for (int rows = 5; rows <= 40; rows += 5) {
            for (long i = 0;; i++) {
                test_allocator a = {0, 0, i, false};
                const vq_allocator allocator = {failing_alloc, failing_free, &a};
                vq_set_allocator(&allocator);
                const vq_status status =
                    vq_online_update(online, NULL, NULL, x, (size_t)rows, NULL, 1);
                vq_set_allocator(NULL);
                if (!status)
                    break;
                assert_int_equal(status, VQ_E_NOMEM);
                assert_same_state(online, same);
            }
            assert_ok(vq_online_update(same, NULL, NULL, x, (size_t)rows, NULL, 1));
            assert_same_state(online, same);
        }
        vq_online_free(online);
        vq_online_free(same);
    }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_unused_code_stays),
        cmocka_unit_test(test_dead_codes_are_revived),
        cmocka_unit_test(test_revival_survives),
        cmocka_unit_test(test_few_rows_to_move_to),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_same_on_any_machine_and_resumed),
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_bad_state),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
