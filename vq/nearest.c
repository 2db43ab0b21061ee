/* SPDX-License-Identifier: Apache-2.0 */
/* vq_nearest(): which path, how many threads, which rows; the arithmetic is in the kernels. */
#include <omp.h>
#include <stdint.h>

#include "vq/cpu.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/nearest_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"

/* Below about this many multiplications a second thread costs more than it brings. */
#define WORK_PER_THREAD 4e5

typedef struct search_plan {
    int blas; /* 1 = shortlist by BLAS */
    int threads;
    size_t rows; /* of a block, the piece that a thread takes */
    size_t
        scratch; /* bytes per thread; grows with n and threads only, so that a workspace for n vectors
                       serves fewer */
} search_plan;

static search_plan make_plan(const vq_codebook *codebook, size_t n, int threads, int exhaustive)
{
    search_plan plan = {0};
    plan.blas = !exhaustive && vqi_nearest_blas_pays(codebook, vqi_nearest_select(), n);
    const double work = (double)n * codebook->k * codebook->d / WORK_PER_THREAD;
    const size_t blocks = (n + VQI_SCAN_ROWS - 1) / VQI_SCAN_ROWS;
    plan.threads = vqi_threads(threads, work < (double)blocks ? (size_t)work + 1 : blocks);
    plan.rows = VQI_SCAN_ROWS;
    if (plan.blas) {
        const size_t most = n < VQI_BLAS_ROWS ? n : VQI_BLAS_ROWS;
        const size_t share = (n / (size_t)plan.threads / VQI_SCAN_ROWS + 1) * VQI_SCAN_ROWS;
        plan.rows = share < most ? share : most;
        plan.scratch = vqi_nearest_blas_scratch(codebook, most);
    }
    return plan;
}

size_t vq_nearest_workspace(const vq_codebook *codebook, size_t n, int threads)
{
    const search_plan plan = make_plan(codebook, n, threads, 0);
    return (size_t)plan.threads * plan.scratch;
}

const vqi_nearest_kernels *vqi_nearest_select(void)
{
#if defined(__x86_64__)
    const uint32_t flags = vq_cpu_flags();
    if (flags & VQ_CPU_AVX512)
        return &vqi_nearest_avx512;
    if (flags & VQ_CPU_AVX2)
        return &vqi_nearest_avx2;
#endif
    return &vqi_nearest_portable;
}

void vqi_nearest_scan(uint32_t *codes, float *scores, const vq_codebook *codebook,
                      const vqi_nearest_kernels *kernels, const float *x, size_t rows)
{
    float unused[VQI_SCAN_ROWS];
    for (size_t begin = 0; begin < rows; begin += VQI_SCAN_ROWS) {
        const size_t count = rows - begin < VQI_SCAN_ROWS ? rows - begin : VQI_SCAN_ROWS;
        (codebook->metric == VQ_METRIC_EUCLIDEAN ? kernels->scan_distance : kernels->scan_dot)(
            codes + begin, scores ? scores + begin : unused, codebook, x + begin * codebook->d,
            count);
    }
}

/* @return the first row with a NaN or an infinity; rows if there is none. */
static size_t first_nonfinite(const vqi_nearest_kernels *kernels, const float *x, size_t rows,
                              size_t d)
{
    if (kernels->all_finite(x, rows * d))
        return rows;
    for (size_t r = 0; r < rows; r++)
        if (!kernels->all_finite(x + r * d, d))
            return r;
    return rows;
}

static vq_status search(uint32_t *codes, float *scores, const vq_codebook *codebook, const float *x,
                        size_t n, const search_plan *plan, char *workspace)
{
    const vqi_nearest_kernels *kernels = vqi_nearest_select();
    const size_t d = codebook->d, rows = plan->rows, blocks = (n + rows - 1) / rows;
    size_t bad = n;
    const int saved = plan->blas ? vqi_blas_begin() : 0;
#pragma omp parallel num_threads(plan->threads) reduction(min : bad)
    {
        /* For this region's task only: the OpenMP build of OpenBLAS asks for it, and must not start
         * threads of its own where the region has but one. */
        omp_set_num_threads(1);
        char *scratch = workspace ? workspace + (size_t)omp_get_thread_num() * plan->scratch : NULL;
#pragma omp for schedule(dynamic)
        for (size_t b = 0; b < blocks; b++) {
            const size_t begin = b * rows, count = n - begin < rows ? n - begin : rows;
            const float *block = x + begin * d;
            const size_t nonfinite = first_nonfinite(kernels, block, count, d);
            if (nonfinite < count) {
                bad = begin + nonfinite < bad ? begin + nonfinite : bad;
                continue;
            }
            float *block_scores = scores ? scores + begin : NULL;
            if (plan->blas)
                vqi_nearest_blas(codes + begin, block_scores, codebook, kernels, block, count,
                                 scratch);
            else
                vqi_nearest_scan(codes + begin, block_scores, codebook, kernels, block, count);
        }
    }
    if (plan->blas)
        vqi_blas_end(saved);
    if (bad < n)
        return vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", bad);
    return VQ_OK;
}

vq_status vq_nearest(uint32_t *codes, float *scores, const vq_codebook *codebook, const float *x,
                     size_t n, const vq_search_opts *opts)
{
    vq_search_opts own;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_search_opts");
    if (status)
        return status;
    if (own.threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_search_opts.threads is %d (0 = all)", own.threads);
    if (!n)
        return VQ_OK;
    const search_plan plan = make_plan(codebook, n, own.threads, own.exhaustive);
    const size_t need = (size_t)plan.threads * plan.scratch;
    if (own.workspace && own.workspace_size < need)
        return vqi_fail(VQ_E_ARG,
                        "the workspace has %zu bytes, not %zu (see vq_nearest_workspace())",
                        own.workspace_size, need);
    if (own.workspace && (uintptr_t)own.workspace % 64)
        return vqi_fail(VQ_E_ARG, "the workspace is not aligned to 64 bytes");
    void *allocated = NULL;
    if (!own.workspace && need) {
        allocated = vqi_alloc(need, 1);
        if (!allocated)
            return vqi_fail_nomem(need);
    }
    status =
        search(codes, scores, codebook, x, n, &plan, own.workspace ? own.workspace : allocated);
    vq_free(allocated);
    return status;
}
