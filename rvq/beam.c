/* SPDX-License-Identifier: Apache-2.0 */
/* Beam search (M-best search) through the levels of a residual quantizer. Threads take blocks of vectors; a block goes
 * through one level after the other, so that what a level needs stays in the caches. */
#include <omp.h>
#include <string.h>

#include "rvq/beam_internal.h"
#include "vq/cpu.h"
#include "vq/error_internal.h"
#include "vq/parallel_internal.h"

/* A block has about so many bytes of residuals, twice, within these numbers of vectors, and scores of so many bytes at once. */
enum { BLOCK_BYTES = 1 << 22, FEWEST_ROWS = 64, MOST_ROWS = 4096, SCORE_BYTES = 1 << 19 };

typedef struct search {
    const vqi_residual *q;
    const vqi_contract *contract;
    const vqi_beam_tables *tables;
    uint32_t d, levels, beam;
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
    double codes = 0, products = 0;
    for (uint32_t l = 0; l < s->levels; l++) {
        products += codes * s->q->codebooks[l]->k;
        codes += s->q->codebooks[l]->k;
    }
    if (s->tables || (double)n * (s->beam - 1) * codes < 16 * products)
        return 0;
    return vqi_beam_tables_bytes(s->q, s->levels, threads);
}

size_t vqi_beam_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts)
{
    const search s = plan(q, n, opts);
    vqi_beam_block nowhere;
    return lay_out(&nowhere, NULL, &s) * (size_t)s.threads + own_tables(&s, n, opts->threads);
}

/* Every vector begins with one prefix of no codes. @return false if one is not finite. */
static bool begin(vqi_beam_block *b, const search *s, const float *x)
{
    const size_t d = s->d, beam = s->beam;
    const vqi_beam_ops *ops = vqi_beam_ops_now();
    if (!s->contract->all_finite(x, b->rows * d))
        return false;
    b->x = x;
    memset(b->zeros, 0, d * sizeof(float));
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

/* The children of one prefix take its place in the order; of the level's codes, siblings share all but the last. */
static void order_picks(vqi_beam_block *b, size_t r, uint32_t level, const vqi_picks *picks)
{
    uint8_t *order = b->order + r * b->beam, *shared = b->shared + r * b->beam;
    uint8_t first[VQ_MAX_BEAM] = {0}, last[VQ_MAX_BEAM] = {0},
            next[VQ_MAX_BEAM] = {0}; /* children of a rank, + 1 */
    uint8_t new_order[VQ_MAX_BEAM] = {0}, new_shared[VQ_MAX_BEAM] = {0};
    for (uint32_t i = 0; i < picks->count; i++) {
        const uint32_t parent = picks->pick[i].parent;
        next[i] = 0;
        if (first[parent])
            next[last[parent] - 1] = (uint8_t)(i + 1);
        else
            first[parent] = (uint8_t)(i + 1);
        last[parent] = (uint8_t)(i + 1);
    }
    uint32_t at = 0;
    uint8_t common = UINT8_MAX;
    for (uint32_t i = 0; i < b->prefixes; i++) {
        common = shared[i] < common ? shared[i] : common;
        for (uint32_t child = first[order[i]]; child; child = next[child - 1]) {
            new_order[at] = (uint8_t)(child - 1);
            new_shared[at++] = common;
            common = (uint8_t)level;
        }
        if (first[order[i]])
            common = UINT8_MAX;
    }
    memcpy(order, new_order, at);
    memcpy(shared, new_shared, at);
}

void vqi_beam_move_on(vqi_beam_block *b, size_t r, const vqi_beam_level *level,
                      const vqi_picks *picks, const vq_codebook *next)
{
    const size_t d = b->d, levels = b->levels, at = r * b->beam;
    const uint32_t l = level->number;
    const float *residuals = b->residuals + at * d;
    const uint32_t *codes = b->codes + at * levels;
    for (uint32_t i = 0; i < picks->count; i++) {
        const vqi_pick *pick = &picks->pick[i];
        uint32_t *to = b->next_codes + (at + i) * levels;
        memcpy(to, codes + pick->parent * levels, l * sizeof *to);
        to[l] = pick->code;
        b->rates[at + i] = pick->rate;
        if (next)
            b->squares[at + i] =
                level->ops->move_on(b->next_residuals + (at + i) * d, residuals + pick->parent * d,
                                    level->codebook->codewords + pick->code * d, next->centre, d);
    }
    if (next)
        order_picks(b, r, l, picks);
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
    for (uint32_t l = 0; l < s->levels; l++) {
        const vqi_beam_level level = open_level(b, s, l);
        const vq_codebook *next = l + 1 < s->levels ? s->q->codebooks[l + 1] : NULL;
        const uint64_t most = (uint64_t)b->prefixes * level.codebook->k;
        const uint32_t left = next ? s->beam : 1, room = most < left ? (uint32_t)most : left;
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

vq_status vqi_beam_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                            const vq_quantize_opts *opts)
{
    search s = plan(q, n, opts);
    const size_t blocks = (n + s.rows - 1) / s.rows, levels = s.levels;
    vqi_beam_block nowhere;
    const size_t size = lay_out(&nowhere, NULL, &s);
    size_t bad = n;
    if (own_tables(&s, n, opts->threads))
        s.tables = vqi_beam_tables_fill((char *)opts->workspace + (size_t)s.threads * size, s.q,
                                        levels, opts->threads);
#pragma omp parallel for schedule(dynamic) num_threads(s.threads) reduction(min : bad)
    for (size_t i = 0; i < blocks; i++) {
        const size_t first = i * s.rows;
        vqi_beam_block b;
        lay_out(&b, (char *)opts->workspace + (size_t)omp_get_thread_num() * size, &s);
        b.rows = n - first < s.rows ? n - first : s.rows;
        if (!begin(&b, &s, x + first * s.d)) {
            bad = first < bad ? first : bad;
            continue;
        }
        search_block(&b, &s);
        for (size_t r = 0; r < b.rows; r++)
            memcpy(codes + (first + r) * levels, b.codes + r * s.beam * levels,
                   levels * sizeof *codes);
    }
    while (bad < n && s.contract->all_finite(x + bad * s.d, s.d))
        bad++;
    return bad < n ? vqi_fail(VQ_E_NONFINITE, "row %zu holds a NaN or an infinity", bad) : VQ_OK;
}
