/* SPDX-License-Identifier: Apache-2.0 */
/* float32 to and from the two 16-bit float types, in integer arithmetic: the same bits everywhere. */
#include <string.h>

#include "vq/tensors.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* value >> shift, to nearest, ties to even; 1 <= shift <= 31. */
static uint32_t round_shift(uint32_t value, uint32_t shift)
{
    const uint32_t half = 1u << (shift - 1), rest = value & ((1u << shift) - 1);
    const uint32_t down = value >> shift;
    return down + (rest > half || (rest == half && (down & 1)));
}

uint16_t vq_f32_to_f16(float value)
{
    const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u;
    const uint32_t exponent = bits >> 23 & 0xffu, mantissa = bits & 0x7fffffu;
    if (exponent == 0xff) /* infinity, or a NaN that stays one: quiet, its upper bits kept */
        return (uint16_t)(sign | 0x7c00u | (mantissa ? 0x200u | mantissa >> 13 : 0));
    if (exponent >=
        113) { /* at least 2^-14, the smallest normal half: a carry may reach infinity */
        const uint32_t rounded = round_shift((exponent - 112) << 23 | mantissa, 13);
        return (uint16_t)(sign | (rounded < 0x7c00u ? rounded : 0x7c00u));
    }
    const uint32_t shift = 126 - exponent; /* a subnormal half counts units of 2^-24 */
    if (shift > 24)
        return (uint16_t)sign;
    return (uint16_t)(sign | round_shift(0x800000u | mantissa, shift));
}

float vq_f16_to_f32(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    const uint32_t exponent = bits >> 10 & 0x1fu, mantissa = bits & 0x3ffu;
    if (exponent == 0x1f)
        return float_of(sign | 0x7f800000u | mantissa << 13);
    if (exponent)
        return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    const float magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

uint16_t vq_f32_to_bf16(float value)
{
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)round_shift(bits, 16);
}

float vq_bf16_to_f32(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}
