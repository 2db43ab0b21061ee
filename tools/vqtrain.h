/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqtrain.h  What the files of vqtrain share. */
#ifndef TOOLS_VQTRAIN_H
#define TOOLS_VQTRAIN_H

#include "cli_kind.h"
#include "cli_ranks.h"
#include "rvq/residual.h"
#include "rvq/split.h"
#include "vq/kmeans_stats.h"
#include "vq/scalar.h"
#include "vq/source.h"
#include "vq/tensors.h"

enum { VQTRAIN_CHUNK = 1 << 12 /* rows that are looked at together */, VQTRAIN_MOST_BINS = 32 };

/** Options that some kinds of quantizer take and others do not: bits of what the command line gave. */
enum {
    VQTRAIN_K = 1 << 0,
    VQTRAIN_LEVELS = 1 << 1,
    VQTRAIN_ITERATIONS = 1 << 2,
    VQTRAIN_METRIC = 1 << 3,
    VQTRAIN_STORAGE = 1 << 4,
    VQTRAIN_SEEDING = 1 << 5,
    VQTRAIN_TOLERANCE = 1 << 6,
    VQTRAIN_PARTS = 1 << 7,
    VQTRAIN_BINS = 1 << 8,
    VQTRAIN_BOUND = 1 << 9,
    VQTRAIN_REPAIR = 1 << 10,
    VQTRAIN_TRAIN_BEAM = 1 << 11,
    VQTRAIN_REFIT = 1 << 12,
    VQTRAIN_SHARED = 1 << 13,
    VQTRAIN_BEAM = 1 << 14,
    VQTRAIN_LAMBDA = 1 << 15,
    VQTRAIN_SPLIT_INPUT = 1 << 16,
    VQTRAIN_TEACHER = 1 << 17,
    VQTRAIN_SCALES = 1 << 18,
    VQTRAIN_TRAIN_PREFIXES = 1 << 19
};

typedef struct vqtrain_kind vqtrain_kind;

/** What the command line asks for. Zero (or NULL) means that it does not say. */
typedef struct vqtrain_settings {
    const char *codec;
    const cli_kind *kind_of_signal; /**< that the codec is for; NULL = features */
    const vqtrain_kind *kind;       /**< --quantizer; NULL = pictures by the codec's recipe */
    uint32_t given;                 /**< VQTRAIN_ bits */
    const char *pictures_only;      /**< the last option that features do not take, or NULL */
    int action;                     /**< --action: the inputs are robot actions */
    int universal;                  /**< of actions: a model for any of them */
    int quantile_bins;              /**< of the codec bins */
    uint32_t horizon;               /**< steps of a chunk */
    const char *actions_only;       /**< the last option that only actions take, or NULL */
    uint32_t k, levels, dim, iterations, repair, parts;
    uint32_t bins[VQTRAIN_MOST_BINS], bin_count;
    uint32_t train_beam, train_prefixes, refits; /**< of residual levels, in training */
    int shared;                                  /**< one codebook for all levels */
    uint32_t beam;                               /**< of the encoding that the report is about */
    float lambda; /**< of that encoding; of pictures without a kind, of training */
    vq_split_input split_input;
    const char *teacher;                /**< --teacher FILE, or NULL */
    uint32_t scales[2 * VQ_MAX_LEVELS]; /**< rows and columns of each; of multiscale */
    uint32_t scale_count;
    vq_fsq_bound bound;
    vq_metric metric;
    vq_dtype storage;
    vq_seeding seeding; /**< where VQTRAIN_SEEDING is given, else the kind's */
    double tolerance;
    uint64_t max_vectors, seed;
    int resume;
} vqtrain_settings;

