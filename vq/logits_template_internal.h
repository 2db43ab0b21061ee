/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/logits_template_internal.h
 * The contract of vq/logits.h for processors with AVX2, FMA and F16C, and with VQI_WIDE = 16 for those with AVX-512: one state has
 * its eight partial sums in a register, 16 states have a register (or two) for each of them. Included by logits_avx2.c and
 * logits_avx512.c, which say LOGITS, the table's name.
 */
#include <immintrin.h>
#include <string.h>

#include "vq/logits_internal.h"

#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 4, CHUNK = 512, STRIP = 24 };

/* Eight elements as float32. */
INLINE __m256 load8(const char *at, const vq_dtype dtype)
{
    const __m128i *p = (const __m128i *)(const void *)at;
    switch (dtype) {
    case VQ_DTYPE_F16:
        return _mm256_cvtph_ps(_mm_loadu_si128(p));
    case VQ_DTYPE_BF16:
        return _mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
    case VQ_DTYPE_I8:
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
    default:
        return _mm256_loadu_ps((const float *)(const void *)at);
    }
}

INLINE size_t size_of(const vq_dtype dtype)
{
    return dtype == VQ_DTYPE_F32 ? 4 : dtype == VQ_DTYPE_I8 ? 1 : 2;
}

/* The last elements of a row, fewer than eight, and zeros. */
INLINE __m256 load_rest(const char *at, size_t count, const vq_dtype dtype)
{
    char rest[32] = {0};
    memcpy(rest, at, count * size_of(dtype));
    return load8(rest, dtype);
}

INLINE float tree(__m256 p)
{
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(p), _mm256_extractf128_ps(p, 1));
    const __m128 two = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* The trees of four. */
INLINE __m128 four_trees(const __m256 p[4])
{
    __m128 q[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        q[r] = _mm_add_ps(_mm256_castps256_ps128(p[r]), _mm256_extractf128_ps(p[r], 1));
    const __m128 a = _mm_add_ps(_mm_movelh_ps(q[0], q[1]), _mm_movehl_ps(q[1], q[0])),
                 b = _mm_add_ps(_mm_movelh_ps(q[2], q[3]), _mm_movehl_ps(q[3], q[2]));
    return _mm_add_ps(_mm_shuffle_ps(a, b, 0x88), _mm_shuffle_ps(a, b, 0xdd));
}

/* `count` rows side by side: their sums do not wait for each other. */
INLINE void dots(__m256 *p, const char *row, size_t d, const float *h, const int count,
                 const vq_dtype dtype)
{
    const size_t size = size_of(dtype), stride = d * size;
#pragma GCC unroll 4
    for (int r = 0; r < count; r++)
        p[r] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + VQI_PAD <= d; i += VQI_PAD) {
        const __m256 x = _mm256_loadu_ps(h + i);
#pragma GCC unroll 4
        for (int r = 0; r < count; r++)
            p[r] = _mm256_fmadd_ps(load8(row + (size_t)r * stride + i * size, dtype), x, p[r]);
    }
    for (int r = 0; i < d && r < count; r++)
        p[r] = _mm256_fmadd_ps(load_rest(row + (size_t)r * stride + i * size, d - i, dtype),
                               _mm256_loadu_ps(h + i), p[r]);
}

/* Scales and biases of `count` logits. */
INLINE void finish(float *out, const vqi_rows *rows, size_t first, size_t count)
{
    if (rows->scale)
        for (size_t r = 0; r < count; r++)
            out[r] *= rows->scale[first + r];
    if (rows->bias)
        for (size_t r = 0; r < count; r++)
            out[r] += rows->bias[first + r];
}

INLINE void one_of(float *out, const vqi_rows *rows, size_t first, size_t count, const float *h,
                   const vq_dtype dtype)
{
    const size_t d = rows->d, stride = d * size_of(dtype);
    const char *row = (const char *)rows->data + first * stride;
    size_t r = 0;
    __m256 p[ROWS];
    for (; r + ROWS <= count; r += ROWS) {
        dots(p, row + r * stride, d, h, ROWS, dtype);
        _mm_storeu_ps(out + r, four_trees(p));
    }
    for (; r < count; r++) {
        dots(p, row + r * stride, d, h, 1, dtype);
        out[r] = tree(p[0]);
    }
    finish(out, rows, first, count);
}

