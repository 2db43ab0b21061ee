/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG files made here with libjpeg: colours, orientations, harmless oddities, damage, bombs, limits. */
#include <math.h>
#include <stdio.h>

#include <jpeglib.h>

#include "io/image.h"
#include "test_support.h"

enum { HEIGHT = 40, WIDTH = 56, MAX_FILE = 1 << 16 };

typedef struct jpeg_file {
    uint8_t bytes[MAX_FILE];
    size_t size;
} jpeg_file;

/* A smooth picture whose four corners differ, so that each orientation shows. */
static uint8_t sample(size_t y, size_t x, size_t c)
{
    return (uint8_t)(20 + 3 * y + x + 10 * c);
}

static void make_jpeg_of_scans(jpeg_file *file, J_COLOR_SPACE colour, int progressive,
                               const jpeg_scan_info *scans, int scan_count)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    unsigned char *out = NULL;
    unsigned long size = 0;
    jpeg_mem_dest(&jpeg, &out, &size);
    jpeg.image_height = HEIGHT;
    jpeg.image_width = WIDTH;
    jpeg.in_color_space = colour;
    jpeg.input_components = colour == JCS_GRAYSCALE ? 1 : colour == JCS_CMYK ? 4 : 3;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    jpeg.comp_info[0].h_samp_factor = jpeg.comp_info[0].v_samp_factor = 1;
    if (progressive)
        jpeg_simple_progression(&jpeg);
    if (scans) {
        jpeg.scan_info = scans;
        jpeg.num_scans = scan_count;
    }
    jpeg_start_compress(&jpeg, TRUE);
    const size_t channels = (size_t)jpeg.input_components;
    for (size_t y = 0; y < HEIGHT; y++) {
        uint8_t row[WIDTH * 4];
        for (size_t i = 0; i < WIDTH * channels; i++)
            row[i] = sample(y, i / channels, i % channels);
        JSAMPROW rows[1] = {row};
        jpeg_write_scanlines(&jpeg, rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    assert_true(size <= MAX_FILE);
    memcpy(file->bytes, out, size);
    file->size = size;
    free(out);
}

static void make_jpeg(jpeg_file *file, J_COLOR_SPACE colour, int progressive)
{
    make_jpeg_of_scans(file, colour, progressive, NULL, 0);
}

static void insert(jpeg_file *file, size_t at, const void *bytes, size_t size)
{
    assert_true(file->size + size <= MAX_FILE);
    memmove(file->bytes + at + size, file->bytes + at, file->size - at);
    memcpy(file->bytes + at, bytes, size);
    file->size += size;
}

/* The place of the frame header's precision byte; height and width follow. */
static uint8_t *frame(jpeg_file *file, uint8_t marker)
{
    for (size_t i = 2; i + 9 < file->size; i++)
        if (file->bytes[i] == 0xff && file->bytes[i + 1] == marker)
            return file->bytes + i + 4;
    fail_msg("no marker %x", marker);
    return NULL;
}

static vq_status parse(vq_signal **out, const jpeg_file *file, const vq_limits *limits)
{
    uint8_t *exact = malloc(file->size); /* so that reading past the end shows */
    memcpy(exact, file->bytes, file->size);
    const vq_status status = vq_image_parse(out, exact, file->size, "x.jpg", limits);
    free(exact);
    assert_true((status == VQ_OK) == (*out != NULL));
    return status;
}

/* (y, x) of the upright picture lies at (sy, sx) of the stored one, by the table of EXIF 2.3, 4.6.4. */
static void stored_place(size_t *sy, size_t *sx, int orientation, size_t y, size_t x)
{
    const size_t bottom = HEIGHT - 1, right = WIDTH - 1;
    switch (orientation) {
    case 2:
        *sy = y, *sx = right - x;
        break;
    case 3:
        *sy = bottom - y, *sx = right - x;
        break;
    case 4:
        *sy = bottom - y, *sx = x;
        break;
    case 5:
        *sy = x, *sx = y;
        break;
    case 6: /* the stored first row is the right side */
        *sy = bottom - x, *sx = y;
        break;
    case 7:
        *sy = bottom - x, *sx = right - y;
        break;
    case 8: /* the stored first row is the left side */
        *sy = x, *sx = right - y;
        break;
    default:
        *sy = y, *sx = x;
    }
}

static void assert_picture(const jpeg_file *file, size_t channels, int orientation)
{
    vq_signal *image;
    assert_ok(parse(&image, file, NULL));
    const size_t height = orientation > 4 ? WIDTH : HEIGHT,
                 width = orientation > 4 ? HEIGHT : WIDTH;
    assert_int_equal(image->shape[0], height);
    assert_int_equal(image->shape[1], width);
    assert_int_equal(image->shape[2], channels);
    assert_int_equal(image->bits, 8);
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < channels; c++) {
                size_t sy, sx;
                stored_place(&sy, &sx, orientation, y, x);
                const double got = image->data[(y * width + x) * channels + c] * 255.0;
                if (fabs(got - sample(sy, sx, c)) > 3)
                    fail_msg("orientation %d, %zu, %zu: %g, not %d", orientation, y, x, got,
                             sample(sy, sx, c));
            }
    vq_signal_free(image);
}

