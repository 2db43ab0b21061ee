/* SPDX-License-Identifier: Apache-2.0 */
/* vq_nearest() and vq_nearest_k(): which kernels, how many threads, which rows and codewords; the arithmetic is in the
 * kernels. */
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "vq/cpu.h"
#include "vq/error_internal.h"
#include "vq/mapped_internal.h"
#include "vq/memory_internal.h"
#include "vq/nearest_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/short_internal.h"

/* Below about this many multiplications a second thread costs more than it brings. */
#define WORK_PER_THREAD 2e6

enum {
    ROW_STEP = 16,        /* blocks have a multiple of this, which suits every filter's tile */
    FEW_ROWS = 12,        /* for each thread: with fewer, threads share out the codewords instead */
    GROUPS_PER_THREAD = 8 /* at least, if they do */
};

/* With less to multiply for a row, packing it and telling its codes apart from so little costs more than the faster
 * arithmetic saves. */
enum { COARSE_FROM_D = 8, COARSE_FROM_WORK = 8192, TILES_FROM_D = 32, TILES_FROM_ROWS = 8 };

/* A filter that leaves more than one lane in this many codewords costs more than it saves. */
enum { CODEWORDS_PER_LANE = 64 };

/* Of a mapped codebook, where a lane is four basis rows to make: before the finer filter, and before groups of them all. */
enum { MAPPED_PER_LANE = 4096, MADE_PER_LANE = 512 };

/* The search of short rows: not for fewer, nor once it leaves more than one row in so many open. */
enum { SHORT_FROM_ROWS = 24, OPEN_SHARE = 4 };

typedef struct search {
    uint32_t *codes;
    float *scores;
    const vq_codebook *codebook;
    const float *x;
    size_t n;
    uint32_t wanted;
    vqi_kernels kernels;
    int filtered; /* 0 = the contract on every codeword */
    int threads;
    int slices;  /* of the codewords, one for a thread; 1 = threads share out the rows */
    size_t rows; /* of a block, the piece that a thread takes */
    size_t
        scratch; /* bytes per thread; grows with n and threads only, so that a workspace for n vectors
                       serves fewer */
} search;

vqi_kernels vqi_nearest_kernels(const vq_codebook *codebook, size_t n)
{
    vqi_kernels kernels = {&vqi_contract_portable, &vqi_float_portable, NULL, NULL, NULL};
#if defined(__x86_64__)
    const uint32_t flags = vq_cpu_flags();
    if (flags & VQ_CPU_AVX2) {
        kernels.contract = &vqi_contract_avx2;
        kernels.ops = flags & VQ_CPU_AVX512 ? &vqi_float_avx512 : &vqi_float_avx2;
    }
    if (codebook->few)
        kernels.few = flags & VQ_CPU_VNNI   ? vqi_short_vnni
                      : flags & VQ_CPU_AVX2 ? vqi_short_avx2
                                            : NULL;
    const uint32_t d = codebook->d;
    if (d < COARSE_FROM_D || (double)codebook->k * d <= COARSE_FROM_WORK)
        return kernels;
    if (flags & VQ_CPU_VNNI && codebook->coarse[VQI_WORDS].data) {
        kernels.coarse = &vqi_filter_bytes;
        kernels.finer = &vqi_filter_words;
    } else if (kernels.ops == &vqi_float_avx2 && codebook->coarse[VQI_WORDS].data) {
        kernels.coarse = &vqi_filter_madd;
    }
    /* Tiles are 32 elements deep and 16 rows high: short rows and few rows waste most of them. */
    if (flags & VQ_CPU_AMX && codebook->coarse[VQI_HALVES].data &&
        ((d >= TILES_FROM_D && n >= TILES_FROM_ROWS) || !kernels.coarse))
        kernels.coarse = &vqi_filter_amx;
    if (codebook->mapped && codebook->mapped->finer && kernels.finer) {
        kernels.coarse = kernels.finer;
        kernels.finer = NULL;
    }
#else
    (void)codebook;
    (void)n;
#endif
    return kernels;
}

