/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/short_template_internal.h
 * The search of short rows, written once and compiled for each instruction set with products of 16 bits: VPDPWSSD and
 * VPMADDWD, which give the same whole numbers. The including file has the registers, and defines LANES (rows of one),
 * BATCH (registers of rows that are searched at once, at most), FEW_FROM_K (with fewer codewords, to decide among the
 * best few takes longer than to compare them one by one) and SEARCH (the name of its function).
 *
 * What may be off. x' and c' are the centred row and codeword, C the largest |c'|, R not below any |x'| of the rows
 * nor C. Elements of c' are taken in steps of b = C / 32766, those of x' in steps of a = R / 32766, as whole numbers q and
 * p; so |p|, |q| <= 32766 + 2 and by Cauchy and Schwarz all sums stay below 1.5 x 2^30, those of any two products, which
 * VPMADDWD adds first, at most 2^30. In units of ab a score is
 *     S(k) = p.q(k) + t(k),   t(k) = -|c'|^2 / 2ab as a whole number,
 * and |ab S(k) - s(k)| <= |x' - ap| C + |ap| |c' - bq| + ab |t(k) + |c'|^2 / 2ab|
 *                      <= (a sqrt(d) / 2) (1 + 2^-6) C + (R + 4 a) e + 130 ab =: E,
 * with e the largest |c' - bq|, measured. (Of 130: rounding of t to float32 and to a whole number, at most 1.5 x 2^29
 * x 3 x 2^-24 + 1, which is below 98. The factor: an element is off by half a step and by the rounding of x' / a.)
 * The low bits of S make room for the place k in a piece of at most 2^w places: T = S - S mod 2^w + k. A place is a codeword or,
 * to compare less, a few that follow each other, with the largest S of them. If the largest T is ahead of the second by more than
 * (2 E + M) / ab + 2 x 2^w, with M as in nearest_shortlist.c, the contract prefers what is there too.
 */
#include <math.h>

#include "vq/nearest_internal.h"
#include "vq/short_internal.h"

/* The rows from `first_row` on, with places that exist. */
static size_t leave_open(uint32_t *places, uint32_t *open, uint32_t first_row, size_t rows)
{
    for (size_t r = 0; r < rows; r++) {
        places[r] = 0;
        open[r] = first_row + (uint32_t)r;
    }
    return rows;
}

/* What a search has found so far, a lane for each row. */
typedef struct leaders {
    ints best[BATCH], second[BATCH], place[BATCH];
} leaders;

/* All codewords, a piece at a time. @param per_unit 1 / ab. @param step codewords of a place. */
static void search_pieces(leaders *all, const ints (*x)[MOST_PAIRS], const vq_codebook *codebook,
                          float per_unit, int32_t place_bits, uint32_t step, int vectors)
{
    const vqi_short_codebook *few = codebook->few;
    int32_t start[VQI_SHORT_PIECE] __attribute__((aligned(64)));
    for (uint32_t first = 0; first < codebook->k; first += VQI_SHORT_PIECE) {
        const uint32_t left = codebook->k - first,
                       k = left < VQI_SHORT_PIECE ? left : VQI_SHORT_PIECE;
        for (uint32_t c = 0; c < k; c += LANES)
            store_ints(start + c, whole_terms(few->start + first + c, k - c, per_unit));
        ints best[BATCH], second[BATCH];
        scan_any(best, second, x, few->packed + (size_t)first * few->pairs, start, k, place_bits,
                 few->pairs, step, vectors);
        for (int v = 0; v < vectors; v++) {
            const ints place = plus(both(best[v], same(place_bits)), same((int)(first / step)));
            const ints beaten = smaller(best[v], all->best[v]);
            all->place[v] = where_larger(best[v], all->best[v], place, all->place[v]);
            all->second[v] = larger(larger(all->second[v], second[v]), beaten);
            all->best[v] = larger(all->best[v], best[v]);
        }
    }
}

