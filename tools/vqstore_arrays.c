/* SPDX-License-Identifier: Apache-2.0 */
/* Export as flat arrays: a .npy each, or one safetensors file. Each array is one way through the store, so that
   memory is a record's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vqstore_export.h"

enum { NAME_SIZE = VQ_STORE_NAME_SIZE + 16 };

typedef enum content { CODES, OFFSETS, GRIDS, LABELS } content;

typedef struct array {
    char name[NAME_SIZE];
    content what;
    uint32_t stream;
    vqstore_dtype dtype;
    size_t shape[2];
    uint32_t ndim;
} array;

typedef struct arrays {
    array array[3 * VQ_STORE_MAX_STREAMS + 1];
    size_t count;
} arrays;

static size_t codes_of(const vq_tokens *t)
{
    return t ? vq_tokens_positions(t) * t->levels : 0;
}

static void add(arrays *a, const char *stream, const char *name, content what, uint32_t s,
                vqstore_dtype dtype)
{
    array *to = &a->array[a->count++];
    *to = (array){.what = what, .stream = s, .dtype = dtype, .ndim = 1};
    snprintf(to->name, sizeof to->name, "%s%s%s", stream, *stream ? "." : "", name);
}

/* What there will be, and how large. */
static int plan(arrays *a, vqstore_export_job *job)
{
    const size_t records = (size_t)vq_store_records(job->store);
    *a = (arrays){.count = 0};
    int code = CLI_DONE, labels = 0;
    size_t codes[VQ_STORE_MAX_STREAMS] = {0};
    for (uint64_t i = 0; !code && i < records; i++) {
        code = vqstore_export_read(job, i);
        for (uint32_t s = 0; !code && s < job->schema.streams; s++)
            codes[s] += codes_of(job->record->tokens[s]);
        labels |= !code && job->record->info.has_label;
    }
    for (uint32_t s = 0; s < job->schema.streams; s++) {
        const char *name = job->schema.stream[s].name;
        add(a, name, "codes", CODES, s, job->dtype);
        a->array[a->count - 1].shape[0] = codes[s];
        add(a, name, "offsets", OFFSETS, s, EXPORT_I64);
        a->array[a->count - 1].shape[0] = records + 1;
        add(a, name, "grids", GRIDS, s, EXPORT_I64);
        a->array[a->count - 1].ndim = 2;
        a->array[a->count - 1].shape[0] = records;
        a->array[a->count - 1].shape[1] = 3;
    }
    if (labels) {
        add(a, "", "labels", LABELS, 0, EXPORT_I64);
        a->array[a->count - 1].shape[0] = records;
    }
    return code;
}

static void put_record(vqstore_file *f, const array *a, const vq_record *record, uint64_t *offset)
{
    const vq_tokens *t = a->what == LABELS ? NULL : record->tokens[a->stream];
    const size_t codes = codes_of(t), size = vqstore_dtype_size(a->dtype);
    switch (a->what) {
    case CODES:
        for (size_t i = 0; i < codes; i++)
            vqstore_put_number(f, t->codes[i], size);
        break;
    case OFFSETS:
        *offset += codes;
        vqstore_put_number(f, *offset, size);
        break;
    case GRIDS:
        for (uint32_t i = 0; i < 3; i++)
            vqstore_put_number(f, t ? t->grid[i] : 0, size);
        break;
    case LABELS: /* none is -1 */
        vqstore_put_number(f, (uint64_t)(record->info.has_label ? record->info.label : -1), size);
        break;
    }
}

static int put_array(vqstore_file *f, const array *a, vqstore_export_job *job)
{
    uint64_t offset = 0;
    int code = CLI_DONE;
    if (a->what == OFFSETS)
        vqstore_put_number(f, 0, 8);
    for (uint64_t i = 0; !code && i < vq_store_records(job->store); i++) {
        code = vqstore_export_read(job, i);
        if (!code)
            put_record(f, a, job->record, &offset);
    }
    return code;
}

/* The records' keys, one to a line. */
static int put_keys(vqstore_export_job *job, const char *folder)
{
    vqstore_file f;
    char *path = cli_format("%s/keys.txt", folder);
    int code = vqstore_file_open(&f, job->common, path);
    free(path);
    if (code)
        return code;
    for (uint64_t i = 0; !code && i < vq_store_records(job->store); i++) {
        code = vqstore_export_read(job, i);
        if (!code && job->record->info.key)
            vqstore_put(&f, job->record->info.key, strlen(job->record->info.key));
        vqstore_put(&f, "\n", 1);
    }
    return vqstore_file_close(&f, code);
}

int vqstore_export_npy(vqstore_export_job *job, const char *folder)
{
    arrays a;
    if (mkdir(folder, 0777) && errno != EEXIST)
        return cli_fault(job->common, folder, "cannot be created (%s)", strerror(errno));
    int code = plan(&a, job);
    for (size_t i = 0; !code && i < a.count; i++) {
        vqstore_file f;
        size_t size;
        char *path = cli_format("%s/%s.npy", folder, a.array[i].name);
        char *header =
            vqstore_npy_header(&size, a.array[i].dtype, a.array[i].shape, a.array[i].ndim);
        code = vqstore_file_open(&f, job->common, path);
        if (!code) {
            vqstore_put(&f, header, size);
            code = vqstore_file_close(&f, put_array(&f, &a.array[i], job));
        }
        free(header);
        free(path);
    }
    return code ? code : put_keys(job, folder);
}

static size_t array_bytes(const array *a)
{
    return a->shape[0] * (a->ndim > 1 ? a->shape[1] : 1) * vqstore_dtype_size(a->dtype);
}

/* The names that safetensors has for types. */
static json_t *tensors_json(const arrays *a, const size_t *order)
{
    static const char *const names[] = {"U8", "U16", "I32", "I64"};
    size_t offset = 0;
    json_t *json = json_object();
    json_object_set_new(json, "__metadata__", json_pack("{s:s}", "format", "libvq store export"));
    for (size_t i = 0; i < a->count; i++) {
        const array *t = &a->array[order[i]];
        const size_t end = offset + array_bytes(t);
        json_object_set_new(json, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", names[t->dtype], "shape",
                                      cli_json_sizes(t->shape, t->ndim), "data_offsets",
                                      (json_int_t)offset, (json_int_t)end));
        offset = end;
    }
    return json;
}

int vqstore_export_safetensors(vqstore_export_job *job, const char *path)
{
    arrays a;
    vqstore_file f;
    int code = plan(&a, job);
    if (code)
        return code;
    /* Wide numbers first, so that all are aligned. */
    size_t order[sizeof a.array / sizeof *a.array], used = 0;
    for (size_t width = 8; width; width /= 2)
        for (size_t i = 0; i < a.count; i++)
            if (vqstore_dtype_size(a.array[i].dtype) == width)
                order[used++] = i;
    json_t *json = tensors_json(&a, order);
    char *text = cli_need(json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII));
    json_decref(json);
    const size_t length = (strlen(text) + 8 + 63) / 64 * 64 - 8;
    code = vqstore_file_open(&f, job->common, path);
    if (!code) {
        vqstore_put_number(&f, length, 8);
        vqstore_put(&f, text, strlen(text));
        for (size_t i = strlen(text); i < length; i++)
            vqstore_put(&f, " ", 1);
        for (size_t i = 0; !code && i < a.count; i++)
            code = put_array(&f, &a.array[order[i]], job);
        code = vqstore_file_close(&f, code);
    }
    free(text);
    return code;
}
