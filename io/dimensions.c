/* SPDX-License-Identifier: Apache-2.0 */
/* The ranges of actions in JSON: our own, LeRobot's and OpenVLA's. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/actions.h"
#include "io/dimensions_internal.h"
#include "vq/error_internal.h"

enum { MAX_LISTED = 200 };

static json_t *floats(const float *values, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < count; i++)
        if (json_array_append_new(array, json_real((double)values[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *names_or_flags(const vq_dimensions *d, int names)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < d->count; i++)
        if (json_array_append_new(array,
                                  names ? json_string(d->names[i]) : json_integer(d->binary[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

json_t *vqi_dimensions_to_json(const vq_dimensions *d)
{
    json_t *object = json_object();
    int failed = !object;
    if (d->names)
        failed |= json_object_set_new(object, "names", names_or_flags(d, 1));
    if (d->scaled) {
        failed |= json_object_set_new(object, "low", floats(d->low, d->count));
        failed |= json_object_set_new(object, "high", floats(d->high, d->count));
        failed |= json_object_set_new(object, "min", floats(d->min, d->count));
        failed |= json_object_set_new(object, "max", floats(d->max, d->count));
        failed |= json_object_set_new(object, "binary", names_or_flags(d, 0));
    }
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* `count` finite numbers; 1 if they are all there. */
static int get_floats(float *values, const json_t *object, const char *key, size_t count)
{
    const json_t *array = json_object_get(object, key);
    if (json_array_size(array) != count)
        return 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(array, i);
        values[i] = (float)json_number_value(value);
        if (!json_is_number(value) || !isfinite(values[i]))
            return 0;
    }
    return 1;
}

static int get_flags(uint8_t *flags, const json_t *array, size_t count)
{
    if (json_array_size(array) != count)
        return 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(array, i);
        const json_int_t flag =
            json_is_boolean(value) ? json_boolean_value(value) : json_integer_value(value);
        if ((!json_is_integer(value) && !json_is_boolean(value)) || flag < 0 || flag > 1)
            return 0;
        flags[i] = (uint8_t)flag;
    }
    return 1;
}

static vq_status get_names(vq_dimensions *d, const json_t *array)
{
    vq_status status = VQ_OK;
    for (size_t i = 0; !status && i < d->count; i++) {
        const char *name = json_string_value(json_array_get(array, i));
        status = name ? vq_dimensions_set_name(d, i, name)
                      : vqi_fail(VQ_E_FORMAT, "\"names\" are not %zu texts", d->count);
    }
    return status;
}

vq_status vqi_dimensions_from_json(vq_dimensions **out, const json_t *json, size_t count)
{
    *out = NULL;
    const json_t *names = json_object_get(json, "names"), *low = json_object_get(json, "low");
    /* The arrays say how many there are; what another entry says is believed only if they agree. */
    if ((names && json_array_size(names) != count) || (low && json_array_size(low) != count) ||
        (!names && !low))
        return vqi_fail(VQ_E_FORMAT, "HEAD: \"dimensions\" does not describe %zu dimensions",
                        count);
    vq_dimensions *d;
    vq_status status = vq_dimensions_create(&d, count);
    if (status)
        return status;
    if (names)
        status = get_names(d, names);
    d->scaled = low != NULL;
    if (!status && low &&
        !(get_floats(d->low, json, "low", count) && get_floats(d->high, json, "high", count) &&
          get_floats(d->min, json, "min", count) && get_floats(d->max, json, "max", count) &&
          get_flags(d->binary, json_object_get(json, "binary"), count)))
        status = vqi_fail(VQ_E_FORMAT, "HEAD: \"dimensions\" does not describe %zu ranges", count);
    if (!status && vq_dimensions_validate(d))
        status = VQ_E_FORMAT;
    if (status) {
        vq_dimensions_free(d);
        return status;
    }
    *out = d;
    return VQ_OK;
}

