/* SPDX-License-Identifier: Apache-2.0 */
/* The int16 filter of processors with AVX2 and no VNNI, on the form of the codebook that vq/filter_vnni.c reads too.
 * Compiled with -mavx2 and so on (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#include <immintrin.h>

#include "vq/madd_tile_internal.h"
#include "vq/nearest_internal.h"

#define INLINE static inline __attribute__((always_inline))

enum { PANELS = VQI_GROUP / VQI_LANES };

static size_t row_bytes(uint32_t d)
{
    return vqi_tile_row_bytes(d, 2);
}

/* What eight elements of a row read as. */
typedef struct reading {
    __m256 error, read; /* sums so far: (x' - p)^2 w and (p / scale)^2 / w */
} reading;

INLINE __m256i pack_eight(reading *sums, const vq_codebook *codebook, const float *x, size_t i,
                          __m256 scale, __m256 inverse)
{
    const size_t left = codebook->d > i ? codebook->d - i : 0;
    const __m256 v = vqi_load_first(x + i, left), w = vqi_load_first(codebook->weight + i, left),
                 iw = vqi_load_first(codebook->inverse_weight + i, left);
    __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse));
    q = _mm256_max_epi32(_mm256_min_epi32(q, _mm256_set1_epi32(32767)), _mm256_set1_epi32(-32767));
    const __m256 steps = _mm256_cvtepi32_ps(q), error = _mm256_fnmadd_ps(steps, scale, v);
    sums->error = _mm256_fmadd_ps(_mm256_mul_ps(error, error), w, sums->error);
    sums->read = _mm256_fmadd_ps(_mm256_mul_ps(steps, steps), iw, sums->read);
    return q;
}

static void pack_row(vqi_block *block, const vq_codebook *codebook, size_t r, float scale)
{
    const size_t d = codebook->d;
    const float *x = block->centred + r * d;
    char *out = (char *)block->packed + r * row_bytes(codebook->d);
    const __m256 step = _mm256_set1_ps(scale), steps = _mm256_set1_ps(scale > 0 ? 1 / scale : 0);
    reading sums = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0; i < d; i += 16) {
        const __m256i low = pack_eight(&sums, codebook, x, i, step, steps),
                      high = pack_eight(&sums, codebook, x, i + 8, step, steps);
        _mm256_store_si256((__m256i *)(void *)(out + 2 * i), vqi_to_words(low, high));
    }
    block->start[r] = 0; /* words have no offset to take back */
    block->error[r] = vqi_sum_of(sums.error);
    block->read[r] = vqi_sum_of(sums.read) * scale * scale;
}

static void pack(vqi_block *block, const vq_codebook *codebook)
{
    for (size_t first = 0; first < block->rows; first += VQI_TILE_ROWS) {
        const size_t end =
            block->rows - first < VQI_TILE_ROWS ? block->rows : first + VQI_TILE_ROWS;
        float scale = 0;
        for (size_t r = first; r < end; r++)
            scale = fmaxf(scale, vqi_words_scale(block->square[r]));
        scale = vqi_tile_scale(scale, codebook, 2);
        for (size_t r = first; r < end; r++) {
            pack_row(block, codebook, r, scale);
            block->unit[r] = scale * codebook->coarse[VQI_WORDS].step;
        }
    }
}

/* `rows` packed rows and one panel, all sums in registers. The peaks of the panels before it are in their places, as whole
 * numbers; after the last they become scores. */
INLINE void tile(float *peaks, const vqi_block *block, size_t r0, size_t d, const char *panel,
                 const float *start, size_t number, const int rows)
{
    const size_t row_stride = vqi_tile_row_bytes(d, 2);
    const float unit = block->unit[r0];
    const __m256 per_unit = _mm256_set1_ps(unit > 0 ? 1 / unit : 0), units = _mm256_set1_ps(unit);
    /* Of a codeword that was added, whose own term is -infinity (or NaN): below what any other can have. */
    const __m256 least = _mm256_set1_ps(-0x1p30f);
    __m256i sum[VQI_TILE_ROWS][2];
#pragma GCC unroll 2
    for (int s = 0; s < 2; s++) {
        const __m256i term = _mm256_cvtps_epi32(
            _mm256_max_ps(_mm256_mul_ps(_mm256_load_ps(start + 8 * s), per_unit), least));
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            sum[r][s] = term;
    }
    vqi_madd_multiply(sum, (const char *)block->packed + r0 * row_stride, row_stride,
                      vqi_tile_lanes(d, 2), panel, rows);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int s = 0; s < 2; s++) {
            float *at = peaks + (size_t)r * VQI_ROW_STRIDE + 8 * s;
            __m256i most = sum[r][s];
            if (number)
                most = _mm256_max_epi32(most, _mm256_castps_si256(_mm256_load_ps(at)));
            _mm256_store_ps(at, number + 1 < PANELS
                                    ? _mm256_castsi256_ps(most)
                                    : _mm256_mul_ps(_mm256_cvtepi32_ps(most), units));
        }
}

static void peaks_of(float *peaks, const vqi_block *block, size_t row, size_t end,
                     const vq_codebook *codebook, size_t first, size_t groups)
{
    const size_t d = codebook->d, group_bytes = vqi_tile_lanes(d, 2) * 4 * VQI_GROUP;
    const char *group = (const char *)codebook->coarse[VQI_WORDS].data + first * group_bytes;
    const float *start = codebook->start + first * VQI_GROUP;
    for (; groups; groups--, group += group_bytes, peaks += VQI_LANES)
        for (size_t p = 0; p < PANELS; p++, start += VQI_LANES) {
            const char *panel = group + p * 4 * VQI_LANES;
            size_t r = row;
            for (; r + VQI_TILE_ROWS <= end; r += VQI_TILE_ROWS)
                tile(peaks + (r - row) * VQI_ROW_STRIDE, block, r, d, panel, start, p,
                     VQI_TILE_ROWS);
            for (; r < end; r++)
                tile(peaks + (r - row) * VQI_ROW_STRIDE, block, r, d, panel, start, p, 1);
        }
}

const vqi_filter vqi_filter_madd = {.name = "int16 (AVX2)",
                                    .form = VQI_WORDS,
                                    .strip = 24,
                                    .row_bytes = row_bytes,
                                    .pack = pack,
                                    .peaks = peaks_of};
