/* SPDX-License-Identifier: Apache-2.0 */
/* The best way to cut a line into K cells: a shortest path with a price on each cell, and the search for
 * the price at which it has K cells. */
#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/kmeans_1d_internal.h"
#include "vq/memory_internal.h"

enum {
    FEW =
        16, /* values of a cell whose cost is summed anew: a narrow cell far from 0 cancels otherwise */
    GUESSES = 16, /* prices by the law cells ~ price^(-1/3), before only the exact method */
    PRICES = 1000 /* a bound that rounding cannot make endless */
};

static double cost_anew(const vqi_line *line, uint32_t begin, uint32_t end)
{
    double weight = 0, sum = 0, square = 0;
    for (uint32_t i = begin; i < end; i++) {
        const double w = line->weight[i], v = line->value[i] - line->value[begin];
        weight += w;
        sum += w * v;
        square += w * v * v;
    }
    return square - sum * sum / weight;
}

/* Sum of weighted squared distances of the values from `begin` to before `end` from their mean. */
static double line_cost(const vqi_line *line, uint32_t begin, uint32_t end)
{
    const vqi_line_sums *a = &line->sums[begin], *b = &line->sums[end];
    double cost;
    if (end - begin > FEW) {
        const double weight = (b->weight - a->weight) + (b->weight_low - a->weight_low);
        const double sum = (b->sum - a->sum) + (b->sum_low - a->sum_low);
        const double square = (b->square - a->square) + (b->square_low - a->square_low);
        cost = square - sum * sum / weight;
    } else
        cost = cost_anew(line, begin, end);
    return cost > 0 ? cost : 0;
}

/* A way to cut the line. */
typedef struct path {
    uint32_t *ends;
    uint32_t cells;
    double cost; /* of the cells, without their prices */
} path;

typedef struct candidate {
    uint32_t begin; /* a cell may begin here ... */
    uint32_t from;  /* ... and none serves better the ends from here to the next candidate's */
} candidate;

typedef struct cutter {
    const vqi_line *line;
    double *least;    /* count + 1: least cost and price of all values before */
    uint32_t *before; /* count + 1: where the last cell of that begins */
    candidate *queue; /* count */
} cutter;

static double total(const cutter *c, uint32_t begin, uint32_t end)
{
    return c->least[begin] + line_cost(c->line, begin, end);
}

/* The first end after `low` that a cell from `late` serves better than one from `early`, or past the line. That is
 * monotone in the end, because cell costs obey the quadrangle inequality; it is mostly near. */
static uint32_t overtakes(const cutter *c, uint32_t early, uint32_t late, uint32_t low)
{
    const uint64_t past = (uint64_t)c->line->count + 1;
    uint64_t worse = low, better = past; /* known of these two */
    for (uint64_t step = 1; worse + step < past; step *= 2) {
        const uint32_t end = (uint32_t)(worse + step);
        if (total(c, late, end) < total(c, early, end)) {
            better = end;
            break;
        }
        worse = end;
    }
    while (better - worse > 1) {
        const uint64_t end = worse + (better - worse) / 2;
        if (total(c, late, (uint32_t)end) < total(c, early, (uint32_t)end))
            better = end;
        else
            worse = end;
    }
    return better < past ? (uint32_t)better : UINT32_MAX;
}

/* The best way to cut if each cell costs `price` more (Galil and Park 1990, the concave case). */
static void shortest_path(path *out, cutter *c, double price)
{
    const uint32_t count = c->line->count;
    candidate *queue = c->queue;
    uint32_t first = 0, last = 0; /* of the queue */
    queue[0] = (candidate){0, 1};
    c->least[0] = 0;
    for (uint32_t end = 1; end <= count; end++) {
        while (first < last && queue[first + 1].from <= end)
            first++;
        c->before[end] = queue[first].begin;
        c->least[end] = total(c, queue[first].begin, end) + price;
        if (end == count)
            break;
        /* Cells may now begin at `end` too. */
        while (last > first && queue[last].from > end &&
               total(c, end, queue[last].from) < total(c, queue[last].begin, queue[last].from))
            last--;
        const uint32_t low = queue[last].from > end ? queue[last].from : end;
        const uint32_t from = overtakes(c, queue[last].begin, end, low);
        if (from != UINT32_MAX)
            queue[++last] = (candidate){end, from};
    }
    out->cells = 0;
    for (uint32_t end = count; end; end = c->before[end])
        out->cells++;
    uint32_t cell = out->cells;
    out->cost = 0;
    for (uint32_t end = count; end; end = c->before[end]) {
        out->ends[--cell] = end;
        out->cost += line_cost(c->line, c->before[end], end);
    }
}

