/* SPDX-License-Identifier: Apache-2.0 */
/* The split quantizer: outputs that add up, both inputs, its training. */
#include "rvq/split.h"
#include "rvq/projected.h"
#include "parts_support.h"

enum { N = 1500, D = 10 };

static const uint32_t semantic_sizes[1] = {30}, acoustic_sizes[3] = {16, 7, 40};

static vq_quantizer *make(vq_split_input input)
{
    vq_quantizer *parts[2] = {parts_stack(D, semantic_sizes, 1, VQ_DTYPE_F32, 1),
                              parts_stack(D, acoustic_sizes, 3, VQ_DTYPE_BF16, 2)};
    vq_quantizer *q;
    assert_ok(vq_split_create(&q, parts, 2, input));
    return q;
}

/* The codes are those of the parts, of the vector or of what is left, and their vectors add up. */
static void test_parts(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 3), *rest = parts_alloc((size_t)N * D, sizeof *rest),
          *said = parts_alloc((size_t)N * D, sizeof *said),
          *more = parts_alloc((size_t)N * D, sizeof *more);
    uint32_t *codes = parts_alloc((size_t)N * 4, sizeof *codes),
             *first = parts_alloc(N, sizeof *first),
             *second = parts_alloc((size_t)N * 3, sizeof *second);
    for (int input = VQ_SPLIT_REST; input <= VQ_SPLIT_SAME; input++) {
        vq_quantizer *q = make((vq_split_input)input);
        assert_string_equal(vq_quantizer_kind(q), "split");
        assert_int_equal(vq_quantizer_dim(q), D);
        assert_int_equal(vq_quantizer_levels(q), 4);
        assert_int_equal(vq_quantizer_k(q, 0), 30);
        assert_int_equal(vq_quantizer_k(q, 3), 40);
        assert_int_equal(vq_split_parts(q), 2);
        assert_null(vq_split_part(q, 2));
        assert_int_equal(vq_split_parts(vq_split_part(q, 0)), 0);
        assert_ok(vq_quantize(first, vq_split_part(q, 0), x, N, NULL));
        assert_ok(vq_dequantize(said, vq_split_part(q, 0), first, N, NULL));
        for (size_t i = 0; i < (size_t)N * D; i++)
            rest[i] = input == VQ_SPLIT_SAME ? x[i] : x[i] - said[i];
        assert_ok(vq_quantize(second, vq_split_part(q, 1), rest, N, NULL));
        assert_ok(vq_dequantize(more, vq_split_part(q, 1), second, N, NULL));
        assert_ok(vq_quantize(codes, q, x, N, NULL));
        assert_ok(vq_dequantize(rest, q, codes, N, NULL));
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(codes[i * 4], first[i]);
            assert_memory_equal(codes + i * 4 + 1, second + i * 3, 3 * sizeof *codes);
            for (size_t j = i * D; j < (i + 1) * D; j++)
                assert_true(rest[j] == said[j] + more[j]);
        }
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        opts.levels = 1;
        assert_ok(vq_dequantize(rest, q, first, N, &opts));
        assert_memory_equal(rest, said, (size_t)N * D * sizeof *rest);
        vq_quantizer_free(q);
    }
    free(x);
    free(rest);
    free(said);
    free(more);
    free(codes);
    free(first);
    free(second);
}

static void test_contract(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 4);
    for (int input = VQ_SPLIT_REST; input <= VQ_SPLIT_SAME; input++) {
        vq_quantizer *q = make((vq_split_input)input);
        check_prefixes(q, x, N);
        check_sameness(q, x, N);
        check_sameness(q, x, 3);
        check_saving(q, x, N);
        check_refusals(q, x, N);
        check_bad_files(q);
        vq_quantizer_free(q);
    }
    free(x);
}

