/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqstore.h  The parts of vqstore: each of its commands is a program of its own. */
#ifndef TOOLS_VQSTORE_H
#define TOOLS_VQSTORE_H

#include "cli_kind.h"
#include "io/store_set.h"
#include "io/store_write.h"

/** A command: reads argv, whose first word is its name. @return the exit code. */
int vqstore_pack(int argc, char **argv);
int vqstore_merge(int argc, char **argv);
int vqstore_ls(int argc, char **argv);
int vqstore_get(int argc, char **argv);
int vqstore_cat(int argc, char **argv);
int vqstore_verify(int argc, char **argv);
int vqstore_repair(int argc, char **argv);
int vqstore_export(int argc, char **argv);
int vqstore_stats(int argc, char **argv);

/** A file to be packed, or a member of a tar. */
typedef struct vqstore_item {
    char *path;     /**< of the file, or of the tar */
    char *key;      /**< how the record is called */
    uint8_t *bytes; /**< of a member, not to be written to; NULL for a file */
    size_t size;
    int has_label;
    int64_t label;
    char *split, *caption; /**< or NULL */
} vqstore_item;

typedef struct vqstore_items {
    vqstore_item *item;
    size_t count, room;
    struct vqstore_mapped { /**< tars */
        void *data;
        size_t size;
    } * map;
    size_t maps;
} vqstore_items;

/** Where files are listed, beside the operands. */
typedef struct vqstore_sources {
    const char *list; /**< a path in each line */
    const char *csv;  /**< path,label[,split[,caption]] */
    const char *root; /**< what listed paths are relative to; NULL = the working folder */
} vqstore_sources;

/** An empty item at the end. @return it, good until the next one is added. */
vqstore_item *vqstore_item_add(vqstore_items *items);
void vqstore_items_clear(vqstore_items *items);
/** All that is to be packed, in order. @return CLI_DONE or the exit code after a message. */
int vqstore_gather(vqstore_items *items, const cli_common *common, const vqstore_sources *sources,
                   char **operands, int count);
/** The members of a tar that are signals, with their .cls (label) and .txt (caption). */
int vqstore_gather_tar(vqstore_items *items, const cli_common *common, const char *path);

/** Open the store that is the first operand, and there must be `most` operands at most.
 *  @return CLI_DONE or the exit code after a message. */
int vqstore_open(vq_store **out, const cli_common *common, int argc, char **argv, int most);
/** A record by key, or by number as "#12". @return CLI_DONE or the exit code after a message. */
int vqstore_lookup(uint64_t *number, const cli_common *common, const vq_store *store,
                   const char *text);
/** Read a packing's name. @return CLI_DONE or CLI_USAGE after a message. */
int vqstore_read_packing(int *packing, const cli_common *common, const char *text);
/** An option that a command does not have: those of cli_parse() are all. */
int vqstore_no_option(void *state, const cli_common *common, int key, const char *value);

#endif
