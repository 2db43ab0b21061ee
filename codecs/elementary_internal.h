/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/elementary_internal.h
 * Elementary functions in nothing but IEEE double additions, multiplications and divisions, in one order: libm's
 * differ in the last bit from processor to processor, and a last bit can turn a token. Errors are below 1e-12.
 */
#ifndef CODECS_ELEMENTARY_INTERNAL_H
#define CODECS_ELEMENTARY_INTERNAL_H

#include <stdint.h>
#include <string.h>

/** log2(x) of a normal x above 0. */
static inline double vqi_log2(double x)
{
    /* x = m 2^e with m in [sqrt(1/2), sqrt(2)), so that s = (m - 1) / (m + 1) is below 0.172 in size. */
    const uint64_t sqrt_half = 0x3fe6a09e667f3bcdu, mantissa = ((uint64_t)1 << 52) - 1;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint64_t above = bits - sqrt_half;
    const int64_t e = (int64_t)above >> 52;
    bits = (above & mantissa) + sqrt_half;
    double m;
    memcpy(&m, &bits, sizeof m);
    const double s = (m - 1) / (m + 1), q = s * s;
    double sum = 1.0 / 15;
    for (int odd = 13; odd > 0; odd -= 2)
        sum = sum * q + 1.0 / odd;
    return (double)e + 2.8853900817779268147 * s * sum; /* 2 / ln 2 */
}

/** 2^x; x is cut to [-1000, 1000], and a NaN counts as -1000. */
static inline double vqi_exp2(double x)
{
    x = x > -1000 ? x < 1000 ? x : 1000 : -1000;
    const int64_t whole = (int64_t)(x + (x < 0 ? -0.5 : 0.5));
    const double y = (x - (double)whole) * 0.69314718055994530942; /* below 0.35 in size */
    double sum = 1;
    for (int i = 11; i > 0; i--)
        sum = sum * y / i + 1;
    const uint64_t bits = (uint64_t)(whole + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

/** x^p for x at least 0; what is too small to have a logarithm is 0. */
static inline double vqi_power(double x, double p)
{
    return x < 1e-300 ? 0 : vqi_exp2(p * vqi_log2(x));
}

/** sin(pi x) for x in [0, 1/2]. */
static inline double vqi_sin_pi(double x)
{
    const double y = x * 3.14159265358979323846, q = y * y;
    double sum = 1;
    for (int i = 20; i > 0; i -= 2)
        sum = 1 - sum * q / (i * (i + 1));
    return y * sum;
}

#endif
