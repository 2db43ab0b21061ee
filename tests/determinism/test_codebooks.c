/* SPDX-License-Identifier: Apache-2.0 */
/* Same rows, same codebook: for each trainer one SHA-256 over threads x instruction sets, on patches of photographs.
 * run.sh does the same with the tokens of whole pictures. */
#include "everywhere.h"
#include "vq/kmeans_balanced.h"
#include "vq/kmeans_minibatch.h"

enum { K = 150, CHUNK = 1000 };

/* One training: the codebook, and what was said of it. */
typedef struct result {
    vq_codebook *codebook;
    double said;
} result;

static vq_kmeans_opts lloyd(int threads, uint64_t seed)
{
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    opts.k = K;
    opts.seed = seed;
    opts.threads = threads;
    opts.max_iterations = 6;
    opts.tolerance = -1;
    return opts;
}

static result kmeans(const vq_source *source, const vq_kmeans_opts *opts)
{
    result r;
    vq_kmeans_report report;
    assert_ok(vq_kmeans_train_source(&r.codebook, &report, source, opts));
    r.said = report.mse[report.iterations] + report.entropy_bits;
    vq_kmeans_report_clear(&report);
    return r;
}

static result train_euclidean(int threads, uint64_t seed)
{
    const vq_kmeans_opts opts = lloyd(threads, seed);
    const vq_source source = vq_source_from_memory(rows.x, rows.n, D);
    return kmeans(&source, &opts);
}

static result train_spherical(int threads, uint64_t seed)
{
    vq_kmeans_opts opts = lloyd(threads, seed);
    const vq_source source = vq_source_from_memory(rows.x, rows.n, D);
    opts.metric = VQ_METRIC_COSINE;
    opts.seeding = VQ_SEEDING_RANDOM;
    opts.storage = VQ_DTYPE_BF16;
    return kmeans(&source, &opts);
}

static result train_weighted(int threads, uint64_t seed)
{
    vq_kmeans_opts opts = lloyd(threads, seed);
    const vq_source source = vq_source_from_memory(rows.x, rows.n, D);
    opts.weights = rows.weights;
    opts.empty = VQ_EMPTY_SPLIT;
    return kmeans(&source, &opts);
}

/* Long enough that few codewords move any more, and rows are searched among those. */
static result train_long(int threads, uint64_t seed)
{
    vq_kmeans_opts opts = lloyd(threads, seed);
    const vq_source source = vq_source_from_memory(rows.x, 2000, D);
    opts.k = 40;
    opts.max_iterations = 40;
    return kmeans(&source, &opts);
}

static result train_repaired(int threads, uint64_t seed)
{
    vq_kmeans_opts opts = lloyd(threads, seed);
    const vq_source source = vq_source_from_memory(rows.x, rows.n, D);
    opts.repair_rounds = 3;
    return kmeans(&source, &opts);
}

static vq_status read_piece(void *context, const float **out, float *buffer, size_t first,
                            size_t count)
{
    (void)context;
    memcpy(buffer, rows.x + first * D, count * D * sizeof *buffer);
    *out = buffer;
    return VQ_OK;
}

static result train_streamed(int threads, uint64_t seed)
{
    const vq_kmeans_opts opts = lloyd(threads, seed);
    vq_source source = VQ_SOURCE_INIT;
    source.n = rows.n;
    source.d = D;
    source.read = read_piece;
    return kmeans(&source, &opts);
}

static result train_minibatch(int threads, uint64_t seed)
{
    result r;
    vq_minibatch_opts opts = VQ_MINIBATCH_OPTS_INIT;
    vq_minibatch_report report;
    opts.k = K;
    opts.seed = seed;
    opts.threads = threads;
    opts.max_epochs = 2;
    assert_ok(vq_minibatch_train(&r.codebook, &report, rows.x, rows.n, D, rows.weights, &opts));
    r.said = report.mse + report.smoothed_mse;
    return r;
}

