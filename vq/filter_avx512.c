/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -mavx512f and so on (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#define LANES 16
#define ROWS  6 /* x 4 sums, 24 of 32 registers */
#define OPS   vqi_float_avx512
#include "vq/filter_template_internal.h"
