/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SimVQ beside other codebooks; bench/simvq.py runs it. Each way prints JSON, a line for each result.
 *
 *     bench_simvq joint PIXELS PICTURES TRAINING CODEBOOK K SEED STEPS BATCH
 *     bench_simvq fixed PIXELS PICTURES N K SEED STEPS
 *     bench_simvq encode K D R N MODEL
 *
 * PIXELS holds PICTURES pictures of 512 x 512 x 3 bytes.
 */
#include "bench_simvq.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void check(vq_status status)
{
    if (status) {
        fprintf(stderr, "bench_simvq: %s\n", vq_last_error());
        exit(1);
    }
}

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

float *room(size_t count)
{
    float *p = calloc(count ? count : 1, sizeof *p);
    if (!p)
        exit(1);
    return p;
}

pictures read_pictures(const char *path, size_t count)
{
    const size_t bytes = count * SIDE * SIDE * 3;
    pictures all = {malloc(bytes), count};
    FILE *in = fopen(path, "rb");
    if (!all.pixels || !in || fread(all.pixels, 1, bytes, in) != bytes) {
        fprintf(stderr, "bench_simvq: cannot read %zu pictures from %s\n", count, path);
        exit(1);
    }
    fclose(in);
    return all;
}

void draw_patches(float *rows, const pictures *from, size_t first, size_t end, size_t side,
                  size_t count, vqi_random *random)
{
    const size_t d = side * side * 3;
    for (size_t n = 0; n < count; n++) {
        const size_t picture = first + vqi_random_next(random) % (end - first),
                     y = vqi_random_next(random) % (SIDE - side + 1),
                     x = vqi_random_next(random) % (SIDE - side + 1);
        const uint8_t *pixels = from->pixels + picture * SIDE * SIDE * 3;
        float *row = rows + n * d;
        double mean = 0, square = 0;
        for (size_t v = 0; v < side; v++)
            for (size_t u = 0; u < side * 3; u++)
                row[v * side * 3 + u] = ((float)pixels[((y + v) * SIDE + x) * 3 + u] - 128) / 64;
        for (size_t i = 0; i < d; i++)
            mean += (double)row[i] / (double)d;
        for (size_t i = 0; i < d; i++)
            square += ((double)row[i] - mean) * ((double)row[i] - mean) / (double)d;
        for (size_t i = 0; i < d; i++)
            row[i] = (float)(((double)row[i] - mean) / sqrt(square + 0.01));
    }
}

int main(int argc, char **argv)
{
    if (argc == 10 && !strcmp(argv[1], "joint"))
        return joint(argc, argv);
    if (argc == 8 && !strcmp(argv[1], "fixed"))
        return fixed(argc, argv);
    if (argc == 7 && !strcmp(argv[1], "encode"))
        return encode(argc, argv);
    fprintf(stderr, "use: bench_simvq joint|fixed|encode ... (see bench_simvq.c)\n");
    return 1;
}
