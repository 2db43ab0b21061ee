/* SPDX-License-Identifier: Apache-2.0 */
/* Export for Megatron-LM (indexed dataset, version 1) and WebDataset (a tar, a few members for each record). */
#include <stdlib.h>
#include <string.h>

#include "vqstore_export.h"

/* Megatron's numbers for types; it takes uint16 below this many tokens. */
enum { MEGATRON_I32 = 4, MEGATRON_U16 = 8, MEGATRON_SMALL = 65500 };

static const vq_tokens *chosen(const vqstore_export_job *job)
{
    return job->record->tokens[job->stream];
}

static int is_small(const vqstore_export_job *job)
{
    const vq_store_stream *s = &job->schema.stream[job->stream];
    int small = 1;
    for (uint32_t l = 0; l < s->levels; l++)
        small &= s->k[l] < MEGATRON_SMALL;
    return small;
}

static int put_codes(vqstore_file *f, vqstore_export_job *job, size_t width)
{
    int code = CLI_DONE;
    for (uint64_t i = 0; !code && i < vq_store_records(job->store); i++) {
        code = vqstore_export_read(job, i);
        const vq_tokens *t = code ? NULL : chosen(job);
        const size_t n = t ? vq_tokens_positions(t) * t->levels : 0;
        for (size_t c = 0; c < n; c++)
            vqstore_put_number(f, t->codes[c], width);
    }
    return code;
}

/* The length of each record, or where it begins. */
static int put_sizes(vqstore_file *f, vqstore_export_job *job, size_t width, int pointers)
{
    uint64_t at = 0;
    int code = CLI_DONE;
    for (uint64_t i = 0; !code && i < vq_store_records(job->store); i++) {
        code = vqstore_export_read(job, i);
        const vq_tokens *t = code ? NULL : chosen(job);
        const uint64_t n = t ? vq_tokens_positions(t) * t->levels : 0;
        vqstore_put_number(f, pointers ? at : n, pointers ? 8 : 4);
        at += n * width;
    }
    return code;
}

static int put_index(vqstore_file *f, vqstore_export_job *job, size_t width)
{
    const uint64_t records = vq_store_records(job->store);
    vqstore_put(f, "MMIDIDX\0\0", 9);
    vqstore_put_number(f, 1, 8);
    vqstore_put_number(f, width == 2 ? MEGATRON_U16 : MEGATRON_I32, 1);
    vqstore_put_number(f, records, 8);
    vqstore_put_number(f, records + 1, 8);
    int code = put_sizes(f, job, width, 0);
    if (!code)
        code = put_sizes(f, job, width, 1);
    for (uint64_t i = 0; !code && i <= records; i++) /* each record is a document */
        vqstore_put_number(f, i, 8);
    return code;
}

int vqstore_export_megatron(vqstore_export_job *job, const char *prefix)
{
    const size_t width = is_small(job) ? 2 : 4;
    vqstore_file f;
    char *path = cli_format("%s.bin", prefix);
    int code = vqstore_file_open(&f, job->common, path);
    free(path);
    if (!code)
        code = vqstore_file_close(&f, put_codes(&f, job, width));
    if (code)
        return code;
    path = cli_format("%s.idx", prefix);
    code = vqstore_file_open(&f, job->common, path);
    free(path);
    return code ? code : vqstore_file_close(&f, put_index(&f, job, width));
}

/* A member of a tar (POSIX ustar). */
static void put_member(vqstore_file *f, const char *name, const void *head, size_t head_size,
                       const void *bytes, size_t size)
{
    char header[512] = "";
    const size_t whole = head_size + size;
    snprintf(header, 100, "%s", name);
    snprintf(header + 100, 8, "%07o", 0644);
    snprintf(header + 108, 8, "%07o", 0);
    snprintf(header + 116, 8, "%07o", 0);
    snprintf(header + 124, 12, "%011llo", (unsigned long long)whole);
    snprintf(header + 136, 12, "%011o", 0);
    memset(header + 148, ' ', 8);
    header[156] = '0';
    memcpy(header + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof header; i++)
        sum += (uint8_t)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    vqstore_put(f, header, sizeof header);
    vqstore_put(f, head, head_size);
    vqstore_put(f, bytes, size);
    static const char zeros[512];
    vqstore_put(f, zeros, (512 - whole % 512) % 512);
}

static void put_tokens(vqstore_file *f, const vqstore_export_job *job, const char *base, uint32_t s)
{
    const vq_tokens *t = job->record->tokens[s];
    size_t shape[4] = {t->levels, t->grid[0], t->grid[1], t->grid[2]}, size;
    const size_t count = vq_tokens_positions(t) * t->levels, width = vqstore_dtype_size(job->dtype);
    char *header = vqstore_npy_header(&size, job->dtype, shape, t->grid_ndim + 1);
    uint8_t *bytes = cli_need(malloc(count * width));
    for (size_t i = 0; i < count; i++)
        for (size_t b = 0; b < width; b++)
            bytes[i * width + b] = (uint8_t)((uint64_t)t->codes[i] >> 8 * b);
    char *name = cli_format("%s.%s.npy", base, job->schema.stream[s].name);
    put_member(f, name, header, size, bytes, count * width);
    free(name);
    free(bytes);
    free(header);
}

static void put_info(vqstore_file *f, const vq_record *record, const char *base)
{
    json_t *json = json_object();
    const vq_record_info *info = &record->info;
    if (info->key)
        json_object_set_new(json, "key", json_string(info->key));
    if (info->split)
        json_object_set_new(json, "split", json_string(info->split));
    if (info->caption)
        json_object_set_new(json, "caption", json_string(info->caption));
    char *text = cli_need(json_dumps(json, JSON_COMPACT));
    char *name = cli_format("%s.json", base);
    put_member(f, name, "", 0, text, strlen(text));
    free(name);
    free(text);
    json_decref(json);
    if (!info->has_label)
        return;
    text = cli_format("%lld", (long long)info->label);
    name = cli_format("%s.cls", base);
    put_member(f, name, "", 0, text, strlen(text));
    free(name);
    free(text);
}

int vqstore_export_webdataset(vqstore_export_job *job, const char *path)
{
    vqstore_file f;
    int code = vqstore_file_open(&f, job->common, path);
    if (code)
        return code;
    for (uint64_t i = 0; !code && i < vq_store_records(job->store); i++) {
        code = vqstore_export_read(job, i);
        char *base = cli_format("%09llu", (unsigned long long)i);
        for (uint32_t s = 0; !code && s < job->schema.streams; s++)
            if (job->record->tokens[s])
                put_tokens(&f, job, base, s);
        if (!code)
            put_info(&f, job->record, base);
        free(base);
    }
    static const char zeros[1024];
    vqstore_put(&f, zeros, sizeof zeros);
    return vqstore_file_close(&f, code);
}
