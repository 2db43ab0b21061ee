/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -mavx2 -mfma (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#define LANES      8
#define ROWS       3 /* x 4 sums, 12 of 16 registers */
#define PANEL_ROWS 6 /* x 2 */
#define OPS        vqi_float_avx2
#include "vq/filter_template_internal.h"
