/* SPDX-License-Identifier: Apache-2.0 */
/* What is read as a picture is written as a PNG that reads the same. */
#include <stdlib.h>
#include <string.h>

#include "io/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_image_pixels = 1 << 20;
    vq_signal *image, *copy;
    vq_bytes bytes;
    if (vq_image_parse(&image, data, size, "input", &limits))
        return 0;
    if (vq_png_serialize(&bytes, image, 0) ||
        vq_image_parse(&copy, bytes.data, bytes.size, "copy", &limits) ||
        memcmp(image->shape, copy->shape, sizeof image->shape) != 0 ||
        memcmp(image->data, copy->data, vq_signal_count(image) * sizeof *image->data) != 0)
        abort();
    vq_bytes_clear(&bytes);
    vq_signal_free(copy);
    vq_signal_free(image);
    return 0;
}
