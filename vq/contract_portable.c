/* SPDX-License-Identifier: Apache-2.0 */
/* The specification: what the compiler makes of it for any processor. */
#define CONTRACT vqi_contract_portable
#include "vq/contract_template_internal.h"
