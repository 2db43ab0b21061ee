/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/image_metrics.h
 * How close two pictures are.
 */
#ifndef CODECS_IMAGE_METRICS_H
#define CODECS_IMAGE_METRICS_H

#include "vq/signal.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vq_image_quality {
    double mse;     /**< per sample, range [0, 1], over all colour channels */
    double psnr_db; /**< 10 log10(1 / mse); infinity if the pictures are equal */
    double ssim; /**< of the luma: Wang et al. 2004, 11 x 11 Gaussian window of 1.5, data range 1;
                         NaN if a side is below 11 */
    double ms_ssim; /**< of the luma: Wang et al. 2003, 5 scales; NaN if a side is below 176 */
} vq_image_quality;

/**
 * Compare two pictures of one shape. Samples are first clipped to [0, 1] and rounded to 8 bits, as a
 * viewer would see them; alpha is ignored. Luma is 0.299 R + 0.587 G + 0.114 B.
 * @return VQ_OK, VQ_E_ARG (shapes differ, not pictures), VQ_E_NONFINITE, VQ_E_NOMEM.
 */
VQ_API vq_status vq_image_compare(vq_image_quality *out, const vq_signal *reference,
                                  const vq_signal *other);

#ifdef __cplusplus
}
#endif
#endif
