/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/file_ops_internal.h
 * The system calls that writing a file makes, as a table, so that a test can make each of them fail.
 */
#ifndef IO_FILE_OPS_INTERNAL_H
#define IO_FILE_OPS_INTERNAL_H

#include <sys/stat.h>
#include <sys/types.h>

#include "io/file.h"

typedef struct vqi_file_ops {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*write)(int fd, const void *data, size_t size);
    int (*fchmod)(int fd, mode_t mode);
    int (*fsync)(int fd);
    int (*close)(int fd);
    int (*link_open)(int fd, const char *path); /**< give a name to a nameless file that is open */
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
} vqi_file_ops;

/** What vq_file_write() does with another table of calls. */
vq_status vqi_file_write(const vqi_file_ops *ops, const char *path, const void *data, size_t size,
                         const vq_write_opts *opts);

/** The system's own calls. */
extern const vqi_file_ops vqi_system_file_ops;

#endif
