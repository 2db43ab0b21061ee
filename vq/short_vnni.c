/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search of short rows with VPDPWSSD, which adds two products of 16 bits to a sum of 32.
 *
 * What may be off. x' and c' are the centred row and codeword, C the largest |c'|, R not below any |x'| of the rows
 * nor C. Elements of c' are taken in steps of b = C / 32766, those of x' in steps of a = R / 32766, as whole numbers q and
 * p; so |p|, |q| <= 32766 + 2 and by Cauchy and Schwarz all sums stay below 1.5 x 2^30. In units of ab a score is
 *     S(k) = p.q(k) + t(k),   t(k) = -|c'|^2 / 2ab as a whole number,
 * and |ab S(k) - s(k)| <= |x' - ap| C + |ap| |c' - bq| + ab |t(k) + |c'|^2 / 2ab|
 *                      <= (a sqrt(d) / 2) (1 + 2^-6) C + (R + 4 a) e + 130 ab =: E,
 * with e the largest |c' - bq|, measured. (Of 130: rounding of t to float32 and to a whole number, at most 1.5 x 2^29
 * x 3 x 2^-24 + 1, which is below 98. The factor: an element is off by half a step and by the rounding of x' / a.)
 * The low bits of S make room for the place k in a piece of at most 2^w places: T = S - S mod 2^w + k. A place is a codeword or,
 * to compare less, a few that follow each other, with the largest S of them. If the largest T is ahead of the second by more than
 * (2 E + M) / ab + 2 x 2^w, with M as in nearest_shortlist.c, the contract prefers what is there too.
 *
 * Compiled with -mavx512vnni and so on (CMakeLists.txt); called only where vq_cpu_flags() says so.
 */
#include <immintrin.h>
#include <math.h>

#include "vq/nearest_internal.h"
#include "vq/short_internal.h"

#define INLINE static inline __attribute__((always_inline))

/* With fewer codewords, to decide among the best few takes longer than to compare them one by one. */
enum { FEW_FROM_K = 320 };

enum { LANES = VQI_LANES, MOST_VECTORS = 3, MOST_PAIRS = VQI_SHORT_DIM / 2 };

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

INLINE __m512i steps_of(const float *x, __m512 per_step)
{
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(x), per_step));
}

/* sum += c . x, two elements to a lane; c is the same for all lanes. As assembly, since gcc 12 keeps copies of the sums
 * in memory around the intrinsic. */
INLINE void add_products(__m512i *sum, __m512i x, const int32_t *c)
{
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(x), "m"(*c));
}

/* One codeword. */
INLINE __m512i score(const __m512i *row, const int32_t *packed, int32_t start, const int pairs)
{
    __m512i sum = _mm512_set1_epi32(start);
#pragma GCC unroll 8
    for (int j = 0; j < pairs; j++)
        add_products(&sum, row[j], packed + j);
    return sum;
}

/* The codewords of a piece, `step` at a time, against `vectors` x 16 rows. With step 1 every code is
 * told apart, otherwise only which few hold the best. */
