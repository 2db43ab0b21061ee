/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of vq/logits.h in plain C: the specification, for processors without a kernel of their own. */
#include <string.h>

#include "vq/logits_internal.h"

/* fma(a, b, c), rounded once. Without hardware for it: the product is exact in double, and a sum rounded to odd in 53 bits
 * rounds to 24 as the exact one does (Boldo and Melquiond 2008). Sums stay far from double's own limits. */
static float fused(float a, float b, float c)
{
#ifdef FP_FAST_FMAF
    return __builtin_fmaf(a, b, c);
#else
    const double product = (double)a * b, sum = product + c, part = sum - product;
    const double rest = (product - (sum - part)) + (c - part);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    /* towards the rest: a step of the last bit away from zero, or back */
    const uint64_t inexact = rest < 0 || rest > 0, even = ~bits & 1;
    const uint64_t away = (rest > 0) == (sum > 0);
    bits += (inexact & even) * (2 * away - 1);
    double odd;
    memcpy(&odd, &bits, sizeof odd);
    return (float)odd;
#endif
}

static void decode(float w[VQI_PAD], const vqi_rows *rows, size_t row, size_t i)
{
    const size_t d = rows->d, at = row * d + i, count = d - i < VQI_PAD ? d - i : VQI_PAD;
    for (size_t j = 0; j < VQI_PAD; j++)
        w[j] = 0;
    switch (rows->dtype) {
    case VQ_DTYPE_F16:
        for (size_t j = 0; j < count; j++)
            w[j] = vq_f16_to_f32(((const uint16_t *)rows->data)[at + j]);
        break;
    case VQ_DTYPE_BF16:
        for (size_t j = 0; j < count; j++)
            w[j] = vq_bf16_to_f32(((const uint16_t *)rows->data)[at + j]);
        break;
    case VQ_DTYPE_I8:
        for (size_t j = 0; j < count; j++)
            w[j] = ((const int8_t *)rows->data)[at + j];
        break;
    default:
        memcpy(w, (const float *)rows->data + at, count * sizeof *w);
    }
}

static float finish(const float p[VQI_PAD], const vqi_rows *rows, size_t row)
{
    const float sum = ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
    const float scaled = rows->scale ? sum * rows->scale[row] : sum;
    return rows->bias ? scaled + rows->bias[row] : scaled;
}

static void one(float *out, const vqi_rows *rows, size_t first, size_t count, const float *h)
{
    for (size_t r = 0; r < count; r++) {
        float p[VQI_PAD] = {0}, w[VQI_PAD];
        for (size_t i = 0; i < rows->d; i += VQI_PAD) {
            decode(w, rows, first + r, i);
            for (size_t j = 0; j < VQI_PAD; j++)
                p[j] = fused(w[j], h[i + j], p[j]);
        }
        out[r] = finish(p, rows, first + r);
    }
}

static void many(float *out, const vqi_rows *rows, size_t first, size_t count, const float *h)
{
    for (size_t r = 0; r < count; r++) {
        float p[VQI_STATES][VQI_PAD] = {{0}}, w[VQI_PAD];
        for (size_t i = 0; i < rows->d; i += VQI_PAD) {
            decode(w, rows, first + r, i);
            for (size_t s = 0; s < VQI_STATES; s++)
                for (size_t j = 0; j < VQI_PAD; j++)
                    p[s][j] = fused(w[j], h[(i + j) * VQI_STATES + s], p[s][j]);
        }
        for (size_t s = 0; s < VQI_STATES; s++)
            out[s * VQI_HEAD_BLOCK + r] = finish(p[s], rows, first + r);
    }
}

static void look_up(float *out, const uint8_t *codes, size_t count, size_t levels,
                    const float *tables)
{
    for (size_t first = 0; first < count; first += VQI_ROWS, codes += levels * VQI_ROWS) {
        const size_t some = count - first < VQI_ROWS ? count - first : VQI_ROWS;
        float sums[VQI_ROWS] = {0};
        for (size_t m = 0; m < levels; m++)
            for (size_t r = 0; r < VQI_ROWS; r++)
                sums[r] += tables[m * VQI_TABLE + codes[m * VQI_ROWS + r]];
        for (size_t r = 0; r < some; r++)
            out[first + r] = sums[r];
    }
}

const vqi_logit_kernels vqi_logit_portable = {one, many, look_up};
