/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/store_model.h
 * A pipeline's own model of how probable codes are, which drives the coder of shards with the packing "entropy". The shard
 * has no tables: it is read with the model that it was written with.
 */
#ifndef IO_STORE_MODEL_H
#define IO_STORE_MODEL_H

#include "io/store.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    VQ_MODEL_TOTAL = 65536,     /**< frequencies of all codes at a place add up to this */
    VQ_MODEL_MOST = 65536 - 256 /**< of one code; the least is 1 */
};

/** Where a code is, and what is known there: the shape, and every code at earlier levels and earlier positions. */
typedef struct vq_code_place {
    uint32_t stream;
    uint32_t level;
    size_t position;         /**< in the grid, row-major */
    const vq_tokens *tokens; /**< codes at this place and behind it are not to be read */
} vq_code_place;

/**
 * Each code of a place has an interval [start, start + frequency) of [0, VQ_MODEL_TOTAL). Both functions must say the same
 * whenever and wherever they are called: integers only, no state. They may be called from many threads.
 */
typedef struct vq_code_model {
    void *context;
    /** The interval of a code below K. */
    void (*interval)(void *context, const vq_code_place *place, uint32_t code, uint32_t *start,
                     uint32_t *frequency);
    /** The code whose interval holds `value`, which is below VQ_MODEL_TOTAL, and the interval. */
    void (*find)(void *context, const vq_code_place *place, uint32_t value, uint32_t *code,
                 uint32_t *start, uint32_t *frequency);
} vq_code_model;

/**
 * Open a shard with the model of its codes, which must stay as long as the shard; with another packing it is not used.
 * vq_shard_open() opens such a shard, too, but its records cannot be read: VQ_E_UNSUPPORTED.
 * @return as vq_shard_open(). Of a record, VQ_E_FORMAT also if it was written with another model.
 */
VQ_API vq_status vq_shard_open_with(vq_shard **out, const char *path, const vq_code_model *model,
                                    const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
