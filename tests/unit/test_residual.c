/* SPDX-License-Identifier: Apache-2.0 */
/* The residual quantizer: its interface, its properties on data, and its training. */
#include "parts_support.h"

enum { N = 2500, D = 11, LEVELS = 4 };

static const uint32_t sizes[LEVELS] = {32, 8, 16, 5};

static vq_residual_train_opts options(void)
{
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = LEVELS;
    opts.k = sizes;
    opts.kmeans.max_iterations = 6;
    opts.kmeans.seed = 40;
    return opts;
}

static vq_quantizer *train(const float *x)
{
    const vq_residual_train_opts opts = options();
    vq_quantizer *q;
    assert_ok(vq_residual_train(&q, x, N, D, &opts));
    return q;
}

static void assert_equal(const vq_quantizer *a, const vq_quantizer *b)
{
    assert_int_equal(vq_quantizer_levels(a), vq_quantizer_levels(b));
    for (uint32_t l = 0; l < vq_quantizer_levels(a); l++) {
        const vq_codebook *one = vq_quantizer_codebook(a, l), *two = vq_quantizer_codebook(b, l);
        assert_int_equal(vq_codebook_k(one), vq_codebook_k(two));
        assert_int_equal(vq_codebook_storage(one), vq_codebook_storage(two));
        assert_memory_equal(vq_codebook_codewords(one), vq_codebook_codewords(two),
                            (size_t)vq_codebook_k(one) * vq_codebook_dim(one) * sizeof(float));
    }
}

static vq_codebook *codebook_of(const float *codewords, uint32_t k, uint32_t d, vq_metric metric)
{
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, codewords, k, d, metric, VQ_DTYPE_F32));
    return codebook;
}

static void test_by_hand(void **state)
{
    (void)state;
    const float coarse[4] = {0, 0, 10, 10}, fine[6] = {0, 1, 1, 0, -2, -2};
    vq_codebook *codebooks[2] = {codebook_of(coarse, 2, 2, VQ_METRIC_EUCLIDEAN),
                                 codebook_of(fine, 3, 2, VQ_METRIC_EUCLIDEAN)};
    vq_quantizer *q;
    assert_ok(vq_residual_create(&q, codebooks, 2));
    assert_string_equal(vq_quantizer_kind(q), "residual");
    assert_int_equal(vq_quantizer_dim(q), 2);
    assert_int_equal(vq_quantizer_levels(q), 2);
    assert_int_equal(vq_quantizer_k(q, 0), 2);
    assert_int_equal(vq_quantizer_k(q, 1), 3);
    assert_int_equal(vq_quantizer_k(q, 2), 0);
    assert_ptr_equal(vq_quantizer_codebook(q, 1), codebooks[1]);
    assert_null(vq_quantizer_codebook(q, 2));
    const float x[8] = {8,  8,  0.9f, 0.2f,
                        10, 11, 5,    5}; /* the last is as near to both: the lower */
    uint32_t codes[8];
    float decoded[8];
    assert_ok(vq_quantize(codes, q, x, 4, NULL));
    const uint32_t expected[8] = {1, 2, 0, 1, 1, 0, 0, 0};
    assert_memory_equal(codes, expected, sizeof codes);
    assert_ok(vq_dequantize(decoded, q, codes, 4, NULL));
    const float sums[8] = {8, 8, 1, 0, 10, 11, 0, 1};
    assert_memory_equal(decoded, sums, sizeof decoded);
    const float fines[8] = {-2, -2, 1, 0, 0, 1, 0, 1};
    assert_ok(vq_residual_sum(decoded, q, codes, 4, 2, 1, 2));
    assert_memory_equal(decoded, fines, sizeof decoded);
    assert_ok(vq_residual_sum(decoded, q, codes, 4, 2, 0, 2));
    assert_memory_equal(decoded, sums, sizeof decoded);
    assert_status(VQ_E_ARG, vq_residual_sum(decoded, q, codes, 4, 2, 1, 1));
    assert_status(VQ_E_ARG, vq_residual_sum(decoded, q, codes, 4, 2, 0, 3));
    assert_status(VQ_E_ARG, vq_residual_sum(decoded, q, codes, 4, 3, 0, 1));
    codes[3] = 3;
    assert_status(VQ_E_RANGE, vq_residual_sum(decoded, q, codes, 4, 2, 0, 2));
    vq_quantizer_free(q);
}

