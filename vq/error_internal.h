/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/error_internal.h  How the library sets the sentence behind vq_last_error(). */
#ifndef VQ_ERROR_INTERNAL_H
#define VQ_ERROR_INTERNAL_H

#include "vq/status.h"

/** Set the sentence and return `status`, so that a failure is one line: return vqi_fail(...). */
vq_status vqi_fail(vq_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/** Put "context: " before the sentence that is already there; used where a file name is known late. */
vq_status vqi_fail_in(vq_status status, const char *context);

/** VQ_E_NOMEM with the number of bytes that could not be had. */
vq_status vqi_fail_nomem(unsigned long long bytes);

/* That a failure is never VQ_OK is not to be seen by who analyses one file at a time: say it. */
#if (defined(__clang_analyzer__) || defined(__cppcheck__)) && !defined(VQ_ERROR_DEFINITIONS)
#define vqi_fail(status, ...) (vqi_fail((status), __VA_ARGS__), (status))
#define vqi_fail_nomem(bytes) (vqi_fail_nomem(bytes), VQ_E_NOMEM)
#endif

#endif
