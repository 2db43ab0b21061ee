/* SPDX-License-Identifier: Apache-2.0 */
/* Every kernel set and filter against a plain reading of the contract in vq/codebook.h. */
#include <float.h>
#include <math.h>
#include <omp.h>

#include "test_support.h"
#include "vq/nearest_internal.h"

enum { GUARD = 64, GUARD_BYTE = 0xa5 };

static const vq_metric metrics[] = {VQ_METRIC_EUCLIDEAN, VQ_METRIC_COSINE, VQ_METRIC_DOT};
static const uint32_t masks[] = {0, VQ_CPU_AVX2, VQ_CPU_AVX2 | VQ_CPU_AVX512,
                                 VQ_CPU_AVX2 | VQ_CPU_AVX512 | VQ_CPU_VNNI,
                                 VQ_CPU_AVX2 | VQ_CPU_AVX512 | VQ_CPU_AMX};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static float reference_score(vq_metric metric, const float *x, const float *c, uint32_t d)
{
    float p[8] = {0};
    for (uint32_t i = 0; i < d; i++) {
        const float difference = x[i] - c[i];
        p[i % 8] += metric == VQ_METRIC_EUCLIDEAN ? difference * difference : x[i] * c[i];
    }
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

static void reference(uint32_t *code, float *score, const vq_codebook *codebook, const float *x)
{
    const vq_metric metric = vq_codebook_metric(codebook);
    const uint32_t k = vq_codebook_k(codebook), d = vq_codebook_dim(codebook);
    const float *codewords = vq_codebook_codewords(codebook);
    float best = metric == VQ_METRIC_EUCLIDEAN ? INFINITY : -INFINITY;
    *code = 0;
    for (uint32_t c = 0; c < k; c++) {
        const float s = reference_score(metric, x, codewords + (size_t)c * d, d);
        if (metric == VQ_METRIC_EUCLIDEAN ? s < best : s > best) {
            best = s;
            *code = c;
        }
    }
    *score = reference_score(metric, x, codewords + (size_t)*code * d, d);
}

static float gaussian(uint64_t *state)
{
    const double radius = sqrt(-2 * log(1 - test_uniform(state)));
    return (float)(radius * cos(6.283185307179586 * test_uniform(state)));
}

static void fill_gaussian(float *x, size_t count, uint64_t *state)
{
    for (size_t i = 0; i < count; i++)
        x[i] = gaussian(state);
}

static void assert_same_scores(const float *expected, const float *actual, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(expected + i, actual + i, sizeof *actual))
            fail_msg("row %zu: score %a, not %a", i, (double)actual[i], (double)expected[i]);
}

static void assert_same_codes(const uint32_t *expected, const uint32_t *actual, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (expected[i] != actual[i])
            fail_msg("row %zu: code %u, not %u", i, actual[i], expected[i]);
}

static void assert_guards(const unsigned char *block, size_t bytes)
{
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(block[i], GUARD_BYTE);
        assert_int_equal(block[GUARD + bytes + i], GUARD_BYTE);
    }
}

/* Search into guarded arrays and compare with what the reference said. */
static void check_search(const vq_codebook *codebook, const float *x, size_t n,
                         const uint32_t *codes, const float *scores, int exhaustive)
{
    const size_t bytes = n * 4;
    unsigned char *code_block = malloc(bytes + 2 * GUARD), *score_block = malloc(bytes + 2 * GUARD);
    memset(code_block, GUARD_BYTE, bytes + 2 * GUARD);
    memset(score_block, GUARD_BYTE, bytes + 2 * GUARD);
    uint32_t *found = (uint32_t *)(void *)(code_block + GUARD);
    float *found_scores = (float *)(void *)(score_block + GUARD);
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    opts.exhaustive = exhaustive;
    assert_ok(vq_nearest(found, found_scores, codebook, x, n, &opts));
    assert_same_codes(codes, found, n);
    assert_same_scores(scores, found_scores, n);
    assert_guards(score_block, bytes);
    memset(found, GUARD_BYTE, bytes);
    assert_ok(vq_nearest(found, NULL, codebook, x, n, &opts));
    assert_same_codes(codes, found, n);
    assert_guards(code_block, bytes);
    free(code_block);
    free(score_block);
}