static void test_bad_stacks(void **state)
{
    (void)state;
    const float zeros[6] = {1, 0, 0, 1, 0, 0};
    vq_codebook *two = codebook_of(zeros, 2, 2, VQ_METRIC_EUCLIDEAN),
                *three = codebook_of(zeros, 2, 3, VQ_METRIC_EUCLIDEAN),
                *cosine = codebook_of(zeros, 2, 2, VQ_METRIC_COSINE);
    vq_quantizer *q = (vq_quantizer *)&q;
    assert_status(VQ_E_ARG, vq_residual_create(&q, &two, 0));
    assert_null(q);
    vq_codebook *uneven[2] = {two, three}, *mixed[2] = {two, cosine}, *many[VQ_MAX_LEVELS + 1];
    assert_status(VQ_E_ARG, vq_residual_create(&q, uneven, 2));
    assert_status(VQ_E_ARG, vq_residual_create(&q, mixed, 2));
    for (int l = 0; l <= VQ_MAX_LEVELS; l++)
        many[l] = two;
    assert_status(VQ_E_ARG, vq_residual_create(&q, many, VQ_MAX_LEVELS + 1));
    vq_codebook_free(two);
    vq_codebook_free(three);
    vq_codebook_free(cosine);
}

/* It carries frequencies, which files hold beside the codebooks. */
static void test_contract(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 1);
    uint32_t *codes = parts_alloc((size_t)N * LEVELS, sizeof *codes);
    vq_quantizer *q = train(x);
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    assert_non_null(vq_quantizer_frequencies(q, 0));
    check_prefixes(q, x, N);
    check_sameness(q, x, N);
    check_saving(q, x, N);
    check_refusals(q, x, N);
    check_bad_files(q);
    opts.workspace = codes; /* aligned or not, far too small */
    opts.workspace_size = 64;
    assert_status(VQ_E_ARG, vq_quantize(codes, q, x, N, &opts));
    vq_quantizer_free(q);
    free(x);
    free(codes);
}

/* Encoding and decoding with the first m levels is cutting the codes of all levels to m. */
static void test_prefixes(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 2), *decoded = malloc((size_t)N * D * sizeof *decoded),
          *sum = calloc((size_t)N * D, sizeof *sum);
    uint32_t *all = malloc((size_t)N * LEVELS * sizeof *all),
             *codes = malloc((size_t)N * LEVELS * sizeof *codes);
    assert_true(decoded && sum && all && codes);
    vq_quantizer *q = train(x);
    assert_ok(vq_quantize(all, q, x, N, NULL));
    double last = INFINITY;
    for (uint32_t m = 1; m <= LEVELS; m++) {
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        opts.levels = m;
        assert_ok(vq_quantize(codes, q, x, N, &opts));
        assert_ok(vq_dequantize(decoded, q, codes, N, &opts));
        const float *codewords = vq_codebook_codewords(vq_quantizer_codebook(q, m - 1));
        double error = 0;
        for (size_t i = 0; i < N; i++) {
            assert_memory_equal(codes + i * m, all + i * LEVELS, m * sizeof *codes);
            for (size_t j = 0; j < D; j++) {
                sum[i * D + j] += codewords[codes[i * m + m - 1] * D + j];
                assert_true(decoded[i * D + j] == sum[i * D + j]);
                const double t = (double)x[i * D + j] - (double)decoded[i * D + j];
                error += t * t;
            }
        }
        assert_true(error < last); /* on the training data each level helps */
        last = error;
    }
    vq_quantizer_free(q);
    free(x);
    free(decoded);
    free(sum);
    free(all);
    free(codes);
}

