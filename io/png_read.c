/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG through libpng's row interface: no simplified API, few transformations, limits set before the first
 * byte is parsed, every allocation through our seam, and one small function that holds the setjmp.
 */
#include <string.h>

#include "io/bytes_internal.h"
#include "io/image_internal.h"
#include "io/png_internal.h"
#include "vq/error_internal.h"

enum {
    CACHED_CHUNKS = 128,
    CHUNK_BYTES = 8000000,
    INFLATE_RATIO = 1032 /* the most that deflate can expand */
};

typedef struct reader {
    vqi_cursor cursor;
    const vq_limits *limits;
    size_t file_size;
    png_structp png;
    png_infop info;
    vq_signal *signal;
    png_bytep row;    /* one row; of an interlaced picture, all */
    int past_limit;   /* libpng warned of a limit: the error that follows does not say so */
    vq_status status; /* why libpng was left */
} reader;

/* The longjmp target is set in decode(); nothing between it and here owns anything. */
static PNG_NORETURN void leave(png_structp png, vq_status status)
{
    reader *r = png_get_error_ptr(png);
    r->status = status;
    png_longjmp(png, 1);
}

static PNG_NORETURN void on_error(png_structp png, png_const_charp message)
{
    const reader *r = png_get_error_ptr(png);
    if (strstr(message, "emory"))
        leave(png, vqi_fail_nomem(0));
    if (strstr(message, "CRC"))
        leave(png, vqi_fail(VQ_E_CHECKSUM, "byte %zu: damaged PNG (%s)", vqi_offset(&r->cursor),
                            message));
    if (r->past_limit || strstr(message, "limit"))
        leave(png,
              vqi_fail(VQ_E_LIMIT, "byte %zu: PNG refused (%s)", vqi_offset(&r->cursor), message));
    leave(png,
          vqi_fail(VQ_E_FORMAT, "byte %zu: damaged PNG (%s)", vqi_offset(&r->cursor), message));
}

/* What libpng only warns about does not touch the samples. */
static void on_warning(png_structp png, png_const_charp message)
{
    reader *r = png_get_error_ptr(png);
    r->past_limit |= strstr(message, "exceeds user limit") != NULL;
}

static void on_read(png_structp png, png_bytep data, size_t size)
{
    reader *r = png_get_io_ptr(png);
    const uint8_t *bytes = vqi_take(&r->cursor, size);
    if (bytes)
        memcpy(data, bytes, size);
    else
        leave(png, vqi_fail(VQ_E_FORMAT, "the PNG is cut short (after %zu bytes)", r->file_size));
}

/* Row of 8- or 16-bit samples to floats in [0, 1]. */
static void convert_row(float *out, const uint8_t *row, size_t count, int bits)
{
    if (bits == 16)
        for (size_t i = 0; i < count; i++)
            out[i] = (float)(row[2 * i] << 8 | row[2 * i + 1]) / 65535.0f;
    else
        for (size_t i = 0; i < count; i++)
            out[i] = (float)row[i] / 255.0f;
}

/* Sizes are known: check them against the limits, and against what so small a file can hold. */
static void check_header(const reader *r, uint32_t channels)
{
    const uint32_t height = png_get_image_height(r->png, r->info);
    const uint32_t width = png_get_image_width(r->png, r->info);
    const vq_status status = vqi_image_check_size(height, width, channels, r->limits);
    if (status)
        leave(r->png, status);
    const uint64_t bits =
        (uint64_t)width * png_get_bit_depth(r->png, r->info) * png_get_channels(r->png, r->info);
    /* Rows of an interlaced picture may end within a byte more often, never less. */
    if (height * ((bits + 7) / 8) / INFLATE_RATIO > r->file_size)
        leave(r->png,
              vqi_fail(VQ_E_FORMAT, "damaged PNG (%zu bytes cannot hold a picture of %u x %u)",
                       r->file_size, width, height));
}

static void read_pixels(reader *r)
{
    png_structp png = r->png;
    png_read_info(png, r->info);
    const int colour = png_get_color_type(png, r->info);
    if (colour == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    if (colour == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, r->info) < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    const int transparent = png_get_valid(png, r->info, PNG_INFO_tRNS) != 0;
    if (transparent)
        png_set_tRNS_to_alpha(png);
    const int passes = png_set_interlace_handling(png);
    const uint32_t channels = (colour & PNG_COLOR_MASK_COLOR ? 3u : 1u) +
                              (transparent || colour & PNG_COLOR_MASK_ALPHA ? 1u : 0u);
    check_header(r, channels);
    png_read_update_info(png, r->info);

    const uint32_t height = png_get_image_height(png, r->info);
    const uint32_t width = png_get_image_width(png, r->info);
    const int bits = png_get_bit_depth(png, r->info);
    const size_t row_bytes = png_get_rowbytes(png, r->info), row_count = (size_t)width * channels;
    if ((bits != 8 && bits != 16) || channels != png_get_channels(png, r->info) ||
        row_bytes != row_count * (size_t)(bits / 8))
        leave(png, vqi_fail(VQ_E_FORMAT, "damaged PNG (its rows have an impossible shape)"));

    const size_t shape[3] = {height, width, channels};
    const vq_status status = vq_signal_create(&r->signal, VQ_KIND_IMAGE, 3, shape);
    r->row = vqi_alloc(passes > 1 ? height : 1, row_bytes);
    if (status || !r->row)
        leave(png, vqi_fail_nomem(row_bytes));
    r->signal->bits = (uint32_t)bits;
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = 0; y < height; y++) {
            png_bytep row = r->row + (passes > 1 ? y * row_bytes : 0);
            png_read_row(png, row, NULL);
            if (pass == passes - 1)
                convert_row(r->signal->data + y * row_count, row, row_count, bits);
        }
    png_read_end(png, NULL);
}

static void set_limits(reader *r)
{
    png_set_read_fn(r->png, r, on_read);
    png_set_user_limits(r->png, r->limits->max_image_side, r->limits->max_image_side);
    png_set_chunk_cache_max(r->png, CACHED_CHUNKS);
    png_set_chunk_malloc_max(r->png, CHUNK_BYTES);
    png_set_crc_action(r->png, PNG_CRC_ERROR_QUIT, PNG_CRC_WARN_DISCARD);
    /* Chunks that nothing here looks at are not even parsed. */
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
}

/* Owns nothing and has no locals that a longjmp could leave undefined. */
static void decode(reader *r)
{
    if (setjmp(png_jmpbuf(r->png)))
        return;
    set_limits(r);
    read_pixels(r);
}

vq_status vqi_png_parse(vq_signal **out, const uint8_t *data, size_t size, const vq_limits *limits)
{
    reader r = {.cursor = vqi_cursor_of(data, size), .limits = limits, .file_size = size};
    r.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning, NULL,
                                     vqi_png_alloc, vqi_png_free);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    if (!r.info) {
        png_destroy_read_struct(&r.png, NULL, NULL);
        return vqi_fail_nomem(0);
    }
    decode(&r);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    vq_free(r.row);
    if (r.status) {
        vq_signal_free(r.signal);
        return r.status;
    }
    *out = r.signal;
    return VQ_OK;
}
