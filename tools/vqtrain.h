/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqtrain.h  What the files of vqtrain share. */
#ifndef TOOLS_VQTRAIN_H
#define TOOLS_VQTRAIN_H

#include "cli_codec.h"
#include "rvq/residual.h"
#include "vq/tensors.h"

/** What the command line asks for. Zero (or NULL) means that it does not say. */
typedef struct vqtrain_settings {
    const char *codec;
    int residual;              /**< --quantizer rvq */
    const char *features_only; /**< the last option that pictures do not take, or NULL */
    const char *pictures_only; /**< likewise for features */
    uint32_t k, levels, dim, iterations, repair;
    vq_metric metric;
    vq_dtype storage;
    vq_seeding seeding;
    double tolerance;
    uint64_t max_vectors, seed;
    int resume;
} vqtrain_settings;

/** One training, from its inputs to its report. */
typedef struct vqtrain_run {
    const cli_common *common;
    const vqtrain_settings *settings;
    const cli_paths *inputs;
    cli_progress progress;
    uint32_t clock; /**< the level whose time `progress` takes, from 1; 0 = none */

    /* The checkpoint: settings and data that it belongs to, and what it holds. */
    char *checkpoint;  /**< its path; NULL if the model goes to standard output */
    char *identity;    /**< every setting that the result depends on, as text */
    char *data;        /**< count and checksum of the data, as text; NULL until it has been read */
    char *data_before; /**< `data` of the checkpoint that is resumed; NULL if none is */
    vq_quantizer *before; /**< its levels; NULL if none */

    /* The report, level by level as training goes. */
    vq_level_report rows[VQ_MAX_LEVELS];
    uint32_t levels;
    uint64_t vectors; /**< 0 = not known */
    int code;         /**< an exit code that a callback decided on, after its message */
} vqtrain_run;

/** Train, and make the tensors of the model. @return the exit code; *model is NULL but for CLI_DONE. */
int vqtrain_features(vqtrain_run *run, vq_tensors **model);
int vqtrain_pictures(vqtrain_run *run, vq_tensors **model);

/** Load the checkpoint that --resume asks for. @return CLI_DONE or the exit code after a message. */
int vqtrain_resume(vqtrain_run *run);
/** Compare run->data with that of the checkpoint. @return CLI_DONE, or CLI_MISMATCH after a message. */
int vqtrain_check_data(vqtrain_run *run);
/** A level is done: note its report, write the checkpoint. The shape of level_done callbacks. */
int vqtrain_level_done(void *context, uint32_t level, const vq_quantizer *so_far,
                       const vq_kmeans_report *report);
/** Show how far k-means of a level is. The shape of codec progress callbacks. */
int vqtrain_progress(void *context, uint32_t level, const vq_kmeans_progress *progress);

/** `vqtrain --import`, a command line of its own; argv[0] is the option. @return the exit code. */
int vqtrain_import(int argc, char **argv);

#endif
