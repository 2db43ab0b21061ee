/* SPDX-License-Identifier: Apache-2.0 */
/* The two searches of SimVQ: which one a quantizer has, and that codes, vectors and files are the same. */
#include <math.h>

#include "augment/augment.h"
#include "simvq_support.h"
#include "vq/code_tables.h"
#include "vq/simvq_learn.h"

enum { R = 8, ROWS = 600 };

static vq_quantizer *as(const vq_quantizer *q, vq_simvq_search search)
{
    vq_quantizer *other;
    assert_ok(vq_simvq_search_as(&other, q, search));
    assert_int_equal(vq_simvq_get_search(other), search);
    return other;
}

/* Of codewords and of rows that lie among them. */
static vq_quantizer *make(float **x, uint32_t k, uint32_t d, uint32_t r, int bias, float offset)
{
    const vq_simvq_form form = {sizeof form, k, d, r, 5};
    float *map = malloc((size_t)r * d * sizeof *map), *b = malloc(d * sizeof *b);
    uint64_t seed = 77 + k + d;
    vq_quantizer *q;
    assert_true(map && b);
    for (size_t i = 0; i < (size_t)r * d; i++)
        map[i] = (float)test_uniform(&seed) - 0.5f;
    for (size_t j = 0; j < d; j++)
        b[j] = offset + (float)test_uniform(&seed);
    assert_ok(vq_simvq_create(&q, &form, map, bias ? b : NULL));
    *x = malloc((size_t)N * d * sizeof **x);
    assert_non_null(*x);
    for (size_t i = 0; i < (size_t)N * d; i++)
        (*x)[i] = (bias ? b[i % d] : 0) + (float)test_uniform(&seed) - 0.5f;
    free(map);
    free(b);
    return q;
}

static void test_same_codes_and_vectors(void **state)
{
    (void)state;
    static const struct {
        uint32_t k, d, r;
        int bias;
        float offset;
    } cases[] = {
        {1, 1, 1, 0, 0},         {3, 5, 2, 1, 0},          {300, D, D, 1, 0},
        {1000, 32, 8, 1, 0},     {1000, 9, 70, 0, 0},      {5000, 33, 33, 1, 2},
        {2000, 16, 16, 1, 1e4f}, {2000, 40, 130, 1, 1e4f},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        float *x;
        vq_quantizer *q =
            make(&x, cases[c].k, cases[c].d, cases[c].r, cases[c].bias, cases[c].offset);
        vq_quantizer *kept = as(q, VQ_SIMVQ_SEARCH_CODEWORDS),
                     *basis = as(kept, VQ_SIMVQ_SEARCH_BASIS);
        const size_t d = cases[c].d;
        uint32_t *codes = malloc(ROWS * sizeof *codes), *expected = malloc(ROWS * sizeof *expected);
        float *decoded = malloc(ROWS * d * sizeof *decoded),
              *should = malloc(ROWS * d * sizeof *should);
        assert_true(codes && expected && decoded && should);
        assert_non_null(vq_quantizer_codebook(kept, 0));
        assert_null(vq_quantizer_codebook(basis, 0));
        assert_ok(vq_quantize(expected, kept, x, ROWS, NULL));
        assert_ok(vq_quantize(codes, basis, x, ROWS, NULL));
        assert_memory_equal(codes, expected, ROWS * sizeof *codes);
        for (uint32_t i = 0; i < ROWS; i++)
            codes[i] = i % cases[c].k;
        assert_ok(vq_dequantize(should, kept, codes, ROWS, NULL));
        assert_ok(vq_dequantize(decoded, basis, codes, ROWS, NULL));
        assert_memory_equal(decoded, should, ROWS * d * sizeof *decoded);
        assert_ok(vq_quantize(expected, kept, decoded, ROWS, NULL));
        assert_ok(vq_quantize(codes, basis, decoded, ROWS, NULL));
        assert_memory_equal(codes, expected, ROWS * sizeof *codes);
        vq_quantizer_free(q);
        vq_quantizer_free(kept);
        vq_quantizer_free(basis);
        free(codes);
        free(expected);
        free(decoded);
        free(should);
        free(x);
    }
}

