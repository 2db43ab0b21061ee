/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of probabilities from counts of codes. Counts are integers; what is computed from them, in double and in
   one order, is the same on every machine. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vq/code_tables_internal.h"
#include "vq/error_internal.h"
#include "vq/kmeans.h"
#include "vq/memory_internal.h"
#include "vq/simvq_internal.h"

/* More classes at level 0 gain more, since neighbours tell much of brightness, and their contexts are pairs. */
enum { FIRST_CLASSES = 32, CLASSES = 16, FREQ_TOTAL = 1 << VQI_FREQ_BITS };

typedef struct level_counts {
    uint64_t *of_class; /* contexts x classes; NULL until a grid was counted */
    uint64_t *of_code;  /* k */
} level_counts;

struct vq_table_counts {
    uint32_t levels;
    vqi_code_classes classes[VQ_MAX_LEVELS];
    level_counts counts[VQ_MAX_TABLE_SETS][VQ_MAX_LEVELS];
};

/* A codeword in the order of lengths, or a class in that of its mean. */
typedef struct ranked {
    double length;
    uint32_t index;
} ranked;

static int by_length(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->length != y->length)
        return x->length < y->length ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static double squared_length(const float *row, uint32_t d)
{
    double sum = 0;
    for (uint32_t i = 0; i < d; i++)
        sum += (double)row[i] * row[i];
    return sum;
}

/* Number the classes anew by the mean squared length of their codes, and leave out empty ones. If one alone is left,
   its first code becomes a class of its own, since tables want two. */
static uint32_t order_classes(uint32_t *class_of, const double *length, const double *use,
                              uint32_t k, uint32_t count)
{
    double sum[VQ_MAX_CODE_CLASSES] = {0}, weight[VQ_MAX_CODE_CLASSES] = {0};
    ranked order[VQ_MAX_CODE_CLASSES] = {{0}};
    uint32_t rank[VQ_MAX_CODE_CLASSES], found = 0;
    for (uint32_t i = 0; i < k; i++) {
        sum[class_of[i]] += use[i] * length[i];
        weight[class_of[i]] += use[i];
    }
    for (uint32_t c = 0; c < count; c++)
        if (weight[c] > 0)
            order[found++] = (ranked){sum[c] / weight[c], c};
    qsort(order, found, sizeof *order, by_length);
    for (uint32_t c = 0; c < found; c++)
        rank[order[c].index] = c;
    for (uint32_t i = 0; i < k; i++)
        class_of[i] = found > 1 ? rank[class_of[i]] : i > 0;
    return found > 1 ? found : 2;
}

static vq_status classes_of_kmeans(uint32_t *class_of, const vq_codebook *codebook,
                                   const float *weights, uint32_t count)
{
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;
    opts.k = count;
    opts.weights = weights;
    opts.max_iterations = 100;
    vq_codebook *centres = NULL;
    vq_status status = vq_kmeans_train(&centres, NULL, vq_codebook_codewords(codebook),
                                       vq_codebook_k(codebook), vq_codebook_dim(codebook), &opts);
    if (!status)
        status = vq_nearest(class_of, NULL, centres, vq_codebook_codewords(codebook),
                            vq_codebook_k(codebook), NULL);
    vq_codebook_free(centres);
    return status;
}

/* Even shares of the use, in the order of length; a code belongs where the middle of its share lies. */
static void classes_of_length(uint32_t *class_of, ranked *order, const double *length,
                              const double *use, uint32_t k, uint32_t count)
{
    double total = 0, before = 0;
    for (uint32_t i = 0; i < k; i++) {
        order[i] = (ranked){length[i], i};
        total += use[i];
    }
    qsort(order, k, sizeof *order, by_length);
    for (uint32_t i = 0; i < k; i++) {
        const double share = use[order[i].index];
        const double at = floor((before + share / 2) * count / total);
        class_of[order[i].index] = at < count ? (uint32_t)at : count - 1;
        before += share;
    }
}

