/* SPDX-License-Identifier: Apache-2.0 */
/* vqlogits eval: heads beside the dense one. */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vqlogits.h"

enum { KEY_TARGETS = CLI_KEY_FIRST, KEY_USE, MOST_PROBES = 32 };

typedef struct settings {
    const char *reference, *states, *targets, *png;
    vqlogits_range use;
    uint32_t probes[MOST_PROBES];
    size_t probe_count; /* 0 = as the head says */
    int sweep;          /* 1, 2, 4, ... K instead */
} settings;

static const cli_option options[] = {
    {'s', "states", "ARRAY", "hidden states of text, [n, d]: FILE or FILE:NAME"},
    {KEY_TARGETS, "targets", "ARRAY", "the token that came next after each, [n]"},
    {KEY_USE, "use", "FROM:TO", "of these only those, as in Python"},
    {'r', "reference", "FILE",
     "the output matrix, or a dense head (default: the first head\n"
     "                            with all its rows)"},
    {'p', "probes", "LIST", "of rerank heads: 8,16,32, or sweep for 1, 2, 4, ... all"},
    {'g', "png", "FILE", "draw what is lost over the bytes that are read"},
    CLI_OPTION_THREADS,
    CLI_OPTION_CPU,
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int read_probes(settings *s, const cli_common *common, const char *text)
{
    char word[16];
    s->probe_count = 0;
    s->sweep = strcmp(text, "sweep") == 0;
    while (!s->sweep) {
        uint64_t number;
        const size_t length = strcspn(text, ",");
        if (s->probe_count == MOST_PROBES)
            return cli_usage(common, "--probes: more than %d numbers", MOST_PROBES);
        snprintf(word, sizeof word, "%.*s", (int)(length < 15 ? length : 15), text);
        if (cli_read_uint(common, "probes", word, 1, UINT32_MAX, &number))
            return CLI_USAGE;
        s->probes[s->probe_count++] = (uint32_t)number;
        if (!text[length])
            break;
        text += length + 1;
    }
    return CLI_DONE;
}

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    settings *s = state;
    switch (key) {
    case 's':
        s->states = value;
        return CLI_DONE;
    case KEY_TARGETS:
        s->targets = value;
        return CLI_DONE;
    case KEY_USE:
        return vqlogits_read_range(common, "use", value, &s->use);
    case 'r':
        s->reference = value;
        return CLI_DONE;
    case 'g':
        s->png = value;
        return CLI_DONE;
    default:
        return read_probes(s, common, value);
    }
}

static const cli_program program = {
    .name = "vqlogits eval",
    .usage = "HEAD... --states ARRAY [--targets ARRAY] [options]",
    .about =
        "What heads cost and save, beside the dense one: perplexity, KL divergence, recall, bytes "
        "read\nand time for a token. Give states that the heads were not built with.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples =
        "  vqlogits eval head.st --states test.st:hidden --targets test.st:target\n"
        "  vqlogits eval a.st b.st --states s.npy --reference m.st --probes sweep --png c.png\n",
    .option = on_option,
};

/* A head, or an output matrix, which becomes a dense head. */
static int open_reference(vq_head **out, const cli_common *common, const char *path)
{
    vqlogits_array matrix;
    int code = vqlogits_array_open(&matrix, common, path, "reference", 2);
    if (!code && matrix.file && vq_tensors_get(matrix.file, "head")) {
        code = vqlogits_head_open(out, common, matrix.path);
    } else if (!code) {
        vq_head_opts opts = VQ_HEAD_OPTS_INIT;
        opts.mode = VQ_HEAD_DENSE;
        opts.threads = common->threads;
        const vq_status status = vq_head_build(out, &matrix.tensor, &opts);
        code = status ? cli_fail(common, matrix.path, status) : CLI_DONE;
    }
    vqlogits_array_clear(&matrix);
    return code;
}

/* The evaluation, from its files to its figures. */
typedef struct evaluation {
    const cli_common *common;
    const settings *settings;
    char **paths;
    vq_head **heads;
    size_t head_count;
    vq_head *reference; /* NULL = heads[0] */
    vqlogits_text text;
    vqlogits_trial *trials;
    vqlogits_figures *figures;
    size_t count;
} evaluation;

static int check_dimension(const cli_common *common, const char *path, const vq_head *head,
                           size_t d)
{
    vq_head_info info = VQ_HEAD_INFO_INIT;
    vq_head_get_info(&info, head);
    return info.d == d ? CLI_DONE
                       : cli_fault(common, path, "takes states of %u numbers, and these have %zu",
                                   info.d, d);
}

