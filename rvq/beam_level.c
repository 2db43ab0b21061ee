/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scores of one level's codes for the prefixes of a block of vectors.
 *
 * Directly: every residual is filtered like a vector of its own. By tables: only the best prefix of a vector is, and the
 * scores of the others follow from inner products of codewords, since with v_j the centred codeword of code j of prefix a
 * and w_j that of prefix b, r'_b.c' = r'_a.c' + sum (v_j - w_j).c' in exact arithmetic. Codes that all prefixes of a vector
 * share drop out, and what several prefixes share is added once: a walk over the tree of prefixes.
 *
 * What that is off: the filter's own bound (nearest_shortlist.c), half a unit of the score and of each row of a table with
 * the table's rounding, and what float32 residuals differ from the exact ones: every subtraction rounds its result, by at
 * most u |r|, in both prefixes, and so do the centring of the two residuals and of the codewords.
 */
#include <math.h>
#include <string.h>

#include "rvq/beam_internal.h"

/* With fewer codewords the contract decides at once. */
enum { FILTER_FROM = 16 };

/* Scores are at most so many units, so that sums stay in 16 bits with their rounding. */
#define MOST_UNITS 32000

static vqi_prefixes prefixes_of(const vqi_beam_block *b, size_t r)
{
    const size_t at = r * b->beam;
    return (vqi_prefixes){b->prefixes, b->residuals + at * b->d, b->rates + at, b->squares + at};
}

static void scan(vqi_beam_block *b, const vqi_beam_level *level, size_t r, vqi_picks *picks,
                 const vq_codebook *next)
{
    const vqi_prefixes prefixes = prefixes_of(b, r);
    vqi_beam_scan(picks, level, &prefixes);
    vqi_beam_move_on(b, r, level, picks, next);
}

/* Not below the size of any score of row r of the block; infinity if the filter cannot take it. */
static double largest_score(const vqi_beam_level *level, const vqi_block *block, size_t r)
{
    const double norm = sqrt((double)block->square[r]) * (1 + 0x1p-10),
                 largest = level->codebook->largest_norm * (1 + 0x1p-20);
    if (!(norm + largest <= VQI_LARGEST_NORM))
        return INFINITY;
    return ((norm + largest / 2) * largest + level->largest_penalty) * (1 + 0x1p-10) + 0x1p-100;
}

/* Of each group, in units: what the filter's scores of the rows from r up to `end` may be off, and `more`. */
static void find_errors(vqi_beam_block *b, const vqi_beam_level *level, const vqi_bound *bound,
                        size_t r, size_t end, double more, double unit)
{
    const size_t groups = level->codebook->padded_k / VQI_GROUP;
    const float per_unit = (float)((1 + 0x1p-10) / unit), rest = (float)(more / unit) + 2;
    for (size_t g = 0; g < groups; g++)
        b->errors[g] = 0;
    for (; r < end; r++) {
        const float error = bound->error[r] * per_unit, read = bound->read[r] * per_unit,
                    constant = bound->rest[r] * per_unit + rest;
        for (size_t g = 0; g < groups; g++) {
            const float units = error * bound->norm[g] + read * bound->code_error[g] + constant;
            const int whole = units < 65535 ? (int)units : 65536;
            b->errors[g] = whole > b->errors[g] ? whole : b->errors[g];
        }
    }
}

