/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/store_internal.h"
#include "vq/error_internal.h"

vq_status vqi_map_fd(vqi_map *map, int fd, const char *path)
{
    *map = (vqi_map){NULL, NULL, 0};
    struct stat info;
    if (fstat(fd, &info))
        return vqi_fail(VQ_E_IO, "%s: cannot be read (%s)", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return vqi_fail(VQ_E_IO, "%s: is not a file that can be mapped", path);
    if (!info.st_size)
        return VQ_OK;
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return vqi_fail(VQ_E_IO, "%s: cannot be mapped (%s)", path, strerror(errno));
    *map = (vqi_map){data, data, (size_t)info.st_size};
    return VQ_OK;
}

vq_status vqi_map_file(vqi_map *map, const char *path)
{
    *map = (vqi_map){NULL, NULL, 0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return vqi_fail(VQ_E_IO, "%s: cannot be opened (%s)", path, strerror(errno));
    const vq_status status = vqi_map_fd(map, fd, path);
    close(fd);
    return status;
}

void vqi_unmap(vqi_map *map)
{
    if (map->size)
        munmap(map->mapped, map->size);
    *map = (vqi_map){NULL, NULL, 0};
}
