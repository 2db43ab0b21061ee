/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/signal.h"

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

const char *vq_kind_name(vq_kind kind)
{
    switch (kind) {
    case VQ_KIND_IMAGE:
        return "image";
    case VQ_KIND_AUDIO:
        return "audio";
    case VQ_KIND_ACTION:
        return "action";
    }
    return "unknown";
}

static vq_status check_shape(vq_kind kind, uint32_t ndim, const size_t *shape, size_t *count)
{
    const uint32_t expected = kind == VQ_KIND_IMAGE ? 3 : 2;
    if (kind < VQ_KIND_IMAGE || kind > VQ_KIND_ACTION)
        return vqi_fail(VQ_E_ARG, "%d is not a kind of signal", (int)kind);
    if (ndim != expected && !(kind == VQ_KIND_ACTION && ndim == 3))
        return vqi_fail(VQ_E_ARG, "a signal of kind %s has %u dimensions, not %u",
                        vq_kind_name(kind), expected, ndim);
    *count = 1;
    for (uint32_t i = 0; i < ndim; i++)
        if (!shape[i] || !vqi_mul(count, *count, shape[i]))
            return vqi_fail(VQ_E_ARG, "dimension %u of a signal is %zu", i, shape[i]);
    if (kind == VQ_KIND_IMAGE && shape[2] > 4)
        return vqi_fail(VQ_E_ARG, "an image has 1 to 4 channels, not %zu", shape[2]);
    return VQ_OK;
}

vq_status vq_signal_create(vq_signal **out, vq_kind kind, uint32_t ndim, const size_t *shape)
{
    *out = NULL;
    size_t count = 0;
    const vq_status status = check_shape(kind, ndim, shape, &count);
    if (status)
        return status;
    vq_signal *signal = vqi_calloc(1, sizeof *signal);
    float *data = vqi_calloc(count, sizeof *data);
    if (!signal || !data) {
        vq_free(signal);
        vq_free(data);
        return vqi_fail_nomem((unsigned long long)count * sizeof *data);
    }
    signal->kind = kind;
    signal->ndim = ndim;
    for (uint32_t i = 0; i < 3; i++)
        signal->shape[i] = i < ndim ? shape[i] : 1;
    signal->data = data;
    *out = signal;
    return VQ_OK;
}

void vq_signal_free(vq_signal *signal)
{
    if (!signal)
        return;
    vq_free(signal->data);
    vq_dimensions_free(signal->dimensions);
    vq_free(signal);
}

size_t vq_signal_count(const vq_signal *signal)
{
    return signal->shape[0] * signal->shape[1] * signal->shape[2];
}
