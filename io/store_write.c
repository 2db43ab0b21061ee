/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "io/digest.h"
#include "io/store_write_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

static vq_status io_error(const char *path, const char *what)
{
    return vqi_fail(VQ_E_IO, "%s: %s (%s)", path, what, strerror(errno));
}

vq_status vqi_shard_put(vq_shard_writer *w, const void *bytes, size_t size)
{
    const vq_status status = vqi_write_all(w->ops, w->fd, w->part, bytes, size);
    if (status)
        w->broken = status;
    else
        w->end += size;
    return status;
}

vq_status vqi_shard_flush(vq_shard_writer *w)
{
    if (!w->pending)
        return VQ_OK;
    const size_t padding = vqi_chunk_next((size_t)w->end) - (size_t)w->end;
    const size_t length = VQI_BLOCK_HEADER + w->table.size + w->body.size;
    w->out.size = 0;
    uint8_t *chunk = vqi_buffer_reserve(&w->out, padding + VQI_CHUNK_HEADER + length + 4);
    if (!chunk)
        return VQ_E_NOMEM;
    memset(chunk, 0, padding);
    uint8_t *payload = chunk + padding + VQI_CHUNK_HEADER;
    vqi_store_u64(payload, w->written);
    vqi_store_u32(payload + 8, w->pending);
    vqi_store_u32(payload + 12, 0);
    memcpy(payload + VQI_BLOCK_HEADER, w->table.data, w->table.size);
    memcpy(payload + VQI_BLOCK_HEADER + w->table.size, w->body.data, w->body.size);
    const vq_status status =
        vqi_shard_put(w, chunk, vqi_chunk_seal(chunk, padding, "BLCK", length));
    if (status)
        return status;
    w->written += w->pending;
    w->blocks++;
    w->pending = 0;
    w->table.size = w->body.size = 0;
    return VQ_OK;
}

/* The record at `begin` of the body, which goes to the next block if this one would be too large with it. */
static vq_status place(vq_shard_writer *w, size_t before, size_t begin)
{
    const size_t length = w->body.size - begin;
    vq_status status = VQ_OK;
    if (w->pending &&
        VQI_BLOCK_HEADER + w->table.size + VQI_BLOCK_ROW + w->body.size > w->head.block_bytes) {
        w->body.size = before;
        status = vqi_shard_flush(w);
        if (status)
            return status;
        memmove(w->body.data, w->body.data + begin, length);
        begin = 0;
        w->body.size = length;
    }
    uint8_t row[VQI_BLOCK_ROW];
    vqi_store_u32(row, (uint32_t)length);
    vqi_store_u32(row + 4, vq_crc32c(0, w->body.data + begin, length));
    status = vqi_buffer_put(&w->table, row, sizeof row);
    if (!status)
        w->pending++;
    return status;
}

vq_status vq_shard_add(vq_shard_writer *w, const vq_record_info *info,
                       const vq_tokens *const *tokens)
{
    static const uint8_t zeros[VQI_RAW_ALIGN];
    if (w->broken || w->fd < 0)
        return vqi_fail(VQ_E_ARG, "%s: nothing can be added: it is finished, or a write failed",
                        w->path);
    const size_t before = w->body.size;
    vq_status status = vqi_buffer_put(
        &w->body, zeros, vqi_align_up(before, vqi_record_align(w->head.packing)) - before);
    const size_t begin = w->body.size;
    if (!status)
        status = vqi_record_append(&w->body, &w->head, info, tokens);
    if (!status)
        status = place(w, before, begin);
    if (status)
        w->body.size = w->pending ? before : 0;
    return status;
}

uint64_t vq_shard_writer_records(const vq_shard_writer *w)
{
    return w->written + w->pending;
}

const char *vq_shard_writer_last_key(vq_shard_writer *w)
{
    const vq_limits limits = vqi_writer_limits();
    vqi_record_peek peek;
    /* The last record is always one of the block that is not full. */
    if (!w->pending)
        return NULL;
    const uint32_t length = vqi_load_u32(w->table.data + w->table.size - VQI_BLOCK_ROW);
    if (vqi_record_peek_at(&peek, &w->head, w->body.data + w->body.size - length, length,
                           &limits) ||
        !peek.key)
        return NULL;
    memcpy(w->key, peek.key, peek.key_size);
    w->key[peek.key_size] = '\0';
    return w->key;
}

