/* SPDX-License-Identifier: Apache-2.0 */
/* The packing rans: from a shard that is whole, in bits, its tables, and with them the shard that takes the name. */
#include <errno.h>
#include <string.h>

#include "io/store_write_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

static vq_status copy(vq_shard_writer *to, const vq_shard *from)
{
    vq_record *record;
    vq_status status = vq_record_create(&record);
    if (!status)
        status = vqi_shard_begin(to);
    for (uint64_t i = 0; !status && i < vq_shard_records(from); i++) {
        status = vq_shard_read(record, from, i);
        if (!status)
            status = vq_shard_add(to, &record->info, record->tokens);
    }
    vq_record_free(record);
    return status ? status : vqi_shard_end(to);
}

static vq_status recode(const vq_shard_writer *w, const vq_shard *from, vqi_rans *rans)
{
    vq_write_opts opts = VQ_WRITE_OPTS_INIT;
    opts.no_replace = w->opts.no_replace;
    opts.no_sync = w->opts.no_sync;
    vqi_sink sink;
    vq_status status = vqi_sink_open(&sink, w->ops, w->path, &opts);
    if (status)
        return status;
    vq_shard_writer to = {
        .head = w->head, .ops = w->ops, .path = w->path, .part = w->path, .fd = sink.fd};
    to.head.packing = VQ_PACKING_RANS;
    to.head.rans = rans;
    status = copy(&to, from);
    if (!status)
        status = vqi_sink_commit(&sink);
    vqi_sink_close(&sink);
    vq_free(to.table.data);
    vq_free(to.body.data);
    vq_free(to.out.data);
    return status;
}

vq_status vqi_shard_recode(vq_shard_writer *w)
{
    vqi_map map;
    vq_shard *from = NULL;
    vqi_rans *rans = NULL;
    const vq_limits limits = vqi_writer_limits();
    vq_status status = vqi_map_fd(&map, w->fd, w->part);
    if (status)
        return status;
    status = vq_shard_parse(&from, map.data, map.size, w->part, &limits);
    if (!status)
        status = vqi_rans_train(&rans, from);
    if (!status)
        status = recode(w, from, rans);
    vqi_rans_free(rans);
    vq_shard_free(from);
    vqi_unmap(&map);
    if (status)
        return status;
    if (w->ops->unlink(w->part))
        return vqi_fail(VQ_E_IO, "%s: cannot be removed (%s)", w->part, strerror(errno));
    w->ops->close(w->fd);
    w->fd = -1;
    return VQ_OK;
}
