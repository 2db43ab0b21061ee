/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/rans_tables_internal.h
 * How probable the codes of a shard are: for each level of each stream a table of frequencies, or one for each
 * context, a context being the classes of one or two codes nearby.
 */
#ifndef IO_RANS_TABLES_INTERNAL_H
#define IO_RANS_TABLES_INTERNAL_H

#include "io/buffer_internal.h"
#include "io/rans_internal.h"
#include "io/store.h"

/** The codes that may tell of a code. The numbers are in files. */
typedef enum vqi_rans_near {
    VQI_NEAR_LEFT = 1,   /**< the last dimension of the grid: of sound the frame before */
    VQI_NEAR_ABOVE = 2,  /**< the last but one: of actions the chunk before */
    VQI_NEAR_BEFORE = 3, /**< the last but two: of frames the frame before */
    VQI_NEAR_LEVEL = 4   /**< the level before, at the same place */
} vqi_rans_near;

enum {
    VQI_NEAR_MOST = 2,          /**< codes nearby that a level looks at */
    VQI_NEAR_CLASSES = 64,      /**< classes of such a code, at most */
    VQI_RANS_SYMBOLS = 1 << 16, /**< of a table; of a larger K the upper bits are the symbol */
    VQI_RANS_CELLS = 1 << 22    /**< symbols of all tables of a shard */
};

/** One level of one stream. */
typedef struct vqi_rans_level {
    uint32_t k, symbols;
    uint32_t nears; /**< codes nearby */
    vqi_rans_near near[VQI_NEAR_MOST];
    uint32_t classes[VQI_NEAR_MOST];
    uint8_t *
        class_of[VQI_NEAR_MOST]; /**< by symbol, of this level or, VQI_NEAR_LEVEL, the one before */
    uint32_t tables;             /**< product of classes + 1 */
    unsigned shift;              /**< of a frequency, gives its bucket */
    uint32_t *start;             /**< tables x (symbols + 1) */
    uint16_t *bucket; /**< tables x buckets: the symbol of the bucket's first frequency */
} vqi_rans_level;

typedef struct vqi_rans_stream {
    uint32_t levels; /**< 0 = the stream is packed as bits */
    vqi_rans_level *level;
} vqi_rans_stream;

typedef struct vqi_rans {
    vqi_rans_stream stream[VQ_STORE_MAX_STREAMS];
} vqi_rans;

/** @return how many symbols a table of K has: at least 2, so that none is certain. */
static inline uint32_t vqi_rans_symbols(uint32_t k)
{
    const uint32_t symbols = k > VQI_RANS_SYMBOLS ? (k - 1) / VQI_RANS_SYMBOLS + 1 : k;
    return symbols > 2 ? symbols : 2;
}

/** The symbol of a code; what is left of it is coded by itself if K is above VQI_RANS_SYMBOLS. */
static inline uint32_t vqi_rans_symbol_of(uint32_t k, uint32_t code)
{
    return k > VQI_RANS_SYMBOLS ? code / VQI_RANS_SYMBOLS : code;
}

/** A grid as planes x rows x columns, and where in it a code is. */
typedef struct vqi_rans_place {
    size_t shape[3];
    size_t plane, row, column;
} vqi_rans_place;

/**
 * The code nearby.
 * @param code  of the level, at the place.
 * @param below of the level before, at the place; NULL if there is none.
 * @return NULL if there is none.
 */
static inline const uint32_t *vqi_rans_near_code(vqi_rans_near near, const vqi_rans_place *p,
                                                 const uint32_t *code, const uint32_t *below)
{
    switch (near) {
    case VQI_NEAR_LEFT:
        return p->column ? code - 1 : NULL;
    case VQI_NEAR_ABOVE:
        return p->row ? code - p->shape[2] : NULL;
    case VQI_NEAR_BEFORE:
        return p->plane ? code - p->shape[1] * p->shape[2] : NULL;
    case VQI_NEAR_LEVEL:
        return below;
    }
    return NULL;
}

/** Levels up from `own`; the class of a code that is not there is the number of classes. @return the number of the table. */
static inline uint32_t vqi_rans_context(const vqi_rans_level *l, uint32_t k_below,
                                        const vqi_rans_place *p, const uint32_t *code,
                                        const uint32_t *below)
{
    uint32_t context = 0;
    for (uint32_t i = 0; i < l->nears; i++) {
        const uint32_t *near = vqi_rans_near_code(l->near[i], p, code, below);
        const uint32_t k = l->near[i] == VQI_NEAR_LEVEL ? k_below : l->k;
        context = context * (l->classes[i] + 1) +
                  (near ? l->class_of[i][vqi_rans_symbol_of(k, *near)] : l->classes[i]);
    }
    return context;
}

void vqi_rans_place_begin(vqi_rans_place *p, const vq_tokens *tokens);
static inline void vqi_rans_place_next(vqi_rans_place *p)
{
    if (++p->column < p->shape[2])
        return;
    p->column = 0;
    if (++p->row < p->shape[1])
        return;
    p->row = 0;
    p->plane++;
}

/** A level without tables yet. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_rans_level_allocate(vqi_rans_level *l);
/** Fill the buckets of all tables from their starts, and the tables of contexts that did not occur evenly: to read with. */
void vqi_rans_level_index(vqi_rans_level *l);
void vqi_rans_level_clear(vqi_rans_level *l);
/** Frequencies of counts, at least one of them not 0: 0 for those that are, else 1 to VQI_RANS_MOST.
 *  @param start symbols + 1: sums of frequencies. @param scratch room for `symbols`. */
void vqi_rans_normalize(uint32_t *start, const uint32_t *counts, uint32_t symbols,
                        uint64_t *scratch);

void vqi_rans_free(vqi_rans *rans);
/** The payload of TABL. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_rans_write(vqi_buffer *out, const vqi_rans *rans, const vq_store_schema *schema);
/** One level of it. @param symbols_below of the level before. */
vq_status vqi_rans_write_level(vqi_buffer *out, const vqi_rans_level *level,
                               uint32_t symbols_below);
/** @return VQ_OK, VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_NOMEM. */
vq_status vqi_rans_parse(vqi_rans **out, const vq_store_schema *schema, const uint8_t *bytes,
                         size_t size);

/** Tables for all records of a shard, the contexts chosen that give fewest bytes. @return VQ_OK, VQ_E_NOMEM, as vq_shard_read(). */
vq_status vqi_rans_train(vqi_rans **out, const vq_shard *shard);

/** Code tokens of a stream that has tables. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_rans_pack(vqi_buffer *out, const vqi_rans_stream *stream, const vq_tokens *tokens);
/** The reverse: tokens with shape and K, and room for codes. @return VQ_OK, VQ_E_FORMAT. */
vq_status vqi_rans_unpack(vq_tokens *tokens, const vqi_rans_stream *stream, const uint8_t *bytes,
                          size_t size);

#endif