static void every_kernel_set_gives_the_contract_bits(void **state)
{
    (void)state;
    static const uint32_t ds[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 64, 100, 192};
    static const uint32_t ks[] = {1, 2, 3, 17, 64, 1000};
    static const size_t ns[] = {1, 5, 33};
    uint64_t seed = 1;
    size_t compared = 0, offset = 0;
    for (size_t di = 0; di < COUNT(ds); di++)
        for (size_t ki = 0; ki < COUNT(ks); ki++)
            for (size_t mi = 0; mi < COUNT(metrics); mi++) {
                const uint32_t d = ds[di], k = ks[ki];
                float *codewords = malloc((size_t)k * d * sizeof(float));
                fill_gaussian(codewords, (size_t)k * d, &seed);
                vq_codebook *codebook;
                assert_ok(
                    vq_codebook_create(&codebook, codewords, k, d, metrics[mi], VQ_DTYPE_F32));
                for (size_t ni = 0; ni < COUNT(ns); ni++) {
                    /* The block ends where the rows end, so that a sanitizer sees a read beyond. */
                    const size_t n = ns[ni];
                    offset = (offset + 1) % 16;
                    float *block = malloc((offset + n * d) * sizeof(float));
                    float *x = block + offset;
                    fill_gaussian(x, n * d, &seed);
                    uint32_t codes[33];
                    float scores[33];
                    for (size_t i = 0; i < n; i++)
                        reference(codes + i, scores + i, codebook, x + i * d);
                    for (size_t m = 0; m < COUNT(masks); m++) {
                        vq_cpu_set_mask(masks[m]);
                        if (vq_cpu_flags() != masks[m])
                            continue;
                        check_search(codebook, x, n, codes, scores, 1);
                        check_search(codebook, x, n, codes, scores, 0);
                        compared += 4 * n;
                    }
                    free(block);
                }
                vq_codebook_free(codebook);
                free(codewords);
            }
    vq_cpu_set_mask(UINT32_MAX);
    assert_true(compared >= 10000);
}

/* The kinds of data on which a bound could be wrong. */
typedef enum family {
    GAUSSIAN,
    OFFSET,
    FEW_DISTINCT,
    DENORMAL,
    SQUARES_UNDERFLOW,
    HUGE_VALUES,
    ONE_ULP,
    CONSTANT,
    INTEGERS,
    MIXED_SCALES,
    TOO_LARGE,
    FAMILIES
} family;

static float value(family kind, size_t row, size_t column, uint64_t *state)
{
    const float g = gaussian(state);
    switch (kind) {
    case OFFSET:
        return 1e4f + g;
    case FEW_DISTINCT: /* one of 7 vectors */
        return (float)((row * 2654435761u >> 7) % 7) + (float)(column % 5);
    case DENORMAL:
        return g * 1e-41f;
    case SQUARES_UNDERFLOW:
        return g * 1e-21f;
    case HUGE_VALUES:
        return g * 1e15f;
    case ONE_ULP:
        return test_random(state) % 16 ? 1.5f : nextafterf(1.5f, 2);
    case CONSTANT:
        return (float)(row % 50) * 0.1f;
    case INTEGERS:
        return (float)(int)(test_random(state) % 3);
    case MIXED_SCALES:
        return g * powf(10, (float)(row % 61) - 30);
    case TOO_LARGE: /* distances overflow */
        return g * (row % 3 ? 1e38f / 5 : 1e30f);
    default:
        return g;
    }
}

static void fill(float *x, size_t n, uint32_t d, family kind, uint64_t *state)
{
    for (size_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < d; j++)
            x[i * d + j] = value(kind, i, j, state);
}