static void plan(search *s, const vq_codebook *codebook, size_t n, uint32_t wanted, int threads,
                 int exhaustive)
{
    s->codebook = codebook;
    s->n = n;
    s->wanted = wanted;
    s->kernels = vqi_nearest_kernels(codebook, n);
    s->filtered = codebook->mapped || (!exhaustive && codebook->largest_norm <= VQI_LARGEST_NORM &&
                                       codebook->d <= VQI_MOST_FILTERED);
    const double work = (double)n * codebook->k * codebook->d / WORK_PER_THREAD;
    const size_t groups = codebook->padded_k / VQI_GROUP;
    s->threads = vqi_threads(threads, work < 1e6 ? (size_t)work + 1 : (size_t)1e6);
    s->slices = s->filtered && n < (size_t)s->threads * FEW_ROWS &&
                        groups >= (size_t)s->threads * GROUPS_PER_THREAD
                    ? s->threads
                    : 1;
    const size_t share = (n / (size_t)s->threads / ROW_STEP + 1) * ROW_STEP;
    s->rows = s->slices == 1 && share < VQI_BLOCK ? share : VQI_BLOCK;
    s->scratch = s->filtered
                     ? vqi_shortlist_scratch(codebook, n < VQI_BLOCK ? n : VQI_BLOCK, wanted)
                     : 64; /* nothing to put there, but a workspace is a pointer to something */
}

size_t vq_nearest_k_workspace(const vq_codebook *codebook, size_t n, uint32_t count, int threads)
{
    search s = {0};
    plan(&s, codebook, n, count < VQ_NEAREST_K_MAX ? count : VQ_NEAREST_K_MAX, threads, 0);
    return (size_t)s.threads * s.scratch;
}

size_t vq_nearest_workspace(const vq_codebook *codebook, size_t n, int threads)
{
    return vq_nearest_k_workspace(codebook, n, 1, threads);
}

/* The place of a score among the best so far: after those that are better, or equal and earlier. */
static uint32_t place(const float *best, uint32_t count, float score)
{
    while (count > 0 && score < best[count - 1])
        count--;
    return count;
}

void vqi_nearest_note(uint32_t *codes, float *best, uint32_t *found, uint32_t wanted, uint32_t code,
                      float score)
{
    const float key = score < INFINITY ? score : INFINITY; /* a NaN too */
    if (*found == wanted && !(key < best[wanted - 1]))
        return;
    const uint32_t at = place(best, *found, key);
    *found += *found < wanted;
    for (uint32_t j = *found - 1; j > at; j--) {
        best[j] = best[j - 1];
        codes[j] = codes[j - 1];
    }
    best[at] = key;
    codes[at] = code;
}

void vqi_nearest_scan(uint32_t *codes, float *scores, const vq_codebook *codebook,
                      const vqi_contract *contract, const float *x, uint32_t wanted)
{
    enum { BATCH = 256 };
    const size_t d = codebook->d;
    const int euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN;
    float batch[BATCH], best[VQ_NEAREST_K_MAX]; /* smaller is better; infinity = overflowed */
    uint32_t found = 0;
    for (uint32_t first = 0; first < codebook->k; first += BATCH) {
        const uint32_t count = codebook->k - first < BATCH ? codebook->k - first : BATCH;
        (euclidean ? contract->distances
                   : contract->dots)(batch, x, codebook->codewords + first * d, count, d);
        for (uint32_t i = 0; i < count; i++) {
            const float score = euclidean ? batch[i] : -batch[i];
            if (found < wanted || score < best[wanted - 1]) /* the call saved for most */
                vqi_nearest_note(codes, best, &found, wanted, first + i, score);
        }
    }
    for (uint32_t i = 0; scores && i < wanted; i++)
        (euclidean ? contract->distances
                   : contract->dots)(scores + i, x, codebook->codewords + codes[i] * d, 1, d);
}

static float *scores_of(const search *s, size_t row)
{
    return s->scores ? s->scores + row * s->wanted : NULL;
}