#if VQI_WIDE == 16
typedef __m512 wide;
enum { TILE_ROWS = 3 }; /* 24 registers of sums */
INLINE wide wide_zero(void)
{
    return _mm512_setzero_ps();
}
INLINE wide wide_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE void wide_store(float *p, wide v)
{
    _mm512_storeu_ps(p, v);
}
INLINE wide wide_add(wide a, wide b)
{
    return _mm512_add_ps(a, b);
}
INLINE wide wide_fma(float w, wide h, wide p)
{
    return _mm512_fmadd_ps(_mm512_set1_ps(w), h, p);
}
#else
typedef __m256 wide;
enum { TILE_ROWS = 1 }; /* 8 of 16 registers */
INLINE wide wide_zero(void)
{
    return _mm256_setzero_ps();
}
INLINE wide wide_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
INLINE void wide_store(float *p, wide v)
{
    _mm256_storeu_ps(p, v);
}
INLINE wide wide_add(wide a, wide b)
{
    return _mm256_add_ps(a, b);
}
INLINE wide wide_fma(float w, wide h, wide p)
{
    return _mm256_fmadd_ps(_mm256_set1_ps(w), h, p);
}
#endif

/* `count` rows against VQI_WIDE of the 16 states, over a piece of `some` dimensions: the sums go on from what `sums` holds, unless it
 * is the first piece. Elements that are no float32, or not a multiple of eight, are made so first. */
INLINE void tile(float *sums, const char *row, size_t stride, size_t some, const float *h,
                 int begun, const int count, const vq_dtype dtype)
{
    const size_t size = size_of(dtype), whole = some / VQI_PAD * VQI_PAD;
    float decoded[TILE_ROWS * CHUNK];
    wide p[TILE_ROWS][VQI_PAD];
#pragma GCC unroll 3
    for (int r = 0; r < count; r++)
#pragma GCC unroll 8
        for (int j = 0; j < VQI_PAD; j++)
            p[r][j] = begun ? wide_load(sums + (r * VQI_PAD + j) * VQI_WIDE) : wide_zero();
    const float *w = (const float *)(const void *)row;
    size_t w_stride = stride / sizeof *w;
    if (dtype != VQ_DTYPE_F32 || some != whole) {
        w = decoded;
        w_stride = CHUNK;
        for (size_t r = 0; r < (size_t)count; r++) {
            for (size_t i = 0; i < whole; i += VQI_PAD)
                _mm256_storeu_ps(decoded + r * CHUNK + i,
                                 load8(row + r * stride + i * size, dtype));
            if (whole < some)
                _mm256_storeu_ps(decoded + r * CHUNK + whole,
                                 load_rest(row + r * stride + whole * size, some - whole, dtype));
        }
    }
    for (size_t i = 0; i < some; i += VQI_PAD, h += VQI_PAD * VQI_STATES) {
#pragma GCC unroll 8
        for (int j = 0; j < VQI_PAD; j++) {
            wide states = wide_load(h + j * VQI_STATES);
            __asm__("" : "+v"(states)); /* loaded once, not with each row again */
#pragma GCC unroll 3
            for (int r = 0; r < count; r++)
                p[r][j] = wide_fma(w[(size_t)r * w_stride + i + (size_t)j], states, p[r][j]);
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < count; r++)
#pragma GCC unroll 8
        for (int j = 0; j < VQI_PAD; j++)
            wide_store(sums + (r * VQI_PAD + j) * VQI_WIDE, p[r][j]);
}

/* The trees of a row, a lane for each state. */
INLINE void wide_tree(float *out, const float *sums)
{
    wide q[VQI_PAD];
    float logits[VQI_WIDE];
#pragma GCC unroll 8
    for (int j = 0; j < VQI_PAD; j++)
        q[j] = wide_load(sums + j * VQI_WIDE);
    wide_store(logits, wide_add(wide_add(wide_add(q[0], q[4]), wide_add(q[2], q[6])),
                                wide_add(wide_add(q[1], q[5]), wide_add(q[3], q[7]))));
    for (size_t s = 0; s < VQI_WIDE; s++)
        out[s * VQI_HEAD_BLOCK] = logits[s];
}

/* Up to STRIP rows. A piece of the states stays in the nearest cache while all rows pass by; their sums wait meanwhile. */
INLINE void strip(float *out, const char *row, size_t d, size_t count, const float *h,
                  const vq_dtype dtype)
{
    enum { SUMS = VQI_PAD * VQI_WIDE };
    const size_t size = size_of(dtype), stride = d * size;
    float sums[STRIP * SUMS];
    for (size_t begin = 0; begin < d; begin += CHUNK) {
        const size_t some = d - begin < CHUNK ? d - begin : CHUNK;
        const char *from = row + begin * size;
        const float *states = h + begin * VQI_STATES;
        size_t r = 0;
        for (; r + TILE_ROWS <= count; r += TILE_ROWS)
            tile(sums + r * SUMS, from + r * stride, stride, some, states, begin > 0, TILE_ROWS,
                 dtype);
        for (; r < count; r++)
            tile(sums + r * SUMS, from + r * stride, stride, some, states, begin > 0, 1, dtype);
    }
    for (size_t r = 0; r < count; r++)
        wide_tree(out + r, sums + r * SUMS);
}

INLINE void many_of(float *out, const vqi_rows *rows, size_t first, size_t count, const float *h,
                    const vq_dtype dtype)
{
    const size_t d = rows->d, stride = d * size_of(dtype);
    const char *row = (const char *)rows->data + first * stride;
    for (size_t s = 0; s < VQI_STATES; s += VQI_WIDE)
        for (size_t r = 0; r < count; r += STRIP)
            strip(out + s * VQI_HEAD_BLOCK + r, row + r * stride, d,
                  count - r < STRIP ? count - r : STRIP, h + s, dtype);
    for (size_t s = 0; s < VQI_STATES; s++)
        finish(out + s * VQI_HEAD_BLOCK, rows, first, count);
}

#define FOR_TYPES(call, ...)                                                                       \
    switch (rows->dtype) {                                                                         \
    case VQ_DTYPE_F16:                                                                             \
        call(__VA_ARGS__, VQ_DTYPE_F16);                                                           \
        break;                                                                                     \
    case VQ_DTYPE_BF16:                                                                            \
        call(__VA_ARGS__, VQ_DTYPE_BF16);                                                          \
        break;                                                                                     \
    case VQ_DTYPE_I8:                                                                              \
        call(__VA_ARGS__, VQ_DTYPE_I8);                                                            \
        break;                                                                                     \
    default:                                                                                       \
        call(__VA_ARGS__, VQ_DTYPE_F32);                                                           \
    }

static void one(float *out, const vqi_rows *rows, size_t first, size_t count, const float *h)
{
    FOR_TYPES(one_of, out, rows, first, count, h)
}

static void many(float *out, const vqi_rows *rows, size_t first, size_t count,
                 const float *h){FOR_TYPES(many_of, out, rows, first, count, h)}

/* The entries of a register's worth of rows. */
#if VQI_WIDE == 16
INLINE wide look(const uint8_t *codes, const float *table)
{
    const __m512i at = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)codes));
    return _mm512_i32gather_ps(at, table, 4);
}
#else
INLINE wide look(const uint8_t *codes, const float *table)
{
    const __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)codes));
    return _mm256_i32gather_ps(table, at, 4);
}
#endif

