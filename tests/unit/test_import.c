/* SPDX-License-Identifier: Apache-2.0 */
/* Codebooks of other programs: arrays of any shape they come in, the metric stated, and what is refused. */
#include <math.h>

#include "io/npy.h"
#include "rvq/product.h"
#include "test_support.h"

enum { K = 6, D = 4, L = 3, N = 50 };

static float values[L * K * D], x[N * L * D];

static int fill(void **state)
{
    (void)state;
    uint64_t seed = 9;
    for (size_t i = 0; i < L * K * D; i++)
        values[i] = (float)(test_uniform(&seed) - 0.4);
    for (size_t i = 0; i < N * L * D; i++)
        x[i] = (float)(2 * test_uniform(&seed) - 1);
    return 0;
}

static vq_tensors *set_of(const char *name, vq_dtype dtype, uint32_t ndim, const size_t *shape,
                          const void *data)
{
    vq_tensors *tensors;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_tensors_add(NULL, tensors, name, dtype, ndim, shape, data));
    return tensors;
}

static const size_t stack[3] = {L, K, D};

static void a_flat_codebook(void **state)
{
    (void)state;
    static const vq_metric metrics[] = {VQ_METRIC_EUCLIDEAN, VQ_METRIC_COSINE, VQ_METRIC_DOT};
    vq_tensors *tensors = set_of("embed", VQ_DTYPE_F32, 2, stack + 1, values);
    for (int m = 0; m < 3; m++) {
        vq_import_opts opts = VQ_IMPORT_OPTS_INIT;
        vq_quantizer *q;
        vq_codebook *codebook;
        uint32_t codes[N], expected[N];
        opts.metric = metrics[m];
        assert_ok(vq_quantizer_import(&q, tensors, &opts, NULL));
        assert_string_equal(vq_quantizer_kind(q), "flat");
        assert_int_equal(vq_codebook_metric(vq_quantizer_codebook(q, 0)), metrics[m]);
        assert_ok(vq_codebook_create(&codebook, values, K, D, metrics[m], VQ_DTYPE_F32));
        assert_memory_equal(vq_codebook_codewords(vq_quantizer_codebook(q, 0)),
                            vq_codebook_codewords(codebook), K * D * sizeof(float));
        assert_ok(vq_quantize(codes, q, x, N, NULL));
        assert_ok(vq_nearest(expected, NULL, codebook, x, N, NULL));
        assert_memory_equal(codes, expected, sizeof codes);
        vq_codebook_free(codebook);
        vq_quantizer_free(q);
    }
    vq_tensors_free(tensors);
}

static void a_stack(void **state)
{
    (void)state;
    double wide[L * K * D];
    for (size_t i = 0; i < L * K * D; i++)
        wide[i] = (double)values[i];
    vq_tensors *tensors = set_of("codebooks", VQ_DTYPE_F64, 3, stack, wide);
    vq_import_opts opts = VQ_IMPORT_OPTS_INIT;
    vq_quantizer *q;
    assert_ok(vq_quantizer_import(&q, tensors, NULL, NULL));
    assert_string_equal(vq_quantizer_kind(q), "residual");
    assert_int_equal(vq_quantizer_levels(q), L);
    for (uint32_t l = 0; l < L; l++)
        assert_memory_equal(vq_codebook_codewords(vq_quantizer_codebook(q, l)), values + l * K * D,
                            K * D * sizeof(float));
    vq_quantizer_free(q);
    /* As faiss has the centroids of a product quantizer. */
    opts.kind = "product";
    assert_ok(vq_quantizer_import(&q, tensors, &opts, NULL));
    assert_int_equal(vq_product_parts(q), L);
    assert_int_equal(vq_quantizer_dim(q), L * D);
    uint32_t codes[N * L];
    float decoded[N * L * D];
    assert_ok(vq_quantize(codes, q, x, N, NULL));
    assert_ok(vq_dequantize(decoded, q, codes, N, NULL));
    for (size_t i = 0; i < N * L; i++)
        assert_memory_equal(decoded + i * D, values + (i % L * K + codes[i]) * D,
                            D * sizeof(float));
    vq_quantizer_free(q);
    opts.kind = "residual";
    opts.metric = VQ_METRIC_COSINE;
    assert_status(VQ_E_ARG, vq_quantizer_import(&q, tensors, &opts, NULL));
    assert_null(q);
    vq_tensors_free(tensors);
}

