/* SPDX-License-Identifier: Apache-2.0 */
#include "io/file.h"
#include "io/safetensors.h"
#include "test_support.h"

/* One tensor of every type, an empty one and a scalar, and settings that need escaping. */
static vq_tensors *make_set(void)
{
    vq_tensors *set;
    assert_ok(vq_tensors_create(&set));
    uint8_t bytes[48];
    for (int i = 0; i < 48; i++)
        bytes[i] = (uint8_t)(i * 37);
    const size_t shape[2] = {2, 3}, none[1] = {0};
    for (int d = VQ_DTYPE_F32; d <= VQ_DTYPE_BOOL; d++)
        assert_ok(
            vq_tensors_add(NULL, set, vq_dtype_name((vq_dtype)d), (vq_dtype)d, 2, shape, bytes));
    assert_ok(vq_tensors_add(NULL, set, "empty", VQ_DTYPE_F64, 1, none, NULL));
    assert_ok(vq_tensors_add(NULL, set, "scalar \"\xc3\xa9\"", VQ_DTYPE_I64, 0, NULL, bytes));
    assert_ok(vq_tensors_set(set, "kind", "flat"));
    assert_ok(vq_tensors_set(set, "note", "a \"quoted\"\n\xe2\x82\xac text"));
    assert_ok(vq_tensors_set_uint(set, "levels", 3));
    return set;
}

static void assert_same_set(const vq_tensors *a, const vq_tensors *b)
{
    assert_int_equal(vq_tensors_count(a), vq_tensors_count(b));
    for (size_t i = 0; i < vq_tensors_count(a); i++) {
        const vq_tensor *x = vq_tensors_at(a, i), *y = vq_tensors_at(b, i);
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->dtype, y->dtype);
        assert_int_equal(x->ndim, y->ndim);
        assert_memory_equal(x->shape, y->shape, x->ndim * sizeof *x->shape);
        if (x->count)
            assert_memory_equal(x->data, y->data, x->count * vq_dtype_size(x->dtype));
    }
    const char *key, *value;
    size_t settings = 0;
    for (; !vq_tensors_setting_at(&key, &value, a, settings); settings++)
        assert_string_equal(vq_tensors_get(b, key), value);
    assert_status(VQ_E_ARG, vq_tensors_setting_at(&key, &value, b, settings));
}

static void a_set_comes_back(void **state)
{
    (void)state;
    vq_tensors *set = make_set(), *copy;
    vq_bytes bytes, again;
    assert_ok(vq_safetensors_serialize(&bytes, set));
    assert_int_equal((8 + bytes.data[0] + 256 * bytes.data[1]) % 64, 0);
    assert_ok(vq_safetensors_parse(&copy, bytes.data, bytes.size, "set", NULL));
    assert_same_set(set, copy);
    assert_ok(vq_safetensors_serialize(&again, copy));
    assert_int_equal(bytes.size, again.size);
    assert_memory_equal(bytes.data, again.data, bytes.size);
    vq_bytes_clear(&again);
    vq_bytes_clear(&bytes);
    vq_tensors_free(copy);
    vq_tensors_free(set);
}

