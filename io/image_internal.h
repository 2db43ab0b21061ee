/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_IMAGE_INTERNAL_H
#define IO_IMAGE_INTERNAL_H

#include "io/image.h"

/** Each parses a file whose signature has been seen; limits are resolved; sentences have no file name. */
vq_status vqi_png_parse(vq_signal **out, const uint8_t *data, size_t size, const vq_limits *limits);
vq_status vqi_jpeg_parse(vq_signal **out, const uint8_t *data, size_t size,
                         const vq_limits *limits);

/** VQ_E_LIMIT if a picture of height x width x channels floats is larger than the limits; else VQ_OK. */
vq_status vqi_image_check_size(uint64_t height, uint64_t width, uint32_t channels,
                               const vq_limits *limits);

#endif
