/* SPDX-License-Identifier: Apache-2.0 */
/* vqlogits build: an output matrix to a head. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"
#include "rvq/head.h"
#include "vqlogits.h"

enum {
    KEY_STORAGE = CLI_KEY_FIRST,
    KEY_CODE_STORAGE,
    KEY_SINGLES,
    KEY_WIDTH,
    KEY_BEAM,
    KEY_COUNTS,
    KEY_BIAS,
    KEY_STATES,
    KEY_USE,
    KEY_IDS,
    KEY_ALWAYS
};

typedef struct settings {
    vq_head_opts opts;
    vq_rvq_head_opts rvq;
    const char *counts, *bias, *states, *ids;
    vqlogits_range use;
    uint32_t *always; /* opts.n_always of them */
} settings;

static const cli_option options[] = {
    CLI_OPTION_OUTPUT("the head (safetensors), or - for standard output"),
    {'m', "mode", "MODE", "rerank (default), dense, tied or rvq"},
    {KEY_STORAGE, "storage", "TYPE",
     "of the rows: f32, f16, bf16, i8 (default: as they are given)"},
    {KEY_CODE_STORAGE, "code-storage", "TYPE",
     "of the codewords, likewise (default of rerank: i8)"},
    {'k', "codes", "K",
     "codes (default: a share of the tokens that goes by the mode); rvq: of a level"},
    {KEY_SINGLES, "singles", "N", "tied: the N most frequent tokens have a code of their own"},
    {'l', "levels", "N", "rvq: codes of a slice (default 2)"},
    {KEY_WIDTH, "width", "N", "rvq: dimensions of a slice (default 8)"},
    {KEY_BEAM, "beam", "N", "rvq: of the search for codes (default 8)"},
    {'p', "probes", "N", "rerank: clusters that are probed unless a call says"},
    {KEY_ALWAYS, "always", "IDS", "rerank: ids that are always scored: 0,2,128000-128009"},
    {KEY_COUNTS, "counts", "ARRAY", "how often each token occurs in text"},
    {KEY_STATES, "states", "ARRAY", "hidden states of text like that to come, [n, d]"},
    {KEY_USE, "use", "FROM:TO", "of those states only these, as in Python"},
    {KEY_BIAS, "bias", "ARRAY", "the bias of the layer"},
    {KEY_IDS, "ids", "ARRAY", "the token that each row is of (default: 0, 1, 2, ...)"},
    {'i', "iterations", "N", "of k-means (default 10)"},
    {'s', "seed", "N", "of everything random (default 0)"},
    CLI_OPTION_THREADS,
    CLI_OPTION_CPU,
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int number(uint32_t *out, const cli_common *common, const char *option, const char *text)
{
    uint64_t value;
    if (cli_read_uint(common, option, text, 1, UINT32_MAX, &value))
        return CLI_USAGE;
    *out = (uint32_t)value;
    return CLI_DONE;
}

/* "1,5-9" */
static int read_always(settings *s, const cli_common *common, const char *text)
{
    enum { MOST = 1 << 20 };
    char word[32];
    s->opts.n_always = 0;
    while (*text) {
        uint64_t low, high;
        const size_t length = strcspn(text, ",");
        snprintf(word, sizeof word, "%.*s", (int)(length < 31 ? length : 31), text);
        char *dash = strchr(word, '-');
        if (dash)
            *dash = 0;
        if (cli_read_uint(common, "always", word, 0, UINT32_MAX, &low))
            return CLI_USAGE;
        high = low;
        if (dash && cli_read_uint(common, "always", dash + 1, low, UINT32_MAX, &high))
            return CLI_USAGE;
        if (high - low >= MOST - s->opts.n_always)
            return cli_usage(common, "--always: more than %d ids", MOST);
        s->always = cli_need(
            realloc(s->always, (s->opts.n_always + (size_t)(high - low) + 1) * sizeof *s->always));
        while (low <= high)
            s->always[s->opts.n_always++] = (uint32_t)low++;
        text += length + (text[length] == ',');
    }
    s->opts.always = s->always;
    return CLI_DONE;
}

static int on_array(settings *s, const cli_common *common, int key, const char *value)
{
    switch (key) {
    case KEY_COUNTS:
        s->counts = value;
        return CLI_DONE;
    case KEY_STATES:
        s->states = value;
        return CLI_DONE;
    case KEY_BIAS:
        s->bias = value;
        return CLI_DONE;
    case KEY_IDS:
        s->ids = value;
        return CLI_DONE;
    default:
        return vqlogits_read_range(common, "use", value, &s->use);
    }
}

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    settings *s = state;
    vq_head_opts *o = &s->opts;
    switch (key) {
    case 'm':
        return vq_head_mode_parse(&o->mode, value)
                   ? cli_usage(common, "--mode: %s", vq_last_error())
                   : CLI_DONE;
    case KEY_STORAGE:
    case KEY_CODE_STORAGE:
        if (vq_head_storage_parse(key == KEY_STORAGE ? &o->storage : &o->code_storage, value))
            return cli_usage(common, "--%s: %s", key == KEY_STORAGE ? "storage" : "code-storage",
                             vq_last_error());
        return CLI_DONE;
    case 'k':
        return number(&o->codes, common, "codes", value);
    case KEY_SINGLES:
        return number(&o->singles, common, "singles", value);
    case 'l':
        return number(&s->rvq.levels, common, "levels", value);
    case KEY_WIDTH:
        return number(&s->rvq.width, common, "width", value);
    case KEY_BEAM:
        return number(&s->rvq.beam, common, "beam", value);
    case 'p':
        return number(&o->probes, common, "probes", value);
    case KEY_ALWAYS:
        return read_always(s, common, value);
    case 'i':
        return number(&o->iterations, common, "iterations", value);
    case 's':
        return cli_read_uint(common, "seed", value, 0, UINT64_MAX, &o->seed);
    default:
        return on_array(s, common, key, value);
    }
}