static void test_same_on_any_machine(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7};
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    enum { ROWS = 20000 }; /* more than one chunk */
    float *x = parts_rows(ROWS, D, 3), *decoded = malloc((size_t)ROWS * D * sizeof *decoded),
          *first_decoded = malloc((size_t)ROWS * D * sizeof *decoded);
    uint32_t *codes = malloc((size_t)ROWS * LEVELS * sizeof *codes),
             *first_codes = malloc((size_t)ROWS * LEVELS * sizeof *codes);
    assert_true(decoded && first_decoded && codes && first_codes);
    vq_quantizer *first = train(x);
    assert_ok(vq_quantize(first_codes, first, x, ROWS, NULL));
    assert_ok(vq_dequantize(first_decoded, first, first_codes, ROWS, NULL));
    for (int m = 0; m < 3; m++)
        for (int t = 0; t < 3; t++) {
            vq_cpu_set_mask(masks[m]);
            vq_residual_train_opts opts = options();
            opts.kmeans.threads = threads[t];
            vq_quantizer *q;
            assert_ok(vq_residual_train(&q, x, N, D, &opts));
            assert_equal(q, first);
            vq_quantize_opts own = VQ_QUANTIZE_OPTS_INIT;
            own.threads = threads[t];
            assert_ok(vq_quantize(codes, q, x, ROWS, &own));
            assert_ok(vq_dequantize(decoded, q, codes, ROWS, &own));
            vq_cpu_set_mask(UINT32_MAX);
            assert_memory_equal(codes, first_codes, (size_t)ROWS * LEVELS * sizeof *codes);
            assert_memory_equal(decoded, first_decoded, (size_t)ROWS * D * sizeof *decoded);
            vq_quantizer_free(q);
        }
    vq_quantizer_free(first);
    free(x);
    free(decoded);
    free(first_decoded);
    free(codes);
    free(first_codes);
}

static void test_save_and_load(void **state)
{
    (void)state;
    static const vq_dtype types[] = {VQ_DTYPE_F32, VQ_DTYPE_F16, VQ_DTYPE_BF16};
    float *x = parts_rows(N, D, 5);
    for (int type = 0; type < 3; type++) {
        vq_residual_train_opts opts = options();
        opts.kmeans.storage = types[type];
        vq_quantizer *q, *again;
        vq_tensors *tensors;
        assert_ok(vq_residual_train(&q, x, N, D, &opts));
        check_saving(q, x, N);
        tensors = parts_saved(q, "inner.");
        const vq_tensor *level = vq_tensors_find(tensors, "inner.codebook.3");
        assert_non_null(level);
        assert_int_equal(level->dtype, types[type]);
        assert_int_equal(level->shape[0], sizes[3]);
        vq_quantizer_free(q);
        /* A file may claim what a stack cannot be. */
        assert_ok(vq_tensors_set(tensors, "inner.metric", "cosine"));
        assert_status(VQ_E_FORMAT, vq_quantizer_load(&again, tensors, "inner.", NULL));
        assert_null(again);
        vq_tensors_free(tensors);
    }
    free(x);
}

typedef struct watcher {
    uint32_t calls, stop_at;
    vq_tensors *saved;
} watcher;

static int watch(void *context, uint32_t level, const vq_quantizer *so_far,
                 const vq_kmeans_report *report)
{
    watcher *w = context;
    w->calls++;
    assert_int_equal(vq_quantizer_levels(so_far), level + 1);
    assert_true(report->mse[report->iterations] > 0);
    assert_int_equal(report->used + report->dead, sizes[level]);
    if (w->calls != w->stop_at)
        return 0;
    assert_ok(vq_tensors_create(&w->saved));
    assert_ok(vq_quantizer_save(w->saved, so_far, ""));
    return 1;
}

/* Stopping after any level, saving, loading and going on is the same as never stopping. */
static void test_resume(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 6);
    vq_quantizer *q = train(x);
    for (uint32_t stop = 1; stop <= LEVELS; stop++) {
        watcher w = {0, stop, NULL};
        vq_residual_train_opts opts = options();
        opts.level_done = watch;
        opts.level_context = &w;
        vq_quantizer *part, *whole;
        assert_status(VQ_E_CANCELLED, vq_residual_train(&part, x, N, D, &opts));
        assert_null(part);
        assert_int_equal(w.calls, stop);
        assert_ok(vq_quantizer_load(&part, w.saved, "", NULL));
        opts.resume = part;
        w.stop_at = 0;
        assert_ok(vq_residual_train(&whole, x, N, D, &opts));
        assert_int_equal(w.calls, LEVELS);
        assert_equal(whole, q);
        vq_quantizer_free(part);
        vq_quantizer_free(whole);
        vq_tensors_free(w.saved);
    }
    vq_quantizer_free(q);
    free(x);
}

