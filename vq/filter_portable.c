/* SPDX-License-Identifier: Apache-2.0 */
/* For any processor: SSE2 on x86-64, NEON on AArch64, which has 32 registers. */
#define LANES 4
#if defined(__x86_64__)
#define ROWS 3 /* x 4 sums, 12 of 16 registers */
#else
#define ROWS 6
#endif
#define OPS vqi_float_portable
#include "vq/filter_template_internal.h"