/* Vectors `first` and on, `count` of them, every prefix by itself. */
static void search_directly(vqi_beam_block *b, const vqi_beam_level *level, size_t first,
                            size_t count, vqi_picks *picks, const vq_codebook *next)
{
    const size_t d = b->d, n = b->prefixes, stride = level->codebook->padded_k;
    float per_unit[VQI_BLOCK];
    double unit[VQI_BLOCK];
    for (size_t i = 0; i < count; i++)
        memcpy(b->gathered + i * n * d, b->residuals + (first + i) * b->beam * d,
               n * d * sizeof(float));
    vqi_shortlist *list = vqi_shortlist_begin(b->shortlist, level->codebook, &level->kernels,
                                              level->coarse, b->gathered, count * n, 1);
    for (size_t i = 0; i < count; i++) {
        double most = list ? 0 : INFINITY; /* a residual that overflowed */
        for (size_t p = 0; p < n && list; p++)
            most = fmax(most, largest_score(level, vqi_shortlist_block(list), i * n + p));
        const float inverse = (float)(MOST_UNITS / most);
        unit[i] = inverse > 0 ? 1 / (double)inverse : 0;
        for (size_t p = 0; p < n; p++)
            per_unit[i * n + p] = inverse;
    }
    if (list)
        level->score(b->scores, vqi_shortlist_block(list), level->codebook, level->codebook->start,
                     level->penalties, per_unit);
    for (size_t i = 0; i < count; i++) {
        const vqi_prefixes prefixes = prefixes_of(b, first + i);
        const vqi_scored scored = {
            b->scores + i * n * stride, b->folded, b->errors, b->least, b->places, unit[i]};
        if (!(unit[i] > 0)) {
            scan(b, level, first + i, picks, next);
            continue;
        }
        for (size_t p = 0; p < n; p++)
            level->ops->fold(b->folded + p * VQI_FOLD, scored.scores + p * stride, stride);
        find_errors(b, level, vqi_shortlist_bound(list), i * n, (i + 1) * n, 0.6 * unit[i],
                    unit[i]);
        vqi_beam_select(picks, level, &prefixes, &scored);
        vqi_beam_move_on(b, first + i, level, picks, next);
    }
}

/* The sums of all prefixes of vector r from the scores of its best. @return how many rows of tables one took, at most. */
static uint32_t walk_tree(vqi_beam_block *b, const vqi_beam_level *level, size_t r,
                          const int16_t *scores)
{
    const size_t stride = level->codebook->padded_k, at = r * b->beam;
    const uint32_t l = level->number;
    const uint8_t *order = b->order + at, *shared = b->shared + at;
    const uint32_t *codes = b->codes + at * b->levels;
    int16_t *const *tables = b->tables->rows[l];
    uint32_t common = l;
    for (uint32_t i = 1; i < b->prefixes; i++)
        common = shared[i] < common ? shared[i] : common;
    /* stack[j]: the scores that the first j codes of the prefix at hand give. */
    int16_t *root = b->stack + common * stride;
    for (uint32_t j = common; j < l; j++)
        level->ops->add(root, j > common ? root : scores, tables[j] + codes[j] * stride, stride);
    for (uint32_t i = 0; i < b->prefixes; i++) {
        const uint32_t rank = order[i];
        const uint32_t *path = codes + (size_t)rank * b->levels;
        const uint32_t *after =
            i + 1 < b->prefixes ? codes + (size_t)order[i + 1] * b->levels : path;
        const uint32_t turn = i + 1 < b->prefixes ? shared[i + 1] : l - 1;
        int16_t *folded = b->folded + (size_t)rank * VQI_FOLD;
        for (uint32_t j = i ? shared[i] : common; j < l; j++)
            level->ops->subtract(j + 1 < l ? b->stack + (j + 1) * stride : b->sums + rank * stride,
                                 folded, b->stack + j * stride, tables[j] + path[j] * stride,
                                 j + 1 < l ? tables[j + 1] + path[j + 1] * stride
                                           : tables[turn] + after[turn] * stride,
                                 stride);
    }
    return 2 * (l - common);
}

/* Of all prefixes but the best: what float32 residuals are off, as the top of the file says. */
static double rounding(const vqi_beam_block *b, const vqi_beam_level *level, size_t r)
{
    double square = 0;
    for (uint32_t p = 0; p < b->prefixes; p++)
        square = fmax(square, b->squares[r * b->beam + p]);
    const double steps = 2.0 * level->number * b->reach[r] + 2 * sqrt(square) +
                         b->tables->level[level->number].norms;
    return steps * level->codebook->largest_norm * 0x1.01p-24;
}

