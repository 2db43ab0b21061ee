/* SPDX-License-Identifier: Apache-2.0 */
/* The beam search's kernels for any processor. */
#define LANES 4
#define ROWS  2
#define OPS   vqi_beam_portable
#include "rvq/beam_template_internal.h"
