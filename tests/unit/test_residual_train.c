/* SPDX-License-Identifier: Apache-2.0 */
/* Training of the residual quantizer: what it reaches, refits, and the shared codebook. */
#include <math.h>

#include "rvq/residual.h"
#include "test_support.h"

static void assert_same_quantizer(const vq_quantizer *a, const vq_quantizer *b)
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

/* Independent Gaussians, by Box and Muller. */
static float *make_gaussian(size_t n, uint32_t d, uint64_t seed)
{
    float *x = malloc((n * d + 1) * sizeof *x);
    for (size_t i = 0; i < n * d; i += 2) {
        const double radius = sqrt(-2 * log(1 - test_uniform(&seed))),
                     angle = 6.283185307179586 * test_uniform(&seed);
        x[i] = (float)(radius * cos(angle));
        x[i + 1] = (float)(radius * sin(angle));
    }
    return x;
}

static double mean_error(const vq_quantizer *q, const float *x, size_t n, uint32_t levels,
                         uint32_t beam)
{
    const size_t d = vq_quantizer_dim(q);
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = levels;
    opts.beam = beam;
    uint32_t *codes = malloc(n * vq_quantizer_levels(q) * sizeof *codes);
    float *decoded = malloc(n * d * sizeof *decoded);
    double error = 0;
    assert_ok(vq_quantize(codes, q, x, n, &opts));
    assert_ok(vq_dequantize(decoded, q, codes, n, &opts));
    for (size_t i = 0; i < n * d; i++)
        error += ((double)x[i] - decoded[i]) * ((double)x[i] - decoded[i]);
    free(codes);
    free(decoded);
    return error / (double)(n * d);
}

/* Distortion of Gaussian rows, d = 8, that a good trainer reaches; it falls with every level and with the beam. */
static void test_known_answers(void **state)
{
    (void)state;
    enum { ROWS = 200000, FRESH = 40000, WIDE = 8 };
    static const struct {
        uint32_t levels, k;
        double greedy, beam;
    } known[] = {{2, 256, 0.1065, 0.0967}, {4, 16, 0.1317, 0.1026}};
    float *x = make_gaussian(ROWS, WIDE, 5), *fresh = make_gaussian(FRESH, WIDE, 6);
    for (size_t i = 0; i < 2; i++) {
        vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
        opts.levels = known[i].levels;
        opts.kmeans.k = known[i].k;
        opts.kmeans.max_iterations = 40;
        opts.kmeans.tolerance = -1;
        opts.kmeans.seeding = VQ_SEEDING_RANDOM;
        opts.inner_seeds = 1;
        vq_quantizer *q;
        assert_ok(vq_residual_train(&q, x, ROWS, WIDE, &opts));
        const double greedy = mean_error(q, fresh, FRESH, 0, 1),
                     beam = mean_error(q, fresh, FRESH, 0, 16);
        print_message("%u x %u: greedy %.4f, beam 16 %.4f\n", known[i].levels, known[i].k, greedy,
                      beam);
        assert_true(fabs(greedy / known[i].greedy - 1) < 0.01);
        assert_true(fabs(beam / known[i].beam - 1) < 0.01);
        double last = INFINITY;
        for (uint32_t levels = 1; levels <= known[i].levels; levels++) {
            const double error = mean_error(q, fresh, FRESH, levels, 4);
            assert_true(error < last);
            last = error;
        }
        vq_quantizer_free(q);
    }
    free(x);
    free(fresh);
}

/* Refits lower the error of the rows, and of others; the same on any number of threads; frequencies are the codes'. */
static void test_refit(void **state)
{
    (void)state;
    enum { ROWS = 6000, WIDE = 10 };
    float *x = make_gaussian(ROWS, WIDE, 7), *fresh = make_gaussian(ROWS, WIDE, 8);
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = 4;
    opts.kmeans.k = 24;
    opts.kmeans.seeding = VQ_SEEDING_RANDOM;
    opts.inner_seeds = 1;
    opts.beam = 4;
    vq_quantizer *plain, *better, *again;
    assert_ok(vq_residual_train(&plain, x, ROWS, WIDE, &opts));
    opts.refits = 3;
    opts.kmeans.threads = 1;
    assert_ok(vq_residual_train(&better, x, ROWS, WIDE, &opts));
    opts.kmeans.threads = 3;
    assert_ok(vq_residual_train(&again, x, ROWS, WIDE, &opts));
    assert_same_quantizer(better, again);
    assert_true(mean_error(better, x, ROWS, 0, 4) < 0.97 * mean_error(plain, x, ROWS, 0, 4));
    assert_true(mean_error(better, fresh, ROWS, 0, 4) <
                0.98 * mean_error(plain, fresh, ROWS, 0, 4));
    for (uint32_t l = 0; l < 4; l++) {
        uint64_t sum = 0;
        for (uint32_t c = 0; c < 24; c++)
            sum += vq_quantizer_frequencies(better, l)[c];
        assert_int_equal(sum, ROWS);
    }
    vq_quantizer_free(plain);
    vq_quantizer_free(better);
    vq_quantizer_free(again);
    free(x);
    free(fresh);
}

/* Levels that are trained on what all prefixes leave do better on rows that were not there; whatever the threads, and whether
 * rows count once or have weights of 1. */
