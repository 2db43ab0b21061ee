/* SPDX-License-Identifier: Apache-2.0 */
/* Files into shards: encoded by many threads, written in order, so that the bytes never depend on how many. */
#include <errno.h>
#include <getopt.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_ranks.h"
#include "vqstore.h"

enum {
    KEY_LIST = CLI_KEY_FIRST,
    KEY_CSV,
    KEY_ROOT,
    KEY_SHARD,
    KEY_SHARDS,
    KEY_BLOCK,
    KEY_SPLIT,
    KEY_STRICT,
    KEY_APPEND,
    KEY_LAMBDA,
    KEY_BEAM,
    BATCH_PER_THREAD = 32 /* so that few wait at the end of a batch for its slowest */
};

typedef struct settings {
    vqstore_sources sources;
    const char *model, *split;
    vq_coding_opts coding;
    vq_shard_opts shard;
    uint64_t one, shards; /* --shard ONE/SHARDS; one = shards: all of them */
    int strict;
} settings;

/* What all threads use, and what is counted. */
typedef struct packing {
    const cli_common *common;
    const settings *s;
    const vqstore_items *items;
    const cli_kind *kind;
    vq_codec *codec;
    vq_store_schema schema;
    vq_communicator ranks; /* those who pack together: each takes every size-th shard */
    cli_progress progress;
    uint64_t before; /* records of the shard that is appended to */
    uint64_t records, codes, skipped, source_bytes, bytes;
    vq_shard_info last;
} packing;

/* One item's tokens, or why there are none. */
typedef struct encoded {
    vq_tokens *tokens;
    vq_status status;
    uint64_t bytes; /* of the file */
    char *sentence;
} encoded;

static const cli_option options[] = {
    CLI_OPTION_OUTPUT("a folder for shards and their manifest.json, or one shard NAME.vqs"),
    {KEY_LIST, "list", "FILE", "also pack the files whose paths are the lines of FILE"},
    {KEY_CSV, "csv", "FILE", "also those of a table: path,label[,split[,caption]]"},
    {KEY_ROOT, "root", "DIR", "the folder that listed paths are relative to"},
    {'m', "model", "MODEL",
     "a built-in model or a model file (default: the built-in one of the first file's kind)"},
    {'l', "levels", "N", "levels of the quantizer to use (default: the model's)"},
    {KEY_LAMBDA, "lambda", "L", "mind the bits, as vqenc does; goes with --packing rans"},
    {KEY_BEAM, "beam", "N", "look at the N best ways in the search, 1 to 64"},
    {'p', "packing", "HOW", "bits (default), rans (smallest) or raw (can be memory-mapped)"},
    {KEY_SPLIT, "split", "NAME", "what split the records belong to: train, say"},
    {KEY_SHARDS, "shards", "N", "cut the files into N shards, one after the other (default 1)"},
    {KEY_SHARD, "shard", "I/N", "write only the I-th of N, from 0; vqstore merge joins them"},
    {KEY_BLOCK, "block", "KIB", "size of a block, 4 to 65536 KiB (default 256)"},
    {KEY_APPEND, "append", NULL, "add the files to NAME.vqs, if it is there"},
    {KEY_STRICT, "strict", NULL, "stop at the first bad file (default: list it and go on)"},
    CLI_OPTION_THREADS,
    CLI_OPTION_CPU,
    CLI_OPTION_JSON,
    CLI_OPTION_FORCE("pack shards again that are there, and begin interrupted ones anew"),
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int read_shard(settings *s, const cli_common *common, const char *text)
{
    char *end;
    errno = 0;
    const unsigned long one = strtoul(text, &end, 10);
    const unsigned long all = *end == '/' ? strtoul(end + 1, &end, 10) : 0;
    if (errno || *end || !all || one >= all || all > 99999 || *text == '-')
        return cli_usage(common, "--shard: '%s' is not I/N with I from 0 to N - 1", text);
    s->one = one;
    s->shards = all;
    return CLI_DONE;
}

static int read_lambda(settings *s, const cli_common *common, const char *text)
{
    double lambda;
    if (cli_read_double(common, "lambda", text, &lambda))
        return CLI_USAGE;
    s->coding.lambda = (float)lambda;
    return lambda >= 0 && lambda <= 1e6
               ? CLI_DONE
               : cli_usage(common, "--lambda: %g is not from 0 to 1000000", lambda);
}

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    settings *s = state;
    uint64_t number = 0;
    int code = CLI_DONE;
    switch (key) {
    case KEY_LIST:
        s->sources.list = value;
        return CLI_DONE;
    case KEY_CSV:
        s->sources.csv = value;
        return CLI_DONE;
    case KEY_ROOT:
        s->sources.root = value;
        return CLI_DONE;
    case KEY_SPLIT:
        s->split = value;
        return CLI_DONE;
    case KEY_APPEND:
        s->shard.append = 1;
        return CLI_DONE;
    case KEY_STRICT:
        s->strict = 1;
        return CLI_DONE;
    case KEY_SHARD:
        return read_shard(s, common, value);
    case KEY_LAMBDA:
        return read_lambda(s, common, value);
    case 'm':
        s->model = value;
        return CLI_DONE;
    case 'p':
        return vqstore_read_packing(&s->shard.packing, common, value);
    case 'l':
        code = cli_read_uint(common, "levels", value, 1, VQ_MAX_LEVELS, &number);
        s->coding.levels = (uint32_t)number;
        return code;
    case KEY_BEAM:
        code = cli_read_uint(common, "beam", value, 1, 64, &number);
        s->coding.beam = (uint32_t)number;
        return code;
    case KEY_BLOCK:
        code = cli_read_uint(common, "block", value, 4, 65536, &number);
        s->shard.block_bytes = (uint32_t)number << 10;
        return code;
    default:
        code = cli_read_uint(common, "shards", value, 1, 99999, &number);
        s->one = s->shards = number;
        return code;
    }
}

