/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search of short rows with VPDPWSSD, which adds two products of 16 bits to a sum of 32; 16 rows to a register.
 * Compiled with -mavx512vnni and so on (CMakeLists.txt); called only where vq_cpu_flags() says so.
 */
#include <immintrin.h>

#include "vq/short_internal.h"

#define INLINE     static inline __attribute__((always_inline))
#define LANES      16
#define BATCH      3
#define FEW_FROM_K 320
#define SEARCH     vqi_short_vnni

enum { MOST_PAIRS = VQI_SHORT_DIM / 2 };

typedef __m512i ints;

/* How many registers of rows a search takes: as many as one scan. */
INLINE int vectors_of(uint32_t pairs, size_t rows)
{
    (void)rows;
    return pairs <= 4 ? 3 : 2;
}

INLINE ints same(int32_t value)
{
    return _mm512_set1_epi32(value);
}

INLINE ints plus(ints a, ints b)
{
    return _mm512_add_epi32(a, b);
}

INLINE ints both(ints a, ints b)
{
    return _mm512_and_si512(a, b);
}

INLINE ints larger(ints a, ints b)
{
    return _mm512_max_epi32(a, b);
}

INLINE ints smaller(ints a, ints b)
{
    return _mm512_min_epi32(a, b);
}

/* yes where a > b, no elsewhere. */
INLINE ints where_larger(ints a, ints b, ints yes, ints no)
{
    return _mm512_mask_mov_epi32(no, _mm512_cmpgt_epi32_mask(a, b), yes);
}

INLINE void store_ints(int32_t *to, ints v)
{
    _mm512_store_si512(to, v);
}

INLINE __mmask16 first_lanes(size_t count)
{
    return count < LANES ? (__mmask16)((1u << count) - 1) : 0xffff;
}

INLINE void store_some(uint32_t *to, ints v, size_t count)
{
    _mm512_mask_storeu_epi32(to, first_lanes(count), v);
}

/* The first `count` terms times per_unit, as whole numbers; what fills up the last few is worse than all others. */
INLINE ints whole_terms(const float *terms, size_t count, float per_unit)
{
    const __mmask16 some = first_lanes(count);
    return _mm512_mask_cvtps_epi32(
        same(INT32_MIN), some,
        _mm512_mul_ps(_mm512_maskz_loadu_ps(some, terms), _mm512_set1_ps(per_unit)));
}

/* Which of the first `count` lanes have a second that is not behind the best by more than `limit`. */
INLINE unsigned near_lanes(ints best, ints second, int32_t limit, size_t count)
{
    return first_lanes(count) &
           _mm512_cmp_epi32_mask(second, _mm512_sub_epi32(best, same(limit)), _MM_CMPINT_NLT);
}

INLINE __m512i steps_of(const float *x, float per_step)
{
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(x), _mm512_set1_ps(per_step)));
}

/* Elements in steps, `even` in the low halves. */
INLINE ints pair_of(const float *even, const float *odd, float per_step)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, steps_of(even, per_step),
                                   _mm512_slli_epi32(steps_of(odd, per_step), 16));
}

/* 16 rows of x' as 16 registers of one element each. */
INLINE void transpose(__m512 v[16])
{
    __m512 t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        v[i] = (__m512)_mm512_unpacklo_pd((__m512d)t[i], (__m512d)t[i + 2]);
        v[i + 1] = (__m512)_mm512_unpackhi_pd((__m512d)t[i], (__m512d)t[i + 2]);
        v[i + 2] = (__m512)_mm512_unpacklo_pd((__m512d)t[i + 1], (__m512d)t[i + 3]);
        v[i + 3] = (__m512)_mm512_unpackhi_pd((__m512d)t[i + 1], (__m512d)t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        v[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    }
}

/* Element by element x' of up to 16 rows, zeros after them. @return the largest |x'|^2, NaN if one is. */
INLINE float spread(float (*out)[LANES], const float *x, size_t rows, const vq_codebook *codebook)
{
    const size_t d = codebook->d;
    const __mmask16 some = (__mmask16)((1u << d) - 1);
    const __m512 centre = _mm512_maskz_loadu_ps(some, codebook->centre);
    __m512 v[16], squares = _mm512_setzero_ps();
    for (size_t r = 0; r < 16; r++)
        v[r] = r < rows ? _mm512_sub_ps(_mm512_maskz_loadu_ps(some, x + r * d), centre)
                        : _mm512_setzero_ps();
    transpose(v);
    for (size_t i = 0; i < 16; i++) {
        if (i < d)
            squares = _mm512_fmadd_ps(v[i], v[i], squares);
        _mm512_store_ps(out[i], v[i]);
    }
    /* max() would lose a NaN. */
    const __m512 bad = _mm512_mul_ps(squares, _mm512_setzero_ps());
    return _mm512_reduce_max_ps(squares) + _mm512_reduce_add_ps(bad);
}

/* sum += c . x, two elements to a lane; c is the same for all lanes. As assembly, since gcc 12 keeps copies of the sums
 * in memory around the intrinsic. */
INLINE void add_products(ints *sum, ints x, const int32_t *c)
{
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(x), "m"(*c));
}

