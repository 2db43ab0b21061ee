/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which candidates of a vector survive a level.
 *
 * First the candidates whose inexact scores are best are scored by the contract; the worst of the picks that this gives is
 * J_B. Then all are scored that could have J <= J_B. Which these are: u = 2^-24, g(n) = n u / (1 - n u), hats mark
 * computed values; r' and c' are the centred residual and codeword, s = r'.c' - |c'|^2 / 2 - cost / 2, o = (|r'|^2 + R) / 2.
 * From J^ = fl(D^ + fl(R + cost)) <= J_B, with |D^ - D| <= g(m) D + d 2^-149, m = ceil(d/8) + 5, and all terms >= 0:
 *     D + R + cost <= J_B (1 + 2 g(m) + 8 u) + d 2^-147.
 * D = |r - c|^2 and D' = |r' - c'|^2 differ by at most u T^2 (2 + u), T = |r'| + |c'| (nearest_shortlist.c, (4)), and
 * D' + R + cost = 2 (o - s). So a candidate has
 *     s >= o - J_B / 2 (1 + 2 g(m) + 8 u) - u T^2 (1 + u) - d 2^-147,
 * and its inexact score is at most errors[group] units below s. The sum |r'|^2 is computed in float32, g(d + 2) off.
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

/* How much better the best code of a prefix must be than that of the first one, in units. */
static void find_shifts(int *shifts, const vqi_prefixes *prefixes, double unit)
{
    const double first = (double)prefixes->squares[0] + prefixes->rates[0];
    for (uint32_t p = 0; p < prefixes->count; p++) {
        const double shift = ((double)prefixes->squares[p] + prefixes->rates[p] - first) / 2 / unit;
        shifts[p] = shift > MOST ? MOST + 1 : shift < INT16_MIN ? INT16_MIN : (int)shift;
    }
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

/* Score by the contract, now or later, what lies in [least, most] for prefix p; a `least` for each group. */
static void add_found(vqi_picks *picks, waiting *list, const vqi_beam_level *level,
                      const vqi_prefixes *prefixes, const vqi_scored *scored, uint32_t p,
                      const int16_t *least, int most)
{
    const vq_codebook *codebook = level->codebook;
    const size_t d = codebook->d, stride = codebook->padded_k,
                 count = level->ops->find(scored->places, scored->scores + p * stride, least,
                                          (int16_t)most, stride);
    for (size_t i = 0; i < count; i++) {
        if (list->count == WAITING)
            score_waiting(picks, list, level, prefixes);
        const size_t at = list->count++;
        list->prefix[at] = p;
        list->code[at] = codebook->order[scored->places[i]];
        list->x[at] = prefixes->residuals + p * d;
        list->c[at] = codebook->codewords + list->code[at] * d;
    }
}

static double gamma_of(double n)
{
    return n * 0x1p-24 / (1 - n * 0x1p-24);
}

void vqi_beam_select(vqi_picks *picks, const vqi_beam_level *level, const vqi_prefixes *prefixes,
                     const vqi_scored *scored)
{
    const vqi_beam_ops *ops = level->ops;
    const uint32_t count = prefixes->count;
    const double d = level->codebook->d;
    int shifts[VQ_MAX_BEAM], largest[VQ_MAX_BEAM], least[VQ_MAX_BEAM], top = INT16_MIN;
    find_shifts(shifts, prefixes, scored->unit);
    for (uint32_t p = 0; p < count; p++) {
        const int by = shifts[p] > MOST ? MOST : shifts[p],
                  lowered =
                      ops->lower(scored->folded + (size_t)p * VQI_FOLD, (int16_t)by, VQI_FOLD);
        largest[p] = lowered == MOST || lowered + by > MOST ? MOST : lowered + by;
        top = lowered > top ? lowered : top;
    }
    const int threshold =
        find_threshold(ops, scored->folded, (size_t)count * VQI_FOLD, top, picks->room);
    const size_t groups = level->codebook->padded_k / VQI_GROUP;
    waiting list;
    list.count = 0;
    picks->count = 0;
    for (uint32_t p = 0; p < count; p++) {
        least[p] = threshold == LEAST ? LEAST : threshold + shifts[p];
        least[p] = least[p] < LEAST ? LEAST : least[p];
        if (least[p] > largest[p])
            continue;
        for (size_t g = 0; g < groups; g++)
            scored->least[g] = (int16_t)least[p];
        add_found(picks, &list, level, prefixes, scored, p, scored->least, MOST);
    }
    score_waiting(picks, &list, level, prefixes);
    const double worst =
        picks->count == picks->room ? picks->pick[picks->room - 1].score : INFINITY;
    const uint32_t depth = (level->codebook->d + 7) / 8;
    for (uint32_t p = 0; p < count; p++) {
        const double square = prefixes->squares[p] * (1 + gamma_of(d + 2)) + d * 0x1p-147,
                     reach = sqrt(square) + level->codebook->largest_norm;
        const double lowest =
            ((double)prefixes->squares[p] * (1 - gamma_of(d + 2)) + prefixes->rates[p]) / 2 -
            worst / 2 * (1 + 2 * gamma_of(depth + 5) + 0x1p-20) - reach * reach * 0x1.01p-24 -
            d * 0x1p-146;
        const int to = least[p] > MOST ? MOST : least[p] - 1;
        const double units = floor(lowest / scored->unit) - 1;
        const int base =
            units > 2 * INT16_MIN ? units < 2 * MOST ? (int)units : 2 * MOST : 2 * INT16_MIN;
        int lowest_of_all = MOST;
        for (size_t g = 0; g < groups; g++) {
            int from = base - scored->errors[g];
            from = from < LEAST ? LEAST : from > MOST ? MOST : from;
            lowest_of_all = from < lowest_of_all ? from : lowest_of_all;
            scored->least[g] = (int16_t)from;
        }
        if (lowest_of_all <= to && lowest_of_all <= largest[p])
            add_found(picks, &list, level, prefixes, scored, p, scored->least, to);
    }
    score_waiting(picks, &list, level, prefixes);
}
