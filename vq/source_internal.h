/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/source_internal.h  How the library reads a source. */
#ifndef VQ_SOURCE_INTERNAL_H
#define VQ_SOURCE_INTERNAL_H

#include "vq/source.h"

/** A copy of the caller's source, whatever header it was compiled with. @return VQ_OK or VQ_E_ARG. */
vq_status vqi_source_check(vq_source *own, const vq_source *theirs);

/** Rows first to first + count - 1. `buffer` may be NULL if the source is in memory. */
vq_status vqi_source_read(const float **rows, const vq_source *source, float *buffer, size_t first,
                          size_t count);

/** They are no longer needed, in this pass. */
void vqi_source_done(const vq_source *source, size_t first, size_t count);

#endif
