/* SPDX-License-Identifier: Apache-2.0 */
/* The product quantizer: its interface, slices of any width and kind, and its training. */
#include "rvq/product.h"
#include "parts_support.h"

enum { N = 3000, D = 19, PARTS = 4 };

static const uint32_t first_sizes[1] = {37}, second_sizes[3] = {16, 5, 64},
                      third_sizes[2] = {300, 2};

/* Flat and residual slices of 3, 8 and 2 floats, and a product of two as the last, of 1 + 5. */
static vq_quantizer *make_mixed(void)
{
    vq_quantizer *inner[2] = {parts_stack(1, first_sizes, 1, VQ_DTYPE_F32, 1),
                              parts_stack(5, third_sizes, 2, VQ_DTYPE_BF16, 2)};
    vq_quantizer *parts[PARTS] = {parts_stack(3, first_sizes, 1, VQ_DTYPE_F32, 3),
                                  parts_stack(8, second_sizes, 3, VQ_DTYPE_F16, 4),
                                  parts_stack(2, third_sizes, 2, VQ_DTYPE_F32, 5), NULL};
    vq_quantizer *q;
    assert_ok(vq_product_create(&parts[3], inner, 2));
    assert_ok(vq_product_create(&q, parts, PARTS));
    return q;
}

static void test_levels_in_rounds(void **state)
{
    (void)state;
    vq_quantizer *q = make_mixed();
    assert_string_equal(vq_quantizer_kind(q), "product");
    assert_int_equal(vq_quantizer_dim(q), D);
    const uint32_t k[9] = {37, 16, 300, 37, 5, 2, 300, 64, 2};
    assert_int_equal(vq_quantizer_levels(q), 9);
    for (uint32_t l = 0; l < 9; l++) {
        assert_int_equal(vq_quantizer_k(q, l), k[l]);
        assert_int_equal(vq_codebook_k(vq_quantizer_codebook(q, l)), k[l]);
    }
    assert_int_equal(vq_quantizer_k(q, 9), 0);
    assert_int_equal(vq_product_parts(q), PARTS);
    assert_int_equal(vq_quantizer_levels(vq_product_part(q, 3)), 3);
    assert_null(vq_product_part(q, PARTS));
    assert_int_equal(vq_product_parts(vq_product_part(q, 0)), 0);
    vq_quantizer_free(q);
}

/* The codes are those of the slices, and so are the vectors. */
static void test_slices(void **state)
{
    (void)state;
    enum { BEGIN = 3, WIDTH = 8, LEVELS = 3 };
    vq_quantizer *q = make_mixed();
    const vq_quantizer *part = vq_product_part(q, 1);
    float *x = parts_rows(N, D, 6), *slice = parts_alloc((size_t)N * WIDTH, sizeof *slice),
          *whole = parts_alloc((size_t)N * D, sizeof *whole);
    uint32_t *codes = parts_alloc((size_t)N * 9, sizeof *codes),
             *expected = parts_alloc((size_t)N * LEVELS, sizeof *codes);
    for (size_t i = 0; i < N; i++)
        memcpy(slice + i * WIDTH, x + i * D + BEGIN, WIDTH * sizeof *slice);
    assert_ok(vq_quantize(expected, part, slice, N, NULL));
    assert_ok(vq_quantize(codes, q, x, N, NULL));
    static const uint32_t at[LEVELS] = {1, 4, 7}; /* of the slice's levels among all */
    for (size_t i = 0; i < N; i++)
        for (uint32_t l = 0; l < LEVELS; l++)
            assert_int_equal(codes[i * 9 + at[l]], expected[i * LEVELS + l]);
    assert_ok(vq_dequantize(slice, part, expected, N, NULL));
    assert_ok(vq_dequantize(whole, q, codes, N, NULL));
    for (size_t i = 0; i < N; i++)
        assert_memory_equal(whole + i * D + BEGIN, slice + i * WIDTH, WIDTH * sizeof *slice);
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = 2; /* of the third slice and the rest nothing is known */
    assert_ok(vq_quantize(codes, q, x, N, &opts));
    assert_ok(vq_dequantize(whole, q, codes, N, &opts));
    for (size_t i = 0; i < N; i++)
        for (uint32_t j = 11; j < D; j++)
            assert_true(whole[i * D + j] == 0);
    vq_quantizer_free(q);
    free(x);
    free(slice);
    free(whole);
    free(codes);
    free(expected);
}

