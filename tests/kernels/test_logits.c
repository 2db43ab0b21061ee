/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of logits against the portable one: the same bits, on awkward sizes, with guards around every output. */
#include <math.h>

#include "test_support.h"
#include "vq/cpu.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"

enum { ROWS = 29, GUARD = 77 };

static float number(uint64_t *seed)
{
    const double u = test_uniform(seed);
    const float x = (float)(test_uniform(seed) * 2 - 1);
    return u < 0.02 ? 0 : u < 0.04 ? x * 1e-40f : u < 0.06 ? x * 1e-20f : u < 0.1 ? x * 300 : x;
}

static void make(vqi_rows *rows, uint32_t d, vq_dtype dtype, int with_bias, uint64_t *seed)
{
    float *x = malloc(d * sizeof *x);
    assert_ok(vqi_rows_allocate(rows, ROWS, d, dtype));
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t i = 0; i < d; i++)
            x[i] = r == 4 ? 0 : number(seed);
        assert_true(vqi_rows_set(rows, r, x));
    }
    if (with_bias) {
        float *bias = vqi_alloc(ROWS, sizeof *bias);
        for (size_t r = 0; r < ROWS; r++)
            bias[r] = number(seed);
        rows->bias = bias;
    }
    free(x);
}

static void compare(const vqi_rows *rows, const vqi_logit_kernels *kernels, uint64_t *seed)
{
    const size_t d8 = vqi_padded(rows->d);
    float *h = calloc(VQI_STATES * d8, sizeof *h), *packed = calloc(VQI_STATES * d8, sizeof *h);
    static float want[VQI_STATES * VQI_HEAD_BLOCK], got[VQI_STATES * VQI_HEAD_BLOCK];
    for (size_t s = 0; s < VQI_STATES; s++)
        for (size_t i = 0; i < rows->d; i++)
            packed[i * VQI_STATES + s] = h[s * d8 + i] = number(seed);
    for (size_t first = 0; first < ROWS; first += 5)
        for (size_t count = 0; first + count <= ROWS; count++) {
            for (size_t i = 0; i < VQI_STATES * VQI_HEAD_BLOCK; i++)
                want[i] = got[i] = GUARD;
            vqi_logit_portable.many(want, rows, first, count, packed);
            kernels->many(got, rows, first, count, packed);
            assert_memory_equal(want, got, sizeof want);
            for (size_t s = 0; s < VQI_STATES; s++) {
                float out[ROWS + 1];
                out[count] = GUARD;
                kernels->one(out, rows, first, count, h + s * d8);
                assert_memory_equal(out, want + s * VQI_HEAD_BLOCK, count * sizeof *out);
                assert_true(out[count] == GUARD);
            }
        }
    free(packed);
    free(h);
}

static void test_kernels(void **state)
{
    (void)state;
    const uint32_t dims[] = {1, 2, 7, 8, 9, 15, 16, 17, 64, 100, 511, 512, 513, 520, 1031};
    const vq_dtype dtypes[] = {VQ_DTYPE_F32, VQ_DTYPE_F16, VQ_DTYPE_BF16, VQ_DTYPE_I8};
    const uint32_t masks[] = {0, VQ_CPU_AVX2, UINT32_MAX};
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (size_t t = 0; t < sizeof dtypes / sizeof *dtypes; t++) {
            vqi_rows rows;
            make(&rows, dims[i], dtypes[t], (int)(i & 1), &seed);
            for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
                vq_cpu_set_mask(masks[m]);
                compare(&rows, vqi_logit_kernels_now(), &seed);
            }
            vqi_rows_clear(&rows);
        }
    vq_cpu_set_mask(UINT32_MAX);
}

/* Sums of exponentials, and what is found in them, against the machine's library. */
static void test_mass(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (size_t n = 1; n < 300; n += 7) {
        float x[300];
        for (size_t i = 0; i < n; i++)
            x[i] = (float)(test_uniform(&seed) * 60 - 50);
        for (float scale = 0.25f; scale < 9; scale *= 2) {
            double sum = 0, reached = 0;
            for (size_t i = 0; i < n; i++)
                sum += exp((double)x[i] * scale);
            const vqi_mass mass = vqi_mass_of(x, n, scale);
            assert_true(fabs(vqi_mass_log(mass) - log(sum)) < 2e-6);
            for (size_t i = 0; i < n; i++) {
                const double w = exp((double)x[i] * scale) / sum;
                if (w > 1e-3)
                    assert_int_equal(vqi_mass_pick(x, n, scale, reached + w / 2), i);
                reached += w;
            }
        }
    }
    vqi_mass all = VQI_NO_MASS;
    vqi_mass_add(&all, VQI_NO_MASS);
    assert_true(all.sum == 0);
    const float far[3] = {-200, 0, 100};
    for (size_t i = 0; i < 3; i++)
        vqi_mass_add(&all, vqi_mass_of(far + i, 1, 1));
    assert_true(vqi_mass_log(all) == 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels), cmocka_unit_test(test_mass)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
