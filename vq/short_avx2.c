/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search of short rows with VPMADDWD, which adds two products of 16 bits, and VPADDD; 8 rows to a register.
 * Compiled with -mavx2 -mfma (CMakeLists.txt); called only where vq_cpu_flags() says so.
 */
#include <immintrin.h>

#include "vq/short_internal.h"

#define INLINE     static inline __attribute__((always_inline))
#define LANES      8
#define BATCH      (VQI_BLOCK / LANES)
#define FEW_FROM_K 200
#define SEARCH     vqi_short_avx2

enum { MOST_PAIRS = VQI_SHORT_DIM / 2 };

typedef __m256i ints;

/* How many registers of rows a search takes: all that there are, since it makes whole numbers of the codebook's terms. */
INLINE int vectors_of(uint32_t pairs, size_t rows)
{
    (void)pairs;
    return rows < BATCH * LANES ? (int)((rows + LANES - 1) / LANES) : BATCH;
}

INLINE ints same(int32_t value)
{
    return _mm256_set1_epi32(value);
}

INLINE ints plus(ints a, ints b)
{
    return _mm256_add_epi32(a, b);
}

INLINE ints both(ints a, ints b)
{
    return _mm256_and_si256(a, b);
}

INLINE ints larger(ints a, ints b)
{
    return _mm256_max_epi32(a, b);
}

INLINE ints smaller(ints a, ints b)
{
    return _mm256_min_epi32(a, b);
}

/* yes where a > b, no elsewhere. */
INLINE ints where_larger(ints a, ints b, ints yes, ints no)
{
    return _mm256_blendv_epi8(no, yes, _mm256_cmpgt_epi32(a, b));
}

INLINE void store_ints(int32_t *to, ints v)
{
    _mm256_store_si256((__m256i *)(void *)to, v);
}

INLINE ints first_lanes(size_t count)
{
    const ints lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(same(count < LANES ? (int32_t)count : LANES), lane);
}

INLINE void store_some(uint32_t *to, ints v, size_t count)
{
    _mm256_maskstore_epi32((int *)(void *)to, first_lanes(count), v);
}

/* The first `count` terms times per_unit, as whole numbers; what fills up the last few is worse than all others. */
INLINE ints whole_terms(const float *terms, size_t count, float per_unit)
{
    const ints some = first_lanes(count);
    const __m256 scaled = _mm256_mul_ps(_mm256_maskload_ps(terms, some), _mm256_set1_ps(per_unit));
    return _mm256_blendv_epi8(same(INT32_MIN), _mm256_cvtps_epi32(scaled), some);
}

/* Which of the first `count` lanes have a second that is not behind the best by more than `limit`. */
INLINE unsigned near_lanes(ints best, ints second, int32_t limit, size_t count)
{
    const ints behind = _mm256_cmpgt_epi32(_mm256_sub_epi32(best, same(limit)), second);
    return (unsigned)_mm256_movemask_ps((__m256)_mm256_andnot_si256(behind, first_lanes(count)));
}

INLINE ints steps_of(const float *x, float per_step)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(x), _mm256_set1_ps(per_step)));
}

/* Elements in steps, `even` in the low halves. */
INLINE ints pair_of(const float *even, const float *odd, float per_step)
{
    return _mm256_blend_epi16(steps_of(even, per_step),
                              _mm256_slli_epi32(steps_of(odd, per_step), 16), 0xaa);
}

/* 8 elements of 8 rows as 8 registers of one element each. */
INLINE void transpose(__m256 v[8])
{
    __m256 t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 4) {
        v[i] = (__m256)_mm256_unpacklo_pd((__m256d)t[i], (__m256d)t[i + 2]);
        v[i + 1] = (__m256)_mm256_unpackhi_pd((__m256d)t[i], (__m256d)t[i + 2]);
        v[i + 2] = (__m256)_mm256_unpacklo_pd((__m256d)t[i + 1], (__m256d)t[i + 3]);
        v[i + 3] = (__m256)_mm256_unpackhi_pd((__m256d)t[i + 1], (__m256d)t[i + 3]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        v[i] = t[i];
}

/* Up to 8 elements from `first` on of the rows; adds to their squares. */
INLINE void spread_half(float (*out)[LANES], __m256 *squares, const float *x, size_t rows,
                        const vq_codebook *codebook, size_t first)
{
    const size_t d = codebook->d;
    const ints some = first_lanes(d - first);
    const __m256 centre = _mm256_maskload_ps(codebook->centre + first, some);
    __m256 v[8];
#pragma GCC unroll 8
    for (size_t r = 0; r < 8; r++)
        v[r] = r < rows ? _mm256_sub_ps(_mm256_maskload_ps(x + r * d + first, some), centre)
                        : _mm256_setzero_ps();
    transpose(v);
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        *squares = _mm256_fmadd_ps(v[i], v[i], *squares); /* zeros from d on */
        _mm256_store_ps(out[first + i], v[i]);
    }
}

