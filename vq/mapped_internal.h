/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/mapped_internal.h
 * The search of codewords that are not kept: c_k = q_k W + b of SimVQ, made from the seed of the basis whenever one is
 * wanted. Filters and shortlist read the basis instead, which is all that the codebook holds: its d is r, and a row is
 * read as y = W x'. The codes are those of a flat codebook of the codewords; nearest_shortlist.c has the proof.
 */
#ifndef VQ_MAPPED_INTERNAL_H
#define VQ_MAPPED_INTERNAL_H

#include "vq/nearest_internal.h"
#include "vq/simvq.h"

typedef struct vqi_mapped {
    uint32_t d; /* of rows and codewords */
    uint64_t seed;
    const float *map, *bias; /* W, r x d, and b, d or NULL; borrowed */
    double map_norm;         /* not below |W|, the root of the sum of its squares */
    double codeword_error;   /* not below |c_k - (q_k W + b)| of any codeword */
    int finer; /* 1 = a trial showed that the coarse filter leaves too much open, and the finer one does not */
} vqi_mapped;

/** @return the dimensions of the rows and codewords of a search. */
static inline size_t vqi_row_dim(const vq_codebook *codebook)
{
    return codebook->mapped ? codebook->mapped->d : codebook->d;
}

/**
 * Make a codebook of the metric VQ_METRIC_EUCLIDEAN without codewords, for vq_nearest_k() alone, and not exhaustively.
 * @param[out] out   freed by vq_codebook_free(). NULL on VQ_OK where its bounds would be worth nothing: the map is too
 *                   large, or has too many dimensions.
 * @param      map, bias stay the caller's, and must stay.
 * @param      fast  1 = NULL also where a trial leaves so many codewords open that it would be slow.
 * @return VQ_OK, VQ_E_NONFINITE (a codeword overflows), VQ_E_NOMEM.
 */
vq_status vqi_mapped_create(vq_codebook **out, const vq_simvq_form *form, const float *map,
                            const float *bias, int fast);

/** @return the bytes of room that the functions below need, a multiple of 64. The room is aligned to 64 bytes. */
size_t vqi_mapped_room(const vq_codebook *codebook);
/** y and |y|^2 as the centred rows of a block, and row_square = |x'|^2. @return 1 if every |x'|^2 is finite. */
int vqi_mapped_rows(vqi_block *block, float *row_square, const float *x,
                    const vq_codebook *codebook, const vqi_float_ops *ops, float *room);
/** T of nearest_shortlist.c, for rows with |x'| = norm and |y| = read. */
double vqi_mapped_error(const vq_codebook *codebook, double norm, double read);
/** One group of basis rows as the float32 filter reads it. */
void vqi_mapped_group(float *room, const vq_codebook *codebook, size_t group);
/** As vqi_float_ops.score_lanes. */
void vqi_mapped_score_lanes(float (*scores)[4], const vqi_lane *lanes, size_t count,
                            const vqi_block *block, const vq_codebook *codebook,
                            const vqi_contract *contract, float *room);
/** The contract's score of one codeword. */
float vqi_mapped_score(const vq_codebook *codebook, const vqi_contract *contract, const float *x,
                       uint32_t code, float *room);
/**
 * vqi_nearest_scan() for some rows together, so that each codeword is made once for all of them.
 * @param codes, scores of all rows; scores may be NULL. @param rows the `count` that are wanted.
 * @param best count x wanted floats of room.
 */
void vqi_mapped_scan(uint32_t *codes, float *scores, const vq_codebook *codebook,
                     const vqi_contract *contract, const float *x, const uint32_t *rows,
                     size_t count, uint32_t wanted, float *best, float *room);

#endif
