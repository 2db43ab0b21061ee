/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codecs of actions on one data set: one JSON object on standard output with the error and the bits of a model that is fitted to
 * the first files, of the universal model and of bins, on the files after "--"; or the time of a chunk. bench/action.py runs it.
 *
 *     bench_action quality UNIVERSAL FILE... -- FILE...     errors are those of values mapped to [-1, 1] by quantiles
 *     bench_action universal MODEL FILE... -- FILE...       the universal model alone
 *     bench_action time CALLS                               microseconds of a chunk of 16 x 7 at the default number of levels
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codecs/action.h"
#include "codecs/train.h"
#include "io/actions.h"
#include "io/safetensors.h"

enum { HORIZON = 16, ARM = 7 };

static void check(vq_status status)
{
    if (status) {
        fprintf(stderr, "bench_action: %s: %s\n", vq_status_name(status), vq_last_error());
        exit(1);
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static vq_status read_file(void *context, size_t index, vq_signal **out)
{
    return vq_actions_read(out, ((char **)context)[index], NULL);
}

static vq_codec *fitted(const char *codec, char **files, size_t count, int quantile)
{
    const vq_signal_source source = {count, read_file, files};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    opts.quantile_bins = quantile;
    vq_tensors *model;
    vq_bytes bytes;
    vq_codec *out;
    check(vq_codec_train(&model, codec, &source, &opts));
    check(vq_safetensors_serialize(&bytes, model));
    check(vq_codec_open_memory(&out, bytes.data, bytes.size, codec, NULL));
    vq_bytes_clear(&bytes);
    vq_tensors_free(model);
    return out;
}

/* The ranges of the training files, which error is measured in, whoever codes. */
static vq_dimensions *ranges_of(char **files, size_t count)
{
    vq_signal **signals = calloc(count, sizeof *signals);
    const float **rows = calloc(count, sizeof *rows);
    size_t *lengths = calloc(count, sizeof *lengths);
    vq_dimensions *d;
    if (!signals || !rows || !lengths)
        check(VQ_E_NOMEM);
    for (size_t i = 0; i < count; i++) {
        check(vq_actions_read(&signals[i], files[i], NULL));
        rows[i] = signals[i]->data;
        lengths[i] = signals[i]->shape[0];
    }
    check(vq_dimensions_create(&d, signals[0]->shape[1]));
    check(vq_dimensions_fit(d, rows, lengths, count));
    for (size_t i = 0; i < count; i++)
        vq_signal_free(signals[i]);
    free(signals);
    free(rows);
    free(lengths);
    return d;
}

typedef struct error {
    double squares, largest;
    size_t values;
} error;

static void add_error(error *e, const vq_dimensions *d, const vq_signal *a, const vq_signal *b)
{
    for (size_t i = 0; i < vq_signal_count(a); i++) {
        const double span = (double)d->high[i % d->count] - (double)d->low[i % d->count];
        const double off = span > 0 ? 2 * ((double)a->data[i] - (double)b->data[i]) / span : 0;
        e->squares += off * off;
        e->largest = fmax(e->largest, fabs(off));
        e->values++;
    }
}

static void print_codec(const char *name, const vq_codec *codec, const vq_dimensions *d,
                        char **files, size_t count, uint32_t beam)
{
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    printf("\"%s\": [", name);
    for (uint32_t levels = 1; levels <= info.levels; levels++) {
        error e = {0};
        double bits = 0;
        for (size_t i = 0; i < count; i++) {
            vq_signal *signal, *decoded;
            vq_tokens *tokens;
            vq_coding_opts opts = VQ_CODING_OPTS_INIT;
            opts.levels = levels;
            opts.beam = beam;
            check(vq_actions_read(&signal, files[i], NULL));
            vq_dimensions_free(signal->dimensions);
            check(vq_dimensions_copy(&signal->dimensions, d));
            check(vq_codec_encode(&tokens, codec, signal, &opts));
            check(vq_codec_decode(&decoded, codec, tokens, NULL));
            for (uint32_t l = 0; l < levels; l++)
                bits += (double)vq_tokens_positions(tokens) * log2((double)tokens->k[l]);
            add_error(&e, d, signal, decoded);
            vq_signal_free(signal);
            vq_signal_free(decoded);
            vq_tokens_free(tokens);
        }
        printf("%s{\"levels\": %u, \"bits\": %.6f, \"rmse\": %.9g, \"max\": %.9g}",
               levels > 1 ? ", " : "", levels, bits / (double)e.values,
               sqrt(e.squares / (double)e.values), e.largest);
    }
    printf("]");
}

/* The universal model alone, for one that is not built in. */
static void only_universal(const char *universal, char **train, size_t trained, char **test,
                           size_t tested)
{
    vq_dimensions *d = ranges_of(train, trained);
    vq_codec *codec;
    check(vq_codec_open(&codec, universal, NULL));
    printf("{");
    print_codec("universal", codec, d, test, tested, 1);
    printf("}\n");
    vq_codec_free(codec);
    vq_dimensions_free(d);
}

static void quality(const char *universal, char **train, size_t trained, char **test, size_t tested)
{
    vq_dimensions *d = ranges_of(train, trained);
    vq_codec *codec;
    const double start = seconds();
    codec = fitted("action", train, trained, 0);
    printf("{\"fit_seconds\": %.3f, ", seconds() - start);
    print_codec("fitted", codec, d, test, tested, 1);
    printf(", ");
    print_codec("fitted_beam", codec, d, test, tested, 8);
    vq_codec_free(codec);
    printf(", ");
    check(vq_codec_open(&codec, universal, NULL));
    print_codec("universal", codec, d, test, tested, 1);
    vq_codec_free(codec);
    for (int quantile = 0; quantile < 2; quantile++) {
        codec = fitted("bins", train, trained, quantile);
        printf(", ");
        print_codec(quantile ? "quantile_bins" : "bins", codec, d, test, tested, 1);
        vq_codec_free(codec);
    }
    vq_dimensions_free(d);
    printf("}\n");
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *name, double *times, size_t calls)
{
    qsort(times, calls, sizeof *times, ascending);
    printf("\"%s\": {\"median_us\": %.3f, \"p99_us\": %.3f, \"worst_us\": %.3f}", name,
           1e6 * times[calls / 2], 1e6 * times[calls - 1 - calls / 100], 1e6 * times[calls - 1]);
}

static void measure(size_t calls)
{
    vq_codec *codec;
    vq_action *action;
    vq_dimensions *d;
    vq_action_opts opts = VQ_ACTION_OPTS_INIT;
    check(vq_codec_open(&codec, "action", NULL));
    check(vq_dimensions_create(&d, ARM));
    for (int i = 0; i < ARM; i++) {
        d->low[i] = d->min[i] = -1;
        d->high[i] = d->max[i] = 1;
    }
    d->scaled = 1;
    opts.dimensions = d;
    check(vq_action_open(&action, codec, &opts));
    double *encode = malloc(calls * sizeof *encode), *decode = malloc(calls * sizeof *decode);
    uint32_t *codes = calloc(vq_action_codes(action), sizeof *codes);
    float chunk[HORIZON * ARM], back[HORIZON * ARM];
    if (!encode || !decode || !codes)
        check(VQ_E_NOMEM);
    memset(encode, 0, calls * sizeof *encode); /* the pages are there before the clock runs */
    memset(decode, 0, calls * sizeof *decode);
    for (size_t c = 0; c < calls; c++) {
        for (int t = 0; t < HORIZON; t++)
            for (int i = 0; i < ARM; i++)
                chunk[t * ARM + i] =
                    sinf(0.01f * (float)(c * HORIZON + (size_t)t) * (float)(i + 1));
        const double a = seconds();
        check(vq_action_encode(codes, action, chunk, HORIZON));
        const double b = seconds();
        check(vq_action_decode(back, action, codes));
        const double e = seconds();
        encode[c] = b - a;
        decode[c] = e - b;
    }
    printf("{\"calls\": %zu, \"codes\": %zu, ", calls, vq_action_codes(action));
    print_times("encode", encode, calls);
    printf(", ");
    print_times("decode", decode, calls);
    printf("}\n");
    free(encode);
    free(decode);
    free(codes);
    vq_action_free(action);
    vq_dimensions_free(d);
    vq_codec_free(codec);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "time")) {
        measure(strtoul(argv[2], NULL, 10));
        return 0;
    }
    int split = 3;
    while (split < argc && strcmp(argv[split], "--"))
        split++;
    const int universal = argc > 1 && !strcmp(argv[1], "universal");
    if (argc < 4 || (!universal && strcmp(argv[1], "quality")) || split >= argc - 1 || split == 3) {
        fprintf(
            stderr,
            "usage: bench_action quality|universal UNIVERSAL FILE... -- FILE... | time CALLS\n");
        return 2;
    }
    (universal ? only_universal : quality)(argv[2], argv + 3, (size_t)(split - 3), argv + split + 1,
                                           (size_t)(argc - split - 1));
    return 0;
}
