/* SPDX-License-Identifier: Apache-2.0 */
/** @file tools/vqstore_export.h  Tokens to the files of others. */
#ifndef TOOLS_VQSTORE_EXPORT_H
#define TOOLS_VQSTORE_EXPORT_H

#include "vqstore.h"

/** Types of numbers in the files. */
typedef enum vqstore_dtype { EXPORT_U8, EXPORT_U16, EXPORT_I32, EXPORT_I64 } vqstore_dtype;

typedef struct vqstore_export_job {
    const cli_common *common;
    const vq_store *store;
    vq_store_schema schema;
    vq_record *record;
    vqstore_dtype dtype; /**< of codes */
    int stream;          /**< of Megatron's: which */
    cli_progress progress;
} vqstore_export_job;

/** A file that is given its name when it is whole. */
typedef struct vqstore_file {
    const cli_common *common;
    FILE *file;
    char *path, *part;
} vqstore_file;

int vqstore_file_open(vqstore_file *f, const cli_common *common, const char *path);
void vqstore_put(vqstore_file *f, const void *bytes, size_t size);
/** Little-endian, whatever the machine. */
void vqstore_put_number(vqstore_file *f, uint64_t value, size_t bytes);
/** Give it its name if `code` is CLI_DONE, else take it away. @return the code. */
int vqstore_file_close(vqstore_file *f, int code);

size_t vqstore_dtype_size(vqstore_dtype dtype);
/** The header of a .npy file. @return owned text; *size in bytes. */
char *vqstore_npy_header(size_t *size, vqstore_dtype dtype, const size_t *shape, uint32_t ndim);
/** Read a record. @return CLI_DONE or the exit code after a message. */
int vqstore_export_read(vqstore_export_job *job, uint64_t number);

int vqstore_export_npy(vqstore_export_job *job, const char *folder);
int vqstore_export_safetensors(vqstore_export_job *job, const char *path);
int vqstore_export_megatron(vqstore_export_job *job, const char *prefix);
int vqstore_export_webdataset(vqstore_export_job *job, const char *path);

#endif
