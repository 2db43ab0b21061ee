/* SPDX-License-Identifier: Apache-2.0 */
/* The matrices of a head in their storage types. */
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

void vqi_rows_clear(vqi_rows *rows)
{
    vq_free(rows->data);
    vq_free(rows->scale);
    vq_free(rows->bias);
    *rows = (vqi_rows){0};
}

vq_status vqi_rows_allocate(vqi_rows *rows, size_t n, uint32_t d, vq_dtype dtype)
{
    size_t count = 0;
    *rows = (vqi_rows){.n = n, .d = d, .dtype = dtype};
    const int fits = vqi_mul(&count, n, d);
    rows->data = fits ? vqi_alloc(count, vq_dtype_size(dtype)) : NULL;
    if (dtype == VQ_DTYPE_I8)
        rows->scale = vqi_alloc(n, sizeof *rows->scale);
    if (rows->data && (rows->scale || dtype != VQ_DTYPE_I8))
        return VQ_OK;
    vqi_rows_clear(rows);
    return vqi_fail_nomem((unsigned long long)n * d * vq_dtype_size(dtype));
}

static void set_bytes(int8_t *out, float *scale, const float *x, size_t d)
{
    float most = 0;
    for (size_t i = 0; i < d; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    *scale = most / 127;
    /* A row of denormals would have a scale of none; it is one of zeros. */
    const double per_step = *scale > 0 ? 1 / (double)*scale : 0;
    for (size_t i = 0; i < d; i++)
        out[i] = (int8_t)fmin(fmax(nearbyint(x[i] * per_step), -127), 127);
}

int vqi_rows_set(vqi_rows *rows, size_t row, const float *x)
{
    const size_t d = rows->d;
    float bad = 0;
    for (size_t i = 0; i < d; i++)
        bad += x[i] * 0.0f;
    if (bad != 0)
        return 0;
    if (rows->dtype == VQ_DTYPE_F32) {
        memcpy((float *)rows->data + row * d, x, d * sizeof *x);
        return 1;
    }
    if (rows->dtype == VQ_DTYPE_I8) {
        set_bytes((int8_t *)rows->data + row * d, rows->scale + row, x, d);
        return 1;
    }
    uint16_t *half = (uint16_t *)rows->data + row * d;
    const uint16_t infinity = rows->dtype == VQ_DTYPE_F16 ? 0x7c00 : 0x7f80;
    int overflow = 0;
    for (size_t i = 0; i < d; i++) {
        half[i] = rows->dtype == VQ_DTYPE_F16 ? vq_f32_to_f16(x[i]) : vq_f32_to_bf16(x[i]);
        overflow |= (half[i] & infinity) == infinity;
    }
    return !overflow;
}

void vqi_rows_get(float *x, const vqi_rows *rows, size_t row)
{
    const size_t d = rows->d;
    const vq_tensor view = vq_tensor_from_memory(rows->data, rows->dtype, rows->n, d);
    vq_tensor_to_f32(x, &view, row * d, d);
    for (size_t i = 0; rows->scale && i < d; i++)
        x[i] *= rows->scale[row];
}

/* |row|^2 as it is stored, without the scale. */
static double square_of(const vqi_rows *rows, size_t row)
{
    enum { PIECE = 512 };
    const size_t d = rows->d;
    const vq_tensor view = vq_tensor_from_memory(rows->data, rows->dtype, rows->n, d);
    float x[PIECE];
    double square = 0;
    for (size_t begin = 0; begin < d; begin += PIECE) {
        const size_t count = d - begin < PIECE ? d - begin : PIECE;
        vq_tensor_to_f32(x, &view, row * d + begin, count);
        for (size_t i = 0; i < count; i++)
            square += (double)x[i] * x[i];
    }
    return square;
}

void vqi_rows_measure(vqi_rows *rows, int threads)
{
    double largest = 0;
    const int team = vqi_threads(threads, rows->n / 256 + 1);
#pragma omp parallel for num_threads(team) reduction(max : largest)
    for (size_t r = 0; r < rows->n; r++) {
        /* The partial sums of int8 rows are not scaled yet: they must not overflow either. */
        const double scale = rows->scale && rows->scale[r] > 1 ? (double)rows->scale[r] : 1;
        const double length = sqrt(square_of(rows, r)) * scale;
        largest = length > largest ? length : largest;
    }
    rows->largest = largest * (1 + 0x1p-20);
    rows->most_bias = 0;
    for (size_t r = 0; rows->bias && r < rows->n; r++)
        rows->most_bias = fmaxf(rows->most_bias, fabsf(rows->bias[r]));
}

vq_status vqi_rows_fill(vqi_rows *rows, const vq_tensor *tensor, const uint32_t *order, int threads)
{
    const size_t d = rows->d, n = rows->n;
    const int team = vqi_threads(threads, n / 256 + 1);
    float *buffers = vqi_alloc((size_t)team * d, sizeof *buffers);
    if (!buffers)
        return vqi_fail_nomem((unsigned long long)team * d * sizeof *buffers);
    size_t bad = n;
#pragma omp parallel for num_threads(team) reduction(min : bad)
    for (size_t r = 0; r < n; r++) {
        float *x = buffers + (size_t)omp_get_thread_num() * d;
        const size_t from = order ? order[r] : r;
        vq_tensor_to_f32(x, tensor, from * d, d);
        if (!vqi_rows_set(rows, r, x))
            bad = from < bad ? from : bad;
    }
    vq_free(buffers);
    if (bad < n)
        return vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity, or overflows %s", bad,
                        vq_dtype_name(rows->dtype));
    return VQ_OK;
}
