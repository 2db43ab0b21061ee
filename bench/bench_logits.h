/* SPDX-License-Identifier: Apache-2.0 */
/** @file bench/bench_logits.h  A made output layer that has what real ones have, and hidden states for it. */
#ifndef BENCH_LOGITS_H
#define BENCH_LOGITS_H

#include <stddef.h>

typedef struct layer {
    size_t v, d;
    float *rows;    /**< v x d */
    float *norms;   /**< v */
    double *chance; /**< v: that the token is one of the first so many in text, cumulated by rank */
} layer;

/** The token of a rank in text, from 0. */
size_t layer_token(const layer *l, size_t rank);
/** @return 0, or 1 without memory. Free with layer_clear(). */
int layer_make(layer *out, size_t v, size_t d);
void layer_clear(layer *l);
/** n x d states, other ones for another seed; NULL without memory. The caller frees them. */
float *layer_states(const layer *l, size_t n, unsigned seed);

#endif
