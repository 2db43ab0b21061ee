/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/source.h"

#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/source_internal.h"

vq_source vq_source_from_memory(const float *x, size_t n, uint32_t d)
{
    vq_source source = VQ_SOURCE_INIT;
    source.n = n;
    source.d = d;
    source.memory = x;
    return source;
}

vq_status vqi_source_check(vq_source *own, const vq_source *theirs)
{
    if (!theirs)
        return vqi_fail(VQ_E_ARG, "there is no source of rows");
    const vq_status status = vqi_options(own, sizeof *own, theirs, "vq_source");
    if (status)
        return status;
    size_t floats, bytes;
    if (!vqi_mul(&floats, own->n, own->d) || !vqi_mul(&bytes, floats, sizeof(float)))
        return vqi_fail(VQ_E_ARG,
                        "a source of %zu rows of %u floats (larger than the address space)", own->n,
                        own->d);
    if (!own->memory && !own->read && floats)
        return vqi_fail(VQ_E_ARG,
                        "the source has no rows (set vq_source.memory or vq_source.read)");
    return VQ_OK;
}

vq_status vqi_source_read(const float **rows, const vq_source *source, float *buffer, size_t first,
                          size_t count)
{
    if (source->memory) {
        *rows = source->memory + first * source->d;
        return VQ_OK;
    }
    *rows = buffer;
    return source->read(source->context, rows, buffer, first, count);
}

void vqi_source_done(const vq_source *source, size_t first, size_t count)
{
    if (!source->memory && source->done)
        source->done(source->context, first, count);
}

void vq_source_close(vq_source *source)
{
    if (!source)
        return;
    if (source->close)
        source->close(source->context);
    memset(source, 0, sizeof *source);
}

typedef struct chain {
    vq_source *part;
    size_t *first; /* row of the chain at which each part begins */
    size_t count;
} chain;

static void chain_close(void *context)
{
    chain *c = context;
    for (size_t i = 0; i < c->count; i++)
        vq_source_close(&c->part[i]);
    vqi_free(c->part);
    vqi_free(c->first);
    vqi_free(c);
}

/* The part that holds a row: the last that begins at or before it and is not empty. */
static size_t part_of(const chain *c, size_t row)
{
    size_t low = 0, high = c->count;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (c->first[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Rows of part i from row `first` of the chain on, at most `count`. */
static size_t rows_in_part(const chain *c, size_t i, size_t first, size_t count)
{
    const size_t left = c->first[i] + c->part[i].n - first;
    return left < count ? left : count;
}

static vq_status chain_read(void *context, const float **rows, float *buffer, size_t first,
                            size_t count)
{
    const chain *c = context;
    size_t i = part_of(c, first), some = rows_in_part(c, i, first, count);
    if (some == count)
        return vqi_source_read(rows, &c->part[i], buffer, first - c->first[i], count);
    const uint32_t d = c->part[0].d;
    *rows = buffer;
    while (count) {
        const vq_source *part = &c->part[i];
        const float *found;
        const vq_status status = vqi_source_read(&found, part, buffer, first - c->first[i], some);
        if (status)
            return status;
        if (found != buffer)
            memcpy(buffer, found, some * d * sizeof *buffer);
        vqi_source_done(part, first - c->first[i], some);
        buffer += some * d;
        first += some;
        count -= some;
        while (count && !(some = rows_in_part(c, ++i, first, count)))
            ;
    }
    return VQ_OK;
}

static void chain_done(void *context, size_t first, size_t count)
{
    const chain *c = context;
    const size_t i = part_of(c, first);
    if (rows_in_part(c, i, first, count) == count) /* else it was copied and is done with */
        vqi_source_done(&c->part[i], first - c->first[i], count);
}

static vq_status join(chain *c, vq_source *own, const vq_source *parts)
{
    for (size_t i = 0; i < c->count; i++) {
        const vq_status status = vqi_source_check(&c->part[i], &parts[i]);
        if (status)
            return status;
        if (c->part[i].d != c->part[0].d)
            return vqi_fail(VQ_E_ARG, "source %zu has rows of %u floats and source 0 of %u", i,
                            c->part[i].d, c->part[0].d);
        c->first[i] = own->n;
        if (!vqi_add(&own->n, own->n, c->part[i].n))
            return vqi_fail(VQ_E_ARG, "the sources have more rows than can be counted");
    }
    own->d = c->part[0].d;
    vq_source checked;
    return vqi_source_check(&checked, own);
}

vq_status vq_source_concat(vq_source *out, vq_source *parts, size_t count)
{
    if (!parts || !count)
        return vqi_fail(VQ_E_ARG, "there are no sources to join");
    vq_source own = VQ_SOURCE_INIT;
    chain *c = vqi_calloc(1, sizeof *c);
    if (!c)
        return vqi_fail_nomem(sizeof *c);
    c->count = count;
    c->part = vqi_calloc(count, sizeof *c->part);
    c->first = vqi_alloc(count, sizeof *c->first);
    own.read = chain_read;
    own.done = chain_done;
    own.close = chain_close;
    own.context = c;
    const vq_status status = c->part && c->first
                                 ? join(c, &own, parts)
                                 : vqi_fail_nomem((unsigned long long)count * sizeof *c->part);
    if (status) {
        c->count = 0; /* the parts stay the caller's */
        chain_close(c);
        return status;
    }
    memset(parts, 0, count * sizeof *parts);
    *out = own;
    return VQ_OK;
}

typedef struct slice {
    vq_source whole;
    size_t first;
} slice;

static vq_status slice_read(void *context, const float **rows, float *buffer, size_t first,
                            size_t count)
{
    const slice *s = context;
    return vqi_source_read(rows, &s->whole, buffer, s->first + first, count);
}

static void slice_done(void *context, size_t first, size_t count)
{
    const slice *s = context;
    vqi_source_done(&s->whole, s->first + first, count);
}

static void slice_close(void *context)
{
    slice *s = context;
    vq_source_close(&s->whole);
    vqi_free(s);
}

vq_status vq_source_slice(vq_source *out, vq_source *whole, size_t first, size_t n)
{
    vq_source checked;
    const vq_status status = vqi_source_check(&checked, whole);
    if (status)
        return status;
    if (first > checked.n || n > checked.n - first)
        return vqi_fail(VQ_E_ARG, "%zu rows from row %zu of a source of %zu", n, first, checked.n);
    slice *s = vqi_calloc(1, sizeof *s);
    if (!s)
        return vqi_fail_nomem(sizeof *s);
    s->whole = checked;
    s->first = first;
    vq_source own = VQ_SOURCE_INIT;
    own.n = n;
    own.d = checked.d;
    own.memory = checked.memory ? checked.memory + first * checked.d : NULL;
    own.read = slice_read;
    own.done = slice_done;
    own.close = slice_close;
    own.context = s;
    memset(whole, 0, sizeof *whole);
    *out = own;
    return VQ_OK;
}