static void colours_and_scans_are_read(void **state)
{
    (void)state;
    static jpeg_file file;
    for (int progressive = 0; progressive < 2; progressive++) {
        make_jpeg(&file, JCS_GRAYSCALE, progressive);
        assert_picture(&file, 1, 1);
        make_jpeg(&file, JCS_RGB, progressive);
        assert_picture(&file, 3, 1);
        make_jpeg(&file, JCS_CMYK, progressive);
        vq_signal *image;
        assert_status(VQ_E_UNSUPPORTED, parse(&image, &file, NULL));
    }
}

/* EXIF in both byte orders, behind another APP1 (XMP); values that mean nothing change nothing. */
static void pictures_are_turned_upright(void **state)
{
    (void)state;
    static const char xmp[] = "\xff\xe1\0\x20http://ns.adobe.com/xap/1.0/\0";
    for (int big = 0; big < 2; big++)
        for (int orientation = 0; orientation <= 9; orientation++) {
            static jpeg_file file;
            uint8_t app1[] = "\xff\xe1\0\x22"
                             "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0?\0\0\0\0\0\0\0";
            if (big)
                memcpy(app1 + 10, "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0?", 20);
            app1[big ? 29 : 28] = (uint8_t)orientation;
            make_jpeg(&file, JCS_RGB, 0);
            insert(&file, 2, app1, 0x22 + 2);
            insert(&file, 2, xmp, 0x20 + 2);
            assert_picture(&file, 3, orientation < 1 || orientation > 8 ? 1 : orientation);
        }
}

/* An EXIF block may end anywhere or point anywhere. */
static void damaged_exif_is_passed_over(void **state)
{
    (void)state;
    static const char exif[] = "Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0";
    for (size_t length = 0; length < 26; length++) {
        static jpeg_file file;
        char app1[64] = "\xff\xe1";
        app1[3] = (char)(length + 2);
        memcpy(app1 + 4, exif, length);
        make_jpeg(&file, JCS_GRAYSCALE, 0);
        insert(&file, 2, app1, length + 4);
        assert_picture(&file, 1, 1);
        memset(app1 + 4 + (length > 10 ? 10 : length), 0xff, 8); /* the folder lies far outside */
        make_jpeg(&file, JCS_GRAYSCALE, 0);
        insert(&file, 2, app1, length + 4);
        assert_picture(&file, 1, 1);
    }
}

/* Bytes between the last sample and the end are common; before a restart marker they are lost samples. */
static void padding_does_no_harm(void **state)
{
    (void)state;
    static jpeg_file file;
    make_jpeg(&file, JCS_RGB, 0);
    insert(&file, file.size - 2, "\0\0\0\0\0\0\0\0", 8);
    assert_picture(&file, 3, 1);
}

static void every_prefix_is_refused(void **state)
{
    (void)state;
    static jpeg_file file;
    for (int progressive = 0; progressive < 2; progressive++) {
        make_jpeg(&file, JCS_GRAYSCALE, progressive);
        while (--file.size) {
            vq_signal *image;
            assert_status(VQ_E_FORMAT, parse(&image, &file, NULL));
        }
    }
}

static void rare_kinds_are_named(void **state)
{
    (void)state;
    static jpeg_file file;
    vq_signal *image;
    make_jpeg(&file, JCS_RGB, 0);
    *frame(&file, 0xc0) = 12; /* bits per sample */
    assert_status(VQ_E_UNSUPPORTED, parse(&image, &file, NULL));
    make_jpeg(&file, JCS_RGB, 0);
    frame(&file, 0xc0)[-3] = 0xc3; /* lossless */
    assert_status(VQ_E_UNSUPPORTED, parse(&image, &file, NULL));
}

/* The largest single allocation through our seam, to see that a small file does not ask for much. */
static size_t largest;

