/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/quantizer_internal.h
 * How a kind of quantizer is added: a struct that begins with vq_quantizer, a const table of functions
 * in its own file, and a line in vqi_quantizer_kinds[].
 */
#ifndef VQ_QUANTIZER_INTERNAL_H
#define VQ_QUANTIZER_INTERNAL_H

#include "vq/codebook_internal.h"
#include "vq/quantizer.h"

/**
 * The functions of a kind. vq/quantizer.c has checked every argument that does not depend on the kind
 * before it calls them: opts is never NULL, opts->levels is 1 to q->levels (never 0), opts->beam is 1 to VQ_MAX_BEAM
 * (never 0), opts->lambda is finite and >= 0 (0 if the kind carries no frequencies), opts->threads is >= 0, n is at least 1. For quantize(), opts->workspace holds at least workspace() bytes, 64-byte aligned (allocated
 * by the caller of the kind if the user gave none; NULL only when workspace() says 0).
 */
typedef struct vqi_quantizer_kind {
    const char *name; /* as stored in files */
    void (*free)(vq_quantizer *q);
    uint32_t (*k)(const vq_quantizer *q, uint32_t level); /* level is below q->levels */
    const vq_codebook *(*codebook)(const vq_quantizer *q,
                                   uint32_t level); /* NULL if it keeps none */
    /* Every code's count, K of them; NULL, or returns NULL: the quantizer carries none. */
    const uint64_t *(*frequencies)(const vq_quantizer *q, uint32_t level);
    size_t (*workspace)(const vq_quantizer *q, size_t n, const vq_quantize_opts *opts);
    vq_status (*quantize)(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                          const vq_quantize_opts *opts);
    /* Every code is already known to be below its K. Needs no workspace and allocates nothing. */
    vq_status (*dequantize)(float *x, const vq_quantizer *q, const uint32_t *codes, size_t n,
                            const vq_quantize_opts *opts);
    /* The dispatcher has set prefix + "kind"; the kind adds the rest. vqi_codebooks_save() may be all. */
    vq_status (*save)(vq_tensors *tensors, const vq_quantizer *q, const char *prefix);
    /* The counterpart; limits is resolved. vqi_codebooks_load() and from_codebooks may be all. */
    vq_status (*load)(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                      const vq_limits *limits);
    /* Make one from `levels` codebooks, which it then owns (on failure the caller keeps them). For
     * arrays of other programs, without a "kind"; NULL if the kind is not made of codebooks alone. */
    vq_status (*from_codebooks)(vq_quantizer **out, vq_codebook *const *codebooks, uint32_t levels);
} vqi_quantizer_kind;

/** The first member of every kind's own struct, so that a pointer to one is a pointer to the other. */
struct vq_quantizer {
    const vqi_quantizer_kind *kind;
    uint32_t dim, levels;
};

/**
 * Every kind that can be loaded, ended by NULL. Defined in rvq/kinds.c, where all kinds are visible: vq/
 * knows only this declaration, so that no room calls up.
 */
extern const vqi_quantizer_kind *const vqi_quantizer_kinds[];

extern const vqi_quantizer_kind vqi_flat_kind;

enum { VQI_NAME_SIZE = 256 };

/** prefix + rest, the name of a setting or an array. @return VQ_OK, VQ_E_ARG if it is too long. */
vq_status vqi_quantizer_name(char name[VQI_NAME_SIZE], const char *prefix, const char *rest);

/**
 * The settings and arrays that kinds made of codebooks share: prefix + "levels", prefix + "metric", and per level l
 * the array prefix + "codebook.l", [K, d], in its storage type. All levels have one d and one metric.
 */
vq_status vqi_codebooks_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix);
/**
 * Their counterpart.
 * @param[out] codebooks VQ_MAX_LEVELS places; *levels of them are the caller's on VQ_OK, none otherwise.
 */
vq_status vqi_codebooks_load(vq_codebook **codebooks, uint32_t *levels, const vq_tensors *tensors,
                             const char *prefix, const vq_limits *limits);

#endif