static void test_as_any_quantizer(void **state)
{
    (void)state;
    float *x;
    vq_quantizer *q = make(&x, 2000, 16, R, 1, 0), *basis = as(q, VQ_SIMVQ_SEARCH_BASIS);
    check_sameness(basis, x, 200);
    check_sameness(basis, x, 3);
    check_saving(basis, x, 100);
    check_bad_files(basis);
    x[5] = NAN;
    uint32_t code;
    assert_status(VQ_E_NONFINITE, vq_quantize(&code, basis, x, 1, NULL));
    x[5] = INFINITY;
    assert_status(VQ_E_NONFINITE, vq_quantize(&code, basis, x, 1, NULL));
    x[5] = 0;
    check_refusals(basis, x, 50);
    vq_quantizer_free(q);
    vq_quantizer_free(basis);
    free(x);
}

/* Which search a quantizer has by itself. */
static void test_which(void **state)
{
    (void)state;
    static const struct {
        uint32_t k, d, r;
        float offset;
        vq_simvq_search search;
    } cases[] = {
        {1 << 15, 128, 4, 0, VQ_SIMVQ_SEARCH_BASIS},
        {(1 << 15) - 1, 128, 4, 0, VQ_SIMVQ_SEARCH_CODEWORDS},
        {1 << 18, 16, 4, 0, VQ_SIMVQ_SEARCH_BASIS},
        {12799, 400, 4, 0, VQ_SIMVQ_SEARCH_CODEWORDS},
        {12800, 400, 4, 0, VQ_SIMVQ_SEARCH_BASIS},
        {1 << 18, 16, 17, 0, VQ_SIMVQ_SEARCH_CODEWORDS},
        {1 << 18, 16, 4, 1e7f,
         VQ_SIMVQ_SEARCH_CODEWORDS}, /* rounding moves them as far as the map */
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        float *x;
        vq_quantizer *q = make(&x, cases[c].k, cases[c].d, cases[c].r, 1, cases[c].offset), *again;
        assert_int_equal(vq_simvq_get_search(q), cases[c].search);
        assert_ok(vq_simvq_search_as(&again, q, VQ_SIMVQ_SEARCH_AUTO));
        assert_int_equal(vq_simvq_get_search(again), cases[c].search);
        vq_quantizer_free(again);
        vq_tensors *tensors = parts_saved(q, "");
        assert_ok(vq_quantizer_load(&again, tensors, "", NULL));
        assert_int_equal(vq_simvq_get_search(again), cases[c].search);
        vq_tensors_free(tensors);
        vq_quantizer_free(again);
        vq_quantizer_free(q);
        free(x);
    }
}

/* One step of training from a quantizer without codewords, as from one that has them. */
static void test_training_goes_on(void **state)
{
    (void)state;
    float *x;
    vq_quantizer *q = make(&x, 100, D, D, 1, 0), *basis = as(q, VQ_SIMVQ_SEARCH_BASIS);
    const vq_source rows = vq_source_from_memory(x, N, D);
    vq_kmeans_stats *stats;
    vq_codebook *one, *two;
    vq_quantizer *next, *other;
    assert_ok(vq_kmeans_stats_create(&stats, vq_quantizer_codebook(q, 0), NULL));
    assert_ok(vq_kmeans_stats_accumulate(stats, vq_quantizer_codebook(q, 0), &rows, 0, NULL, 1));
    assert_ok(vq_simvq_update(&next, q, stats, 0, 1));
    assert_ok(vq_simvq_update(&other, basis, stats, 0, 1));
    assert_equal(next, other); /* both have codewords */
    assert_ok(vq_simvq_shrink(&one, q, stats, 2));
    assert_ok(vq_simvq_shrink(&two, basis, stats, 2));
    assert_memory_equal(vq_codebook_codewords(one), vq_codebook_codewords(two),
                        100 * D * sizeof(float));
    vq_simvq_learn_opts opts = VQ_SIMVQ_LEARN_OPTS_INIT;
    vq_simvq_learner *learner;
    vq_quantizer *snapshot;
    assert_ok(vq_simvq_learner_create(&learner, basis, &opts));
    assert_ok(vq_simvq_learner_snapshot(&snapshot, learner));
    assert_equal(q, snapshot);
    vq_simvq_learner_free(learner);
    vq_quantizer_free(snapshot);
    vq_codebook_free(one);
    vq_codebook_free(two);
    vq_quantizer_free(next);
    vq_quantizer_free(other);
    vq_kmeans_stats_free(stats);
    vq_quantizer_free(q);
    vq_quantizer_free(basis);
    free(x);
}

