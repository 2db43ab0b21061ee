/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqlogits.h  What the files of vqlogits share. */
#ifndef TOOLS_VQLOGITS_H
#define TOOLS_VQLOGITS_H

#include "cli.h"
#include "vq/logits.h"
#include "vq/tensors.h"

/** The commands, each a command line of its own; argv[0] is its word. @return the exit code. */
int vqlogits_build(int argc, char **argv);
int vqlogits_info(int argc, char **argv);
int vqlogits_eval(int argc, char **argv);
int vqlogits_bench(int argc, char **argv);

/* Arrays and heads (vqlogits_arrays.c). */

/** An array of a file, as the command line names it: FILE or FILE:NAME. Clear in any case. */
typedef struct vqlogits_array {
    vq_tensors *file;
    vq_tensor tensor; /**< a view of the rows that are used */
    char *path;       /**< without :NAME */
} vqlogits_array;

/** What is read beyond the usual limits: output layers are wide. */
vq_limits vqlogits_limits(void);
/**
 * Open FILE or FILE:NAME, .npy or safetensors. Without a name: the only array of so many dimensions, or one that output layers
 * are usually called.
 * @param what "hidden states", for messages.
 * @param ndim 1: any numbers; 2: F32, F16 or BF16.
 * @return CLI_DONE or the exit code after a message.
 */
int vqlogits_array_open(vqlogits_array *out, const cli_common *common, const char *spec,
                        const char *what, uint32_t ndim);
void vqlogits_array_clear(vqlogits_array *array);

/** Rows `from` to `to` - 1; to = 0: to the end. */
typedef struct vqlogits_range {
    uint64_t from, to;
} vqlogits_range;

/** "A:B", either may be left out. @return CLI_DONE or CLI_USAGE after a message. */
int vqlogits_read_range(const cli_common *common, const char *option, const char *text,
                        vqlogits_range *out);
/** Keep those rows of an array. @return CLI_DONE or the exit code after a message. */
int vqlogits_array_cut(vqlogits_array *array, const cli_common *common, vqlogits_range range);
/** The whole array as float32; *out is freed by the caller. @return CLI_DONE or the exit code after a message. */
int vqlogits_floats(float **out, const cli_common *common, const vqlogits_array *array);
/** An array of whole numbers from 0 to 2^32 - 1, such as ids. Likewise. */
int vqlogits_ids(uint32_t **out, const cli_common *common, const vqlogits_array *array,
                 const char *what);

/** Load a head. @return CLI_DONE or the exit code after a message. */
int vqlogits_head_open(vq_head **out, const cli_common *common, const char *path);
/** The keys of `info`, for every command that tells of a head. */
json_t *vqlogits_head_json(const char *path, const vq_head *head);
void vqlogits_head_print(FILE *to, const char *path, const vq_head *head);

/* Measuring (vqlogits_measure.c). */

/** Hidden states of a text, and what came next. */
typedef struct vqlogits_text {
    float *states;     /**< n x d */
    uint32_t *targets; /**< n, or NULL */
    size_t n;
} vqlogits_text;

/** What the reference says of the states: enough of it for every head. */
typedef struct vqlogits_reference {
    uint32_t *best;   /**< n x k, the best tokens */
    float *log_probs; /**< n x k */
    size_t k;
    double perplexity; /**< NaN without targets */
    double bytes;      /**< per token */
} vqlogits_reference;

/** A head at one setting. */
typedef struct vqlogits_trial {
    const char *path;
    const vq_head *head;
    uint32_t probes; /**< of rerank; 0 else */
} vqlogits_trial;

typedef struct vqlogits_figures {
    double perplexity; /**< NaN without targets */
    double kl;         /**< nats, mean over the states */
    double recall1, recall10;
    double bytes, rows, codes; /**< per token, of the 10 best */
    double seconds;            /**< per token, of the 10 best, one state at a time */
} vqlogits_figures;

/** Ask the reference. @return CLI_DONE or the exit code after a message; clear in any case. */
int vqlogits_reference_measure(vqlogits_reference *out, const cli_common *common, const char *path,
                               const vq_head *head, const vqlogits_text *text);
void vqlogits_reference_clear(vqlogits_reference *reference);
int vqlogits_measure(vqlogits_figures *out, const cli_common *common, const vqlogits_trial *trial,
                     const vqlogits_reference *reference, const vqlogits_text *text);

/** Draw perplexity or KL over bytes read, a curve for each head. @return the exit code. */
int vqlogits_plot(const cli_common *common, const char *path, const vqlogits_trial *trials,
                  const vqlogits_figures *figures, size_t count,
                  const vqlogits_reference *reference);

#endif
