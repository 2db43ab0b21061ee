/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/dimensions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { ARRAYS = 4 }; /* low, high, min, max: one block, which `low` owns */

vq_status vq_dimensions_create(vq_dimensions **out, size_t count)
{
    *out = NULL;
    if (!count)
        return vqi_fail(VQ_E_ARG, "an action of 0 dimensions");
    vq_dimensions *d = vqi_calloc(1, sizeof *d);
    size_t floats = 0;
    float *arrays = vqi_mul(&floats, count, ARRAYS) ? vqi_calloc(floats, sizeof *arrays) : NULL;
    uint8_t *binary = vqi_calloc(count, 1);
    if (!d || !arrays || !binary) {
        vq_free(d);
        vq_free(arrays);
        vq_free(binary);
        return vqi_fail_nomem(count * (ARRAYS * sizeof *arrays + 1));
    }
    d->count = count;
    d->low = arrays;
    d->high = arrays + count;
    d->min = arrays + 2 * count;
    d->max = arrays + 3 * count;
    d->binary = binary;
    *out = d;
    return VQ_OK;
}

void vq_dimensions_free(vq_dimensions *d)
{
    if (!d)
        return;
    for (size_t i = 0; d->names && i < d->count; i++)
        vq_free(d->names[i]);
    vq_free(d->names);
    vq_free(d->low);
    vq_free(d->binary);
    vq_free(d);
}

vq_status vq_dimensions_set_name(vq_dimensions *d, size_t i, const char *name)
{
    if (i >= d->count)
        return vqi_fail(VQ_E_ARG, "dimension %zu of %zu", i, d->count);
    if (!d->names) {
        char **names = vqi_calloc(d->count, sizeof *names);
        int failed = !names;
        for (size_t n = 0; names && n < d->count; n++)
            failed |= !(names[n] = vqi_strdup(""));
        if (failed) {
            for (size_t n = 0; names && n < d->count; n++)
                vq_free(names[n]);
            vq_free(names);
            return vqi_fail_nomem(d->count * sizeof *names);
        }
        d->names = names;
    }
    char *copy = vqi_strdup(name);
    if (!copy)
        return vqi_fail_nomem(strlen(name) + 1);
    vq_free(d->names[i]);
    d->names[i] = copy;
    return VQ_OK;
}

vq_status vq_dimensions_copy(vq_dimensions **out, const vq_dimensions *from)
{
    vq_status status = vq_dimensions_create(out, from->count);
    if (status)
        return status;
    vq_dimensions *d = *out;
    memcpy(d->low, from->low, ARRAYS * from->count * sizeof *d->low);
    memcpy(d->binary, from->binary, from->count);
    d->scaled = from->scaled;
    for (size_t i = 0; !status && from->names && i < from->count; i++)
        status = vq_dimensions_set_name(d, i, from->names[i]);
    if (status) {
        vq_dimensions_free(d);
        *out = NULL;
    }
    return status;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float quantile(const float *sorted, size_t n, double q)
{
    const double at = (double)(n - 1) * q;
    const size_t i = (size_t)at;
    const double part = at - (double)i;
    return i + 1 < n ? (float)((double)sorted[i] * (1 - part) + (double)sorted[i + 1] * part)
                     : sorted[n - 1];
}

static void fit_one(vq_dimensions *d, size_t i, float *values, size_t n)
{
    qsort(values, n, sizeof *values, ascending);
    d->min[i] = values[0];
    d->max[i] = values[n - 1];
    d->low[i] = quantile(values, n, 0.01);
    d->high[i] = quantile(values, n, 0.99);
    size_t lows = 0, highs = 0;
    while (lows < n && !(values[lows] > d->min[i]))
        lows++;
    while (highs < n && !(values[n - 1 - highs] < d->max[i]))
        highs++;
    d->binary[i] = d->min[i] < d->max[i] && lows + highs == n;
    if (d->binary[i] || !(d->low[i] < d->high[i])) {
        d->low[i] = d->min[i];
        d->high[i] = d->max[i];
    }
}

vq_status vq_dimensions_fit(vq_dimensions *d, const float *const *rows, const size_t *lengths,
                            size_t parts)
{
    size_t n = 0;
    for (size_t p = 0; p < parts; p++)
        n += lengths[p];
    if (!n)
        return vqi_fail(VQ_E_ARG, "no steps to fit the ranges of an action to");
    float *values = vqi_alloc(n, sizeof *values);
    if (!values)
        return vqi_fail_nomem(n * sizeof *values);
    vq_status status = VQ_OK;
    for (size_t i = 0; !status && i < d->count; i++) {
        size_t at = 0;
        for (size_t p = 0; p < parts; p++)
            for (size_t t = 0; t < lengths[p]; t++)
                values[at++] = rows[p][t * d->count + i];
        for (at = 0; at < n && isfinite(values[at]); at++)
            ;
        if (at < n)
            status = vqi_fail(VQ_E_NONFINITE,
                              "dimension %zu of the action holds a NaN or an "
                              "infinity",
                              i);
        else
            fit_one(d, i, values, n);
    }
    vq_free(values);
    d->scaled = !status;
    return status ? status : vq_dimensions_validate(d);
}

vq_status vq_dimensions_validate(const vq_dimensions *d)
{
    const float room = 0x1p120f; /* sums and differences of decoding stay finite */
    for (size_t i = 0; d->scaled && i < d->count; i++)
        if (!(d->min[i] >= -room && d->min[i] <= d->low[i] && d->low[i] <= d->high[i] &&
              d->high[i] <= d->max[i] && d->max[i] <= room) ||
            d->binary[i] > 1)
            return vqi_fail(VQ_E_RANGE,
                            "dimension %zu of the action: min %g, low %g, high %g, max %g are not "
                            "finite and in this order",
                            i, (double)d->min[i], (double)d->low[i], (double)d->high[i],
                            (double)d->max[i]);
    return VQ_OK;
}