/* One block, all codewords, by the contract alone. @return 0 if a row is not finite. */
static int scan_block(const search *s, size_t begin, size_t count)
{
    const size_t d = s->codebook->d;
    const float *x = s->x + begin * d;
    if (!s->kernels.contract->all_finite(x, count * d))
        return 0;
    for (size_t r = 0; r < count; r++)
        vqi_nearest_scan(s->codes + (begin + r) * s->wanted, scores_of(s, begin + r), s->codebook,
                         s->kernels.contract, x + r * d, s->wanted);
    return 1;
}

/* What of a thread's means has proven to be worth its trouble so far. */
typedef struct means {
    const vqi_filter *coarse;
    int few; /* 1 = the search of short rows */
} means;

/* Some rows, all codewords, by a shortlist. @return 0 if a row is not finite. */
static int shortlist_rows(const search *s, means *use, uint32_t *codes, float *scores,
                          const float *x, size_t count, void *scratch)
{
    const vq_codebook *codebook = s->codebook;
    vqi_shortlist *list =
        vqi_shortlist_begin(scratch, codebook, &s->kernels, use->coarse, x, count, s->wanted);
    if (!list)
        return 0;
    vqi_shortlist_search(list, 0, codebook->padded_k / VQI_GROUP);
    const size_t lanes = vqi_shortlist_finish(list, codes, scores);
    const uint32_t per_lane = !codebook->mapped ? CODEWORDS_PER_LANE
                              : s->kernels.finer && use->coarse != s->kernels.finer
                                  ? MAPPED_PER_LANE
                                  : MADE_PER_LANE;
    if (lanes > count * (s->wanted + codebook->k / per_lane))
        use->coarse = use->coarse == s->kernels.finer ? NULL : s->kernels.finer;
    return 1;
}

/* The contract's scores of the codes of up to VQI_BLOCK rows. */
static void score_codes(float *scores, const search *s, const float *x, const uint32_t *codes,
                        size_t count)
{
    const size_t d = s->codebook->d;
    const float *rows[VQI_BLOCK], *codewords[VQI_BLOCK];
    for (size_t r = 0; r < count; r++) {
        rows[r] = x + r * d;
        codewords[r] = s->codebook->codewords + codes[r] * d;
    }
    if (s->codebook->metric == VQ_METRIC_EUCLIDEAN)
        s->kernels.contract->pair_distances(scores, rows, codewords, count, d);
    for (size_t r = 0; s->codebook->metric != VQ_METRIC_EUCLIDEAN && r < count; r++)
        s->kernels.contract->dots(scores + r, rows[r], codewords[r], 1, d);
}

/* One block of short rows: those that their own search leaves open go to a shortlist. */
static int search_short(const search *s, means *use, size_t begin, size_t count, void *scratch)
{
    const size_t d = s->codebook->d;
    const float *x = s->x + begin * d;
    uint32_t *codes = s->codes + begin, open[VQI_BLOCK], open_codes[VQI_BLOCK];
    float rows[VQI_BLOCK * VQI_SHORT_DIM];
    const size_t left = s->kernels.few(codes, open, s->codebook, s->kernels.contract, x, count);
    use->few = left <= count / OPEN_SHARE;
    for (size_t i = 0; i < left; i++)
        memcpy(rows + i * d, x + open[i] * d, d * sizeof *x);
    if (left && !shortlist_rows(s, use, open_codes, NULL, rows, left, scratch))
        return 0;
    for (size_t i = 0; i < left; i++)
        codes[open[i]] = open_codes[i];
    if (s->scores)
        score_codes(s->scores + begin, s, x, codes, count);
    return 1;
}

/* One block, all codewords. @return 0 if a row is not finite. */
static int search_block(const search *s, means *use, size_t begin, size_t count, void *scratch)
{
    if (use->few && count >= SHORT_FROM_ROWS)
        return search_short(s, use, begin, count, scratch);
    return shortlist_rows(s, use, s->codes + begin * s->wanted, scores_of(s, begin),
                          s->x + begin * vqi_row_dim(s->codebook), count, scratch);
}

