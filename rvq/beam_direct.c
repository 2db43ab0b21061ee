/* SPDX-License-Identifier: Apache-2.0 */
/* The scores of one level's codes for a block of vectors, every residual filtered like a vector of its own. */
#include <math.h>
#include <string.h>

#include "rvq/beam_internal.h"

/*
 * With m the length of the room-th shortest codeword, that many codes of the first prefix have
 *     J <= W = (|r'_0| + m)^2 + R_0 + cost,
 * and any codeword longer than |r'_p| + sqrt(W - R_p) has more. The factors are for the contract's rounding. A quiet vector so
 * is not measured by codewords that only loud ones use.
 */
vqi_within vqi_beam_within(const vqi_beam_level *level, const vqi_prefixes *prefixes, uint32_t room)
{
    const vq_codebook *codebook = level->codebook;
    const double largest = codebook->largest_norm * (1 + 0x1p-20),
                 cost = 2 * level->largest_penalty, first = sqrt((double)prefixes->squares[0]);
    /* The shortest are at the first places. */
    const bool known = room <= VQI_GROUP && room <= codebook->k;
    const double shortest = known ? sqrt(-2 * (double)codebook->start[room - 1]) : largest,
                 bound = (first + shortest) * (first + shortest) + prefixes->rates[0] + cost;
    vqi_within it = {.norm = 0, .most = first * shortest + shortest * shortest / 2 + cost / 2};
    for (uint32_t p = 0; p < prefixes->count; p++) {
        const double square = prefixes->squares[p],
                     rest = bound * (1 + 0x1p-4) - prefixes->rates[p];
        it.norm = fmax(it.norm, sqrt(square) * (1 + 0x1p-4) + sqrt(fmax(rest, 0)) + 0x1p-60);
        it.most = fmax(it.most, square / 2);
    }
    it.norm = known && it.norm < largest ? it.norm : largest;
    it.most = it.most * (1 + 0x1p-4) + 0x1p-100;
    return it;
}

double vqi_beam_fine_error(const vqi_beam_level *level, const vqi_block *block, size_t r,
                           double largest, bool words)
{
    const double norm = sqrt((double)block->square[r]) * (1 + 0x1p-4),
                 word_error = level->codebook->coarse[VQI_WORDS].error,
                 depth = words ? 24 : level->codebook->d + 24.0;
    double error =
        2 * depth * 0x1p-24 * ((norm + largest / 2) * largest + level->largest_penalty) + 0x1p-100;
    if (words)
        error += block->error[r] * (largest + word_error) + norm * word_error;
    return error;
}

/* The same from bytes, of the groups that such codewords are in. */
static double coarse_error(const vqi_beam_level *level, const vqi_bound *bound, size_t r,
                           double largest)
{
    const vq_codebook *codebook = level->codebook;
    const double least = -largest * largest / 2 * (1 + 0x1p-20);
    float norm = 0, code_error = 0;
    for (size_t g = 0; g < codebook->padded_k / VQI_GROUP; g++)
        if (codebook->start[g * VQI_GROUP] >= least) { /* the shortest of the group */
            norm = fmaxf(norm, bound->norm[g]);
            code_error = fmaxf(code_error, bound->code_error[g]);
        }
    return (double)(bound->error[r] * norm + bound->read[r] * code_error + bound->rest[r]) *
           (1 + 0x1p-10);
}

static int in_units(double error, double unit)
{
    const double units = error / unit + 2.6;
    return units < 65535 ? (int)units : 65536;
}

/* The errors of the scores of `count` vectors, in units, read from words or as the level's kernels read them. @return the largest. */
static int find_errors(int *errors, const vqi_beam_level *level, vqi_shortlist *list, size_t count,
                       size_t n, const vqi_within *reach, const double *unit, bool words)
{
    const vqi_block *block = vqi_shortlist_block(list);
    int largest = 0;
    for (size_t i = 0; i < count; i++) {
        double most = 0;
        for (size_t r = i * n; r < (i + 1) * n; r++) {
            const bool coarse = level->coarse && !words;
            const double error =
                coarse ? coarse_error(level, vqi_shortlist_bound(list), r, reach[i].norm)
                       : vqi_beam_fine_error(level, block, r, reach[i].norm, words);
            most = fmax(most, error);
        }
        errors[i] = unit[i] > 0 ? in_units(most, unit[i]) : 0;
        largest = errors[i] > largest ? errors[i] : largest;
    }
    return largest;
}

void vqi_beam_search_directly(vqi_beam_block *b, const vqi_beam_level *level, size_t first,
                              size_t count, vqi_picks *picks, const vq_codebook *next)
{
    const size_t d = b->d, n = b->prefixes, stride = level->codebook->padded_k;
    float per_unit[VQI_BLOCK];
    double unit[VQI_BLOCK];
    vqi_within reach[VQI_BLOCK];
    int errors[VQI_BLOCK] = {0};
    for (size_t i = 0; i < count; i++)
        memcpy(b->gathered + i * n * d, b->residuals + (first + i) * b->beam * d,
               n * d * sizeof(float));
    vqi_shortlist *list = vqi_shortlist_begin(b->shortlist, level->codebook, &level->kernels,
                                              level->coarse, b->gathered, count * n, 1);
    for (size_t i = 0; i < count; i++) {
        const vqi_prefixes prefixes = vqi_beam_prefixes(b, first + i);
        reach[i] = vqi_beam_within(level, &prefixes, picks->room);
        /* Neither what a residual that overflowed says, nor what is too large to square. */
        const bool fits = list && reach[i].norm + sqrt(reach[i].most) <= VQI_LARGEST_NORM;
        const float inverse = fits ? (float)(VQI_MOST_UNITS / reach[i].most) : 0;
        unit[i] = inverse > 0 ? 1 / (double)inverse : 0;
        for (size_t p = 0; p < n; p++)
            per_unit[i * n + p] = inverse;
    }
    if (list) {
        vqi_beam_score *score = level->score;
        const int error = find_errors(errors, level, list, count, n, reach, unit, false);
        if (level->coarse && error > VQI_MOST_ERROR) {
            level->words->pack(vqi_shortlist_block(list), level->codebook);
            score = level->words->score;
            find_errors(errors, level, list, count, n, reach, unit, true);
        }
        score(b->scores, stride, vqi_shortlist_block(list), level->codebook, 0, stride,
              level->codebook->start, level->penalties, per_unit);
    }
    for (size_t i = 0; i < count; i++) {
        const vqi_prefixes prefixes = vqi_beam_prefixes(b, first + i);
        if (!(unit[i] > 0)) {
            vqi_beam_take(b, level, first + i, picks, NULL, NULL, next);
            continue;
        }
        vqi_scale scale = {.unit = unit[i], .error = errors[i], .slack = 2 * errors[i]};
        vqi_beam_set_scale(&scale, level, &prefixes);
        b->found[0].begun = false;
        vqi_beam_collect(&b->found[0], level, &scale, picks->room, (uint32_t)n,
                         b->scores + i * n * stride, stride, 0, stride, b->folded);
        vqi_beam_take(b, level, first + i, picks, &scale, &b->found[0], next);
    }
}
