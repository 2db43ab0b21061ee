/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file tests/test_support.h
 * What every unit test includes: cmocka, a status assertion that prints the sentence, an allocator that
 * fails on demand, and the way to the real data.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vq/vq.h"

/** The call returned this status. */
#define assert_status(expected, call)                                                              \
    do {                                                                                           \
        const vq_status status_ = (call);                                                          \
        if (status_ != (expected))                                                                 \
            fail_msg("%s: %s (%s), not %s", #call, vq_status_name(status_), vq_last_error(),       \
                     #expected);                                                                   \
    } while (0)
#define assert_ok(call) assert_status(VQ_OK, call)

/** An allocator that fails at the fail_at-th call (from 0), or at that and every later one. */
typedef struct test_allocator {
    long calls, live;
    long fail_at; /**< -1 = never */
    bool sticky;
} test_allocator;

static inline void *failing_alloc(void *context, size_t size)
{
    test_allocator *a = context;
    const long call = __atomic_fetch_add(&a->calls, 1, __ATOMIC_RELAXED);
    if (a->fail_at >= 0 && (call == a->fail_at || (a->sticky && call > a->fail_at)))
        return NULL;
    void *p = malloc(size ? size : 1);
    if (p)
        __atomic_fetch_add(&a->live, 1, __ATOMIC_RELAXED);
    return p;
}

static inline void failing_free(void *context, void *pointer)
{
    test_allocator *a = context;
    if (pointer)
        __atomic_fetch_sub(&a->live, 1, __ATOMIC_RELAXED);
    free(pointer);
}

/**
 * Run a scenario again and again, failing allocation 0, then 1, ... once and then for ever, until none
 * fails any more: each time it must return VQ_E_NOMEM and leave nothing allocated.
 */
static inline void test_allocation_failures(vq_status (*scenario)(void *context), void *context)
{
    for (int sticky = 0; sticky < 2; sticky++)
        for (long i = 0;; i++) {
            test_allocator a = {0, 0, i, sticky};
            const vq_allocator allocator = {failing_alloc, failing_free, &a};
            vq_set_allocator(&allocator);
            const vq_status status = scenario(context);
            vq_set_allocator(NULL);
            if (a.live)
                fail_msg("allocation %ld failed and %ld blocks leaked", i, a.live);
            if (a.calls <= i) { /* the fault never fired: every allocation has had its turn */
                assert_status(VQ_OK, status);
                break;
            }
            if (status != VQ_E_NOMEM)
                fail_msg("allocation %ld failed: %s (%s)", i, vq_status_name(status),
                         vq_last_error());
        }
}

/** The path of a file of the real data; skips the test (not a failure) where the data is absent. */
static inline const char *test_data(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", LIBVQ_DATA_DIR, name);
    if (access(path, R_OK)) {
        print_message("skipped: %s is absent\n", path);
        skip();
    }
    return path;
}

/** splitmix64: the tests' own numbers, the same everywhere. */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/** Uniform in [0, 1). */
static inline double test_uniform(uint64_t *state)
{
    return (double)(test_random(state) >> 11) * 0x1p-53;
}

#endif
