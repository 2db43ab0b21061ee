/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/codebook_internal.h  What a codebook holds: its codewords, and what the search makes of them once. */
#ifndef VQ_CODEBOOK_INTERNAL_H
#define VQ_CODEBOOK_INTERNAL_H

#include "vq/codebook.h"

enum {
    VQI_MAX_CODEWORDS = 1 << 24,
    VQI_LANES = 16,             /* the floats of the widest register */
    VQI_GROUP = 64,             /* codewords that a filter scores at once: four to a lane */
    VQI_MOST_INTEGER = 1 << 14, /* dimensions whose int8 products take less than 29 bits */
    VQI_MOST_FILTERED =
        1 << 20 /* dimensions at which the bounds of float32 sums are still worth something */
};

#define VQI_LARGEST_NORM 0x1p60 /* of what a filter reads: squares stay far from overflow */

/* The coarse forms in which filters read c'. */
typedef enum vqi_form {
    VQI_BYTES,  /* int8, offset by 128: groups of ceil(d/4) x 64 x 4 */
    VQI_WORDS,  /* int16: groups of ceil(d/2) x 64 x 2 */
    VQI_HALVES, /* bfloat16: groups of ceil(d/32) x 4 tiles of 16 pairs x 16 codewords x 2 */
    VQI_FORMS
} vqi_form;

typedef struct vqi_coarse {
    void *data; /* NULL where no processor of ours reads it */
    float step; /* of the integers: what 1 stands for */
    /* Of each group the largest sqrt(sum e^2 w), where e = c' - what the form stands for; and the largest of all. */
    float *group_error, widest_error;
    double error; /* not below |e| of any codeword */
} vqi_coarse;

struct vq_codebook {
    uint32_t k, d;
    vq_metric metric;
    vq_dtype storage;
    float *codewords; /* k x d; NULL if mapped */
    /* NULL, or how codewords that are not kept are made, see mapped_internal.h: d is then that of what the filters read,
     * groups and forms are of basis rows, and c' is told by largest_norm and start alone. */
    struct vqi_mapped *mapped;

    /* For the filters: s(k) = x'.c'(k) + start(k), with x' = x - centre, c'(k) = c(k) - centre. Euclidean:
     * start(k) = -|c'(k)|^2 / 2; otherwise centre and start are 0. They take the codewords at the places that
     * `order` gives them, by rising |c'|, so that a group has a bound of its own. Places are added up to whole
     * groups: their codewords are c' = 0, start -infinity, order 0. */
    uint32_t padded_k;   /* places: k rounded up to whole groups */
    uint32_t *order;     /* padded_k: the code at a place */
    float *centre;       /* d */
    float *start;        /* padded_k */
    float *groups;       /* padded_k / 64 groups of d x 64: c'; may be NULL if mapped */
    double largest_norm; /* of a c'; infinity if one overflowed */
    double filter_norm;  /* of what the filters read for a c'; largest_norm unless mapped */

    vqi_coarse coarse[VQI_FORMS];
    /* Dimensions that vary little have small weights, so that the errors of coarse forms there count for little:
     * |a.b| <= sqrt(sum a^2 w) sqrt(sum b^2 / w). */
    float *weight, *inverse_weight; /* d: w, largest 1, and 1 / w */
    float *group_norm, widest_norm; /* of each group the largest sqrt(sum c'^2 / w), and of all */
    float largest_element;          /* of a c', without its sign */
    double coarse_norm;             /* not below |c'| as any of the forms tells it */

    struct vqi_short_codebook *few; /* see short_internal.h; NULL where it does not serve */
};

/** What decides on the place of a code, and the filters' start there. */
typedef struct vqi_ranked {
    double square; /* of the norm of what the filters read */
    float start;
    uint32_t code;
} vqi_ranked;

/* The steps of vqi_codebook_prepare(). */

/** Count the places and make the arrays that all filters need but groups, centre and group_norm zeroed. */
vq_status vqi_codebook_make_room(vq_codebook *codebook);
vq_status vqi_codebook_make_groups(vq_codebook *codebook);
/** Fill in order, start, and group_norm for weights of 1. @param places k, which it sorts. */
void vqi_codebook_set_places(vq_codebook *codebook, vqi_ranked *places);
/** The coarse forms that this processor reads, and their bounds. If mapped, group_norm and largest_element are known. */
vq_status vqi_codebook_make_forms(vq_codebook *codebook);

/** Fill in all that follows `codewords`. @return VQ_OK or VQ_E_NOMEM; what was made is freed with the codebook. */
vq_status vqi_codebook_prepare(vq_codebook *codebook);

/**
 * As vq_codebook_create(), for codewords that were a codebook before: under the cosine metric they are
 * taken as they are, not scaled again, so that a loaded codebook equals the saved one bit for bit.
 */
vq_status vqi_codebook_restore(vq_codebook **out, const float *codewords, uint32_t k, uint32_t d,
                               vq_metric metric, vq_dtype storage);

#endif