/* One codeword. */
INLINE ints score(const ints *row, const int32_t *packed, int32_t start, const int pairs)
{
    ints sum = _mm512_set1_epi32(start);
#pragma GCC unroll 8
    for (int j = 0; j < pairs; j++)
        add_products(&sum, row[j], packed + j);
    return sum;
}

/* The codewords of a piece, `step` at a time, against `vectors` x 16 rows. With step 1 every code is
 * told apart, otherwise only which few hold the best. */
INLINE void scan(ints *best, ints *second, const ints (*x)[MOST_PAIRS], const int32_t *packed,
                 const int32_t *start, uint32_t k, int32_t place_bits, const int pairs,
                 const int vectors, const int step)
{
    const ints bits = _mm512_set1_epi32(place_bits);
    ints most[BATCH], next[BATCH], row[BATCH][MOST_PAIRS];
#pragma GCC unroll 3
    for (int v = 0; v < vectors; v++) {
        most[v] = next[v] = _mm512_set1_epi32(INT32_MIN);
#pragma GCC unroll 8
        for (int j = 0; j < pairs; j++)
            row[v][j] = x[v][j];
    }
    for (uint32_t c = 0; c < k; c += (uint32_t)step, packed += step * pairs) {
        const ints place = _mm512_set1_epi32((int32_t)c / step);
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            ints top = score(row[v], packed, start[c], pairs);
            if (step == VQI_SHORT_FEW) {
                const ints two = score(row[v], packed + pairs, start[c + 1], pairs),
                           three = score(row[v], packed + 2 * pairs, start[c + 2], pairs),
                           four = score(row[v], packed + 3 * pairs, start[c + 3], pairs);
                top = _mm512_max_epi32(_mm512_max_epi32(top, two), _mm512_max_epi32(three, four));
            }
            /* the place where there are bits for it, the score elsewhere */
            top = _mm512_ternarylogic_epi32(bits, place, top, 0xca);
            next[v] = _mm512_max_epi32(next[v], _mm512_min_epi32(most[v], top));
            most[v] = _mm512_max_epi32(most[v], top);
        }
    }
#pragma GCC unroll 3
    for (int v = 0; v < vectors; v++) {
        best[v] = most[v];
        second[v] = next[v];
    }
}

static void scan_any(ints *best, ints *second, const ints (*x)[MOST_PAIRS], const int32_t *packed,
                     const int32_t *start, uint32_t k, int32_t place_bits, uint32_t any_pairs,
                     uint32_t step, int any_vectors)
{
    (void)any_vectors; /* as vectors_of() says */
#define CASE(pairs, vectors)                                                                       \
    case pairs:                                                                                    \
        if (step == 1)                                                                             \
            scan(best, second, x, packed, start, k, place_bits, pairs, vectors, 1);                \
        else                                                                                       \
            scan(best, second, x, packed, start, k, place_bits, pairs, vectors, VQI_SHORT_FEW);    \
        break
    switch (any_pairs) {
        CASE(1, 3);
        CASE(2, 3);
        CASE(3, 3);
        CASE(4, 3);
        CASE(5, 2);
        CASE(6, 2);
        CASE(7, 2);
        CASE(8, 2);
    }
#undef CASE
}

#include "vq/short_template_internal.h"
