/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/lapped_internal.h
 * A lapped block transform of M samples given by its matrices, in one dimension.
 *
 * Blocks of M samples overlap by M/2 on either side (time-domain lapped transform: Tran, Liang and Tu,
 * "Lapped transform via time-domain pre- and post-filtering", 2003). A pre-filter P works on the M samples that straddle
 * each boundary between blocks, then a basis B on each block; at the first and last boundary of the signal nothing
 * is filtered, so any length of whole blocks is reconstructed. Both steps are folded into one matrix on a
 * window of 2 M samples that begins M/2 before the block; there is one for each combination of edges.
 */
#ifndef CODECS_LAPPED_INTERNAL_H
#define CODECS_LAPPED_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vq/status.h"

enum {
    VQI_LAPPED_FIRST = 1, /**< the block is the first: nothing before it */
    VQI_LAPPED_LAST = 2,  /**< the block is the last */
    VQI_LAPPED_EDGES = 4, /**< combinations of the two */
    VQI_LAPPED_MAX_BLOCK = 32
};

typedef struct vqi_lapped {
    uint32_t m;
    /** [edges][2 M][M]: coefficient u = sum over j of window[j] * analysis[edges][j][u]. */
    float *analysis[VQI_LAPPED_EDGES];
    /** [edges][M][2 M]: window[j] gains coefficient u * synthesis[edges][u][j]. */
    float *synthesis[VQI_LAPPED_EDGES];
} vqi_lapped;

/**
 * Fold the matrices, in double.
 * @param basis       M x M, row u is the basis function of coefficient u; orthonormal.
 * @param pre_filter  M x M, or NULL for none (a plain block transform).
 * @param post_filter M x M, the inverse of pre_filter; NULL with it.
 * @return VQ_OK or VQ_E_NOMEM. Clear a struct in either case.
 */
vq_status vqi_lapped_create(vqi_lapped *out, uint32_t m, const float *basis,
                            const float *pre_filter, const float *post_filter);
void vqi_lapped_clear(vqi_lapped *lapped);

/** @return which edges block i of n touches. */
static inline unsigned vqi_lapped_edges(uint64_t i, uint64_t n)
{
    return (i == 0 ? VQI_LAPPED_FIRST : 0u) | (i + 1 == n ? VQI_LAPPED_LAST : 0u);
}

/** The analysis in two steps, for what vq_cpu_flags() allows now; every set gives the same bits. */
typedef struct vqi_lapped_kernels {
    /* out[v][x] = sum over j of rows[j][x] * matrix[j][v], for v < count; rows are 2 M x width. */
    void (*columns)(float *out, const float *rows, size_t width, const float *matrix, uint32_t m,
                    uint32_t count);
    /* out[v][u] = sum over j of window[v][j] * matrix[j][u], for v < count; windows are `stride` apart. */
    void (*block)(float *out, const float *window, size_t stride, const float *matrix, uint32_t m,
                  uint32_t count);
} vqi_lapped_kernels;
vqi_lapped_kernels vqi_lapped_select(void);

/** The orthonormal DCT-II, M x M (Ahmed, Natarajan and Rao 1974). */
void vqi_dct2(float *basis, uint32_t m);

#endif
