/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/scalar_support.h  The published formulas of the scalar quantizers, by the machine's tanh(). */
#ifndef SCALAR_SUPPORT_H
#define SCALAR_SUPPORT_H

#include <math.h>

#include "test_support.h"
#include "vq/scalar.h"

static inline vq_quantizer *make_fsq(const uint32_t *bins, uint32_t d, vq_fsq_bound bound,
                                     uint32_t levels)
{
    vq_quantizer *q;
    vq_fsq_opts opts = VQ_FSQ_OPTS_INIT;
    opts.bound = bound;
    opts.levels = levels;
    assert_ok(vq_fsq_create(&q, bins, d, &opts));
    return q;
}

static inline vq_quantizer *make_lfq(uint32_t d, int spherical, uint32_t levels)
{
    vq_quantizer *q;
    vq_lfq_opts opts = VQ_LFQ_OPTS_INIT;
    opts.spherical = spherical;
    opts.levels = levels;
    assert_ok(vq_lfq_create(&q, d, &opts));
    return q;
}

/** z on the scale of the decoded values, before it is rounded. */
static inline double published_bound(double z, uint32_t bins, vq_fsq_bound bound)
{
    if (bound == VQ_FSQ_SYMMETRIC)
        return tanh(z);
    if (bound == VQ_FSQ_CLAMP)
        return z < -1 ? -1 : z > 1 ? 1 : z;
    const double half = 1.001 * (bins - 1) / 2, offset = bins % 2 ? 0 : 0.5;
    return (tanh(z + atanh(offset / half)) * half - offset) / (bins / 2);
}

/** The bin, counted from 0: the position on the grid, rounded. *margin is how far rounding was from another bin. */
static inline uint32_t published_bin(double *margin, double z, uint32_t bins, vq_fsq_bound bound)
{
    const double bounded = published_bound(z, bins, bound);
    const double at =
        bound == VQ_FSQ_TANH ? bounded * (bins / 2) + bins / 2 : (bounded + 1) * (bins - 1) / 2;
    const double bin = floor(at + 0.5);
    *margin = 0.5 - fabs(at - bin);
    return (uint32_t)bin;
}

/** A number in the middle of a bin. */
static inline float inside_bin(uint32_t bin, uint32_t bins, vq_fsq_bound bound)
{
    if (bound == VQ_FSQ_CLAMP)
        return (float)(2.0 * bin / (bins - 1) - 1);
    if (bound == VQ_FSQ_SYMMETRIC)
        return (float)atanh((2.0 * bin / (bins - 1) - 1) * 0.999);
    const double half = 1.001 * (bins - 1) / 2, offset = bins % 2 ? 0 : 0.5;
    const double grid = (double)bin - bins / 2;
    const double u = (grid + offset) / half;
    return (float)(atanh(u) - atanh(offset / half));
}

#endif
