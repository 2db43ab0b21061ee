/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/export.h  Which symbols libvq gives away, and its version. */
#ifndef VQ_EXPORT_H
#define VQ_EXPORT_H

/* Everything is hidden unless marked. VQ_STATIC is set for users of the static library. */
#if defined(VQ_STATIC)
#define VQ_API
#elif defined(_WIN32)
#if defined(VQ_BUILDING)
#define VQ_API __declspec(dllexport)
#else
#define VQ_API __declspec(dllimport)
#endif
#else
#define VQ_API __attribute__((visibility("default")))
#endif

#define VQ_VERSION_MAJOR 0
#define VQ_VERSION_MINOR 1
#define VQ_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/** @return the version of the library that is running, "major.minor.patch"; static storage. */
VQ_API const char *vq_version(void);

#ifdef __cplusplus
}
#endif
#endif
