/* SPDX-License-Identifier: Apache-2.0 */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

void vq_bytes_clear(vq_bytes *bytes)
{
    vq_free(bytes->data);
    bytes->data = NULL;
    bytes->size = 0;
}

/* read() until `size` bytes or the end; the number that came, or -1. */
static ssize_t read_all(int fd, uint8_t *data, size_t size)
{
    size_t got = 0;
    while (got < size) {
        const ssize_t n = read(fd, data + got, size - got);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            got += (size_t)n;
    }
    return (ssize_t)got;
}

static vq_status too_large(const char *path, uint64_t limit)
{
    return vqi_fail(VQ_E_LIMIT, "%s: larger than %llu bytes, the limit", path,
                    (unsigned long long)limit);
}

/* A file whose size is not known, a pipe, or one that grows while it is read: double the room as it comes.
   `room` is a first guess. */
static vq_status read_stream(vq_bytes *out, int fd, const char *path, size_t room, uint64_t limit)
{
    vq_bytes bytes = {NULL, 0};
    for (;;) {
        uint8_t *data = vqi_alloc(room, 1);
        if (!data) {
            vq_bytes_clear(&bytes);
            return vqi_fail_nomem(room);
        }
        if (bytes.size)
            memcpy(data, bytes.data, bytes.size);
        vq_free(bytes.data);
        bytes.data = data;
        const ssize_t n = read_all(fd, data + bytes.size, room - bytes.size);
        if (n < 0) {
            const int error = errno;
            vq_bytes_clear(&bytes);
            return vqi_fail(VQ_E_IO, "%s: cannot be read (%s)", path, strerror(error));
        }
        bytes.size += (size_t)n;
        if (bytes.size > limit) {
            vq_bytes_clear(&bytes);
            return too_large(path, limit);
        }
        if (bytes.size < room) {
            *out = bytes;
            return VQ_OK;
        }
        room *= 2;
    }
}

vq_status vq_file_read(vq_bytes *out, const char *path, const vq_limits *limits)
{
    out->data = NULL;
    out->size = 0;
    vq_limits own;
    vq_status status = vq_limits_resolve(&own, limits);
    if (status)
        return status;
    const int is_stdin = !strcmp(path, "-");
    const char *name = is_stdin ? "standard input" : path;
    const int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return vqi_fail(VQ_E_IO, "%s: cannot be opened (%s)", name, strerror(errno));
    struct stat info;
    size_t room = (size_t)64 << 10;
    if (fstat(fd, &info))
        status = vqi_fail(VQ_E_IO, "%s: cannot be read (%s)", name, strerror(errno));
    else if (S_ISDIR(info.st_mode))
        status = vqi_fail(VQ_E_IO, "%s: is a folder, not a file", name);
    else if (S_ISREG(info.st_mode) && (uint64_t)info.st_size > own.max_file_bytes)
        status = too_large(name, own.max_file_bytes);
    else if (S_ISREG(info.st_mode))
        room = (size_t)info.st_size + 1; /* one more, so that the end is seen without growing */
    if (!status)
        status = read_stream(out, fd, name, room, own.max_file_bytes);
    if (!is_stdin)
        close(fd);
    return status;
}
