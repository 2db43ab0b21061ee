/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file rvq/beam_internal.h
 * The beam search of the residual quantizer; rvq/residual.h has its contract. beam.c goes from level to level,
 * beam_level.c and beam_direct.c score the codes of one level fast and inexactly, beam_select.c finds what survives it, beam_tables.c holds
 * the inner products of codewords that make wide beams cheap.
 */
#ifndef RVQ_BEAM_INTERNAL_H
#define RVQ_BEAM_INTERNAL_H

#include <math.h>
#include <stdbool.h>

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
    vq_codebook *const *codebooks; /* of all levels */
    const float *costs;            /* K: lambda times the bits of each code; NULL = 0 */
    vqi_kernels kernels;
    const vqi_beam_ops *ops;
    vqi_beam_score *score;
    const vqi_beam_words *words; /* NULL = there are none */
    const vqi_filter *coarse;    /* whose rows `score` reads; NULL = the centred rows */
    const float *penalties;      /* padded_k: half the costs, in the order of places; NULL = 0 */
    double largest_penalty;
} vqi_beam_level;

/** The prefixes of one vector: `count` of them in order of rank. */
typedef struct vqi_prefixes {
    uint32_t count;
    const float *residuals; /* count x d */
    const float *rates;
    const float *squares; /* |r'|^2, r' = r - the level's centre, at most d additions deep */
} vqi_prefixes;

enum {
    VQI_COLUMNS =
        256, /* places that are scored at once: what a level needs of them stays in the level-2 cache */
    VQI_MOST_ROOTS = 256,     /* vectors for which these are */
    VQI_FOUND = 512,          /* candidates of a vector, at most */
    VQI_MOST_UNITS = 32000,   /* of a score, so that sums stay in 16 bits with their rounding */
    VQI_MOST_ERROR = 500,     /* in units; with more, scores say little */
    VQI_ANYTHING = -(1 << 20) /* less than any score */
};

/** How to judge the scores of one vector. They are whole numbers of `unit`: r'.c' - |c'|^2 / 2 - cost / 2. */
typedef struct vqi_scale {
    double unit;
    int error; /* the units that a score may be too small */
    int slack; /* the units below the last pick at which collecting stops; any would be right */
    /* Of each prefix: how much better its codes must be than those of the first one, in units. */
    int shifts[VQ_MAX_BEAM];
} vqi_scale;

/** The candidates of one vector, of those places that were looked at: all whose score less the shift is at least `cut`. */
typedef struct vqi_found {
    uint32_t count;
    int cut, largest;
    bool begun, full;
    int16_t scores[VQI_FOUND]; /* less the shifts, saturated */
    uint32_t places[VQI_FOUND];
    uint8_t prefixes[VQI_FOUND];
} vqi_found;

/** Inner products of the centred codewords of different levels, in the levels' units. */
struct vqi_beam_tables {
    struct {
        double unit;
        double row_error; /* of a row of a table */
        double norms;     /* twice the sum of the earlier levels' largest norms */
        double centres;   /* the sum of |centre| up to this level */
    } level[VQ_MAX_LEVELS];
    /* rows[l][j]: padded_k / VQI_COLUMNS (rounded up) blocks of K_j x VQI_COLUMNS (or what is left) of level l; NULL unless
     * j < l. */
    int16_t *rows[VQ_MAX_LEVELS][VQ_MAX_LEVELS];
    float *zeros, *centred; /* while they are made */
};

/** The contract on every prefix and every codeword: the reference, and for what no filter can take. */
void vqi_beam_scan(vqi_picks *picks, const vqi_beam_level *level, const vqi_prefixes *prefixes);
/** Fill in the shifts of a scale and its slack. */
void vqi_beam_set_scale(vqi_scale *scale, const vqi_beam_level *level,
                        const vqi_prefixes *prefixes);
/** Look at the places from `first` on: scores of `count` prefixes x `columns` at this stride; folded: count x VQI_FOLD, to
 *  work on. */
void vqi_beam_collect(vqi_found *found, const vqi_beam_level *level, const vqi_scale *scale,
                      uint32_t room, uint32_t count, const int16_t *scores, size_t stride,
                      size_t first, size_t columns, int16_t *folded);
/** The same, of what a walk hit: the scores are at `sums`, VQI_COLUMNS for each rank. */
void vqi_beam_collect_hits(vqi_found *found, const vqi_beam_level *level, const vqi_scale *scale,
                           uint32_t room, const uint32_t *hits, size_t count, const int16_t *sums,
                           size_t first);
/** The same picks as vqi_beam_scan(), from what was found at all places. @return false if that does not suffice. */
bool vqi_beam_select(vqi_picks *picks, const vqi_beam_level *level, const vqi_prefixes *prefixes,
                     const vqi_scale *scale, vqi_found *found);