/* Rows of codewords: n x levels codes, `off` floats beyond an aligned place, with guards around them. */
static void check_copies(const vq_quantizer *q, size_t n, uint32_t levels, size_t off)
{
    enum { GUARD = 16 };
    const size_t d = vq_quantizer_dim(q), floats = n * d;
    float *room = aligned_alloc(64, (floats + 4 * GUARD) * sizeof *room / 64 * 64),
          *x = room + GUARD + off;
    uint32_t *codes = parts_alloc(n * levels, sizeof *codes);
    uint64_t seed = 9;
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = levels;
    assert_non_null(room);
    for (size_t i = 0; i < floats + 2 * GUARD + off; i++)
        room[i] = -77;
    for (size_t i = 0; i < n * levels; i++)
        codes[i] = test_random(&seed) % vq_quantizer_k(q, (uint32_t)(i % levels));
    assert_ok(vq_dequantize(x, q, codes, n, &opts));
    for (size_t i = 0; i < GUARD; i++)
        assert_true(x[-1 - (ptrdiff_t)i] == -77 && x[floats + i] == -77);
    for (size_t i = 0; i < n; i++) {
        const float *at = x + i * d;
        for (uint32_t p = 0; p < vq_product_parts(q); p++) {
            const uint32_t width = vq_quantizer_dim(vq_product_part(q, p));
            static const float zeros[16];
            const float *codeword = p < levels
                                        ? vq_codebook_codewords(vq_quantizer_codebook(q, p)) +
                                              (size_t)codes[i * levels + p] * width
                                        : zeros;
            assert_memory_equal(at, codeword, width * sizeof *at);
            at += width;
        }
    }
    /* One code of a late row too large: named, and refused whatever the threads. */
    codes[(n - 1) * levels + levels - 1] = vq_quantizer_k(q, levels - 1);
    for (int threads = 1; threads <= 3; threads++) {
        char row[32];
        snprintf(row, sizeof row, "row %zu, level %u", n - 1, levels - 1);
        opts.threads = threads;
        assert_status(VQ_E_RANGE, vq_dequantize(x, q, codes, n, &opts));
        assert_non_null(strstr(vq_last_error(), row));
    }
    free(codes);
    free(room);
}

/* Slices of flat parts: of the usual widths and of others, few rows and more than the caches hold, prefixes of levels. */
static void test_flat_slices(void **state)
{
    (void)state;
    static const uint32_t widths[][3] = {
        {8, 8, 8}, {16, 16, 16}, {3, 5, 8}, {16, 16, 8}, {4, 4, 4}};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        vq_quantizer *parts[3], *q;
        for (uint32_t p = 0; p < 3; p++)
            parts[p] = parts_stack(widths[w][p], p == 1 ? third_sizes : first_sizes, 1,
                                   VQ_DTYPE_F32, 11 + p);
        assert_ok(vq_product_create(&q, parts, 3));
        for (uint32_t levels = 1; levels <= 3; levels++)
            for (size_t off = 0; off < 2; off++)
                check_copies(q, 1001, levels, off);
        const size_t many = ((size_t)8 << 20) / sizeof(float) / vq_quantizer_dim(q) + 65;
        check_copies(q, many, 3, 0);
        check_copies(q, many, 2, 0);
        check_copies(q, many, 3, 1);
        vq_quantizer_free(q);
    }
}

static void test_contract(void **state)
{
    (void)state;
    vq_quantizer *q = make_mixed();
    float *x = parts_rows(N, D, 7);
    check_prefixes(q, x, N);
    check_sameness(q, x, N);
    check_sameness(q, x, 5);
    check_saving(q, x, N);
    check_refusals(q, x, N);
    check_refusals(q, x, 3);
    check_bad_files(q);
    vq_quantizer_free(q);
    free(x);
}

/* Slices that are wider than what is decoded at once on the stack. */
static void test_wide_slices(void **state)
{
    (void)state;
    enum { WIDE = 2500, ROWS = 70 };
    const uint32_t sizes[2] = {9, 4};
    vq_quantizer *parts[2] = {parts_stack(WIDE, sizes, 2, VQ_DTYPE_F32, 8),
                              parts_stack(40, sizes, 1, VQ_DTYPE_F32, 9)};
    vq_quantizer *q;
    assert_ok(vq_product_create(&q, parts, 2));
    float *x = parts_rows(ROWS, WIDE + 40, 10);
    check_sameness(q, x, ROWS);
    check_saving(q, x, ROWS);
    vq_quantizer_free(q);
    free(x);
}