/* What reads codebooks makes the codewords for itself. */
static void test_synonyms_and_tables(void **state)
{
    (void)state;
    float *x;
    vq_quantizer *q = make(&x, 100, D, 3, 1, 0), *basis = as(q, VQ_SIMVQ_SEARCH_BASIS);
    vq_synonyms *one, *two;
    vq_table_counts *counts;
    assert_ok(vq_synonyms_create(&one, q, 3, 0));
    assert_ok(vq_synonyms_create(&two, basis, 3, 0));
    for (uint32_t c = 0; c < 100; c++)
        assert_memory_equal(vq_synonyms_of(one, 0, c), vq_synonyms_of(two, 0, c),
                            3 * sizeof(uint32_t));
    vq_synonyms_free(one);
    vq_synonyms_free(two);
    assert_ok(vq_table_counts_create(&counts, basis));
    vq_table_counts_free(counts);
    vq_quantizer_free(q);
    vq_quantizer_free(basis);
    free(x);
}

static void test_refused(void **state)
{
    (void)state;
    static const float map[4] = {1e20f, 0, 0, 1e20f};
    const vq_simvq_form form = {sizeof form, 9, 2, 2, 1};
    float *x;
    vq_quantizer *q = make(&x, 10, 2, 2, 0, 0), *other, *flat;
    vq_codebook *codebook;
    assert_status(VQ_E_ARG, vq_simvq_search_as(&other, q, (vq_simvq_search)3));
    vq_kmeans_stats *stats;
    assert_status(VQ_E_ARG, vq_kmeans_stats_create(&stats, NULL, NULL));
    assert_null(stats);
    assert_null(other);
    assert_ok(vq_codebook_create(&codebook, x, 4, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_quantizer_from_codebook(&flat, codebook));
    assert_status(VQ_E_ARG, vq_simvq_search_as(&other, flat, VQ_SIMVQ_SEARCH_BASIS));
    assert_int_equal(vq_simvq_get_search(flat), VQ_SIMVQ_SEARCH_AUTO);
    vq_quantizer_free(q);
    assert_ok(vq_simvq_create(&q, &form, map, NULL)); /* too large for anything but the contract */
    assert_ok(vq_simvq_search_as(&other, q, VQ_SIMVQ_SEARCH_BASIS));
    assert_int_equal(vq_simvq_get_search(other), VQ_SIMVQ_SEARCH_CODEWORDS);
    vq_quantizer_free(other);
    vq_quantizer_free(q);
    vq_quantizer_free(flat);
    free(x);
}

static vq_status make_by_basis(vq_quantizer **out, const parts_life *life)
{
    return vq_simvq_search_as(out, life->how, VQ_SIMVQ_SEARCH_BASIS);
}

static vq_status encode_and_decode(void *context)
{
    parts_life *life = context;
    vq_quantizer *q = NULL;
    vq_status status = make_by_basis(&q, life);
    if (!status)
        status = vq_quantize(life->codes, q, life->x, life->n, NULL);
    if (!status)
        status = vq_dequantize(life->decoded, q, life->codes, life->n, NULL);
    vq_quantizer_free(q);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    enum { FEW = 20 };
    float *x, decoded[FEW * 16];
    uint32_t codes[FEW];
    vq_quantizer *q = make(&x, 1500, 16, R, 1, 0);
    parts_life life = {.how = q, .x = x, .n = FEW, .codes = codes, .decoded = decoded};
    test_allocation_failures(encode_and_decode, &life);
    vq_quantizer_free(q);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_codes_and_vectors),
        cmocka_unit_test(test_as_any_quantizer),
        cmocka_unit_test(test_which),
        cmocka_unit_test(test_training_goes_on),
        cmocka_unit_test(test_synonyms_and_tables),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
