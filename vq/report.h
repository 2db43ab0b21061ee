/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/report.h
 * The one report: what a quantizer does to given data, level by level.
 */
#ifndef VQ_REPORT_H
#define VQ_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "vq/quantizer.h"
#include "vq/tokens.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One level. The error is that of the vectors decoded from levels 0 up to this one. */
typedef struct vq_level_report {
    uint32_t k;
    uint32_t used;       /**< codes that occurred */
    uint32_t dead;       /**< k - used */
    double utilisation;  /**< used / k; say beside it how many vectors there were */
    double entropy_bits; /**< order-0 entropy of the codes, bits per code */
    double perplexity;   /**< 2^entropy_bits */
    double mse;          /**< mean squared error per dimension; NaN if only codes were added */
    double snr_db;       /**< 10 log10(mean square of the data / mse); NaN likewise */
} vq_level_report;

/** Counts and errors that grow as data is added. Holds 8 bytes for each code, or, where K is above 2^20, at most 48 for
 *  each code that occurred and each vector of a call. Not thread-safe. */
typedef struct vq_report vq_report;

/** @param k levels sizes. @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM. */
VQ_API vq_status vq_report_create(vq_report **out, uint32_t levels, const uint32_t *k);
VQ_API void vq_report_free(vq_report *report);

/**
 * Add vectors and the codes that `quantizer` gave them, n x levels.
 * @return VQ_OK, VQ_E_ARG, VQ_E_RANGE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_report_add(vq_report *report, const vq_quantizer *quantizer, const float *x,
                               const uint32_t *codes, size_t n);

/** Add a signal's tokens, codes only. The levels may be fewer than the report's. @return as above. */
VQ_API vq_status vq_report_add_tokens(vq_report *report, const vq_tokens *tokens);

/** @return the number of vectors (or grid positions) added so far. */
VQ_API uint64_t vq_report_vectors(const vq_report *report);
/** @return VQ_OK, or VQ_E_ARG if there is no such level. */
VQ_API vq_status vq_report_level(vq_level_report *out, const vq_report *report, uint32_t level);

#ifdef __cplusplus
}
#endif
#endif
