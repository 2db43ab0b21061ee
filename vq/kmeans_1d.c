/* SPDX-License-Identifier: Apache-2.0 */
/* k-means of numbers: they are sorted, equal ones merged, the line cut (kmeans_1d_cut.c), and each cell's mean taken. */
#include "vq/kmeans_1d.h"

#include <math.h>
#include <string.h>

#include "vq/batch_internal.h"
#include "vq/codebook_internal.h"
#include "vq/error_internal.h"
#include "vq/kmeans_1d_internal.h"
#include "vq/memory_internal.h"

typedef struct item {
    uint32_t key; /* orders as the number does */
    float weight;
} item;

static uint32_t key_of(float x)
{
    uint32_t bits;
    x += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float number_of(uint32_t key)
{
    const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Radix sort, stable, so that the weights of equal numbers keep one order. @return the array that holds the result. */
static item *sort(item *items, item *other, size_t count)
{
    enum { BITS = 11, BINS = 1 << BITS };
    for (int shift = 0; shift < 32; shift += BITS) {
        size_t starts[BINS + 1] = {0};
        for (size_t i = 0; i < count; i++)
            starts[(items[i].key >> shift) % BINS + 1]++;
        for (int bin = 0; bin < BINS; bin++)
            starts[bin + 1] += starts[bin];
        for (size_t i = 0; i < count; i++)
            other[starts[(items[i].key >> shift) % BINS]++] = items[i];
        item *const swap = items;
        items = other;
        other = swap;
    }
    return items;
}

/* *high + *low += term, exactly but for the rounding of *low (Knuth's TwoSum). */
static void add(double *high, double *low, double term)
{
    const double sum = *high + term, part = sum - *high;
    *low += (*high - (sum - part)) + (term - part);
    *high = sum;
}

void vqi_line_clear(vqi_line *line)
{
    vqi_free(line->value);
    vqi_free(line->weight);
    vqi_free(line->sums);
}

/* The distinct numbers of `items`, about their median. */
static vq_status make_line(vqi_line *line, double *median, const item *items, size_t count)
{
    size_t distinct = 0;
    double weight = 0, half = 0;
    for (size_t i = 0; i < count; i++) {
        distinct += !i || items[i].key != items[i - 1].key;
        weight += (double)items[i].weight;
    }
    line->count = (uint32_t)distinct;
    line->value = vqi_alloc(distinct, sizeof *line->value);
    line->weight = vqi_calloc(distinct, sizeof *line->weight);
    line->sums = vqi_calloc(distinct + 1, sizeof *line->sums);
    if (!line->value || !line->weight || !line->sums)
        return vqi_fail_nomem((unsigned long long)distinct * sizeof *line->sums);
    size_t middle = 0;
    for (; middle + 1 < count && half + (double)items[middle].weight < weight / 2; middle++)
        half += (double)items[middle].weight;
    *median = (double)number_of(items[middle].key);
    for (size_t i = 0, at = 0; i < count; i++) {
        at += i && items[i].key != items[i - 1].key;
        line->value[at] = (double)number_of(items[i].key) - *median;
        line->weight[at] += (double)items[i].weight;
    }
    for (size_t i = 0; i < distinct; i++) {
        const double w = line->weight[i], v = line->value[i];
        vqi_line_sums sums = line->sums[i];
        add(&sums.weight, &sums.weight_low, w);
        add(&sums.sum, &sums.sum_low, w * v);
        add(&sums.square, &sums.square_low, w * v * v);
        line->sums[i + 1] = sums;
    }
    return VQ_OK;
}

vq_status vqi_line_create(vqi_line *line, double *median, const float *x, size_t n,
                          const float *weights)
{
    memset(line, 0, sizeof *line);
    item *items = vqi_alloc(n, sizeof *items), *other = vqi_alloc(n, sizeof *other);
    vq_status status =
        items && other ? VQ_OK : vqi_fail_nomem((unsigned long long)n * sizeof *items);
    size_t count = 0;
    for (size_t i = 0; i < n && !status; i++)
        if (!weights || weights[i] > 0)
            items[count++] = (item){key_of(x[i]), weights ? weights[i] : 1};
    if (!status && !count)
        status = vqi_fail(VQ_E_ARG, "all weights of k-means are 0 (give some number a weight)");
    if (!status)
        status = make_line(line, median, sort(items, other, count), count);
    vqi_free(items);
    vqi_free(other);
    return status;
}

/* The mean of the values from `begin` to before `end`; about one of them, so that it does not cancel. */
static double mean(const vqi_line *line, uint32_t begin, uint32_t end)
{
    const double about = line->value[begin + (end - begin) / 2];
    double sum = 0, weight = 0;
    for (uint32_t i = begin; i < end; i++) {
        sum += line->weight[i] * (line->value[i] - about);
        weight += line->weight[i];
    }
    return about + sum / weight;
}

static double measure(const vqi_line *line, double median, const float *codewords, uint32_t k)
{
    double error = 0, weight = 0;
    uint32_t c = 0;
    for (uint32_t i = 0; i < line->count; i++) {
        const double value = line->value[i];
        double near = fabs(value - ((double)codewords[c] - median));
        while (c + 1 < k && fabs(value - ((double)codewords[c + 1] - median)) < near)
            near = fabs(value - ((double)codewords[++c] - median));
        error += line->weight[i] * near * near;
        weight += line->weight[i];
    }
    return error / weight;
}

static vq_status train(vq_codebook **out, double *mse, const vqi_line *line, double median,
                       uint32_t k)
{
    const uint32_t cells = k < line->count ? k : line->count;
    uint32_t *ends = vqi_alloc(cells, sizeof *ends);
    float *codewords = vqi_alloc(k, sizeof *codewords);
    vq_status status = ends && codewords
                           ? vqi_line_cut(ends, line, cells)
                           : vqi_fail_nomem((unsigned long long)k * sizeof *codewords);
    if (!status) {
        for (uint32_t c = 0; c < k; c++)
            codewords[c] = c < cells ? (float)(median + mean(line, c ? ends[c - 1] : 0, ends[c]))
                                     : codewords[cells - 1];
        status = vq_codebook_create(out, codewords, k, 1, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    }
    if (!status && mse)
        *mse = measure(line, median, codewords, k);
    vqi_free(ends);
    vqi_free(codewords);
    return status;
}

vq_status vq_kmeans_1d(vq_codebook **out, double *mse, const float *x, size_t n,
                       const float *weights, uint32_t k)
{
    vqi_line line = {0};
    double median;
    *out = NULL;
    if (!n || !x)
        return vqi_fail(VQ_E_ARG, "k-means of no numbers");
    if (!k || k > VQI_MAX_CODEWORDS)
        return vqi_fail(VQ_E_ARG, "k is %u (1 to %d codewords)", k, VQI_MAX_CODEWORDS);
    if (n < k)
        return vqi_fail(VQ_E_ARG, "%zu numbers are too few for %u codewords (give more or lower k)",
                        n, k);
    vq_status status = vqi_batch_check(x, n, 1, weights);
    if (!status)
        status = vqi_line_create(&line, &median, x, n, weights);
    if (!status)
        status = train(out, mse, &line, median, k);
    vqi_line_clear(&line);
    return status;
}
