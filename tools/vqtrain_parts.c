/* SPDX-License-Identifier: Apache-2.0 */
/* vqtrain --partial and --merge: an iteration of k-means in parts, which need not know of each other: a job array of a cluster, or
 * make, without MPI. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "io/digest.h"
#include "io/safetensors.h"
#include "vq/kmeans_stats.h"
#include "vqtrain.h"

enum { KEY_CODEBOOK = CLI_KEY_FIRST, KEY_MAX_VECTORS, MOST_PARTS = 65536 };

static const char prefix[] = "stats.";

typedef struct parts_options {
    const char *codebook;
    uint64_t max_vectors;
} parts_options;

static const cli_option partial_options[] = {
    CLI_OPTION_OUTPUT("the statistics (safetensors)"),
    {KEY_CODEBOOK, "codebook", "MODEL", "the codebook of this iteration"},
    {KEY_MAX_VECTORS, "max-vectors", "N", "of an even sample of so many vectors in all parts"},
    CLI_OPTION_THREADS,
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static const cli_option merge_options[] = {
    CLI_OPTION_OUTPUT("the next codebook (safetensors)"),
    {KEY_CODEBOOK, "codebook", "MODEL", "the codebook that the statistics were made with"},
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    CLI_OPTION_HELP,
    CLI_OPTION_VERSION,
};

static int on_option(void *state, const cli_common *common, int key, const char *value)
{
    parts_options *o = state;
    if (key == KEY_CODEBOOK) {
        o->codebook = value;
        return CLI_DONE;
    }
    return cli_read_uint(common, "max-vectors", value, 1, (uint64_t)1 << 48, &o->max_vectors);
}

static const cli_program partial_program = {
    .name = "vqtrain --partial",
    .usage = "I/N --codebook MODEL FEATURES... -o STATISTICS [options]",
    .about = "One part of an iteration of k-means: what the I-th of N equal shares of the vectors, "
             "from 1, says of each\n"
             "codeword. vqtrain --merge makes the next codebook of all parts.\n",
    .options = partial_options,
    .option_count = sizeof partial_options / sizeof *partial_options,
    .examples =
        "  vqtrain --partial 3/8 --codebook c0.safetensors data/*.npy -o part3.safetensors\n",
    .option = on_option,
};

static const cli_program merge_program = {
    .name = "vqtrain --merge",
    .usage = "--codebook MODEL STATISTICS... -o NEXT [options]",
    .about = "The end of an iteration of k-means: all parts that vqtrain --partial made, in any "
             "order, to the next codebook.\n"
             "However many parts there are, it is the same, byte for byte.\n",
    .options = merge_options,
    .option_count = sizeof merge_options / sizeof *merge_options,
    .examples = "  vqtrain --merge --codebook c0.safetensors part?.safetensors -o c1.safetensors\n",
    .option = on_option,
};

/** The one codebook of a model, and the checksum of the file. */
static int read_codebook(vq_quantizer **out, char sha[CLI_HEX_SIZE], const cli_common *common,
                         const char *path)
{
    vq_bytes bytes = {0};
    vq_tensors *tensors = NULL;
    uint8_t digest[VQ_SHA256_SIZE];
    if (!path)
        return cli_usage(common, "no codebook was named (give --codebook MODEL)");
    vq_status status = vq_file_read(&bytes, path, NULL);
    if (!status) {
        vq_sha256(digest, bytes.data, bytes.size);
        cli_hex(sha, digest);
        status = vq_safetensors_parse(&tensors, bytes.data, bytes.size, path, NULL);
    }
    if (!status)
        status = vq_quantizer_load(out, tensors, "", NULL);
    vq_bytes_clear(&bytes);
    vq_tensors_free(tensors);
    if (status)
        return cli_fail(common, path, status);
    if (strcmp(vq_quantizer_kind(*out), "flat") == 0)
        return CLI_DONE;
    return cli_fault(common, path, "a quantizer of the kind %s (one codebook is wanted)",
                     vq_quantizer_kind(*out));
}

/** "3/8" */
static int read_part(uint32_t *part, uint32_t *parts, const cli_common *common, const char *text)
{
    uint64_t number = 0, of = 0;
    const size_t length = strcspn(text, "/");
    char *first = cli_format("%.*s", (int)(length < 16 ? length : 16), text);
    int code = text[length] ? CLI_DONE : cli_usage(common, "'%s' is no part I/N", text);
    if (!code)
        code = cli_read_uint(common, "partial", text + length + 1, 1, MOST_PARTS, &of);
    if (!code)
        code = cli_read_uint(common, "partial", first, 1, of, &number);
    free(first);
    *part = (uint32_t)number;
    *parts = (uint32_t)of;
    return code;
}