static void test_prefixes(void **state)
{
    (void)state;
    enum { ROWS = 3000, WIDE = 16 };
    float *x = make_gaussian(ROWS, WIDE, 9), *fresh = make_gaussian(ROWS, WIDE, 10), ones[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        ones[i] = 1;
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = 4;
    opts.kmeans.k = 64;
    opts.kmeans.seeding = VQ_SEEDING_RANDOM;
    opts.beam = 4;
    vq_quantizer *plain, *better, *again;
    assert_ok(vq_residual_train(&plain, x, ROWS, WIDE, &opts));
    opts.prefixes = 4;
    opts.kmeans.threads = 1;
    assert_ok(vq_residual_train(&better, x, ROWS, WIDE, &opts));
    opts.kmeans.threads = 3;
    opts.kmeans.weights = ones;
    assert_ok(vq_residual_train(&again, x, ROWS, WIDE, &opts));
    assert_same_quantizer(better, again);
    assert_true(mean_error(better, fresh, ROWS, 0, 4) <
                0.99 * mean_error(plain, fresh, ROWS, 0, 4));
    vq_quantizer_free(plain);
    vq_quantizer_free(better);
    vq_quantizer_free(again);
    opts.prefixes = 5;
    assert_status(VQ_E_ARG, vq_residual_train(&plain, x, ROWS, WIDE, &opts));
    opts.beam = 0;
    opts.prefixes = 2;
    assert_status(VQ_E_ARG, vq_residual_train(&plain, x, ROWS, WIDE, &opts));
    free(x);
    free(fresh);
}

/* One codebook for all levels: stored once, and it decodes as it did. */
static void test_shared(void **state)
{
    (void)state;
    enum { ROWS = 4000, WIDE = 6 };
    float *x = make_gaussian(ROWS, WIDE, 9);
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = 3;
    opts.kmeans.k = 50;
    opts.kmeans.seeding = VQ_SEEDING_RANDOM;
    opts.inner_seeds = 1;
    opts.shared = 1;
    vq_quantizer *q, *again;
    assert_ok(vq_residual_train(&q, x, ROWS, WIDE, &opts));
    assert_ptr_equal(vq_quantizer_codebook(q, 0), vq_quantizer_codebook(q, 2));
    assert_int_equal(vq_quantizer_k(q, 1), 50);
    assert_true(mean_error(q, x, ROWS, 0, 1) < mean_error(q, x, ROWS, 1, 1) / 2);
    vq_tensors *tensors;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_quantizer_save(tensors, q, "p."));
    assert_null(vq_tensors_find(tensors, "p.codebook.1"));
    assert_ok(vq_quantizer_load(&again, tensors, "p.", NULL));
    assert_same_quantizer(q, again);
    assert_ptr_equal(vq_quantizer_codebook(again, 0), vq_quantizer_codebook(again, 2));
    vq_quantizer_free(again);
    assert_ok(vq_tensors_set(tensors, "p.shared", "65"));
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&again, tensors, "p.", NULL));
    vq_tensors_free(tensors);
    vq_quantizer_free(q);
    static const uint32_t sizes_of_three[3] = {2, 2, 2};
    opts.k = sizes_of_three;
    assert_status(VQ_E_ARG, vq_residual_train(&q, x, ROWS, WIDE, &opts));
    opts.k = NULL;
    opts.damping = -1;
    assert_status(VQ_E_ARG, vq_residual_train(&q, x, ROWS, WIDE, &opts));
    opts.damping = 0;
    opts.beam = VQ_MAX_BEAM + 1;
    assert_status(VQ_E_ARG, vq_residual_train(&q, x, ROWS, WIDE, &opts));
    free(x);
}

/* Rows in many dimensions are seeded as if inner seeds were asked for, rows in few by k-means++. */
static void test_seeds_where_spread(void **state)
{
    (void)state;
    enum { ROWS = 3000, WIDE = 64 };
    float *x = make_gaussian(ROWS, WIDE, 8);
    for (int narrow = 0; narrow < 2; narrow++) {
        vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
        vq_quantizer *chosen, *expected;
        opts.levels = 1;
        opts.kmeans.k = 8;
        opts.kmeans.max_iterations = 3;
        for (size_t i = 0; narrow && i < ROWS; i++)
            x[i * WIDE + 5] *= 20;
        opts.inner_seeds = VQ_INNER_SEEDS_WHERE_SPREAD;
        assert_ok(vq_residual_train(&chosen, x, ROWS, WIDE, &opts));
        opts.inner_seeds = !narrow;
        opts.kmeans.seeding = narrow ? VQ_SEEDING_KMEANSPP : VQ_SEEDING_RANDOM;
        assert_ok(vq_residual_train(&expected, x, ROWS, WIDE, &opts));
        assert_same_quantizer(chosen, expected);
        vq_quantizer_free(chosen);
        vq_quantizer_free(expected);
        opts.inner_seeds = 3;
        assert_status(VQ_E_ARG, vq_residual_train(&chosen, x, ROWS, WIDE, &opts));
    }
    free(x);
}

static vq_status train_shared(void *context)
{
    (void)context;
    static const float x[16] = {1, 2, 3, 4, 1, 7, 2, 9, 4, 1, 0, 1, 5, 5, 8, 1};
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = 2;
    opts.kmeans.k = 4;
    opts.kmeans.seeding = VQ_SEEDING_RANDOM;
    opts.inner_seeds = 1;
    opts.beam = 2;
    opts.refits = 1;
    vq_quantizer *q = NULL;
    vq_status status = vq_residual_train(&q, x, 8, 2, &opts);
    vq_quantizer_free(q);
    opts.shared = 1;
    opts.inner_seeds = VQ_INNER_SEEDS_WHERE_SPREAD;
    if (!status) {
        status = vq_residual_train(&q, x, 8, 2, &opts);
        vq_quantizer_free(q);
    }
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    test_allocation_failures(train_shared, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),      cmocka_unit_test(test_refit),
        cmocka_unit_test(test_prefixes),           cmocka_unit_test(test_shared),
        cmocka_unit_test(test_seeds_where_spread), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
