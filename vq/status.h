/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/status.h
 * What every function of libvq that can fail returns, and the sentence that goes with it.
 *
 * Rules that hold for the whole library: outputs come first in a parameter list; on failure an output
 * pointer is NULL (or the output array is unspecified but never beyond its bounds) and nothing leaks;
 * every *_free() accepts NULL; no function prints, exits or aborts because of its input.
 */
#ifndef VQ_STATUS_H
#define VQ_STATUS_H

#include "vq/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The numbers are pinned: they never change and are never reused. */
typedef enum vq_status {
    VQ_OK = 0,

    /* The caller's fault. */
    VQ_E_ARG = 1,       /**< an argument or an option is not allowed; the sentence names it */
    VQ_E_NONFINITE = 2, /**< the data holds a NaN or an infinity */
    VQ_E_RANGE = 3,     /**< a code is not below the K of its level */

    /* The world's. */
    VQ_E_NOMEM = 16,     /**< an allocation failed */
    VQ_E_IO = 17,        /**< the system refused to open, read, write, sync or rename */
    VQ_E_CANCELLED = 18, /**< a progress callback asked to stop */

    /* The bytes'. */
    VQ_E_FORMAT = 32,      /**< not a file of this format, or a damaged one */
    VQ_E_VERSION = 33,     /**< written by a newer major version than this reader knows */
    VQ_E_LIMIT = 34,       /**< larger than a limit in vq_limits */
    VQ_E_CHECKSUM = 35,    /**< a stored checksum does not match the bytes */
    VQ_E_UNSUPPORTED = 36, /**< a valid file that uses a feature this reader does not have */
    VQ_E_MISMATCH = 37     /**< the pieces do not belong together: tokens made with another model */
} vq_status;

/** @return the name of a status as it is spelled above, "VQ_E_ARG"; static storage; never NULL. */
VQ_API const char *vq_status_name(vq_status status);

/**
 * The sentence of the last failure in the calling thread: what is wrong and how to mend it, with file
 * name and byte offset where bytes are at fault. Set by every function that returns other than VQ_OK,
 * left alone by those that succeed. Never NULL; "" if nothing has failed yet. Valid until the next
 * failure in the same thread; a thread never sees another one's.
 */
VQ_API const char *vq_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
