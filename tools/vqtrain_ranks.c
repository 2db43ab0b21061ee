/* SPDX-License-Identifier: Apache-2.0 */
/* One of several processes under mpirun, if vqtrain was built with LIBVQ_MPI; only here is MPI called. */
#include <stdlib.h>
#include <string.h>

#include "vqtrain.h"

/** How many processes the launcher says that it started: Open MPI's, or one that speaks PMI (MPICH, Slurm). */
static long launched(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (int i = 0; i < 2; i++) {
        const char *value = getenv(names[i]);
        if (value)
            return strtol(value, NULL, 10);
    }
    return 0;
}

#ifdef VQ_MPI

#include <mpi.h>

static int allreduce(void *context, int64_t *values, size_t count, vq_reduction how)
{
    const MPI_Op op = how == VQ_REDUCE_SUM ? MPI_SUM : how == VQ_REDUCE_MIN ? MPI_MIN : MPI_MAX;
    const size_t most = (size_t)1 << 26;
    (void)context;
    for (size_t first = 0; first < count; first += most) {
        const int some = (int)(count - first < most ? count - first : most);
        if (MPI_Allreduce(MPI_IN_PLACE, values + first, some, MPI_INT64_T, op, MPI_COMM_WORLD))
            return 1;
    }
    return 0;
}

int vqtrain_ranks_begin(vq_communicator *ranks, cli_common *common)
{
    int rank, size, threads;
    *ranks = (vq_communicator)VQ_COMMUNICATOR_INIT;
    if (launched() < 1 && !getenv("PMIX_RANK"))
        return CLI_DONE; /* one process, which need not wait for MPI to find that out */
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &threads) ||
        MPI_Comm_rank(MPI_COMM_WORLD, &rank) || MPI_Comm_size(MPI_COMM_WORLD, &size))
        return cli_fault(common, "MPI", "it cannot be started");
    if (size > VQ_MAX_RANKS)
        return cli_fault(common, "MPI", "%d processes (at most %d)", size, VQ_MAX_RANKS);
    ranks->rank = (uint32_t)rank;
    ranks->size = (uint32_t)size;
    ranks->allreduce = allreduce;
    common->quiet |= rank != 0; /* one of them speaks */
    return CLI_DONE;
}

void vqtrain_ranks_end(int code)
{
    int begun = 0, over = 0;
    MPI_Initialized(&begun);
    MPI_Finalized(&over);
    if (!begun || over)
        return;
    fflush(NULL);
    /* The others may be waiting for this process. */
    if (code)
        MPI_Abort(MPI_COMM_WORLD, code);
    else
        MPI_Finalize();
}

#else

int vqtrain_ranks_begin(vq_communicator *ranks, cli_common *common)
{
    *ranks = (vq_communicator)VQ_COMMUNICATOR_INIT;
    if (launched() > 1)
        return cli_usage(
            common,
            "this vqtrain was built without MPI, and each of the %ld processes would train by "
            "itself (configure with -DLIBVQ_MPI=ON, or see --partial)",
            launched());
    return CLI_DONE;
}

void vqtrain_ranks_end(int code)
{
    (void)code;
}

#endif

int vqtrain_ranks_check(const cli_common *common, const vqtrain_settings *s, int features)
{
    const char *kind = !features ? "pictures, sounds and actions" : vqtrain_kind_name(s->kind);
    if (!features || strcmp(kind, "kmeans") != 0)
        return cli_usage(common, "several processes train --quantizer kmeans of features (not %s)",
                         kind);
    if (s->repair || s->resume)
        return cli_usage(common, "--%s is for one process", s->repair ? "repair" : "resume");
    return CLI_DONE;
}
