/* SPDX-License-Identifier: Apache-2.0 */
#include "io/npy_source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/bytes_internal.h"
#include "io/npy_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

enum { RAW_BYTES = 1 << 20 };

typedef struct npy_file {
    char *path;
    int fd;
    size_t n, offset, row_bytes; /* rows; of the first row in the file; of one row there */
    uint32_t d;
    vq_dtype dtype;
    int big_endian;
    uint8_t *raw;       /* RAW_BYTES; NULL if rows are float32 as in memory */
    uint8_t *map;       /* the whole file; NULL = it is not mapped */
    size_t map_bytes;   /* of it */
    vq_tensors *whole;  /* what was read whole, else NULL ... */
    float *whole_float; /* ... and its float32, unless it is float32 itself */
} npy_file;

static void close_file(void *context)
{
    npy_file *f = context;
    if (f->map)
        munmap(f->map, f->map_bytes);
    if (f->fd >= 0)
        close(f->fd);
    vq_tensors_free(f->whole);
    vqi_free(f->whole_float);
    vqi_free(f->raw);
    vqi_free(f->path);
    vqi_free(f);
}

static vq_status cut_short(const npy_file *f)
{
    return vqi_fail(VQ_E_IO, "%s: the file has become shorter (leave it alone while it is read)",
                    f->path);
}

/* Exactly `size` bytes from `offset` on. */
static vq_status read_at(const npy_file *f, void *data, size_t size, size_t offset)
{
    uint8_t *to = data;
    while (size) {
        const ssize_t got = pread(f->fd, to, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return vqi_fail(VQ_E_IO, "%s: cannot be read (%s)", f->path, strerror(errno));
        if (got == 0)
            return cut_short(f);
        to += got;
        offset += (size_t)got;
        size -= (size_t)got;
    }
    return VQ_OK;
}

/* Rows of another type, in pieces that fit the raw buffer; one row may not. */
static vq_status read_converted(const npy_file *f, float *buffer, size_t first, size_t count)
{
    const size_t width = vq_dtype_size(f->dtype), most = RAW_BYTES / width;
    size_t at = f->offset + first * f->row_bytes, left = count * f->d;
    while (left) {
        const size_t some = left < most ? left : most;
        vq_status status = read_at(f, f->raw, some * width, at);
        if (status)
            return status;
        if (f->big_endian == vqi_little_endian())
            vqi_swap_elements(f->raw, some, width);
        const vq_tensor piece = {"", f->dtype, 1, {some}, some, f->raw};
        status = vq_tensor_to_f32(buffer, &piece, 0, some);
        if (status)
            return status;
        buffer += some;
        at += some * width;
        left -= some;
    }
    return VQ_OK;
}

/* The rows after these come next, most likely: let the system fetch them meanwhile. */
static void fetch_next(const npy_file *f, size_t first, size_t count)
{
    posix_fadvise(f->fd, (off_t)(f->offset + (first + count) * f->row_bytes),
                  (off_t)(count * f->row_bytes), POSIX_FADV_WILLNEED);
}

static vq_status read_rows(void *context, const float **rows, float *buffer, size_t first,
                           size_t count)
{
    const npy_file *f = context;
    fetch_next(f, first, count);
    *rows = buffer;
    return f->raw ? read_converted(f, buffer, first, count)
                  : read_at(f, buffer, count * f->row_bytes, f->offset + first * f->row_bytes);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is that of vq_source.read */
static vq_status map_rows(void *context, const float **rows, float *buffer, size_t first,
                          size_t count)
{
    const npy_file *f = context;
    struct stat info;
    (void)buffer;
    fetch_next(f, first, count);
    if (fstat(f->fd, &info) || (uint64_t)info.st_size < f->map_bytes)
        return cut_short(f);
    *rows = (const float *)(const void *)(f->map + f->offset + first * f->row_bytes);
    return VQ_OK;
}

/* Whole pages up to the last row: the page that holds the next row too is let go with it. */
static void unmap_rows(void *context, size_t first, size_t count)
{
    const npy_file *f = context;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t begin = (f->offset + first * f->row_bytes) / page * page,
                 end = (f->offset + (first + count) * f->row_bytes) / page * page;
    if (end > begin)
        madvise(f->map + begin, end - begin, MADV_DONTNEED);
}

/* n and d of an array. */
static vq_status take_shape(npy_file *f, uint32_t ndim, const size_t *shape)
{
    f->n = 1;
    if (ndim < 2)
        return vqi_fail(VQ_E_UNSUPPORTED,
                        "an array of %u dimension%s (features are [n, d]; reshape it)", ndim,
                        ndim == 1 ? "" : "s");
    const size_t d = shape[ndim - 1];
    if (!d || d > UINT32_MAX)
        return vqi_fail(VQ_E_UNSUPPORTED, "rows of %zu numbers (1 to 4294967295)", d);
    f->d = (uint32_t)d;
    for (uint32_t i = 0; i + 1 < ndim; i++)
        if (!vqi_mul(&f->n, f->n, shape[i]))
            return vqi_fail(VQ_E_LIMIT, "the array is larger than the address space");
    return VQ_OK;
}

static vq_status read_whole(npy_file *f, vq_source *out, const vq_limits *limits)
{
    vq_status status = vq_npy_read(&f->whole, f->path, "rows", limits);
    if (status)
        return status;
    const vq_tensor *t = vq_tensors_at(f->whole, 0);
    status = take_shape(f, t->ndim, t->shape);
    if (status)
        return vqi_fail_in(status, f->path);
    out->memory = t->data;
    if (t->dtype == VQ_DTYPE_F32)
        return VQ_OK;
    f->whole_float = vqi_alloc(t->count, sizeof *f->whole_float);
    if (!f->whole_float)
        return vqi_fail_nomem((unsigned long long)t->count * sizeof *f->whole_float);
    out->memory = f->whole_float;
    status = vq_tensor_to_f32(f->whole_float, t, 0, t->count);
    vq_tensors_free(f->whole);
    f->whole = NULL;
    return status;
}

/* Compare what the header says with the size of the file, and choose how it is read. */
static vq_status plan(npy_file *f, vq_source *out, const vqi_npy_header *header, size_t file_bytes,
                      int map)
{
    vq_status status = take_shape(f, header->ndim, header->shape);
    if (status)
        return status;
    size_t bytes;
    f->dtype = header->dtype;
    f->big_endian = header->big_endian;
    if (!vqi_mul(&f->row_bytes, f->d, vq_dtype_size(header->dtype)) ||
        !vqi_mul(&bytes, f->n, f->row_bytes))
        return vqi_fail(VQ_E_LIMIT, "the array is larger than the address space");
    if (bytes != file_bytes - f->offset)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the array needs %zu bytes and the file has %zu",
                        f->offset, bytes, file_bytes - f->offset);
    out->read = read_rows;
    if (f->dtype != VQ_DTYPE_F32 || f->big_endian == vqi_little_endian()) {
        f->raw = vqi_alloc(RAW_BYTES, 1);
        return f->raw ? VQ_OK : vqi_fail_nomem(RAW_BYTES);
    }
    if (!map || !bytes || f->offset % sizeof(float))
        return VQ_OK;
    void *at = mmap(NULL, file_bytes, PROT_READ, MAP_SHARED, f->fd, 0);
    if (at == MAP_FAILED)
        return vqi_fail(VQ_E_IO, "cannot be mapped into memory (%s)", strerror(errno));
    madvise(at, file_bytes, MADV_SEQUENTIAL);
    f->map = at;
    f->map_bytes = file_bytes;
    out->read = map_rows;
    out->done = unmap_rows;
    return VQ_OK;
}

/* @param[out] pieces 0 if the file has to be read whole. */
static vq_status open_pieces(npy_file *f, vq_source *out, int *pieces, int map)
{
    enum { MOST_HEADER = 12 + 65536 };
    struct stat info;
    *pieces = 0;
    /* Whoever reads it whole says what is wrong with it. A pipe is opened once, or the second opening waits. */
    if (stat(f->path, &info) || !S_ISREG(info.st_mode))
        return VQ_OK;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &info) || !S_ISREG(info.st_mode))
        return VQ_OK;
    const size_t size = (size_t)info.st_size, head = size < MOST_HEADER ? size : MOST_HEADER;
    uint8_t *data = vqi_alloc(head, 1);
    if (!data)
        return vqi_fail_nomem(head);
    vqi_cursor cursor = vqi_cursor_of(data, head);
    vqi_npy_header header;
    vq_status status = read_at(f, data, head, 0);
    if (!status) {
        status = vqi_npy_parse_preamble(&header, &cursor);
        f->offset = vqi_offset(&cursor);
        *pieces = !status && (!header.fortran_order || header.ndim < 2);
        if (*pieces)
            status = plan(f, out, &header, size, map);
        if (status)
            vqi_fail_in(status, f->path);
    }
    vqi_free(data);
    return status;
}