/* A shortlist of all rows at once, in `slices` parts of the codebook, with a filter that vq_nearest() might not choose. */
static void check_filter(const vq_codebook *codebook, const vqi_kernels *kernels,
                         const vqi_filter *coarse, const float *x, size_t n, size_t slices,
                         const uint32_t *codes, const float *scores)
{
    vq_tensors *memory; /* for 64-byte alignment */
    assert_ok(vq_tensors_create(&memory));
    const size_t bytes = vqi_shortlist_scratch(codebook, n, 1), room = slices * (bytes + GUARD);
    const size_t groups = (vq_codebook_k(codebook) + VQI_GROUP - 1) / VQI_GROUP;
    vq_tensor *scratch;
    assert_ok(vq_tensors_add(&scratch, memory, "scratch", VQ_DTYPE_U8, 1, &room, NULL));
    memset(scratch->data, GUARD_BYTE, room);
    uint32_t found[VQI_BLOCK];
    float found_scores[VQI_BLOCK];
    vqi_shortlist *first = NULL;
    for (size_t s = 0; s < slices; s++) {
        char *own = (char *)scratch->data + s * (bytes + GUARD);
        vqi_shortlist *list = vqi_shortlist_begin(own, codebook, kernels, coarse, x, n, 1);
        vqi_shortlist_search(list, groups * s / slices, groups * (s + 1) / slices);
        if (s)
            vqi_shortlist_merge(first, list);
        else
            first = list;
    }
    vqi_shortlist_finish(first, found, NULL);
    assert_same_codes(codes, found, n);
    memset(found, GUARD_BYTE, sizeof found);
    vqi_shortlist_finish(first, found, found_scores);
    assert_same_codes(codes, found, n);
    assert_same_scores(scores, found_scores, n);
    for (size_t s = 0; s < slices; s++)
        for (size_t i = 0; i < GUARD; i++)
            assert_int_equal(((unsigned char *)scratch->data)[s * (bytes + GUARD) + bytes + i],
                             GUARD_BYTE);
    vq_tensors_free(memory);
}

/* Every filter, whether or not it would pay. */
static void check_shortlist(const vq_codebook *codebook, const float *x, size_t n,
                            const uint32_t *codes, const float *scores)
{
    for (size_t m = 0; m < COUNT(masks); m++) {
        vq_cpu_set_mask(masks[m]);
        if (vq_cpu_flags() != masks[m] || !(codebook->largest_norm <= VQI_LARGEST_NORM))
            continue;
        const vqi_kernels kernels = vqi_nearest_kernels(codebook);
        const vqi_filter *coarse = NULL;
#if defined(__x86_64__)
        coarse = masks[m] & VQ_CPU_VNNI  ? &vqi_filter_vnni
                 : masks[m] & VQ_CPU_AMX ? &vqi_filter_amx
                                         : NULL;
#endif
        check_filter(codebook, &kernels, coarse, x, n, 1, codes, scores);
        check_filter(codebook, &kernels, coarse, x, n, 3, codes, scores);
    }
    vq_cpu_set_mask(UINT32_MAX);
}

static void the_shortlist_never_loses_the_answer(void **state)
{
    (void)state;
    static const uint32_t shapes[][2] = {{65, 8}, {256, 24}, {100, 64}, {1500, 33}, {2100, 5}};
    uint64_t seed = 2;
    for (int kind = 0; kind < FAMILIES; kind++)
        for (size_t s = 0; s < COUNT(shapes); s++)
            for (size_t mi = 0; mi < COUNT(metrics); mi++) {
                const uint32_t k = shapes[s][0], d = shapes[s][1];
                const size_t n = s % 2 ? 96 : 91;
                float *codewords = malloc((size_t)k * d * sizeof(float));
                float *x = malloc(n * d * sizeof(float));
                fill(codewords, k, d, (family)kind, &seed);
                fill(x, n, d, (family)kind, &seed);
                if (metrics[mi] == VQ_METRIC_COSINE) /* no zero codewords */
                    for (uint32_t c = 0; c < k; c++)
                        codewords[(size_t)c * d] += codewords[(size_t)c * d] == 0;
                vq_codebook *codebook;
                assert_ok(
                    vq_codebook_create(&codebook, codewords, k, d, metrics[mi], VQ_DTYPE_F32));
                uint32_t codes[VQI_BLOCK];
                float scores[VQI_BLOCK];
                for (size_t i = 0; i < n; i++)
                    reference(codes + i, scores + i, codebook, x + i * d);
                check_shortlist(codebook, x, n, codes, scores);
                vq_codebook_free(codebook);
                free(codewords);
                free(x);
            }
}

