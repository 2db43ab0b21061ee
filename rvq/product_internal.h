/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/product_internal.h  What training and the list of kinds need of the product quantizer. */
#ifndef RVQ_PRODUCT_INTERNAL_H
#define RVQ_PRODUCT_INTERNAL_H

#include "rvq/product.h"
#include "vq/quantizer_internal.h"

extern const vqi_quantizer_kind vqi_product_kind;

/** Columns `begin` to `begin` + `width` - 1 of `count` rows of x, side by side. */
void vqi_slice_take(float *slice, const float *x, size_t count, size_t d, size_t begin,
                    size_t width);

#endif
