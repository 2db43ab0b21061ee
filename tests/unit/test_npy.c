/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "io/file.h"
#include "io/npy.h"
#include "test_support.h"

/* A file by hand: header text and data as they are given. */
static vq_status parse(vq_tensors **out, int version, const char *header, const void *data,
                       size_t size)
{
    uint8_t file[512];
    const size_t length = strlen(header), preamble = version == 1 ? 10 : 12;
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (uint8_t)version;
    file[7] = 0;
    memset(file + 8, 0, 4);
    file[8] = (uint8_t)length;
    memcpy(file + preamble, header, length);
    memcpy(file + preamble + length, data, size);
    return vq_npy_parse(out, file, preamble + length + size, "a", NULL);
}

static void every_type_and_order_of_bytes_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        size_t size;
        uint8_t little[8]; /* the value -2, or 2 where there is no sign; 1 of bool */
        float value;
    } types[] = {
        {"b1", 1, {1}, 1},
        {"i1", 1, {0xfe}, -2},
        {"i2", 2, {0xfe, 0xff}, -2},
        {"i4", 4, {0xfe, 0xff, 0xff, 0xff}, -2},
        {"i8", 8, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, -2},
        {"u1", 1, {2}, 2},
        {"u2", 2, {2, 0}, 2},
        {"u4", 4, {2, 0, 0, 0}, 2},
        {"u8", 8, {2, 0, 0, 0, 0, 0, 0, 0}, 2},
        {"f2", 2, {0, 0xc0}, -2},
        {"f4", 4, {0, 0, 0, 0xc0}, -2},
        {"f8", 8, {0, 0, 0, 0, 0, 0, 0, 0xc0}, -2},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (const char *order = "<>|="; *order; order++) {
            uint8_t data[8];
            char header[128];
            for (size_t b = 0; b < types[i].size; b++)
                data[*order == '>' ? types[i].size - 1 - b : b] = types[i].little[b];
            snprintf(header, sizeof header,
                     "{'descr': '%c%s', 'fortran_order': False, 'shape': (1,), }\n", *order,
                     types[i].code);
            vq_tensors *set;
            assert_ok(parse(&set, 1, header, data, types[i].size));
            float value;
            assert_ok(vq_tensor_to_f32(&value, vq_tensors_find(set, "a"), 0, 1));
            assert_true(value == types[i].value);
            vq_tensors_free(set);
        }
}

static void fortran_order_becomes_row_major(void **state)
{
    (void)state;
    uint8_t data[24]; /* element (i, j, k) of 2 x 3 x 4 is i + 2 (j + 3 k) in the file */
    for (int i = 0; i < 24; i++)
        data[i] = (uint8_t)i;
    vq_tensors *set;
    assert_ok(parse(&set, 2, "{\"shape\": (2, 3, 4), \"fortran_order\": True, \"descr\": \"|u1\"}",
                    data, 24));
    const vq_tensor *a = vq_tensors_at(set, 0);
    assert_int_equal(a->ndim, 3);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++)
                assert_int_equal(((uint8_t *)a->data)[(i * 3 + j) * 4 + k], i + 2 * (j + 3 * k));
    vq_tensors_free(set);
    assert_ok(parse(&set, 3, "{'descr': '<f4', 'fortran_order': True, 'shape': (0, 5)}", "", 0));
    assert_int_equal(vq_tensors_at(set, 0)->count, 0);
    vq_tensors_free(set);
    assert_ok(parse(&set, 1, "{'descr':'|u1','fortran_order':True,'shape':()}", data, 1));
    assert_int_equal(vq_tensors_at(set, 0)->ndim, 0);
    assert_int_equal(vq_tensors_at(set, 0)->count, 1);
    vq_tensors_free(set);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    uint8_t bytes[96];
    for (int i = 0; i < 96; i++)
        bytes[i] = (uint8_t)(i * 29 % 120);
    const size_t shapes[4][3] = {{0}, {5}, {3, 4}, {2, 0, 7}};
    for (int d = VQ_DTYPE_F32; d <= VQ_DTYPE_BOOL; d++)
        for (uint32_t ndim = 0; ndim < 4; ndim++) {
            vq_tensors *set, *copy;
            vq_tensor *tensor;
            vq_bytes file;
            assert_ok(vq_tensors_create(&set));
            assert_ok(vq_tensors_add(&tensor, set, "a", (vq_dtype)d, ndim, shapes[ndim], bytes));
            assert_ok(vq_npy_serialize(&file, tensor));
            const size_t data =
                tensor->count * (d == VQ_DTYPE_BF16 ? 4 : vq_dtype_size((vq_dtype)d));
            assert_int_equal((file.size - data) % 64, 0);
            assert_ok(vq_npy_parse(&copy, file.data, file.size, "a", NULL));
            const vq_tensor *b = vq_tensors_at(copy, 0);
            assert_int_equal(b->dtype, d == VQ_DTYPE_BF16 ? VQ_DTYPE_F32 : d);
            assert_int_equal(b->ndim, ndim);
            assert_memory_equal(b->shape, tensor->shape, sizeof b->shape);
            for (size_t i = 0; i < b->count; i++) {
                float x, y;
                assert_ok(vq_tensor_to_f32(&x, tensor, i, 1));
                assert_ok(vq_tensor_to_f32(&y, b, i, 1));
                assert_true(x == y || (isnan(x) && isnan(y)));
            }
            vq_bytes_clear(&file);
            vq_tensors_free(set);
            vq_tensors_free(copy);
        }
}