static void *watching_alloc(void *context, size_t size)
{
    (void)context;
    largest = size > largest ? size : largest;
    return malloc(size);
}

static void watching_free(void *context, void *pointer)
{
    (void)context;
    free(pointer);
}

static vq_status parse_of_size(const jpeg_file *made, int marker, unsigned height, unsigned width)
{
    static jpeg_file file;
    const vq_allocator watching = {watching_alloc, watching_free, NULL};
    file = *made;
    uint8_t *p = frame(&file, (uint8_t)marker);
    p[1] = (uint8_t)(height >> 8);
    p[2] = (uint8_t)height;
    p[3] = (uint8_t)(width >> 8);
    p[4] = (uint8_t)width;
    vq_signal *image;
    largest = 0;
    vq_set_allocator(&watching);
    const vq_status status = parse(&image, &file, NULL);
    vq_signal_free(image);
    vq_set_allocator(NULL);
    return status;
}

static void bombs_do_not_go_off(void **state)
{
    (void)state;
    static jpeg_file file;
    for (int progressive = 0; progressive < 2; progressive++) {
        const int marker = progressive ? 0xc2 : 0xc0;
        make_jpeg(&file, JCS_RGB, progressive);
        assert_int_equal(parse_of_size(&file, marker, 16000, 16000), VQ_E_FORMAT);
        assert_true(largest < 100000);
        assert_int_equal(parse_of_size(&file, marker, 16385, 1), VQ_E_LIMIT);
        assert_true(largest < 100000);
        assert_int_equal(parse_of_size(&file, marker, 65535, 65535), VQ_E_LIMIT);
        assert_true(largest < 100000);
    }
}

/* Each coefficient in scans of its own, a bit at a time: a true picture, and a pass over all of it for each scan. */
static void scans_are_counted(void **state)
{
    (void)state;
    for (int bits = 7; bits <= 8; bits++) {
        static jpeg_file file;
        static jpeg_scan_info scans[1 + 63 * 8];
        int count = 1;
        scans[0] = (jpeg_scan_info){.comps_in_scan = 1};
        for (int k = 1; k < 64; k++)
            for (int low = bits - 1; low >= 0; low--)
                scans[count++] = (jpeg_scan_info){.comps_in_scan = 1,
                                                  .Ss = k,
                                                  .Se = k,
                                                  .Ah = low == bits - 1 ? 0 : low + 1,
                                                  .Al = low};
        make_jpeg_of_scans(&file, JCS_GRAYSCALE, 1, scans, count);
        vq_signal *image;
        assert_status(count > 500 ? VQ_E_LIMIT : VQ_OK, parse(&image, &file, NULL));
        vq_signal_free(image);
    }
}

static void limits_hold(void **state)
{
    (void)state;
    static jpeg_file file;
    vq_signal *image;
    for (int progressive = 0; progressive < 2; progressive++) {
        make_jpeg(&file, JCS_RGB, progressive);
        vq_limits limits = VQ_LIMITS_INIT;
        limits.max_image_side = WIDTH;
        limits.max_image_pixels = HEIGHT * WIDTH;
        assert_ok(parse(&image, &file, &limits));
        vq_signal_free(image);
        limits.max_image_side = WIDTH - 1;
        assert_status(VQ_E_LIMIT, parse(&image, &file, &limits));
        limits.max_image_side = WIDTH;
        limits.max_image_pixels = HEIGHT * WIDTH - 1;
        assert_status(VQ_E_LIMIT, parse(&image, &file, &limits));
        limits.max_image_pixels = 0;
        limits.max_alloc_bytes = HEIGHT * WIDTH * 3 * sizeof(float) - 1;
        assert_status(VQ_E_LIMIT, parse(&image, &file, &limits));
    }
}

static vq_status read_file(void *context)
{
    const jpeg_file *file = context;
    vq_signal *image;
    const vq_status status = vq_image_parse(&image, file->bytes, file->size, "x.jpg", NULL);
    vq_signal_free(image);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static jpeg_file file;
    make_jpeg(&file, JCS_RGB, 1);
    test_allocation_failures(read_file, &file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colours_and_scans_are_read),
        cmocka_unit_test(pictures_are_turned_upright),
        cmocka_unit_test(damaged_exif_is_passed_over),
        cmocka_unit_test(padding_does_no_harm),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(rare_kinds_are_named),
        cmocka_unit_test(bombs_do_not_go_off),
        cmocka_unit_test(scans_are_counted),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
