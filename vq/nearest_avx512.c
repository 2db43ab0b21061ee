/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -mavx512f and so on (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#define LANES   16
#define KERNELS vqi_nearest_avx512
#include "vq/nearest_template_internal.h"