static void test_bad_training(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 7);
    const uint32_t other_sizes[LEVELS] = {32, 9, 16, 5};
    vq_quantizer *q = train(x), *flat, *out = (vq_quantizer *)&out;
    vq_codebook *codebook = codebook_of(x, 2, D, VQ_METRIC_EUCLIDEAN);
    assert_ok(vq_quantizer_from_codebook(&flat, codebook));
#define REFUSED(expected, change)                                                                  \
    do {                                                                                           \
        vq_residual_train_opts opts = options();                                                   \
        change;                                                                                    \
        assert_status(expected, vq_residual_train(&out, x, N, D, &opts));                          \
        assert_null(out);                                                                          \
    } while (0)
    REFUSED(VQ_E_ARG, opts.levels = VQ_MAX_LEVELS + 1);
    REFUSED(VQ_E_ARG, opts.struct_size = 0);
    REFUSED(VQ_E_ARG, opts.kmeans.seeds = x);
    REFUSED(VQ_E_ARG, opts.kmeans.metric = VQ_METRIC_COSINE);
    REFUSED(VQ_E_ARG, opts.kmeans.threads = -1);
    REFUSED(VQ_E_ARG, opts.k = NULL); /* and kmeans.k is 0 */
    REFUSED(VQ_E_ARG, opts.resume = flat);
    REFUSED(VQ_E_ARG, (opts.resume = q, opts.levels = LEVELS - 1));
    REFUSED(VQ_E_ARG, (opts.resume = q, opts.k = other_sizes));
    x[5] = NAN;
    REFUSED(VQ_E_NONFINITE, (void)0);
    REFUSED(VQ_E_NONFINITE, opts.resume = q);
#undef REFUSED
    x[5] = 0;
    const vq_residual_train_opts opts = options();
    assert_status(VQ_E_ARG, vq_residual_train(&out, x, 0, D, &opts));
    assert_status(VQ_E_ARG, vq_residual_train(&out, x, N, 0, &opts));
    assert_status(VQ_E_ARG, vq_residual_train(&out, NULL, N, D, &opts));
    assert_status(VQ_E_ARG, vq_residual_train(&out, x, 31, D, &opts));
    vq_residual_train_opts other = options();
    other.resume = q;
    assert_status(VQ_E_ARG, vq_residual_train(&out, x, N, D - 1, &other));
    vq_quantizer_free(q);
    vq_quantizer_free(flat);
    free(x);
}

/* More levels than the data has anything left for: residuals of 0, dead codes, no failure. */
static void test_nothing_left(void **state)
{
    (void)state;
    const float x[6] = {1, 2, 5, 1, 9, 9};
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.kmeans.k = 3;
    vq_quantizer *q;
    uint32_t codes[12];
    float decoded[6];
    assert_ok(vq_residual_train(&q, x, 3, 2, &opts));
    assert_int_equal(vq_quantizer_levels(q), 4); /* the default */
    assert_ok(vq_quantize(codes, q, x, 3, NULL));
    assert_ok(vq_dequantize(decoded, q, codes, 3, NULL));
    assert_memory_equal(decoded, x, sizeof x);
    vq_quantizer_free(q);
}

static int keep_going(void *context, uint32_t level, const vq_quantizer *so_far,
                      const vq_kmeans_report *report)
{
    (void)context;
    (void)report;
    return vq_quantizer_levels(so_far) != level + 1;
}

static vq_status train_and_resume(vq_quantizer **out, const parts_life *life)
{
    static const uint32_t two[2] = {3, 2};
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = 1;
    opts.k = two;
    opts.level_done = keep_going;
    vq_quantizer *first = NULL;
    vq_status status = vq_residual_train(&first, life->x, life->n, 2, &opts);
    opts.levels = 2;
    opts.resume = first;
    if (!status)
        status = vq_residual_train(out, life->x, life->n, 2, &opts);
    vq_quantizer_free(first);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    static const float x[16] = {1, 2, 3, 4, 1, 7, 2, 9, 4, 1, 0, 1, 5, 5, 8, 1};
    check_no_memory((parts_life){.make = train_and_resume, .x = x, .n = 8});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_bad_stacks),
        cmocka_unit_test(test_contract),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_same_on_any_machine),
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_bad_training),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
