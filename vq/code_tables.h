/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/code_tables.h
 * How probable each code of a grid is, given the codes around it: what the packing "entropy" reads and writes
 * with (io/tokens_file.h). All of it is integers, so every machine reads what any other wrote.
 *
 * A code is coded in two steps: its class given its context, then the code given its class. Classes gather
 * codewords that are alike. The context of the first levels is the classes of the codes to the left and
 * above, of later levels how active this position was at the levels before and its neighbours are at this
 * one; docs/FORMATS.md has the exact rules.
 */
#ifndef VQ_CODE_TABLES_H
#define VQ_CODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "vq/limits.h"
#include "vq/quantizer.h"
#include "vq/tensors.h"
#include "vq/tokens.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    VQ_MAX_TABLE_SETS =
        8, /**< sets of tables in one model, for codes of different ways to encode */
    VQ_MAX_CODE_CLASSES = 64,  /**< classes of a level */
    VQ_MAX_TABLE_CODES = 32768 /**< K of a level that can have tables */
};

/** Immutable; may be used from many threads at once. */
typedef struct vq_code_tables vq_code_tables;

VQ_API void vq_code_tables_free(vq_code_tables *tables);

VQ_API uint32_t vq_code_tables_levels(const vq_code_tables *tables);
/** @return K of a level; 0 if there is no such level. */
VQ_API uint32_t vq_code_tables_k(const vq_code_tables *tables, uint32_t level);
/** @return how many sets there are, 1 to VQ_MAX_TABLE_SETS. A writer takes the one that gives fewest bytes. */
VQ_API uint32_t vq_code_tables_sets(const vq_code_tables *tables);
/** Add the tables to a set of tensors under `prefix`. @return VQ_OK, VQ_E_ARG (names taken), VQ_E_NOMEM. */
VQ_API vq_status vq_code_tables_save(vq_tensors *tensors, const vq_code_tables *tables,
                                     const char *prefix);

/**
 * Make the tables that vq_code_tables_save() described; every number is checked.
 * @param[out] out NULL with VQ_OK if the tensors hold no tables of this prefix.
 * @return VQ_OK, VQ_E_FORMAT, VQ_E_NOMEM.
 */
VQ_API vq_status vq_code_tables_load(vq_code_tables **out, const vq_tensors *tensors,
                                     const char *prefix);

/* Training: counts of the codes of many grids become tables. */

typedef struct vq_table_counts vq_table_counts;

/**
 * Start to count, with classes made from the codewords: of the first two levels by k-means, of the others
 * by their length, so that each class has an even share of the use.
 * @param[out] out       owned by the caller, free with vq_table_counts_free().
 * @param      quantizer every level has a codebook of 2 to VQ_MAX_TABLE_CODES codewords; its frequencies, if it has
 *                       any, tell how much each is used. Need not outlive this call.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_table_counts_create(vq_table_counts **out, const vq_quantizer *quantizer);
VQ_API void vq_table_counts_free(vq_table_counts *counts);

/** Count the codes of one grid, of all levels, under a set. @param set below VQ_MAX_TABLE_SETS.
 *  @return VQ_OK, VQ_E_ARG (another shape of levels), VQ_E_NOMEM. */
VQ_API vq_status vq_table_counts_add(vq_table_counts *counts, uint32_t set,
                                     const vq_tokens *tokens);

/** Make tables of the counts of the sets 0 to `sets` - 1.
 *  @return VQ_OK, VQ_E_ARG (a set without counts), VQ_E_NOMEM. */
VQ_API vq_status vq_code_tables_create(vq_code_tables **out, const vq_table_counts *counts,
                                       uint32_t sets);

#ifdef __cplusplus
}
#endif
#endif
