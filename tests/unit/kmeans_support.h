/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/kmeans_support.h  What the tests of k-means share. */
#ifndef KMEANS_SUPPORT_H
#define KMEANS_SUPPORT_H

#include "test_support.h"

/* n x d numbers in clumps, so that k-means has something to find. */
static inline float *make_rows(size_t n, uint32_t d, uint64_t seed)
{
    float *x = malloc(n * d * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        const double centre = (double)(test_random(&seed) % 13);
        for (uint32_t j = 0; j < d; j++)
            x[i * d + j] = (float)(centre * ((double)(j % 5) - 2) + test_uniform(&seed) - 0.5);
    }
    return x;
}

static inline vq_kmeans_opts options(uint32_t k)
{
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    opts.k = k;
    return opts;
}

static inline void assert_codewords(const vq_codebook *codebook, const float *expected,
                                    size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (vq_codebook_codewords(codebook)[i] != expected[i])
            fail_msg("number %zu of the codebook is %.9g, not %.9g", i,
                     (double)vq_codebook_codewords(codebook)[i], (double)expected[i]);
}

/* Everything that training returns, for one setting of what must not matter. */
static inline void train_all_ways(const vq_kmeans_opts *opts, const float *x, size_t n, uint32_t d)
{
    static const int threads[] = {1, 2, 7};
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2, VQ_CPU_AVX2 | VQ_CPU_AVX512};
    vq_codebook *first = NULL;
    vq_kmeans_report first_report;
    for (size_t m = 0; m < 4; m++)
        for (size_t t = 0; t < 3; t++) {
            vq_codebook *codebook;
            vq_kmeans_report report;
            vq_kmeans_opts own = *opts;
            own.threads = threads[t];
            vq_cpu_set_mask(masks[m]);
            assert_ok(vq_kmeans_train(&codebook, &report, x, n, d, &own));
            vq_cpu_set_mask(UINT32_MAX);
            if (!first) {
                first = codebook;
                first_report = report;
                continue;
            }
            assert_codewords(codebook, vq_codebook_codewords(first), (size_t)own.k * d);
            assert_int_equal(report.iterations, first_report.iterations);
            assert_int_equal(report.revived, first_report.revived);
            assert_memory_equal(report.mse, first_report.mse,
                                (report.iterations + 1) * sizeof *report.mse);
            assert_true(report.entropy_bits == first_report.entropy_bits);
            vq_codebook_free(codebook);
            vq_kmeans_report_clear(&report);
        }
    vq_codebook_free(first);
    vq_kmeans_report_clear(&first_report);
}

#endif
