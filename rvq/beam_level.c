/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scores of one level's codes for the prefixes of a block of vectors: of each prefix by itself (beam_direct.c), or by tables.
 *
 * By tables, only the root of a vector's prefixes is filtered, the residual that their common first codes leave, and their scores follow from inner products of codewords, since with w_j the
 * centred codeword of code j of a prefix r'.c' = root'.c' - sum w_j.c' in exact arithmetic; from root' the centres of their
 * levels are taken once for all. What several prefixes share is
 * subtracted once: a walk over the tree of prefixes. It is done for some columns of all vectors before the next, so that these
 * columns of the tables stay in the cache.
 *
 * What that is off: the filter's own bound (nearest_shortlist.c), half a unit of the score and of each row of a table with
 * the table's rounding, and what float32 residuals differ from the exact ones: every subtraction rounds its result, by at
 * most u |r|, and so do the centring of the two residuals and of the codewords.
 *
 * Scores are saturated. At the lower end that makes them too large, which is harmless: so may they be. At the upper end none is:
 * r'.c' - |c'|^2 / 2 is at most |r'|^2 / 2, for the root as for what any prefix had left, and the unit is chosen by that.
 */
#include <math.h>
#include <string.h>

#include "rvq/beam_internal.h"

/* With fewer codewords the contract decides at once. */
enum { FILTER_FROM = 16 };

void vqi_beam_take(vqi_beam_block *b, const vqi_beam_level *level, size_t r, vqi_picks *picks,
                   const vqi_scale *scale, vqi_found *found, const vq_codebook *next)
{
    const vqi_prefixes prefixes = vqi_beam_prefixes(b, r);
    if (!found || !vqi_beam_select(picks, level, &prefixes, scale, found))
        vqi_beam_scan(picks, level, &prefixes);
    vqi_beam_move_on(b, r, level, picks, next);
}

/* The steps to b->sums of all prefixes of vector r, `width` columns from `first` on, from the scores of their root. */
static size_t plan_walk(vqi_beam_block *b, const vqi_beam_level *level, size_t r,
                        const vqi_root *root, const int16_t *scores, size_t first, size_t width)
{
    const size_t at = r * b->beam;
    const uint32_t l = level->number, common = root->common;
    const uint8_t *order = b->order + at, *shared = b->shared + at;
    const uint32_t *codes = b->codes + at * b->levels;
    int16_t *const *tables = b->tables->rows[l];
    vqi_beam_step *step = b->steps;
    for (uint32_t i = 0; i < b->prefixes; i++) {
        const uint32_t rank = order[i];
        const uint32_t *path = codes + (size_t)rank * b->levels;
        /* stack[j]: the scores that the first j codes of the prefix at hand leave. */
        for (uint32_t j = i ? shared[i] : common; j < l; j++) {
            const bool last = j + 1 == l;
            *step++ = (vqi_beam_step){
                .from = j > common ? b->stack + j * VQI_COLUMNS : scores,
                .row = tables[j] + first * level->codebooks[j]->k + path[j] * width,
                .to = last ? b->sums + rank * VQI_COLUMNS : b->stack + (j + 1) * VQI_COLUMNS,
                .rank = last ? (int)rank : -1};
        }
    }
    return (size_t)(step - b->steps);
}

/* What float32 residuals are off, as the top of the file says. `root` is what the root's centring is off, over u. */
static double rounding(const vqi_beam_block *b, const vqi_beam_level *level, size_t r, double root)
{
    double square = 0;
    for (uint32_t p = 0; p < b->prefixes; p++)
        square = fmax(square, b->squares[r * b->beam + p]);
    const double steps = level->number * (double)b->reach[r] + 2 * sqrt(square) + root +
                         b->tables->level[level->number].norms;
    return steps * level->codebook->largest_norm * 0x1.01p-24;
}

/* The root of vector r, row i of b->root_block: the subtractions that its residuals went through too. */
static void find_root(vqi_beam_block *b, const vqi_beam_level *level, size_t r, size_t i)
{
    const size_t d = b->d;
    const uint8_t *shared = b->shared + r * b->beam;
    const uint32_t *codes = b->codes + r * b->beam * b->levels;
    uint32_t common = level->number;
    for (uint32_t p = 1; p < b->prefixes; p++)
        common = shared[p] < common ? shared[p] : common;
    b->roots[i].common = common;
    const float *from = b->x + r * d;
    float *centred = b->root_block.centred + i * d;
    for (uint32_t j = 0; j < common; j++) {
        level->ops->move_on(centred, from, level->codebooks[j]->codewords + codes[j] * d, b->zeros,
                            d);
        from = centred;
    }
    for (uint32_t j = common; j <= level->number; j++) {
        b->root_block.square[i] =
            level->ops->move_on(centred, from, level->codebooks[j]->centre, b->zeros, d);
        from = centred;
    }
}

/* The unit of vector r and what its scores are off, of the root at row i of b->root_block. @return false if it cannot go by
 * tables, or they would say little: the unit is that of the loudest codewords. */
