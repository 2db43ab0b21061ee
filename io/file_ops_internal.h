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

/**
 * A file that is being written piece by piece: what vq_file_write() promises holds for it, too. Each sink that was
 * opened is closed, committed or not; a failed vqi_sink_open() has closed it.
 */
typedef struct vqi_sink {
    const vqi_file_ops *ops;
    vq_write_opts opts;
    int fd;     /**< may be sought in and read, unless the sink is direct */
    int direct; /**< a pipe, a device, or: */
    int is_stdout;
    char *path;   /**< with symbolic links followed */
    char *folder; /**< that holds it */
    char *
        temporary; /**< path of the new file while it has a name of its own; "" while it has none */
    size_t temporary_size;
    int exists;
    int linked;  /**< the new file has got the target's name already, and is not committed */
    mode_t mode; /**< of the file that is replaced */
} vqi_sink;

vq_status vqi_sink_open(vqi_sink *t, const vqi_file_ops *ops, const char *path,
                        const vq_write_opts *opts);
vq_status vqi_sink_write(vqi_sink *t, const void *data, size_t size);
/** Sync it and give it its name. */
vq_status vqi_sink_commit(vqi_sink *t);
/** Close it; without a commit nothing of it is left. */
void vqi_sink_close(vqi_sink *t);

/** What vq_file_write() does with another table of calls. */
vq_status vqi_file_write(const vqi_file_ops *ops, const char *path, const void *data, size_t size,
                         const vq_write_opts *opts);

/** write() until all is written. @return VQ_OK, VQ_E_IO. */
vq_status vqi_write_all(const vqi_file_ops *ops, int fd, const char *path, const void *bytes,
                        size_t size);
/** After a rename: sync the folder that holds a file, where that can be done. */
void vqi_sync_folder_of(const vqi_file_ops *ops, const char *path);

/** The system's own calls. */
extern const vqi_file_ops vqi_system_file_ops;

#endif
