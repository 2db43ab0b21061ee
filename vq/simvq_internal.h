/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/simvq_internal.h  What the files of SimVQ share: codewords from basis and map, and the map from sums. */
#ifndef VQ_SIMVQ_INTERNAL_H
#define VQ_SIMVQ_INTERNAL_H

#include "vq/quantizer_internal.h"
#include "vq/simvq.h"

extern const vqi_quantizer_kind vqi_simvq_kind;

/* Of the kind, see quantizer_internal.h. */
vq_status vqi_simvq_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix);
vq_status vqi_simvq_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                         const vq_limits *limits);

/** For callers that need codebooks: a SimVQ without codewords is replaced by the same with them, *made, which is the
 *  caller's; otherwise *made is NULL. @return VQ_OK or VQ_E_NOMEM. */
vq_status vqi_simvq_with_codewords(vq_quantizer **made, const vq_quantizer **quantizer);

/** Check and resolve: struct_size, k, dim, basis_dim (0 becomes dim). `what` names the caller's struct. */
vq_status vqi_simvq_check(vq_simvq_form *own, const vq_simvq_form *form);

/**
 * Codewords b + q W of basis rows, in float32: begun with b (+0 without), then q_i W_i for rising i.
 * @param[out] codewords count x d. @param basis count x r. @param map r x d. @param bias d or NULL.
 */
void vqi_simvq_apply(float *codewords, const float *basis, size_t count, const float *map,
                     const float *bias, uint32_t r, uint32_t d, int threads);

/** The same on the caller's thread alone. */
void vqi_simvq_rows(float *codewords, const float *basis, size_t count, const float *map,
                    const float *bias, uint32_t r, uint32_t d);

/** Elements of one basis row: `count` from `first` on. */
void vqi_simvq_basis_part(float *part, uint64_t seed, uint32_t basis_dim, uint32_t row,
                          uint32_t first, uint32_t count);

/** As vq_simvq_create(), with the search that is asked for. */
vq_status vqi_simvq_create(vq_quantizer **out, const vq_simvq_form *form, const float *map,
                           const float *bias, vq_simvq_search search);

/** All K codewords of a form, whose basis is made piece by piece. @return VQ_OK or VQ_E_NOMEM. */
vq_status vqi_simvq_codewords(float *codewords, const vq_simvq_form *form, const float *map,
                              const float *bias);

/** The normal equations of the map, and room to solve them: made once for many fits. */
typedef struct vqi_simvq_solver {
    uint32_t k, r, d;
    uint32_t size;  /* r, and 1 more with a bias: the unknowns of a column */
    int ridge_bias; /* 1 = the ridge holds the bias too */
    double *a;      /* size x size, the lower triangle */
    double *b;      /* size x d: right-hand sides, then the solution */
} vqi_simvq_solver;

/** W and b uniform in +-1/sqrt(r). */
void vqi_simvq_start_uniform(float *map, float *bias, uint32_t r, uint32_t d, uint64_t seed);
/** W and b with which the codewords have the mean and covariance of the rows, as far as r dimensions can; without a
 *  bias, their second moments about 0. @return VQ_OK, VQ_E_NONFINITE, VQ_E_NOMEM, or what the source says. */
vq_status vqi_simvq_start_moments(float *map, float *bias, uint32_t r, const vq_source *source,
                                  int threads);
/** `wanted` of the rows (at most all), spread evenly: number s is row floor(s n / wanted). @param[out] sample owned by the caller. */
vq_status vqi_simvq_sample(float **sample, size_t *sampled, const vq_source *source, size_t wanted);

vq_status vqi_simvq_solver_create(vqi_simvq_solver *solver, uint32_t k, uint32_t r, uint32_t d,
                                  int bias);
void vqi_simvq_solver_clear(vqi_simvq_solver *solver);
/**
 * The map and bias that minimise sum_k weight_k |q_k W + b - sum_k / weight_k|^2 + ridge |W|^2.
 * @param basis  k x r. @param weight k, >= 0. @param sum k x d.
 * @param ridge  in shares of the mean of weight_k q_ki^2 over i, summed over k: of a diagonal element.
 * @return VQ_OK; VQ_E_NONFINITE (the solution overflows float32); VQ_E_NOMEM.
 */
vq_status vqi_simvq_solve(float *map, float *bias, vqi_simvq_solver *solver, const float *basis,
                          const double *weight, const double *sum, double ridge, int threads);

#endif
