/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "rvq/residual.h"
#include "test_support.h"

static const float coarse[] = {-4, -4, 0, 0, 4, 4, 100, 100}, fine[] = {-1, 0, 1, 0};

static vq_status make_residual(vq_quantizer **out)
{
    vq_codebook *codebooks[2] = {NULL, NULL};
    vq_status status =
        vq_codebook_create(&codebooks[0], coarse, 4, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    if (!status)
        status = vq_codebook_create(&codebooks[1], fine, 2, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    if (!status)
        status = vq_residual_create(out, codebooks, 2);
    if (status) {
        vq_codebook_free(codebooks[0]);
        vq_codebook_free(codebooks[1]);
    }
    return status;
}

static const float x[] = {-5, -4, 5, 4, 1, 0, 3, 6};
static const uint32_t k[] = {4, 2};

static void figures_are_those_computed_by_hand(void **state)
{
    (void)state;
    vq_quantizer *q;
    vq_report *report;
    uint32_t codes[8];
    assert_ok(make_residual(&q));
    assert_ok(vq_quantize(codes, q, x, 4, NULL));
    const uint32_t expected[] = {0, 0, 2, 1, 1, 1, 2, 0};
    assert_memory_equal(codes, expected, sizeof codes);
    assert_ok(vq_report_create(&report, 2, k));
    assert_ok(vq_report_add(report, q, x, codes, 0));
    assert_ok(vq_report_add(report, q, x, codes, 1));
    assert_ok(vq_report_add(report, q, x + 2, codes + 2, 3));
    assert_int_equal(vq_report_vectors(report), 4);

    vq_level_report level;
    assert_ok(vq_report_level(&level, report, 0)); /* codes 0 2 1 2 */
    assert_int_equal(level.k, 4);
    assert_int_equal(level.used, 3);
    assert_int_equal(level.dead, 1);
    assert_true(level.utilisation == 0.75);
    assert_true(level.entropy_bits == 1.5);
    assert_true(fabs(level.perplexity - 2.8284271247461903) < 1e-12);
    assert_true(level.mse == (1 + 1 + 1 + 5) / 8.0);
    assert_true(fabs(level.snr_db - 10 * log10((41 + 41 + 1 + 45) / 8.0)) < 1e-12);
    assert_ok(vq_report_level(&level, report, 1)); /* the error left: (3, 6) - (3, 4) */
    assert_true(level.mse == 4 / 8.0);
    assert_true(level.entropy_bits == 1);
    assert_true(level.perplexity == 2);
    assert_status(VQ_E_ARG, vq_report_level(&level, report, 2));
    vq_report_free(report);
    vq_quantizer_free(q);
}

static void tokens_count_codes_and_have_no_error(void **state)
{
    (void)state;
    const size_t grid[] = {2, 3};
    vq_tokens *tokens;
    vq_report *report;
    vq_level_report level;
    assert_ok(vq_tokens_create(&tokens, 2, grid, 2, k));
    tokens->codes[0] = 3;
    tokens->codes[6] = 1; /* level 1 */
    assert_ok(vq_report_create(&report, 2, k));
    assert_ok(vq_report_level(&level, report, 0)); /* nothing yet */
    assert_int_equal(level.used, 0);
    assert_true(level.entropy_bits == 0);
    assert_ok(vq_report_add_tokens(report, tokens));
    assert_ok(vq_tokens_truncate(tokens, 1)); /* fewer levels than the report's */
    assert_ok(vq_report_add_tokens(report, tokens));
    assert_int_equal(vq_report_vectors(report), 12);
    assert_ok(vq_report_level(&level, report, 0));
    assert_int_equal(level.used, 2);
    const double p = 1 / 6.0;
    assert_true(fabs(level.entropy_bits + p * log2(p) + (1 - p) * log2(1 - p)) < 1e-12);
    assert_true(isnan(level.mse) && isnan(level.snr_db));
    assert_ok(vq_report_level(&level, report, 1));
    assert_true(fabs(level.entropy_bits + p * log2(p) + (1 - p) * log2(1 - p)) < 1e-12);
    vq_report_free(report);
    vq_tokens_free(tokens);
}

static void mistakes_are_refused_and_add_nothing(void **state)
{
    (void)state;
    vq_quantizer *q;
    vq_report *report;
    vq_level_report level;
    uint32_t codes[] = {0, 0, 1, 2};
    const uint32_t zero[] = {4, 0}, other[] = {4, 3};
    assert_status(VQ_E_ARG, vq_report_create(&report, 0, k));
    assert_status(VQ_E_ARG, vq_report_create(&report, VQ_MAX_LEVELS + 1, k));
    assert_status(VQ_E_ARG, vq_report_create(&report, 2, zero));
    assert_null(report);
    vq_report_free(NULL);
    assert_ok(make_residual(&q));
    assert_ok(vq_report_create(&report, 2, other));
    assert_status(VQ_E_ARG, vq_report_add(report, q, x, codes, 1));
    vq_report_free(report);
    assert_ok(vq_report_create(&report, 2, k));
    assert_status(VQ_E_RANGE, vq_report_add(report, q, x, codes, 2));
    assert_non_null(strstr(vq_last_error(), "row 1, level 1"));

    const size_t grid[] = {4};
    vq_tokens *tokens;
    assert_ok(vq_tokens_create(&tokens, 1, grid, 2, k));
    tokens->codes[7] = 2;
    assert_status(VQ_E_RANGE, vq_report_add_tokens(report, tokens));
    tokens->codes[7] = 0;
    tokens->k[1] = 3;
    assert_status(VQ_E_ARG, vq_report_add_tokens(report, tokens));
    vq_tokens_free(tokens);
    assert_int_equal(vq_report_vectors(report), 0);
    assert_ok(vq_report_level(&level, report, 0));
    assert_int_equal(level.used, 0);
    vq_report_free(report);
    vq_quantizer_free(q);
}

static vq_status whole_report(void *context)
{
    (void)context;
    vq_quantizer *q = NULL;
    vq_report *report = NULL;
    const uint32_t codes[] = {0, 0, 2, 1, 1, 1, 2, 0};
    vq_status status = make_residual(&q);
    if (!status)
        status = vq_report_create(&report, 2, k);
    if (!status)
        status = vq_report_add(report, q, x, codes, 4);
    vq_report_free(report);
    vq_quantizer_free(q);
    return status;
}

static void a_failed_allocation_is_reported(void **state)
{
    (void)state;
    test_allocation_failures(whole_report, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_computed_by_hand),
        cmocka_unit_test(tokens_count_codes_and_have_no_error),
        cmocka_unit_test(mistakes_are_refused_and_add_nothing),
        cmocka_unit_test(a_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
