/* SPDX-License-Identifier: Apache-2.0 */
/* Same rows, same codebook: for each trainer one SHA-256 over threads x instruction sets, on patches of photographs.
 * run.sh does the same with the tokens of whole pictures. */
#include <math.h>

#include "io/digest.h"
#include "io/image.h"
#include "test_support.h"
#include "vq/kmeans_balanced.h"
#include "vq/kmeans_minibatch.h"

enum { SIDE = 4, D = SIDE * SIDE * 3, PICTURES = 3, EVERY = 11, K = 150, CHUNK = 1000 };

/* The photographs are alike enough for ties and near-ties, and rows that repeat; the weights are of three sizes. */
typedef struct data {
    float *x, *weights;
    size_t n;
} data;

/* One training: the codebook, and what was said of it. */
typedef struct result {
    vq_codebook *codebook;
    double said;
} result;

static data rows;

static void read_patches(data *out, const char *path, size_t *number)
{
    vq_signal *picture;
    assert_ok(vq_image_read(&picture, path, NULL));
    const size_t high = picture->shape[0] / SIDE, wide = picture->shape[1] / SIDE,
                 stride = picture->shape[1] * 3;
    for (size_t i = 0; i < high * wide; i++, ++*number) {
        if (*number % EVERY)
            continue;
        const float *from = picture->data + i / wide * SIDE * stride + i % wide * SIDE * 3;
        out->x = realloc(out->x, (out->n + 1) * D * sizeof *out->x);
        assert_non_null(out->x);
        for (size_t line = 0; line < SIDE; line++)
            memcpy(out->x + out->n * D + line * SIDE * 3, from + line * stride,
                   SIDE * 3 * sizeof *out->x);
        out->n++;
    }
    vq_signal_free(picture);
}

static void read_rows(void)
{
    size_t number = 0;
    uint64_t random = 1;
    if (rows.n)
        return;
    for (int i = 1; i <= PICTURES; i++) {
        char name[64];
        snprintf(name, sizeof name, "images/kodak/kodim%02d.png", i);
        read_patches(&rows, test_data(name), &number);
    }
    rows.weights = malloc(rows.n * sizeof *rows.weights);
    assert_non_null(rows.weights);
    for (size_t i = 0; i < rows.n; i++)
        rows.weights[i] = (float)(test_random(&random) % 3) * 0.7f;
}

static int free_rows(void **state)
{
    (void)state;
    free(rows.x);
    free(rows.weights);
    return 0;
}

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

/* SHA-256 of the codewords, what was said, and the codes of all rows. */
static void run(uint8_t digest[VQ_SHA256_SIZE], trainer *train, int threads, uint64_t seed)
{
    result r = train(threads, seed);
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
    static const char *const masks[] = {"none", "avx2", "avx512", "vnni", "amx"};
    static const int threads[] = {1, 2, 3, 7};
    uint8_t first[VQ_SHA256_SIZE], other[VQ_SHA256_SIZE];
    uint32_t before = 0;
    int sets = 0;
    read_rows();
    for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
        uint32_t mask;
        assert_ok(vq_cpu_parse_mask(&mask, masks[m]));
        vq_cpu_set_mask(mask);
        const uint32_t flags = vq_cpu_flags();
        if (m && flags == before) { /* this processor has no more */
            print_message("no %s: not measured\n", masks[m]);
            continue;
        }
        before = flags;
        sets++;
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
            run(sets == 1 && !t ? first : other, train, threads[t], 5);
            if ((sets > 1 || t) && memcmp(first, other, sizeof first) != 0)
                fail_msg("another codebook with %d threads, cpu %s", threads[t], masks[m]);
        }
    }
    vq_cpu_set_mask(UINT32_MAX);
    print_message("%d instruction sets x 4 numbers of threads: SHA-256 %02x%02x%02x%02x...\n", sets,
                  first[0], first[1], first[2], first[3]);
    /* The digest is of something: another seed gives another. */
    run(other, train, 2, 6);
    assert_memory_not_equal(first, other, sizeof first);
}

static void test_euclidean(void **state)
{
    (void)state;
    uint8_t memory[VQ_SHA256_SIZE], streamed[VQ_SHA256_SIZE];
    train_everywhere(train_euclidean);
    run(memory, train_euclidean, 2, 5);
    run(streamed, train_streamed, 3, 5);
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
