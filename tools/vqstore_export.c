/* SPDX-License-Identifier: Apache-2.0 */
#include "vqstore_export.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_TO = CLI_KEY_FIRST, KEY_DTYPE };

typedef struct settings {
    const char *to, *dtype, *stream;
} settings;

static const struct format {
    const char *name;
    int (*run)(vqstore_export_job *job, const char *output);
} formats[] = {{"npy", vqstore_export_npy},
               {"safetensors", vqstore_export_safetensors},
               {"megatron", vqstore_export_megatron},
               {"webdataset", vqstore_export_webdataset}};

static const char *const dtypes[] = {"u8", "u16", "i32", "i64"};

static const cli_option options[] = {
    CLI_OPTION_OUTPUT("npy: a folder; safetensors, webdataset: a file; megatron: a prefix"),
    {KEY_TO, "to", "FORMAT", "npy, safetensors, megatron or webdataset"},
    {KEY_DTYPE, "dtype", "TYPE",
     "of codes: u8, u16, i32 or i64 (default i32; of megatron: u16 or i32, as it has them)"},
    {'s', "stream", "NAME", "megatron: which stream (default: the first)"},
    CLI_OPTION_FORCE("write to a terminal, too"),
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    settings *s = state;
    (void)common;
    if (key == KEY_TO)
        s->to = value;
    else if (key == KEY_DTYPE)
        s->dtype = value;
    else
        s->stream = value;
    return CLI_DONE;
}

static const cli_program program = {
    .name = "vqstore export",
    .usage = "STORE --to FORMAT -o OUTPUT",
    .about = "Write the tokens of a store as files that others read.\n"
             "npy, safetensors: for each stream all codes in one array, record after record, with "
             "offsets\n"
             "(records + 1) and grids (records x 3); labels. megatron: .bin and .idx. webdataset: "
             "a tar.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqstore export tokens/ --to npy -o arrays/\n"
                "  vqstore export tokens/ --to megatron -o corpus\n",
    .option = on_option,
};

int vqstore_file_open(vqstore_file *f, const cli_common *common, const char *path)
{
    *f = (vqstore_file){.common = common, .path = cli_copy(path)};
    f->part = cli_format("%s.part", path);
    f->file = fopen(f->part, "wb");
    if (f->file)
        return CLI_DONE;
    const int code = cli_fault(common, f->part, "cannot be created (%s)", strerror(errno));
    free(f->path);
    free(f->part);
    return code;
}

void vqstore_put(vqstore_file *f, const void *bytes, size_t size)
{
    fwrite(bytes, 1, size, f->file); /* closing tells whether all was written */
}

void vqstore_put_number(vqstore_file *f, uint64_t value, size_t bytes)
{
    uint8_t text[8] = {0};
    for (size_t i = 0; i < bytes; i++)
        text[i] = (uint8_t)(value >> 8 * i);
    vqstore_put(f, text, bytes);
}

int vqstore_file_close(vqstore_file *f, int code)
{
    int bad = fflush(f->file) || ferror(f->file) || fsync(fileno(f->file));
    bad |= fclose(f->file);
    if (!code && (bad || rename(f->part, f->path)))
        code = cli_fault(f->common, f->path, "cannot be written (%s)", strerror(errno));
    if (code)
        unlink(f->part);
    free(f->path);
    free(f->part);
    return code;
}

size_t vqstore_dtype_size(vqstore_dtype dtype)
{
    static const size_t sizes[] = {1, 2, 4, 8};
    return sizes[dtype];
}

