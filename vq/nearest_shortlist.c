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

typedef struct row_state {
    float peak_margin, lane_margin, score_margin; /* 2 E1 + M, E1 + E2 + M, 2 E2 + M */
    float lowest;                                 /* a peak below it cannot hold an answer ... */
    float fine;     /* ... nor can a codeword be one whose float32 score is below this */
    uint32_t lanes; /* waiting to be scored in float32 */
    uint32_t kept;  /* candidates; more than room = the row must be scanned */
} row_state;

/* Four codewords, of which one may be an answer: code, + 16, + 32, + 48. */
typedef struct lane {
    uint32_t code;
    float peak;
} lane;

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
    uint32_t wanted, lane_room, kept_room;
    size_t scored; /* lanes so far */
    row_state *rows;
    lane *lanes;     /* rows x lane_room */
    candidate *kept; /* rows x kept_room, best first */
    float *centred;  /* rows x d */
    float *peaks;    /* rows x chunk x 16 */
};

static double gamma_of(double n)
{
    return n * 0x1p-24 / (1 - n * 0x1p-24);
}

static uint32_t lane_room(uint32_t wanted)
{
    return 24 + wanted;
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

/* Lay the parts out from `at` on. @return the bytes they take. */
static size_t lay_out(vqi_shortlist *list, char *at, const vq_codebook *codebook, size_t rows,
                      uint32_t wanted)
{
    char *const begin = at;
    const size_t packed_rows = (rows + 15) / 16 * 16; /* a tile reads 16 */
#define PART(pointer, bytes)                                                                       \
    do {                                                                                           \
        (pointer) = (void *)at;                                                                    \
        at += padded(bytes);                                                                       \
    } while (0)
    at += padded(sizeof *list);
    PART(list->rows, rows * sizeof *list->rows);
    PART(list->lanes, rows * lane_room(wanted) * sizeof *list->lanes);
    PART(list->kept, rows * kept_room(wanted) * sizeof *list->kept);
    PART(list->centred, rows * codebook->d * sizeof *list->centred);
    PART(list->peaks, rows * chunk_of(codebook) * VQI_LANES * sizeof *list->peaks);
    PART(list->block.packed, packed_rows * packed_bytes(codebook));
    PART(list->block.scale, rows * sizeof *list->block.scale);
    PART(list->block.start, rows * sizeof *list->block.start);
#undef PART
    return (size_t)(at - begin);
}

size_t vqi_shortlist_scratch(const vq_codebook *codebook, size_t rows, uint32_t wanted)
{
    vqi_shortlist nowhere;
    return lay_out(&nowhere, NULL, codebook, rows, wanted);
}

/* A bound of |x'| from the sum of squares that centre_row() made: its own rounding and underflow. */
static double norm_of(float square, double d)
{
    return sqrt(square * (1 + (d / 4 + 16) * 0x1p-23) + d * 0x1p-148);
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

/* E1 of a coarse filter that measured |x'-p|. */
static double coarse_error(const bounds *b, double norm, double d, float measured)
{
    const double error = measured * b->error_factor + sqrt(d) * 0x1p-73, read = norm + error;
    return error * b->largest + read * b->code_error +
           b->coarse * (read * (b->largest + b->code_error) + b->largest * b->largest / 2) +
           b->coarse_tiny * (1 + norm + b->largest);
}

/* Of a margin; the factor is for the double sums and for half a step of the conversion. */
static float round_up(double value)
{
    return (float)(value * (1 + 0x1p-20) + 0x1p-148);
}

static void begin_row(vqi_shortlist *list, size_t r)
{
    const vq_codebook *codebook = list->codebook;
    const size_t d = codebook->d;
    const bounds *b = &list->bound;
    row_state *row = &list->rows[r];
    float *centred = list->centred + r * d;
    const double norm =
        norm_of(list->ops->centre_row(centred, list->x + r * d, codebook->centre, d), (double)d);
    const double reach = norm + b->largest;
    *row = (row_state){.lowest = -FLT_MAX, .fine = -FLT_MAX};
    if (!(reach <= VQI_LARGEST_NORM)) { /* so if infinite */
        row->kept = list->kept_room + 1;
        row->lowest = INFINITY;
        /* It is filtered with the others, in vain: let it be finite. */
        memset(centred, 0, d * sizeof *centred);
    }
    const double contract =
        b->contract_square * reach * reach + b->contract_product * norm + b->tiny;
    const double fine = b->fine * (norm + b->largest / 2) + b->tiny;
    double coarse = fine;
    if (list->filter->pack_row)
        coarse =
            coarse_error(b, norm, (double)d, list->filter->pack_row(&list->block, r, codebook->d));
    row->peak_margin = list->wanted == 1 ? round_up(2 * coarse + contract) : INFINITY;
    row->lane_margin = round_up(coarse + fine + contract);
    row->score_margin = round_up(2 * fine + contract);
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
    list->block.centred = list->centred;
    list->wanted = wanted;
    list->lane_room = lane_room(wanted);
    list->kept_room = kept_room(wanted);
    list->scored = 0;
    for (size_t r = 0; r < rows; r++)
        begin_row(list, r);
    return list;
}

/* Put a candidate that is not below row->fine in its place. */
static void keep(vqi_shortlist *list, row_state *row, candidate *kept, uint32_t code, float score)
{
    const uint32_t wanted = list->wanted;
    if (row->kept >= list->kept_room) {
        row->kept = list->kept_room + 1;
        row->lowest = row->fine = INFINITY;
        return;
    }
    uint32_t at = row->kept++;
    for (; at > 0 && kept[at - 1].score < score; at--)
        kept[at] = kept[at - 1];
    kept[at] = (candidate){code, score};
    if (row->kept < wanted || at >= wanted)
        return;
    const float last = kept[wanted - 1].score, lowest = vqi_below(last, row->lane_margin);
    row->fine = vqi_below(last, row->score_margin);
    row->lowest = lowest > row->lowest ? lowest : row->lowest;
    while (kept[row->kept - 1].score < row->fine)
        row->kept--;
}

/* Score in float32 the lanes that wait, the most promising first, as it may rule out the others. */
static void score_lanes(vqi_shortlist *list, size_t r)
{
    const vq_codebook *codebook = list->codebook;
    const size_t d = codebook->d;
    row_state *row = &list->rows[r];
    lane *lanes = list->lanes + r * list->lane_room;
    candidate *kept = list->kept + r * list->kept_room;
    uint32_t first = 0;
    for (uint32_t i = 1; i < row->lanes; i++)
        if (lanes[i].peak > lanes[first].peak)
            first = i;
    for (uint32_t i = 0; i < row->lanes; i++) {
        const lane it = lanes[i ? i == first ? 0 : i : first];
        if (it.peak < row->lowest)
            continue;
        float scores[4];
        list->ops->score_lane(scores, list->centred + r * d, codebook, it.code);
        list->scored++;
        /* The best of the four first, which mostly rules out the rest. */
        uint32_t best = 0;
        for (uint32_t j = 1; j < 4; j++)
            best = scores[j] > scores[best] ? j : best;
        if (scores[best] < row->fine)
            continue;
        keep(list, row, kept, it.code + best * VQI_LANES, scores[best]);
        for (uint32_t j = 0; j < 4; j++)
            if (scores[j] >= row->fine && j != best)
                keep(list, row, kept, it.code + j * VQI_LANES, scores[j]);
    }
    row->lanes = 0;
}

/* Take up the peaks of `groups` groups from `first` on. */
static void collect(vqi_shortlist *list, size_t r, const float *peaks, size_t first, size_t groups)
{
    row_state *row = &list->rows[r];
    lane *lanes = list->lanes + r * list->lane_room;
    uint16_t found[VQI_MOST_LANES];
    const size_t n = list->ops->find_lanes(found, &row->lowest, peaks, groups, row->peak_margin);
    for (size_t i = 0; i < n; i++) {
        if (row->lanes == list->lane_room)
            score_lanes(list, r);
        const uint32_t group = (uint32_t)first + found[i] / VQI_LANES;
        lanes[row->lanes++] = (lane){group * VQI_GROUP + found[i] % VQI_LANES, peaks[found[i]]};
    }
}

void vqi_shortlist_search(vqi_shortlist *list, size_t first, size_t end)
{
    const size_t chunk = chunk_of(list->codebook);
    for (; first < end; first += chunk) {
        const size_t groups = end - first < chunk ? end - first : chunk;
        list->filter->peaks(list->peaks, &list->block, list->codebook, first, groups);
        for (size_t r = 0; r < list->block.rows; r++)
            collect(list, r, list->peaks + r * groups * VQI_LANES, first, groups);
    }
    for (size_t r = 0; r < list->block.rows; r++)
        score_lanes(list, r);
}

void vqi_shortlist_merge(vqi_shortlist *list, const vqi_shortlist *other)
{
    for (size_t r = 0; r < list->block.rows; r++) {
        row_state *row = &list->rows[r];
        const row_state *more = &other->rows[r];
        if (more->kept > other->kept_room)
            row->kept = list->kept_room + 1;
        for (uint32_t i = 0; i < more->kept && row->kept <= list->kept_room; i++) {
            const candidate c = other->kept[r * other->kept_room + i];
            if (c.score >= row->fine)
                keep(list, row, list->kept + r * list->kept_room, c.code, c.score);
        }
    }
    list->scored += other->scored;
}

/* Order candidates by the contract and give the best. */
static void decide(uint32_t *codes, float *scores, vqi_shortlist *list, size_t r)
{
    const vq_codebook *codebook = list->codebook;
    const size_t d = codebook->d;
    const row_state *row = &list->rows[r];
    candidate *kept = list->kept + r * list->kept_room;
    const float *x = list->x + r * d;
    const int euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN;
    if (row->kept > list->kept_room || row->kept < list->wanted) {
        vqi_nearest_scan(codes, scores, codebook, list->contract, x, list->wanted);
        return;
    }
    if (row->kept == 1 && !scores) {
        *codes = kept[0].code;
        return;
    }
    for (uint32_t i = 0; i < row->kept; i++) {
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
