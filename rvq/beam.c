/* SPDX-License-Identifier: Apache-2.0 */
/* Beam search (M-best search) through the levels of a residual quantizer. Threads take blocks of vectors; a block goes
 * through one level after the other, so that what a level needs stays in the caches. */
#include <omp.h>
#include <string.h>

#include "rvq/beam_internal.h"
#include "vq/cpu.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"

/* A block has about so many bytes of residuals, twice, within these numbers of vectors, and scores of so many bytes at once. */
enum { BLOCK_BYTES = 1 << 22, FEWEST_ROWS = 64, MOST_ROWS = 4096, SCORE_BYTES = 1 << 19 };

typedef struct search {
    const vqi_residual *q;
    const vqi_contract *contract;
    const vqi_beam_tables *tables;
    uint32_t d, levels, beam;
    uint32_t first;      /* level to search: of those before it `kept` has the prefixes */
    vqi_beam_kept *kept; /* or NULL */
    float lambda;
    size_t rows; /* of a block */
    int threads;
} search;

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Lay the parts out from `at` on, which may be NULL. @return the bytes they take. */
static size_t lay_out(vqi_beam_block *b, char *at, const search *s)
{
    const size_t rows = s->rows, beam = s->beam, d = s->d, levels = s->levels;
    size_t size = 0, widest = VQI_GROUP, shortlist = 0;
    for (uint32_t l = 0; l < levels; l++) {
        const size_t k = s->q->codebooks[l]->padded_k,
                     need = vqi_shortlist_scratch(s->q->codebooks[l], VQI_BLOCK, 1);
        widest = k > widest ? k : widest;
        shortlist = need > shortlist ? need : shortlist;
    }
    size_t scored = SCORE_BYTES / sizeof(int16_t) / widest;
    scored = scored > VQI_BLOCK ? VQI_BLOCK : scored < beam ? beam : scored;
    *b = (vqi_beam_block){.d = s->d,
                          .levels = s->levels,
                          .beam = s->beam,
                          .tables = s->tables,
                          .scored_rows = scored,
                          .root_rows = rows < VQI_MOST_ROOTS ? rows : VQI_MOST_ROOTS};
    const size_t roots = b->root_rows, direct = scored * widest, by_tables = roots * VQI_COLUMNS;
#define PART(pointer, count)                                                                       \
    do {                                                                                           \
        (pointer) = at ? (void *)(at + size) : NULL;                                               \
        size += padded((count) * sizeof *(pointer));                                               \
    } while (0)
    PART(b->residuals, rows * beam * d);
    PART(b->rates, rows * beam);
    PART(b->squares, rows * beam);
    PART(b->reach, rows);
    PART(b->codes, rows * beam * levels);
    PART(b->order, rows * beam);
    PART(b->shared, rows * beam);
    PART(b->costs, widest);
    PART(b->penalties, widest);
    PART(b->next_residuals, rows * beam * d);
    PART(b->next_codes, rows * beam * levels);
    PART(b->gathered, scored * d);
    PART(b->scores, direct > by_tables ? direct : by_tables);
    PART(b->sums, beam * VQI_COLUMNS);
    PART(b->hits, beam * VQI_COLUMNS);
    PART(b->steps, beam * levels);
    PART(b->stack, levels * VQI_COLUMNS);
    PART(b->folded, beam * VQI_FOLD);
    PART(b->found, roots);
    PART(b->scales, roots);
    PART(b->roots, roots);
    PART(b->root_block.centred, roots * d + VQI_LANES);
    PART(b->root_block.square, roots);
    PART(b->root_block.error, roots);
    PART(b->root_block.unit, roots);
    b->root_block.packed = at ? at + size : NULL;
    size += padded(roots * ((d + 31) / 32 * 32) * sizeof(int16_t));
    PART(b->zeros, d);
#undef PART
    b->shortlist = at ? at + size : NULL;
    return size + shortlist;
}

