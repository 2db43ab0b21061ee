/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine can do at most, as JSON on standard output: operations per second of loops that live in registers
 * (a multiplication and an addition are two), and bytes read per second from an array of 1 GiB and of 16 MiB; each
 * with one thread and with all. A limit that this processor lacks is left out.
 */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vq/cpu.h"

#define NOINLINE __attribute__((noinline))

/* `rounds` turns of a loop; returns something that depends on all of it. */
typedef double loop(uint64_t rounds, const void *array, size_t bytes);

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    CHAINS = 12
}; /* sums that do not wait for each other: latency 4 to 5, two or less a cycle */

__attribute__((target("avx512f"))) NOINLINE static double
f32_avx512(uint64_t rounds, const void *array, size_t bytes)
{
    (void)array, (void)bytes;
    __m512 sums[CHAINS], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm512_fmadd_ps(sums[i], a, b);
    }
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return _mm512_reduce_add_ps(sums[0]);
}

__attribute__((target("avx2,fma"))) NOINLINE static double f32_avx2(uint64_t rounds,
                                                                    const void *array, size_t bytes)
{
    (void)array, (void)bytes;
    __m256 sums[CHAINS], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm256_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm256_fmadd_ps(sums[i], a, b);
    }
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm256_add_ps(sums[0], sums[i]);
    float lanes[8];
    _mm256_storeu_ps(lanes, sums[0]);
    return lanes[0] + lanes[7];
}

__attribute__((target("avx512f,avx512vnni"))) NOINLINE static double
int8_vnni(uint64_t rounds, const void *array, size_t bytes)
{
    (void)array, (void)bytes;
    __m512i sums[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2);
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_set1_epi32(i);
    for (uint64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
    }
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm512_xor_si512(sums[0], sums[i]);
    return _mm512_reduce_add_epi32(sums[0]);
}

__attribute__((target("avx512f,avx512bf16"))) NOINLINE static double
bf16_avx512(uint64_t rounds, const void *array, size_t bytes)
{
    (void)array, (void)bytes;
    const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
    __m512 sums[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
    }
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return _mm512_reduce_add_ps(sums[0]);
}

__attribute__((target("amx-tile,amx-bf16"))) NOINLINE static double
bf16_amx(uint64_t rounds, const void *array, size_t bytes)
{
    (void)array, (void)bytes;
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t columns[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        shape.columns[t] = 64;
        shape.rows[t] = 16;
    }
    float out[16][16];
    memset(out, 0, sizeof out);
    _tile_loadconfig(&shape);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, out, 64);
    _tile_loadd(5, out, 64);
    _tile_loadd(6, out, 64);
    _tile_loadd(7, out, 64);
    for (uint64_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, 64);
    _tile_release();
    return out[0][0];
}
#endif

#define INLINE static inline __attribute__((always_inline))

typedef uint64_t wide __attribute__((vector_size(64)));

/* A round is one pass over the array. */
INLINE double read_all(uint64_t rounds, const void *array, size_t bytes)
{
    const wide *p = array;
    wide a = {0}, b = {0}, c = {0}, d = {0};
    for (uint64_t r = 0; r < rounds; r++) {
        for (size_t i = 0; i < bytes / sizeof *p; i += 4) {
            a += p[i];
            b += p[i + 1];
            c += p[i + 2];
            d += p[i + 3];
        }
        __asm__ volatile("" ::: "memory"); /* no pass may be left out */
    }
    a += b + c + d;
    return (double)(a[0] + a[3] + a[7]);
}

NOINLINE static double read_base(uint64_t rounds, const void *array, size_t bytes)
{
    return read_all(rounds, array, bytes);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) NOINLINE static double
read_avx512(uint64_t rounds, const void *array, size_t bytes)
{
    return read_all(rounds, array, bytes);
}
#endif

/* The most work per second that `threads` threads did, each its own share of the array; `work` of one round of all. */
static double most(loop *run, double work, const char *array, size_t bytes, int threads)
{
    enum { ATTEMPTS = 30 };
    const double long_enough = 0.02; /* short, to find a moment that nothing else takes */
    double best = 0, sink = 0;
    uint64_t rounds = 1;
    for (int attempt = 0; attempt < ATTEMPTS;) {
        double seconds = 0;
#pragma omp parallel num_threads(threads) reduction(max : seconds) reduction(+ : sink)
        {
            const size_t share = bytes / (size_t)threads / 256 * 256;
#pragma omp barrier
            const double start = omp_get_wtime();
            sink += run(rounds, array ? array + share * (size_t)omp_get_thread_num() : NULL, share);
#pragma omp barrier
            seconds = omp_get_wtime() - start;
        }
        if (seconds < long_enough && attempt == 0) {
            rounds *= 2;
            continue;
        }
        const double rate = work * (double)rounds / seconds;
        best = rate > best ? rate : best;
        attempt++;
    }
    /* The sum is used, so that no loop is left out; it is never this number. */
    return sink == 0.123 ? 0 : best;
}

static void print(const char *name, loop *run, double work_of_thread)
{
    const int all = omp_get_max_threads();
    printf("\"%s\": [%.6g, %.6g], ", name, most(run, work_of_thread, NULL, 0, 1),
           most(run, work_of_thread * all, NULL, 0, all));
}

static void print_reading(const char *name, loop *run, const char *array, size_t bytes)
{
    const int all = omp_get_max_threads();
    printf("\"%s\": [%.6g, %.6g], ", name, most(run, (double)bytes, array, bytes, 1),
           most(run, (double)bytes, array, bytes, all));
}

int main(void)
{
    const size_t large = (size_t)1 << 30, small = (size_t)16 << 20;
    char *array = aligned_alloc(4096, large);
    if (!array) {
        fprintf(stderr, "bench_limits: no memory for an array of 1 GiB\n");
        return 1;
    }
    memset(array, 1, large);
    loop *reading = read_base;
    printf("{");
#if defined(__x86_64__)
    const uint32_t flags = vq_cpu_flags();
    if (flags & VQ_CPU_AVX2)
        print("f32_avx2", f32_avx2, CHAINS * 8 * 2);
    if (flags & VQ_CPU_AVX512) {
        reading = read_avx512;
        print("f32_avx512", f32_avx512, CHAINS * 16 * 2);
        if (__builtin_cpu_supports("avx512bf16"))
            print("bf16_avx512", bf16_avx512, CHAINS * 32 * 2);
    }
    if (flags & VQ_CPU_VNNI)
        print("int8_vnni", int8_vnni, CHAINS * 64 * 2);
    if (flags & VQ_CPU_AMX)
        print("bf16_amx", bf16_amx, 4 * 16 * 16 * 32 * 2);
#endif
    print_reading("read_1_gib", reading, array, large);
    print_reading("read_16_mib", reading, array, small);
    printf("\"threads\": %d}\n", omp_get_max_threads());
    free(array);
    return 0;
}
