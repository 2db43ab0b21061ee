/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/nearest_template_internal.h
 * The kernels, written once with the compiler's vector types and compiled for each instruction set: the
 * including file defines LANES (floats of a register: 4, 8, 16) and KERNELS (the name of its table).
 * Vector types are IEEE arithmetic lane by lane, so every width gives the same bits; -ffp-contract=off
 * keeps multiply and add apart.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>
#if LANES > 4
#include <immintrin.h>
#endif

#include "vq/nearest_internal.h"

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float vec_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float vec8 __attribute__((vector_size(32)));
typedef float vec8_unaligned __attribute__((vector_size(32), aligned(4), may_alias));

#define LOAD(p)              ((vec) * (const vec_unaligned *)(p))
#define LOAD8(p)             ((vec8) * (const vec8_unaligned *)(p))
#define BLEND(mask, yes, no) ((vec)(((mask) & (ivec)(yes)) | (~(mask) & (ivec)(no))))

static int all_finite(const float *x, size_t count)
{
    /* 0 * finite is 0; 0 * NaN and 0 * infinity are NaN, which stays. */
    vec a = {0}, b = {0};
    size_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        a += LOAD(x + i) * 0.0f;
        b += LOAD(x + i + LANES) * 0.0f;
    }
    a += b;
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += a[lane];
    for (; i < count; i++)
        sum += x[i] * 0.0f;
    return sum == 0.0f;
}

