/* SPDX-License-Identifier: Apache-2.0 */
/** @file io/head_internal.h  Entries of the JSON chunk HEAD that token files and shards share. */
#ifndef IO_HEAD_INTERNAL_H
#define IO_HEAD_INTERNAL_H

#include "io/json_internal.h"
#include "io/tokens_file.h"

/** RFC 3629: no bytes too many for a character, no surrogates, nothing above U+10FFFF. */
int vqi_is_utf8(const char *text);

/** An array of numbers; NULL when there is no memory. */
json_t *vqi_head_sizes(const size_t *values, uint32_t count);
/** A SHA-256 as 64 small hexadecimal digits. */
void vqi_head_digest(char text[2 * VQ_SHA256_SIZE + 1], const uint8_t digest[VQ_SHA256_SIZE]);
/** Set "codec" and "model", each if there is one. @return 0, or not when there is no memory. */
int vqi_head_put_codec(json_t *head, const char *codec, const uint8_t model[VQ_SHA256_SIZE]);
/** JSON as text in vq_alloc's memory, `size` bytes without the 0 at its end; releases it. NULL stays NULL.
 *  @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_head_text(char **text, size_t *size, json_t *head);

/** @return VQ_E_FORMAT with the name of an entry. */
vq_status vqi_head_bad(const char *key);
/** An array of 1 to `room` whole numbers from 1 to `most`. */
vq_status vqi_head_get_sizes(uint64_t *values, uint32_t *count, const json_t *head, const char *key,
                             uint32_t room, uint64_t most);
vq_status vqi_head_get_kind(vq_kind *out, const json_t *head);
/** @param most the last packing that this kind of file may have. @return also VQ_E_UNSUPPORTED. */
vq_status vqi_head_get_packing(vq_packing *out, const json_t *head, vq_packing most);
/** @return whether it is one. */
int vqi_head_get_digest(uint8_t digest[VQ_SHA256_SIZE], const json_t *text);
/** "codec" and "model", which may be left out. */
vq_status vqi_head_get_codec(char name[VQ_CODEC_NAME_SIZE], uint8_t digest[VQ_SHA256_SIZE],
                             const json_t *head);

#endif