/* One array for each level, of different K, among others. */
static void numbered_arrays(void **state)
{
    (void)state;
    vq_tensors *tensors;
    vq_import_opts opts = VQ_IMPORT_OPTS_INIT;
    vq_quantizer *q;
    assert_ok(vq_tensors_create(&tensors));
    for (uint32_t l = 0; l < L; l++) {
        char name[64];
        const size_t shape[2] = {K - l, D}, counts[1] = {K - l};
        snprintf(name, sizeof name, "vq.layers.%u._codebook.embed", l);
        assert_ok(vq_tensors_add(NULL, tensors, name, VQ_DTYPE_F32, 2, shape, values));
        snprintf(name, sizeof name, "vq.layers.%u._codebook.cluster_size", l);
        assert_ok(vq_tensors_add(NULL, tensors, name, VQ_DTYPE_F32, 1, counts, values));
    }
    assert_status(VQ_E_FORMAT, vq_quantizer_import(&q, tensors, NULL, NULL)); /* which one? */
    opts.tensor = "vq.layers.*._codebook.embed";
    assert_ok(vq_quantizer_import(&q, tensors, &opts, NULL));
    assert_string_equal(vq_quantizer_kind(q), "residual");
    assert_int_equal(vq_quantizer_levels(q), L);
    for (uint32_t l = 0; l < L; l++)
        assert_int_equal(vq_quantizer_k(q, l), K - l);
    vq_quantizer_free(q);
    opts.tensor = "vq.layers.1._codebook.embed";
    assert_ok(vq_quantizer_import(&q, tensors, &opts, NULL));
    assert_string_equal(vq_quantizer_kind(q), "flat");
    vq_quantizer_free(q);
    opts.tensor = "vq.layers.*._codebook.cluster_size";
    assert_status(VQ_E_FORMAT, vq_quantizer_import(&q, tensors, &opts, NULL));
    opts.tensor = "other.*";
    assert_status(VQ_E_FORMAT, vq_quantizer_import(&q, tensors, &opts, NULL));
    vq_tensors_free(tensors);
}

static void what_is_refused(void **state)
{
    (void)state;
    vq_quantizer *q;
    vq_import_opts opts = VQ_IMPORT_OPTS_INIT;
    vq_limits limits = VQ_LIMITS_INIT;
    const size_t line[1] = {K}, empty[3] = {L, 0, D}, none[3] = {0, K, D}, four[4] = {1, 2, 3, 4};
    float bad[L * K * D];
    memcpy(bad, values, sizeof bad);
    bad[K * D + 1] = NAN;
    struct {
        vq_status expected;
        vq_dtype dtype;
        uint32_t ndim;
        const size_t *shape;
        const float *data;
    } const cases[] = {
        {VQ_E_FORMAT, VQ_DTYPE_F32, 1, line, values}, {VQ_E_FORMAT, VQ_DTYPE_F32, 4, four, values},
        {VQ_E_FORMAT, VQ_DTYPE_I32, 3, stack, NULL},  {VQ_E_FORMAT, VQ_DTYPE_F32, 3, empty, NULL},
        {VQ_E_FORMAT, VQ_DTYPE_F32, 3, none, NULL},   {VQ_E_NONFINITE, VQ_DTYPE_F32, 3, stack, bad},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vq_tensors *tensors =
            set_of("a", cases[i].dtype, cases[i].ndim, cases[i].shape, cases[i].data);
        assert_status(cases[i].expected, vq_quantizer_import(&q, tensors, NULL, NULL));
        assert_null(q);
        vq_tensors_free(tensors);
    }
    vq_tensors *tensors = set_of("a", VQ_DTYPE_F32, 3, stack, values);
    opts.kind = "unheard";
    assert_status(VQ_E_UNSUPPORTED, vq_quantizer_import(&q, tensors, &opts, NULL));
    opts.kind = "fsq";
    assert_status(VQ_E_UNSUPPORTED, vq_quantizer_import(&q, tensors, &opts, NULL));
    opts.kind = "flat";
    assert_status(VQ_E_FORMAT, vq_quantizer_import(&q, tensors, &opts, NULL));
    opts.kind = NULL;
    opts.metric = (vq_metric)9;
    assert_status(VQ_E_ARG, vq_quantizer_import(&q, tensors, &opts, NULL));
    opts.metric = VQ_METRIC_EUCLIDEAN;
    limits.max_levels = L - 1;
    assert_status(VQ_E_LIMIT, vq_quantizer_import(&q, tensors, &opts, &limits));
    vq_tensors_free(tensors);
}