static int open_text(evaluation *e, size_t *d)
{
    const settings *s = e->settings;
    vqlogits_array states, targets = {0};
    int code = vqlogits_array_open(&states, e->common, s->states, "hidden states", 2);
    if (!code && s->targets)
        code = vqlogits_array_open(&targets, e->common, s->targets, "targets", 1);
    if (!code && s->targets && targets.tensor.count != states.tensor.shape[0])
        code = cli_fault(e->common, targets.path, "%zu targets for %zu states",
                         targets.tensor.count, states.tensor.shape[0]);
    if (!code)
        code = vqlogits_array_cut(&states, e->common, s->use);
    if (!code && s->targets)
        code = vqlogits_array_cut(&targets, e->common, s->use);
    if (!code)
        code = vqlogits_floats(&e->text.states, e->common, &states);
    if (!code && s->targets)
        code = vqlogits_ids(&e->text.targets, e->common, &targets, "--targets");
    e->text.n = code ? 0 : states.tensor.shape[0];
    *d = code ? 0 : states.tensor.shape[1];
    vqlogits_array_clear(&states);
    vqlogits_array_clear(&targets);
    return code;
}

static void add_trial(evaluation *e, size_t head, uint32_t probes)
{
    e->trials = cli_need(realloc(e->trials, (e->count + 1) * sizeof *e->trials));
    e->trials[e->count++] = (vqlogits_trial){e->paths[head], e->heads[head], probes};
}

static void plan(evaluation *e)
{
    const settings *s = e->settings;
    for (size_t h = 0; h < e->head_count; h++) {
        vq_head_info info = VQ_HEAD_INFO_INIT;
        vq_head_get_info(&info, e->heads[h]);
        if (info.mode != VQ_HEAD_RERANK || (!s->sweep && !s->probe_count)) {
            add_trial(e, h, info.probes);
            continue;
        }
        for (size_t i = 0; i < s->probe_count; i++)
            add_trial(e, h, s->probes[i] < info.codes ? s->probes[i] : info.codes);
        for (uint64_t p = 1; s->sweep && p < info.codes; p *= 2)
            add_trial(e, h, (uint32_t)p);
        if (s->sweep)
            add_trial(e, h, info.codes);
    }
}

static int open_all(evaluation *e)
{
    size_t d;
    int code = open_text(e, &d);
    e->heads = cli_need(calloc(e->head_count, sizeof *e->heads));
    for (size_t i = 0; !code && i < e->head_count; i++) {
        code = vqlogits_head_open(&e->heads[i], e->common, e->paths[i]);
        if (!code)
            code = check_dimension(e->common, e->paths[i], e->heads[i], d);
    }
    if (!code && e->settings->reference) {
        code = open_reference(&e->reference, e->common, e->settings->reference);
        if (!code)
            code = check_dimension(e->common, e->settings->reference, e->reference, d);
        return code;
    }
    vq_head_info info = VQ_HEAD_INFO_INIT;
    if (!code)
        vq_head_get_info(&info, e->heads[0]);
    if (!code && info.mode != VQ_HEAD_DENSE && info.mode != VQ_HEAD_RERANK)
        code = cli_usage(e->common,
                         "%s is a %s head, which has not the rows to compare with (give "
                         "--reference)",
                         e->paths[0], vq_head_mode_name(info.mode));
    return code;
}

static int measure_all(evaluation *e, vqlogits_reference *reference)
{
    const char *path = e->reference ? e->settings->reference : e->paths[0];
    cli_progress progress;
    cli_catch_signals();
    cli_progress_start(&progress, e->common);
    int code = vqlogits_reference_measure(reference, e->common, path,
                                          e->reference ? e->reference : e->heads[0], &e->text);
    e->figures = cli_need(calloc(e->count, sizeof *e->figures));
    for (size_t i = 0; !code && i < e->count; i++) {
        code = vqlogits_measure(e->figures + i, e->common, e->trials + i, reference, &e->text);
        cli_progress_show(&progress, "evaluating", (double)i + 1, (double)e->count, "settings");
    }
    cli_progress_clear(&progress);
    return code;
}

static const char *mode_of(const vq_head *head)
{
    vq_head_info info = VQ_HEAD_INFO_INIT;
    vq_head_get_info(&info, head);
    return vq_head_mode_name(info.mode);
}

