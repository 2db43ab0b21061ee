/* SPDX-License-Identifier: Apache-2.0 */
/* Same rows, same quantizer, same codes: for every kind one SHA-256 over threads x instruction sets, of the quantizer as it is saved,
 * the codes of all rows and the vectors that they decode to. */
#include "everywhere.h"
#include "rvq/multiscale.h"
#include "rvq/product.h"
#include "rvq/scalar_train.h"
#include "rvq/split.h"
#include "vq/simvq.h"

enum { K = 64, FEW = 2500 /* rows */ };

/* A kind, and how it is trained and then encodes. */
typedef struct recipe {
    vq_quantizer *(*train)(const struct recipe *recipe, int threads, uint64_t seed);
    vq_quantize_opts encode;
    uint32_t parts; /* of a product */
    vq_scalar_kind scalar;
    vq_split_input input;
} kind_recipe;

static vq_kmeans_opts lloyd(int threads, uint64_t seed)
{
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    opts.k = K;
    opts.seed = seed;
    opts.threads = threads;
    opts.max_iterations = 4;
    opts.tolerance = -1;
    return opts;
}

static vq_residual_train_opts stack(int threads, uint64_t seed)
{
    vq_residual_train_opts opts = VQ_RESIDUAL_TRAIN_OPTS_INIT;
    opts.levels = 3;
    opts.kmeans = lloyd(threads, seed);
    opts.beam = 3;
    opts.refits = 1;
    opts.inner_seeds = VQ_INNER_SEEDS_WHERE_SPREAD;
    return opts;
}

static vq_quantizer *train_flat(const kind_recipe *recipe, int threads, uint64_t seed)
{
    (void)recipe;
    const vq_kmeans_opts opts = lloyd(threads, seed);
    vq_codebook *codebook;
    vq_quantizer *q;
    assert_ok(vq_kmeans_train(&codebook, NULL, rows.x, FEW, D, &opts));
    assert_ok(vq_quantizer_from_codebook(&q, codebook));
    return q;
}

static vq_quantizer *train_simvq(const kind_recipe *recipe, int threads, uint64_t seed)
{
    (void)recipe;
    vq_simvq_train_opts opts = VQ_SIMVQ_TRAIN_OPTS_INIT;
    vq_quantizer *q;
    opts.k = K;
    opts.seed = seed;
    opts.max_iterations = 4;
    opts.threads = threads;
    assert_ok(vq_simvq_train(&q, NULL, rows.x, FEW, D, &opts));
    return q;
}

/* FSQ draws nothing: the seed chooses the rows. All come as projected quantizers. */
static vq_quantizer *train_scalar(const kind_recipe *recipe, int threads, uint64_t seed)
{
    vq_scalar_train_opts opts = VQ_SCALAR_TRAIN_OPTS_INIT;
    vq_quantizer *q;
    opts.kind = recipe->scalar;
    opts.k = K;
    opts.levels = 2;
    opts.iterations = 4;
    opts.threads = threads;
    opts.seed = seed;
    assert_ok(vq_scalar_train(&q, rows.x + seed * D, FEW, D, &opts));
    return q;
}

static vq_quantizer *train_residual(const kind_recipe *recipe, int threads, uint64_t seed)
{
    (void)recipe;
    const vq_residual_train_opts opts = stack(threads, seed);
    vq_quantizer *q;
    assert_ok(vq_residual_train(&q, rows.x, FEW, D, &opts));
    return q;
}

static vq_quantizer *train_product(const kind_recipe *recipe, int threads, uint64_t seed)
{
    vq_residual_train_opts part = stack(threads, seed);
    vq_product_train_opts opts = VQ_PRODUCT_TRAIN_OPTS_INIT;
    vq_quantizer *q;
    part.levels = recipe->parts == 2 ? 3 : 1;
    part.refits = recipe->parts == 2;
    opts.parts = recipe->parts;
    opts.part = &part;
    assert_ok(vq_product_train(&q, rows.x, FEW, D, &opts));
    return q;
}

static vq_quantizer *train_split(const kind_recipe *recipe, int threads, uint64_t seed)
{
    const vq_kmeans_opts semantic = lloyd(threads, seed);
    const vq_residual_train_opts acoustic = stack(threads, seed);
    vq_split_train_opts opts = VQ_SPLIT_TRAIN_OPTS_INIT;
    vq_quantizer *q;
    opts.semantic = &semantic;
    opts.acoustic = &acoustic;
    opts.input = recipe->input;
    assert_ok(vq_split_train(&q, rows.x, FEW, D, &opts));
    return q;
}

/* What is hashed, one after another. */
typedef struct pile {
    uint8_t *bytes;
    size_t size;
} pile;

static void put(pile *to, const void *bytes, size_t size)
{
    to->bytes = realloc(to->bytes, to->size + size);
    assert_non_null(to->bytes);
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
}

static void put_tensors(pile *to, vq_tensors *tensors)
{
    for (size_t i = 0; i < vq_tensors_count(tensors); i++) {
        const vq_tensor *t = vq_tensors_at(tensors, i);
        put(to, t->name, strlen(t->name));
        put(to, t->data, t->count * vq_dtype_size(t->dtype));
    }
    vq_tensors_free(tensors);
}

