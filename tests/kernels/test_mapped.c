/* SPDX-License-Identifier: Apache-2.0 */
/* The search of codewords that are not kept, against the search of the same codewords kept: the same codes and scores. */
#include <omp.h>

#include "nearest_support.h"
#include "vq/mapped_internal.h"
#include "vq/simvq_internal.h"

static const vq_simvq_form shapes[] = {
    /* size, K, d, r, seed */
    {0, 1, 1, 1, 1},        {0, 1, 7, 3, 2},      {0, 17, 16, 16, 3},    {0, 64, 5, 9, 4},
    {0, 65, 33, 8, 5},      {0, 1000, 3, 1, 6},   {0, 1000, 12, 12, 7},  {0, 1500, 24, 8, 8},
    {0, 1100, 8, 31, 9},    {0, 2000, 40, 20, 1}, {0, 1025, 100, 64, 2}, {0, 4096, 48, 32, 3},
    {0, 700, 192, 160, 40},
};

typedef struct map {
    float *map, *bias;
} map;

static map make_map(const vq_simvq_form *form, family kind, int bias, uint64_t *seed)
{
    const uint32_t r = form->basis_dim, d = form->dim;
    map m = {malloc((size_t)r * d * sizeof(float)), bias ? malloc(d * sizeof(float)) : NULL};
    fill(m.map, r, d, kind == OFFSET ? GAUSSIAN : kind, seed);
    if (bias)
        fill(m.bias, 1, d, kind, seed);
    return m;
}

static void free_map(map *m)
{
    free(m->map);
    free(m->bias);
}

static vq_codebook *make_flat(const vq_simvq_form *form, const map *m)
{
    float *codewords = malloc((size_t)form->k * form->dim * sizeof *codewords);
    vq_codebook *flat = NULL;
    assert_ok(vqi_simvq_codewords(codewords, form, m->map, m->bias));
    assert_ok(vq_codebook_create(&flat, codewords, form->k, form->dim, VQ_METRIC_EUCLIDEAN,
                                 VQ_DTYPE_F32));
    free(codewords);
    return flat;
}

/* Into arrays that end where the answers do, so that a sanitizer sees a write beyond. */
static void check_rows(const vq_codebook *mapped, const vq_codebook *flat, const float *x, size_t n,
                       uint32_t wanted, int threads)
{
    const size_t count = n * wanted;
    uint32_t *codes = malloc(count * sizeof *codes), *expected = malloc(count * sizeof *expected);
    float *scores = malloc(count * sizeof *scores), *should = malloc(count * sizeof *should);
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    opts.threads = threads;
    assert_ok(vq_nearest_k(expected, should, flat, x, n, wanted, &opts));
    assert_ok(vq_nearest_k(codes, scores, mapped, x, n, wanted, &opts));
    assert_same_codes(expected, codes, count);
    assert_same_scores(should, scores, count);
    memset(codes, GUARD_BYTE, count * sizeof *codes);
    assert_ok(vq_nearest_k(codes, NULL, mapped, x, n, wanted, &opts));
    assert_same_codes(expected, codes, count);
    free(codes);
    free(expected);
    free(scores);
    free(should);
}