static json_t *as_json(const evaluation *e, const vqlogits_reference *reference)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < e->count; i++) {
        const vqlogits_trial *t = &e->trials[i];
        const vqlogits_figures *f = &e->figures[i];
        json_t *row = vqlogits_head_json(t->path, t->head);
        if (t->probes)
            json_object_set_new(row, "probes", json_integer(t->probes));
        json_object_set_new(row, "perplexity", cli_json_real(f->perplexity));
        json_object_set_new(row, "perplexity_ratio",
                            cli_json_real(f->perplexity / reference->perplexity));
        json_object_set_new(row, "kl", cli_json_real(f->kl));
        json_object_set_new(row, "recall_1", cli_json_real(f->recall1));
        json_object_set_new(row, "recall_10", cli_json_real(f->recall10));
        json_object_set_new(row, "bytes_per_token", cli_json_real(f->bytes));
        json_object_set_new(row, "bytes_ratio", cli_json_real(f->bytes / reference->bytes));
        json_object_set_new(row, "rows_per_token", cli_json_real(f->rows));
        json_object_set_new(row, "codes_per_token", cli_json_real(f->codes));
        json_object_set_new(row, "seconds_per_token", cli_json_real(f->seconds));
        json_array_append_new(rows, row);
    }
    return json_pack("{sI so so so}", "states", (json_int_t)e->text.n, "perplexity",
                     cli_json_real(reference->perplexity), "bytes_per_token",
                     cli_json_real(reference->bytes), "results", rows);
}

/* Perplexities are small, but for states and targets that do not belong together. */
static void print_perplexity(int width, double value)
{
    if (value < 1e7)
        printf("%*.4f", width, value);
    else if (isnan(value))
        printf("%*s", width, "-");
    else
        printf("%*.3g", width, value);
}

static void print(const evaluation *e, const vqlogits_reference *reference)
{
    printf("%zu states; dense: perplexity ", e->text.n);
    print_perplexity(1, reference->perplexity);
    printf(", %.0f bytes per token\n", reference->bytes);
    printf("%-7s %6s %10s %8s %9s %8s %8s %9s %9s %9s  %s\n", "mode", "probes", "perplexity",
           "ratio", "KL nats", "recall@1", "@10", "of bytes", "rows", "us/token", "head");
    for (size_t i = 0; i < e->count; i++) {
        const vqlogits_figures *f = &e->figures[i];
        char probes[16] = "-";
        if (e->trials[i].probes)
            snprintf(probes, sizeof probes, "%u", e->trials[i].probes);
        printf("%-7s %6s ", mode_of(e->trials[i].head), probes);
        print_perplexity(10, f->perplexity);
        cli_print_real(stdout, 9, 4, f->perplexity / reference->perplexity);
        printf(" %9.6f %7.3f%% %7.3f%% %8.3f%% %9.1f %9.1f  %s\n", f->kl, 100 * f->recall1,
               100 * f->recall10, 100 * f->bytes / reference->bytes, f->rows, 1e6 * f->seconds,
               e->trials[i].path);
    }
}

static int evaluate(evaluation *e)
{
    vqlogits_reference reference = {0};
    int code = open_all(e);
    if (!code) {
        plan(e);
        code = measure_all(e, &reference);
    }
    if (!code && e->settings->png)
        code =
            vqlogits_plot(e->common, e->settings->png, e->trials, e->figures, e->count, &reference);
    if (!code && e->common->json)
        code = cli_json_print(e->common, as_json(e, &reference), 1);
    else if (!code)
        print(e, &reference);
    vqlogits_reference_clear(&reference);
    for (size_t i = 0; i < e->head_count; i++)
        vq_head_free(e->heads[i]);
    vq_head_free(e->reference);
    free(e->heads);
    free(e->text.states);
    free(e->text.targets);
    free(e->trials);
    free(e->figures);
    return code;
}

int vqlogits_eval(int argc, char **argv)
{
    cli_common common;
    settings s = {0};
    int code = cli_parse(&common, &program, argc, argv, &s);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "no head was named (see vqlogits eval --help)");
    if (!s.states)
        return cli_usage(&common, "no hidden states were named (give --states ARRAY)");
    if (s.png && strcmp(s.png, "-") == 0)
        return cli_usage(&common, "--png needs a file: standard output takes the figures");
    code =
        s.png ? cli_check_output(&common, s.png, argv + optind, (size_t)(argc - optind)) : CLI_DONE;
    if (code)
        return code;
    evaluation e = {.common = &common,
                    .settings = &s,
                    .paths = argv + optind,
                    .head_count = (size_t)(argc - optind)};
    return cli_close_stdout(&common, evaluate(&e));
}
