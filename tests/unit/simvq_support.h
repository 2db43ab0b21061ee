/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/simvq_support.h  Rows, options and comparisons that the tests of SimVQ share. */
#ifndef SIMVQ_SUPPORT_H
#define SIMVQ_SUPPORT_H

#include "parts_support.h"

enum { N = 3000, D = 12, K = 300 };

static inline float *make_rows(size_t n, uint32_t d, uint64_t seed)
{
    float *x = malloc(n * d * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        const double centre = (double)(test_random(&seed) % 7);
        for (uint32_t j = 0; j < d; j++)
            x[i * d + j] =
                (float)(centre * ((double)(j % 4) - 1.5) + test_uniform(&seed) * (1 + j));
    }
    return x;
}

static inline vq_simvq_train_opts options(void)
{
    vq_simvq_train_opts opts = VQ_SIMVQ_TRAIN_OPTS_INIT;
    opts.k = K;
    opts.seed = 7;
    opts.max_iterations = 8;
    opts.tolerance = -1;
    return opts;
}

static inline vq_quantizer *train(const float *x)
{
    const vq_simvq_train_opts opts = options();
    vq_quantizer *q;
    assert_ok(vq_simvq_train(&q, NULL, x, N, D, &opts));
    return q;
}

static inline void assert_equal(const vq_quantizer *a, const vq_quantizer *b)
{
    vq_simvq_form one, two;
    assert_ok(vq_simvq_get_form(&one, a));
    assert_ok(vq_simvq_get_form(&two, b));
    assert_int_equal(one.k, two.k);
    assert_int_equal(one.dim, two.dim);
    assert_int_equal(one.basis_dim, two.basis_dim);
    assert_int_equal(one.seed, two.seed);
    assert_memory_equal(vq_simvq_map(a), vq_simvq_map(b),
                        (size_t)one.basis_dim * one.dim * sizeof(float));
    assert_int_equal(vq_simvq_bias(a) == NULL, vq_simvq_bias(b) == NULL);
    if (vq_simvq_bias(a))
        assert_memory_equal(vq_simvq_bias(a), vq_simvq_bias(b), one.dim * sizeof(float));
    assert_memory_equal(vq_codebook_codewords(vq_quantizer_codebook(a, 0)),
                        vq_codebook_codewords(vq_quantizer_codebook(b, 0)),
                        (size_t)one.k * one.dim * sizeof(float));
}

#endif
