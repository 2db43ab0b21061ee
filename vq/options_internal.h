/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/options_internal.h  How an options struct of an older or newer caller is read. */
#ifndef VQ_OPTIONS_INTERNAL_H
#define VQ_OPTIONS_INTERNAL_H

#include <stddef.h>

#include "vq/status.h"

/**
 * Copy the caller's options over zeros, so that fields that the caller's header did not have yet are 0
 * = default. Every options struct begins with size_t struct_size.
 * @param own     the struct as this library knows it, own_size bytes; own->struct_size becomes own_size.
 * @param theirs  the caller's, or NULL for all defaults.
 * @param what    the type's name, for the sentence.
 * @return VQ_OK, or VQ_E_ARG if struct_size is too small, or larger than ours with fields set that
 *         this library does not know.
 */
vq_status vqi_options(void *own, size_t own_size, const void *theirs, const char *what);

#endif
