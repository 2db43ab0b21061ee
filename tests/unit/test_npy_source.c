/* SPDX-License-Identifier: Apache-2.0 */
/* .npy files as sources of rows: the numbers of vq_npy_read(), and no crash on a file that changes. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "io/npy_source.h"
#include "unit/kmeans_support.h"

static char folder[] = "/tmp/libvq-npy-source-XXXXXX";
static char path[128];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/rows.npy", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

/* A file by hand. */
static void write_file(const char *descr, const char *order, const char *shape, const void *data,
                       size_t size)
{
    FILE *file = fopen(path, "wb");
    char header[128];
    assert_non_null(file);
    const int length = snprintf(header, sizeof header,
                                "{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }%*s\n", descr,
                                order, shape, 9, "");
    const unsigned char preamble[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)length};
    assert_int_equal(fwrite(preamble, 1, 10, file), 10);
    assert_int_equal(fwrite(header, 1, (size_t)length, file), length);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The whole source, read in pieces of `piece` rows, is what vq_npy_read() gives. */
static void assert_reads(vq_source *source, size_t piece)
{
    vq_tensors *set;
    assert_ok(vq_npy_read(&set, path, "x", NULL));
    const vq_tensor *t = vq_tensors_at(set, 0);
    float *expected = malloc((t->count + 1) * sizeof *expected),
          *buffer = malloc((piece * source->d + 1) * sizeof *buffer);
    assert_true(expected && buffer);
    assert_ok(vq_tensor_to_f32(expected, t, 0, t->count));
    assert_int_equal(source->n * source->d, t->count);
    if (source->memory)
        assert_memory_equal(source->memory, expected, t->count * sizeof *expected);
    for (int pass = 0; pass < 2 && source->read; pass++)
        for (size_t first = 0; first < source->n; first += piece) {
            const size_t count = source->n - first < piece ? source->n - first : piece;
            const float *rows = NULL;
            assert_ok(source->read(source->context, &rows, buffer, first, count));
            assert_memory_equal(rows, expected + first * source->d,
                                count * source->d * sizeof *rows);
            if (source->done)
                source->done(source->context, first, count);
        }
    free(expected);
    free(buffer);
    vq_tensors_free(set);
}

static vq_source open_source(int map)
{
    vq_source source = VQ_SOURCE_INIT;
    vq_npy_source_opts opts = VQ_NPY_SOURCE_OPTS_INIT;
    opts.map = map;
    assert_ok(vq_npy_source_open(&source, path, &opts, NULL));
    return source;
}

static void test_every_type(void **state)
{
    (void)state;
    enum { ROWS = 5, D = 3 };
    static const char *const types[] = {"b1", "i1", "u1", "i2", "u2", "f2",
                                        "i4", "u4", "f4", "i8", "u8", "f8"};
    uint8_t data[ROWS * D * 8];
    uint64_t random = 3;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(test_random(&random) % 100); /* no NaN, in whatever type */
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int kind = 0; kind < 8; kind++) {
            char descr[4];
            snprintf(descr, sizeof descr, "%c%s", kind & 1 ? '>' : '<', types[i]);
            const size_t size = ROWS * D * (size_t)(types[i][1] - '0');
            write_file(descr, kind & 2 ? "True" : "False", "5, 3", data, size);
            vq_source source = open_source(kind & 4);
            assert_int_equal(source.n, ROWS);
            assert_int_equal(source.d, D);
            assert_true(kind & 2 ? source.memory != NULL : source.read != NULL);
            assert_reads(&source, 2);
            vq_source_close(&source);
        }
    write_file("<f4", "False", "1, 5, 1, 3", data, ROWS * D * 4);
    vq_source source = open_source(0);
    assert_int_equal(source.n, ROWS);
    assert_int_equal(source.d, D);
    vq_source_close(&source);
    write_file("<f4", "False", "0, 3", data, 0);
    for (int map = 0; map < 2; map++) {
        source = open_source(map);
        assert_int_equal(source.n, 0);
        vq_source_close(&source);
    }
}

