/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/ranks_internal.h  How the library uses a communicator. Where `ranks` is NULL there is one process. */
#ifndef VQ_RANKS_INTERNAL_H
#define VQ_RANKS_INTERNAL_H

#include "vq/communicator.h"
#include "vq/status.h"

enum { VQI_RANKS_WORDS = 1 << 16 };

typedef struct vqi_ranks {
    vq_communicator comm;
    int over;       /**< a failure has been agreed on, or the communicator failed: no more calls */
    int64_t *words; /**< VQI_RANKS_WORDS of them, for what is no integer */
} vqi_ranks;

/** @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM. The other ranks do not know yet: agree on it. */
vq_status vqi_ranks_create(vqi_ranks *ranks, const vq_communicator *communicator);
void vqi_ranks_clear(vqi_ranks *ranks);

/**
 * Have all ranks come here without a failure? To be asked before every exchange and at the end, with what this rank has to say:
 * so a rank that failed anywhere is heard by the others, which fail with its status.
 * @return `mine`, or the status of another rank if that is VQ_OK.
 */
vq_status vqi_ranks_agree(vqi_ranks *ranks, vq_status mine);
/** Combine numbers. @return VQ_OK or VQ_E_IO. */
vq_status vqi_ranks_reduce(vqi_ranks *ranks, int64_t *values, size_t count, vq_reduction how);
/** Combine bytes of which each is 0 in all ranks but one. @return VQ_OK or VQ_E_IO. */
vq_status vqi_ranks_gather(vqi_ranks *ranks, void *bytes, size_t size);

#endif
