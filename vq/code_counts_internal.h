/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/code_counts_internal.h  How often each code of a level occurred, whatever K is. */
#ifndef VQ_CODE_COUNTS_INTERNAL_H
#define VQ_CODE_COUNTS_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vq/status.h"

/** Up to VQI_DENSE_CODES a count per code; above, a hash table of the codes that occurred. */
enum { VQI_DENSE_CODES = 1 << 20 };

/** All zero but k = nothing counted. */
typedef struct vqi_code_counts {
    uint32_t k;
    uint64_t *dense; /* k, or NULL */
    uint32_t *code;  /* slots, where count is not 0 */
    uint64_t *count; /* slots */
    size_t slots;    /* a power of two; 0 = none yet */
    size_t used;     /* slots that are taken */
} vqi_code_counts;

/** @return VQ_OK or VQ_E_NOMEM. */
vq_status vqi_code_counts_init(vqi_code_counts *counts, uint32_t k);
void vqi_code_counts_clear(vqi_code_counts *counts);
/** Make room for `more` codes, so that adding so many cannot fail. @return VQ_OK or VQ_E_NOMEM. */
vq_status vqi_code_counts_reserve(vqi_code_counts *counts, size_t more);
/** Count a code below k, for which there is room. */
void vqi_code_counts_add(vqi_code_counts *counts, uint32_t code);
/** The counts one after another, in an order that the codes counted determine: *i begins at 0. @return 0 at the end. */
uint64_t vqi_code_counts_next(const vqi_code_counts *counts, size_t *i);

#endif
