/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/json_internal.h
 * JSON of untrusted files, through jansson, with our limits and statuses.
 */
#ifndef IO_JSON_INTERNAL_H
#define IO_JSON_INTERNAL_H

#include <jansson.h>

#include "vq/limits.h"

typedef enum vqi_json_verdict {
    VQI_JSON_VALID,
    VQI_JSON_INVALID,
    VQI_JSON_TOO_DEEP
} vqi_json_verdict;

/** Is a text one JSON value, nested at most max_depth deep? `offset` is where the scan ended. */
vqi_json_verdict vqi_json_check(size_t *offset, const char *text, size_t size, uint32_t max_depth);

/**
 * Parse an object; duplicate keys are refused, and nesting beyond limits->max_json_depth.
 * @param offset where the text lies in the file, for the sentence.
 * @param limits resolved.
 * @return VQ_OK (json_decref() it), VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_NOMEM.
 */
vq_status vqi_json_parse(json_t **out, const char *text, size_t size, size_t offset,
                         const vq_limits *limits);

#endif
