/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/beam_kernels_internal.h
 * The arithmetic of the beam search, for each instruction set. All of it is inexact and only shortlists (the proof is in
 * beam_select.c). Scores are whole numbers of 16 bits, in units that the caller chooses so that none overflows; they
 * stand in the order of the codebook's places (vq/codebook_internal.h).
 */
#ifndef RVQ_BEAM_KERNELS_INTERNAL_H
#define RVQ_BEAM_KERNELS_INTERNAL_H

#include "vq/nearest_internal.h"

enum {
    VQI_ADDED = INT16_MIN, /* the score of a place that was added to fill a group */
    VQI_FOLD = 64          /* columns that scores are folded to */
};

/**
 * Score the codewords at `count` places from `first` on, whole groups: out[r stride + p - first] = (x'.c'(p) + start[p] -
 * penalties[p]) per_unit[r] to the nearest whole number, saturated. What it says of the sum is as good as the rows that it
 * reads. Places that were added become VQI_ADDED if their start is -infinity. penalties NULL = 0.
 */
typedef void vqi_beam_score(int16_t *out, size_t stride, const vqi_block *block,
                            const vq_codebook *codebook, size_t first, size_t count,
                            const float *start, const float *penalties, const float *per_unit);

/** A step of the walk over the tree of a vector's prefixes. */
typedef struct vqi_beam_step {
    const int16_t *from, *row;
    int16_t *to;
    int rank; /* of the prefix whose scores this gives; -1 = several go on from here */
} vqi_beam_step;

typedef struct vqi_beam_ops {
    vqi_beam_score *score; /* reads the centred rows */
    /* Take the steps one after the other: to = from - (row >> shift), rounded down and saturated, of `width` columns, a multiple
     * of 64. least NULL = all; otherwise those with a rank only where it matters: hits[i] = rank << 16 | column of each
     * result that is at least least[rank], and it is there. @return how many. */
    size_t (*walk)(uint32_t *hits, const vqi_beam_step *steps, size_t count, int shift,
                   const int *least, size_t width);
    /* The largest of the columns i, i + 64, i + 128 ... */
    void (*fold)(int16_t folded[VQI_FOLD], const int16_t *values, size_t count);
    /* values -= by, saturated. @return the largest. */
    int (*lower)(int16_t *values, int16_t by, size_t count);
    /* @return how many values are at least `least`; count is a multiple of 64. */
    size_t (*count)(const int16_t *values, int16_t least, size_t count);
    /* The places of the values that are at least `least`. @return how many. */
    size_t (*find)(uint32_t *places, const int16_t *values, int16_t least, size_t count);
    /* to = from - codeword, to the bit. @return |to - centre|^2. */
    float (*move_on)(float *to, const float *from, const float *codeword, const float *centre,
                     size_t d);
} vqi_beam_ops;

/** Scores from int16, with an error that is small beside a unit. */
typedef struct vqi_beam_words {
    /* Fill in packed, in rows as long as vqi_filter_words has them, unit, and error (here the norm of x' - p) from the centred
     * rows and their squares. */
    void (*pack)(vqi_block *block, const vq_codebook *codebook);
    vqi_beam_score *score; /* reads rows packed so, or as the int16 filter of vq/ packs them */
} vqi_beam_words;

extern const vqi_beam_ops vqi_beam_portable;
#if defined(__x86_64__)
extern const vqi_beam_ops vqi_beam_avx2, vqi_beam_avx512;
/* It reads the rows as vqi_filter_bytes packs them. */
extern vqi_beam_score vqi_beam_score_bytes;
extern const vqi_beam_words vqi_beam_words_vnni, vqi_beam_words_madd;
#endif

#endif
