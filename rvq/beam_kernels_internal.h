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
 * Score every codeword: out[r][p] = (x'.c'(p) + start[p] - penalties[p]) per_unit[r] to the nearest whole number: rows x padded_k.
 * What it says of the sum is as good as the filter whose rows it reads. Places that were added become VQI_ADDED if their start is -infinity. penalties NULL = 0.
 */
typedef void vqi_beam_score(int16_t *out, const vqi_block *block, const vq_codebook *codebook,
                            const float *start, const float *penalties, const float *per_unit);

typedef struct vqi_beam_ops {
    vqi_beam_score *score; /* reads the centred rows */
    /* out = from + row, and from - row; count is a multiple of 64. */
    void (*add)(int16_t *out, const int16_t *from, const int16_t *row, size_t count);
    /* The same, with the largest of the columns i, i + 64, i + 128 ... of what comes out. `next` is fetched
     * meanwhile. */
    void (*subtract)(int16_t *out, int16_t folded[VQI_FOLD], const int16_t *from,
                     const int16_t *row, const int16_t *next, size_t count);
    void (*fold)(int16_t folded[VQI_FOLD], const int16_t *values, size_t count);
    /* values -= by, saturated. @return the largest. */
    int (*lower)(int16_t *values, int16_t by, size_t count);
    /* @return how many values are at least `least`; count is a multiple of 64. */
    size_t (*count)(const int16_t *values, int16_t least, size_t count);
    /* The places of the values from least[g] (of their group g) to `most`. @return how many. */
    size_t (*find)(uint32_t *places, const int16_t *values, const int16_t *least, int16_t most,
                   size_t count);
    /* to = from - codeword, to the bit. @return |to - centre|^2. */
    float (*move_on)(float *to, const float *from, const float *codeword, const float *centre,
                     size_t d);
} vqi_beam_ops;

extern const vqi_beam_ops vqi_beam_portable;
#if defined(__x86_64__)
extern const vqi_beam_ops vqi_beam_avx2, vqi_beam_avx512;
extern vqi_beam_score vqi_beam_score_vnni; /* reads the rows as vqi_filter_bytes packs them */
#endif

#endif
