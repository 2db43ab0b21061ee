/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/cpu_internal.h"

#include <stdatomic.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif
#if defined(__x86_64__)
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include "vq/error_internal.h"

#define UNKNOWN 0x80000000u /* no flag */

static atomic_uint flags_found = UNKNOWN, mask_now = UINT32_MAX;

#if defined(__x86_64__) || defined(__i386__)
/* Every processor with FMA has it, but clang's builtin does not know the word. */
static int has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

#if defined(__x86_64__)
/* Linux gives the tile registers' 8 KiB to a process that asks for them. */
static int may_use_tiles(void)
{
#if defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return 0;
#endif
}

static int has_amx(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AVX512_BF16 = 1 << 5 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & AMX_BF16) || !(d & AMX_TILE))
        return 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVX512_BF16) && may_use_tiles();
}
#endif

static uint32_t detect(void)
{
    uint32_t flags = 0;
#if defined(__x86_64__) || defined(__i386__)
    /* The builtins ask the operating system (XGETBV) whether it saves the wide registers. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2"))
        flags |= VQ_CPU_SSE42;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        flags |= VQ_CPU_AVX2;
    if ((flags & VQ_CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        flags |= VQ_CPU_AVX512;
    if ((flags & VQ_CPU_AVX512) && __builtin_cpu_supports("avx512vnni"))
        flags |= VQ_CPU_VNNI;
#endif
#if defined(__x86_64__)
    if ((flags & VQ_CPU_AVX512) && has_amx())
        flags |= VQ_CPU_AMX;
#endif
    return flags;
}

uint32_t vqi_cpu_all_flags(void)
{
    /* Asking costs microseconds (CPUID leaves a virtual machine, AMX is a system call): ask once. Two
     * threads that ask at once find the same. */
    uint32_t flags = atomic_load_explicit(&flags_found, memory_order_relaxed);
    if (flags == UNKNOWN) {
        flags = detect();
        atomic_store_explicit(&flags_found, flags, memory_order_relaxed);
    }
    return flags;
}

uint32_t vq_cpu_flags(void)
{
    return vqi_cpu_all_flags() & atomic_load_explicit(&mask_now, memory_order_relaxed);
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
                 {"avx512", VQ_CPU_SSE42 | VQ_CPU_AVX2 | VQ_CPU_AVX512},
                 {"vnni", VQ_CPU_SSE42 | VQ_CPU_AVX2 | VQ_CPU_AVX512 | VQ_CPU_VNNI},
                 {"amx", VQ_CPU_SSE42 | VQ_CPU_AVX2 | VQ_CPU_AVX512 | VQ_CPU_VNNI | VQ_CPU_AMX}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(text, words[i].word)) {
            *mask = words[i].mask;
            return VQ_OK;
        }
    return vqi_fail(VQ_E_ARG, "\"%s\" is not a CPU mask (use all, none, avx2, avx512, vnni or amx)",
                    text);
}
