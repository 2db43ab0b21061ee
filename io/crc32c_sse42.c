/* SPDX-License-Identifier: Apache-2.0 */
#include "io/crc32c_internal.h"

#include <nmmintrin.h>
#include <string.h>

uint32_t vqi_crc32c_sse42(uint32_t crc, const uint8_t *data, size_t size)
{
    uint64_t wide = crc;
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size; data++, size--)
        crc = _mm_crc32_u8(crc, *data);
    return crc;
}