static const cli_program program = {
    .name = "vqlogits build",
    .usage = "MATRIX -o HEAD [options]",
    .about =
        "Make a head from the output matrix of a language model, [V, d]. Arrays are named FILE or "
        "FILE:NAME,\n.npy or safetensors; without a name the file's only one, or lm_head.weight "
        "and its like, is taken.\n",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .examples =
        "  vqlogits build model.safetensors:lm_head.weight -o head.safetensors\n"
        "  vqlogits build head.npy --states hidden.npy --counts counts.npy --codes 512 -o h\n"
        "  vqlogits build head.npy --mode dense --storage i8 -o h\n",
    .option = on_option,
};

static int check(const cli_common *common, const settings *s, int operands)
{
    const vq_head_opts *o = &s->opts;
    if (!operands)
        return cli_usage(common, "no matrix was named (see vqlogits build --help)");
    if (operands > 1)
        return cli_usage(common, "one matrix makes a head, not %d", operands);
    if (!common->output)
        return cli_usage(common, "no output was named (give --output FILE)");
    if (common->json && strcmp(common->output, "-") == 0)
        return cli_usage(common, "--json and --output - both want standard output");
    if (o->mode != VQ_HEAD_RERANK && (o->probes || o->n_always))
        return cli_usage(common, "--%s is for --mode rerank", o->probes ? "probes" : "always");
    if (o->mode != VQ_HEAD_TIED && o->singles)
        return cli_usage(common, "--singles is for --mode tied");
    if (o->mode != VQ_HEAD_RVQ && (s->rvq.levels || s->rvq.width || s->rvq.beam))
        return cli_usage(common, "--%s is for --mode rvq",
                         s->rvq.levels  ? "levels"
                         : s->rvq.width ? "width"
                                        : "beam");
    if (o->mode == VQ_HEAD_RVQ && (o->storage || o->code_storage))
        return cli_usage(common, "--%s: an rvq head keeps no rows, and codewords in f32",
                         o->storage ? "storage" : "code-storage");
    if (o->mode == VQ_HEAD_DENSE && (o->codes || o->code_storage))
        return cli_usage(common, "--%s: a dense head has no codes",
                         o->codes ? "codes" : "code-storage");
    if ((s->use.from || s->use.to) && !s->states)
        return cli_usage(common, "--use needs --states");
    return CLI_DONE;
}

static int show(void *context, double done)
{
    return cli_progress_show(context, "building", 100 * done, 100, "%");
}

/* The arrays of a build, open for as long as it takes. */
typedef struct arrays {
    vqlogits_array rows, counts, bias, states, ids;
    uint32_t *id;
} arrays;

