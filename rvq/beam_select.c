/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which candidates of a vector survive a level.
 *
 * From the inexact scores those candidates are collected that are not much worse than the best ones so far: what does not
 * matter to the proof, as long as it is known which are missing. Of them the best are scored by the contract; the worst of the
 * picks that this gives is J_B. Then all are scored that could have J <= J_B; if some of these may be missing, the contract
 * scans everything. Which these are: u = 2^-24, g(n) = n u / (1 - n u), hats mark
 * computed values; r' and c' are the centred residual and codeword, s = r'.c' - |c'|^2 / 2 - cost / 2, o = (|r'|^2 + R) / 2.
 * From J^ = fl(D^ + fl(R + cost)) <= J_B, with |D^ - D| <= g(m) D + d 2^-149, m = ceil(d/8) + 5, and all terms >= 0:
 *     D + R + cost <= J_B (1 + 2 g(m) + 8 u) + d 2^-147.
 * D = |r - c|^2 and D' = |r' - c'|^2 differ by at most u T^2 (2 + u), T = |r'| + |c'| (nearest_shortlist.c, (4)), and
 * D' + R + cost = 2 (o - s). So a candidate has
 *     s >= o - J_B / 2 (1 + 2 g(m) + 8 u) - u T^2 (1 + u) - d 2^-147,
 * and its inexact score is at most `error` units below s. The sum |r'|^2 is computed in float32, g(d + 2) off. From all scores
 * of a prefix its shift is taken, o - o_0 in whole units, so that one number bounds them all.
 */
#include <math.h>

#include "rvq/beam_internal.h"

enum { WAITING = 128 };

enum { LEAST = INT16_MIN + 1, MOST = INT16_MAX }; /* of a place that was not added */

static bool before(const vqi_pick *a, const vqi_pick *b)
{
    if (a->score != b->score)
        return a->score < b->score;
    return a->parent != b->parent ? a->parent < b->parent : a->code < b->code;
}

/* Take up a candidate if it is among the best. */
static void add(vqi_picks *picks, vqi_pick it)
{
    vqi_pick *pick = picks->pick;
    it.score = it.score < INFINITY ? it.score : INFINITY; /* a NaN too */
    if (picks->count == picks->room) {
        if (!before(&it, &pick[picks->room - 1]))
            return;
    } else
        picks->count++;
    uint32_t at = picks->count - 1;
    for (; at > 0 && before(&it, &pick[at - 1]); at--)
        pick[at] = pick[at - 1];
    pick[at] = it;
}

static void add_distance(vqi_picks *picks, const vqi_beam_level *level,
                         const vqi_prefixes *prefixes, uint32_t p, uint32_t code, float distance)
{
    const float rate = level->costs ? prefixes->rates[p] + level->costs[code] : 0;
    add(picks, (vqi_pick){distance + rate, rate, p, code});
}

void vqi_beam_scan(vqi_picks *picks, const vqi_beam_level *level, const vqi_prefixes *prefixes)
{
    enum { BATCH = 256 };
    const vq_codebook *codebook = level->codebook;
    const size_t d = codebook->d;
    float distances[BATCH];
    picks->count = 0;
    for (uint32_t p = 0; p < prefixes->count; p++)
        for (uint32_t first = 0; first < codebook->k; first += BATCH) {
            const uint32_t count = codebook->k - first < BATCH ? codebook->k - first : BATCH;
            level->kernels.contract->distances(distances, prefixes->residuals + p * d,
                                               codebook->codewords + first * d, count, d);
            for (uint32_t i = 0; i < count; i++)
                add_distance(picks, level, prefixes, p, first + i, distances[i]);
        }
}

static double gamma_of(double n)
{
    return n * 0x1p-24 / (1 - n * 0x1p-24);
}

void vqi_beam_set_scale(vqi_scale *scale, const vqi_beam_level *level, const vqi_prefixes *prefixes)
{
    const double first = (double)prefixes->squares[0] + prefixes->rates[0],
                 units = 0.5 / scale->unit;
    double largest = 0;
    for (uint32_t p = 0; p < prefixes->count; p++) {
        const double square = (double)prefixes->squares[p] + prefixes->rates[p],
                     shift = (square - first) * units;
        largest = square > largest ? square : largest;
        scale->shifts[p] = shift > 0x10000 ? 0x10000 : shift < -0x10000 ? -0x10000 : (int)shift;
    }
    const double rounded = largest * units * (level->codebook->d + 32) * 0x1p-20;
    scale->slack += 6 + (rounded < 0x8000 ? (int)rounded : 0x8000);
}

