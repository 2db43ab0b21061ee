/* SPDX-License-Identifier: Apache-2.0 */
#include "test_support.h"

static void names_are_spelled_as_in_the_header(void **state)
{
    (void)state;
    assert_string_equal(vq_status_name(VQ_OK), "VQ_OK");
    assert_string_equal(vq_status_name(VQ_E_MISMATCH), "VQ_E_MISMATCH");
    assert_string_equal(vq_status_name((vq_status)99), "VQ_E_?");
    assert_int_equal(VQ_E_CHECKSUM, 35);
}

static void limits_default_and_newer_structs(void **state)
{
    (void)state;
    vq_limits out;
    assert_int_equal(vq_limits_resolve(&out, NULL), VQ_OK);
    assert_int_equal(out.max_image_side, 16384);
    vq_limits mine = VQ_LIMITS_INIT;
    mine.max_dim = 7;
    assert_int_equal(vq_limits_resolve(&out, &mine), VQ_OK);
    assert_int_equal(out.max_dim, 7);
    mine.max_levels = VQ_MAX_LEVELS + 1;
    assert_int_equal(vq_limits_resolve(&out, &mine), VQ_E_ARG);
    assert_non_null(strstr(vq_last_error(), "max_levels"));
    mine.struct_size = 0;
    assert_int_equal(vq_limits_resolve(&out, &mine), VQ_E_ARG);

    struct {
        vq_limits known;
        uint64_t newer;
    } future = {VQ_LIMITS_INIT, 0};
    future.known.struct_size = sizeof future;
    assert_int_equal(vq_limits_resolve(&out, &future.known), VQ_OK);
    future.newer = 1;
    assert_int_equal(vq_limits_resolve(&out, &future.known), VQ_E_ARG);
}

static void tokens_are_checked(void **state)
{
    (void)state;
    const size_t grid[3] = {1, 2, 3};
    const uint32_t k[2] = {4, 2};
    vq_tokens *tokens;
    assert_int_equal(vq_tokens_create(&tokens, 3, grid, 0, k), VQ_E_ARG);
    assert_null(tokens);
    assert_int_equal(vq_tokens_create(&tokens, 3, grid, 2, k), VQ_OK);
    assert_int_equal(vq_tokens_positions(tokens), 6);
    assert_int_equal(vq_tokens_validate(tokens), VQ_OK);
    tokens->codes[6 + 5] = 2;
    assert_int_equal(vq_tokens_validate(tokens), VQ_E_RANGE);
    assert_int_equal(vq_tokens_truncate(tokens, 1), VQ_OK);
    assert_int_equal(vq_tokens_validate(tokens), VQ_OK);
    assert_int_equal(vq_tokens_truncate(tokens, 2), VQ_E_ARG);
    vq_tokens_free(tokens);
    vq_tokens_free(NULL);
}

static void signals_are_checked(void **state)
{
    (void)state;
    vq_signal *signal;
    const size_t five_channels[3] = {2, 2, 5}, huge[3] = {SIZE_MAX / 2, 3, 3}, fine[3] = {2, 3, 4};
    assert_int_equal(vq_signal_create(&signal, VQ_KIND_IMAGE, 3, five_channels), VQ_E_ARG);
    assert_int_equal(vq_signal_create(&signal, VQ_KIND_IMAGE, 3, huge), VQ_E_ARG);
    assert_int_equal(vq_signal_create(&signal, VQ_KIND_AUDIO, 3, fine), VQ_E_ARG);
    assert_null(signal);
    assert_int_equal(vq_signal_create(&signal, VQ_KIND_IMAGE, 3, fine), VQ_OK);
    assert_int_equal(vq_signal_count(signal), 24);
    vq_signal_free(signal);
}

static void cpu_masks_are_read(void **state)
{
    (void)state;
    uint32_t mask;
    assert_int_equal(vq_cpu_parse_mask(&mask, "none"), VQ_OK);
    vq_cpu_set_mask(mask);
    assert_int_equal(vq_cpu_flags(), 0);
    vq_cpu_set_mask(UINT32_MAX);
    assert_int_equal(vq_cpu_parse_mask(&mask, "sse9"), VQ_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_spelled_as_in_the_header),
        cmocka_unit_test(limits_default_and_newer_structs),
        cmocka_unit_test(tokens_are_checked),
        cmocka_unit_test(signals_are_checked),
        cmocka_unit_test(cpu_masks_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
