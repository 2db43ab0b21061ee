/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/determinism/everywhere.h  Patches of photographs, and the same training over threads x instruction sets. */
#ifndef EVERYWHERE_H
#define EVERYWHERE_H

#include "io/digest.h"
#include "io/image.h"
#include "test_support.h"

enum { SIDE = 4, D = SIDE * SIDE * 3, PICTURES = 3, EVERY = 11 };

/* The photographs are alike enough for ties and near-ties, and rows that repeat; the weights are of three sizes. */
typedef struct data {
    float *x, *weights;
    size_t n;
} data;

static data rows;

static inline void read_patches(data *out, const char *path, size_t *number)
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

static inline void read_rows(void)
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

static inline int free_rows(void **state)
{
    (void)state;
    free(rows.x);
    free(rows.weights);
    return 0;
}

/** A digest of what a training gave and of all that follows from it. */
typedef void digest_of(uint8_t digest[VQ_SHA256_SIZE], const void *by, int threads, uint64_t seed);

/** It is the same on 1, 2, 3 and 7 threads with every instruction set that there is, and another with another seed. */
static inline void everywhere(digest_of *run, const void *by)
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
            run(sets == 1 && !t ? first : other, by, threads[t], 5);
            if ((sets > 1 || t) && memcmp(first, other, sizeof first) != 0)
                fail_msg("another digest with %d threads, cpu %s", threads[t], masks[m]);
        }
    }
    vq_cpu_set_mask(UINT32_MAX);
    print_message("%d instruction sets x 4 numbers of threads: SHA-256 %02x%02x%02x%02x...\n", sets,
                  first[0], first[1], first[2], first[3]);
    /* The digest is of something: another seed gives another. */
    run(other, by, 2, 6);
    assert_memory_not_equal(first, other, sizeof first);
}

#endif