static int is_array_name(const char *name)
{
    return cli_has_suffix(name, ".npy");
}

static vq_status write_statistics(const char *path, const vq_kmeans_stats *stats, const char *sha,
                                  uint32_t part, uint32_t parts)
{
    vq_tensors *tensors;
    vq_status status = vq_tensors_create(&tensors);
    if (status)
        return status;
    status = vq_tensors_set(tensors, "codebook_sha256", sha);
    if (!status)
        status = vq_tensors_set_uint(tensors, "part", part);
    if (!status)
        status = vq_tensors_set_uint(tensors, "parts", parts);
    if (!status)
        status = vq_kmeans_stats_save(tensors, stats, prefix);
    if (!status)
        status = vq_safetensors_write(path, tensors, NULL);
    vq_tensors_free(tensors);
    return status;
}

static int make_part(const cli_common *common, const parts_options *o, const cli_paths *inputs,
                     uint32_t part, uint32_t parts)
{
    const vqtrain_settings settings = {.max_vectors = o->max_vectors};
    vqtrain_run run = {.common = common, .settings = &settings, .inputs = inputs};
    char sha[CLI_HEX_SIZE];
    vq_quantizer *quantizer = NULL;
    vq_kmeans_stats *stats = NULL;
    run.ranks = (vq_communicator)VQ_COMMUNICATOR_INIT;
    run.ranks.rank = part - 1;
    run.ranks.size = parts;
    int code = read_codebook(&quantizer, sha, common, o->codebook);
    if (!code) {
        const vq_codebook *codebook = vq_quantizer_codebook(quantizer, 0);
        vq_status status = vq_kmeans_stats_create(&stats, codebook, NULL);
        code = status ? cli_fail(common, o->codebook, status)
                      : vqtrain_statistics(&run, stats, codebook);
        if (!code) {
            status = write_statistics(common->output, stats, sha, part, parts);
            code = status ? cli_fail(common, common->output, status) : CLI_DONE;
        }
    }
    if (!code)
        cli_note(common, "%s: part %u of %u, %lld vectors", common->output, part, parts,
                 (long long)vq_kmeans_stats_total(stats));
    vq_kmeans_stats_free(stats);
    vq_quantizer_free(quantizer);
    return code;
}

int vqtrain_partial(int argc, char **argv)
{
    cli_common common;
    parts_options o = {0};
    cli_paths inputs = {0};
    uint32_t part = 0, parts = 0;
    int code = cli_parse(&common, &partial_program, argc, argv, &o);
    if (code != CLI_GO_ON)
        return code;
    if (argc - optind < 2)
        return cli_usage(&common,
                         "a part I/N and features are wanted (see vqtrain --partial --help)");
    if (!common.output)
        return cli_usage(&common, "no output was named (give --output FILE)");
    cli_catch_signals();
    code = read_part(&part, &parts, &common, argv[optind]);
    if (!code)
        code = cli_expand(&inputs, &common, argv + optind + 1, argc - optind - 1, is_array_name);
    if (!code)
        code = cli_check_output(&common, common.output, inputs.path, inputs.count);
    if (!code)
        code = make_part(&common, &o, &inputs, part, parts);
    cli_paths_clear(&inputs);
    return cli_close_stdout(&common, code);
}

/** What of the parts is there. */
typedef struct merging {
    const cli_common *common;
    const char *sha; /* of the codebook */
    vq_kmeans_stats *all;
    uint8_t *there; /* parts flags */
    uint64_t parts;
} merging;

static int mismatch(const cli_common *common, const char *path, const char *what)
{
    cli_fault(common, path, "%s", what);
    return CLI_MISMATCH;
}

/** Is it a part of this iteration, and one that is not there yet? */
static int check_part(merging *m, const vq_tensors *tensors, const char *path)
{
    uint64_t part, parts;
    const char *sha = vq_tensors_get(tensors, "codebook_sha256");
    vq_status status = vq_tensors_get_uint(&parts, tensors, "parts", 1, MOST_PARTS);
    if (!status)
        status = vq_tensors_get_uint(&part, tensors, "part", 1, parts);
    if (status)
        return cli_fail(m->common, path, status);
    if (!sha || strcmp(sha, m->sha) != 0)
        return mismatch(
            m->common, path,
            "statistics of another codebook (make all parts with the one of --codebook)");
    if (!m->there) {
        m->parts = parts;
        m->there = cli_need(calloc(parts, 1));
    }
    if (parts != m->parts)
        return mismatch(m->common, path, "a part of another number of parts than the file before");
    if (m->there[part - 1]++)
        return mismatch(m->common, path, "the same part as that of a file before");
    return CLI_DONE;
}