/* Element by element x' of up to 8 rows, zeros after them. @return the largest |x'|^2, NaN if one is. */
INLINE float spread(float (*out)[LANES], const float *x, size_t rows, const vq_codebook *codebook)
{
    __m256 squares = _mm256_setzero_ps();
    for (size_t first = 0; first < codebook->d; first += 8)
        spread_half(out, &squares, x, rows, codebook, first);
    /* max() would lose a NaN. */
    const __m256 bad = _mm256_mul_ps(squares, _mm256_setzero_ps());
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(squares), _mm256_extractf128_ps(squares, 1)),
           sum = _mm_add_ps(_mm256_castps256_ps128(bad), _mm256_extractf128_ps(bad, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    most = _mm_max_ps(most, _mm_movehdup_ps(most));
    sum = _mm_add_ps(sum, _mm_movehdup_ps(sum));
    return _mm_cvtss_f32(most) + _mm_cvtss_f32(sum);
}

/* One codeword: two elements of all rows and the same two of the codeword at a time. */
INLINE ints score(const ints *row, const int32_t *packed, int32_t start, const int pairs)
{
    ints sum = same(start);
#pragma GCC unroll 8
    for (int j = 0; j < pairs; j++)
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(same(packed[j]), row[j]));
    return sum;
}

/* The codewords of a piece, `step` at a time, against 8 rows. With step 1 every code is told apart, otherwise only
 * which few hold the best. Of one register of rows, 8 of their registers stay; of two, they would not. */
INLINE void scan(ints *best, ints *second, const ints *x, const int32_t *packed,
                 const int32_t *start, uint32_t k, int32_t place_bits, const int pairs,
                 const int step)
{
    const ints bits = same(place_bits), one = same(1);
    ints most = same(INT32_MIN), next = most, place = same(0), row[MOST_PAIRS];
#pragma GCC unroll 8
    for (int j = 0; j < pairs; j++)
        row[j] = x[j];
    for (uint32_t c = 0; c < k; c += (uint32_t)step, packed += step * pairs) {
        ints top = score(row, packed, start[c], pairs);
#pragma GCC unroll 4
        for (int i = 1; i < step; i++) {
            /* Otherwise gcc 12 begins all scores at once and keeps most of them in memory. */
            __asm__ volatile("" : "+x"(top) : : "memory");
            top = larger(top, score(row, packed + i * pairs, start[c + (uint32_t)i], pairs));
        }
        /* the place where there are bits for it, the score elsewhere */
        top = _mm256_or_si256(_mm256_andnot_si256(bits, top), place);
        place = plus(place, one);
        next = larger(next, smaller(most, top));
        most = larger(most, top);
    }
    *best = most;
    *second = next;
}

/* A function for each number of pairs, so that each has all registers. */
typedef void scan_function(ints *best, ints *second, const ints *x, const int32_t *packed,
                           const int32_t *start, uint32_t k, int32_t place_bits);

#define SCAN(pairs)                                                                                \
    static void scan_##pairs(ints *best, ints *second, const ints *x, const int32_t *packed,       \
                             const int32_t *start, uint32_t k, int32_t place_bits)                 \
    {                                                                                              \
        scan(best, second, x, packed, start, k, place_bits, pairs, 1);                             \
    }                                                                                              \
    static void scan_few_##pairs(ints *best, ints *second, const ints *x, const int32_t *packed,   \
                                 const int32_t *start, uint32_t k, int32_t place_bits)             \
    {                                                                                              \
        scan(best, second, x, packed, start, k, place_bits, pairs, VQI_SHORT_FEW);                 \
    }
SCAN(1)
SCAN(2)
SCAN(3)
SCAN(4)
SCAN(5)
SCAN(6)
SCAN(7)
SCAN(8)

static void scan_any(ints *best, ints *second, const ints (*x)[MOST_PAIRS], const int32_t *packed,
                     const int32_t *start, uint32_t k, int32_t place_bits, uint32_t pairs,
                     uint32_t step, int vectors)
{
    static scan_function *const ones[] = {scan_1, scan_2, scan_3, scan_4,
                                          scan_5, scan_6, scan_7, scan_8};
    static scan_function *const fews[] = {scan_few_1, scan_few_2, scan_few_3, scan_few_4,
                                          scan_few_5, scan_few_6, scan_few_7, scan_few_8};
    scan_function *const function = (step == 1 ? ones : fews)[pairs - 1];
    for (int v = 0; v < vectors; v++)
        function(best + v, second + v, x[v], packed, start, k, place_bits);
}

#include "vq/short_template_internal.h"
