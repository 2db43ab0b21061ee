/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/kmeans_balanced_internal.h  Dividing rows between two cells of given sizes. */
#ifndef VQ_KMEANS_BALANCED_INTERNAL_H
#define VQ_KMEANS_BALANCED_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vq/status.h"

/** A row to be divided: rows of low keys go to the first of two cells. */
typedef struct vqi_share {
    double key;
    uint32_t row;
    uint32_t second; /**< 1 if it comes from the second cell */
} vqi_share;

/** Bring the `count` shares of lowest (key, row) to the front. */
void vqi_shares_select(vqi_share *shares, size_t size, size_t count);

/** keys = |x - a|^2 - |x - b|^2, about the middle of a and b so that an offset does not cancel. */
void vqi_shares_compare(vqi_share *shares, size_t size, const float *x, uint32_t d, const double *a,
                        const double *b, double *scratch);

/** The mean of `size` shares. scratch: 2 d. @return the sum of their squared distances from it. */
double vqi_shares_mean(double *mean, const vqi_share *shares, size_t size, const float *x,
                       uint32_t d);

/**
 * Halve the rows again and again into k cells whose sizes differ by at most 1: cell c has rows[c n / k] to before
 * rows[(c + 1) n / k].
 * @param[out] rows n.
 * @return VQ_OK, VQ_E_NOMEM.
 */
vq_status vqi_balanced_halve(uint32_t *rows, const float *x, size_t n, uint32_t d, uint32_t k,
                             int threads);

/** Where the equal cell c begins. */
static inline size_t vqi_balanced_begin(size_t n, uint32_t k, uint32_t c)
{
    return (size_t)((uint64_t)n * c / k); /* n is below 2^32 and k at most 2^24 */
}

#endif
