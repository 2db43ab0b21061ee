/* SPDX-License-Identifier: Apache-2.0 */
/* The beam search's kernels in AVX2, compiled with -mavx2 -mfma; called only where vq_cpu_flags() says so. */
#define LANES 8
#define ROWS  3
#define OPS   vqi_beam_avx2
#include "rvq/beam_template_internal.h"
