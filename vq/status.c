/* SPDX-License-Identifier: Apache-2.0 */
#define VQ_ERROR_DEFINITIONS
#include "vq/error_internal.h"
#include "vq/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_error[512];

#define VQ_STRING_(x) #x
#define VQ_STRING(x)  VQ_STRING_(x)

const char *vq_version(void)
{
    return VQ_STRING(VQ_VERSION_MAJOR) "." VQ_STRING(VQ_VERSION_MINOR) "." VQ_STRING(
        VQ_VERSION_PATCH);
}

const char *vq_status_name(vq_status status)
{
    switch (status) {
#define NAME(s)                                                                                    \
    case s:                                                                                        \
        return #s
        NAME(VQ_OK);
        NAME(VQ_E_ARG);
        NAME(VQ_E_NONFINITE);
        NAME(VQ_E_RANGE);
        NAME(VQ_E_NOMEM);
        NAME(VQ_E_IO);
        NAME(VQ_E_CANCELLED);
        NAME(VQ_E_FORMAT);
        NAME(VQ_E_VERSION);
        NAME(VQ_E_LIMIT);
        NAME(VQ_E_CHECKSUM);
        NAME(VQ_E_UNSUPPORTED);
        NAME(VQ_E_MISMATCH);
#undef NAME
    }
    return "VQ_E_?";
}

const char *vq_last_error(void)
{
    return last_error;
}

vq_status vqi_fail(vq_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    return status;
}

vq_status vqi_fail_in(vq_status status, const char *context)
{
    char sentence[sizeof last_error];
    memcpy(sentence, last_error, sizeof sentence);
    return vqi_fail(status, "%s: %s", context, sentence);
}

vq_status vqi_fail_nomem(unsigned long long bytes)
{
    return vqi_fail(VQ_E_NOMEM, "out of memory (%llu bytes were asked for)", bytes);
}
