/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole or not at all. The bytes go to a file without a name (O_TMPFILE), which vanishes by itself if the
 * process is killed; only when it is complete and synced does it get a name, and then replaces the old file by
 * a rename. Where the file system has no nameless files, a file beside the target takes their place.
 */
#define _GNU_SOURCE /* O_TMPFILE */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file_ops_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

#ifndef O_TMPFILE
#define O_TMPFILE 0
#endif

enum { NAME_ATTEMPTS = 100 };

static int system_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static int system_link_open(int fd, const char *path)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

const vqi_file_ops vqi_system_file_ops = {system_open,      write,  fchmod, fsync, close,
                                          system_link_open, rename, unlink};

static vq_status io_error(const char *path, const char *what, int error)
{
    return vqi_fail(VQ_E_IO, "%s: %s (%s)", path, what, strerror(error));
}

vq_status vqi_write_all(const vqi_file_ops *ops, int fd, const char *path, const void *bytes,
                        size_t size)
{
    const uint8_t *data = bytes;
    while (size) {
        const ssize_t n = ops->write(fd, data, size);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return io_error(path, "cannot be written", errno);
        }
        if (n == 0)
            return io_error(path, "cannot be written", ENOSPC);
        data += n;
        size -= (size_t)n;
    }
    return VQ_OK;
}

static vq_status target_init(vqi_sink *t, const char *path, const struct stat *info)
{
    t->exists = info != NULL;
    t->mode = info ? info->st_mode & 07777 : 0;
    char resolved[PATH_MAX];
    t->path = vqi_strdup(info && realpath(path, resolved) ? resolved : path);
    if (!t->path)
        return vqi_fail_nomem(strlen(path) + 1);
    const char *slash = strrchr(t->path, '/');
    const size_t length = slash ? (size_t)(slash - t->path) : 0;
    t->folder = vqi_strdup(slash ? (length ? t->path : "/") : ".");
    t->temporary_size = strlen(t->path) + 32;
    t->temporary = vqi_calloc(t->temporary_size, 1);
    if (!t->folder || !t->temporary)
        return vqi_fail_nomem(t->temporary_size);
    if (length)
        t->folder[length] = '\0';
    return VQ_OK;
}

/* The attempt-th name for a temporary file: hidden, beside the target, and this process's own. */
static void name_temporary(vqi_sink *t, unsigned attempt)
{
    const char *slash = strrchr(t->path, '/');
    const int folder = slash ? (int)(slash - t->path + 1) : 0;
    snprintf(t->temporary, t->temporary_size, "%.*s.%s.%ld-%u", folder, t->path,
             slash ? slash + 1 : t->path, (long)getpid(), attempt);
}

static int open_new(vqi_sink *t)
{
    if (O_TMPFILE) {
        const int fd = t->ops->open(t->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
        if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL &&
                        errno != ENOENT && errno != ENOSYS))
            return fd;
    }
    for (unsigned attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        name_temporary(t, attempt);
        const int fd = t->ops->open(t->temporary, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) {
            if (fd < 0)
                *t->temporary = '\0';
            return fd;
        }
    }
    *t->temporary = '\0';
    errno = EEXIST;
    return -1;
}

/* Give the nameless file the target's name if that is free, else one of its own, to be renamed. */
static int name_new(vqi_sink *t, int fd)
{
    if (*t->temporary)
        return 0;
    if (!t->exists && !t->ops->link_open(fd, t->path)) {
        t->linked = 1;
        return 0;
    }
    for (unsigned attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        name_temporary(t, attempt);
        if (!t->ops->link_open(fd, t->temporary))
            return 0;
        if (errno != EEXIST)
            break;
    }
    const int error = errno;
    *t->temporary = '\0';
    errno = error;
    return -1;
}

/* The new file is whole whatever becomes of this: some file systems cannot sync a folder. */
static void sync_folder(const vqi_file_ops *ops, const char *folder)
{
    const int fd = ops->open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    ops->fsync(fd);
    ops->close(fd);
}

void vqi_sync_folder_of(const vqi_file_ops *ops, const char *path)
{
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) : 0;
    char folder[PATH_MAX];
    if (length >= sizeof folder)
        return;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)length : 1, slash ? path : ".");
    sync_folder(ops, *folder ? folder : "/");
}

