/* SPDX-License-Identifier: Apache-2.0 */
#include "io/digest.h"

#include <sha2.h>

#include "io/bytes_internal.h"
#include "io/crc32c_internal.h"
#include "vq/cpu.h"

void vq_sha256(uint8_t digest[VQ_SHA256_SIZE], const void *data, size_t size)
{
    SHA2_CTX context;
    SHA256Init(&context);
    SHA256Update(&context, data, size);
    SHA256Final(digest, &context);
}

/* Reflected polynomial of CRC32C. Four bits at a time: a table of sixteen, small enough to be seen whole. */
static uint32_t crc_portable(uint32_t crc, const uint8_t *data, size_t size)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                       0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                       0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

uint32_t vq_crc32c(uint32_t crc, const void *data, size_t size)
{
    crc = ~crc;
#ifdef VQI_HAVE_SSE42
    if (vq_cpu_flags() & VQ_CPU_SSE42)
        return ~vqi_crc32c_sse42(crc, data, size);
#endif
    return ~crc_portable(crc, data, size);
}

void vqi_swap_elements(void *data, size_t count, size_t size)
{
    uint8_t *element = data;
    for (size_t i = 0; i < count; i++, element += size)
        for (size_t j = 0; j < size / 2; j++) {
            const uint8_t byte = element[j];
            element[j] = element[size - 1 - j];
            element[size - 1 - j] = byte;
        }
}
