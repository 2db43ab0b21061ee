/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/components_internal.h  Principal components, in double and in one order of summation: the same bits everywhere. */
#ifndef RVQ_COMPONENTS_INTERNAL_H
#define RVQ_COMPONENTS_INTERNAL_H

#include <stddef.h>

#include "vq/status.h"

/** Sum of a[i] b[i] in a fixed order. */
double vqi_dot_double(const double *a, const double *b, size_t n);

/**
 * Eigenvalues and eigenvectors of a symmetric matrix, by Jacobi's rotations; the largest value first.
 * @param[out]    values  n.
 * @param[out]    vectors n x n; row i is the unit vector of values[i], its largest number above 0.
 * @param[in,out] a       n x n, both triangles; destroyed.
 */
void vqi_eigen_symmetric(double *values, double *vectors, double *a, size_t n);

/**
 * The m principal components of n rows.
 * @param[out] mean      d.
 * @param[out] variance  m, falling.
 * @param[out] component m x d, unit vectors.
 * @param      x         n x d, row-major.
 * @param      m         at most d.
 * @return VQ_OK, VQ_E_NOMEM.
 */
vq_status vqi_components(double *mean, double *variance, double *component, const float *x,
                         size_t n, size_t d, size_t m, int threads);

/**
 * An orthonormal basis of the space of x, the directions in which it varies most with y first: the eigenvectors of C C', C being
 * the covariance of x and y (partial least squares; where y is x, the principal components).
 * @param[out] mean  d, of x.
 * @param[out] basis d x d, one unit vector a row.
 * @param      x     n x d, row-major.
 * @param      y     n x e, row-major.
 * @return VQ_OK, VQ_E_NOMEM.
 */
vq_status vqi_cross_components(double *mean, double *basis, const float *x, const float *y,
                               size_t n, size_t d, size_t e, int threads);

#endif
