/* SPDX-License-Identifier: Apache-2.0 */
/* The search of short rows gives the contract's codes, or leaves the row open; and where it serves it decides most. */
#include <math.h>

#include "test_support.h"
#include "vq/codebook_internal.h"
#include "vq/nearest_internal.h"
#include "vq/short_internal.h"

enum { ROWS = 96, GUARD = 32 };

/* The kernels that this processor has, each of which a mask makes the one that serves. */
typedef struct kernel {
    vqi_short_search *search;
    uint32_t mask;
} kernel;

static kernel kernels[2];
static size_t kernel_count;

/* Without the instructions there is nothing to test. */
static void need_kernel(void)
{
    kernel_count = 0;
#if defined(__x86_64__)
    if (vq_cpu_flags() & VQ_CPU_AVX2)
        kernels[kernel_count++] = (kernel){vqi_short_avx2, VQ_CPU_AVX2 | VQ_CPU_AVX512};
    if (vq_cpu_flags() & VQ_CPU_VNNI)
        kernels[kernel_count++] = (kernel){vqi_short_vnni, UINT32_MAX};
#endif
    if (!kernel_count)
        skip();
}

typedef enum shape { UNIFORM, FAR_AWAY, UNEVEN, TIED, NEAR_DUPLICATES, DENORMAL, SHAPES } shape;

static void fill(float *out, size_t n, uint32_t d, shape s, uint64_t *seed)
{
    for (size_t i = 0; i < n * d; i++) {
        double value = test_uniform(seed) - 0.5;
        if (s == FAR_AWAY)
            value += 1e4;
        if (s == UNEVEN)
            value *= exp2(-(double)(i % d));
        if (s == TIED)
            value = floor(value * 4);
        if (s == NEAR_DUPLICATES) /* two points, a unit in the last place apart in some elements */
            value = (value < -0.45 ? 0x1p-23 : 0) + (i / d % 2 ? 1 : -3);
        if (s == DENORMAL)
            value *= 1e-40;
        out[i] = (float)value;
    }
}

/* One search against what the contract says of every codeword. @return how many rows were left open. */
static size_t compare_one(const uint32_t *expected, vqi_short_search *search,
                          const vq_codebook *codebook, const float *x, size_t rows)
{
    uint32_t codes[ROWS + 2 * GUARD], open[ROWS + GUARD];
    for (size_t i = 0; i < ROWS + 2 * GUARD; i++)
        codes[i] = 0xa5a5a5a5;
    for (size_t i = 0; i < ROWS + GUARD; i++)
        open[i] = 0xa5a5a5a5;
    const size_t left = search(codes + GUARD, open, codebook, &vqi_contract_portable, x, rows);
    assert_true(left <= rows);
    for (size_t i = left; i < ROWS + GUARD; i++)
        assert_int_equal(open[i], 0xa5a5a5a5);
    for (size_t i = 0, at = 0; i < rows; i++)
        if (at < left && open[at] == i)
            at++;
        else
            assert_int_equal(codes[GUARD + i], expected[i]);
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(codes[i], 0xa5a5a5a5);
        assert_int_equal(codes[GUARD + rows + i], 0xa5a5a5a5);
    }
    return left;
}

/* Every kernel, with the rows at the end of their memory. @return how many rows were left open, of most kernels. */
static size_t compare(const vq_codebook *codebook, const float *x, size_t rows)
{
    const size_t floats = rows * vq_codebook_dim(codebook);
    float *own = malloc(floats * sizeof *own); /* so that a sanitizer sees a step beyond */
    uint32_t expected[ROWS];
    size_t most = 0;
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    assert_non_null(own);
    memcpy(own, x, floats * sizeof *own);
    opts.exhaustive = 1;
    assert_ok(vq_nearest(expected, NULL, codebook, x, rows, &opts));
    for (size_t i = 0; i < kernel_count; i++) {
        const size_t left = compare_one(expected, kernels[i].search, codebook, own, rows);
        most = left > most ? left : most;
    }
    free(own);
    return most;
}

/* Masks say which kernel serves. */
static void masks_choose_the_kernel(void **state)
{
    (void)state;
    need_kernel();
    enum { K = 40, D = 8 };
    float c[K * D];
    uint64_t seed = 4;
    for (size_t i = 0; i < K * D; i++)
        c[i] = (float)test_uniform(&seed);
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, c, K, D, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    for (size_t i = 0; i < kernel_count; i++) {
        vq_cpu_set_mask(kernels[i].mask);
        assert_true(vqi_nearest_kernels(codebook, ROWS).few == kernels[i].search);
    }
    vq_cpu_set_mask(0);
    assert_null(vqi_nearest_kernels(codebook, ROWS).few);
    vq_cpu_set_mask(UINT32_MAX);
    vq_codebook_free(codebook);
}

