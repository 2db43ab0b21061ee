/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file codecs/action.h
 * Chunks of robot actions to codes and back in a control loop: no allocation after opening, bounded time, and a fixed number of codes.
 *
 * The codec "action" cuts T steps into chunks of H. Each dimension of a chunk is mapped to [-1, 1] (vq/dimensions.h), transformed by
 * an orthonormal DCT-II over time (Ahmed, Natarajan and Rao 1974; for actions: FAST, Pertsch et al. 2025), and its H coefficients
 * are one vector of a residual quantizer (as VQ-BeT, Lee et al. 2024, quantizes chunks). A chunk is D x levels codes, and every
 * array of codes decodes to finite actions within the ranges that were seen and their margin. The codec "bins" is the same with H = 1
 * and a quantizer of 256 even bins of [-1, 1] (RT-2, Brohan et al. 2023; OpenVLA, Kim et al. 2024).
 *
 *     vq_codec_open(&codec, "arm.safetensors", NULL);
 *     vq_action_open(&action, codec, NULL);
 *     vq_action_encode(codes, action, chunk, 16);      // 16 x D floats, row-major
 *     vq_action_decode(chunk, action, codes);
 */
#ifndef CODECS_ACTION_H
#define CODECS_ACTION_H

#include "codecs/codec.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What one loop needs: for one thread at a time. */
typedef struct vq_action vq_action;

typedef struct vq_action_opts {
    size_t struct_size; /**< sizeof(vq_action_opts) */
    uint32_t levels;    /**< 0 = the model's default */
    const vq_dimensions *
        dimensions; /**< ranges, copied; NULL = the model's own, which a universal model does not have */
    uint32_t beam; /**< of the search, 0 = 1: as in vq_quantize_opts */
} vq_action_opts;

#define VQ_ACTION_OPTS_INIT                                                                        \
    {                                                                                              \
        sizeof(vq_action_opts), 0, NULL, 0                                                         \
    }

/**
 * Prepare a loop.
 * @param[out] out   owned by the caller, free with vq_action_free().
 * @param      codec "action" or "bins"; must outlive it.
 * @return VQ_OK, VQ_E_ARG (another codec; levels; no ranges; ranges for another D than the model's), VQ_E_RANGE (impossible
 *         ranges), VQ_E_NOMEM.
 */
VQ_API vq_status vq_action_open(vq_action **out, const vq_codec *codec, const vq_action_opts *opts);
VQ_API void vq_action_free(vq_action *action);

/** @return H, the steps of a chunk. */
VQ_API uint32_t vq_action_horizon(const vq_action *action);
/** @return D. */
VQ_API size_t vq_action_dimensions(const vq_action *action);
/** @return the codes of a chunk: levels x D. */
VQ_API size_t vq_action_codes(const vq_action *action);

/**
 * A chunk to codes. Allocates nothing.
 * @param[out] codes levels x D, the level slowest, as in vq_tokens: the first n x D codes are what n levels give.
 * @param      chunk steps x D in the user's units, row-major, finite; values beyond the ranges and their margin are held there.
 * @param      steps 1 to H; of a shorter chunk the last step is held.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE.
 */
VQ_API vq_status vq_action_encode(uint32_t *codes, vq_action *action, const float *chunk,
                                  size_t steps);

/**
 * Codes to a chunk. Allocates nothing. Any codes below their K give a chunk that can be sent to the robot.
 * @param[out] chunk H x D, row-major.
 * @return VQ_OK, VQ_E_RANGE (a code is not below its K; the chunk is untouched).
 */
VQ_API vq_status vq_action_decode(float *chunk, vq_action *action, const uint32_t *codes);

#ifdef __cplusplus
}
#endif
#endif
