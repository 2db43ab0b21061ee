/* SPDX-License-Identifier: Apache-2.0 */
/* PNG and JPEG: the conformance suites under shared/data, hand-made hostile files, limits, round trips. */
#include <dirent.h>
#include <math.h>
#include <zlib.h>

#include "io/file.h"
#include "io/image.h"
#include "test_support.h"

static vq_signal *make_picture(size_t height, size_t width, size_t channels, uint32_t bits)
{
    vq_signal *image;
    const size_t shape[3] = {height, width, channels};
    assert_ok(vq_signal_create(&image, VQ_KIND_IMAGE, 3, shape));
    const uint32_t most = bits == 16 ? 65535 : 255;
    for (size_t i = 0; i < vq_signal_count(image); i++)
        image->data[i] = (float)(i * 7919 % (most + 1)) / (float)most;
    image->bits = bits;
    return image;
}

static void assert_same_picture(const vq_signal *a, const vq_signal *b)
{
    assert_memory_equal(a->shape, b->shape, sizeof a->shape);
    assert_int_equal(a->bits, b->bits);
    assert_memory_equal(a->data, b->data, vq_signal_count(a) * sizeof *a->data);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (size_t channels = 1; channels <= 4; channels++)
        for (uint32_t bits = 8; bits <= 16; bits += 8)
            for (size_t width = 1; width <= 300; width += 299) {
                vq_signal *image = make_picture(257, width, channels, bits), *copy;
                vq_bytes bytes;
                assert_ok(vq_png_serialize(&bytes, image, 0));
                assert_ok(vq_image_parse(&copy, bytes.data, bytes.size, "copy", NULL));
                assert_same_picture(image, copy);
                vq_signal_free(copy);
                vq_signal_free(image);
                vq_bytes_clear(&bytes);
            }
}

static void samples_are_clipped_and_rounded(void **state)
{
    (void)state;
    vq_signal *image = make_picture(1, 6, 1, 8), *copy;
    const float samples[] = {-1.0f, 2.0f, 0.4f / 255, 0.6f / 255, 254.4f / 255, 1.0f};
    const int expected[] = {0, 255, 0, 1, 254, 255};
    memcpy(image->data, samples, sizeof samples);
    vq_bytes bytes;
    assert_ok(vq_png_serialize(&bytes, image, 8));
    assert_ok(vq_image_parse(&copy, bytes.data, bytes.size, NULL, NULL));
    for (int i = 0; i < 6; i++)
        assert_int_equal(lroundf(copy->data[i] * 255), expected[i]);
    vq_bytes_clear(&bytes);
    image->data[4] = NAN;
    assert_status(VQ_E_NONFINITE, vq_png_serialize(&bytes, image, 8));
    image->data[4] = 0;
    assert_status(VQ_E_ARG, vq_png_serialize(&bytes, image, 12));
    assert_null(bytes.data);
    vq_signal_free(copy);
    vq_signal_free(image);
}

static void other_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        vq_status status;
        const char *word;
    } cases[] = {
        {"", 0, VQ_E_FORMAT, "empty"},
        {"hello, world", 12, VQ_E_FORMAT, "not a picture"},
        {"RIFF\0\0\0\0WEBPVP8 ", 16, VQ_E_UNSUPPORTED, "WebP"},
        {"GIF89a\1\0\1\0", 10, VQ_E_UNSUPPORTED, "GIF"},
        {"\0\0\0\x1c"
         "ftypavif",
         12, VQ_E_UNSUPPORTED, "an AVIF"},
        {"%PDF-1.4\n", 9, VQ_E_UNSUPPORTED, "PDF"},
        {"\x89PNG\r\n\x1a\n", 8, VQ_E_FORMAT, "cut short"},
        {"\x89PNG\r\n\x1a", 7, VQ_E_FORMAT, "not a picture"},
        {"\xff\xd8\xff\xe0", 4, VQ_E_FORMAT, "JPEG"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vq_signal *image;
        assert_status(cases[i].status,
                      vq_image_parse(&image, cases[i].bytes, cases[i].size, "cat.png", NULL));
        assert_null(image);
        if (!strstr(vq_last_error(), cases[i].word) || strncmp(vq_last_error(), "cat.png: ", 9))
            fail_msg("case %zu: %s", i, vq_last_error());
    }
}

/* A chunk of a PNG with a true CRC, appended to a file that is being made. */
static void put_chunk(uint8_t *file, size_t *size, const char *type, const void *data,
                      uint32_t length)
{
    uint8_t *p = file + *size;
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(length >> 8 * (3 - i));
    memcpy(p + 4, type, 4);
    if (length)
        memcpy(p + 8, data, length);
    const uint32_t crc = (uint32_t)crc32(0, p + 4, length + 4);
    for (int i = 0; i < 4; i++)
        p[8 + length + i] = (uint8_t)(crc >> 8 * (3 - i));
    *size += length + 12;
}

