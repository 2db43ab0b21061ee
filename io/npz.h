/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/npz.h
 * NumPy's .npz: a zip archive of .npy files, stored or deflated.
 */
#ifndef IO_NPZ_H
#define IO_NPZ_H

#include "io/file.h"
#include "vq/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Read the arrays of an archive, named as in it without ".npy". Members that are not .npy, and arrays of types that
 * vq_npy_parse() does not read, are left out. Sizes are taken from the central directory, checksums are verified.
 * @param[out] out owned by the caller, free with vq_tensors_free().
 * @param      name for the sentences, or NULL.
 * @return VQ_OK, VQ_E_FORMAT, VQ_E_LIMIT (together more than max_alloc_bytes, or more members than max_tensors), VQ_E_CHECKSUM,
 *         VQ_E_UNSUPPORTED (encryption, zip64, other compression), VQ_E_NOMEM.
 */
VQ_API vq_status vq_npz_parse(vq_tensors **out, const void *data, size_t size, const char *name,
                              const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
