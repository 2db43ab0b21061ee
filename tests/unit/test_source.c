/* SPDX-License-Identifier: Apache-2.0 */
/* Sources of rows, and k-means from them: the same codebook as from memory, whatever the source is made of. */
#include <math.h>

#include "unit/kmeans_support.h"
#include "vq/kmeans_internal.h"
#include "vq/kmeans_pruning_internal.h"

/* A source that checks how it is read. */
typedef struct reader {
    const float *x;
    size_t n, next, held; /* rows in all; where the pass is; rows between read and done */
    uint32_t d;
    unsigned passes;
    size_t fail_at; /* the read that holds this row fails */
    bool own;       /* give own memory, not the buffer */
    int *closed;
} reader;

static vq_status reader_read(void *context, const float **rows, float *buffer, size_t first,
                             size_t count)
{
    reader *r = context;
    if (!first) {
        r->next = 0;
        r->passes++;
    }
    assert_true(first >= r->next && count && first + count <= r->n);
    assert_int_equal(r->held, 0);
    r->next = first + count;
    if (r->fail_at >= first && r->fail_at < first + count)
        return VQ_E_IO;
    r->held = count;
    if (r->own) {
        *rows = r->x + first * r->d;
    } else {
        memcpy(buffer, r->x + first * r->d, count * r->d * sizeof *buffer);
        *rows = buffer;
    }
    return VQ_OK;
}

static void reader_done(void *context, size_t first, size_t count)
{
    reader *r = context;
    assert_int_equal(first + count, r->next);
    assert_int_equal(count, r->held);
    r->held = 0;
}

static void reader_close(void *context)
{
    (*((reader *)context)->closed)++;
}

static vq_source source_of(reader *r)
{
    vq_source source = VQ_SOURCE_INIT;
    source.n = r->n;
    source.d = r->d;
    source.read = reader_read;
    source.done = reader_done;
    source.close = r->closed ? reader_close : NULL;
    source.context = r;
    return source;
}

static void assert_same_training(const vq_source *source, const float *x, size_t n, uint32_t d,
                                 const vq_kmeans_opts *opts)
{
    vq_codebook *expected, *codebook;
    vq_kmeans_report a, b;
    assert_ok(vq_kmeans_train(&expected, &a, x, n, d, opts));
    assert_ok(vq_kmeans_train_source(&codebook, &b, source, opts));
    assert_codewords(codebook, vq_codebook_codewords(expected), (size_t)opts->k * d);
    assert_int_equal(a.iterations, b.iterations);
    assert_memory_equal(a.mse, b.mse, (a.iterations + 1) * sizeof *a.mse);
    assert_int_equal(a.revived, b.revived);
    assert_true(a.entropy_bits == b.entropy_bits);
    vq_kmeans_report_clear(&a);
    vq_kmeans_report_clear(&b);
    vq_codebook_free(expected);
    vq_codebook_free(codebook);
}

/* With and without weights, sampled seeds or not, either metric, hopeless seeds and each empty policy. */
static void test_same_from_any_source(void **state)
{
    (void)state;
    enum { N = 70000, D = 3, K = 24 }; /* two chunks */
    float *x = make_rows(N, D, 3), *weights = malloc(N * sizeof *weights), seeds[K * D];
    assert_non_null(weights);
    uint64_t random = 4;
    for (int i = 0; i < N; i++)
        weights[i] = (float)(test_random(&random) % 3) / 2;
    for (int i = 0; i < K * D; i++)
        seeds[i] = (float)(i / D);
    for (int kind = 0; kind < 16; kind++) {
        reader r = {.x = x, .n = N, .d = D, .fail_at = SIZE_MAX, .own = kind & 1};
        const vq_source source = source_of(&r);
        vq_kmeans_opts opts = options(K);
        opts.max_iterations = 3;
        opts.tolerance = -1;
        opts.weights = kind & 2 ? weights : NULL;
        opts.seeding_rows = kind & 4 ? 500 : 0;
        opts.seeding = kind & 8 ? VQ_SEEDING_RANDOM : VQ_SEEDING_KMEANSPP;
        opts.metric = kind % 3 ? VQ_METRIC_EUCLIDEAN : VQ_METRIC_COSINE;
        opts.seeds = kind >= 13 ? seeds : NULL;
        opts.empty = kind >= 13 ? (vq_empty_policy)(kind - 13) : VQ_EMPTY_FARTHEST;
        if (opts.seeds && opts.metric == VQ_METRIC_COSINE)
            seeds[0] = 1; /* no codeword may be zero */
        assert_same_training(&source, x, N, D, &opts);
        assert_int_equal(r.passes, 5); /* a look, three updates and the result */
        assert_int_equal(r.held, 0);
    }
    free(x);
    free(weights);
}

