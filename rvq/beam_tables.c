/* SPDX-License-Identifier: Apache-2.0 */
/* Inner products of the centred codewords of different levels, for the beam search: rows of level j's codes, columns
 * of level l's places. */
#include <math.h>
#include <string.h>

#include "rvq/beam_internal.h"
#include "vq/cpu.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

#define MOST_BYTES ((size_t)1 << 28)

const vqi_beam_ops *vqi_beam_ops_now(void)
{
#if defined(__x86_64__)
    const uint32_t flags = vq_cpu_flags();
    if (flags & VQ_CPU_AVX512)
        return &vqi_beam_avx512;
    if (flags & VQ_CPU_AVX2)
        return &vqi_beam_avx2;
#endif
    return &vqi_beam_portable;
}

double vqi_beam_centre_norm(const vq_codebook *codebook)
{
    double square = 0;
    for (uint32_t i = 0; i < codebook->d; i++)
        square += (double)codebook->centre[i] * codebook->centre[i];
    return sqrt(square) * (1 + 0x1p-20);
}

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static bool can_have_tables(const vqi_residual *q, uint32_t first, uint32_t levels)
{
    size_t bytes = 0, more;
    for (uint32_t l = 0; l < levels; l++) {
        if (!(q->codebooks[l]->largest_norm <= 0x1p30))
            return false;
        for (uint32_t j = 0; j < l && l >= first; j++)
            if (!vqi_mul(&more, (size_t)q->codebooks[j]->k * sizeof(int16_t),
                         q->codebooks[l]->padded_k) ||
                !vqi_add(&bytes, bytes, more) || bytes > MOST_BYTES)
                return false;
    }
    return levels > 1 && q->base.dim <= VQI_MOST_INTEGER;
}

/* Lay the parts out from `at` on, which may be NULL. @return the bytes they take. */
static size_t lay_out(vqi_beam_tables *tables, char *at, const vqi_residual *q, uint32_t first,
                      uint32_t levels, int threads)
{
    size_t size = padded(sizeof *tables), widest = 0;
#define PART(pointer, count)                                                                       \
    do {                                                                                           \
        if (at)                                                                                    \
            (pointer) = (void *)(at + size);                                                       \
        size += padded((count) * sizeof *(pointer));                                               \
    } while (0)
    for (uint32_t l = 0; l < levels; l++) {
        const size_t columns = q->codebooks[l]->padded_k;
        widest = columns > widest ? columns : widest;
        for (uint32_t j = 0; j < l && l >= first; j++)
            PART(tables->rows[l][j], q->codebooks[j]->k * columns);
    }
    PART(tables->zeros, widest);
    PART(tables->centred, (size_t)threads * VQI_BLOCK * q->base.dim);
#undef PART
    return size;
}

static int threads_of(int threads)
{
    return vqi_threads(threads, 1 << 10);
}

size_t vqi_beam_tables_bytes(const vqi_residual *q, uint32_t first, uint32_t levels, int threads)
{
    return can_have_tables(q, first, levels)
               ? lay_out(NULL, NULL, q, first, levels, threads_of(threads))
               : 0;
}

/* Rows `first` and on of the table of levels j and l. */
static void fill_rows(const vqi_residual *q, vqi_beam_tables *tables, uint32_t l, uint32_t j,
                      size_t first, size_t count, float *rows)
{
    const vq_codebook *from = q->codebooks[j], *to = q->codebooks[l];
    const size_t d = to->d;
    float per_unit[VQI_BLOCK];
    for (size_t i = 0; i < count; i++) {
        for (size_t e = 0; e < d; e++)
            rows[i * d + e] = from->codewords[(first + i) * d + e] - from->centre[e];
        per_unit[i] = (float)(1 / tables->level[l].unit);
    }
    const vqi_block block = {.rows = count, .centred = rows};
    for (size_t p = 0; p < to->padded_k; p += VQI_COLUMNS) {
        const size_t columns = to->padded_k - p < VQI_COLUMNS ? to->padded_k - p : VQI_COLUMNS;
        vqi_beam_ops_now()->score(tables->rows[l][j] + p * from->k + first * columns, columns,
                                  &block, to, p, columns, tables->zeros, NULL, per_unit);
    }
}

static void fill_table(const vqi_residual *q, vqi_beam_tables *tables, uint32_t l, uint32_t j,
                       int threads)
{
    const size_t k = q->codebooks[j]->k;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t first = 0; first < k; first += VQI_BLOCK)
        fill_rows(q, tables, l, j, first, k - first < VQI_BLOCK ? k - first : VQI_BLOCK,
                  tables->centred + (size_t)omp_get_thread_num() * VQI_BLOCK * q->base.dim);
}

/* What holds for all tables of level l: their unit, which the norms imply, and what it costs. */
static void describe_level(const vqi_residual *q, vqi_beam_tables *tables, uint32_t l)
{
    const double norm = q->codebooks[l]->largest_norm * (1 + 0x1p-20), d = q->base.dim,
                 deep = (d + 8) * 0x1p-24 / (1 - (d + 8) * 0x1p-24);
    double norms = 0, largest = 0;
    for (uint32_t j = 0; j < l; j++) {
        norms += q->codebooks[j]->largest_norm * (1 + 0x1p-20);
        largest = fmax(largest, q->codebooks[j]->largest_norm * (1 + 0x1p-20));
    }
    const double unit = fmax(largest * norm, 0x1p-60) / 32000;
    tables->level[l].unit = 1 / (double)(float)(1 / unit);
    tables->level[l].norms = 2 * norms;
    tables->level[l].centres = tables->level[l - 1].centres + vqi_beam_centre_norm(q->codebooks[l]);
    tables->level[l].row_error = 0.51 * tables->level[l].unit + deep * largest * norm;
}

vqi_beam_tables *vqi_beam_tables_fill(void *memory, const vqi_residual *q, uint32_t first,
                                      uint32_t levels, int threads)
{
    vqi_beam_tables *tables = memory;
    const int used = threads_of(threads);
    memset(tables, 0, sizeof *tables);
    lay_out(tables, memory, q, first, levels, used);
    for (uint32_t l = 0; l < levels; l++)
        memset(tables->zeros, 0, q->codebooks[l]->padded_k * sizeof(float));
    tables->level[0].centres = vqi_beam_centre_norm(q->codebooks[0]);
    for (uint32_t l = 1; l < levels; l++) {
        describe_level(q, tables, l);
        for (uint32_t j = 0; j < l && l >= first; j++)
            fill_table(q, tables, l, j, used);
    }
    return tables;
}

vq_status vq_residual_prepare(vq_quantizer *quantizer, int threads)
{
    if (quantizer->kind != &vqi_residual_kind)
        return vqi_fail(VQ_E_ARG, "a %s quantizer has no tables to prepare (a residual one has)",
                        quantizer->kind->name);
    if (threads < 0)
        return vqi_fail(VQ_E_ARG, "threads is %d (0 = all)", threads);
    vqi_residual *q = (vqi_residual *)quantizer;
    const size_t bytes = vqi_beam_tables_bytes(q, 0, q->base.levels, threads);
    if (q->tables || !bytes)
        return VQ_OK;
    void *memory = vqi_alloc(bytes, 1);
    if (!memory)
        return vqi_fail_nomem(bytes);
    q->tables = vqi_beam_tables_fill(memory, q, 0, q->base.levels, threads);
    return VQ_OK;
}
