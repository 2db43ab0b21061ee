/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/image.h
 * Pictures in (PNG, JPEG) and out (PNG).
 *
 * Samples are divided by 255 or 65535 and nothing else is done to them: they are taken as sRGB, and gamma
 * chunks and colour profiles are ignored. Palettes and tRNS are expanded; 1, 2 and 4 bit grey is scaled to 8.
 * JPEG is decoded with the accurate integer DCT, so that it gives the same samples on every machine, and turned
 * upright as its EXIF orientation says.
 */
#ifndef IO_IMAGE_H
#define IO_IMAGE_H

#include "io/file.h"
#include "vq/signal.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Read a picture; the format is found from the content.
 * @param[out] out   H x W x C as in the file: grey, grey + alpha, RGB or RGBA; ->bits is 8 or 16.
 * @return VQ_OK, VQ_E_IO, VQ_E_FORMAT (not a picture, or damaged; the sentence says what it is),
 *         VQ_E_CHECKSUM (of a PNG's critical chunk), VQ_E_LIMIT, VQ_E_UNSUPPORTED (a format we know
 *         but do not read, a JPEG in CMYK or 12 bits), VQ_E_NOMEM.
 */
VQ_API vq_status vq_image_read(vq_signal **out, const char *path, const vq_limits *limits);

/** The same from memory. `name` is for the sentences; NULL for none. */
VQ_API vq_status vq_image_parse(vq_signal **out, const void *data, size_t size, const char *name,
                                const vq_limits *limits);

/** @return "PNG", "JPEG", "WebP", ... from the first bytes; NULL if it is no picture that we know by sight. */
VQ_API const char *vq_image_sniff(const void *data, size_t size);

/**
 * Write a PNG. Samples are clipped to [0, 1] and rounded to nearest.
 * @param bits 8 or 16; 0 = the signal's own bits, else 8.
 * @return VQ_OK, VQ_E_ARG (no picture), VQ_E_NONFINITE, VQ_E_IO, VQ_E_NOMEM.
 */
VQ_API vq_status vq_png_write(const char *path, const vq_signal *image, uint32_t bits,
                              const vq_write_opts *opts);
/** The same into memory, owned by the caller. */
VQ_API vq_status vq_png_serialize(vq_bytes *out, const vq_signal *image, uint32_t bits);

#ifdef __cplusplus
}
#endif
#endif