/* A score that about `wanted` of the folded ones reach, and at least so many if there are: any would be right. */
static int find_threshold(const vqi_beam_ops *ops, const int16_t *folded, size_t count, int largest,
                          size_t wanted)
{
    int low = largest, high = largest + 1;
    size_t found = 0;
    for (int step = 64;; step *= 2) {
        low = largest - step < LEAST ? LEAST : largest - step;
        found = ops->count(folded, (int16_t)low, count);
        if (found >= wanted || low == LEAST)
            break;
        high = low;
    }
    while (high - low > 1 && found > wanted + wanted / 4 + 1) {
        const int middle = (low + high) / 2;
        const size_t more = ops->count(folded, (int16_t)middle, count);
        if (more >= wanted) {
            low = middle;
            found = more;
        } else
            high = middle;
    }
    return low;
}

/* Candidates that wait to be scored by the contract. */
typedef struct waiting {
    size_t count;
    const float *x[WAITING], *c[WAITING];
    uint32_t prefix[WAITING], code[WAITING];
} waiting;

static void score_waiting(vqi_picks *picks, waiting *list, const vqi_beam_level *level,
                          const vqi_prefixes *prefixes)
{
    float distances[WAITING];
    level->kernels.contract->pair_distances(distances, list->x, list->c, list->count,
                                            level->codebook->d);
    for (size_t i = 0; i < list->count; i++)
        add_distance(picks, level, prefixes, list->prefix[i], list->code[i], distances[i]);
    list->count = 0;
}

/* Score candidate i by the contract, now or later. */
static void wait(vqi_picks *picks, waiting *list, const vqi_beam_level *level,
                 const vqi_prefixes *prefixes, const vqi_found *found, uint32_t i)
{
    const size_t d = level->codebook->d;
    if (list->count == WAITING)
        score_waiting(picks, list, level, prefixes);
    const size_t at = list->count++;
    list->prefix[at] = found->prefixes[i];
    list->code[at] = level->codebook->order[found->places[i]];
    list->x[at] = prefixes->residuals + list->prefix[at] * d;
    list->c[at] = level->codebook->codewords + list->code[at] * d;
}

/* A score that about `wanted` of those found reach. */
static int threshold_of(vqi_found *found, const vqi_beam_ops *ops, size_t wanted)
{
    uint32_t end = found->count;
    for (; end % VQI_FOLD; end++)
        found->scores[end] = INT16_MIN;
    return find_threshold(ops, found->scores, end, found->largest, wanted);
}

/* Drop what is too bad to be picked. */
static void tighten(vqi_found *found, const vqi_beam_ops *ops, const vqi_scale *scale,
                    size_t wanted)
{
    const int threshold = threshold_of(found, ops, wanted), cut = threshold - scale->slack;
    if (threshold == LEAST || cut <= found->cut)
        return;
    found->cut = cut;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < found->count; i++) {
        found->scores[kept] = found->scores[i];
        found->places[kept] = found->places[i];
        found->prefixes[kept] = found->prefixes[i];
        kept += found->scores[i] >= cut;
    }
    found->count = kept;
}

/* Where to begin: what the best of the first columns say. */
static void begin(vqi_found *found, const vqi_beam_ops *ops, const vqi_scale *scale, uint32_t room,
                  uint32_t count, const int16_t *scores, size_t stride, size_t columns,
                  int16_t *folded)
{
    int top = INT16_MIN;
    for (uint32_t p = 0; p < count; p++) {
        int16_t *own = folded + (size_t)p * VQI_FOLD;
        ops->fold(own, scores + p * stride, columns);
        const int shift = scale->shifts[p],
                  by = shift > MOST        ? MOST
                       : shift < INT16_MIN ? INT16_MIN
                                           : shift,
                  largest = ops->lower(own, (int16_t)by, VQI_FOLD);
        top = largest > top ? largest : top;
    }
    const int threshold = find_threshold(ops, folded, (size_t)count * VQI_FOLD, top, room);
    found->cut = threshold == LEAST ? VQI_ANYTHING : threshold - scale->slack;
    found->largest = INT16_MIN;
    found->count = 0;
    found->begun = true;
    found->full = false;
}

/* Take up a candidate at a place that was not added; there is room. */
static void append(vqi_found *found, const vqi_beam_level *level, int score, uint32_t p,
                   size_t place)
{
    const int held = score > MOST ? MOST : score < INT16_MIN ? INT16_MIN : score;
    if (!(level->codebook->start[place] > -INFINITY))
        return;
    found->scores[found->count] = (int16_t)held;
    found->places[found->count] = (uint32_t)place;
    found->prefixes[found->count++] = (uint8_t)p;
    found->largest = held > found->largest ? held : found->largest;
}

