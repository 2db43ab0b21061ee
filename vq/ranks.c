/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/ranks_internal.h"

#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

vq_status vqi_ranks_create(vqi_ranks *ranks, const vq_communicator *communicator)
{
    memset(ranks, 0, sizeof *ranks);
    const vq_status status =
        vqi_options(&ranks->comm, sizeof ranks->comm, communicator, "vq_communicator");
    if (status) {
        ranks->over = 1; /* there is nobody to tell */
        return status;
    }
    const vq_communicator *c = &ranks->comm;
    if (!c->allreduce || !c->size || c->size > VQ_MAX_RANKS || c->rank >= c->size) {
        ranks->over = 1;
        return vqi_fail(VQ_E_ARG, "vq_communicator: rank %u of %u%s", c->rank, c->size,
                        c->allreduce ? "" : ", without allreduce");
    }
    ranks->words = vqi_alloc(VQI_RANKS_WORDS, sizeof *ranks->words);
    return ranks->words ? VQ_OK : vqi_fail_nomem(VQI_RANKS_WORDS * sizeof *ranks->words);
}

void vqi_ranks_clear(vqi_ranks *ranks)
{
    vqi_free(ranks->words);
}

vq_status vqi_ranks_reduce(vqi_ranks *ranks, int64_t *values, size_t count, vq_reduction how)
{
    if (!ranks->comm.allreduce(ranks->comm.context, values, count, how))
        return VQ_OK;
    ranks->over = 1;
    return vqi_fail(VQ_E_IO, "rank %u of %u could not exchange numbers with the others",
                    ranks->comm.rank, ranks->comm.size);
}

vq_status vqi_ranks_agree(vqi_ranks *ranks, vq_status mine)
{
    if (!ranks || ranks->over)
        return mine;
    int64_t worst = (int64_t)mine;
    const vq_status status = vqi_ranks_reduce(ranks, &worst, 1, VQ_REDUCE_MAX);
    if (status)
        return mine ? mine : status;
    ranks->over = worst != VQ_OK;
    if (mine || !worst)
        return mine;
    return vqi_fail((vq_status)worst, "another rank failed (%s; see what it said)",
                    vq_status_name((vq_status)worst));
}

vq_status vqi_ranks_gather(vqi_ranks *ranks, void *bytes, size_t size)
{
    unsigned char *at = bytes;
    vq_status status = VQ_OK;
    while (size && !status) {
        const size_t whole = VQI_RANKS_WORDS * sizeof *ranks->words,
                     some = size < whole ? size : whole,
                     words = (some - 1) / sizeof *ranks->words + 1;
        ranks->words[words - 1] = 0;
        memcpy(ranks->words, at, some);
        status = vqi_ranks_reduce(ranks, ranks->words, words, VQ_REDUCE_SUM);
        memcpy(at, ranks->words, some);
        at += some;
        size -= some;
    }
    return status;
}
