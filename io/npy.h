/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/npy.h
 * NumPy's .npy, format 1.0 to 3.0 (NEP 1).
 */
#ifndef IO_NPY_H
#define IO_NPY_H

#include "io/file.h"
#include "vq/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Read an array: bool, integers of 1 to 8 bytes, float16/32/64, little or big endian, C or Fortran
 * order. It becomes the one tensor, called `name`, of a new set, row-major and in the machine's byte order.
 * @return VQ_OK, VQ_E_IO, VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_UNSUPPORTED (objects, complex, structured,
 *         strings: the sentence says which), VQ_E_NOMEM.
 */
VQ_API vq_status vq_npy_read(vq_tensors **out, const char *path, const char *name,
                             const vq_limits *limits);
/** The same from memory. */
VQ_API vq_status vq_npy_parse(vq_tensors **out, const void *data, size_t size, const char *name,
                              const vq_limits *limits);

/** Write an array, version 1.0, little endian, C order, data at a multiple of 64. BF16 is written as
 *  float32. @return VQ_OK, VQ_E_IO, VQ_E_NOMEM. */
VQ_API vq_status vq_npy_write(const char *path, const vq_tensor *tensor, const vq_write_opts *opts);
VQ_API vq_status vq_npy_serialize(vq_bytes *out, const vq_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
