/* SPDX-License-Identifier: Apache-2.0 */
/** @file augment/augment_internal.h  What the operations on tokens share: random numbers by place, and planes. */
#ifndef AUGMENT_AUGMENT_INTERNAL_H
#define AUGMENT_AUGMENT_INTERNAL_H

#include "augment/augment.h"
#include "vq/philox_internal.h"

/** Which operation draws: two of them with one vq_draw do not see the same numbers. Never renumbered. */
enum {
    VQI_DRAW_SYNONYMS = 1,
    VQI_DRAW_CUTMIX = 2,
    VQI_DRAW_PATCHES = 3,
    VQI_DRAW_CROP = 4,
    VQI_DRAW_CORRUPT = 5,
    VQI_DRAW_DEPTHS = 6
};

/** The numbers of one place. @param part below 2^24: a level or a step. */
static inline vqi_philox vqi_draw_at(const vq_draw *draw, uint32_t operation, uint32_t part,
                                     size_t place)
{
    const vqi_philox counter = {{(uint32_t)place, operation << 24 | part, (uint32_t)draw->number,
                                 (uint32_t)(draw->number >> 32)}};
    return vqi_philox4x32(counter, draw->seed);
}

/** Uniform in [0, 1), a multiple of 2^-53, of the first half of the numbers of a place. */
static inline double vqi_draw_uniform(const vqi_philox *numbers)
{
    return (double)(((uint64_t)numbers->word[0] << 32 | numbers->word[1]) >> 11) * 0x1p-53;
}

/** Uniform below n, but for a bias of n 2^-64, of the second half. */
static inline uint64_t vqi_draw_below(const vqi_philox *numbers, uint64_t n)
{
    const uint64_t word = (uint64_t)numbers->word[2] << 32 | numbers->word[3];
    return (uint64_t)((unsigned __int128)word * n >> 64);
}

/** The planes of a grid, which have nothing of each other's places, and their rows and columns. */
typedef struct vqi_planes {
    size_t planes, rows, columns;
} vqi_planes;

/** A sound's channels are planes of one row; other grids of fewer dimensions begin with ones. */
static inline vqi_planes vqi_planes_of(const vq_tokens *t)
{
    const size_t *grid = t->grid;
    if (t->kind == VQ_KIND_AUDIO)
        return (vqi_planes){grid[0], 1, grid[1] * grid[2]};
    return t->grid_ndim == 3   ? (vqi_planes){grid[0], grid[1], grid[2]}
           : t->grid_ndim == 2 ? (vqi_planes){1, grid[0], grid[1]}
                               : (vqi_planes){1, 1, grid[0]};
}

/** Are shape and codes as they must be, and places few enough to draw for? @param name of the argument. */
vq_status vqi_augment_check(const vq_tokens *tokens, const char *name);
/** Have two the same levels of the same K? */
vq_status vqi_augment_check_alike(const vq_tokens *a, const vq_tokens *b);

#endif
