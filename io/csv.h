/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/csv.h
 * Actions as text: one line per step, numbers with a point, separated by commas, semicolons or tabs.
 */
#ifndef IO_CSV_H
#define IO_CSV_H

#include "io/file.h"
#include "vq/signal.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Read a table. A first line that holds a field which is no number is a header, whose names are kept; fields may be quoted. A
 * column named "time" or "timestamp" (seconds, rising) is not an action: it gives the rate. Empty lines are skipped.
 * @param[out] out T x D, owned by the caller, free with vq_signal_free().
 * @param      name for the sentences, or NULL.
 * @return VQ_OK, VQ_E_FORMAT (the sentence names row and column, from 1), VQ_E_NONFINITE, VQ_E_LIMIT, VQ_E_NOMEM.
 */
VQ_API vq_status vq_csv_parse(vq_signal **out, const void *data, size_t size, const char *name,
                              const vq_limits *limits);

/**
 * Write T x D or N x T x D (episode after episode): a header if there are names or a rate, with a rate a column "timestamp", and
 * numbers of nine digits, which give the same float32 again.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM.
 */
VQ_API vq_status vq_csv_serialize(vq_bytes *out, const vq_signal *signal);

#ifdef __cplusplus
}
#endif
#endif
