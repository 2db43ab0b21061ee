/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/file.h
 * Whole files in, whole files out. A path of "-" is standard input or output everywhere in io/.
 */
#ifndef IO_FILE_H
#define IO_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "vq/limits.h"
#include "vq/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes that the caller owns; vq_bytes_clear() frees them. A zeroed struct is empty. */
typedef struct vq_bytes {
    uint8_t *data;
    size_t size;
} vq_bytes;

VQ_API void vq_bytes_clear(vq_bytes *bytes);

/**
 * Read a file to its end.
 * @return VQ_OK, VQ_E_IO, VQ_E_LIMIT (max_file_bytes), VQ_E_NOMEM.
 */
VQ_API vq_status vq_file_read(vq_bytes *out, const char *path, const vq_limits *limits);

/** How a file is written; NULL means all defaults. */
typedef struct vq_write_opts {
    size_t struct_size; /**< sizeof(vq_write_opts) */
    int no_replace;     /**< 1 = VQ_E_IO if the file exists already */
    int no_sync;        /**< 1 = do not fsync: faster, and a power cut may lose the new file */
} vq_write_opts;

#define VQ_WRITE_OPTS_INIT                                                                         \
    {                                                                                              \
        sizeof(vq_write_opts), 0, 0                                                                \
    }

/**
 * Write a file so that at any moment the path names the whole old file or the whole new one: the bytes go
 * to a nameless or temporary file in the same folder, which is synced and renamed. The mode of a
 * replaced file is kept; a symbolic link is followed; a pipe or device is written to directly.
 * On failure nothing of the new file is left.
 * @return VQ_OK, VQ_E_IO, VQ_E_NOMEM.
 */
VQ_API vq_status vq_file_write(const char *path, const void *data, size_t size,
                               const vq_write_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
