/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/scalar_train_internal.h  The steps of training a scalar quantizer for features. */
#ifndef RVQ_SCALAR_TRAIN_INTERNAL_H
#define RVQ_SCALAR_TRAIN_INTERNAL_H

#include "rvq/scalar_train.h"

/** The rows' components, m x n: component i of all rows lies together. */
typedef struct vqi_component_rows {
    size_t n, m;
    const double *values;
    const double *variance; /* m */
    int threads;
} vqi_component_rows;

/**
 * How FSQ quantizes components.
 * @param[out] picked levels x VQI_MOST_NUMBERS: the components of each level, in the order of its numbers ...
 * @param[out] bins   ... their bins ...
 * @param[out] gain   ... and by how much they are multiplied.
 * @param[out] dims   levels: how many there are.
 * @return VQ_OK, VQ_E_ARG (not enough components), VQ_E_NOMEM.
 */
enum { VQI_MOST_NUMBERS = 32 };
vq_status vqi_fsq_choose(uint32_t *picked, uint32_t *bins, double *gain, uint32_t *dims,
                         const vqi_component_rows *rows, const vq_scalar_train_opts *opts);

/** A rotation, m x m, after which the signs of the components say most. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_lfq_rotation(double *rotation, const vqi_component_rows *rows,
                           const vq_scalar_train_opts *opts);

#endif