static search plan(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
{
    search s = {.q = (const vqi_residual *)q,
                .d = q->dim,
                .levels = opts->levels,
                .beam = opts->beam,
                .lambda = opts->lambda};
    s.contract = vqi_nearest_kernels(s.q->codebooks[0], n).contract;
    s.tables = s.q->tables;
    s.threads = vqi_threads(opts->threads, n);
    const size_t fit = BLOCK_BYTES / sizeof(float) / s.beam / s.d,
                 most = fit < FEWEST_ROWS ? FEWEST_ROWS
                        : fit > MOST_ROWS ? MOST_ROWS
                                          : fit,
                 share = (n + (size_t)s.threads - 1) / (size_t)s.threads;
    s.rows = share > most ? most : share ? share : 1;
    return s;
}

/* The bytes of tables of the call's own, if it has so much to do that they pay: they are made in floating point, some four times
 * slower than what they replace, and written to memory. */
static size_t own_tables(const search *s, size_t n, int threads)
{
    double codes = 0, products = 0, searched = 0;
    for (uint32_t l = 0; l < s->levels; l++) {
        const double k = s->q->codebooks[l]->k;
        products += l >= s->first ? codes * k : 0;
        searched += l >= s->first ? k : 0;
        codes += k;
    }
    if (s->tables || (double)n * (s->beam - 1) * searched < 16 * products)
        return 0;
    return vqi_beam_tables_bytes(s->q, s->first, s->levels, threads);
}

/* Every vector begins with one prefix of no codes, or where it was left. @return false if one is not finite. */
static bool begin(vqi_beam_block *b, const search *s, const float *x, size_t first)
{
    const size_t d = s->d, beam = s->beam;
    const vqi_beam_ops *ops = vqi_beam_ops_now();
    if (!s->contract->all_finite(x, b->rows * d))
        return false;
    b->x = x;
    b->keeps = s->kept != NULL;
    memset(b->zeros, 0, d * sizeof(float));
    if (s->first) {
        for (size_t i = 0; i < b->rows; i++)
            vqi_beam_take_up(b, s->q, s->first, s->kept, first + i, i);
        b->prefixes = s->kept->prefixes;
        return true;
    }
    memset(b->next_residuals, 0, d * sizeof(float)); /* what the first "residual" leaves out */
    for (size_t r = 0; r < b->rows; r++) {
        b->squares[r * beam] = ops->move_on(b->residuals + r * beam * d, x + r * d,
                                            b->next_residuals, s->q->codebooks[0]->centre, d);
        b->rates[r * beam] = b->reach[r] = 0;
        b->order[r * beam] = b->shared[r * beam] = 0;
    }
    b->prefixes = 1;
    return true;
}

/* What the level's searches share. */
static vqi_beam_level open_level(vqi_beam_block *b, const search *s, uint32_t l)
{
    vqi_beam_level level = {.number = l,
                            .codebook = s->q->codebooks[l],
                            .codebooks = s->q->codebooks,
                            .ops = vqi_beam_ops_now()};
    const vq_codebook *codebook = level.codebook;
    level.kernels = vqi_nearest_kernels(codebook, s->rows * s->beam);
    level.score = level.ops->score;
#if defined(__x86_64__)
    const bool vnni = vq_cpu_flags() & VQ_CPU_VNNI;
    if (codebook->coarse[VQI_WORDS].data && (vnni || level.ops == &vqi_beam_avx2))
        level.words = vnni ? &vqi_beam_words_vnni : &vqi_beam_words_madd;
    if (level.words && level.kernels.coarse) {
        level.coarse = vnni ? &vqi_filter_bytes : &vqi_filter_madd;
        level.score = vnni ? vqi_beam_score_bytes : level.words->score;
    }
#endif
    if (!(s->lambda > 0))
        return level;
    for (uint32_t c = 0; c < codebook->k; c++) {
        b->costs[c] = s->lambda * s->q->lengths[l][c];
        if (b->costs[c] / 2 > level.largest_penalty)
            level.largest_penalty = b->costs[c] / 2;
    }
    for (uint32_t p = 0; p < codebook->padded_k; p++)
        b->penalties[p] = b->costs[codebook->order[p]] / 2;
    level.costs = b->costs;
    level.penalties = b->penalties;
    return level;
}

static void search_block(vqi_beam_block *b, const search *s)
{
    for (uint32_t l = s->first; l < s->levels; l++) {
        const vqi_beam_level level = open_level(b, s, l);
        const vq_codebook *next = l + 1 < s->levels ? s->q->codebooks[l + 1] : NULL;
        const uint64_t most = (uint64_t)b->prefixes * level.codebook->k;
        const uint32_t left = next || s->kept ? s->beam : 1,
                       room = most < left ? (uint32_t)most : left;
        vqi_beam_search_level(b, &level, room, next);
        float *residuals = b->residuals;
        uint32_t *codes = b->codes;
        b->residuals = b->next_residuals;
        b->codes = b->next_codes;
        b->next_residuals = residuals;
        b->next_codes = codes;
        b->prefixes = room;
    }
}

/* The bytes of a call's workspace. */
static size_t workspace_of(const search *s, size_t n, int threads)
{
    vqi_beam_block nowhere;
    return lay_out(&nowhere, NULL, s) * (size_t)s->threads + own_tables(s, n, threads);
}

size_t vqi_beam_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
{
    const search s = plan(q, n, opts);
    return workspace_of(&s, n, opts->threads);
}

/* @return the number of prefixes after the last level: the same for all vectors. */
static vq_status search_all(uint32_t *codes, search *s, const float *x, size_t n, int threads,
                            char *workspace, uint32_t *prefixes)
{
    const size_t blocks = (n + s->rows - 1) / s->rows, levels = s->levels;
    vqi_beam_block nowhere;
    const size_t size = lay_out(&nowhere, NULL, s);
    size_t bad = n;
    if (own_tables(s, n, threads))
        s->tables = vqi_beam_tables_fill(workspace + (size_t)s->threads * size, s->q, s->first,
                                         s->levels, threads);
    uint32_t most = 0;
#pragma omp parallel for schedule(dynamic) num_threads(s->threads) reduction(min                   \
                                                                             : bad)                \
    reduction(max                                                                                  \
              : most)
    for (size_t i = 0; i < blocks; i++) {
        const size_t first = i * s->rows;
        vqi_beam_block b;
        lay_out(&b, workspace + (size_t)omp_get_thread_num() * size, s);
        b.rows = n - first < s->rows ? n - first : s->rows;
        if (!begin(&b, s, x + first * s->d, first)) {
            bad = first < bad ? first : bad;
            continue;
        }
        search_block(&b, s);
        for (size_t r = 0; r < b.rows; r++)
            memcpy(codes + (first + r) * levels, b.codes + r * s->beam * levels,
                   levels * sizeof *codes);
        if (s->kept)
            vqi_beam_leave(&b, s->kept, first);
        most = b.prefixes;
    }
    *prefixes = most;
    while (bad < n && s->contract->all_finite(x + bad * s->d, s->d))
        bad++;
    return bad < n ? vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", bad) : VQ_OK;
}

vq_status vqi_beam_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                            const vq_quantize_opts *opts)
{
    search s = plan(q, n, opts);
    uint32_t prefixes;
    return search_all(codes, &s, x, n, opts->threads, opts->workspace, &prefixes);
}

vq_status vqi_beam_extend(uint32_t *codes, vqi_beam_kept *kept, const vq_quantizer *q,
                          const float *x, size_t n, int threads)
{
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = q->levels;
    opts.beam = kept->beam;
    opts.threads = threads;
    search s = plan(q, n, &opts);
    s.first = kept->levels;
    s.kept = kept;
    const size_t size = workspace_of(&s, n, threads);
    char *workspace = vqi_alloc(size, 1);
    if (!workspace)
        return vqi_fail_nomem(size);
    uint32_t prefixes;
    const vq_status status = search_all(codes, &s, x, n, threads, workspace, &prefixes);
    vqi_free(workspace);
    if (!status) {
        kept->levels = q->levels;
        kept->prefixes = prefixes;
    }
    return status;
}
