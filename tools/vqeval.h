/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqeval.h  What the files of vqeval share. */
#ifndef TOOLS_VQEVAL_H
#define TOOLS_VQEVAL_H

#include <stddef.h>

#include "cli_kind.h"
#include "codecs/image_metrics.h"

typedef struct vqeval_settings {
    const char *model; /**< NULL = compare two signals */
    const char *side;  /**< --png, or NULL */
    double amplify;
    uint32_t levels; /**< 0 = the model's default */
    uint32_t beam;   /**< of the search; 0 = the model's */
    int all_levels;
} vqeval_settings;

/** A codec that is tried on some files. */
typedef struct vqeval_trial {
    const cli_common *common;
    const vqeval_settings *settings;
    const cli_paths *inputs;
    const vq_codec *codec;
    vq_codec_info info;
    uint32_t low, high; /**< numbers of levels that are tried */
    vq_report *report;  /**< of the codes at `high`; the caller frees it */
} vqeval_trial;

/** @return CLI_DONE or the exit code after a message. */
int vqeval_trial_open(vqeval_trial *out, const cli_common *common, const vqeval_settings *settings,
                      const cli_paths *inputs, const vq_codec *codec);
/** try_one(state, i) for every file, with progress in `many`, up to the first exit code that is not CLI_DONE. @return that. */
int vqeval_trial_each(const vqeval_trial *trial, const char *many,
                      int (*try_one)(void *state, size_t index), void *state);

/** Which score: of an input, or the mean of all. */
enum { VQEVAL_MEAN = -1 };

/** What differs between kinds of signal when the scores of a trial are told. */
typedef struct vqeval_telling {
    const char *one;     /**< "picture" */
    const char *list;    /**< of their scores, in JSON: "images" */
    const char *grid;    /**< what tokens have one vector for: "grid positions" */
    const char *columns; /**< the head of the table behind the names */
    int width;           /**< of the names, at least */
    /** Print a score behind its name; the same as an object of JSON. `index` is an input or VQEVAL_MEAN. */
    void (*print)(const void *state, ptrdiff_t index, uint32_t levels);
    json_t *(*as_json)(const void *state, ptrdiff_t index, uint32_t levels);
    const char *amount_name; /**< of what was encoded, in JSON: "pixels" */
    double amount, encode_seconds, decode_seconds;
} vqeval_telling;

/** Print the tables, or the JSON, of a trial that is done. @return the exit code. */
int vqeval_trial_tell(const vqeval_trial *trial, const vqeval_telling *how, const void *state);

/** Encode and decode every picture or sound, print the table or the JSON. Levels were checked. @return the exit code. */
int vqeval_codec(const cli_common *common, const vqeval_settings *settings,
                 const cli_paths *pictures, const vq_codec *codec);
int vqeval_sound_codec(const cli_common *common, const vqeval_settings *settings,
                       const cli_paths *sounds, const vq_codec *codec);

/** Two sounds: print their figures, draw them. @return the exit code. */
int vqeval_sounds(const cli_common *common, const vqeval_settings *settings,
                  const cli_paths *sounds);

/**
 * Quality of two pictures, colours only. An alpha channel that only one of them has does not matter.
 * @return CLI_DONE or the exit code after a message that says `name`.
 */
int vqeval_compare(vq_image_quality *out, const cli_common *common, const char *name,
                   const vq_signal *original, const vq_signal *decoded);

/** Draw original, decoded and error (times `amplify`, grey is none) beside each other. */
int vqeval_draw(const cli_common *common, const vqeval_settings *settings,
                const vq_signal *original, const vq_signal *decoded);

/** The same for actions: two files, or a codec on each of some. @return the exit code. */
int vqeval_actions(const cli_common *common, const vqeval_settings *settings,
                   const cli_paths *files);
int vqeval_action_codec(const cli_common *common, const vqeval_settings *settings,
                        const cli_paths *files, const vq_codec *codec);

/** psnr_db, mse, ssim, ms_ssim, added to an object. */
void vqeval_json_quality(json_t *object, const vq_image_quality *quality);

#endif