/* An object with the statistics of one feature. */
static int is_statistics(const json_t *object)
{
    return (json_is_array(json_object_get(object, "q01")) &&
            json_is_array(json_object_get(object, "q99"))) ||
           (json_is_array(json_object_get(object, "min")) &&
            json_is_array(json_object_get(object, "max")));
}

/* The statistics of `value` itself, or of the action in it; NULL if it has none. */
static const json_t *statistics_in(const json_t *value)
{
    const json_t *action = json_object_get(value, "action");
    return is_statistics(value) ? value : is_statistics(action) ? action : NULL;
}

static vq_status choose(const json_t **out, const json_t *json, const char *key)
{
    json_t *root = (json_t *)json, *value;
    const char *name;
    *out = key ? statistics_in(json_object_get(json, key))
               : statistics_in(json); /* also {"action": ...} */
    if (*out)
        return VQ_OK;
    char listed[MAX_LISTED] = "";
    size_t found = 0, used = 0;
    json_object_foreach(root, name, value)
    {
        if (!statistics_in(value))
            continue;
        found++;
        *out = statistics_in(value);
        if (used + 1 < sizeof listed)
            used += (size_t)snprintf(listed + used, sizeof listed - used, "%s%.60s",
                                     used ? ", " : "", name);
    }
    if (!found)
        return vqi_fail(VQ_E_FORMAT,
                        "no statistics of actions (\"q01\" and \"q99\", or \"min\" and \"max\")");
    if (found == 1 && !key)
        return VQ_OK;
    return vqi_fail(VQ_E_ARG, "which statistics? There are: %s", listed);
}

static vq_status from_statistics(vq_dimensions **out, const json_t *s)
{
    const json_t *mask = json_object_get(s, "mask");
    const int quantiles = json_is_array(json_object_get(s, "q01"));
    const size_t count = json_array_size(json_object_get(s, quantiles ? "q01" : "min"));
    vq_dimensions *d;
    vq_status status = vq_dimensions_create(&d, count);
    if (status)
        return status;
    d->scaled = 1;
    const int all = get_floats(d->low, s, quantiles ? "q01" : "min", count) &&
                    get_floats(d->high, s, quantiles ? "q99" : "max", count);
    const int ends = get_floats(d->min, s, "min", count) && get_floats(d->max, s, "max", count);
    if (all && !ends) {
        memcpy(d->min, d->low, count * sizeof *d->min);
        memcpy(d->max, d->high, count * sizeof *d->max);
    }
    if (!all || (mask && !get_flags(d->binary, mask, count)))
        status = vqi_fail(VQ_E_FORMAT, "the statistics are not %zu finite numbers each", count);
    for (size_t i = 0; !status && i < count; i++) {
        /* Quantiles come from histograms, and may lie a little outside. */
        d->min[i] = fminf(d->min[i], d->low[i]);
        d->max[i] = fmaxf(d->max[i], d->high[i]);
        if ((mask && !d->binary[i]) || !(d->low[i] < d->high[i])) {
            d->low[i] = d->min[i];
            d->high[i] = d->max[i];
        }
        d->binary[i] = 0;
    }
    if (!status)
        status = vq_dimensions_validate(d);
    if (status) {
        vq_dimensions_free(d);
        return status;
    }
    *out = d;
    return VQ_OK;
}

vq_status vq_dimensions_parse_stats(vq_dimensions **out, const void *data, size_t size,
                                    const char *key, const char *name, const vq_limits *limits)
{
    *out = NULL;
    vq_limits own;
    vq_status status = vq_limits_resolve(&own, limits);
    if (status)
        return status;
    json_t *json = NULL;
    const json_t *statistics = NULL;
    if (size > own.max_header_bytes)
        status = vqi_fail(VQ_E_LIMIT, "%zu bytes of statistics (at most %u)", size,
                          own.max_header_bytes);
    if (!status)
        status = vqi_json_parse(&json, data, size, 0, &own);
    if (!status)
        status = choose(&statistics, json, key);
    if (!status)
        status = from_statistics(out, statistics);
    json_decref(json);
    return status && name ? vqi_fail_in(status, name) : status;
}
