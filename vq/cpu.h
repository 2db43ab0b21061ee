/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/cpu.h
 * Which instruction sets the kernels may use. Tokens never depend on it: it changes speed only.
 */
#ifndef VQ_CPU_H
#define VQ_CPU_H

#include <stdint.h>

#include "vq/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vq_cpu_flag {
    VQ_CPU_AVX2 = 1 << 0,   /**< AVX2, FMA and F16C */
    VQ_CPU_AVX512 = 1 << 1, /**< AVX-512 F, BW, DQ and VL, with AVX2 */
    VQ_CPU_SSE42 = 1 << 2,  /**< SSE4.2 (CRC32C) */
    VQ_CPU_VNNI = 1 << 3,   /**< AVX-512 VNNI (int8 dot products), with AVX-512 */
    VQ_CPU_AMX = 1 << 4     /**< AMX tiles of bfloat16, and AVX-512 BF16, with AVX-512 */
} vq_cpu_flag;

/** @return the flags of this processor, as far as the operating system saves their registers, and masked. */
VQ_API uint32_t vq_cpu_flags(void);

/**
 * Allow only these flags from now on, in the whole process; UINT32_MAX allows all. For tests, bug
 * reports and `--cpu`. Kernels look at it at the start of each call.
 */
VQ_API void vq_cpu_set_mask(uint32_t mask);

/**
 * Read a mask as `--cpu` spells it: "all", "none" (portable C), or the widest set allowed, which implies those
 * before it: "avx2", "avx512", "vnni", "amx".
 * @return VQ_OK or VQ_E_ARG, whose sentence lists the words.
 */
VQ_API vq_status vq_cpu_parse_mask(uint32_t *mask, const char *text);

#ifdef __cplusplus
}
#endif
#endif
