/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/exact_sum_internal.h
 * Sums that do not depend on their order. Each addend is rounded to a grid that all addends share, a fixed
 * distance below a bound on them, and added as an integer. The integer is cut into limbs: the first counts
 * multiples of the coarsest unit, each further one what is left in units 2^45 times finer. The arithmetic is
 * that of double without contraction, so every instruction set gives the same integers.
 */
#ifndef VQ_EXACT_SUM_INTERNAL_H
#define VQ_EXACT_SUM_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

enum {
    VQI_EXACT_LIMBS = 3,       /* at most; at least 2 */
    VQI_EXACT_FIRST_BITS = 27, /* of an addend, in the first limb ... */
    VQI_EXACT_NEXT_BITS = 45,  /* ... and in each further one */
    VQI_EXACT_CHUNK = 1 << 18  /* addends of one sum before vqi_exact_carry() */
};

/** Addends of one sum in all. */
#define VQI_EXACT_ADDENDS ((int64_t)1 << 35)

/** The grids for addends of at most 2^exponent. */
typedef struct vqi_exact_grid {
    double unit[VQI_EXACT_LIMBS];  /**< what 1 in a limb stands for */
    double magic[VQI_EXACT_LIMBS]; /**< adding it rounds to a multiple of the unit */
} vqi_exact_grid;

vqi_exact_grid vqi_exact_grid_of(int exponent);

/** @return the least e with |value| <= 2^e; 0 for 0. */
int vqi_exact_exponent(double value);

/* Limb i of a sum is at limb[i * stride]; a sum is zero if all its limbs are. */

/** Add one number. */
void vqi_exact_add(int64_t *limb, size_t stride, const vqi_exact_grid *grid, int limbs,
                   double value);

/** Bring `count` sums, limb[0] to limb[count - 1], to the one form that their values have. */
void vqi_exact_carry(int64_t *limb, size_t stride, int limbs, size_t count);

/** The value of a sum, in any form; exact if a double can be. */
double vqi_exact_value(const int64_t *limb, size_t stride, const vqi_exact_grid *grid, int limbs);

/**
 * Add weight x row to `d` sums, limb[0] to limb[d - 1], for each of `count` rows.
 * @param rows    rows of d floats.
 * @param order   which of them.
 * @param weights of all rows, or NULL = 1.
 */
typedef void vqi_exact_rows_fn(int64_t *limb, size_t stride, const vqi_exact_grid *grid,
                               const float *rows, const uint32_t *order, size_t count, uint32_t d,
                               const float *weights);

/** @return the fastest kernel that the CPU mask allows for sums of so many limbs. */
vqi_exact_rows_fn *vqi_exact_rows_kernel(int limbs);

/** The largest |x| as the bits of a float: they rise with it, infinities and NaNs being above all numbers. */
uint32_t vqi_largest_bits(const float *x, size_t count);

#endif
