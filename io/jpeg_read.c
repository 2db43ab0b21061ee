/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG through libjpeg-turbo: the accurate integer DCT, whose samples are the same on every machine. */
#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "io/bytes_internal.h"
#include "io/image_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum {
    MAX_SCANS = 500, /* a progressive picture needs about ten; each costs a pass over all of it */
    EXIF_ORIENTATION = 0x0112,
    EXIF_BYTES = 65533
};

typedef struct reader {
    struct jpeg_decompress_struct jpeg; /* libjpeg allocates by itself, within limits */
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    const vq_limits *limits;
    size_t file_size;
    vq_signal *signal;
    uint8_t *row;
    unsigned orientation; /* 1 to 8, as in EXIF */
    vq_status status;
} reader;

static vq_status refuse(const struct jpeg_error_mgr *errors, const char *message)
{
    switch (errors->msg_code) {
    case JERR_OUT_OF_MEMORY:
        return vqi_fail_nomem(0);
    case JERR_NO_BACKING_STORE: /* max_memory_to_use is not enough */
    case JERR_IMAGE_TOO_BIG:
        return vqi_fail(VQ_E_LIMIT, "JPEG refused (%s)", message);
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
        return vqi_fail(VQ_E_UNSUPPORTED, "a rare kind of JPEG (%s; convert it first)", message);
    default:
        return vqi_fail(VQ_E_FORMAT, "damaged JPEG (%s)", message);
    }
}

static void on_error(j_common_ptr jpeg)
{
    reader *r = jpeg->client_data;
    char message[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, message);
    if (r->status == VQ_OK)
        r->status = refuse(jpeg->err, message);
    longjmp(r->leave, 1);
}

/* Did a warning leave the samples whole? Cameras pad between markers; bytes left over before a restart marker are lost
   samples. */
static int is_harmless(const struct jpeg_error_mgr *errors)
{
    switch (errors->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_ICC:
    case JWRN_JFIF_MAJOR:
        return 1;
    case JWRN_EXTRANEOUS_DATA:
        return errors->msg_parm.i[1] < JPEG_RST0 || errors->msg_parm.i[1] > JPEG_RST0 + 7;
    default:
        return 0;
    }
}

/* Any other means samples that libjpeg made up: a file cut short is refused, not half shown. */
static void on_message(j_common_ptr jpeg, int level)
{
    if (level < 0 && !is_harmless(jpeg->err))
        on_error(jpeg);
}

static void on_output(j_common_ptr jpeg)
{
    (void)jpeg;
}

static void on_progress(j_common_ptr jpeg)
{
    reader *r = jpeg->client_data;
    if (r->jpeg.input_scan_number > MAX_SCANS) {
        r->status = vqi_fail(VQ_E_LIMIT, "the JPEG has more than %d scans", MAX_SCANS);
        on_error(jpeg);
    }
}

static uint32_t tiff_number(const uint8_t *p, int size, int big)
{
    uint32_t value = 0;
    for (int i = 0; i < size; i++)
        value |= (uint32_t)p[i] << 8 * (big ? size - 1 - i : i);
    return value;
}

/* The orientation in a TIFF 6.0 file, as EXIF is; 1 if there is none or it makes no sense. */
static unsigned tiff_orientation(const uint8_t *tiff, size_t length)
{
    const int big = tiff[0] == 'M';
    const uint32_t directory = tiff_number(tiff + 4, 4, big);
    if (directory > length || length - directory < 2)
        return 1;
    const uint32_t entries = tiff_number(tiff + directory, 2, big);
    for (uint32_t i = 0; i < entries; i++) {
        const size_t at = directory + 2 + (size_t)12 * i;
        if (at + 12 > length)
            return 1;
        if (tiff_number(tiff + at, 2, big) == EXIF_ORIENTATION) {
            const uint32_t value = tiff_number(tiff + at + 8, 2, big);
            return value >= 1 && value <= 8 ? value : 1;
        }
    }
    return 1;
}

/* APP1 holds EXIF, XMP and other things, in any order. */
static unsigned find_orientation(const struct jpeg_decompress_struct *jpeg)
{
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length >= 14 && !memcmp(m->data, "Exif\0", 6))
            return tiff_orientation(m->data + 6, m->data_length - 6);
    return 1;
}

