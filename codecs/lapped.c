/* SPDX-License-Identifier: Apache-2.0 */
#include "codecs/lapped_internal.h"

#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

void vqi_dct2(float *basis, uint32_t m)
{
    const double pi = 3.14159265358979323846;
    for (uint32_t u = 0; u < m; u++)
        for (uint32_t i = 0; i < m; i++)
            basis[u * m + i] =
                (float)(sqrt((u ? 2.0 : 1.0) / m) * cos(pi * (2.0 * i + 1) * u / (2.0 * m)));
}

/* One filter tap: how sample i of a block depends on sample j of its window (or, transposed, the other way).
   Above M/2 the filter of the boundary before the block applies, below it the one after. */
static double tap(const float *filter, uint32_t m, uint32_t i, uint32_t j, unsigned edges,
                  int transposed)
{
    const uint32_t h = m / 2;
    const int before = i < h;
    if (!filter || (edges & (before ? VQI_LAPPED_FIRST : VQI_LAPPED_LAST)))
        return j == h + i ? 1.0 : 0.0;
    const uint32_t from = before ? 0 : m; /* where the samples that straddle the boundary begin */
    if (j < from || j >= from + m)
        return 0.0;
    const uint32_t row = before ? h + i : i - h, column = j - from;
    return transposed ? filter[column * m + row] : filter[row * m + column];
}

static void fold(vqi_lapped *l, const float *basis, const float *pre, const float *post,
                 unsigned edges)
{
    const uint32_t m = l->m;
    for (uint32_t u = 0; u < m; u++)
        for (uint32_t j = 0; j < 2 * m; j++) {
            double analysis = 0, synthesis = 0;
            for (uint32_t i = 0; i < m; i++) {
                analysis += (double)basis[u * m + i] * tap(pre, m, i, j, edges, 0);
                synthesis += (double)basis[u * m + i] * tap(post, m, i, j, edges, 1);
            }
            l->analysis[edges][j * m + u] = (float)analysis;
            l->synthesis[edges][u * 2 * m + j] = (float)synthesis;
        }
}

vq_status vqi_lapped_create(vqi_lapped *out, uint32_t m, const float *basis,
                            const float *pre_filter, const float *post_filter)
{
    memset(out, 0, sizeof *out);
    out->m = m;
    for (unsigned e = 0; e < VQI_LAPPED_EDGES; e++) {
        out->analysis[e] = vqi_alloc((size_t)2 * m * m, sizeof(float));
        out->synthesis[e] = vqi_alloc((size_t)2 * m * m, sizeof(float));
        if (!out->analysis[e] || !out->synthesis[e])
            return vqi_fail_nomem(2ull * m * m * sizeof(float));
        fold(out, basis, pre_filter, post_filter, e);
    }
    return VQ_OK;
}

void vqi_lapped_clear(vqi_lapped *lapped)
{
    for (unsigned e = 0; e < VQI_LAPPED_EDGES; e++) {
        vq_free(lapped->analysis[e]);
        vq_free(lapped->synthesis[e]);
    }
    memset(lapped, 0, sizeof *lapped);
}