/* One vector, one codeword: the eight lanes are the contract's eight partial sums. */
INLINE float score(const float *x, const float *c, size_t d, const int euclidean)
{
    vec8 p = {0};
    size_t i = 0;
    for (; i + 8 <= d; i += 8) {
        const vec8 t = euclidean ? LOAD8(x + i) - LOAD8(c + i) : LOAD8(x + i);
        p += t * (euclidean ? t : LOAD8(c + i));
    }
    if (i < d) { /* the missing elements add +0, which changes no sum that began at +0 */
        vec8 u = {0}, v = {0};
        memcpy(&u, x + i, (d - i) * sizeof *x);
        memcpy(&v, c + i, (d - i) * sizeof *c);
        const vec8 t = euclidean ? u - v : u;
        p += t * (euclidean ? t : v);
    }
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

static float distance(const float *x, const float *codeword, size_t d)
{
    return score(x, codeword, d, 1);
}

static float dot(const float *x, const float *codeword, size_t d)
{
    return score(x, codeword, d, 0);
}

/* One vector, LANES codewords: a register for each of the eight partial sums. */
#define STEP(j)                                                                                    \
    do {                                                                                           \
        const vec c_ = LOAD(panel + (i + (j)) * VQI_PANEL);                                        \
        const vec t_ = x[i + (j)] - c_;                                                            \
        p##j += euclidean ? t_ * t_ : x[i + (j)] * c_;                                             \
    } while (0)

INLINE vec panel_scores(const float *x, const float *panel, size_t d, const int euclidean)
{
    vec p0 = {0}, p1 = {0}, p2 = {0}, p3 = {0}, p4 = {0}, p5 = {0}, p6 = {0}, p7 = {0};
    size_t i = 0;
    for (; i + 8 <= d; i += 8) {
        STEP(0);
        STEP(1);
        STEP(2);
        STEP(3);
        STEP(4);
        STEP(5);
        STEP(6);
        STEP(7);
    }
    const size_t left = d - i;
    if (left > 0)
        STEP(0);
    if (left > 1)
        STEP(1);
    if (left > 2)
        STEP(2);
    if (left > 3)
        STEP(3);
    if (left > 4)
        STEP(4);
    if (left > 5)
        STEP(5);
    if (left > 6)
        STEP(6);
    return ((p0 + p4) + (p2 + p6)) + ((p1 + p5) + (p3 + p7));
}
#undef STEP

INLINE void scan(uint32_t *codes, float *scores, const vq_codebook *codebook, const float *x,
                 size_t rows, const int euclidean)
{
    const size_t d = codebook->d, k = codebook->k;
    const float worst = euclidean ? INFINITY : -INFINITY;
    vec best[VQI_SCAN_ROWS];
    ivec code[VQI_SCAN_ROWS];
    ivec lane = {0};
    for (int l = 0; l < LANES; l++)
        lane[l] = l;
    for (size_t r = 0; r < rows; r++) {
        best[r] = worst + (vec){0};
        code[r] = (ivec){0};
    }
    for (size_t base = 0; base < k; base += LANES) {
        const float *panel = codebook->panels + base / VQI_PANEL * VQI_PANEL * d + base % VQI_PANEL;
        const ivec here = lane + (int32_t)base, exists = here < (int32_t)k;
        for (size_t r = 0; r < rows; r++) {
            const vec s = panel_scores(x + r * d, panel, d, euclidean);
            /* Strict: in a lane codes rise, so the lowest of equals stays. A NaN never wins. */
            const ivec wins = (euclidean ? s < best[r] : s > best[r]) & exists;
            best[r] = BLEND(wins, s, best[r]);
            code[r] = (wins & here) | (~wins & code[r]);
        }
    }
    for (size_t r = 0; r < rows; r++) {
        codes[r] = (uint32_t)code[r][0];
        scores[r] = best[r][0];
        for (int l = 1; l < LANES; l++) {
            const float s = best[r][l];
            const uint32_t c = (uint32_t)code[r][l];
            if ((euclidean ? s < scores[r] : s > scores[r]) || (s == scores[r] && c < codes[r])) {
                scores[r] = s;
                codes[r] = c;
            }
        }
        if (scores[r] == worst) /* every score overflowed: code 0, and the score that it has */
            scores[r] = score(x + r * d, codebook->codewords, d, euclidean);
    }
}

static void scan_distance(uint32_t *codes, float *scores, const vq_codebook *codebook,
                          const float *x, size_t rows)
{
    scan(codes, scores, codebook, x, rows, 1);
}

static void scan_dot(uint32_t *codes, float *scores, const vq_codebook *codebook, const float *x,
                     size_t rows)
{
    scan(codes, scores, codebook, x, rows, 0);
}

static float centre_row(float *out, const float *x, const float *centre, size_t d)
{
    vec8 sums = {0};
    size_t i = 0;
    for (; i + 8 <= d; i += 8) {
        vec8 t = LOAD8(x + i);
        if (centre) {
            t -= LOAD8(centre + i);
            *(vec8_unaligned *)(out + i) = t;
        }
        sums += t * t;
    }
    float sum = 0;
    for (int j = 0; j < 8; j++)
        sum += sums[j];
    for (; i < d; i++) {
        const float t = centre ? x[i] - centre[i] : x[i];
        if (centre)
            out[i] = t;
        sum += t * t;
    }
    return sum;
}

INLINE vec larger(vec a, vec b)
{
    const ivec more = a > b;
    return BLEND(more, a, b);
}

/* Bit l is set if lane l is at least `lowest`. */
INLINE uint32_t lanes_at_least(vec s, float lowest)
{
#if LANES == 16
    return _mm512_cmp_ps_mask((__m512)s, _mm512_set1_ps(lowest), _CMP_GE_OQ);
#elif LANES == 8
    return (uint32_t)_mm256_movemask_ps(
        _mm256_cmp_ps((__m256)s, _mm256_set1_ps(lowest), _CMP_GE_OQ));
#else
    uint32_t bits = 0;
    for (int l = 0; l < LANES; l++)
        bits |= (uint32_t)(s[l] >= lowest) << l;
    return bits;
#endif
}

static float row_maximum(const float *scores, const float *bias, size_t count)
{
    vec a = LOAD(scores) - LOAD(bias), b = a;
    size_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        a = larger(LOAD(scores + i) - LOAD(bias + i), a);
        b = larger(LOAD(scores + i + LANES) - LOAD(bias + i + LANES), b);
    }
    for (; i < count; i += LANES)
        a = larger(LOAD(scores + i) - LOAD(bias + i), a);
    a = larger(a, b);
    float most = a[0];
    for (int l = 1; l < LANES; l++)
        most = a[l] > most ? a[l] : most;
    return most;
}

static size_t row_at_least(uint32_t *found, size_t room, const float *scores, const float *bias,
                           size_t count, float lowest)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i += VQI_PANEL) {
        vec most = LOAD(scores + i) - LOAD(bias + i);
        for (size_t j = LANES; j < VQI_PANEL; j += LANES)
            most = larger(LOAD(scores + i + j) - LOAD(bias + i + j), most);
        if (!lanes_at_least(most, lowest))
            continue;
        for (size_t j = i; j < i + VQI_PANEL; j += LANES)
            for (uint32_t bits = lanes_at_least(LOAD(scores + j) - LOAD(bias + j), lowest); bits;
                 bits &= bits - 1) {
                if (n == room)
                    return room + 1;
                found[n++] = (uint32_t)j + (uint32_t)__builtin_ctz(bits);
            }
    }
    return n;
}

const vqi_nearest_kernels KERNELS = {
    .lanes = LANES,
    .all_finite = all_finite,
    .distance = distance,
    .dot = dot,
    .scan_distance = scan_distance,
    .scan_dot = scan_dot,
    .centre_row = centre_row,
    .row_maximum = row_maximum,
    .row_at_least = row_at_least,
};
