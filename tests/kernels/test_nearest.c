/* SPDX-License-Identifier: Apache-2.0 */
/* The search against a plain reading of the contract in vq/codebook.h, on every kernel set and number of threads. */
#include <omp.h>

#include "nearest_support.h"

static void assert_guards(const unsigned char *block, size_t bytes)
{
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(block[i], GUARD_BYTE);
        assert_int_equal(block[GUARD + bytes + i], GUARD_BYTE);
    }
}

/* Search into guarded arrays and compare with what the reference said. */
static void check_search(const vq_codebook *codebook, const float *x, size_t n,
                         const uint32_t *codes, const float *scores, int exhaustive)
{
    const size_t bytes = n * 4;
    unsigned char *code_block = malloc(bytes + 2 * GUARD), *score_block = malloc(bytes + 2 * GUARD);
    memset(code_block, GUARD_BYTE, bytes + 2 * GUARD);
    memset(score_block, GUARD_BYTE, bytes + 2 * GUARD);
    uint32_t *found = (uint32_t *)(void *)(code_block + GUARD);
    float *found_scores = (float *)(void *)(score_block + GUARD);
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    opts.exhaustive = exhaustive;
    assert_ok(vq_nearest(found, found_scores, codebook, x, n, &opts));
    assert_same_codes(codes, found, n);
    assert_same_scores(scores, found_scores, n);
    assert_guards(score_block, bytes);
    memset(found, GUARD_BYTE, bytes);
    assert_ok(vq_nearest(found, NULL, codebook, x, n, &opts));
    assert_same_codes(codes, found, n);
    assert_guards(code_block, bytes);
    free(code_block);
    free(score_block);
}

static void every_kernel_set_gives_the_contract_bits(void **state)
{
    (void)state;
    static const uint32_t ds[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 64, 100, 192};
    static const uint32_t ks[] = {1, 2, 3, 17, 64, 1000};
    static const size_t ns[] = {1, 5, 33};
    uint64_t seed = 1;
    size_t compared = 0, offset = 0;
    for (size_t di = 0; di < COUNT(ds); di++)
        for (size_t ki = 0; ki < COUNT(ks); ki++)
            for (size_t mi = 0; mi < COUNT(metrics); mi++) {
                const uint32_t d = ds[di], k = ks[ki];
                float *codewords = malloc((size_t)k * d * sizeof(float));
                fill_gaussian(codewords, (size_t)k * d, &seed);
                vq_codebook *codebook;
                assert_ok(
                    vq_codebook_create(&codebook, codewords, k, d, metrics[mi], VQ_DTYPE_F32));
                for (size_t ni = 0; ni < COUNT(ns); ni++) {
                    /* The block ends where the rows end, so that a sanitizer sees a read beyond. */
                    const size_t n = ns[ni];
                    offset = (offset + 1) % 16;
                    float *block = malloc((offset + n * d) * sizeof(float));
                    float *x = block + offset;
                    fill_gaussian(x, n * d, &seed);
                    uint32_t codes[33];
                    float scores[33];
                    for (size_t i = 0; i < n; i++)
                        reference(codes + i, scores + i, codebook, x + i * d);
                    for (size_t m = 0; m < COUNT(masks); m++) {
                        vq_cpu_set_mask(masks[m]);
                        if (vq_cpu_flags() != masks[m])
                            continue;
                        check_search(codebook, x, n, codes, scores, 1);
                        check_search(codebook, x, n, codes, scores, 0);
                        compared += 4 * n;
                    }
                    free(block);
                }
                vq_codebook_free(codebook);
                free(codewords);
            }
    vq_cpu_set_mask(UINT32_MAX);
    assert_true(compared >= 10000);
}

/* 12800 real hidden states of 128 elements; 1024 of them are the codebook. */
static void real_features_have_the_same_codes_on_every_path(void **state)
{
    (void)state;
    enum { K = 1024, D = 128, N = 3000, HEADER = 128 };
    FILE *file = fopen(test_data("lm/charrnn_shakespeare/hidden.npy"), "rb");
    float *x = malloc(sizeof(float) * (N + K) * D);
    assert_int_equal(fseek(file, HEADER, SEEK_SET), 0);
    assert_int_equal(fread(x, sizeof(float) * D, N + K, file), N + K);
    fclose(file);
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, x + N * D, K, D, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    uint32_t *expected = malloc(N * sizeof *expected), *codes = malloc(N * sizeof *codes);
    for (size_t m = 0; m < COUNT(masks); m++) {
        vq_cpu_set_mask(masks[m]);
        vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
        opts.exhaustive = m == 0;
        assert_ok(vq_nearest(m ? codes : expected, NULL, codebook, x, N, &opts));
        if (m)
            assert_same_codes(expected, codes, N);
    }
    vq_cpu_set_mask(UINT32_MAX);
    vq_codebook_free(codebook);
    free(expected);
    free(codes);
    free(x);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7, 0};
    problem p = make_problem(400, 48, 3001, VQ_METRIC_EUCLIDEAN);
    uint32_t *expected = malloc(p.n * sizeof *expected), *codes = malloc(p.n * sizeof *codes);
    float *expected_scores = malloc(p.n * sizeof(float)), *scores = malloc(p.n * sizeof(float));
    for (size_t i = 0; i < p.n; i++)
        reference(expected + i, expected_scores + i, p.codebook, p.x + i * 48);
    for (size_t m = 0; m < COUNT(masks); m++)
        for (size_t t = 0; t < COUNT(threads); t++) {
            vq_cpu_set_mask(masks[m]);
            vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
            opts.threads = threads[t];
            assert_ok(vq_nearest(codes, scores, p.codebook, p.x, p.n, &opts));
            assert_same_codes(expected, codes, p.n);
            assert_same_scores(expected_scores, scores, p.n);
        }
    vq_cpu_set_mask(UINT32_MAX);
    free(expected);
    free(codes);
    free(expected_scores);
    free(scores);
    free_problem(&p);
}

