/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/parts_support.h  What every kind of quantizer must do, checked on given rows. */
#ifndef PARTS_SUPPORT_H
#define PARTS_SUPPORT_H

#include <math.h>

#include "damage_support.h"
#include "rvq/residual.h"

static inline float *parts_rows(size_t n, uint32_t d, uint64_t seed)
{
    float *x = malloc(n * d * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        const double centre = (double)(test_random(&seed) % 9);
        for (uint32_t j = 0; j < d; j++)
            x[i * d + j] = (float)(centre * ((double)(j % 4) - 1.5) + 3 * test_uniform(&seed));
    }
    return x;
}

/** A flat (one size) or residual quantizer of random codewords. */
static inline vq_quantizer *parts_stack(uint32_t d, const uint32_t *sizes, uint32_t levels,
                                        vq_dtype storage, uint64_t seed)
{
    vq_codebook *codebooks[VQ_MAX_LEVELS];
    vq_quantizer *q;
    for (uint32_t l = 0; l < levels; l++) {
        float *c = parts_rows(sizes[l], d, seed + l);
        for (size_t i = 0; i < (size_t)sizes[l] * d; i++)
            c[i] /= (float)(l + 1);
        assert_ok(vq_codebook_create(&codebooks[l], c, sizes[l], d, VQ_METRIC_EUCLIDEAN, storage));
        free(c);
    }
    assert_ok(levels == 1 ? vq_quantizer_from_codebook(&q, codebooks[0])
                          : vq_residual_create(&q, codebooks, levels));
    return q;
}

static inline void *parts_alloc(size_t count, size_t size)
{
    void *p = calloc(count, size);
    assert_non_null(p);
    return p;
}

/** Encoding with the first m levels is cutting the codes of all levels, and decodes. */
static inline void check_prefixes(const vq_quantizer *q, const float *x, size_t n)
{
    const uint32_t levels = vq_quantizer_levels(q);
    uint32_t *all = parts_alloc(n * levels, sizeof *all),
             *codes = parts_alloc(n * levels, sizeof *codes);
    float *decoded = parts_alloc(n * vq_quantizer_dim(q), sizeof *decoded);
    assert_ok(vq_quantize(all, q, x, n, NULL));
    for (uint32_t m = 1; m <= levels; m++) {
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        opts.levels = m;
        assert_ok(vq_quantize(codes, q, x, n, &opts));
        for (size_t i = 0; i < n; i++)
            assert_memory_equal(codes + i * m, all + i * levels, m * sizeof *codes);
        assert_ok(vq_dequantize(decoded, q, codes, n, &opts));
    }
    free(all);
    free(codes);
    free(decoded);
}

/** The same codes and vectors on any threads, with any kernels, and nothing allocated in a workspace. */
static inline void check_sameness(const vq_quantizer *q, const float *x, size_t n)
{
    static const int threads[] = {1, 2, 7};
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    const uint32_t levels = vq_quantizer_levels(q), d = vq_quantizer_dim(q);
    uint32_t *first = parts_alloc(n * levels, sizeof *first),
             *codes = parts_alloc(n * levels, sizeof *codes);
    float *first_decoded = parts_alloc(n * d, sizeof *first_decoded),
          *decoded = parts_alloc(n * d, sizeof *decoded);
    assert_ok(vq_quantize(first, q, x, n, NULL));
    assert_ok(vq_dequantize(first_decoded, q, first, n, NULL));
    for (int i = 0; i < 9; i++) {
        vq_cpu_set_mask(masks[i / 3]);
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        opts.threads = threads[i % 3];
        opts.workspace_size = vq_quantize_workspace(q, n, opts.threads);
        opts.workspace = aligned_alloc(64, (opts.workspace_size + 63) / 64 * 64);
        assert_non_null(opts.workspace);
        test_allocator counter = {0, 0, -1, false};
        const vq_allocator allocator = {failing_alloc, failing_free, &counter};
        vq_set_allocator(&allocator);
        const vq_status encoded = vq_quantize(codes, q, x, n, &opts),
                        back = vq_dequantize(decoded, q, codes, n, &opts);
        vq_set_allocator(NULL);
        vq_cpu_set_mask(UINT32_MAX);
        assert_ok(encoded);
        assert_ok(back);
        assert_int_equal(counter.calls, 0);
        assert_memory_equal(codes, first, n * levels * sizeof *codes);
        assert_memory_equal(decoded, first_decoded, n * d * sizeof *decoded);
        free(opts.workspace);
    }
    free(first);
    free(codes);
    free(first_decoded);
    free(decoded);
}

/** The tensors that it is saved as, under a prefix. */
static inline vq_tensors *parts_saved(const vq_quantizer *q, const char *prefix)
{
    vq_tensors *tensors;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_quantizer_save(tensors, q, prefix));
    return tensors;
}