char *vqstore_npy_header(size_t *size, vqstore_dtype dtype, const size_t *shape, uint32_t ndim)
{
    static const char *const names[] = {"|u1", "<u2", "<i4", "<i8"};
    char text[192];
    size_t used = (size_t)snprintf(
        text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", names[dtype]);
    for (uint32_t i = 0; i < ndim; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%zu,%s", shape[i],
                                 i + 1 < ndim ? " " : "");
    used += (size_t)snprintf(text + used, sizeof text - used, "), }");
    *size = (10 + used + 1 + 63) / 64 * 64;
    const size_t length = *size - 10;
    char *header = cli_need(calloc(*size + 1, 1));
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(length & 255);
    header[9] = (char)(length >> 8);
    memset(header + 10, ' ', length);
    memcpy(header + 10, text, used);
    header[*size - 1] = '\n';
    return header;
}

int vqstore_export_read(vqstore_export_job *job, uint64_t number)
{
    const vq_status status = vq_store_read(job->record, job->store, number);
    if (cli_progress_show(&job->progress, "exporting", (double)number,
                          (double)vq_store_records(job->store), "records"))
        return CLI_INTERRUPTED;
    return status ? cli_fail(job->common, NULL, status) : CLI_DONE;
}

static uint32_t largest_k(const vq_store_schema *schema)
{
    uint32_t largest = 0;
    for (uint32_t s = 0; s < schema->streams; s++)
        for (uint32_t l = 0; l < schema->stream[s].levels; l++)
            largest = schema->stream[s].k[l] > largest ? schema->stream[s].k[l] : largest;
    return largest;
}

static int choose_dtype(vqstore_export_job *job, const char *text)
{
    static const uint64_t most[] = {1u << 8, 1u << 16, (uint64_t)1 << 31, (uint64_t)1 << 32};
    const uint32_t k = largest_k(&job->schema);
    job->dtype = k > most[EXPORT_I32] ? EXPORT_I64 : EXPORT_I32;
    if (!text)
        return CLI_DONE;
    for (int i = 0; i <= EXPORT_I64; i++)
        if (!strcmp(text, dtypes[i])) {
            job->dtype = (vqstore_dtype)i;
            return k <= most[i] ? CLI_DONE
                                : cli_usage(job->common, "--dtype: %s cannot hold K = %u", text, k);
        }
    return cli_usage(job->common, "--dtype: '%s' is none of u8, u16, i32 and i64", text);
}

static int find_stream(vqstore_export_job *job, const char *name)
{
    for (uint32_t s = 0; s < job->schema.streams; s++)
        if (!name || !strcmp(name, job->schema.stream[s].name)) {
            job->stream = (int)s;
            return CLI_DONE;
        }
    return cli_usage(job->common, "--stream: there is no stream '%s'", name);
}

static int run(const cli_common *common, const settings *s, const vq_store *store)
{
    vqstore_export_job job = {.common = common, .store = store};
    const struct format *format = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(s->to, formats[i].name))
            format = &formats[i];
    if (!format)
        return cli_usage(common, "--to: '%s' is none of npy, safetensors, megatron and webdataset",
                         s->to);
    vq_shard_info info;
    if (!vq_store_shards(store))
        return cli_usage(common, "the store has no shards");
    vq_shard_get_info(&info, vq_store_shard(NULL, store, 0));
    job.schema = info.schema;
    int code = choose_dtype(&job, s->dtype);
    if (!code)
        code = find_stream(&job, s->stream);
    if (!code && vq_record_create(&job.record))
        code = cli_fail(common, NULL, VQ_E_NOMEM);
    cli_catch_signals();
    cli_progress_start(&job.progress, common);
    if (!code)
        code = format->run(&job, common->output);
    cli_progress_clear(&job.progress);
    vq_record_free(job.record);
    return code;
}

int vqstore_export(int argc, char **argv)
{
    cli_common common;
    settings s = {0};
    vq_store *store;
    int code = cli_parse(&common, &program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (!common.output || !s.to)
        return cli_usage(&common, "--to and --output are needed");
    code = vqstore_open(&store, &common, argc, argv, 1);
    if (!code)
        code = run(&common, &s, store);
    vq_store_free(store);
    return cli_close_stdout(&common, code);
}