static void the_first_row_that_is_not_finite_is_named(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    problem p = make_problem(400, 48, 1000, VQ_METRIC_EUCLIDEAN);
    uint32_t codes[1000];
    for (size_t b = 0; b < COUNT(bad); b++)
        for (int exhaustive = 0; exhaustive < 2; exhaustive++)
            for (uint32_t column = 0; column < 48; column += 47) {
                float *low = p.x + 321 * 48 + column, *high = p.x + 999 * 48 + column;
                const float kept[2] = {*low, *high};
                *low = *high = bad[b];
                vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
                opts.exhaustive = exhaustive;
                opts.threads = 2;
                assert_status(VQ_E_NONFINITE, vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts));
                assert_non_null(strstr(vq_last_error(), "row 321 "));
                *low = kept[0];
                *high = kept[1];
            }
    assert_ok(vq_nearest(codes, NULL, p.codebook, p.x, p.n, NULL));
    free_problem(&p);
}

static void a_workspace_is_enough_and_is_checked(void **state)
{
    (void)state;
    problem p = make_problem(400, 48, 1000, VQ_METRIC_EUCLIDEAN);
    uint32_t codes[1000], expected[1000];
    assert_ok(vq_nearest(expected, NULL, p.codebook, p.x, p.n, NULL));
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    opts.threads = 2;
    opts.workspace_size = vq_nearest_workspace(p.codebook, p.n, 2);
    assert_true(opts.workspace_size > 0);
    opts.workspace = aligned_alloc(64, opts.workspace_size);

    test_allocator a = {0, 0, 0, true};
    const vq_allocator failing = {failing_alloc, failing_free, &a};
    vq_set_allocator(&failing);
    const vq_status whole = vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts);
    /* One made for n serves any fewer. */
    vq_status fewer = VQ_OK;
    for (size_t n = 1; n < p.n && !fewer; n += 13)
        fewer = vq_nearest(codes, NULL, p.codebook, p.x, n, &opts);
    vq_set_allocator(NULL);
    assert_status(VQ_OK, whole);
    assert_status(VQ_OK, fewer);
    assert_int_equal(a.calls, 0);
    assert_same_codes(expected, codes, p.n);

    opts.workspace_size--;
    assert_status(VQ_E_ARG, vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts));
    opts.workspace_size++;
    void *aligned = opts.workspace;
    opts.workspace = (char *)aligned + 4;
    assert_status(VQ_E_ARG, vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts));
    free(aligned);
    free_problem(&p);
    vq_cpu_set_mask(UINT32_MAX);
}

static vq_status search_once(void *context)
{
    const problem *p = context;
    uint32_t codes[1000];
    return vq_nearest(codes, NULL, p->codebook, p->x, p->n, NULL);
}

static void a_failed_allocation_is_reported(void **state)
{
    (void)state;
    problem p = make_problem(400, 48, 1000, VQ_METRIC_EUCLIDEAN);
    test_allocation_failures(search_once, &p);
    free_problem(&p);
    vq_cpu_set_mask(UINT32_MAX);
}

static void a_search_leaves_the_settings_of_openmp_alone(void **state)
{
    (void)state;
    problem p = make_problem(400, 48, 1000, VQ_METRIC_EUCLIDEAN);
    uint32_t codes[1000];
    const int before = omp_get_max_threads();
    omp_set_num_threads(3);
    for (int threads = 0; threads < 3; threads++) {
        vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
        opts.threads = threads;
        assert_ok(vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts));
        assert_int_equal(omp_get_max_threads(), 3);
    }
    omp_set_num_threads(before);
    free_problem(&p);
    vq_cpu_set_mask(UINT32_MAX);
}

static void edges_of_the_call(void **state)
{
    (void)state;
    problem p = make_problem(3, 4, 2, VQ_METRIC_COSINE);
    uint32_t codes[2] = {9, 9};
    float scores[2];
    assert_ok(vq_nearest(codes, scores, p.codebook, NULL, 0, NULL));
    assert_int_equal(codes[0], 9);
    memset(p.x, 0,
           4 * sizeof(float)); /* no direction: every score is 0, and the lowest code wins */
    assert_ok(vq_nearest(codes, scores, p.codebook, p.x, 2, NULL));
    assert_int_equal(codes[0], 0);
    assert_true(scores[0] == 0);
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    opts.threads = -1;
    assert_status(VQ_E_ARG, vq_nearest(codes, scores, p.codebook, p.x, 2, &opts));
    opts = (vq_search_opts){0};
    assert_status(VQ_E_ARG, vq_nearest(codes, scores, p.codebook, p.x, 2, &opts));
    assert_status(VQ_E_ARG, vq_nearest_k(codes, scores, p.codebook, p.x, 1, 0, NULL));
    assert_status(VQ_E_ARG, vq_nearest_k(codes, scores, p.codebook, p.x, 1, 4, NULL));
    free_problem(&p);
    p = make_problem(100, 4, 1, VQ_METRIC_EUCLIDEAN);
    assert_status(VQ_E_ARG, vq_nearest_k(codes, scores, p.codebook, p.x, 1, 65, NULL));
    free_problem(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_set_gives_the_contract_bits),
        cmocka_unit_test(real_features_have_the_same_codes_on_every_path),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(the_first_row_that_is_not_finite_is_named),
        cmocka_unit_test(a_workspace_is_enough_and_is_checked),
        cmocka_unit_test(a_failed_allocation_is_reported),
        cmocka_unit_test(a_search_leaves_the_settings_of_openmp_alone),
        cmocka_unit_test(edges_of_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
