/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/kmeans_distance_internal.h"

#include <string.h>

#include "vq/cpu.h"

/* The eight partial sums of the contract as one vector; the compiler lowers it to what the target has. */
typedef float lanes __attribute__((vector_size(32)));

enum { STRIDE = 64 }; /* floats between two looks at the bound */

static inline __attribute__((always_inline)) void add_squares(lanes *sum, const float *x,
                                                              const float *c)
{
    lanes a, b;
    memcpy(&a, x, sizeof a);
    memcpy(&b, c, sizeof b);
    const lanes difference = a - b;
    *sum += difference * difference;
}

static inline __attribute__((always_inline)) float tree(const lanes *sum)
{
    const lanes p = *sum;
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

static inline __attribute__((always_inline)) float distance(const float *x, const float *c,
                                                            uint32_t d, float bound)
{
    lanes sum = {0};
    uint32_t i = 0;
    while (d - i >= STRIDE) {
        for (uint32_t j = 0; j < STRIDE; j += 8)
            add_squares(&sum, x + i + j, c + i + j);
        i += STRIDE;
        const float so_far = tree(&sum);
        if (so_far >= bound)
            return so_far;
    }
    for (; d - i >= 8; i += 8)
        add_squares(&sum, x + i, c + i);
    for (uint32_t j = 0; i + j < d; j++) {
        const float difference = x[i + j] - c[i + j];
        sum[j] += difference * difference;
    }
    return tree(&sum);
}

static float distance_portable(const float *x, const float *c, uint32_t d, float bound)
{
    return distance(x, c, d, bound);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static float distance_avx2(const float *x, const float *c,
                                                           uint32_t d, float bound)
{
    return distance(x, c, d, bound);
}
#endif

vqi_distance_fn *vqi_distance_kernel(void)
{
#if defined(__x86_64__)
    if (vq_cpu_flags() & VQ_CPU_AVX2)
        return distance_avx2;
#endif
    return distance_portable;
}
