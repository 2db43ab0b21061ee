/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/cholesky_internal.h"

#include <math.h>
#include <string.h>

int vqi_cholesky_factor(double *a, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        double *row = a + j * n;
        for (size_t i = 0; i < j; i++) {
            const double *other = a + i * n;
            double sum = row[i];
            for (size_t p = 0; p < i; p++)
                sum -= row[p] * other[p];
            row[i] = sum / other[i];
        }
        double pivot = row[j];
        for (size_t p = 0; p < j; p++)
            pivot -= row[p] * row[p];
        if (!(pivot > 0) || !isfinite(pivot))
            return 0;
        row[j] = sqrt(pivot);
    }
    return 1;
}

void vqi_cholesky_solve(double *b, const double *l, size_t n, size_t columns)
{
    for (size_t i = 0; i < n; i++) { /* L Y = B */
        double *row = b + i * columns;
        for (size_t p = 0; p < i; p++)
            for (size_t c = 0; c < columns; c++)
                row[c] -= l[i * n + p] * b[p * columns + c];
        for (size_t c = 0; c < columns; c++)
            row[c] /= l[i * n + i];
    }
    for (size_t i = n; i-- > 0;) { /* L' X = Y */
        double *row = b + i * columns;
        for (size_t p = i + 1; p < n; p++)
            for (size_t c = 0; c < columns; c++)
                row[c] -= l[p * n + i] * b[p * columns + c];
        for (size_t c = 0; c < columns; c++)
            row[c] /= l[i * n + i];
    }
}

void vqi_cholesky_pivoted(double *l, double *a, size_t n, size_t rank)
{
    memset(l, 0, n * rank * sizeof *l);
    double first = 0;
    for (size_t column = 0; column < rank; column++) {
        size_t at = 0;
        for (size_t i = 1; i < n; i++)
            at = a[i * n + i] > a[at * n + at] ? i : at;
        const double pivot = a[at * n + at];
        first = column ? first : pivot;
        if (!(pivot > first * 0x1p-40)) /* what is left is rounding */
            return;
        const double root = sqrt(pivot);
        for (size_t i = 0; i < n; i++)
            l[i * rank + column] = a[i * n + at] / root;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                a[i * n + j] -= l[i * rank + column] * l[j * rank + column];
    }
}
