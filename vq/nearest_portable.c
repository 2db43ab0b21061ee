/* SPDX-License-Identifier: Apache-2.0 */
/* The baseline of every machine: 16-byte vectors, or scalars where there are none. */
#define LANES   4
#define KERNELS vqi_nearest_portable
#include "vq/nearest_template_internal.h"
