/* SPDX-License-Identifier: Apache-2.0 */
/** @file io/tokens_entropy_internal.h  The packing "entropy" of TOKS. */
#ifndef IO_TOKENS_ENTROPY_INTERNAL_H
#define IO_TOKENS_ENTROPY_INTERNAL_H

#include "vq/code_tables.h"

/** Do the tables know these levels and K? The tokens may have fewer levels. @return VQ_OK or VQ_E_ARG. */
vq_status vqi_entropy_check(const vq_tokens *tokens, const vq_code_tables *tables);

/**
 * The payload of the set of tables that gives fewest bytes.
 * @param[out] bytes owned by the caller, free with vq_free().
 */
vq_status vqi_entropy_pack(uint8_t **bytes, size_t *size, const vq_tokens *tokens,
                           const vq_code_tables *tables);

/** @return whether so many codes can be in a payload of this size: asked before memory is taken for them. */
int vqi_entropy_plausible(size_t size, size_t count);

/**
 * Codes from a payload.
 * @param tokens whose arrays are allocated and whose K the tables know.
 * @return VQ_OK, VQ_E_FORMAT, VQ_E_NOMEM.
 */
vq_status vqi_entropy_unpack(vq_tokens *tokens, const uint8_t *bytes, size_t size,
                             const vq_code_tables *tables);

#endif
