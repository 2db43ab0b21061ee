/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/short_internal.h
 * The search of short rows, as product quantizers have them: rows lie across the lanes of a
 * register, products are of 16 bits, and every lane keeps its best and its second best score, so that no score is ever
 * stored. Rows whose two best are too near to each other for 16 bits are left open, for the shortlist.
 */
#ifndef VQ_SHORT_INTERNAL_H
#define VQ_SHORT_INTERNAL_H

#include "vq/nearest_internal.h"

enum {
    VQI_SHORT_DIM = 16, /* dimensions, at most */
    VQI_SHORT_PIECE =
        4096 /* codewords of a piece of the codebook: the place takes 12 bits of a score */
};

/** What the search reads of a codebook: c' in steps of largest_norm / 2^15, two elements to an int32. */
typedef struct vqi_short_codebook {
    uint32_t pairs; /* ceil(d / 2) */
    int32_t
        *packed;  /* k, up to a multiple of VQI_SHORT_FEW, x pairs: element 2 i low, 2 i + 1 high */
    float *start; /* k: as vq_codebook's, but in the order of the codes */
    double step;  /* what 1 in an element stands for */
    double error; /* not below |c' - what its elements stand for|, for any codeword */
} vqi_short_codebook;

/** Fill in codebook->few, where such a search is possible. @return VQ_OK or VQ_E_NOMEM. */
vq_status vqi_short_prepare(vq_codebook *codebook);
void vqi_short_free(vqi_short_codebook *few);

#if defined(__x86_64__)
vqi_short_search vqi_short_avx2, vqi_short_vnni;
#endif

#endif
