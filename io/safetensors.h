/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/safetensors.h
 * safetensors (huggingface/safetensors), the format of libvq's models.
 *
 * Settings of the set are stored as one JSON object in the text `__metadata__.libvq`; other entries of
 * `__metadata__` are read as settings too, under their own keys, and "libvq" wins where both name one.
 */
#ifndef IO_SAFETENSORS_H
#define IO_SAFETENSORS_H

#include "io/file.h"
#include "vq/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Read a file: header at most max_header_bytes, no duplicate names, every tensor inside the data,
 * sizes equal to shape x dtype, no overlap, no holes, nothing after the last.
 * @return VQ_OK, VQ_E_IO, VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_UNSUPPORTED (F8 and other types), VQ_E_NOMEM.
 */
VQ_API vq_status vq_safetensors_read(vq_tensors **out, const char *path, const vq_limits *limits);
VQ_API vq_status vq_safetensors_parse(vq_tensors **out, const void *data, size_t size,
                                      const char *name, const vq_limits *limits);

/** Write a file, the same bytes for the same set on every machine: tensors in their order, header padded
 *  with spaces to 64 bytes. @return VQ_OK, VQ_E_IO, VQ_E_NOMEM. */
VQ_API vq_status vq_safetensors_write(const char *path, const vq_tensors *tensors,
                                      const vq_write_opts *opts);
VQ_API vq_status vq_safetensors_serialize(vq_bytes *out, const vq_tensors *tensors);

#ifdef __cplusplus
}
#endif
#endif
