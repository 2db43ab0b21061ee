/* SPDX-License-Identifier: Apache-2.0 */
/* Rows divided between two cells, and halved again and again into K. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_balanced_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"
#include "vq/random_internal.h"

enum {
    LANES = 8,     /* partial sums, in registers of whatever width there is */
    POWER = 3,     /* iterations towards the direction in which rows vary most */
    DIVISIONS = 3, /* by the means of the two halves, after the first by that direction */
    SMALL = 16     /* shares that are sorted as they are */
};

static int comes_before(const vqi_share *a, const vqi_share *b)
{
    return a->key < b->key || (a->key == b->key && a->row < b->row);
}

static void swap(vqi_share *a, vqi_share *b)
{
    const vqi_share c = *a;
    *a = *b;
    *b = c;
}

void vqi_shares_select(vqi_share *shares, size_t size, size_t count)
{
    vqi_random random = vqi_random_from(size);
    size_t begin = 0, end = size; /* the boundary lies in here */
    while (end - begin > SMALL) {
        const size_t span = end - begin;
        const vqi_share pivot = shares[begin + (size_t)(vqi_random_next(&random) % span)];
        size_t low = begin, high = end;
        for (;;) { /* rows differ, so no share but the pivot itself equals it */
            while (comes_before(&shares[low], &pivot))
                low++;
            do
                high--;
            while (comes_before(&pivot, &shares[high]));
            if (low >= high)
                break;
            swap(&shares[low++], &shares[high]);
        }
        /* Before `low` is nothing above the pivot, from it on nothing below. */
        if (count <= low)
            end = low;
        else
            begin = low;
    }
    for (size_t i = begin + 1; i < end; i++)
        for (size_t j = i; j > begin && comes_before(&shares[j], &shares[j - 1]); j--)
            swap(&shares[j], &shares[j - 1]);
}

typedef double vec __attribute__((vector_size(8 * LANES)));
typedef double vec_unaligned __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
typedef float vec_float __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define LOAD(p)       ((vec) * (const vec_unaligned *)(p))
#define LOAD_FLOAT(p) __builtin_convertvector(*(const vec_float *)(p), vec)

