/* SPDX-License-Identifier: Apache-2.0 */
/* Synonyms, degradation and patches. */
#include "test_support.h"

#include "augment_support.h"
#include "vq/scalar.h"

static const uint32_t sizes[] = {24, 7, 16};

static double distance(const vq_codebook *codebook, uint32_t a, uint32_t b)
{
    const uint32_t d = vq_codebook_dim(codebook);
    const float *c = vq_codebook_codewords(codebook);
    double sum = 0;
    for (uint32_t j = 0; j < d; j++) {
        const double off = (double)c[a * d + j] - (double)c[b * d + j];
        sum += off * off;
    }
    return sum;
}

static void synonyms_are_the_nearest_others(void **state)
{
    (void)state;
    vq_quantizer *q = parts_stack(5, sizes, 3, VQ_DTYPE_F32, 1);
    vq_synonyms *one, *s;
    assert_ok(vq_synonyms_create(&one, q, 10, 1));
    assert_ok(vq_synonyms_create(&s, q, 10, 3));
    for (uint32_t l = 0; l < 3; l++) {
        const uint32_t count = vq_synonyms_count(s, l), k = sizes[l];
        assert_int_equal(count, k > 10 ? 10 : k - 1);
        for (uint32_t c = 0; c < k; c++) {
            const uint32_t *of = vq_synonyms_of(s, l, c);
            const vq_codebook *codebook = vq_quantizer_codebook(q, l);
            bool taken[24] = {false};
            assert_memory_equal(of, vq_synonyms_of(one, l, c), count * sizeof *of);
            for (uint32_t j = 0; j < count; j++) {
                assert_true(of[j] < k && of[j] != c && !taken[of[j]]);
                taken[of[j]] = true;
                assert_true(!j || distance(codebook, c, of[j]) >=
                                      distance(codebook, c, of[j - 1]) * (1 - 1e-6));
            }
            for (uint32_t other = 0; other < k; other++)
                assert_true(other == c || taken[other] ||
                            distance(codebook, c, other) >=
                                distance(codebook, c, of[count - 1]) * (1 - 1e-6));
        }
    }
    assert_null(vq_synonyms_of(s, 3, 0));
    assert_null(vq_synonyms_of(s, 1, 7));
    assert_int_equal(vq_synonyms_count(s, 3), 0);
    vq_synonyms_free(one);
    vq_synonyms_free(s);
    vq_quantizer_free(q);
}

