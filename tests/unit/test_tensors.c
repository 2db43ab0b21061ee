/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <math.h>

#include "io/safetensors.h"
#include "test_support.h"
#include "vq/memory_internal.h"

static void tensors_are_found_and_refused(void **state)
{
    (void)state;
    vq_tensors *set;
    assert_ok(vq_tensors_create(&set));
    const size_t shape[2] = {2, 3}, huge[2] = {SIZE_MAX / 2, 3};
    char name[16];
    for (int i = 0; i < 100; i++) {
        vq_tensor *tensor;
        snprintf(name, sizeof name, "t%d", i);
        assert_ok(vq_tensors_add(&tensor, set, name, VQ_DTYPE_F32, 2, shape, NULL));
        assert_int_equal(tensor->count, 6);
        ((float *)tensor->data)[5] = (float)i;
    }
    assert_int_equal(vq_tensors_count(set), 100);
    assert_true(((float *)vq_tensors_find(set, "t42")->data)[5] == 42.0f);
    assert_string_equal(vq_tensors_at(set, 99)->name, "t99");
    assert_null(vq_tensors_at(set, 100));
    assert_null(vq_tensors_find(set, "t100"));
    assert_status(VQ_E_ARG, vq_tensors_add(NULL, set, "t5", VQ_DTYPE_F32, 2, shape, NULL));
    assert_status(VQ_E_ARG, vq_tensors_add(NULL, set, "", VQ_DTYPE_F32, 2, shape, NULL));
    assert_status(VQ_E_ARG, vq_tensors_add(NULL, set, "x", VQ_DTYPE_F32, 2, huge, NULL));
    assert_status(VQ_E_ARG, vq_tensors_add(NULL, set, "x", VQ_DTYPE_F32, 9, shape, NULL));
    assert_status(VQ_E_ARG, vq_tensors_add(NULL, set, "x", (vq_dtype)13, 2, shape, NULL));
    float out[2];
    assert_ok(vq_tensor_to_f32(out, vq_tensors_at(set, 3), 4, 2));
    assert_true(out[1] == 3.0f);
    assert_status(VQ_E_ARG, vq_tensor_to_f32(out, vq_tensors_at(set, 3), 5, 2));
    assert_status(VQ_E_ARG, vq_tensor_to_f32(out, vq_tensors_at(set, 3), 7, SIZE_MAX));
    vq_tensors_free(set);
    vq_tensors_free(NULL);
}

static void settings_are_replaced_and_read_as_numbers(void **state)
{
    (void)state;
    vq_tensors *set;
    uint64_t value = 7;
    assert_ok(vq_tensors_create(&set));
    assert_null(vq_tensors_get(set, "levels"));
    assert_ok(vq_tensors_set_uint(set, "levels", UINT64_MAX));
    assert_ok(vq_tensors_get_uint(&value, set, "levels", 0, UINT64_MAX));
    assert_true(value == UINT64_MAX);
    assert_status(VQ_E_FORMAT, vq_tensors_get_uint(&value, set, "levels", 1, 64));
    static const char *const bad[] = {"",   "-1",  "+1",  " 1",
                                      "1 ", "0x1", "1.0", "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_ok(vq_tensors_set(set, "levels", bad[i]));
        assert_status(VQ_E_FORMAT, vq_tensors_get_uint(&value, set, "levels", 0, UINT64_MAX));
    }
    assert_status(VQ_E_FORMAT, vq_tensors_get_uint(&value, set, "none", 0, 1));
    assert_non_null(strstr(vq_last_error(), "none"));
    const char *key, *text;
    assert_ok(vq_tensors_setting_at(&key, &text, set, 0));
    assert_string_equal(key, "levels");
    assert_status(VQ_E_ARG, vq_tensors_setting_at(&key, &text, set, 1));
    vq_tensors_free(set);
}

