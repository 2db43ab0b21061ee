/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/beam_internal.h
 * The beam search of the residual quantizer; rvq/residual.h has its contract. beam.c goes from level to level,
 * beam_level.c scores the codes of one level fast and inexactly, beam_select.c finds what survives it, beam_tables.c holds
 * the inner products of codewords that make wide beams cheap.
 */
#ifndef RVQ_BEAM_INTERNAL_H
#define RVQ_BEAM_INTERNAL_H

#include <math.h>

#include "rvq/beam_kernels_internal.h"
#include "rvq/residual_internal.h"

/** A candidate: the code after the prefix of rank `parent`. */
typedef struct vqi_pick {
    float score; /* J; infinity if it overflowed */
    float rate;
    uint32_t parent, code;
} vqi_pick;

/** The best candidates of a vector so far, best first. */
typedef struct vqi_picks {
    uint32_t room, count;
    vqi_pick pick[VQ_MAX_BEAM];
} vqi_picks;

/** One level of a call. */
typedef struct vqi_beam_level {
    uint32_t number;
    const vq_codebook *codebook;
    const float *costs; /* K: lambda times the bits of each code; NULL = 0 */
    vqi_kernels kernels;
    const vqi_beam_ops *ops;
    vqi_beam_score *score;
    const vqi_filter *coarse; /* whose rows `score` reads; NULL = the centred rows */
    const float *penalties;   /* padded_k: half the costs, in the order of places; NULL = 0 */
    double largest_penalty;
} vqi_beam_level;

/** The prefixes of one vector: `count` of them in order of rank. */
typedef struct vqi_prefixes {
    uint32_t count;
    const float *residuals; /* count x d */
    const float *rates;
    const float *squares; /* |r'|^2, r' = r - the level's centre, at most d additions deep */
} vqi_prefixes;

/** How good the codes of a level are for each prefix of one vector, inexactly. */
typedef struct vqi_scored {
    const int16_t *scores; /* count x padded_k, in units: r'.c' - |c'|^2 / 2 - cost / 2 */
    int16_t *folded;       /* count x VQI_FOLD: the largest of the columns; destroyed */
    const int *errors;     /* of each group: the units that they may be off, at most 2^16 */
    int16_t *least;        /* of each group, to write on */
    uint32_t *places;      /* padded_k, to write on */
    double unit;
} vqi_scored;

/** Inner products of the centred codewords of different levels, in the levels' units. */
struct vqi_beam_tables {
    struct {
        double unit;
        double sum;       /* what the scores of two prefixes may differ by */
        double row_error; /* of a row of a table */
        double norms;     /* twice the sum of the earlier levels' largest norms */
    } level[VQ_MAX_LEVELS];
    /* rows[l][j] : K_j x padded_k of level l; NULL unless j < l. */
    int16_t *rows[VQ_MAX_LEVELS][VQ_MAX_LEVELS];
    float *zeros, *centred; /* while they are made */
};

/** The contract on every prefix and every codeword: the reference, and for what no filter can take. */
void vqi_beam_scan(vqi_picks *picks, const vqi_beam_level *level, const vqi_prefixes *prefixes);
/** The same picks, from scores. */
void vqi_beam_select(vqi_picks *picks, const vqi_beam_level *level, const vqi_prefixes *prefixes,
                     const vqi_scored *scored);

/** What one thread works on. Of each vector there is room for `beam` prefixes in order of rank. */
typedef struct vqi_beam_block {
    uint32_t d, levels, beam;
    size_t rows;
    uint32_t prefixes; /* of each vector, now */
    const vqi_beam_tables *tables;
    float *residuals;       /* rows x beam x d */
    float *rates, *squares; /* rows x beam */
    float *reach;           /* rows: not below |r| of any prefix of levels 1 and on */
    uint32_t *codes;        /* rows x beam x levels */
    uint8_t *order,
        *shared; /* rows x beam: the ranks in an order that puts prefixes beside each other that begin
                                alike, and how many first codes each has in common with the one before it */
    float *costs, *penalties;
    /* Of the vector that is moved on: */
    float *next_residuals;
    uint32_t *next_codes;
    /* Of a level: */
    size_t scored_rows; /* that are scored at once */
    float *gathered;    /* scored_rows x d */
    void *shortlist;
    int16_t *scores; /* scored_rows x padded_k */
    int16_t *sums;   /* beam x padded_k */
    int16_t *stack;  /* (levels + 1) x padded_k */
    int16_t *folded; /* beam x VQI_FOLD */
    int *errors;     /* of each group */
    int16_t *least;  /* of each group */
    uint32_t *places;
} vqi_beam_block;

/** Let every vector of the block have its picks at this level: calls move_on() for each. */
void vqi_beam_search_level(vqi_beam_block *b, const vqi_beam_level *level, uint32_t room,
                           const vq_codebook *next);
/** The picks of vector r become its prefixes; `next` is the next level's codebook, NULL at the last level. */
void vqi_beam_move_on(vqi_beam_block *b, size_t r, const vqi_beam_level *level,
                      const vqi_picks *picks, const vq_codebook *next);

/** The kernels that vq_cpu_flags() allows now. */
const vqi_beam_ops *vqi_beam_ops_now(void);

/** @return the bytes of tables; 0 if they would be too large, or could not be in 16 bits. */
size_t vqi_beam_tables_bytes(const vqi_residual *q, uint32_t levels, int threads);
/** Make them in so many bytes, 64-byte aligned. */
vqi_beam_tables *vqi_beam_tables_fill(void *memory, const vqi_residual *q, uint32_t levels,
                                      int threads);

/** @return bytes of workspace of a call. */
size_t vqi_beam_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts);
/** vq_quantize() of a residual quantizer with a beam above 1 or a lambda above 0. */
vq_status vqi_beam_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                            const vq_quantize_opts *opts);

#endif
