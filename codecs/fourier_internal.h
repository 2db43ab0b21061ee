/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/fourier_internal.h
 * The Fourier transform behind one small interface, so that its library can be exchanged. A plan is immutable and may be
 * used from many threads at once. Making and freeing plans is locked against other threads that do so through here.
 *
 * The same build of the transform's library gives the same bits on every processor: plans are made without measuring, and
 * of code without vector instructions, which would be chosen by what the processor has.
 */
#ifndef CODECS_FOURIER_INTERNAL_H
#define CODECS_FOURIER_INTERNAL_H

#include <stdint.h>

#include "vq/status.h"

typedef struct vqi_fourier vqi_fourier;

/**
 * Plan for n complex points, single precision.
 * @param n 1 to 2^20.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
vq_status vqi_fourier_create(vqi_fourier **out, uint32_t n);
void vqi_fourier_free(vqi_fourier *plan);

/** out[k] = sum over j of in[j] exp(-2 pi i j k / n), not scaled. n pairs (real, imaginary); `out` is not `in`, which may be
 *  overwritten. */
void vqi_fourier_run(const vqi_fourier *plan, float *out, float *in);

#endif
