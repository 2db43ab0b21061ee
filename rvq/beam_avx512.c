/* SPDX-License-Identifier: Apache-2.0 */
/* The beam search's kernels in AVX-512, compiled with -mavx512bw and so on; called only where vq_cpu_flags() says so. */
#define LANES 16
#define ROWS  6
#define OPS   vqi_beam_avx512
#include "rvq/beam_template_internal.h"
