/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/multiscale_internal.h  What the files of the multi-scale quantizer share. */
#ifndef RVQ_MULTISCALE_INTERNAL_H
#define RVQ_MULTISCALE_INTERNAL_H

#include "rvq/multiscale.h"
#include "vq/quantizer_internal.h"

/** Interpolation along one axis: an output is the sum of four inputs, each with its weight. */
typedef struct vqi_taps {
    uint32_t from[4];
    float weight[4];
} vqi_taps;

struct vq_multiscale {
    vq_multiscale_design design; /* its arrays are our own */
    uint32_t *sizes, *phi_of;
    float *phi_weight, *phi_bias;
    float *kernel;     /* phis x 3 x 3 x channels (in) x channels (out) */
    vqi_taps *taps;    /* for each scale, rows of the grid and then columns */
    size_t most_cells; /* of a scale */
    uint32_t count;
    vq_quantizer *quantizers[VQ_MAX_LEVELS];
};

static inline size_t vqi_scale_cells(const vq_multiscale *m, uint32_t scale)
{
    return (size_t)m->sizes[2 * scale] * m->sizes[2 * scale + 1];
}

static inline size_t vqi_grid_cells(const vq_multiscale *m)
{
    return (size_t)m->design.rows * m->design.columns;
}

/** The weights for each of `out` outputs, which are spread over `size` from `from` of `in` inputs. */
void vqi_find_taps(vqi_taps *taps, uint32_t out, uint32_t in, double from, double size,
                   vq_multiscale_up up);
/** The means of the grid's cells (rows x columns x channels) over the cells of a scale. */
void vqi_scale_down(float *cells, const vq_multiscale *m, uint32_t scale, const float *grid);
/** What the cells of a scale say of the grid, phi included. @param scratch a grid. */
void vqi_scale_up(float *grid, float *scratch, const vq_multiscale *m, uint32_t scale,
                  const float *cells);

#endif
