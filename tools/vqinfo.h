/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqinfo.h  What the files of vqinfo share. */
#ifndef TOOLS_VQINFO_H
#define TOOLS_VQINFO_H

#include "cli_kind.h"
#include "io/file.h"
#include "vq/tensors.h"

/** One file that is looked at. A teller prints lines, or fills `json` if it is not NULL. */
typedef struct vqinfo_file {
    const char *name; /**< for people */
    vq_bytes bytes;
    int stats;   /**< --stats */
    int verbose; /**< --verbose: settings in full */
    json_t *json;
} vqinfo_file;

/* Each reads the whole file, so that what it tells is also what was verified. */
vq_status vqinfo_tokens(const vqinfo_file *file);
vq_status vqinfo_safetensors(const vqinfo_file *file);
vq_status vqinfo_npy(const vqinfo_file *file);
vq_status vqinfo_picture(const vqinfo_file *file);
vq_status vqinfo_shard(const vqinfo_file *file);
vq_status vqinfo_sound(const vqinfo_file *file);

/** One tensor: name, type, shape, and its range with --stats. `to` receives it as JSON if not NULL. */
vq_status vqinfo_tensor(const vqinfo_file *file, const vq_tensor *tensor, json_t *to);

#endif
