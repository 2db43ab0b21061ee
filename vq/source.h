/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/source.h
 * Rows that are read chunk by chunk, as often as needed: what training takes, so that the data may be larger
 * than memory. Rows in memory, a file (io/npy_source.h), many of either one after another, or a caller's own.
 */
#ifndef VQ_SOURCE_H
#define VQ_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "vq/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * n rows of d floats. Set `memory`, or `read` and what goes with it; leave the rest 0. The same rows must come
 * in every pass. One user at a time: a pass begins at row 0 (of a slice, at its first) and its reads rise, but
 * it need not reach the end.
 */
typedef struct vq_source {
    size_t struct_size;  /**< sizeof(vq_source) */
    size_t n;            /**< rows */
    uint32_t d;          /**< floats of a row */
    const float *memory; /**< n x d, row-major, if they are all in memory; borrowed. Else NULL */
    /**
     * Give rows first to first + count - 1. A failure is passed on to who reads.
     * @param[out] rows   where they are, row-major: in the source's own memory, to be left alone until
     *                    `done`, or at `buffer`.
     * @param      buffer room for count x d floats.
     */
    vq_status (*read)(void *context, const float **rows, float *buffer, size_t first, size_t count);
    /** The rows of the last `read` are no longer needed, in this pass. NULL = nothing to do. */
    void (*done)(void *context, size_t first, size_t count);
    void (*close)(void *context); /**< what vq_source_close() calls; NULL = nothing to do */
    void *context;
} vq_source;

#define VQ_SOURCE_INIT                                                                             \
    {                                                                                              \
        sizeof(vq_source), 0, 0, NULL, NULL, NULL, NULL, NULL                                      \
    }

/** @return a source of n x d floats in memory, row-major, borrowed; nothing to close. */
VQ_API vq_source vq_source_from_memory(const float *x, size_t n, uint32_t d);

/**
 * The rows of several sources, one after another, as one source.
 * @param[out]    out   owned by the caller on VQ_OK, free with vq_source_close(); else untouched.
 * @param[in,out] parts count sources of the same d; on VQ_OK they belong to `out` and are zeroed.
 * @return VQ_OK, VQ_E_ARG (no parts, a part that is not set, different d), VQ_E_NOMEM.
 */
VQ_API vq_status vq_source_concat(vq_source *out, vq_source *parts, size_t count);

/**
 * Some rows of a source, one after another, as a source: the part of one of several processes.
 * @param[out]    out   owned by the caller on VQ_OK, free with vq_source_close(); else untouched.
 * @param[in,out] whole on VQ_OK it belongs to `out` and is zeroed.
 * @param         first, n rows first to first + n - 1, which it has; n may be 0.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_source_slice(vq_source *out, vq_source *whole, size_t first, size_t n);

/** Free what a source holds and zero it. NULL and a zeroed source are allowed. */
VQ_API void vq_source_close(vq_source *source);

#ifdef __cplusplus
}
#endif
#endif
