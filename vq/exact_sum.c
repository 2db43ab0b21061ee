/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/exact_sum_internal.h"

#include <math.h>
#include <string.h>

#include "vq/cpu.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static inline uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

vqi_exact_grid vqi_exact_grid_of(int exponent)
{
    vqi_exact_grid grid;
    for (int i = 0; i < VQI_EXACT_LIMBS; i++) {
        grid.unit[i] = ldexp(1, exponent - VQI_EXACT_FIRST_BITS - i * VQI_EXACT_NEXT_BITS);
        /* Between 2^52 and 2^53 units a double counts units, and so do its bits. */
        grid.magic[i] = grid.unit[i] * 0x1.8p52;
    }
    return grid;
}

int vqi_exact_exponent(double value)
{
    int exponent;
    const double share = frexp(value, &exponent);
    return fabs(share) == 0.5 ? exponent - 1 : exponent;
}

static inline void add_limbs(int64_t *limb, size_t stride, const vqi_exact_grid *grid, int limbs,
                             double value)
{
    for (int i = 0; i < limbs; i++) {
        const double magic = grid->magic[i], at = value + magic;
        limb[(size_t)i * stride] += (int64_t)(bits_of(at) - bits_of(magic));
        value -= at - magic;
    }
}

void vqi_exact_add(int64_t *limb, size_t stride, const vqi_exact_grid *grid, int limbs,
                   double value)
{
    add_limbs(limb, stride, grid, limbs, value);
}

static inline void carry_one(int64_t *limb, size_t stride, int limbs)
{
    for (int i = limbs - 1; i > 0; i--) {
        int64_t *low = limb + (size_t)i * stride;
        const int64_t carry = *low >> VQI_EXACT_NEXT_BITS;
        low[-(ptrdiff_t)stride] += carry;
        *low -= (int64_t)((uint64_t)carry << VQI_EXACT_NEXT_BITS);
    }
}

void vqi_exact_carry(int64_t *limb, size_t stride, int limbs, size_t count)
{
    for (size_t j = 0; j < count; j++)
        carry_one(limb + j, stride, limbs);
}

double vqi_exact_value(const int64_t *limb, size_t stride, const vqi_exact_grid *grid, int limbs)
{
    int64_t own[VQI_EXACT_LIMBS] = {0};
    for (int i = 0; i < limbs; i++)
        own[i] = limb[(size_t)i * stride];
    carry_one(own, 1, limbs);
    double value = (double)own[0];
    for (int i = 1; i < limbs; i++)
        value = value * (double)((int64_t)1 << VQI_EXACT_NEXT_BITS) + (double)own[i];
    return value * grid->unit[limbs - 1];
}

/* One column. The bits of the magic numbers are added along and taken away at the end: integers wrap round. */
static inline __attribute__((always_inline)) void
add_column(int64_t *limb, size_t stride, const vqi_exact_grid *grid, const float *column,
           const uint32_t *order, size_t count, uint32_t d, const float *weights, const int limbs)
{
    const double coarse = grid->magic[0], middle = grid->magic[1], fine = grid->magic[2];
    uint64_t sum[VQI_EXACT_LIMBS] = {0};
    for (size_t o = 0; o < count; o++) {
        double value = (double)column[(size_t)order[o] * d];
        if (weights)
            value *= (double)weights[order[o]];
        const double first = value + coarse;
        sum[0] += bits_of(first);
        value -= first - coarse;
        const double second = value + middle;
        sum[1] += bits_of(second);
        if (limbs == 3)
            sum[2] += bits_of(value - (second - middle) + fine);
    }
    for (int i = 0; i < limbs; i++)
        limb[(size_t)i * stride] += (int64_t)(sum[i] - (uint64_t)count * bits_of(grid->magic[i]));
}

/* The columns from j on, fewer than a register holds. */
static void add_tail(int64_t *limb, size_t stride, const vqi_exact_grid *grid, const float *rows,
                     const uint32_t *order, size_t count, uint32_t d, const float *weights,
                     int limbs, uint32_t j)
{
    for (size_t o = 0; o < count && j < d; o++) {
        const float *row = rows + (size_t)order[o] * d;
        const double weight = weights ? (double)weights[order[o]] : 1;
        for (uint32_t column = j; column < d; column++)
            add_limbs(limb + column, stride, grid, limbs, weight * (double)row[column]);
    }
}

enum {
    GROUP = 4, /* registers of columns */
    AHEAD = 4, /* rows to fetch from memory ahead, ... */
    SHORT_ROW = 32,
    AHEAD_SHORT = 4 * AHEAD /* ... which takes as long as adding more short rows */
};

#define JOIN(a, b)   a##b
#define CONCAT(a, b) JOIN(a, b)

typedef float two_floats __attribute__((vector_size(8)));

#define SUFFIX portable
#define TARGET
#define LANES    2
#define WIDEN(x) __builtin_convertvector(((two_floats){(x)[0], (x)[1]}), doubles_portable)
#include "vq/exact_sum_template_internal.h"

#if defined(__x86_64__)
#define SUFFIX   avx2
#define TARGET   __attribute__((target("avx2")))
#define LANES    4
#define WIDEN(x) (doubles_avx2) _mm256_cvtps_pd(_mm_loadu_ps(x))
#include "vq/exact_sum_template_internal.h"

#define SUFFIX   avx512
#define TARGET   __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define LANES    8
#define WIDEN(x) (doubles_avx512) _mm512_cvtps_pd(_mm256_loadu_ps(x))
#include "vq/exact_sum_template_internal.h"
#endif

vqi_exact_rows_fn *vqi_exact_rows_kernel(int limbs)
{
#if defined(__x86_64__)
    const uint32_t flags = vq_cpu_flags();
    if (flags & VQ_CPU_AVX512)
        return limbs == 2 ? rows_2_avx512 : rows_3_avx512;
    if (flags & VQ_CPU_AVX2)
        return limbs == 2 ? rows_2_avx2 : rows_3_avx2;
#endif
    return limbs == 2 ? rows_2_portable : rows_3_portable;
}

enum { WORDS = 8 };
typedef int32_t words __attribute__((vector_size(4 * WORDS)));

static inline __attribute__((always_inline)) void keep_larger(words *most, const float *x)
{
    words bits;
    memcpy(&bits, x, sizeof bits);
    bits &= INT32_MAX;
    const words larger = bits > *most;
    *most = (bits & larger) | (*most & ~larger);
}

static inline __attribute__((always_inline)) uint32_t largest_bits(const float *x, size_t count)
{
    words even = {0}, odd = {0};
    float tail[WORDS] = {0};
    size_t i = 0;
    for (; count - i >= 2 * WORDS; i += 2 * WORDS) {
        keep_larger(&even, x + i);
        keep_larger(&odd, x + i + WORDS);
    }
    for (; i < count; i += WORDS) {
        memcpy(tail, x + i, (count - i < WORDS ? count - i : WORDS) * sizeof *x);
        keep_larger(&even, tail);
    }
    int32_t found = 0;
    for (int j = 0; j < WORDS; j++) {
        found = even[j] > found ? even[j] : found;
        found = odd[j] > found ? odd[j] : found;
    }
    return (uint32_t)found;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint32_t largest_avx2(const float *x, size_t count)
{
    return largest_bits(x, count);
}
#endif

uint32_t vqi_largest_bits(const float *x, size_t count)
{
#if defined(__x86_64__)
    if (vq_cpu_flags() & VQ_CPU_AVX2)
        return largest_avx2(x, count);
#endif
    return largest_bits(x, count);
}