/* Rows in memory are searched by what moved, others anew in every pass: there is no difference, in many iterations,
 * with ties (whole numbers), codewords that are empty and every storage type. */
static void test_pruning_changes_nothing(void **state)
{
    (void)state;
    enum { N = 3000, D = 3, K = 40 };
    float *x = make_rows(N, D, 31), seeds[K * D];
    for (int kind = 0; kind < 12; kind++) {
        for (int i = 0; i < N * D; i++)
            x[i] = kind & 1 ? nearbyintf(2 * x[i]) : x[i] * 1.01f;
        reader r = {.x = x, .n = N, .d = D, .fail_at = SIZE_MAX};
        const vq_source source = source_of(&r);
        vq_kmeans_opts opts = options(K);
        opts.max_iterations = 90;
        opts.tolerance = -1;
        opts.metric = kind & 2 ? VQ_METRIC_COSINE : VQ_METRIC_EUCLIDEAN;
        opts.storage = (const vq_dtype[]){VQ_DTYPE_F32, VQ_DTYPE_F16, VQ_DTYPE_BF16}[kind / 4];
        opts.empty = (vq_empty_policy)(kind % 3);
        memcpy(seeds, x, sizeof seeds);
        memcpy(seeds + 9 * D, x, D * sizeof *seeds); /* a codeword twice */
        for (int i = 0; i < K; i++)
            seeds[i * D] += seeds[i * D] == 0 ? 1 : 0; /* none is zero */
        opts.seeds = kind & 1 ? seeds : NULL;
        assert_same_training(&source, x, N, D, &opts);
    }
    free(x);
}

/* A search among the codewords that moved has the codes and scores of one among all. */
static void test_pruned_search(void **state)
{
    (void)state;
    enum { N = 2000, D = 2, K = 50, PASSES = 12 };
    float x[N * D], c[K * D], scores[N], expected_scores[N];
    uint32_t codes[N], expected[N];
    uint64_t random = 41;
    unsigned pruned = 0, still = 0;
    for (int i = 0; i < N * D; i++)
        x[i] = (float)(1 + test_random(&random) %
                               12); /* many are as near to one codeword as to another */
    for (int metric = VQ_METRIC_EUCLIDEAN; metric <= VQ_METRIC_COSINE; metric++) {
        const vqi_stats_form form = {K, D, (vq_metric)metric, 5, 0, 0};
        vqi_pruning p;
        vq_kmeans_stats *stats;
        assert_ok(vqi_stats_create(&stats, &form));
        assert_ok(vqi_pruning_create(&p, N, K, D, N));
        for (int i = 0; i < K * D; i++)
            c[i] = (float)(1 + test_random(&random) % 12);
        for (int pass = 0; pass < PASSES; pass++) {
            vq_codebook *codebook;
            assert_ok(vq_codebook_create(&codebook, c, K, D, (vq_metric)metric, VQ_DTYPE_F32));
            assert_ok(vqi_pruning_begin(&p, codebook, stats));
            pruned += p.few != NULL;
            still += p.count == 0;
            for (size_t first = 0; first < N; first += 700) {
                const size_t count = N - first < 700 ? N - first : 700;
                vq_search_opts search = VQ_SEARCH_OPTS_INIT;
                assert_ok(vqi_pruning_search(&p, codes + first, scores + first, codebook,
                                             x + first * D, first, count, &search));
            }
            assert_ok(vq_nearest(expected, expected_scores, codebook, x, N, NULL));
            assert_memory_equal(codes, expected, sizeof codes);
            assert_memory_equal(scores, expected_scores, sizeof scores);
            vqi_stats_reset(stats);
            stats->total = N;
            for (int i = 0; i < N; i++)
                stats->rows[codes[i]]++;
            vq_codebook_free(codebook);
            /* Every other time one in eight moves a step; then all, or none. */
            for (int i = 0; i < K * D; i++)
                if (pass % 4 == 2 || (pass % 4 != 3 && test_random(&random) % 8 == 0))
                    c[i] = (float)(1 + test_random(&random) % 12);
        }
        vqi_pruning_clear(&p);
        vq_kmeans_stats_free(stats);
    }
    assert_true(pruned >= 8);
    assert_true(still >= 4);
}

