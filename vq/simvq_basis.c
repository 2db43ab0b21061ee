/* SPDX-License-Identifier: Apache-2.0 */
/* The frozen basis: rows that a seed defines. docs/FORMATS.md is the specification. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "vq/philox_internal.h"
#include "vq/simvq_internal.h"

enum { COLUMNS = 4 /* that are made at once */ };

/*
 * 96 coin flips and a uniform number: a sum of variance 24 + 1/12 = 289/12 that is as good as Gaussian (its
 * kurtosis is 2.98), and an integer, so that every machine has the same.
 */
#if defined(__SSE2__)
enum { PAIRS = COLUMNS / 2 };

/* Each bit of a byte is a head: how many there are in each byte. */
static __m128i heads_of_bytes(__m128i flips)
{
    const __m128i odd = _mm_set1_epi8(0x55), pairs = _mm_set1_epi8(0x33), low = _mm_set1_epi8(0xf);
    flips = _mm_sub_epi8(flips, _mm_and_si128(_mm_srli_epi64(flips, 1), odd));
    flips =
        _mm_add_epi8(_mm_and_si128(flips, pairs), _mm_and_si128(_mm_srli_epi64(flips, 2), pairs));
    return _mm_and_si128(_mm_add_epi8(flips, _mm_srli_epi64(flips, 4)), low);
}

/* Each register has the words of two columns; what is above them is not read. */
static void elements(float *out, uint64_t seed, uint32_t row, uint32_t column, double scale)
{
    const __m128i ma = _mm_set1_epi64x(0xd2511f53), mb = _mm_set1_epi64x(0xcd9e8d57);
    __m128i c0[PAIRS], c1[PAIRS], c2[PAIRS], c3[PAIRS];
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (uint32_t p = 0; p < PAIRS; p++) {
        c0[p] = _mm_set_epi64x((int64_t)column + 2 * p + 1, (int64_t)column + 2 * p);
        c1[p] = _mm_set1_epi64x(row);
        c2[p] = c3[p] = _mm_setzero_si128();
    }
    for (int round = 0; round < 10; round++) {
        const __m128i key0 = _mm_set1_epi64x(k0), key1 = _mm_set1_epi64x(k1);
#pragma GCC unroll 2
        for (int p = 0; p < PAIRS; p++) {
            const __m128i a = _mm_mul_epu32(c0[p], ma), b = _mm_mul_epu32(c2[p], mb);
            c0[p] = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi64(b, 32), c1[p]), key0);
            c2[p] = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi64(a, 32), c3[p]), key1);
            c1[p] = b;
            c3[p] = a;
        }
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    const __m128i low = _mm_set1_epi64x(0xffffffff);
    /* A whole number below 2^52 that is put where 2^52 has its fraction is 2^52 more. */
    const __m128i fraction = _mm_set1_epi64x(0x4330000000000000);
    const __m128d middle = _mm_set1_pd(0x1p52 + 48 * 0x1p32 + 0x1p31), scales = _mm_set1_pd(scale);
#pragma GCC unroll 2
    for (int p = 0; p < PAIRS; p++) {
        const __m128i two = _mm_or_si128(_mm_and_si128(c0[p], low), _mm_slli_epi64(c1[p], 32)),
                      bytes = _mm_add_epi8(heads_of_bytes(two),
                                           heads_of_bytes(_mm_and_si128(c2[p], low))),
                      count = _mm_sad_epu8(bytes, _mm_setzero_si128()),
                      sum = _mm_or_si128(_mm_slli_epi64(count, 32), _mm_and_si128(c3[p], low));
        const __m128d value = _mm_sub_pd(_mm_castsi128_pd(_mm_or_si128(sum, fraction)), middle);
        _mm_storel_pi((__m64 *)(void *)(out + 2 * p), _mm_cvtpd_ps(_mm_mul_pd(value, scales)));
    }
}
#else
static uint32_t heads(uint32_t flips)
{
    flips -= flips >> 1 & 0x55555555u;
    flips = (flips & 0x33333333u) + (flips >> 2 & 0x33333333u);
    return ((flips + (flips >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

static float element(uint64_t seed, uint32_t row, uint32_t column, double scale)
{
    const vqi_philox r = vqi_philox4x32((vqi_philox){{column, row, 0, 0}}, seed);
    const int64_t count = (int64_t)(heads(r.word[0]) + heads(r.word[1]) + heads(r.word[2])) - 48,
                  sum = count * ((int64_t)1 << 32) + (int64_t)r.word[3] - ((int64_t)1 << 31);
    return (float)((double)sum * scale);
}

static void elements(float *out, uint64_t seed, uint32_t row, uint32_t column, double scale)
{
    for (uint32_t i = 0; i < COLUMNS; i++)
        out[i] = element(seed, row, column + i, scale);
}
#endif

void vqi_simvq_basis_part(float *part, uint64_t seed, uint32_t basis_dim, uint32_t row,
                          uint32_t first, uint32_t count)
{
    const double scale = sqrt(12.0 / basis_dim) / 17.0 * 0x1p-32;
    float last[COLUMNS];
    uint32_t i = 0;
    for (; count - i >= COLUMNS; i += COLUMNS)
        elements(part + i, seed, row, first + i, scale);
    if (i == count)
        return;
    elements(last, seed, row, first + i, scale);
    memcpy(part + i, last, (count - i) * sizeof *part);
}

void vq_simvq_basis(float *rows, uint64_t seed, uint32_t basis_dim, uint32_t first, size_t count)
{
    for (size_t j = 0; j < count; j++)
        vqi_simvq_basis_part(rows + j * basis_dim, seed, basis_dim, first + (uint32_t)j, 0,
                             basis_dim);
}
