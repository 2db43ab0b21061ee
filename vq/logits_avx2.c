/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -mavx2 -mfma -mf16c (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#define LOGITS   vqi_logit_avx2
#define VQI_WIDE 8
#include "vq/logits_template_internal.h"
