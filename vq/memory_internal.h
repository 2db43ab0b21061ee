/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/memory_internal.h  Allocation with the multiplication inside, so that it is checked. */
#ifndef VQ_MEMORY_INTERNAL_H
#define VQ_MEMORY_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "vq/memory.h"

/** count * size bytes, 64-byte aligned, uninitialised; NULL on overflow or when there is no memory. */
void *vqi_alloc(size_t count, size_t size);
/** The same, zeroed. */
void *vqi_calloc(size_t count, size_t size);
/** A copy of a string. */
char *vqi_strdup(const char *text);
#define vqi_free vq_free

/** a * b, or false if it does not fit. The only place where sizes that came from a file are multiplied. */
static inline bool vqi_mul(size_t *product, size_t a, size_t b)
{
    return !__builtin_mul_overflow(a, b, product);
}

static inline bool vqi_add(size_t *sum, size_t a, size_t b)
{
    return !__builtin_add_overflow(a, b, sum);
}

#endif
