/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shards: their size and the speed of reading them; one JSON object on standard output. bench/store.py runs it.
 *
 *     bench_store made PREFIX RECORDS POSITIONS   shards PREFIX.raw, PREFIX.bits and PREFIX.rans of records that are made
 *     bench_store read SHARD                      microseconds to open, of a record and a key at random; codes/s in order
 *     bench_store encode PICTURE...               seconds to encode them, one for each thread, and no more
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codecs/codec.h"
#include "io/image.h"
#include "io/store_write.h"

enum { K = 1024, TOTAL = 1 << 16, PACKINGS = 3, ROUNDS = 3 };
static const vq_packing packings[PACKINGS] = {VQ_PACKING_RAW, VQ_PACKING_BITS, VQ_PACKING_RANS};

static void check(vq_status status)
{
    if (status) {
        fprintf(stderr, "bench_store: %s: %s\n", vq_status_name(status), vq_last_error());
        exit(1);
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Vigna's splitmix64. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static vq_shard_writer *writer_of(const char *prefix, vq_packing packing,
                                  const vq_store_schema *schema, char path[4096])
{
    snprintf(path, 4096, "%s.%s", prefix, vq_packing_name(packing));
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.packing = (int)packing + 1;
    vq_shard_writer *writer;
    check(vq_shard_create(&writer, path, schema, &opts));
    return writer;
}

/* Frequencies like those of words, of 65536 in all, as a table of what each 16 bits give. @return bits per code. */
static double make_source(uint16_t table[TOTAL])
{
    double sum = 0, bits = 0;
    for (int i = 0; i < K; i++)
        sum += 1.0 / (i + 40);
    double until = 0;
    int from = 0;
    for (int i = 0; i < K; i++) {
        until += 1.0 / (i + 40) / sum;
        const int to = i == K - 1 ? TOTAL : (int)(until * TOTAL);
        const double p = (double)(to - from) / TOTAL;
        bits -= p > 0 ? p * log2(p) : 0;
        for (int j = from; j < to; j++)
            table[j] = (uint16_t)i;
        from = to;
    }
    return bits;
}

static void made(const char *prefix, uint64_t records, size_t positions)
{
    static uint16_t table[TOTAL];
    const double entropy = make_source(table);
    const uint32_t k[1] = {K};
    vq_tokens *tokens;
    check(vq_tokens_create(&tokens, 1, &positions, 1, k));
    vq_store_schema schema = {.streams = 1};
    check(vq_store_stream_of(&schema.stream[0], "tokens", tokens));
    printf("{\"entropy\": %.9g, \"positions\": %zu, \"shards\": {", entropy, positions);
    for (int p = 0; p < PACKINGS; p++) {
        char path[4096], key[32];
        vq_shard_writer *writer = writer_of(prefix, packings[p], &schema, path);
        vq_shard_info info;
        uint64_t random = 1;
        const double begin = seconds();
        for (uint64_t r = 0; r < records; r++) {
            for (size_t i = 0; i < positions;)
                for (uint64_t word = next_random(&random), j = 0; j < 4 && i < positions; j++)
                    tokens->codes[i++] = table[word >> 16 * j & (TOTAL - 1)];
            snprintf(key, sizeof key, "picture%08llu", (unsigned long long)r);
            const vq_record_info about = {.key = key, .has_label = 1, .label = (int64_t)(r % 1000)};
            check(vq_shard_add(writer, &about, (const vq_tokens *const *)&tokens));
        }
        check(vq_shard_finish(writer, &info));
        vq_shard_writer_free(writer);
        printf("%s\"%s\": {\"path\": \"%s\", \"seconds\": %.4g, \"bytes\": %llu, \"block_bytes\": "
               "%llu, "
               "\"index_bytes\": %llu, \"table_bytes\": %llu}",
               p ? ", " : "", vq_packing_name(packings[p]), path, seconds() - begin,
               (unsigned long long)info.file_bytes, (unsigned long long)info.block_bytes,
               (unsigned long long)info.index_bytes, (unsigned long long)info.table_bytes);
    }
    printf("}}\n");
    vq_tokens_free(tokens);
}

/* Seconds of all codes, in order: the best of the rounds. */
static double in_order(const vq_shard *shard, vq_record *record, uint32_t *sum)
{
    double best = HUGE_VAL;
    const uint64_t records = vq_shard_records(shard);
    for (int round = 0; round < 3; round++) {
        const double begin = seconds();
        for (uint64_t r = 0; r < records; r++) {
            check(vq_shard_read(record, shard, r));
            *sum += record->tokens[0]->codes[0];
        }
        best = fmin(best, seconds() - begin);
    }
    return best;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void read_shard(const char *path)
{
    enum { OPENS = 100, READS = 100000 };
    vq_shard *shard;
    vq_record *record;
    uint32_t sum = 0;
    double begin = seconds();
    for (int i = 0; i < OPENS; i++) {
        check(vq_shard_open(&shard, path, NULL));
        vq_shard_free(shard);
    }
    const double open = (seconds() - begin) / OPENS;
    check(vq_shard_open(&shard, path, NULL));
    check(vq_record_create(&record));
    vq_shard_info info;
    vq_shard_get_info(&info, shard);
    double *times = malloc(READS * sizeof *times);
    if (!times)
        check(VQ_E_NOMEM);
    /* From a mapping whose pages were never touched: page faults are in the times. */
    uint64_t random = 7;
    for (int i = 0; i < READS; i++) {
        begin = seconds();
        check(vq_shard_read(record, shard, next_random(&random) % info.records));
        times[i] = seconds() - begin;
        sum += record->tokens[0]->codes[0];
    }
    double total = 0;
    for (int i = 0; i < READS; i++)
        total += times[i];
    qsort(times, READS, sizeof *times, ascending);
    double find = 0;
    for (int i = 0; info.keys && i < READS / 10; i++) {
        uint64_t number, at = next_random(&random) % info.records;
        check(vq_shard_read(record, shard, at));
        char key[256];
        snprintf(key, sizeof key, "%s", record->info.key);
        begin = seconds();
        check(vq_shard_find(&number, shard, key));
        find += (seconds() - begin) / (READS / 10.0);
        if (number != at)
            exit(1);
    }
    const double sequential = in_order(shard, record, &sum);
    printf("{\"packing\": \"%s\", \"open_us\": %.4g, \"random_us\": %.4g, \"random_us_99\": %.4g, "
           "\"random_us_most\": %.4g, \"find_us\": %.4g, \"mcodes_s\": %.5g, \"sum\": %u}\n",
           vq_packing_name(info.packing), 1e6 * open, 1e6 * total / READS,
           1e6 * times[READS / 100 * 99], 1e6 * times[READS - 1], 1e6 * find,
           1e-6 * (double)info.codes / sequential, sum);
    free(times);
    vq_record_free(record);
    vq_shard_free(shard);
}

/* Nothing but what vqstore pack must do before it packs: one picture for each thread. */
static void encode(char **files, int count)
{
    vq_codec *codec;
    uint64_t samples = 0;
    double best = HUGE_VAL;
    check(vq_codec_open(&codec, "image", NULL));
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t *bytes = calloc((size_t)count, sizeof *bytes);
        if (!bytes)
            check(VQ_E_NOMEM);
        const double begin = seconds();
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < count; i++) {
            vq_coding_opts opts = VQ_CODING_OPTS_INIT;
            opts.threads = 1;
            vq_signal *picture;
            vq_tokens *tokens;
            check(vq_image_read(&picture, files[i], NULL));
            check(vq_codec_encode(&tokens, codec, picture, &opts));
            bytes[i] = vq_signal_count(picture) * (picture->bits / 8);
            vq_tokens_free(tokens);
            vq_signal_free(picture);
        }
        best = fmin(best, seconds() - begin);
        samples = 0;
        for (int i = 0; i < count; i++)
            samples += bytes[i];
        free(bytes);
    }
    printf("{\"pixel_bytes\": %llu, \"seconds\": %.5g}\n", (unsigned long long)samples, best);
    vq_codec_free(codec);
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "made"))
        made(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    else if (argc == 3 && !strcmp(argv[1], "read"))
        read_shard(argv[2]);
    else if (argc > 2 && !strcmp(argv[1], "encode"))
        encode(argv + 2, argc - 2);
    else
        return fputs("usage: bench_store made|read|encode ...\n", stderr), 2;
    return 0;
}