/* The trained codebooks of Lyra V2: 46 levels of 16 codewords of 64 dimensions. */
static void the_codebooks_of_lyra(void **state)
{
    (void)state;
    enum { LEVELS = 46, DIM = 64, ROWS = 700 };
    const char *path = test_data("audio/lyra_soundstream_rvq/codebooks.npy");
    vq_tensors *tensors, *saved;
    vq_quantizer *q, *again;
    assert_ok(vq_npy_read(&tensors, path, "codebooks", NULL));
    assert_ok(vq_quantizer_import(&q, tensors, NULL, NULL));
    assert_string_equal(vq_quantizer_kind(q), "residual");
    assert_int_equal(vq_quantizer_levels(q), LEVELS);
    assert_int_equal(vq_quantizer_dim(q), DIM);
    uint32_t *codes = calloc(ROWS * LEVELS, sizeof *codes),
             *again_codes = calloc(ROWS * LEVELS, sizeof *codes);
    float *rows = calloc(ROWS * DIM, sizeof *rows), *decoded = calloc(ROWS * DIM, sizeof *decoded);
    assert_true(codes && again_codes && rows && decoded);
    /* Vectors that these codebooks can say, as its features are: sums of a codeword of each level. */
    uint64_t seed = 1;
    for (size_t i = 0; i < ROWS * LEVELS; i++)
        codes[i] = (uint32_t)(test_random(&seed) % 16);
    assert_ok(vq_dequantize(rows, q, codes, ROWS, NULL));
    assert_ok(vq_quantize(codes, q, rows, ROWS, NULL));
    double last = INFINITY, energy = 0;
    for (size_t j = 0; j < ROWS * DIM; j++)
        energy += (double)rows[j] * (double)rows[j];
    for (uint32_t m = 1; m <= LEVELS; m += 15) {
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        opts.levels = m;
        assert_ok(vq_quantize(again_codes, q, rows, ROWS, &opts));
        assert_ok(vq_dequantize(decoded, q, again_codes, ROWS, &opts));
        double error = 0;
        for (size_t i = 0; i < ROWS; i++) {
            assert_memory_equal(again_codes + i * m, codes + i * LEVELS, m * sizeof *codes);
            for (size_t j = i * DIM; j < (i + 1) * DIM; j++)
                error +=
                    ((double)rows[j] - (double)decoded[j]) * ((double)rows[j] - (double)decoded[j]);
        }
        assert_true(error < last);
        last = error;
    }
    assert_true(last < energy / 10); /* greedy encoding of sums that it did not choose */
    assert_ok(vq_tensors_create(&saved));
    assert_ok(vq_quantizer_save(saved, q, ""));
    assert_ok(vq_quantizer_load(&again, saved, "", NULL));
    assert_ok(vq_quantize(again_codes, again, rows, ROWS, NULL));
    assert_memory_equal(again_codes, codes, ROWS * LEVELS * sizeof *codes);
    vq_quantizer_free(q);
    vq_quantizer_free(again);
    vq_tensors_free(tensors);
    vq_tensors_free(saved);
    free(codes);
    free(again_codes);
    free(rows);
    free(decoded);
}

static vq_status import_stack(void *context)
{
    const vq_import_opts *opts = context;
    vq_tensors *tensors = NULL;
    vq_quantizer *q = NULL;
    vq_status status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_tensors_add(NULL, tensors, "a", VQ_DTYPE_F32, 3, stack, values);
    if (!status)
        status = vq_quantizer_import(&q, tensors, opts, NULL);
    vq_quantizer_free(q);
    vq_tensors_free(tensors);
    return status;
}

static void no_memory(void **state)
{
    (void)state;
    vq_import_opts opts = VQ_IMPORT_OPTS_INIT;
    test_allocation_failures(import_stack, &opts);
    opts.kind = "product";
    test_allocation_failures(import_stack, &opts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flat_codebook),       cmocka_unit_test(a_stack),
        cmocka_unit_test(numbered_arrays),       cmocka_unit_test(what_is_refused),
        cmocka_unit_test(the_codebooks_of_lyra), cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