static const cli_program program = {
    .name = "vqstore pack",
    .usage = "INPUT... -o OUTPUT [options]",
    .about = "Encode pictures, sounds or robot actions, all of one kind, into shards of tokens.\n"
             "An INPUT is a file, a folder, or a .tar (name.cls is a label, name.txt a caption).\n"
             "Interrupted or killed, it goes on where it was when it is started again.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqstore pack photos/ -o tokens/\n"
                "  vqstore pack --csv train.csv --root images --split train -o train.vqs\n"
                "  vqstore pack photos.tar --shard 3/64 -o tokens/ && vqstore merge tokens/\n",
    .option = on_option,
};

/* Safe on any thread: prints nothing. */
static void encode_item(encoded *out, const packing *p, const vqstore_item *item)
{
    *out = (encoded){0};
    cli_input input = {.path = item->path, .name = item->key};
    vq_bytes bytes = {NULL, 0};
    if (item->bytes)
        input.bytes = (vq_bytes){item->bytes, item->size};
    else
        out->status = vq_file_read(&bytes, item->path, NULL);
    if (!item->bytes)
        input.bytes = bytes;
    out->bytes = input.bytes.size;
    vq_coding_opts coding = p->s->coding;
    coding.threads = 1;
    if (!out->status)
        out->status = p->kind->encode(&out->tokens, p->codec, &input, &coding);
    if (out->status)
        out->sentence = cli_copy(vq_last_error());
    vq_bytes_clear(&bytes);
}

static void encoded_clear(encoded *e)
{
    vq_tokens_free(e->tokens);
    free(e->sentence);
    *e = (encoded){0};
}

/* A bad file: listed, and either the end or not. */
static int skip_item(packing *p, const vqstore_item *item, const encoded *e)
{
    cli_progress_clear(&p->progress);
    cli_fail_saying(p->common, item->bytes ? item->key : item->path, e->status, e->sentence);
    p->skipped++;
    return p->s->strict || e->status == VQ_E_NOMEM ? CLI_FAILED : CLI_DONE;
}

static int add_item(packing *p, vq_shard_writer *writer, const vqstore_item *item, encoded *e)
{
    if (e->status)
        return skip_item(p, item, e);
    const vq_record_info info = {.key = item->key,
                                 .split = item->split ? item->split : p->s->split,
                                 .caption = item->caption,
                                 .has_label = item->has_label,
                                 .label = item->label,
                                 .source_bytes = e->bytes};
    const vq_tokens *tokens = e->tokens;
    const vq_status status = vq_shard_add(writer, &info, &tokens);
    if (status == VQ_E_IO)
        return cli_fail(p->common, NULL, status);
    if (status) {
        e->status = status;
        e->sentence = cli_copy(vq_last_error());
        return skip_item(p, item, e);
    }
    p->source_bytes += e->bytes;
    return CLI_DONE;
}