/* Rows halfway between two codewords, up to rounding: the contract's own errors decide. */
static void the_shortlist_keeps_near_ties(void **state)
{
    (void)state;
    enum { K = 128, D = 48, N = VQI_BLOCK };
    static float codewords[K * D], x[N * D];
    uint64_t seed = 3;
    for (size_t mi = 0; mi < COUNT(metrics); mi++)
        for (int offset = 0; offset <= 10000; offset += 500 + 9 * offset) {
            for (size_t i = 0; i < K * D; i++)
                codewords[i] = gaussian(&seed) + (float)offset;
            for (size_t i = 0; i < N; i++) {
                const float *a = codewords + test_random(&seed) % K * D;
                const float *b = codewords + test_random(&seed) % K * D;
                for (size_t j = 0; j < D; j++)
                    x[i * D + j] = 0.5f * (a[j] + b[j]);
            }
            vq_codebook *codebook;
            assert_ok(vq_codebook_create(&codebook, codewords, K, D, metrics[mi], VQ_DTYPE_F32));
            uint32_t codes[N];
            float scores[N];
            for (size_t i = 0; i < N; i++)
                reference(codes + i, scores + i, codebook, x + i * D);
            check_shortlist(codebook, x, N, codes, scores);
            vq_codebook_free(codebook);
        }
}

/* 12800 real hidden states of 128 elements; 1024 of them are the codebook. */
static void real_features_have_the_same_codes_on_every_path(void **state)
{
    (void)state;
    enum { K = 1024, D = 128, N = 3000, HEADER = 128 };
    FILE *file = fopen(test_data("lm/charrnn_shakespeare/hidden.npy"), "rb");
    float *x = malloc(sizeof(float) * (N + K) * D);
    assert_int_equal(fseek(file, HEADER, SEEK_SET), 0);
    assert_int_equal(fread(x, sizeof(float) * D, N + K, file), N + K);
    fclose(file);
    vq_codebook *codebook;
    assert_ok(vq_codebook_create(&codebook, x + N * D, K, D, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    uint32_t *expected = malloc(N * sizeof *expected), *codes = malloc(N * sizeof *codes);
    for (size_t m = 0; m < COUNT(masks); m++) {
        vq_cpu_set_mask(masks[m]);
        vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
        opts.exhaustive = m == 0;
        assert_ok(vq_nearest(m ? codes : expected, NULL, codebook, x, N, &opts));
        if (m)
            assert_same_codes(expected, codes, N);
    }
    vq_cpu_set_mask(UINT32_MAX);
    vq_codebook_free(codebook);
    free(expected);
    free(codes);
    free(x);
}

typedef struct problem {
    vq_codebook *codebook;
    float *x;
    size_t n;
} problem;

/* Large enough for several threads. */
static problem make_problem(uint32_t k, uint32_t d, size_t n, vq_metric metric)
{
    problem p = {NULL, malloc(n * d * sizeof(float)), n};
    float *codewords = malloc((size_t)k * d * sizeof(float));
    uint64_t seed = 4;
    fill_gaussian(codewords, (size_t)k * d, &seed);
    fill_gaussian(p.x, n * d, &seed);
    assert_ok(vq_codebook_create(&p.codebook, codewords, k, d, metric, VQ_DTYPE_F32));
    free(codewords);
    return p;
}

static void free_problem(problem *p)
{
    vq_codebook_free(p->codebook);
    free(p->x);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7, 0};
    problem p = make_problem(400, 48, 3001, VQ_METRIC_EUCLIDEAN);
    uint32_t *expected = malloc(p.n * sizeof *expected), *codes = malloc(p.n * sizeof *codes);
    float *expected_scores = malloc(p.n * sizeof(float)), *scores = malloc(p.n * sizeof(float));
    for (size_t i = 0; i < p.n; i++)
        reference(expected + i, expected_scores + i, p.codebook, p.x + i * 48);
    for (size_t m = 0; m < COUNT(masks); m++)
        for (size_t t = 0; t < COUNT(threads); t++) {
            vq_cpu_set_mask(masks[m]);
            vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
            opts.threads = threads[t];
            assert_ok(vq_nearest(codes, scores, p.codebook, p.x, p.n, &opts));
            assert_same_codes(expected, codes, p.n);
            assert_same_scores(expected_scores, scores, p.n);
        }
    vq_cpu_set_mask(UINT32_MAX);
    free(expected);
    free(codes);
    free(expected_scores);
    free(scores);
    free_problem(&p);
}

static void the_first_row_that_is_not_finite_is_named(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    problem p = make_problem(400, 48, 1000, VQ_METRIC_EUCLIDEAN);
    uint32_t codes[1000];
    for (size_t b = 0; b < COUNT(bad); b++)
        for (int exhaustive = 0; exhaustive < 2; exhaustive++)
            for (uint32_t column = 0; column < 48; column += 47) {
                float *low = p.x + 321 * 48 + column, *high = p.x + 999 * 48 + column;
                const float kept[2] = {*low, *high};
                *low = *high = bad[b];
                vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
                opts.exhaustive = exhaustive;
                opts.threads = 2;
                assert_status(VQ_E_NONFINITE, vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts));
                assert_non_null(strstr(vq_last_error(), "row 321 "));
                *low = kept[0];
                *high = kept[1];
            }
    assert_ok(vq_nearest(codes, NULL, p.codebook, p.x, p.n, NULL));
    free_problem(&p);
}