static void test_bad_parts(void **state)
{
    (void)state;
    const uint32_t two[1] = {2};
    vq_quantizer *part = parts_stack(2, two, 1, VQ_DTYPE_F32, 1), *many[VQ_MAX_LEVELS + 1], *q;
    for (int p = 0; p <= VQ_MAX_LEVELS; p++)
        many[p] = part;
    assert_status(VQ_E_ARG, vq_product_create(&q, many, 0));
    assert_null(q);
    assert_status(VQ_E_ARG, vq_product_create(&q, many, VQ_MAX_LEVELS + 1));
    vq_quantizer_free(part);
    const uint32_t deep[40] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
                               2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    many[0] = parts_stack(2, deep, 40, VQ_DTYPE_F32, 1);
    many[1] = parts_stack(3, deep, 40, VQ_DTYPE_F32, 1);
    assert_status(VQ_E_ARG, vq_product_create(&q, many, 2)); /* 80 levels */
    vq_quantizer_free(many[0]);
    vq_quantizer_free(many[1]);
}

/* What a file may claim. */
static void test_bad_files(void **state)
{
    (void)state;
    vq_quantizer *q = make_mixed(), *out;
    vq_limits limits = VQ_LIMITS_INIT;
    struct {
        const char *key, *value;
        vq_status expected;
    } const damages[] = {
        {"parts", "0", VQ_E_FORMAT},           {"parts", "65", VQ_E_FORMAT},
        {"parts", "-1", VQ_E_FORMAT},          {"parts", "five", VQ_E_FORMAT},
        {"parts", "5", VQ_E_FORMAT},           {"part.1.kind", "unheard", VQ_E_UNSUPPORTED},
        {"part.1.levels", "9", VQ_E_FORMAT},   {"part.0.kind", "product", VQ_E_FORMAT},
        {"part.3.parts", "3", VQ_E_FORMAT},    {"part.1.kind", "flat", VQ_E_FORMAT},
        {"part.1.metric", "dot", VQ_E_FORMAT}, {"part.2.metric", "", VQ_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        vq_tensors *tensors;
        assert_ok(vq_tensors_create(&tensors));
        assert_ok(vq_quantizer_save(tensors, q, ""));
        assert_ok(vq_tensors_set(tensors, damages[i].key, damages[i].value));
        assert_status(damages[i].expected, vq_quantizer_load(&out, tensors, "", NULL));
        assert_null(out);
        vq_tensors_free(tensors);
    }
    vq_tensors *tensors;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_quantizer_save(tensors, q, ""));
    limits.max_dim = D - 1;
    assert_status(VQ_E_LIMIT, vq_quantizer_load(&out, tensors, "", &limits));
    assert_null(out);
    vq_tensors_free(tensors);
    vq_quantizer_free(q);
    /* Parts within parts without end: the names end it. */
    char prefix[512] = "";
    assert_ok(vq_tensors_create(&tensors));
    for (int depth = 0; depth < 60; depth++) {
        char key[600];
        snprintf(key, sizeof key, "%skind", prefix);
        assert_ok(vq_tensors_set(tensors, key, "product"));
        snprintf(key, sizeof key, "%sparts", prefix);
        assert_ok(vq_tensors_set(tensors, key, "1"));
        strcat(prefix, "part.0.");
    }
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&out, tensors, "", NULL));
    vq_tensors_free(tensors);
}

static vq_residual_train_opts part_options(uint32_t levels, uint32_t k)
{
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = levels;
    opts.kmeans.k = k;
    opts.kmeans.max_iterations = 5;
    opts.kmeans.seed = 11;
    return opts;
}

static void assert_same_codebooks(const vq_quantizer *a, const vq_quantizer *b)
{
    assert_int_equal(vq_quantizer_levels(a), vq_quantizer_levels(b));
    for (uint32_t l = 0; l < vq_quantizer_levels(a); l++) {
        const vq_codebook *one = vq_quantizer_codebook(a, l), *two = vq_quantizer_codebook(b, l);
        assert_int_equal(vq_codebook_k(one), vq_codebook_k(two));
        assert_memory_equal(vq_codebook_codewords(one), vq_codebook_codewords(two),
                            (size_t)vq_codebook_k(one) * vq_codebook_dim(one) * sizeof(float));
    }
}

