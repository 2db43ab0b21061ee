/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/memory.h
 * The one place where libvq takes and gives back heap memory.
 */
#ifndef VQ_MEMORY_H
#define VQ_MEMORY_H

#include <stddef.h>

#include "vq/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An allocator. alloc() gives memory aligned for any type, or NULL; free() accepts NULL. */
typedef struct vq_allocator {
    void *(*alloc)(void *context, size_t size);
    void (*free)(void *context, void *pointer);
    void *context;
} vq_allocator;

/**
 * Use another allocator for everything that libvq allocates from now on, in the whole process.
 * Call it before any other libvq function, or when no libvq object is alive: what one allocator gave,
 * only that one may free. Not thread-safe. NULL brings malloc()/free() back.
 */
VQ_API void vq_set_allocator(const vq_allocator *allocator);

/** Free an array that libvq returned to the caller (the documentation of the function says so). */
VQ_API void vq_free(void *pointer);

#ifdef __cplusplus
}
#endif
#endif
