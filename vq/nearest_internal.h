/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/nearest_internal.h
 * The parts of the nearest-code search. The contract kernels say what is nearest; a filter scores all
 * codewords fast and inexactly; the shortlist keeps what the filter cannot rule out and lets the contract
 * decide (the proof is in nearest_shortlist.c).
 */
#ifndef VQ_NEAREST_INTERNAL_H
#define VQ_NEAREST_INTERNAL_H

#include <stdint.h>

#include "vq/codebook_internal.h"

enum {
    VQI_BLOCK =
        96, /* rows that a filter takes at once: the codebook is read once for all of them */
    VQI_CHUNK =
        16, /* groups between two looks at the peaks, which then still lie in the level-2 cache */
    VQI_MAP_ROWS = 4,
    VQI_SHORT_FEW = 4, /* codewords among which the contract decides for a short row */
    VQI_ROW_LANES = VQI_CHUNK * VQI_LANES, /* of a row in a chunk, at most */
    VQI_ROW_STRIDE =
        VQI_ROW_LANES + VQI_LANES /* rows a power of two apart would share few lines of the cache */
};

/** The contract of vq/codebook.h; every set gives the same bits. */
typedef struct vqi_contract {
    /* 1 if no element is a NaN or an infinity. */
    int (*all_finite)(const float *x, size_t count);
    /* The scores of x (d) with `count` codewords (count x d). */
    void (*distances)(float *scores, const float *x, const float *codewords, size_t count,
                      size_t d);
    void (*dots)(float *scores, const float *x, const float *codewords, size_t count, size_t d);
    /* The distance of x[i] and c[i]. */
    void (*pair_distances)(float *scores, const float *const *x, const float *const *c,
                           size_t count, size_t d);
    /* codes[r], the number of some VQI_SHORT_FEW codewords that follow each other, becomes the code of the best of them.
     * For scores that do not overflow. */
    void (*nearest_of_few)(uint32_t *codes, const float *x, size_t rows, const float *codewords,
                           uint32_t k, size_t d, int euclidean);
} vqi_contract;

extern const vqi_contract vqi_contract_portable;
#if defined(__x86_64__)
extern const vqi_contract vqi_contract_avx2;
#endif

/** Up to VQI_BLOCK rows as the filters read them: x' = x - centre, and p, what a coarse filter reads for x'. */
typedef struct vqi_block {
    size_t rows;
    float *centred; /* rows x d, and room for a register: x' */
    float *square;  /* rows: |x'|^2, at most d/4 + 8 additions deep */
    void *packed;   /* rows, up to a multiple of 16 of them, in the filter's own form */
    float *error; /* rows: sum (x' - p)^2 w, at most d/16 + 8 additions deep; w as in vq_codebook */
    float *read;  /* rows: sum p^2 / w, as deep */
    float *unit;  /* rows, integers only: what 1 in the scores stands for */
    int32_t *start; /* rows, bytes only: takes back that the codebook's are offset by 128 */
} vqi_block;

/**
 * How far a filter's score of row r and group g may be off: error[r] norm[g] + read[r] code_error[g] + rest[r],
 * computed in float32.
 */
typedef struct vqi_bound {
    const float *error, *read, *rest;
    const float *norm, *code_error;
} vqi_bound;

/**
 * A filter scores every codeword: s(k) = x'.c'(k) - |c'(k)|^2 / 2 (without the last term unless
 * Euclidean). It tells the shortlist only the peaks: 16 lanes for each group of 64 codewords, lane l of group g
 * holding the largest score of the four codewords 64 g + l + 16 j.
 */
typedef struct vqi_filter {
    const char *name;
    vqi_form form; /* that it reads, unless it is the float32 filter */
    size_t
        strip; /* rows between two looks at the peaks, a multiple of 12 or 16 that divides VQI_BLOCK */
    /* Bytes of a packed row, a multiple of 64. */
    size_t (*row_bytes)(uint32_t d);
    /* Pack the centred rows and say how well; NULL = the filter reads the centred rows. */
    void (*pack)(vqi_block *block, const vq_codebook *codebook);
    /* peaks: VQI_ROW_STRIDE for each row from `row` up to `end`, groups x 16 of them filled: those of the groups from
     * `first` on. `row` is a multiple of the strip. */
    void (*peaks)(float *peaks, const vqi_block *block, size_t row, size_t end,
                  const vq_codebook *codebook, size_t first, size_t groups);
} vqi_filter;

/** M of nearest_shortlist.c, of which one of the factors is 0: a codeword whose exact score is worse than another's by more
 *  does not win by the contract. */
typedef struct vqi_margin {
    double by_square, by_norm, tiny;
    double largest; /* C */
} vqi_margin;

vqi_margin vqi_contract_margin(const vq_codebook *codebook);

/** @return M for rows up to this |x'|. */
static inline double vqi_margin_of(const vqi_margin *margin, double norm)
{
    const double reach = norm + margin->largest;
    return margin->by_square * reach * reach + margin->by_norm * norm + margin->tiny;
}

/** score - margin, rounded down. */
static inline float vqi_below(float score, float margin)
{
    const float below = score - margin;
    return below - (below < 0 ? -below : below) * 0x1p-22f - 0x1p-148f;
}

/** Four places of which one may hold an answer for a row: place, + 16, + 32, + 48. */
typedef struct vqi_lane {
    uint32_t row, place;
    float lower, upper; /* the peak less, and plus, what it may be off */
} vqi_lane;

