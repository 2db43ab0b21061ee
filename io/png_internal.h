/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/png_internal.h
 * libpng's memory through our seam; for the reader and the writer.
 */
#ifndef IO_PNG_INTERNAL_H
#define IO_PNG_INTERNAL_H

#include <png.h>

#include "vq/memory_internal.h"

static inline png_voidp vqi_png_alloc(png_structp png, png_alloc_size_t size)
{
    (void)png;
    return vqi_alloc(size, 1);
}

static inline void vqi_png_free(png_structp png, png_voidp pointer)
{
    (void)png;
    vq_free(pointer);
}

#endif
