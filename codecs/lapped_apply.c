/* SPDX-License-Identifier: Apache-2.0 */
/* The analysis matrices at work. Each sum runs over j in rising order and apart from all others, so wide registers
 * change no bit; the same code is compiled for each instruction set. */
#include <string.h>

#include "codecs/lapped_internal.h"
#include "vq/cpu.h"

#define INLINE static inline __attribute__((always_inline))

/* Windows that are summed side by side, so that additions do not wait for each other: the more, the wider registers are. */
enum { WINDOWS = 4, MOST_WINDOWS = 8 };

/* `width` is a multiple of the block size, `tile` columns stay in registers. */
INLINE void columns(float *out, const float *rows, size_t width, const float *matrix, uint32_t m,
                    uint32_t count, const size_t tile)
{
    for (uint32_t v = 0; v < count; v++, out += width) {
        size_t x = 0;
        for (; x + tile <= width; x += tile) {
            float sum[128] = {0};
            for (uint32_t j = 0; j < 2 * m; j++) {
                const float a = matrix[j * m + v];
                const float *row = rows + j * width + x;
                if (a == 0.0f)
                    continue; /* the sides that the edges cut off */
                for (size_t t = 0; t < tile; t++)
                    sum[t] += a * row[t];
            }
            memcpy(out + x, sum, tile * sizeof *out);
        }
        for (; x < width; x++) {
            float sum = 0;
            for (uint32_t j = 0; j < 2 * m; j++)
                if (matrix[j * m + v] != 0.0f)
                    sum += matrix[j * m + v] * rows[j * width + x];
            out[x] = sum;
        }
    }
}

/* `count` windows of one block; m is a constant wherever this is called from. */
INLINE void windows_of(float *out, const float *window, size_t stride, const float *matrix,
                       const uint32_t m, const int count)
{
    float sum[MOST_WINDOWS][VQI_LAPPED_MAX_BLOCK] = {{0}};
    for (uint32_t j = 0; j < 2 * m; j++)
        for (int w = 0; w < count; w++)
            for (uint32_t u = 0; u < m; u++)
                sum[w][u] += window[(size_t)w * stride + j] * matrix[j * m + u];
    for (int w = 0; w < count; w++)
        memcpy(out + (size_t)w * m, sum[w], m * sizeof *out);
}

INLINE void block_of(float *out, const float *window, size_t stride, const float *matrix,
                     const uint32_t m, uint32_t count, const int most)
{
    uint32_t v = 0;
    for (; v + (uint32_t)most <= count; v += (uint32_t)most)
        windows_of(out + v * m, window + v * stride, stride, matrix, m, most);
    for (; v + WINDOWS <= count; v += WINDOWS)
        windows_of(out + v * m, window + v * stride, stride, matrix, m, WINDOWS);
    for (; v < count; v++)
        windows_of(out + v * m, window + v * stride, stride, matrix, m, 1);
}

INLINE void block(float *out, const float *window, size_t stride, const float *matrix, uint32_t m,
                  uint32_t count, const int most)
{
    switch (m) {
    case 8:
        block_of(out, window, stride, matrix, 8, count, most);
        break;
    case 16:
        block_of(out, window, stride, matrix, 16, count, most);
        break;
    default:
        block_of(out, window, stride, matrix, m, count, most);
    }
}

#define KERNELS(set, target, tile, most)                                                           \
    __attribute__((target)) static void columns_##set(float *out, const float *rows, size_t width, \
                                                      const float *matrix, uint32_t m,             \
                                                      uint32_t count)                              \
    {                                                                                              \
        columns(out, rows, width, matrix, m, count, tile);                                         \
    }                                                                                              \
    __attribute__((target)) static void block_##set(float *out, const float *window,               \
                                                    size_t stride, const float *matrix,            \
                                                    uint32_t m, uint32_t count)                    \
    {                                                                                              \
        block(out, window, stride, matrix, m, count, most);                                        \
    }

KERNELS(portable, , 32, WINDOWS)
#if defined(__x86_64__)
KERNELS(avx2, target("avx2"), 64, WINDOWS)
/* Both compilers choose 256 bits where 512 are not asked for, each in its own words. */
#if defined(__clang__)
#define AVX512 target("avx512f,avx512vl"), min_vector_width(512)
#else
#define AVX512 target("avx512f,avx512vl,prefer-vector-width=512")
#endif
KERNELS(avx512, AVX512, 128, MOST_WINDOWS)
#endif

vqi_lapped_kernels vqi_lapped_select(void)
{
#if defined(__x86_64__)
    const uint32_t flags = vq_cpu_flags();
    if (flags & VQ_CPU_AVX512)
        return (vqi_lapped_kernels){columns_avx512, block_avx512};
    if (flags & VQ_CPU_AVX2)
        return (vqi_lapped_kernels){columns_avx2, block_avx2};
#endif
    return (vqi_lapped_kernels){columns_portable, block_portable};
}
