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
/** Before the program ends: where `code` says failure, it may not return, and ends all processes. */
void cli_ranks_end(int code);

#endif
