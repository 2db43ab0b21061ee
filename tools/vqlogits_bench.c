/* SPDX-License-Identifier: Apache-2.0 */
/* vqlogits bench: how fast a head is, call by call and batch by batch. */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vqlogits.h"

enum { KEY_SECONDS = CLI_KEY_FIRST, MOST_STATES = 256, MOST_BATCHES = 16 };

typedef struct settings {
    const char *states;
    uint32_t probes;
    uint32_t k;
    double seconds;
    uint32_t batches[MOST_BATCHES];
    size_t batch_count;
} settings;

static const cli_option options[] = {
    {'s', "states", "ARRAY", "hidden states of text (default: random ones)"},
    {'p', "probes", "N", "of rerank heads (default: as the head says)"},
    {'k', "top", "K", "the best tokens that are asked for (default 50)"},
    {'b', "batch", "LIST", "states of a call (default 1,4,16)"},
    {KEY_SECONDS, "seconds", "X", "for each figure (default 0.5)"},
    CLI_OPTION_THREADS,
    CLI_OPTION_CPU,
    CLI_OPTION_JSON,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int read_batches(settings *s, const cli_common *common, const char *text)
{
    char word[16];
    s->batch_count = 0;
    for (;;) {
        uint64_t number;
        const size_t length = strcspn(text, ",");
        if (s->batch_count == MOST_BATCHES)
            return cli_usage(common, "--batch: more than %d numbers", MOST_BATCHES);
        snprintf(word, sizeof word, "%.*s", (int)(length < 15 ? length : 15), text);
        if (cli_read_uint(common, "batch", word, 1, MOST_STATES, &number))
            return CLI_USAGE;
        s->batches[s->batch_count++] = (uint32_t)number;
        if (!text[length])
            return CLI_DONE;
        text += length + 1;
    }
}

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    settings *s = state;
    uint64_t number;
    switch (key) {
    case 's':
        s->states = value;
        return CLI_DONE;
    case 'p':
        if (cli_read_uint(common, "probes", value, 1, UINT32_MAX, &number))
            return CLI_USAGE;
        s->probes = (uint32_t)number;
        return CLI_DONE;
    case 'k':
        if (cli_read_uint(common, "top", value, 1, 1 << 20, &number))
            return CLI_USAGE;
        s->k = (uint32_t)number;
        return CLI_DONE;
    case 'b':
        return read_batches(s, common, value);
    default:
        if (cli_read_double(common, "seconds", value, &s->seconds))
            return CLI_USAGE;
        return s->seconds > 0 && s->seconds <= 3600
                   ? CLI_DONE
                   : cli_usage(common, "--seconds: %g is not above 0, or more than 3600",
                               s->seconds);
    }
}

static const cli_program program = {
    .name = "vqlogits bench",
    .usage = "HEAD [options]",
    .about =
        "Time the best tokens with the log-partition, a sample, and all logits, on one head.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples = "  vqlogits bench head.safetensors --states states.npy --batch 1,16\n",
    .option = on_option,
};

/* One head, its states, and room for what calls give. */
typedef struct bench {
    const cli_common *common;
    const settings *settings;
    const vq_head *head;
    vq_head_info info;
    float *states;
    size_t n;
    uint32_t *ids;
    float *logits; /* MOST_STATES x k, or one batch x V */
    vq_head_call call;
    vq_head_report report;
} bench;

static vq_status topk(bench *b, const float *states, size_t n)
{
    float whole[MOST_STATES];
    return vq_head_topk(b->ids, b->logits, whole, &b->report, b->head, states, n, b->settings->k,
                        &b->call);
}

static vq_status sample(bench *b, const float *states, size_t n)
{
    return vq_head_sample(b->ids, NULL, &b->report, b->head, states, n, NULL, &b->call);
}

static vq_status all(bench *b, const float *states, size_t n)
{
    return vq_head_logits(b->logits, NULL, &b->report, b->head, states, n, &b->call);
}

static const struct {
    const char *name;
    vq_status (*run)(bench *b, const float *states, size_t n);
} calls[] = {{"topk", topk}, {"sample", sample}, {"logits", all}};

/* Random numbers of no weight: a generator of Lehmer's, for states where none are given. */
static void make_states(bench *b)
{
    uint64_t x = 1;
    b->n = MOST_STATES;
    b->states = cli_need(malloc(b->n * b->info.d * sizeof *b->states));
    for (size_t i = 0; i < b->n * b->info.d; i++) {
        x = x * 48271 % 2147483647;
        b->states[i] = ((float)x / 2147483647.0f - 0.5f) * 2;
    }
}