/* The items `first` to `end` - 1, a batch of them at a time. */
static int encode_items(packing *p, vq_shard_writer *writer, size_t first, size_t end)
{
    const int threads = p->common->threads ? p->common->threads : omp_get_max_threads();
    const size_t batch = (size_t)threads * BATCH_PER_THREAD;
    encoded *results = cli_need(calloc(batch, sizeof *results));
    int code = CLI_DONE;
    for (size_t at = first; !code && at < end; at += batch) {
        const size_t count = end - at < batch ? end - at : batch;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
        for (size_t i = 0; i < count; i++)
            if (!cli_interrupted())
                encode_item(&results[i], p, &p->items->item[at + i]);
        for (size_t i = 0; i < count; i++) {
            if (!code && cli_interrupted())
                code = CLI_INTERRUPTED;
            if (!code)
                code = add_item(p, writer, &p->items->item[at + i], &results[i]);
            encoded_clear(&results[i]);
        }
        cli_progress_show(&p->progress, "packing", (double)(at + count), (double)p->items->count,
                          "files");
    }
    free(results);
    return code;
}

/* After a kill: the item behind the one that was added last. Bad ones before it have no record. */
static size_t where_to_go_on(const packing *p, vq_shard_writer *writer, size_t first, size_t end)
{
    const uint64_t added = vq_shard_writer_records(writer) - p->before;
    const char *last = vq_shard_writer_last_key(writer);
    if (!added || !last)
        return first;
    for (size_t i = first + (size_t)added - 1; i < end; i++)
        if (!strcmp(p->items->item[i].key, last))
            return i + 1;
    return end + 1;
}

static int pack_shard(packing *p, const char *path, size_t first, size_t end)
{
    vq_shard_writer *writer;
    vq_shard_opts opts = p->s->shard;
    opts.resume = !p->common->force;
    vq_status status = vq_shard_create(&writer, path, &p->schema, &opts);
    if (status)
        return cli_fail(p->common, NULL, status);
    const size_t at = where_to_go_on(p, writer, first, end);
    int code = CLI_DONE;
    if (at > end)
        code = cli_fault(p->common, path,
                         "the interrupted run was of other files (--force begins anew)");
    else if (at > first)
        cli_note(p->common, "%s: goes on at file %zu", path, at - first);
    p->skipped += at > end ? 0 : at - first - (size_t)(vq_shard_writer_records(writer) - p->before);
    if (!code)
        code = encode_items(p, writer, at, end);
    if (!code) {
        cli_progress_clear(&p->progress);
        status = vq_shard_finish(writer, &p->last);
        code = status ? cli_fail(p->common, NULL, status) : CLI_DONE;
    }
    if (!code) {
        p->records += p->last.records;
        p->codes += p->last.codes;
        p->bytes += p->last.file_bytes;
    }
    vq_shard_writer_free(writer);
    return code;
}

/* The codec, and what the tokens are like, from the first file that can be encoded. */
static int find_schema(packing *p)
{
    const settings *s = p->s;
    const char *model = s->model;
    if (!model) {
        const vqstore_item *item = &p->items->item[0];
        cli_input input = {.path = item->key, .name = item->key};
        int code = item->bytes ? CLI_DONE : cli_input_open(&input, p->common, item->path);
        if (item->bytes) {
            input.head_size = item->size < sizeof input.head ? item->size : sizeof input.head;
            memcpy(input.head, item->bytes, input.head_size);
        }
        if (!code && !(p->kind = cli_kind_find(p->common, &input, cli_kind_by_name(item->key))))
            code = CLI_FAILED;
        cli_input_clear(&input);
        if (code)
            return code;
        model = p->kind->codec;
    }
    vq_status status = vq_codec_open(&p->codec, model, NULL);
    if (status)
        return cli_fail(p->common, model, status);
    vq_codec_info info;
    vq_codec_get_info(&info, p->codec);
    p->kind = cli_kind_of(info.kind);
    if (!p->kind || s->coding.levels > info.levels)
        return cli_usage(p->common, "--levels: %u, but the model has %u levels", s->coding.levels,
                         info.levels);
    for (size_t i = 0; i < p->items->count && !p->schema.streams; i++) {
        encoded e;
        encode_item(&e, p, &p->items->item[i]);
        if (!e.status && !vq_store_stream_of(&p->schema.stream[0], "tokens", e.tokens))
            p->schema.streams = 1;
        encoded_clear(&e);
    }
    return p->schema.streams ? CLI_DONE
                             : cli_fault(p->common, p->items->item[0].path,
                                         "neither it nor any other file can be encoded");
}

