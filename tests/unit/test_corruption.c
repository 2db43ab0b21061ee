/* SPDX-License-Identifier: Apache-2.0 */
/* Mask-and-replace corruption: closed forms, frequencies and posterior; masks over the depth of residual tokens. */
#include "test_support.h"

#include "augment/corruption.h"
#include "augment/depth_mask.h"
#include "augment_support.h"
#include "io/digest.h"

enum { K = 7, STEPS = 20, N = 200000 };

/* A schedule that replaces as well as masks. */
static vq_corruption *mixed(void)
{
    vq_corruption_opts opts = VQ_CORRUPTION_OPTS_INIT;
    vq_corruption *c;
    opts.k = K;
    opts.steps = STEPS;
    opts.keep_first = 0.98;
    opts.keep_last = 0.01;
    opts.mask_first = 0.005;
    opts.mask_last = 0.6;
    assert_ok(vq_corruption_create(&c, &opts));
    return c;
}

static double passage(const vq_corruption_rates *r, uint32_t k, uint32_t from, uint32_t to)
{
    return from == k ? to == k : to == k ? r->mask : r->replace + (from == to ? r->keep : 0);
}

/* The closed form of steps s to t is the product of the matrices of the steps between them. */
static void closed_form_is_the_product(void **state)
{
    (void)state;
    vq_corruption *c = mixed();
    for (uint32_t s = 0; s <= STEPS; s += 4) {
        double product[K + 1][K + 1] = {{0}};
        for (int i = 0; i <= K; i++)
            product[i][i] = 1;
        for (uint32_t t = s; t <= STEPS; t++) {
            vq_corruption_rates r;
            if (t > s) {
                double next[K + 1][K + 1] = {{0}};
                assert_ok(vq_corruption_between(&r, c, t - 1, t));
                assert_true(r.keep > 0 && r.mask > 0 && r.replace > 0);
                for (uint32_t i = 0; i <= K; i++)
                    for (uint32_t j = 0; j <= K; j++)
                        for (uint32_t l = 0; l <= K; l++)
                            next[i][j] += product[i][l] * passage(&r, K, l, j);
                memcpy(product, next, sizeof product);
            }
            assert_ok(vq_corruption_between(&r, c, s, t));
            assert_true(fabs(r.keep + K * r.replace + r.mask - 1) < 1e-14);
            for (uint32_t i = 0; i <= K; i++)
                for (uint32_t j = 0; j <= K; j++)
                    assert_true(fabs(product[i][j] - passage(&r, K, i, j)) < 1e-13);
        }
    }
    vq_corruption_free(c);
}

/* The published schedule: nearly pure masking, and its ends. */
static void published_schedule(void **state)
{
    (void)state;
    vq_corruption_opts opts = VQ_CORRUPTION_OPTS_INIT;
    vq_corruption *c;
    vq_corruption_rates r;
    opts.k = 2886;
    assert_ok(vq_corruption_create(&c, &opts));
    assert_int_equal(vq_corruption_steps(c), 100);
    assert_int_equal(vq_corruption_k(c), 2886);
    assert_ok(vq_corruption_between(&r, c, 0, 1));
    assert_true(fabs(r.keep - 0.99999) < 1e-15 && fabs(r.mask - 0.000009) < 1e-15);
    assert_ok(vq_corruption_between(&r, c, 0, 100));
    assert_true(fabs(r.keep - 0.000009) < 1e-15 && fabs(r.mask - 0.99999) < 1e-15);
    for (uint32_t t = 1; t <= 100; t++) {
        assert_ok(vq_corruption_between(&r, c, 0, t));
        assert_true(fabs(r.replace - 1e-6 / 2886) < 1e-15);
    }
    assert_ok(vq_corruption_between(&r, c, 42, 42));
    assert_true(r.keep == 1 && r.mask == 0 && r.replace == 0);
    assert_status(VQ_E_ARG, vq_corruption_between(&r, c, 43, 42));
    assert_status(VQ_E_ARG, vq_corruption_between(&r, c, 0, 101));
    vq_corruption_free(c);
}