static vq_status make_classes(vqi_code_classes *c, uint32_t level, const vq_codebook *codebook,
                              const uint64_t *use)
{
    const uint32_t k = vq_codebook_k(codebook), d = vq_codebook_dim(codebook);
    const uint32_t most = level ? CLASSES : FIRST_CLASSES, count = k < most ? k : most;
    uint32_t *class_of = vqi_calloc(k, sizeof *class_of);
    double *length = vqi_calloc(k, sizeof *length), *shares = vqi_calloc(k, sizeof *shares);
    float *weights = vqi_calloc(k, sizeof *weights);
    ranked *order = vqi_calloc(k, sizeof *order);
    vq_status status = class_of && length && shares && weights && order
                           ? VQ_OK
                           : vqi_fail_nomem((unsigned long long)k * sizeof *length);
    for (uint32_t i = 0; !status && i < k; i++) {
        shares[i] = use ? (double)use[i] + 1 : 1;
        weights[i] = (float)shares[i];
        length[i] = squared_length(vq_codebook_codewords(codebook) + (size_t)i * d, d);
    }
    if (!status && level < VQI_PAIRED_LEVELS)
        status = classes_of_kmeans(class_of, codebook, weights, count);
    else if (!status)
        classes_of_length(class_of, order, length, shares, k, count);
    if (!status) {
        const uint32_t found = order_classes(class_of, length, shares, k, count);
        if (!vqi_code_classes_allocate(c, k, found))
            status = vqi_fail_nomem(k);
        for (uint32_t i = 0; !status && i < k; i++)
            c->class_of[i] = (uint8_t)class_of[i];
        if (!status)
            vqi_code_classes_index(c);
    }
    vq_free(class_of);
    vq_free(length);
    vq_free(shares);
    vq_free(weights);
    vq_free(order);
    return status;
}

static vq_status create_counts(vq_table_counts **out, const vq_quantizer *quantizer)
{
    const uint32_t levels = vq_quantizer_levels(quantizer);
    for (uint32_t l = 0; l < levels; l++) {
        const uint32_t k = vq_quantizer_k(quantizer, l);
        if (!vq_quantizer_codebook(quantizer, l) || k < 2 || k > VQ_MAX_TABLE_CODES)
            return vqi_fail(VQ_E_ARG,
                            "level %u has no codebook of 2 to %d codewords to make classes of", l,
                            VQ_MAX_TABLE_CODES);
    }
    vq_table_counts *counts = vqi_calloc(1, sizeof *counts);
    if (!counts)
        return vqi_fail_nomem(sizeof *counts);
    counts->levels = levels;
    vq_status status = VQ_OK;
    for (uint32_t l = 0; !status && l < levels; l++)
        status = make_classes(&counts->classes[l], l, vq_quantizer_codebook(quantizer, l),
                              vq_quantizer_frequencies(quantizer, l));
    if (status) {
        vq_table_counts_free(counts);
        return status;
    }
    *out = counts;
    return VQ_OK;
}

vq_status vq_table_counts_create(vq_table_counts **out, const vq_quantizer *quantizer)
{
    vq_quantizer *made;
    *out = NULL;
    vq_status status = vqi_simvq_with_codewords(&made, &quantizer);
    if (!status)
        status = create_counts(out, quantizer);
    vq_quantizer_free(made);
    return status;
}

void vq_table_counts_free(vq_table_counts *counts)
{
    if (!counts)
        return;
    for (uint32_t l = 0; l < counts->levels; l++) {
        vqi_code_classes_clear(&counts->classes[l]);
        for (uint32_t s = 0; s < VQ_MAX_TABLE_SETS; s++) {
            vq_free(counts->counts[s][l].of_class);
            vq_free(counts->counts[s][l].of_code);
        }
    }
    vq_free(counts);
}