/** Of a vector that is scored by tables: what all its prefixes have in common. */
typedef struct vqi_root {
    uint32_t common; /* first codes */
    int shift; /* a unit is that of the tables times 2^shift; below 0 = it does not go by tables */
} vqi_root;

/** What one thread works on. Of each vector there is room for `beam` prefixes in order of rank. */
typedef struct vqi_beam_block {
    uint32_t d, levels, beam;
    size_t rows;
    uint32_t prefixes; /* of each vector, now */
    bool keeps;        /* they are needed after the last level too */
    const vqi_beam_tables *tables;
    const float *x;         /* rows x d */
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
    size_t scored_rows; /* that are scored at once, directly ... */
    size_t root_rows;   /* ... or by tables */
    float *gathered;    /* scored_rows x d */
    void *shortlist;
    int16_t *scores;      /* scored_rows x padded_k, or root_rows x VQI_COLUMNS */
    int16_t *sums;        /* beam x VQI_COLUMNS */
    uint32_t *hits;       /* beam x VQI_COLUMNS */
    vqi_beam_step *steps; /* beam x levels */
    int16_t *stack;       /* levels x VQI_COLUMNS */
    int16_t *folded;      /* beam x VQI_FOLD */
    vqi_found *found;     /* root_rows */
    vqi_scale *scales;
    vqi_root *roots;
    vqi_block root_block; /* root_rows */
    float *zeros;         /* d */
} vqi_beam_block;

/** Let every vector of the block have its picks at this level: calls move_on() for each. */
void vqi_beam_search_level(vqi_beam_block *b, const vqi_beam_level *level, uint32_t room,
                           const vq_codebook *next);
/** The same for vectors `first` and on, `count` of them, each prefix filtered like a vector of its own. */
void vqi_beam_search_directly(vqi_beam_block *b, const vqi_beam_level *level, size_t first,
                              size_t count, vqi_picks *picks, const vq_codebook *next);
/** Which codewords can be among the picks of a vector, and how large the scores are that matter. */
typedef struct vqi_within {
    double norm; /* no longer ones: of no more than `largest_norm` */
    double most; /* not below any score that matters, nor below its negative */
} vqi_within;
vqi_within vqi_beam_within(const vqi_beam_level *level, const vqi_prefixes *prefixes,
                           uint32_t room);
/** In scores: what those of row r of the block may be off, of codewords up to `largest`, from words or from the centred rows. */
double vqi_beam_fine_error(const vqi_beam_level *level, const vqi_block *block, size_t r,
                           double largest, bool words);
/** Give vector r its picks from what was found; by the contract on everything if that does not suffice, or found is NULL. */
void vqi_beam_take(vqi_beam_block *b, const vqi_beam_level *level, size_t r, vqi_picks *picks,
                   const vqi_scale *scale, vqi_found *found, const vq_codebook *next);
/** The prefixes of vector r. */
static inline vqi_prefixes vqi_beam_prefixes(const vqi_beam_block *b, size_t r)
{
    const size_t at = r * b->beam;
    return (vqi_prefixes){b->prefixes, b->residuals + at * b->d, b->rates + at, b->squares + at};
}
/** The picks of vector r become its prefixes; `next` is the next level's codebook, NULL at the last level. */
void vqi_beam_move_on(vqi_beam_block *b, size_t r, const vqi_beam_level *level,
                      const vqi_picks *picks, const vq_codebook *next);

/** Vector r of the block takes up its prefixes of the levels before `first`, which are those of row `row`: the subtractions that led
 *  there are made once more. */
void vqi_beam_take_up(vqi_beam_block *b, const vqi_residual *q, uint32_t first,
                      const vqi_beam_kept *kept, size_t row, size_t r);
/** The prefixes of the block, whose first vector is row `first`, are kept. */
void vqi_beam_leave(const vqi_beam_block *b, vqi_beam_kept *kept, size_t first);

/** @return not below |centre|. */
double vqi_beam_centre_norm(const vq_codebook *codebook);

/** The kernels that vq_cpu_flags() allows now. */
const vqi_beam_ops *vqi_beam_ops_now(void);

/** @return the bytes of tables of the levels from `first` up to `levels`; 0 if they would be too large, or could not be in 16
 *  bits. */
size_t vqi_beam_tables_bytes(const vqi_residual *q, uint32_t first, uint32_t levels, int threads);
/** Make them in so many bytes, 64-byte aligned. */
vqi_beam_tables *vqi_beam_tables_fill(void *memory, const vqi_residual *q, uint32_t first,
                                      uint32_t levels, int threads);

/** @return bytes of workspace of a call. */
size_t vqi_beam_workspace(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts);
/** vq_quantize() of a residual quantizer with a beam above 1 or a lambda above 0. */
vq_status vqi_beam_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                            const vq_quantize_opts *opts);

#endif