static int add_part(merging *m, const char *path)
{
    vq_tensors *tensors = NULL;
    vq_kmeans_stats *stats = NULL;
    vq_status status = vq_safetensors_read(&tensors, path, NULL);
    int code = status ? cli_fail(m->common, path, status) : check_part(m, tensors, path);
    if (!code) {
        status = vq_kmeans_stats_load(&stats, tensors, prefix, NULL);
        if (!status && m->all)
            status = vq_kmeans_stats_merge(m->all, stats);
        code = status ? cli_fail(m->common, path, status) : CLI_DONE;
    }
    if (!code && !m->all) {
        m->all = stats;
        stats = NULL;
    }
    vq_kmeans_stats_free(stats);
    vq_tensors_free(tensors);
    return code;
}

static int add_parts(merging *m, char *const *paths, int count)
{
    int code = CLI_DONE;
    for (int i = 0; i < count && !code; i++)
        code = add_part(m, paths[i]);
    for (uint64_t i = 0; i < m->parts && !code; i++)
        if (!m->there[i])
            code = cli_fault(m->common, "part", "%llu/%llu is missing", (unsigned long long)i + 1,
                             (unsigned long long)m->parts);
    return code;
}

static void tell(const merging *m, const vq_codebook *before, uint32_t moved)
{
    const cli_common *common = m->common;
    const uint32_t k = vq_codebook_k(before), d = vq_codebook_dim(before);
    const int64_t vectors = vq_kmeans_stats_total(m->all);
    const int cosine = vq_codebook_metric(before) == VQ_METRIC_COSINE;
    const double error = vq_kmeans_stats_objective(m->all),
                 mse = vectors ? (cosine ? 2 : 1) * error / (double)vectors / d : 0;
    uint32_t used = 0;
    for (uint32_t c = 0; c < k; c++) {
        vq_kmeans_cell cell;
        used += !vq_kmeans_stats_cell(&cell, NULL, m->all, c) && cell.rows;
    }
    if (common->json)
        cli_json_print(common,
                       json_pack("{ss sI sI sf sI sI}", "output", common->output, "parts",
                                 (json_int_t)m->parts, "vectors", (json_int_t)vectors, "mse_before",
                                 mse, "used_before", (json_int_t)used, "moved", (json_int_t)moved),
                       1);
    else if (!common->quiet)
        fprintf(
            strcmp(common->output, "-") ? stdout : stderr,
            "%s: %llu parts, %lld vectors; before this step: mse %.6g, %u of %u used; %u moved\n",
            common->output, (unsigned long long)m->parts, (long long)vectors, mse, used, k, moved);
}

static vq_status write_next(const char *path, uint32_t *moved, const vq_kmeans_stats *stats,
                            const vq_codebook *before)
{
    vq_codebook *codebook = NULL;
    vq_quantizer *quantizer = NULL;
    vq_tensors *model = NULL;
    vq_status status = vq_kmeans_stats_update(&codebook, moved, stats, before, VQ_EMPTY_FARTHEST);
    if (status)
        return status;
    status = vq_quantizer_from_codebook(&quantizer, codebook);
    if (status)
        vq_codebook_free(codebook);
    if (!status)
        status = vq_tensors_create(&model);
    if (!status)
        status = vq_quantizer_save(model, quantizer, "");
    if (!status)
        status = vq_safetensors_write(path, model, NULL);
    vq_quantizer_free(quantizer);
    vq_tensors_free(model);
    return status;
}

int vqtrain_merge(int argc, char **argv)
{
    cli_common common;
    parts_options o = {0};
    char sha[CLI_HEX_SIZE];
    vq_quantizer *before = NULL;
    uint32_t moved = 0;
    int code = cli_parse(&common, &merge_program, argc, argv, &o);
    if (code != CLI_GO_ON)
        return code;
    if (optind == argc)
        return cli_usage(&common, "no statistics were named (see vqtrain --merge --help)");
    if (!common.output)
        return cli_usage(&common, "no output was named (give --output FILE)");
    merging m = {.common = &common, .sha = sha};
    code = cli_check_output(&common, common.output, argv + optind, (size_t)(argc - optind));
    if (!code)
        code = read_codebook(&before, sha, &common, o.codebook);
    if (!code)
        code = add_parts(&m, argv + optind, argc - optind);
    if (!code) {
        const vq_status status =
            write_next(common.output, &moved, m.all, vq_quantizer_codebook(before, 0));
        code = status ? cli_fail(&common, common.output, status) : CLI_DONE;
    }
    if (!code)
        tell(&m, vq_quantizer_codebook(before, 0), moved);
    vq_kmeans_stats_free(m.all);
    vq_quantizer_free(before);
    free(m.there);
    return cli_close_stdout(&common, code);
}
