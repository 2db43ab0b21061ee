/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/chunks_internal.h
 * The frame of token files and shards, which docs/FORMATS.md specifies: a 48-byte file header, then chunks whose
 * payloads lie at multiples of 64.
 */
#ifndef IO_CHUNKS_INTERNAL_H
#define IO_CHUNKS_INTERNAL_H

#include "io/bytes_internal.h"
#include "vq/status.h"

enum {
    VQI_FILE_HEADER = 48,  /**< magic 8, major 2, minor 2, zeros 32, CRC32C 4 */
    VQI_CHUNK_HEADER = 16, /**< type 4, flags 4, length 8 */
    VQI_CHUNK_ALIGN = 64,
    VQI_VERSION_MAJOR = 1,
    VQI_VERSION_MINOR = 0
};

typedef struct vqi_chunk {
    char type[5];
    size_t offset; /**< of its header */
    const uint8_t *payload;
    size_t length;
} vqi_chunk;

/**
 * Take the file header.
 * @param magic 8 bytes.
 * @param what  "token file", for the sentence.
 * @return VQ_OK, VQ_E_FORMAT, VQ_E_CHECKSUM, VQ_E_VERSION.
 */
vq_status vqi_file_header_read(uint32_t *major, uint32_t *minor, vqi_cursor *cursor,
                               const char *magic, const char *what);
/** Write it, VQI_FILE_HEADER bytes. */
void vqi_file_header_write(uint8_t *file, const char *magic);

/** Take a chunk that lies within the bytes; its checksum is not looked at. @return VQ_OK, VQ_E_FORMAT. */
vq_status vqi_chunk_take(vqi_chunk *chunk, vqi_cursor *cursor);
/** Compare its checksum, then its flags. @return VQ_OK, VQ_E_CHECKSUM, VQ_E_FORMAT. */
vq_status vqi_chunk_check(const vqi_chunk *chunk);
/** Zeros up to where the next chunk's payload is aligned. @return VQ_OK, VQ_E_FORMAT. */
vq_status vqi_chunk_skip_padding(vqi_cursor *cursor);
/** @return the offset at which a chunk's header stands when the one before it ended at `end`. */
size_t vqi_chunk_next(size_t end);
/** Header before, checksum after a payload that is in place at header + 16. @return where the chunk ends. */
size_t vqi_chunk_seal(uint8_t *file, size_t header, const char *type, size_t length);

#endif