static void test_bad_parts_and_files(void **state)
{
    (void)state;
    vq_quantizer *parts[2] = {parts_stack(3, semantic_sizes, 1, VQ_DTYPE_F32, 1),
                              parts_stack(4, semantic_sizes, 1, VQ_DTYPE_F32, 1)};
    vq_quantizer *q;
    assert_status(VQ_E_ARG, vq_split_create(&q, parts, 2, VQ_SPLIT_REST));
    assert_null(q);
    assert_status(VQ_E_ARG, vq_split_create(&q, parts, 0, VQ_SPLIT_REST));
    assert_status(VQ_E_ARG, vq_split_create(&q, parts, 1, (vq_split_input)2));
    vq_quantizer_free(parts[0]);
    vq_quantizer_free(parts[1]);
    const uint32_t one[1] = {1};
    parts[0] = parts_stack(VQ_SPLIT_MAX_DIM + 1, one, 1, VQ_DTYPE_F32, 1);
    assert_status(VQ_E_ARG, vq_split_create(&q, parts, 1, VQ_SPLIT_REST));
    vq_quantizer_free(parts[0]);
    struct {
        const char *key, *value;
        vq_status expected;
    } const damages[] = {
        {"input", "both", VQ_E_FORMAT},      {"parts", "3", VQ_E_FORMAT},
        {"parts", "0", VQ_E_FORMAT},         {"part.1.kind", "unheard", VQ_E_UNSUPPORTED},
        {"part.1.levels", "4", VQ_E_FORMAT}, {"part.0.kind", "split", VQ_E_FORMAT},
        {"part.0.metric", "x", VQ_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        vq_tensors *tensors;
        vq_quantizer *whole = make(VQ_SPLIT_REST);
        assert_ok(vq_tensors_create(&tensors));
        assert_ok(vq_quantizer_save(tensors, whole, ""));
        assert_ok(vq_tensors_set(tensors, damages[i].key, damages[i].value));
        assert_status(damages[i].expected, vq_quantizer_load(&q, tensors, "", NULL));
        assert_null(q);
        vq_tensors_free(tensors);
        vq_quantizer_free(whole);
    }
}

static double error_of(const vq_quantizer *q, const float *x, uint32_t levels)
{
    uint32_t *codes = parts_alloc((size_t)N * 4, sizeof *codes);
    float *decoded = parts_alloc((size_t)N * D, sizeof *decoded);
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    double error = 0;
    opts.levels = levels;
    assert_ok(vq_quantize(codes, q, x, N, &opts));
    assert_ok(vq_dequantize(decoded, q, codes, N, &opts));
    for (size_t i = 0; i < (size_t)N * D; i++)
        error += ((double)x[i] - (double)decoded[i]) * ((double)x[i] - (double)decoded[i]);
    free(codes);
    free(decoded);
    return error;
}

static void test_training(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 5), *teacher = parts_rows(N, D, 6);
    vq_kmeans_opts semantic = VQ_KMEANS_OPTS_INIT;
    vq_residual_train_opts acoustic = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    vq_split_train_opts opts = VQ_SPLIT_TRAIN_OPTS_INIT;
    vq_quantizer *q, *first = NULL;
    vq_codebook *alone;
    semantic.k = 20;
    acoustic.levels = 3;
    acoustic.kmeans.k = 16;
    opts.semantic = &semantic;
    opts.acoustic = &acoustic;
    for (int threads = 1; threads <= 7; threads += 3) {
        semantic.threads = acoustic.kmeans.threads = threads;
        assert_ok(vq_split_train(&q, x, N, D, &opts));
        for (uint32_t l = 0; first && l < 4; l++)
            assert_memory_equal(vq_codebook_codewords(vq_quantizer_codebook(q, l)),
                                vq_codebook_codewords(vq_quantizer_codebook(first, l)),
                                vq_quantizer_k(q, l) * D * sizeof(float));
        if (first)
            vq_quantizer_free(q);
        else
            first = q;
    }
    double last = INFINITY;
    for (uint32_t levels = 1; levels <= 4; levels++) {
        const double error = error_of(first, x, levels);
        assert_true(error < last);
        last = error;
    }
    vq_quantizer_free(first);
    opts.teacher = teacher;
    assert_ok(vq_split_train(&q, x, N, D, &opts));
    assert_ok(vq_kmeans_train(&alone, NULL, teacher, N, D, &semantic));
    assert_memory_equal(vq_codebook_codewords(vq_quantizer_codebook(q, 0)),
                        vq_codebook_codewords(alone), 20 * D * sizeof(float));
    vq_codebook_free(alone);
    vq_quantizer_free(q);
    opts.teacher = NULL;
    opts.semantic = NULL;
    assert_status(VQ_E_ARG, vq_split_train(&q, x, N, D, &opts));
    assert_null(q);
    opts.semantic = &semantic;
    opts.struct_size = 2;
    assert_status(VQ_E_ARG, vq_split_train(&q, x, N, D, &opts));
    opts.struct_size = sizeof opts;
    semantic.k = 0;
    assert_status(VQ_E_ARG, vq_split_train(&q, x, N, D, &opts));
    semantic.k = 20;
    assert_status(VQ_E_ARG, vq_split_train(&q, x, 0, D, &opts));
    assert_status(VQ_E_ARG, vq_split_train(&q, NULL, N, D, &opts));
    x[77] = NAN;
    assert_status(VQ_E_NONFINITE, vq_split_train(&q, x, N, D, &opts));
    assert_null(q);
    free(x);
    free(teacher);
}