/* Rows longer than a page, numbers of more than the raw buffer, and a pass of several reads. */
static void test_large(void **state)
{
    (void)state;
    enum { ROWS = 300, D = 1300 };
    double *wide = malloc(sizeof(double) * ROWS * D);
    float *x = malloc(sizeof(float) * ROWS * D);
    assert_true(wide && x);
    uint64_t random = 5;
    for (int i = 0; i < ROWS * D; i++) {
        wide[i] = test_uniform(&random);
        x[i] = (float)wide[i];
    }
    write_file("<f8", "False", "300, 1300", wide, sizeof(double) * ROWS * D);
    vq_source source = open_source(1);
    assert_reads(&source, 200);
    vq_source_close(&source);
    for (int map = 0; map < 2; map++) {
        write_file("<f4", "False", "300, 1300", x, sizeof(float) * ROWS * D);
        source = open_source(map);
        assert_true(map == (source.done != NULL));
        assert_reads(&source, 7);
        vq_source_close(&source);
    }
    free(wide);
    free(x);
}

/* A file that is cut short after it was opened is an error, mapped or not; so is one that is gone short before. */
static void test_cut_short(void **state)
{
    (void)state;
    float *x = make_rows(5000, 4, 1), buffer[4];
    const float *rows;
    for (int map = 0; map < 2; map++) {
        write_file("<f4", "False", "5000, 4", x, 80000);
        vq_source source = open_source(map);
        assert_ok(source.read(source.context, &rows, buffer, 4999, 1));
        assert_int_equal(truncate(path, 40000), 0);
        assert_status(VQ_E_IO, source.read(source.context, &rows, buffer, 4999, 1));
        assert_non_null(strstr(vq_last_error(), path));
        vq_codebook *codebook;
        const vq_kmeans_opts opts = options(3);
        assert_status(VQ_E_IO, vq_kmeans_train_source(&codebook, NULL, &source, &opts));
        vq_source_close(&source);
        assert_status(VQ_E_FORMAT, vq_npy_source_open(&source, path, NULL, NULL));
        assert_non_null(strstr(vq_last_error(), path));
    }
    free(x);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    vq_source source = VQ_SOURCE_INIT;
    const float x[12] = {0};
    write_file("<f4", "False", "12,", x, sizeof x);
    assert_status(VQ_E_UNSUPPORTED, vq_npy_source_open(&source, path, NULL, NULL));
    assert_non_null(strstr(vq_last_error(), "reshape"));
    write_file("<f4", "True", "12,", x, sizeof x);
    assert_status(VQ_E_UNSUPPORTED, vq_npy_source_open(&source, path, NULL, NULL));
    write_file("<f4", "False", "12, 0", x, 0);
    assert_status(VQ_E_UNSUPPORTED, vq_npy_source_open(&source, path, NULL, NULL));
    write_file("<f4", "False", "3, 4", x, sizeof x - 1);
    assert_status(VQ_E_FORMAT, vq_npy_source_open(&source, path, NULL, NULL));
    write_file("<f4", "False", "4611686018427387904, 4", x, 0);
    assert_status(VQ_E_LIMIT, vq_npy_source_open(&source, path, NULL, NULL));
    assert_status(VQ_E_IO, vq_npy_source_open(&source, folder, NULL, NULL));
    assert_status(VQ_E_IO, vq_npy_source_open(&source, "/nowhere/at/all.npy", NULL, NULL));
    vq_npy_source_opts opts = VQ_NPY_SOURCE_OPTS_INIT;
    opts.struct_size = 1;
    assert_status(VQ_E_ARG, vq_npy_source_open(&source, path, &opts, NULL));
    assert_null(source.context);
}

/* Every damaged file is refused for the reason for which vq_npy_read() refuses it. */
static void test_malformed(void **state)
{
    (void)state;
    const char *const where = LIBVQ_SOURCE_DIR "/tests/malformed/npy";
    DIR *listing = opendir(where);
    assert_non_null(listing);
    int files = 0;
    for (const struct dirent *entry; (entry = readdir(listing));) {
        char name[512];
        vq_tensors *set = NULL;
        vq_source source = VQ_SOURCE_INIT;
        if (!strstr(entry->d_name, ".npy"))
            continue;
        snprintf(name, sizeof name, "%s/%s", where, entry->d_name);
        const vq_status expected = vq_npy_read(&set, name, "x", NULL);
        const vq_status status = vq_npy_source_open(&source, name, NULL, NULL);
        /* Of two faults the order in which they are looked for may differ. */
        if (status != expected && status != VQ_E_UNSUPPORTED)
            fail_msg("%s: %s, not %s", entry->d_name, vq_status_name(status),
                     vq_status_name(expected));
        files++;
        vq_tensors_free(set);
        vq_source_close(&source);
    }
    closedir(listing);
    assert_true(files > 20);
}