/** What the shortlist does with float32 vectors, in any order of summation. */
typedef struct vqi_float_ops {
    vqi_filter filter; /* float32: no row_bytes, no pack */
    /* Fill in block->centred and block->square. @return 1 if every square is finite, so that x is too. */
    int (*centre)(vqi_block *block, const float *x, const vq_codebook *codebook);
    /* For the rows from `row` up to `end`: bounds, 16 of a row, for each group; tops, one of a row, = the largest lower
     * bound, peak less bound, of its groups x 16 peaks. `first` is the first group. */
    void (*find_tops)(float *tops, float *bounds, const float *peaks, size_t row, size_t end,
                      size_t first, size_t groups, const vqi_bound *bound);
    /* maxima[16 j + l] = the largest lower bound in lane l of the groups g = j mod 4 of one row: of 64 different
     * codewords, or -infinity. */
    void (*find_maxima)(float maxima[64], const float *peaks, const float *bounds, size_t groups);
    /* The lanes of one row whose upper bounds are at least `lowest`, in rising order. @return how many. */
    size_t (*find_lanes)(vqi_lane *lanes, uint32_t row, const float *peaks, const float *bounds,
                         size_t first, size_t groups, float lowest);
    /* scores[i][j] = s at the place lanes[i].place + 16 j. */
    void (*score_lanes)(float (*scores)[4], const vqi_lane *lanes, size_t count,
                        const vqi_block *block, const vq_codebook *codebook);
    /* y = W x of up to VQI_MAP_ROWS rows, added up in double, at most d additions deep, and rounded: rows x r. x always has
     * VQI_MAP_ROWS rows of d, W is r x d. */
    void (*map_rows)(float *y, const double *x, size_t rows, const float *map, size_t r, size_t d);
} vqi_float_ops;

extern const vqi_float_ops vqi_float_portable;
#if defined(__x86_64__)
extern const vqi_float_ops vqi_float_avx2, vqi_float_avx512;
extern const vqi_filter vqi_filter_bytes, vqi_filter_words, vqi_filter_madd, vqi_filter_amx;
#endif

/**
 * The codes of up to VQI_BLOCK short rows, but of those that are left open: their places among the rows, rising, go to
 * `open`. @return how many are left open; among them are all that are not finite.
 */
typedef size_t vqi_short_search(uint32_t *codes, uint32_t *open, const vq_codebook *codebook,
                                const vqi_contract *contract, const float *x, size_t rows);

/** The kernels of one call: the fastest that vq_cpu_flags() allows now. */
typedef struct vqi_kernels {
    const vqi_contract *contract;
    const vqi_float_ops *ops;
    const vqi_filter *coarse; /* int8 or bf16; NULL = the float32 filter only */
    const vqi_filter *finer;  /* where that tells too little apart: int16; NULL = float32 */
    vqi_short_search *few;    /* of short rows; NULL = it does not serve */
} vqi_kernels;

/** @param n rows: with few of them not every filter pays. */
vqi_kernels vqi_nearest_kernels(const vq_codebook *codebook, size_t n);

/** The contract on every codeword: the `wanted` nearest of one row, best first. scores may be NULL. */
void vqi_nearest_scan(uint32_t *codes, float *scores, const vq_codebook *codebook,
                      const vqi_contract *contract, const float *x, uint32_t wanted);

/** Take up one more codeword of such a scan: by rising code. best: `wanted` scores, smaller is better; found begins at 0. */
void vqi_nearest_note(uint32_t *codes, float *best, uint32_t *found, uint32_t wanted, uint32_t code,
                      float score);

/** @return bytes of scratch of a shortlist for up to `rows` rows, a multiple of 64. */
size_t vqi_shortlist_scratch(const vq_codebook *codebook, size_t rows, uint32_t wanted);
/** A search of one block. */
typedef struct vqi_shortlist vqi_shortlist;
/**
 * Begin: centre and pack the rows. @return the object, which lies in the scratch (64-byte aligned); NULL if a
 * row holds a NaN or an infinity.
 * @param x rows x d, not copied. @param coarse the filter, NULL = float32.
 */
vqi_shortlist *vqi_shortlist_begin(void *scratch, const vq_codebook *codebook,
                                   const vqi_kernels *kernels, const vqi_filter *coarse,
                                   const float *x, size_t rows, uint32_t wanted);
/** @return its rows as the filter reads them. */
vqi_block *vqi_shortlist_block(vqi_shortlist *list);
/** @return how far the filter's scores of each row and group may be off. */
const vqi_bound *vqi_shortlist_bound(const vqi_shortlist *list);
/** Filter the groups from `first` up to `end`, each once, in any order. */
void vqi_shortlist_search(vqi_shortlist *list, size_t first, size_t end);
/** Take up what another shortlist of the same rows found in other groups. */
void vqi_shortlist_merge(vqi_shortlist *list, const vqi_shortlist *other);
/** @return how many lanes the filter could not rule out so far, or SIZE_MAX if a row will be scanned. */
size_t vqi_shortlist_lanes(const vqi_shortlist *list);
/**
 * The contract decides: rows x wanted codes, best first, and scores (may be NULL).
 * @return how many lanes the filter could not rule out, over all rows: the cost of its coarseness.
 */
size_t vqi_shortlist_finish(vqi_shortlist *list, uint32_t *codes, float *scores);

#endif