static void collect_some(vqi_found *found, const vqi_beam_level *level, const int16_t *scores,
                         size_t first, size_t columns, uint32_t p, int shift)
{
    uint32_t places[VQI_COLUMNS];
    const int least = found->cut + shift;
    if (least > MOST)
        return;
    const size_t count =
        level->ops->find(places, scores, (int16_t)(least < INT16_MIN ? INT16_MIN : least), columns);
    for (size_t i = 0; i < count; i++)
        append(found, level, scores[places[i]] - shift, p, first + places[i]);
}

void vqi_beam_collect(vqi_found *found, const vqi_beam_level *level, const vqi_scale *scale,
                      uint32_t room, uint32_t count, const int16_t *scores, size_t stride,
                      size_t first, size_t columns, int16_t *folded)
{
    if (!found->begun)
        begin(found, level->ops, scale, room, count, scores, stride, columns, folded);
    for (size_t c = 0; c < columns; c += VQI_COLUMNS) {
        const size_t some = columns - c < VQI_COLUMNS ? columns - c : VQI_COLUMNS;
        for (uint32_t p = 0; p < count && !found->full; p++) {
            if (found->count + some > VQI_FOUND)
                tighten(found, level->ops, scale, room);
            if (found->count + some > VQI_FOUND)
                found->full = true;
            else
                collect_some(found, level, scores + p * stride + c, first + c, some, p,
                             scale->shifts[p]);
        }
    }
    if (found->count > 2 * room + VQI_FOLD)
        tighten(found, level->ops, scale, room);
}

void vqi_beam_collect_hits(vqi_found *found, const vqi_beam_level *level, const vqi_scale *scale,
                           uint32_t room, const uint32_t *hits, size_t count, const int16_t *sums,
                           size_t first)
{
    for (size_t i = 0; i < count; i++) {
        const uint32_t p = hits[i] >> 16, column = hits[i] & 0xffff;
        const int score = sums[p * VQI_COLUMNS + column] - scale->shifts[p];
        if (score < found->cut)
            continue;
        if (found->count == VQI_FOUND)
            tighten(found, level->ops, scale, room);
        if (found->count == VQI_FOUND) {
            found->full = true;
            return;
        }
        append(found, level, score, p, first + column);
    }
    if (found->count > 2 * room + VQI_FOLD)
        tighten(found, level->ops, scale, room);
}

/* What a candidate's score less its shift must be to have J <= `worst`. */
static int lowest_of(double worst, const vqi_beam_level *level, const vqi_prefixes *prefixes,
                     const vqi_scale *scale)
{
    const double d = level->codebook->d, depth = ceil(d / 8) + 5;
    double square = 0, rate = 0;
    for (uint32_t p = 0; p < prefixes->count; p++) {
        square = fmax(square, prefixes->squares[p]);
        rate = fmax(rate, prefixes->rates[p]);
    }
    square = square * (1 + gamma_of(d + 2)) + d * 0x1p-147;
    const double reach = sqrt(square) + level->codebook->largest_norm;
    const double lowest = ((double)prefixes->squares[0] + prefixes->rates[0]) / 2 -
                          worst / 2 * (1 + 2 * gamma_of(depth) + 0x1p-20) -
                          2 * (square + rate) * gamma_of(d + 3) - reach * reach * 0x1.01p-24 -
                          d * 0x1p-146;
    const double units = floor(lowest / scale->unit) - 2 - scale->error;
    return units > VQI_ANYTHING ? units < MOST ? (int)units : MOST : VQI_ANYTHING;
}

bool vqi_beam_select(vqi_picks *picks, const vqi_beam_level *level, const vqi_prefixes *prefixes,
                     const vqi_scale *scale, vqi_found *found)
{
    if (found->full)
        return false;
    const int threshold = threshold_of(found, level->ops, picks->room);
    waiting list;
    list.count = 0;
    picks->count = 0;
    for (uint32_t i = 0; i < found->count; i++)
        if (found->scores[i] >= threshold)
            wait(picks, &list, level, prefixes, found, i);
    score_waiting(picks, &list, level, prefixes);
    const double worst =
        picks->count == picks->room ? picks->pick[picks->room - 1].score : INFINITY;
    const int lowest = lowest_of(worst, level, prefixes, scale);
    if (lowest < found->cut)
        return false;
    for (uint32_t i = 0; i < found->count; i++)
        if (found->scores[i] < threshold && found->scores[i] >= lowest)
            wait(picks, &list, level, prefixes, found, i);
    score_waiting(picks, &list, level, prefixes);
    return true;
}
