/* SPDX-License-Identifier: Apache-2.0 */
#include "io/actions.h"

#include <math.h>
#include <string.h>

#include "io/csv.h"
#include "io/npy.h"
#include "io/npz.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/tensors.h"

static const char npy_magic[] = "\x93NUMPY", zip_magic[] = "PK\3\4";

static int begins(const void *data, size_t size, const char *magic)
{
    return size >= strlen(magic) && !memcmp(data, magic, strlen(magic));
}

int vq_actions_probe(const void *data, size_t size)
{
    if (begins(data, size, npy_magic) || begins(data, size, zip_magic))
        return 1;
    /* Text: printable up to the end of the first line, with a digit or a separator in it. */
    const uint8_t *bytes = data;
    size_t i = begins(data, size, "\xef\xbb\xbf") ? 3 : 0;
    int likely = 0;
    for (; i < size && i < 4096 && bytes[i] != '\n'; i++) {
        if (bytes[i] < ' ' && bytes[i] != '\t' && bytes[i] != '\r')
            return 0;
        likely |= bytes[i] == ',' || bytes[i] == ';' || bytes[i] == '\t' ||
                  (bytes[i] >= '0' && bytes[i] <= '9');
    }
    return likely && bytes[0] != '{';
}

static int is_action(const vq_tensor *t)
{
    return (t->ndim == 2 || t->ndim == 3) && t->count && t->dtype != VQ_DTYPE_BOOL;
}

/* The array of an archive that is the action. */
static vq_status choose(const vq_tensor **out, const vq_tensors *tensors)
{
    static const char *const names[] = {"actions", "action"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *out = vq_tensors_find(tensors, names[i]);
        if (*out)
            return VQ_OK;
    }
    size_t found = 0;
    for (size_t i = 0; i < vq_tensors_count(tensors); i++)
        if (is_action(vq_tensors_at(tensors, i))) {
            *out = vq_tensors_at(tensors, i);
            found++;
        }
    return found == 1 ? VQ_OK
                      : vqi_fail(VQ_E_FORMAT,
                                 "%zu arrays of two or three dimensions (name the action "
                                 "\"actions\")",
                                 found);
}

static vq_status from_tensor(vq_signal **out, const vq_tensor *t, const vq_limits *limits)
{
    if (!is_action(t))
        return vqi_fail(VQ_E_FORMAT, "an array of %u dimensions (actions are [T, D] or [N, T, D])",
                        t->ndim);
    if (t->count > limits->max_alloc_bytes / sizeof(float))
        return vqi_fail(VQ_E_LIMIT, "%zu numbers (at most %llu bytes)", t->count,
                        (unsigned long long)limits->max_alloc_bytes);
    vq_status status = vq_signal_create(out, VQ_KIND_ACTION, t->ndim, t->shape);
    if (!status)
        status = vq_tensor_to_f32((*out)->data, t, 0, t->count);
    return status;
}

static vq_status check_finite(const vq_signal *signal)
{
    const size_t columns = signal->shape[signal->ndim - 1], count = vq_signal_count(signal);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(signal->data[i]))
            return vqi_fail(VQ_E_NONFINITE, "row %zu, column %zu is %s", i / columns, i % columns,
                            isnan(signal->data[i]) ? "not a number" : "infinite");
    return VQ_OK;
}

/* A single number "fps" or "rate" beside the action. */
static double find_rate(const vq_tensors *tensors)
{
    static const char *const names[] = {"fps", "rate"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const vq_tensor *t = vq_tensors_find(tensors, names[i]);
        float rate = 0;
        if (t && t->count == 1 && !vq_tensor_to_f32(&rate, t, 0, 1) && rate > 0 && isfinite(rate))
            return (double)rate;
    }
    return 0;
}

static vq_status parse_arrays(vq_signal **out, const void *data, size_t size,
                              const vq_limits *limits)
{
    vq_tensors *tensors;
    const vq_tensor *t = NULL;
    const int npy = begins(data, size, npy_magic);
    vq_status status = npy ? vq_npy_parse(&tensors, data, size, "action", limits)
                           : vq_npz_parse(&tensors, data, size, NULL, limits);
    if (!status)
        status = choose(&t, tensors);
    if (!status)
        status = from_tensor(out, t, limits);
    if (!status && !npy)
        (*out)->rate = find_rate(tensors);
    vq_tensors_free(tensors);
    return status ? status : check_finite(*out);
}

vq_status vq_actions_parse(vq_signal **out, const void *data, size_t size, const char *name,
                           const vq_limits *limits)
{
    *out = NULL;
    vq_limits own;
    vq_status status = vq_limits_resolve(&own, limits);
    if (status)
        return status;
    if (begins(data, size, npy_magic) || begins(data, size, zip_magic))
        status = parse_arrays(out, data, size, &own);
    else
        status = vq_csv_parse(out, data, size, NULL, &own);
    if (status == VQ_E_FORMAT &&
        !vq_actions_probe(data, size)) /* one column may not look like a table, and be one */
        status = vqi_fail(VQ_E_FORMAT, "neither .npy, .npz nor a table of numbers");
    if (status) {
        vq_signal_free(*out);
        *out = NULL;
        return name ? vqi_fail_in(status, name) : status;
    }
    return VQ_OK;
}

vq_status vq_actions_read(vq_signal **out, const char *path, const vq_limits *limits)
{
    *out = NULL;
    vq_bytes bytes;
    vq_status status = vq_file_read(&bytes, path, limits);
    if (status)
        return status;
    status = vq_actions_parse(out, bytes.data, bytes.size, path, limits);
    vq_bytes_clear(&bytes);
    return status;
}

vq_status vq_actions_serialize(vq_bytes *out, const vq_signal *signal, vq_actions_format format)
{
    out->data = NULL;
    out->size = 0;
    if (format == VQ_ACTIONS_CSV)
        return vq_csv_serialize(out, signal);
    if (format != VQ_ACTIONS_NPY || signal->kind != VQ_KIND_ACTION)
        return vqi_fail(VQ_E_ARG, "not actions, or not a format of theirs");
    vq_tensor t = {.dtype = VQ_DTYPE_F32,
                   .ndim = signal->ndim,
                   .count = vq_signal_count(signal),
                   .data = signal->data};
    memcpy(t.shape, signal->shape, sizeof signal->shape);
    return vq_npy_serialize(out, &t);
}
