/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/actions.h
 * Robot actions from and to files, and what other programs say of their ranges.
 */
#ifndef IO_ACTIONS_H
#define IO_ACTIONS_H

#include "io/file.h"
#include "vq/dimensions.h"
#include "vq/signal.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Read actions, the format found from the content: .npy [T, D] or [N, T, D]; .npz with such an array, named "actions" or
 * "action" or the only one (a single number "fps" or "rate" beside it is the rate); else CSV. Every number is finite.
 * @param[out] out owned by the caller, free with vq_signal_free().
 * @return VQ_OK, VQ_E_IO, VQ_E_FORMAT, VQ_E_NONFINITE (the sentence names row and column), VQ_E_LIMIT, VQ_E_CHECKSUM,
 *         VQ_E_UNSUPPORTED, VQ_E_VERSION, VQ_E_NOMEM.
 */
VQ_API vq_status vq_actions_read(vq_signal **out, const char *path, const vq_limits *limits);
VQ_API vq_status vq_actions_parse(vq_signal **out, const void *data, size_t size, const char *name,
                                  const vq_limits *limits);

/** Do the first bytes look like actions: .npy, a zip archive, or text that begins with a number or has a separator? */
VQ_API int vq_actions_probe(const void *data, size_t size);

/** How a file of actions is written. */
typedef enum vq_actions_format { VQ_ACTIONS_NPY = 0, VQ_ACTIONS_CSV = 1 } vq_actions_format;

/** @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM. */
VQ_API vq_status vq_actions_serialize(vq_bytes *out, const vq_signal *signal,
                                      vq_actions_format format);

/**
 * The ranges of an action's dimensions from the statistics of another program: LeRobot's meta/stats.json (an object "action"), or
 * OpenVLA's dataset_statistics.json (such an object for each data set): "q01" and "q99", or "min" and "max" where they are
 * missing; dimensions whose "mask" is false keep min and max.
 * @param key the data set or feature; NULL = "action", or that of the only data set.
 * @return VQ_OK, VQ_E_FORMAT, VQ_E_ARG (no such key; the sentence lists them), VQ_E_RANGE, VQ_E_LIMIT, VQ_E_NOMEM.
 */
VQ_API vq_status vq_dimensions_parse_stats(vq_dimensions **out, const void *data, size_t size,
                                           const char *key, const char *name,
                                           const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
