/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of exact_sum.c for one instruction set; no include guard. The including file defines
 *   SUFFIX  of every name
 *   TARGET  the attribute of the kernels
 *   LANES   doubles of a register
 *   WIDEN   the LANES floats at an address as doubles
 * Sums of GROUP registers of columns stay where they are from row to row. */
#define NAME(name) CONCAT(name##_, SUFFIX)
#define DOUBLES    NAME(doubles)
#define INTEGERS   NAME(integers)
#define INLINE     TARGET static inline __attribute__((always_inline))

typedef double DOUBLES __attribute__((vector_size(8 * LANES)));
typedef uint64_t INTEGERS __attribute__((vector_size(8 * LANES)));

INLINE void NAME(add_register)(INTEGERS *sum, const DOUBLES *magic, const float *x, double weight,
                               int weighted, int limbs)
{
    DOUBLES value = WIDEN(x);
    if (weighted)
        value *= weight;
    const DOUBLES first = value + magic[0];
    sum[0] += (INTEGERS)first;
    value -= first - magic[0];
    const DOUBLES second = value + magic[1];
    sum[1] += (INTEGERS)second;
    if (limbs == 3) {
        value -= second - magic[1];
        sum[2] += (INTEGERS)(value + magic[2]);
    }
}

/* The columns of `group` registers. The bits of the magic numbers are added along and taken away at the end:
 * integers wrap round. */
INLINE void NAME(add_columns)(int64_t *limb, size_t stride, const vqi_exact_grid *grid,
                              const float *rows, const uint32_t *order, size_t count, uint32_t d,
                              const float *weights, int limbs, int group)
{
    const DOUBLES magic[3] = {grid->magic[0] - (DOUBLES){0}, grid->magic[1] - (DOUBLES){0},
                              grid->magic[2] - (DOUBLES){0}};
    const size_t ahead = d < SHORT_ROW ? AHEAD_SHORT : AHEAD;
    INTEGERS sum0[3] = {{0}}, sum1[3] = {{0}}, sum2[3] = {{0}}, sum3[3] = {{0}};
    for (size_t o = 0; o < count; o++) {
        const float *row = rows + (size_t)order[o] * d;
        const double weight = weights ? (double)weights[order[o]] : 1;
        const float *soon = rows + (size_t)order[o + ahead < count ? o + ahead : o] * d;
        for (int line = 0; line < group * LANES; line += 16) /* floats of a cache line */
            __builtin_prefetch(soon + line);
        NAME(add_register)(sum0, magic, row, weight, weights != NULL, limbs);
        if (group == 1)
            continue;
        NAME(add_register)(sum1, magic, row + LANES, weight, weights != NULL, limbs);
        if (group == 2)
            continue;
        NAME(add_register)(sum2, magic, row + 2 * LANES, weight, weights != NULL, limbs);
        NAME(add_register)(sum3, magic, row + 3 * LANES, weight, weights != NULL, limbs);
    }
    for (int i = 0; i < limbs; i++) {
        const INTEGERS sums[GROUP] = {sum0[i], sum1[i], sum2[i], sum3[i]};
        const uint64_t along = (uint64_t)count * bits_of(grid->magic[i]);
        for (int v = 0; v < group; v++) {
            INTEGERS total;
            int64_t *to = limb + (size_t)i * stride + (size_t)v * LANES;
            memcpy(&total, to, sizeof total);
            total += sums[v] - along;
            memcpy(to, &total, sizeof total);
        }
    }
}

INLINE void NAME(add_rows)(int64_t *limb, size_t stride, const vqi_exact_grid *grid,
                           const float *rows, const uint32_t *order, size_t count, uint32_t d,
                           const float *weights, int limbs)
{
    uint32_t j = 0;
    for (; d - j >= GROUP * LANES; j += GROUP * LANES)
        NAME(add_columns)
    (limb + j, stride, grid, rows + j, order, count, d, weights, limbs, GROUP);
    for (; d - j >= 2 * LANES; j += 2 * LANES)
        NAME(add_columns)(limb + j, stride, grid, rows + j, order, count, d, weights, limbs, 2);
    for (; d - j >= LANES; j += LANES)
        NAME(add_columns)(limb + j, stride, grid, rows + j, order, count, d, weights, limbs, 1);
    if (d - j == 1)
        add_column(limb + j, stride, grid, rows + j, order, count, d, weights, limbs);
    else
        add_tail(limb, stride, grid, rows, order, count, d, weights, limbs, j);
}

/* With and without weights are two loops, so that the common one does not multiply. */
TARGET static void NAME(rows_2)(int64_t *limb, size_t stride, const vqi_exact_grid *grid,
                                const float *rows, const uint32_t *order, size_t count, uint32_t d,
                                const float *weights)
{
    if (weights)
        NAME(add_rows)(limb, stride, grid, rows, order, count, d, weights, 2);
    else
        NAME(add_rows)(limb, stride, grid, rows, order, count, d, NULL, 2);
}

TARGET static void NAME(rows_3)(int64_t *limb, size_t stride, const vqi_exact_grid *grid,
                                const float *rows, const uint32_t *order, size_t count, uint32_t d,
                                const float *weights)
{
    if (weights)
        NAME(add_rows)(limb, stride, grid, rows, order, count, d, weights, 3);
    else
        NAME(add_rows)(limb, stride, grid, rows, order, count, d, NULL, 3);
}

#undef NAME
#undef DOUBLES
#undef INTEGERS
#undef INLINE
#undef SUFFIX
#undef TARGET
#undef LANES
#undef WIDEN
