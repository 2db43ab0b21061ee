/* SPDX-License-Identifier: Apache-2.0 */
/* In how many dimensions rows vary, which decides how codewords are seeded best. */
#include "rvq/residual_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum {
    ROWS = 4096,  /* that are looked at, evenly from all */
    OTHERS = 4,   /* rows that each is multiplied with */
    PER_BIT = 15, /* dimensions for each bit of a code: measured on features of five kinds */
};

/*
 * The dimensions, were the variance spread over them evenly: (tr C)^2 / tr C^2, where the mean of (a' b)^2 over pairs of rows
 * a, b less their mean is tr C^2.
 */
static double spread(const float *rows, const double *mean, size_t n, size_t d)
{
    const size_t count = n < ROWS ? n : ROWS;
    double trace = 0, square = 0;
    for (size_t i = 0; i < count; i++) {
        const float *a = rows + i * n / count * d;
        for (size_t j = 0; j < d; j++)
            trace += (a[j] - mean[j]) * (a[j] - mean[j]);
        for (size_t o = 1; o <= OTHERS; o++) { /* far away: neighbours may be alike */
            const float *b = rows + (i + o * count / (OTHERS + 1)) % count * n / count * d;
            double product = 0;
            for (size_t j = 0; j < d; j++)
                product += (a[j] - mean[j]) * (b[j] - mean[j]);
            square += product * product;
        }
    }
    trace /= (double)count;
    square /= (double)count * OTHERS;
    return square > 0 ? trace * trace / square : 0;
}

vq_status vqi_residual_is_spread(int *out, const float *rows, size_t n, size_t d, uint32_t k)
{
    const size_t count = n < ROWS ? n : ROWS;
    uint32_t bits = 0;
    double *mean = vqi_calloc(d, sizeof *mean);
    if (!mean)
        return vqi_fail_nomem(d * sizeof *mean);
    while (bits < 32 && (uint64_t)1 << bits < k)
        bits++;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < d; j++)
            mean[j] += rows[i * n / count * d + j] / (double)count;
    *out = d > (size_t)PER_BIT * bits && n > OTHERS && spread(rows, mean, n, d) > PER_BIT * bits;
    vq_free(mean);
    return VQ_OK;
}