/* A shard that is whole is not packed again, and one of other tokens not replaced. @return 1 if there is nothing to do,
   0 if there is, or the exit code after a message, negative. */
static int is_there(packing *p, const char *path)
{
    const int wanted = p->s->shard.packing ? p->s->shard.packing - 1 : VQ_PACKING_BITS;
    vq_shard *shard;
    if (p->common->force || access(path, F_OK))
        return 0;
    const vq_status status = vq_shard_open(&shard, path, NULL);
    if (status)
        return -cli_fail(p->common, path, status);
    vq_shard_info info;
    vq_shard_get_info(&info, shard);
    vq_shard_free(shard);
    const int same = !memcmp(&info.schema, &p->schema, sizeof p->schema);
    if (same && p->s->shard.append) {
        p->before = info.records;
        return 0;
    }
    if (!same || (int)info.packing != wanted)
        return -cli_fault(p->common, path,
                          "is a shard of other tokens, or packed otherwise (--force "
                          "replaces it)");
    char *part = cli_format("%s.part", path);
    unlink(part); /* killed between giving the name and this */
    free(part);
    cli_note(p->common, "%s: is there already (--force packs it again)", path);
    p->records += info.records;
    p->codes += info.codes;
    p->bytes += info.file_bytes;
    p->last = info;
    return 1;
}

/* What items of `shards` shards the i-th has. */
static int pack_range(packing *p, const char *path, size_t i)
{
    const size_t count = p->items->count, shards = (size_t)p->s->shards;
    const int there = is_there(p, path);
    return there < 0 ? -there
           : there   ? CLI_DONE
                     : pack_shard(p, path, i * count / shards, (i + 1) * count / shards);
}

/* Nobody comes out of here before all shards are there. */
static int count_together(packing *p)
{
    uint64_t *const counts[] = {&p->records, &p->codes, &p->skipped, &p->source_bytes, &p->bytes};
    enum { COUNTS = sizeof counts / sizeof *counts };
    int64_t sums[COUNTS];
    for (int i = 0; i < COUNTS; i++)
        sums[i] = (int64_t)*counts[i];
    const int code = cli_ranks_sum(&p->ranks, p->common, sums, COUNTS);
    for (int i = 0; i < COUNTS && !code; i++)
        *counts[i] = (uint64_t)sums[i];
    return code;
}

static int pack_all(packing *p, const char *output)
{
    const settings *s = p->s;
    if (cli_has_suffix(output, ".vqs")) {
        if (s->shards > 1 && s->one == s->shards)
            return cli_usage(p->common, "--shards: %s is one shard (name a folder)", output);
        if (p->ranks.size > 1)
            return cli_usage(p->common, "%s is one shard, for one process (name a folder)", output);
        return pack_range(p, output, s->one == s->shards ? 0 : (size_t)s->one);
    }
    if (s->shard.append)
        return cli_usage(p->common, "--append: %s is not the name of a shard, NAME.vqs", output);
    if (mkdir(output, 0777) && errno != EEXIST)
        return cli_fault(p->common, output, "cannot be created (%s)", strerror(errno));
    char **names = cli_need(calloc(s->shards, sizeof *names));
    int code = CLI_DONE;
    for (size_t i = 0; !code && i < s->shards; i++) {
        names[i] = cli_format("shard-%05zu-of-%05zu.vqs", i, (size_t)s->shards);
        if (s->one != s->shards ? s->one != i : i % p->ranks.size != p->ranks.rank)
            continue;
        char *path = cli_format("%s/%s", output, names[i]);
        code = pack_range(p, path, i);
        free(path);
    }
    if (!code)
        code = count_together(p);
    if (!code && s->one == s->shards && !p->ranks.rank) {
        const vq_status status =
            vq_store_write_manifest(output, (const char *const *)names, s->shards);
        code = status ? cli_fail(p->common, NULL, status) : CLI_DONE;
    }
    for (size_t i = 0; i < s->shards; i++)
        free(names[i]);
    free(names);
    return code;
}

