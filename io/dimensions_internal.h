/* SPDX-License-Identifier: Apache-2.0 */
/** @file io/dimensions_internal.h  The dimensions of an action as JSON: the entry "dimensions" of HEAD. */
#ifndef IO_DIMENSIONS_INTERNAL_H
#define IO_DIMENSIONS_INTERNAL_H

#include "io/json_internal.h"
#include "vq/dimensions.h"

/** @return a new reference; NULL when there is no memory. Names are UTF-8. */
json_t *vqi_dimensions_to_json(const vq_dimensions *dimensions);

/** @return VQ_OK, VQ_E_FORMAT (not `count` dimensions, or numbers that cannot be), VQ_E_NOMEM. */
vq_status vqi_dimensions_from_json(vq_dimensions **out, const json_t *json, size_t count);

#endif