static void count_level(level_counts *n, const vqi_code_classes *c, uint32_t level,
                        const uint32_t *codes, const uint16_t *sums, const size_t shape[3])
{
    const size_t columns = shape[2], plane = shape[1] * columns;
    for (size_t p = 0; p < shape[0]; p++)
        for (size_t i = 0; i < plane; i++) {
            const uint32_t context = vqi_code_context(c, level, codes + p * plane, i, columns,
                                                      i % columns, sums[p * plane + i]);
            const uint32_t code = codes[p * plane + i];
            n->of_class[(size_t)context * c->count + c->class_of[code]]++;
            n->of_code[code]++;
        }
}

vq_status vq_table_counts_add(vq_table_counts *counts, uint32_t set, const vq_tokens *tokens)
{
    vq_status status = vq_tokens_validate(tokens);
    if (status)
        return status;
    if (set >= VQ_MAX_TABLE_SETS || tokens->levels != counts->levels)
        return vqi_fail(VQ_E_ARG, "tokens of %u levels for set %u (%u levels, sets below %d)",
                        tokens->levels, set, counts->levels, VQ_MAX_TABLE_SETS);
    const size_t positions = vq_tokens_positions(tokens);
    uint16_t *sums = vqi_calloc(positions, sizeof *sums);
    if (!sums)
        return vqi_fail_nomem(positions * sizeof *sums);
    size_t shape[3];
    vqi_code_planes(shape, tokens);
    for (uint32_t l = 0; !status && l < counts->levels; l++) {
        const vqi_code_classes *c = &counts->classes[l];
        level_counts *n = &counts->counts[set][l];
        const size_t cells = (size_t)vqi_code_contexts(l, c->count) * c->count;
        if (tokens->k[l] != c->k)
            status = vqi_fail(VQ_E_ARG, "level %u has K = %u, not %u", l, tokens->k[l], c->k);
        else if (!n->of_class)
            n->of_class = vqi_calloc(cells, sizeof *n->of_class);
        if (!status && !n->of_code)
            n->of_code = vqi_calloc(c->k, sizeof *n->of_code);
        if (!status && (!n->of_class || !n->of_code))
            status = vqi_fail_nomem(cells * sizeof *n->of_class);
        if (status)
            break;
        count_level(n, c, l, tokens->codes + l * positions, sums, shape);
        vqi_code_activities_add(sums, c, l, tokens->codes + l * positions, positions);
    }
    vq_free(sums);
    return status;
}

/* Shares as whole numbers from 1 to `most` that add up to 2^16: rounded down, and the largest takes the rest or,
   where it would be more than `most`, passes it on to the next. */
static void to_freqs(uint32_t *freqs, const double *shares, uint32_t count, uint32_t most)
{
    double total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += shares[i];
    uint32_t rest = FREQ_TOTAL, largest = 0;
    for (uint32_t i = 0; i < count; i++) {
        freqs[i] = 1 + (uint32_t)(shares[i] / total * (FREQ_TOTAL - count));
        freqs[i] = freqs[i] > most ? most : freqs[i];
        rest -= freqs[i];
        largest = shares[i] > shares[largest] ? i : largest;
    }
    const uint32_t room = most - freqs[largest], here = rest < room ? rest : room;
    freqs[largest] += here;
    freqs[largest ? 0 : 1] += rest - here;
}