/* Rows in parts of all sizes are the rows in one piece. */
static void test_concat(void **state)
{
    (void)state;
    enum { N = 3000, D = 2, PARTS = 6 };
    static const size_t ends[PARTS] = {0, 700, 700, 701, 3000, 3000};
    float *x = make_rows(N, D, 8), buffer[N * D];
    int closed = 0;
    reader readers[PARTS];
    vq_source parts[PARTS], chain = VQ_SOURCE_INIT;
    for (int i = 0; i < PARTS; i++) {
        const size_t begin = i ? ends[i - 1] : 0;
        readers[i] = (reader){.x = x + begin * D,
                              .n = ends[i] - begin,
                              .d = D,
                              .fail_at = SIZE_MAX,
                              .own = i & 1,
                              .closed = &closed};
        parts[i] = source_of(&readers[i]);
    }
    parts[3].d = 3;
    assert_status(VQ_E_ARG, vq_source_concat(&chain, parts, PARTS));
    assert_non_null(strstr(vq_last_error(), "source 3"));
    assert_int_equal(chain.n, 0);
    assert_int_equal(closed, 0);
    parts[3].d = D;
    assert_ok(vq_source_concat(&chain, parts, PARTS));
    assert_int_equal(chain.n, N);
    assert_int_equal(chain.d, D);
    assert_null(parts[0].read);
    for (size_t count = 1; count <= N; count = 3 * count + 1)
        for (size_t first = 0; first < N; first += count) {
            const size_t some = N - first < count ? N - first : count;
            const float *rows = NULL;
            assert_ok(chain.read(chain.context, &rows, buffer, first, some));
            assert_memory_equal(rows, x + first * D, some * D * sizeof *x);
            chain.done(chain.context, first, some);
        }
    const vq_kmeans_opts opts = options(9);
    assert_same_training(&chain, x, N, D, &opts);
    readers[4].fail_at = 10;
    vq_codebook *codebook;
    assert_status(VQ_E_IO, vq_kmeans_train_source(&codebook, NULL, &chain, &opts));
    vq_source_close(&chain);
    assert_int_equal(closed, PARTS);
    assert_null(chain.context);
    vq_source_close(&chain);
    vq_source_close(NULL);
    assert_int_equal(closed, PARTS);
    free(x);
}

static void test_bad_sources(void **state)
{
    (void)state;
    const float x[6] = {0, 1, 2, 3, 4, NAN};
    vq_codebook *codebook = (vq_codebook *)&codebook;
    vq_kmeans_opts opts = options(2);
    assert_status(VQ_E_ARG, vq_kmeans_train_source(&codebook, NULL, NULL, &opts));
    assert_null(codebook);
    vq_source source = vq_source_from_memory(x, 6, 1), chain;
    assert_status(VQ_E_NONFINITE, vq_kmeans_train_source(&codebook, NULL, &source, &opts));
    assert_non_null(strstr(vq_last_error(), "row 5"));
    source.n = 5;
    source.memory = NULL;
    assert_status(VQ_E_ARG, vq_kmeans_train_source(&codebook, NULL, &source, &opts));
    assert_status(VQ_E_ARG, vq_source_concat(&chain, &source, 1));
    assert_status(VQ_E_ARG, vq_source_concat(&chain, &source, 0));
    source.memory = x;
    source.n = SIZE_MAX / 2;
    assert_status(VQ_E_ARG, vq_kmeans_train_source(&codebook, NULL, &source, &opts));
    source.n = 5;
    source.struct_size = 0;
    assert_status(VQ_E_ARG, vq_kmeans_train_source(&codebook, NULL, &source, &opts));
    opts.seeding_rows = 1;
    source.struct_size = sizeof source;
    assert_status(VQ_E_ARG, vq_kmeans_train_source(&codebook, NULL, &source, &opts));
    assert_non_null(strstr(vq_last_error(), "seeding_rows"));
    assert_null(codebook);
}

/* Rows that grow from pass to pass are found out, not summed wrongly. */
static vq_status growing_read(void *context, const float **rows, float *buffer, size_t first,
                              size_t count)
{
    float *scale = context;
    if (!first)
        *scale *= 100;
    for (size_t i = 0; i < count; i++)
        buffer[i] = *scale * (float)(first + i);
    *rows = buffer;
    return VQ_OK;
}

static void test_changing_rows(void **state)
{
    (void)state;
    float scale = 1;
    vq_source source = VQ_SOURCE_INIT;
    source.n = 50;
    source.d = 1;
    source.read = growing_read;
    source.context = &scale;
    const vq_kmeans_opts opts = options(3);
    vq_codebook *codebook;
    assert_status(VQ_E_IO, vq_kmeans_train_source(&codebook, NULL, &source, &opts));
    assert_null(codebook);
}

