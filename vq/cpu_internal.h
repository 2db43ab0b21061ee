/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/cpu_internal.h What the processor has, whatever the mask says now. */
#ifndef VQ_CPU_INTERNAL_H
#define VQ_CPU_INTERNAL_H

#include "vq/cpu.h"

/** The flags of vq_cpu_flags(), unmasked: for what outlives the mask, as a prepared codebook does. */
uint32_t vqi_cpu_all_flags(void);

#endif