/* Files that another program wrote: their own settings are kept, and they need no seal. */
static void foreign_files_are_read(void **state)
{
    (void)state;
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                 "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]},"
                                 "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}  ";
    uint8_t file[256] = {sizeof header - 1};
    memcpy(file + 8, header, sizeof header - 1);
    const float one = 1.0f;
    memcpy(file + 8 + sizeof header - 1, &one, 4);
    const size_t size = 8 + sizeof header - 1 + 6;
    vq_tensors *set;
    assert_ok(vq_safetensors_parse(&set, file, size, NULL, NULL));
    assert_string_equal(vq_tensors_get(set, "format"), "pt");
    assert_string_equal(vq_tensors_at(set, 0)->name, "a");
    float value;
    assert_ok(vq_tensor_to_f32(&value, vq_tensors_find(set, "a"), 0, 1));
    assert_true(value == 1.0f);
    vq_tensors_free(set);
    assert_status(VQ_E_FORMAT, vq_safetensors_parse(&set, file, size - 1, "cut", NULL));
    assert_non_null(strstr(vq_last_error(), "cut: "));
    assert_null(set);
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_tensors = 1;
    assert_status(VQ_E_LIMIT, vq_safetensors_parse(&set, file, size, NULL, &limits));
    limits.max_tensors = 2;
    limits.max_alloc_bytes = 3;
    assert_status(VQ_E_LIMIT, vq_safetensors_parse(&set, file, size, NULL, &limits));
    limits.max_alloc_bytes = 4;
    limits.max_header_bytes = sizeof header - 2;
    assert_status(VQ_E_LIMIT, vq_safetensors_parse(&set, file, size, NULL, &limits));
    limits.max_header_bytes = sizeof header - 1;
    limits.max_json_depth = 2;
    assert_status(VQ_E_LIMIT, vq_safetensors_parse(&set, file, size, NULL, &limits));
    limits.max_json_depth = 3;
    assert_ok(vq_safetensors_parse(&set, file, size, NULL, &limits));
    vq_tensors_free(set);
}

static void sample_files_are_read(void **state)
{
    (void)state;
    vq_tensors *set;
    assert_ok(vq_safetensors_read(&set, test_data("lm/code_lm/head.safetensors"), NULL));
    const vq_tensor *rows = vq_tensors_find(set, "rows");
    assert_non_null(rows);
    assert_int_equal(rows->dtype, VQ_DTYPE_F16);
    assert_int_equal(rows->shape[0], 16384);
    assert_int_equal(rows->shape[1], 256);
    vq_tensors_free(set);
}

/* A file of ours that was changed anywhere, data or settings, is refused. */
static void the_seal_covers_every_byte(void **state)
{
    (void)state;
    vq_tensors *set = make_set(), *copy;
    vq_bytes bytes;
    assert_ok(vq_safetensors_serialize(&bytes, set));
    bytes.data[bytes.size - 1] ^= 1;
    assert_status(VQ_E_CHECKSUM, vq_safetensors_parse(&copy, bytes.data, bytes.size, "set", NULL));
    bytes.data[bytes.size - 1] ^= 1;
    char *levels = strstr((char *)bytes.data + 8, "\\\"levels\\\":\\\"3");
    assert_non_null(levels);
    levels[strlen("\\\"levels\\\":\\\"")] = '4';
    assert_status(VQ_E_CHECKSUM, vq_safetensors_parse(&copy, bytes.data, bytes.size, "set", NULL));
    levels[strlen("\\\"levels\\\":\\\"")] = '3';
    char *seal = strstr((char *)bytes.data + 8, "libvq_sha256");
    assert_non_null(seal);
    seal[0] = 'L';
    assert_status(VQ_E_FORMAT, vq_safetensors_parse(&copy, bytes.data, bytes.size, "set", NULL));
    assert_null(copy);
    vq_bytes_clear(&bytes);
    vq_tensors_free(set);
}

static vq_status build_write_and_read(void *context)
{
    (void)context;
    vq_tensors *set = NULL, *copy = NULL;
    vq_bytes bytes = {NULL, 0};
    const size_t shape[1] = {3};
    vq_status status = vq_tensors_create(&set);
    if (!status)
        status = vq_tensors_add(NULL, set, "a", VQ_DTYPE_F16, 1, shape, NULL);
    if (!status)
        status = vq_tensors_set(set, "kind", "flat");
    if (!status)
        status = vq_safetensors_serialize(&bytes, set);
    if (!status)
        status = vq_safetensors_parse(&copy, bytes.data, bytes.size, "a", NULL);
    vq_bytes_clear(&bytes);
    vq_tensors_free(copy);
    vq_tensors_free(set);
    return status;
}

/* Ours: jansson 2.14 ignores it when its token buffer cannot grow, so its own cannot be swept. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    test_allocation_failures(build_write_and_read, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_comes_back),          cmocka_unit_test(foreign_files_are_read),
        cmocka_unit_test(sample_files_are_read),     cmocka_unit_test(the_seal_covers_every_byte),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
