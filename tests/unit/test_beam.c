/* SPDX-License-Identifier: Apache-2.0 */
/* Beam search and rate-aware encoding of the residual quantizer, against the contract written out. */
#include <math.h>

#include "rvq/residual_internal.h"
#include "test_support.h"
#include "vq/cpu.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const uint32_t masks[] = {0, VQ_CPU_AVX2, VQ_CPU_AVX2 | VQ_CPU_AVX512,
                                 VQ_CPU_AVX2 | VQ_CPU_AVX512 | VQ_CPU_VNNI, UINT32_MAX};

/* The squared distance of vq/codebook.h. */
static float distance(const float *x, const float *c, uint32_t d)
{
    float p[8] = {0};
    for (uint32_t i = 0; i < d; i++)
        p[i % 8] += (x[i] - c[i]) * (x[i] - c[i]);
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

static double code_length(const uint64_t *counts, uint32_t k, uint32_t code)
{
    double sum = k;
    for (uint32_t c = 0; c < k; c++)
        sum += (double)counts[c];
    return log2(sum) - log2((double)counts[code] + 1);
}

typedef struct candidate {
    float score, rate;
    uint32_t parent, code;
} candidate;

static int by_score(const void *left, const void *right)
{
    const candidate *a = left, *b = right;
    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    if (a->parent != b->parent)
        return a->parent < b->parent ? -1 : 1;
    return a->code < b->code ? -1 : a->code > b->code;
}

/* The contract of rvq/residual.h for one vector. costs[l][k] are lambda times the lengths, or NULL. */
static void reference(uint32_t *codes, const vq_quantizer *q, uint32_t levels, uint32_t beam,
                      float *const *costs, const float *x)
{
    enum { MOST = VQ_MAX_BEAM };
    const uint32_t d = vq_quantizer_dim(q);
    uint32_t(*paths)[MOST][8] = calloc(2, sizeof *paths);
    float(*rates)[MOST] = calloc(2, sizeof *rates);
    float *residuals[2] = {malloc(MOST * d * sizeof(float)), malloc(MOST * d * sizeof(float))};
    size_t count = 1;
    memcpy(residuals[0], x, d * sizeof *x);
    for (uint32_t l = 0; l < levels; l++) {
        const uint32_t k = vq_quantizer_k(q, l), now = l % 2, then = 1 - now;
        const float *codewords = vq_codebook_codewords(vq_quantizer_codebook(q, l));
        candidate *all = malloc(count * k * sizeof *all);
        for (uint32_t p = 0; p < count; p++)
            for (uint32_t c = 0; c < k; c++) {
                const float rate = costs ? rates[now][p] + costs[l][c] : 0,
                            score = distance(residuals[now] + (size_t)p * d,
                                             codewords + (size_t)c * d, d) +
                                    rate;
                all[(size_t)p * k + c] =
                    (candidate){score < INFINITY ? score : INFINITY, rate, p, c};
            }
        qsort(all, count * k, sizeof *all, by_score);
        count = count * k < beam ? count * k : beam;
        for (size_t i = 0; i < count; i++) {
            const candidate it = all[i];
            memcpy(paths[then][i], paths[now][it.parent], sizeof paths[then][i]);
            paths[then][i][l] = it.code;
            rates[then][i] = it.rate;
            for (uint32_t j = 0; j < d; j++)
                residuals[then][i * d + j] =
                    residuals[now][(size_t)it.parent * d + j] - codewords[(size_t)it.code * d + j];
        }
        free(all);
    }
    memcpy(codes, paths[levels % 2][0], levels * sizeof *codes);
    free(residuals[0]);
    free(residuals[1]);
    free(rates);
    free(paths);
}

typedef enum family { UNIFORM, LATTICE, FAR, HUGE, TINY, LOUD_AND_QUIET, FAMILIES } family;

static void fill(float *x, size_t count, family kind, double scale, uint64_t *seed)
{
    for (size_t i = 0; i < count; i++) {
        const double u = test_uniform(seed) + test_uniform(seed) - 1;
        x[i] = (float)(kind == LATTICE          ? floor(u * 3) * scale /* ties */
                       : kind == FAR            ? 1000 + u * scale
                       : kind == HUGE           ? u * scale * 0x1p62
                       : kind == TINY           ? u * scale * 0x1p-120
                       : kind == LOUD_AND_QUIET ? u * scale * exp2(-(double)(i / 33 % 14))
                                                : u * scale);
    }
}

static vq_quantizer *make(const uint32_t *sizes, uint32_t levels, uint32_t d, family kind,
                          uint64_t seed)
{
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    vq_quantizer *q;
    uint64_t *counts[VQ_MAX_LEVELS];
    for (uint32_t l = 0; l < levels; l++) {
        float *codewords = malloc((size_t)sizes[l] * d * sizeof *codewords);
        fill(codewords, (size_t)sizes[l] * d, l && kind == FAR ? UNIFORM : kind, pow(0.7, l),
             &seed);
        assert_ok(vq_codebook_create(&codebooks[l], codewords, sizes[l], d, VQ_METRIC_EUCLIDEAN,
                                     VQ_DTYPE_F32));
        free(codewords);
        counts[l] = malloc(sizes[l] * sizeof **counts);
        for (uint32_t c = 0; c < sizes[l]; c++)
            counts[l][c] = test_random(&seed) % (c % 3 ? 50 : 2000);
    }
    assert_ok(vq_residual_create(&q, codebooks, levels));
    assert_null(vq_quantizer_frequencies(q, 0));
    assert_ok(vq_residual_set_frequencies(q, (const uint64_t *const *)counts));
    for (uint32_t l = 0; l < levels; l++) {
        assert_memory_equal(vq_quantizer_frequencies(q, l), counts[l], sizes[l] * sizeof **counts);
        free(counts[l]);
    }
    assert_null(vq_quantizer_frequencies(q, levels));
    return q;
}

/* lambda x length, rounded down to 2^-16 bit as the header says; which agrees with log2() but for rounding. */
static void make_costs(float **costs, const vq_quantizer *q, float lambda)
{
    for (uint32_t l = 0; l < vq_quantizer_levels(q); l++) {
        const uint32_t k = vq_quantizer_k(q, l);
        const uint64_t *counts = vq_quantizer_frequencies(q, l);
        uint64_t sum = k;
        for (uint32_t c = 0; c < k; c++)
            sum += counts[c];
        costs[l] = malloc(k * sizeof **costs);
        for (uint32_t c = 0; c < k; c++) {
            const double fixed =
                floor(log2((double)sum) * 65536) - floor(log2((double)counts[c] + 1) * 65536);
            costs[l][c] = lambda * (float)(fixed / 65536);
            assert_true(fabs(fixed / 65536 - code_length(counts, k, c)) < 1e-4);
        }
    }
}

static void check(const vq_quantizer *q, const float *x, size_t n, uint32_t levels, uint32_t beam,
                  float lambda)
{
    float *costs[VQ_MAX_LEVELS];
    uint32_t *expected = malloc(n * levels * sizeof *expected),
             *codes = malloc(n * levels * sizeof *codes);
    make_costs(costs, q, lambda);
    for (size_t i = 0; i < n; i++)
        reference(expected + i * levels, q, levels, beam, lambda > 0 ? costs : NULL,
                  x + i * vq_quantizer_dim(q));
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = levels;
    opts.beam = beam;
    opts.lambda = lambda;
    for (size_t m = 0; m < COUNT(masks); m++)
        for (int threads = 1; threads < 8; threads += 3) {
            vq_cpu_set_mask(masks[m]);
            opts.threads = threads;
            memset(codes, 0xff, n * levels * sizeof *codes);
            assert_ok(vq_quantize(codes, q, x, n, &opts));
            for (size_t i = 0; i < n * levels; i++)
                if (codes[i] != expected[i])
                    fail_msg("mask %u, %d threads, beam %u, lambda %g, row %zu of %zu, level %zu: "
                             "code %u, not %u",
                             masks[m], threads, beam, (double)lambda, i / levels, n, i % levels,
                             codes[i], expected[i]);
        }
    vq_cpu_set_mask(UINT32_MAX);
    for (uint32_t l = 0; l < vq_quantizer_levels(q); l++)
        free(costs[l]);
    free(expected);
    free(codes);
}

static void the_codes_are_those_of_the_contract(void **state)
{
    (void)state;
    static const struct {
        uint32_t d, levels, sizes[5];
    } shapes[] = {{1, 2, {3, 2}},
                  {8, 3, {70, 5, 130}},
                  {20, 5, {64, 300, 17, 1, 64}},
                  {33, 3, {1000, 1100, 90}}};
    static const uint32_t beams[] = {1, 2, 5, 64};
    enum { N = 11 };
    uint64_t seed = 3;
    for (int kind = 0; kind < FAMILIES; kind++)
        for (size_t s = 0; s < COUNT(shapes); s++) {
            const uint32_t d = shapes[s].d;
            vq_quantizer *q =
                make(shapes[s].sizes, shapes[s].levels, d, (family)kind, (uint64_t)kind + s);
            float *x = malloc((size_t)N * d * sizeof *x);
            fill(x, (size_t)N * d, (family)kind, 1.5, &seed);
            for (size_t j = 0; j < d; j++) /* rows far from the codewords, and none at all */
                x[3 * d + j] *= 1e4f;
            memset(x + 4 * d, 0, d * sizeof *x);
            for (size_t i = 0; i < 2 * COUNT(beams); i++) {
                const size_t b = i % COUNT(beams);
                const uint32_t levels = b == 1 ? 2 : shapes[s].levels;
                if (i == COUNT(beams)) /* the same again from tables */
                    assert_ok(vq_residual_prepare(q, 0));
                check(q, x, N, levels, beams[b], 0);
                check(q, x, N, levels, beams[b], kind == UNIFORM && b % 2 ? 0.05f : 3);
            }
            free(x);
            vq_quantizer_free(q);
        }
}

/* Who adds a level at a time and keeps the prefixes has the codes of who begins at the first level again. */
static void a_level_at_a_time_is_the_same(void **state)
{
    (void)state;
    enum { D = 24, N = 70, LEVELS = 4 };
    static const uint32_t sizes[LEVELS] = {90, 20, 130, 70}, beams[] = {2, 5, 32};
    static float x[N * D];
    uint32_t codes[N * LEVELS], wanted[N * LEVELS];
    uint64_t seed = 5;
    for (int kind = 0; kind < FAMILIES; kind++) {
        vq_quantizer *q = make(sizes, LEVELS, D, (family)kind, 31);
        fill(x, N * D, (family)kind, 1.3, &seed);
        for (size_t i = 0; i < COUNT(beams) * COUNT(masks); i++) {
            vqi_beam_kept kept;
            vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
            opts.beam = beams[i % COUNT(beams)];
            vq_cpu_set_mask(masks[i / COUNT(beams)]);
            assert_ok(vqi_beam_keep(&kept, N, opts.beam, LEVELS));
            for (uint32_t l = 1; l <= LEVELS; l++) {
                vq_quantizer *some;
                assert_ok(vqi_residual_view(&some, ((vqi_residual *)q)->codebooks, l));
                opts.levels = l;
                assert_ok(vq_quantize(wanted, q, x, N, &opts));
                memset(codes, 0xff, sizeof codes);
                assert_ok(vqi_beam_extend(codes, &kept, some, x, N, 1 + (int)(l % 3)));
                assert_memory_equal(codes, wanted, N * l * sizeof *codes);
                vq_quantizer_free(some);
            }
            vqi_beam_kept_clear(&kept);
        }
        vq_quantizer_free(q);
    }
    vq_cpu_set_mask(UINT32_MAX);
}

/* A beam of 1 is the greedy search, of all codes an exhaustive one; the mean error falls from one to the other. */
static void wider_beams_are_better(void **state)
{
    (void)state;
    enum { N = 600, D = 8, LEVELS = 3 };
    static const uint32_t sizes[LEVELS] = {16, 16, 16};
    vq_quantizer *q = make(sizes, LEVELS, D, UNIFORM, 8);
    float x[N * D], decoded[N * D];
    uint32_t greedy[N * LEVELS], codes[N * LEVELS];
    uint64_t seed = 9;
    fill(x, N * D, UNIFORM, 1.2, &seed);
    assert_ok(vq_quantize(greedy, q, x, N, NULL));
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.beam = 1;
    assert_ok(vq_quantize(codes, q, x, N, &opts));
    assert_memory_equal(codes, greedy, sizeof codes);
    double last = INFINITY;
    for (opts.beam = 1; opts.beam <= 64; opts.beam *= 2) {
        double error = 0;
        assert_ok(vq_quantize(codes, q, x, N, &opts));
        assert_ok(vq_dequantize(decoded, q, codes, N, NULL));
        for (size_t i = 0; i < N * D; i++)
            error += (x[i] - decoded[i]) * (x[i] - decoded[i]);
        assert_true(error <= last);
        last = error;
    }
    vq_quantizer_free(q);
}

/* What lambda buys: fewer bits, at more error, step by step. */
static void bits_fall_as_lambda_rises(void **state)
{
    (void)state;
    enum { N = 500, D = 6, LEVELS = 2 };
    static const uint32_t sizes[LEVELS] = {64, 64};
    vq_quantizer *q = make(sizes, LEVELS, D, UNIFORM, 10);
    float x[N * D], decoded[N * D];
    uint32_t codes[N * LEVELS];
    uint64_t seed = 11;
    fill(x, N * D, UNIFORM, 1.2, &seed);
    double last_error = 0, last_bits = INFINITY;
    for (int step = 0; step < 5; step++) {
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        opts.beam = 8;
        opts.lambda = step ? 0.01f * powf(4, (float)step) : 0;
        assert_ok(vq_quantize(codes, q, x, N, &opts));
        assert_ok(vq_dequantize(decoded, q, codes, N, NULL));
        double error = 0, bits = 0;
        for (size_t i = 0; i < N * D; i++)
            error += (x[i] - decoded[i]) * (x[i] - decoded[i]);
        for (size_t i = 0; i < N * LEVELS; i++)
            bits += code_length(vq_quantizer_frequencies(q, i % LEVELS), 64, codes[i]);
        assert_true(error > last_error && bits < last_bits);
        last_error = error;
        last_bits = bits;
    }
    vq_quantizer_free(q);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    static const uint32_t sizes[2] = {4, 3};
    vq_quantizer *q = make(sizes, 2, 2, UNIFORM, 1), *plain;
    float x[8] = {0.1f, 0.2f, 1, 1, 3, 3, NAN, 1};
    uint32_t codes[8];
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.beam = VQ_MAX_BEAM + 1;
    assert_status(VQ_E_ARG, vq_quantize(codes, q, x, 2, &opts));
    assert_non_null(strstr(vq_last_error(), "beam"));
    assert_int_equal(vq_quantize_workspace_for(q, 2, &opts), 0);
    opts.beam = 4;
    assert_status(VQ_E_NONFINITE, vq_quantize(codes, q, x, 4, &opts));
    assert_non_null(strstr(vq_last_error(), "row 3"));
    static const float wrong[] = {-1, NAN, INFINITY};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        opts.lambda = wrong[i];
        assert_status(VQ_E_ARG, vq_quantize(codes, q, x, 2, &opts));
        assert_non_null(strstr(vq_last_error(), "lambda"));
    }
    opts.lambda = 1;
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, x, 2, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_residual_create(&plain, &codebook, 1));
    assert_status(VQ_E_ARG, vq_quantize(codes, plain, x, 2, &opts));
    assert_non_null(strstr(vq_last_error(), "frequencies"));
    const uint64_t many[2] = {1, (uint64_t)1 << 39}, *counts[1] = {many};
    assert_status(VQ_E_ARG, vq_residual_set_frequencies(plain, counts));
    vq_quantizer_free(plain);
    vq_quantizer_free(q);
}