/* Frequencies of codes against the marginals, by chi-square, of one call and of two in a row. */
static void frequencies_are_the_marginals(void **state)
{
    (void)state;
    vq_corruption *c = mixed();
    uint32_t *codes = parts_alloc(N, sizeof *codes);
    static const uint32_t ways[][3] = {{0, 1, 1}, {0, 7, 7}, {0, 20, 20}, {0, 5, 12}, {3, 9, 15}};
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        const uint32_t from = ways[way][0], over = ways[way][1], to = ways[way][2], origin = 3;
        vq_corruption_rates r;
        uint64_t counts[K + 1] = {0};
        double expected[K + 1];
        for (size_t i = 0; i < N; i++)
            codes[i] = origin;
        assert_ok(vq_corrupt(codes, c, codes, N, from, over, (vq_draw){5, way}));
        if (to > over)
            assert_ok(vq_corrupt(codes, c, codes, N, over, to, (vq_draw){5, way}));
        for (size_t i = 0; i < N; i++)
            counts[codes[i]]++;
        assert_ok(vq_corruption_between(&r, c, from, to));
        for (uint32_t j = 0; j <= K; j++)
            expected[j] = passage(&r, K, origin, j);
        assert_true(chi_square(counts, expected, K + 1, N) < 29.9); /* 99.99 % of 7 */
    }
    free(codes);
    vq_corruption_free(c);
}

static void corruption_is_seeded_and_checked(void **state)
{
    (void)state;
    vq_corruption *c = mixed();
    uint32_t codes[1000], one[1000], two[1000];
    uint64_t random = 1;
    for (int i = 0; i < 1000; i++)
        codes[i] = (uint32_t)(test_random(&random) % (K + 1));
    assert_ok(vq_corrupt(one, c, codes, 1000, 2, 9, (vq_draw){5, 1}));
    assert_ok(vq_corrupt(two, c, codes, 1000, 2, 9, (vq_draw){5, 1}));
    assert_memory_equal(one, two, sizeof one);
    assert_ok(vq_corrupt(two, c, codes, 300, 2, 9, (vq_draw){5, 1})); /* by place */
    assert_memory_equal(one, two, sizeof one);
    for (int i = 0; i < 1000; i++)
        assert_true(codes[i] != K || one[i] == K);
    assert_ok(vq_corrupt(two, c, codes, 1000, 2, 9, (vq_draw){5, 2}));
    assert_memory_not_equal(one, two, sizeof one);
    assert_ok(vq_corrupt(two, c, codes, 1000, 2, 9, (vq_draw){6, 1}));
    assert_memory_not_equal(one, two, sizeof one);
    assert_ok(vq_corrupt(two, c, codes, 1000, 9, 9, (vq_draw){6, 1}));
    assert_memory_equal(two, codes, sizeof two);
    codes[999] = K + 1;
    assert_status(VQ_E_RANGE, vq_corrupt(one, c, codes, 1000, 2, 9, (vq_draw){5, 1}));
    assert_status(VQ_E_ARG, vq_corrupt(one, c, codes, 10, 9, 2, (vq_draw){5, 1}));
    vq_corruption_free(c);
}