static void the_contract_decides_the_same(void **state)
{
    (void)state;
    need_kernel();
    enum { MOST = 3 * VQI_SHORT_PIECE };
    static const uint32_t sizes[] = {1, 2, 15, 16, 17, 63, 256, 1000, 4096, 4097, MOST - 5};
    static const size_t counts[] = {1, 15, 16, 17, 31, 33, 48, 49, 64, 95, 96};
    static float c[MOST * VQI_SHORT_DIM], x[ROWS * VQI_SHORT_DIM];
    uint64_t seed = 1;
    for (uint32_t d = 1; d <= VQI_SHORT_DIM; d++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int s = 0; s < SHAPES; s++) {
                const uint32_t k = sizes[i];
                const vq_metric metric = (vq_metric)(test_random(&seed) % 3);
                fill(c, k, d, (shape)s, &seed);
                fill(x, ROWS, d, (shape)s, &seed);
                for (uint32_t j = 0; metric == VQ_METRIC_COSINE && j < k; j++)
                    c[j * d] += c[j * d] == 0; /* no zero codeword */
                vq_codebook *codebook;
                assert_ok(vq_codebook_create(&codebook, c, k, d, metric, VQ_DTYPE_F32));
                assert_non_null(codebook->few);
                const size_t rows = counts[test_random(&seed) % 11];
                const size_t left = compare(codebook, x, rows);
                if (s == UNIFORM && d >= 8 && k > 1 && k <= 256 && metric == VQ_METRIC_EUCLIDEAN &&
                    rows >= 48)
                    assert_true(left <= rows / 4);
                vq_codebook_free(codebook);
            }
}

/* A row that is not finite, or enormous, leaves its neighbours open too; nothing else happens to them. */
static void odd_rows_are_left_open(void **state)
{
    (void)state;
    need_kernel();
    enum { K = 100, D = 7 };
    static float c[K * D], x[ROWS * D];
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -1e30f, 1e-42f};
    uint64_t seed = 2;
    fill(c, K, D, UNIFORM, &seed);
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, c, K, D, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        for (size_t row = 0; row < ROWS; row += 13) {
            uint32_t codes[ROWS], open[ROWS];
            fill(x, ROWS, D, UNIFORM, &seed);
            x[row * D + row % D] = odd[i];
            if (isfinite(odd[i])) {
                compare(codebook, x, ROWS);
                continue;
            }
            for (size_t k = 0; k < kernel_count; k++) {
                const size_t left =
                    kernels[k].search(codes, open, codebook, &vqi_contract_portable, x, ROWS);
                int found = 0;
                for (size_t j = 0; j < left; j++)
                    found |= open[j] == row;
                assert_true(found);
            }
            assert_status(VQ_E_NONFINITE, vq_nearest(codes, NULL, codebook, x, ROWS, NULL));
        }
    vq_codebook_free(codebook);
}

/* Codebooks that it cannot tell apart: of one point, of denormals, too large. */
static void odd_codebooks(void **state)
{
    (void)state;
    need_kernel();
    enum { K = 40, D = 5 };
    static float c[K * D], x[ROWS * D];
    const float scales[] = {0, 1e-44f, 1e-30f, 1e-20f, 1e-10f, 1e10f, 1e17f, 1e25f};
    uint64_t seed = 3;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
        for (size_t j = 0; j < sizeof scales / sizeof *scales; j++) {
            fill(c, K, D, UNIFORM, &seed);
            fill(x, ROWS, D, UNIFORM, &seed);
            for (size_t e = 0; e < K * D; e++)
                c[e] *= scales[i];
            for (size_t e = 0; e < ROWS * D; e++)
                x[e] *= scales[j];
            vq_codebook *codebook;
            assert_ok(vq_codebook_create(&codebook, c, K, D, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
            uint32_t codes[ROWS], expected[ROWS];
            float scores[ROWS], expected_scores[ROWS];
            vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
            if (codebook->few)
                compare(codebook, x, ROWS);
            assert_ok(vq_nearest(codes, scores, codebook, x, ROWS, &opts));
            opts.exhaustive = 1;
            assert_ok(vq_nearest(expected, expected_scores, codebook, x, ROWS, &opts));
            assert_memory_equal(codes, expected, sizeof codes);
            assert_memory_equal(scores, expected_scores, sizeof scores);
            vq_codebook_free(codebook);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_choose_the_kernel),
        cmocka_unit_test(the_contract_decides_the_same),
        cmocka_unit_test(odd_rows_are_left_open),
        cmocka_unit_test(odd_codebooks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