/* By address: not every processor has registers for a vec. */
static double sum_of(const vec *v)
{
    const vec p = *v;
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

/* (x - about) . direction */
static double project(const float *x, const double *about, const double *direction, uint32_t d)
{
    vec p = {0};
    uint32_t j = 0;
    for (; j + LANES <= d; j += LANES)
        p += (LOAD_FLOAT(x + j) - LOAD(about + j)) * LOAD(direction + j);
    for (int l = 0; j < d; j++, l++)
        p[l] += ((double)x[j] - about[j]) * direction[j];
    return sum_of(&p);
}

static double square_distance(const float *x, const double *from, uint32_t d)
{
    vec p = {0};
    uint32_t j = 0;
    for (; j + LANES <= d; j += LANES) {
        const vec t = LOAD_FLOAT(x + j) - LOAD(from + j);
        p += t * t;
    }
    for (int l = 0; j < d; j++, l++)
        p[l] += ((double)x[j] - from[j]) * ((double)x[j] - from[j]);
    return sum_of(&p);
}

void vqi_shares_compare(vqi_share *shares, size_t size, const float *x, uint32_t d, const double *a,
                        const double *b, double *scratch)
{
    double *middle = scratch, *direction = scratch + d;
    for (uint32_t j = 0; j < d; j++) {
        middle[j] = a[j] + (b[j] - a[j]) / 2;
        direction[j] = 2 * (b[j] - a[j]);
    }
    for (size_t i = 0; i < size; i++)
        shares[i].key = project(x + (size_t)shares[i].row * d, middle, direction, d);
}

double vqi_shares_mean(double *mean, const vqi_share *shares, size_t size, const float *x,
                       uint32_t d)
{
    double sum = 0;
    memset(mean, 0, d * sizeof *mean);
    for (size_t i = 0; i < size; i++)
        for (uint32_t j = 0; j < d; j++)
            mean[j] += (double)x[(size_t)shares[i].row * d + j];
    for (uint32_t j = 0; j < d; j++)
        mean[j] /= (double)size;
    for (size_t i = 0; i < size; i++)
        sum += square_distance(x + (size_t)shares[i].row * d, mean, d);
    return sum;
}

/* Keys along the direction in which the rows vary most, as a few power iterations find it from the row that is
 * farthest from the mean. vectors: 3 d. */
static void spread(vqi_share *shares, size_t size, const float *x, uint32_t d, double *vectors)
{
    double *mean = vectors, *direction = vectors + d, *next = vectors + 2 * d;
    double farthest = 0;
    size_t row = 0;
    vqi_shares_mean(mean, shares, size, x, d);
    for (size_t i = 0; i < size; i++) {
        const double distance = square_distance(x + (size_t)shares[i].row * d, mean, d);
        if (distance > farthest) {
            farthest = distance;
            row = shares[i].row;
        }
    }
    const double length = sqrt(farthest);
    for (uint32_t j = 0; j < d; j++)
        direction[j] = length > 0 ? ((double)x[row * d + j] - mean[j]) / length : 0;
    for (int iteration = 0; iteration < POWER; iteration++) {
        double square = 0;
        memset(next, 0, d * sizeof *next);
        for (size_t i = 0; i < size; i++) {
            const float *r = x + (size_t)shares[i].row * d;
            const double along = project(r, mean, direction, d);
            for (uint32_t j = 0; j < d; j++)
                next[j] += along * ((double)r[j] - mean[j]);
        }
        for (uint32_t j = 0; j < d; j++)
            square += next[j] * next[j];
        if (!(square > 0))
            break;
        for (uint32_t j = 0; j < d; j++)
            direction[j] = next[j] / sqrt(square);
    }
    for (size_t i = 0; i < size; i++)
        shares[i].key = project(x + (size_t)shares[i].row * d, mean, direction, d);
}

/* Bring the rows of the first half to the front. vectors: 4 d. */
static void halve(vqi_share *shares, size_t size, size_t left, const float *x, uint32_t d,
                  double *vectors)
{
    double *a = vectors, *b = vectors + d, *scratch = vectors + 2 * (size_t)d;
    spread(shares, size, x, d, vectors);
    vqi_shares_select(shares, size, left);
    for (int i = 0; i < DIVISIONS; i++) {
        vqi_shares_mean(a, shares, left, x, d);
        vqi_shares_mean(b, shares + left, size - left, x, d);
        vqi_shares_compare(shares, size, x, d, a, b, scratch);
        vqi_shares_select(shares, size, left);
    }
}

/* A node of the tree of halves: the codes from `first` on. */
typedef struct node {
    uint32_t first, codes;
} node;

vq_status vqi_balanced_halve(uint32_t *rows, const float *x, size_t n, uint32_t d, uint32_t k,
                             int threads)
{
    threads = vqi_threads(threads, (size_t)k / 2 + 1);
    vqi_share *shares = vqi_alloc(n, sizeof *shares);
    node *nodes = vqi_alloc(k, sizeof *nodes), *children = vqi_alloc(k, sizeof *children);
    double *vectors = vqi_alloc((size_t)threads * 4 * d, sizeof *vectors);
    if (!shares || !nodes || !children || !vectors) {
        vqi_free(shares);
        vqi_free(nodes);
        vqi_free(children);
        vqi_free(vectors);
        return vqi_fail_nomem((unsigned long long)n * sizeof *shares);
    }
    for (size_t i = 0; i < n; i++)
        shares[i] = (vqi_share){0, (uint32_t)i, 0};
    nodes[0] = (node){0, k};
    for (uint32_t count = 1, halved = 1; halved;) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t first = nodes[i].first, codes = nodes[i].codes;
            if (codes < 2)
                continue;
            const size_t begin = vqi_balanced_begin(n, k, first),
                         middle = vqi_balanced_begin(n, k, first + codes / 2),
                         end = vqi_balanced_begin(n, k, first + codes);
            halve(shares + begin, end - begin, middle - begin, x, d,
                  vectors + (size_t)omp_get_thread_num() * 4 * d);
        }
        uint32_t next = 0;
        halved = 0;
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t first = nodes[i].first, codes = nodes[i].codes, left = codes / 2;
            if (left)
                children[next++] = (node){first, left};
            children[next++] = (node){first + left, codes - left};
            halved |= codes > 2;
        }
        node *const swap_nodes = nodes;
        nodes = children;
        children = swap_nodes;
        count = next;
    }
    for (size_t i = 0; i < n; i++)
        rows[i] = shares[i].row;
    vqi_free(shares);
    vqi_free(nodes);
    vqi_free(children);
    vqi_free(vectors);
    return VQ_OK;
}