static void a_workspace_is_enough_and_is_checked(void **state)
{
    (void)state;
    problem p = make_problem(400, 48, 1000, VQ_METRIC_EUCLIDEAN);
    uint32_t codes[1000], expected[1000];
    assert_ok(vq_nearest(expected, NULL, p.codebook, p.x, p.n, NULL));
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    opts.threads = 2;
    opts.workspace_size = vq_nearest_workspace(p.codebook, p.n, 2);
    assert_true(opts.workspace_size > 0);
    opts.workspace = aligned_alloc(64, opts.workspace_size);

    test_allocator a = {0, 0, 0, true};
    const vq_allocator failing = {failing_alloc, failing_free, &a};
    vq_set_allocator(&failing);
    const vq_status whole = vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts);
    /* One made for n serves any fewer. */
    vq_status fewer = VQ_OK;
    for (size_t n = 1; n < p.n && !fewer; n += 13)
        fewer = vq_nearest(codes, NULL, p.codebook, p.x, n, &opts);
    vq_set_allocator(NULL);
    assert_status(VQ_OK, whole);
    assert_status(VQ_OK, fewer);
    assert_int_equal(a.calls, 0);
    assert_same_codes(expected, codes, p.n);

    opts.workspace_size--;
    assert_status(VQ_E_ARG, vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts));
    opts.workspace_size++;
    void *aligned = opts.workspace;
    opts.workspace = (char *)aligned + 4;
    assert_status(VQ_E_ARG, vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts));
    free(aligned);
    free_problem(&p);
    vq_cpu_set_mask(UINT32_MAX);
}

static vq_status search_once(void *context)
{
    const problem *p = context;
    uint32_t codes[1000];
    return vq_nearest(codes, NULL, p->codebook, p->x, p->n, NULL);
}

static void a_failed_allocation_is_reported(void **state)
{
    (void)state;
    problem p = make_problem(400, 48, 1000, VQ_METRIC_EUCLIDEAN);
    test_allocation_failures(search_once, &p);
    free_problem(&p);
    vq_cpu_set_mask(UINT32_MAX);
}

static void a_search_leaves_the_settings_of_openmp_alone(void **state)
{
    (void)state;
    problem p = make_problem(400, 48, 1000, VQ_METRIC_EUCLIDEAN);
    uint32_t codes[1000];
    const int before = omp_get_max_threads();
    omp_set_num_threads(3);
    for (int threads = 0; threads < 3; threads++) {
        vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
        opts.threads = threads;
        assert_ok(vq_nearest(codes, NULL, p.codebook, p.x, p.n, &opts));
        assert_int_equal(omp_get_max_threads(), 3);
    }
    omp_set_num_threads(before);
    free_problem(&p);
    vq_cpu_set_mask(UINT32_MAX);
}

