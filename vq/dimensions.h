/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/dimensions.h
 * What is known of each dimension of an action: its name, the range that is mapped to [-1, 1], the values that occur.
 */
#ifndef VQ_DIMENSIONS_H
#define VQ_DIMENSIONS_H

#include <stddef.h>
#include <stdint.h>

#include "vq/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * D dimensions. With u = (x - low) / (high - low) a value x is coded as 2 u - 1; where high equals low the dimension is constant, and
 * is coded as 0 and decoded to low. Where `binary` is 1 (a gripper), low and high are the only two values, and decoding gives the
 * nearer one. Decoded values are held within [min - margin, max + margin], margin being VQ_DIMENSIONS_MARGIN of max - min.
 */
typedef struct vq_dimensions {
    size_t count;    /**< D */
    char **names;    /**< D texts of UTF-8; NULL = they have none */
    int scaled;      /**< 1 = the arrays below say something; 0 = only the names do */
    float *low;      /**< D: the 1 % quantile, mapped to -1 */
    float *high;     /**< D: the 99 % quantile, mapped to 1; at least low */
    float *min;      /**< D: at most low */
    float *max;      /**< D: at least high */
    uint8_t *binary; /**< D */
} vq_dimensions;

/** How far beyond the values that were seen a decoded one may lie, as a share of their range. */
#define VQ_DIMENSIONS_MARGIN 0.5f

/**
 * Make dimensions without names and without a scale.
 * @param[out] out owned by the caller, free with vq_dimensions_free().
 * @return VQ_OK, VQ_E_ARG (count is 0), VQ_E_NOMEM.
 */
VQ_API vq_status vq_dimensions_create(vq_dimensions **out, size_t count);
VQ_API vq_status vq_dimensions_copy(vq_dimensions **out, const vq_dimensions *dimensions);
VQ_API void vq_dimensions_free(vq_dimensions *dimensions);

/** Set a name, copied; the others are "" until they are set. @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM. */
VQ_API vq_status vq_dimensions_set_name(vq_dimensions *dimensions, size_t i, const char *name);

/**
 * Fit the scale to data: quantiles at 1 % and 99 %, interpolated linearly. Where they are equal, min and max take their
 * place, so that a gripper that seldom moves is not a constant.
 * @param rows   `parts` arrays, row-major, `lengths` rows each of `count` finite numbers.
 * @return VQ_OK, VQ_E_ARG (no rows), VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_dimensions_fit(vq_dimensions *dimensions, const float *const *rows,
                                   const size_t *lengths, size_t parts);

/**
 * Check what a struct filled by hand or from a file must keep: finite numbers, min <= low <= high <= max, and a range of each
 * dimension that float32 can hold.
 * @return VQ_OK, VQ_E_RANGE (the sentence names the dimension).
 */
VQ_API vq_status vq_dimensions_validate(const vq_dimensions *dimensions);

#ifdef __cplusplus
}
#endif
#endif