/* Threads share out the rows. @return the first row of the first block that is not finite, or n. */
static size_t search_rows(const search *s, char *workspace)
{
    const size_t rows = s->rows, blocks = (s->n + rows - 1) / rows;
    size_t bad = s->n;
#pragma omp parallel num_threads(s->threads) reduction(min : bad)
    {
        char *scratch = workspace + (size_t)omp_get_thread_num() * s->scratch;
        means use = {s->kernels.coarse, s->kernels.few && s->wanted == 1};
#pragma omp for schedule(dynamic)
        for (size_t b = 0; b < blocks; b++) {
            const size_t begin = b * rows, count = s->n - begin < rows ? s->n - begin : rows;
            if (!(s->filtered ? search_block(s, &use, begin, count, scratch)
                              : scan_block(s, begin, count)))
                bad = begin < bad ? begin : bad;
        }
    }
    return bad;
}

/* Threads share out the codewords, of few rows. @return as search_rows(). */
static size_t search_slices(const search *s, char *workspace)
{
    const size_t d = vqi_row_dim(s->codebook), groups = s->codebook->padded_k / VQI_GROUP;
    const size_t slices = (size_t)s->slices;
    for (size_t begin = 0; begin < s->n; begin += s->rows) {
        const size_t count = s->n - begin < s->rows ? s->n - begin : s->rows;
        int bad = 0;
#pragma omp parallel for num_threads(s->threads) schedule(static, 1) reduction(| : bad)
        for (size_t t = 0; t < slices; t++) {
            vqi_shortlist *list =
                vqi_shortlist_begin(workspace + t * s->scratch, s->codebook, &s->kernels,
                                    s->kernels.coarse, s->x + begin * d, count, s->wanted);
            if (list)
                vqi_shortlist_search(list, groups * t / slices, groups * (t + 1) / slices);
            else
                bad = 1;
        }
        if (bad)
            return begin;
        vqi_shortlist *all = (vqi_shortlist *)(void *)workspace;
        for (size_t t = 1; t < slices; t++)
            vqi_shortlist_merge(all, (vqi_shortlist *)(void *)(workspace + t * s->scratch));
        vqi_shortlist_finish(all, s->codes + begin * s->wanted, scores_of(s, begin));
    }
    return s->n;
}

vq_status vq_nearest_k(uint32_t *codes, float *scores, const vq_codebook *codebook, const float *x,
                       size_t n, uint32_t count, const vq_search_opts *opts)
{
    vq_search_opts own;
    const vq_status status = vqi_options(&own, sizeof own, opts, "vq_search_opts");
    if (status)
        return status;
    if (own.threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_search_opts.threads is %d (0 = all)", own.threads);
    if (!count || count > VQ_NEAREST_K_MAX || count > codebook->k)
        return vqi_fail(VQ_E_ARG, "%u nearest codes of %u (1 to %d, and not more than there are)",
                        count, codebook->k, VQ_NEAREST_K_MAX);
    if (!n)
        return VQ_OK;
    search s = {.x = x};
    s.codes = codes;
    s.scores = scores;
    plan(&s, codebook, n, count, own.threads, own.exhaustive);
    const size_t need = (size_t)s.threads * s.scratch;
    if (own.workspace && own.workspace_size < need)
        return vqi_fail(VQ_E_ARG,
                        "the workspace has %zu bytes, not %zu (see vq_nearest_workspace())",
                        own.workspace_size, need);
    if (own.workspace && (uintptr_t)own.workspace % 64)
        return vqi_fail(VQ_E_ARG, "the workspace is not aligned to 64 bytes");
    void *allocated = own.workspace ? NULL : vqi_alloc(need, 1);
    if (!own.workspace && !allocated)
        return vqi_fail_nomem(need);
    char *workspace = own.workspace ? own.workspace : allocated;
    size_t bad = s.slices > 1 ? search_slices(&s, workspace) : search_rows(&s, workspace);
    vq_free(allocated);
    const size_t d = vqi_row_dim(codebook);
    while (bad < n && s.kernels.contract->all_finite(x + bad * d, d))
        bad++;
    if (bad < n)
        return vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", bad);
    return VQ_OK;
}

vq_status vq_nearest(uint32_t *codes, float *scores, const vq_codebook *codebook, const float *x,
                     size_t n, const vq_search_opts *opts)
{
    return vq_nearest_k(codes, scores, codebook, x, n, 1, opts);
}