static void real_files_are_read(void **state)
{
    (void)state;
    vq_tensors *set;
    assert_ok(
        vq_npy_read(&set, test_data("audio/lyra_soundstream_rvq/codebooks.npy"), "codebook", NULL));
    const vq_tensor *a = vq_tensors_find(set, "codebook");
    assert_int_equal(a->dtype, VQ_DTYPE_F32);
    assert_int_equal(a->ndim, 3);
    assert_int_equal(a->shape[0], 46);
    assert_int_equal(a->shape[1], 16);
    assert_int_equal(a->shape[2], 64);
    vq_tensors_free(set);
}

/* Files that NumPy wrote are parsed, written and parsed again; the data are the file's own. */
static void real_files_come_back(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t rows, columns;
    } files[] = {
        {"actions/adroit_door/action_00.npy", 300, 28},
        {"actions/franka_handwriting2d/e_0.npy", 1000, 2},
        {"actions/franka_robottasks/bottle2shelf_0.npy", 1000, 7},
        {"actions/g1_inspire_pick_bottle/state_013.npy", 342, 26},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *path = test_data(files[i].name);
        vq_tensors *set, *copy;
        vq_bytes bytes, original;
        assert_ok(vq_npy_read(&set, path, "a", NULL));
        assert_ok(vq_file_read(&original, path, NULL));
        const vq_tensor *a = vq_tensors_at(set, 0);
        assert_int_equal(a->dtype, VQ_DTYPE_F32);
        assert_int_equal(a->ndim, 2);
        assert_int_equal(a->shape[0], files[i].rows);
        assert_int_equal(a->shape[1], files[i].columns);
        assert_ok(vq_npy_serialize(&bytes, a));
        const size_t size = a->count * sizeof(float);
        assert_memory_equal(bytes.data + bytes.size - size, original.data + original.size - size,
                            size);
        assert_ok(vq_npy_parse(&copy, bytes.data, bytes.size, "a", NULL));
        assert_memory_equal(vq_tensors_at(copy, 0)->shape, a->shape, sizeof a->shape);
        assert_memory_equal(vq_tensors_at(copy, 0)->data, a->data, size);
        vq_tensors_free(copy);
        vq_bytes_clear(&original);
        vq_bytes_clear(&bytes);
        vq_tensors_free(set);
    }
}

static vq_status write_and_read(void *context)
{
    (void)context;
    const size_t shape[1] = {3};
    vq_tensors *set, *copy = NULL;
    vq_tensor *tensor;
    vq_bytes file = {NULL, 0};
    vq_status status = vq_tensors_create(&set);
    if (status)
        return status;
    status = vq_tensors_add(&tensor, set, "a", VQ_DTYPE_F32, 1, shape, NULL);
    if (!status)
        status = vq_npy_serialize(&file, tensor);
    if (!status)
        status = vq_npy_parse(&copy, file.data, file.size, "a", NULL);
    vq_bytes_clear(&file);
    vq_tensors_free(copy);
    vq_tensors_free(set);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    test_allocation_failures(write_and_read, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_and_order_of_bytes_is_read),
        cmocka_unit_test(fortran_order_becomes_row_major),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(real_files_are_read),
        cmocka_unit_test(real_files_come_back),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