/* A PNG that declares any size and holds a few compressed zeros. */
static size_t make_bomb(uint8_t *file, uint32_t width, uint32_t height, int interlaced)
{
    size_t size = 8;
    memcpy(file, "\x89PNG\r\n\x1a\n", 8);
    uint8_t header[13] = {0};
    for (int i = 0; i < 4; i++) {
        header[i] = (uint8_t)(width >> 8 * (3 - i));
        header[4 + i] = (uint8_t)(height >> 8 * (3 - i));
    }
    header[8] = 8;
    header[9] = 2;
    header[12] = (uint8_t)interlaced;
    uint8_t zeros[300] = {0}, packed[100];
    uLongf length = sizeof packed;
    assert_int_equal(compress(packed, &length, zeros, sizeof zeros), Z_OK);
    put_chunk(file, &size, "IHDR", header, 13);
    put_chunk(file, &size, "IDAT", packed, (uint32_t)length);
    put_chunk(file, &size, "IEND", NULL, 0);
    return size;
}

/* The largest single allocation, to see that a small file does not ask for much. */
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

static void bombs_do_not_go_off(void **state)
{
    (void)state;
    const vq_allocator watching = {watching_alloc, watching_free, NULL};
    static const uint32_t sizes[][2] = {
        {16000, 16000}, {16384, 16384}, {16385, 1}, {1, 16385}, {0x7fffffff, 0x7fffffff}};
    for (size_t i = 0; i < 5; i++)
        for (int interlaced = 0; interlaced < 2; interlaced++) {
            uint8_t file[512];
            vq_signal *image;
            const size_t size = make_bomb(file, sizes[i][0], sizes[i][1], interlaced);
            vq_set_allocator(&watching);
            largest = 0;
            const vq_status status = vq_image_parse(&image, file, size, "bomb", NULL);
            vq_set_allocator(NULL);
            assert_int_equal(status, i < 2 ? VQ_E_FORMAT : VQ_E_LIMIT);
            assert_true(largest < 100000);
        }
}

static void limits_hold(void **state)
{
    (void)state;
    vq_signal *image = make_picture(20, 30, 3, 8), *copy;
    vq_bytes bytes;
    assert_ok(vq_png_serialize(&bytes, image, 8));
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_image_side = 30;
    limits.max_image_pixels = 600;
    assert_ok(vq_image_parse(&copy, bytes.data, bytes.size, "x", &limits));
    vq_signal_free(copy);
    limits.max_image_side = 29;
    assert_status(VQ_E_LIMIT, vq_image_parse(&copy, bytes.data, bytes.size, "x", &limits));
    limits.max_image_side = 30;
    limits.max_image_pixels = 599;
    assert_status(VQ_E_LIMIT, vq_image_parse(&copy, bytes.data, bytes.size, "x", &limits));
    limits.max_image_pixels = 600;
    limits.max_alloc_bytes = 600 * 4 * 3;
    assert_ok(vq_image_parse(&copy, bytes.data, bytes.size, "x", &limits));
    vq_signal_free(copy);
    limits.max_alloc_bytes--;
    assert_status(VQ_E_LIMIT, vq_image_parse(&copy, bytes.data, bytes.size, "x", &limits));
    vq_bytes_clear(&bytes);
    vq_signal_free(image);
}

static void every_prefix_is_refused(void **state)
{
    (void)state;
    vq_signal *image = make_picture(9, 9, 3, 8), *copy;
    vq_bytes bytes;
    assert_ok(vq_png_serialize(&bytes, image, 8));
    for (size_t size = 0; size < bytes.size; size++) {
        uint8_t *exact = malloc(size + 1); /* so that reading past the end shows */
        memcpy(exact, bytes.data, size);
        assert_int_not_equal(vq_image_parse(&copy, exact, size, "cut", NULL), VQ_OK);
        assert_null(copy);
        free(exact);
    }
    vq_bytes_clear(&bytes);
    vq_signal_free(image);
}

static vq_status write_and_read(void *context)
{
    vq_bytes bytes;
    vq_signal *copy = NULL;
    vq_status status = vq_png_serialize(&bytes, context, 8);
    if (!status)
        status = vq_image_parse(&copy, bytes.data, bytes.size, "x", NULL);
    vq_bytes_clear(&bytes);
    vq_signal_free(copy);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    vq_signal *image = make_picture(20, 300, 4, 8);
    test_allocation_failures(write_and_read, image);
    vq_signal_free(image);
}

static vq_status read_bytes(void *context)
{
    const vq_bytes *bytes = context;
    vq_signal *image;
    const vq_status status = vq_image_parse(&image, bytes->data, bytes->size, "x", NULL);
    vq_signal_free(image);
    return status;
}

/* Palettes, transparency and interlacing allocate in other places than what we write. */
static void every_allocation_of_special_files_may_fail(void **state)
{
    (void)state;
    const char *const names[] = {"images/pngsuite/tbbn3p08.png", "images/pngsuite/basi6a16.png",
                                 "images/pngsuite/basn0g01.png"};
    for (size_t i = 0; i < 3; i++) {
        vq_bytes bytes;
        assert_ok(vq_file_read(&bytes, test_data(names[i]), NULL));
        test_allocation_failures(read_bytes, &bytes);
        vq_bytes_clear(&bytes);
    }
}