/* Codewords that are equal, and the metric under which a code is not the nearest to itself. */
static void synonyms_of_odd_codebooks(void **state)
{
    (void)state;
    const float equal[] = {1, 1, 1, 1, 1, 1, 1, 1}, line[] = {1, 2, 4, 8};
    vq_codebook *codebook;
    vq_quantizer *q;
    vq_synonyms *s;
    assert_ok(vq_codebook_create(&codebook, equal, 8, 1, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_quantizer_from_codebook(&q, codebook));
    assert_ok(vq_synonyms_create(&s, q, 2, 0));
    for (uint32_t c = 0; c < 8; c++) {
        const uint32_t *of = vq_synonyms_of(s, 0, c);
        assert_int_equal(of[0], c == 0);
        assert_int_equal(of[1], c < 2 ? 2 : 1);
    }
    vq_synonyms_free(s);
    vq_quantizer_free(q);
    assert_ok(vq_codebook_create(&codebook, line, 4, 1, VQ_METRIC_DOT, VQ_DTYPE_F32));
    assert_ok(vq_quantizer_from_codebook(&q, codebook));
    assert_ok(vq_synonyms_create(&s, q, 63, 0));
    const uint32_t expected[4][3] = {{1, 2, 3}, {0, 2, 3}, {1, 0, 3}, {2, 1, 0}};
    for (uint32_t c = 0; c < 4; c++)
        assert_memory_equal(vq_synonyms_of(s, 0, c), expected[c], sizeof expected[c]);
    vq_synonyms_free(s);
    assert_status(VQ_E_ARG, vq_synonyms_create(&s, q, 0, 0));
    assert_status(VQ_E_ARG, vq_synonyms_create(&s, q, VQ_NEAREST_K_MAX, 0));
    assert_status(VQ_E_ARG, vq_synonyms_create(&s, q, 1, -1));
    assert_null(s);
    vq_quantizer_free(q);
    const uint32_t bins[] = {3, 4};
    assert_ok(vq_fsq_create(&q, bins, 2, NULL));
    assert_status(VQ_E_UNSUPPORTED, vq_synonyms_create(&s, q, 1, 0));
    vq_quantizer_free(q);
    assert_ok(vq_codebook_create(&codebook, line, 1, 1, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_quantizer_from_codebook(&q, codebook));
    assert_ok(vq_synonyms_create(&s, q, 1, 0));
    vq_tokens *tokens = augment_tokens(q, 1, 2, 2, 0);
    assert_ok(vq_tokens_swap_synonyms(tokens, s, 1, (vq_draw){1, 2})); /* it has none, and stays */
    assert_int_equal(tokens->codes[3], 0);
    vq_tokens_free(tokens);
    vq_synonyms_free(s);
    vq_quantizer_free(q);
}

/* Each of 5 synonyms with the probability 0.05, the code itself with 0.75. */
static void synonyms_are_drawn_evenly(void **state)
{
    (void)state;
    vq_quantizer *q = parts_stack(5, sizes, 3, VQ_DTYPE_F32, 1);
    vq_synonyms *s;
    assert_ok(vq_synonyms_create(&s, q, 5, 0));
    vq_tokens *tokens = augment_tokens(q, 1, 200, 300, 3);
    uint32_t *before = augment_codes(tokens);
    const size_t positions = vq_tokens_positions(tokens);
    assert_ok(vq_tokens_swap_synonyms(tokens, s, 0.25, (vq_draw){11, 5}));
    assert_ok(vq_tokens_validate(tokens));
    for (uint32_t l = 0; l < 3; l++) {
        const double expected[] = {0.75, 0.05, 0.05, 0.05, 0.05, 0.05};
        uint64_t counts[6] = {0};
        for (size_t i = l * positions; i < (l + 1) * positions; i++) {
            const uint32_t *of = vq_synonyms_of(s, l, before[i]);
            uint32_t which = 0;
            while (tokens->codes[i] != before[i] && which < 5 && of[which] != tokens->codes[i])
                which++;
            counts[tokens->codes[i] == before[i] ? 0 : which + 1]++;
        }
        assert_true(chi_square(counts, expected, 6, (double)positions) < 25.7); /* 99.99 % of 5 */
    }
    /* The same numbers, the same codes; another sample, others; and none or all of them. */
    uint32_t *after = augment_codes(tokens);
    memcpy(tokens->codes, before, augment_bytes(tokens));
    assert_ok(vq_tokens_swap_synonyms(tokens, s, 0.25, (vq_draw){11, 5}));
    assert_memory_equal(tokens->codes, after, augment_bytes(tokens));
    memcpy(tokens->codes, before, augment_bytes(tokens));
    assert_ok(vq_tokens_swap_synonyms(tokens, s, 0.25, (vq_draw){11, 6}));
    assert_true(augment_differences(tokens, after) > positions / 3);
    memcpy(tokens->codes, before, augment_bytes(tokens));
    assert_ok(vq_tokens_swap_synonyms(tokens, s, 0, (vq_draw){11, 5}));
    assert_memory_equal(tokens->codes, before, augment_bytes(tokens));
    assert_ok(vq_tokens_swap_synonyms(tokens, s, 1, (vq_draw){11, 5}));
    assert_int_equal(augment_differences(tokens, before), 3 * positions);
    assert_status(VQ_E_ARG, vq_tokens_swap_synonyms(tokens, s, NAN, (vq_draw){0, 0}));
    assert_status(VQ_E_ARG, vq_tokens_swap_synonyms(tokens, s, 1.5, (vq_draw){0, 0}));
    tokens->k[1]++;
    assert_status(VQ_E_ARG, vq_tokens_swap_synonyms(tokens, s, 1, (vq_draw){0, 0}));
    tokens->k[1]--;
    tokens->codes[positions] = 7;
    assert_status(VQ_E_RANGE, vq_tokens_swap_synonyms(tokens, s, 1, (vq_draw){0, 0}));
    free(before);
    free(after);
    vq_tokens_free(tokens);
    vq_synonyms_free(s);
    vq_quantizer_free(q);
}

/* k = 1 is vq_quantize(); the error of a flat quantizer rises with k at every row; of a residual one, on average. */
static void degradation_rises_with_k(void **state)
{
    (void)state;
    enum { N = 5000, D = 5 };
    float *x = parts_rows(N, D, 9), *decoded = parts_alloc(N * D, sizeof *decoded);
    for (uint32_t levels = 1; levels <= 3; levels += 2) {
        vq_quantizer *q = parts_stack(D, sizes, levels, VQ_DTYPE_F32, 1);
        uint32_t *codes = parts_alloc(N * 3, sizeof *codes), *one = parts_alloc(N * 3, sizeof *one);
        double *error = parts_alloc(N, sizeof *error), mean = 0;
        for (uint32_t k = 1; k <= 7; k++) {
            const uint32_t nearest[] = {k, k, k};
            vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
            double sum = 0;
            opts.threads = 1;
            assert_ok(vq_degrade(one, q, x, N, nearest, &opts));
            opts.threads = 3;
            assert_ok(vq_degrade(codes, q, x, N, nearest, &opts));
            assert_memory_equal(one, codes, N * levels * sizeof *codes);
            if (k == 1) {
                assert_ok(vq_quantize(one, q, x, N, NULL));
                assert_memory_equal(one, codes, N * levels * sizeof *codes);
            }
            assert_ok(vq_dequantize(decoded, q, codes, N, NULL));
            for (size_t i = 0; i < N; i++) {
                double now = 0;
                for (size_t j = 0; j < D; j++) {
                    const double off = (double)x[i * D + j] - (double)decoded[i * D + j];
                    now += off * off;
                }
                assert_true(levels > 1 || now >= error[i] * (1 - 1e-5));
                error[i] = now;
                sum += now;
            }
            assert_true(sum > mean);
            mean = sum;
        }
        free(codes);
        free(one);
        free(error);
        vq_quantizer_free(q);
    }
    free(x);
    free(decoded);
}

static void degradation_refuses(void **state)
{
    (void)state;
    enum { D = 5 };
    vq_quantizer *q = parts_stack(D, sizes, 3, VQ_DTYPE_F32, 1);
    float *x = parts_rows(4, D, 9);
    uint32_t codes[12], nearest[] = {1, 8, 1};
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    assert_status(VQ_E_ARG, vq_degrade(codes, q, x, 4, nearest, NULL));
    opts.levels = 1; /* the second is not looked at */
    assert_ok(vq_degrade(codes, q, x, 4, nearest, &opts));
    assert_ok(vq_degrade(codes, q, x, 0, nearest, &opts));
    nearest[0] = 0;
    assert_status(VQ_E_ARG, vq_degrade(codes, q, x, 4, nearest, &opts));
    nearest[0] = 2;
    opts.beam = 4;
    assert_status(VQ_E_ARG, vq_degrade(codes, q, x, 4, nearest, &opts));
    opts.beam = 0;
    opts.lambda = 1;
    assert_status(VQ_E_ARG, vq_degrade(codes, q, x, 4, nearest, &opts));
    opts.lambda = 0;
    opts.levels = 4;
    assert_status(VQ_E_ARG, vq_degrade(codes, q, x, 4, nearest, &opts));
    opts.levels = 1;
    x[7] = NAN;
    assert_status(VQ_E_NONFINITE, vq_degrade(codes, q, x, 4, nearest, &opts));
    const uint32_t bins[] = {3, 4};
    vq_quantizer *scalar;
    assert_ok(vq_fsq_create(&scalar, bins, 2, NULL));
    assert_status(VQ_E_UNSUPPORTED, vq_degrade(codes, scalar, x, 1, nearest, NULL));
    vq_quantizer_free(scalar);
    vq_quantizer_free(q);
    free(x);
}

static void tokens_are_degraded_by_table(void **state)
{
    (void)state;
    vq_quantizer *q = parts_stack(5, sizes, 3, VQ_DTYPE_F32, 1);
    vq_synonyms *s;
    assert_ok(vq_synonyms_create(&s, q, 6, 0));
    vq_tokens *tokens = augment_tokens(q, 2, 9, 8, 3);
    uint32_t *before = augment_codes(tokens);
    const size_t positions = vq_tokens_positions(tokens);
    const uint32_t none[] = {1, 1, 1}, some[] = {1, 7, 3}, bad[] = {1, 8, 1}, zero[] = {0, 1, 1};
    assert_ok(vq_tokens_degrade(tokens, s, none));
    assert_memory_equal(tokens->codes, before, augment_bytes(tokens));
    assert_ok(vq_tokens_degrade(tokens, s, some));
    for (size_t i = 0; i < positions; i++) {
        assert_int_equal(tokens->codes[i], before[i]);
        assert_int_equal(tokens->codes[positions + i],
                         vq_synonyms_of(s, 1, before[positions + i])[5]);
        assert_int_equal(tokens->codes[2 * positions + i],
                         vq_synonyms_of(s, 2, before[2 * positions + i])[1]);
    }
    assert_status(VQ_E_ARG, vq_tokens_degrade(tokens, s, bad));
    assert_status(VQ_E_ARG, vq_tokens_degrade(tokens, s, zero));
    assert_ok(vq_tokens_truncate(tokens, 1)); /* fewer levels than the synonyms have */
    assert_ok(vq_tokens_degrade(tokens, s, some));
    free(before);
    vq_tokens_free(tokens);
    vq_synonyms_free(s);
    vq_quantizer_free(q);
}

static void boxes_are_exchanged(void **state)
{
    (void)state;
    vq_quantizer *q = parts_stack(5, sizes, 3, VQ_DTYPE_F32, 1);
    vq_tokens *a = augment_tokens(q, 2, 9, 8, 3), *b = augment_tokens(q, 2, 6, 11, 4);
    uint32_t *a_before = augment_codes(a), *b_before = augment_codes(b);
    const vq_token_box box = {2, 3, 4, 5};
    assert_ok(vq_tokens_exchange(a, &box, b, 1, 6));
    for (size_t plane = 0; plane < 6; plane++)
        for (size_t row = 0; row < 9; row++)
            for (size_t column = 0; column < 8; column++) {
                const bool inside = row >= 2 && row < 6 && column >= 3;
                const size_t at = (plane * 9 + row) * 8 + column,
                             other = inside ? (plane * 6 + row - 1) * 11 + column + 3 : 0;
                assert_int_equal(a->codes[at], inside ? b_before[other] : a_before[at]);
                if (inside)
                    assert_int_equal(b->codes[other], a_before[at]);
            }
    assert_ok(vq_tokens_exchange(a, &box, b, 1, 6)); /* and back */
    assert_memory_equal(a->codes, a_before, augment_bytes(a));
    assert_memory_equal(b->codes, b_before, augment_bytes(b));
    const vq_token_box beyond = {6, 3, 4, 5}, huge = {2, SIZE_MAX, 4, 5}, small = {0, 0, 2, 2},
                       empty = {9, 8, 0, 0};
    assert_status(VQ_E_ARG, vq_tokens_exchange(a, &beyond, b, 1, 6));
    assert_status(VQ_E_ARG, vq_tokens_exchange(a, &huge, b, 1, 6));
    assert_status(VQ_E_ARG, vq_tokens_exchange(a, &box, b, 3, 6));
    assert_status(VQ_E_ARG, vq_tokens_exchange(a, &box, b, 1, SIZE_MAX));
    assert_status(VQ_E_ARG, vq_tokens_exchange(a, &small, a, 1, 1));
    assert_ok(vq_tokens_exchange(a, &small, a, 1, 2));
    assert_ok(vq_tokens_exchange(a, &empty, a, 9, 8));
    b->k[0]++;
    assert_status(VQ_E_ARG, vq_tokens_exchange(a, &box, b, 1, 6));
    b->k[0]--;
    b->codes[0] = 24;
    assert_status(VQ_E_RANGE, vq_tokens_exchange(a, &box, b, 1, 6));
    free(a_before);
    free(b_before);
    vq_tokens_free(a);
    vq_tokens_free(b);
    vq_quantizer_free(q);
}

/* What CutMix says it took is what has changed places; its share is 0.5 on average but for what the borders cut off. */
static void cutmix_takes_its_share(void **state)
{
    (void)state;
    const uint32_t one = 2;
    vq_quantizer *q = parts_stack(2, &one, 1, VQ_DTYPE_F32, 1);
    for (int wide = 0; wide < 3; wide++) {
        const size_t rows = wide == 2 ? 1 : 12, columns = wide == 1 ? 1 : 10;
        vq_tokens *a = augment_tokens(q, 2, rows, columns, 3),
                  *b = augment_tokens(q, 2, rows, columns, 3);
        const size_t positions = vq_tokens_positions(a);
        double mean = 0;
        for (uint64_t number = 0; number < 2000; number++) {
            double share;
            size_t ones = 0;
            memset(a->codes, 0, augment_bytes(a));
            for (size_t i = 0; i < positions; i++)
                b->codes[i] = 1;
            assert_ok(vq_tokens_cutmix(&share, a, b, (vq_draw){4, number}));
            for (size_t i = 0; i < positions; i++) {
                ones += a->codes[i];
                assert_int_equal(a->codes[i], !b->codes[i]);
            }
            assert_true(fabs(share - (double)ones / (double)positions) < 1e-12);
            mean += share / 2000;
        }
        assert_true(mean > 0.2 && mean < 0.5);
        assert_status(VQ_E_ARG, vq_tokens_cutmix(NULL, a, a, (vq_draw){4, 0}));
        assert_ok(vq_tokens_cutmix(NULL, a, b, (vq_draw){4, 0}));
        vq_tokens_free(b);
        b = augment_tokens(q, 2, rows + 1, columns, 3);
        assert_status(VQ_E_ARG, vq_tokens_cutmix(NULL, a, b, (vq_draw){4, 0}));
        vq_tokens_free(a);
        vq_tokens_free(b);
    }
    vq_quantizer_free(q);
}

/* Sounds: the channels get the same frames. */
static void a_sounds_channels_are_planes(void **state)
{
    (void)state;
    const size_t grid[] = {2, 50};
    const uint32_t k = 1000;
    vq_tokens *t;
    assert_ok(vq_tokens_create(&t, 2, grid, 1, &k));
    t->kind = VQ_KIND_AUDIO;
    for (uint32_t i = 0; i < 100; i++)
        t->codes[i] = i;
    assert_ok(vq_tokens_swap_patches(t, 1, 10, (vq_draw){1, 1}));
    size_t moved = 0;
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(t->codes[50 + i], t->codes[i] + 50);
        moved += t->codes[i] != i;
    }
    assert_int_equal(moved, 20);
    vq_tokens_free(t);
}

static void patches_are_swapped(void **state)
{
    (void)state;
    const size_t grid[] = {7, 9};
    const uint32_t k = 63;
    uint64_t first_rows[5] = {0};
    vq_tokens *t;
    assert_ok(vq_tokens_create(&t, 2, grid, 1, &k));
    for (uint64_t number = 0; number < 3000; number++) {
        size_t moved = 0;
        for (uint32_t i = 0; i < k; i++)
            t->codes[i] = i;
        assert_ok(vq_tokens_swap_patches(t, 3, 3, (vq_draw){2, number}));
        for (uint32_t i = 0; i < k; i++) {
            if (t->codes[i] != i && !moved++)
                first_rows[i / 9]++;
            assert_int_equal(t->codes[t->codes[i]], i); /* its partner is where it is */
        }
        assert_int_equal(moved, 18);
    }
    assert_true(first_rows[0] && first_rows[1] && first_rows[3] && first_rows[4]);
    assert_status(VQ_E_ARG, vq_tokens_swap_patches(t, 4, 5, (vq_draw){2, 0}));
    assert_status(VQ_E_ARG, vq_tokens_swap_patches(t, 0, 1, (vq_draw){2, 0}));
    assert_status(VQ_E_ARG, vq_tokens_swap_patches(t, 8, 1, (vq_draw){2, 0}));
    assert_ok(vq_tokens_swap_patches(t, 7, 4, (vq_draw){2, 0}));
    vq_tokens_free(t);
}

static vq_status use_all(void *context)
{
    const float *x = context;
    vq_quantizer *q = NULL;
    vq_synonyms *s = NULL;
    vq_codebook *codebook;
    uint32_t codes[8];
    const uint32_t nearest[] = {3};
    vq_status status = vq_codebook_create(&codebook, x, 12, 5, VQ_METRIC_DOT, VQ_DTYPE_F32);
    if (status)
        return status;
    status = vq_quantizer_from_codebook(&q, codebook);
    if (status)
        vq_codebook_free(codebook);
    if (!status)
        status = vq_synonyms_create(&s, q, 3, 1);
    if (!status)
        status = vq_degrade(codes, q, x, 8, nearest, NULL);
    vq_synonyms_free(s);
    vq_quantizer_free(q);
    return status;
}

static void no_memory(void **state)
{
    (void)state;
    float *x = parts_rows(12, 5, 1);
    test_allocation_failures(use_all, x);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synonyms_are_the_nearest_others),
        cmocka_unit_test(synonyms_of_odd_codebooks),
        cmocka_unit_test(synonyms_are_drawn_evenly),
        cmocka_unit_test(degradation_rises_with_k),
        cmocka_unit_test(degradation_refuses),
        cmocka_unit_test(tokens_are_degraded_by_table),
        cmocka_unit_test(boxes_are_exchanged),
        cmocka_unit_test(cutmix_takes_its_share),
        cmocka_unit_test(a_sounds_channels_are_planes),
        cmocka_unit_test(patches_are_swapped),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