static void a_workspace_is_enough(void **state)
{
    (void)state;
    enum { N = 100, D = 9 };
    static const uint32_t sizes[3] = {40, 100, 7};
    vq_quantizer *q = make(sizes, 3, D, UNIFORM, 12);
    float x[N * D];
    uint32_t expected[N * 3], codes[N * 3];
    uint64_t seed = 13;
    fill(x, N * D, UNIFORM, 1, &seed);
    for (size_t n = 1; n <= N; n += 33) {
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        opts.beam = 6;
        opts.lambda = 0.1f;
        assert_ok(vq_quantize(expected, q, x, n, &opts));
        opts.workspace_size = vq_quantize_workspace_for(q, n, &opts);
        opts.workspace = aligned_alloc(64, (opts.workspace_size + 127) / 64 * 64);
        memset((char *)opts.workspace + opts.workspace_size, 0x5a, 64);
        test_allocator a = {0, 0, 0, true};
        const vq_allocator allocator = {failing_alloc, failing_free, &a};
        vq_set_allocator(&allocator);
        const vq_status status = vq_quantize(codes, q, x, n, &opts);
        vq_set_allocator(NULL);
        assert_ok(status);
        assert_int_equal(a.calls, 0);
        assert_memory_equal(codes, expected, n * 3 * sizeof *codes);
        for (int i = 0; i < 64; i++)
            assert_int_equal(((unsigned char *)opts.workspace)[opts.workspace_size + (size_t)i],
                             0x5a);
        opts.workspace_size -= 64;
        assert_status(VQ_E_ARG, vq_quantize(codes, q, x, n, &opts));
        free(opts.workspace);
    }
    vq_quantizer_free(q);
}