/** One training, from its inputs to its report. */
typedef struct vqtrain_run {
    const cli_common *common;
    const vqtrain_settings *settings;
    const cli_paths *inputs;
    vq_communicator
        ranks; /**< those who train together, of which each takes its share of the rows */
    cli_progress progress;
    uint32_t over, iteration; /**< k-means that are over; how far the one at work is */
    uint32_t clock;           /**< the level whose time `progress` takes, from 1; 0 = none */

    const float *teacher; /**< a row for each row of the features; NULL = none */
    uint32_t teacher_dim; /**< floats of its rows */

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

/* The command line (vqtrain_options.c). */

extern const cli_program vqtrain_program;
/** @return every setting that the result depends on, as text. */
char *vqtrain_identity(const vqtrain_settings *s, int features);

/* The kinds of quantizer (vqtrain_kinds.c). */

/** @return the kind of that name; NULL after a message. */
const vqtrain_kind *vqtrain_find_kind(const cli_common *common, const char *name);
const char *vqtrain_kind_name(const vqtrain_kind *kind);
/** May the rows be read again and again, or have they to be in memory? */
int vqtrain_in_memory(const vqtrain_kind *kind);
/** Refuse options that the kind does not take, and fill in its defaults. @return CLI_DONE or CLI_USAGE after a message. */
int vqtrain_resolve(vqtrain_settings *s, const cli_common *common);
/** Is the kind one of whole grids (multiscale), which vqtrain_grids() trains? */
int vqtrain_wants_grids(const vqtrain_kind *kind);
/** Train a quantizer of the kind on the rows. */
vq_status vqtrain_quantizer(vqtrain_run *run, vq_quantizer **out, const vq_source *rows);
/** Note the report of a quantizer's levels on the rows. */
vq_status vqtrain_measure(vqtrain_run *run, const vq_quantizer *quantizer, const vq_source *rows);

/** One codebook (vqtrain_kmeans.c), and what k-means of all kinds is told. */
vq_status vqtrain_kmeans(vqtrain_run *run, vq_quantizer **out, const vq_source *rows);
vq_kmeans_opts vqtrain_kmeans_opts(vqtrain_run *run);

/** Train, and make the tensors of the model. @return the exit code; *model is NULL but for CLI_DONE. */
int vqtrain_features(vqtrain_run *run, vq_tensors **model);
int vqtrain_grids(vqtrain_run *run, vq_tensors **model);
/** Add this rank's share of the features to statistics. @return the exit code. */
int vqtrain_statistics(vqtrain_run *run, vq_kmeans_stats *stats, const vq_codebook *codebook);
int vqtrain_signals(vqtrain_run *run, vq_tensors **model);
/** A row that is not finite, or CLI_DONE: the exit code after a message that names file and row. */
int vqtrain_check_finite(vqtrain_run *run, const char *path, const char *what, const float *row,
                         size_t count, uint64_t number);

/** Load the checkpoint that --resume asks for. @return CLI_DONE or the exit code after a message. */
int vqtrain_resume(vqtrain_run *run);
/** Compare run->data with that of the checkpoint. @return CLI_DONE, or CLI_MISMATCH after a message. */
int vqtrain_check_data(vqtrain_run *run);
/** A level is done: note its report, write the checkpoint. The shape of level_done callbacks. */
int vqtrain_level_done(void *context, uint32_t level, const vq_quantizer *so_far,
                       const vq_kmeans_report *report);
/** Note the report of a level. */
void vqtrain_note_level(vqtrain_run *run, uint32_t level, const vq_kmeans_report *report);
/** Show how far k-means of a level is. The shape of codec progress callbacks. */
int vqtrain_progress(void *context, uint32_t level, const vq_kmeans_progress *progress);

/** `vqtrain --import`, a command line of its own; argv[0] is the option. @return the exit code. */
int vqtrain_import(int argc, char **argv);
/** `vqtrain --partial` and `vqtrain --merge`, likewise (vqtrain_parts.c). */
int vqtrain_partial(int argc, char **argv);
int vqtrain_merge(int argc, char **argv);

/** Can several processes train this? @return CLI_DONE or CLI_USAGE after a message. */
int vqtrain_ranks_check(const cli_common *common, const vqtrain_settings *s, int features);

#endif
