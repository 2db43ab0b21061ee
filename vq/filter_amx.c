/* SPDX-License-Identifier: Apache-2.0 */
/* The bfloat16 filter: TDPBF16PS multiplies a tile of 16 rows x 32 elements by 32 elements x 16 codewords.
 * Compiled with -mamx-bf16 and so on (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "vq/nearest_internal.h"

enum {
    ROWS = 16, /* of a tile */
    DEPTH = 32 /* elements of a tile's row */
};

static size_t row_bytes(uint32_t d)
{
    return ((size_t)d + DEPTH - 1) / DEPTH * DEPTH * sizeof(uint16_t);
}

static __mmask16 first_lanes(size_t d, size_t i)
{
    return i >= d ? 0 : d - i >= 16 ? 0xffff : (__mmask16)((1u << (d - i)) - 1);
}

static void pack_row(vqi_block *block, const vq_codebook *codebook, size_t r)
{
    const size_t d = codebook->d;
    const float *x = block->centred + r * d;
    uint16_t *out = (uint16_t *)(void *)((char *)block->packed + r * row_bytes((uint32_t)d));
    __m512 errors = _mm512_setzero_ps(), reads = _mm512_setzero_ps();
    for (size_t i = 0; i < row_bytes((uint32_t)d) / sizeof *out; i += 16) {
        const __mmask16 some = first_lanes(d, i);
        const __m512 v = _mm512_maskz_loadu_ps(some, x + i),
                     w = _mm512_maskz_loadu_ps(some, codebook->weight + i),
                     iw = _mm512_maskz_loadu_ps(some, codebook->inverse_weight + i);
        const __m256i half = (__m256i)_mm512_cvtneps_pbh(v);
        const __m512 read = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
        const __m512 error = _mm512_sub_ps(v, read);
        errors = _mm512_fmadd_ps(_mm512_mul_ps(error, error), w, errors);
        reads = _mm512_fmadd_ps(_mm512_mul_ps(read, read), iw, reads);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), half);
    }
    block->error[r] = _mm512_reduce_add_ps(errors);
    block->read[r] = _mm512_reduce_add_ps(reads);
}

static void pack(vqi_block *block, const vq_codebook *codebook)
{
    for (size_t r = 0; r < block->rows; r++)
        pack_row(block, codebook, r);
}

typedef struct tile_shape {
    uint8_t palette, start_row, reserved[14];
    uint16_t columns[16]; /* bytes of a row */
    uint8_t rows[16];
} tile_shape;

/* Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 codewords. */
static void configure(void)
{
    tile_shape shape = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        shape.columns[t] = 64;
        shape.rows[t] = 16;
    }
    _tile_loadconfig(&shape);
}

/* The scores of 32 rows and one group, and where their peaks belong. */
typedef struct scores {
    _Alignas(64) float of[4][2 * ROWS][VQI_LANES]; /* panel, row, codeword */
    float *peaks;
    size_t rows; /* 0 = none yet */
} scores;

static void take_peaks(const scores *s, size_t stride, size_t first, size_t end)
{
    for (size_t r = first; r < end; r++)
        _mm512_storeu_ps(
            s->peaks + r * stride,
            _mm512_max_ps(_mm512_max_ps(_mm512_load_ps(s->of[0][r]), _mm512_load_ps(s->of[1][r])),
                          _mm512_max_ps(_mm512_load_ps(s->of[2][r]), _mm512_load_ps(s->of[3][r]))));
}

/* 32 rows and 32 codewords, two tiles of each, so that every tile that is loaded is multiplied twice. Meanwhile the other
 * units of the processor take the peaks of what was multiplied before, from row `first` up to `end`. */
static void multiply(scores *out, const char *const rows[2], size_t row_stride, const char *group,
                     size_t steps, const float *start, size_t half, const scores *before,
                     size_t stride, size_t first, size_t end)
{
    float(*sums)[2 * ROWS][VQI_LANES] = out->of + 2 * half;
    const char *codewords = group + half * 2048;
    start += half * 2 * VQI_LANES;
    _tile_loadd(0, start, 0); /* stride 0: every row starts from the same */
    _tile_loadd(1, start + VQI_LANES, 0);
    _tile_loadd(2, start, 0);
    _tile_loadd(3, start + VQI_LANES, 0);
    const size_t count = end > first ? end - first : 0, share = (count + steps - 1) / steps;
    for (size_t s = 0; s < steps; s++, codewords += 4096) {
        _tile_loadd(4, rows[0] + s * 64, row_stride);
        _tile_loadd(6, codewords, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, codewords + 1024, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, rows[1] + s * 64, row_stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        take_peaks(before, stride, first, first + share < end ? first + share : end);
        first = first + share < end ? first + share : end;
    }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[0] + ROWS, 64);
    _tile_stored(3, sums[1] + ROWS, 64);
}

static void peaks_of(float *peaks, const vqi_block *block, size_t row, size_t end,
                     const vq_codebook *codebook, size_t first, size_t groups)
{
    scores both[2];
    const size_t row_stride = row_bytes(codebook->d), steps = row_stride / 64,
                 stride = VQI_ROW_STRIDE;
    scores *now = &both[0], *before = &both[1];
    before->rows = 0;
    before->peaks = peaks;
    configure();
    for (size_t g = 0; g < groups; g++) {
        const char *group =
            (const char *)codebook->coarse[VQI_HALVES].data + (first + g) * steps * 4096;
        const float *start = codebook->start + (first + g) * VQI_GROUP;
        for (size_t r = row; r < end; r += 2 * ROWS) {
            const size_t left = end - r;
            const char *low = (const char *)block->packed + r * row_stride;
            /* With 16 rows or fewer the second tile is the first once more. */
            const char *const rows[2] = {low, left > ROWS ? low + ROWS * row_stride : low};
            const size_t middle = before->rows / 2;
            multiply(now, rows, row_stride, group, steps, start, 0, before, stride, 0, middle);
            multiply(now, rows, row_stride, group, steps, start, 1, before, stride, middle,
                     before->rows);
            now->peaks = peaks + (r - row) * stride + g * VQI_LANES;
            now->rows = left < 2 * ROWS ? left : 2 * ROWS;
            scores *const swap = now;
            now = before;
            before = swap;
        }
    }
    take_peaks(before, stride, 0, before->rows);
    _tile_release();
}

const vqi_filter vqi_filter_amx = {.name = "bf16",
                                   .form = VQI_HALVES,
                                   .strip = VQI_BLOCK,
                                   .row_bytes = row_bytes,
                                   .pack = pack,
                                   .peaks = peaks_of};
