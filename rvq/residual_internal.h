/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/residual_internal.h  What the parts of the residual quantizer know of each other. */
#ifndef RVQ_RESIDUAL_INTERNAL_H
#define RVQ_RESIDUAL_INTERNAL_H

#include <stdbool.h>

#include "rvq/residual.h"
#include "vq/quantizer_internal.h"

extern const vqi_quantizer_kind vqi_residual_kind;

typedef struct vqi_beam_tables vqi_beam_tables;

/** The kind's struct. A codebook may serve many levels. */
typedef struct vqi_residual {
    vq_quantizer base;
    bool owner; /* of the codebooks */
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    uint64_t *frequencies[VQ_MAX_LEVELS]; /* K counts; all NULL if there are none */
    float *lengths[VQ_MAX_LEVELS];        /* K: bits of each code */
    vqi_beam_tables *tables;              /* of vq_residual_prepare(), or NULL */
} vqi_residual;

/** As vq_residual_create(), but the codebooks stay the caller's and must outlive the quantizer. */
vq_status vqi_residual_view(vq_quantizer **out, vq_codebook *const *codebooks, uint32_t levels);

/** residual -= the codeword of each row, whose code is codes[row * stride]: the one subtraction that encoding and training share. */
void vqi_residual_subtract(float *residual, const vq_codebook *codebook, const uint32_t *codes,
                           size_t stride, size_t n, int threads);

/**
 * Least-squares refit: codebooks for which the same codes leave the least error.
 * @param[out] out      levels codebooks, the caller's on VQ_OK; one for all where `q` has one for all.
 * @param      residual n x d: what the codes leave of the rows.
 * @param      damping  above 0.
 */
vq_status vqi_residual_refit(vq_codebook **out, const vq_quantizer *q, const float *residual,
                             const uint32_t *codes, size_t n, double damping, int threads);

/**
 * Do rows vary in so many dimensions that K codewords are best seeded by rows drawn towards the mean?
 * @return VQ_OK, VQ_E_NOMEM.
 */
vq_status vqi_residual_is_spread(int *out, const float *rows, size_t n, size_t d, uint32_t k);

/** The prefixes of n rows after some levels, for who adds a level at a time. */
typedef struct vqi_beam_kept {
    uint32_t beam, room;       /* prefixes of a row, and codes of a prefix, at most */
    uint32_t levels, prefixes; /* now */
    uint32_t *codes;           /* n x beam x room, best prefixes first */
    uint8_t *order, *shared;   /* n x beam, as in vqi_beam_block */
} vqi_beam_kept;

/** Room for n rows before the first level. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_beam_keep(vqi_beam_kept *kept, size_t n, uint32_t beam, uint32_t levels);
void vqi_beam_kept_clear(vqi_beam_kept *kept);
/**
 * Search those levels of q, a residual quantizer, that `kept` has not been through yet.
 * @param[out] codes n x levels of q: those of vq_quantize() with this beam.
 * @return as vq_quantize().
 */
vq_status vqi_beam_extend(uint32_t *codes, vqi_beam_kept *kept, const vq_quantizer *q,
                          const float *x, size_t n, int threads);

/** Free `levels` codebooks, or the one that they all are. */
void vqi_residual_free_codebooks(vq_codebook *const *codebooks, uint32_t levels);
/** Count codes, n x levels, and give the quantizer these frequencies. */
vq_status vqi_rate_count(vq_quantizer *q, const uint32_t *codes, size_t n);

/** Free frequencies and lengths. */
void vqi_rate_clear(vqi_residual *q);
/** p`frequency.l` for each level, if there are any. */
vq_status vqi_rate_save(vq_tensors *tensors, const vqi_residual *q, const char *prefix);
vq_status vqi_rate_load(vqi_residual *q, const vq_tensors *tensors, const char *prefix);

#endif
