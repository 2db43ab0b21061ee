/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/cpu.h"

#include <stdatomic.h>
#include <string.h>

#include "vq/error_internal.h"

static atomic_uint mask_now = UINT32_MAX;

static uint32_t detect(void)
{
    uint32_t flags = 0;
#if defined(__x86_64__) || defined(__i386__)
    /* The builtins ask the operating system (XGETBV) whether it saves the wide registers. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2"))
        flags |= VQ_CPU_SSE42;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        flags |= VQ_CPU_AVX2;
    if ((flags & VQ_CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        flags |= VQ_CPU_AVX512;
#endif
    return flags;
}

uint32_t vq_cpu_flags(void)
{
    return detect() & atomic_load_explicit(&mask_now, memory_order_relaxed);
}

void vq_cpu_set_mask(uint32_t mask)
{
    atomic_store_explicit(&mask_now, mask, memory_order_relaxed);
}

vq_status vq_cpu_parse_mask(uint32_t *mask, const char *text)
{
    static const struct {
        const char *word;
        uint32_t mask;
    } words[] = {{"all", UINT32_MAX},
                 {"none", 0},
                 {"avx2", VQ_CPU_SSE42 | VQ_CPU_AVX2},
                 {"avx512", VQ_CPU_SSE42 | VQ_CPU_AVX2 | VQ_CPU_AVX512}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(text, words[i].word)) {
            *mask = words[i].mask;
            return VQ_OK;
        }
    return vqi_fail(VQ_E_ARG, "\"%s\" is not a CPU mask (use all, none, avx2 or avx512)", text);
}
