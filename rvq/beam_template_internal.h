/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/beam_template_internal.h
 * The kernels of rvq/beam_kernels_internal.h, written once with the compiler's vector types: the including file
 * defines LANES (floats of a register: 4, 8, 16), ROWS (of a register tile) and OPS. Compiled with
 * -ffp-contract=fast.
 */
#include <stddef.h>
#if LANES > 4
#include <immintrin.h>
#endif

#include "rvq/beam_kernels_internal.h"

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float vec_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int16_t words __attribute__((vector_size(4 * LANES)));
typedef int16_t words_unaligned __attribute__((vector_size(4 * LANES), aligned(2), may_alias));

enum { WORDS = 2 * LANES };

#define LOAD(p)           ((vec) * (const vec_unaligned *)(p))
#define LOAD_WORDS(p)     ((words) * (const words_unaligned *)(p))
#define STORE_WORDS(p, v) (*(words_unaligned *)(p) = (words_unaligned)(v))

INLINE words larger(words a, words b)
{
#if LANES == 16
    return (words)_mm512_max_epi16((__m512i)a, (__m512i)b);
#elif LANES == 8
    return (words)_mm256_max_epi16((__m256i)a, (__m256i)b);
#else
    const words more = a > b;
    return (more & a) | (~more & b);
#endif
}

/* Whole numbers, to nearest and saturated. */
INLINE void store_whole(int16_t *out, vec v)
{
#if LANES == 16
    /* A float below what int32 holds becomes its least. */
    const __m512i whole = _mm512_cvtps_epi32((__m512)v);
    _mm256_storeu_si256((__m256i *)(void *)out, _mm512_cvtsepi32_epi16(whole));
#elif LANES == 8
    const __m256i whole = _mm256_cvtps_epi32((__m256)v);
    _mm_storeu_si128((__m128i *)(void *)out, _mm_packs_epi32(_mm256_castsi256_si128(whole),
                                                             _mm256_extracti128_si256(whole, 1)));
#else
    for (int i = 0; i < LANES; i++)
        out[i] = (int16_t)(v[i] >= 32767      ? 32767
                           : v[i] > -32767.0f ? v[i] + (v[i] < 0 ? -0.5f : 0.5f)
                                              : -32768);
#endif
}

/* `rows` rows and one group of 64 codewords, all sums in registers. */
INLINE void tile(int16_t *out, size_t stride, const float *x, size_t d, const float *group,
                 const float *start, const float *penalties, const float *per_unit, const int rows)
{
    for (int half = 0; half < VQI_LANES; half += LANES) {
        vec sum[ROWS][4];
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            vec from = LOAD(start + p * VQI_LANES + half);
            if (penalties)
                from -= LOAD(penalties + p * VQI_LANES + half);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                sum[r][p] = from;
        }
        const float *c = group + half;
        for (size_t i = 0; i < d; i++, c += VQI_GROUP) {
            const vec c0 = LOAD(c), c1 = LOAD(c + VQI_LANES), c2 = LOAD(c + 2 * VQI_LANES),
                      c3 = LOAD(c + 3 * VQI_LANES);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const vec e = x[(size_t)r * d + i] - (vec){0};
                sum[r][0] += e * c0;
                sum[r][1] += e * c1;
                sum[r][2] += e * c2;
                sum[r][3] += e * c3;
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++)
                store_whole(out + (size_t)r * stride + p * VQI_LANES + half,
                            sum[r][p] * per_unit[r]);
    }
}

static void score(int16_t *out, size_t stride, const vqi_block *block, const vq_codebook *codebook,
                  size_t first, size_t count, const float *start, const float *penalties,
                  const float *per_unit)
{
    const size_t d = codebook->d, rows = block->rows;
    for (size_t p = first; p < first + count; p += VQI_GROUP, out += VQI_GROUP) {
        const float *group = codebook->groups + p * d,
                    *group_penalties = penalties ? penalties + p : NULL;
        size_t r = 0;
        for (; r + ROWS <= rows; r += ROWS)
            tile(out + r * stride, stride, block->centred + r * d, d, group, start + p,
                 group_penalties, per_unit + r, ROWS);
        for (; r < rows; r++)
            tile(out + r * stride, stride, block->centred + r * d, d, group, start + p,
                 group_penalties, per_unit + r, 1);
    }
}

/* a - b, saturated. */
INLINE words less(words a, words b)
{
#if LANES == 16
    return (words)_mm512_subs_epi16((__m512i)a, (__m512i)b);
#elif LANES == 8
    return (words)_mm256_subs_epi16((__m256i)a, (__m256i)b);
#else
    words out = a;
    for (int j = 0; j < WORDS; j++) {
        const int difference = a[j] - b[j];
        out[j] = (int16_t)(difference < INT16_MIN   ? INT16_MIN
                           : difference > INT16_MAX ? INT16_MAX
                                                    : difference);
    }
    return out;
#endif
}

/* Bit i is set if v[i] >= least. */
INLINE uint32_t reach(words v, int16_t least)
{
#if LANES == 16
    return _mm512_cmp_epi16_mask((__m512i)v, _mm512_set1_epi16(least), _MM_CMPINT_NLT);
#elif LANES == 8
    const words in = v >= least;
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm256_castsi256_si128((__m256i)in),
                                                       _mm256_extracti128_si256((__m256i)in, 1)));
#else
    uint32_t bits = 0;
    for (int j = 0; j < WORDS; j++)
        bits |= (uint32_t)(v[j] >= least) << j;
    return bits;
#endif
}