static int open_states(bench *b)
{
    vqlogits_array array;
    if (!b->settings->states) {
        make_states(b);
        return CLI_DONE;
    }
    int code = vqlogits_array_open(&array, b->common, b->settings->states, "hidden states", 2);
    if (!code && array.tensor.shape[1] != b->info.d)
        code = cli_fault(b->common, array.path, "has states of %zu numbers, the head takes %u",
                         array.tensor.shape[1], b->info.d);
    if (!code && array.tensor.shape[0] > MOST_STATES)
        code = vqlogits_array_cut(&array, b->common, (vqlogits_range){0, MOST_STATES});
    if (!code)
        code = vqlogits_floats(&b->states, b->common, &array);
    b->n = code ? 0 : array.tensor.shape[0];
    vqlogits_array_clear(&array);
    return code;
}

/* Seconds of the fastest call: what the machine can do, undisturbed. */
static vq_status time_call(double *best, bench *b, size_t which, size_t batch)
{
    vq_status status = VQ_OK;
    const double start = cli_seconds();
    *best = INFINITY;
    for (size_t i = 0, at = 0; !status && (i < 3 || cli_seconds() - start < b->settings->seconds);
         i++, at += batch) {
        if (at + batch > b->n)
            at = 0;
        const double before = cli_seconds();
        status = calls[which].run(b, b->states + at * b->info.d, batch);
        *best = fmin(*best, cli_seconds() - before);
        if (!status && cli_interrupted())
            status = VQ_E_CANCELLED;
    }
    return status;
}

static int run(bench *b, const char *path, json_t *rows)
{
    for (size_t which = 0; which < sizeof calls / sizeof *calls; which++)
        for (size_t i = 0; i < b->settings->batch_count; i++) {
            const size_t batch = b->settings->batches[i] < b->n ? b->settings->batches[i] : b->n;
            double best;
            const vq_status status = time_call(&best, b, which, batch);
            if (status)
                return cli_fail(b->common, path, status);
            const double bytes = (double)b->report.bytes / (double)batch;
            if (rows)
                json_array_append_new(rows,
                                      json_pack("{ss sI sf sf}", "call", calls[which].name, "batch",
                                                (json_int_t)batch, "seconds_per_token",
                                                best / (double)batch, "bytes_per_token", bytes));
            else
                printf("%-7s %5zu %12.2f %12.1f %14.0f\n", calls[which].name, batch,
                       1e6 * best / (double)batch, (double)batch / best, bytes);
        }
    return CLI_DONE;
}

static int bench_head(const cli_common *common, const settings *s, const char *path)
{
    vq_head *head = NULL;
    bench b = {
        .common = common, .settings = s, .info = VQ_HEAD_INFO_INIT, .call = VQ_HEAD_CALL_INIT};
    settings own = *s;
    json_t *rows = NULL;
    int code = vqlogits_head_open(&head, common, path);
    if (!code) {
        b.head = head;
        vq_head_get_info(&b.info, head);
        own.k = own.k < b.info.v ? own.k : (uint32_t)b.info.v;
        b.settings = &own;
        code = open_states(&b);
    }
    if (!code) {
        const size_t wide = own.k > b.info.v ? own.k : b.info.v;
        b.ids = cli_need(malloc(MOST_STATES * (size_t)own.k * sizeof *b.ids));
        b.logits = cli_need(malloc(MOST_STATES * wide * sizeof *b.logits));
        b.call.threads = common->threads;
        b.call.probes = s->probes;
        b.call.workspace_size = vq_head_workspace(head, MOST_STATES, own.k, &b.call);
        const size_t room = (b.call.workspace_size + 63) / 64 * 64;
        b.call.workspace = room ? cli_need(aligned_alloc(64, room)) : NULL;
        cli_catch_signals();
        if (common->json) {
            rows = json_array();
        } else {
            vqlogits_head_print(stdout, path, head);
            printf("%-7s %5s %12s %12s %14s\n", "call", "batch", "us/token", "tokens/s",
                   "bytes/token");
        }
        code = run(&b, path, rows);
    }
    if (!code && rows)
        code = cli_json_print(
            common, json_pack("{so sO}", "head", vqlogits_head_json(path, head), "results", rows),
            1);
    json_decref(rows);
    free(b.call.workspace);
    free(b.ids);
    free(b.logits);
    free(b.states);
    vq_head_free(head);
    return code;
}

int vqlogits_bench(int argc, char **argv)
{
    cli_common common;
    settings s = {.k = 50, .seconds = 0.5, .batches = {1, 4, 16}, .batch_count = 3};
    const int code = cli_parse(&common, &program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (optind + 1 != argc)
        return cli_usage(&common, optind == argc ? "no head was named (see vqlogits bench --help)"
                                                 : "one head at a time");
    return cli_close_stdout(&common, bench_head(&common, &s, argv[optind]));
}