static bool set_scale(vqi_beam_block *b, const vqi_beam_level *level, size_t r, size_t i,
                      uint32_t room)
{
    const uint32_t common = b->roots[i].common, rows = level->number - common;
    const double unit = b->tables->level[level->number].unit,
                 norm = sqrt((double)b->root_block.square[i]) * (1 + 0x1p-10),
                 largest = level->codebook->largest_norm * (1 + 0x1p-20),
                 centres = b->tables->level[level->number].centres -
                           (common ? b->tables->level[common - 1].centres : 0),
                 farthest = fmax(norm, b->reach[r] + centres),
                 most = (farthest * farthest / 2 + 0x1p-100) * (1 + 0x1p-8);
    vqi_scale *scale = &b->scales[i];
    int shift = 0;
    if (!(farthest + largest <= VQI_LARGEST_NORM && most <= VQI_MOST_UNITS * unit * 0x1p10))
        return false;
    scale->unit = unit;
    for (; most > VQI_MOST_UNITS * scale->unit; shift++)
        scale->unit *= 2;
    const double error = vqi_beam_fine_error(level, &b->root_block, i, largest, level->words) +
                         rows * b->tables->level[level->number].row_error +
                         rounding(b, level, r, (rows + 1) * (norm + centres)) + 0.6 * scale->unit;
    const vqi_prefixes prefixes = vqi_beam_prefixes(b, r);
    const vqi_within within = vqi_beam_within(level, &prefixes, room);
    if (!(error < VQI_MOST_ERROR * fmin(scale->unit, within.most / VQI_MOST_UNITS)))
        return false;
    b->roots[i].shift = shift;
    scale->error = (int)(error / scale->unit) + 2;
    scale->slack = 2 * scale->error + (int)rows;
    vqi_beam_set_scale(scale, level, &prefixes);
    return true;
}

/* Some columns of all vectors: their roots' scores, then what the tables make of them. */
static void collect_columns(vqi_beam_block *b, const vqi_beam_level *level, size_t first,
                            size_t count, uint32_t room, size_t place, size_t width,
                            const float *per_unit)
{
    vqi_beam_score *score = level->words ? level->words->score : level->ops->score;
    score(b->scores, width, &b->root_block, level->codebook, place, width, level->codebook->start,
          level->penalties, per_unit);
    for (size_t i = 0; i < count; i++) {
        if (b->roots[i].shift < 0)
            continue;
        vqi_found *found = &b->found[i];
        const vqi_scale *scale = &b->scales[i];
        const size_t steps =
            plan_walk(b, level, first + i, &b->roots[i], b->scores + i * width, place, width);
        if (!found->begun) {
            level->ops->walk(b->hits, b->steps, steps, b->roots[i].shift, NULL, width);
            vqi_beam_collect(found, level, scale, room, b->prefixes, b->sums, VQI_COLUMNS, place,
                             width, b->folded);
            continue;
        }
        int least[VQ_MAX_BEAM];
        for (uint32_t p = 0; p < b->prefixes; p++)
            least[p] = found->cut + scale->shifts[p];
        const size_t hits =
            level->ops->walk(b->hits, b->steps, steps, b->roots[i].shift, least, width);
        vqi_beam_collect_hits(found, level, scale, room, b->hits, hits, b->sums, place);
    }
}

static void search_by_tables(vqi_beam_block *b, const vqi_beam_level *level, size_t first,
                             size_t count, vqi_picks *picks, const vq_codebook *next)
{
    const size_t places = level->codebook->padded_k;
    float per_unit[VQI_MOST_ROOTS];
    b->root_block.rows = count;
    for (size_t i = 0; i < count; i++)
        find_root(b, level, first + i, i);
    if (level->words)
        level->words->pack(&b->root_block, level->codebook);
    for (size_t i = 0; i < count; i++) {
        const bool fits = set_scale(b, level, first + i, i, picks->room);
        per_unit[i] = fits ? (float)(1 / b->scales[i].unit) : 0;
        b->found[i].begun = false;
        if (!fits) { /* it is scored with the others, in vain: let it be finite */
            b->roots[i].shift = -1;
            memset(b->root_block.centred + i * b->d, 0, b->d * sizeof(float));
        }
    }
    for (size_t p = 0; p < places; p += VQI_COLUMNS)
        collect_columns(b, level, first, count, picks->room, p,
                        places - p < VQI_COLUMNS ? places - p : VQI_COLUMNS, per_unit);
    for (size_t i = 0; i < count; i++)
        if (b->roots[i].shift >= 0)
            vqi_beam_take(b, level, first + i, picks, &b->scales[i], &b->found[i], next);
    for (size_t i = 0; i < count; i++)
        if (b->roots[i].shift < 0)
            vqi_beam_search_directly(b, level, first + i, 1, picks, next);
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
    const double centre = vqi_beam_centre_norm(level->codebook);
    for (size_t r = 0; r < b->rows; r++) {
        float square = 0;
        for (uint32_t p = 0; p < b->prefixes; p++)
            square = fmaxf(square, b->squares[r * b->beam + p]);
        b->reach[r] = fmaxf(b->reach[r], (float)((sqrt((double)square) + centre) * (1 + 0x1p-10)));
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
            vqi_beam_take(b, level, r, &picks, NULL, NULL, next);
        return;
    }
    const bool by_tables = b->tables && b->prefixes > 1;
    const size_t rows = by_tables ? b->root_rows : b->scored_rows / b->prefixes;
    for (size_t first = 0; first < b->rows; first += rows) {
        const size_t count = b->rows - first < rows ? b->rows - first : rows;
        (by_tables ? search_by_tables : vqi_beam_search_directly)(b, level, first, count, &picks,
                                                                  next);
    }
}
