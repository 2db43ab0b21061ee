/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/nearest_internal.h
 * The kernels of the nearest-code search, one set per instruction set, and the BLAS shortlist.
 * Every set gives the same bits; see the contract in vq/codebook.h.
 */
#ifndef VQ_NEAREST_INTERNAL_H
#define VQ_NEAREST_INTERNAL_H

#include <stdint.h>

#include "vq/codebook_internal.h"

enum {
    VQI_SCAN_ROWS = 32
}; /* rows that a scan takes at once, so that a panel is read from cache */

typedef struct vqi_nearest_kernels {
    int lanes; /* floats of a register */
    /* 1 if no element is a NaN or an infinity. */
    int (*all_finite)(const float *x, size_t count);
    /* The contract score of one vector and one codeword. */
    float (*distance)(const float *x, const float *codeword, size_t d);
    float (*dot)(const float *x, const float *codeword, size_t d);
    /* The contract: the best of all codewords for each of up to VQI_SCAN_ROWS rows. */
    void (*scan_distance)(uint32_t *codes, float *scores, const vq_codebook *codebook,
                          const float *x, size_t rows);
    void (*scan_dot)(uint32_t *codes, float *scores, const vq_codebook *codebook, const float *x,
                     size_t rows);
    /* For the shortlist only, where any order of summation will do. */
    /* out = x - centre (x alone if centre is NULL: out is not written).
     * @return |x - centre|^2, summed ceil(d/8) + 8 additions deep. */
    float (*centre_row)(float *out, const float *x, const float *centre, size_t d);
    /* The largest of scores[i] - bias[i]. count: whole panels, here and below. */
    float (*row_maximum)(const float *scores, const float *bias, size_t count);
    /* The i, rising, at which scores[i] - bias[i] is at least `lowest`. @return how many; room + 1 if
     * there are more than room. */
    size_t (*row_at_least)(uint32_t *found, size_t room, const float *scores, const float *bias,
                           size_t count, float lowest);
} vqi_nearest_kernels;

extern const vqi_nearest_kernels vqi_nearest_portable;
#if defined(__x86_64__)
extern const vqi_nearest_kernels vqi_nearest_avx2, vqi_nearest_avx512;
#endif

/** @return the fastest set that vq_cpu_flags() allows now. */
const vqi_nearest_kernels *vqi_nearest_select(void);

/** The contract kernels on every codeword. scores may be NULL. */
void vqi_nearest_scan(uint32_t *codes, float *scores, const vq_codebook *codebook,
                      const vqi_nearest_kernels *kernels, const float *x, size_t rows);

enum { VQI_BLAS_ROWS = 256 }; /* most rows of one vqi_nearest_blas() */

/** @return 1 if the BLAS shortlist is right for this codebook and expected to be faster for n rows. */
int vqi_nearest_blas_pays(const vq_codebook *codebook, const vqi_nearest_kernels *kernels,
                          size_t n);
/** @return bytes of scratch for up to VQI_BLAS_ROWS rows, a multiple of 64. */
size_t vqi_nearest_blas_scratch(const vq_codebook *codebook, size_t rows);
/** The same codes and scores as vqi_nearest_scan(), by a shortlist. scratch: 64-byte aligned. */
void vqi_nearest_blas(uint32_t *codes, float *scores, const vq_codebook *codebook,
                      const vqi_nearest_kernels *kernels, const float *x, size_t rows,
                      void *scratch);

/**
 * BLAS must run on one thread inside our parallel regions. The OpenMP build does when told so per region;
 * the pthread build of OpenBLAS has one setting per process: begin() changes it, end() restores it.
 */
int vqi_blas_begin(void);
void vqi_blas_end(int saved);

#endif
