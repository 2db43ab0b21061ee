/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/safetensors_internal.h
 * What the reader and the writer share: the seal of our own files.
 *
 * safetensors has no checksum, so a file of ours carries one: `__metadata__.libvq_sha256` is the SHA-256 of
 * the whole file in which its own 64 hexadecimal digits are read as '0'.
 */
#ifndef IO_SAFETENSORS_INTERNAL_H
#define IO_SAFETENSORS_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "io/safetensors.h"

#define VQI_SETTINGS_KEY "libvq"
#define VQI_SEAL_KEY     "libvq_sha256"

enum { VQI_SEAL_SIZE = 64 };

/** The 64 digits for a file whose seal lies at `offset`, which is at most size - 64. */
void vqi_seal(char digits[VQI_SEAL_SIZE + 1], const uint8_t *file, size_t size, size_t offset);

/** vq_safetensors_parse(); sealed 0 = nobody can have changed these bytes: their seal is not looked at. */
vq_status vqi_safetensors_parse(vq_tensors **out, const void *data, size_t size, const char *name,
                                const vq_limits *limits, int sealed);

#endif