/* Every half survives the way to float32 and back; ties, overflow and subnormals round as IEEE 754 says. */
static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = vq_f16_to_f32((uint16_t)h), b = vq_bf16_to_f32((uint16_t)h);
        if (!isnan(f))
            assert_int_equal(vq_f32_to_f16(f), h);
        else
            assert_true(isnan(vq_f16_to_f32(vq_f32_to_f16(f))));
        if (!isnan(b))
            assert_int_equal(vq_f32_to_bf16(b), h);
        else
            assert_true(isnan(vq_bf16_to_f32(vq_f32_to_bf16(b))));
    }
    assert_int_equal(vq_f32_to_f16(1.0f), 0x3c00);
    assert_int_equal(vq_f32_to_f16(1.0f + 0x1p-11f), 0x3c00);     /* a tie, to even */
    assert_int_equal(vq_f32_to_f16(1.0f + 0x1.8p-10f), 0x3c02);   /* a tie, to even, upwards */
    assert_int_equal(vq_f32_to_f16(1.0f + 0x1.002p-11f), 0x3c01); /* just above a tie */
    assert_int_equal(vq_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(vq_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(vq_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(vq_f32_to_f16(0x1p-24f), 1);
    assert_int_equal(vq_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(vq_f32_to_f16(0x1.8p-25f), 1);
    assert_int_equal(vq_f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(vq_f32_to_bf16(3.3895e38f), 0x7f7f);
    assert_int_equal(vq_f32_to_bf16(3.4028e38f), 0x7f80);
}

static vq_status fill_a_set(void *context)
{
    (void)context;
    vq_tensors *set;
    const size_t shape[1] = {4};
    vq_status status = vq_tensors_create(&set);
    char name[16];
    for (int i = 0; !status && i < 20; i++) {
        snprintf(name, sizeof name, "t%d", i);
        status = vq_tensors_add(NULL, set, name, VQ_DTYPE_U8, 1, shape, "abcd");
        if (!status)
            status = vq_tensors_set(set, name, "value");
        if (!status)
            status = vq_tensors_set(set, name, "another");
    }
    vq_tensors_free(set);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    test_allocation_failures(fill_a_set, NULL);
}

/* Sets that PyTorch saved come back from our own files, value by value. */
static void real_sets_come_back(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t count;
    } files[] = {
        {"lm/safetensors_samples/moshi_test_lm_codes.safetensors", 1},
        {"lm/safetensors_samples/moshi_test_lm_model.safetensors", 54},
        {"lm/safetensors_samples/moshi_test_lm_out.safetensors", 4},
    };
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        vq_tensors *set, *copy;
        vq_bytes bytes;
        assert_ok(vq_safetensors_read(&set, test_data(files[f].name), NULL));
        assert_int_equal(vq_tensors_count(set), files[f].count);
        assert_ok(vq_safetensors_serialize(&bytes, set));
        assert_ok(vq_safetensors_parse(&copy, bytes.data, bytes.size, "copy", NULL));
        assert_int_equal(vq_tensors_count(copy), files[f].count);
        for (size_t i = 0; i < files[f].count; i++) {
            const vq_tensor *a = vq_tensors_at(set, i), *b = vq_tensors_find(copy, a->name);
            assert_non_null(b);
            assert_int_equal(a->dtype, b->dtype);
            assert_int_equal(a->ndim, b->ndim);
            assert_memory_equal(a->shape, b->shape, sizeof a->shape);
            assert_memory_equal(a->data, b->data, a->count * vq_dtype_size(a->dtype));
        }
        vq_tensors_free(copy);
        vq_bytes_clear(&bytes);
        vq_tensors_free(set);
    }
}

static void *json_alloc(size_t size)
{
    return vqi_alloc(size, 1);
}

static vq_status write_a_set(void *context)
{
    vq_bytes bytes;
    const vq_status status = vq_safetensors_serialize(&bytes, context);
    vq_bytes_clear(&bytes);
    return status;
}

/* Writing with jansson's allocations among ours. */
static void every_allocation_of_jansson_may_fail(void **state)
{
    (void)state;
    const size_t shape[2] = {2, 2};
    vq_tensors *set;
    assert_ok(vq_tensors_create(&set));
    assert_ok(vq_tensors_add(NULL, set, "a", VQ_DTYPE_U8, 2, shape, "abcd"));
    assert_ok(vq_tensors_add(NULL, set, "b", VQ_DTYPE_U8, 0, NULL, "e"));
    assert_ok(vq_tensors_set(set, "kind", "flat"));
    json_malloc_t old_alloc;
    json_free_t old_free;
    json_get_alloc_funcs(&old_alloc, &old_free);
    json_set_alloc_funcs(json_alloc, vq_free);
    test_allocation_failures(write_a_set, set);
    json_set_alloc_funcs(old_alloc, old_free);
    vq_tensors_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_found_and_refused),
        cmocka_unit_test(settings_are_replaced_and_read_as_numbers),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(real_sets_come_back),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_allocation_of_jansson_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