/* Rows near the codewords, and others; searched on every kernel set, with what each of them would keep. */
static size_t check_map(const vq_simvq_form *form, const map *m, family kind, uint64_t *seed)
{
    enum { ROWS = 29 };
    const uint32_t d = form->dim, k = form->k;
    vq_codebook *flat = make_flat(form, m);
    float *x = malloc((size_t)ROWS * d * sizeof *x);
    fill(x, ROWS, d, kind, seed);
    for (size_t i = 0; i < ROWS; i++) {
        const float *near = vq_codebook_codewords(flat) + test_random(seed) % k * d;
        for (size_t j = 0; i % 3 && j < d; j++)
            x[i * d + j] = near[j] * (i % 3 == 1 ? 1 : 1 + (float)test_uniform(seed) / 1000);
    }
    size_t searches = 0;
    for (size_t made = 0; made < COUNT(masks); made++) {
        vq_codebook *mapped;
        vq_cpu_set_mask(masks[made]);
        if (vq_cpu_flags() != masks[made])
            continue;
        assert_ok(vqi_mapped_create(&mapped, form, m->map, m->bias, 0));
        for (size_t s = 0; mapped && s < COUNT(masks); s++) {
            vq_cpu_set_mask(masks[s]);
            if (vq_cpu_flags() != masks[s])
                continue;
            check_rows(mapped, flat, x, ROWS, 1, 1);
            check_rows(mapped, flat, x, ROWS, k < 5 ? k : 5, 3);
            check_rows(mapped, flat, x, 3, 1, 4);
            searches += 3;
        }
        vq_codebook_free(mapped);
    }
    vq_cpu_set_mask(UINT32_MAX);
    vq_codebook_free(flat);
    free(x);
    return searches;
}

static void codes_and_scores_are_those_of_the_codewords(void **state)
{
    (void)state;
    uint64_t seed = 1;
    size_t searches = 0;
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int bias = 0; bias < 2; bias++) {
            map m = make_map(&shapes[s], GAUSSIAN, bias, &seed);
            searches += check_map(&shapes[s], &m, GAUSSIAN, &seed);
            free_map(&m);
        }
    assert_true(searches >= COUNT(shapes) * 2 * 3);
}

static void bounds_hold_on_hard_maps(void **state)
{
    (void)state;
    static const vq_simvq_form form[] = {{0, 300, 6, 4, 1}, {0, 600, 16, 16, 2}};
    uint64_t seed = 5;
    for (size_t f = 0; f < COUNT(form); f++)
        for (family kind = GAUSSIAN; kind < TOO_LARGE; kind++)
            for (family rows = GAUSSIAN; rows < FAMILIES; rows++) {
                if (rows != GAUSSIAN && rows != kind && rows != TOO_LARGE)
                    continue;
                map m = make_map(&form[f], kind, 1, &seed);
                /* Of which none would be so large that a mapped search is refused. */
                for (size_t i = 0; i < (size_t)form[f].basis_dim * form[f].dim; i++)
                    m.map[i] = fmaxf(fminf(m.map[i], 1e15f), -1e15f);
                for (size_t i = 0; i < form[f].dim; i++)
                    m.bias[i] = fmaxf(fminf(m.bias[i], 1e15f), -1e15f);
                assert_true(check_map(&form[f], &m, rows, &seed) > 0);
                free_map(&m);
            }
}

/* Codewords that are all the same, or on a line: every row has more candidates than there is room for. */
static void ties_go_to_the_lowest_code(void **state)
{
    (void)state;
    static const vq_simvq_form form = {0, 2500, 16, 16, 2};
    uint64_t seed = 9;
    for (int kind = 0; kind < 3; kind++) {
        map m = make_map(&form, GAUSSIAN, 1, &seed);
        for (size_t i = 0; i < 16; i++)
            for (size_t j = 0; j < 16; j++)
                m.map[i * 16 + j] *= kind == 0 ? 0 : kind == 1 ? i == 0 : j == 0;
        assert_true(check_map(&form, &m, GAUSSIAN, &seed) > 0);
        free_map(&m);
    }
}

static void many_codewords_and_rows(void **state)
{
    (void)state;
    static const vq_simvq_form form = {0, 1 << 16, 32, 16, 3};
    enum { ROWS = 250 };
    uint64_t seed = 2;
    map m = make_map(&form, GAUSSIAN, 1, &seed);
    vq_codebook *mapped, *flat = make_flat(&form, &m);
    float *x = malloc((size_t)ROWS * form.dim * sizeof *x);
    fill_gaussian(x, (size_t)ROWS * form.dim, &seed);
    for (int few = 0; few < 2; few++) { /* made with and without what the fastest filter reads */
        vq_cpu_set_mask(few ? 0 : UINT32_MAX);
        assert_ok(vqi_mapped_create(&mapped, &form, m.map, m.bias, 1));
        assert_non_null(mapped);
        for (int now = 0; now < 2; now++) {
            vq_cpu_set_mask(now ? 0 : UINT32_MAX);
            check_rows(mapped, flat, x, ROWS, 1, 0);
            check_rows(mapped, flat, x, 40, VQ_NEAREST_K_MAX, 2);
        }
        vq_cpu_set_mask(UINT32_MAX);
        vq_codebook_free(mapped);
    }
    vq_codebook_free(flat);
    free(x);
    free_map(&m);
}

