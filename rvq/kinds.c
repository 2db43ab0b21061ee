/* SPDX-License-Identifier: Apache-2.0 */
/* The list of quantizer kinds that vq_quantizer_load() knows: here, where all of them are visible. */
#include <stddef.h>

#include "rvq/product_internal.h"
#include "rvq/projected_internal.h"
#include "rvq/residual_internal.h"
#include "rvq/split_internal.h"
#include "vq/scalar_internal.h"
#include "vq/simvq_internal.h"

const vqi_quantizer_kind *const vqi_quantizer_kinds[] = {
    &vqi_flat_kind, &vqi_residual_kind, &vqi_product_kind, &vqi_split_kind,     &vqi_fsq_kind,
    &vqi_lfq_kind,  &vqi_bsq_kind,      &vqi_simvq_kind,   &vqi_projected_kind, NULL,
};
