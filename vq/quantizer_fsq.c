/* SPDX-License-Identifier: Apache-2.0 */
/* The kind "fsq": each number goes to the bin whose thresholds it lies between. */
#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/scalar_internal.h"

enum { LANES = 8, GROUP = 4 * LANES /* rows whose counts stay in registers */ };

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

typedef struct fsq {
    vqi_scalar s;
    vq_fsq_bound bound;
    uint32_t *bins;    /* d */
    uint32_t *weight;  /* d: what a bin of this number counts in the code */
    float **threshold; /* d: bins - 1 each */
    float **value;     /* d: bins each, what they decode to */
    float *numbers;    /* all of the last two */
} fsq;

const char *vq_fsq_bound_name(vq_fsq_bound bound)
{
    static const char *const names[] = {"tanh", "symmetric", "clamp"};
    return (unsigned)bound <= VQ_FSQ_CLAMP ? names[bound] : "?";
}

static void fsq_free(vq_quantizer *q)
{
    fsq *f = (fsq *)q;
    vq_free(f->bins);
    vq_free(f->weight);
    vq_free(f->threshold);
    vq_free(f->value);
    vq_free(f->numbers);
    vq_free(f);
}

/* How many of the thresholds each of GROUP numbers has reached. */
static void count_reached(int32_t *reached, const float *column, const float *threshold,
                          uint32_t count)
{
    floats x[GROUP / LANES];
    ints sum[GROUP / LANES] = {{0}, {0}, {0}, {0}};
    memcpy(x, column, sizeof x);
    for (uint32_t t = 0; t < count; t++)
        for (int i = 0; i < GROUP / LANES; i++)
            sum[i] -= x[i] >= threshold[t]; /* true is -1 */
    memcpy(reached, sum, sizeof sum);
}

/* GROUP rows or fewer, one level. */
static void quantize_group(uint32_t code[GROUP], const fsq *f, const float *x, size_t count,
                           uint32_t level)
{
    float column[GROUP] = {0};
    int32_t reached[GROUP];
    memset(code, 0, GROUP * sizeof *code);
    for (uint32_t j = f->s.first[level]; j < f->s.first[level + 1]; j++) {
        for (size_t r = 0; r < count; r++)
            column[r] = x[r * f->s.base.dim + j];
        count_reached(reached, column, f->threshold[j], f->bins[j] - 1);
        for (int r = 0; r < GROUP; r++)
            code[r] += (uint32_t)reached[r] * f->weight[j];
    }
}

static void quantize_rows(uint32_t *codes, const vq_quantizer *q, const float *x, size_t count,
                          uint32_t levels)
{
    uint32_t code[GROUP];
    for (size_t first = 0; first < count; first += GROUP) {
        const size_t rows = count - first < GROUP ? count - first : GROUP;
        for (uint32_t l = 0; l < levels; l++) {
            quantize_group(code, (const fsq *)q, x + first * q->dim, rows, l);
            for (size_t r = 0; r < rows; r++)
                codes[(first + r) * levels + l] = code[r];
        }
    }
}

static vq_status fsq_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                              const vq_quantize_opts *opts)
{
    return vqi_scalar_quantize(codes, q, x, n, opts, quantize_rows);
}

static vq_status fsq_dequantize(float *x, const vq_quantizer *q, const uint32_t *codes, size_t n,
                                const vq_quantize_opts *opts)
{
    const fsq *f = (const fsq *)q;
    const size_t d = q->dim, levels = opts->levels, end = f->s.first[levels];
    const int threads = vqi_threads(opts->threads, n * d / 16384 + 1);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < n; i++) {
        float *row = x + i * d;
        for (size_t l = 0; l < levels; l++) {
            uint32_t rest = codes[i * levels + l];
            for (uint32_t j = f->s.first[l]; j < f->s.first[l + 1]; j++) {
                row[j] = f->value[j][rest % f->bins[j]];
                rest /= f->bins[j];
            }
        }
        for (size_t j = end; j < d; j++)
            row[j] = 0;
    }
    return VQ_OK;
}

static vq_status check_bins(fsq *f, const uint32_t *bins, size_t *total)
{
    const uint32_t least = f->bound == VQ_FSQ_TANH ? 3 : 2;
    *total = 0;
    for (uint32_t l = 0; l < f->s.base.levels; l++) {
        uint64_t k = 1;
        for (uint32_t j = f->s.first[l]; j < f->s.first[l + 1]; j++) {
            if (bins[j] < least || bins[j] > VQ_FSQ_MAX_BINS)
                return vqi_fail(VQ_E_ARG, "number %u has %u bins (%s: %u to %d)", j, bins[j],
                                vq_fsq_bound_name(f->bound), least, VQ_FSQ_MAX_BINS);
            k *= bins[j];
            if (k > UINT32_MAX)
                return vqi_fail(VQ_E_ARG,
                                "level %u has 2^32 codes or more (give it fewer numbers, and the "
                                "others to more levels)",
                                l);
            *total += 2 * (size_t)bins[j] - 1;
        }
        f->s.k[l] = (uint32_t)k;
    }
    return VQ_OK;
}