/* Every row of the sample is one of the rows, of a share of its own; by weight if there are weights. */
static void test_sample(void **state)
{
    (void)state;
    enum { N = 10007, ROWS = 500 };
    float x[N], weights[N], largest;
    for (int i = 0; i < N; i++) {
        x[i] = (float)i;
        weights[i] = (float)(i % 5 ? 0 : 1 + i % 7);
    }
    weights[5000] = 20000; /* two in five of all weight */
    const vq_source source = vq_source_from_memory(x, N, 1);
    vqi_kmeans run = {NULL, N, 1, N, options(4), 0, N, 0, NULL};
    run.opts.threads = 1;
    run.opts.seeding_rows = ROWS;
    vqi_sample sample = {0};
    assert_ok(vqi_kmeans_look(&sample, &largest, &source, &run));
    assert_true(largest == N - 1);
    assert_int_equal(sample.n, ROWS);
    assert_null(sample.weights);
    for (size_t i = 0; i < ROWS; i++)
        assert_true(sample.x[i] >= (float)(i * N / ROWS) &&
                    sample.x[i] < (float)((i + 1) * N / ROWS));
    vqi_sample_clear(&sample);

    run.opts.weights = weights;
    run.weight = 0;
    for (int i = 0; i < N; i++)
        run.weight += (double)weights[i];
    assert_ok(vqi_kmeans_look(&sample, &largest, &source, &run));
    double total = 0, heavy = 0;
    for (size_t i = 0; i < sample.n; i++) {
        assert_true(weights[(int)sample.x[i]] > 0);
        assert_true(!i || sample.x[i] > sample.x[i - 1]);
        total += (double)sample.weights[i];
        heavy += sample.x[i] == 5000 ? (double)sample.weights[i] : 0;
    }
    assert_true(total == ROWS);
    assert_true(fabs(heavy - ROWS * 20000 / run.weight) <= 1);
    vqi_sample_clear(&sample);

    run.opts.seeding_rows = N; /* all of them, where they are */
    assert_ok(vqi_kmeans_look(&sample, &largest, &source, &run));
    assert_ptr_equal(sample.x, x);
    assert_ptr_equal(sample.weights, weights);
    vqi_sample_clear(&sample);
}

static vq_status train_from_parts(void *context)
{
    float *x = context;
    vq_source parts[2] = {vq_source_from_memory(x, 30, 2), vq_source_from_memory(x + 60, 10, 2)},
              chain = VQ_SOURCE_INIT;
    vq_codebook *codebook = NULL;
    vq_kmeans_opts opts = options(4);
    opts.seeding_rows = 10;
    vq_status status = vq_source_concat(&chain, parts, 2);
    if (!status)
        status = vq_source_slice(&chain, &chain, 3, 30);
    if (!status)
        status = vq_kmeans_train_source(&codebook, NULL, &chain, &opts);
    vq_codebook_free(codebook);
    vq_source_close(&chain);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    float *x = make_rows(40, 2, 6);
    test_allocation_failures(train_from_parts, x);
    free(x);
}

/* Slices of memory, of a file-like source and of a slice; the whole belongs to the slice. */
static void test_slice(void **state)
{
    (void)state;
    enum { N = 500, D = 3 };
    float *x = make_rows(N, D, 6);
    for (int way = 0; way < 3; way++) {
        int closed = 0;
        reader r = {
            .x = x, .n = N, .d = D, .fail_at = SIZE_MAX, .own = way == 2, .closed = &closed};
        vq_source whole = way ? source_of(&r) : vq_source_from_memory(x, N, D), part;
        const vq_kmeans_opts opts = options(7);
        assert_status(VQ_E_ARG, vq_source_slice(&part, &whole, N + 1, 0));
        assert_status(VQ_E_ARG, vq_source_slice(&part, &whole, 1, N));
        assert_ok(vq_source_slice(&part, &whole, 0, 400)); /* a pass of the reader begins at 0 */
        assert_int_equal(whole.n, 0);
        assert_ok(vq_source_slice(&part, &part, 0, 300)); /* in place */
        assert_int_equal(part.n, 300);
        assert_same_training(&part, x, 300, D, &opts);
        vq_source_close(&part);
        assert_int_equal(closed, way > 0);
    }
    vq_source whole = vq_source_from_memory(x, N, D), part;
    const vq_kmeans_opts opts = options(7);
    assert_ok(vq_source_slice(&part, &whole, 123, 200));
    assert_same_training(&part, x + 123 * D, 200, D, &opts);
    vq_source_close(&part);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_from_any_source),
        cmocka_unit_test(test_pruning_changes_nothing),
        cmocka_unit_test(test_pruned_search),
        cmocka_unit_test(test_concat),
        cmocka_unit_test(test_slice),
        cmocka_unit_test(test_bad_sources),
        cmocka_unit_test(test_changing_rows),
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
