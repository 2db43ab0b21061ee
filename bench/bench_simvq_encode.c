/* SPDX-License-Identifier: Apache-2.0 */
/* What a model of SimVQ is, and each of its two searches: bytes, memory, time, and its codes beside a flat codebook's. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_simvq.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "vq/gradients.h"
#include "vq/simvq.h"
#include "vq/simvq_learn.h"

enum { ROUNDS = 5 };

/* How much libvq holds, and held at most, in bytes. */
static atomic_size_t held, most_held;

enum { HEAD = 64 }; /* before each block, for its size */

static void *count_alloc(void *context, size_t size)
{
    (void)context;
    char *block = malloc(size + HEAD);
    if (!block)
        return NULL;
    memcpy(block, &size, sizeof size);
    const size_t now_held = atomic_fetch_add(&held, size) + size;
    if (now_held > atomic_load(&most_held))
        atomic_store(&most_held, now_held);
    return block + HEAD;
}

static void count_free(void *context, void *pointer)
{
    (void)context;
    if (!pointer)
        return;
    size_t size;
    char *block = (char *)pointer - HEAD;
    memcpy(&size, block, sizeof size);
    atomic_fetch_sub(&held, size);
    free(block);
}

/* One way to search, and what it took. */
typedef struct way {
    const char *name;
    vq_quantizer *quantizer;
    double loading, seconds, decoding; /* s */
    size_t bytes, most; /* held when it is made, and at most while it is being made */
} way;

/* Begin and end to measure the making of a quantizer. */
static double open_way(size_t *before)
{
    *before = atomic_load(&held);
    atomic_store(&most_held, *before);
    return now();
}

static void close_way(way *w, size_t before, double start)
{
    w->loading = now() - start;
    w->bytes = atomic_load(&held) - before;
    w->most = atomic_load(&most_held) - before;
}

/* A map that is not the identity. */
static vq_tensors *make_model(size_t *size, const vq_simvq_form *form, const char *path)
{
    vq_quantizer *made;
    vq_tensors *tensors;
    vq_bytes bytes = {0};
    check(vq_simvq_begin(&made, form, 0));
    check(vq_tensors_create(&tensors));
    check(vq_quantizer_save(tensors, made, ""));
    vq_quantizer_free(made);
    check(vq_safetensors_serialize(&bytes, tensors));
    check(vq_file_write(path, bytes.data, bytes.size, NULL));
    *size = bytes.size;
    vq_bytes_clear(&bytes);
    vq_tensors_free(tensors);
    check(vq_safetensors_read(&tensors, path, NULL));
    return tensors;
}

static void make_ways(way ways[3], const vq_tensors *tensors, const vq_simvq_form *form)
{
    size_t before;
    vq_quantizer *loaded;
    vq_codebook *codebook;
    check(vq_quantizer_load(&loaded, tensors, "", NULL));
    double start = open_way(&before);
    check(vq_simvq_search_as(&ways[0].quantizer, loaded, VQ_SIMVQ_SEARCH_BASIS));
    close_way(&ways[0], before, start);
    vq_quantizer_free(loaded);
    start = open_way(&before);
    check(vq_simvq_search_as(&ways[1].quantizer, ways[0].quantizer, VQ_SIMVQ_SEARCH_CODEWORDS));
    close_way(&ways[1], before, start);
    start = open_way(&before);
    check(vq_codebook_create(&codebook,
                             vq_codebook_codewords(vq_quantizer_codebook(ways[1].quantizer, 0)),
                             form->k, form->dim, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    check(vq_quantizer_from_codebook(&ways[2].quantizer, codebook));
    close_way(&ways[2], before, start);
    if (vq_simvq_get_search(ways[0].quantizer) != VQ_SIMVQ_SEARCH_BASIS)
        exit(1);
}

static float *make_rows(const vq_codebook *codebook, size_t n)
{
    const size_t d = vq_codebook_dim(codebook), k = vq_codebook_k(codebook);
    float *x = room(n * d);
    vqi_random random = vqi_random_from(2);
    for (size_t i = 0; i < n * d; i++) { /* near random codewords, as latents are */
        const size_t code = (size_t)((i / d * 2654435761u) % k);
        x[i] = vq_codebook_codewords(codebook)[code * d + i % d] +
               0.05f * (float)(vqi_random_uniform(&random) - 0.5);
    }
    return x;
}

/* The ways take turns. @return 1 if all gave the same codes and vectors. */
static int time_ways(way ways[3], const float *x, size_t n, size_t d)
{
    uint32_t *codes = malloc(n * sizeof *codes), *first = malloc(n * sizeof *first);
    float *decoded = room(n * d), *expected = room(n * d);
    int same = codes && first;
    for (int round = 0; round < ROUNDS && same; round++)
        for (int w = 2; w >= 0; w--) { /* the flat codebook first */
            const double start = now();
            check(vq_quantize(codes, ways[w].quantizer, x, n, NULL));
            const double middle = now();
            check(vq_dequantize(decoded, ways[w].quantizer, codes, n, NULL));
            const double end = now();
            if (!round || middle - start < ways[w].seconds)
                ways[w].seconds = middle - start;
            if (!round || end - middle < ways[w].decoding)
                ways[w].decoding = end - middle;
            if (w == 2 && !round) {
                memcpy(first, codes, n * sizeof *codes);
                vq_lookup_forward(
                    expected, vq_codebook_codewords(vq_quantizer_codebook(ways[1].quantizer, 0)),
                    first, n, d);
            }
            same &= !memcmp(codes, first, n * sizeof *codes) &&
                    !memcmp(decoded, expected, n * d * sizeof *decoded);
        }
    free(codes);
    free(first);
    free(decoded);
    free(expected);
    return same;
}

int encode(int argc, char **argv)
{
    (void)argc;
    static const vq_allocator counting = {count_alloc, count_free, NULL};
    vq_set_allocator(&counting);
    const vq_simvq_form form = {sizeof form, (uint32_t)strtoul(argv[2], NULL, 10),
                                (uint32_t)strtoul(argv[3], NULL, 10),
                                (uint32_t)strtoul(argv[4], NULL, 10), 1};
    const size_t n = strtoull(argv[5], NULL, 10);
    way ways[3] = {{.name = "basis"}, {.name = "codewords"}, {.name = "flat"}};
    size_t bytes;
    vq_tensors *tensors = make_model(&bytes, &form, argv[6]);
    make_ways(ways, tensors, &form);
    vq_tensors_free(tensors);
    float *x = make_rows(vq_quantizer_codebook(ways[2].quantizer, 0), n);
    if (!time_ways(ways, x, n, form.dim)) {
        fprintf(stderr, "bench_simvq: SimVQ and the flat codebook differ\n");
        return 1;
    }
    printf("{\"model\": %zu", bytes);
    for (int w = 0; w < 3; w++)
        printf(
            ", \"%s\": {\"loading\": %.4f, \"seconds\": %.6f, \"decoding\": %.6f, \"bytes\": %zu, "
            "\"most\": %zu}",
            ways[w].name, ways[w].loading, ways[w].seconds, ways[w].decoding, ways[w].bytes,
            ways[w].most);
    printf("}\n");
    free(x);
    for (int w = 0; w < 3; w++)
        vq_quantizer_free(ways[w].quantizer);
    return 0;
}