enum {
    SIDE_BY_SIDE = 4,
    PARTS = VQI_ROWS / VQI_WIDE
}; /* blocks, whose sums do not wait for each other */

/* Some blocks of 16 rows. */
INLINE void look_up_some(float *out, const uint8_t *codes, size_t levels, const float *tables,
                         const int blocks)
{
    wide sums[SIDE_BY_SIDE * PARTS];
#pragma GCC unroll 8
    for (int b = 0; b < blocks * PARTS; b++)
        sums[b] = wide_zero();
    for (size_t m = 0; m < levels; m++, tables += VQI_TABLE, codes += VQI_ROWS) {
#pragma GCC unroll 8
        for (int b = 0; b < blocks * PARTS; b++)
            sums[b] = wide_add(sums[b], look(codes + (size_t)(b / PARTS) * levels * VQI_ROWS +
                                                 (size_t)(b % PARTS) * VQI_WIDE,
                                             tables));
    }
#pragma GCC unroll 8
    for (int b = 0; b < blocks * PARTS; b++)
        wide_store(out + b * VQI_WIDE, sums[b]);
}

static void look_up(float *out, const uint8_t *codes, size_t count, size_t levels,
                    const float *tables)
{
    size_t r = 0;
    for (; r + SIDE_BY_SIDE * VQI_ROWS <= count; r += SIDE_BY_SIDE * VQI_ROWS)
        look_up_some(out + r, codes + r * levels, levels, tables, SIDE_BY_SIDE);
    for (; r < count; r += VQI_ROWS) {
        float rest[VQI_ROWS];
        const size_t some = count - r < VQI_ROWS ? count - r : VQI_ROWS;
        look_up_some(rest, codes + r * levels, levels, tables, 1);
        memcpy(out + r, rest, some * sizeof *out);
    }
}

const vqi_logit_kernels LOGITS = {one, many, look_up};
