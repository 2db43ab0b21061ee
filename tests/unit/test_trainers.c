/* SPDX-License-Identifier: Apache-2.0 */
/* The trainers side by side on patches of photographs: how near each comes to Lloyd's iteration. */
#include <math.h>

#include "io/image.h"
#include "test_support.h"

enum { SIDE = 8, D = SIDE * SIDE * 3, PICTURES = 2, K = 64 };

/* All whole patches of a few pictures, as rows. */
static float *read_patches(size_t *n)
{
    float *rows = NULL;
    *n = 0;
    for (int i = 1; i <= PICTURES; i++) {
        char name[64];
        vq_signal *picture;
        snprintf(name, sizeof name, "images/kodak/kodim%02d.png", i);
        assert_ok(vq_image_read(&picture, test_data(name), NULL));
        const size_t high = picture->shape[0] / SIDE, wide = picture->shape[1] / SIDE,
                     stride = picture->shape[1] * 3;
        assert_int_equal(picture->shape[2], 3);
        rows = realloc(rows, (*n + high * wide) * D * sizeof *rows);
        assert_non_null(rows);
        for (size_t y = 0; y < high; y++)
            for (size_t x = 0; x < wide; x++, ++*n)
                for (size_t line = 0; line < SIDE; line++)
                    memcpy(rows + *n * D + line * SIDE * 3,
                           picture->data + (y * SIDE + line) * stride + x * SIDE * 3,
                           SIDE * 3 * sizeof *rows);
        vq_signal_free(picture);
    }
    return rows;
}

static double mse_of(const vq_codebook *codebook, const float *x, size_t n)
{
    uint32_t *codes = malloc(n * sizeof *codes);
    float *scores = malloc(n * sizeof *scores);
    double sum = 0;
    assert_true(codes && scores);
    assert_ok(vq_nearest(codes, scores, codebook, x, n, NULL));
    for (size_t i = 0; i < n; i++)
        sum += (double)scores[i];
    free(codes);
    free(scores);
    return sum / (double)n / D;
}

static void test_photographs(void **state)
{
    (void)state;
    size_t n;
    float *x = read_patches(&n);
    vq_codebook *codebook;

    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    vq_kmeans_report lloyd;
    opts.k = K;
    assert_ok(vq_kmeans_train(&codebook, &lloyd, x, n, D, &opts));
    const double best = lloyd.mse[lloyd.iterations];
    vq_kmeans_report_clear(&lloyd);
    vq_codebook_free(codebook);

    vq_minibatch_opts minibatch = VQ_MINIBATCH_OPTS_INIT;
    vq_minibatch_report of_minibatch;
    minibatch.k = K;
    assert_ok(vq_minibatch_train(&codebook, &of_minibatch, x, n, D, NULL, &minibatch));
    vq_codebook_free(codebook);

    /* Batches of rows from all over the pictures, as a training loop would give them. */
    enum { BATCH = 512, UPDATES = 300 };
    float *rows = malloc((size_t)BATCH * D * sizeof *rows);
    assert_non_null(rows);
    vq_online *online;
    uint64_t random = 1;
    for (int u = 0; u < UPDATES; u++) {
        for (int i = 0; i < BATCH; i++)
            memcpy(rows + i * D, x + test_random(&random) % n * D, D * sizeof *rows);
        if (!u)
            assert_ok(vq_online_create_from_batch(&online, rows, BATCH, D, NULL, K,
                                                  VQ_METRIC_EUCLIDEAN, NULL));
        assert_ok(vq_online_update(online, NULL, NULL, rows, BATCH, NULL, 0));
    }
    const double of_online = mse_of(vq_online_codebook(online), x, n);
    vq_online_free(online);
    free(rows);

    vq_balanced_opts balanced = VQ_BALANCED_OPTS_INIT;
    vq_balanced_report of_balanced;
    balanced.k = K;
    assert_ok(vq_kmeans_balanced(&codebook, NULL, &of_balanced, x, n, D, &balanced));
    vq_codebook_free(codebook);

    print_message("%zu patches, K = %d: Lloyd %.6f, mini-batch %.6f, online %.6f, balanced %.6f "
                  "(nearest %.6f, largest %.1f of even)\n",
                  n, K, best, of_minibatch.mse, of_online, of_balanced.mse, of_balanced.nearest_mse,
                  of_balanced.nearest_balance);
    assert_true(of_minibatch.mse < 1.08 * best);
    assert_true(of_online < 1.12 * best);
    assert_true(of_balanced.mse < 1.4 * best);
    assert_true(of_balanced.largest - of_balanced.smallest <= 1);
    free(x);
}

/* The samples of a photograph's planes, as a scalar quantizer: no iteration does better. */
static void test_samples(void **state)
{
    (void)state;
    size_t n;
    float *x = read_patches(&n);
    n *= D / 8;
    static const uint32_t ks[] = {4, 16, 256};
    for (int i = 0; i < 3; i++) {
        vq_codebook *codebook;
        double mse;
        assert_ok(vq_kmeans_1d(&codebook, &mse, x, n, NULL, ks[i]));
        vq_codebook_free(codebook);
        vq_minibatch_opts opts = VQ_MINIBATCH_OPTS_INIT;
        vq_minibatch_report report;
        opts.k = ks[i];
        opts.max_epochs = 1;
        assert_ok(vq_minibatch_train(&codebook, &report, x, n, 1, NULL, &opts));
        vq_codebook_free(codebook);
        print_message("K = %u: exact %.3g, mini-batch %.3g\n", ks[i], mse, report.mse);
        assert_true(mse <= report.mse * (1 + 1e-6));
        assert_true(ks[i] < 256 || mse < 1e-12); /* 8 bits have 256 values */
    }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_photographs),
        cmocka_unit_test(test_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