static void fill(fsq *f, const uint32_t *bins)
{
    float *numbers = f->numbers;
    memcpy(f->bins, bins, f->s.base.dim * sizeof *bins);
    for (uint32_t l = 0; l < f->s.base.levels; l++) {
        uint32_t weight = 1;
        for (uint32_t j = f->s.first[l]; j < f->s.first[l + 1]; j++) {
            f->weight[j] = weight;
            weight *= bins[j];
            f->threshold[j] = numbers;
            f->value[j] = numbers + bins[j] - 1;
            numbers = f->value[j] + bins[j];
            vqi_fsq_thresholds(f->threshold[j], bins[j], f->bound);
            const int32_t half = (int32_t)(bins[j] / 2), last = (int32_t)bins[j] - 1;
            for (int32_t i = 0; i <= last; i++)
                f->value[j][i] = f->bound == VQ_FSQ_TANH ? (float)(i - half) / (float)half
                                                         : (float)(2 * i - last) / (float)last;
        }
    }
}

vq_status vq_fsq_create(vq_quantizer **out, const uint32_t *bins, uint32_t d,
                        const vq_fsq_opts *opts)
{
    *out = NULL;
    vq_fsq_opts own;
    size_t total = 0;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_fsq_opts");
    if (status)
        return status;
    if ((unsigned)own.bound > VQ_FSQ_CLAMP)
        return vqi_fail(VQ_E_ARG, "vq_fsq_opts.bound is %d (see vq_fsq_bound)", (int)own.bound);
    fsq *f = vqi_calloc(1, sizeof *f);
    if (!f)
        return vqi_fail_nomem(sizeof *f);
    f->bound = own.bound;
    status = vqi_scalar_divide(&f->s, &vqi_fsq_kind, d, own.levels, own.dims, "vq_fsq_opts");
    if (!status)
        status = check_bins(f, bins, &total);
    if (!status) {
        f->bins = vqi_alloc(d, sizeof *f->bins);
        f->weight = vqi_alloc(d, sizeof *f->weight);
        f->threshold = vqi_alloc(d, sizeof *f->threshold);
        f->value = vqi_alloc(d, sizeof *f->value);
        f->numbers = vqi_alloc(total, sizeof *f->numbers);
        if (!f->bins || !f->weight || !f->threshold || !f->value || !f->numbers)
            status = vqi_fail_nomem(total * sizeof *f->numbers);
    }
    if (status) {
        fsq_free(&f->s.base);
        return status;
    }
    fill(f, bins);
    *out = &f->s.base;
    return VQ_OK;
}

static vq_status fsq_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    const fsq *f = (const fsq *)q;
    char name[VQI_NAME_SIZE];
    vq_status status = vqi_quantizer_name(name, prefix, "bound");
    if (!status)
        status = vq_tensors_set(tensors, name, vq_fsq_bound_name(f->bound));
    if (!status)
        status = vqi_scalar_save_array(tensors, prefix, "bins", f->bins, q->dim);
    return status ? status : vqi_scalar_save_dims(tensors, q, prefix);
}

static vq_status get_bound(vq_fsq_bound *bound, const vq_tensors *tensors, const char *prefix)
{
    char name[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(name, prefix, "bound");
    if (status)
        return status;
    const char *text = vq_tensors_get(tensors, name);
    for (int b = VQ_FSQ_TANH; text && b <= VQ_FSQ_CLAMP; b++)
        if (!strcmp(text, vq_fsq_bound_name((vq_fsq_bound)b))) {
            *bound = (vq_fsq_bound)b;
            return VQ_OK;
        }
    return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is \"%.40s\" (not tanh, symmetric or clamp)", name,
                    text ? text : "");
}

static vq_status fsq_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                          const vq_limits *limits)
{
    vq_fsq_opts opts = VQ_FSQ_OPTS_INIT;
    const vq_tensor *bins = NULL;
    uint32_t d = 0;
    vq_status status = get_bound(&opts.bound, tensors, prefix);
    if (!status)
        status = vqi_scalar_load_dims(&opts.dims, &opts.levels, &d, tensors, prefix, limits);
    if (!status)
        status = vqi_scalar_load_array(&bins, tensors, prefix, "bins", VQ_DTYPE_U32);
    if (status)
        return status;
    if (bins->count != d)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" has %zu numbers, and the levels have %u",
                        bins->name, bins->count, d);
    status = vq_fsq_create(out, bins->data, d, &opts);
    /* What is the caller's fault in a call is the bytes' fault in a file; the sentence stays. */
    return status == VQ_E_ARG ? VQ_E_FORMAT : status;
}

void vqi_fsq_gradient(float *gradient_x, const vq_quantizer *q, const float *x,
                      const float *gradient)
{
    const fsq *f = (const fsq *)q;
    for (uint32_t j = 0; j < q->dim; j++) {
        double shift = 0, scale = 1;
        if (f->bound == VQ_FSQ_CLAMP) {
            gradient_x[j] = x[j] >= -1 && x[j] <= 1 ? gradient[j] : 0;
            continue;
        }
        if (f->bound == VQ_FSQ_TANH) {
            const double half = 1.001 * (f->bins[j] - 1) / 2;
            shift = f->bins[j] % 2 ? 0 : atanh(0.5 / half);
            scale = half / floor(f->bins[j] / 2.0);
        }
        const double bounded = tanh(x[j] + shift);
        gradient_x[j] = (float)(gradient[j] * scale * (1 - bounded * bounded));
    }
}

const vqi_quantizer_kind vqi_fsq_kind = {
    .name = "fsq",
    .free = fsq_free,
    .k = vqi_scalar_k,
    .codebook = vqi_scalar_codebook,
    .workspace = vqi_scalar_workspace,
    .quantize = fsq_quantize,
    .dequantize = fsq_dequantize,
    .save = fsq_save,
    .load = fsq_load,
};
