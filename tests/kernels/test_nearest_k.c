/* SPDX-License-Identifier: Apache-2.0 */
/* The k nearest codes, and searches of so few rows that the threads share out the codewords. */
#include "nearest_support.h"

typedef struct ranked {
    float key; /* smaller is better; infinity = overflowed */
    float score;
    uint32_t code;
} ranked;

static int by_rank(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->code < b->code ? -1 : a->code > b->code;
}

static void reference_ranks(ranked *ranks, const vq_codebook *codebook, const float *x)
{
    const vq_metric metric = vq_codebook_metric(codebook);
    const uint32_t k = vq_codebook_k(codebook), d = vq_codebook_dim(codebook);
    for (uint32_t c = 0; c < k; c++) {
        const float s =
            reference_score(metric, x, vq_codebook_codewords(codebook) + (size_t)c * d, d);
        const float key = metric == VQ_METRIC_EUCLIDEAN ? s : -s;
        ranks[c] = (ranked){key < INFINITY ? key : INFINITY, s, c};
    }
    qsort(ranks, k, sizeof *ranks, by_rank);
}

/* All kinds of data, all metrics, every kernel set: the k nearest in their order. */
static void the_k_nearest_are_those_of_the_contract(void **state)
{
    (void)state;
    static const uint32_t shapes[][2] = {{64, 3}, {700, 20}, {1100, 33}};
    static const uint32_t counts[] = {1, 2, 5, 64};
    enum { N = 7, MOST = 1100 };
    static ranked ranks[N * MOST];
    uint64_t seed = 5;
    for (int kind = 0; kind < FAMILIES; kind++)
        for (size_t s = 0; s < COUNT(shapes); s++)
            for (size_t mi = 0; mi < COUNT(metrics); mi++) {
                const uint32_t k = shapes[s][0], d = shapes[s][1];
                float *codewords = malloc((size_t)k * d * sizeof(float));
                float *x = malloc((size_t)N * d * sizeof(float));
                fill(codewords, k, d, (family)kind, &seed);
                fill(x, N, d, (family)kind, &seed);
                if (metrics[mi] == VQ_METRIC_COSINE)
                    for (uint32_t c = 0; c < k; c++)
                        codewords[(size_t)c * d] += codewords[(size_t)c * d] == 0;
                vq_codebook *codebook;
                assert_ok(
                    vq_codebook_create(&codebook, codewords, k, d, metrics[mi], VQ_DTYPE_F32));
                for (size_t i = 0; i < N; i++)
                    reference_ranks(ranks + i * MOST, codebook, x + i * d);
                for (size_t m = 0; m < COUNT(masks); m++)
                    for (size_t ci = 0; ci < COUNT(counts); ci++) {
                        vq_cpu_set_mask(masks[m]);
                        const uint32_t count = counts[ci];
                        uint32_t codes[N * 64];
                        float scores[N * 64];
                        vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
                        opts.exhaustive = (int)(ci + m) % 3 == 0;
                        assert_ok(vq_nearest_k(codes, scores, codebook, x, N, count, &opts));
                        for (size_t i = 0; i < N; i++)
                            for (uint32_t j = 0; j < count; j++) {
                                const ranked *rank = &ranks[i * MOST + j];
                                assert_int_equal(codes[i * count + j], rank->code);
                                if (!isnan(rank->score))
                                    assert_same_scores(&rank->score, &scores[i * count + j], 1);
                            }
                    }
                vq_cpu_set_mask(UINT32_MAX);
                vq_codebook_free(codebook);
                free(codewords);
                free(x);
            }
}

/* With few rows the threads share out the codewords. */
static void one_row_is_searched_by_all_threads_alike(void **state)
{
    (void)state;
    enum { K = 20000, D = 24, N = 70 };
    problem p = make_problem(K, D, N, VQ_METRIC_EUCLIDEAN);
    uint32_t expected[N], codes[N * 3];
    float expected_scores[N], scores[N * 3];
    for (size_t i = 0; i < N; i++)
        reference(expected + i, expected_scores + i, p.codebook, p.x + i * D);
    for (size_t m = 0; m < COUNT(masks); m++)
        for (int threads = 1; threads < 8; threads += 2)
            for (size_t n = 1; n <= N; n += 1 + n / 2) {
                vq_cpu_set_mask(masks[m]);
                vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
                opts.threads = threads;
                assert_ok(vq_nearest(codes, scores, p.codebook, p.x, n, &opts));
                assert_same_codes(expected, codes, n);
                assert_same_scores(expected_scores, scores, n);
                assert_ok(vq_nearest_k(codes, scores, p.codebook, p.x, n, 3, &opts));
                for (size_t i = 0; i < n; i++)
                    assert_int_equal(codes[3 * i], expected[i]);
            }
    vq_cpu_set_mask(UINT32_MAX);
    p.x[3 * D] = NAN;
    assert_status(VQ_E_NONFINITE, vq_nearest(codes, NULL, p.codebook, p.x, 5, NULL));
    assert_non_null(strstr(vq_last_error(), "row 3 "));
    free_problem(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_k_nearest_are_those_of_the_contract),
        cmocka_unit_test(one_row_is_searched_by_all_threads_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
