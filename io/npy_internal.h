/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_NPY_INTERNAL_H
#define IO_NPY_INTERNAL_H

#include "io/bytes_internal.h"
#include "io/npy.h"

/** What the header of a .npy file says. */
typedef struct vqi_npy_header {
    vq_dtype dtype;
    int big_endian;
    int fortran_order;
    uint32_t ndim;
    size_t shape[VQ_MAX_NDIM];
} vqi_npy_header;

/**
 * Parse the header's text, a Python dict literal of three keys in any order; nothing is evaluated.
 * @param offset where the text lies in the file, for the sentence.
 * @return VQ_OK, VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_UNSUPPORTED.
 */
vq_status vqi_npy_parse_header(vqi_npy_header *out, const char *text, size_t size, size_t offset);

/** Parse all that comes before the data; the cursor is left where the data begin. */
vq_status vqi_npy_parse_preamble(vqi_npy_header *header, vqi_cursor *cursor);

#endif
