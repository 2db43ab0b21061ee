/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds "lfq" and "bsq": the signs of the numbers are the bits of the code. */
#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/scalar_internal.h"

enum { MOST_BITS = 31 /* of a level: K is a uint32_t */ };

typedef struct lfq {
    vqi_scalar s;
    float scale;
    float value[VQ_MAX_LEVELS]; /* what a bit decodes to: minus or plus this */
} lfq;

static void lfq_free(vq_quantizer *q)
{
    vq_free(q);
}

static void quantize_rows(uint32_t *codes, const vq_quantizer *q, const float *x, size_t count,
                          uint32_t levels)
{
    const lfq *f = (const lfq *)q;
    for (size_t r = 0; r < count; r++)
        for (uint32_t l = 0; l < levels; l++) {
            const float *row = x + r * q->dim + f->s.first[l];
            uint32_t code = 0;
            for (uint32_t j = 0; j < f->s.dims[l]; j++)
                code = code << 1 | (row[j] > 0);
            codes[r * levels + l] = code;
        }
}

static vq_status lfq_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                              const vq_quantize_opts *opts)
{
    return vqi_scalar_quantize(codes, q, x, n, opts, quantize_rows);
}

static vq_status lfq_dequantize(float *x, const vq_quantizer *q, const uint32_t *codes, size_t n,
                                const vq_quantize_opts *opts)
{
    const lfq *f = (const lfq *)q;
    const size_t d = q->dim, levels = opts->levels, end = f->s.first[levels];
    const int threads = vqi_threads(opts->threads, n * d / 16384 + 1);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < n; i++) {
        float *row = x + i * d;
        for (size_t l = 0; l < levels; l++) {
            const uint32_t code = codes[i * levels + l], bits = f->s.dims[l];
            const float values[2] = {-f->value[l], f->value[l]}; /* nobody foretells a bit */
            for (uint32_t j = 0; j < bits; j++)
                row[f->s.first[l] + j] = values[code >> (bits - 1 - j) & 1];
        }
        for (size_t j = end; j < d; j++)
            row[j] = 0;
    }
    return VQ_OK;
}

vq_status vq_lfq_create(vq_quantizer **out, uint32_t d, const vq_lfq_opts *opts)
{
    *out = NULL;
    vq_lfq_opts own;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_lfq_opts");
    if (status)
        return status;
    own.scale = own.scale == 0 ? 1 : own.scale;
    if (!(own.scale > 0) || !isfinite(own.scale))
        return vqi_fail(VQ_E_ARG, "vq_lfq_opts.scale is %g (above 0, or 0 for 1)", own.scale);
    lfq *f = vqi_calloc(1, sizeof *f);
    if (!f)
        return vqi_fail_nomem(sizeof *f);
    f->scale = own.scale;
    status = vqi_scalar_divide(&f->s, own.spherical ? &vqi_bsq_kind : &vqi_lfq_kind, d, own.levels,
                               own.dims, "vq_lfq_opts");
    for (uint32_t l = 0; l < f->s.base.levels && !status; l++) {
        const uint32_t bits = f->s.dims[l];
        if (bits > MOST_BITS) {
            status = vqi_fail(VQ_E_ARG, "level %u has %u bits (at most %d; use more levels)", l,
                              bits, MOST_BITS);
            break;
        }
        f->s.k[l] = (uint32_t)1 << bits;
        f->value[l] = own.spherical ? (float)(own.scale / sqrt(bits)) : own.scale;
        if (f->value[l] == 0)
            status = vqi_fail(VQ_E_ARG, "vq_lfq_opts.scale is %g: too small", own.scale);
    }
    if (status) {
        vq_free(f);
        return status;
    }
    *out = &f->s.base;
    return VQ_OK;
}

static vq_status lfq_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    const size_t one = 1;
    char name[VQI_NAME_SIZE];
    vq_status status = vqi_scalar_save_dims(tensors, q, prefix);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "scale");
    return status ? status
                  : vq_tensors_add(NULL, tensors, name, VQ_DTYPE_F32, 1, &one,
                                   &((const lfq *)q)->scale);
}

static vq_status load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                      const vq_limits *limits, int spherical)
{
    vq_lfq_opts opts = VQ_LFQ_OPTS_INIT;
    const vq_tensor *scale = NULL;
    uint32_t d = 0;
    vq_status status = vqi_scalar_load_dims(&opts.dims, &opts.levels, &d, tensors, prefix, limits);
    if (!status)
        status = vqi_scalar_load_array(&scale, tensors, prefix, "scale", VQ_DTYPE_F32);
    if (status)
        return status;
    memcpy(&opts.scale, scale->data, sizeof opts.scale);
    if (scale->count != 1 || opts.scale == 0)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is not one number above 0", scale->name);
    opts.spherical = spherical;
    status = vq_lfq_create(out, d, &opts);
    return status == VQ_E_ARG ? VQ_E_FORMAT : status; /* the sentence stays */
}

static vq_status lfq_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                          const vq_limits *limits)
{
    return load(out, tensors, prefix, limits, 0);
}

static vq_status bsq_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                          const vq_limits *limits)
{
    return load(out, tensors, prefix, limits, 1);
}

/* u = scale x / |x|, of each level: dx = scale / |x| (g - unit (unit . g)). */
void vqi_bsq_gradient(float *gradient_x, const vq_quantizer *q, const float *x,
                      const float *gradient)
{
    const lfq *f = (const lfq *)q;
    for (uint32_t l = 0; l < q->levels; l++) {
        const uint32_t first = f->s.first[l], end = f->s.first[l + 1];
        double square = 0, along = 0;
        for (uint32_t j = first; j < end; j++) {
            square += (double)x[j] * x[j];
            along += (double)x[j] * gradient[j];
        }
        for (uint32_t j = first; j < end; j++)
            gradient_x[j] =
                square > 0
                    ? (float)(f->scale / sqrt(square) * (gradient[j] - x[j] * along / square))
                    : 0;
    }
}

const vqi_quantizer_kind vqi_lfq_kind = {
    .name = "lfq",
    .free = lfq_free,
    .k = vqi_scalar_k,
    .codebook = vqi_scalar_codebook,
    .workspace = vqi_scalar_workspace,
    .quantize = lfq_quantize,
    .dequantize = lfq_dequantize,
    .save = lfq_save,
    .load = lfq_load,
};

const vqi_quantizer_kind vqi_bsq_kind = {
    .name = "bsq",
    .free = lfq_free,
    .k = vqi_scalar_k,
    .codebook = vqi_scalar_codebook,
    .workspace = vqi_scalar_workspace,
    .quantize = lfq_quantize,
    .dequantize = lfq_dequantize,
    .save = lfq_save,
    .load = bsq_load,
};
