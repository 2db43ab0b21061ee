/* SPDX-License-Identifier: Apache-2.0 */
#include "io/packing_internal.h"

#include <string.h>

#include "io/bytes_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

const char *vq_packing_name(vq_packing packing)
{
    static const char *const names[] = {"raw", "bits", "entropy", "rans"};
    return packing >= VQ_PACKING_RAW && packing <= VQ_PACKING_RANS ? names[packing] : NULL;
}

unsigned vqi_raw_width(uint32_t levels, const uint32_t *k)
{
    uint32_t largest = 1;
    for (uint32_t l = 0; l < levels; l++)
        largest = k[l] > largest ? k[l] : largest;
    return largest <= 1u << 8 ? 1 : largest <= 1u << 16 ? 2 : 4;
}

int vqi_level_bytes(size_t *bytes, size_t positions, uint32_t k, vq_packing packing,
                    unsigned raw_width)
{
    if (packing == VQ_PACKING_RAW)
        return vqi_mul(bytes, positions, raw_width);
    size_t bits;
    if (!vqi_mul(&bits, positions, vqi_code_bits(k)) || !vqi_add(&bits, bits, 7))
        return 0;
    *bytes = bits / 8;
    return 1;
}

int vqi_levels_bytes(size_t *bytes, size_t positions, uint32_t levels, const uint32_t *k,
                     vq_packing packing)
{
    const unsigned width = vqi_raw_width(levels, k);
    *bytes = 0;
    for (uint32_t l = 0; l < levels; l++) {
        size_t level;
        if (!vqi_level_bytes(&level, positions, k[l], packing, width) ||
            !vqi_add(bytes, *bytes, level))
            return 0;
    }
    return 1;
}

static void pack_raw(uint8_t *out, const uint32_t *codes, size_t n, unsigned width)
{
    if (width == 1)
        for (size_t i = 0; i < n; i++)
            out[i] = (uint8_t)codes[i];
    else if (width == 2)
        for (size_t i = 0; i < n; i++)
            vqi_store_u16(out + 2 * i, (uint16_t)codes[i]);
    else
        for (size_t i = 0; i < n; i++)
            vqi_store_u32(out + 4 * i, codes[i]);
}

static void unpack_raw(uint32_t *codes, const uint8_t *bytes, size_t n, unsigned width)
{
    if (width == 1)
        for (size_t i = 0; i < n; i++)
            codes[i] = bytes[i];
    else if (width == 2)
        for (size_t i = 0; i < n; i++)
            codes[i] = vqi_load_u16(bytes + 2 * i);
    else
        for (size_t i = 0; i < n; i++)
            codes[i] = vqi_load_u32(bytes + 4 * i);
}

/* Codes one after the other from the least significant bit of the first byte up. */
static void pack_bits(uint8_t *out, const uint32_t *codes, size_t n, unsigned bits)
{
    uint64_t waiting = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        waiting |= (uint64_t)codes[i] << have;
        for (have += bits; have >= 8; have -= 8, waiting >>= 8)
            *out++ = (uint8_t)waiting;
    }
    if (have)
        *out = (uint8_t)waiting;
}

/* Eight bytes from `at` on, those past `size` being 0. */
static uint64_t load_word(const uint8_t *bytes, size_t size, size_t at)
{
    uint64_t word = 0;
    for (size_t i = at; i < size && i < at + 8; i++)
        word |= (uint64_t)bytes[i] << 8 * (i - at);
    return word;
}

/* Returns the bits that are left in the last byte, which must be 0. */
static uint64_t unpack_bits(uint32_t *codes, const uint8_t *bytes, size_t size, size_t n,
                            unsigned bits)
{
    const uint64_t mask = ((uint64_t)1 << bits) - 1;
    /* A code has at most 32 bits and begins within the first 8 of a word of 64. */
    const size_t whole = size < 8 ? 0 : (size - 8) * 8 / bits;
    size_t i = 0;
    for (; i < n && i < whole; i++)
        codes[i] = (uint32_t)(vqi_load_u64(bytes + i * bits / 8) >> i * bits % 8 & mask);
    for (; i < n; i++)
        codes[i] = (uint32_t)(load_word(bytes, size, i * bits / 8) >> i * bits % 8 & mask);
    const size_t used = n * bits;
    return used % 8 ? (uint64_t)bytes[used / 8] >> used % 8 : 0;
}

void vqi_pack(uint8_t *out, const uint32_t *codes, size_t positions, uint32_t levels,
              const uint32_t *k, vq_packing packing)
{
    const unsigned width = vqi_raw_width(levels, k);
    for (uint32_t l = 0; l < levels; l++, codes += positions) {
        size_t bytes = 0;
        vqi_level_bytes(&bytes, positions, k[l], packing, width);
        if (packing == VQ_PACKING_RAW)
            pack_raw(out, codes, positions, width);
        else
            pack_bits(out, codes, positions, vqi_code_bits(k[l]));
        out += bytes;
    }
}

/* The largest first, without a branch: codes out of range are the exception. */
static vq_status check_codes(const uint32_t *codes, size_t n, uint32_t level, uint32_t k,
                             size_t offset)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = codes[i] > largest ? codes[i] : largest;
    for (size_t i = 0; largest >= k && i < n; i++)
        if (codes[i] >= k)
            return vqi_fail(VQ_E_FORMAT, "byte %zu: code %u at level %u, position %zu (K is %u)",
                            offset, codes[i], level, i, k);
    return VQ_OK;
}

vq_status vqi_unpack(uint32_t *codes, const uint8_t *bytes, size_t positions, uint32_t levels,
                     const uint32_t *k, vq_packing packing, size_t offset)
{
    const unsigned width = vqi_raw_width(levels, k);
    for (uint32_t l = 0; l < levels; l++, codes += positions) {
        size_t size = 0;
        vqi_level_bytes(&size, positions, k[l], packing, width);
        if (packing == VQ_PACKING_RAW)
            unpack_raw(codes, bytes, positions, width);
        else if (unpack_bits(codes, bytes, size, positions, vqi_code_bits(k[l])))
            return vqi_fail(VQ_E_FORMAT, "byte %zu: a padding bit is not 0", offset + size - 1);
        const vq_status status = check_codes(codes, positions, l, k[l], offset);
        if (status)
            return status;
        bytes += size;
        offset += size;
    }
    return VQ_OK;
}