/* Standard output, a pipe or a device: there is no old file to keep. */
static vq_status open_direct(vqi_sink *t, const char *path)
{
    t->direct = 1;
    t->path = vqi_strdup(strcmp(path, "-") ? path : "standard output");
    if (!t->path)
        return vqi_fail_nomem(strlen(path) + 1);
    t->is_stdout = !strcmp(path, "-");
    t->fd = t->is_stdout ? STDOUT_FILENO : t->ops->open(path, O_WRONLY | O_CLOEXEC, 0);
    return t->fd < 0 ? io_error(t->path, "cannot be opened", errno) : VQ_OK;
}

vq_status vqi_sink_open(vqi_sink *t, const vqi_file_ops *ops, const char *path,
                        const vq_write_opts *opts)
{
    memset(t, 0, sizeof *t);
    t->ops = ops;
    t->fd = -1;
    vq_status status = vqi_options(&t->opts, sizeof t->opts, opts, "vq_write_opts");
    if (status)
        return status;
    struct stat info;
    const int is_stdout = !strcmp(path, "-"), exists = !is_stdout && !stat(path, &info);
    if (exists && S_ISDIR(info.st_mode))
        return vqi_fail(VQ_E_IO, "%s: is a folder, not a file", path);
    if (is_stdout || (exists && !S_ISREG(info.st_mode))) {
        status = open_direct(t, path);
    } else if (exists && t->opts.no_replace) {
        return vqi_fail(VQ_E_IO, "%s: exists already", path);
    } else {
        status = target_init(t, path, exists ? &info : NULL);
        if (!status && (t->fd = open_new(t)) < 0)
            status = io_error(t->path, "cannot be created", errno);
    }
    if (status)
        vqi_sink_close(t);
    return status;
}

vq_status vqi_sink_write(vqi_sink *t, const void *data, size_t size)
{
    return vqi_write_all(t->ops, t->fd, t->path, data, size);
}

vq_status vqi_sink_commit(vqi_sink *t)
{
    const vqi_file_ops *ops = t->ops;
    vq_status status = VQ_OK;
    if (!t->direct) {
        if (t->exists && ops->fchmod(t->fd, t->mode))
            status = io_error(t->path, "cannot be given its mode", errno);
        if (!status && !t->opts.no_sync && ops->fsync(t->fd))
            status = io_error(t->path, "cannot be synced", errno);
        if (!status && name_new(t, t->fd))
            status = io_error(t->path, "cannot be created", errno);
    }
    const int fd = t->fd;
    t->fd = -1;
    if (!t->is_stdout && ops->close(fd) && !status)
        status = io_error(t->path, "cannot be closed", errno);
    if (!status && !t->direct && *t->temporary) {
        if (ops->rename(t->temporary, t->path))
            status = io_error(t->path, "cannot be replaced", errno);
        else
            *t->temporary = '\0';
    }
    if (!status && !t->direct) {
        t->linked = 0;
        if (!t->opts.no_sync)
            sync_folder(ops, t->folder);
    }
    return status;
}

void vqi_sink_close(vqi_sink *t)
{
    if (t->fd >= 0 && !t->is_stdout)
        t->ops->close(t->fd);
    if (t->linked || (t->temporary && *t->temporary))
        t->ops->unlink(t->linked ? t->path : t->temporary);
    vq_free(t->path);
    vq_free(t->folder);
    vq_free(t->temporary);
    memset(t, 0, sizeof *t);
    t->fd = -1;
}

vq_status vqi_file_write(const vqi_file_ops *ops, const char *path, const void *data, size_t size,
                         const vq_write_opts *opts)
{
    vqi_sink sink;
    vq_status status = vqi_sink_open(&sink, ops, path, opts);
    if (status)
        return status;
    status = vqi_sink_write(&sink, data, size);
    if (!status)
        status = vqi_sink_commit(&sink);
    vqi_sink_close(&sink);
    return status;
}

vq_status vq_file_write(const char *path, const void *data, size_t size, const vq_write_opts *opts)
{
    return vqi_file_write(&vqi_system_file_ops, path, data, size, opts);
}
