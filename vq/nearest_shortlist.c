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
 * (2) A coarse filter reads p for x' and q for c', with |x'.c' - p.q| <= |x'-p|_w |c'|_v + |p|_v |c'-q|_w, where
 *     |a|_w^2 = sum a^2 w and |a|_v^2 = sum a^2 / w (Cauchy and Schwarz, for any weights w > 0). All four are measured, not
 *     assumed: those of rows for each row, those of codewords for each group of 64, which have similar norms. To that
 *     comes the arithmetic on p and q: sums of integers are exact, but what they start from is rounded to whole units, and they
 *     are scaled, g(8); bf16 tiles add 2 d + 16 deep and take denormals as zero. The sum, with what rounding adds to it and to a
 *     score that is compared, is E1 (row, group); for the float32 filter E1 = E2 with g(d+12).
 * (3) The contract's dot product has d products, ceil(d/8) - 1 + 3 additions deep: m = ceil(d/8) + 3 and
 *         |S^ - S| <= g(m) |x||c| + d 2^-149, so if k wins over b then
 *         s_k >= s_b - M,   M = 2 g(m) |x| C + 2 d 2^-149.
 * (4) The contract's distance has only terms >= 0, so its error is relative: 2 subtraction factors, 1 product,
 *     the additions as above, m = ceil(d/8) + 5: |D^ - D| <= g(m) D + d 2^-149. From D^_k <= D^_b:
 *         D_k - D_b <= 2 g(m) / (1 - g(m)) D_b + 4 d 2^-149.
 *     Centring rounds: |(x - c) - (x' - c')| <= u R, so D_b <= R^2 (1+u)^2 and, with D' = |x' - c'|^2 =
 *     |x'|^2 - 2 s, |D - D'| <= u R^2 (2 + u). With 2 (s_b - s_k) = D'_k - D'_b:
 *         s_k >= s_b - M,   M = g(m) / (1 - g(m)) R^2 (1+u)^2 + 2 d 2^-149 + u R^2 (2 + u).
 * (5) Of a mapped codebook (mapped_internal.h) the filters read basis rows q_k, |q_k| <= Q, of r dimensions, and y = W x'.
 *     Here c' = c - b exactly, for the codeword c that the contract sees, and only |c'|^2 is known of it, in double. y is
 *     added up in double, v = 2^-53, of products that are exact there, and rounded: by Cauchy and Schwarz, with |W|^2 the sum of
 *     the squares, |y^ - y| <= u (1 + 2^-20) |y^| + 2 d v |W| |x'| + sqrt(r) 2^-149. So is q W when the codewords are made, all of
 *     them once, to measure what float32 made of each: c' = q W + e, and |e| <= e_c = the largest |c' - (q W)^| + u (1 + 2^-20)
 *     (C + that) + 2 r v Q |W| + sqrt(d) 2^-149. So, with x'.c' = y.q + x'.e,
 *         |s - (y^.q - |c'|^2 / 2)| <= T = Q |y^ - y| + |x'| e_c,
 *     which E1 and E2 gain, while |y^| Q takes the place of |x'| C in (1), with r for d, and (2) reads y^ and q for x' and c'.
 *     (4) holds as it is, as (x - c) - (x' - c') is what rounding took from x' alone.
 *
 * Of the `wanted` codes that the contract puts first, none is worse by the contract than all of any `wanted` codes. So
 * with b the wanted-th best score known so far, in float32, an answer k has
 *         s2^_k >= b - (2 E2 + M)   and   s1^_k + E1 >= b - (E2 + M);
 * with b the wanted-th best lower bound s1^ - E1 of different codes, s1^_k + E1 >= b - M. What is known only grows, so nothing that is
 * dropped early could come back. The sums below are in double; their own rounding is covered by factors of 1 + 2^-20. All of
 * it needs that nothing overflows: rows with R > 2^60 are scanned instead.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "vq/mapped_internal.h"
#include "vq/nearest_internal.h"

enum { LANE_ROOM = 512 + VQI_ROW_LANES }; /* lanes that wait to be scored, of all rows together */

typedef struct margins {
    float contract, lane, score; /* M, E2 + M, 2 E2 + M */
} margins;

typedef struct candidate {
    uint32_t code;
    float score;
} candidate;

struct vqi_shortlist {
    const vq_codebook *codebook;
    const vqi_contract *contract;
    const vqi_float_ops *ops;
    const vqi_filter *filter;
    const float *x;
    vqi_block block;
    uint32_t wanted, kept_room;
    size_t scored;   /* lanes so far */
    size_t waiting;  /* lanes */
    vqi_bound bound; /* E1 */
    float *room;     /* if mapped: vqi_mapped_room() */
    /* For each row: */
    float *row_square;          /* |x'|^2: that of the block, unless mapped */
    float *error, *read, *rest; /* parts of the bound */
    margins *margin;
    float *lowest;   /* a lane whose upper bound is below it cannot hold an answer ... */
    float *fine;     /* ... nor can a codeword be one whose float32 score is below this */
    float *top;      /* the wanted-th best lower bound so far */
    float *widest;   /* not below an upper bound less its lower bound */
    uint32_t *count; /* candidates; more than kept_room = the row must be scanned */
    candidate *kept; /* kept_room: the candidates, best first */
    float *peaks;    /* VQI_ROW_STRIDE, of the strip at hand */
    float *bounds;   /* VQI_CHUNK, likewise */
    float *best;     /* if mapped: `wanted`, for a scan */
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

/* Of the widest packing that this codebook has, whatever the mask allows today. */
static size_t packed_bytes(const vq_codebook *codebook)
{
    size_t most = 0;
#if defined(__x86_64__)
    if (codebook->coarse[VQI_WORDS].data)
        most = vqi_filter_words.row_bytes(codebook->d);
    if (codebook->coarse[VQI_HALVES].data && vqi_filter_amx.row_bytes(codebook->d) > most)
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
    PART(list->error, rows * sizeof *list->error);
    PART(list->read, rows * sizeof *list->read);
    PART(list->rest, rows * sizeof *list->rest);
    PART(list->margin, rows * sizeof *list->margin);
    PART(list->lowest, rows * sizeof *list->lowest);
    PART(list->fine, rows * sizeof *list->fine);
    PART(list->top, rows * sizeof *list->top);
    PART(list->widest, rows * sizeof *list->widest);
    PART(list->count, rows * sizeof *list->count);
    PART(list->kept, rows * kept_room(wanted) * sizeof *list->kept);
    PART(list->lanes, LANE_ROOM * sizeof *list->lanes);
    PART(list->chosen, LANE_ROOM * sizeof *list->chosen);
    PART(list->scores, LANE_ROOM * sizeof *list->scores);
    PART(list->block.centred, (rows * codebook->d + VQI_LANES) * sizeof *list->block.centred);
    PART(list->block.square, rows * sizeof *list->block.square);
    PART(list->block.error, rows * sizeof *list->block.error);
    PART(list->block.read, rows * sizeof *list->block.read);
    PART(list->bounds, rows * VQI_CHUNK * sizeof *list->bounds);
    PART(list->peaks, rows * VQI_ROW_STRIDE * sizeof *list->peaks);
    PART(list->block.packed, packed_rows * packed_bytes(codebook));
    PART(list->block.unit, rows * sizeof *list->block.unit);
    PART(list->block.start, rows * sizeof *list->block.start);
    list->row_square = list->block.square;
    if (codebook->mapped) {
        PART(list->row_square, rows * sizeof *list->row_square);
        PART(list->best, rows * wanted * sizeof *list->best);
        PART(list->room, vqi_mapped_room(codebook));
    }
#undef PART
    return at;
}

size_t vqi_shortlist_scratch(const vq_codebook *codebook, size_t rows, uint32_t wanted)
{
    vqi_shortlist nowhere;
    return lay_out(&nowhere, NULL, codebook, rows, wanted);
}

/* Of a bound; the factor is for the double sums, for what is done with it in float32, and for the conversion. Never
 * denormal, with which some processors multiply a hundred times slower. */
static float round_up(double value)
{
    return (float)(value * (1 + 0x1p-20) + 0x1p-120);
}

vqi_margin vqi_contract_margin(const vq_codebook *codebook)
{
    const size_t d = vqi_row_dim(codebook), eighths = (d + 7) / 8;
    const double depth = (double)eighths, gamma = gamma_of(depth + 5);
    const double largest = codebook->largest_norm * (1 + 0x1p-20);
    vqi_margin margin = {.largest = largest, .tiny = ((double)d + 4) * 0x1p-147};
    if (codebook->metric == VQ_METRIC_EUCLIDEAN)
        margin.by_square = (gamma / (1 - gamma) + 0x1p-24 * (2 + 0x1p-24)) * (1 + 0x1p-20);
    else
        margin.by_norm = 2 * gamma_of(depth + 3) * largest;
    return margin;
}

static void find_margins(vqi_shortlist *list)
{
    const vq_codebook *codebook = list->codebook;
    const vqi_block *block = &list->block;
    const double d = codebook->d;
    const vqi_margin margin = vqi_contract_margin(codebook);
    const int coarse = list->filter->pack != NULL, integer = list->filter->form != VQI_HALVES;
    const double largest = margin.largest, tiny = margin.tiny;
    const double longest = codebook->filter_norm * (1 + 0x1p-20); /* Q, or C again */
    const double fine_factor = gamma_of(d + 4), filter_factor = gamma_of(d + 12);
    const double coarse_factor = gamma_of(integer ? 24 : 2 * d + 32);
    const double coarse_tiny = integer ? 0x1p-110 : (2 * d + 16) * 0x1p-125;
    /* What rounding may have taken from the sums of squares. */
    const double depth_factor = 1 + (d / 4 + 32) * 0x1p-23, underflow = (d + 1) * 0x1p-140;
    const double widest_norm = codebook->widest_norm;
    const double widest_error = codebook->coarse[list->filter->form].widest_error;
    for (size_t r = 0; r < block->rows; r++) {
        const double norm = sqrt(list->row_square[r] * depth_factor + underflow);
        const double own = sqrt(block->square[r] * depth_factor + underflow); /* |y^|, or |x'| */
        const double reach = fmax(norm, own) + largest;
        const double contract = vqi_margin_of(&margin, norm);
        const double products = own * longest + largest * largest / 2;
        const double mapped = codebook->mapped ? vqi_mapped_error(codebook, norm, own) : 0;
        const double fine = fine_factor * products + tiny + mapped;
        double error = 0, read = 0, rest = filter_factor * products + tiny + mapped;
        if (coarse) {
            error = sqrt(block->error[r] * depth_factor + underflow);
            read = sqrt(block->read[r] * depth_factor + underflow); /* not below |p|: w <= 1 */
            rest = coarse_factor * (read * codebook->coarse_norm + largest * largest / 2) +
                   coarse_tiny * (1 + read + fmax(largest, longest)) +
                   (integer ? block->unit[r] : 0) + mapped;
        }
        list->error[r] = round_up(error);
        list->read[r] = round_up(read);
        list->rest[r] = round_up(rest);
        list->top[r] = -INFINITY;
        list->widest[r] =
            round_up(2 * (1 + 0x1p-10) * (error * widest_norm + read * widest_error + rest));
        list->margin[r] =
            (margins){round_up(contract), round_up(fine + contract), round_up(2 * fine + contract)};
        const int large = !(reach <= VQI_LARGEST_NORM); /* so if infinite */
        list->lowest[r] = list->fine[r] = large ? INFINITY : -FLT_MAX;
        list->count[r] = large ? list->kept_room + 1 : 0;
    }
}

/* The parts of the bound that belong to the codebook. The float32 filter has none: any zeros will do. */
static void find_group_bounds(vqi_shortlist *list)
{
    const vq_codebook *codebook = list->codebook;
    list->bound = (vqi_bound){list->error, list->read, list->rest, codebook->group_norm,
                              codebook->group_norm};
    if (list->filter->pack)
        list->bound.code_error = codebook->coarse[list->filter->form].group_error;
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
    find_group_bounds(list);
    list->x = x;
    list->block.rows = rows;
    list->wanted = wanted;
    list->kept_room = kept_room(wanted);
    list->scored = list->waiting = 0;
    const int finite = codebook->mapped ? vqi_mapped_rows(&list->block, list->row_square, x,
                                                          codebook, list->ops, list->room)
                                        : list->ops->centre(&list->block, x, codebook);
    if (!finite && !kernels->contract->all_finite(x, rows * vqi_row_dim(codebook)))
        return NULL;
    clear_large_rows(&list->block, codebook->d);
    if (list->filter->pack)
        list->filter->pack(&list->block, codebook);
    find_margins(list);
    return list;
}

vqi_block *vqi_shortlist_block(vqi_shortlist *list)
{
    return &list->block;
}

const vqi_bound *vqi_shortlist_bound(const vqi_shortlist *list)
{
    return &list->bound;
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
    if (list->codebook->mapped)
        vqi_mapped_score_lanes(list->scores, list->chosen, chosen, &list->block, list->codebook,
                               list->contract, list->room);
    else
        list->ops->score_lanes(list->scores, list->chosen, chosen, &list->block, list->codebook);
    list->scored += chosen;
    const uint32_t *order = list->codebook->order;
    for (size_t i = 0; i < chosen; i++) {
        const float *scores = list->scores[i];
        const vqi_lane it = list->chosen[i];
        /* The best of the four first, which mostly rules out the rest. */
        uint32_t best = 0;
        for (uint32_t j = 1; j < 4; j++)
            best = scores[j] > scores[best] ? j : best;
        if (scores[best] < list->fine[it.row])
            continue;
        keep(list, it.row, order[it.place + best * VQI_LANES], scores[best]);
        for (uint32_t j = 0; j < 4; j++)
            if (scores[j] >= list->fine[it.row] && j != best)
                keep(list, it.row, order[it.place + j * VQI_LANES], scores[j]);
    }
}

/* Score in float32 the lanes that wait: first the most promising of each row, as it may rule out the others. All rows
 * go through each step together, because a processor that has to guess for each row what comes next guesses wrong. */
static void score_waiting(vqi_shortlist *list)
{
    size_t chosen = 0;
    for (size_t i = 0; i < list->waiting; i++) {
        const vqi_lane it = list->lanes[i];
        list->chosen[chosen] = it;
        chosen += it.lower >= list->top[it.row];
    }
    score_chosen(list, chosen);
    chosen = 0;
    for (size_t i = 0; i < list->waiting; i++) {
        const vqi_lane it = list->lanes[i];
        list->chosen[chosen] = it;
        chosen += (it.lower < list->top[it.row]) & (it.upper >= list->lowest[it.row]);
    }
    score_chosen(list, chosen);
    list->waiting = 0;
}

/* Forget the waiting lanes that the best so far has ruled out; if many are left, score them. */
static void make_room(vqi_shortlist *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->waiting; i++) {
        const vqi_lane it = list->lanes[i];
        list->lanes[kept] = it;
        kept += it.upper >= list->lowest[it.row];
    }
    list->waiting = kept;
    if (kept > (LANE_ROOM - VQI_ROW_LANES) / 2)
        score_waiting(list);
}

/* @return the wanted-th largest of 64 values; they are left in disorder. */
static float nth_largest(float values[64], uint32_t wanted)
{
    enum { FEW = 8 };
    size_t low = 0, high = 63;
    const size_t at = wanted - 1;
    if (at < FEW) { /* by insertion: most values are passed over */
        float best[FEW];
        for (size_t i = 0; i < FEW; i++)
            best[i] = -INFINITY;
        for (size_t i = 0; i < 64; i++)
            if (values[i] > best[at]) {
                size_t j = at;
                for (; j > 0 && best[j - 1] < values[i]; j--)
                    best[j] = best[j - 1];
                best[j] = values[i];
            }
        return best[at];
    }
    while (low < high) { /* Hoare's selection, largest first */
        const float pivot = values[(low + high) / 2];
        size_t i = low, j = high;
        for (;; i++, j--) {
            while (values[i] > pivot)
                i++;
            while (values[j] < pivot)
                j--;
            if (i >= j)
                break;
            const float swap = values[i];
            values[i] = values[j];
            values[j] = swap;
        }
        if (at <= j)
            high = j;
        else
            low = j + 1;
    }
    return values[at];
}

/* The wanted-th best lower bound of row r, i in its strip, in this chunk; -infinity if nothing in it can matter. */
static float wanted_top(vqi_shortlist *list, size_t r, size_t i, float highest, size_t groups)
{
    if (highest + list->widest[r] < list->lowest[r])
        return -INFINITY;
    float maxima[64];
    list->ops->find_maxima(maxima, list->peaks + i * VQI_ROW_STRIDE, list->bounds + i * VQI_CHUNK,
                           groups);
    return nth_largest(maxima, list->wanted);
}

/* Take up the peaks that the rows from `row` up to `end` have in `groups` groups from `first` on. */
static void collect(vqi_shortlist *list, size_t row, size_t end, size_t first, size_t groups)
{
    float tops[VQI_BLOCK];
    list->ops->find_tops(tops, list->bounds, list->peaks, row, end, first, groups, &list->bound);
    for (size_t r = row; r < end; r++) {
        const float highest = tops[r - row];
        const float top =
            list->wanted == 1 ? highest : wanted_top(list, r, r - row, highest, groups);
        const float lowest = vqi_below(top, list->margin[r].contract);
        list->top[r] = top > list->top[r] ? top : list->top[r];
        list->lowest[r] = lowest > list->lowest[r] ? lowest : list->lowest[r];
    }
    for (size_t r = row; r < end; r++) {
        if (tops[r - row] + list->widest[r] < list->lowest[r])
            continue;
        list->waiting += list->ops->find_lanes(
            list->lanes + list->waiting, (uint32_t)r, list->peaks + (r - row) * VQI_ROW_STRIDE,
            list->bounds + (r - row) * VQI_CHUNK, first, groups, list->lowest[r]);
        if (list->waiting > LANE_ROOM - VQI_ROW_LANES)
            make_room(list);
    }
}

/* The float32 filter on groups that are not kept: each is made once for all rows. */
static void search_made_groups(vqi_shortlist *list, size_t first, size_t end)
{
    const size_t rows = list->block.rows;
    vq_codebook one = *list->codebook; /* of which it reads one group */
    one.groups = list->room;
    for (; first < end; first += VQI_CHUNK) {
        const size_t groups = end - first < VQI_CHUNK ? end - first : VQI_CHUNK;
        for (size_t g = 0; g < groups; g++) {
            vqi_mapped_group(list->room, list->codebook, first + g);
            one.start = list->codebook->start + (first + g) * VQI_GROUP;
            list->filter->peaks(list->peaks + g * VQI_LANES, &list->block, 0, rows, &one, 0, 1);
        }
        collect(list, 0, rows, first, groups);
    }
    score_waiting(list);
}

void vqi_shortlist_search(vqi_shortlist *list, size_t first, size_t end)
{
    const size_t rows = list->block.rows, strip = list->filter->strip;
    if (!list->codebook->groups && !list->filter->pack) {
        search_made_groups(list, first, end);
        return;
    }
    for (; first < end; first += VQI_CHUNK) {
        const size_t groups = end - first < VQI_CHUNK ? end - first : VQI_CHUNK;
        for (size_t r = 0; r < rows; r += strip) {
            const size_t stop = rows - r < strip ? rows : r + strip;
            list->filter->peaks(list->peaks, &list->block, r, stop, list->codebook, first, groups);
            collect(list, r, stop, first, groups);
        }
    }
    score_waiting(list);
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
    const size_t d = vqi_row_dim(codebook);
    const uint32_t count = list->count[r];
    candidate *kept = list->kept + r * list->kept_room;
    const float *x = list->x + r * d;
    const int euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN;
    if (count == 1 && !scores) {
        *codes = kept[0].code;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        candidate c = kept[i];
        if (codebook->mapped)
            c.score = vqi_mapped_score(codebook, list->contract, x, c.code, list->room);
        else
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

size_t vqi_shortlist_lanes(const vqi_shortlist *list)
{
    for (size_t r = 0; r < list->block.rows; r++)
        if (list->count[r] > list->kept_room)
            return SIZE_MAX;
    return list->scored;
}

size_t vqi_shortlist_finish(vqi_shortlist *list, uint32_t *codes, float *scores)
{
    const vq_codebook *codebook = list->codebook;
    const size_t wanted = list->wanted, d = vqi_row_dim(codebook);
    uint32_t open[VQI_BLOCK];
    size_t left = 0;
    for (size_t r = 0; r < list->block.rows; r++) {
        float *own = scores ? scores + r * wanted : NULL;
        if (list->count[r] >= wanted && list->count[r] <= list->kept_room)
            decide(codes + r * wanted, own, list, r);
        else if (codebook->mapped)
            open[left++] = (uint32_t)r;
        else
            vqi_nearest_scan(codes + r * wanted, own, codebook, list->contract, list->x + r * d,
                             list->wanted);
    }
    if (left)
        vqi_mapped_scan(codes, scores, codebook, list->contract, list->x, open, left, list->wanted,
                        list->best, list->room);
    return list->scored;
}