static vq_status open_part(vq_shard_writer *w)
{
    w->fd = w->ops->open(w->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (w->fd < 0)
        return io_error(w->part, "cannot be created");
    if (flock(w->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return vqi_fail(VQ_E_IO, "%s: is being written by another process", w->part);
    return VQ_OK;
}

static vq_status begin_anew(vq_shard_writer *w)
{
    if (ftruncate(w->fd, 0) || lseek(w->fd, 0, SEEK_SET) < 0)
        return io_error(w->part, "cannot be written");
    return vqi_shard_begin(w);
}

vq_status vqi_shard_begin(vq_shard_writer *w)
{
    w->end = w->written = w->blocks = 0;
    w->out.size = 0;
    vq_status status = vqi_store_begin(&w->out, &w->head);
    if (!status)
        status = vqi_shard_put(w, w->out.data, w->out.size);
    w->first_block = vqi_chunk_next(w->out.size);
    return status;
}

/* The records of the shard that is there, but those that PATH.part had. */
static vq_status append(vq_shard_writer *w)
{
    if (access(w->path, F_OK))
        return VQ_OK;
    vq_shard *shard;
    vq_record *record = NULL;
    vq_status status = vq_shard_open_with(&shard, w->path, w->opts.model, NULL);
    if (status)
        return status;
    if (memcmp(&shard->head.schema, &w->head.schema, sizeof w->head.schema) != 0)
        status = vqi_fail(VQ_E_MISMATCH, "%s: its streams are not those of what is to be appended",
                          w->path);
    if (!status)
        status = vq_record_create(&record);
    while (!status && vq_shard_writer_records(w) < vq_shard_records(shard)) {
        status = vq_shard_read(record, shard, vq_shard_writer_records(w));
        if (!status)
            status = vq_shard_add(w, &record->info, record->tokens);
    }
    vq_record_free(record);
    vq_shard_free(shard);
    return status;
}

static vq_status check_opts(vq_shard_writer *w)
{
    const vq_shard_opts *o = &w->opts;
    if (o->packing == VQ_PACKING_ENTROPY + 1 && !o->model)
        return vqi_fail(VQ_E_ARG, "vq_shard_opts.model: the packing \"entropy\" needs one");
    if (o->packing < 0 || o->packing > VQ_PACKING_RANS + 1)
        return vqi_fail(VQ_E_ARG, "vq_shard_opts.packing: %d is not a packing of shards plus 1",
                        o->packing);
    if (o->block_bytes && (o->block_bytes < VQI_BLOCK_LEAST || o->block_bytes > VQI_BLOCK_MOST))
        return vqi_fail(VQ_E_ARG, "vq_shard_opts.block_bytes is %u (%d to %d)", o->block_bytes,
                        VQI_BLOCK_LEAST, VQI_BLOCK_MOST);
    w->head.model = o->model;
    w->head.packing = o->packing ? (vq_packing)(o->packing - 1) : VQ_PACKING_BITS;
    /* Its tables are made of all records: until those are there, they are bits. */
    w->recode = w->head.packing == VQ_PACKING_RANS;
    if (w->recode)
        w->head.packing = VQ_PACKING_BITS;
    w->head.block_bytes = o->block_bytes ? o->block_bytes : VQI_BLOCK_DEFAULT;
    return VQ_OK;
}

/* A schema without what its strings have behind their ends, so that two that say the same are the same bytes. */
static void copy_schema(vq_store_schema *to, const vq_store_schema *from)
{
    memset(to, 0, sizeof *to);
    to->streams = from->streams;
    for (uint32_t i = 0; i < from->streams; i++) {
        const vq_store_stream *s = &from->stream[i];
        vq_store_stream *t = &to->stream[i];
        memcpy(t->name, s->name, strlen(s->name));
        t->kind = s->kind;
        t->levels = s->levels;
        memcpy(t->k, s->k, s->levels * sizeof *s->k);
        memcpy(t->codec, s->codec, strlen(s->codec));
        memcpy(t->model_sha256, s->model_sha256, sizeof t->model_sha256);
    }
}

static vq_status prepare(vq_shard_writer *w, const char *path, const vq_store_schema *schema,
                         const vq_shard_opts *opts)
{
    vq_status status = vqi_options(&w->opts, sizeof w->opts, opts, "vq_shard_opts");
    if (!status)
        status = check_opts(w);
    if (!status)
        status = vqi_store_check_schema(schema);
    if (status)
        return status;
    copy_schema(&w->head.schema, schema);
    const size_t length = strlen(path);
    w->path = vqi_strdup(path);
    w->part = vqi_alloc(length + sizeof ".part", 1);
    if (!w->path || !w->part)
        return vqi_fail_nomem(length);
    memcpy(w->part, path, length);
    memcpy(w->part + length, ".part", sizeof ".part");
    if (w->opts.no_replace && !access(path, F_OK))
        return vqi_fail(VQ_E_IO, "%s: exists already", path);
    return VQ_OK;
}

vq_status vqi_shard_create(vq_shard_writer **out, const vqi_file_ops *ops, const char *path,
                           const vq_store_schema *schema, const vq_shard_opts *opts)
{
    *out = NULL;
    vq_shard_writer *w = vqi_calloc(1, sizeof *w);
    if (!w)
        return vqi_fail_nomem(sizeof *w);
    w->fd = -1;
    w->ops = ops;
    vq_status status = prepare(w, path, schema, opts);
    if (!status)
        status = open_part(w);
    if (!status && w->opts.resume)
        status = vqi_shard_resume(w);
    if (!status && !w->first_block)
        status = begin_anew(w);
    if (!status && w->opts.append)
        status = append(w);
    if (status)
        vq_shard_writer_free(w);
    else
        *out = w;
    return status;
}

vq_status vq_shard_create(vq_shard_writer **out, const char *path, const vq_store_schema *schema,
                          const vq_shard_opts *opts)
{
    return vqi_shard_create(out, &vqi_system_file_ops, path, schema, opts);
}

void vq_shard_writer_free(vq_shard_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        w->ops->close(w->fd);
    vq_free(w->path);
    vq_free(w->part);
    vq_free(w->table.data);
    vq_free(w->body.data);
    vq_free(w->out.data);
    vq_free(w);
}

void vq_shard_writer_discard(vq_shard_writer *w)
{
    if (w && w->fd >= 0)
        w->ops->unlink(w->part);
    vq_shard_writer_free(w);
}