/* Both paths are best at one price; `few` has less than k cells and `many` more. Where a cell of `many` lies in the
 * cell of `few` that is k - few->cells places earlier, the first part of `many` and the rest of `few` are a best path of k. */
static void splice(uint32_t *ends, const path *few, const path *many, uint32_t k)
{
    const uint32_t shift = k - few->cells;
    uint32_t cell = 0;
    while (many->ends[cell + shift] > few->ends[cell])
        cell++;
    memcpy(ends, many->ends, ((size_t)cell + shift) * sizeof *ends);
    memcpy(ends + cell + shift, few->ends + cell, ((size_t)few->cells - cell) * sizeof *ends);
}

static void swap_paths(path *a, path *b)
{
    const path c = *a;
    *a = *b;
    *b = c;
}

static void search_price(uint32_t *ends, cutter *c, path *few, path *many, path *fresh, uint32_t k)
{
    const uint32_t count = c->line->count;
    double low = 0, high = INFINITY; /* the prices of `many` and `few` */
    few->cells = 1;
    few->ends[0] = count;
    few->cost = line_cost(c->line, 0, count);
    many->cells = count;
    many->cost = 0;
    for (uint32_t i = 0; i < count; i++)
        many->ends[i] = i + 1;
    double price = 2 * few->cost / pow(k, 3); /* exact for even values */
    for (int guess = 0;; guess++) {
        /* Where the lines of cost and price of the two paths meet; if nothing is below that point, both are best there. */
        const double meet = (few->cost - many->cost) / ((double)many->cells - few->cells);
        const int exact = guess >= GUESSES || !(price > low && price < high);
        if (exact)
            price = meet;
        shortest_path(fresh, c, price);
        if (fresh->cells == k) {
            memcpy(ends, fresh->ends, k * sizeof *ends);
            return;
        }
        const double value = few->cost + price * few->cells;
        if (exact &&
            (guess >= PRICES || fresh->cost + price * fresh->cells >= value - 1e-14 * value)) {
            splice(ends, few, many, k);
            return;
        }
        const double ratio = (double)fresh->cells / k;
        if (fresh->cells < k) {
            high = price;
            swap_paths(few, fresh);
        } else {
            low = price;
            swap_paths(many, fresh);
        }
        price *= ratio * ratio * ratio;
    }
}

vq_status vqi_line_cut(uint32_t *ends, const vqi_line *line, uint32_t k)
{
    const size_t count = line->count;
    if (k == count || k == 1) {
        for (uint32_t i = 0; i < k; i++)
            ends[i] = k == 1 ? line->count : i + 1;
        return VQ_OK;
    }
    cutter c = {.line = line};
    path paths[3] = {{NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}};
    c.least = vqi_alloc(count + 1, sizeof *c.least);
    c.before = vqi_alloc(count + 1, sizeof *c.before);
    c.queue = vqi_alloc(count, sizeof *c.queue);
    for (int i = 0; i < 3; i++)
        paths[i].ends = vqi_alloc(count, sizeof *paths[i].ends);
    vq_status status = VQ_OK;
    if (c.least && c.before && c.queue && paths[0].ends && paths[1].ends && paths[2].ends)
        search_price(ends, &c, &paths[0], &paths[1], &paths[2], k);
    else
        status = vqi_fail_nomem((unsigned long long)count * sizeof *c.least);
    for (int i = 0; i < 3; i++)
        vqi_free(paths[i].ends);
    vqi_free(c.queue);
    vqi_free(c.before);
    vqi_free(c.least);
    return status;
}
