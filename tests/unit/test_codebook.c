/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>

#include "test_support.h"

static const float three[] = {3, 4, -1, 0, 0.1f, -0.3f};

static void a_codebook_keeps_its_codewords(void **state)
{
    (void)state;
    vq_codebook *codebook;
    float mine[6];
    memcpy(mine, three, sizeof mine);
    assert_ok(vq_codebook_create(&codebook, mine, 3, 2, VQ_METRIC_DOT, VQ_DTYPE_F32));
    mine[0] = 99; /* it has a copy */
    assert_int_equal(vq_codebook_k(codebook), 3);
    assert_int_equal(vq_codebook_dim(codebook), 2);
    assert_int_equal(vq_codebook_metric(codebook), VQ_METRIC_DOT);
    assert_int_equal(vq_codebook_storage(codebook), VQ_DTYPE_F32);
    assert_memory_equal(vq_codebook_codewords(codebook), three, sizeof three);
    vq_codebook_free(codebook);
    vq_codebook_free(NULL);
    assert_string_equal(vq_metric_name(VQ_METRIC_COSINE), "cosine");
    assert_string_equal(vq_metric_name((vq_metric)7), "?");
}

static void codewords_are_rounded_to_their_storage(void **state)
{
    (void)state;
    static const vq_dtype storages[] = {VQ_DTYPE_F16, VQ_DTYPE_BF16};
    for (int s = 0; s < 2; s++) {
        vq_codebook *once, *twice;
        assert_ok(vq_codebook_create(&once, three, 3, 2, VQ_METRIC_EUCLIDEAN, storages[s]));
        const float *rounded = vq_codebook_codewords(once);
        assert_true(rounded[0] == 3 && rounded[1] == 4 && rounded[2] == -1);
        assert_true(rounded[4] != 0.1f);
        const float expected =
            s ? vq_bf16_to_f32(vq_f32_to_bf16(0.1f)) : vq_f16_to_f32(vq_f32_to_f16(0.1f));
        assert_true(rounded[4] == expected);
        assert_ok(vq_codebook_create(&twice, rounded, 3, 2, VQ_METRIC_EUCLIDEAN, storages[s]));
        assert_memory_equal(vq_codebook_codewords(twice), rounded, sizeof three);
        vq_codebook_free(once);
        vq_codebook_free(twice);
    }
}

static void cosine_codewords_have_unit_length(void **state)
{
    (void)state;
    const float tiny_and_huge[] = {3e-40f, -4e-40f, 3e38f, 3e38f};
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, three, 3, 2, VQ_METRIC_COSINE, VQ_DTYPE_F32));
    const float *c = vq_codebook_codewords(codebook);
    assert_true(c[0] == 0.6f && c[1] == 0.8f && c[2] == -1 && c[3] == 0);
    vq_codebook_free(codebook);
    assert_ok(vq_codebook_create(&codebook, tiny_and_huge, 2, 2, VQ_METRIC_COSINE, VQ_DTYPE_F32));
    c = vq_codebook_codewords(codebook);
    for (int i = 0; i < 2; i++)
        assert_true(fabs(hypot((double)c[2 * i], (double)c[2 * i + 1]) - 1) < 1e-6);
    vq_codebook_free(codebook);
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    vq_codebook *codebook;
    float bad[] = {1, 2, NAN, 4}, large[] = {1, 2, 70000, 4};
    const float zero[] = {1, 2, 0, -0.0f};
    assert_status(VQ_E_ARG,
                  vq_codebook_create(&codebook, three, 0, 2, VQ_METRIC_DOT, VQ_DTYPE_F32));
    assert_null(codebook);
    assert_status(VQ_E_ARG, vq_codebook_create(&codebook, three, (1u << 24) + 1, 2, VQ_METRIC_DOT,
                                               VQ_DTYPE_F32));
    assert_status(VQ_E_ARG,
                  vq_codebook_create(&codebook, three, 3, 0, VQ_METRIC_DOT, VQ_DTYPE_F32));
    assert_status(VQ_E_ARG, vq_codebook_create(&codebook, three, 3, 2, (vq_metric)3, VQ_DTYPE_F32));
    assert_status(VQ_E_ARG, vq_codebook_create(&codebook, three, 3, 2, VQ_METRIC_DOT, VQ_DTYPE_I8));
    assert_status(VQ_E_ARG,
                  vq_codebook_create(&codebook, zero, 2, 2, VQ_METRIC_COSINE, VQ_DTYPE_F32));
    assert_non_null(strstr(vq_last_error(), "codeword 1 "));
    for (int i = 0; i < 2; i++) {
        assert_status(VQ_E_NONFINITE,
                      vq_codebook_create(&codebook, bad, 2, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
        assert_non_null(strstr(vq_last_error(), "codeword 1 "));
        bad[2] = -INFINITY;
    }
    assert_status(VQ_E_NONFINITE,
                  vq_codebook_create(&codebook, large, 2, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F16));
    assert_null(codebook);
    assert_ok(vq_codebook_create(&codebook, large, 2, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_BF16));
    vq_codebook_free(codebook);
    large[2] = FLT_MAX; /* rounds up to infinity */
    assert_status(VQ_E_NONFINITE,
                  vq_codebook_create(&codebook, large, 2, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_BF16));
}

static vq_status create(void *context)
{
    vq_codebook *codebook;
    const vq_status status =
        vq_codebook_create(&codebook, three, 3, 2, *(const vq_metric *)context, VQ_DTYPE_F16);
    if (status && codebook)
        return VQ_OK; /* not what the sweep expects: on failure the output is NULL */
    vq_codebook_free(codebook);
    return status;
}

static void a_failed_allocation_is_reported(void **state)
{
    (void)state;
    for (vq_metric metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_DOT; metric++)
        test_allocation_failures(create, &metric);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_codebook_keeps_its_codewords),
        cmocka_unit_test(codewords_are_rounded_to_their_storage),
        cmocka_unit_test(cosine_codewords_have_unit_length),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(a_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