/* What the codes alone would take as raw or as bits: all levels have as many codes. */
static void other_packings(const packing *p, double *raw, double *bits)
{
    const vq_store_stream *stream = &p->schema.stream[0];
    uint32_t largest = 1, sum = 0;
    for (uint32_t l = 0; l < stream->levels; l++) {
        uint32_t own = 1;
        while (own < 32 && (uint64_t)1 << own < stream->k[l])
            own++;
        sum += own;
        largest = own > largest ? own : largest;
    }
    *raw = (double)p->codes * (largest > 16 ? 4 : largest > 8 ? 2 : 1);
    *bits = (double)p->codes * sum / stream->levels / 8;
}

static int report(const packing *p, double seconds)
{
    const double per_code = p->codes ? 8.0 * (double)p->bytes / (double)p->codes : 0;
    double raw, bits;
    other_packings(p, &raw, &bits);
    if (p->common->json) {
        json_t *json =
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:s}", "records", (json_int_t)p->records,
                      "skipped", (json_int_t)p->skipped, "codes", (json_int_t)p->codes, "bytes",
                      (json_int_t)p->bytes, "source_bytes", (json_int_t)p->source_bytes, "packing",
                      vq_packing_name(p->last.packing));
        json_object_set_new(json, "raw_bytes", cli_json_real(raw));
        json_object_set_new(json, "bits_bytes", cli_json_real(bits));
        json_object_set_new(json, "seconds", cli_json_real(seconds));
        return cli_json_print(p->common, json, 0);
    }
    cli_note(p->common,
             "%llu records, %llu codes, %llu bytes of %s, %.3f bits per code all told; the codes "
             "alone: raw %.0f, bits %.0f",
             (unsigned long long)p->records, (unsigned long long)p->codes,
             (unsigned long long)p->bytes, vq_packing_name(p->last.packing), per_code, raw, bits);
    return CLI_DONE;
}

int vqstore_pack(int argc, char **argv)
{
    cli_common common;
    settings s = {
        .coding = VQ_CODING_OPTS_INIT, .shard = VQ_SHARD_OPTS_INIT, .one = 1, .shards = 1};
    int code = cli_parse(&common, &program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (!common.output)
        return cli_usage(&common, "no output was named (give --output)");
    vqstore_items items = {0};
    packing p = {.common = &common, .s = &s, .items = &items};
    const double begun = cli_seconds();
    cli_catch_signals();
    code = cli_ranks_begin(&p.ranks, &common, "give each its --shard");
    if (!code && p.ranks.size > 1 && s.one != s.shards)
        code = cli_usage(&common, "--shard is for one process (--shards is for all)");
    cli_progress_start(&p.progress, &common);
    if (!code)
        code = vqstore_gather(&items, &common, &s.sources, argv + optind, argc - optind);
    if (!code)
        code = find_schema(&p);
    if (!code)
        code = pack_all(&p, common.output);
    cli_progress_clear(&p.progress);
    int64_t here = 1; /* and the manifest, too */
    const int agreed = !code && !cli_ranks_sum(&p.ranks, &common, &here, 1);
    if (!code && !p.ranks.rank)
        code = report(&p, cli_seconds() - begun);
    if (code == CLI_INTERRUPTED)
        cli_warn(&common, "interrupted: the same command goes on");
    if (!code && p.skipped) {
        if (!p.ranks.rank)
            cli_warn(&common, "%llu files were skipped", (unsigned long long)p.skipped);
        code = CLI_FAILED;
    }
    vq_codec_free(p.codec);
    vqstore_items_clear(&items);
    code = cli_close_stdout(&common, code);
    cli_ranks_end(code, agreed);
    return code;
}