static void search_by_tables(vqi_beam_block *b, const vqi_beam_level *level, size_t first,
                             size_t count, vqi_picks *picks, const vq_codebook *next)
{
    const size_t d = b->d, stride = level->codebook->padded_k;
    const uint32_t l = level->number;
    const double unit = b->tables->level[l].unit,
                 room = (MOST_UNITS + 500) * unit - b->tables->level[l].sum;
    float per_unit[VQI_BLOCK];
    uint8_t left[VQI_BLOCK];
    size_t left_count = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(b->gathered + i * d, b->residuals + (first + i) * b->beam * d, d * sizeof(float));
        per_unit[i] = (float)(1 / unit);
    }
    vqi_shortlist *list = vqi_shortlist_begin(b->shortlist, level->codebook, &level->kernels,
                                              level->coarse, b->gathered, count, 1);
    if (list)
        level->score(b->scores, vqi_shortlist_block(list), level->codebook, level->codebook->start,
                     level->penalties, per_unit);
    for (size_t i = 0; i < count; i++) {
        const size_t r = first + i;
        if (!list || !(largest_score(level, vqi_shortlist_block(list), i) <= room)) {
            left[left_count++] = (uint8_t)i;
            continue;
        }
        const vqi_prefixes prefixes = prefixes_of(b, r);
        const uint32_t added = walk_tree(b, level, r, b->scores + i * stride);
        const vqi_scored scored = {b->sums, b->folded, b->errors, b->least, b->places, unit};
        find_errors(b, level, vqi_shortlist_bound(list), i, i + 1,
                    0.6 * unit + added * b->tables->level[l].row_error + rounding(b, level, r),
                    unit);
        vqi_beam_select(picks, level, &prefixes, &scored);
        vqi_beam_move_on(b, r, level, picks, next);
    }
    for (size_t i = 0; i < left_count; i++)
        search_directly(b, level, first + left[i], 1, picks, next);
}

static bool can_filter(const vqi_beam_level *level)
{
    const vq_codebook *codebook = level->codebook;
    return codebook->k >= FILTER_FROM && codebook->largest_norm <= VQI_LARGEST_NORM &&
           codebook->d <= VQI_MOST_FILTERED && level->largest_penalty <= VQI_LARGEST_NORM;
}

/* The largest residuals so far, of level 1 and on. */
static void note_reach(vqi_beam_block *b, const vqi_beam_level *level)
{
    double centre = 0;
    for (uint32_t i = 0; i < b->d; i++)
        centre += (double)level->codebook->centre[i] * level->codebook->centre[i];
    for (size_t r = 0; r < b->rows; r++) {
        float square = 0;
        for (uint32_t p = 0; p < b->prefixes; p++)
            square = fmaxf(square, b->squares[r * b->beam + p]);
        b->reach[r] =
            fmaxf(b->reach[r], (float)((sqrt((double)square) + sqrt(centre)) * (1 + 0x1p-10)));
    }
}

void vqi_beam_search_level(vqi_beam_block *b, const vqi_beam_level *level, uint32_t room,
                           const vq_codebook *next)
{
    vqi_picks picks = {.room = room};
    if (level->number && b->tables)
        note_reach(b, level);
    if (!can_filter(level)) {
        for (size_t r = 0; r < b->rows; r++)
            scan(b, level, r, &picks, next);
        return;
    }
    const bool by_tables = b->tables && b->prefixes > 1;
    const size_t rows = by_tables ? b->scored_rows : b->scored_rows / b->prefixes;
    for (size_t first = 0; first < b->rows; first += rows) {
        const size_t count = b->rows - first < rows ? b->rows - first : rows;
        (by_tables ? search_by_tables : search_directly)(b, level, first, count, &picks, next);
    }
}
