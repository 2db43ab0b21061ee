/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/online_internal.h  What an online codebook holds. */
#ifndef VQ_ONLINE_INTERNAL_H
#define VQ_ONLINE_INTERNAL_H

#include "vq/batch_internal.h"
#include "vq/online.h"

/** What an update replaces as a whole. */
typedef struct vqi_online_state {
    double *counts;  /* k */
    double *sums;    /* k x d */
    uint32_t *dying; /* k: updates in a row below the threshold */
} vqi_online_state;

struct vq_online {
    vq_online_opts opts; /* every default filled in */
    uint32_t k, d;
    vq_codebook *codebook;
    uint64_t updates;
    vqi_online_state now, next;
    float *codewords; /* k x d: those of the next codebook */
    vqi_batch batch;
};

/** Fill in the defaults. @return VQ_OK, or VQ_E_ARG that names the option. */
vq_status vqi_online_options(vq_online_opts *own, const vq_online_opts *opts);

/** Everything but the statistics, which are zero; takes the codebook over, also on failure. */
vq_status vqi_online_make(vq_online **out, vq_codebook *codebook, const vq_online_opts *own);

#endif