/* Few codewords are made for a row: the bounds are as good as they are meant to be. */
static void few_lanes_stay_open(void **state)
{
    (void)state;
    static const vq_simvq_form form = {0, 1 << 15, 64, 64, 3};
    enum { ROWS = VQI_BLOCK };
    uint64_t seed = 4;
    map m = make_map(&form, GAUSSIAN, 1, &seed);
    vq_codebook *mapped;
    vq_tensors *memory; /* for 64-byte alignment */
    vq_tensor *scratch;
    float *x = malloc((size_t)ROWS * form.dim * sizeof *x);
    uint32_t codes[ROWS];
    fill_gaussian(x, (size_t)ROWS * form.dim, &seed);
    for (size_t i = 0; i < (size_t)ROWS * form.dim; i++)
        x[i] += m.bias[i % form.dim];
    assert_ok(vqi_mapped_create(&mapped, &form, m.map, m.bias, 1));
    assert_ok(vq_tensors_create(&memory));
    const size_t bytes = vqi_shortlist_scratch(mapped, ROWS, 1);
    assert_ok(vq_tensors_add(&scratch, memory, "scratch", VQ_DTYPE_U8, 1, &bytes, NULL));
    const vqi_kernels kernels = vqi_nearest_kernels(mapped, ROWS);
    vqi_shortlist *list =
        vqi_shortlist_begin(scratch->data, mapped, &kernels, kernels.coarse, x, ROWS, 1);
    vqi_shortlist_search(list, 0, form.k / VQI_GROUP);
    const size_t lanes = vqi_shortlist_finish(list, codes, NULL);
    assert_true(lanes >= ROWS);
    assert_true(lanes < 60 * ROWS);
    vq_tensors_free(memory);
    vq_codebook_free(mapped);
    free(x);
    free_map(&m);
}

static void maps_that_it_cannot_serve(void **state)
{
    (void)state;
    static const vq_simvq_form form = {0, 100, 4, 4, 1};
    float w[16] = {0}, bias[4] = {0};
    vq_codebook *mapped;
    for (int i = 0; i < 4; i++)
        w[i * 5] = 1e19f; /* squares would come too near to overflow */
    assert_ok(vqi_mapped_create(&mapped, &form, w, NULL, 0));
    assert_null(mapped);
    for (int i = 0; i < 4;
         i++) { /* small beside the bias: rounding moves codewords as far as the map does */
        w[i * 5] = 1;
        bias[i] = 1e7f;
    }
    assert_ok(vqi_mapped_create(&mapped, &form, w, bias, 1));
    assert_null(mapped);
    assert_ok(vqi_mapped_create(&mapped, &form, w, bias, 0));
    assert_non_null(mapped);
    vq_codebook_free(mapped);
    for (int i = 0; i < 16; i++)
        w[i] = 3e38f;
    assert_status(VQ_E_NONFINITE, vqi_mapped_create(&mapped, &form, w, NULL, 0));
    assert_null(mapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_and_scores_are_those_of_the_codewords),
        cmocka_unit_test(bounds_hold_on_hard_maps),
        cmocka_unit_test(ties_go_to_the_lowest_code),
        cmocka_unit_test(many_codewords_and_rows),
        cmocka_unit_test(few_lanes_stay_open),
        cmocka_unit_test(maps_that_it_cannot_serve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