/* Bayes by enumeration; and a walk back from step T by posteriors of the true origin ends at the origin. */
static void posteriors(void **state)
{
    (void)state;
    vq_corruption *c = mixed();
    double p[K + 1];
    for (uint32_t step = 1; step <= STEPS; step++)
        for (uint32_t now = 0; now <= K; now++) {
            vq_corruption_rates before, last;
            double sum = 0, all = 0;
            assert_ok(vq_corruption_posterior(p, c, now, 2, step));
            assert_ok(vq_corruption_between(&before, c, 0, step - 1));
            assert_ok(vq_corruption_between(&last, c, step - 1, step));
            for (uint32_t j = 0; j <= K; j++)
                all += passage(&before, K, 2, j) * passage(&last, K, j, now);
            for (uint32_t j = 0; j <= K; j++) {
                sum += p[j];
                assert_true(fabs(p[j] - passage(&before, K, 2, j) * passage(&last, K, j, now) /
                                            all) < 1e-12);
            }
            assert_true(fabs(sum - 1) < 1e-12);
            assert_true(step > 1 || fabs(p[2] - 1) < 1e-12);
        }
    uint64_t random = 3;
    for (int walk = 0; walk < 200; walk++) {
        const uint32_t origin = (uint32_t)(walk % K);
        uint32_t at;
        assert_ok(vq_corrupt(&at, c, &origin, 1, 0, STEPS, (vq_draw){1, (uint64_t)walk}));
        for (uint32_t step = STEPS; step; step--) {
            double uniform = test_uniform(&random);
            assert_ok(vq_corruption_posterior(p, c, at, origin, step));
            for (at = 0; at < K && uniform >= p[at]; at++)
                uniform -= p[at];
        }
        assert_int_equal(at, origin);
    }
    assert_status(VQ_E_ARG, vq_corruption_posterior(p, c, 0, 0, 0));
    assert_status(VQ_E_ARG, vq_corruption_posterior(p, c, 0, 0, STEPS + 1));
    assert_status(VQ_E_RANGE, vq_corruption_posterior(p, c, K + 1, 0, 1));
    assert_status(VQ_E_RANGE, vq_corruption_posterior(p, c, 0, K, 1));
    vq_corruption_free(c);
}

