/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/npy_source.h
 * The rows of .npy files as a source (vq/source.h): read from the file as they are needed, never all at once.
 */
#ifndef IO_NPY_SOURCE_H
#define IO_NPY_SOURCE_H

#include "io/npy.h"
#include "vq/source.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * How the file is read; NULL means all defaults. Reading copies each chunk once, into the reader's buffer, which
 * costs little beside what is then done with it; and a file that is cut short under the reader is an error. A
 * mapped file is not copied, but one that is cut short while it is in use kills the process (SIGBUS).
 */
typedef struct vq_npy_source_opts {
    size_t struct_size; /**< sizeof(vq_npy_source_opts) */
    int map; /**< 1 = map the file into memory where rows are float32 as in memory; pages are let go
                           behind the reader, so that little of it is resident */
} vq_npy_source_opts;

#define VQ_NPY_SOURCE_OPTS_INIT                                                                    \
    {                                                                                              \
        sizeof(vq_npy_source_opts), 0                                                              \
    }

/**
 * Open an array of two or more dimensions: the last is d, the others are rows. Every type that vq_npy_read()
 * takes becomes float32. Memory: none to speak of with float32, else 1 MiB. What cannot be read in pieces
 * (Fortran order, a pipe, "-") is read whole, into memory.
 * @param[out] out    owned by the caller on VQ_OK, free with vq_source_close(); else untouched.
 * @param      limits of what is read whole.
 * @return as vq_npy_read(); VQ_E_UNSUPPORTED also of an array of fewer dimensions. Reading from it may fail with
 *         VQ_E_IO: the file was cut short or cannot be read.
 */
VQ_API vq_status vq_npy_source_open(vq_source *out, const char *path,
                                    const vq_npy_source_opts *opts, const vq_limits *limits);

/** Open several files as one source, one after another; all must have the same d. */
VQ_API vq_status vq_npy_sources_open(vq_source *out, const char *const *paths, size_t count,
                                     const vq_npy_source_opts *opts, const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