static vq_split_train_opts same_opts(const vq_kmeans_opts *semantic,
                                     const vq_residual_train_opts *acoustic)
{
    vq_split_train_opts opts = VQ_SPLIT_TRAIN_OPTS_INIT;
    opts.semantic = semantic;
    opts.acoustic = acoustic;
    opts.input = VQ_SPLIT_SAME;
    return opts;
}

/* What the parts say of a vector is at right angles, but for the mean; each level lowers the error; threads change nothing. */
static void test_training_side_by_side(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 7), *said = parts_alloc((size_t)N * D, sizeof *said),
          *more = parts_alloc((size_t)N * D, sizeof *more);
    uint32_t *codes = parts_alloc((size_t)N * 4, sizeof *codes),
             *other = parts_alloc((size_t)N * 4, sizeof *other);
    vq_kmeans_opts semantic = VQ_KMEANS_OPTS_INIT;
    vq_residual_train_opts acoustic = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    vq_split_train_opts opts = same_opts(&semantic, &acoustic);
    vq_quantizer *q, *rest;
    double mean[D] = {0};
    semantic.k = 20;
    acoustic.levels = 3;
    acoustic.kmeans.k = 16;
    for (size_t i = 0; i < (size_t)N * D; i++)
        mean[i % D] += (double)x[i] / N;
    for (int threads = 1; threads <= 7; threads += 3) {
        semantic.threads = acoustic.kmeans.threads = threads;
        assert_ok(vq_split_train(&q, x, N, D, &opts));
        assert_ok(vq_quantize(threads == 1 ? codes : other, q, x, N, NULL));
        if (threads > 1)
            assert_memory_equal(codes, other, (size_t)N * 4 * sizeof *codes);
        if (threads < 7)
            vq_quantizer_free(q);
    }
    assert_int_equal(vq_split_parts(q), 2);
    const vq_quantizer *first = vq_projected_inner(vq_split_part(q, 0)),
                       *second = vq_projected_inner(vq_split_part(q, 1));
    assert_string_equal(vq_quantizer_kind(first), "flat");
    assert_string_equal(vq_quantizer_kind(second), "residual");
    assert_int_equal(vq_quantizer_dim(first) + vq_quantizer_dim(second), D);
    vq_quantize_opts three = VQ_QUANTIZE_OPTS_INIT;
    for (size_t i = 0; i < N; i++) {
        other[i] = codes[i * 4];
        memmove(codes + i * 3, codes + i * 4 + 1, 3 * sizeof *codes);
    }
    assert_ok(vq_dequantize(said, vq_split_part(q, 0), other, N, NULL));
    assert_ok(vq_dequantize(more, vq_split_part(q, 1), codes, N, &three));
    for (size_t i = 0; i < N; i++) {
        double along = 0;
        for (size_t j = 0; j < D; j++)
            along += ((double)said[i * D + j] - mean[j]) * (double)more[i * D + j];
        assert_true(fabs(along) < 1e-3);
    }
    double last = INFINITY;
    for (uint32_t levels = 1; levels <= 4; levels++) {
        const double error = error_of(q, x, levels);
        assert_true(error < last);
        last = error;
    }
    /* Side by side they know less of each other than in a row, but not much less. */
    opts.input = VQ_SPLIT_REST;
    assert_ok(vq_split_train(&rest, x, N, D, &opts));
    print_message("error side by side over that in a row: %.3f\n", last / error_of(rest, x, 4));
    assert_true(last < 1.5 * error_of(rest, x, 4));
    check_prefixes(q, x, N);
    check_sameness(q, x, N);
    check_saving(q, x, N);
    check_refusals(q, x, N);
    check_bad_files(q);
    vq_quantizer_free(q);
    vq_quantizer_free(rest);
    free(x);
    free(said);
    free(more);
    free(codes);
    free(other);
}

