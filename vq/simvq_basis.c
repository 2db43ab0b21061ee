/* SPDX-License-Identifier: Apache-2.0 */
/* The frozen basis: rows that a seed defines. docs/FORMATS.md is the specification. */
#include <math.h>
#include <stdint.h>

#include "vq/philox_internal.h"
#include "vq/simvq_internal.h"

static uint32_t heads(uint32_t flips)
{
    flips -= flips >> 1 & 0x55555555u;
    flips = (flips & 0x33333333u) + (flips >> 2 & 0x33333333u);
    return ((flips + (flips >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

/*
 * 96 coin flips and a uniform number: a sum of variance 24 + 1/12 = 289/12 that is as good as Gaussian (its
 * kurtosis is 2.98), and an integer, so that every machine has the same.
 */
static float element(uint64_t seed, uint32_t row, uint32_t column, double scale)
{
    const vqi_philox r = vqi_philox4x32((vqi_philox){{column, row, 0, 0}}, seed);
    const int64_t count = (int64_t)(heads(r.word[0]) + heads(r.word[1]) + heads(r.word[2])) - 48,
                  sum = count * ((int64_t)1 << 32) + (int64_t)r.word[3] - ((int64_t)1 << 31);
    return (float)((double)sum * scale);
}

void vqi_simvq_basis_part(float *part, uint64_t seed, uint32_t basis_dim, uint32_t row,
                          uint32_t first, uint32_t count)
{
    const double scale = sqrt(12.0 / basis_dim) / 17.0 * 0x1p-32;
    for (uint32_t i = 0; i < count; i++)
        part[i] = element(seed, row, first + i, scale);
}

void vq_simvq_basis(float *rows, uint64_t seed, uint32_t basis_dim, uint32_t first, size_t count)
{
    for (size_t j = 0; j < count; j++)
        vqi_simvq_basis_part(rows + j * basis_dim, seed, basis_dim, first + (uint32_t)j, 0,
                             basis_dim);
}
