/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/cli_ranks.h  A program as one of several processes under mpirun, if it was built with LIBVQ_MPI. */
#ifndef TOOLS_CLI_RANKS_H
#define TOOLS_CLI_RANKS_H

#include "cli.h"
#include "vq/communicator.h"

/**
 * Who works together: those whom mpirun started, or this process alone. All but rank 0 become quiet. To be called when the command
 * line has been read.
 * @param without_mpi what to do about it, where mpirun started a program that was built without MPI.
 * @return CLI_DONE or the exit code after a message.
 */
int cli_ranks_begin(vq_communicator *ranks, cli_common *common, const char *without_mpi);
/** Add up numbers over all processes. @return CLI_DONE or the exit code after a message. */
int cli_ranks_sum(const vq_communicator *ranks, const cli_common *common, int64_t *values,
                  size_t count);
/**
 * Before the program ends.
 * @param code   of this process.
 * @param agreed 1 = all processes end with this code, and none waits for another one. 0 = a failure of this one, if it is one, ends all
 *               of them at once; then this does not return.
 */
void cli_ranks_end(int code, int agreed);

#endif
