/* SPDX-License-Identifier: Apache-2.0 */
/* The only file that calls MPI, and does so if it is compiled with VQ_MPI. */
#include "cli_ranks.h"

#include <stdlib.h>

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

int cli_ranks_begin(vq_communicator *ranks, cli_common *common, const char *without_mpi)
{
    int rank, size, threads;
    (void)without_mpi;
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

void cli_ranks_end(int code, int agreed)
{
    int begun = 0, over = 0;
    MPI_Initialized(&begun);
    MPI_Finalized(&over);
    if (!begun || over)
        return;
    fflush(NULL);
    /* The others may be waiting for this process. */
    if (code && !agreed)
        MPI_Abort(MPI_COMM_WORLD, code);
    else
        MPI_Finalize();
}

#else

int cli_ranks_begin(vq_communicator *ranks, cli_common *common, const char *without_mpi)
{
    *ranks = (vq_communicator)VQ_COMMUNICATOR_INIT;
    if (launched() > 1)
        return cli_usage(common,
                         "built without MPI: each of the %ld processes would do all of the work "
                         "(configure with -DLIBVQ_MPI=ON, or %s)",
                         launched(), without_mpi);
    return CLI_DONE;
}

void cli_ranks_end(int code, int agreed)
{
    (void)code;
    (void)agreed;
}

#endif

int cli_ranks_sum(const vq_communicator *ranks, const cli_common *common, int64_t *values,
                  size_t count)
{
    if (ranks->size > 1 && ranks->allreduce(ranks->context, values, count, VQ_REDUCE_SUM))
        return cli_fault(common, "MPI", "the processes cannot exchange numbers");
    return CLI_DONE;
}
