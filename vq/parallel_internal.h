/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/parallel_internal.h  How many threads a call uses. */
#ifndef VQ_PARALLEL_INTERNAL_H
#define VQ_PARALLEL_INTERNAL_H

#include <omp.h>
#include <stddef.h>

/** The threads for `pieces` independent pieces of work: opts->threads, 0 = as many as OpenMP gives. */
static inline int vqi_threads(int asked, size_t pieces)
{
    const int threads = asked > 0 ? asked : omp_get_max_threads();
    if (pieces < (size_t)threads)
        return pieces ? (int)pieces : 1;
    return threads;
}

#endif