static void seal(uint8_t digest[VQ_SHA256_SIZE], pile *of)
{
    vq_sha256(digest, of->bytes, of->size);
    free(of->bytes);
}

static void run(uint8_t digest[VQ_SHA256_SIZE], const void *by, int threads, uint64_t seed)
{
    const kind_recipe *recipe = by;
    vq_quantizer *q = recipe->train(recipe, threads, seed);
    vq_quantize_opts opts = recipe->encode;
    vq_tensors *tensors;
    pile all = {0};
    const size_t levels = vq_quantizer_levels(q);
    uint32_t *codes = malloc(rows.n * levels * sizeof *codes);
    float *decoded = malloc(rows.n * D * sizeof *decoded);
    assert_true(codes && decoded);
    opts.struct_size = sizeof opts;
    opts.threads = threads;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_quantizer_save(tensors, q, ""));
    assert_ok(vq_quantize(codes, q, rows.x, rows.n, &opts));
    assert_ok(vq_dequantize(decoded, q, codes, rows.n, &opts));
    put_tensors(&all, tensors);
    put(&all, codes, rows.n * levels * sizeof *codes);
    put(&all, decoded, rows.n * D * sizeof *decoded);
    seal(digest, &all);
    free(codes);
    free(decoded);
    vq_quantizer_free(q);
}

/* A patch is a grid of SIDE x SIDE cells. */
static void run_multiscale(uint8_t digest[VQ_SHA256_SIZE], const void *by, int threads,
                           uint64_t seed)
{
    const uint32_t sizes[] = {1, 1, 2, 2, 3, 4, SIDE, SIDE};
    const vq_kmeans_opts kmeans = lloyd(threads, seed);
    vq_multiscale_design design = VQ_MULTISCALE_DESIGN_INIT;
    vq_multiscale_train_opts opts = VQ_MULTISCALE_TRAIN_OPTS_INIT;
    vq_quantize_opts encode = VQ_QUANTIZE_OPTS_INIT;
    vq_multiscale *m;
    vq_tensors *tensors;
    pile all = {0};
    design.rows = design.columns = SIDE;
    design.channels = 3;
    design.scales = 4;
    design.sizes = sizes;
    opts.design = &design;
    opts.kmeans = &kmeans;
    opts.shared = *(const int *)by;
    opts.rounds = 2;
    encode.threads = threads;
    assert_ok(vq_multiscale_train(&m, rows.x, FEW / 4, &opts));
    const size_t tokens = vq_multiscale_tokens(m, 0);
    uint32_t *codes = malloc(FEW * tokens * sizeof *codes);
    float *decoded = malloc(FEW * D * sizeof *decoded);
    assert_true(codes && decoded);
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_multiscale_save(tensors, m, ""));
    assert_ok(vq_multiscale_encode(codes, m, rows.x, FEW, &encode));
    assert_ok(vq_multiscale_decode(decoded, m, codes, FEW, &encode));
    put_tensors(&all, tensors);
    put(&all, codes, FEW * tokens * sizeof *codes);
    put(&all, decoded, FEW * D * sizeof *decoded);
    seal(digest, &all);
    free(codes);
    free(decoded);
    vq_multiscale_free(m);
}

static void test_flat(void **state)
{
    (void)state;
    everywhere(run, &(const kind_recipe){.train = train_flat});
}

static void test_simvq(void **state)
{
    (void)state;
    everywhere(run, &(const kind_recipe){.train = train_simvq});
}

static void test_fsq(void **state)
{
    (void)state;
    everywhere(run, &(const kind_recipe){.train = train_scalar, .scalar = VQ_SCALAR_FSQ});
}

static void test_lfq(void **state)
{
    (void)state;
    everywhere(run, &(const kind_recipe){.train = train_scalar, .scalar = VQ_SCALAR_LFQ});
}

static void test_bsq(void **state)
{
    (void)state;
    everywhere(run, &(const kind_recipe){.train = train_scalar, .scalar = VQ_SCALAR_BSQ});
}

static void test_residual(void **state)
{
    (void)state;
    everywhere(run, &(const kind_recipe){.train = train_residual});
    everywhere(
        run, &(const kind_recipe){.train = train_residual, .encode = {.beam = 5, .lambda = 0.01f}});
}

static void test_product(void **state)
{
    (void)state;
    everywhere(run, &(const kind_recipe){.train = train_product, .parts = 6});
    everywhere(run,
               &(const kind_recipe){.train = train_product, .parts = 2, .encode = {.beam = 3}});
}

static void test_split(void **state)
{
    (void)state;
    everywhere(run, &(const kind_recipe){.train = train_split, .input = VQ_SPLIT_REST});
    everywhere(run, &(const kind_recipe){
                        .train = train_split, .input = VQ_SPLIT_SAME, .encode = {.beam = 3}});
}

static void test_multiscale(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++)
        everywhere(run_multiscale, &shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flat),       cmocka_unit_test(test_simvq),
        cmocka_unit_test(test_fsq),        cmocka_unit_test(test_lfq),
        cmocka_unit_test(test_bsq),        cmocka_unit_test(test_residual),
        cmocka_unit_test(test_product),    cmocka_unit_test(test_split),
        cmocka_unit_test(test_multiscale),
    };
    return cmocka_run_group_tests(tests, NULL, free_rows);
}