static void schedules_are_checked(void **state)
{
    (void)state;
    vq_corruption *c;
    static const vq_corruption_opts bad[] = {
        {sizeof *bad, 0, 0, 0, 0, 0, 0},          {sizeof *bad, UINT32_MAX, 0, 0, 0, 0, 0},
        {sizeof *bad, 5, 1, 0, 0, 0, 0},          {sizeof *bad, 5, UINT32_MAX, 0, 0, 0, 0},
        {sizeof *bad, 5, 9, 0.5, 0.9, 0.01, 0.1}, {sizeof *bad, 5, 9, 0.9, 0.1, 0.1, 0.05},
        {sizeof *bad, 5, 9, 0.9, 0.5, 0.1, 0.6},  {sizeof *bad, 5, 9, -1, 0.5, 0.1, 0.2},
        {sizeof *bad, 5, 9, NAN, 0.5, 0.1, 0.2},  {sizeof *bad, 5, 9, 0.5, 0.5, 0.1, INFINITY},
        {sizeof *bad, 5, 9, 0.9, 0.5, 0.2, 0.4},  {4, 5, 0, 0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_status(VQ_E_ARG, vq_corruption_create(&c, &bad[i]));
        assert_null(c);
    }
    /* All masked at the end: nothing comes of it but masks. */
    vq_corruption_opts opts = VQ_CORRUPTION_OPTS_INIT;
    opts.k = 1;
    opts.keep_first = 0.9;
    opts.keep_last = 1e-300;
    opts.mask_first = 0.1;
    opts.mask_last = 1;
    const uint32_t code = 0;
    uint32_t out = 5;
    double p[2];
    assert_ok(vq_corruption_create(&c, &opts));
    assert_ok(vq_corrupt(&out, c, &code, 1, 0, 100, (vq_draw){0, 0}));
    assert_int_equal(out, 1);
    assert_ok(vq_corruption_posterior(p, c, 1, 0, 100));
    assert_true(fabs(p[0] + p[1] - 1) < 1e-12);
    vq_corruption_free(c);
}

/* How many of a position's levels are masked: the hypergeometric distribution, and the sum is exact. */
static void depths_are_hypergeometric(void **state)
{
    (void)state;
    enum { LEVELS = 4, POSITIONS = 6, MASKED = 9, RUNS = 30000 };
    double expected[LEVELS + 1], all = 0;
    uint64_t counts[LEVELS + 1] = {0}, other[LEVELS + 1] = {0};
    static const double of_4[] = {1, 4, 6, 4, 1}, /* of the other 20: C(20, 9 - j) */
        of_20[] = {167960, 125970, 77520, 38760, 15504};
    for (int j = 0; j <= LEVELS; j++)
        all += expected[j] = of_4[j] * of_20[j];
    for (int j = 0; j <= LEVELS; j++)
        expected[j] /= all;
    for (uint64_t number = 0; number < RUNS; number++) {
        uint32_t visible[POSITIONS], sum = 0;
        assert_ok(vq_depth_mask_draw(visible, POSITIONS, LEVELS, MASKED, (vq_draw){8, number}));
        for (int i = 0; i < POSITIONS; i++)
            sum += LEVELS - visible[i];
        assert_int_equal(sum, MASKED);
        counts[LEVELS - visible[0]]++;
        other[LEVELS - visible[5]]++;
    }
    assert_true(chi_square(counts, expected, LEVELS + 1, RUNS) < 23.5); /* 99.99 % of 4 */
    assert_true(chi_square(other, expected, LEVELS + 1, RUNS) < 23.5);
    uint32_t visible[POSITIONS];
    assert_ok(vq_depth_mask_draw(visible, POSITIONS, LEVELS, 0, (vq_draw){8, 0}));
    assert_int_equal(visible[3], LEVELS);
    assert_ok(vq_depth_mask_draw(visible, POSITIONS, LEVELS, 24, (vq_draw){8, 0}));
    assert_int_equal(visible[3], 0);
    assert_status(VQ_E_ARG, vq_depth_mask_draw(visible, POSITIONS, LEVELS, 25, (vq_draw){8, 0}));
    assert_status(VQ_E_ARG, vq_depth_mask_draw(visible, POSITIONS, 0, 0, (vq_draw){8, 0}));
    assert_status(VQ_E_ARG, vq_depth_mask_draw(visible, SIZE_MAX, 64, 0, (vq_draw){8, 0}));
}

/* What is masked is the mask's code, the sums are those of vq_residual_sum(), and together what all levels decode to. */
static void depths_are_masked_and_summed(void **state)
{
    (void)state;
    enum { D = 6, CELLS = 70 };
    const uint32_t sizes[] = {40, 16, 16};
    vq_quantizer *q = parts_stack(D, sizes, 3, VQ_DTYPE_F32, 1),
                 *flat = parts_stack(D, sizes, 1, VQ_DTYPE_F32, 1);
    vq_tokens *t = augment_tokens(q, 1, 10, 7, 3);
    uint32_t visible[CELLS], masked[3 * CELLS];
    float *seen = parts_alloc(CELLS * D, sizeof *seen),
          *rest = parts_alloc(CELLS * D, sizeof *rest);
    assert_ok(vq_depth_mask_draw(visible, CELLS, 3, 100, (vq_draw){8, 0}));
    assert_ok(vq_depth_mask_apply(masked, t, visible));
    assert_ok(vq_depth_mask_sums(seen, rest, q, t, visible));
    for (size_t i = 0; i < CELLS; i++) {
        float expected[2][D] = {{0}};
        for (uint32_t l = 0; l < 3; l++) {
            const uint32_t code = t->codes[l * CELLS + i];
            const float *word = vq_codebook_codewords(vq_quantizer_codebook(q, l)) + code * D;
            assert_int_equal(masked[l * CELLS + i], l < visible[i] ? code : sizes[l]);
            for (int j = 0; j < D; j++)
                expected[l >= visible[i]][j] += word[j];
        }
        for (int j = 0; j < D; j++) {
            assert_true(seen[i * D + (size_t)j] == expected[0][j]);
            assert_true(rest[i * D + (size_t)j] == expected[1][j]);
        }
    }
    assert_ok(vq_depth_mask_sums(NULL, rest, q, t, visible));
    assert_ok(vq_depth_mask_sums(seen, NULL, q, t, visible));
    assert_status(VQ_E_ARG, vq_depth_mask_sums(seen, NULL, flat, t, visible));
    visible[69] = 4;
    assert_status(VQ_E_ARG, vq_depth_mask_apply(masked, t, visible));
    assert_status(VQ_E_ARG, vq_depth_mask_sums(seen, NULL, q, t, visible));
    visible[69] = 3;
    t->codes[5] = 40;
    assert_status(VQ_E_RANGE, vq_depth_mask_sums(seen, NULL, q, t, visible));
    t->k[0] = 41;
    assert_status(VQ_E_ARG, vq_depth_mask_sums(seen, NULL, q, t, visible));
    t->codes[5] = 0;
    assert_ok(vq_depth_mask_apply(t->codes, t, visible)); /* in place */
    free(seen);
    free(rest);
    vq_tokens_free(t);
    vq_quantizer_free(q);
    vq_quantizer_free(flat);
}

/* What seeds mean is never changed: the CRC-32C of what every operation that draws makes of the seed 1. */
static void seeds_are_pinned(void **state)
{
    (void)state;
    const uint32_t k = 1000, sizes[] = {40, 16};
    const vq_draw draw = {1, 0x123456789abcdef};
    const size_t grid[] = {16, 16};
    vq_corruption *c = mixed();
    vq_quantizer *q = parts_stack(6, sizes, 2, VQ_DTYPE_F32, 1);
    vq_synonyms *s;
    vq_tokens *t, *a = augment_tokens(q, 1, 16, 16, 1), *b = augment_tokens(q, 1, 16, 16, 2);
    vq_token_crop crop;
    uint32_t codes[256] = {0}, found[6];
    assert_ok(vq_tokens_create(&t, 2, grid, 1, &k));
    for (uint32_t i = 0; i < 256; i++)
        t->codes[i] = i;
    assert_ok(vq_tokens_swap_patches(t, 5, 4, draw));
    found[0] = vq_crc32c(0, t->codes, augment_bytes(t));
    assert_ok(vq_synonyms_create(&s, q, 5, 0));
    assert_ok(vq_tokens_swap_synonyms(a, s, 0.25, draw));
    found[1] = vq_crc32c(0, a->codes, augment_bytes(a));
    assert_ok(vq_tokens_cutmix(NULL, a, b, draw));
    found[2] = vq_crc32c(0, a->codes, augment_bytes(a));
    assert_ok(vq_tokens_draw_crop(&crop, a, 0.08, 4.0 / 3, draw));
    found[3] = vq_crc32c(0, &crop, sizeof crop);
    assert_ok(vq_corrupt(codes, c, codes, 256, 0, 10, draw));
    found[4] = vq_crc32c(0, codes, sizeof codes);
    assert_ok(vq_depth_mask_draw(codes, 256, 4, 500, draw));
    found[5] = vq_crc32c(0, codes, sizeof codes);
    static const uint32_t pinned[] = {0xf8a44d41, 0x7e4d6b5a, 0xf99732ea,
                                      0x5aade44e, 0x4fe7643a, 0xaa04d232};
    for (int i = 0; i < 6; i++)
        assert_int_equal(found[i], pinned[i]);
    vq_corruption_free(c);
    vq_synonyms_free(s);
    vq_tokens_free(t);
    vq_tokens_free(a);
    vq_tokens_free(b);
    vq_quantizer_free(q);
}

static vq_status make(void *context)
{
    vq_corruption *c;
    const vq_status status = vq_corruption_create(&c, context);
    vq_corruption_free(c);
    return status;
}

static void no_memory(void **state)
{
    (void)state;
    vq_corruption_opts opts = VQ_CORRUPTION_OPTS_INIT;
    opts.k = 5;
    test_allocation_failures(make, &opts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_form_is_the_product),
        cmocka_unit_test(published_schedule),
        cmocka_unit_test(frequencies_are_the_marginals),
        cmocka_unit_test(corruption_is_seeded_and_checked),
        cmocka_unit_test(posteriors),
        cmocka_unit_test(schedules_are_checked),
        cmocka_unit_test(depths_are_hypergeometric),
        cmocka_unit_test(depths_are_masked_and_summed),
        cmocka_unit_test(seeds_are_pinned),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