/* To damage. */
static vq_tensor *tensor_named(const vq_tensors *tensors, const char *name)
{
    const vq_tensor *found = vq_tensors_find(tensors, name);
    vq_tensor *tensor;
    assert_non_null(found);
    memcpy(&tensor, &found, sizeof tensor);
    return tensor;
}

static void frequencies_are_saved(void **state)
{
    (void)state;
    static const uint32_t sizes[2] = {5, 9};
    vq_quantizer *q = make(sizes, 2, 3, UNIFORM, 14), *again;
    vq_tensors *tensors;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_quantizer_save(tensors, q, "a."));
    assert_ok(vq_quantizer_load(&again, tensors, "a.", NULL));
    for (uint32_t l = 0; l < 2; l++)
        assert_memory_equal(vq_quantizer_frequencies(again, l), vq_quantizer_frequencies(q, l),
                            sizes[l] * sizeof(uint64_t));
    vq_quantizer_free(again);
    vq_tensor *tensor = tensor_named(tensors, "a.frequency.1");
    ((uint64_t *)tensor->data)[3] = UINT64_MAX;
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&again, tensors, "a.", NULL));
    assert_null(again);
    ((uint64_t *)tensor->data)[3] = 1;
    tensor->dtype = VQ_DTYPE_I64;
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&again, tensors, "a.", NULL));
    tensor->dtype = VQ_DTYPE_U64;
    tensor->shape[0] = 8;
    assert_status(VQ_E_FORMAT, vq_quantizer_load(&again, tensors, "a.", NULL));
    tensor->shape[0] = 9;
    assert_ok(vq_quantizer_load(&again, tensors, "a.", NULL));
    vq_quantizer_free(again);
    vq_tensors_free(tensors);
    vq_quantizer_free(q);
}