static void make_class_freqs(vqi_code_freqs *f, const level_counts *n, const vqi_code_classes *c,
                             uint32_t level)
{
    double marginal[VQ_MAX_CODE_CLASSES] = {0}, total = 0, shares[VQ_MAX_CODE_CLASSES] = {0};
    uint32_t freqs[VQ_MAX_CODE_CLASSES] = {0};
    const uint32_t contexts = vqi_code_contexts(level, c->count);
    for (uint32_t i = 0; i < c->k; i++)
        marginal[c->class_of[i]] += (double)n->of_code[i] + 0.5;
    for (uint32_t j = 0; j < c->count; j++)
        total += marginal[j];
    for (uint32_t i = 0; i < contexts; i++) {
        /* A context that is seldom leans on the whole level: half a count for each class there is. */
        for (uint32_t j = 0; j < c->count; j++)
            shares[j] =
                (double)n->of_class[i * c->count + j] + marginal[j] / total * 0.5 * c->count;
        to_freqs(freqs, shares, c->count, VQI_FREQ_MOST);
        for (uint32_t j = 0; j < c->count; j++)
            f->of_class[i * c->count + j] = (uint16_t)freqs[j];
    }
}

static vq_status make_code_freqs(vqi_code_freqs *f, const level_counts *n,
                                 const vqi_code_classes *c)
{
    double *shares = vqi_calloc(c->k, sizeof *shares);
    uint32_t *freqs = vqi_calloc(c->k, sizeof *freqs);
    if (!shares || !freqs) {
        vq_free(shares);
        vq_free(freqs);
        return vqi_fail_nomem((unsigned long long)c->k * sizeof *shares);
    }
    for (uint32_t j = 0; j < c->count; j++) {
        const uint32_t first = c->first[j], size = c->first[j + 1] - first;
        for (uint32_t m = 0; m < size; m++)
            shares[m] = (double)n->of_code[c->members[first + m]] + 0.5;
        if (size == 1)
            continue; /* coded by its class alone */
        to_freqs(freqs, shares, size, FREQ_TOTAL - 1);
        for (uint32_t m = 0; m < size; m++)
            f->of_code[c->members[first + m]] = (uint16_t)freqs[m];
    }
    vq_free(shares);
    vq_free(freqs);
    return VQ_OK;
}

static vq_status copy_classes(vqi_code_classes *to, const vqi_code_classes *from)
{
    if (!vqi_code_classes_allocate(to, from->k, from->count))
        return vqi_fail_nomem(from->k);
    memcpy(to->class_of, from->class_of, from->k);
    vqi_code_classes_index(to);
    return VQ_OK;
}

static vq_status create(vq_code_tables *t, const vq_table_counts *counts)
{
    for (uint32_t l = 0; l < t->levels; l++) {
        vqi_code_classes *c = &t->classes[l];
        vq_status status = copy_classes(c, &counts->classes[l]);
        for (uint32_t s = 0; !status && s < t->sets; s++) {
            vqi_code_freqs *f = &t->freqs[s][l];
            if (!counts->counts[s][l].of_class)
                status = vqi_fail(VQ_E_ARG, "no codes were counted for set %u", s);
            else if (!vqi_code_freqs_allocate(f, c, l))
                status = vqi_fail_nomem(c->k);
            if (status)
                break;
            make_class_freqs(f, &counts->counts[s][l], c, l);
            status = make_code_freqs(f, &counts->counts[s][l], c);
            if (!status && !vqi_code_freqs_index(f, c, l))
                status =
                    vqi_fail(VQ_E_ARG, "level %u is counted beyond what frequencies can say", l);
        }
        if (status)
            return status;
    }
    return VQ_OK;
}

vq_status vq_code_tables_create(vq_code_tables **out, const vq_table_counts *counts, uint32_t sets)
{
    *out = NULL;
    if (!sets || sets > VQ_MAX_TABLE_SETS)
        return vqi_fail(VQ_E_ARG, "%u sets of tables (1 to %d)", sets, VQ_MAX_TABLE_SETS);
    vq_code_tables *tables = vqi_calloc(1, sizeof *tables);
    if (!tables)
        return vqi_fail_nomem(sizeof *tables);
    tables->levels = counts->levels;
    tables->sets = sets;
    const vq_status status = create(tables, counts);
    if (status) {
        vq_code_tables_free(tables);
        return status;
    }
    *out = tables;
    return VQ_OK;
}
