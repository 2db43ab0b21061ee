/* SPDX-License-Identifier: Apache-2.0 */
/** @file rvq/split_internal.h  What the list of kinds needs of the split quantizer. */
#ifndef RVQ_SPLIT_INTERNAL_H
#define RVQ_SPLIT_INTERNAL_H

#include "rvq/split.h"
#include "vq/quantizer_internal.h"

extern const vqi_quantizer_kind vqi_split_kind;

#endif