static void *feed(void *context)
{
    const char *from = context;
    FILE *in = fopen(from, "rb"), *out = fopen(path, "wb");
    for (int c; in && out && (c = getc(in)) != EOF;)
        putc(c, out);
    if (in)
        fclose(in);
    if (out)
        fclose(out);
    return NULL;
}

static void test_pipe(void **state)
{
    (void)state;
    const float x[6] = {1, 2, 3, 4, 5, 6};
    char from[160];
    pthread_t feeder;
    write_file("<f4", "False", "3, 2", x, sizeof x);
    snprintf(from, sizeof from, "%s.full", path);
    assert_int_equal(rename(path, from), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pthread_create(&feeder, NULL, feed, from), 0);
    vq_source source = open_source(1);
    pthread_join(feeder, NULL);
    assert_int_equal(source.n, 3);
    assert_memory_equal(source.memory, x, sizeof x);
    vq_source_close(&source);
    unlink(from);
    unlink(path);
}

/* One codebook from memory, from a file read or mapped, and from several files. */
static void test_training(void **state)
{
    (void)state;
    enum { N = 6000, D = 4, K = 16 };
    float *x = make_rows(N, D, 77);
    char second[160];
    const vq_kmeans_opts opts = options(K);
    vq_codebook *expected, *codebook;
    assert_ok(vq_kmeans_train(&expected, NULL, x, N, D, &opts));
    snprintf(second, sizeof second, "%s.first", path);
    write_file("<f4", "False", "2000, 4", x, sizeof(float) * 2000 * D);
    assert_int_equal(rename(path, second), 0);
    write_file("<f4", "False", "4000, 4", x + 2000 * D, sizeof(float) * 4000 * D);
    const char *const paths[2] = {second, path};
    for (int map = 0; map < 2; map++) {
        vq_source source = VQ_SOURCE_INIT;
        vq_npy_source_opts how = VQ_NPY_SOURCE_OPTS_INIT;
        how.map = map;
        assert_ok(vq_npy_sources_open(&source, paths, 2, &how, NULL));
        assert_int_equal(source.n, N);
        assert_ok(vq_kmeans_train_source(&codebook, NULL, &source, &opts));
        assert_codewords(codebook, vq_codebook_codewords(expected), K * D);
        vq_codebook_free(codebook);
        vq_source_close(&source);
    }
    vq_source source = VQ_SOURCE_INIT;
    write_file("<f4", "False", "8000, 2", x, sizeof(float) * 8000 * 2);
    assert_status(VQ_E_MISMATCH, vq_npy_sources_open(&source, paths, 2, NULL, NULL));
    assert_non_null(strstr(vq_last_error(), path));
    assert_status(VQ_E_ARG, vq_npy_sources_open(&source, paths, 0, NULL, NULL));
    unlink(path);
    assert_status(VQ_E_IO, vq_npy_sources_open(&source, paths, 2, NULL, NULL));
    assert_null(source.context);
    unlink(second);
    vq_codebook_free(expected);
    free(x);
}

static vq_status open_and_read(void *context)
{
    const float *rows;
    float buffer[4];
    const char *const paths[2] = {path, path};
    vq_source source = VQ_SOURCE_INIT;
    vq_status status = vq_npy_sources_open(&source, paths, 2, context, NULL);
    if (!status && source.read)
        status = source.read(source.context, &rows, buffer, 1, 2);
    vq_source_close(&source);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    const double x[4] = {1, 2, 3, 4};
    vq_npy_source_opts opts = VQ_NPY_SOURCE_OPTS_INIT;
    for (int kind = 0; kind < 4; kind++) { /* converted, mapped, whole and both */
        opts.map = 1;
        write_file(kind & 1 ? "<f4" : "<f8", kind & 2 ? "True" : "False", "2, 2", x,
                   kind & 1 ? 16 : 32);
        test_allocation_failures(open_and_read, &opts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type), cmocka_unit_test(test_large),
        cmocka_unit_test(test_cut_short),  cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_malformed),  cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_training),   cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