/* Each slice is trained as if it were alone, whatever the threads. */
static void test_training(void **state)
{
    (void)state;
    static const uint32_t widths[3] = {4, 13, 2}, sizes[6] = {8, 3, 20, 7, 5, 5};
    float *x = parts_rows(N, D, 12), *slice = parts_alloc((size_t)N * 13, sizeof *slice);
    for (uint32_t levels = 1; levels <= 2; levels++) {
        vq_residual_train_opts part = part_options(levels, 16);
        vq_product_train_opts opts = VQ_PRODUCT_TRAIN_OPTS_INIT;
        opts.parts = 3;
        opts.widths = widths;
        opts.part = &part;
        opts.part_k = sizes;
        vq_quantizer *first = NULL, *q, *alone;
        for (int threads = 1; threads <= 7; threads += 3) {
            part.kmeans.threads = threads;
            assert_ok(vq_product_train(&q, x, N, D, &opts));
            if (first) {
                assert_same_codebooks(q, first);
                vq_quantizer_free(q);
            } else {
                first = q;
            }
        }
        vq_residual_train_opts by_hand = part_options(levels, 0);
        by_hand.k = sizes + levels;
        by_hand.kmeans.seed += levels;
        for (size_t i = 0; i < N; i++)
            memcpy(slice + i * 13, x + i * D + 4, 13 * sizeof *slice);
        assert_ok(vq_residual_train(&alone, slice, N, 13, &by_hand));
        assert_same_codebooks(vq_product_part(first, 1), alone);
        vq_quantizer_free(alone);
        vq_quantizer_free(first);
    }
    /* Slices as equal as can be. */
    vq_residual_train_opts part = part_options(0, 4);
    vq_product_train_opts opts = VQ_PRODUCT_TRAIN_OPTS_INIT;
    opts.part = &part;
    vq_quantizer *q;
    assert_ok(vq_product_train(&q, x, N, D, &opts));
    assert_int_equal(vq_product_parts(q), 8);
    for (uint32_t p = 0; p < 8; p++)
        assert_int_equal(vq_quantizer_dim(vq_product_part(q, p)), p < 3 ? 3 : 2);
    vq_quantizer_free(q);
    free(x);
    free(slice);
}

typedef struct watcher {
    uint32_t calls, stop_at;
    int flat;
    vq_tensors *saved;
} watcher;

static int watch(void *context, uint32_t part, const vq_quantizer *so_far,
                 const vq_kmeans_report *report)
{
    watcher *w = context;
    w->calls++;
    assert_int_equal(vq_product_parts(so_far), part + 1);
    assert_int_equal(report != NULL, w->flat);
    if (w->calls != w->stop_at)
        return 0;
    assert_ok(vq_tensors_create(&w->saved));
    assert_ok(vq_quantizer_save(w->saved, so_far, ""));
    return 1;
}

static void test_resume(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 13);
    for (uint32_t levels = 1; levels <= 2; levels++) {
        vq_residual_train_opts part = part_options(levels, 12);
        vq_product_train_opts opts = VQ_PRODUCT_TRAIN_OPTS_INIT;
        opts.parts = 3;
        opts.part = &part;
        vq_quantizer *whole, *some, *again;
        assert_ok(vq_product_train(&whole, x, N, D, &opts));
        for (uint32_t stop = 1; stop <= 3; stop++) {
            watcher w = {0, stop, levels == 1, NULL};
            opts.part_done = watch;
            opts.part_context = &w;
            opts.resume = NULL;
            assert_status(VQ_E_CANCELLED, vq_product_train(&some, x, N, D, &opts));
            assert_null(some);
            assert_ok(vq_quantizer_load(&some, w.saved, "", NULL));
            opts.resume = some;
            w.stop_at = 0;
            assert_ok(vq_product_train(&again, x, N, D, &opts));
            assert_int_equal(w.calls, 3);
            assert_same_codebooks(again, whole);
            vq_quantizer_free(some);
            vq_quantizer_free(again);
            vq_tensors_free(w.saved);
        }
        vq_quantizer_free(whole);
    }
    free(x);
}

