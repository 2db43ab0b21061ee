/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/tokens_file.h
 * tokens.bin, specified in docs/FORMATS.md.
 */
#ifndef IO_TOKENS_FILE_H
#define IO_TOKENS_FILE_H

#include "io/file.h"
#include "vq/code_tables.h"
#include "vq/tokens.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How codes are laid out in the file. */
typedef enum vq_packing {
    VQ_PACKING_RAW =
        0, /**< u8, u16 or u32, the smallest that holds every level; can be memory-mapped */
    VQ_PACKING_BITS =
        1, /**< ceil(log2 K) bits per code of each level, least significant bit first */
    VQ_PACKING_ENTROPY =
        2, /**< entropy coded with a model of probabilities, which the reader needs too */
    VQ_PACKING_RANS =
        3 /**< entropy coded with tables that are in the file: of shards, io/store.h */
} vq_packing;

/** @return "raw", "bits", "entropy" or "rans", as files and command lines spell it; NULL for any other number. */
VQ_API const char *vq_packing_name(vq_packing packing);

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

/**
 * The same with the tables of the model that made the tokens (vq_codec_info.tables), for every packing.
 * vq_tokens_read() and vq_tokens_parse() have none: they refuse the packing "entropy" with VQ_E_UNSUPPORTED.
 * @param tables NULL, or what the writer had.
 * @return as vq_tokens_parse(), and VQ_E_MISMATCH if the tables are for other levels or K.
 */
VQ_API vq_status vq_tokens_parse_with(vq_tokens **out, vq_tokens_info *info, const void *data,
                                      size_t size, const char *name, const vq_code_tables *tables,
                                      const vq_limits *limits);

/**
 * What a file says of its tokens without the codes: to know which model to open. Every checksum is verified.
 * @param[out] head filled in, its codes NULL; owns nothing.
 * @param[out] info NULL, or a struct to fill.
 * @return as vq_tokens_parse().
 */
VQ_API vq_status vq_tokens_parse_head(vq_tokens *head, vq_tokens_info *info, const void *data,
                                      size_t size, const char *name, const vq_limits *limits);

/** Write tokens; they are validated first.
 *  @return VQ_OK, VQ_E_ARG, VQ_E_RANGE, VQ_E_IO, VQ_E_NOMEM. */
VQ_API vq_status vq_tokens_write(const char *path, const vq_tokens *tokens, vq_packing packing,
                                 const vq_write_opts *opts);
VQ_API vq_status vq_tokens_serialize(vq_bytes *out, const vq_tokens *tokens, vq_packing packing);

/** The same with tables, which the packing "entropy" needs: VQ_E_ARG if they are NULL or for other levels or K. */
VQ_API vq_status vq_tokens_serialize_with(vq_bytes *out, const vq_tokens *tokens,
                                          vq_packing packing, const vq_code_tables *tables);

#ifdef __cplusplus
}
#endif
#endif