static vq_status open_file(vq_source *out, const char *path, int map, const vq_limits *limits)
{
    vq_source own = VQ_SOURCE_INIT;
    npy_file *f = vqi_calloc(1, sizeof *f);
    if (!f)
        return vqi_fail_nomem(sizeof *f);
    f->fd = -1;
    f->path = vqi_strdup(path);
    int pieces = 0;
    vq_status status = f->path ? VQ_OK : vqi_fail_nomem(strlen(path) + 1);
    if (!status && strcmp(path, "-"))
        status = open_pieces(f, &own, &pieces, map);
    if (!status && !pieces)
        status = read_whole(f, &own, limits);
    if (status) {
        close_file(f);
        return status;
    }
    own.n = f->n;
    own.d = f->d;
    own.close = close_file;
    own.context = f;
    *out = own;
    return VQ_OK;
}

vq_status vq_npy_source_open(vq_source *out, const char *path, const vq_npy_source_opts *opts,
                             const vq_limits *limits)
{
    vq_npy_source_opts own;
    const vq_status status = vqi_options(&own, sizeof own, opts, "vq_npy_source_opts");
    return status ? status : open_file(out, path, own.map, limits);
}

vq_status vq_npy_sources_open(vq_source *out, const char *const *paths, size_t count,
                              const vq_npy_source_opts *opts, const vq_limits *limits)
{
    vq_source *parts = vqi_calloc(count, sizeof *parts);
    if (!parts && count)
        return vqi_fail_nomem((unsigned long long)count * sizeof *parts);
    vq_status status = VQ_OK;
    for (size_t i = 0; i < count && !status; i++) {
        status = vq_npy_source_open(&parts[i], paths[i], opts, limits);
        if (!status && parts[i].d != parts[0].d)
            status = vqi_fail(VQ_E_MISMATCH, "%s: rows of %u numbers (those of %s have %u)",
                              paths[i], parts[i].d, paths[0], parts[0].d);
    }
    if (!status)
        status = vq_source_concat(out, parts, count);
    for (size_t i = 0; i < count; i++)
        vq_source_close(&parts[i]);
    vqi_free(parts);
    return status;
}