static void test_bad_training(void **state)
{
    (void)state;
    static const uint32_t short_widths[2] = {9, 9}, empty[2] = {D, 0};
    float *x = parts_rows(N, D, 14);
    vq_quantizer *q, *out = (vq_quantizer *)&out;
    vq_residual_train_opts good = part_options(1, 6), bad;
    vq_product_train_opts made = VQ_PRODUCT_TRAIN_OPTS_INIT;
    made.parts = 2;
    made.part = &good;
    assert_ok(vq_product_train(&q, x, N, D, &made));
#define REFUSED(expected, change)                                                                  \
    do {                                                                                           \
        vq_product_train_opts opts = made;                                                         \
        bad = good;                                                                                \
        opts.part = &bad;                                                                          \
        change;                                                                                    \
        assert_status(expected, vq_product_train(&out, x, N, D, &opts));                           \
        assert_null(out);                                                                          \
    } while (0)
    REFUSED(VQ_E_ARG, opts.struct_size = 0);
    REFUSED(VQ_E_ARG, opts.part = NULL);
    REFUSED(VQ_E_ARG, bad.struct_size = 1);
    REFUSED(VQ_E_ARG, opts.parts = VQ_MAX_LEVELS + 1);
    REFUSED(VQ_E_ARG, opts.parts = D + 1);
    REFUSED(VQ_E_ARG, (opts.parts = 9, bad.levels = 8));
    REFUSED(VQ_E_ARG, opts.widths = short_widths);
    REFUSED(VQ_E_ARG, opts.widths = empty);
    REFUSED(VQ_E_ARG, bad.kmeans.k = 0);
    REFUSED(VQ_E_ARG, bad.resume = q);
    REFUSED(VQ_E_ARG, (opts.resume = q, bad.kmeans.k = 7));
    REFUSED(VQ_E_ARG, (opts.resume = q, bad.levels = 2));
    REFUSED(VQ_E_ARG, (opts.resume = q, opts.parts = 1));
    REFUSED(VQ_E_ARG, opts.resume = vq_product_part(q, 0));
    x[(size_t)N * D - 1] = NAN;
    REFUSED(VQ_E_NONFINITE, (void)0);
#undef REFUSED
    assert_status(VQ_E_ARG, vq_product_train(&out, x, 0, D, &made));
    assert_status(VQ_E_ARG, vq_product_train(&out, x, N, 0, &made));
    assert_status(VQ_E_ARG, vq_product_train(&out, NULL, N, D, &made));
    assert_status(VQ_E_ARG, vq_product_train(&out, x, 5, D, &made)); /* fewer rows than K */
    vq_quantizer_free(q);
    free(x);
}

static int go_on(void *context, uint32_t part, const vq_quantizer *so_far,
                 const vq_kmeans_report *report)
{
    (void)context;
    (void)report;
    return vq_product_parts(so_far) != part + 1;
}

static vq_status train_and_resume(vq_quantizer **out, const parts_life *life)
{
    const vq_residual_train_opts part = part_options(*(const uint32_t *)life->how, 2);
    vq_product_train_opts opts = VQ_PRODUCT_TRAIN_OPTS_INIT;
    opts.part = &part;
    opts.parts = 2;
    opts.part_done = go_on;
    vq_quantizer *first = NULL;
    vq_status status = vq_product_train(&first, life->x, life->n, 3, &opts);
    opts.resume = first;
    if (!status)
        status = vq_product_train(out, life->x, life->n, 3, &opts);
    vq_quantizer_free(first);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    static const float x[24] = {1, 2, 3, 4, 1, 7, 2, 9, 4, 1, 0, 1,
                                5, 5, 8, 1, 3, 8, 6, 1, 0, 2, 2, 9};
    for (uint32_t levels = 1; levels <= 2; levels++)
        check_no_memory((parts_life){.make = train_and_resume, .how = &levels, .x = x, .n = 8});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_in_rounds), cmocka_unit_test(test_slices),
        cmocka_unit_test(test_flat_slices),      cmocka_unit_test(test_contract),
        cmocka_unit_test(test_wide_slices),      cmocka_unit_test(test_bad_parts),
        cmocka_unit_test(test_bad_files),        cmocka_unit_test(test_training),
        cmocka_unit_test(test_resume),           cmocka_unit_test(test_bad_training),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