typedef struct ranked {
    float key; /* smaller is better; infinity = overflowed */
    float score;
    uint32_t code;
} ranked;

static int by_rank(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->code < b->code ? -1 : a->code > b->code;
}

static void reference_ranks(ranked *ranks, const vq_codebook *codebook, const float *x)
{
    const vq_metric metric = vq_codebook_metric(codebook);
    const uint32_t k = vq_codebook_k(codebook), d = vq_codebook_dim(codebook);
    for (uint32_t c = 0; c < k; c++) {
        const float s =
            reference_score(metric, x, vq_codebook_codewords(codebook) + (size_t)c * d, d);
        const float key = metric == VQ_METRIC_EUCLIDEAN ? s : -s;
        ranks[c] = (ranked){key < INFINITY ? key : INFINITY, s, c};
    }
    qsort(ranks, k, sizeof *ranks, by_rank);
}

/* All kinds of data, all metrics, every kernel set: the k nearest in their order. */
static void the_k_nearest_are_those_of_the_contract(void **state)
{
    (void)state;
    static const uint32_t shapes[][2] = {{64, 3}, {700, 20}, {1100, 33}};
    static const uint32_t counts[] = {1, 2, 5, 64};
    enum { N = 7, MOST = 1100 };
    static ranked ranks[N * MOST];
    uint64_t seed = 5;
    for (int kind = 0; kind < FAMILIES; kind++)
        for (size_t s = 0; s < COUNT(shapes); s++)
            for (size_t mi = 0; mi < COUNT(metrics); mi++) {
                const uint32_t k = shapes[s][0], d = shapes[s][1];
                float *codewords = malloc((size_t)k * d * sizeof(float));
                float *x = malloc((size_t)N * d * sizeof(float));
                fill(codewords, k, d, (family)kind, &seed);
                fill(x, N, d, (family)kind, &seed);
                if (metrics[mi] == VQ_METRIC_COSINE)
                    for (uint32_t c = 0; c < k; c++)
                        codewords[(size_t)c * d] += codewords[(size_t)c * d] == 0;
                vq_codebook *codebook;
                assert_ok(
                    vq_codebook_create(&codebook, codewords, k, d, metrics[mi], VQ_DTYPE_F32));
                for (size_t i = 0; i < N; i++)
                    reference_ranks(ranks + i * MOST, codebook, x + i * d);
                for (size_t m = 0; m < COUNT(masks); m++)
                    for (size_t ci = 0; ci < COUNT(counts); ci++) {
                        vq_cpu_set_mask(masks[m]);
                        const uint32_t count = counts[ci];
                        uint32_t codes[N * 64];
                        float scores[N * 64];
                        vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
                        opts.exhaustive = (int)(ci + m) % 3 == 0;
                        assert_ok(vq_nearest_k(codes, scores, codebook, x, N, count, &opts));
                        for (size_t i = 0; i < N; i++)
                            for (uint32_t j = 0; j < count; j++) {
                                const ranked *rank = &ranks[i * MOST + j];
                                assert_int_equal(codes[i * count + j], rank->code);
                                if (!isnan(rank->score))
                                    assert_same_scores(&rank->score, &scores[i * count + j], 1);
                            }
                    }
                vq_cpu_set_mask(UINT32_MAX);
                vq_codebook_free(codebook);
                free(codewords);
                free(x);
            }
}

