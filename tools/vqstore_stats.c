/* SPDX-License-Identifier: Apache-2.0 */
/* How large a store is, and how large it would be otherwise; how its codes are used. */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vqstore.h"

static const cli_option options[] = {
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static const cli_program program = {
    .name = "vqstore stats",
    .usage = "STORE [options]",
    .about = "Bytes of a store against its sources, against other packings and the entropy of its\n"
             "codes, and how many codes of each level are used.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqstore stats tokens/\n",
    .option = vqstore_no_option,
};

/* Of one level of one stream. */
typedef struct level {
    const char *stream;
    uint32_t level, k, used;
    double codes, entropy; /* bits per code */
    uint64_t *count;       /* k, or NULL if there are too many */
} level;

typedef struct stats {
    vq_shard_info first; /* shard: its streams are those of all */
    level *levels;
    size_t count;
    uint64_t records, codes, bytes, blocks, index, tables, sources, samples;
    double raw, bits, order0, npy; /* bytes of codes alone, and of one .npy per record */
} stats;

enum { MOST_COUNTED = 1 << 24 };

static void make_levels(stats *s, const vq_shard_info *info)
{
    for (uint32_t i = 0; i < info->schema.streams; i++)
        s->count += info->schema.stream[i].levels;
    s->levels = cli_need(calloc(s->count + 1, sizeof *s->levels));
    level *to = s->levels;
    for (uint32_t i = 0; i < info->schema.streams; i++)
        for (uint32_t l = 0; l < info->schema.stream[i].levels; l++, to++) {
            *to = (level){.stream = info->schema.stream[i].name,
                          .level = l,
                          .k = info->schema.stream[i].k[l]};
            if (to->k <= MOST_COUNTED)
                to->count = cli_need(calloc(to->k, sizeof *to->count));
        }
}

static double bits_of(uint32_t k)
{
    double bits = 1;
    while (bits < 32 && ldexp(1, (int)bits) < k)
        bits++;
    return bits;
}

static void add_tokens(stats *s, level *levels, const vq_tokens *t)
{
    const size_t positions = vq_tokens_positions(t);
    uint32_t largest = 1;
    for (uint32_t l = 0; l < t->levels; l++)
        largest = t->k[l] > largest ? t->k[l] : largest;
    const double width = largest <= 256 ? 1 : largest <= 65536 ? 2 : 4;
    size_t samples = 1;
    for (uint32_t i = 0; i < t->source_ndim; i++)
        samples *= t->source_shape[i];
    s->samples += t->source_ndim ? samples : 0;
    s->raw += width * (double)positions * t->levels;
    s->npy += 128 + width * (double)positions * t->levels;
    for (uint32_t l = 0; l < t->levels; l++) {
        levels[l].codes += (double)positions;
        s->bits += ceil((double)positions * bits_of(t->k[l]) / 8);
        for (size_t i = 0; levels[l].count && i < positions; i++)
            levels[l].count[t->codes[l * positions + i]]++;
    }
}

static int gather(stats *s, const cli_common *common, const vq_store *store)
{
    vq_record *record;
    vq_status status = vq_record_create(&record);
    if (vq_store_shards(store))
        vq_shard_get_info(&s->first, vq_store_shard(NULL, store, 0));
    make_levels(s, &s->first);
    for (size_t i = 0; i < vq_store_shards(store); i++) {
        vq_shard_info info;
        vq_shard_get_info(&info, vq_store_shard(NULL, store, i));
        s->codes += info.codes;
        s->bytes += info.file_bytes;
        s->blocks += info.block_bytes;
        s->index += info.index_bytes;
        s->tables += info.table_bytes;
    }
    s->records = vq_store_records(store);
    for (uint64_t i = 0; !status && i < s->records; i++) {
        status = vq_store_read(record, store, i);
        level *levels = s->levels;
        for (uint32_t t = 0; !status && t < record->streams; t++) {
            if (record->tokens[t])
                add_tokens(s, levels, record->tokens[t]);
            levels += s->first.schema.stream[t].levels;
        }
        s->sources += status ? 0 : record->info.source_bytes;
    }
    vq_record_free(record);
    for (size_t l = 0; l < s->count; l++) {
        level *at = &s->levels[l];
        for (uint32_t c = 0; at->count && c < at->k; c++)
            if (at->count[c]) {
                const double n = (double)at->count[c];
                at->used++;
                at->entropy -= n / at->codes * log2(n / at->codes);
            }
        s->order0 += at->codes * (at->count ? at->entropy : bits_of(at->k)) / 8;
    }
    return status ? cli_fail(common, NULL, status) : CLI_DONE;
}

static double percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : NAN;
}

