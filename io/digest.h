/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/digest.h
 * Checksums of the formats.
 */
#ifndef IO_DIGEST_H
#define IO_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "vq/export.h"
#include "vq/tokens.h"

#ifdef __cplusplus
extern "C" {
#endif

/** CRC32C (Castagnoli, RFC 3720): start with crc = 0, feed pieces in order. "123456789" is 0xE3069283. */
VQ_API uint32_t vq_crc32c(uint32_t crc, const void *data, size_t size);

/** SHA-256 (FIPS 180-4). */
VQ_API void vq_sha256(uint8_t digest[VQ_SHA256_SIZE], const void *data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