/* With few rows the threads share out the codewords. */
static void one_row_is_searched_by_all_threads_alike(void **state)
{
    (void)state;
    enum { K = 20000, D = 24, N = 70 };
    problem p = make_problem(K, D, N, VQ_METRIC_EUCLIDEAN);
    uint32_t expected[N], codes[N * 3];
    float expected_scores[N], scores[N * 3];
    for (size_t i = 0; i < N; i++)
        reference(expected + i, expected_scores + i, p.codebook, p.x + i * D);
    for (size_t m = 0; m < COUNT(masks); m++)
        for (int threads = 1; threads < 8; threads += 2)
            for (size_t n = 1; n <= N; n += 1 + n / 2) {
                vq_cpu_set_mask(masks[m]);
                vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
                opts.threads = threads;
                assert_ok(vq_nearest(codes, scores, p.codebook, p.x, n, &opts));
                assert_same_codes(expected, codes, n);
                assert_same_scores(expected_scores, scores, n);
                assert_ok(vq_nearest_k(codes, scores, p.codebook, p.x, n, 3, &opts));
                for (size_t i = 0; i < n; i++)
                    assert_int_equal(codes[3 * i], expected[i]);
            }
    vq_cpu_set_mask(UINT32_MAX);
    p.x[3 * D] = NAN;
    assert_status(VQ_E_NONFINITE, vq_nearest(codes, NULL, p.codebook, p.x, 5, NULL));
    assert_non_null(strstr(vq_last_error(), "row 3 "));
    free_problem(&p);
}

static void long_vectors_have_the_contract_codes(void **state)
{
    (void)state;
    enum { K = 130, N = 40 };
    static const uint32_t ds[] = {1000, 4096};
    for (size_t di = 0; di < COUNT(ds); di++) {
        problem p = make_problem(K, ds[di], N, VQ_METRIC_EUCLIDEAN);
        uint32_t codes[N];
        float scores[N];
        for (size_t i = 0; i < N; i++)
            reference(codes + i, scores + i, p.codebook, p.x + i * ds[di]);
        check_shortlist(p.codebook, p.x, N, codes, scores);
        free_problem(&p);
    }
}

static void edges_of_the_call(void **state)
{
    (void)state;
    problem p = make_problem(3, 4, 2, VQ_METRIC_COSINE);
    uint32_t codes[2] = {9, 9};
    float scores[2];
    assert_ok(vq_nearest(codes, scores, p.codebook, NULL, 0, NULL));
    assert_int_equal(codes[0], 9);
    memset(p.x, 0,
           4 * sizeof(float)); /* no direction: every score is 0, and the lowest code wins */
    assert_ok(vq_nearest(codes, scores, p.codebook, p.x, 2, NULL));
    assert_int_equal(codes[0], 0);
    assert_true(scores[0] == 0);
    vq_search_opts opts = VQ_SEARCH_OPTS_INIT;
    opts.threads = -1;
    assert_status(VQ_E_ARG, vq_nearest(codes, scores, p.codebook, p.x, 2, &opts));
    opts = (vq_search_opts){0};
    assert_status(VQ_E_ARG, vq_nearest(codes, scores, p.codebook, p.x, 2, &opts));
    assert_status(VQ_E_ARG, vq_nearest_k(codes, scores, p.codebook, p.x, 1, 0, NULL));
    assert_status(VQ_E_ARG, vq_nearest_k(codes, scores, p.codebook, p.x, 1, 4, NULL));
    free_problem(&p);
    p = make_problem(100, 4, 1, VQ_METRIC_EUCLIDEAN);
    assert_status(VQ_E_ARG, vq_nearest_k(codes, scores, p.codebook, p.x, 1, 65, NULL));
    free_problem(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_set_gives_the_contract_bits),
        cmocka_unit_test(the_shortlist_never_loses_the_answer),
        cmocka_unit_test(the_shortlist_keeps_near_ties),
        cmocka_unit_test(real_features_have_the_same_codes_on_every_path),
        cmocka_unit_test(the_k_nearest_are_those_of_the_contract),
        cmocka_unit_test(one_row_is_searched_by_all_threads_alike),
        cmocka_unit_test(long_vectors_have_the_contract_codes),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(the_first_row_that_is_not_finite_is_named),
        cmocka_unit_test(a_workspace_is_enough_and_is_checked),
        cmocka_unit_test(a_failed_allocation_is_reported),
        cmocka_unit_test(a_search_leaves_the_settings_of_openmp_alone),
        cmocka_unit_test(edges_of_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