static int print_json(const cli_common *common, const stats *s)
{
    json_t *json = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "records", (json_int_t)s->records, "codes",
        (json_int_t)s->codes, "bytes", (json_int_t)s->bytes, "block_bytes", (json_int_t)s->blocks,
        "index_bytes", (json_int_t)s->index, "table_bytes", (json_int_t)s->tables, "source_bytes",
        (json_int_t)s->sources, "source_samples", (json_int_t)s->samples);
    json_t *levels = json_array();
    json_object_set_new(json, "raw_bytes", cli_json_real(s->raw));
    json_object_set_new(json, "bits_bytes", cli_json_real(s->bits));
    json_object_set_new(json, "order0_bytes", cli_json_real(s->order0));
    json_object_set_new(json, "npy_bytes", cli_json_real(s->npy));
    for (size_t l = 0; l < s->count; l++) {
        const level *at = &s->levels[l];
        json_t *row = json_pack("{s:s, s:i, s:I, s:i}", "stream", at->stream, "level",
                                (int)at->level, "k", (json_int_t)at->k, "used", (int)at->used);
        json_object_set_new(row, "codes", cli_json_real(at->codes));
        json_object_set_new(row, "entropy", cli_json_real(at->entropy));
        json_array_append_new(levels, row);
    }
    json_object_set_new(json, "levels", levels);
    return cli_json_print(common, json, 0);
}

static void print_text(const char *name, const stats *s)
{
    const double bytes = (double)s->bytes;
    printf("%s: %llu records, %llu codes, %llu bytes\n", name, (unsigned long long)s->records,
           (unsigned long long)s->codes, (unsigned long long)s->bytes);
    printf("  blocks %llu, indexes %llu, tables %llu bytes\n", (unsigned long long)s->blocks,
           (unsigned long long)s->index, (unsigned long long)s->tables);
    if (s->samples)
        printf("  %.3f %% of the decoded signals (one byte a sample)\n",
               percent(bytes, (double)s->samples));
    if (s->sources)
        printf("  %.3f %% of the files they came from\n", percent(bytes, (double)s->sources));
    printf(
        "  the codes alone: raw %.0f, bits %.0f, entropy of order 0 %.0f; a .npy each %.0f bytes\n",
        s->raw, s->bits, s->order0, s->npy);
    printf("stream            level       K     used    used %%  bits/code\n");
    for (size_t l = 0; l < s->count; l++) {
        const level *at = &s->levels[l];
        printf("%-16s %6u %8u ", at->stream, at->level, at->k);
        if (at->count)
            printf("%8u %9.2f %10.3f\n", at->used, percent(at->used, at->k), at->entropy);
        else
            printf("%8s %9s %10s\n", "-", "-", "-");
    }
}

int vqstore_stats(int argc, char **argv)
{
    cli_common common;
    vq_store *store;
    stats s = {0};
    int code = cli_parse(&common, &program, argc, argv, NULL);
    if (code != CLI_GO_ON)
        return code;
    code = vqstore_open(&store, &common, argc, argv, 1);
    if (!code)
        code = gather(&s, &common, store);
    if (!code && common.json)
        code = print_json(&common, &s);
    else if (!code)
        print_text(argv[optind], &s);
    for (size_t l = 0; l < s.count; l++)
        free(s.levels[l].count);
    free(s.levels);
    vq_store_free(store);
    return cli_close_stdout(&common, code);
}