/* Put a decoded row where the orientation says: rows count from the top of the picture as it lies in the file. */
static void place_row(const reader *r, size_t y, size_t height, size_t width)
{
    const size_t channels = r->signal->shape[2], stride = r->signal->shape[1];
    const int swap = r->orientation >= 5;
    const int flip_x =
        r->orientation == 2 || r->orientation == 3 || r->orientation == 7 || r->orientation == 8;
    const int flip_y =
        r->orientation == 3 || r->orientation == 4 || r->orientation == 6 || r->orientation == 7;
    const size_t ty = flip_y ? height - 1 - y : y;
    for (size_t x = 0; x < width; x++) {
        const size_t tx = flip_x ? width - 1 - x : x;
        float *to = r->signal->data + (swap ? tx * stride + ty : ty * stride + tx) * channels;
        for (size_t c = 0; c < channels; c++)
            to[c] = (float)r->row[x * channels + c] / 255.0f;
    }
}

/* Sizes and colours are known: check them against the limits, and against what so small a file can hold. */
static vq_status check_header(const reader *r, uint32_t channels)
{
    const struct jpeg_decompress_struct *jpeg = &r->jpeg;
    if (jpeg->jpeg_color_space != JCS_GRAYSCALE && jpeg->jpeg_color_space != JCS_YCbCr &&
        jpeg->jpeg_color_space != JCS_RGB)
        return vqi_fail(VQ_E_UNSUPPORTED,
                        "a CMYK or other JPEG of %d channels (convert it to RGB first)",
                        jpeg->num_components);
    const vq_status status =
        vqi_image_check_size(jpeg->image_height, jpeg->image_width, channels, r->limits);
    if (status)
        return status;
    /* A Huffman code has at least one bit, and each block at least one code. */
    const uint64_t blocks =
        (uint64_t)jpeg->comp_info[0].width_in_blocks * jpeg->comp_info[0].height_in_blocks;
    if (!jpeg->arith_code && blocks / 8 > r->file_size)
        return vqi_fail(VQ_E_FORMAT, "damaged JPEG (%zu bytes cannot hold a picture of %u x %u)",
                        r->file_size, jpeg->image_width, jpeg->image_height);
    return VQ_OK;
}

static void read_pixels(reader *r)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    jpeg_read_header(jpeg, TRUE);
    const uint32_t channels = jpeg->jpeg_color_space == JCS_GRAYSCALE ? 1 : 3;
    r->status = check_header(r, channels);
    if (r->status)
        on_error((j_common_ptr)jpeg);
    jpeg->out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    r->orientation = find_orientation(jpeg);
    jpeg_start_decompress(jpeg);

    const size_t height = jpeg->output_height, width = jpeg->output_width;
    const int swap = r->orientation >= 5;
    const size_t shape[3] = {swap ? width : height, swap ? height : width, channels};
    r->status = vq_signal_create(&r->signal, VQ_KIND_IMAGE, 3, shape);
    r->row = vqi_alloc(width, channels);
    if (!r->status && !r->row)
        r->status = vqi_fail_nomem(width * channels);
    if (r->status)
        on_error((j_common_ptr)jpeg);
    r->signal->bits = 8;
    for (size_t y = 0; y < height; y++) {
        JSAMPROW row = r->row;
        jpeg_read_scanlines(jpeg, &row, 1);
        place_row(r, y, height, width);
    }
    jpeg_finish_decompress(jpeg);
}

/* Owns nothing and has no locals that a longjmp could leave undefined. */
static void decode(reader *r, const uint8_t *data, size_t size)
{
    if (setjmp(r->leave))
        return;
    jpeg_create_decompress(&r->jpeg);
    r->jpeg.progress = &r->progress;
    r->jpeg.mem->max_memory_to_use =
        (long)(r->limits->max_alloc_bytes < LONG_MAX ? r->limits->max_alloc_bytes : LONG_MAX);
    jpeg_mem_src(&r->jpeg, data, (unsigned long)size);
    jpeg_save_markers(&r->jpeg, JPEG_APP0 + 1, EXIF_BYTES);
    read_pixels(r);
}

vq_status vqi_jpeg_parse(vq_signal **out, const uint8_t *data, size_t size, const vq_limits *limits)
{
    reader *r = vqi_calloc(1, sizeof *r);
    if (!r)
        return vqi_fail_nomem(sizeof *r);
    r->limits = limits;
    r->file_size = size;
    r->jpeg.err = jpeg_std_error(&r->errors);
    r->errors.error_exit = on_error;
    r->errors.emit_message = on_message;
    r->errors.output_message = on_output;
    r->progress.progress_monitor = on_progress;
    r->jpeg.client_data = r;
    decode(r, data, size);
    jpeg_destroy_decompress(&r->jpeg);
    const vq_status status = r->status;
    if (status)
        vq_signal_free(r->signal);
    else
        *out = r->signal;
    vq_free(r->row);
    vq_free(r);
    return status;
}
