/* SPDX-License-Identifier: Apache-2.0 */
/* The door to picture files: what is it, and who reads it. */
#include "io/image.h"

#include <string.h>

#include "io/image_internal.h"
#include "vq/error_internal.h"

const char *vq_image_sniff(const void *data, size_t size)
{
    static const struct {
        const char *name, *magic;
        size_t offset, length;
    } kinds[] = {
        {"PNG", "\x89PNG\r\n\x1a\n", 0, 8},
        {"JPEG", "\xff\xd8\xff", 0, 3},
        {"WebP", "WEBPVP8", 8, 7},
        {"AVIF", "ftypavif", 4, 8},
        {"HEIC", "ftyphei", 4, 7},
        {"HEIC", "ftypmif1", 4, 8},
        {"GIF", "GIF8", 0, 4},
        {"TIFF", "II*\0", 0, 4},
        {"TIFF", "MM\0*", 0, 4},
        {"TIFF", "II+\0", 0, 4},
        {"TIFF", "MM\0+", 0, 4},
        {"BMP", "BM", 0, 2},
        {"JPEG XL", "\xff\x0a", 0, 2},
        {"JPEG XL", "\0\0\0\x0cJXL ", 0, 8},
        {"JPEG 2000", "\0\0\0\x0cjP  ", 0, 8},
        {"PNM", "P1\n", 0, 3},
        {"PNM", "P2\n", 0, 3},
        {"PNM", "P3\n", 0, 3},
        {"PNM", "P4\n", 0, 3},
        {"PNM", "P5", 0, 2},
        {"PNM", "P6", 0, 2},
        {"PNM", "P7\n", 0, 3},
        {"PDF", "%PDF", 0, 4},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size >= kinds[i].offset + kinds[i].length &&
            !memcmp((const char *)data + kinds[i].offset, kinds[i].magic, kinds[i].length))
            return kinds[i].name;
    return NULL;
}

vq_status vqi_image_check_size(uint64_t height, uint64_t width, uint32_t channels,
                               const vq_limits *limits)
{
    if (!height || !width)
        return vqi_fail(VQ_E_FORMAT, "the picture is %llu x %llu", (unsigned long long)width,
                        (unsigned long long)height);
    if (height > limits->max_image_side || width > limits->max_image_side ||
        height * width > limits->max_image_pixels ||
        height * width > limits->max_alloc_bytes / sizeof(float) / channels)
        return vqi_fail(VQ_E_LIMIT,
                        "the picture is %llu x %llu (at most %u on a side, %llu pixels and %llu "
                        "bytes of samples)",
                        (unsigned long long)width, (unsigned long long)height,
                        limits->max_image_side, (unsigned long long)limits->max_image_pixels,
                        (unsigned long long)limits->max_alloc_bytes);
    return VQ_OK;
}

static vq_status parse(vq_signal **out, const void *data, size_t size, const vq_limits *limits)
{
    const char *kind = vq_image_sniff(data, size);
    if (!size)
        return vqi_fail(VQ_E_FORMAT, "not a picture (the file is empty)");
    if (!kind)
        return vqi_fail(VQ_E_FORMAT, "not a picture (PNG and JPEG are read)");
    if (!strcmp(kind, "PNG"))
        return vqi_png_parse(out, data, size, limits);
    if (!strcmp(kind, "JPEG"))
        return vqi_jpeg_parse(out, data, size, limits);
    return vqi_fail(VQ_E_UNSUPPORTED, "not a PNG or JPEG file (found %s %s; convert it first)",
                    kind[0] == 'A' ? "an" : "a", kind);
}

vq_status vq_image_parse(vq_signal **out, const void *data, size_t size, const char *name,
                         const vq_limits *limits)
{
    *out = NULL;
    vq_limits own;
    vq_status status = vq_limits_resolve(&own, limits);
    if (status)
        return status;
    status = parse(out, data, size, &own);
    return status && name ? vqi_fail_in(status, name) : status;
}

vq_status vq_image_read(vq_signal **out, const char *path, const vq_limits *limits)
{
    *out = NULL;
    vq_bytes bytes;
    vq_status status = vq_file_read(&bytes, path, limits);
    if (!status)
        status = vq_image_parse(out, bytes.data, bytes.size, path, limits);
    vq_bytes_clear(&bytes);
    return status;
}