/** Saved and loaded it gives the same codes and vectors; so it does when saved again. */
static inline void check_saving(const vq_quantizer *q, const float *x, size_t n)
{
    const uint32_t levels = vq_quantizer_levels(q), d = vq_quantizer_dim(q);
    uint32_t *codes = parts_alloc(n * levels, sizeof *codes),
             *again_codes = parts_alloc(n * levels, sizeof *codes);
    float *decoded = parts_alloc(n * d, sizeof *decoded),
          *again_decoded = parts_alloc(n * d, sizeof *decoded);
    vq_quantizer *again;
    vq_tensors *tensors = parts_saved(q, "in."), *copy;
    assert_string_equal(vq_tensors_get(tensors, "in.kind"), vq_quantizer_kind(q));
    assert_ok(vq_quantizer_load(&again, tensors, "in.", NULL));
    assert_string_equal(vq_quantizer_kind(again), vq_quantizer_kind(q));
    assert_int_equal(vq_quantizer_levels(again), levels);
    assert_int_equal(vq_quantizer_dim(again), d);
    for (uint32_t l = 0; l < levels; l++)
        assert_int_equal(vq_quantizer_k(again, l), vq_quantizer_k(q, l));
    copy = parts_saved(again, "in.");
    assert_int_equal(vq_tensors_count(tensors), vq_tensors_count(copy));
    assert_same_tensors(tensors, copy);
    assert_ok(vq_quantize(codes, q, x, n, NULL));
    assert_ok(vq_dequantize(decoded, q, codes, n, NULL));
    assert_ok(vq_quantize(again_codes, again, x, n, NULL));
    assert_ok(vq_dequantize(again_decoded, again, codes, n, NULL));
    assert_memory_equal(again_codes, codes, n * levels * sizeof *codes);
    assert_memory_equal(again_decoded, decoded, n * d * sizeof *decoded);
    assert_status(VQ_E_ARG, vq_quantizer_save(tensors, q, "in.")); /* names taken */
    vq_quantizer_free(again);
    vq_tensors_free(tensors);
    vq_tensors_free(copy);
    free(codes);
    free(again_codes);
    free(decoded);
    free(again_decoded);
}

/** Load a quantizer and save it again. The shape of check_damages()'s. */
static inline vq_status parts_reload(vq_tensors **again, const vq_tensors *tensors)
{
    vq_quantizer *q;
    const vq_status status = vq_quantizer_load(&q, tensors, "", NULL);
    if (status)
        assert_null(q);
    else
        *again = parts_saved(q, "");
    vq_quantizer_free(q);
    return status;
}

/** Files whose tensors do not fit what they say are refused: tests/unit/damage_support.h. */
static inline void check_bad_files(const vq_quantizer *q)
{
    vq_tensors *tensors = parts_saved(q, "");
    check_damages(tensors, parts_reload);
    vq_tensors_free(tensors);
}

/** A quantizer's life on given rows: how it is made is the test's. */
typedef struct parts_life {
    vq_status (*make)(vq_quantizer **out, const struct parts_life *life);
    const void *how; /* for make */
    const float *x;
    size_t n;
    uint32_t *codes; /* of check_no_memory() */
    float *decoded;
} parts_life;

static inline vq_status parts_live(void *context)
{
    const parts_life *life = context;
    vq_quantizer *q = NULL, *again = NULL;
    vq_tensors *tensors = NULL;
    vq_status status = life->make(&q, life);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_quantizer_save(tensors, q, "q.");
    if (!status)
        status = vq_quantizer_load(&again, tensors, "q.", NULL);
    if (!status)
        status = vq_quantize(life->codes, again, life->x, life->n, NULL);
    if (!status)
        status = vq_dequantize(life->decoded, again, life->codes, life->n, NULL);
    vq_quantizer_free(q);
    vq_quantizer_free(again);
    vq_tensors_free(tensors);
    return status;
}

/** Made, saved, loaded, encoding and decoding, with every allocation failing once. */
static inline void check_no_memory(parts_life life)
{
    vq_quantizer *q;
    assert_ok(life.make(&q, &life));
    life.codes = parts_alloc(life.n * vq_quantizer_levels(q), sizeof *life.codes);
    life.decoded = parts_alloc(life.n * vq_quantizer_dim(q), sizeof *life.decoded);
    vq_quantizer_free(q);
    test_allocation_failures(parts_live, &life);
    free(life.codes);
    free(life.decoded);
}

/** Codes out of range and rows that are not finite are refused by their places. */
static inline void check_refusals(const vq_quantizer *q, float *x, size_t n)
{
    const uint32_t levels = vq_quantizer_levels(q), d = vq_quantizer_dim(q);
    uint32_t *codes = parts_alloc(n * levels, sizeof *codes);
    float *decoded = parts_alloc(n * d, sizeof *decoded);
    char words[64];
    assert_ok(vq_quantize(codes, q, x, 0, NULL));
    assert_ok(vq_dequantize(decoded, q, codes, 0, NULL));
    assert_ok(vq_quantize(codes, q, x, n, NULL));
    for (uint32_t l = 0; l < levels; l++) {
        uint32_t *code = codes + (n - 1) * levels + l;
        const uint32_t good = *code, bad[] = {vq_quantizer_k(q, l), UINT32_MAX};
        for (int i = 0; i < 2; i++) {
            *code = bad[i];
            assert_status(VQ_E_RANGE, vq_dequantize(decoded, q, codes, n, NULL));
            snprintf(words, sizeof words, "row %zu, level %u", n - 1, l);
            assert_non_null(strstr(vq_last_error(), words));
        }
        *code = good;
    }
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    opts.levels = levels + 1;
    assert_status(VQ_E_ARG, vq_quantize(codes, q, x, n, &opts));
    assert_status(VQ_E_ARG, vq_dequantize(decoded, q, codes, n, &opts));
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const size_t rows[] = {0, n / 2, n - 1};
    for (int i = 0; i < 9; i++) {
        float *place = x + rows[i / 3] * d + (i % 2 ? d - 1 : d / 2);
        const float good = *place;
        *place = bad[i % 3];
        assert_status(VQ_E_NONFINITE, vq_quantize(codes, q, x, n, NULL));
        snprintf(words, sizeof words, "row %zu ", rows[i / 3]);
        assert_non_null(strstr(vq_last_error(), words));
        *place = good;
    }
    free(codes);
    free(decoded);
}

#endif
