/* SPDX-License-Identifier: Apache-2.0 */
/** @file bench/bench_simvq.h  What the files of bench_simvq share. */
#ifndef BENCH_SIMVQ_H
#define BENCH_SIMVQ_H

#include <stddef.h>
#include <stdint.h>

#include "vq/random_internal.h"
#include "vq/vq.h"

enum { SIDE = 512 }; /* of the pictures, in pixels */

typedef struct pictures {
    uint8_t *pixels; /* count x SIDE x SIDE x 3 */
    size_t count;
} pictures;

/** End the program with vq_last_error() if the status is not VQ_OK. */
void check(vq_status status);
double now(void);
/** Zeroed, or the end of the program. */
float *room(size_t count);
pictures read_pictures(const char *path, size_t count);
/**
 * Patches of side x side x 3 at random places of the pictures from `first` to `end`, with local contrast
 * normalisation as in Coates, Lee and Ng 2011: less their mean, divided by the root of their variance + 0.01.
 */
void draw_patches(float *rows, const pictures *from, size_t first, size_t end, size_t side,
                  size_t count, vqi_random *random);

int joint(int argc, char **argv);
int fixed(int argc, char **argv);
int encode(int argc, char **argv);

#endif