/* Up to vectors x LANES rows, and the places of their best. @return how many are left open. */
static size_t search(uint32_t *places_of, uint32_t *open, const vq_codebook *codebook,
                     const float *x, size_t rows, uint32_t first_row, int vectors, uint32_t step)
{
    const vqi_short_codebook *few = codebook->few;
    const vqi_margin margin = vqi_contract_margin(codebook);
    const uint32_t d = codebook->d;
    float spread_rows[BATCH][VQI_SHORT_DIM][LANES] __attribute__((aligned(64)));
    float square = 0;
    int finite = 1;
    for (int v = 0; v < vectors; v++) {
        const size_t begin = (size_t)v * LANES, count = begin < rows ? rows - begin : 0;
        const float one = spread(spread_rows[v], x + (count ? begin * d : 0), count, codebook);
        finite &= one < INFINITY;
        square = one > square ? one : square;
    }
    const double norm = sqrt(square * (1 + 0x1p-18) + 0x1p-140);
    const double reach = fmax(norm, margin.largest);
    const double a = reach / 32766, b = few->step, unit = a * b;
    if (!finite || reach > VQI_LARGEST_NORM || !(unit > 0x1p-100))
        return leave_open(places_of, open, first_row, rows);
    ints p[BATCH][MOST_PAIRS];
    for (int v = 0; v < vectors; v++)
        for (uint32_t j = 0; j < few->pairs; j++)
            p[v][j] = pair_of(spread_rows[v][2 * j], spread_rows[v][2 * j + 1], (float)(1 / a));
    const uint32_t most = codebook->k < VQI_SHORT_PIECE ? codebook->k : VQI_SHORT_PIECE;
    uint32_t places = 1;
    while (places * step < most)
        places *= 2;
    const double error =
        a * sqrt(d) / 2 * (1 + 0x1p-6) * margin.largest + (reach + 4 * a) * few->error + 130 * unit;
    const double ahead =
        (2 * error + vqi_margin_of(&margin, norm)) / unit * (1 + 0x1p-10) + 2.0 * places + 1;
    if (!(ahead < 0x1p28))
        return leave_open(places_of, open, first_row, rows);
    leaders all;
    for (int v = 0; v < vectors; v++) {
        all.best[v] = all.second[v] = same(INT32_MIN);
        all.place[v] = same(0);
    }
    search_pieces(&all, (const ints(*)[MOST_PAIRS])p, codebook, (float)(1 / unit),
                  (int32_t)places - 1, step, vectors);
    size_t left = 0;
    for (size_t v = 0; v * LANES < rows; v++) {
        const size_t begin = v * LANES, count = rows - begin < LANES ? rows - begin : LANES;
        store_some(places_of + begin, all.place[v], count);
        unsigned near = near_lanes(all.best[v], all.second[v], (int32_t)ahead, count);
        for (; near; near &= near - 1)
            open[left++] = first_row + (uint32_t)begin + (uint32_t)__builtin_ctz(near);
    }
    return left;
}

size_t SEARCH(uint32_t *codes, uint32_t *open, const vq_codebook *codebook,
              const vqi_contract *contract, const float *x, size_t rows)
{
    const uint32_t step = codebook->k < FEW_FROM_K ? 1 : VQI_SHORT_FEW;
    size_t left = 0;
    for (size_t r = 0; r < rows;) {
        const int vectors = vectors_of(codebook->few->pairs, rows - r);
        const size_t batch = (size_t)vectors * LANES;
        left += search(codes + r, open + left, codebook, x + r * codebook->d,
                       rows - r < batch ? rows - r : batch, (uint32_t)r, vectors, step);
        r += batch;
    }
    if (step > 1)
        contract->nearest_of_few(codes, x, rows, codebook->codewords, codebook->k, codebook->d,
                                 codebook->metric == VQ_METRIC_EUCLIDEAN);
    return left;
}
