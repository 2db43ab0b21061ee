/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -mavx2 (CMakeLists.txt); called only where vq_cpu_flags() says so. */
#define CONTRACT vqi_contract_avx2
#include "vq/contract_template_internal.h"