static vq_status encode_save_load(void *context)
{
    (void)context;
    static const float codewords[8] = {1, 2, 3, 4, -1, 0, 0, 5};
    static const uint64_t counts[4] = {3, 0, 7, 1}, *const both[2] = {counts, counts};
    vq_codebook *codebooks[2] = {NULL, NULL};
    vq_quantizer *q = NULL, *again = NULL;
    vq_tensors *tensors = NULL;
    uint32_t codes[8];
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.beam = 3;
    opts.lambda = 0.5f;
    vq_status status =
        vq_codebook_create(&codebooks[0], codewords, 4, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    if (!status)
        status =
            vq_codebook_create(&codebooks[1], codewords, 4, 2, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    if (!status)
        status = vq_residual_create(&q, codebooks, 2);
    if (!q) {
        vq_codebook_free(codebooks[0]);
        vq_codebook_free(codebooks[1]);
    }
    if (!status)
        status = vq_residual_set_frequencies(q, both);
    if (!status)
        status = vq_quantize(codes, q, codewords, 4, &opts);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_quantizer_save(tensors, q, "");
    if (!status)
        status = vq_quantizer_load(&again, tensors, "", NULL);
    vq_quantizer_free(q);
    vq_quantizer_free(again);
    vq_tensors_free(tensors);
    return status;
}

static void no_memory(void **state)
{
    (void)state;
    test_allocation_failures(encode_save_load, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_codes_are_those_of_the_contract),
        cmocka_unit_test(a_level_at_a_time_is_the_same),
        cmocka_unit_test(wider_beams_are_better),
        cmocka_unit_test(bits_fall_as_lambda_rises),
        cmocka_unit_test(bad_options_are_named),
        cmocka_unit_test(a_workspace_is_enough),
        cmocka_unit_test(frequencies_are_saved),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
