/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/tokens_file.h
 * tokens.bin, specified in docs/FORMATS.md.
 */
#ifndef IO_TOKENS_FILE_H
#define IO_TOKENS_FILE_H

#include "io/file.h"
#include "vq/tokens.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How codes are laid out in the file. */
typedef enum vq_packing {
    VQ_PACKING_RAW =
        0, /**< u8, u16 or u32, the smallest that holds every level; can be memory-mapped */
    VQ_PACKING_BITS =
        1 /**< ceil(log2 K) bits per code of each level, least significant bit first */
} vq_packing;

/** What a token file says beside the tokens. */
typedef struct vq_tokens_info {
    uint32_t version_major, version_minor;
    vq_packing packing;
    uint64_t file_bytes;     /**< the whole container */
    uint64_t payload_bytes;  /**< the codes alone */
    uint64_t payload_offset; /**< where they start, a multiple of 64 */
} vq_tokens_info;

/**
 * Read tokens. Every checksum is verified and every code is range-checked; bytes after the end are an error.
 * @param[out] info NULL, or a struct to fill.
 * @return VQ_OK, VQ_E_IO, VQ_E_FORMAT, VQ_E_VERSION, VQ_E_LIMIT, VQ_E_CHECKSUM, VQ_E_UNSUPPORTED, VQ_E_NOMEM.
 */
VQ_API vq_status vq_tokens_read(vq_tokens **out, vq_tokens_info *info, const char *path,
                                const vq_limits *limits);
VQ_API vq_status vq_tokens_parse(vq_tokens **out, vq_tokens_info *info, const void *data,
                                 size_t size, const char *name, const vq_limits *limits);

/** Write tokens; they are validated first.
 *  @return VQ_OK, VQ_E_ARG, VQ_E_RANGE, VQ_E_IO, VQ_E_NOMEM. */
VQ_API vq_status vq_tokens_write(const char *path, const vq_tokens *tokens, vq_packing packing,
                                 const vq_write_opts *opts);
VQ_API vq_status vq_tokens_serialize(vq_bytes *out, const vq_tokens *tokens, vq_packing packing);

#ifdef __cplusplus
}
#endif
#endif