static int open_arrays(arrays *a, const cli_common *common, const settings *s, const char *matrix)
{
    int code = vqlogits_array_open(&a->rows, common, matrix, "output matrix", 2);
    if (!code && s->counts)
        code = vqlogits_array_open(&a->counts, common, s->counts, "counts", 1);
    if (!code && s->bias)
        code = vqlogits_array_open(&a->bias, common, s->bias, "bias", 1);
    if (!code && s->states)
        code = vqlogits_array_open(&a->states, common, s->states, "hidden states", 2);
    if (!code && s->states)
        code = vqlogits_array_cut(&a->states, common, s->use);
    if (!code && s->ids)
        code = vqlogits_array_open(&a->ids, common, s->ids, "ids", 1);
    if (!code && s->ids && a->ids.tensor.count != a->rows.tensor.shape[0])
        code = cli_fault(common, a->ids.path, "%zu ids for %zu rows", a->ids.tensor.count,
                         a->rows.tensor.shape[0]);
    if (!code && s->ids)
        code = vqlogits_ids(&a->id, common, &a->ids, "--ids");
    return code;
}

/* Lent for the build. */
static void lend(vq_head_opts *opts, const arrays *a, const settings *s)
{
    opts->counts = s->counts ? &a->counts.tensor : NULL;
    opts->bias = s->bias ? &a->bias.tensor : NULL;
    opts->states = s->states ? &a->states.tensor : NULL;
    opts->ids = a->id;
}

static void clear_arrays(arrays *a)
{
    vqlogits_array_clear(&a->rows);
    vqlogits_array_clear(&a->counts);
    vqlogits_array_clear(&a->bias);
    vqlogits_array_clear(&a->states);
    vqlogits_array_clear(&a->ids);
    free(a->id);
}

static int write_head(const cli_common *common, const vq_head *head)
{
    vq_tensors *file;
    vq_status status = vq_tensors_create(&file);
    if (!status)
        status = vq_head_save(file, head, "");
    if (!status)
        status = vq_safetensors_write(common->output, file, NULL);
    vq_tensors_free(file);
    return status ? cli_fail(common, common->output, status) : CLI_DONE;
}

static vq_status build_rvq(vq_head **out, const vq_tensor *rows, vq_head_opts opts,
                           vq_rvq_head_opts rvq)
{
    rvq.k = opts.codes; /* which is of the other modes there */
    opts.codes = 0;
    return vq_rvq_head_build(out, rows, &opts, &rvq);
}

static int build(const cli_common *common, const settings *s, const char *matrix)
{
    arrays a = {0};
    vq_head_opts opts = s->opts;
    cli_progress progress;
    vq_head *head = NULL;
    int code = open_arrays(&a, common, s, matrix);
    if (!code) {
        const double start = cli_seconds();
        cli_catch_signals();
        cli_progress_start(&progress, common);
        lend(&opts, &a, s);
        opts.threads = common->threads;
        opts.progress = show;
        opts.progress_context = &progress;
        const vq_status status = opts.mode == VQ_HEAD_RVQ
                                     ? build_rvq(&head, &a.rows.tensor, opts, s->rvq)
                                     : vq_head_build(&head, &a.rows.tensor, &opts);
        cli_progress_clear(&progress);
        if (status)
            code = cli_fail(common, a.rows.path, status);
        else
            cli_note(common, "built in %.2f s", cli_seconds() - start);
    }
    if (!code)
        code = write_head(common, head);
    if (!code && common->json)
        code = cli_json_print(common, vqlogits_head_json(common->output, head), 1);
    else if (!code && !common->quiet)
        vqlogits_head_print(strcmp(common->output, "-") ? stdout : stderr, common->output, head);
    vq_head_free(head);
    clear_arrays(&a);
    return code;
}

int vqlogits_build(int argc, char **argv)
{
    cli_common common;
    settings s = {.opts = VQ_HEAD_OPTS_INIT, .rvq = VQ_RVQ_HEAD_OPTS_INIT};
    int code = cli_parse(&common, &program, argc, argv, &s);
    if (code == CLI_GO_ON) {
        code = check(&common, &s, argc - optind);
        if (!code)
            code = cli_check_output(&common, common.output, argv + optind, 1);
        if (!code)
            code = build(&common, &s, argv[optind]);
        code = cli_close_stdout(&common, code);
    }
    free(s.always);
    return code;
}