static result train_balanced(int threads, uint64_t seed)
{
    result r;
    vq_balanced_opts opts = VQ_BALANCED_OPTS_INIT;
    vq_balanced_report report;
    opts.k = 24;
    opts.threads = threads;
    /* It draws nothing: the seed chooses the rows. */
    assert_ok(vq_kmeans_balanced(&r.codebook, NULL, &report, rows.x + seed * D, 3000, D, &opts));
    r.said = report.mse + report.nearest_mse;
    return r;
}

static result train_online(int threads, uint64_t seed)
{
    result r = {0};
    vq_online *online;
    vq_online_report report;
    vq_online_opts opts = VQ_ONLINE_OPTS_INIT;
    opts.seed = seed;
    vq_kmeans_opts first = lloyd(threads, seed);
    const vq_source source = vq_source_from_memory(rows.x, CHUNK, D);
    vq_codebook *codebook = kmeans(&source, &first).codebook;
    assert_ok(vq_online_create(&online, codebook, &opts));
    for (size_t at = 0; at + CHUNK <= rows.n; at += CHUNK) {
        assert_ok(vq_online_update(online, NULL, &report, rows.x + at * D, CHUNK, rows.weights + at,
                                   threads));
        r.said += report.mse;
    }
    assert_ok(vq_online_snapshot(&r.codebook, online, VQ_DTYPE_F32));
    vq_online_free(online);
    vq_codebook_free(codebook);
    return r;
}

typedef result trainer(int threads, uint64_t seed);

typedef struct method {
    trainer *train;
} method;

/* SHA-256 of the codewords, what was said, and the codes of all rows. */
static void run(uint8_t digest[VQ_SHA256_SIZE], const void *by, int threads, uint64_t seed)
{
    result r = ((const method *)by)->train(threads, seed);
    const size_t words = (size_t)vq_codebook_k(r.codebook) * D * sizeof(float),
                 codes = rows.n * sizeof(uint32_t);
    uint8_t *all = malloc(words + codes + sizeof r.said);
    uint32_t *found = malloc(codes);
    vq_search_opts search = VQ_SEARCH_OPTS_INIT;
    search.threads = threads;
    assert_true(all && found);
    assert_ok(vq_nearest(found, NULL, r.codebook, rows.x, rows.n, &search));
    memcpy(all, vq_codebook_codewords(r.codebook), words);
    memcpy(all + words, found, codes);
    memcpy(all + words + codes, &r.said, sizeof r.said);
    vq_sha256(digest, all, words + codes + sizeof r.said);
    free(all);
    free(found);
    vq_codebook_free(r.codebook);
}

static void train_everywhere(trainer *train)
{
    everywhere(run, &(const method){train});
}

static void test_euclidean(void **state)
{
    (void)state;
    uint8_t memory[VQ_SHA256_SIZE], streamed[VQ_SHA256_SIZE];
    train_everywhere(train_euclidean);
    run(memory, &(const method){train_euclidean}, 2, 5);
    run(streamed, &(const method){train_streamed}, 3, 5);
    assert_memory_equal(memory, streamed, sizeof memory);
}

static void test_spherical(void **state)
{
    (void)state;
    train_everywhere(train_spherical);
}

static void test_weighted(void **state)
{
    (void)state;
    train_everywhere(train_weighted);
}

static void test_long(void **state)
{
    (void)state;
    train_everywhere(train_long);
}

static void test_repaired(void **state)
{
    (void)state;
    train_everywhere(train_repaired);
}

static void test_minibatch(void **state)
{
    (void)state;
    train_everywhere(train_minibatch);
}

static void test_balanced(void **state)
{
    (void)state;
    train_everywhere(train_balanced);
}

static void test_online(void **state)
{
    (void)state;
    train_everywhere(train_online);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_euclidean), cmocka_unit_test(test_spherical),
        cmocka_unit_test(test_weighted),  cmocka_unit_test(test_long),
        cmocka_unit_test(test_repaired),  cmocka_unit_test(test_minibatch),
        cmocka_unit_test(test_balanced),  cmocka_unit_test(test_online),
    };
    return cmocka_run_group_tests(tests, NULL, free_rows);
}
