/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/kmeans_1d_internal.h  Distinct values on a line, and the best way to cut it into cells. */
#ifndef VQ_KMEANS_1D_INTERNAL_H
#define VQ_KMEANS_1D_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vq/status.h"

/** Sums over all values before a place, each as a double and what rounding took from it. */
typedef struct vqi_line_sums {
    double weight, weight_low;
    double sum, sum_low;       /* of weight x value */
    double square, square_low; /* of weight x value^2 */
} vqi_line_sums;

typedef struct vqi_line {
    uint32_t count;      /* distinct values; there are less than 2^32 float32 numbers */
    double *value;       /* rising, centred */
    double *weight;      /* above 0 */
    vqi_line_sums *sums; /* count + 1: before value i */
} vqi_line;

/**
 * Sort the numbers that have a weight and merge equal ones.
 * @param[out] line   to be cleared also on failure.
 * @param[out] median what was taken from every number.
 * @return VQ_OK, VQ_E_ARG (no weight), VQ_E_NOMEM.
 */
vq_status vqi_line_create(vqi_line *line, double *median, const float *x, size_t n,
                          const float *weights);
void vqi_line_clear(vqi_line *line);

/**
 * Cut the line into k cells of least sum of weighted squared distances from their means.
 * @param[out] ends k: one past the last value of each cell; rising.
 * @param      k    1 to line->count.
 * @return VQ_OK, VQ_E_NOMEM.
 */
vq_status vqi_line_cut(uint32_t *ends, const vqi_line *line, uint32_t k);

#endif
