/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/code_tables_internal.h  The tables as the coder (io/) and their trainer see them. */
#ifndef VQ_CODE_TABLES_INTERNAL_H
#define VQ_CODE_TABLES_INTERNAL_H

#include "vq/code_tables.h"

enum {
    VQI_PAIRED_LEVELS = 2,         /**< first levels, whose contexts are pairs of classes */
    VQI_ACTIVITIES = 16,           /**< grades of activity at the later levels */
    VQI_FREQ_BITS = 16,            /**< frequencies of a context add up to 2^16 */
    VQI_FREQ_MOST = 65536 - 256,   /**< of a class: so a code takes at least 1/178 bit, and no few
                                       bytes stand for a billion codes */
    VQI_CODES_PER_BYTE_MOST = 1536 /**< that follows from it, rounded up */
};

/** What a level has in common over all sets. */
typedef struct vqi_code_classes {
    uint32_t k, count; /**< codes and classes */
    uint8_t *class_of; /**< k */
    uint16_t *members; /**< k codes, class by class, upwards within one */
    uint32_t *first;   /**< count + 1: where a class begins in members */
} vqi_code_classes;

/** One level of one set. */
typedef struct vqi_code_freqs {
    uint16_t *of_class; /**< contexts x classes, each row adds up to 2^16 */
    uint16_t *of_code;  /**< k: adds up to 2^16 over a class; 0 for the only code of a class */
    uint32_t *start;    /**< k, by place in members: sum of of_code before it in its class */
} vqi_code_freqs;

struct vq_code_tables {
    uint32_t levels, sets;
    vqi_code_classes classes[VQ_MAX_LEVELS];
    vqi_code_freqs freqs[VQ_MAX_TABLE_SETS][VQ_MAX_LEVELS];
};

/** @return how many contexts a level with so many classes has. */
static inline uint32_t vqi_code_contexts(uint32_t level, uint32_t classes)
{
    return level < VQI_PAIRED_LEVELS ? (classes + 1) * (classes + 1)
                                     : VQI_ACTIVITIES * (VQI_ACTIVITIES + 1);
}

/** Grade of activity of a class: classes are in order of the length of their codewords. */
static inline uint32_t vqi_code_activity(const vqi_code_classes *c, uint32_t class_of)
{
    return class_of * VQI_ACTIVITIES / c->count;
}

/**
 * The context of the code at `at` of a plane of a level.
 * @param codes  the plane's codes of this level, row-major; those before `at` are used.
 * @param sum    of the activities at levels 1 to level - 1 of this position.
 */
static inline uint32_t vqi_code_context(const vqi_code_classes *c, uint32_t level,
                                        const uint32_t *codes, size_t at, size_t columns,
                                        size_t column, uint32_t sum)
{
    const uint32_t none = c->count;
    const uint32_t left = column ? c->class_of[codes[at - 1]] : none,
                   above = at >= columns ? c->class_of[codes[at - columns]] : none;
    if (level < VQI_PAIRED_LEVELS)
        return left * (none + 1) + above;
    uint32_t near = VQI_ACTIVITIES;
    if (left != none && above != none)
        near = (vqi_code_activity(c, left) + vqi_code_activity(c, above)) / 2;
    else if (left != none || above != none)
        near = vqi_code_activity(c, left != none ? left : above);
    return sum / (level - 1) * (VQI_ACTIVITIES + 1) + near;
}

/** After a level is known: add its activities to the sums, but those of level 0, which tells no activity. */
static inline void vqi_code_activities_add(uint16_t *sums, const vqi_code_classes *c,
                                           uint32_t level, const uint32_t *codes, size_t n)
{
    for (size_t i = 0; level && i < n; i++)
        sums[i] = (uint16_t)(sums[i] + vqi_code_activity(c, c->class_of[codes[i]]));
}

/** Planes of a grid, whose codes know nothing of each other, and their rows and columns. */
static inline void vqi_code_planes(size_t shape[3], const vq_tokens *tokens)
{
    /* A grid of fewer dimensions has its ones at the end. */
    for (uint32_t i = 0; i < 3; i++)
        shape[i] = 1;
    for (uint32_t i = 0; i < tokens->grid_ndim; i++)
        shape[3 - tokens->grid_ndim + i] = tokens->grid[i];
}

/** Allocate a level's arrays. @return 0 if there is no memory. */
int vqi_code_classes_allocate(vqi_code_classes *c, uint32_t k, uint32_t count);
void vqi_code_classes_clear(vqi_code_classes *c);
/** Fill in members and first from class_of. @return 0 if a class has no member. */
int vqi_code_classes_index(vqi_code_classes *c);
int vqi_code_freqs_allocate(vqi_code_freqs *f, const vqi_code_classes *c, uint32_t level);
/** Check the sums and fill in start. @return 0 if the numbers cannot be. */
int vqi_code_freqs_index(vqi_code_freqs *f, const vqi_code_classes *c, uint32_t level);

#endif
