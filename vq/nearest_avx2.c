/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -mavx2 (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#define LANES   8
#define KERNELS vqi_nearest_avx2
#include "vq/nearest_template_internal.h"
