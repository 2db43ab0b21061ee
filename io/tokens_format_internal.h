/* SPDX-License-Identifier: Apache-2.0 */
/** @file io/tokens_format_internal.h  What token files have that shards do not. */
#ifndef IO_TOKENS_FORMAT_INTERNAL_H
#define IO_TOKENS_FORMAT_INTERNAL_H

#include "io/chunks_internal.h"
#include "io/tokens_file.h"

/** In the manner of PNG: not ASCII, and damaged by whatever changes line ends or strips the eighth bit. */
#define VQI_TOKENS_MAGIC "\x89VQT\r\n\x1a\n"

/** What a reader will ask of the source that tokens tell of, beyond what vq_tokens_validate() knows.
 *  @return VQ_OK, VQ_E_ARG, VQ_E_RANGE. */
vq_status vqi_tokens_check_source(const vq_tokens *tokens);

#endif