/* A teacher of one number: part 0 is a line, along the covariance of x with that number. */
static void test_teacher(void **state)
{
    (void)state;
    float *x = parts_rows(N, D, 8), teacher[N], said[3 * D];
    double mean[D] = {0}, cross[D] = {0}, teacher_mean = 0;
    const uint32_t three[3] = {0, 1, 2};
    vq_kmeans_opts semantic = VQ_KMEANS_OPTS_INIT;
    vq_residual_train_opts acoustic = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    vq_split_train_opts opts = same_opts(&semantic, &acoustic);
    vq_quantizer *q;
    uint64_t seed = 3;
    semantic.k = 3;
    acoustic.levels = 1;
    acoustic.kmeans.k = 5;
    opts.teacher = teacher;
    opts.teacher_dim = opts.semantic_dim = 1;
    for (size_t i = 0; i < N; i++) {
        teacher[i] = x[i * D + 3] - 2 * x[i * D + 6] + (float)test_uniform(&seed);
        teacher_mean += (double)teacher[i] / N;
        for (size_t j = 0; j < D; j++)
            mean[j] += (double)x[i * D + j] / N;
    }
    double length = 0;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < D; j++)
            cross[j] += ((double)x[i * D + j] - mean[j]) * ((double)teacher[i] - teacher_mean);
    for (size_t j = 0; j < D; j++)
        length += cross[j] * cross[j];
    assert_ok(vq_split_train(&q, x, N, D, &opts));
    assert_int_equal(vq_quantizer_dim(vq_projected_inner(vq_split_part(q, 0))), 1);
    assert_ok(vq_dequantize(said, vq_split_part(q, 0), three, 3, NULL));
    for (size_t i = 0; i < 3; i++) {
        double along = 0;
        for (size_t j = 0; j < D; j++)
            along += ((double)said[i * D + j] - mean[j]) * cross[j] / length;
        for (size_t j = 0; j < D; j++)
            assert_true(fabs((double)said[i * D + j] - mean[j] - along * cross[j]) < 1e-4);
    }
    vq_quantizer_free(q);
    teacher[9] = NAN;
    assert_status(VQ_E_NONFINITE, vq_split_train(&q, x, N, D, &opts));
    assert_non_null(strstr(vq_last_error(), "row 9 of the teacher"));
    opts.teacher = NULL;
    opts.semantic_dim = D;
    assert_status(VQ_E_ARG, vq_split_train(&q, x, N, D, &opts));
    opts.semantic_dim = 0;
    assert_status(VQ_E_ARG, vq_split_train(&q, x, N, 1, &opts));
    semantic.metric = VQ_METRIC_COSINE;
    assert_status(VQ_E_ARG, vq_split_train(&q, x, N, D, &opts));
    semantic.metric = VQ_METRIC_EUCLIDEAN;
    opts.input = (vq_split_input)2;
    assert_status(VQ_E_ARG, vq_split_train(&q, x, N, D, &opts));
    opts.input = VQ_SPLIT_REST;
    opts.semantic_dim = 1;
    assert_status(VQ_E_ARG, vq_split_train(&q, x, N, D, &opts));
    opts.input = VQ_SPLIT_SAME;
    x[55] = INFINITY;
    assert_status(VQ_E_NONFINITE, vq_split_train(&q, x, N, D, &opts));
    assert_non_null(strstr(vq_last_error(), "row 5 "));
    assert_null(q);
    free(x);
}

static vq_status train_small(vq_quantizer **out, const parts_life *life)
{
    vq_kmeans_opts semantic = VQ_KMEANS_OPTS_INIT;
    vq_residual_train_opts acoustic = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    vq_split_train_opts opts = VQ_SPLIT_TRAIN_OPTS_INIT;
    semantic.k = acoustic.kmeans.k = acoustic.levels = 2;
    opts.semantic = &semantic;
    opts.acoustic = &acoustic;
    opts.input = *(const vq_split_input *)life->how;
    return vq_split_train(out, life->x, life->n, 2, &opts);
}

static void test_no_memory(void **state)
{
    (void)state;
    static const float x[16] = {1, 2, 3, 4, 1, 7, 2, 9, 4, 1, 0, 1, 5, 5, 8, 1};
    for (vq_split_input input = VQ_SPLIT_REST; input <= VQ_SPLIT_SAME; input++)
        check_no_memory((parts_life){.make = train_small, .how = &input, .x = x, .n = 8});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),     cmocka_unit_test(test_contract),
        cmocka_unit_test(test_training),  cmocka_unit_test(test_training_side_by_side),
        cmocka_unit_test(test_teacher),   cmocka_unit_test(test_bad_parts_and_files),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
