/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the bins of FSQ begin. The published formulas ask for tanh(z) for every number; which bin comes out then
 * depends on the last bit of the machine's tanh(). But they rise with z, so that the bins are intervals, and each
 * bound of one is half the logarithm of a fraction of whole numbers:
 *
 *   round(h tanh(z + a) - o) + floor(L / 2) >= i + 1  <=>  tanh(z + a) >= m / (2 h),  m = 2 i + 2 - L
 *   <=>  z >= atanh(m / (2 h)) - atanh(o / h)  =  1/2 ln(P / Q),  as atanh(u) = 1/2 ln((1 + u) / (1 - u)),
 *
 * with 2 h = 1001 (L - 1) / 1000. Half a unit exactly, where round() would choose the even neighbour, occurs for no
 * float z. Symmetric: floor(...) >= i + 1  <=>  tanh z >= m / (L - 1), which z = 0 meets with equality if L is even.
 *
 * The logarithm is a fixed sequence of additions, multiplications and divisions, within a few units of the last
 * place of a double. tests/unit/test_scalar.c pins all thresholds of all L; they were compared with the true ones.
 */
#include <math.h>

#include "vq/scalar_internal.h"

/* 1/2 ln(p / q), for whole numbers p, q from 1 to 2^51. */
static double half_log(double p, double q)
{
    /* p / q = 2^k r with r from 1/sqrt(2) to sqrt(2). Doubling is exact. */
    double k = 0;
    while (p > q * 0x1.6a09e667f3bcdp0) {
        q *= 2;
        k += 1;
    }
    while (q > p * 0x1.6a09e667f3bcdp0) {
        p *= 2;
        k -= 1;
    }
    /* 1/2 ln r = atanh(s) = s + s^3 / 3 + s^5 / 5 + ..., where |s| is at most 0.172. */
    const double s = (p - q) / (p + q), square = s * s;
    double sum = 0;
    for (int i = 25; i >= 3; i -= 2)
        sum = (sum + 1.0 / i) * square;
    return k * 0x1.62e42fefa39efp-2 + (s * sum + s);
}

void vqi_fsq_thresholds(float *thresholds, uint32_t bins, vq_fsq_bound bound)
{
    const double l = bins;
    for (uint32_t i = 0; i + 1 < bins; i++) {
        const double m = 2.0 * i + 2 - l, o = bins % 2 ? 0 : 1;
        double p = l - 1 + m, q = l - 1 - m;
        if (bound == VQ_FSQ_TANH) {
            p = (1001 * (l - 1) + 1000 * m) * (1001 * (l - 1) - 1000 * o);
            q = (1001 * (l - 1) - 1000 * m) * (1001 * (l - 1) + 1000 * o);
        }
        const double real = bound == VQ_FSQ_CLAMP ? m / (l - 1) : half_log(p, q);
        float least = (float)real;
        if (least < real)
            least = nextafterf(least, INFINITY);
        thresholds[i] = least;
    }
}
