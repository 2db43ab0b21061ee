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

#endif