/* Calls a function on every file of a folder of the data; returns how many there were. */
static int for_each_file(const char *folder, void (*use)(const char *path, const char *name))
{
    char path[1024], *end = path + snprintf(path, sizeof path, "%s/", test_data(folder));
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(end, sizeof path - (size_t)(end - path), "%s", entry->d_name);
        use(path, entry->d_name);
        count++;
    }
    closedir(dir);
    return count;
}

/* PngSuite: names that begin with x are damaged on purpose, each in its way. */
static void use_suite_file(const char *path, const char *name)
{
    static const struct {
        const char *prefix;
        vq_status status;
    } damaged[] = {{"xs", VQ_E_FORMAT},    {"xcr", VQ_E_FORMAT},   {"xlf", VQ_E_FORMAT},
                   {"xcs", VQ_E_CHECKSUM}, {"xhd", VQ_E_CHECKSUM}, {"xc", VQ_E_FORMAT},
                   {"xd", VQ_E_FORMAT}};
    if (!strstr(name, ".png"))
        return;
    vq_signal *image;
    const vq_status status = vq_image_read(&image, path, NULL);
    vq_status expected = VQ_OK;
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged && !expected; i++)
        if (!strncmp(name, damaged[i].prefix, strlen(damaged[i].prefix)))
            expected = damaged[i].status;
    if (status != expected)
        fail_msg("%s: %s (%s)", name, vq_status_name(status), vq_last_error());
    vq_signal_free(image);
}

static void png_suite_is_read_and_its_damage_refused(void **state)
{
    (void)state;
    assert_true(for_each_file("images/pngsuite", use_suite_file) >= 176);
}

/* The same pictures, stored straight and interlaced: "basn" and "basi". */
static void interlaced_files_equal_their_twins(void **state)
{
    (void)state;
    static const char *const kinds[] = {"0g01", "0g02", "0g04", "0g08", "0g16",
                                        "2c08", "2c16", "3p01", "3p02", "3p04",
                                        "3p08", "4a08", "4a16", "6a08", "6a16"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char name[64];
        vq_signal *straight, *interlaced;
        snprintf(name, sizeof name, "images/pngsuite/basn%s.png", kinds[i]);
        assert_ok(vq_image_read(&straight, test_data(name), NULL));
        snprintf(name, sizeof name, "images/pngsuite/basi%s.png", kinds[i]);
        assert_ok(vq_image_read(&interlaced, test_data(name), NULL));
        assert_same_picture(straight, interlaced);
        assert_int_equal(straight->bits, strstr(kinds[i], "16") ? 16 : 8);
        vq_signal_free(straight);
        vq_signal_free(interlaced);
    }
}

/* Every file of tests/malformed/KIND/expected.txt, which lie in a folder of the data, gets its status there. */
static void check_hostile_files(const char *kind)
{
    char path[1024], name[128], expected[32];
    snprintf(path, sizeof path, "%s/tests/malformed/%s/expected.txt", LIBVQ_SOURCE_DIR, kind);
    FILE *table = fopen(path, "r");
    assert_non_null(table);
    snprintf(name, sizeof name, "images/malformed_%s", kind);
    const char *folder = test_data(name);
    int rows = 0;
    for (; fscanf(table, "%127s %31s", name, expected) == 2; rows++) {
        vq_signal *image;
        snprintf(path, sizeof path, "%.800s/%s", folder, name);
        const vq_status status = vq_image_read(&image, path, NULL);
        if (strcmp(vq_status_name(status), expected))
            fail_msg("%s: %s (%s), not %s", name, vq_status_name(status), vq_last_error(),
                     expected);
        assert_true((status == VQ_OK) == (image != NULL));
        vq_signal_free(image);
    }
    fclose(table);
    assert_true(rows >= 120);
}

static void former_crashers_do_not_crash(void **state)
{
    (void)state;
    check_hostile_files("png");
    check_hostile_files("jpeg");
}

static void a_photograph_in_jpeg_is_read(void **state)
{
    (void)state;
    vq_signal *image;
    assert_ok(vq_image_read(&image, test_data("images/robot_cam/g1_head_001.jpg"), NULL));
    assert_int_equal(image->shape[0], 480);
    assert_int_equal(image->shape[1], 640);
    assert_int_equal(image->shape[2], 3);
    vq_signal_free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(samples_are_clipped_and_rounded),
        cmocka_unit_test(other_files_are_named),
        cmocka_unit_test(bombs_do_not_go_off),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_allocation_of_special_files_may_fail),
        cmocka_unit_test(png_suite_is_read_and_its_damage_refused),
        cmocka_unit_test(interlaced_files_equal_their_twins),
        cmocka_unit_test(former_crashers_do_not_crash),
        cmocka_unit_test(a_photograph_in_jpeg_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
