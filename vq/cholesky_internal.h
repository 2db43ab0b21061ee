/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/cholesky_internal.h  Dense symmetric systems in double, in one order of summation: the same bits everywhere. */
#ifndef VQ_CHOLESKY_INTERNAL_H
#define VQ_CHOLESKY_INTERNAL_H

#include <stddef.h>

/**
 * Factor A = L L' in place.
 * @param[in,out] a n x n, row-major; only the lower triangle is read, and L is left there.
 * @return 1, or 0 if A is not positive definite (a pivot is not above 0, or not finite).
 */
int vqi_cholesky_factor(double *a, size_t n);

/**
 * Solve L L' X = B in place.
 * @param[in,out] b n x columns, row-major.
 */
void vqi_cholesky_solve(double *b, const double *l, size_t n, size_t columns);

/**
 * The first `rank` columns of a pivoted factor, the largest pivot first: A ~ L L', exactly if rank is not
 * below the rank of A. A need only be positive semidefinite.
 * @param[out]    l n x rank, row-major; columns past the rank of A are 0.
 * @param[in,out] a n x n, row-major, both triangles; destroyed.
 */
void vqi_cholesky_pivoted(double *l, double *a, size_t n, size_t rank);

#endif
