/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/communicator.h
 * How processes that train together talk: one function that the caller gives. libvq links no message-passing library;
 * vqtrain gives it MPI's, a test threads, and another program may give that of NCCL or gloo.
 *
 * There is one collective, and it is of integers. Everything that is exchanged is a count, an exact sum in integers, a
 * maximum, or bytes that one rank has and the others fill with zeros: so the result does not depend on the order in which
 * ranks are combined, nor on their number.
 */
#ifndef VQ_COMMUNICATOR_H
#define VQ_COMMUNICATOR_H

#include <stddef.h>
#include <stdint.h>

#include "vq/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The most ranks. */
enum { VQ_MAX_RANKS = 65536 };

typedef enum vq_reduction { VQ_REDUCE_SUM = 0, VQ_REDUCE_MIN = 1, VQ_REDUCE_MAX = 2 } vq_reduction;

typedef struct vq_communicator {
    size_t struct_size; /**< sizeof(vq_communicator) */
    uint32_t rank;      /**< of this process, below size */
    uint32_t size;      /**< of them in all, 1 to VQ_MAX_RANKS */
    /**
     * Combine values[i] of all ranks, for every i, and give all of them the result. Every rank makes the same calls in the
     * same order. A rank that fails says so in its next call, so that no other one waits for it.
     * @param[in,out] values count numbers; sums do not overflow.
     * @return 0, or anything else if it could not be done; then this rank calls no more.
     */
    int (*allreduce)(void *context, int64_t *values, size_t count, vq_reduction how);
    void *context;
} vq_communicator;

#define VQ_COMMUNICATOR_INIT                                                                       \
    {                                                                                              \
        sizeof(vq_communicator), 0, 1, NULL, NULL                                                  \
    }

#ifdef __cplusplus
}
#endif
#endif
