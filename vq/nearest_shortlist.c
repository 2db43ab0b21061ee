/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nearest codewords by a shortlist: a filter scores every codeword fast and inexactly, whatever could still be
 * the contract's answer is scored again in float32, and the contract decides among what is left.
 *
 * Why the answer is the same. u = 2^-24, g(n) = n u / (1 - n u); hats mark computed values. x' and c' are the
 * centred row and codeword (the plain ones unless Euclidean), C the largest |c'|, R = |x'| + C, and
 * s(k) = x'.c' - |c'|^2 / 2 (without the last term unless Euclidean) the exact score.
 *
 * (1) A float32 sum in any order, with or without fused multiply-add, starting from fl(-|c'|^2 / 2):
 *         |s^ - s| <= E2 = g(d+4) (|x'| C + C^2 / 2) + (d+4) 2^-149, the last for products that underflow.
 * (2) A coarse filter reads p for x' and q for c': |x'.c' - p.q| <= |x'-p| C + |p| |c'-q|, where |x'-p| and the
 *     largest |c'-q| are measured, not assumed. To that comes the arithmetic on p and q: int8 sums are exact, then
 *     rounded, scaled and added, g(8); bf16 tiles add 2 d + 16 deep and take denormals as zero. The sum is E1; for the
 *     float32 filter E1 = E2.
 * (3) The contract's dot product has d products, ceil(d/8) - 1 + 3 additions deep: m = ceil(d/8) + 3 and
 *         |S^ - S| <= g(m) |x||c| + d 2^-149, so if k wins over b then
 *         s_k >= s_b - M,   M = 2 g(m) |x| C + 2 d 2^-149.
 * (4) The contract's distance has only terms >= 0, so its error is relative: 2 subtraction factors, 1 product,
 *     the additions as above, m = ceil(d/8) + 5: |D^ - D| <= g(m) D + d 2^-149. From D^_k <= D^_b:
 *         D_k - D_b <= 2 g(m) / (1 - g(m)) D_b + 4 d 2^-149.
 *     Centring rounds: |(x - c) - (x' - c')| <= u R, so D_b <= R^2 (1+u)^2 and, with D' = |x' - c'|^2 =
 *     |x'|^2 - 2 s, |D - D'| <= u R^2 (2 + u). With 2 (s_b - s_k) = D'_k - D'_b:
 *         s_k >= s_b - M,   M = g(m) / (1 - g(m)) R^2 (1+u)^2 + 2 d 2^-149 + u R^2 (2 + u).
 *
 * Of the `wanted` codes that the contract puts first, none is worse by the contract than all of any `wanted` codes. So
 * with b the wanted-th best score known so far, in float32, an answer k has
 *         s2^_k >= b - (2 E2 + M)   and   s1^_k >= b - (E1 + E2 + M);
 * with b the best peak, where one is wanted, s1^_k >= b - (2 E1 + M). What is known only grows, so nothing that is dropped
 * early could come back. The sums below are in double; their own rounding is covered by a factor of 1 + 2^-20. All of
 * it needs that nothing overflows: rows with R > 2^60 are scanned instead.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "vq/nearest_internal.h"

enum { LANE_ROOM = 512 + VQI_ROW_LANES }; /* lanes that wait to be scored, of all rows together */

typedef struct margins {
    float peak, lane, score; /* 2 E1 + M, E1 + E2 + M, 2 E2 + M */
} margins;

typedef struct candidate {
    uint32_t code;
    float score;
} candidate;

/* Factors of the terms above. */
typedef struct bounds {
    double largest;          /* C */
    double fine;             /* E2 / (|x'| + C/2) */
    double contract_square;  /* M / R^2, Euclidean */
    double contract_product; /* M / |x'|, otherwise */
    double tiny;             /* what underflow may add up to in E2 or M */
    double error_factor;     /* what rounding may have taken from a measured |x'-p| */
    double code_error;       /* the largest |c'-q| */
    double coarse;           /* the arithmetic in E1 ... */
    double coarse_tiny;      /* ... and what underflow adds to it / (1 + |x'| + C) */
} bounds;

struct vqi_shortlist {
    const vq_codebook *codebook;
    const vqi_contract *contract;
    const vqi_float_ops *ops;
    const vqi_filter *filter;
    const float *x;
    vqi_block block;
    bounds bound;
    uint32_t wanted, kept_room;
    size_t scored; /* lanes so far */
    /* For each row: */
    margins *margin;
    float *lowest;   /* a peak below it cannot hold an answer ... */
    float *fine;     /* ... nor can a codeword be one whose float32 score is below this */
    float *top;      /* the highest peak of a chunk */
    uint32_t *count; /* candidates; more than kept_room = the row must be scanned */
    candidate *kept; /* kept_room: the candidates, best first */
    float *peaks;    /* chunk x 16 */
    /* LANE_ROOM each: */
    vqi_lane *lanes, *chosen;
    float (*scores)[4];
};

static double gamma_of(double n)
{
    return n * 0x1p-24 / (1 - n * 0x1p-24);
}

static uint32_t kept_room(uint32_t wanted)
{
    return 24 + 2 * wanted;
}

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t chunk_of(const vq_codebook *codebook)
{
    const size_t groups = codebook->padded_k / VQI_GROUP;
    return groups < VQI_CHUNK ? groups : VQI_CHUNK;
}

/* Of the widest packing that this codebook has, whatever the mask allows today. */
static size_t packed_bytes(const vq_codebook *codebook)
{
    size_t most = 0;
#if defined(__x86_64__)
    if (codebook->bytes)
        most = vqi_filter_vnni.row_bytes(codebook->d);
    if (codebook->halves && vqi_filter_amx.row_bytes(codebook->d) > most)
        most = vqi_filter_amx.row_bytes(codebook->d);
#else
    (void)codebook;
#endif
    return most;
}

/* Lay the parts out from `scratch` on, which may be NULL. @return the bytes they take. */
static size_t lay_out(vqi_shortlist *list, char *scratch, const vq_codebook *codebook, size_t rows,
                      uint32_t wanted)
{
    size_t at = padded(sizeof *list);
    const size_t packed_rows = (rows + 15) / 16 * 16; /* a tile reads 16 */
#define PART(pointer, bytes)                                                                       \
    do {                                                                                           \
        (pointer) = scratch ? (void *)(scratch + at) : NULL;                                       \
        at += padded(bytes);                                                                       \
    } while (0)
    PART(list->margin, rows * sizeof *list->margin);
    PART(list->lowest, rows * sizeof *list->lowest);
    PART(list->fine, rows * sizeof *list->fine);
    PART(list->top, rows * sizeof *list->top);
    PART(list->count, rows * sizeof *list->count);
    PART(list->kept, rows * kept_room(wanted) * sizeof *list->kept);
    PART(list->lanes, LANE_ROOM * sizeof *list->lanes);
    PART(list->chosen, LANE_ROOM * sizeof *list->chosen);
    PART(list->scores, LANE_ROOM * sizeof *list->scores);
    PART(list->block.centred, (rows * codebook->d + VQI_LANES) * sizeof *list->block.centred);
    PART(list->block.square, rows * sizeof *list->block.square);
    PART(list->block.error, rows * sizeof *list->block.error);
    PART(list->peaks, rows * chunk_of(codebook) * VQI_LANES * sizeof *list->peaks);
    PART(list->block.packed, packed_rows * packed_bytes(codebook));
    PART(list->block.unit, rows * sizeof *list->block.unit);
    PART(list->block.start, rows * sizeof *list->block.start);
#undef PART
    return at;
}

size_t vqi_shortlist_scratch(const vq_codebook *codebook, size_t rows, uint32_t wanted)
{
    vqi_shortlist nowhere;
    return lay_out(&nowhere, NULL, codebook, rows, wanted);
}

static bounds make_bounds(const vq_codebook *codebook, const vqi_filter *filter)
{
    const double d = codebook->d, depth = (double)((codebook->d + 7) / 8);
    const int euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN, bytes = filter->integer;
    bounds b = {.largest = codebook->largest_norm * (1 + 0x1p-20)};
    b.fine = gamma_of(d + 4) * b.largest;
    if (euclidean)
        b.contract_square = gamma_of(depth + 5) / (1 - gamma_of(depth + 5)) * (1 + 0x1p-20) +
                            0x1p-24 * (2 + 0x1p-24);
    else
        b.contract_product = 2 * gamma_of(depth + 3) * b.largest;
    b.tiny = (d + 4) * 0x1p-147;
    b.error_factor = 1 + (d / 16 + 24) * 0x1p-23;
    b.code_error = (bytes ? codebook->byte_error : codebook->half_error) * (1 + 0x1p-20);
    b.coarse = gamma_of(bytes ? 8 : 2 * d + 16);
    b.coarse_tiny = bytes ? 0x1p-110 : (2 * d + 16) * 0x1p-125;
    return b;
}

/* Of a margin; the factor is for the double sums and for half a step of the conversion. */
static float round_up(double value)
{
    return (float)(value * (1 + 0x1p-20) + 0x1p-148);
}

static void find_margins(vqi_shortlist *list)
{
    const vqi_block *block = &list->block;
    const bounds b = list->bound;
    const double d = list->codebook->d;
    const double norm_factor = 1 + (d / 4 + 16) * 0x1p-23, norm_tiny = d * 0x1p-148;
    const double error_tiny = sqrt(d) * 0x1p-73;
    const int coarse = list->filter->pack != NULL, integer = list->filter->integer;
    for (size_t r = 0; r < block->rows; r++) {
        const double norm = sqrt(block->square[r] * norm_factor + norm_tiny);
        const double reach = norm + b.largest;
        const double contract =
            b.contract_square * reach * reach + b.contract_product * norm + b.tiny;
        const double fine = b.fine * (norm + b.largest / 2) + b.tiny;
        double rough = fine;
        if (coarse) {
            const double error = block->error[r] * b.error_factor + error_tiny;
            const double read = norm + error;
            rough = error * b.largest + read * b.code_error +
                    b.coarse * (read * (b.largest + b.code_error) + b.largest * b.largest / 2) +
                    b.coarse_tiny * (1 + norm + b.largest) + (integer ? block->unit[r] : 0);
        }
        list->margin[r] =
            (margins){round_up(2 * rough + contract), round_up(rough + fine + contract),
                      round_up(2 * fine + contract)};
        const int large = !(reach <= VQI_LARGEST_NORM); /* so if infinite */
        list->lowest[r] = list->fine[r] = large ? INFINITY : -FLT_MAX;
        list->count[r] = large ? list->kept_room + 1 : 0;
        if (list->wanted > 1)
            list->margin[r].peak = INFINITY; /* one peak says nothing of the wanted-th best */
    }
}

/* A row that is too large is filtered with the others, in vain: let it be finite. */
static void clear_large_rows(vqi_block *block, size_t d)
{
    for (size_t r = 0; r < block->rows; r++)
        if (!(block->square[r] <= VQI_LARGEST_NORM * VQI_LARGEST_NORM))
            memset(block->centred + r * d, 0, d * sizeof *block->centred);
}

vqi_shortlist *vqi_shortlist_begin(void *scratch, const vq_codebook *codebook,
                                   const vqi_kernels *kernels, const vqi_filter *coarse,
                                   const float *x, size_t rows, uint32_t wanted)
{
    vqi_shortlist *list = scratch;
    lay_out(list, scratch, codebook, rows, wanted);
    list->codebook = codebook;
    list->contract = kernels->contract;
    list->ops = kernels->ops;
    list->filter = coarse ? coarse : &kernels->ops->filter;
    list->bound = make_bounds(codebook, list->filter);
    list->x = x;
    list->block.rows = rows;
    list->wanted = wanted;
    list->kept_room = kept_room(wanted);
    list->scored = 0;
    const int finite = list->ops->centre(&list->block, x, codebook);
    if (!finite && !kernels->contract->all_finite(x, rows * codebook->d))
        return NULL;
    clear_large_rows(&list->block, codebook->d);
    if (list->filter->pack)
        list->filter->pack(&list->block, codebook);
    find_margins(list);
    return list;
}

/* Put a candidate that is not below fine[r] in its place. */
static void keep(vqi_shortlist *list, size_t r, uint32_t code, float score)
{
    const uint32_t wanted = list->wanted;
    candidate *kept = list->kept + r * list->kept_room;
    if (list->count[r] >= list->kept_room) {
        list->count[r] = list->kept_room + 1;
        list->lowest[r] = list->fine[r] = INFINITY;
        return;
    }
    uint32_t at = list->count[r]++;
    for (; at > 0 && kept[at - 1].score < score; at--)
        kept[at] = kept[at - 1];
    kept[at] = (candidate){code, score};
    if (list->count[r] < wanted || at >= wanted)
        return;
    const float last = kept[wanted - 1].score, lowest = vqi_below(last, list->margin[r].lane);
    list->fine[r] = vqi_below(last, list->margin[r].score);
    list->lowest[r] = lowest > list->lowest[r] ? lowest : list->lowest[r];
    while (kept[list->count[r] - 1].score < list->fine[r])
        list->count[r]--;
}

static void score_chosen(vqi_shortlist *list, size_t chosen)
{
    list->ops->score_lanes(list->scores, list->chosen, chosen, &list->block, list->codebook);
    list->scored += chosen;
    for (size_t i = 0; i < chosen; i++) {
        const float *scores = list->scores[i];
        const vqi_lane it = list->chosen[i];
        /* The best of the four first, which mostly rules out the rest. */
        uint32_t best = 0;
        for (uint32_t j = 1; j < 4; j++)
            best = scores[j] > scores[best] ? j : best;
        if (scores[best] < list->fine[it.row])
            continue;
        keep(list, it.row, it.code + best * VQI_LANES, scores[best]);
        for (uint32_t j = 0; j < 4; j++)
            if (scores[j] >= list->fine[it.row] && j != best)
                keep(list, it.row, it.code + j * VQI_LANES, scores[j]);
    }
}

/* Score in float32 the lanes that wait: first the most promising of each row, as it may rule out the others. All rows
 * go through each step together, because a processor that has to guess for each row what comes next guesses wrong. */
static void score_waiting(vqi_shortlist *list, size_t waiting)
{
    size_t chosen = 0;
    for (size_t i = 0; i < waiting; i++) {
        list->chosen[chosen] = list->lanes[i];
        chosen += list->lanes[i].peak == list->top[list->lanes[i].row];
    }
    score_chosen(list, chosen);
    chosen = 0;
    for (size_t i = 0; i < waiting; i++) {
        const vqi_lane it = list->lanes[i];
        list->chosen[chosen] = it;
        chosen += (it.peak != list->top[it.row]) & (it.peak >= list->lowest[it.row]);
    }
    score_chosen(list, chosen);
}

/* Take up the peaks of `groups` groups from `first` on. */
static void collect(vqi_shortlist *list, size_t first, size_t groups)
{
    const size_t rows = list->block.rows;
    list->ops->find_tops(list->top, list->peaks, rows, groups);
    for (size_t r = 0; r < rows; r++) {
        const float lowest = vqi_below(list->top[r], list->margin[r].peak);
        list->lowest[r] = lowest > list->lowest[r] ? lowest : list->lowest[r];
    }
    size_t waiting = 0;
    for (size_t r = 0; r < rows; r++) {
        if (list->top[r] < list->lowest[r])
            continue;
        waiting +=
            list->ops->find_lanes(list->lanes + waiting, (uint32_t)r, (uint32_t)(first * VQI_GROUP),
                                  list->peaks + r * groups * VQI_LANES, groups, list->lowest[r]);
        if (waiting > LANE_ROOM - VQI_ROW_LANES) {
            score_waiting(list, waiting);
            waiting = 0;
        }
    }
    score_waiting(list, waiting);
}

void vqi_shortlist_search(vqi_shortlist *list, size_t first, size_t end)
{
    const size_t chunk = chunk_of(list->codebook);
    for (; first < end; first += chunk) {
        const size_t groups = end - first < chunk ? end - first : chunk;
        list->filter->peaks(list->peaks, &list->block, list->codebook, first, groups);
        collect(list, first, groups);
    }
}

void vqi_shortlist_merge(vqi_shortlist *list, const vqi_shortlist *other)
{
    for (size_t r = 0; r < list->block.rows; r++) {
        if (other->count[r] > other->kept_room)
            list->count[r] = list->kept_room + 1;
        for (uint32_t i = 0; i < other->count[r] && list->count[r] <= list->kept_room; i++) {
            const candidate c = other->kept[r * other->kept_room + i];
            if (c.score >= list->fine[r])
                keep(list, r, c.code, c.score);
        }
    }
    list->scored += other->scored;
}

/* Order candidates by the contract and give the best. */
static void decide(uint32_t *codes, float *scores, vqi_shortlist *list, size_t r)
{
    const vq_codebook *codebook = list->codebook;
    const size_t d = codebook->d;
    const uint32_t count = list->count[r];
    candidate *kept = list->kept + r * list->kept_room;
    const float *x = list->x + r * d;
    const int euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN;
    if (count > list->kept_room || count < list->wanted) {
        vqi_nearest_scan(codes, scores, codebook, list->contract, x, list->wanted);
        return;
    }
    if (count == 1 && !scores) {
        *codes = kept[0].code;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        candidate c = kept[i];
        (euclidean ? list->contract->distances
                   : list->contract->dots)(&c.score, x, codebook->codewords + c.code * d, 1, d);
        uint32_t at = i;
        for (; at > 0; at--) {
            const candidate b = kept[at - 1];
            if (b.score != c.score ? (euclidean ? b.score < c.score : b.score > c.score)
                                   : b.code < c.code)
                break;
            kept[at] = b;
        }
        kept[at] = c;
    }
    for (uint32_t i = 0; i < list->wanted; i++) {
        codes[i] = kept[i].code;
        if (scores)
            scores[i] = kept[i].score;
    }
}

size_t vqi_shortlist_finish(vqi_shortlist *list, uint32_t *codes, float *scores)
{
    const size_t wanted = list->wanted;
    for (size_t r = 0; r < list->block.rows; r++)
        decide(codes + r * wanted, scores ? scores + r * wanted : NULL, list, r);
    return list->scored;
}