/* The same of 64: mostly none. */
INLINE uint64_t reach_of_64(const words v[64 / WORDS], int16_t least)
{
    words most = v[0];
    uint64_t bits = 0;
#pragma GCC unroll 8
    for (size_t j = 1; j < 64 / WORDS; j++)
        most = larger(most, v[j]);
    if (!reach(most, least))
        return 0;
#pragma GCC unroll 8
    for (size_t j = 0; j < 64 / WORDS; j++)
        bits |= (uint64_t)reach(v[j], least) << j * WORDS;
    return bits;
}

INLINE size_t walk_steps(uint32_t *hits, const vqi_beam_step *steps, size_t count, words by,
                         const int *least, size_t width, const int shifted)
{
    size_t found = 0;
    for (size_t s = 0; s < count; s++) {
        const vqi_beam_step step = steps[s];
        const int16_t *next = steps[s + 2 < count ? s + 2 : s].row;
        const int seeks = least && step.rank >= 0, bound = seeks ? least[step.rank] : 0;
        if (bound > INT16_MAX)
            continue;
        const int16_t from = (int16_t)(bound < INT16_MIN ? INT16_MIN : bound);
        for (size_t i = 0; i < width; i += 64) {
            words v[64 / WORDS];
            __builtin_prefetch(next + i);
            __builtin_prefetch(next + i + 32);
#pragma GCC unroll 8
            for (size_t j = 0; j < 64 / WORDS; j++) {
                const words row = LOAD_WORDS(step.row + i + j * WORDS);
                v[j] = less(LOAD_WORDS(step.from + i + j * WORDS), shifted ? row >> by : row);
            }
            uint64_t bits = 0;
            if (seeks) {
                bits = reach_of_64(v, from);
                if (!bits)
                    continue;
            }
#pragma GCC unroll 8
            for (size_t j = 0; j < 64 / WORDS; j++)
                STORE_WORDS(step.to + i + j * WORDS, v[j]);
            for (; bits; bits &= bits - 1)
                hits[found++] =
                    (uint32_t)step.rank << 16 | ((uint32_t)i + (uint32_t)__builtin_ctzll(bits));
        }
    }
    return found;
}

static size_t walk(uint32_t *hits, const vqi_beam_step *steps, size_t count, int shift,
                   const int *least, size_t width)
{
    const words by = (int16_t)shift - (words){0};
    return shift ? walk_steps(hits, steps, count, by, least, width, 1)
                 : walk_steps(hits, steps, count, by, least, width, 0);
}

static void fold(int16_t folded[VQI_FOLD], const int16_t *values, size_t count)
{
    words most[VQI_FOLD / WORDS];
#pragma GCC unroll 8
    for (size_t j = 0; j < VQI_FOLD / WORDS; j++)
        most[j] = INT16_MIN - (words){0};
    for (size_t i = 0; i < count; i += VQI_FOLD) {
#pragma GCC unroll 8
        for (size_t j = 0; j < VQI_FOLD / WORDS; j++)
            most[j] = larger(most[j], LOAD_WORDS(values + i + j * WORDS));
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < VQI_FOLD / WORDS; j++)
        STORE_WORDS(folded + j * WORDS, most[j]);
}

static int lower(int16_t *values, int16_t by, size_t count)
{
    words most = INT16_MIN - (words){0};
    for (size_t i = 0; i < count; i += WORDS) {
        const words low = less(LOAD_WORDS(values + i), by - (words){0});
        STORE_WORDS(values + i, low);
        most = larger(most, low);
    }
    int largest = INT16_MIN;
    for (int j = 0; j < WORDS; j++)
        largest = most[j] > largest ? most[j] : largest;
    return largest;
}

static size_t count_of(const int16_t *values, int16_t least, size_t count)
{
    size_t found = 0;
#if LANES == 16
    for (size_t i = 0; i < count; i += WORDS)
        found += (size_t)__builtin_popcount(reach(LOAD_WORDS(values + i), least));
#else
    enum { PIECE = WORDS << 15 }; /* what a lane can count to */
    for (size_t first = 0; first < count; first += PIECE) {
        const size_t end = count - first < PIECE ? count : first + PIECE;
        words in = {0};
        for (size_t i = first; i < end; i += WORDS)
            in -= LOAD_WORDS(values + i) >= least;
        for (int j = 0; j < WORDS; j++)
            found += (uint16_t)in[j];
    }
#endif
    return found;
}

static size_t find(uint32_t *places, const int16_t *values, int16_t least, size_t count)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i += 64) {
        uint64_t bits = 0;
#pragma GCC unroll 8
        for (size_t j = 0; j < 64; j += WORDS)
            bits |= (uint64_t)reach(LOAD_WORDS(values + i + j), least) << j;
        for (; bits; bits &= bits - 1)
            places[found++] = (uint32_t)i + (uint32_t)__builtin_ctzll(bits);
    }
    return found;
}

/* At most d / 4 + 16 additions deep. */
static float move_on(float *to, const float *from, const float *codeword, const float *centre,
                     size_t d)
{
    vec sum = {0};
    float square = 0;
    size_t i = 0;
    for (; i + LANES <= d; i += LANES) {
        const vec r = LOAD(from + i) - LOAD(codeword + i), t = r - LOAD(centre + i);
        *(vec_unaligned *)(to + i) = (vec_unaligned)r;
        sum += t * t;
    }
    for (int j = 0; j < LANES; j++)
        square += sum[j];
    for (; i < d; i++) {
        to[i] = from[i] - codeword[i];
        square += (to[i] - centre[i]) * (to[i] - centre[i]);
    }
    return square;
}

const vqi_beam_ops OPS = {
    .score = score,
    .walk = walk,
    .fold = fold,
    .lower = lower,
    .count = count_of,
    .find = find,
    .move_on = move_on,
};
