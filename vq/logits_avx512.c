/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -mavx512f and so on (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#define LOGITS   vqi_logit_avx512
#define VQI_WIDE 16
#include "vq/logits_template_internal.h"
