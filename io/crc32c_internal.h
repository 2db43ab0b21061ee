/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_CRC32C_INTERNAL_H
#define IO_CRC32C_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

/** CRC32C without the inversions at either end, by the instruction of SSE4.2; only where the CPU has it. */
uint32_t vqi_crc32c_sse42(uint32_t crc, const uint8_t *data, size_t size);

#endif
