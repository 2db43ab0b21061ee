/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/memory.h"
#include "vq/memory_internal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A cache line, and the width of an AVX-512 register: every array may be loaded aligned. */
enum { ALIGNMENT = 64 };

static void *libc_alloc(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void libc_free(void *context, void *pointer)
{
    (void)context;
    free(pointer);
}

static vq_allocator current = {libc_alloc, libc_free, NULL};

void vq_set_allocator(const vq_allocator *allocator)
{
    const vq_allocator libc = {libc_alloc, libc_free, NULL};
    current = allocator ? *allocator : libc;
}

void *vqi_alloc(size_t count, size_t size)
{
    size_t bytes, room;
    if (!vqi_mul(&bytes, count, size) || !vqi_add(&room, bytes, ALIGNMENT + sizeof(void *)))
        return NULL;
    /* User allocators promise only malloc's alignment: keep the original pointer just below ours. */
    char *block = current.alloc(current.context, room);
    if (!block)
        return NULL;
    const uintptr_t low = (uintptr_t)block + sizeof(void *);
    char *aligned = block + sizeof(void *) + (ALIGNMENT - low % ALIGNMENT) % ALIGNMENT;
    memcpy(aligned - sizeof block, &block, sizeof block);
    return aligned;
}

void *vqi_calloc(size_t count, size_t size)
{
    void *p = vqi_alloc(count, size);
    if (p)
        memset(p, 0, count * size); /* the product was checked by vqi_alloc */
    return p;
}

char *vqi_strdup(const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = vqi_alloc(bytes, 1);
    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}

void vq_free(void *pointer)
{
    if (!pointer)
        return;
    void *block;
    memcpy(&block, (char *)pointer - sizeof block, sizeof block);
    current.free(current.context, block);
}