INLINE void scan(__m512i *best, __m512i *second, const __m512i (*x)[MOST_PAIRS],
                 const int32_t *packed, const int32_t *start, uint32_t k, int32_t place_bits,
                 const int pairs, const int vectors, const int step)
{
    const __m512i bits = _mm512_set1_epi32(place_bits);
    __m512i most[MOST_VECTORS], next[MOST_VECTORS], row[MOST_VECTORS][MOST_PAIRS];
#pragma GCC unroll 3
    for (int v = 0; v < vectors; v++) {
        most[v] = next[v] = _mm512_set1_epi32(INT32_MIN);
#pragma GCC unroll 8
        for (int j = 0; j < pairs; j++)
            row[v][j] = x[v][j];
    }
    for (uint32_t c = 0; c < k; c += (uint32_t)step, packed += step * pairs) {
        const __m512i place = _mm512_set1_epi32((int32_t)c / step);
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            __m512i top = score(row[v], packed, start[c], pairs);
            if (step == VQI_SHORT_FEW) {
                const __m512i two = score(row[v], packed + pairs, start[c + 1], pairs),
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

static void scan_any(__m512i *best, __m512i *second, const __m512i (*x)[MOST_PAIRS],
                     const int32_t *packed, const int32_t *start, uint32_t k, int32_t place_bits,
                     uint32_t any_pairs, uint32_t step)
{
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

/* The rows from `first_row` on, with places that exist. */
static size_t leave_open(uint32_t *places, uint32_t *open, uint32_t first_row, size_t rows)
{
    for (size_t r = 0; r < rows; r++) {
        places[r] = 0;
        open[r] = first_row + (uint32_t)r;
    }
    return rows;
}

/* What a search has found so far, 16 rows to a register. */
typedef struct leaders {
    __m512i best[MOST_VECTORS], second[MOST_VECTORS], place[MOST_VECTORS];
} leaders;

/* All codewords, a piece at a time. @param per_unit 1 / ab. @param step codewords of a place. */
static void search_pieces(leaders *all, const __m512i (*x)[MOST_PAIRS], const vq_codebook *codebook,
                          float per_unit, int32_t place_bits, uint32_t step, int vectors)
{
    const vqi_short_codebook *few = codebook->few;
    const __m512 scale = _mm512_set1_ps(per_unit);
    int32_t start[VQI_SHORT_PIECE] __attribute__((aligned(64)));
    for (uint32_t first = 0; first < codebook->k; first += VQI_SHORT_PIECE) {
        const uint32_t left = codebook->k - first,
                       k = left < VQI_SHORT_PIECE ? left : VQI_SHORT_PIECE;
        for (uint32_t c = 0; c < k; c += LANES) {
            const __mmask16 some = k - c < LANES ? (__mmask16)((1u << (k - c)) - 1) : 0xffff;
            const __m512 terms = _mm512_maskz_loadu_ps(some, few->start + first + c);
            /* What fills up the last few is worse than all others. */
            _mm512_store_si512(start + c,
                               _mm512_mask_cvtps_epi32(_mm512_set1_epi32(INT32_MIN), some,
                                                       _mm512_mul_ps(terms, scale)));
        }
        __m512i best[MOST_VECTORS], second[MOST_VECTORS];
        scan_any(best, second, x, few->packed + (size_t)first * few->pairs, start, k, place_bits,
                 few->pairs, step);
        for (int v = 0; v < vectors; v++) {
            const __m512i place =
                _mm512_add_epi32(_mm512_and_si512(best[v], _mm512_set1_epi32(place_bits)),
                                 _mm512_set1_epi32((int)(first / step)));
            const __m512i beaten = _mm512_min_epi32(best[v], all->best[v]);
            all->place[v] = _mm512_mask_mov_epi32(
                all->place[v], _mm512_cmpgt_epi32_mask(best[v], all->best[v]), place);
            all->second[v] = _mm512_max_epi32(_mm512_max_epi32(all->second[v], second[v]), beaten);
            all->best[v] = _mm512_max_epi32(all->best[v], best[v]);
        }
    }
}

/* Up to vectors x 16 rows, and the places of their best. @return how many are left open. */
static size_t search(uint32_t *places_of, uint32_t *open, const vq_codebook *codebook,
                     const float *x, size_t rows, uint32_t first_row, int vectors, uint32_t step)
{
    const vqi_short_codebook *few = codebook->few;
    const vqi_margin margin = vqi_contract_margin(codebook);
    const uint32_t d = codebook->d;
    float spread_rows[MOST_VECTORS][VQI_SHORT_DIM][LANES] __attribute__((aligned(64)));
    float square = 0;
    int finite = 1;
    for (int v = 0; v < vectors; v++) {
        const size_t begin = (size_t)v * LANES, count = begin < rows ? rows - begin : 0;
        const float one = spread(spread_rows[v], x + (count ? begin * d : 0), count, codebook);
        finite &= one < INFINITY;
        square = one > square ? one : square;
    }
    const double norm = sqrt(square * (1 + 0x1p-18) + 0x1p-140);
    const double reach = fmax(norm, margin.largest);
    const double a = reach / 32766, b = few->step, unit = a * b;
    if (!finite || reach > VQI_LARGEST_NORM || !(unit > 0x1p-100))
        return leave_open(places_of, open, first_row, rows);
    __m512i p[MOST_VECTORS][MOST_PAIRS];
    const __m512 per_step = _mm512_set1_ps((float)(1 / a));
    for (int v = 0; v < vectors; v++)
        for (uint32_t j = 0; j < few->pairs; j++)
            p[v][j] = _mm512_mask_blend_epi16(
                0xaaaaaaaa, steps_of(spread_rows[v][2 * j], per_step),
                _mm512_slli_epi32(steps_of(spread_rows[v][2 * j + 1], per_step), 16));
    const uint32_t most = codebook->k < VQI_SHORT_PIECE ? codebook->k : VQI_SHORT_PIECE;
    uint32_t places = 1;
    while (places * step < most)
        places *= 2;
    const double error =
        a * sqrt(d) / 2 * (1 + 0x1p-6) * margin.largest + (reach + 4 * a) * few->error + 130 * unit;
    const double ahead =
        (2 * error + vqi_margin_of(&margin, norm)) / unit * (1 + 0x1p-10) + 2.0 * places + 1;
    if (!(ahead < 0x1p28))
        return leave_open(places_of, open, first_row, rows);
    const __m512i limit = _mm512_set1_epi32((int32_t)ahead);
    leaders all;
    for (int v = 0; v < vectors; v++) {
        all.best[v] = all.second[v] = _mm512_set1_epi32(INT32_MIN);
        all.place[v] = _mm512_setzero_si512();
    }
    search_pieces(&all, (const __m512i(*)[MOST_PAIRS])p, codebook, (float)(1 / unit),
                  (int32_t)places - 1, step, vectors);
    size_t left = 0;
    for (size_t v = 0; v * LANES < rows; v++) {
        const size_t begin = v * LANES, count = rows - begin < LANES ? rows - begin : LANES;
        const __mmask16 some = (__mmask16)((1u << count) - 1);
        _mm512_mask_storeu_epi32(places_of + begin, some, all.place[v]);
        unsigned near =
            some & _mm512_cmp_epi32_mask(all.second[v], _mm512_sub_epi32(all.best[v], limit),
                                         _MM_CMPINT_NLT);
        for (; near; near &= near - 1)
            open[left++] = first_row + (uint32_t)begin + (uint32_t)__builtin_ctz(near);
    }
    return left;
}

size_t vqi_short_search(uint32_t *codes, uint32_t *open, const vq_codebook *codebook,
                        const vqi_contract *contract, const float *x, size_t rows)
{
    const int vectors = codebook->few->pairs <= 4 ? 3 : 2;
    const size_t batch = (size_t)vectors * LANES;
    const uint32_t step = codebook->k < FEW_FROM_K ? 1 : VQI_SHORT_FEW;
    size_t left = 0;
    for (size_t r = 0; r < rows; r += batch)
        left += search(codes + r, open + left, codebook, x + r * codebook->d,
                       rows - r < batch ? rows - r : batch, (uint32_t)r, vectors, step);
    if (step > 1)
        contract->nearest_of_few(codes, x, rows, codebook->codewords, codebook->k, codebook->d,
                                 codebook->metric == VQ_METRIC_EUCLIDEAN);
    return left;
}
