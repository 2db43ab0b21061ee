/* SPDX-License-Identifier: Apache-2.0 */
/** @file io/store_record_internal.h  What the first bytes of a record, and of a stream in it, say. */
#ifndef IO_STORE_RECORD_INTERNAL_H
#define IO_STORE_RECORD_INTERNAL_H

#include "io/store_internal.h"

/** What a record has, in its first byte. */
enum {
    VQI_RECORD_KEY = 1,
    VQI_RECORD_LABEL = 2,
    VQI_RECORD_SPLIT = 4,
    VQI_RECORD_CAPTION = 8,
    VQI_RECORD_SOURCE = 16,
    VQI_RECORD_KNOWN = 31
};

/** Of a stream: bits 0-1 the dimensions of its grid (0: the record has none of this stream, and no more
 *  follows), 2-3 those of its source. */
enum {
    VQI_STREAM_RATE = 16,
    VQI_STREAM_BITS = 32,
    VQI_STREAM_DIMENSIONS = 64,
    VQI_STREAM_PLAIN = 128 /**< packed as bits, though the shard's packing is another */
};

#endif
